package jobs

import (
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// A State is where a job is in its life. Its number is the `state_code` of the
// Telegraf measurements.
type State int

// The states of a job. The last three are ends; only Lost can be left again, by
// a late webhook.
const (
	Pending   State = iota // tracked, and the API has not answered about it yet
	Running                // the API says that it runs
	Completed              // the API says Completed, or a webhook brought a result
	Failed                 // the API says Failed, or the result is a fault
	Lost                   // given up
)

// States are the names of the states, as labels and tags have them.
var States = [...]string{"pending", "running", "completed", "failed", "lost"}

func (s State) String() string { return States[s] }

// Ended says whether a job in this state is never asked about again.
func (s State) Ended() bool { return s >= Completed }

// A Job is what is known of one job. Copies share the labels and the
// statistics, which do not change.
type Job struct {
	RequestID    string
	API          string // name of the API that it was submitted to; empty: not known
	Source       submission.Source
	Labels       map[string]string // those that the configuration asks for
	AudioSeconds float64           // 0: not known
	Priority     float64           // weight among the jobs that wait to be asked about; 1 unless somebody said otherwise
	State        State
	ErrorCode    string // of a failed job

	FirstSeen    time.Time
	SubmittedAt  time.Time // zero: not known
	LastObserved time.Time // when the API last answered about it, or a webhook came; zero: never
	FinishedAt   time.Time // when its end was observed; zero: not yet

	// DetectionWindow is the time from the look before the end was seen to
	// then: the job ended within it.
	DetectionWindow time.Duration
	// Statistics are those of the result; nil where there are none.
	Statistics *transcript.Statistics

	sequence     uint64    // in order of registration
	missingSince time.Time // since when the API answers that it does not know it; zero: it does
}

// Start is when the job's life began: when it was submitted, where that is
// known and not in the future of its registration, else when it was first seen.
// It is reckoned from FirstSeen, whose monotonic reading it keeps: jobs must
// stay in one order, whatever the wall clock does.
func (j *Job) Start() time.Time {
	if j.SubmittedAt.IsZero() {
		return j.FirstSeen
	}
	return j.FirstSeen.Add(-max(j.FirstSeen.Sub(j.SubmittedAt), 0))
}

// Age is how long the job has lived at a time, or lived until its end.
func (j *Job) Age(now time.Time) time.Duration {
	if !j.FinishedAt.IsZero() {
		now = j.FinishedAt
	}
	return max(now.Sub(j.Start()), 0)
}

// Started says whether it is known when the job began: one that was first heard of
// through its end has no duration.
func (j *Job) Started() bool { return j.Source != submission.Webhook }

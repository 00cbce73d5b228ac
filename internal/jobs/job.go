package jobs

import (
	"cmp"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// State is the state of a job. Its number is the `state_code` of the Telegraf measurements.
type State int

// The states of a job. The last three are final, except that a late webhook can
// still complete or fail a lost job.
const (
	Pending   State = iota // tracked; the API has not answered about it yet
	Running                // the API says that it runs
	Completed              // the API says Completed, or a webhook brought a result
	Failed                 // the API says Failed, or the result is a fault
	Lost                   // given up
)

// What an observation can report beside a state.
const (
	Unchanged  State = -1 // the API answered with a state word that is not known
	Missing    State = -2 // the API does not know the request ID
	Unanswered State = -3 // a request brought nothing about the job
	Unreadable State = -4 // the answer cannot be read
)

// States are the names of the states, as labels and tags show them.
var States = [...]string{"pending", "running", "completed", "failed", "lost"}

func (s State) String() string { return States[s] }

// EndStates are the states in which a job has ended.
var EndStates = [...]State{Completed, Failed, Lost}

// Ended reports whether a job in this state is never polled again.
func (s State) Ended() bool { return s >= Completed }

// The error codes of lost jobs.
const (
	CodeNotFound  = "not_found"   // the API did not know it for longer than Options.NotFoundGrace
	CodeMaxJobAge = "max_job_age" // it was unfinished for longer than Options.MaxJobAge
	// CodeUnreadable: what the API answers about it stayed unreadable.
	CodeUnreadable = "unreadable"
)

// A Job is what is known of one job. Published jobs are immutable. There may be millions that wait for their first
// answer: what they do not need yet is in Observed, and what many have in common in Origin. Neither is ever nil, and
// both are immutable as well.
type Job struct {
	RequestID string
	*Origin
	AudioSeconds float64 // 0: unknown
	FirstSeen    time.Time
	SubmittedAt  Instant // zero: unknown
	Sequence     uint64  // order of registration; that of a state change is unknown
	*Observed
}

// Origin is where a job comes from, and how it is treated.
type Origin struct {
	API      string // name of the API that it was submitted to; empty: unknown
	Source   submission.Source
	Priority float64           // weight of a second of its detection delay; default 1
	Labels   map[string]string // those named by Options.JobLabels
}

// Observed is what was observed of a job, and of its end.
type Observed struct {
	State        State
	LastObserved time.Time // last answer of the API about it, or webhook; zero: never
	FinishedAt   time.Time // when its end was observed; zero: unfinished
	ErrorCode    string    // of a failed or lost job

	// DetectionWindow is the time from the last poll that found the job unfinished to the
	// observation of its end.
	DetectionWindow time.Duration
	// Statistics of the result; nil without a result.
	Statistics *transcript.Statistics
	// LastPoll is the last request about it; nil without one. Not stored.
	LastPoll *Poll

	missingSince time.Time        // since when the API has not known it; zero: it does. Not stored
	unreadable   *unreadablePolls // nil: there are none. Not stored
}

// nothing is shared by the jobs of which nothing was observed.
var nothing = new(Observed)

// origins are those that jobs share: the ones without labels. Only the committing goroutine uses them.
type origins map[originKey]*Origin

type originKey struct {
	api      string
	source   submission.Source
	priority float64
}

// maxOrigins bounds them: names and priorities come from users.
const maxOrigins = 64

// of returns an origin; priority 0: the default.
func (o origins) of(api string, source submission.Source, priority float64, labels map[string]string) *Origin {
	key := originKey{api, source, cmp.Or(priority, 1)}
	if origin := o[key]; origin != nil && len(labels) == 0 {
		return origin
	}
	key.api, key.source = shared(api), shared(source)
	origin := &Origin{key.api, key.source, key.priority, labels}
	if len(labels) == 0 {
		if len(o) == maxOrigins {
			clear(o)
		}
		o[key] = origin
	}
	return origin
}

// An Instant is a time of the wall clock, in nanoseconds since 1970, from 1678 to 2262. It takes a third of a
// time.Time. Zero: none.
type Instant int64

// InstantOf converts a time, which may be zero.
func InstantOf(t time.Time) Instant {
	if t.IsZero() {
		return 0
	}
	return Instant(t.UnixNano())
}

// IsZero reports whether there is none.
func (i Instant) IsZero() bool { return i == 0 }

// Time returns the time in UTC; zero: none.
func (i Instant) Time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(i)).UTC()
}

// next returns a copy, whose observations may be changed.
func (j *Job) next() *Job {
	next, observed := *j, *j.Observed
	next.Observed = &observed
	return &next
}

// A Poll is a request to the API about a job.
type Poll struct {
	At time.Time // of the response
	Request
}

// unreadablePolls are polls that found an answer unreadable, without a readable one in between. They do not change once
// published.
type unreadablePolls struct {
	n           int
	first, last time.Time
}

// Start returns when the job began: SubmittedAt if that is known and before
// FirstSeen, else FirstSeen. It is derived from FirstSeen to keep the monotonic clock
// reading, so that the order of jobs survives jumps of the wall clock.
func (j *Job) Start() time.Time {
	if j.SubmittedAt.IsZero() {
		return j.FirstSeen
	}
	return j.FirstSeen.Add(-max(j.FirstSeen.Sub(j.SubmittedAt.Time()), 0))
}

// Age returns the age of the job at a time, or at its end if that was before.
func (j *Job) Age(now time.Time) time.Duration {
	if !j.FinishedAt.IsZero() {
		now = j.FinishedAt
	}
	return max(now.Sub(j.Start()), 0)
}

// Started reports whether the start of the job is known. A job that was adopted from
// the webhook about its end has no duration.
func (j *Job) Started() bool { return j.Source != submission.Webhook }

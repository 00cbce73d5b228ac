package collector

import (
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// A Snapshot is an account at one moment: what a scrape or a gather shows.
// Reading it asks nothing of the API.
type Snapshot struct {
	jobs.Snapshot
	Account    string
	At         time.Time
	JobMetrics string   // as configured: which series a job has
	JobLabels  []string // as configured
	// NextPolls is when each of Jobs is due to be asked about; zero: not known.
	NextPolls []time.Time
	Due       int // unfinished jobs that would be asked about now if the quota allowed

	Up          bool      // the last request was answered as the API should, and there is a key for the next
	LastSuccess time.Time // zero: never
	Trouble     *Trouble  // why it is not up; nil: it is, or was not asked yet
	Minute, Day schedule.Usage
	Pricing     schedule.Pricing

	WebhookReceived time.Time // when the last webhook came that could be read; zero: none yet

	SourceSuccess  map[submission.Source]time.Time     // when each source was last looked at without a problem
	SourceProblems map[submission.Source]SourceProblem // the last one of each source; others have had none

	StoreError error // why the register cannot be written; nil: the last attempt went well
}

// Trouble is why the API is not asked, or does not answer as it should.
type Trouble struct {
	Outcome jobstatus.Outcome // of the last request; OK: the key cannot be read
	Err     error             // has neither the key nor the answer's content
	Until   time.Time         // when the API may be asked again; zero: nothing is waited for
}

// A SourceProblem is what was wrong with a source of request IDs.
type SourceProblem struct {
	At  time.Time
	Err error
}

// Snapshot returns the account as it is now.
func (a *Account) Snapshot() Snapshot {
	now := a.now()
	config := a.settings.Load().config
	s := Snapshot{
		Snapshot:   a.register.Snapshot(now),
		Account:    a.name,
		At:         now,
		JobMetrics: config.JobMetrics,
		JobLabels:  config.JobLabels,
	}
	s.SourceSuccess, s.SourceProblems = a.sources.state()
	if err := a.unwritable.Load(); err != nil {
		s.StoreError = *err
	}
	s.NextPolls = make([]time.Time, len(s.Jobs))
	for i := range s.Jobs {
		if !s.Jobs[i].State.Ended() {
			s.NextPolls[i] = a.schedule.NextPoll(s.Jobs[i].RequestID, now)
		}
	}
	s.Due = a.schedule.Due(now)
	s.Pricing = a.schedule.Pricing(now)
	s.Up, s.LastSuccess, s.Trouble = a.api.state()
	if seen := a.webhookSeen.Load(); seen != 0 {
		s.WebhookReceived = time.Unix(0, seen)
	}
	s.Minute, s.Day = a.ledger.Usage(now)
	return s
}

// Requests returns how many requests to the API were answered with a state, and
// how many were not.
func (s *Snapshot) Requests() (ok, failed uint64) {
	for outcome, n := range s.Totals.APIRequests {
		if jobstatus.Outcome(outcome) == jobstatus.OK {
			ok += n
		} else {
			failed += n
		}
	}
	return ok, failed
}

// Job returns what is known of one job, and when it is due to be asked about
// (zero: not known).
func (a *Account) Job(requestID string) (job jobs.Job, next time.Time, known bool) {
	job, known = a.register.Job(requestID)
	if known && !job.State.Ended() {
		next = a.schedule.NextPoll(requestID, a.now())
	}
	return job, next, known
}

// Marks returns when who speaks in the conversation of a job's result, in order of
// start; nil where that is not kept.
func (a *Account) Marks(requestID string) []transcript.Mark { return a.register.Marks(requestID) }

// Jobs returns at most limit jobs, the newest first, that match and come after
// the job with the ID after. ok is false where after is not tracked.
func (a *Account) Jobs(match func(*jobs.Job) bool, after string, limit int) (jobs []jobs.Job, ok bool) {
	return a.register.List(match, after, limit)
}

package collector

import (
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/poller"
)

// A Snapshot is an account at one moment: what a scrape or a gather shows. Reading it
// changes no decision and polls nothing.
type Snapshot struct {
	jobs.Snapshot
	Account    string
	At         time.Time
	JobMetrics string      // as configured: which series a job has
	JobLabels  []string    // as configured
	NextPolls  []time.Time // when each of Jobs is due to be polled; zero: unknown
	Finishes   []Finish    // when each of Jobs is expected to have finished
	Due        int         // unfinished jobs that would be polled now if the quota allowed
	Late       Late        // unfinished jobs that take longer than most
	Backlog    Backlog

	API         poller.State
	Minute, Day Usage
	Pricing     Pricing

	WebhookReceived time.Time // of the last webhook that was readable; zero: none yet

	SourceSuccess  map[JobSource]time.Time     // when each source was last read without a problem
	SourceProblems map[JobSource]SourceProblem // the last problem of each source; others had none

	StoreError error // why the store cannot be written; nil: the last commit succeeded
}

// Snapshot returns the account as it is now. It takes each lock of the account once,
// whatever the number of jobs.
func (a *Account) Snapshot() Snapshot {
	now := a.now()
	config := &a.settings.Load().config
	v := a.reading()
	s := Snapshot{
		Snapshot: v.jobs.Snapshot(now), Account: a.name, At: now,
		JobMetrics: config.JobMetrics, JobLabels: config.JobLabels,
		API: a.API(), StoreError: a.writes.Writable(),
	}
	view := v.schedule.View(now, requestIDs(s.Jobs))
	s.NextPolls, s.Finishes, s.Late = view.NextPolls, view.Finishes, view.Late
	s.Due, s.Backlog, s.Pricing, s.Minute, s.Day = view.Due, view.Backlog, view.Pricing, view.Minute, view.Day
	s.SourceSuccess, s.SourceProblems = a.sources.state()
	if seen := a.webhookSeen.Load(); seen != 0 {
		s.WebhookReceived = time.Unix(0, seen)
	}
	return s
}

func requestIDs(jobs []*Job) []string {
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = j.RequestID
	}
	return ids
}

// SourceUp reports whether the last attempt to read a source went well, or there was none.
func (s *Snapshot) SourceUp(from JobSource) bool {
	problem, found := s.SourceProblems[from]
	return !found || !problem.At.After(s.SourceSuccess[from])
}

// Requests returns the number of requests to the API that were answered with a state,
// and the number of the others.
func (s *Snapshot) Requests() (ok, failed float64) {
	ok = s.Totals.Counter(APIRequests, jobstatus.OK.String())
	return ok, s.Totals.Counter(APIRequests) - ok
}

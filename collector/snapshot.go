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
	Due        int         // unfinished jobs that would be polled now if the quota allowed

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
	s := Snapshot{
		Snapshot: a.jobs.Snapshot(now), Account: a.name, At: now,
		JobMetrics: config.JobMetrics, JobLabels: config.JobLabels,
		API: a.API(), StoreError: a.jobs.Writable(),
	}
	view := a.schedule.View(now, requestIDs(s.Jobs))
	s.NextPolls, s.Due, s.Pricing, s.Minute, s.Day = view.NextPolls, view.Due, view.Pricing, view.Minute, view.Day
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

// API returns how the API and the key are at present.
func (a *Account) API() APIState { return a.poller.State() }

// Job returns what is known of one job, and when it is due to be polled (zero: unknown).
func (a *Account) Job(requestID string) (job *Job, next time.Time, known bool) {
	job, known = a.jobs.Job(requestID)
	if known {
		next = a.schedule.View(a.now(), []string{requestID}).NextPolls[0]
	}
	return job, next, known
}

// A JobPage is some of the jobs that a filter selects, the newest first.
type JobPage struct {
	Jobs      []*Job
	NextPolls []time.Time // when each is due; zero: unknown
	Next      string      // ID of the job after which the next page begins; empty: this is the last page
}

// Jobs returns at most limit jobs, from the one after the job with the ID after (empty: from the newest). A page that
// is not the last may have fewer, or none: one call looks at a bounded number of jobs. ok is false if the job after is
// not tracked.
func (a *Account) Jobs(f JobFilter, after string, limit int) (page JobPage, ok bool) {
	page.Jobs, page.Next, ok = a.jobs.List(f, after, limit)
	page.NextPolls = a.schedule.View(a.now(), requestIDs(page.Jobs)).NextPolls
	return page, ok
}

// Overview returns at most limit jobs of each kind, and counts the failures since a time.
func (a *Account) Overview(since time.Time, limit int) jobs.Overview {
	return a.jobs.Overview(since, limit)
}

// Timings returns the timings of the words or segments of a job's result, in order of
// start; nil if they are not kept.
func (a *Account) Timings(requestID string) []Timing { return a.jobs.Timings(requestID) }

// NextPolls returns the next n polls in their order.
func (a *Account) NextPolls(n int) []Poll { return a.schedule.NextPolls(a.now(), n) }

// Explain returns why and when an unfinished job is polled; ok is false if it is unknown.
func (a *Account) Explain(requestID string) (r Reason, ok bool) {
	return a.schedule.Explain(requestID, a.now())
}

// Plan returns the polls of the coming time, at most limit, and the usage of the
// day's quota after them, as if no job ended and none was registered.
func (a *Account) Plan(length time.Duration, limit int) ([]Planned, Usage) {
	return a.schedule.Plan(a.now(), length, limit)
}

package collector

import (
	"maps"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/poller"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A Snapshot is an account at one moment: what a scrape or a gather shows. Reading it
// changes no decision and polls nothing.
type Snapshot struct {
	jobs.Snapshot
	Account string
	At      time.Time
	// Absent: this process does not own the account. Then Snapshot knows only SourceSuccess and SourceProblems of files,
	// and StoreError.
	Absent     bool
	Owner      Owner
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
	// Of a day's quota with a fixed reset, when it was reset and when it will be; zero: any 24 hours count.
	DayBegins, DayEnds time.Time

	SourceSuccess  map[JobSource]time.Time     // when each source was last read without a problem
	SourceProblems map[JobSource]SourceProblem // the last problem of each source; others had none

	// DayLog has the requests that count in the day's quota, but for those in flight, the oldest first. Only
	// ReadWithLog reads it.
	DayLog []Counted

	StoreError error // why the store cannot be written; nil: the last commit succeeded
	ReadError  error // of Read: why the last Refresh failed; nil: it succeeded

	owns func() bool     // this process still owns the account; nil: it always does, or the snapshot is for a person
	lost <-chan struct{} // closed when it does not any more; nil as well
}

// Snapshot returns the account as it is now, if this process owns it: nobody else may show it. It takes each lock of
// the account once, whatever the number of jobs.
func (a *Account) Snapshot() Snapshot {
	if o := a.owned.Load(); o != nil && o.owns() {
		s := a.snapshot(o, o.view, false)
		s.owns, s.lost = o.owns, o.lost
		return s
	}
	return a.absent()
}

// Read returns the account as it is now, whoever owns it, for a person to read: Valid is always true. Refresh comes
// before it.
func (a *Account) Read() Snapshot { return a.read(false) }

// ReadWithLog is Read with DayLog.
func (a *Account) ReadWithLog() Snapshot { return a.read(true) }

func (a *Account) read(log bool) Snapshot {
	if o := a.owned.Load(); o != nil {
		return a.snapshot(o, o.view, log)
	}
	s := a.snapshot(nil, *a.viewer.last.Load(), log)
	s.ReadError = a.viewer.failure()
	return s
}

// absent returns what this process alone knows of an account that another may own.
func (a *Account) absent() Snapshot {
	config := &a.settings.Load().config
	s := Snapshot{
		Account: a.name, At: a.now(), JobMetrics: config.JobMetrics, JobLabels: config.JobLabels,
		StoreError: a.writes.Writable(), Owner: a.ownerNow(), Absent: true,
	}
	s.SourceSuccess, s.SourceProblems = a.sources.state()
	maps.DeleteFunc(s.SourceSuccess, func(from JobSource, _ time.Time) bool { return from != submission.File })
	maps.DeleteFunc(s.SourceProblems, func(from JobSource, _ SourceProblem) bool { return from != submission.File })
	return s
}

// snapshot returns the account with what is read of it. o is nil if this process does not own it.
func (a *Account) snapshot(o *ownedAccount, v view, log bool) Snapshot {
	now := a.now()
	s := a.absent()
	s.Snapshot, s.At = v.jobs.Snapshot(now), now
	var view schedule.View
	if log {
		view, s.DayLog = v.schedule.ViewAndLog(now, sequences(s.Jobs))
	} else {
		view = v.schedule.View(now, sequences(s.Jobs))
	}
	s.NextPolls, s.Finishes, s.Late = view.NextPolls, view.Finishes, view.Late
	s.Due, s.Backlog, s.Pricing, s.Minute, s.Day = view.Due, view.Backlog, view.Pricing, view.Minute, view.Day
	s.DayBegins, s.DayEnds = view.DayBegins, view.DayEnds
	if o != nil {
		s.Absent, s.API = false, o.poller.State()
		s.SourceSuccess, s.SourceProblems = a.sources.state()
	}
	return s
}

// Valid reports whether the snapshot may still be shown: this process has owned the account ever since. It is looked at
// last of all before the snapshot leaves the process.
func (s *Snapshot) Valid() bool { return s.owns == nil || s.owns() }

// Lost is closed soon after the snapshot is no longer valid; nil: it always is.
func (s *Snapshot) Lost() <-chan struct{} { return s.lost }

// Owned reports whether this process owns the account at this moment.
func (a *Account) Owned() bool {
	o := a.owned.Load()
	return o != nil && o.owns()
}

// An Owner is the replica that owns an account.
type Owner struct {
	ID    string    // empty: nobody owns it, or there are no replicas
	URL   string    // of its pages; empty: unknown
	Self  bool      // it is this process
	Since time.Time // by the clock of the database
}

// ownerNow returns who owns the account, as far as this process knows.
func (a *Account) ownerNow() Owner {
	if a.replicas == nil {
		return Owner{}
	}
	o := a.replicas.replica.Owner(a.name)
	return Owner{ID: o.ID, URL: o.URL, Self: o.ID == a.replicas.replica.ID(), Since: o.Since}
}

func sequences(jobs []*Job) []uint64 {
	all := make([]uint64, len(jobs))
	for i, j := range jobs {
		all[i] = j.Sequence
	}
	return all
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

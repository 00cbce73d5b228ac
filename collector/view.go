package collector

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// A view is what can be read of an account: its jobs, and a scheduler that knows them.
type view struct {
	jobs     *jobs.Jobs
	schedule *schedule.Scheduler
}

// viewOf returns a view of jobs. The scheduler has learnt what is stored, and knows no job yet.
func (a *Account) viewOf(j *jobs.Jobs, s *settings, now time.Time) view {
	v := view{jobs: j, schedule: schedule.New(s.limits, now)}
	if learnt := j.Learnt(); learnt != nil {
		if err := v.schedule.Recall(learnt); err != nil {
			a.log.Warn("Stored job durations cannot be used; learning starts again", "err", err)
		}
	}
	// What was sent before, as far as it can be shown before the first request.
	var log []schedule.Sent
	if l, err := s.login(); err == nil {
		log = a.quotas.log(a.name, j, s.sentWith(l), now)
	} else {
		for _, sent := range j.Sent(now) {
			log = append(log, schedule.Sent{Reserved: sent.Reserved, Requests: sent.Requests, ClockSet: sent.ClockSet})
		}
	}
	v.schedule.Restore(log, s.answeredWithin(), now)
	return v
}

// reading returns what is read of the account at present: what this process owns, or what Refresh has read last.
func (a *Account) reading() view {
	if o := a.owned.Load(); o != nil {
		return o.view
	}
	return *a.viewer.last.Load()
}

// Refresh reads the account again if another replica owns it, and what was read of it is older than a second or than
// the last write of this process. Reading a large account takes longer: it is not read for more than a tenth of the
// time. After an error, what was read last stays.
func (a *Account) Refresh(ctx context.Context) error {
	if a.replicas == nil || a.owned.Load() != nil {
		return nil
	}
	err := a.viewer.refresh(ctx)
	if err != nil {
		err = fmt.Errorf("reading the account from the database: %w", err)
	}
	a.viewer.failed.Store(&err)
	return err
}

// readTimeout is how long a page waits for the database.
const readTimeout = 10 * time.Second

// A viewer reads an account that another replica owns.
type viewer struct {
	account *Account
	stored  store.Account
	last    atomic.Pointer[view]  // what was read last; without jobs until then
	failed  atomic.Pointer[error] // of the last refresh
	changed atomic.Bool           // by this process, since it was read last

	reading chan struct{} // holds a value while a refresh reads; that refresh alone uses what follows
	at      time.Time     // when it was read last; zero: never
	took    time.Duration // how long that took
}

func newViewer(a *Account, stored store.Account) *viewer {
	v := &viewer{account: a, stored: stored, reading: make(chan struct{}, 1)}
	s, now := a.settings.Load(), a.now()
	empty, _ := jobs.Open(context.Background(), nil, s.forJobs(), now) // without a store, nothing can fail
	nothing := a.viewOf(empty, s, now)
	v.last.Store(&nothing)
	return v
}

// invalidate lets the next refresh read the account again.
func (v *viewer) invalidate() { v.changed.Store(true) }

func (v *viewer) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	select {
	case v.reading <- struct{}{}:
		defer func() { <-v.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	a, now := v.account, v.account.now()
	if !v.at.IsZero() && now.Sub(v.at) < max(time.Second, 10*v.took) && !v.changed.Load() {
		return nil
	}
	v.changed.Store(false)
	s := a.settings.Load()
	j, err := jobs.OpenView(ctx, v.stored, s.forJobs(), now)
	if err != nil {
		v.changed.Store(true)
		return err
	}
	read := a.viewOf(j, s, now)
	(&subscriber{schedule: read.schedule, log: a.log}).restore(j, now)
	read.schedule.RefreshAll(now) // no poller does
	v.last.Store(&read)
	v.at, v.took = now, a.now().Sub(now)
	return nil
}

// failure returns the error of the last refresh.
func (v *viewer) failure() error {
	if err := v.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// API returns how the API and the key are at present, as far as this process knows.
func (a *Account) API() APIState {
	if o := a.owned.Load(); o != nil {
		return o.poller.State()
	}
	return APIState{}
}

// Job returns what is known of one job, and when it is due to be polled (zero: unknown).
func (a *Account) Job(requestID string) (job *Job, next time.Time, known bool) {
	v := a.reading()
	job, known = v.jobs.Job(requestID)
	if known {
		next = v.schedule.View(a.now(), []uint64{job.Sequence}).NextPolls[0]
	}
	return job, next, known
}

// A JobPage is some of the jobs that a filter selects, the newest first.
type JobPage struct {
	Jobs      []*Job
	NextPolls []time.Time // when each is due; zero: unknown
	Finishes  []Finish    // when each is expected to have finished
	Next      string      // ID of the job after which the next page begins; empty: this is the last page
}

// Jobs returns at most limit jobs, from the one after the job with the ID after (empty: from the newest). A page that
// is not the last may have fewer, or none: one call looks at a bounded number of jobs. ok is false if the job after is
// not tracked.
func (a *Account) Jobs(f JobFilter, after string, limit int) (page JobPage, ok bool) {
	page, _, ok = a.SortedJobs(f, jobs.ByRegistration, false, after, limit)
	return page, ok
}

// SortedJobs returns jobs as Jobs does, in an order, which may be reversed. all is false if there are so many jobs that
// older ones were not looked at. Late jobs have one order: those that began first come first.
func (a *Account) SortedJobs(
	f JobFilter, by JobOrder, reverse bool, after string, limit int,
) (page JobPage, all, ok bool) {
	v, now := a.reading(), a.now()
	if f.Late {
		isLate := func(j *Job) bool { return v.schedule.IsLate(j.Sequence, now) }
		page.Jobs, page.Next, ok = v.jobs.Late(f, isLate, after, limit)
		all = true
	} else {
		page.Jobs, page.Next, all, ok = v.jobs.Sorted(f, by, reverse, after, limit, now)
	}
	view := v.schedule.View(now, sequences(page.Jobs))
	page.NextPolls, page.Finishes = view.NextPolls, view.Finishes
	return page, all, ok
}

// Counts returns the number of jobs by state.
func (a *Account) Counts() [len(jobs.States)]int { return a.reading().jobs.Counts() }

// LateJobs returns the number of late jobs, as of the last whole look at all jobs.
func (a *Account) LateJobs() int { return a.reading().schedule.View(a.now(), nil).Late.Jobs }

// Groups counts the jobs of the state that a filter selects, by what they have in common. It looks at a bounded number
// of values, and at those that the filter selects.
func (a *Account) Groups(f JobFilter) JobGroups { return a.reading().jobs.Groups(f) }

// History returns what happened in the last hours, and at most so many of the jobs that ended last.
func (a *Account) History(latest int) JobHistory { return a.reading().jobs.History(a.now(), latest) }

// Overview returns at most limit jobs of each kind, and counts the failures since a time.
func (a *Account) Overview(since time.Time, limit int) jobs.Overview {
	return a.reading().jobs.Overview(since, limit)
}

// Recent returns what was counted in the last hours, as far as this process has seen it.
func (a *Account) Recent() jobs.Recent { return a.reading().jobs.Recent(a.now()) }

// Timings returns the timings of the words or segments of a job's result, in order of
// start; nil if they are not kept.
func (a *Account) Timings(requestID string) []Timing { return a.reading().jobs.Timings(requestID) }

// NextPolls returns the next n polls in their order.
func (a *Account) NextPolls(n int) []Poll { return a.reading().schedule.NextPolls(a.now(), n) }

// Explain returns why and when an unfinished job is polled; ok is false if it is unknown.
func (a *Account) Explain(requestID string) (r Reason, ok bool) {
	v := a.reading()
	job, known := v.jobs.Job(requestID)
	if !known {
		return Reason{}, false
	}
	return v.schedule.Explain(job.Sequence, a.now())
}

// Plan returns the polls of the coming time, at most limit, and the usage of the
// day's quota after them, as if no job ended and none was registered; and the backlog now.
func (a *Account) Plan(length time.Duration, limit int) ([]Planned, Usage, Backlog) {
	return a.reading().schedule.Plan(a.now(), length, limit)
}

// StateChanges returns the state changes that were not delivered yet, the oldest first, at most limit. There are none
// without Options.MaxStateChanges, and none of an account that this process does not own: its owner emits them.
func (a *Account) StateChanges(limit int) []*StateChange {
	if o := a.owned.Load(); o != nil && o.owns() {
		return o.jobs.StateChanges(limit)
	}
	return nil
}

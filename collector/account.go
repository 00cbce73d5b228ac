package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/poller"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// An Account is the unit of ownership: a key with its quota, its jobs and their
// totals. It may be used by several goroutines at once.
type Account struct {
	// These do not change.
	name string
	log  *slog.Logger
	now  func() time.Time
	keys *keys // of all accounts

	settings    atomic.Pointer[settings] // replaced by reload
	closed      atomic.Bool              // by close
	webhookSeen atomic.Int64             // when the last readable webhook came, Unix nanoseconds; 0: never

	// Each of these has locks of its own. Events go from jobs to the scheduler; nothing
	// holds the lock of one while it takes that of another, but for that.
	jobs     *jobs.Jobs
	schedule *schedule.Scheduler
	poller   *poller.Poller
	sources  *sources
	keeper   housekeeper

	quotas *quotas
	login  login // of the last request; empty: none yet. Only useKey uses it

	// Only start and stop use these, and the collector calls one at a time.
	cancel  context.CancelFunc // ends the poller and the housekeeping
	abort   context.CancelFunc // ends the requests in flight
	workers sync.WaitGroup
}

func newAccount(s *settings, options Options, j *jobs.Jobs, k *keys, q *quotas) *Account {
	now := options.Now()
	a := &Account{
		name: s.config.Account, log: options.Logger.With("account", s.config.Account), now: options.Now, keys: k,
		jobs: j, schedule: schedule.New(s.limits, now), quotas: q,
	}
	a.settings.Store(s)
	a.poller = poller.New(a.schedule, j, a.forPoller(s), a.log, a.now)
	a.sources = newSources(j, k, a.log, a.now)
	a.keeper = housekeeper{jobs: j, schedule: a.schedule, quotas: q, log: a.log, now: a.now}
	if learnt := j.Learnt(); learnt != nil {
		if err := a.schedule.Recall(learnt); err != nil {
			a.log.Warn("Stored job durations cannot be used; learning starts again", "err", err)
		}
	}
	a.restore(s, now)
	f := &follower{schedule: a.schedule, poller: a.poller, log: a.log}
	f.restore(j, now)
	j.Subscribe(f.apply)
	return a
}

// Name returns the account's name.
func (a *Account) Name() string { return a.name }

func (a *Account) start() {
	a.logStart()
	// These contexts end with stop, not with the caller of start.
	running, cancel := context.WithCancel(context.Background())
	sending, abort := context.WithCancel(context.Background())
	a.cancel, a.abort = cancel, abort
	a.workers.Go(func() { a.poller.Run(running, sending) })
	a.workers.Go(func() { a.keeper.run(running) })
	a.sources.start(a.settings.Load())
}

// logStart logs what an operator checks first.
func (a *Account) logStart() {
	c := &a.settings.Load().config
	api, _ := url.Parse(c.URL) // Validate reports its error
	counts := a.jobs.Snapshot(a.now()).Counts
	a.log.Info("Account started", "api", api.Host,
		"requests_per_minute", c.RequestsPerMinute, "requests_per_day", c.RequestsPerDay,
		"unfinished_jobs", counts[Pending]+counts[Running], "request_ids", len(c.RequestIDs),
		"request_id_files", len(c.RequestIDFiles), "request_id_urls", len(c.RequestIDURLs))
}

// stop ends all work. Requests in flight may end until ctx is done.
func (a *Account) stop(ctx context.Context) {
	a.cancel()
	a.sources.stop()
	defer context.AfterFunc(ctx, a.abort)()
	a.workers.Wait()
	a.abort()
	a.finish()
}

// finish hands over what the scheduler has learnt, when all work has ended. close stores it.
func (a *Account) finish() {
	a.keeper.storeLearnt()
	a.settings.Load().close()
}

// close stores what was counted and learnt, and ends all writing.
func (a *Account) close() {
	if err := a.jobs.Close(); err != nil {
		a.log.Error("Counts and learned job durations could not be stored", "err", err)
	}
	a.closed.Store(true)
}

// reload takes other settings; nothing in it can fail.
func (a *Account) reload(s *settings) {
	old := a.settings.Swap(s)
	a.jobs.SetOptions(s.forJobs())
	a.schedule.SetLimits(s.limits)
	a.sources.reload(s)
	a.poller.SetSettings(a.forPoller(s))
	old.close()
}

// HoldsKey reports whether one of the jobs contains an API key, which must not be registered.
func (a *Account) HoldsKey(s []submission.Job) bool { return len(a.keys.without(s)) < len(s) }

// Register starts tracking jobs, and returns how many were new and how many were
// known. It is idempotent. They are stored when it returns.
func (a *Account) Register(from submission.Source, s []submission.Job) (registered, known int, err error) {
	if registered, known, err = a.jobs.Register(from, s, false, a.now()); err != nil {
		err = fmt.Errorf("registering jobs: %w", err)
	}
	return registered, known, err
}

// ErrUnknownJob means that a job is not tracked.
var ErrUnknownJob = errors.New("no such job")

// Remove stops tracking a job. It returns ErrUnknownJob if there is none.
func (a *Account) Remove(requestID string) error {
	was, err := a.jobs.Remove(requestID)
	switch {
	case err != nil:
		return fmt.Errorf("removing a job: %w", err)
	case !was:
		return ErrUnknownJob
	}
	return nil
}

// StateChanges returns the state changes that were not delivered yet, the oldest
// first, at most limit. There are none without Options.MaxStateChanges.
func (a *Account) StateChanges(limit int) []*StateChange { return a.jobs.StateChanges(limit) }

// Delivered marks the state changes with these numbers as delivered. They are not
// returned again, even after a restart. Other numbers are ignored.
func (a *Account) Delivered(numbers ...uint64) error {
	if err := a.jobs.Delivered(numbers); err != nil {
		return fmt.Errorf("marking state changes as delivered: %w", err)
	}
	return nil
}

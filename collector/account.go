package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outbound"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// An Account is the unit of ownership: a key with its quota, its jobs and their
// totals. It may be used by several goroutines at once.
type Account struct {
	// These do not change.
	name    string
	log     *slog.Logger
	now     func() time.Time
	keys    *keys // of all accounts
	quotas  *quotas
	store   string   // where it is stored, for the log
	sources *sources // has locks of its own
	writes  router

	settings atomic.Pointer[settings] // replaced by reload
	closed   atomic.Bool              // by close

	owned atomic.Pointer[ownedAccount] // nil while this process does not own the account

	// Several replicas only.
	replicas  *replicas  // nil: this process owns all accounts
	viewer    *viewer    // of the account while another replica owns it
	changing  sync.Mutex // serializes reload, stop, and the begin and end of an ownership
	emissions emissions  // has a lock of its own
}

// newAccount returns an account that this process does not own yet. r is nil if this process owns all accounts.
func newAccount(s *settings, options Options, k *keys, q *quotas, r *replicas) *Account {
	a := &Account{
		name: s.config.Account, log: options.Logger.With("account", s.config.Account), now: options.Now, keys: k,
		quotas: q, store: storeOf(&s.config, options),
	}
	a.settings.Store(s)
	a.writes = router{owned: &a.owned}
	if a.replicas = r; r != nil {
		a.viewer = newViewer(a, r.db.Account(a.name))
		a.writes.remote = invalidating{jobs.NewRemote(a.name, r.db, s.forJobs()), a.viewer}
	}
	a.sources = newSources(a.writes, k, a.log, a.now)
	return a
}

// Name returns the account's name.
func (a *Account) Name() string { return a.name }

// start starts all work, but for that of the owner if there are replicas.
func (a *Account) start() {
	a.logStart()
	if a.replicas != nil {
		a.sources.startFiles(a.settings.Load())
		return
	}
	a.owned.Load().start()
	a.sources.start(a.settings.Load())
}

// logStart logs what an operator checks first.
func (a *Account) logStart() {
	c := &a.settings.Load().config
	attrs := []any{
		"url", outbound.WithoutSecrets(c.URL), "requests_per_minute", c.RequestsPerMinute,
		"requests_per_day", c.RequestsPerDay,
		"store", a.store,
	}
	if o := a.owned.Load(); o != nil {
		all, unfinished := o.count(a.now())
		attrs = append(attrs, "jobs", all, "unfinished_jobs", unfinished)
	}
	a.log.Info("Account started", append(attrs, "request_ids", len(c.RequestIDs),
		"request_id_files", len(c.RequestIDFiles), "request_id_urls", len(c.RequestIDURLs),
		"webhooks", c.WebhookToken != "")...)
}

// logGone logs that a reload has removed the account, and what becomes of its jobs.
func (a *Account) logGone() {
	then := "kept, but not polled, until it is configured again"
	switch {
	case a.replicas != nil:
		then = "kept, and polled by the replicas that have it"
	case a.store == notStored:
		then = "forgotten, since they are not stored"
	}
	var attrs []any
	if a.replicas == nil { // else another replica may own the account, and know them
		counts := a.reading().jobs.Counts()
		attrs = append(attrs, "unfinished_jobs", counts[Pending]+counts[Running])
	}
	a.log.Info("Account is no longer configured; its jobs are "+then, attrs...)
}

// notStored is the store of an account that is not stored.
const notStored = "memory"

// storeOf returns where an account is stored.
func storeOf(c *Config, options Options) string {
	if c.DatabaseURL != "" {
		return postgres.Shown(c.DatabaseURL)
	}
	return cmp.Or(options.StateDirectory, notStored)
}

// stop ends all work. Requests in flight may end until ctx is done.
func (a *Account) stop(ctx context.Context) {
	a.changing.Lock()
	defer a.changing.Unlock()
	o := a.owned.Load()
	if o != nil {
		o.stopping()
	}
	a.sources.stop()
	if o != nil {
		o.stop(ctx)
	}
	a.settings.Load().close()
}

// close stores what was counted and learnt, and ends all writing.
func (a *Account) close() {
	if o := a.owned.Load(); o != nil {
		o.close()
	}
	if a.writes.remote != nil {
		a.writes.remote.close()
	}
	a.closed.Store(true)
}

// reload takes other settings; nothing in it can fail.
func (a *Account) reload(s *settings) {
	a.changing.Lock()
	defer a.changing.Unlock()
	old := a.settings.Swap(s)
	if a.replicas != nil {
		a.writes.remote.SetOptions(s.forJobs())
	}
	if o := a.owned.Load(); o != nil {
		s.gate.set(o.owns)
		o.reload(s)
	}
	a.sources.reload(s)
	old.close()
}

// HoldsKey reports whether one of the jobs contains a key or token, which must not be registered.
func (a *Account) HoldsKey(s []submission.Job) bool { return len(a.keys.without(s)) < len(s) }

// Register starts tracking jobs, and returns how many were new and how many were
// known. It is idempotent. They are stored when it returns.
func (a *Account) Register(from submission.Source, s []submission.Job) (registered, known int, err error) {
	if registered, known, err = a.writes.Register(from, s, false, a.now()); err != nil {
		err = fmt.Errorf("registering jobs: %w", err)
	}
	return registered, known, err
}

// ErrUnknownJob means that a job is not tracked.
var ErrUnknownJob = errors.New("no such job")

// Remove stops tracking a job. It returns ErrUnknownJob if there is none.
func (a *Account) Remove(requestID string) error {
	was, err := a.writes.Remove(requestID)
	switch {
	case err != nil:
		return fmt.Errorf("removing a job: %w", err)
	case !was:
		return ErrUnknownJob
	}
	return nil
}

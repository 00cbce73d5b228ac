package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/replica"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/wake"
)

const (
	// connectTimeout is how long a start waits for the database.
	connectTimeout = 30 * time.Second
	// loadTimeout is much longer than loading millions of jobs takes.
	loadTimeout = 5 * time.Minute
)

// replicas is this process as one of several replicas that share a database: it owns the accounts that package replica
// gives it.
type replicas struct {
	db      *postgres.DB
	url     string // of the database
	lease   time.Duration
	replica *replica.Replica[*postgres.Tenure]
	log     *slog.Logger
	poll    bool          // owners poll; only start sets it
	begun   chan struct{} // without poll: this process owns one more account

	end     context.CancelFunc // of what start begins; nil before
	workers sync.WaitGroup

	mu       sync.Mutex // guards what follows
	accounts map[string]*Account
	held     map[string]*holding
	assigned time.Time // when accounts were configured or taken over last
	stopped  bool      // nothing begins any more
	// unloadable are the accounts of which that was logged.
	unloadable map[string]bool

	recalling sync.Mutex // serializes recall, and guards what follows
	recalled  time.Time
	failed    time.Time // when recall failed last
	failure   error     // of that
}

// A holding is an account for as long as this process owns it.
type holding struct {
	account *Account
	tenure  *postgres.Tenure
	release chan string   // the ID of the successor, once
	aborted chan struct{} // closed by abort
	abort   func()        // ends loading and requests in flight, and releases the account
	over    chan struct{} // closed when this process owns it no more, and all work has ended
}

func newHolding(a *Account, t *postgres.Tenure) *holding {
	h := &holding{
		account: a, tenure: t,
		release: make(chan string, 1), aborted: make(chan struct{}), over: make(chan struct{}),
	}
	h.abort = sync.OnceFunc(func() { close(h.aborted) })
	return h
}

// working returns a context that ends when the tenure does, or with abort.
func (h *holding) working() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		select {
		case <-h.tenure.Done():
		case <-h.aborted:
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// await waits until the holding is over. When ctx is done, its work is aborted; a lease later, nothing of it is
// stored any more, and the lease runs out.
func (h *holding) await(ctx context.Context, lease time.Duration) {
	select {
	case <-h.over:
		return
	case <-ctx.Done():
	}
	h.abort()
	select {
	case <-h.over:
	case <-time.After(lease):
		h.tenure.Drop()
		<-h.over
	}
}

func openReplicas(config *Config, options Options) (*replicas, error) {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	open := postgres.Open
	if options.ReadOnly {
		open = postgres.OpenToRead
	}
	db, err := open(ctx, config.DatabaseURL, options.Logger)
	if err != nil {
		return nil, err
	}
	if !options.ReadOnly {
		// That of the others may be as long as any.
		agreeing, done := context.WithTimeout(context.Background(), connectTimeout+2*maxLease)
		defer done()
		if err := db.AgreeOnLease(agreeing, config.Lease); err != nil {
			_ = db.Close()
			return nil, err
		}
	}
	name := options.ReplicaName
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			name = "replica"
		}
	}
	return &replicas{
		db: db, url: config.DatabaseURL, lease: config.Lease, log: options.Logger,
		accounts: make(map[string]*Account), held: make(map[string]*holding), unloadable: make(map[string]bool),
		replica: replica.New(db, replica.Options{
			Name: name, URL: options.ReplicaURL, Lease: config.Lease, Log: options.Logger,
		}),
	}, nil
}

// changed returns an option of a new configuration that cannot be changed while the process runs; empty: there is none.
func (r *replicas) changed(config *Config) (option string) {
	var url string
	lease := config.Lease
	if r != nil {
		url, lease = r.url, r.lease
	}
	switch {
	case config.DatabaseURL != url:
		return "database_url"
	case config.Lease != lease:
		return "lease"
	}
	return ""
}

// start begins to take part. The owners of accounts poll if poll is set. Otherwise this process takes no account from
// another replica.
func (r *replicas) start(accounts []*Account, poll bool) {
	r.poll, r.begun = poll, make(chan struct{}, len(accounts))
	if !poll {
		r.replica.TakeFreeOnly()
	}
	r.setAccounts(accounts)
	ctx, end := context.WithCancel(context.Background())
	r.end = end
	r.workers.Go(func() { r.replica.Run(ctx) })
	r.workers.Go(func() {
		for c := range r.replica.Changes() {
			r.apply(c)
		}
	})
	r.workers.Go(func() { r.db.Listen(ctx, r.notified, r.sent) })
}

// settle waits until this process owns n accounts, or another replica certainly owns them.
func (r *replicas) settle(ctx context.Context, n int) error {
	timeout := time.NewTimer(3 * r.lease)
	defer timeout.Stop()
	for range n {
		select {
		case <-r.begun:
		case <-timeout.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// setAccounts says which accounts are configured. Others are released.
func (r *replicas) setAccounts(accounts []*Account) {
	names := make([]string, len(accounts))
	r.mu.Lock()
	r.assigned = time.Now()
	clear(r.accounts)
	for i, a := range accounts {
		names[i] = a.name
		r.accounts[a.name] = a
	}
	r.mu.Unlock()
	r.replica.SetAccounts(names)
}

// apply does what package replica asks for.
func (r *replicas) apply(c replica.Change[*postgres.Tenure]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.Release {
		if h := r.held[c.Account]; h != nil {
			select {
			case h.release <- c.Successor:
			default: // it was asked before
			}
		}
		return
	}
	if r.stopped {
		c.Tenure.Drop()
		return
	}
	a := r.accounts[c.Account]
	if a == nil { // a reload has removed it just now
		r.workers.Go(func() { r.giveBack(c.Tenure, c.Account, "") })
		return
	}
	r.assigned = time.Now()
	before := r.held[c.Account]
	h := newHolding(a, c.Tenure)
	r.held[c.Account] = h
	r.workers.Go(func() {
		if before != nil {
			<-before.over // its work must have ended
		}
		r.hold(h)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.held[c.Account] == h {
			delete(r.held, c.Account)
		}
		close(h.over)
	})
}

// hold owns an account until its tenure ends.
func (r *replicas) hold(h *holding) {
	a, t := h.account, h.tenure
	begin := time.Now()
	o, err := r.load(h)
	if err != nil {
		select {
		case <-t.Done(): // that is why
			a.log.Warn("This replica lost the account before it was loaded", "err", err)
			return
		case <-h.aborted: // that is why
		default:
			r.reportUnloadable(a, err)
		}
		r.giveBack(t, a.name, "")
		return
	}
	r.reportUnloadable(a, nil)
	if !r.poll {
		select {
		case r.begun <- struct{}{}:
		default: // it began again after nobody waits for it any more
		}
	}
	all, unfinished := o.count(a.now())
	a.log.Info("This replica owns the account", "loaded_in", time.Since(begin).Round(time.Millisecond),
		"jobs", all, "unfinished_jobs", unfinished)
	var successor string
	select {
	case <-t.Done():
		a.abandon(o)
		a.log.Warn("This replica does not own the account any more")
		return
	case successor = <-h.release:
	case <-h.aborted:
	}
	a.handOver(h, o)
	a.tellSuccessor(o.jobs.StateChanges(math.MaxInt), t.Done(), r.lease)
	r.giveBack(t, a.name, successor)
	a.log.Info("This replica has released the account", "successor", successor)
}

// load begins the ownership of an account. For a lease it tries again, more and more seldom: who takes the account over
// then, most likely this process, may fail in the same way.
func (r *replicas) load(h *holding) (*ownedAccount, error) {
	until := time.Now().Add(r.lease)
	for pause := r.lease / 64; ; pause *= 2 {
		o, err := h.account.begin(h, r.poll)
		if err == nil || time.Now().Add(pause).After(until) {
			return o, err
		}
		select {
		case <-h.tenure.Done():
			return nil, err
		case <-h.aborted:
			return nil, err
		case <-time.After(pause):
		}
	}
}

// reportUnloadable logs once that an account cannot be loaded. A nil error says that it can.
func (r *replicas) reportUnloadable(a *Account, err error) {
	r.mu.Lock()
	logged := r.unloadable[a.name]
	r.unloadable[a.name] = err != nil
	r.mu.Unlock()
	if err != nil && !logged {
		a.log.Error("Account cannot be loaded; nobody polls or shows it until it can", "err", err)
	}
}

// giveBack releases a tenure. If that fails, the lease runs out.
func (r *replicas) giveBack(t *postgres.Tenure, account, successor string) {
	ctx, cancel := context.WithTimeout(context.Background(), r.lease)
	defer cancel()
	if err := t.Release(ctx, successor); err != nil && !errors.Is(err, store.ErrNotOwner) {
		r.log.Warn("The lease could not be released, and runs out", "account", account, "err", err)
	}
}

// notified is told that the lease of an account has changed, or maybe that a message has come for it; empty: for all.
func (r *replicas) notified(account string) {
	r.replica.Notified(account)
	r.sent(account)
}

// sent is told that a message has come for an account; empty: maybe for all.
func (r *replicas) sent(account string) {
	r.each(func(h *holding) {
		if account == "" || account == h.account.name {
			if o := h.account.owned.Load(); o != nil {
				o.notice.Send()
			}
		}
	})
}

// recall reads what accounts have sent that other replicas own: the key of one may be that of another now. Unless a key
// has moved, a takeover of many accounts reads it once.
func (r *replicas) recall(q *quotas, moved bool, now func() time.Time) error {
	r.recalling.Lock()
	defer r.recalling.Unlock()
	r.mu.Lock()
	known := !moved && r.recalled.After(r.assigned)
	r.mu.Unlock()
	if known {
		return nil
	}
	// Those that have waited for one that failed do not each wait for as long themselves.
	if time.Since(r.failed) < recallAgain {
		return r.failure
	}
	begin := time.Now()
	if err := r.readSent(q, now()); err != nil {
		r.failed, r.failure = time.Now(), err
		return err
	}
	r.recalled = begin
	return nil
}

// recallAgain is when accounts that wait for a recall try again after one that failed.
const recallAgain = 5 * time.Second

// readSent reads what accounts have sent of which this process has none loaded.
func (r *replicas) readSent(q *quotas, now time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	senders, err := r.db.Senders(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.DeleteFunc(senders, q.entered) {
		j, err := jobs.Open(ctx, r.db.Sender(name), jobs.Options{}, now)
		if err != nil {
			return err
		}
		q.recall(name, j.Sent(now))
		_ = j.Close() // it has nothing to write
	}
	return nil
}

// rival returns another configured account that has a quota, and at present this login; empty: there is none. Any replica
// may own it.
func (r *replicas) rival(account string, l login) string {
	r.mu.Lock()
	accounts := maps.Clone(r.accounts)
	r.mu.Unlock()
	delete(accounts, account)
	for _, name := range slices.Sorted(maps.Keys(accounts)) {
		s := accounts[name].settings.Load()
		if present, err := s.login(); err == nil && present == l && s.limited() {
			return name
		}
	}
	return ""
}

// wait returns when accounts that are not configured any more are released, as await does.
func (r *replicas) wait(ctx context.Context, gone []*Account) {
	var waits sync.WaitGroup
	defer waits.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range gone {
		if h := r.held[a.name]; h != nil {
			waits.Go(func() { h.await(ctx, r.lease) })
		}
	}
}

// stop releases all accounts. When ctx is done, their work is aborted. What is not released a lease later is left
// to run out.
func (r *replicas) stop(ctx context.Context) {
	if r.end == nil {
		return
	}
	leaving, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		r.each(func(h *holding) { h.abort() })
		time.AfterFunc(r.lease, cancel)
	})()
	if err := r.replica.Leave(leaving); err != nil {
		r.log.Warn("Other replicas take over only after the lease", "err", err)
	}
	r.end()
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.each(func(h *holding) { h.tenure.Drop() })
	r.workers.Wait()
}

// each calls a function with all holdings.
func (r *replicas) each(do func(*holding)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.held {
		do(h)
	}
}

// begin makes this process the owner of the account.
func (a *Account) begin(h *holding, poll bool) (*ownedAccount, error) {
	working, end := h.working()
	defer end()
	ctx, cancel := context.WithTimeout(working, loadTimeout)
	defer cancel()
	t := h.tenure
	slow := time.AfterFunc(a.replicas.lease, func() {
		a.log.Warn("Loading the account takes longer than the lease; until it is loaded, nobody shows or polls it")
	})
	defer slow.Stop()
	j, err := jobs.Open(ctx, t, a.settings.Load().forJobs(), a.now())
	if err != nil {
		return nil, err
	}
	if err := j.Receive(); err != nil { // what came meanwhile belongs to what is shown
		return nil, fmt.Errorf("receiving messages: %w", err)
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	s := a.settings.Load() // a reload may have replaced them
	j.SetOptions(s.forJobs())
	a.quotas.enter(a.name, j)
	o := a.own(j)
	o.valid, o.lost, o.notice = t.Valid, t.Done(), wake.NewSignal()
	s.gate.set(t.Valid)
	a.owned.Store(o)
	if poll {
		o.start()
		a.sources.startOwned(s)
	}
	return o, nil
}

// abandon ends a lost ownership. Nothing is shown from the first moment on, and nothing is stored.
func (a *Account) abandon(o *ownedAccount) {
	a.changing.Lock()
	defer a.changing.Unlock()
	a.owned.Store(nil)
	o.stopping()
	o.abort()
	a.sources.stopOwned()
	o.stop(context.Background())               // its requests are aborted
	a.quotas.handOver(a.name, o.jobs, a.now()) // not before: a poller that runs would take the quota again
	_ = o.jobs.Close()                         // it cannot store anything
}

// handOver ends an ownership in order. What comes meanwhile goes into the inbox.
func (a *Account) handOver(h *holding, o *ownedAccount) {
	a.changing.Lock()
	defer a.changing.Unlock()
	working, end := h.working()
	defer end()
	ctx, cancel := context.WithTimeout(working, a.settings.Load().config.Timeout)
	defer cancel()
	o.stopping()
	a.sources.stopOwned()
	o.stop(ctx)
	o.close()
	a.quotas.handOver(a.name, o.jobs, a.now())
	if a.replicas.poll { // else Once has ended, and what it has learnt is read
		a.owned.Store(nil)
	}
}

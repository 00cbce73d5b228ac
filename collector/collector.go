// Package collector monitors jobs of the DeepAffects API: it tracks request IDs,
// spends the quota on polling their jobs, and keeps the results for a face (a Telegraf
// plugin, a Prometheus exporter) to show. It knows no face.
package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

// Options are the options of a collector beside its configuration.
type Options struct {
	Logger *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // the clock; nil: time.Now. Tests set a clock that jumps.
	// StateDirectory is where the store lives; empty: in memory.
	StateDirectory string
	// Engine is the store; nil: that of StateDirectory. A demo has one that begins with a past.
	Engine store.Engine
	// ReplicaName and ReplicaURL are how others know this process, if the configuration has a database: a name such as
	// that of the host (empty: that), and the URL of its pages (empty: unknown).
	ReplicaName, ReplicaURL string
	// ReadOnly lets New change nothing in the database that replicas share. The collector must not be started.
	ReadOnly bool
	// Transport replaces the network to the API; nil: the network. The demo and tests set a simulated API.
	Transport http.RoundTripper
	// MaxStateChanges is the maximum number of undelivered state changes of an account;
	// beyond it the oldest are dropped and counted. 0: none are kept.
	MaxStateChanges int
}

// A Collector monitors the jobs of one or several accounts. It may be used by several goroutines at once.
type Collector struct {
	options Options // do not change
	keys    keys
	quotas  *quotas // has a lock of its own

	changing sync.Mutex // serializes Start, Reload and Stop, and guards what follows
	running  bool
	stopped  bool         // for good
	engine   store.Engine // nil: in memory
	replicas *replicas    // nil: this process owns all accounts

	mu       sync.Mutex // taken after changing; guards what follows, which is written with both
	accounts []*Account // in the order of the configuration
}

// ErrStoreInUse is wrapped by the error of New if another process uses the state directory.
var ErrStoreInUse = sqlite.ErrInUse

// A StoreError is the error of New about the store. Its caller knows the option that says where that is.
type StoreError struct{ err error }

func (e *StoreError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *StoreError) Unwrap() error { return e.err }

// New returns a collector for these accounts. It reads the files that the
// configuration names (keys, certificates) and the store, and uses no network. The
// error holds every mistake. A collector that is never started must be stopped, too.
func New(configs []Config, options Options) (*Collector, error) {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	settings, err := prepareAll(configs, options)
	if err != nil {
		return nil, err
	}
	c := &Collector{options: options, quotas: newQuotas()}
	c.keys.set(settings)
	if err := c.openStore(settings); err != nil {
		c.close()
		return nil, &StoreError{err}
	}
	return c, nil
}

// openStore opens the store, and the accounts with what is stored of them.
func (c *Collector) openStore(settings []*settings) (err error) {
	switch {
	case settings[0].config.DatabaseURL != "": // that of all accounts
		if c.replicas, err = openReplicas(&settings[0].config, c.options); err != nil {
			return err
		}
		c.engine = c.replicas.db
	case c.options.Engine != nil:
		c.engine = c.options.Engine
	case c.options.StateDirectory != "":
		db, err := sqlite.Open(c.options.StateDirectory, c.options.Logger)
		if err != nil {
			return err
		}
		c.engine = db
	}
	if err := c.recallSenders(settings); err != nil {
		return err
	}
	if err := c.reportOthers(settings); err != nil {
		return err
	}
	c.accounts, err = c.open(settings)
	return err
}

// reportOthers logs which accounts of the store are not configured, such as after a change of a name. With replicas,
// others may have them.
func (c *Collector) reportOthers(configured []*settings) error {
	if c.engine == nil || c.replicas != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	others, err := c.engine.Accounts(ctx)
	others = slices.DeleteFunc(others, func(name string) bool {
		return slices.ContainsFunc(configured, func(s *settings) bool { return s.config.Account == name })
	})
	if len(others) > 0 {
		c.options.Logger.Info("Store has accounts that are not configured; their jobs are kept, but not polled",
			"accounts", others)
	}
	return err
}

// recallSenders recalls what accounts of the store have sent that are not configured: the key of one may be that of
// another now. With replicas, others may send for them: the first request of an account recalls what they have sent.
func (c *Collector) recallSenders(configured []*settings) error {
	if c.engine == nil || c.replicas != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	senders, err := c.engine.Senders(ctx)
	for _, name := range senders {
		if slices.ContainsFunc(configured, func(s *settings) bool { return s.config.Account == name }) {
			continue
		}
		err = errors.Join(err, c.quotas.leave(name, nil, c.engine.Sender(name), c.options.Now()))
	}
	return err
}

// open returns accounts with what is stored of them; if there are replicas, not owned yet.
func (c *Collector) open(settings []*settings) ([]*Account, error) {
	accounts := make([]*Account, len(settings))
	if c.replicas != nil {
		for i, s := range settings {
			accounts[i] = newAccount(s, c.options, &c.keys, c.quotas, c.replicas)
		}
		return accounts, nil
	}
	opened := make([]*jobs.Jobs, len(settings))
	var former []string
	for i, s := range settings {
		var stored store.Account
		if c.engine != nil {
			stored = c.engine.Account(s.config.Account)
		}
		if c.quotas.reopen(s.config.Account) {
			former = append(former, s.config.Account)
		}
		var err error
		if opened[i], err = jobs.Open(context.Background(), stored, s.forJobs(), c.options.Now()); err != nil {
			for _, name := range former {
				err = errors.Join(err, c.quotas.leave(name, nil, c.engine.Sender(name), c.options.Now()))
			}
			return nil, err
		}
	}
	for i, s := range settings {
		c.quotas.enter(s.config.Account, opened[i])
	}
	for i, s := range settings {
		accounts[i] = newAccount(s, c.options, &c.keys, c.quotas, nil)
		accounts[i].owned.Store(accounts[i].own(opened[i]))
	}
	return accounts, nil
}

// close closes the database: at once, or when what was emitted is delivered, or is not expected to be any more.
func (c *Collector) close() {
	engine := c.engine
	if engine == nil {
		return
	}
	c.engine = nil
	closeNow := func() {
		if err := engine.Close(); err != nil {
			c.options.Logger.Error("Store could not be closed", "err", err)
		}
	}
	var late []*emissions
	for _, a := range c.accounts {
		if a.emissions.remote != nil { // only stop sets it
			late = append(late, &a.emissions)
		}
	}
	if late == nil {
		closeNow()
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), jobs.HoldFor)
		defer cancel()
		for _, l := range late {
			l.endDelivering(ctx)
		}
		closeNow()
	}()
}

// Check returns the error that New would for a configuration, and keeps nothing.
func Check(configs []Config) error {
	_, err := prepareAll(configs, Options{})
	return err
}

// Start starts to read the sources and to poll the API, in the background. After Stop it does nothing.
func (c *Collector) Start() {
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.running || c.stopped {
		return
	}
	c.running = true
	for _, a := range c.accounts {
		a.start()
	}
	if c.replicas != nil {
		c.replicas.start(c.accounts, true)
	}
}

// stopGrace is how long a stop waits for the disk when requests may not end any more.
const stopGrace = 5 * time.Second

// Stop ends all work: no request is sent any more, and those in flight may end until ctx is done. It may be
// called more than once. The accounts can be read after it, but not written, except by Account.Delivered after
// Account.Emitted. If the disk or the database hangs, it returns 5 seconds after ctx is done, and logs what was not
// stored.
func (c *Collector) Stop(ctx context.Context) {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.stop(ctx)
	}()
	select {
	case <-stopped:
		return
	case <-ctx.Done():
	}
	select {
	case <-stopped:
	case <-time.After(stopGrace):
		c.reportHanging()
	}
}

// reportHanging logs what a stop leaves behind because the disk or the database hangs.
func (c *Collector) reportHanging() {
	var unstored []string
	for _, a := range c.Accounts() {
		if !a.closed.Load() {
			unstored = append(unstored, a.name)
		}
	}
	if unstored == nil {
		c.options.Logger.Warn("Store does not answer; stopping without closing it. Nothing is lost")
		return
	}
	c.options.Logger.Error("Store does not answer; stopping without closing it. Nothing that was acknowledged is lost, "+
		"but counts since the last commit and learned job durations are", "accounts", unstored)
}

func (c *Collector) stop(ctx context.Context) {
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.stopped {
		return
	}
	if c.replicas != nil {
		for _, a := range c.accounts {
			a.keepDelivering()
		}
		c.replicas.stop(ctx)
	}
	if c.running {
		stopAll(ctx, c.accounts)
	}
	c.running, c.stopped = false, true
	for _, a := range c.accounts {
		a.close() // a late webhook finds it closed, not broken
	}
	c.quotas.close()
	c.close()
}

func stopAll(ctx context.Context, accounts []*Account) {
	var wg sync.WaitGroup
	for _, a := range accounts {
		wg.Go(func() { a.stop(ctx) })
	}
	wg.Wait()
}

// ErrStopped is the error of a reload after Stop.
var ErrStopped = errors.New("the collector is stopped")

// Reload takes another configuration. Accounts that stay keep their jobs, their quota
// and their counters. Everything that can fail is done first; on an error nothing has
// changed. The requests of accounts that leave may end until ctx is done.
func (c *Collector) Reload(ctx context.Context, configs []Config) error {
	prepared, err := prepareAll(configs, c.options)
	if err != nil {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.stopped {
		return ErrStopped
	}
	if option := c.replicas.changed(&prepared[0].config); option != "" {
		return fmt.Errorf("account %q: %s: a change takes effect after a restart only; restart, or change it back",
			prepared[0].config.Account, option)
	}
	leaving := make(map[string]*Account)
	for _, a := range c.accounts {
		leaving[a.name] = a
	}
	var added []*settings
	for _, s := range prepared {
		if leaving[s.config.Account] == nil {
			added = append(added, s)
		}
	}
	joining, err := c.open(added)
	if err != nil {
		return err
	}
	c.keys.set(prepared)
	accounts, joined := make([]*Account, len(prepared)), 0
	var staying []*Account
	for i, s := range prepared {
		if accounts[i] = leaving[s.config.Account]; accounts[i] == nil {
			accounts[i] = joining[joined]
			joined++
			continue
		}
		delete(leaving, s.config.Account)
		accounts[i].reload(s)
		staying = append(staying, accounts[i])
	}
	c.mu.Lock()
	c.accounts = accounts
	c.mu.Unlock()
	gone := slices.Collect(maps.Values(leaving))
	if c.running {
		if c.replicas != nil {
			c.replicas.setAccounts(staying)
			c.replicas.wait(ctx, gone)
		}
		stopAll(ctx, gone)
	}
	for _, a := range gone {
		a.close() // it must not write beside an account that a later reload opens
		a.logGone()
		if c.replicas != nil { // another replica may send for it from now on; what this one has sent is stored
			continue
		}
		var stored store.Account
		if c.engine != nil {
			stored = c.engine.Sender(a.name)
		}
		if err := c.quotas.leave(a.name, a.reading().jobs, stored, c.options.Now()); err != nil {
			c.options.Logger.Error("Requests of an account cannot be read", "err", err)
		}
	}
	if c.running {
		for _, a := range joining { // not before: one may have the key of an account that leaves
			a.start()
		}
		if c.replicas != nil {
			c.replicas.setAccounts(accounts)
		}
	}
	return nil
}

// Accounts returns the accounts in the order of the configuration.
func (c *Collector) Accounts() []*Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.accounts)
}

// Configs returns the present configuration of each account, in their order.
func (c *Collector) Configs() (configs []Config) {
	for _, a := range c.Accounts() {
		configs = append(configs, a.settings.Load().config)
	}
	return configs
}

// Account finds an account by name; an empty name means the only one. The error says what to do.
func (c *Collector) Account(name string) (*Account, error) { return Find(c.Accounts(), name) }

// Find finds one of the given accounts as Collector.Account does.
func Find(accounts []*Account, name string) (*Account, error) {
	if name == "" {
		if len(accounts) != 1 {
			return nil, errors.New("several accounts are configured; name one")
		}
		return accounts[0], nil
	}
	for _, a := range accounts {
		if a.name == name {
			return a, nil
		}
	}
	return nil, errors.New("no such account")
}

// Healthy returns an error if the poller of an account has not moved for longer than it ever should.
func (c *Collector) Healthy() error {
	for _, a := range c.Accounts() {
		o := a.owned.Load()
		if o == nil {
			continue
		}
		if err := o.poller.Healthy(); err != nil {
			return fmt.Errorf("account %q: %w", a.name, err)
		}
	}
	return nil
}

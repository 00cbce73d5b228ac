// Package collector watches jobs at the DeepAffects API: it tracks request
// IDs, spends the quota on asking about them, and keeps what came of it for a
// face (a Telegraf plugin, a Prometheus exporter) to show. It knows neither face.
package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

// Options are what a collector runs with, beside its configuration.
type Options struct {
	// Logger takes what an operator should know; nil discards it.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now. Tests set a clock that jumps.
	Now func() time.Time
	// StateDirectory is where the register lives; empty: in memory.
	StateDirectory string
	// Transport replaces the network to the API; nil is the network. The demo
	// and tests set a simulated API.
	Transport http.RoundTripper
	// MaxChanges is for a face that must tell of each change of a job's state: they
	// are kept until Account.Delivered is told that they have been delivered, so many
	// of an account at most. More push the oldest out, which is counted in
	// Snapshot.Totals.ChangesDropped. 0: none are kept.
	MaxChanges int
}

// A Collector watches the jobs of one or several accounts. It may be used by
// several goroutines at once.
type Collector struct {
	options Options

	changing sync.Mutex // makes Start, Reload and Stop take turns, and guards what they need
	running  bool
	db       *sqlite.DB // nil: in memory

	mu       sync.Mutex
	accounts []*Account // in the order of the configuration; only who holds both locks puts others in their place
}

// New returns a collector for these accounts. It reads the files that the
// configuration names (keys, certificates) and the register, and touches no
// network. The error holds every mistake that was found. A collector that is never
// started must be stopped all the same.
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
	c := &Collector{options: options}
	if options.StateDirectory != "" {
		if c.db, err = sqlite.Open(options.StateDirectory, options.Logger); err != nil {
			return nil, fmt.Errorf("opening the register: %w", err)
		}
	}
	for _, s := range settings {
		a, err := c.open(s)
		if err != nil {
			c.close()
			return nil, err
		}
		c.accounts = append(c.accounts, a)
	}
	if c.db != nil {
		c.db.Loaded()
	}
	return c, nil
}

// open returns an account with what is stored of it.
func (c *Collector) open(s *settings) (*Account, error) {
	now := c.options.Now()
	if c.db == nil {
		return newAccount(s, c.options, jobs.New(s.registerOptions(), now)), nil
	}
	r, err := jobs.Open(context.Background(), s.registerOptions(), c.db.Account(s.config.Account), now)
	if err != nil {
		return nil, err
	}
	return newAccount(s, c.options, r), nil
}

// close closes the database.
func (c *Collector) close() {
	if c.db == nil {
		return
	}
	if err := c.db.Close(); err != nil {
		c.options.Logger.Error("The register could not be closed", "err", err)
	}
	c.db = nil
}

// Check returns the error that New would, and keeps nothing.
func Check(configs []Config) error {
	_, err := prepareAll(configs, Options{})
	return err
}

// prepareAll does everything about a configuration that can fail.
func prepareAll(configs []Config, options Options) ([]*settings, error) {
	var all []*settings
	mistakes := []error{ValidateAll(configs)}
	for _, config := range configs {
		s, more := prepare(config, options)
		mistakes = append(mistakes, more...)
		all = append(all, s)
	}
	return all, errors.Join(mistakes...)
}

// Start begins to read the sources and to ask the API, in the background.
func (c *Collector) Start() {
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.running {
		return
	}
	c.running = true
	for _, a := range c.accounts {
		a.start()
	}
}

// Stop ends all work: no new request is begun, and those under way may still
// end until ctx does. It may be called more than once. What was collected can be
// read after it, and changed no more where it is stored.
func (c *Collector) Stop(ctx context.Context) {
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.running {
		c.running = false
		stopAll(ctx, c.accounts)
	}
	if c.db != nil { // whoever still comes, such as a webhook, finds it closed and not broken
		for _, a := range c.accounts {
			_ = a.stored(a.register.Close())
		}
	}
	c.close()
}

func stopAll(ctx context.Context, accounts []*Account) {
	var wg sync.WaitGroup
	for _, a := range accounts {
		wg.Go(func() { a.stop(ctx) })
	}
	wg.Wait()
}

// Reload takes another configuration: accounts come and go, and those that stay
// keep their jobs, their quota and their counters. Everything that can fail is
// done first; on an error nothing has changed. The requests of accounts that go
// may still end until ctx does.
func (c *Collector) Reload(ctx context.Context, configs []Config) error {
	prepared, err := prepareAll(configs, c.options)
	if err != nil {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	gone := make(map[string]*Account)
	for _, a := range c.accounts {
		gone[a.name] = a
	}
	accounts := make([]*Account, len(prepared))
	for i, s := range prepared {
		if gone[s.config.Account] == nil {
			if accounts[i], err = c.open(s); err != nil {
				return err
			}
		}
	}
	for i, s := range prepared {
		if a := accounts[i]; a == nil {
			accounts[i] = gone[s.config.Account]
			delete(gone, s.config.Account)
			accounts[i].reload(s)
		} else if c.running {
			a.start()
		}
	}
	c.mu.Lock()
	c.accounts = accounts
	c.mu.Unlock()
	if c.running {
		var leaving []*Account
		for _, a := range gone {
			leaving = append(leaving, a)
		}
		stopAll(ctx, leaving)
	}
	for _, a := range gone {
		// Whoever still holds it must not write beside one that may take its place.
		_ = a.stored(a.register.Close())
	}
	return nil
}

// Accounts returns the accounts in the order of the configuration.
func (c *Collector) Accounts() []*Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.accounts)
}

// Account finds an account by name; an empty name means the only one. The error
// says what to do about it.
func (c *Collector) Account(name string) (*Account, error) { return Find(c.Accounts(), name) }

// Find finds one of some accounts as Collector.Account does among all.
func Find(accounts []*Account, name string) (*Account, error) {
	if name == "" {
		if len(accounts) != 1 {
			return nil, errors.New("several accounts are configured; say which with account")
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

// Healthy returns an error where an account's poller has not moved for longer
// than it ever should.
func (c *Collector) Healthy() error {
	for _, a := range c.Accounts() {
		if err := a.healthy(); err != nil {
			return err
		}
	}
	return nil
}

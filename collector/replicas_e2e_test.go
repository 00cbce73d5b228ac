//go:build e2e && linux

package collector_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// shared returns the configuration of accounts that replicas share.
func shared(url string, names ...string) (configs []collector.Config) {
	for _, name := range names {
		configs = append(configs, config(func(c *collector.Config) {
			c.Account, c.APIKey, c.DatabaseURL, c.Lease = name, "key-"+name, url, time.Second
			c.Timeout = 2 * time.Second
		}))
	}
	return configs
}

// A fellow is one of several replicas.
type fellow struct {
	*collector.Collector
	t       *testing.T
	configs []collector.Config
}

func join(t *testing.T, api http.RoundTripper, configs []collector.Config) *fellow {
	t.Helper()
	c, err := collector.New(configs, collector.Options{
		Transport: api, ReplicaName: "test", ReplicaURL: "http://test/", MaxStateChanges: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &fellow{c, t, configs}
	t.Cleanup(f.leave)
	c.Start()
	return f
}

func (f *fellow) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	f.Stop(ctx)
}

func (f *fellow) owned() (n int) {
	for _, a := range f.Accounts() {
		if s := a.Snapshot(); !s.Absent {
			n++
		}
	}
	return n
}

// until waits until a condition holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within a minute: %s", what)
		case <-ticker.C:
		}
	}
}

func TestReplicasShareAccounts(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	names := []string{"a", "b", "c", "d"}
	configs := shared(server.URL(t), names...)
	api := simulator.New(simulator.Options{Speed: 0.001, StuckShare: -1}) // nothing ends meanwhile
	defer api.Close()
	first := join(t, api.Transport(), configs)
	until(t, "the first owns all", func() bool { return first.owned() == len(names) })
	second := join(t, api.Transport(), configs)
	until(t, "each owns half", func() bool { return first.owned() == 2 && second.owned() == 2 })

	// Both take registrations, removals and reads for all accounts.
	for i, f := range []*fellow{first, second} {
		for _, a := range f.Accounts() {
			id := fmt.Sprint(a.Name(), i)
			registered, known, err := a.Register(submission.HTTP, []submission.Job{{RequestID: id}})
			if err != nil || registered != 1 || known != 0 {
				t.Errorf("%s: %d, %d, %v", id, registered, known, err)
			}
			if registered, known, err = a.Register(submission.HTTP, []submission.Job{{RequestID: id}}); err != nil ||
				registered != 0 || known != 1 {
				t.Errorf("%s again: %d, %d, %v", id, registered, known, err)
			}
			if err := a.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
			if _, _, known := a.Job(id); !known {
				t.Errorf("%s is not there after its registration", id)
			}
		}
	}
	for _, f := range []*fellow{first, second} {
		until(t, "each replica knows all jobs", func() bool {
			n := 0
			for _, a := range f.Accounts() {
				if a.Refresh(t.Context()) == nil {
					s := a.Read()
					n += s.Counts[collector.Pending] + s.Counts[collector.Running]
				}
			}
			return n == 2*len(names)
		})
	}
	for _, a := range second.Accounts() {
		if err := a.Remove(a.Name() + "0"); err != nil {
			t.Error(err)
		}
		if err := a.Remove(a.Name() + "0"); err == nil {
			t.Errorf("%s was removed twice", a.Name())
		}
	}
	first.leave()
	until(t, "the second owns all", func() bool { return second.owned() == len(names) })
	for _, a := range second.Accounts() {
		s := a.Snapshot()
		if n := s.Counts[collector.Pending] + s.Counts[collector.Running]; n != 1 || !s.Owner.Self {
			t.Errorf("%s has %d jobs, and the owner %+v", a.Name(), n, s.Owner)
		}
		if _, _, known := a.Job(a.Name() + "1"); !known {
			t.Errorf("%s1 is missing", a.Name())
		}
	}
}

// The requests of the owner count for the quota that other replicas show, and that the next owner spends. What the jobs
// are expected to need of it is shown, too.
func TestReplicasReadTheQuota(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	configs := shared(server.URL(t), "a")
	configs[0].RequestsPerMinute, configs[0].RequestsPerDay = 0, 1000
	api := simulator.New(simulator.Options{Speed: 0.001, StuckShare: -1})
	defer api.Close()
	first := join(t, api.Transport(), configs)
	until(t, "the first owns the account", func() bool { return first.owned() == 1 })
	second := join(t, api.Transport(), configs)
	if _, _, err := second.Accounts()[0].Register(submission.HTTP, []submission.Job{{RequestID: "job"}}); err != nil {
		t.Fatal(err)
	}
	until(t, "a request was sent", func() bool { return first.Accounts()[0].Snapshot().Day.Used > 0 })
	reader := second.Accounts()[0]
	until(t, "the other replica shows it", func() bool {
		return reader.Refresh(t.Context()) == nil && reader.Read().Day.Used == first.Accounts()[0].Snapshot().Day.Used
	})
	if s := reader.Read(); s.Pricing.Coming == 0 || s.Pricing.Requests[0] == 0 {
		t.Errorf("the other replica shows the price %+v", s.Pricing)
	}
	used := reader.Read().Day.Used
	first.leave()
	until(t, "the second owns the account", func() bool { return second.owned() == 1 })
	if s := reader.Snapshot(); s.Day.Used < used {
		t.Errorf("the second owner counts %v requests, the first had sent %v", s.Day.Used, used)
	}
}

// An account that is removed from the configuration of its owner, and added again, is never without its jobs. A reload
// and a stop end although the database does not answer.
func TestReplicasReload(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	proxy := pgtest.NewProxy(t, server)
	url := server.URL(t)
	configs, through := shared(url, "a", "b"), shared(proxy.URL(url), "a", "b")
	api := simulator.New(simulator.Options{Speed: 0.001, StuckShare: -1})
	defer api.Close()
	first := join(t, api.Transport(), through)
	until(t, "the first owns both", func() bool { return first.owned() == 2 })
	if _, _, err := first.Accounts()[1].Register(submission.HTTP, []submission.Job{{RequestID: "job"}}); err != nil {
		t.Fatal(err)
	}
	second := join(t, api.Transport(), configs)
	until(t, "each owns one", func() bool { return first.owned() == 1 && second.owned() == 1 })

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := first.Reload(ctx, through[:1]); err != nil {
		t.Fatal(err)
	}
	b := second.Accounts()[1]
	until(t, "the second owns the removed account", func() bool { return !b.Snapshot().Absent })
	if _, _, known := b.Job("job"); !known {
		t.Error("its job is missing")
	}
	other := shared("postgres://elsewhere/", "a")
	if err := first.Reload(ctx, other); err == nil || !strings.Contains(err.Error(), "database_url: a change") {
		t.Errorf("another database: %v", err)
	}
	if err := first.Reload(ctx, through); err != nil {
		t.Fatal(err)
	}
	until(t, "each owns one again", func() bool { return first.owned() == 1 && second.owned() == 1 })

	proxy.Cut()
	over, now := context.WithCancel(t.Context())
	now()
	if err := first.Reload(over, through[:1]); err != nil {
		t.Error(err)
	}
	second.leave()
}

// A key belongs to the account that has it in the configuration, whoever owned an account that had it before.
func TestReplicasChangeKeys(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	url := server.URL(t)
	api := simulator.New(simulator.Options{Speed: 0.001, StuckShare: -1})
	defer api.Close()
	limited := func(keys map[string]string) []collector.Config {
		configs := shared(url, "a", "b")
		for i := range configs {
			configs[i].RequestsPerMinute, configs[i].APIKey = 600, keys[configs[i].Account]
		}
		return configs
	}
	configs := limited(map[string]string{"a": "one", "b": "two"})
	first := join(t, api.Transport(), configs)
	until(t, "the first owns both", func() bool { return first.owned() == 2 })
	for _, a := range first.Accounts() {
		if _, _, err := a.Register(submission.HTTP, []submission.Job{{RequestID: "job-" + a.Name()}}); err != nil {
			t.Fatal(err)
		}
		until(t, "a request was sent", func() bool { return !a.Snapshot().API.LastSuccess.IsZero() })
	}
	second := join(t, api.Transport(), configs)
	until(t, "each owns one", func() bool { return first.owned() == 1 && second.owned() == 1 })
	keeps, gave := "a", "b"
	if first.Accounts()[0].Snapshot().Absent {
		keeps, gave = gave, keeps
	}
	before := configs[0].APIKey
	if keeps == "a" {
		before = configs[1].APIKey
	}
	for _, f := range []*fellow{second, first} {
		if err := f.Reload(t.Context(), limited(map[string]string{keeps: before, gave: "three"})); err != nil {
			t.Fatal(err)
		}
	}
	account, err := first.Account(keeps)
	if err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	until(t, "the key of an account that was handed over can be used", func() bool {
		return account.Snapshot().API.LastSuccess.After(since)
	})
}

// An account that is removed from the configuration and added again at once is owned again, although the lease is long.
func TestReplicasRemovedAndAdded(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	configs := shared(server.URL(t), "a", "b")
	for i := range configs {
		configs[i].Lease = time.Minute
	}
	api := simulator.New(simulator.Options{Speed: 0.001, StuckShare: -1})
	defer api.Close()
	f := join(t, api.Transport(), configs)
	until(t, "both are owned", func() bool { return f.owned() == 2 })
	for _, c := range [][]collector.Config{configs[1:], configs} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Reload(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "both are owned again", func() bool { return f.owned() == 2 })
}

// A look at the jobs by hand takes no account from a replica that runs.
func TestReplicasOnce(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	api := simulator.New(simulator.Options{Speed: 0.001, StuckShare: -1})
	defer api.Close()
	host := join(t, api.Transport(), shared(server.URL(t), "a", "b", "c"))
	until(t, "the host owns three accounts", func() bool { return host.owned() == 3 })
	configs := shared(host.configs[0].DatabaseURL, "a", "b", "c", "d")
	configs[3].RequestIDs = []string{api.Submit(simulator.Job{Outcome: simulator.Stuck})}
	guest, err := collector.New(configs, collector.Options{Transport: api.Transport(), ReplicaName: "guest"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- guest.Once(t.Context()) }()
	until(t, "it has ended", func() bool {
		if n := host.owned(); n != 3 {
			t.Fatalf("the host owns %d accounts", n)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the account that nobody owned: %v", err)
			}
			return true
		default:
			return false
		}
	})
}

// One that is interrupted while it waits for accounts leaves those that it has to the others at once.
func TestReplicasOnceIsInterrupted(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	api := simulator.New(simulator.Options{Speed: 0.001, StuckShare: -1})
	defer api.Close()
	configs := shared(server.URL(t), "a", "b")
	for i := range configs {
		configs[i].Lease = time.Minute
	}
	host := join(t, api.Transport(), configs[:1])
	until(t, "the host owns its account", func() bool { return host.owned() == 1 })
	guest, err := collector.New(configs, collector.Options{Transport: api.Transport(), ReplicaName: "guest"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- guest.Once(ctx) }()
	until(t, "the guest owns the other", func() bool { return !guest.Accounts()[1].Snapshot().Absent })
	interrupt()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it was interrupted: %v", err)
	}
	if err := host.Reload(t.Context(), configs); err != nil {
		t.Fatal(err)
	}
	until(t, "the host owns both", func() bool { return host.owned() == 2 })
}

// An account that cannot be loaded is tried again, and reported once.
func TestReplicasUnloadable(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	url := server.URL(t)
	api := simulator.New(simulator.Options{Speed: 0.001, StuckShare: -1})
	defer api.Close()
	configs := shared(url, "a")
	join(t, api.Transport(), configs).leave() // makes the tables
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rename := func(from, to string) {
		if _, err := conn.Exec(t.Context(), "ALTER TABLE "+from+" RENAME TO "+to); err != nil {
			t.Fatal(err)
		}
	}
	rename("learnt", "unlearnt")
	log := new(logs)
	c, err := collector.New(configs, collector.Options{
		Transport: api.Transport(), Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &fellow{c, t, configs}
	t.Cleanup(f.leave)
	c.Start()
	until(t, "it is released and taken over again", func() bool {
		return strings.Count(log.String(), "Took over the account") > 2
	})
	rename("unlearnt", "learnt")
	until(t, "it is owned", func() bool { return f.owned() == 1 })
	if n := strings.Count(log.String(), "Account cannot be loaded"); n != 1 {
		t.Errorf("reported %d times: %s", n, log)
	}
}

// When an account is handed over, the next owner holds what was emitted and not accepted yet, and emits the rest.
func TestReplicasHoldWhatWasEmitted(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	api := simulator.New(simulator.Options{Speed: 0.001, StuckShare: -1})
	defer api.Close()
	configs := shared(server.URL(t), "a", "b")
	first := join(t, api.Transport(), configs)
	until(t, "the first owns both", func() bool { return first.owned() == 2 })
	emitted := make(map[string]uint64)
	for _, a := range first.Accounts() {
		for n := range 2 {
			body := fmt.Sprintf(`{"request_id": "%s-%d", "response": {"error": "no speech"}}`, a.Name(), n)
			if _, err := a.Webhook(io.NopCloser(strings.NewReader(body)), false); err != nil {
				t.Fatal(err)
			}
		}
		emitted[a.Name()] = a.StateChanges(1)[0].Number
		a.Emitted(emitted[a.Name()])
	}
	second := join(t, api.Transport(), configs)
	until(t, "each owns one", func() bool { return first.owned() == 1 && second.owned() == 1 })
	for i, a := range second.Accounts() {
		if !a.Owned() {
			continue
		}
		number := emitted[a.Name()]
		changes := a.StateChanges(10)
		if len(changes) != 2 || changes[0].Number != number || changes[0].HeldUntil.IsZero() ||
			!changes[1].HeldUntil.IsZero() {
			t.Errorf("%d state changes wait, want one of two held", len(changes))
		}
		if err := first.Accounts()[i].Delivered(number); err != nil {
			t.Error(err)
		}
		until(t, "what was accepted is delivered", func() bool { return len(a.StateChanges(10)) == 1 })
	}
	for _, a := range first.Accounts() { // a stop waits for what is missing
		if err := a.Delivered(emitted[a.Name()]); err != nil {
			t.Error(err)
		}
	}
}

// A state change that is emitted after Stop, when nothing is missing any more, may be delivered, too.
func TestEmittedAfterStop(t *testing.T) {
	t.Parallel()
	api := simulator.New(simulator.Options{Speed: 0.001, StuckShare: -1})
	defer api.Close()
	f := join(t, api.Transport(), shared(pgtest.Start(t).URL(t), "a"))
	until(t, "it owns the account", func() bool { return f.owned() == 1 })
	a := f.Accounts()[0]
	a.Emitted(1)
	f.leave()
	for number := range uint64(3) {
		a.Emitted(number)
		_ = a.Delivered(number) // the database may be closed
	}
}

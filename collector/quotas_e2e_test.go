//go:build e2e && linux

package collector_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// For other replicas, a request of an owner counts until a window after the latest time at which it may be answered:
// the owner may stand still between its reservation and its sending, for up to a lease.
func TestReplicasCountReservations(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	configs := shared(server.URL(t), "a")
	configs[0].Lease, configs[0].RequestsPerMinute = 30*time.Second, 60
	api := simulator.New(simulator.Options{Speed: 0.001, StuckShare: -1})
	defer api.Close()
	first, err := collector.New(configs, collector.Options{Transport: api.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	first.Start()
	a := first.Accounts()[0]
	until(t, "it owns the account", func() bool { s := a.Snapshot(); return !s.Absent })
	begin := time.Now()
	if _, _, err := a.Register(submission.HTTP, []submission.Job{{RequestID: "job"}}); err != nil {
		t.Fatal(err)
	}
	until(t, "it has polled", func() bool { return !a.API().LastSuccess.IsZero() })
	first.Stop(t.Context())
	second, err := collector.New(configs, collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Stop(t.Context())
	b := second.Accounts()[0]
	if err := b.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	resets := b.Read().Minute.Resets
	if least := configs[0].Lease + configs[0].Timeout + time.Minute; resets.Sub(begin) < least {
		t.Errorf("it counts for %s, want at least %s", resets.Sub(begin), least)
	}
}

// What an earlier version has sent for another account counts after the upgrade.
func TestReplicasQuotaOutlivesAnUpgrade(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).URL(t)
	db, err := postgres.Open(t.Context(), url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tenure, err := db.TakeOver(t.Context(), postgres.Lease{Account: "x"}, postgres.Member{ID: "former"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	formerly(t, tenure, "http://api.invalid", perDay-1)
	if err := errors.Join(tenure.Release(t.Context(), ""), db.Close()); err != nil {
		t.Fatal(err)
	}
	api := new(counter)
	config := hungry("y", "key-a")
	config.DatabaseURL, config.Lease = url, time.Second
	c, err := collector.New([]collector.Config{config}, collector.Options{Transport: api})
	if err != nil {
		t.Fatal(err)
	}
	c.Start()
	until(t, "the quota is spent", func() bool { return c.Accounts()[0].Read().Day.Used >= perDay })
	c.Stop(t.Context())
	if n := api.requests()["api.invalid key-a"]; n != 1 {
		t.Errorf("%d requests, and one is left", n)
	}
}

// A key that moves from one account to another, which another replica owns, brings along what was sent with it.
func TestKeyMovesBetweenReplicas(t *testing.T) {
	t.Parallel()
	const quota = 2 * perDay
	url := pgtest.Start(t).URL(t)
	account := func(name, key string, perDay, jobs int) collector.Config {
		c := hungry(name, key)
		c.DatabaseURL, c.Lease, c.RequestsPerDay, c.RequestIDs = url, time.Second, perDay, c.RequestIDs[:jobs]
		return c
	}
	before := []collector.Config{account("x", "moves", perDay, 50), account("y", "unused", quota, 0)}
	after := []collector.Config{account("x", "new", 1, 50), account("y", "moves", quota, 50)}
	api := new(counter)
	var replicas []*collector.Collector
	for range 2 {
		c, err := collector.New(before, collector.Options{Transport: api})
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		defer c.Stop(t.Context())
		replicas = append(replicas, c)
	}
	owns := func(c *collector.Collector, account int) bool { return !c.Accounts()[account].Snapshot().Absent }
	until(t, "each owns one account, and the quota of x is spent", func() bool {
		apart := owns(replicas[0], 0) != owns(replicas[0], 1) && owns(replicas[1], 0) != owns(replicas[1], 1)
		return apart && api.requests()["api.invalid moves"] == perDay
	})
	for _, c := range replicas {
		if err := c.Reload(t.Context(), after); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the quota of y is spent", func() bool {
		for _, c := range replicas {
			if owns(c, 1) && c.Accounts()[1].Read().Day.Used >= quota {
				return api.requests()["api.invalid moves"] >= quota
			}
		}
		return false
	})
	if n := api.requests()["api.invalid moves"]; n != quota {
		t.Errorf("%d requests with the key, and its quota is %d", n, quota)
	}
}

// So does one that moves to an account that is new. All that others have sent counts: also what they sent after the
// owner of the new account had started, and had read what they have sent, for another account.
func TestKeyMovesToNewAccount(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).URL(t)
	account := func(name, key string, jobs int) collector.Config {
		c := hungry(name, key)
		c.DatabaseURL, c.Lease, c.RequestIDs = url, 30*time.Second, c.RequestIDs[:jobs]
		return c
	}
	api := new(counter)
	begin := func(configs ...collector.Config) *collector.Collector {
		c, err := collector.New(configs, collector.Options{Transport: api})
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		t.Cleanup(func() { c.Stop(context.Background()) })
		return c
	}
	spent := func(key string) func() bool {
		return func() bool { return api.requests()["api.invalid "+key] == perDay }
	}
	from := begin(account("x", "moves", 1))
	until(t, "x has sent a request", func() bool { return api.requests()["api.invalid moves"] > 0 })
	to := begin(account("z", "other", 50))
	until(t, "the quota of z is spent", spent("other"))
	if err := from.Reload(t.Context(), []collector.Config{account("x", "moves", 50)}); err != nil {
		t.Fatal(err)
	}
	until(t, "the quota of x is spent", spent("moves"))
	for c, configs := range map[*collector.Collector][]collector.Config{
		from: {account("x", "new", 50)}, to: {account("y", "moves", 50), account("z", "other", 50)},
	} {
		if err := c.Reload(t.Context(), configs); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "y knows what was sent", func() bool { return to.Accounts()[0].Snapshot().Day.Used >= perDay })
	if n := api.requests()["api.invalid moves"]; n != perDay {
		t.Errorf("%d requests with the key, and its quota is %d", n, perDay)
	}
}

// What another account has sent with a key counts also while this process owns that account and cannot load it yet.
func TestKeyMovesFromAccountThatIsNotLoaded(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).URL(t)
	account := func(name, key string, jobs int) collector.Config {
		c := hungry(name, key)
		c.DatabaseURL, c.Lease, c.RequestIDs = url, 30*time.Second, c.RequestIDs[:jobs]
		return c
	}
	api := new(counter)
	begin := func(configs ...collector.Config) *collector.Collector {
		c, err := collector.New(configs, collector.Options{Transport: api})
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		t.Cleanup(func() { c.Stop(t.Context()) }) // which is done then: a load is not waited for
		return c
	}
	before := begin(account("y", "moves", 50))
	until(t, "the quota of y is spent", func() bool { return api.requests()["api.invalid moves"] == perDay })
	before.Stop(t.Context())

	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	// The session keeps the lock when the statement has failed.
	if _, err := conn.Exec(t.Context(), `CREATE FUNCTION fails() RETURNS text LANGUAGE plpgsql AS
			$$ BEGIN PERFORM pg_try_advisory_lock(1); RAISE EXCEPTION 'it cannot be loaded'; END $$;
		ALTER TABLE timings RENAME TO stored_timings;
		CREATE VIEW timings AS SELECT * FROM stored_timings
			UNION ALL SELECT account, fails(), NULL FROM leases WHERE account = 'y'`); err != nil {
		t.Fatal(err)
	}
	var loading atomic.Bool
	x := account("x", "", 50)
	x.Key = func() (string, error) {
		if !loading.Load() {
			return "", errors.New("y is not being loaded yet")
		}
		return "moves", nil
	}
	after := begin(x, account("y", "new", 0))
	query := "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')"
	until(t, "y is being loaded", func() (loads bool) {
		if err := conn.QueryRow(t.Context(), query).Scan(&loads); err != nil {
			t.Fatal(err)
		}
		return loads
	})
	loading.Store(true)
	until(t, "x knows what was sent", func() bool { return after.Accounts()[0].Snapshot().Day.Used >= perDay })
	if n := api.requests()["api.invalid moves"]; n != perDay {
		t.Errorf("%d requests with the key, and its quota is %d", n, perDay)
	}
}

// An account that has a quota again counts what another one has sent with its key, also if that cannot be read at first.
func TestQuotaReturnsWhileDatabaseHangs(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).URL(t)
	account := func(name string, perDay, jobs int) collector.Config {
		c := hungry(name, "shared")
		c.DatabaseURL, c.Lease, c.RequestsPerDay, c.RequestIDs = url, 30*time.Second, perDay, c.RequestIDs[:jobs]
		return c
	}
	api := new(counter)
	begin := func(config collector.Config) (*collector.Collector, *collector.Account) {
		c, err := collector.New([]collector.Config{config}, collector.Options{Transport: api})
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		t.Cleanup(func() { c.Stop(t.Context()) })
		return c, c.Accounts()[0]
	}
	sent := func() int { return api.requests()["api.invalid shared"] }
	former, _ := begin(account("former", perDay, 50))
	until(t, "the quota is spent", func() bool { return sent() == perDay })
	former.Stop(t.Context())
	c, a := begin(account("a", 0, 1))
	until(t, "the key is used without a quota", func() bool { return sent() > perDay })

	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE requests"); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(t.Context(), []collector.Config{account("a", perDay, 50)}); err != nil {
		t.Fatal(err)
	}
	until(t, "what was sent cannot be read", func() bool {
		trouble := a.API().Trouble
		return trouble != nil && strings.Contains(trouble.Err.Error(), "what other accounts have sent")
	})
	before := sent()
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	until(t, "it knows what was sent", func() bool { return a.Snapshot().Day.Used >= perDay })
	if n := sent(); n != before {
		t.Errorf("%d requests more than the quota", n-before)
	}
}

// A key file that changes to the key of another account stops its account, also if another replica owns the other one,
// and that one goes on, also when its owner changes.
func TestKeyOfAccountOfAnotherReplica(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).URL(t)
	var keyOfY atomic.Value
	keyOfY.Store("key-y")
	account := func(name string, jobs int) collector.Config {
		c := hungry(name, "key-"+name)
		c.DatabaseURL, c.Lease, c.RequestsPerDay, c.RequestIDs = url, 2*time.Second, 100, c.RequestIDs[:jobs]
		if name == "y" {
			c.Key = func() (string, error) { return keyOfY.Load().(string), nil }
		}
		return c
	}
	api := new(counter)
	begin := func() *collector.Collector {
		c, err := collector.New([]collector.Config{account("x", 1), account("y", 0)}, collector.Options{Transport: api})
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		t.Cleanup(func() { c.Stop(t.Context()) })
		return c
	}
	replicas := []*collector.Collector{begin(), begin()}
	owner := func(account int) *collector.Collector {
		for _, c := range replicas {
			if !c.Accounts()[account].Snapshot().Absent {
				return c
			}
		}
		return nil
	}
	until(t, "each owns an account, and the key of x is used", func() bool {
		return owner(0) != nil && owner(1) != nil && owner(0) != owner(1) && api.requests()["api.invalid key-x"] > 0
	})
	inUse := func(c *collector.Collector, account int) bool {
		trouble := c.Accounts()[account].API().Trouble
		return trouble != nil && errors.Is(trouble.Err, collector.ErrKeyInUse)
	}
	keyOfY.Store("key-x")
	until(t, "y is not polled", func() bool { return inUse(owner(1), 1) })
	owner(0).Stop(t.Context())
	until(t, "one replica owns both", func() bool { return owner(0) != nil && owner(0) == owner(1) })
	both := owner(0)
	before := api.requests()["api.invalid key-x"]
	if _, _, err := both.Accounts()[0].Register(submission.HTTP, []submission.Job{{RequestID: "new"}}); err != nil {
		t.Fatal(err)
	}
	until(t, "x alone is polled", func() bool { return api.requests()["api.invalid key-x"] > before && inUse(both, 1) })
	if inUse(both, 0) {
		t.Error("x is not polled any more")
	}
	keyOfY.Store("key-z")
	until(t, "y has another key", func() bool { return !inUse(both, 1) })
}

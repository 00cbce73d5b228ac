//go:build e2e

package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

// needle is in the arguments of the statement that a test cuts off.
const needle = `"needle"`

// Places where the statement with the needle is cut off, for pgtest.Proxy.Hold.
var cuts = map[string]func() func(pgtest.Message) int{
	"in the middle":         func() func(pgtest.Message) int { return cut('B', func(m []byte) int { return len(m) / 2 }) },
	"before its end":        func() func(pgtest.Message) int { return cut('S', func([]byte) int { return 0 }) },
	"in its end":            func() func(pgtest.Message) int { return cut('S', func(m []byte) int { return len(m) - 1 }) },
	"before its answer":     func() func(pgtest.Message) int { return cut(0, func([]byte) int { return 0 }) },
	"in front of its start": func() func(pgtest.Message) int { return cut('B', func([]byte) int { return 0 }) },
}

// cut cuts the first message of a kind (0: from the server) that is, or comes after, the one with the needle.
func cut(kind byte, passing func([]byte) int) func(pgtest.Message) int {
	found := false
	return func(m pgtest.Message) int {
		found = found || bytes.Contains(m.Bytes, []byte(needle))
		if found && (m.FromServer && kind == 0 || !m.FromServer && kind == m.Bytes[0]) {
			return passing(m.Bytes)
		}
		return len(m.Bytes)
	}
}

// unknown checks that a commit had an unknown outcome, after which the tenure is dead.
func unknown(t *testing.T, tenure *postgres.Tenure, err error) {
	t.Helper()
	if !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("the commit: %v, want %v", err, store.ErrUnknown)
	}
	dead(t, tenure)
}

// cutCommit cuts off a commit of one(needle) by an owner of "a" that has committed one("1"). It returns another way to
// the database, the lease as it was before, and what lets the owner see that its connection broke, and the rest of the
// commit arrive.
func cutCommit(t *testing.T, hold func(pgtest.Message) int) (db *postgres.DB, before postgres.Lease, arrive func()) {
	t.Helper()
	db, url := openedAt(t)
	proxy := pgtest.NewProxy(t, server)
	owner := open(t, proxy.URL(url))
	a := takeOver(t, owner, "a", time.Minute)
	must(t, a.Commit(one("1")))
	before = look(t, db, "a")
	proxy.Hold(hold)
	outcome := make(chan error)
	go func() { outcome <- a.Commit(one(needle)) }()
	proxy.WaitStuck()
	return db, before, func() {
		t.Helper()
		proxy.Break()
		unknown(t, a, <-outcome)
		proxy.Mend()
		_ = owner.Close()
		proxy.Wait()
	}
}

// A commit that is cut off is nowhere in the way of a takeover, and does not land after it.
func TestTakeOverOfCutCommit(t *testing.T) {
	for name, hold := range cuts {
		t.Run(name, func(t *testing.T) {
			db, _, arrive := cutCommit(t, hold())
			stored := "1"
			if name == "before its answer" {
				stored = needle
			}
			b := takeOver(t, db, "a", time.Minute)
			if got := total(t, b); got != stored {
				t.Errorf("the successor loads %s, want %s", got, stored)
			}
			must(t, b.Commit(one("2")))
			arrive()
			if got := total(t, b); got != "2" {
				t.Errorf("the successor loads %s, want 2", got)
			}
			must(t, b.Commit(one("3")))
		})
	}
}

// A commit of unknown outcome may land late. Then the lease is not as it was seen.
func TestLateCommit(t *testing.T) {
	for name, hold := range cuts {
		t.Run(name, func(t *testing.T) {
			db, before, arrive := cutCommit(t, hold())
			arrive()
			if _, err := db.TakeOver(t.Context(), before, self, time.Minute); !errors.Is(err, postgres.ErrSeenChanged) {
				t.Errorf("a takeover of a lease that has changed: %v", err)
			}
			if got := total(t, takeOver(t, db, "a", time.Minute)); got != needle {
				t.Errorf("the successor loads %s", got)
			}
		})
	}
}

// An owner whose way is cut does not wait for longer than its lease.
func TestCommitEndsWithLease(t *testing.T) {
	url := server.URL(t)
	proxy := pgtest.NewProxy(t, server)
	db := open(t, proxy.URL(url))
	t.Cleanup(func() { _ = db.Close() })
	a := takeOver(t, db, "a", 3*time.Second)
	must(t, a.Commit(one("1")))
	proxy.Hold(cuts["before its answer"]())
	unknown(t, a, a.Commit(one(needle)))
	proxy.Mend()
}

// Nor does it wait for longer for what others sent: its commit comes after that.
func TestInboxEndsWithLease(t *testing.T) {
	url := server.URL(t)
	proxy := pgtest.NewProxy(t, server)
	db := open(t, proxy.URL(url))
	t.Cleanup(func() { _ = db.Close() })
	a := takeOver(t, db, "a", time.Second)
	proxy.Cut()
	reader := make(chan error, 1)
	go func() {
		_, _, err := db.Account("a").Inbox()
		reader <- err
	}()
	if _, _, err := a.Inbox(); err == nil {
		t.Error("it was read by a way that is cut")
	}
	select {
	case <-reader:
		t.Error("the owner waits for as long as a reader")
	default:
	}
	proxy.Mend()
	<-reader
}

// cutOff lets a statement with the needle, by a proxy, be cut off when the server has it but for its end, and returns
// what its client sees.
func cutOff(t *testing.T, proxy *pgtest.Proxy, url string, do func(context.Context) error) error {
	t.Helper()
	proxy.Hold(cuts["before its end"]())
	ctx, cancel := context.WithCancel(t.Context())
	outcome := make(chan error)
	go func() { outcome <- do(ctx) }()
	proxy.WaitStuck()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.Background())
	for stalled := false; !stalled; {
		must(t, conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event = 'ClientRead' AND backend_xid IS NOT NULL)`).Scan(&stalled))
	}
	cancel()
	return <-outcome
}

// A renewal that is cut off does not keep later ones from the rows.
func TestCutRenewal(t *testing.T) {
	for name, there := range map[string]bool{"first": false, "later": true} {
		t.Run(name, func(t *testing.T) {
			db, url := openedAt(t)
			proxy := pgtest.NewProxy(t, server)
			cut := open(t, proxy.URL(url))
			a := takeOver(t, db, "a", time.Minute)
			member := postgres.Member{ID: needle}
			if there {
				must(t, db.Renew(t.Context(), member, nil))
			}
			err := cutOff(t, proxy, url, func(ctx context.Context) error {
				return cut.Renew(ctx, member, []*postgres.Tenure{a})
			})
			if err == nil {
				t.Error("a renewal that was cut off succeeded")
			}
			for look(t, db, "a").Renewals == 0 {
				must(t, db.Renew(t.Context(), member, []*postgres.Tenure{a}))
			}
			if _, members, err := db.Look(t.Context()); err != nil || len(members) != 1 {
				t.Errorf("members: %v, %v", members, err)
			}
			if !a.Valid() {
				t.Error("the owner is not valid")
			}
			proxy.Mend()
			_ = cut.Close()
			proxy.Wait()
		})
	}
}

// A takeover that is cut off does not keep later ones from the row.
func TestCutTakeOver(t *testing.T) {
	for name, there := range map[string]bool{"first": false, "later": true} {
		t.Run(name, func(t *testing.T) {
			db, url := openedAt(t)
			proxy := pgtest.NewProxy(t, server)
			cut := open(t, proxy.URL(url))
			if there {
				takeOver(t, db, "a", time.Minute)
			}
			seen := look(t, db, "a")
			err := cutOff(t, proxy, url, func(ctx context.Context) error {
				_, err := cut.TakeOver(ctx, seen, postgres.Member{ID: needle}, time.Minute)
				return err
			})
			if !errors.Is(err, store.ErrUnknown) {
				t.Errorf("a takeover that was cut off: %v, want %v", err, store.ErrUnknown)
			}
			a, err := db.TakeOver(t.Context(), seen, self, time.Minute)
			must(t, err)
			proxy.Mend()
			_ = cut.Close()
			proxy.Wait()
			must(t, a.Commit(one("1")))
		})
	}
}

// A commit that holds the row is not in the way of the renewal of others, and no reason to let go.
func TestRenewBesideCommit(t *testing.T) {
	db, url := openedAt(t)
	a, b := takeOver(t, db, "a", time.Minute), takeOver(t, db, "b", time.Minute)
	tx := lock(t, url, "a")
	must(t, db.Renew(t.Context(), self, []*postgres.Tenure{a, b}))
	must(t, tx.Commit(t.Context()))
	if !a.Valid() || !b.Valid() {
		t.Error("a tenure died of a row that is locked")
	}
	if x, y := look(t, db, "a").Renewals, look(t, db, "b").Renewals; x != 0 || y != 1 {
		t.Errorf("%d and %d renewals, want 0 and 1", x, y)
	}
	must(t, a.Commit(one("1")))
}

// lock locks the row of a lease as a commit does that has not arrived yet.
func lock(t *testing.T, url, account string) pgx.Tx {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	tx, err := conn.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "UPDATE leases SET since = since WHERE account = $1", account)
	must(t, err)
	return tx
}

func TestTakeOverEndsSessions(t *testing.T) {
	db, url := openedAt(t)
	takeOver(t, db, "a", time.Minute)
	tx := lock(t, url, "a")
	takeOver(t, db, "a", time.Minute)
	if err := tx.Commit(t.Context()); err == nil {
		t.Error("the session that locked the row goes on")
	}
}

// A statement that fails is not stored, and the owner goes on.
func TestNotDone(t *testing.T) {
	db, url := openedAt(t)
	a := takeOver(t, db, "a", time.Minute)
	must(t, a.Commit(one("1")))
	exec := func(sql string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), url)
		must(t, err)
		defer conn.Close(t.Context())
		_, err = conn.Exec(t.Context(), sql)
		must(t, err)
	}
	exec("ALTER TABLE totals ADD CONSTRAINT refused CHECK (value <> '2')")
	err := a.Commit(one("2"))
	if err == nil || errors.Is(err, store.ErrUnknown) || errors.Is(err, store.ErrNotOwner) {
		t.Errorf("a commit that the database refuses: %v", err)
	}
	must(t, a.Commit(one("3")))
	if got := total(t, a); got != "3" {
		t.Errorf("got %s, want 3", got)
	}
}

// A warning that is not about the standby does not make a commit uncertain.
func TestWarning(t *testing.T) {
	db, url := openedAt(t)
	a := takeOver(t, db, "a", time.Minute)
	exec(t, url, `CREATE FUNCTION warns() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN RAISE WARNING 'database must be vacuumed'; RETURN NEW; END $$;
		CREATE TRIGGER warns BEFORE INSERT ON totals FOR EACH ROW EXECUTE FUNCTION warns()`)
	must(t, a.Commit(one("1")))
	must(t, a.Commit(one("2")))
}

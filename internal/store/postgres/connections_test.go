//go:build e2e

package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

// backends returns the processes of the server that serve replicas.
func backends(t *testing.T, conn *pgx.Conn) []int32 {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT pid FROM pg_stat_activity
		WHERE application_name = 'deepaffects-monitor' AND datname = current_database() ORDER BY pid`)
	must(t, err)
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	must(t, err)
	return pids
}

// waitLocked waits until a session waits for a lock.
func waitLocked(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for locked := false; !locked; {
		must(t, conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&locked))
	}
}

// A caller that does not wait any more costs no connection but the one that was busy for it.
func TestCallerGoesAway(t *testing.T) {
	for name, test := range map[string]struct {
		lost  int // connections
		leave func(t *testing.T, db *postgres.DB, a *postgres.Tenure, url string, conn *pgx.Conn)
	}{
		"before it has a connection": {0, func(t *testing.T, db *postgres.DB, _ *postgres.Tenure, _ string, _ *pgx.Conn) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := db.Account("a").Load(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("a load: %v", err)
			}
		}},
		"while all connections are busy": {0, func(
			t *testing.T, db *postgres.DB, a *postgres.Tenure, url string, conn *pgx.Conn,
		) {
			tx := lock(t, url, "a")
			committed := make(chan error, 1)
			go func() { committed <- a.Commit(one("2")) }()
			waitLocked(t, conn)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if _, err := db.Account("a").Load(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a load: %v", err)
			}
			must(t, tx.Rollback(t.Context()))
			must(t, <-committed)
		}},
		"while it is answered": {1, func(t *testing.T, db *postgres.DB, _ *postgres.Tenure, url string, conn *pgx.Conn) {
			other, err := pgx.Connect(t.Context(), url)
			must(t, err)
			defer other.Close(context.Background())
			_, err = other.Exec(t.Context(), "BEGIN; LOCK TABLE learnt")
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			loaded := make(chan error, 1)
			go func() {
				_, err := db.Account("a").Load(ctx)
				loaded <- err
			}()
			waitLocked(t, conn)
			cancel()
			if err := <-loaded; !errors.Is(err, context.Canceled) {
				t.Errorf("a load: %v", err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			url := server.URL(t)
			conn, err := pgx.Connect(t.Context(), url)
			must(t, err)
			defer conn.Close(context.Background())
			db := open(t, url+"&pool_max_conns=1")
			defer db.Close()
			a := takeOver(t, db, "a", time.Minute)
			must(t, a.Commit(one("1")))
			before := backends(t, conn)
			test.leave(t, db, a, url, conn)
			must(t, db.Renew(t.Context(), self, []*postgres.Tenure{a}))
			must(t, a.Commit(one("3")))
			added := 0
			for _, pid := range backends(t, conn) {
				if !slices.Contains(before, pid) {
					added++
				}
			}
			if added > test.lost {
				t.Errorf("%d connections were made again, want %d", added, test.lost)
			}
		})
	}
}

// A connection that is cut off while it is set up does not take the place of another one for ever.
func TestConnectingEnds(t *testing.T) {
	url := server.URL(t)
	proxy := pgtest.NewProxy(t, server)
	db := open(t, proxy.URL(url)+"&pool_max_conns=1&connect_timeout=1")
	defer db.Close()
	defer proxy.Mend()
	exec(t, url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name = 'deepaffects-monitor' AND datname = current_database()`)
	if _, err := db.Account("a").Load(t.Context()); err == nil {
		t.Error("its connection has not ended")
	}
	proxy.Hold(func(m pgtest.Message) int {
		if bytes.Contains(m.Bytes, []byte("plan_cache_mode")) {
			return 0
		}
		return len(m.Bytes)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := db.Account("a").Load(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("loading: %v", err)
	}
}

// Loads leave connections to commits, however many there are.
func TestCommitBesideLoads(t *testing.T) {
	db, url := openedAt(t)
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.Background())
	a := takeOver(t, db, "a", 10*time.Second)
	must(t, a.Commit(one("1")))
	other, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer other.Close(context.Background())
	_, err = other.Exec(t.Context(), "BEGIN; LOCK TABLE learnt") // so that loads take long
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var loads sync.WaitGroup
	for range 20 {
		loads.Go(func() {
			if _, err := db.Account("a").Load(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("a load: %v", err)
			}
		})
	}
	waitLocked(t, conn)
	for range 10 {
		must(t, a.Commit(one("2")))
	}
	cancel()
	loads.Wait()
}

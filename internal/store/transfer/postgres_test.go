//go:build e2e

package transfer_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/transfer"
)

func open(t *testing.T, url string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), url, slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// sole opens a database as a process does that copies it.
func sole(t *testing.T, url string) *postgres.Sole {
	t.Helper()
	engine, err := open(t, url).Sole(t.Context(), postgres.Member{ID: "copy"}, 2*time.Second)
	must(t, err)
	return engine
}

// What goes from one engine to the other and back is what it was.
func TestCopyToPostgres(t *testing.T) {
	server := pgtest.Start(t)
	url := server.URL(t)
	from, back := directory(t), directory(t)
	want := fill(t, from)
	to := sole(t, url)
	got, err := transfer.Copy(t.Context(), from, to)
	if err != nil || got != copied {
		t.Errorf("got %+v, %v, want %+v", got, err, copied)
	}
	must(t, to.Close())
	db := open(t, url)
	check(t, db, want)
	leases, _, err := db.Look(t.Context())
	must(t, err)
	for _, l := range leases {
		if !l.Released {
			t.Errorf("the lease is not released: %+v", l)
		}
	}

	source := sole(t, url)
	got, err = transfer.Copy(t.Context(), source, back)
	if err != nil || got != copied {
		t.Errorf("got %+v, %v, want %+v", got, err, copied)
	}
	must(t, source.Close())
	check(t, back, want)

	target := sole(t, url)
	defer target.Close()
	_, err = transfer.Copy(t.Context(), from, target)
	if err == nil || !strings.Contains(err.Error(), "the target is not empty") {
		t.Errorf("a copy to what is not empty: %v", err)
	}
}

// An account with messages that no owner has applied, or with an owner, is not copied.
func TestCopyFromReplicas(t *testing.T) {
	server := pgtest.Start(t)
	url := server.URL(t)
	db := open(t, url)
	self := postgres.Member{ID: "owner", URL: "http://o"}
	owner, err := db.TakeOver(t.Context(), postgres.Lease{Account: "a"}, self, time.Minute)
	must(t, err)
	_, err = db.Send("a", []store.Message{{Kind: store.RegisterMessage, RequestID: "x"}})
	must(t, err)
	messages, _, err := owner.Inbox()
	must(t, err)

	failed := func(want string) {
		t.Helper()
		source := sole(t, url)
		defer source.Close()
		if _, err := transfer.Copy(t.Context(), source, directory(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want …%s…", err, want)
		}
	}
	alive, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-alive:
				return
			default:
				if err := db.Renew(t.Context(), self, []*postgres.Tenure{owner}); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	failed(`replica "owner" at http://o owns account "a": stop it first`)
	close(alive)
	<-ended
	failed("its inbox has messages that no owner has applied: start a replica")

	owner, err = db.TakeOver(t.Context(), lease(t, db), self, time.Minute)
	must(t, err)
	must(t, owner.Commit(&store.Batch{Jobs: []store.Job{{RequestID: "x"}}, Received: messages}))
	// The owner was killed: its lease is not renewed any more.
	source := sole(t, url)
	defer source.Close()
	got, err := transfer.Copy(t.Context(), source, directory(t))
	if want := (transfer.Result{Accounts: 1, Jobs: 1}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func lease(t *testing.T, db *postgres.DB) postgres.Lease {
	t.Helper()
	leases, _, err := db.Look(t.Context())
	must(t, err)
	return leases[0]
}

//go:build e2e

package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/storetest"
)

var server *pgtest.Server

func TestMain(m *testing.M) {
	var err error
	if server, err = pgtest.New(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	server.Close()
	os.Exit(code)
}

var quiet = slog.New(slog.DiscardHandler)

// self is the replica of a test.
var self = postgres.Member{ID: "self", URL: "http://self"}

// owner is an engine that takes over each account that it is asked for.
type owner struct {
	*postgres.DB
	t *testing.T

	mu      sync.Mutex // guards tenures
	tenures map[string]*postgres.Tenure
}

func (o *owner) Account(name string) store.Account {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tenures[name] == nil {
		o.tenures[name] = takeOver(o.t, o.DB, name, time.Minute)
	}
	return account{o.tenures[name], o.DB}
}

// account measures the size of the database whenever it is asked for it.
type account struct {
	*postgres.Tenure
	db *postgres.DB
}

func (a account) Size() int64 {
	if err := a.db.Renew(context.Background(), self, nil); err != nil {
		panic(err)
	}
	return a.Tenure.Size()
}

// look returns the lease of an account.
func look(t *testing.T, db *postgres.DB, account string) postgres.Lease {
	t.Helper()
	leases, _, err := db.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases {
		if l.Account == store.Clean(account) {
			return l
		}
	}
	return postgres.Lease{Account: account}
}

func takeOver(t *testing.T, db *postgres.DB, account string, lease time.Duration) *postgres.Tenure {
	t.Helper()
	tenure, err := db.TakeOver(t.Context(), look(t, db, account), self, lease)
	if err != nil {
		t.Fatal(err)
	}
	return tenure
}

func open(t *testing.T, url string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), url, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Engine {
		url := server.URL(t)
		return func() store.Engine {
			return &owner{DB: open(t, url), t: t, tenures: make(map[string]*postgres.Tenure)}
		}
	})
}

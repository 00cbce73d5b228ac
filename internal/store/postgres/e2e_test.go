//go:build e2e

package postgres_test

import (
	"fmt"
	"log/slog"
	"os"
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
			sole, err := open(t, url).Sole(t.Context(), self, time.Minute)
			must(t, err)
			return sole
		}
	})
}

//go:build e2e

package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
)

// A process that owns all accounts waits once for the leases of replicas that were killed, says so, and stops waiting
// with its context.
func TestSoleWaitsOnce(t *testing.T) {
	killed, url := openedAt(t)
	for _, account := range []string{"a", "b", "c"} {
		must(t, takeOver(t, killed, account, time.Minute).Commit(one("1")))
	}
	var log bytes.Buffer
	db, err := postgres.Open(t.Context(), url, slog.New(slog.NewTextHandler(&log, nil)))
	must(t, err)
	defer db.Close()
	ended, end := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, end)
	if _, err := db.Sole(ended, self, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("its context ended: %v", err)
	}
	log.Reset()
	sole, err := db.Sole(t.Context(), self, 10*time.Millisecond)
	must(t, err)
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "accounts=3 wait=10ms") {
		t.Errorf("logged:\n%s", text)
	}
	for _, account := range []string{"a", "b", "new"} {
		must(t, sole.Account(account).Commit(one("2")))
	}
	takeOver(t, killed, "c", time.Minute)
	if err := sole.Account("c").Commit(one("2")); err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("an account that a replica owns: %v", err)
	}
	must(t, sole.Close())
}

//go:build e2e && linux

package collector_test

import (
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
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

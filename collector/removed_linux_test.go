package collector_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

// If the store is removed while the collector runs, that is a store error, and nothing is missing after a kill.
func TestStoreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "state")
		m := start(t, simulator.Options{Key: "key"}, config(nil), collector.Options{StateDirectory: dir})
		defer m.stop()
		m.track(t, "a", "b")
		pass(time.Minute)
		for n, removed := range []string{"", "register.db", "register.db-wal"} {
			if err := os.RemoveAll(filepath.Join(dir, removed)); err != nil {
				t.Fatal(err)
			}
			pass(5 * time.Second)
			if m.account.Snapshot().StoreError == nil {
				t.Errorf("%s was removed, and the store has no error", removed)
			}
			pass(5 * time.Second)
			s := m.account.Snapshot()
			if errors := s.Totals.Counter(jobs.StoreErrors); s.StoreError != nil || errors != float64(n+1) {
				t.Errorf("afterwards the error is %v; %v errors, want %d", s.StoreError, errors, n+1)
			}
		}
		if n := strings.Count(m.logs.String(), "everything was written to a new one"); n != 3 {
			t.Errorf("logged %d times:\n%s", n, m.logs)
		}
		copied := t.TempDir() // as a kill leaves the files
		for _, file := range []string{"register.db", "register.db-wal"} {
			content, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(copied, file), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		after := start(t, simulator.Options{Key: "key"}, config(nil), collector.Options{StateDirectory: copied})
		defer after.stop()
		if after.state("a") == "" || after.state("b") == "" {
			t.Error("jobs are missing after a kill")
		}
	})
}

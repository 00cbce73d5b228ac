package collector_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

// On the default plan, jobs that may have ended long ago are polled at once, and so are
// the first jobs of all, which show whether the key is right. Others wait until they
// are worth a request, also after a restart.
func TestFirstLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		ids := filepath.Join(dir, "ids")
		write := func(text string) {
			if err := os.WriteFile(ids, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		submitted := fmt.Sprintf(`{"request_id":"just-submitted","submitted_at":%q}`, time.Now().UTC().Format(time.RFC3339))
		write("in-the-file\n" + submitted + "\n")
		c := config(func(c *collector.Config) {
			c.RequestsPerMinute, c.RequestsPerDay = 5, 100
			c.RequestIDs, c.RequestIDFiles = []string{"configured"}, []string{ids}
		})
		begin := func() (m *monitor, done func() []string) {
			m = start(t, simulator.Options{Key: "key"}, c, collector.Options{StateDirectory: filepath.Join(dir, "state")})
			for _, id := range []string{"configured", "in-the-file", "just-submitted", "appended", "posted", "another"} {
				m.api.Submit(simulator.Job{RequestID: id, Outcome: simulator.Stuck})
			}
			return m, func() (asked []string) {
				for _, seen := range m.api.Log() {
					asked = append(asked, seen.RequestID)
				}
				m.stop()
				return asked
			}
		}
		want := func(when string, asked []string, all ...string) {
			t.Helper()
			got := make(map[string]int)
			for _, id := range asked {
				got[id]++
			}
			for _, id := range all {
				if got[id] != 1 {
					t.Errorf("%s, %s was polled %d times", when, id, got[id])
				}
			}
			if len(asked) != len(all) {
				t.Errorf("%s, it polled %q, want %q", when, asked, all)
			}
		}
		m, done := begin()
		pass(10 * time.Second)
		write("in-the-file\n{\"request_id\":\"just-submitted\"}\nappended\n")
		pass(10 * time.Second)
		m.track(t, "posted")
		pass(10 * time.Second)
		if _, _, known := m.account.Job("appended"); !known {
			t.Error("what is appended is not tracked")
		}
		want("at first", done(), "configured", "in-the-file", "just-submitted", "appended", "posted")

		m, done = begin() // soon after
		m.track(t, "another")
		pass(10 * time.Second)
		want("after a restart", done())
	})

	synctest.Test(t, func(t *testing.T) {
		c := config(func(c *collector.Config) { c.RequestsPerMinute, c.RequestsPerDay = 60, 100 })
		m := start(t, simulator.Options{Key: "key"}, c, collector.Options{})
		defer m.stop()
		for i := range 20 {
			m.track(t, m.api.Submit(simulator.Job{RequestID: fmt.Sprint(i), Outcome: simulator.Stuck}))
		}
		pass(10 * time.Second)
		if asked := m.api.Log(); len(asked) != 5 || m.account.Snapshot().Counts[jobs.Running] != 5 {
			t.Errorf("%d of 20 new jobs were polled at once", len(asked))
		}
	})
}

// What is in a file that a reload adds may be old: it is polled at once. What is appended later is not.
func TestFirstLookAfterReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := filepath.Join(t.TempDir(), "ids")
		write := func(text string) {
			if err := os.WriteFile(ids, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := config(func(c *collector.Config) { c.RequestsPerMinute, c.RequestsPerDay = 60, 100 })
		m := start(t, simulator.Options{Key: "key"}, c, collector.Options{})
		defer m.stop()
		var asked []string
		polled := func(when string, want ...string) {
			t.Helper()
			pass(10 * time.Second)
			var got []string
			for _, seen := range m.api.Log()[len(asked):] {
				got = append(got, seen.RequestID)
			}
			asked = append(asked, got...)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s: polled %q, want %q", when, got, want)
			}
		}
		for _, id := range []string{"1", "2", "3", "4", "5", "6", "a", "b", "c"} {
			m.api.Submit(simulator.Job{RequestID: id, Outcome: simulator.Stuck})
		}
		m.track(t, "1", "2", "3", "4", "5", "6")
		polled("the first of all", "1", "2", "3", "4", "5")
		write("a\nb\n")
		c.RequestIDFiles = []string{ids}
		if err := m.Reload(t.Context(), []collector.Config{c}); err != nil {
			t.Fatal(err)
		}
		polled("a file was added", "a", "b")
		write("a\nb\nc\n")
		polled("it grew")
	})
}

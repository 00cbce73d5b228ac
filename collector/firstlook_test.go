package collector_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/registration"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

// On the default plan, what may have ended long ago is looked at once, and so is
// the very first job, which tells whether the key is right; others wait until that
// is worth a request, also after a restart.
func TestFirstLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		ids := filepath.Join(dir, "ids")
		write := func(text string) {
			if err := os.WriteFile(ids, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("in-the-file\n{\"request_id\":\"just-submitted\",\"submitted_at\":\"" + time.Now().UTC().Format(time.RFC3339) + "\"}\n")
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
					t.Errorf("%s, %s was asked about %d times", when, id, got[id])
				}
			}
			if len(asked) != len(all) {
				t.Errorf("%s, it asked about %q, want %q", when, asked, all)
			}
		}
		m, done := begin()
		pass(10 * time.Second)
		write("in-the-file\n{\"request_id\":\"just-submitted\"}\nappended\n")
		m.track(t, "posted")
		pass(10 * time.Second)
		if _, _, known := m.account.Job("appended"); !known {
			t.Error("what is appended is not tracked")
		}
		want("at first", done(), "configured", "in-the-file")

		m, done = begin() // soon after
		m.track(t, "another")
		pass(10 * time.Second)
		want("after a restart", done())
	})

	// With nothing but one job, that is asked about.
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "key"}, config(func(c *collector.Config) { c.RequestsPerMinute, c.RequestsPerDay = 5, 100 }), collector.Options{})
		defer m.stop()
		for _, id := range []string{"first", "second"} {
			m.api.Submit(simulator.Job{RequestID: id, Outcome: simulator.Stuck})
			if _, _, err := m.account.Track(t.Context(), registration.HTTP, []registration.Job{{RequestID: id}}); err != nil {
				t.Fatal(err)
			}
			pass(5 * time.Second)
		}
		if asked := m.api.Log(); len(asked) != 1 || asked[0].RequestID != "first" || m.state("first") != "running" || m.state("second") != "pending" {
			t.Errorf("asked %+v; the first is %s, the second %s", asked, m.state("first"), m.state("second"))
		}
	})
}

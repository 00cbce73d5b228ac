package collector_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

// Each state change is returned until it is marked as delivered, with the timings of
// words if word_points is set.
func TestStateChanges(t *testing.T) {
	for _, words := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := config(func(c *collector.Config) { c.WordPoints = words })
			m := start(t, simulator.Options{Seed: 1, Key: "key"}, c, collector.Options{MaxStateChanges: 100})
			defer m.stop()
			m.track(t, m.api.Submit(completes("polled", time.Minute)))
			pass(50 * time.Second) // it is polled at least once, and runs
			hook := `{"request_id":"hook","response":{"words":[{"start":0,"end":1},{"start":2,"end":3}]}}`
			if _, err := m.account.Webhook(io.NopCloser(strings.NewReader(hook)), false); err != nil {
				t.Fatal(err)
			}
			pass(time.Hour)
			var got []string
			all := m.account.StateChanges(10)
			for _, c := range all {
				got = append(got, c.Job.RequestID+" "+c.Job.State.String())
				want := 0
				if c.Job.State == collector.Completed && words {
					want = int(c.Job.Statistics.Words)
				}
				if len(c.Timings) != want {
					t.Errorf("%s has %d timings", got, len(c.Timings))
				}
			}
			if list := strings.Join(got, ", "); list != "polled running, hook completed, polled completed" {
				t.Errorf("state changes: %s", list)
			}
			if err := m.account.Delivered(all[0].Number, all[2].Number); err != nil {
				t.Fatal(err)
			}
			if left := m.account.StateChanges(10); len(left) != 1 || left[0].Number != all[1].Number {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestNoStateChangesByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Seed: 1, Key: "key"}, config(nil), collector.Options{})
		defer m.stop()
		m.track(t, m.api.Submit(simulator.Job{Outcome: simulator.Completed, Duration: -1}))
		pass(time.Minute)
		if changes := m.account.StateChanges(10); len(changes) > 0 {
			t.Errorf("%v", changes)
		}
	})
}

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

// A face that asks for it finds each change of state until it says that it has been
// delivered, with the timings of words where those are asked for.
func TestChanges(t *testing.T) {
	for _, words := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := start(t, simulator.Options{Seed: 1, Key: "key"}, config(func(c *collector.Config) { c.WordPoints = words }), collector.Options{MaxChanges: 100})
			defer m.stop()
			m.track(t, m.api.Submit(simulator.Job{RequestID: "polled", Outcome: simulator.Completed, Duration: time.Minute}))
			pass(50 * time.Second) // it is asked about once at least, and runs
			hook := `{"request_id":"hook","response":{"words":[{"start":0,"end":1},{"start":2,"end":3}]}}`
			if _, err := m.account.Webhook(t.Context(), io.NopCloser(strings.NewReader(hook)), false); err != nil {
				t.Fatal(err)
			}
			pass(time.Hour)
			var got []string
			for _, c := range m.account.Changes(10) {
				got = append(got, c.Job.RequestID+" "+c.Job.State.String())
				if completed := c.Job.State.String() == "completed"; (len(c.Timings) > 0) != (completed && words) || completed && words && len(c.Timings) != c.Job.Statistics.Words {
					t.Errorf("%s has %d timings", got, len(c.Timings))
				}
			}
			if list := strings.Join(got, ", "); list != "polled running, hook completed, polled completed" {
				t.Errorf("changes: %s", list)
			}
			if err := m.account.Delivered(t.Context(), 1, 3); err != nil {
				t.Fatal(err)
			}
			if left := m.account.Changes(10); len(left) != 1 || left[0].Number != 2 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestNoChangesUnlessAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Seed: 1, Key: "key"}, config(nil), collector.Options{})
		defer m.stop()
		m.track(t, m.api.Submit(simulator.Job{Outcome: simulator.Completed, Duration: -1}))
		pass(time.Minute)
		if changes := m.account.Changes(10); len(changes) > 0 {
			t.Errorf("%v", changes)
		}
	})
}

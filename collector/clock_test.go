package collector_test

import (
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

// jumped is a reading of the clock after the wall clock was set by d, whole
// seconds: its wall time differs, its monotonic time does not. The operating
// system makes such readings when the clock is set; no function of package time
// does, so the wall seconds (bits 30 to 62 of the first word, beside the
// monotonic flag) are changed in place.
func jumped(t time.Time, d time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t))
	*wall += uint64(int64(d/time.Second) << 30)
	return t
}

func TestJumped(t *testing.T) {
	for _, d := range []time.Duration{48 * time.Hour, -5 * time.Hour, 0} {
		before := time.Now()
		after := jumped(before, d)
		if wall := after.Round(0).Sub(before.Round(0)); wall != d || after.Sub(before) != 0 {
			t.Errorf("jumped by %s: wall %s, monotonic %s", d, wall, after.Sub(before))
		}
	}
}

// A clock that was years ahead and is right after a restart, as on a machine whose battery is empty, neither keeps a
// job from being polled nor an ended one from leaving.
func TestClockThatWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := config(func(c *collector.Config) { c.RequestsPerMinute, c.RequestsPerDay = 5, 100 })
		ahead := func() time.Time { return time.Now().Add(10 * 365 * 24 * time.Hour) }
		m := start(t, simulator.Options{Key: "key"}, c, collector.Options{StateDirectory: dir, Now: ahead})
		m.api.Submit(completes("ended", time.Second))
		m.api.Submit(simulator.Job{RequestID: "running", Outcome: simulator.Stuck})
		m.track(t, "ended", "running")
		pass(10 * time.Minute)
		m.stop()

		m = start(t, simulator.Options{Key: "key"}, c, collector.Options{StateDirectory: dir})
		m.api.Submit(completes("running", time.Second))
		pass(12 * time.Hour)
		if got := m.state("running"); got != "completed" {
			t.Errorf("the job is %q", got)
		}
		pass(24 * time.Hour)
		if a, b := m.state("ended"), m.state("running"); a != "" || b != "" {
			t.Errorf("after their retention, the jobs are %q and %q", a, b)
		}
		s := m.account.Snapshot()
		if s.Day.Used > 10 {
			t.Errorf("%v requests are counted", s.Day.Used)
		}
		m.stop()
	})
}

// Jobs that began while the clock was wrong are polled soon after a restart with the right clock, and are not given up:
// their times say nothing about their age.
func TestJobsOfUnknownAge(t *testing.T) {
	for _, off := range []time.Duration{-30 * 24 * time.Hour, -2 * time.Hour, 0, 2 * time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				c := config(func(c *collector.Config) { c.RequestsPerMinute, c.RequestsPerDay = 5, 100 })
				wrong := func() time.Time { return time.Now().Add(off) }
				m := start(t, simulator.Options{Key: "key"}, c, collector.Options{StateDirectory: dir, Now: wrong})
				stuck := []string{"a", "b", "c", "d", "e", "f"}
				for _, id := range append(stuck, "job") {
					m.api.Submit(simulator.Job{RequestID: id, Outcome: simulator.Stuck})
					m.track(t, id)
				}
				pass(time.Hour)
				m.stop()

				api := simulator.New(simulator.Options{Key: "key"})
				for _, id := range stuck {
					api.Submit(simulator.Job{RequestID: id, Outcome: simulator.Stuck})
				}
				api.Submit(completes("job", time.Second))
				pass(time.Second)
				m = monitorOf(t, api, c, collector.Options{StateDirectory: dir})
				m.Start()
				pass(5 * time.Minute)
				if got := m.state("job"); (got == "completed") != (off != 0) {
					t.Errorf("the job is %q after 5 minutes", got)
				}
				for _, id := range stuck {
					if got := m.state(id); got != "running" && got != "pending" {
						t.Errorf("%s is %q", id, got)
					}
				}
				m.stop()
			})
		})
	}
}

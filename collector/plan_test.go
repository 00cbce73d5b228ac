package collector_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// Days on the free plan, with jobs in office hours, some of which never end, and
// two restarts a day, each at another hour: no request is refused, every end is
// observed, on average soon, and the morning never spends the quota of the evening.
// What was learnt survives the restarts.
func TestFreePlanForDays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		vendor := simulator.New(simulator.Options{
			Seed: 9, Key: "key", RequestsPerMinute: 5, RequestsPerDay: 100,
			Latency: simulator.Latency{Median: time.Second, P99: 8 * time.Second},
		})
		defer vendor.Close()
		r := rand.New(rand.NewPCG(1, 1))
		var m *monitor
		begin := time.Now()
		open := func() {
			m = monitorOf(t, vendor, config(func(c *collector.Config) {
				c.RequestsPerMinute, c.RequestsPerDay, c.Retention = 5, 100, 2000*time.Hour
			}), collector.Options{StateDirectory: dir})
			m.Start()
		}
		stop := func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond) // nearly a kill
			defer cancel()
			m.Stop(ctx)
			if log := m.logs.String(); strings.Contains(log, "cannot be used") || strings.Contains(log, "level=ERROR") {
				t.Errorf("log:\n%s", log)
			}
		}
		open()
		ends := make(map[string]time.Time)
		stuck := make(map[string]time.Time)
		for hour := range longtest.Size(3, 14) * 24 {
			if hour%11 == 4 {
				stop()
				pass(time.Minute)
				open()
			}
			hourEnds := begin.Add(time.Duration(hour+1) * time.Hour)
			jobs := 0
			if h := hour % 24; h >= 8 && h < 18 {
				jobs = 1 + r.IntN(4) // 25 a day
			}
			for i := range jobs {
				pass(time.Until(hourEnds) / time.Duration(jobs-i+1))
				length := time.Duration(float64(4*time.Minute) * (0.8 + 0.4*r.Float64()))
				job := completes(fmt.Sprintf("%d-%d", hour, i), length)
				if r.IntN(40) == 0 {
					job.Outcome = simulator.Stuck
					stuck[job.RequestID] = time.Now()
				} else {
					ends[job.RequestID] = time.Now().Add(job.Duration)
				}
				vendor.Submit(job)
				submitted := []submission.Job{{RequestID: job.RequestID, API: "asr"}}
				if _, _, err := m.account.Register(submission.HTTP, submitted); err != nil {
					t.Fatal(err)
				}
			}
			pass(time.Until(hourEnds))
		}
		var late time.Duration
		for id, end := range ends {
			j, _, known := m.account.Job(id)
			if !known || j.State.String() != "completed" {
				t.Errorf("%s is %s", id, m.state(id))
				continue
			}
			late += j.FinishedAt.Sub(end)
		}
		if mean := late / time.Duration(len(ends)); mean > 2*time.Minute {
			t.Errorf("ends are observed %s late on average", mean)
		}
		// A job that never ends is polled until it is given up.
		asked := make(map[string]int)
		byDay := make(map[int]int) // until 10:00
		seen := vendor.Log()
		for _, q := range seen {
			asked[q.RequestID]++
			if at := q.At.Sub(begin); at%(24*time.Hour) < 10*time.Hour {
				byDay[int(at/(24*time.Hour))]++
			}
		}
		if len(stuck) == 0 {
			t.Error("all jobs end")
		}
		for id := range stuck {
			if asked[id] < 4 {
				t.Errorf("%s, which never ends, was polled %d times", id, asked[id])
			}
		}
		for day, n := range byDay {
			if n > 60 {
				t.Errorf("%d requests until 10:00 on day %d", n, day)
			}
		}
		if most := mostWithin(seen, 24*time.Hour); most > 100 {
			t.Errorf("%d requests within 24 hours", most)
		}
		if n := vendor.Answered(429) + vendor.Answered(402); n > 0 {
			t.Errorf("%d refusals", n)
		}
		m.track(t, vendor.Submit(simulator.Job{RequestID: "last", API: "asr", Outcome: simulator.Stuck}))
		if why, ok := m.account.Explain("last"); !ok || why.Expected < 2*time.Minute || why.Expected > 8*time.Minute {
			t.Errorf("a job is expected to take %s", why.Expected)
		}
		stop()
	})
}

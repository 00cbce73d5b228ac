package jobs_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// Recent has what was counted within each window, by the samples that sweeps take.
func TestRecent(t *testing.T) {
	j := open(t, nil, options(func(o *jobs.Options) { o.Retention = 1000 * time.Hour }))
	now, n := start, 0
	pass := func(d time.Duration) {
		t.Helper()
		for end := now.Add(d); now.Before(end); {
			now = now.Add(10 * time.Minute)
			sweep(t, j, now)
		}
	}
	check := func(when string, want jobs.Recent) {
		t.Helper()
		if diff := cmp.Diff(want, j.Recent(now), cmpopts.EquateNaNs(), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	results := func(jobs10 int, confidence float64) {
		for range jobs10 {
			n++
			id := fmt.Sprint(n)
			register(t, j, now, id)
			end := hooked(id, jobs.Completed, now)
			end.Result = words(1)
			end.Result.Confidence = confidence
			observe(t, j, end)
		}
	}
	check("at first", jobs.Recent{Confidence: math.NaN(), LongConfidence: math.NaN()})

	results(4, .9)
	register(t, j, now, "limited")
	for range 3 {
		refused := polled("limited", jobs.Unanswered, now)
		refused.Request = &jobs.Request{Outcome: jobstatus.RateLimited}
		observe(t, j, refused)
	}
	flush(t, j)
	check("at once", jobs.Recent{
		RateLimited: 3, Polls: 3, Webhooks: 4, Ended: 4, Unfinished: 1, Confidences: 4, Confidence: .9, LongConfidence: .9,
	})
	observe(t, j, polled("limited", jobs.Completed, now.Add(time.Second)))
	pass(2 * time.Hour)
	check("after 2 hours",
		jobs.Recent{Polls: 4, Webhooks: 4, Ended: 5, Confidences: 4, Confidence: .9, LongConfidence: .9})
	pass(6 * time.Hour)
	results(4, .5)
	check("after 8 hours", jobs.Recent{
		Webhooks: 4, WebhooksBefore: 4, Ended: 4, Confidences: 4, Confidence: .5, LongConfidence: .7,
	})
	pass(7 * 24 * time.Hour)
	results(1, .4)
	check("after a week", jobs.Recent{Webhooks: 1, Ended: 1, Confidences: 1, Confidence: .4, LongConfidence: .48})

	now = start.Add(-time.Hour) // the clock is set back
	sweep(t, j, now)
	pass(7 * time.Hour)
	if r := j.Recent(now); r.Confidences != 0 || r.Webhooks != 0 {
		t.Errorf("after the clock was set back: %+v", r)
	}
}

// Damage that is found when a store is opened is recent, and what was counted before is not.
func TestRecentDamage(t *testing.T) {
	m := newMemory(t)
	for range 2 {
		m.lost = 5
		j := open(t, m, options())
		flush(t, j)
		if r := j.Recent(start); r.CorruptRecords != 5 {
			t.Errorf("%+v", r)
		}
	}
	m.lost = 0
	if r := open(t, m, options()).Recent(start); r.CorruptRecords != 0 {
		t.Errorf("without new damage: %+v", r)
	}
}

// Whether jobs are stalled is asked for with each page. It takes no look at each of many new jobs.
func BenchmarkStalled(b *testing.B) {
	j := open(b, nil, options())
	ids := make([]string, 100_000)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	register(b, j, start, ids...)
	for b.Loop() {
		j.Recent(start.Add(time.Minute))
	}
}

// Jobs are stalled if none has ended for 3 hours, while some were unfinished and others came, after a day of ends.
func TestStalled(t *testing.T) {
	for name, tt := range map[string]struct {
		ended, old, young int
		last              time.Duration // of the last end, ago
		want              bool
	}{
		"stalled":          {24, 3, 3, 181 * time.Minute, true},
		"an end":           {24, 3, 3, 179 * time.Minute, false},
		"a quiet day":      {23, 3, 3, 181 * time.Minute, false},
		"left overs":       {24, 3, 2, 181 * time.Minute, false},
		"a new batch only": {24, 2, 3, 181 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			m, o := newMemory(t), options(func(o *jobs.Options) { o.Retention = 24 * time.Hour })
			j := open(t, m, o)
			now := start.Add(12 * time.Hour)
			add := func(kind string, jobs int, at time.Time) (ids []string) {
				for i := range jobs {
					ids = append(ids, fmt.Sprint(kind, i))
				}
				register(t, j, at, ids...)
				return ids
			}
			for _, id := range add("ended", tt.ended, start) {
				observe(t, j, polled(id, jobs.Completed, now.Add(-tt.last)))
			}
			add("old", tt.old, now.Add(-181*time.Minute))
			add("young", tt.young, now.Add(-31*time.Minute))
			add("new", 10, now.Add(-29*time.Minute))
			if got := j.Recent(now).Stalled; got != tt.want {
				t.Errorf("stalled %v, want %v", got, tt.want)
			}
			if got := openAt(t, m, o, now).Recent(now).Stalled; got != tt.want {
				t.Errorf("stalled %v after a restart, want %v", got, tt.want)
			}
		})
	}
}

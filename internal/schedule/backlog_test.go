package schedule_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/cputime"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// outage returns a scheduler of jobs that have all ended during an outage.
func outage(jobs int) *scheduler {
	s := newScheduler(schedule.Limits{Concurrent: atOnce}, start)
	var backlog []schedule.Job
	for i := range jobs {
		backlog = append(backlog, schedule.Job{
			RequestID: fmt.Sprint(i), API: fmt.Sprint("api", i%12), AudioSeconds: 300,
			Start: at(-2*time.Hour + time.Duration(i)*time.Millisecond),
		})
	}
	s.Add(start, backlog...)
	return s
}

// The API answers so many requests at once, each within a time.
const (
	atOnce       = 16
	answerWithin = 50 * time.Millisecond
)

// drain polls so many ended jobs, and returns how long that took. It gives up after ten times what it should take.
func drain(s *scheduler, polls int) time.Duration {
	type flight struct {
		permit *schedule.Permit
		ends   time.Time
	}
	var inFlight []flight
	begin := at(time.Minute)
	now, until := begin, begin.Add(10*(shortest(polls)+time.Second))
	for polls > 0 || len(inFlight) > 0 {
		permit, next := (*schedule.Permit)(nil), time.Time{}
		if polls > 0 {
			permit, next = s.Next(now)
		}
		switch {
		case permit != nil:
			polls--
			inFlight = append(inFlight, flight{permit, now.Add(answerWithin)})
		case len(inFlight) > 0 && (next.IsZero() || inFlight[0].ends.Before(next)):
			f := inFlight[0]
			inFlight, now = inFlight[1:], f.ends
			s.Ended(f.permit.RequestID, now, false)
			f.permit.Answered(now, 0)
		case next.IsZero() || next.After(until):
			return until.Sub(begin)
		default:
			now = next
		}
	}
	return now.Sub(begin)
}

// shortest returns how long so many polls take without a pause.
func shortest(polls int) time.Duration { return time.Duration((polls+atOnce-1)/atOnce) * answerWithin }

// After an outage, a backlog of jobs that have all ended is polled as fast as the API answers.
func TestBacklog(t *testing.T) {
	for _, jobs := range []int{1000, longtest.Size(10_000, 100_000)} {
		polls := min(jobs, 3000)
		if took, want := drain(outage(jobs), polls), shortest(polls); took > want+want/15 {
			t.Errorf("of %d jobs, %d were polled in %s; want %s", jobs, polls, took, want)
		}
	}
}

// BenchmarkBacklog polls jobs of a backlog, in virtual time. It reports how long that took, and how long it
// takes without a pause.
func BenchmarkBacklog(b *testing.B) {
	for _, jobs := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(jobs), func(b *testing.B) {
			s := outage(jobs)
			cputime.Report(b)
			took := drain(s, b.N)
			b.ReportMetric(float64(took), "took-ns")
			b.ReportMetric(float64(shortest(b.N)), "shortest-ns")
		})
	}
}

// BenchmarkAdd registers jobs one by one beside many that are not due yet.
func BenchmarkAdd(b *testing.B) {
	for _, jobs := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(jobs), func(b *testing.B) {
			s := newScheduler(schedule.PerMinute(60), start)
			now := at(time.Hour)
			backlog := make([]schedule.Job, jobs)
			for i := range backlog {
				backlog[i] = schedule.Job{RequestID: fmt.Sprint(i), API: "asr", AudioSeconds: 36000, Start: now}
			}
			s.Add(now, backlog...)
			s.RefreshAll(now)
			n := 0
			for b.Loop() {
				n++
				now = now.Add(time.Microsecond)
				s.Add(now, schedule.Job{RequestID: fmt.Sprint("new", n), API: "asr", AudioSeconds: 36000, Start: now})
				s.Next(now)
			}
		})
	}
}

// How long a backlog takes depends on the quota, what is left of it, and the jobs that arrive.
func TestBacklogTakes(t *testing.T) {
	const hour = time.Hour
	for name, test := range map[string]struct {
		limits   schedule.Limits
		due      int
		arriving int // jobs in each hour of the two days before
		takes    time.Duration
		never    bool
		perDay   float64
		perMin   float64
	}{
		"none":                  {perMinute(5, 100), 0, 0, 0, false, 0, 0},
		"no quota":              {schedule.Limits{}, 1000, 0, 0, false, 0, 0},
		"of a minute":           {perMinute(5, 0), 600, 0, 2 * hour, false, 0, 0},
		"of a day":              {perMinute(5, 100), 20_000, 0, 200 * 24 * hour, false, 20_000, 14},
		"what is left suffices": {perMinute(5, 100), 90, 0, 18 * time.Minute, false, 0, 0},
		"beside new jobs":       {perMinute(5, 100), 1000, 2, 415 * hour, false, 1048, 0},
		"new jobs alone":        {perMinute(5, 100), 1000, 5, 0, true, 1120, 0},
		"both too small":        {perMinute(0.5, 1000), 7200, 0, 10 * 24 * hour, false, 7200, 5},
	} {
		s := newScheduler(test.limits, start)
		now := start
		for h := range 48 {
			for i := range test.arriving {
				at, id := now.Add(time.Duration(10+i)*time.Minute), fmt.Sprint("old ", h, i)
				s.Add(at, schedule.Job{RequestID: id, API: "asr", Start: at})
				s.Ended(id, at.Add(time.Minute), false)
			}
			now = now.Add(hour)
		}
		var jobs []schedule.Job
		for i := range test.due {
			jobs = append(jobs, schedule.Job{RequestID: fmt.Sprint(i), API: "asr", Start: now, AgeUnknown: true})
		}
		s.Add(now, jobs...)
		_, _, planned := s.Plan(now, time.Minute, 1)
		s.RefreshAll(now)
		got := s.View(now, nil).Backlog
		if got != planned {
			t.Errorf("%s: %+v now, %+v in the plan", name, got, planned)
		}
		if got.Jobs != test.due || (got.Takes-test.takes).Abs() > test.takes/20 || got.Never != test.never ||
			got.PerDay != test.perDay || got.PerMinute != test.perMin || got.Slow() != (test.perDay > 0) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

package schedule_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// After an outage, a backlog of jobs that have all ended is polled as fast as the API answers: 16 at once, each in 50 ms.
func TestBacklog(t *testing.T) {
	for _, jobs := range []int{1000, 100_000} {
		s := schedule.New(schedule.Limits{Concurrent: 16}, start)
		var backlog []schedule.Job
		for i := range jobs {
			backlog = append(backlog, schedule.Job{
				RequestID: fmt.Sprint(i), API: fmt.Sprint("api", i%12), AudioSeconds: 300,
				Start: at(-2*time.Hour + time.Duration(i)*time.Millisecond),
			})
		}
		s.Add(start, backlog...)
		type flight struct {
			turn *schedule.Turn
			ends time.Time
		}
		var inFlight []flight
		polled, now := 0, at(time.Minute)
		for until := now.Add(10 * time.Second); now.Before(until); {
			turn, next := s.Next(now)
			switch {
			case turn != nil:
				polled++
				inFlight = append(inFlight, flight{turn, now.Add(50 * time.Millisecond)})
			case len(inFlight) > 0 && (next.IsZero() || inFlight[0].ends.Before(next)):
				f := inFlight[0]
				inFlight, now = inFlight[1:], f.ends
				s.Ended(f.turn.RequestID, now, false)
				f.turn.Answered(now, 0)
			case next.IsZero():
				now = until
			default:
				now = next
			}
		}
		if want := min(jobs, 3000); polled < want {
			t.Errorf("of %d jobs, %d were polled in ten seconds; want at least %d", jobs, polled, want)
		}
	}
}

// BenchmarkAdd registers jobs one by one beside many that are not due yet.
func BenchmarkAdd(b *testing.B) {
	for _, jobs := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(jobs), func(b *testing.B) {
			s := schedule.New(schedule.PerMinute(60), start)
			now := at(time.Hour)
			backlog := make([]schedule.Job, jobs)
			for i := range backlog {
				backlog[i] = schedule.Job{RequestID: fmt.Sprint(i), API: "asr", AudioSeconds: 36000, Start: now}
			}
			s.Add(now, backlog...)
			s.Next(now)
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

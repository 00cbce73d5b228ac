package jobs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// A history has the ends and the requests of a day by hour, also those of jobs that are no longer tracked; after a
// restart, those of jobs that are.
func TestHistory(t *testing.T) {
	m := newMemory(t)
	o := options(func(o *jobs.Options) { o.Retention = 90 * time.Minute })
	j := open(t, m, o)
	begin := start.Truncate(time.Hour)
	end := func(at time.Time, id string, state jobs.State) {
		t.Helper()
		register(t, j, at, id)
		if err := j.Reserve(at, 3); err != nil {
			t.Fatal(err)
		}
		observe(t, j, jobs.Observation{RequestID: id, At: at, State: state})
		sweep(t, j, at)
	}
	check := func(j *jobs.Jobs, now time.Time, want string) {
		t.Helper()
		h := j.History(now, 3)
		got := ""
		for _, hour := range h.Hours {
			if hour.Ended.All()+hour.Requests > 0 {
				got += fmt.Sprintf("%s %d %d; ", hour.Start.Sub(begin), hour.Ended, hour.Requests)
			}
		}
		if got += fmt.Sprint(ids(h.Latest)); got != want {
			t.Errorf("history %s, want %s", got, want)
		}
		if last := h.Hours[len(h.Hours)-1].Start; last.After(now) || now.Sub(last) >= time.Hour {
			t.Errorf("the present hour begins at %s", last)
		}
	}
	check(j, begin, "[]")
	end(begin.Add(10*time.Minute), "a", jobs.Completed)
	end(begin.Add(59*time.Minute), "b", jobs.Failed)
	end(begin.Add(60*time.Minute), "c", jobs.Lost)
	end(begin.Add(61*time.Minute), "d", jobs.Completed)
	check(j, begin.Add(2*time.Hour), "0s [1 1 0] 6; 1h0m0s [1 0 1] 6; [b c d]")
	end(begin.Add(3*time.Hour), "e", jobs.Completed) // and the others have left
	want := "0s [1 1 0] 6; 1h0m0s [1 0 1] 6; 3h0m0s [1 0 0] 3; [e]"
	check(j, begin.Add(3*time.Hour), want)
	check(j, begin.Add(23*time.Hour+59*time.Minute), want)
	check(j, begin.Add(24*time.Hour), "1h0m0s [1 0 1] 6; 3h0m0s [1 0 0] 3; [e]")
	j = openAt(t, m, o, begin.Add(3*time.Hour))
	check(j, begin.Add(3*time.Hour), "0s [0 0 0] 6; 1h0m0s [0 0 0] 6; 3h0m0s [1 0 0] 3; [e]")
	for i := range 30 { // in a day on which the clock was ahead
		end(begin.Add(time.Duration(100+i)*time.Hour), fmt.Sprint("ahead ", i), jobs.Completed)
	}
	end(begin, "f", jobs.Failed)
	remove(t, j, begin, "f")
	check(j, begin.Add(3*time.Hour), "0s [0 1 0] 3; [ahead 28 ahead 29]")
	if got := j.History(begin.Add(4*time.Hour), 0).Complete; !got.Equal(begin.Add(90 * time.Minute)) {
		t.Errorf("all ends are in it since %s", got)
	}
}

package jobs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// The timings of the jobs that ended last are kept, of as many as may have series, for as
// long as the job is, and over restarts.
func TestTimings(t *testing.T) {
	dir, o := t.TempDir(), options(maxJobSeries(3))
	o.KeepTimings = true
	kept := func(j *jobs.Jobs) (ids string) {
		for i := range 8 {
			if timings := j.Timings(fmt.Sprint(i)); len(timings) == 1 && timings[0].Speaker == i {
				ids += fmt.Sprint(i)
			}
		}
		return ids
	}
	j, closed := openSQLite(t, dir, o, start)
	end := func(i int) {
		id := fmt.Sprint(i)
		register(t, j, start, id)
		result := words(1)
		result.Timings = []transcript.Timing{{Start: 1, End: 2, Confidence: .5, Speaker: i}}
		now := at(time.Duration(i) * time.Minute)
		observe(t, j, jobs.Observation{RequestID: id, At: now, State: jobs.Completed, Result: result})
	}
	for i := range 5 {
		end(i)
	}
	if got := kept(j); got != "234" {
		t.Errorf("kept %q", got)
	}
	remove(t, j, at(6*time.Minute), "3")
	closed()
	j, closed = openSQLite(t, dir, o, start)
	if got := kept(j); got != "24" {
		t.Errorf("after a restart, kept %q", got)
	}
	end(6)
	end(7)
	if got := kept(j); got != "467" {
		t.Errorf("after two more, kept %q", got)
	}
	sweep(t, j, at(4*time.Minute+time.Hour+time.Second))
	o.KeepTimings = false
	j.SetOptions(o)
	end(5)
	if got := kept(j); got != "67" {
		t.Errorf("without the one out of retention, kept %q", got)
	}
	closed()
	j, _ = openSQLite(t, dir, o, start)
	if got := kept(j); got != "67" {
		t.Errorf("after another restart, kept %q", got)
	}
	if got := j.Timings("5"); got != nil {
		t.Errorf("timings of a job without any: %v", got)
	}
}

// Timings that the store has damaged are shown as none.
func TestDamagedTimings(t *testing.T) {
	m, o := newMemory(t), options()
	o.KeepTimings = true
	j := open(t, m, o)
	end := hooked("a", jobs.Completed, start)
	end.Result = words(1)
	end.Result.Timings = []transcript.Timing{{Start: 1, End: 2, Confidence: .5}}
	observe(t, j, end)
	row := m.timings["a"]
	row.Packed = row.Packed[:len(row.Packed)-1]
	m.timings["a"] = row
	if got := open(t, m, o).Timings("a"); got != nil {
		t.Errorf("timings %v", got)
	}
}

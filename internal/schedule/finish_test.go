package schedule_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// finished returns a scheduler that has seen 200 jobs of the API "asr" end, after 10 to 20 minutes, evenly spread, and
// the time.
func finished(t *testing.T) (*scheduler, time.Time) {
	t.Helper()
	now := at(5 * time.Hour)
	s := newScheduler(schedule.PerMinute(60), now)
	if err := s.Recall(learntOfFinished()); err != nil {
		t.Fatal(err)
	}
	return s, now
}

// learntOfFinished is what a scheduler learns that polls these jobs.
var learntOfFinished = sync.OnceValue(func() []byte {
	s := newScheduler(schedule.PerMinute(60), start)
	b, r := make(backEnd), rand.New(rand.NewPCG(1, 1))
	for i := range 200 {
		now, id := at(time.Duration(i)*time.Minute), fmt.Sprint(i)
		b[id] = now.Add(10*time.Minute + time.Duration(r.Float64()*float64(10*time.Minute)))
		s.Add(now, schedule.Job{RequestID: id, API: "asr", Start: now})
		b.work(s, now, now.Add(time.Minute))
	}
	now := at(5 * time.Hour)
	b.work(s, at(200*time.Minute), now)
	learnt, err := s.Learnt(now)
	if err != nil {
		panic(err)
	}
	return learnt
})

// within reports whether a duration is off by at most a tenth.
func within(got, want time.Duration) bool { return (got - want).Abs() <= want/10 }

// Half of the jobs end within 15 minutes, nine in ten within 19.
func TestFinish(t *testing.T) {
	s, now := finished(t)
	s.Add(now,
		schedule.Job{RequestID: "new", API: "asr", Start: now},
		schedule.Job{RequestID: "old", API: "asr", Start: now.Add(-12 * time.Minute)},
		schedule.Job{RequestID: "of unknown age", API: "asr", Start: now, AgeUnknown: true},
		schedule.Job{RequestID: "of another API", API: "vad", Start: now},
		schedule.Job{RequestID: "of known length", API: "asr", AudioSeconds: 480, Start: now},
	)
	for id, gone := range map[string]time.Duration{"new": 0, "old": 12 * time.Minute, "of unknown age": 0} {
		r, _ := s.Explain(id, now)
		expected, late := r.Finish.Expected.Sub(now)+gone, r.Finish.LateAfter.Sub(now)+gone
		if !within(expected, 15*time.Minute) || !within(late, 19*time.Minute) {
			t.Errorf("job %s is expected to take %s, and late after %s", id, expected, late)
		}
	}
	for _, id := range []string{"of another API", "of known length"} {
		if r, _ := s.Explain(id, now); r.Finish != (schedule.Finish{}) {
			t.Errorf("nothing was learnt about the job %s, and it is expected at %s", id, r.Finish.Expected)
		}
	}
	v := s.View(now, []string{"new", "unknown", "of another API"})
	want, _ := s.Explain("new", now)
	if v.Finishes[0] != want.Finish || v.Finishes[1] != (schedule.Finish{}) || v.Finishes[2] != (schedule.Finish{}) {
		t.Errorf("in the view, jobs are expected to have finished at %v", v.Finishes)
	}
}

// A job that still runs is late after a while, and the longer, the more. When it has ended, none is.
func TestLate(t *testing.T) {
	s, now := finished(t)
	s.Add(now,
		schedule.Job{RequestID: "slow", API: "asr", Start: now},
		schedule.Job{RequestID: "not seen", API: "asr", Start: now},
		schedule.Job{RequestID: "other", API: "vad", Start: now.Add(-24 * time.Hour)},
	)
	for _, step := range []struct {
		age     time.Duration
		late    int
		longest float64
	}{
		{17 * time.Minute, 0, 17. / 19},
		{22 * time.Minute, 2, 22. / 19},
		{57 * time.Minute, 2, 57. / 19},
	} {
		at := now.Add(step.age)
		s.StillRunning("slow", at)
		s.Refresh(at)
		got := s.View(at, nil).Late
		if got.Jobs != step.late || got.Longest < 0.8*step.longest || got.Longest > 1.1*step.longest {
			t.Errorf("after %s: %+v, want %d late jobs, %.2f", step.age, got, step.late, step.longest)
		}
	}
	s.Remove("not seen")
	s.Ended("slow", now.Add(time.Hour), false)
	s.Refresh(now.Add(2 * time.Hour))
	if got := s.View(now.Add(2*time.Hour), nil).Late; got != (schedule.Late{}) {
		t.Errorf("without a slow job: %+v", got)
	}
}

// Of jobs that end within seconds, one that a poll finds running has not yet taken many times as long as others.
func TestLateAmongFastJobs(t *testing.T) {
	s, now := newScheduler(schedule.PerMinute(60), start), start
	for i := range 200 {
		s.Add(now, schedule.Job{RequestID: fmt.Sprint(i), API: "asr", Start: now})
		s.Ended(fmt.Sprint(i), now.Add(8*time.Second), true)
		now = now.Add(time.Minute)
	}
	s.Add(now, schedule.Job{RequestID: "new", API: "asr", Start: now})
	for _, step := range []struct {
		age     time.Duration
		longest float64
	}{{45 * time.Second, 0.75}, {4 * time.Minute, 4}} {
		at := now.Add(step.age)
		s.StillRunning("new", at)
		s.Refresh(at)
		if got := s.View(at, nil).Late; got.Jobs != 1 || math.Abs(got.Longest-step.longest) > 0.01 {
			t.Errorf("after %s: %+v, want 1 late job, %.2f", step.age, got, step.longest)
		}
	}
}

// Very many jobs are counted one part after the other, or all at once.
func TestLateAmongMany(t *testing.T) {
	for name, refresh := range map[string]func(s *scheduler, now time.Time){
		"parts": func(s *scheduler, now time.Time) {
			for next := now; !next.IsZero(); {
				now, next = next, s.Refresh(next)
			}
		},
		"at once, after a part": func(s *scheduler, now time.Time) {
			s.Refresh(now)
			s.RefreshAll(now)
		},
	} {
		s, now := finished(t)
		var jobs []schedule.Job
		for i := range 5000 {
			begun := now.Add(-time.Duration(i%2) * time.Hour)
			jobs = append(jobs, schedule.Job{RequestID: fmt.Sprint(i), API: "asr", Start: begun})
		}
		s.Add(now, jobs...)
		now = now.Add(time.Second)
		refresh(s, now)
		if got := s.View(now, nil).Late.Jobs; got != 2500 {
			t.Errorf("%s: %d jobs are late, want 2500", name, got)
		}
	}
}

// A new job is counted after Refresh has been called for as long as it asks for, also if it was added after a pass, or
// has broken off the pass under way by the name of its API.
func TestLateNewJobs(t *testing.T) {
	s, now := finished(t)
	refresh := func() {
		for next := now; !next.IsZero(); {
			now, next = next, s.Refresh(next)
		}
	}
	add := func(id, api string) {
		s.Add(now, schedule.Job{RequestID: id, API: api, Start: now.Add(-time.Hour)})
	}
	for i := range 2500 {
		add(fmt.Sprint(i), "asr")
	}
	refresh()
	for late := 2501; late < 2504; late++ {
		add(fmt.Sprint(late), "asr")
		refresh()
		if got := s.View(now, nil).Late.Jobs; got != late {
			t.Fatalf("%d jobs are late, want %d", got, late)
		}
	}
	s.Remove("0") // a pass begins
	now = now.Add(time.Second)
	s.Refresh(now)
	add("other", "vad")
	if s.Refresh(now).IsZero() {
		t.Error("a pass that was broken off is not repeated")
	}
	refresh()
	if got := s.View(now, nil).Late.Jobs; got != 2502 {
		t.Errorf("%d jobs are late, want 2502", got)
	}
}

// In a queue, a job waits for those before it. When these end sooner, so does it.
func TestFinishInAQueue(t *testing.T) {
	for _, workers := range []int{1, 4} {
		s, now, _ := queued(t, workers, time.Hour)
		var jobs []schedule.Job
		for i := range 60 {
			jobs = append(jobs, schedule.Job{RequestID: fmt.Sprint(i), API: "asr", Start: now})
		}
		s.Add(now, jobs...)
		every := time.Minute / time.Duration(workers)
		finish := func(id string) schedule.Finish {
			r, _ := s.Explain(id, now)
			return r.Finish
		}
		for _, n := range []int{0, 20, 59} {
			f := finish(fmt.Sprint(n))
			want := max(time.Minute, time.Duration(n+1)*every+(time.Minute-every)/2)
			expected, late := f.Expected.Sub(now), f.LateAfter.Sub(now)
			if (expected-want).Abs() > 15*time.Second+want/8 || late < expected+5*time.Second || late > expected*3/2 {
				t.Errorf("%d workers: job %d is expected to take %s, late after %s; want %s", workers, n, expected, late, want)
			}
		}
		before := finish("59")
		for i := range 30 {
			s.Ended(fmt.Sprint(i), now, false)
		}
		if after := finish("59"); before.Expected.Sub(after.Expected) < 25*every {
			t.Errorf("%d workers: the last job is expected %s sooner without half of the jobs before it",
				workers, before.Expected.Sub(after.Expected))
		}
		s.Refresh(now.Add(24 * time.Hour))
		if got := s.View(now, nil).Late.Jobs; got != 30 {
			t.Errorf("%d workers: %d of 30 jobs are late", workers, got)
		}
	}
}

// Nobody knows when a worker took a job before a restart, or before another replica read it. The job is not late
// because it had waited in the queue.
func TestFinishInAQueueAfterARestart(t *testing.T) {
	before, now, _ := queued(t, 1, time.Hour)
	learnt, err := before.Learnt(now)
	if err != nil {
		t.Fatal(err)
	}
	s := newScheduler(schedule.PerMinute(60), now)
	if err := s.Recall(learnt); err != nil {
		t.Fatal(err)
	}
	submitted := now.Add(-40 * time.Minute)
	s.Add(now,
		schedule.Job{RequestID: "served", API: "asr", Start: submitted, Seen: now},
		schedule.Job{RequestID: "waiting", API: "asr", Start: submitted, Seen: now},
	)
	s.RefreshAll(now)
	if got := s.View(now, nil).Late; got.Jobs != 0 || got.Longest > 1 {
		t.Errorf("after the restart: %+v, want no late job", got)
	}
	served, _ := s.Explain("served", now)
	if late := served.Finish.LateAfter.Sub(now); late < time.Minute || late > 2*time.Minute {
		t.Errorf("a job in service is late after %s, want 1 to 2 minutes", late)
	}
	late := now.Add(5 * time.Minute)
	s.StillRunning("served", late)
	s.RefreshAll(late)
	if got := s.View(late, nil).Late.Jobs; got != 2 {
		t.Errorf("while the queue stands still, %d of 2 jobs are late", got)
	}
}

// A job that comes while the queue has been standing still for long is not late before it could have ended.
func TestFinishOfANewJobInAQueueThatStandsStill(t *testing.T) {
	s, now, _ := queued(t, 1, time.Hour)
	s.Add(now, schedule.Job{RequestID: "served", API: "asr", Start: now})
	now = now.Add(time.Hour)
	s.StillRunning("served", now)
	s.Add(now, schedule.Job{RequestID: "new", API: "asr", Start: now})
	for _, tt := range []struct {
		after time.Duration
		late  int
	}{{0, 1}, {30 * time.Second, 1}, {3 * time.Minute, 2}} {
		at := now.Add(tt.after)
		s.RefreshAll(at)
		if got := s.View(at, nil).Late; got.Jobs != tt.late || got.Longest < 20 {
			t.Errorf("%s after the new job has come: %+v, want %d late jobs", tt.after, got, tt.late)
		}
	}
	r, _ := s.Explain("new", now)
	if f := r.Finish; f.Expected.Sub(now) < 30*time.Second || f.LateAfter.Before(f.Expected) {
		t.Errorf("the new job is expected after %s, and late after %s", f.Expected.Sub(now), f.LateAfter.Sub(now))
	}
}

// What is learnt about ends survives a restart.
func TestFinishIsStored(t *testing.T) {
	for name, learn := range map[string]func() (*scheduler, time.Time){
		"alone": func() (*scheduler, time.Time) { return finished(t) },
		"queue": func() (*scheduler, time.Time) {
			s, now, _ := queued(t, 4, time.Hour)
			return s, now
		},
	} {
		before, now := learn()
		state, err := before.Learnt(now)
		if err != nil {
			t.Fatal(err)
		}
		after := newScheduler(schedule.PerMinute(60), now)
		if err := after.Recall(state); err != nil {
			t.Fatal(err)
		}
		finishes := func(s *scheduler) (all []schedule.Finish) {
			var jobs []schedule.Job
			for i := range 20 {
				jobs = append(jobs, schedule.Job{RequestID: fmt.Sprint("new ", i), API: "asr", Start: now})
			}
			s.Add(now, jobs...)
			return s.View(now, []string{"new 0", "new 19"}).Finishes
		}
		got, want := finishes(after), finishes(before)
		for i := range want {
			if d := got[i].LateAfter.Sub(want[i].LateAfter).Abs(); d > time.Second || want[i].LateAfter.IsZero() {
				t.Errorf("%s: late after %s after the restart, and after %s before it", name, got[i].LateAfter, want[i].LateAfter)
			}
		}
		for old, new := range map[string]string{
			`"levels":[0.`: `"levels":[1.`, `"levels":[`: `"levels":[0.5,`, `"gaps":{"ends":`: `"gaps":{"ends":-`,
		} {
			damaged := strings.Replace(string(state), old, new, 1)
			if damaged == string(state) || newScheduler(schedule.PerMinute(60), now).Recall([]byte(damaged)) == nil {
				t.Errorf("%s: a document with %s is accepted", name, new)
			}
		}
	}
}

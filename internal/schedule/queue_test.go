package schedule_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// inOrder returns when jobs that arrive together, in their order, are finished by workers. Each takes about a minute.
func inOrder(r *rand.Rand, arrive time.Time, jobs, workers int, free []time.Time) (ends []time.Time) {
	for range jobs {
		slices.SortFunc(free, time.Time.Compare)
		begin := arrive
		if free[0].After(begin) {
			begin = free[0]
		}
		free[0] = begin.Add(time.Duration((45 + 30*r.Float64()) * float64(time.Second)))
		ends = append(ends, free[0])
	}
	return ends
}

// queued polls four batches of 40 jobs, one in an hour, that a number of workers serve in order. It returns the
// scheduler some time after the last batch arrived, and the mean delay.
func queued(t *testing.T, workers int, after time.Duration) (*scheduler, time.Time, time.Duration) {
	t.Helper()
	var now time.Time
	var delay time.Duration
	s := newScheduler(schedule.PerMinute(float64(3+2*workers)), start)
	r := rand.New(rand.NewPCG(1, uint64(workers)))
	free := make([]time.Time, workers)
	b := make(backEnd)
	detected := 0
	for batch := range 4 {
		now = at(time.Duration(batch)*time.Hour + time.Minute)
		var jobs []schedule.Job
		for i, end := range inOrder(r, now, 40, workers, free) {
			id := fmt.Sprintf("%02d-%02d", batch, i)
			b[id] = end
			jobs = append(jobs, schedule.Job{RequestID: id, API: "asr", Start: now})
		}
		s.Add(now, jobs...)
		until := at(time.Duration(batch+1) * time.Hour)
		if batch == 3 {
			until = now.Add(after)
		}
		for id, times := range b.work(s, now, until) {
			if seen := times[len(times)-1]; batch > 0 && !seen.Before(b[id]) {
				delay += seen.Sub(b[id])
				detected++
			}
		}
		now = until
	}
	return s, now, delay / time.Duration(max(detected, 1))
}

// Where the back end works in order, only the jobs that can end are polled: their ends are seen within seconds.
func TestQueue(t *testing.T) {
	for workers, most := range map[int]time.Duration{1: 12 * time.Second, 4: 11 * time.Second, 16: 18 * time.Second} {
		s, now, delay := queued(t, workers, time.Duration(400/workers)*time.Second)
		if delay > most { // some seconds are due to the order of jobs with the same score
			t.Errorf("%d workers: ends are seen %s late, want at most %s", workers, delay, most)
		}
		polls := s.NextPolls(now, 100)
		if len(polls) == 0 || workers == 16 && len(polls) < 2 {
			t.Fatalf("%d workers: %d polls are to come", workers, len(polls))
		}
		head := slices.IndexFunc(polls, func(p schedule.Poll) bool { return p.Serving })
		if head < 0 {
			t.Fatalf("%d workers: none of %d jobs is in service", workers, len(polls))
		}
		first := polls[head]
		last := slices.MaxFunc(polls, func(a, b schedule.Poll) int { return cmp.Compare(a.RequestID, b.RequestID) })
		want := time.Minute / time.Duration(workers)
		if first.Every < want/2 || first.Every > want*2 || first.Expected < 30*time.Second ||
			!strings.HasPrefix(first.Short(), "head of the queue, one is expected to finish every ") {
			t.Errorf("%d workers: the next poll is %+v: %s", workers, first, first.Short())
		}
		if last.Serving || last.Ahead != len(polls)-1 {
			t.Errorf("%d workers: the last of %d jobs is %+v: %s", workers, len(polls), last, last.Short())
		}
	}
}

// The plan follows the queue: a job that has probably ended makes room for the next.
func TestQueuePlan(t *testing.T) {
	s, now, _ := queued(t, 1, 5*time.Minute)
	polls, _, _ := s.Plan(now, 30*time.Minute, 1000)
	planned := make(map[string]int)
	for _, p := range polls {
		planned[p.RequestID]++
	}
	if len(planned) < 20 {
		t.Errorf("%d polls of %d jobs are planned for half an hour, in which 30 jobs end: %v",
			len(polls), len(planned), planned)
	}
}

// What is known of a queue survives a restart.
func TestQueueIsStored(t *testing.T) {
	s, now, _ := queued(t, 4, time.Hour)
	state, err := s.Learnt(now)
	if err != nil {
		t.Fatal(err)
	}
	again := newScheduler(schedule.PerMinute(11), now)
	if err := again.Recall(state); err != nil {
		t.Fatal(err)
	}
	if stored, err := again.Learnt(now); err != nil || string(stored) != string(state) {
		t.Errorf("it is written again as\n%s\nafter\n%s, %v", stored, state, err)
	}
	for i := range 8 {
		job := schedule.Job{RequestID: fmt.Sprint(i), API: "asr", Start: now}
		again.Add(now, job)
	}
	later := now.Add(30 * time.Second)
	served, _ := again.Explain("0", later)
	waiting, _ := again.Explain("7", later)
	if !served.Serving || waiting.Serving || waiting.Ahead != 7 ||
		waiting.Every < 5*time.Second || waiting.Every > time.Minute {
		t.Errorf("of eight new jobs, the first is %+v and the last %+v", served, waiting)
	}
	for old, new := range map[string]string{
		`"workers":4,"gain":`: `"workers":4,"gain":-99,"old":`,
		`"workers":4,"gain"`:  `"workers":4,"expected":-1,"gain"`,
		`"jumped":`:           `"jumped":-`,
	} {
		damaged := strings.Replace(string(state), old, new, 1)
		if damaged == string(state) || again.Recall([]byte(damaged)) == nil {
			t.Errorf("a document with %s is accepted", new)
		}
	}
}

// A job that was lost before a worker took it does not hold up those behind it, and neither does one that was removed.
// What was learnt can be recalled, also where no job has ended, and where jobs began long ago or in the future, as they
// seem to after the wall clock was set.
func TestQueueIsStoredWithoutEnds(t *testing.T) {
	for _, began := range []time.Duration{0, -30 * 24 * time.Hour, -time.Hour, time.Hour, 30 * 24 * time.Hour} {
		for _, gone := range []bool{false, true} {
			s, now := newScheduler(schedule.PerMinute(20), start), start
			for i := range 50 {
				s.Add(now, schedule.Job{RequestID: fmt.Sprint(i), API: "api", Start: now.Add(began)})
			}
			for round := range 100 {
				now = now.Add(time.Minute)
				for i := range 50 {
					s.StillRunning(fmt.Sprint(i), now)
				}
				if gone && round < 20 {
					s.Remove(fmt.Sprint(round))
				}
			}
			stored, err := s.Learnt(now)
			if err != nil {
				t.Fatal(err)
			}
			if err := newScheduler(schedule.PerMinute(20), now).Recall(stored); err != nil {
				t.Errorf("jobs that began after %s, removed: %v: %v", began, gone, err)
			}
		}
	}
}

func TestQueueWithLostJobs(t *testing.T) {
	s, now, _ := queued(t, 1, time.Hour)
	r := rand.New(rand.NewPCG(2, 2))
	b := make(backEnd)
	var jobs []schedule.Job
	for i, end := range inOrder(r, now, 30, 1, make([]time.Time, 1)) {
		id := fmt.Sprintf("new-%02d", i)
		b[id] = end
		jobs = append(jobs, schedule.Job{RequestID: id, API: "asr", Start: now})
	}
	for _, id := range []string{"new-00", "new-10"} { // lost: the others are served as if they were not there
		b[id] = now.Add(1000 * time.Hour)
	}
	s.Add(now, jobs...)
	s.Remove("new-05")
	late := time.Duration(0)
	for id, times := range b.work(s, now, now.Add(time.Hour)) {
		if seen := times[len(times)-1]; strings.HasPrefix(id, "new") && !seen.Before(b[id]) {
			late += seen.Sub(b[id])
			delete(b, id)
		}
	}
	if len(b) != 3 || late/27 > 100*time.Second { // in turn, it would take three minutes
		t.Errorf("of 27 ends, the last are %d jobs; each was seen %s late", len(b), late/27)
	}
}

// How many jobs are before another in a queue is known, in whatever order they come and go.
func TestAhead(t *testing.T) {
	s, now, _ := queued(t, 4, 5*time.Minute)
	r := rand.New(rand.NewPCG(2, 2))
	begun := make(map[string]time.Time)
	add := func(from, until int) {
		for _, i := range r.Perm(until - from) {
			id, begin := fmt.Sprint(from+i), now.Add(time.Duration(r.IntN(3000))*time.Second)
			s.Add(now, schedule.Job{RequestID: id, API: "asr", Start: begin})
			begun[id] = begin
		}
	}
	remove := func(share int) {
		for id := range begun {
			if r.IntN(100) < share {
				s.Remove(id)
				delete(begun, id)
			}
		}
	}
	now = now.Add(time.Hour)
	before := 0 // jobs of the last batch
	for _, p := range s.NextPolls(now, 100) {
		if !p.InFlight {
			before++
		}
	}
	add(0, 3000)
	remove(90)
	add(3000, 4000)
	remove(20)
	var starts []time.Time
	for _, begin := range begun {
		starts = append(starts, begin)
	}
	slices.SortFunc(starts, time.Time.Compare)
	for id, begin := range begun {
		first, _ := slices.BinarySearchFunc(starts, begin, time.Time.Compare)
		last, _ := slices.BinarySearchFunc(starts, begin.Add(1), time.Time.Compare)
		got, _ := s.Explain(id, now)
		if got.Ahead < before+first || got.Ahead >= before+last {
			t.Fatalf("%d of %d jobs are before one, want %d", got.Ahead, before+len(starts), before+first)
		}
	}
}

// When the service of a job that was removed ended is unknown, and so is the gap between it and the next end.
func TestQueueWithRemovedJobs(t *testing.T) {
	s := newScheduler(schedule.PerMinute(60), start)
	now, b := at(time.Minute), make(backEnd)
	for batch := range 4 {
		var jobs []schedule.Job
		for i, end := range inOrder(rand.New(rand.NewPCG(1, 1)), now, 30, 2, make([]time.Time, 2)) {
			id := fmt.Sprintf("%d-%02d", batch, i)
			b[id] = end
			jobs = append(jobs, schedule.Job{RequestID: id, API: "asr", Start: now})
		}
		s.Add(now, jobs...)
		for i := range 20 {
			b.work(s, now, now.Add(time.Minute))
			now = now.Add(time.Minute)
			if i%5 == 2 { // of those in service, if it is not too late
				for id := range 30 {
					if r, ok := s.Explain(fmt.Sprintf("%d-%02d", batch, id), now); ok && r.Serving {
						s.Remove(fmt.Sprintf("%d-%02d", batch, id))
						break
					}
				}
			}
			for id := range b {
				if r, ok := s.Explain(id, now); ok &&
					(r.Finish.Expected.Sub(now) > time.Hour || r.Finish.LateAfter.Sub(now) > 3*time.Hour) {
					t.Fatalf("%s, %s: %s is expected at %s, and late after %s", now, id, id, r.Finish.Expected, r.Finish.LateAfter)
				}
			}
		}
	}
	if _, err := s.Learnt(now); err != nil {
		t.Error(err)
	}
}

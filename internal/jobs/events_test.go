package jobs_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A subscriber keeps a model of the unfinished jobs from nothing but events.
type subscriber struct {
	jobs       *jobs.Jobs
	publishing atomic.Bool

	mu         sync.Mutex // guards everything below
	unfinished map[string]*jobs.Job
	log        []string
	problems   []string
}

// subscribe adds a subscriber to jobs that are just opened.
func subscribe(j *jobs.Jobs) *subscriber {
	sub := &subscriber{jobs: j, unfinished: make(map[string]*jobs.Job)}
	for job := range j.Unfinished() {
		sub.unfinished[job.RequestID] = job
	}
	j.Subscribe(sub.apply)
	return sub
}

var kinds = map[jobs.EventKind]string{
	jobs.Registered: "registered", jobs.StillRunning: "still running", jobs.Ended: "ended", jobs.Removed: "removed",
}

func (sub *subscriber) apply(events []jobs.Event) {
	alone := sub.publishing.CompareAndSwap(false, true)
	defer sub.publishing.Store(false)
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if !alone {
		sub.problems = append(sub.problems, "two goroutines publish at the same time")
	}
	problem := func(e jobs.Event, text string) {
		sub.problems = append(sub.problems, fmt.Sprintf("%s %s: %s", e.Job.RequestID, kinds[e.Kind], text))
	}
	if len(events) == 0 {
		sub.problems = append(sub.problems, "no events were published")
	}
	for _, e := range events {
		sub.log = append(sub.log, e.Job.RequestID+" "+kinds[e.Kind])
		known := sub.unfinished[e.Job.RequestID] != nil
		switch e.Kind {
		case jobs.Registered:
			if known {
				problem(e, "it is tracked")
			}
			if e.Job.State.Ended() {
				problem(e, "it has ended")
			}
			sub.unfinished[e.Job.RequestID] = e.Job
		case jobs.StillRunning:
			if !known || e.Job.State.Ended() {
				problem(e, "it is not unfinished")
			}
			sub.unfinished[e.Job.RequestID] = e.Job
		case jobs.Ended:
			if e.Job.State != jobs.Completed && e.Job.State != jobs.Failed {
				problem(e, e.Job.State.String())
			}
			delete(sub.unfinished, e.Job.RequestID)
		case jobs.Removed:
			if !known {
				problem(e, "it is not tracked")
			}
			delete(sub.unfinished, e.Job.RequestID)
		}
	}
	// What is published is committed, and nothing else is.
	committed := make(map[string]jobs.State)
	for job := range sub.jobs.Unfinished() {
		committed[job.RequestID] = job.State
	}
	if len(committed) != len(sub.unfinished) {
		sub.problems = append(sub.problems,
			fmt.Sprintf("%d are unfinished, events say %d", len(committed), len(sub.unfinished)))
	}
	for id, job := range sub.unfinished {
		if state, known := committed[id]; !known || state != job.State && len(sub.problems) < 10 {
			sub.problems = append(sub.problems, fmt.Sprintf("%s is %v, %s; events say %s", id, known, state, job.State))
		}
	}
}

// check compares the model with the unfinished jobs.
func (sub *subscriber) check(t *testing.T, when string) {
	t.Helper()
	sub.mu.Lock()
	defer sub.mu.Unlock()
	for _, p := range sub.problems {
		t.Errorf("%s: %s", when, p)
	}
	sub.problems = nil
	for job := range sub.jobs.Unfinished() {
		if followed := sub.unfinished[job.RequestID]; followed == nil || followed.Source != job.Source {
			t.Errorf("%s: no event said that %s from %s is unfinished", when, job.RequestID, job.Source)
		}
	}
	for id := range sub.unfinished {
		if job, known := sub.jobs.Job(id); !known || job.State.Ended() {
			t.Errorf("%s: no event said that %s is not unfinished", when, id)
		}
	}
}

// took returns the log since the last call.
func (sub *subscriber) took() []string {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	defer func() { sub.log = nil }()
	return sub.log
}

func TestEvents(t *testing.T) {
	minute := at(time.Minute)
	failed := func(t *testing.T, err error) {
		if err == nil {
			t.Error("no error")
		}
	}
	for _, tt := range []struct {
		name string
		do   func(*testing.T, *jobs.Jobs, *memory)
		want []string
	}{
		{"registration", func(t *testing.T, j *jobs.Jobs, _ *memory) {
			register(t, j, minute, "a", "b", "a", "pending", "completed")
			register(t, j, minute, "a", "b")
		}, []string{"a registered", "b registered"}},
		{"polls", func(t *testing.T, j *jobs.Jobs, _ *memory) {
			for _, s := range []jobs.State{
				jobs.Unchanged, jobs.Running, jobs.Running, jobs.Missing, jobs.Failed, jobs.Failed, jobs.Running,
			} {
				observe(t, j, polled("pending", s, minute))
			}
		}, []string{"pending still running", "pending still running", "pending still running", "pending ended"}},
		{"webhook", func(t *testing.T, j *jobs.Jobs, _ *memory) {
			observe(t, j, hooked("pending", jobs.Completed, minute))
			observe(t, j, hooked("pending", jobs.Completed, minute))
		}, []string{"pending ended"}},
		{"an adopted webhook", func(t *testing.T, j *jobs.Jobs, _ *memory) {
			observe(t, j, hooked("other", jobs.Completed, minute))
		}, []string{"other ended"}},
		{"a webhook that is not adopted", func(t *testing.T, j *jobs.Jobs, _ *memory) {
			o := hooked("other", jobs.Completed, minute)
			o.Adopt = false
			observe(t, j, o)
		}, nil},
		{"unknown to the API", func(t *testing.T, j *jobs.Jobs, _ *memory) {
			observe(t, j, polled("pending", jobs.Missing, minute))
			observe(t, j, polled("pending", jobs.Missing, at(2*time.Hour)))
			observe(t, j, hooked("pending", jobs.Failed, at(2*time.Hour)))
		}, []string{"pending removed", "pending ended"}},
		{"removal", func(t *testing.T, j *jobs.Jobs, _ *memory) {
			remove(t, j, minute, "pending")
			remove(t, j, minute, "completed")
			register(t, j, minute, "pending")
			if _, _, err := j.Register(submission.HTTP, submissions("pending"), false, minute); err != nil {
				t.Error(err)
			}
		}, []string{"pending removed", "pending registered"}},
		{"sweep", func(t *testing.T, j *jobs.Jobs, _ *memory) {
			sweep(t, j, at(48*time.Hour+1))
			sweep(t, j, at(96*time.Hour))
		}, []string{"pending removed", "running removed"}},
		{"a commit that fails", func(t *testing.T, j *jobs.Jobs, m *memory) {
			m.onCommit = failing(errFull)
			_, _, err := j.Register(submission.HTTP, submissions("new"), false, minute)
			failed(t, err)
			_, err = j.Observe(polled("pending", jobs.Failed, minute))
			failed(t, err)
			_, err = j.Remove("pending")
			failed(t, err)
			failed(t, j.Sweep(at(48*time.Hour+1)))
		}, nil},
		{"a commit that fails, and the same again", func(t *testing.T, j *jobs.Jobs, m *memory) {
			m.onCommit = failing(errFull)
			_, err := j.Observe(polled("pending", jobs.Failed, minute))
			failed(t, err)
			m.onCommit = nil
			observe(t, j, polled("pending", jobs.Failed, minute))
		}, []string{"pending ended"}},
		{"a commit of unknown outcome that is stored", func(t *testing.T, j *jobs.Jobs, m *memory) {
			m.onCommit = func(*store.Batch) (bool, error) { return true, errUnknown }
			_, err := j.Remove("pending")
			failed(t, err)
			m.onCommit = nil
			observe(t, j, polled("running", jobs.Failed, minute))
		}, []string{"pending removed", "running ended"}},
		{"a commit of unknown outcome that is not stored", func(t *testing.T, j *jobs.Jobs, m *memory) {
			m.onCommit = func(*store.Batch) (bool, error) { return false, errUnknown }
			_, err := j.Remove("pending")
			failed(t, err)
			m.onCommit = nil
			observe(t, j, polled("running", jobs.Failed, minute))
		}, []string{"running ended"}},
		{"operations of one commit", func(t *testing.T, j *jobs.Jobs, m *memory) {
			together(m,
				func() { register(t, j, minute, "first") },
				func() { register(t, j, minute, "a") },
				func() { observe(t, j, polled("a", jobs.Running, minute)) },
				func() { remove(t, j, minute, "a") },
				func() { observe(t, j, hooked("a", jobs.Completed, minute)) },
				func() { _, _, _ = j.Register(submission.HTTP, submissions("a"), false, minute) },
				func() { observe(t, j, hooked("a", jobs.Completed, minute)) },
				func() { observe(t, j, polled("a", jobs.Running, minute)) },
			)
		}, []string{
			"first registered", "a registered", "a still running", "a removed", "a registered", "a ended",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t)
				j := open(t, m, options())
				sub := subscribe(j)
				register(t, j, start, "pending", "running", "completed")
				observe(t, j, polled("running", jobs.Running, start))
				observe(t, j, polled("completed", jobs.Completed, start))
				sub.took()
				tt.do(t, j, m)
				if diff := cmp.Diff(tt.want, sub.took()); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
				sub.check(t, "at the end")
			})
		})
	}
}

// An event has what the scheduler needs of the observation.
func TestEventFields(t *testing.T) {
	j := open(t, newMemory(t), options())
	var got []jobs.Event
	j.Subscribe(func(events []jobs.Event) { got = append(got, events...) })
	if _, _, err := j.Register(submission.File, submissions("a", "b"), true, start); err != nil {
		t.Fatal(err)
	}
	observe(t, j, polled("a", jobs.Running, at(1)))
	observe(t, j, polled("a", jobs.Failed, at(2)))
	observe(t, j, hooked("b", jobs.Completed, at(3)))
	type event struct {
		Kind       jobs.EventKind
		ID         string
		State      jobs.State
		At         time.Time
		By         jobs.Observer
		AgeUnknown bool
	}
	var brief []event
	for _, e := range got {
		brief = append(brief, event{e.Kind, e.Job.RequestID, e.Job.State, e.At, e.By, e.AgeUnknown})
	}
	want := []event{
		{jobs.Registered, "a", jobs.Pending, at(0), jobs.ByPoll, true},
		{jobs.Registered, "b", jobs.Pending, at(0), jobs.ByPoll, true},
		{jobs.StillRunning, "a", jobs.Running, at(1), jobs.ByPoll, false},
		{jobs.Ended, "a", jobs.Failed, at(2), jobs.ByPoll, false},
		{jobs.Ended, "b", jobs.Completed, at(3), jobs.ByWebhook, false},
	}
	if diff := cmp.Diff(want, brief); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A caller finds its change visible, and applied by the subscriber, when it returns.
func TestEventsComeBeforeTheCallerReturns(t *testing.T) {
	j := open(t, newMemory(t), options())
	sub := subscribe(j)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 100 {
				id := fmt.Sprint(w, "-", i)
				if _, _, err := j.Register(submission.HTTP, submissions(id), false, start); err != nil {
					t.Error(err)
				}
				sub.mu.Lock()
				followed := sub.unfinished[id] != nil
				sub.mu.Unlock()
				if _, known := j.Job(id); !known || !followed {
					t.Errorf("%s was registered: known %v, followed %v", id, known, followed)
				}
			}
		})
	}
	wg.Wait()
}

// Many writers, readers, failing commits and a subscriber at the same time: the events
// always say what is committed, and a restart finds the same.
func TestConcurrentWriters(t *testing.T) {
	m := newMemory(t)
	o := options(maxJobSeries(20), keepStateChanges(50), func(o *jobs.Options) {
		o.Retention, o.MaxJobAge, o.NotFoundGrace, o.KeepTimings = 10*time.Minute, time.Hour, time.Minute, true
	})
	j := open(t, m, o)
	sub := subscribe(j)
	random := rand.New(rand.NewPCG(1, 2))
	m.onCommit = func(*store.Batch) (bool, error) {
		switch random.IntN(20) {
		case 0:
			return false, errFull
		case 1:
			return true, errUnknown
		case 2:
			return false, errUnknown
		}
		return true, nil
	}
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for w := range uint64(8) {
		writers.Go(func() {
			random := rand.New(rand.NewPCG(w, 7))
			now := start
			for range 400 {
				now = now.Add(time.Duration(random.IntN(60)) * time.Second)
				id := fmt.Sprint(random.IntN(40))
				switch random.IntN(10) {
				case 0, 1:
					_, _, _ = j.Register(submission.HTTP, submissions(id), false, now)
				case 2:
					_, _, _ = j.Register(submission.File, submissions(id, id+"b"), true, now)
				case 3:
					_, _ = j.Remove(id)
				case 4:
					o := hooked(id, jobs.Completed, now)
					o.Result = words(2)
					_, _ = j.Observe(o)
				case 5:
					_ = j.Reserve(now, 3)
				case 6:
					var numbers []uint64
					for _, c := range j.StateChanges(3) {
						numbers = append(numbers, c.Number)
					}
					_ = j.Delivered(numbers)
				case 7:
					if w == 0 {
						_ = j.Sweep(now)
					}
				default:
					states := []jobs.State{jobs.Running, jobs.Running, jobs.Missing, jobs.Unchanged, jobs.Failed}
					_, _ = j.Observe(polled(id, states[random.IntN(len(states))], now))
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				s := j.Snapshot(start)
				n := 0
				for _, count := range s.Counts {
					n += count
				}
				if len(s.Jobs) != min(n, 20) {
					t.Errorf("%d jobs, %d have series", n, len(s.Jobs))
				}
				j.List(jobs.Filter{}, "", 10)
				j.StateChanges(10)
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	m.onCommit = nil
	j.CountSourceErrors(submission.File, 1)
	flush(t, j)
	sub.check(t, "at the end")
	reopened := openAt(t, m, o, at(1000*time.Hour))
	same(t, "opened again", j.Snapshot(start), reopened.Snapshot(start))
	var before, after []string
	for job := range j.Unfinished() {
		before = append(before, job.RequestID+job.State.String())
	}
	for job := range reopened.Unfinished() {
		after = append(after, job.RequestID+job.State.String())
	}
	slices.Sort(before)
	slices.Sort(after)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("unfinished (-before +after):\n%s", diff)
	}
	totals := j.Snapshot(start).Totals
	if totals.Counter(jobs.StoreErrors) < 10 || totals.Counter(jobs.JobsFinished) < 50 || len(sub.log) < 200 {
		t.Errorf("this test is about more: %v, %d events", counters(totals), len(sub.log))
	}
}

package jobs_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

var (
	errFull    = errors.New("no space left on device")
	errUnknown = fmt.Errorf("the disk does not answer: %w", store.ErrUnknown)
)

// series returns the value of every series, histograms as JSON.
func series(totals jobs.Totals) map[string]string {
	all := make(map[string]string)
	for _, total := range jobs.Declared() {
		for values := range totals.Series(total) {
			name := fmt.Sprint(total.Name, values)
			if total.Bounds == nil {
				all[name] = fmt.Sprint(totals.Counter(total, values...))
			} else if text, err := json.Marshal(totals.Histogram(total, values...)); err != nil {
				panic(err)
			} else {
				all[name] = string(text)
			}
		}
	}
	return all
}

// same compares two snapshots in all that they show, but for what is not stored: when the
// API was last seen to answer about a job that still runs.
func same(t *testing.T, when string, before, after jobs.Snapshot) {
	t.Helper()
	options := cmp.Options{
		cmpopts.EquateNaNs(), cmpopts.EquateEmpty(),
		cmpopts.IgnoreUnexported(jobs.Observed{}),
		cmpopts.IgnoreFields(jobs.Observed{}, "LastObserved", "LastPoll"),
		cmp.Comparer(func(x, y time.Time) bool { return x.Round(0).Equal(y.Round(0)) }),
	}
	for _, part := range [][2]any{
		{before.Counts, after.Counts}, {before.OldestUnfinished, after.OldestUnfinished}, {before.Jobs, after.Jobs},
		{before.Totals.Created, after.Totals.Created}, {series(before.Totals), series(after.Totals)},
	} {
		if diff := cmp.Diff(part[0], part[1], options); diff != "" {
			t.Errorf("%s (-before +after):\n%s", when, diff)
		}
	}
}

// writes are all operations that write, on a job "running".
func writes(j *jobs.Jobs) map[string]func() error {
	return map[string]func() error{
		"register": func() error {
			_, _, err := j.Register(submission.HTTP, submissions("new"), false, start)
			return err
		},
		"poll": func() error { _, err := j.Observe(polled("running", jobs.Failed, start)); return err },
		"webhook": func() error {
			_, err := j.Observe(hooked("running", jobs.Completed, start))
			return err
		},
		"adopted webhook": func() error { _, err := j.Observe(hooked("other", jobs.Failed, start)); return err },
		"remove":          func() error { _, err := j.Remove("running"); return err },
		"reserve":         func() error { return j.Reserve(start, 3) },
		"count": func() error {
			j.CountSourceErrors(submission.File, 1)
			return j.Flush()
		},
		"learn":     func() error { j.SetLearnt([]byte(`{}`)); return j.Flush() },
		"sweep":     func() error { return j.Sweep(at(2 * time.Hour)) },
		"delivered": func() error { return j.Delivered(numbered(1)) },
	}
}

// While nothing can be stored, nothing changes and each operation returns the error. What
// was counted is stored with the first commit that succeeds.
func TestCommitThatIsNotDone(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options(keepStateChanges(10)))
	register(t, j, start, "running", "ended")
	observe(t, j, jobs.Observation{RequestID: "ended", At: start, State: jobs.Completed, Result: words(3)})
	before, changes := j.Snapshot(start), j.StateChanges(10)
	m.onCommit = failing(errFull)
	var events []jobs.Event
	j.Subscribe(func(e []jobs.Event) { events = append(events, e...) })
	for name, write := range writes(j) {
		if err := write(); !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
		if err := j.Writable(); !errors.Is(err, errFull) {
			t.Errorf("after %s: writable: %v", name, err)
		}
	}
	same(t, "while nothing can be stored", before, j.Snapshot(start))
	if n := len(j.StateChanges(10)); n != len(changes) || len(events) > 0 || len(j.Requests()) > 0 {
		t.Errorf("%d state changes, events %v, requests %v", n, events, j.Requests())
	}

	m.onCommit = nil
	if effect := observe(t, j, polled("running", jobs.Failed, start)); !effect.Changed {
		t.Errorf("when it can be stored again: %+v", effect)
	}
	if err := j.Writable(); err != nil {
		t.Errorf("after a commit: writable: %v", err)
	}
	after := j.Snapshot(start)
	wantFinished(t, after, 1, 1, 0)
	for total, want := range map[*jobs.Total]float64{
		jobs.StoreErrors: float64(len(writes(j))), jobs.SourceErrors: 1, jobs.WebhookRequests: 2, jobs.APIRequests: 2,
		jobs.JobsRegistered: 2,
	} {
		if n := after.Totals.Counter(total); n != want {
			t.Errorf("%s is %v, want %v", total.Name, n, want)
		}
	}
	if n := after.Totals.Counter(jobs.WebhookRequests, "store_error"); n != 2 {
		t.Errorf("%v webhooks that could not be stored, want 2", n)
	}
	reopened := open(t, m, options())
	same(t, "opened again", after, reopened.Snapshot(start))
	if got := string(reopened.Learnt()); got != `{}` {
		t.Errorf("learnt %q", got)
	}
}

// Each webhook that cannot be stored is counted, also if others come at the same time.
func TestRefusedWebhooksAreCounted(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	var commits, failed atomic.Int64
	m.onCommit = func(*store.Batch) (bool, error) {
		if commits.Add(1)%3 > 0 {
			return false, errFull
		}
		return true, nil
	}
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			if _, err := j.Observe(hooked(fmt.Sprint(i), jobs.Completed, start)); err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	m.onCommit = nil
	flush(t, j)
	totals := j.Snapshot(start).Totals
	refused := totals.Counter(jobs.WebhookRequests, "store_error")
	adopted := totals.Counter(jobs.WebhookRequests, "adopted")
	if refused != float64(failed.Load()) || refused == 0 || refused+adopted != 1000 {
		t.Errorf("%d webhooks failed: %v are counted, and %v adopted", failed.Load(), refused, adopted)
	}
}

// Operations of many goroutines are committed in groups, each of them once.
func TestGroupCommit(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for i := range 50 {
				id := fmt.Sprint(i) // the same for all
				if _, _, err := j.Register(submission.HTTP, submissions(id), false, start); err != nil {
					t.Error(err)
				}
				o := polled(id, jobs.Completed, start)
				o.Result = words(2)
				if _, err := j.Observe(o); err != nil {
					t.Error(err)
				}
				_ = j.Snapshot(start)
			}
		})
	}
	wg.Wait()
	flush(t, j)
	s := j.Snapshot(start)
	wantFinished(t, s, 50, 0, 0)
	if s.Counts[jobs.Completed] != 50 {
		t.Errorf("%v jobs", s.Counts)
	}
	want := map[string]float64{
		"jobs_registered_total": 50, "jobs_finished_total": 50, "words_total": 100, "speech_seconds_total": 25,
		"word_overlaps_total": 50, "api_requests_total": 1000,
	}
	if diff := cmp.Diff(want, counters(s.Totals)); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	same(t, "opened again", s, open(t, m, options()).Snapshot(start))
}

// Operations that wait for the same commit are stored in one batch.
func TestOperationsShareACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		j := open(t, m, options())
		var operations []func()
		for i := range 100 {
			operations = append(operations, func() { register(t, j, start, fmt.Sprint(i)) })
		}
		together(m, operations...)
		if len(m.batches) != 2 || len(m.batches[1].Jobs) != 99 {
			t.Errorf("%d commits", len(m.batches))
		}
	})
}

// What an operation costs in commits.
func TestCommits(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*jobs.Jobs) error
		want int
	}{
		{"a poll that found nothing new", func(j *jobs.Jobs) error {
			_, err := j.Observe(polled("running", jobs.Running, at(time.Minute)))
			return err
		}, 0},
		{"a poll with a state word that is unknown", func(j *jobs.Jobs) error {
			_, err := j.Observe(polled("running", jobs.Unchanged, at(time.Minute)))
			return err
		}, 0},
		{"a poll about a job that the API does not know", func(j *jobs.Jobs) error {
			_, err := j.Observe(polled("running", jobs.Missing, at(time.Minute)))
			return err
		}, 0},
		{"a poll that found the end", func(j *jobs.Jobs) error {
			o := polled("running", jobs.Completed, at(time.Minute))
			o.Result = words(3)
			_, err := j.Observe(o)
			return err
		}, 1},
		{"a poll about a job that has ended", func(j *jobs.Jobs) error {
			_, err := j.Observe(polled("ended", jobs.Completed, at(time.Minute)))
			return err
		}, 0},
		{"a webhook that is repeated", func(j *jobs.Jobs) error {
			_, err := j.Observe(hooked("ended", jobs.Completed, at(time.Minute)))
			return err
		}, 1}, // it is counted
		{"known jobs are registered", func(j *jobs.Jobs) error {
			_, _, err := j.Register(submission.File, submissions("running", "ended"), false, at(time.Minute))
			return err
		}, 0},
		{"a removed job is named", func(j *jobs.Jobs) error {
			_, _, err := j.Register(submission.URL, submissions("removed"), false, at(time.Hour-1))
			return err
		}, 0},
		{"1000 new jobs are registered", func(j *jobs.Jobs) error {
			given := make([]submission.Job, 1000)
			for i := range given {
				given[i].RequestID = fmt.Sprint(i)
			}
			_, _, err := j.Register(submission.File, given, false, at(time.Minute))
			return err
		}, 1},
		{"a job that is not tracked is removed", func(j *jobs.Jobs) error {
			_, err := j.Remove("other")
			return err
		}, 0},
		{"unknown state changes are delivered", func(j *jobs.Jobs) error { return j.Delivered([]uint64{77}) }, 0},
		{"counts", func(j *jobs.Jobs) error {
			j.CountRequest(*answered())
			j.CountWebhook(jobs.WebhookMalformed)
			j.CountSourceErrors(submission.File, 2)
			j.SetLearnt([]byte(`{}`))
			return nil
		}, 0},
		{"counts and a flush", func(j *jobs.Jobs) error {
			j.CountRequest(*answered())
			return j.Flush()
		}, 1},
		{"counts and a sweep", func(j *jobs.Jobs) error {
			j.CountRequest(*answered())
			return j.Sweep(start)
		}, 1},
		{"counts and the end", func(j *jobs.Jobs) error {
			j.CountRequest(*answered())
			return j.Close()
		}, 1},
		{"a flush of nothing", func(j *jobs.Jobs) error { return j.Flush() }, 0},
		{"the end", func(j *jobs.Jobs) error { return j.Close() }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory(t)
			j := open(t, m, options(keepStateChanges(10)))
			register(t, j, start, "running", "ended", "removed")
			observe(t, j, polled("running", jobs.Running, start))
			observe(t, j, polled("ended", jobs.Failed, start))
			remove(t, j, start, "removed")
			flush(t, j)
			before := m.commits()
			if err := tt.do(j); err != nil {
				t.Fatal(err)
			}
			if n := m.commits() - before; n != tt.want {
				t.Errorf("%d commits, want %d", n, tt.want)
			}
		})
	}
}

// The request of a poll that found nothing new is stored, and shown, with the next commit.
func TestRequestIsCountedWithTheNextCommit(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	register(t, j, start, "a")
	observe(t, j, polled("a", jobs.Running, start)) // changes the state
	unchanged := polled("a", jobs.Unchanged, at(time.Minute))
	unchanged.Request.UnknownState = true
	observe(t, j, unchanged)
	j.CountRequest(jobs.Request{Outcome: jobstatus.Timeout, Duration: 10 * time.Second})
	check := func(when string, ok, timeout, unknown float64) {
		t.Helper()
		for _, j := range []*jobs.Jobs{j, open(t, m, options())} {
			totals := j.Snapshot(start).Totals
			duration := totals.Histogram(jobs.APIRequestDuration)
			if totals.Counter(jobs.APIRequests, "ok") != ok || totals.Counter(jobs.APIRequests, "timeout") != timeout ||
				totals.Counter(jobs.APIUnknownStates) != unknown || duration.Count() != uint64(ok+timeout) {
				t.Errorf("%s: %v, durations %v s", when, counters(totals), duration.Sum())
			}
		}
	}
	check("before the next commit", 1, 0, 0)
	observe(t, j, polled("a", jobs.Failed, at(2*time.Minute)))
	check("after it", 3, 1, 1)
}

// A restart knows of every request that was sent. Those of a second are stored in blocks.
func TestReserve(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	for _, tt := range []struct {
		at      time.Duration
		block   int
		commits int // so far
		stored  map[int64]int
	}{
		{0, 1, 1, map[int64]int{0: 1}},
		{0, 1, 2, map[int64]int{0: 2}},
		{time.Second, 3, 3, map[int64]int{0: 2, 1: 3}},
		{time.Second, 3, 3, map[int64]int{0: 2, 1: 3}},
		{time.Second + time.Millisecond, 3, 3, map[int64]int{0: 2, 1: 3}},
		{time.Second, 3, 4, map[int64]int{0: 2, 1: 6}},
		{2 * time.Second, 3, 5, map[int64]int{0: 2, 1: 6, 2: 3}},
		{time.Second, 3, 6, map[int64]int{0: 2, 1: 9, 2: 3}}, // the clock was set back
		{3 * time.Second, 0, 7, map[int64]int{0: 2, 1: 9, 2: 3, 3: 1}},
		{3 * time.Second, 0, 8, map[int64]int{0: 2, 1: 9, 2: 3, 3: 2}},
	} {
		if err := j.Reserve(at(tt.at), tt.block); err != nil {
			t.Fatal(err)
		}
		want := make(map[int64]int)
		for second, n := range tt.stored {
			want[start.Unix()+second] = n
		}
		for _, j := range []*jobs.Jobs{j, open(t, m, options())} {
			if diff := cmp.Diff(want, j.Requests()); diff != "" || m.commits() != tt.commits {
				t.Errorf("%+v: %d commits, requests (-want +got):\n%s", tt, m.commits(), diff)
			}
		}
	}
	// What could not be stored is not reserved.
	m.onCommit = failing(errFull)
	for range 2 {
		if err := j.Reserve(at(time.Minute), 3); !errors.Is(err, errFull) {
			t.Errorf("reserved with a full disk: %v", err)
		}
	}
	m.onCommit = nil
	for range 3 {
		if err := j.Reserve(at(time.Minute), 3); err != nil {
			t.Fatal(err)
		}
	}
	if n := j.Requests()[at(time.Minute).Unix()]; n != 3 || m.commits() != 9 {
		t.Errorf("%d reserved with %d commits", n, m.commits())
	}
}

// Concurrent reservations of one second never exceed what is stored.
func TestReserveConcurrently(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if err := j.Reserve(start, 7); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := m.requests[start.Unix()]; n != 105 {
		t.Errorf("%d requests are stored for 100 that were sent, in blocks of 7", n)
	}
}

// After a commit of unknown outcome the store is asked, and its answer is the truth.
func TestCommitOfUnknownOutcome(t *testing.T) {
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprintf("stored %v", stored), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(start)) // what is loaded after now was stored by a clock that was ahead
				m := newMemory(t)
				j := open(t, m, options(keepStateChanges(10), maxJobSeries(2)))
				f := subscribe(j)
				register(t, j, start, "running", "removed", "ended", "again")
				observe(t, j, polled("running", jobs.Running, start))
				flush(t, j)
				before, loads := j.Snapshot(start), m.loads
				g := m.block()
				var failed atomic.Int64
				want := func(err error) {
					if !errors.Is(err, store.ErrUnknown) {
						t.Errorf("an operation of unknown outcome: %v", err)
					}
					failed.Add(1)
				}
				go register(t, j, start, "first") // its commit is done, the next is not
				synctest.Wait()
				for _, operation := range []func() error{
					func() error { _, _, err := j.Register(submission.HTTP, submissions("new"), true, start); return err },
					func() error { _, err := j.Remove("removed"); return err },
					func() error {
						o := polled("ended", jobs.Completed, start)
						o.Result = words(3)
						_, err := j.Observe(o)
						return err
					},
					func() error { _, err := j.Observe(hooked("adopted", jobs.Failed, start)); return err },
					func() error { _, err := j.Remove("again"); return err },
					func() error { _, _, err := j.Register(submission.HTTP, submissions("again"), false, start); return err },
					func() error { return j.Reserve(start, 5) },
				} {
					go func() { want(operation()) }()
					synctest.Wait()
				}
				j.CountSourceErrors(submission.URL, 2)
				j.SetLearnt([]byte(`{"x":1}`))
				m.onCommit = func(*store.Batch) (bool, error) { return stored, errUnknown }
				g.open()
				synctest.Wait()
				m.onCommit = nil
				if failed.Load() != 7 || j.Writable() == nil || m.loads != loads {
					t.Errorf("%d operations failed, writable: %v", failed.Load(), j.Writable())
				}
				during := j.Snapshot(start)
				if n := during.Totals.Counter(jobs.JobsRegistered); n != before.Totals.Counter(jobs.JobsRegistered)+1 {
					t.Errorf("%v registered are shown before the outcome is known", n)
				}

				// The next operation settles it.
				truth := open(t, m, options(keepStateChanges(10), maxJobSeries(2)))
				m.lost = 2
				flush(t, j)
				if m.loads != loads+2 || j.Writable() != nil {
					t.Errorf("loaded %d times, writable: %v", m.loads-loads-1, j.Writable())
				}
				f.check(t, "after it is settled")
				expected := map[string]string{
					"running": "running", "first": "pending", "removed": "pending", "ended": "pending", "again": "pending",
					"new": "unknown", "adopted": "unknown",
				}
				if stored {
					expected = map[string]string{
						"running": "running", "first": "pending", "removed": "unknown", "ended": "completed", "again": "pending",
						"new": "pending", "adopted": "failed",
					}
				}
				for id, want := range expected {
					if got := state(t, j, id); got != want {
						t.Errorf("%s is %s, want %s", id, got, want)
					}
				}
				if diff := cmp.Diff(truth.Requests(), j.Requests()); diff != "" {
					t.Errorf("requests (-stored +shown):\n%s", diff)
				}
				if a, b := len(truth.StateChanges(10)), len(j.StateChanges(10)); a != b {
					t.Errorf("%d state changes are stored, %d shown", a, b)
				}
				if got := string(m.learnt); got != `{"x":1}` {
					t.Errorf("learnt %q", got)
				}
				// Each is counted once.
				after := j.Snapshot(start)
				counts := map[string]float64{
					"api_requests_total/ok": 2, "source_errors_total/url": 2, "store_errors_total": 1,
					"webhook_requests_total/store_error": 1, "store_corrupt_records_total": 2,
				}
				if stored {
					counts["webhook_requests_total/store_error"], counts["webhook_requests_total/adopted"] = 0, 1
					counts["words_total"] = 3
				}
				for _, total := range []*jobs.Total{
					jobs.APIRequests, jobs.SourceErrors, jobs.StoreErrors, jobs.WebhookRequests, jobs.Words,
					jobs.CorruptRecords,
				} {
					for values := range after.Totals.Series(total) {
						name := total.Name
						if len(values) > 0 {
							name += "/" + values[0]
						}
						if n := after.Totals.Counter(total, values...); n != counts[name] {
							t.Errorf("%s is %v, want %v", name, n, counts[name])
						}
					}
				}
				same(t, "opened again", after, open(t, m, options(maxJobSeries(2))).Snapshot(start))
				if !after.Totals.Created.Equal(before.Totals.Created) {
					t.Errorf("created %s, want %s", after.Totals.Created, before.Totals.Created)
				}
				// All can be repeated.
				registered, _, err := j.Register(submission.HTTP, submissions("new"), false, start)
				if err != nil || (registered == 0) != stored {
					t.Errorf("%d registered again, %v", registered, err)
				}
				o := polled("ended", jobs.Completed, start)
				o.Result = words(3)
				if effect := observe(t, j, o); effect.Changed == stored {
					t.Errorf("the end observed again: %+v", effect)
				}
				if n := j.Snapshot(start).Totals.Counter(jobs.Words); n != 3 {
					t.Errorf("%v words", n)
				}
				f.check(t, "at the end")
			})
		})
	}
}

// What is not stored outlives a commit of unknown outcome, and so do the readings of the monotonic clock: the wall
// clock may have been set since. The end of a job in that commit is told.
func TestUnknownOutcomeKeepsWhatIsNotStored(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	sub := subscribe(j)
	register(t, j, start, "pending", "running", "missing", "ends", "is given up")
	observe(t, j, polled("running", jobs.Running, start))
	observe(t, j, polled("running", jobs.Running, at(time.Minute)))
	observe(t, j, polled("missing", jobs.Missing, at(time.Minute)))
	observe(t, j, polled("is given up", jobs.Missing, at(time.Minute)))
	before := make(map[string]*jobs.Job)
	for job := range j.Unfinished() {
		before[job.RequestID] = job
	}
	sub.took()
	for _, end := range []jobs.Observation{
		hooked("ends", jobs.Completed, at(time.Hour)), polled("is given up", jobs.Missing, at(time.Hour)),
	} {
		m.onCommit = func(*store.Batch) (bool, error) { return true, errUnknown }
		if _, err := j.Observe(end); !errors.Is(err, store.ErrUnknown) {
			t.Fatal(err)
		}
		m.onCommit = nil
		flush(t, j)
	}
	sub.check(t, "when they are settled")
	if diff := cmp.Diff([]string{"ends ended", "is given up removed"}, sub.took()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for id, old := range before {
		job, _ := j.Job(id)
		if job != old && !job.State.Ended() {
			t.Errorf("%s is %+v %+v, and was %+v %+v", id, job, job.Observed, old, old.Observed)
		}
		if job.FirstSeen != old.FirstSeen {
			t.Errorf("%s was first seen at %v, and before that at %v", id, job.FirstSeen, old.FirstSeen)
		}
	}
}

// Until the store can be loaded after a commit of unknown outcome, all operations fail, and
// nothing is written. Webhooks and requests are counted all the same.
func TestUnknownOutcomeThatCannotBeSettled(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	register(t, j, start, "a")
	m.onCommit = func(*store.Batch) (bool, error) { return false, errUnknown }
	if _, _, err := j.Register(submission.HTTP, submissions("b"), false, start); !errors.Is(err, store.ErrUnknown) {
		t.Fatal(err)
	}
	m.onCommit = failing(errors.New("a commit before the store is loaded"))
	errDown := errors.New("the disk is gone")
	m.onLoad = func() error { return errDown }
	before := j.Snapshot(start)
	for range 2 {
		if _, err := j.Observe(polled("a", jobs.Completed, start)); !errors.Is(err, errDown) {
			t.Errorf("a poll: %v", err)
		}
		if _, err := j.Observe(hooked("a", jobs.Completed, start)); !errors.Is(err, errDown) {
			t.Errorf("a webhook: %v", err)
		}
	}
	if err := j.Writable(); !errors.Is(err, errDown) {
		t.Errorf("writable: %v", err)
	}
	same(t, "while it cannot be loaded", before, j.Snapshot(start))
	m.onLoad, m.onCommit = nil, nil
	flush(t, j)
	want := map[string]float64{
		"jobs_registered_total": 1, "store_errors_total": 5, "webhook_requests_total": 2, "api_requests_total": 2,
	}
	if diff := cmp.Diff(want, counters(j.Snapshot(start).Totals)); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

// What the creation time of counters was before anything was stored, it stays.
func TestCreatedSurvivesAnUnknownOutcome(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	m.onCommit = func(*store.Batch) (bool, error) { return false, errUnknown }
	if _, _, err := j.Register(submission.HTTP, submissions("a"), false, start); err == nil {
		t.Fatal("no error")
	}
	m.onCommit = nil
	register(t, j, start, "a")
	for _, j := range []*jobs.Jobs{j, open(t, m, options())} {
		if created := j.Snapshot(start).Totals.Created; !created.Equal(start) {
			t.Errorf("created %s, want %s", created, start)
		}
	}
}

// No counter that was shown is lower after a crash, whatever failed before.
func TestCountersNeverGoBack(t *testing.T) {
	all := make(map[string]float64) // what happened
	o := options(maxJobSeries(1), keepStateChanges(3), func(o *jobs.Options) {
		o.Retention, o.MaxJobAge = time.Minute, time.Hour
	})
	for seed := range uint64(longtest.Size(6, 100)) {
		random := rand.New(rand.NewPCG(seed, 5))
		m := newMemory(t)
		m.onCommit = func(*store.Batch) (bool, error) {
			switch random.IntN(6) {
			case 0:
				return false, errFull
			case 1:
				return random.IntN(2) == 0, errUnknown
			}
			return true, nil
		}
		j, now := open(t, m, o), start
		for range 300 {
			now = now.Add(time.Duration(random.IntN(30)) * time.Second)
			id := fmt.Sprint(random.IntN(50))
			switch random.IntN(9) {
			case 0, 1, 2:
				_, _, _ = j.Register(submission.HTTP, submissions(id), false, now)
			case 3:
				o := hooked(id, jobs.Completed, now)
				o.Result = words(random.IntN(5))
				_, _ = j.Observe(o)
			case 4:
				_, _ = j.Observe(polled(id, jobs.State(1+random.IntN(3)), now))
			case 5:
				j.CountWebhook(jobs.WebhookMalformed)
				j.CountRequest(jobs.Request{Outcome: jobstatus.Network, Duration: time.Second})
			case 6:
				_ = j.Sweep(now)
			case 7:
				m.lost = random.IntN(3)
			default:
				_ = j.Flush()
			}
			shown := j.Snapshot(now).Totals
			after := open(t, m, o)
			wantNotLower(t, shown, after.Snapshot(now).Totals)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
			if random.IntN(20) == 0 { // the crash
				j = after
			}
		}
		m.onCommit = nil
		flush(t, j)
		for name, value := range series(j.Snapshot(now).Totals) {
			n, _ := strconv.ParseFloat(value, 64)
			all[name] += n
		}
	}
	for _, name := range []string{
		"jobs_evicted_total[limit]", "jobs_evicted_total[retention]", "webhook_requests_total[store_error]",
		"store_errors_total[]", "state_changes_dropped_total[]", "store_corrupt_records_total[]",
	} {
		if all[name] < 10 {
			t.Errorf("%s is %v in all", name, all[name])
		}
	}
}

// wantNotLower checks that no total is lower than it was.
func wantNotLower(t *testing.T, before, after jobs.Totals) {
	t.Helper()
	for _, total := range jobs.Declared() {
		for values := range after.Series(total) {
			if total.Bounds == nil {
				if a, b := before.Counter(total, values...), after.Counter(total, values...); a > b {
					t.Errorf("%s%v was %v and is %v", total.Name, values, a, b)
				}
				continue
			}
			a, b := before.Histogram(total, values...), after.Histogram(total, values...)
			if a.Count() > b.Count() || a.Sum() > b.Sum() {
				t.Errorf("%s%v had %d values and has %d", total.Name, values, a.Count(), b.Count())
			}
		}
	}
}

// Reading, and counting what comes without an observation, does not wait for a commit that
// is in progress.
func TestReadingDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		j := open(t, m, options(keepStateChanges(10), func(o *jobs.Options) { o.KeepTimings = true }))
		register(t, j, start, "a", "b")
		g := m.block()
		o := polled("a", jobs.Completed, start)
		o.Result = words(3)
		go observe(t, j, o)
		go register(t, j, start, "waiting")
		synctest.Wait()
		before := j.Snapshot(at(time.Minute))
		for range j.Unfinished() {
		}
		j.List(jobs.Filter{}, "", 10)
		j.StateChanges(10)
		j.Timings("a")
		j.Requests()
		j.Learnt()
		j.SetLearnt([]byte(`{}`))
		j.SetOptions(options())
		j.CountRequest(*answered())
		j.CountWebhook(jobs.WebhookMalformed)
		j.CountSourceErrors(submission.File, 1)
		if job, _ := j.Job("a"); job.State != jobs.Pending || j.Writable() != nil || before.Counts[jobs.Pending] != 2 {
			t.Errorf("before it is committed: %s, %v", job.State, before.Counts)
		}
		g.open()
		synctest.Wait()
		if got := state(t, j, "a"); got != "completed" {
			t.Errorf("after the commit: %s", got)
		}
		if before.Counts[jobs.Pending] != 2 || before.Totals.Counter(jobs.Words) != 0 {
			t.Errorf("the snapshot changed: %+v", before)
		}
	})
}

// Close waits for the commit in progress and commits what was counted. Nothing is written
// after it; reading goes on.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		j := open(t, m, options())
		g := m.block()
		go register(t, j, start, "a")
		synctest.Wait()
		go register(t, j, start, "b")
		synctest.Wait()
		j.CountSourceErrors(submission.File, 1)
		var closed atomic.Bool
		go func() {
			if err := j.Close(); err != nil {
				t.Error(err)
			}
			closed.Store(true)
		}()
		synctest.Wait()
		if closed.Load() {
			t.Error("closed before the commit in progress ended")
		}
		g.open()
		synctest.Wait()
		if !closed.Load() {
			t.Error("not closed")
		}
		before := m.commits()
		for name, write := range writes(j) {
			if err := write(); !errors.Is(err, jobs.ErrClosed) {
				t.Errorf("%s after the end: %v", name, err)
			}
		}
		if err := j.Close(); err != nil || m.commits() != before {
			t.Errorf("closed again: %v, %d commits", err, m.commits()-before)
		}
		if state(t, j, "a") != "pending" || state(t, j, "b") != "pending" {
			t.Error("a job cannot be read")
		}
		if n := open(t, m, options()).Snapshot(start).Totals.Counter(jobs.SourceErrors); n != 1 {
			t.Errorf("%v source errors are stored", n)
		}
	})
}

// Close returns the error of a last commit that fails.
func TestCloseThatFails(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	j.CountSourceErrors(submission.File, 1)
	m.onCommit = failing(errFull)
	if err := j.Close(); !errors.Is(err, errFull) {
		t.Errorf("closed: %v", err)
	}
}

// A store whose files were removed refuses one commit, and then writes everything to new files. What was
// counted is stored all the same.
func TestCloseAfterOneFailure(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	j.CountSourceErrors(submission.File, 1)
	failed := false
	m.onCommit = func(*store.Batch) (bool, error) {
		if failed {
			return true, nil
		}
		failed = true
		return false, errFull
	}
	if err := j.Close(); err != nil {
		t.Errorf("closed: %v", err)
	}
	m.onCommit = nil
	if n := open(t, m, options()).Snapshot(start).Totals.Sum(jobs.SourceErrors); n != 1 {
		t.Errorf("%v source errors are stored", n)
	}
}

// In memory, all that is counted is shown at once.
func TestCountsInMemory(t *testing.T) {
	j := open(t, nil, options(maxJobSeries(1)))
	j.CountWebhook(jobs.WebhookMalformed)
	j.CountRequest(*answered())
	j.CountSourceErrors(submission.File, 2)
	register(t, j, start, "a", "b")
	want := map[string]float64{
		"webhook_requests_total": 1, "api_requests_total": 1, "source_errors_total": 2, "jobs_registered_total": 2,
		"jobs_evicted_total": 1,
	}
	if diff := cmp.Diff(want, counters(j.Snapshot(start).Totals)); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	if err := j.Writable(); err != nil {
		t.Error(err)
	}
}

// A large registration takes several commits, so that others need not wait until its end.
func TestLargeRegistrationLetsOthersIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		var sizes []int
		other := 0 // number of the commit that has the other job
		j := open(t, m, options())
		m.onCommit = func(b *store.Batch) (bool, error) {
			if sizes = append(sizes, len(b.Jobs)); len(sizes) == 1 {
				go func() { register(t, j, time.Now(), "other") }()
				synctest.Wait() // until it waits for a commit
			}
			for _, row := range b.Jobs {
				if row.RequestID == "other" {
					other = len(sizes)
				}
			}
			return true, nil
		}
		const many = 20_000
		ids := make([]string, many)
		for i := range ids {
			ids[i] = strconv.Itoa(i)
		}
		registered, known, err := j.Register(submission.HTTP, submissions(append(ids, ids[0])...), false, time.Now())
		if registered != many || known != 1 || err != nil {
			t.Errorf("%d registered, %d known, %v", registered, known, err)
		}
		for i, size := range sizes {
			if size > many/4 {
				t.Errorf("commit %d has %d jobs", i+1, size)
			}
		}
		if other == 0 || other > 3 {
			t.Errorf("the other job is in commit %d of %d", other, len(sizes))
		}
	})
}

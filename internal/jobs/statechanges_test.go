package jobs_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// numbered returns the numbers of the n-th state changes since jobs were opened at start.
func numbered(n ...uint64) (numbers []uint64) {
	for _, i := range n {
		numbers = append(numbers, uint64(start.UnixNano())+i)
	}
	return numbers
}

// brief returns number since start, job and state of the undelivered state changes.
func brief(j *jobs.Jobs) (all []string) {
	for _, c := range j.StateChanges(1000) {
		all = append(all, fmt.Sprintf("%d %s %s", c.Number-numbered(0)[0], c.Job.RequestID, c.Job.State))
	}
	return all
}

func wantUndelivered(t *testing.T, j *jobs.Jobs, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, brief(j), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("undelivered (-want +got):\n%s", diff)
	}
}

// Each state change that is observed is kept once, until it is delivered.
func TestStateChanges(t *testing.T) {
	j := open(t, nil, options(keepStateChanges(100), func(o *jobs.Options) { o.NotFoundGrace = 0 }))
	register(t, j, start, "a", "b", "c")
	for second, o := range []jobs.Observation{
		{RequestID: "a", State: jobs.Running},
		{RequestID: "a", State: jobs.Running},
		{RequestID: "a", State: jobs.Completed, Result: words(3)},
		{RequestID: "a", State: jobs.Completed, Result: words(3)},
		{RequestID: "b", State: jobs.Missing},
		{RequestID: "b", State: jobs.Missing},
		{RequestID: "b", State: jobs.Failed, ErrorCode: "code"},
		{RequestID: "adopted", State: jobs.Completed, Adopt: true},
		{RequestID: "other", State: jobs.Completed},
		{RequestID: "c", State: jobs.Unchanged},
	} {
		o.At = at(time.Duration(1+second) * time.Second)
		observe(t, j, o)
	}
	wantUndelivered(t, j, "1 a running", "2 a completed", "3 b lost", "4 b failed", "5 adopted completed")
	if all := j.StateChanges(2); len(all) != 2 || all[1].Number != numbered(2)[0] {
		t.Errorf("the oldest two are %v", all)
	}
	all := j.StateChanges(4)
	if c := all[2]; c.Job.ErrorCode != jobs.CodeNotFound {
		t.Errorf("the third is %+v", c)
	}
	if c := all[3]; !c.At.Equal(at(7*time.Second)) || c.Job.ErrorCode != "code" {
		t.Errorf("the fourth is %+v", c)
	}
	for range 2 { // twice is the same as once
		if err := j.Delivered(numbered(2, 4, 77)); err != nil {
			t.Fatal(err)
		}
		wantUndelivered(t, j, "1 a running", "3 b lost", "5 adopted completed")
	}
	// A delivery does not change the job.
	if got := state(t, j, "a"); got != "completed" {
		t.Errorf("a is %s", got)
	}
	sweep(t, j, at(48*time.Hour+1))
	wantUndelivered(t, j, "1 a running", "3 b lost", "5 adopted completed", "6 c lost")
	if c := j.StateChanges(10)[3]; c.Job.ErrorCode != jobs.CodeMaxJobAge || !c.At.Equal(at(48*time.Hour+1)) {
		t.Errorf("after it was given up: %+v", c)
	}
}

func TestNoStateChanges(t *testing.T) {
	j := open(t, nil, options())
	register(t, j, start, "a")
	observe(t, j, jobs.Observation{RequestID: "a", At: at(1), State: jobs.Running})
	wantUndelivered(t, j)
}

// No two state changes have the same time, however slowly the clock ticks. A clock that
// was set back is believed.
func TestTimesOfStateChanges(t *testing.T) {
	j := open(t, nil, options(keepStateChanges(100)))
	for i, now := range []time.Duration{0, 0, 0, 1, time.Minute, time.Minute - time.Microsecond, time.Second} {
		id := fmt.Sprint(i)
		register(t, j, start, id)
		observe(t, j, jobs.Observation{RequestID: id, At: at(now), State: jobs.Running})
	}
	var got []time.Duration
	for _, c := range j.StateChanges(100) {
		got = append(got, c.At.Sub(start))
	}
	want := []time.Duration{0, 1, 2, 3, time.Minute, time.Minute + 1, time.Second}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("times (-want +got):\n%s", diff)
	}
}

// The oldest state changes beyond the limit are dropped and counted.
func TestStateChangesOverflow(t *testing.T) {
	dir := t.TempDir()
	j, closed := openSQLite(t, dir, options(keepStateChanges(3)), start)
	for i := range 5 {
		id := fmt.Sprint(i)
		register(t, j, start, id)
		observe(t, j, jobs.Observation{RequestID: id, At: at(time.Duration(i)), State: jobs.Running})
	}
	check := func() {
		t.Helper()
		wantUndelivered(t, j, "3 2 running", "4 3 running", "5 4 running")
		if n := j.Snapshot(start).Totals.Counter(jobs.StateChangesDropped); n != 2 {
			t.Errorf("%v are counted as dropped", n)
		}
	}
	check()
	closed()
	j, closed = openSQLite(t, dir, options(keepStateChanges(3)), start)
	check()
	closed()
	// With a limit of 0, those that are stored stay.
	j, _ = openSQLite(t, dir, options(keepStateChanges(0)), start)
	register(t, j, start, "new")
	observe(t, j, jobs.Observation{RequestID: "new", At: at(1), State: jobs.Running})
	check()
}

// More state changes than the limit can come with one commit.
func TestStateChangesOverflowInOneCommit(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options(keepStateChanges(2)))
	register(t, j, start, "0", "1", "2", "3", "4")
	observe(t, j, jobs.Observation{RequestID: "0", At: start, State: jobs.Running})
	sweep(t, j, at(48*time.Hour+1))
	wantUndelivered(t, j, "5 3 lost", "6 4 lost")
	wantUndelivered(t, open(t, m, options(keepStateChanges(2))), "5 3 lost", "6 4 lost")
	if n := j.Snapshot(start).Totals.Counter(jobs.StateChangesDropped); n != 4 {
		t.Errorf("%v are counted as dropped", n)
	}
}

// A restart keeps what is undelivered to the last bit of each figure.
func TestReopenStateChanges(t *testing.T) {
	dir, o := t.TempDir(), options(keepStateChanges(100))
	j, closed := openSQLite(t, dir, o, time.Now())
	for _, id := range []string{"delivered", "ended", "failed"} {
		if _, _, err := j.Register(submission.HTTP, []submission.Job{{
			RequestID: id, API: "asr", Labels: map[string]string{"team": "x"}, AudioSeconds: 3,
			SubmittedAt: time.Now().Add(-time.Minute),
		}}, false, time.Now()); err != nil {
			t.Fatal(err)
		}
		observe(t, j, jobs.Observation{RequestID: id, At: time.Now(), State: jobs.Running})
	}
	ended := result(rand.New(rand.NewPCG(1, 2)))
	ended.Timings = []transcript.Timing{
		{Start: 0.1, End: 0.3, Gap: math.NaN(), Confidence: 0.9, Speaker: 0},
		{Index: 1, Start: 0.1 + 0.2, End: 0.4, Gap: 0.1, Confidence: math.NaN(), Speaker: -1},
	}
	observe(t, j, jobs.Observation{RequestID: "ended", At: time.Now(), State: jobs.Completed, Result: ended})
	observe(t, j, jobs.Observation{RequestID: "failed", At: time.Now(), State: jobs.Failed, ErrorCode: "code"})
	if err := j.Delivered([]uint64{j.StateChanges(1)[0].Number}); err != nil {
		t.Fatal(err)
	}
	before := j.StateChanges(100)
	for round := range 2 {
		closed()
		j, closed = openSQLite(t, dir, o, time.Now())
		after := j.StateChanges(100)
		equal := cmp.Options{
			cmpopts.EquateNaNs(), cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(jobs.Observed{}),
			cmpopts.IgnoreFields(jobs.Job{}, "Sequence"),
			cmp.Comparer(func(x, y time.Time) bool { return x.Equal(y) }),
		}
		if diff := cmp.Diff(before, after, equal); diff != "" || len(after) != 4 {
			t.Errorf("round %d: %d state changes (-before +after):\n%s", round, len(after), diff)
		}
		for i := range after {
			if x, y := before[i].Job.Age(before[i].At), after[i].Job.Age(after[i].At); x != y {
				t.Errorf("the age was %s and is %s", x, y)
			}
		}
	}
	// Numbers go on.
	observe(t, j, jobs.Observation{RequestID: "delivered", At: time.Now(), State: jobs.Completed})
	all := j.StateChanges(100)
	if all[4].Number <= all[3].Number {
		t.Errorf("the next number is %d, after %d", all[4].Number, all[3].Number)
	}
	// They go on when none waits, too: a delivery of an earlier one may be reported late.
	for _, c := range all {
		if err := j.Delivered([]uint64{c.Number}); err != nil {
			t.Fatal(err)
		}
	}
	closed()
	j, _ = openSQLite(t, dir, o, time.Now())
	observe(t, j, jobs.Observation{RequestID: "next", At: time.Now(), State: jobs.Completed, Adopt: true})
	if next := j.StateChanges(100); len(next) != 1 || next[0].Number <= all[4].Number {
		t.Errorf("the only number is %d, after %d", next[0].Number, all[4].Number)
	}
}

// A state change whose observation could not be stored is not kept. One whose delivery
// could not be stored is.
func TestStateChangesThatCannotBeWritten(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options(keepStateChanges(100)))
	register(t, j, start, "a")
	running := jobs.Observation{RequestID: "a", At: at(1), State: jobs.Running}
	m.onCommit = failing(errFull)
	if _, err := j.Observe(running); !errors.Is(err, errFull) {
		t.Fatal(err)
	}
	wantUndelivered(t, j)
	m.onCommit = nil
	observe(t, j, running)
	m.onCommit = failing(errFull)
	if err := j.Delivered(numbered(1)); !errors.Is(err, errFull) {
		t.Fatal(err)
	}
	wantUndelivered(t, j, "1 a running")
}

// The timings of words that are undelivered are bounded. State changes beyond the bound
// are kept without, and counted.
func TestTimingsOverflow(t *testing.T) {
	j := open(t, nil, options(keepStateChanges(100)))
	register(t, j, start, "a", "b", "c")
	end := func(id string) {
		t.Helper()
		many := words(3)
		many.Timings = make([]transcript.Timing, 600_000)
		observe(t, j, jobs.Observation{RequestID: id, At: at(1), State: jobs.Completed, Result: many})
	}
	end("a")
	end("b")
	if err := j.Delivered(numbered(1)); err != nil {
		t.Fatal(err)
	}
	end("c")
	changes := j.StateChanges(10)
	if b, c := len(changes[0].Timings), len(changes[1].Timings); b != 0 || c != 600_000 {
		t.Errorf("%d and %d timings are kept", b, c)
	}
	if n := j.Snapshot(start).Totals.Counter(jobs.TimingsDropped); n != 1 {
		t.Errorf("%v are counted", n)
	}
}

// Timings are kept with state changes only for word points, and only those of words.
func TestTimingsOfStateChanges(t *testing.T) {
	for _, tt := range []struct {
		name       string
		wordPoints bool
		words      int
		want       int
	}{
		{"words", true, 3, 1}, {"segments without words", true, 0, 0}, {"no word points", false, 3, 0},
	} {
		o := options(keepStateChanges(10))
		o.WordPoints = tt.wordPoints
		j := open(t, nil, o)
		end := hooked("a", jobs.Completed, start)
		end.Result = words(tt.words)
		end.Result.Timings = make([]transcript.Timing, 1)
		observe(t, j, end)
		if n := len(j.StateChanges(1)[0].Timings); n != tt.want {
			t.Errorf("%s: %d timings, want %d", tt.name, n, tt.want)
		}
	}
}

// Numbers are not used again after a commit of unknown outcome: a delivery that is repeated, since it returned an
// error, removes nothing else.
func TestNumbersAfterAnUnknownOutcome(t *testing.T) {
	for _, stored := range []bool{false, true} {
		m := newMemory(t)
		j := open(t, m, options(keepStateChanges(100)))
		register(t, j, start, "a", "b")
		observe(t, j, hooked("a", jobs.Completed, start))
		m.onCommit = func(*store.Batch) (bool, error) { return stored, errUnknown }
		if err := j.Delivered(numbered(1)); !errors.Is(err, store.ErrUnknown) {
			t.Fatal(err)
		}
		m.onCommit = nil
		observe(t, j, hooked("b", jobs.Failed, start))
		if err := j.Delivered(numbered(1)); err != nil {
			t.Fatal(err)
		}
		wantUndelivered(t, j, "2 b failed")
		if c := j.StateChanges(1); len(c) == 1 && !c[0].At.After(start) {
			t.Errorf("stored %v: both state changes are at %s", stored, c[0].At)
		}
	}
}

// What the owner before has emitted when it handed over is held, for as long as its outputs may accept it.
func TestHeldStateChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		j := open(t, m, options(keepStateChanges(10)))
		register(t, j, start, "a", "b", "c")
		for _, id := range []string{"a", "b", "c"} {
			observe(t, j, polled(id, jobs.Completed, start))
		}
		remote := jobs.NewRemote("account", m, options())
		if err := remote.Emitted(numbered(1, 2, 77)); err != nil {
			t.Fatal(err)
		}
		j = open(t, m, options(keepStateChanges(10)))
		receive(t, j)
		wantUndelivered(t, j, "1 a completed", "2 b completed", "3 c completed")
		all, until := j.StateChanges(3), time.Now().Add(jobs.HoldFor)
		if !all[0].HeldUntil.Equal(until) || !all[1].HeldUntil.Equal(until) || !all[2].HeldUntil.IsZero() {
			t.Errorf("held until %s, %s and %s, want %s", all[0].HeldUntil, all[1].HeldUntil, all[2].HeldUntil, until)
		}
		if err := remote.Delivered(numbered(1)); err != nil {
			t.Fatal(err)
		}
		receive(t, j)
		wantUndelivered(t, j, "2 b completed", "3 c completed")
	})
}

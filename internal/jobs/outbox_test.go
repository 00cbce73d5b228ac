package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

func keepChanges(n int) jobs.Options {
	return jobs.Options{Retention: time.Hour, MaxJobAge: 24 * time.Hour, MaxJobSeries: 20, JobLabels: []string{"team"}, MaxChanges: n, WordPoints: true}
}

// brief says which changes wait.
func brief(r *jobs.Register) (all []string) {
	for _, c := range r.Changes(1000) {
		all = append(all, fmt.Sprintf("%d %s %s", c.Number, c.Job.RequestID, c.Job.State))
	}
	return all
}

func wantWaiting(t *testing.T, r *jobs.Register, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, brief(r), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("waiting (-want +got):\n%s", diff)
	}
}

// Each change of state that is observed waits once, until it is delivered.
func TestOutbox(t *testing.T) {
	r := jobs.New(keepChanges(100), start)
	track(t, r, at(0), "a", "b", "c")
	for _, o := range []jobs.Observation{
		{RequestID: "a", At: at(time.Second), State: jobs.Running},
		{RequestID: "a", At: at(2 * time.Second), State: jobs.Running},
		{RequestID: "a", At: at(3 * time.Second), State: jobs.Completed, Result: words(3)},
		{RequestID: "a", At: at(4 * time.Second), State: jobs.Completed, Result: words(3)},
		{RequestID: "b", At: at(5 * time.Second), State: jobs.Lost},
		{RequestID: "b", At: at(6 * time.Second), State: jobs.Failed, ErrorCode: "code"},
		{RequestID: "hook", At: at(7 * time.Second), State: jobs.Completed, Adopt: true},
		{RequestID: "stranger", At: at(8 * time.Second), State: jobs.Completed},
	} {
		observe(t, r, o)
	}
	wantWaiting(t, r, "1 a running", "2 a completed", "3 b lost", "4 b failed", "5 hook completed")
	if all := r.Changes(2); len(all) != 2 || all[1].Number != 2 {
		t.Errorf("the oldest two are %v", all)
	}
	if c := r.Changes(4)[3]; !c.At.Equal(at(6*time.Second)) || c.Job.ErrorCode != "code" {
		t.Errorf("the fourth is %+v", c)
	}
	for range 2 { // twice is the same as once
		if err := r.Delivered(context.Background(), []uint64{2, 4, 77}); err != nil {
			t.Fatal(err)
		}
		wantWaiting(t, r, "1 a running", "3 b lost", "5 hook completed")
	}
	// What an outbox no longer has is not what a job no longer is.
	if j, _ := r.Job("a"); j.State != jobs.Completed {
		t.Errorf("a is %s", j.State)
	}
}

func TestNoOutbox(t *testing.T) {
	r := jobs.New(keepChanges(0), start)
	track(t, r, at(0), "a")
	observe(t, r, jobs.Observation{RequestID: "a", At: at(1), State: jobs.Running})
	wantWaiting(t, r)
}

// Two changes never have one time, however slowly the clock ticks; one that was
// set back is believed.
func TestTimesOfChanges(t *testing.T) {
	r := jobs.New(keepChanges(100), start)
	for i, now := range []time.Duration{0, 0, 0, 1, time.Minute, time.Minute - time.Microsecond, time.Second} {
		id := fmt.Sprint(i)
		track(t, r, start, id)
		observe(t, r, jobs.Observation{RequestID: id, At: at(now), State: jobs.Running})
	}
	var got []time.Duration
	for _, c := range r.Changes(100) {
		got = append(got, c.At.Sub(start))
	}
	want := []time.Duration{0, 1, 2, 3, time.Minute, time.Minute + 1, time.Second}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("times (-want +got):\n%s", diff)
	}
}

// More changes than may wait push the oldest out, and each of those is counted.
func TestOutboxOverflow(t *testing.T) {
	dir := t.TempDir()
	r := openWith(t, dir, keepChanges(3), start)
	for i := range 5 {
		track(t, r.Register, start, fmt.Sprint(i))
		observe(t, r.Register, jobs.Observation{RequestID: fmt.Sprint(i), At: at(time.Duration(i)), State: jobs.Running})
	}
	check := func() {
		t.Helper()
		wantWaiting(t, r.Register, "3 2 running", "4 3 running", "5 4 running")
		if n := r.Snapshot(start).Totals.ChangesDropped; n != 2 {
			t.Errorf("%d are counted as dropped", n)
		}
	}
	check()
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	r = openWith(t, dir, keepChanges(3), start)
	check()
	// A face that keeps none leaves those of another alone.
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	r = openWith(t, dir, keepChanges(0), start)
	track(t, r.Register, start, "new")
	observe(t, r.Register, jobs.Observation{RequestID: "new", At: at(1), State: jobs.Running})
	check()
}

func openWith(t *testing.T, dir string, options jobs.Options, now time.Time) *reopened {
	t.Helper()
	db, err := sqlite.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	r, err := jobs.Open(context.Background(), options, db.Account("a"), now)
	if err != nil {
		t.Fatal(err)
	}
	return &reopened{r, db}
}

// What waits is the same after a restart, to the last bit of each figure, and what
// was delivered is not there again.
func TestReopenOutbox(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	options := keepChanges(100)
	r := openWith(t, dir, options, time.Now())
	for _, id := range []string{"delivered", "ended", "failed"} {
		if _, err := r.Track(ctx, submission.HTTP, []submission.Job{{
			RequestID: id, API: "asr", Labels: map[string]string{"team": "x"}, AudioSeconds: 3, SubmittedAt: time.Now().Add(-time.Minute),
		}}, time.Now()); err != nil {
			t.Fatal(err)
		}
		observe(t, r.Register, jobs.Observation{RequestID: id, At: time.Now(), State: jobs.Running})
	}
	ended := result(rand.New(rand.NewPCG(1, 2)))
	ended.Timings = []transcript.Timing{
		{Start: 0.1, End: 0.3, Gap: math.NaN(), Confidence: 0.9, Speaker: 0},
		{Index: 1, Start: 0.1 + 0.2, End: 0.4, Gap: 0.1, Confidence: math.NaN(), Speaker: -1},
	}
	observe(t, r.Register, jobs.Observation{RequestID: "ended", At: time.Now(), State: jobs.Completed, Result: ended})
	observe(t, r.Register, jobs.Observation{RequestID: "failed", At: time.Now(), State: jobs.Failed, ErrorCode: "code"})
	if err := r.Delivered(ctx, []uint64{1}); err != nil {
		t.Fatal(err)
	}
	before := r.Changes(100)
	for round := range 2 {
		if err := r.db.Close(); err != nil {
			t.Fatal(err)
		}
		r = openWith(t, dir, options, time.Now())
		after := r.Changes(100)
		equal := cmp.Options{
			cmpopts.EquateNaNs(), cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(jobs.Job{}),
			cmp.Comparer(func(x, y time.Time) bool { return x.Equal(y) }),
			cmpopts.IgnoreFields(jobs.Job{}, "Priority"),
		}
		if diff := cmp.Diff(before, after, equal); diff != "" || len(after) != 4 {
			t.Errorf("round %d: %d changes (-before +after):\n%s", round, len(after), diff)
		}
		for i := range after {
			if x, y := before[i].Job.Age(before[i].At), after[i].Job.Age(after[i].At); x != y {
				t.Errorf("the age was %s and is %s", x, y)
			}
		}
	}
	// Numbers go on.
	observe(t, r.Register, jobs.Observation{RequestID: "delivered", At: time.Now(), State: jobs.Completed})
	if all := r.Changes(100); all[4].Number != 6 {
		t.Errorf("the next number is %d", all[4].Number)
	}
}

// refusing is a store that refuses what the test says.
type refusing struct {
	jobs.Store
	err error
}

func (s *refusing) Commit(ctx context.Context, b *sqlite.Batch) error {
	if s.err != nil {
		return s.err
	}
	return s.Store.Commit(ctx, b)
}

// A change whose observation could not be stored does not wait, and one whose
// delivery could not be, still does.
func TestOutboxThatCannotBeWritten(t *testing.T) {
	ctx := context.Background()
	db, err := sqlite.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := &refusing{Store: db.Account("a")}
	r, err := jobs.Open(ctx, keepChanges(100), s, start)
	if err != nil {
		t.Fatal(err)
	}
	track(t, r, start, "a")
	running := jobs.Observation{RequestID: "a", At: at(1), State: jobs.Running}
	full := errors.New("no space left on device")
	s.err = full
	if _, err := r.Observe(ctx, running); !errors.Is(err, full) {
		t.Fatal(err)
	}
	wantWaiting(t, r)
	s.err = nil
	observe(t, r, running)
	s.err = full
	if err := r.Delivered(ctx, []uint64{1}); !errors.Is(err, full) {
		t.Fatal(err)
	}
	wantWaiting(t, r, "1 a running")
}

// The timings of words that wait are bounded: changes beyond that wait without, and
// are counted.
func TestTimingsOverflow(t *testing.T) {
	r := jobs.New(keepChanges(100), start)
	track(t, r, at(0), "a", "b", "c")
	end := func(id string) {
		t.Helper()
		many := words(3)
		many.Timings = make([]transcript.Timing, 600_000)
		observe(t, r, jobs.Observation{RequestID: id, At: at(1), State: jobs.Completed, Result: many})
	}
	end("a")
	end("b")
	if err := r.Delivered(context.Background(), []uint64{1}); err != nil {
		t.Fatal(err)
	}
	end("c")
	changes := r.Changes(10)
	if b, c := len(changes[0].Timings), len(changes[1].Timings); b != 0 || c != 600_000 {
		t.Errorf("%d and %d timings wait", b, c)
	}
	if n := r.Snapshot(start).Totals.TimingsDropped; n != 1 {
		t.Errorf("%d are counted", n)
	}
}

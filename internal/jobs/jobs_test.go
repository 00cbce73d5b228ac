package jobs_test

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

var start = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

func newRegister(change func(*jobs.Options)) *jobs.Register {
	o := jobs.Options{Retention: time.Hour, MaxJobAge: 24 * time.Hour, MaxJobSeries: 1000, JobLabels: []string{"team"}}
	if change != nil {
		change(&o)
	}
	return jobs.New(o, start)
}

func track(t *testing.T, r *jobs.Register, now time.Time, ids ...string) {
	t.Helper()
	var jobs []submission.Job
	for _, id := range ids {
		jobs = append(jobs, submission.Job{RequestID: id})
	}
	if _, err := r.Track(context.Background(), submission.File, jobs, now); err != nil {
		t.Fatal(err)
	}
}

func observe(t *testing.T, r *jobs.Register, o jobs.Observation) jobs.Effect {
	t.Helper()
	effect, err := r.Observe(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return effect
}

func words(n int) *transcript.Result {
	durations := histogram.New(transcript.WordDurationBounds)
	for range n {
		durations.Observe(0.25)
	}
	return &transcript.Result{
		Statistics: transcript.Statistics{
			Confidence: 0.9, Speakers: 2, Words: n, SpeechSeconds: float64(n) / 4,
			SpeechRate: math.NaN(), DominantSpeakerRatio: math.NaN(), Overlaps: 1,
		},
		WordDurations: durations,
	}
}

func TestTrackIsIdempotent(t *testing.T) {
	r := newRegister(nil)
	jobs := []submission.Job{
		{RequestID: "a", API: "asr", Labels: map[string]string{"team": "sales", "caller": "dropped"}, AudioSeconds: 60, SubmittedAt: at(-time.Minute)},
		{RequestID: "a"}, {RequestID: "b"},
	}
	for i, want := range []int{2, 0} {
		tracked, err := r.Track(context.Background(), submission.HTTP, jobs, at(time.Duration(i)*time.Second))
		if err != nil || len(tracked) != want {
			t.Errorf("round %d: %d tracked, %v; want %d", i, len(tracked), err, want)
		}
	}
	j, known := r.Job("a")
	if !known || j.API != "asr" || j.Source != submission.HTTP || !j.FirstSeen.Equal(start) || j.Age(start) != time.Minute {
		t.Errorf("job %+v, known %v", j, known)
	}
	if want := map[string]string{"team": "sales"}; !cmp.Equal(j.Labels, want) {
		t.Errorf("labels %v, want %v", j.Labels, want)
	}
	if n := r.Snapshot(start).Totals.Registered[submission.HTTP]; n != 2 {
		t.Errorf("%d registered, want 2", n)
	}
}

// Each row is a sequence of observations of one job, a minute apart, the first a
// minute after it was tracked.
func TestObserve(t *testing.T) {
	type seen struct {
		state  jobs.State
		result *transcript.Result
	}
	for _, tt := range []struct {
		name     string
		seen     []seen
		state    jobs.State
		changes  []bool
		finished [3]uint64 // completed, failed, lost
		words    uint64
		ended    time.Duration // since tracked
		window   time.Duration
	}{
		{name: "running", seen: []seen{{jobs.Running, nil}, {jobs.Running, nil}}, state: jobs.Running, changes: []bool{true, false}},
		{name: "completed after running", seen: []seen{{jobs.Running, nil}, {jobs.Completed, words(4)}},
			state: jobs.Completed, changes: []bool{true, true}, finished: [3]uint64{1, 0, 0}, words: 4, ended: 2 * time.Minute, window: time.Minute},
		{name: "completed at the first look", seen: []seen{{jobs.Completed, nil}},
			state: jobs.Completed, changes: []bool{true}, finished: [3]uint64{1, 0, 0}, ended: time.Minute, window: time.Minute},
		{name: "an end that is reported twice counts once", seen: []seen{{jobs.Completed, words(4)}, {jobs.Completed, words(4)}},
			state: jobs.Completed, changes: []bool{true, false}, finished: [3]uint64{1, 0, 0}, words: 4, ended: time.Minute, window: time.Minute},
		{name: "the first end stays", seen: []seen{{jobs.Failed, nil}, {jobs.Completed, words(4)}, {jobs.Lost, nil}, {jobs.Running, nil}},
			state: jobs.Failed, changes: []bool{true, false, false, false}, finished: [3]uint64{0, 1, 0}, ended: time.Minute, window: time.Minute},
		{name: "lost", seen: []seen{{jobs.Lost, nil}, {jobs.Running, nil}, {jobs.Lost, nil}},
			state: jobs.Lost, changes: []bool{true, false, false}, finished: [3]uint64{0, 0, 1}, ended: time.Minute, window: time.Minute},
		{name: "lost, and then completed after all", seen: []seen{{jobs.Lost, nil}, {jobs.Completed, words(4)}, {jobs.Completed, words(4)}},
			state: jobs.Completed, changes: []bool{true, true, false}, finished: [3]uint64{0, 0, 1}, words: 4, ended: 2 * time.Minute, window: time.Minute},
		{name: "lost, and then failed after all", seen: []seen{{jobs.Lost, nil}, {jobs.Failed, nil}},
			state: jobs.Failed, changes: []bool{true, true}, finished: [3]uint64{0, 0, 1}, ended: 2 * time.Minute, window: time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRegister(nil)
			track(t, r, start, "a")
			now := start
			for i, s := range tt.seen {
				now = now.Add(time.Minute)
				effect := observe(t, r, jobs.Observation{RequestID: "a", At: now, State: s.state, Result: s.result})
				if !effect.Known || effect.Changed != tt.changes[i] {
					t.Errorf("observation %d: %+v, want changed %v", i+1, effect, tt.changes[i])
				}
			}
			s := r.Snapshot(now)
			var counts [len(jobs.States)]int
			counts[tt.state] = 1
			if s.Counts != counts || len(s.Jobs) != 1 || s.Jobs[0].State != tt.state {
				t.Errorf("counts %v, jobs %+v; want %v", s.Counts, s.Jobs, tt.state)
			}
			if s.Totals.Finished != tt.finished || s.Totals.Words != tt.words {
				t.Errorf("finished %v, words %d; want %v, %d", s.Totals.Finished, s.Totals.Words, tt.finished, tt.words)
			}
			if n := s.Totals.WordDuration.Count(); n != tt.words {
				t.Errorf("%d word durations, want %d", n, tt.words)
			}
			if tt.ended > 0 && (!s.Jobs[0].FinishedAt.Equal(at(tt.ended)) || s.Jobs[0].DetectionWindow != tt.window) {
				t.Errorf("finished at %s within %s, want %s within %s", s.Jobs[0].FinishedAt, s.Jobs[0].DetectionWindow, at(tt.ended), tt.window)
			}
			for i, n := range tt.finished {
				if got := s.Totals.JobDuration[i].Count(); got != n {
					t.Errorf("%d durations of %s jobs, want %d", got, jobs.Results[i], n)
				}
			}
		})
	}
}

func TestObserveUnknown(t *testing.T) {
	r := newRegister(nil)
	if effect := observe(t, r, jobs.Observation{RequestID: "a", At: start, State: jobs.Completed}); effect.Known || effect.Changed {
		t.Errorf("%+v, want a job that is not known", effect)
	}
	if s := r.Snapshot(start); s.Totals.Finished != [3]uint64{} || len(s.Jobs) != 0 {
		t.Errorf("an unknown job left its mark: %+v", s)
	}
}

func TestMissing(t *testing.T) {
	r := newRegister(nil)
	track(t, r, start, "a")
	for i, want := range []time.Duration{1, 1} {
		if since := r.Missing("a", at(time.Duration(i+1)*time.Minute)); !since.Equal(at(want * time.Minute)) {
			t.Errorf("look %d: missing since %s", i+1, since)
		}
	}
	observe(t, r, jobs.Observation{RequestID: "a", At: at(3 * time.Minute), State: jobs.Running})
	if since := r.Missing("a", at(4*time.Minute)); !since.Equal(at(4 * time.Minute)) {
		t.Errorf("after it was found: missing since %s", since)
	}
}

// An ended job leaves at its retention, but is not brought back by a source or
// a webhook that still names it.
func TestRetention(t *testing.T) {
	ctx := context.Background()
	r := newRegister(nil)
	track(t, r, start, "ended", "running")
	observe(t, r, jobs.Observation{RequestID: "ended", At: start, State: jobs.Completed, Result: words(3)})
	for _, tt := range []struct {
		now  time.Duration
		jobs int
	}{{time.Hour, 2}, {time.Hour + time.Second, 1}} {
		if err := r.Sweep(ctx, at(tt.now)); err != nil {
			t.Fatal(err)
		}
		if n := len(r.Snapshot(at(tt.now)).Jobs); n != tt.jobs {
			t.Errorf("after %s: %d jobs, want %d", tt.now, n, tt.jobs)
		}
	}
	for hour := time.Duration(2); hour < 24*10; hour += 24 {
		now := at(hour * time.Hour)
		track(t, r, now, "ended")
		if effect := observe(t, r, jobs.Observation{RequestID: "ended", At: now, State: jobs.Completed, Result: words(3)}); !effect.Known || effect.Changed {
			t.Fatalf("after %d hours: %+v", hour, effect)
		}
		if err := r.Sweep(ctx, now); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Snapshot(at(240 * time.Hour))
	if len(s.Jobs) != 1 || s.Totals.Finished != [3]uint64{1, 0, 0} || s.Totals.Words != 3 {
		t.Errorf("jobs %v, finished %v, words %d", s.Jobs, s.Totals.Finished, s.Totals.Words)
	}
	if want := [2]uint64{1, 0}; s.Totals.Evicted != want {
		t.Errorf("evicted %v, want %v", s.Totals.Evicted, want)
	}
	// Nobody has named it for long: it is forgotten, and a new job if it is named again.
	if err := r.Sweep(ctx, at(1000*time.Hour)); err != nil {
		t.Fatal(err)
	}
	track(t, r, at(1000*time.Hour), "ended")
	if _, known := r.Job("ended"); !known {
		t.Error("an ID that nobody named for weeks is still remembered")
	}
}

func TestExpired(t *testing.T) {
	r := newRegister(nil)
	track(t, r, start, "asked", "never asked")
	submitted := []submission.Job{
		{RequestID: "submitted long ago", SubmittedAt: at(-72 * time.Hour)},
		{RequestID: "submitted long ago, asked", SubmittedAt: at(-72 * time.Hour)},
		{RequestID: "submitted in the future", SubmittedAt: at(72 * time.Hour)},
	}
	if _, err := r.Track(context.Background(), submission.HTTP, submitted, start); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"asked", "submitted long ago, asked"} {
		observe(t, r, jobs.Observation{RequestID: id, At: at(time.Minute), State: jobs.Running})
	}
	for _, tt := range []struct {
		now  time.Duration
		want []string
	}{
		{2 * time.Minute, []string{"submitted long ago, asked"}},
		{24 * time.Hour, []string{"submitted long ago, asked"}},
		{24*time.Hour + 1, []string{"submitted long ago", "submitted long ago, asked"}},
		{48 * time.Hour, []string{"submitted long ago", "submitted long ago, asked"}},
		{48*time.Hour + 1, []string{"asked", "never asked", "submitted in the future", "submitted long ago", "submitted long ago, asked"}},
	} {
		if got := slices.Sorted(slices.Values(r.Expired(at(tt.now)))); !slices.Equal(got, tt.want) {
			t.Errorf("after %s: %q, want %q", tt.now, got, tt.want)
		}
	}
	// The API says that it still runs.
	observe(t, r, jobs.Observation{RequestID: "asked", At: at(24*time.Hour + 1), State: jobs.Running})
	if got := r.Expired(at(24*time.Hour + 1)); !slices.Contains(got, "asked") {
		t.Errorf("a job that was too old when it was last asked about is not given up: %q", got)
	}
	effects, err := r.GiveUp(context.Background(), []string{"asked", "never asked", "unknown"}, at(48*time.Hour))
	if err != nil || len(effects) != 3 || !effects[0].Changed || effects[1].Job.State != jobs.Lost || effects[2].Known {
		t.Errorf("given up: %+v, %v", effects, err)
	}
	if age := r.Snapshot(start).OldestUnfinished; age != 72*time.Hour {
		t.Errorf("the oldest is %s old", age)
	}
}

// Failed jobs get series first, then the newest, and each job that loses its
// series to another is counted.
func TestJobsWithSeries(t *testing.T) {
	r := newRegister(func(o *jobs.Options) { o.MaxJobSeries = 3 })
	check := func(evicted uint64, want ...string) {
		t.Helper()
		s := r.Snapshot(start)
		var got []string
		for _, j := range s.Jobs {
			got = append(got, j.RequestID)
		}
		if !slices.Equal(got, want) || s.Totals.Evicted[jobs.ByLimit] != evicted {
			t.Errorf("series of %v, %d evicted; want %v, %d", got, s.Totals.Evicted[jobs.ByLimit], want, evicted)
		}
	}
	fail := func(id string) { observe(t, r, jobs.Observation{RequestID: id, At: start, State: jobs.Failed}) }
	complete := func(id string) {
		observe(t, r, jobs.Observation{RequestID: id, At: start, State: jobs.Completed})
	}
	track(t, r, start, "1", "2", "3")
	check(0, "3", "2", "1")
	track(t, r, start, "4")
	check(1, "4", "3", "2")
	fail("1") // out of the series and in again
	check(2, "1", "4", "3")
	fail("4") // moves up
	check(2, "4", "1", "3")
	complete("3")
	complete("2")
	check(2, "4", "1", "3")
	if _, err := r.Untrack(context.Background(), "4", start); err != nil {
		t.Fatal(err)
	}
	check(2, "1", "3", "2")
	r.SetOptions(jobs.Options{MaxJobSeries: 0, Retention: time.Hour, MaxJobAge: time.Hour})
	check(2)
}

func TestList(t *testing.T) {
	r := newRegister(nil)
	for i := range 10 {
		track(t, r, start, fmt.Sprint(i))
	}
	observe(t, r, jobs.Observation{RequestID: "7", At: start, State: jobs.Failed})
	all := func(*jobs.Job) bool { return true }
	failed := func(j *jobs.Job) bool { return j.State == jobs.Failed }
	for _, tt := range []struct {
		match func(*jobs.Job) bool
		after string
		limit int
		want  string
		ok    bool
	}{
		{all, "", 3, "[9 8 7]", true},
		{all, "7", 3, "[6 5 4]", true},
		{all, "1", 3, "[0]", true},
		{all, "0", 3, "[]", true},
		{failed, "", 3, "[7]", true},
		{failed, "7", 3, "[]", true},
		{all, "nobody", 3, "[]", false},
	} {
		jobs, ok := r.List(tt.match, tt.after, tt.limit)
		var ids []string
		for _, j := range jobs {
			ids = append(ids, j.RequestID)
		}
		if got := fmt.Sprint(ids); got != tt.want || ok != tt.ok {
			t.Errorf("after %q: %s, %v; want %s, %v", tt.after, got, ok, tt.want, tt.ok)
		}
	}
}

// A source that still names a removed job does not bring it back; a user does.
func TestUntrack(t *testing.T) {
	r := newRegister(nil)
	track(t, r, start, "a")
	for _, want := range []bool{true, false} {
		if was, err := r.Untrack(context.Background(), "a", start); was != want || err != nil {
			t.Errorf("untracked %v, %v; want %v", was, err, want)
		}
	}
	track(t, r, start, "a")
	if effect := observe(t, r, jobs.Observation{RequestID: "a", At: start, State: jobs.Completed}); !effect.Known || effect.Changed {
		t.Errorf("a webhook about a removed job: %+v", effect)
	}
	if s := r.Snapshot(start); s.Counts != [5]int{} || len(s.Jobs) != 0 {
		t.Errorf("something is left: %+v", s)
	}
	if jobs, err := r.Track(context.Background(), submission.HTTP, []submission.Job{{RequestID: "a"}}, start); len(jobs) != 1 || err != nil {
		t.Errorf("registered anew: %v, %v", jobs, err)
	}
}

// A snapshot shows one moment, whatever happens after it.
func TestSnapshotIsACopy(t *testing.T) {
	r := newRegister(nil)
	track(t, r, start, "a")
	before := r.Snapshot(start)
	observe(t, r, jobs.Observation{RequestID: "a", At: start, State: jobs.Completed, Result: words(5)})
	r.Count(func(t *jobs.Counts) { t.APIDuration.Observe(1) })
	track(t, r, start, "b")
	if before.Jobs[0].State != jobs.Pending || before.Totals.Words != 0 || before.Totals.WordDuration.Count() != 0 ||
		before.Totals.APIDuration.Count() != 0 || before.Totals.Registered[submission.File] != 1 || before.Counts[jobs.Pending] != 1 {
		t.Errorf("the snapshot changed: %+v", before)
	}
}

// Of a result, its statistics stay in memory: not its histograms and timings, of
// which there is a value for each word.
func TestResultIsLetGoOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegister(nil)
		result := words(10)
		weakly := weak.Make(result)
		observe(t, r, jobs.Observation{RequestID: "a", At: at(0), State: jobs.Completed, Result: result, Webhook: true, Adopt: true})
		result = nil
		synctest.Wait() // whoever committed it has ended
		runtime.GC()
		if weakly.Value() != nil {
			t.Error("the register holds the whole result")
		}
		if j, _ := r.Job("a"); j.Statistics == nil || j.Statistics.Words != 10 {
			t.Errorf("the statistics: %+v", j.Statistics)
		}
	})
}

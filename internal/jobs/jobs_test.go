package jobs_test

import (
	"context"
	"errors"
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
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

var start = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

func options(changes ...func(*jobs.Options)) jobs.Options {
	o := jobs.Options{
		Retention: time.Hour, MaxJobAge: 24 * time.Hour, NotFoundGrace: 30 * time.Minute, MaxJobSeries: 1000,
		JobLabels: []string{"team"},
	}
	for _, change := range changes {
		change(&o)
	}
	return o
}

func maxJobSeries(n int) func(*jobs.Options) { return func(o *jobs.Options) { o.MaxJobSeries = n } }

func keepStateChanges(n int) func(*jobs.Options) {
	return func(o *jobs.Options) { o.MaxStateChanges, o.WordPoints = n, true }
}

// open opens the jobs in a store, at start. A nil store is memory.
func open(t testing.TB, s store.Account, o jobs.Options) *jobs.Jobs {
	t.Helper()
	return openAt(t, s, o, start)
}

func openAt(t testing.TB, s store.Account, o jobs.Options, now time.Time) *jobs.Jobs {
	t.Helper()
	j, err := jobs.Open(context.Background(), s, o, now)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func submissions(ids ...string) (s []submission.Job) {
	for _, id := range ids {
		s = append(s, submission.Job{RequestID: id})
	}
	return s
}

// register registers jobs as a file source does.
func register(t testing.TB, j *jobs.Jobs, now time.Time, ids ...string) {
	t.Helper()
	if _, _, err := j.Register(submission.File, submissions(ids...), false, now); err != nil {
		t.Error(err)
	}
}

func observe(t testing.TB, j *jobs.Jobs, o jobs.Observation) jobs.Effect {
	t.Helper()
	effect, err := j.Observe(o)
	if err != nil {
		t.Error(err)
	}
	return effect
}

func sweep(t testing.TB, j *jobs.Jobs, now time.Time) {
	t.Helper()
	if err := j.Sweep(now); err != nil {
		t.Error(err)
	}
}

func remove(t testing.TB, j *jobs.Jobs, now time.Time, id string) {
	t.Helper()
	if was, err := j.Remove(id); !was || err != nil {
		t.Errorf("removed %q: %v, %v", id, was, err)
	}
}

func flush(t testing.TB, j *jobs.Jobs) {
	t.Helper()
	if err := j.Flush(); err != nil {
		t.Error(err)
	}
}

// answered is the request of a poll that the API answered.
func answered() *jobs.Request {
	return &jobs.Request{Outcome: jobstatus.OK, Duration: 20 * time.Millisecond}
}

// polled is an observation by a poll.
func polled(id string, state jobs.State, now time.Time) jobs.Observation {
	return jobs.Observation{RequestID: id, At: now, State: state, Request: answered()}
}

// hooked is the end of a job that a webhook reports, which is adopted.
func hooked(id string, state jobs.State, now time.Time) jobs.Observation {
	return jobs.Observation{RequestID: id, At: now, By: jobs.ByWebhook, State: state, Adopt: true}
}

// words is a result with n words of a quarter of a second each.
func words(n int) *transcript.Result {
	durations := histogram.New(transcript.WordDurationBounds)
	for range n {
		durations.Observe(0.25)
	}
	s := transcript.Unknown()
	s.Confidence, s.Speakers, s.Words, s.SpeechSeconds, s.Overlaps = 0.9, 2, float64(n), float64(n)/4, 1
	return &transcript.Result{Statistics: s, WordDurations: durations}
}

// counters returns the sum of each total that is a counter and not 0.
func counters(totals jobs.Totals) map[string]float64 {
	sums := make(map[string]float64)
	for _, total := range jobs.Declared() {
		if n := totals.Counter(total); n != 0 && total.Bounds == nil {
			sums[total.Name] = n
		}
	}
	return sums
}

func ids(all []*jobs.Job) []string {
	ids := []string{}
	for _, j := range all {
		ids = append(ids, j.RequestID)
	}
	return ids
}

func state(t testing.TB, j *jobs.Jobs, id string) string {
	t.Helper()
	job, known := j.Job(id)
	if !known {
		return "unknown"
	}
	return job.State.String()
}

func TestRegisterIsIdempotent(t *testing.T) {
	j := open(t, nil, options())
	given := []submission.Job{
		{
			RequestID: "a", API: "asr", Labels: map[string]string{"team": "sales", "caller": "dropped"},
			AudioSeconds: 60, SubmittedAt: at(-time.Minute),
		},
		{RequestID: "a"}, {RequestID: "b", Priority: 5},
	}
	for round, want := range []int{2, 0} {
		registered, known, err := j.Register(submission.HTTP, given, false, at(time.Duration(round)*time.Second))
		if err != nil || registered != want || known != 3-want {
			t.Errorf("round %d: %d registered, %d known, %v; want %d registered", round, registered, known, err, want)
		}
	}
	a, _ := j.Job("a")
	if a.API != "asr" || a.Source != submission.HTTP || !a.FirstSeen.Equal(start) || a.Age(start) != time.Minute ||
		a.AudioSeconds != 60 || a.Priority != 1 || a.State != jobs.Pending {
		t.Errorf("job %+v", a)
	}
	if want := map[string]string{"team": "sales"}; !cmp.Equal(a.Labels, want) {
		t.Errorf("labels %v, want %v", a.Labels, want)
	}
	if b, _ := j.Job("b"); b.Priority != 5 || b.Labels != nil {
		t.Errorf("job %+v", b)
	}
	totals := j.Snapshot(start).Totals
	if n := totals.Counter(jobs.JobsRegistered, "http"); n != 2 {
		t.Errorf("%v registered, want 2", n)
	}
}

// What a job shares with others, it shares with those that have the same.
func TestOriginsOfManyJobs(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	var given []submission.Job
	for i := range 300 {
		s := submission.Job{RequestID: fmt.Sprint(i), API: fmt.Sprint("api", i%100), Priority: float64(1 + i%3)}
		if i%7 == 0 {
			s.Labels = map[string]string{"team": fmt.Sprint(i)}
		}
		given = append(given, s)
	}
	for i, from := range []submission.Source{submission.HTTP, submission.File} {
		if _, _, err := j.Register(from, given[150*i:150*(i+1)], false, start); err != nil {
			t.Fatal(err)
		}
	}
	for when, j := range map[string]*jobs.Jobs{"registered": j, "loaded": open(t, m, options())} {
		for i, want := range given {
			from := []submission.Source{submission.HTTP, submission.File}[i/150]
			job, _ := j.Job(want.RequestID)
			if job.API != want.API || job.Priority != want.Priority || job.Source != from ||
				!cmp.Equal(job.Labels, want.Labels) {
				t.Errorf("%s: from %s, %+v: %+v", when, from, want, job.Origin)
			}
		}
	}
}

// Each row is a sequence of observations of one job, a minute apart, the first a minute
// after its registration.
func TestObserve(t *testing.T) {
	type seen struct {
		state  jobs.State
		result *transcript.Result
	}
	type finished struct{ completed, failed, lost float64 }
	const minute = time.Minute
	for _, tt := range []struct {
		name     string
		seen     []seen
		state    jobs.State
		changes  []bool
		finished finished
		words    float64
		ended    time.Duration // since its registration; 0: unfinished
		window   time.Duration
	}{
		{
			name: "running", seen: []seen{{jobs.Running, nil}, {jobs.Running, nil}},
			state: jobs.Running, changes: []bool{true, false},
		},
		{
			name:  "a state word that is unknown",
			seen:  []seen{{jobs.Unchanged, nil}, {jobs.Running, nil}, {jobs.Unchanged, nil}},
			state: jobs.Running, changes: []bool{false, true, false},
		},
		{
			name: "unknown to the API", seen: []seen{{jobs.Missing, nil}, {jobs.Missing, nil}},
			state: jobs.Pending, changes: []bool{false, false},
		},
		{
			name: "completed after running", seen: []seen{{jobs.Running, nil}, {jobs.Completed, words(4)}},
			state: jobs.Completed, changes: []bool{true, true},
			finished: finished{completed: 1}, words: 4, ended: 2 * minute, window: minute,
		},
		{
			name: "completed after a state word that is unknown", seen: []seen{{jobs.Unchanged, nil}, {jobs.Completed, nil}},
			state: jobs.Completed, changes: []bool{false, true},
			finished: finished{completed: 1}, ended: 2 * minute, window: minute,
		},
		{
			name: "completed after the API did not know it", seen: []seen{{jobs.Missing, nil}, {jobs.Completed, nil}},
			state: jobs.Completed, changes: []bool{false, true},
			finished: finished{completed: 1}, ended: 2 * minute, window: 2 * minute,
		},
		{
			name: "completed at the first poll", seen: []seen{{jobs.Completed, nil}},
			state: jobs.Completed, changes: []bool{true},
			finished: finished{completed: 1}, ended: minute, window: minute,
		},
		{
			name:  "an end that is reported twice counts once",
			seen:  []seen{{jobs.Completed, words(4)}, {jobs.Completed, words(4)}},
			state: jobs.Completed, changes: []bool{true, false},
			finished: finished{completed: 1}, words: 4, ended: minute, window: minute,
		},
		{
			name:  "the first end stays",
			seen:  []seen{{jobs.Failed, nil}, {jobs.Completed, words(4)}, {jobs.Running, nil}, {jobs.Missing, nil}},
			state: jobs.Failed, changes: []bool{true, false, false, false},
			finished: finished{failed: 1}, ended: minute, window: minute,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := open(t, nil, options())
			register(t, j, start, "a")
			now := start
			for i, s := range tt.seen {
				now = now.Add(minute)
				effect := observe(t, j, jobs.Observation{RequestID: "a", At: now, State: s.state, Result: s.result})
				if !effect.Known || effect.Adopted || effect.Changed != tt.changes[i] || effect.Job.RequestID != "a" {
					t.Errorf("observation %d: %+v, want changed %v", i+1, effect, tt.changes[i])
				}
			}
			s := j.Snapshot(now)
			var counts [len(jobs.States)]int
			counts[tt.state] = 1
			if s.Counts != counts || len(s.Jobs) != 1 || s.Jobs[0].State != tt.state {
				t.Errorf("counts %v, jobs %+v; want %v", s.Counts, s.Jobs, tt.state)
			}
			wantFinished(t, s, tt.finished.completed, tt.finished.failed, tt.finished.lost)
			if n := s.Totals.Counter(jobs.Words); n != tt.words {
				t.Errorf("%v words, want %v", n, tt.words)
			}
			if n := s.Totals.Histogram(jobs.WordDuration).Count(); n != uint64(tt.words) {
				t.Errorf("%d word durations, want %v", n, tt.words)
			}
			if end := s.Jobs[0].FinishedAt; tt.ended > 0 && !end.Equal(at(tt.ended)) || tt.ended == 0 && !end.IsZero() {
				t.Errorf("finished at %s, want after %s", end, tt.ended)
			}
			if s.Jobs[0].DetectionWindow != tt.window {
				t.Errorf("detected within %s, want %s", s.Jobs[0].DetectionWindow, tt.window)
			}
		})
	}
}

// wantFinished checks the jobs that finished, and the number of their durations.
func wantFinished(t *testing.T, s jobs.Snapshot, completed, failed, lost float64) {
	t.Helper()
	for i, want := range []float64{completed, failed, lost} {
		result := jobs.Results[i]
		if n := s.Totals.Counter(jobs.JobsFinished, result); n != want {
			t.Errorf("%v jobs finished as %s, want %v", n, result, want)
		}
		if n := s.Totals.Histogram(jobs.JobDuration, result).Count(); n != uint64(want) {
			t.Errorf("%d durations of %s jobs, want %v", n, result, want)
		}
	}
}

func TestObserveJobThatIsNotTracked(t *testing.T) {
	j := open(t, nil, options())
	effect := observe(t, j, jobs.Observation{RequestID: "a", At: start, State: jobs.Completed, Result: words(3)})
	if effect != (jobs.Effect{}) {
		t.Errorf("%+v, want a job that is not known", effect)
	}
	if s := j.Snapshot(start); len(s.Jobs) != 0 || len(counters(s.Totals)) != 0 {
		t.Errorf("a job that is not tracked was counted: %+v", counters(s.Totals))
	}
}

// The poll that finds a job unknown to the API for longer than the grace ends it. Each
// answer that knows it starts the grace again.
func TestMissing(t *testing.T) {
	j := open(t, nil, options(func(o *jobs.Options) { o.NotFoundGrace = 10 * time.Minute }))
	register(t, j, start, "a")
	for _, tt := range []struct {
		minute     time.Duration
		state      jobs.State
		missingFor time.Duration // minutes
		want       jobs.State
	}{
		{1, jobs.Missing, 0, jobs.Pending},
		{11, jobs.Missing, 10, jobs.Pending},
		{12, jobs.Running, 0, jobs.Running},
		{13, jobs.Missing, 0, jobs.Running},
		{14, jobs.Unchanged, 0, jobs.Running},
		{15, jobs.Missing, 0, jobs.Running},
		{25, jobs.Missing, 10, jobs.Running},
		{26, jobs.Missing, 11, jobs.Lost},
		{27, jobs.Missing, 12, jobs.Lost},
		{28, jobs.Running, 0, jobs.Lost},
	} {
		now := at(tt.minute * time.Minute)
		effect := observe(t, j, jobs.Observation{RequestID: "a", At: now, State: tt.state})
		if effect.MissingFor != tt.missingFor*time.Minute || effect.Job.State != tt.want ||
			effect.Changed != (tt.minute == 12 || tt.minute == 26) {
			t.Errorf("minute %d: %+v, state %s; want missing for %d min, state %s",
				tt.minute, effect, effect.Job.State, tt.missingFor, tt.want)
		}
	}
	job, _ := j.Job("a")
	if job.ErrorCode != jobs.CodeNotFound || !job.FinishedAt.Equal(at(26*time.Minute)) ||
		!job.LastObserved.Equal(at(14*time.Minute)) || job.DetectionWindow != 12*time.Minute {
		t.Errorf("lost: %+v", job)
	}
	wantFinished(t, j.Snapshot(start), 0, 0, 1)
}

// A lost job can still end, but it is counted as lost. Nothing was observed when it was given up.
func TestLostJobEnds(t *testing.T) {
	for _, state := range []jobs.State{jobs.Completed, jobs.Failed} {
		j := open(t, nil, options(func(o *jobs.Options) { o.NotFoundGrace = 0 }))
		register(t, j, start, "a")
		observe(t, j, jobs.Observation{RequestID: "a", At: start, State: jobs.Missing})
		observe(t, j, jobs.Observation{RequestID: "a", At: at(time.Minute), State: jobs.Missing})
		for i, changed := range []bool{true, false} {
			o := hooked("a", state, at(time.Duration(2+i)*time.Minute))
			o.ErrorCode, o.Result = "code", words(4)
			if effect := observe(t, j, o); effect.Changed != changed || effect.Job.State != state {
				t.Errorf("webhook %d about a lost job: %+v", i, effect)
			}
		}
		s := j.Snapshot(start)
		wantFinished(t, s, 0, 0, 1)
		if job := s.Jobs[0]; job.ErrorCode != "code" || !job.FinishedAt.Equal(at(2*time.Minute)) ||
			job.DetectionWindow != 2*time.Minute || job.Statistics.Words != 4 || s.Counts[state] != 1 {
			t.Errorf("the job: %+v", job)
		}
		if n := s.Totals.Counter(jobs.Words); n != 4 {
			t.Errorf("%v words, want 4", n)
		}
	}
}

// A job that is adopted from the webhook about its end has no duration.
func TestAdoptedJob(t *testing.T) {
	j := open(t, nil, options())
	register(t, j, start, "registered")
	for _, tt := range []struct {
		id    string
		adopt bool
		want  jobs.WebhookOutcome
	}{
		{"registered", true, jobs.WebhookAccepted},
		{"registered", true, jobs.WebhookDuplicate},
		{"other", false, jobs.WebhookUnknownJob},
		{"other", true, jobs.WebhookAdopted},
		{"other", true, jobs.WebhookDuplicate},
	} {
		o := hooked(tt.id, jobs.Failed, at(time.Minute))
		o.Adopt = tt.adopt
		if effect := observe(t, j, o); effect.Webhook() != tt.want || effect.Adopted != (tt.want == jobs.WebhookAdopted) {
			t.Errorf("%+v: %s, want %s", tt, effect.Webhook(), tt.want)
		}
	}
	s := j.Snapshot(start)
	if job, _ := j.Job("other"); job.Source != submission.Webhook || job.Started() {
		t.Errorf("adopted: %+v", job)
	}
	for outcome, want := range map[jobs.WebhookOutcome]float64{
		jobs.WebhookAccepted: 1, jobs.WebhookDuplicate: 2, jobs.WebhookUnknownJob: 1, jobs.WebhookAdopted: 1,
	} {
		if n := s.Totals.Counter(jobs.WebhookRequests, outcome.String()); n != want {
			t.Errorf("%v webhooks %s, want %v", n, outcome, want)
		}
	}
	if n := s.Totals.Histogram(jobs.JobDuration, "failed").Count(); n != 1 {
		t.Errorf("%d durations, want 1", n)
	}
	if n := s.Totals.Histogram(jobs.JobDetectionWindow).Count(); n != 1 {
		t.Errorf("%d detection windows, want 1", n)
	}
}

// Failed jobs get series first, then the newest. Each job that loses its series to
// another is counted.
func TestJobsWithSeries(t *testing.T) {
	j := open(t, nil, options(maxJobSeries(3)))
	check := func(evicted float64, want ...string) {
		t.Helper()
		s := j.Snapshot(start)
		if got, n := ids(s.Jobs), s.Totals.Counter(jobs.JobsEvicted, jobs.ByLimit); !slices.Equal(got, want) || n != evicted {
			t.Errorf("series of %v, %v evicted; want %v, %v", got, n, want, evicted)
		}
	}
	end := func(id string, state jobs.State) {
		t.Helper()
		observe(t, j, jobs.Observation{RequestID: id, At: start, State: state})
	}
	register(t, j, start, "1", "2", "3")
	check(0, "3", "2", "1")
	register(t, j, start, "4")
	check(1, "4", "3", "2")
	end("1", jobs.Failed) // has lost its series and gets them back
	check(2, "1", "4", "3")
	end("4", jobs.Failed) // has series and moves up
	check(2, "4", "1", "3")
	end("3", jobs.Completed)
	end("2", jobs.Completed)
	check(2, "4", "1", "3")
	remove(t, j, start, "4")
	check(2, "1", "3", "2")
	end("2", jobs.Lost) // changes nothing
	check(2, "1", "3", "2")
	register(t, j, start, "5", "6", "7")
	check(5, "1", "7", "6")
	end("7", jobs.Failed)
	end("6", jobs.Failed)
	check(5, "7", "6", "1")
	end("5", jobs.Failed) // fails before the older job 1, which has lost its series
	check(6, "7", "6", "5")
	register(t, j, start, "8") // gets no series
	check(7, "7", "6", "5")
	remove(t, j, start, "7")
	check(7, "6", "5", "1")
	register(t, j, start, "9", "10")
	check(9, "6", "5", "1")
	end("9", jobs.Failed)
	end("10", jobs.Failed)
	check(11, "10", "9", "6")
	end("2", jobs.Failed) // had no series before, and has none
	check(11, "10", "9", "6")
	j.SetOptions(options(maxJobSeries(0)))
	check(11)

	j = open(t, nil, options(maxJobSeries(1)))
	register(t, j, start, "1", "2")
	end("2", jobs.Failed)
	end("1", jobs.Failed) // is next in the order, and still has none
	check(1, "2")
}

// A source that names a removed job does not bring it back; a user does.
func TestRemove(t *testing.T) {
	j := open(t, nil, options())
	register(t, j, start, "a")
	for _, want := range []bool{true, false} {
		if was, err := j.Remove("a"); was != want || err != nil {
			t.Errorf("removed %v, %v; want %v", was, err, want)
		}
	}
	register(t, j, start, "a")
	if effect := observe(t, j, hooked("a", jobs.Completed, start)); effect != (jobs.Effect{Known: true}) {
		t.Errorf("a webhook about a removed job: %+v", effect)
	}
	if s := j.Snapshot(start); s.Counts != [5]int{} || len(s.Jobs) != 0 {
		t.Errorf("after its removal: %+v", s)
	}
	if n, _, err := j.Register(submission.HTTP, submissions("a"), false, start); n != 1 || err != nil {
		t.Errorf("%d registered again, %v", n, err)
	}
}

// Nobody is told what was only found in memory: the store may have lost it, and another replica may own the account.
func TestAnswersNeedTheStore(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	register(t, j, start, "a")
	for _, err := range []error{nil, store.ErrNotOwner} {
		m.confirm = err
		if _, _, got := j.Register(submission.HTTP, submissions("a"), false, start); !errors.Is(got, err) {
			t.Errorf("registering a known job: %v, want %v", got, err)
		}
		if _, got := j.Remove("unknown"); !errors.Is(got, err) {
			t.Errorf("removing an unknown job: %v, want %v", got, err)
		}
		if got := j.Receive(); got != nil {
			t.Errorf("receiving nothing: %v", got)
		}
	}

	// Such an answer does not say that the store can be written.
	full := errors.New("full")
	m.onCommit = func(*store.Batch) (bool, error) { return false, full }
	m.confirm = nil
	if _, _, err := j.Register(submission.HTTP, submissions("b"), false, start); !errors.Is(err, full) {
		t.Errorf("registering a job: %v", err)
	}
	if _, _, err := j.Register(submission.HTTP, submissions("a"), false, start); err != nil {
		t.Errorf("registering a known job: %v", err)
	}
	if err := j.Writable(); !errors.Is(err, full) {
		t.Errorf("writable: %v, want %v", err, full)
	}
}

// A snapshot shows one moment, whatever happens after it.
func TestSnapshotIsImmutable(t *testing.T) {
	for name, s := range map[string]store.Account{"in memory": nil, "stored": newMemory(t)} {
		j := open(t, s, options())
		register(t, j, start, "a")
		j.CountRequest(*answered())
		o := hooked("b", jobs.Completed, start)
		o.Result = words(2)
		observe(t, j, o)
		before := j.Snapshot(start)
		job := *before.Jobs[1]
		o.RequestID = "a"
		observe(t, j, o)
		j.CountRequest(*answered())
		register(t, j, start, "c")
		flush(t, j)
		if got := *before.Jobs[1]; !cmp.Equal(got, job, cmp.AllowUnexported(jobs.Observed{})) || got.State != jobs.Pending ||
			len(before.Jobs) != 2 || before.Counts[jobs.Pending] != 1 {
			t.Errorf("%s: the jobs of the snapshot changed: %+v", name, before.Jobs)
		}
		totals := before.Totals
		if totals.Counter(jobs.Words) != 2 || totals.Histogram(jobs.WordDuration).Count() != 2 ||
			totals.Histogram(jobs.APIRequestDuration).Count() != 1 || totals.Counter(jobs.JobsRegistered, "file") != 1 {
			t.Errorf("%s: the totals of the snapshot changed: %v", name, counters(before.Totals))
		}
		if after := j.Snapshot(start); after.Totals.Histogram(jobs.WordDuration).Count() != 4 {
			t.Errorf("%s: the totals did not change", name)
		}
	}
}

// What stays in memory of a result are its statistics, not its histograms and timings,
// which have a value for each word.
func TestResultIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, nil, options())
		result := words(10)
		pointer := weak.Make(result)
		o := hooked("a", jobs.Completed, start)
		o.Result = result
		observe(t, j, o)
		o.Result, result = nil, nil
		synctest.Wait() // the goroutine that committed it has ended
		runtime.GC()
		if pointer.Value() != nil {
			t.Error("the whole result is still in memory")
		}
		if job, _ := j.Job("a"); job.Statistics == nil || job.Statistics.Words != 10 {
			t.Errorf("statistics %+v", job.Statistics)
		}
	})
}

// The figures of a result that are unknown are not counted.
func TestUnknownFigures(t *testing.T) {
	j := open(t, nil, options())
	o := hooked("a", jobs.Completed, start)
	o.Result = &transcript.Result{Statistics: transcript.Unknown()}
	o.Result.Anomalies[transcript.OutOfOrder] = 3
	observe(t, j, o)
	totals := j.Snapshot(start).Totals
	want := map[string]float64{
		"jobs_registered_total": 1, "jobs_finished_total": 1, "webhook_requests_total": 1, "word_anomalies_total": 3,
	}
	if diff := cmp.Diff(want, counters(totals)); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	for _, total := range jobs.Declared() {
		if total.Bounds != nil && total.Labels == nil {
			if h := totals.Histogram(total); h.Count() != 0 || math.IsNaN(h.Sum()) {
				t.Errorf("%s has %d values", total.Name, h.Count())
			}
		}
	}
}

package jobs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// lost returns the IDs of the lost jobs, sorted.
func lost(j *jobs.Jobs) []string {
	all, _, _ := j.List(jobs.Filter{State: new(jobs.Lost)}, "", 1_000_000)
	return slices.Sorted(slices.Values(ids(all)))
}

// An ended job leaves at the end of its retention. A source or a webhook that still names
// it does not bring it back.
func TestRetention(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	register(t, j, start, "ended", "running")
	end := jobs.Observation{RequestID: "ended", At: start, State: jobs.Completed, Result: words(3)}
	observe(t, j, end)
	for _, tt := range []struct {
		now  time.Duration
		jobs int
	}{{time.Hour, 2}, {time.Hour + time.Second, 1}} {
		sweep(t, j, at(tt.now))
		if n := len(j.Snapshot(at(tt.now)).Jobs); n != tt.jobs {
			t.Errorf("after %s: %d jobs, want %d", tt.now, n, tt.jobs)
		}
	}
	j.SetOptions(options(func(o *jobs.Options) { o.MaxJobAge = 10_000 * time.Hour }))
	for hour := time.Duration(2); hour < 24*10; hour += 24 {
		end.At, end.Adopt = at(hour*time.Hour), true
		register(t, j, end.At, "ended")
		if effect := observe(t, j, end); effect != (jobs.Effect{Known: true}) {
			t.Fatalf("after %d hours: %+v", hour, effect)
		}
		sweep(t, j, end.At)
	}
	s := j.Snapshot(at(240 * time.Hour))
	wantFinished(t, s, 1, 0, 0)
	if n := s.Totals.Counter(jobs.Words); len(s.Jobs) != 1 || n != 3 {
		t.Errorf("jobs %v, %v words", s.Jobs, n)
	}
	retention, limit := s.Totals.Counter(jobs.JobsEvicted, "retention"), s.Totals.Counter(jobs.JobsEvicted, "limit")
	if retention != 1 || limit != 0 {
		t.Errorf("%v jobs evicted by retention and %v by the limit, want 1 and 0", retention, limit)
	}
	// No source named it for a year, and the monitor was started again.
	sweep(t, j, at(10_000*time.Hour))
	j = open(t, m, options())
	sweep(t, j, at(10_001*time.Hour))
	register(t, j, at(10_001*time.Hour), "ended")
	if got := state(t, j, "ended"); got != "unknown" {
		t.Errorf("a job that ended a year ago and is named again is %s", got)
	}
}

// Two million departed jobs are remembered at least. Those that a source names are, whatever their age.
func TestDeparturesAreBounded(t *testing.T) {
	const perGeneration = 4096 // blocks
	m := newMemory(t)
	number := uint64(0)
	block := func(at uint64, first string) { // a full one, of the ID and others
		b := store.DepartedBlock{Number: at, Departures: []store.Departure{store.DepartureOf(first, false)}}
		for len(b.Departures) < store.DeparturesPerBlock {
			number += 2
			b.Departures = append(b.Departures, store.Departure(number))
		}
		m.departed[at] = b
	}
	last := func(at uint64) { // one that lacks a departure to be full
		block(at, fmt.Sprint("in block ", at))
		b := m.departed[at]
		b.Departures = b.Departures[1:]
		m.departed[at] = b
	}
	leave := func(j *jobs.Jobs, id string) {
		register(t, j, start, id)
		remove(t, j, start, id)
	}
	block(0, "not named")
	block(1, "named")
	last(perGeneration - 1)
	j := open(t, m, options())
	leave(j, "fills the first generation")
	for range 2 {
		register(t, j, start, "named", "not named")
		if a, b := state(t, j, "named"), state(t, j, "not named"); a+b != "unknownunknown" {
			t.Fatalf("remembered jobs are %s and %s when they are named", a, b)
		}
		j = open(t, m, options()) // the same after a start
	}
	delete(m.departed, perGeneration) // in which both were renewed
	b := store.DepartedBlock{Number: perGeneration, Departures: []store.Departure{store.DepartureOf("named", false)}}
	m.departed[b.Number] = b
	last(2*perGeneration - 1)
	j = open(t, m, options())
	leave(j, "fills the second generation")
	if _, there := m.departed[perGeneration-1]; there || m.departed[0].Departures != nil {
		t.Errorf("%d blocks are stored; those of the first generation should be deleted", len(m.departed))
	}
	for range 2 {
		register(t, j, start, "named", "in block 8191")
		if a, b := state(t, j, "named"), state(t, j, "in block 8191"); a != "unknown" || b != "pending" {
			t.Errorf("the job that was named is %s, another one %s", a, b)
		}
		end := hooked("not named", jobs.Completed, start)
		end.Adopt = false
		if effect := observe(t, j, end); effect.Known {
			t.Errorf("a job of two generations ago is remembered: %+v", effect)
		}
		j = open(t, m, options())
	}
}

// A departed job that is registered again over HTTP, and ends, can only then not be registered again.
func TestRemovedThenEnded(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	overHTTP := func() (registered int) {
		registered, _, err := j.Register(submission.HTTP, submissions("a"), false, start)
		if err != nil {
			t.Fatal(err)
		}
		return registered
	}
	for round := range 3 {
		if n := overHTTP(); n != 1 {
			t.Errorf("round %d: registered %d", round, n)
		}
		remove(t, j, start, "a")
		j = open(t, m, options())
		if register(t, j, start, "a"); state(t, j, "a") != "unknown" {
			t.Errorf("round %d: a file brought a removed job back", round)
		}
	}
	overHTTP()
	observe(t, j, hooked("a", jobs.Completed, start))
	sweep(t, j, at(2*time.Hour))
	for range 2 {
		if n := overHTTP(); n != 0 || state(t, j, "a") != "unknown" {
			t.Errorf("registered %d, the ended job is %s", n, state(t, j, "a"))
		}
		j = open(t, m, options())
	}
}

// A job is given up when the API called it unfinished at an age above the maximum, or when
// it is twice that old.
func TestGiveUp(t *testing.T) {
	open := func() *jobs.Jobs {
		j := open(t, newMemory(t), options(func(o *jobs.Options) { o.Retention = 1000 * time.Hour }))
		register(t, j, start, "polled", "never polled")
		given := []submission.Job{
			{RequestID: "submitted long ago", SubmittedAt: at(-72 * time.Hour)},
			{RequestID: "submitted long ago, polled", SubmittedAt: at(-72 * time.Hour)},
			{RequestID: "submitted in the future", SubmittedAt: at(72 * time.Hour)},
		}
		if _, _, err := j.Register(submission.HTTP, given, false, start); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"polled", "submitted long ago, polled"} {
			observe(t, j, polled(id, jobs.Running, at(time.Minute)))
		}
		return j
	}
	j := open()
	if age := j.Snapshot(start).OldestUnfinished; age != 72*time.Hour {
		t.Errorf("the oldest is %s old", age)
	}
	for _, tt := range []struct {
		now  time.Duration
		want []string
	}{
		{2 * time.Minute, []string{"submitted long ago, polled"}},
		{24 * time.Hour, []string{"submitted long ago, polled"}},
		{24*time.Hour + 1, []string{"submitted long ago", "submitted long ago, polled"}},
		{48 * time.Hour, []string{"submitted long ago", "submitted long ago, polled"}},
		{48*time.Hour + 1, []string{
			"never polled", "polled", "submitted in the future", "submitted long ago", "submitted long ago, polled",
		}},
	} {
		sweep(t, j, at(tt.now))
		if got := lost(j); !slices.Equal(got, tt.want) {
			t.Errorf("after %s: %q are lost, want %q", tt.now, got, tt.want)
		}
	}
	job, _ := j.Job("polled")
	if job.ErrorCode != jobs.CodeMaxJobAge || !job.FinishedAt.Equal(at(48*time.Hour+1)) ||
		!job.LastObserved.Equal(at(time.Minute)) || job.DetectionWindow != 48*time.Hour+1-time.Minute {
		t.Errorf("given up: %+v", job)
	}
	wantFinished(t, j.Snapshot(start), 0, 0, 5)
	// The API says above the maximum age that it still runs.
	j = open()
	observe(t, j, polled("polled", jobs.Running, at(24*time.Hour+1)))
	sweep(t, j, at(24*time.Hour+1))
	if got := lost(j); !slices.Contains(got, "polled") || slices.Contains(got, "never polled") {
		t.Errorf("%q are lost", got)
	}
}

// What ended while no process ran, over a weekend or longer, can still be polled.
func TestGiveUpAfterALongStop(t *testing.T) {
	m := newMemory(t)
	o := options()
	j := openAt(t, m, o, start)
	register(t, j, start, "polled", "never polled")
	observe(t, j, polled("polled", jobs.Running, at(time.Minute)))
	const stopped = 100 * time.Hour
	j = openAt(t, m, o, at(stopped))
	for _, tt := range []struct {
		now  time.Duration
		want []string
	}{{0, nil}, {24 * time.Hour, nil}, {24*time.Hour + 1, []string{"never polled", "polled"}}} {
		sweep(t, j, at(stopped+tt.now))
		if got := lost(j); !slices.Equal(got, tt.want) {
			t.Errorf("%s after the start: %q are lost, want %q", tt.now, got, tt.want)
		}
	}
	// What the API calls unfinished is given up at once.
	m = newMemory(t)
	register(t, openAt(t, m, o, start), start, "running")
	j = openAt(t, m, o, at(stopped))
	observe(t, j, polled("running", jobs.Running, at(stopped)))
	sweep(t, j, at(stopped))
	if got := lost(j); !slices.Equal(got, []string{"running"}) {
		t.Errorf("%q are lost", got)
	}
}

// If the clock was set across a restart, a job is not given up before polls have shown for long enough that it is
// unfinished, or for very long could not.
func TestGiveUpAfterTheClockWasSet(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	register(t, j, start, "a")
	reserve(t, j, start, 1) // notes the time
	now := at(30 * 24 * time.Hour)
	j = openAt(t, m, options(), now)
	if !j.ClockSet() || open(t, m, options()).ClockSet() {
		t.Error("it is not known whether the clock was set")
	}
	for _, tt := range []struct {
		after time.Duration
		want  string
	}{{time.Minute, "running"}, {24 * time.Hour, "running"}, {24*time.Hour + time.Minute, "lost"}} {
		then := now.Add(tt.after)
		observe(t, j, polled("a", jobs.Running, then))
		sweep(t, j, then)
		if got := state(t, j, "a"); got != tt.want {
			t.Errorf("after %s the job is %s, want %s", tt.after, got, tt.want)
		}
	}

	register(t, j, start, "never polled")
	j = openAt(t, m, options(func(o *jobs.Options) { o.Retention = 1000 * time.Hour }), now)
	register(t, j, now, "new")
	for _, tt := range []struct {
		after time.Duration
		want  []string
	}{
		{48 * time.Hour, []string{}}, {48*time.Hour + 1, []string{"new"}},
		{8 * 24 * time.Hour, []string{"new"}}, {8*24*time.Hour + 1, []string{"never polled", "new"}},
	} {
		sweep(t, j, now.Add(tt.after))
		if got := lost(j)[1:]; !slices.Equal(got, tt.want) {
			t.Errorf("after %s: %q are lost, want %q", tt.after, got, tt.want)
		}
	}
}

// Other operations do not wait until a sweep has given up and evicted very many jobs.
func TestSweepInChunks(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options(maxJobSeries(5000), func(o *jobs.Options) { o.Retention = 0 }))
	var all []string
	for i := range 2500 {
		all = append(all, fmt.Sprint(i))
	}
	register(t, j, start, all...)
	before := m.commits()
	sweep(t, j, at(48*time.Hour+1))
	sweep(t, j, at(48*time.Hour+2))
	var got []string
	for _, b := range m.batches[before:] {
		if b.Compact {
			continue
		}
		got = append(got, fmt.Sprintf("%d changed, %d removed", len(b.Jobs), len(b.RemovedJobs)))
	}
	want := []string{
		"1000 changed, 0 removed", "1000 changed, 0 removed", "500 changed, 0 removed",
		"0 changed, 1000 removed", "0 changed, 1000 removed", "0 changed, 500 removed",
	}
	if !slices.Equal(got, want) {
		t.Errorf("commits:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A sweep looks at a part of the jobs that are too old and yet to be polled. The following ones go on, and begin again.
func TestSweepOfManyOldJobs(t *testing.T) {
	j := open(t, nil, options())
	var all []string
	for i := range 25_000 {
		all = append(all, fmt.Sprint(i))
	}
	register(t, j, start, all...)
	now := at(24*time.Hour + time.Minute)
	for i, want := range []string{"pending running", "running running", "running lost", "lost lost"} {
		observe(t, j, polled("20000", jobs.Running, now))
		if i > 0 {
			observe(t, j, polled("0", jobs.Running, now))
		}
		sweep(t, j, now)
		if got := state(t, j, "0") + " " + state(t, j, "20000"); got != want {
			t.Errorf("after sweep %d: %s, want %s", i, got, want)
		}
	}
}

// A sweep stops at the first error, and the next one goes on.
func TestSweepThatFails(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	register(t, j, start, "ended", "old")
	observe(t, j, hooked("ended", jobs.Completed, start))
	tried := 0
	m.onCommit = func(*store.Batch) (bool, error) { tried++; return false, errFull }
	for range 2 {
		if err := j.Sweep(at(48*time.Hour + 1)); err != errFull {
			t.Errorf("a sweep that cannot be stored: %v", err)
		}
	}
	if tried != 2 || state(t, j, "old") != "pending" || state(t, j, "ended") != "completed" {
		t.Errorf("%d commits, jobs are %s and %s", tried, state(t, j, "old"), state(t, j, "ended"))
	}
	m.onCommit = nil
	sweep(t, j, at(48*time.Hour+1))
	if state(t, j, "old") != "lost" || state(t, j, "ended") != "unknown" {
		t.Errorf("jobs are %s and %s", state(t, j, "old"), state(t, j, "ended"))
	}
}

// A sweep finds that the store has lost what was committed, although nothing is to be written.
func TestSweepVerifiesTheStore(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	register(t, j, start, "a")
	m.verify = errFull
	for range 2 {
		if err := j.Sweep(start); err != errFull || j.Writable() != errFull {
			t.Errorf("a sweep: %v; writable: %v", err, j.Writable())
		}
	}
	m.verify = nil
	sweep(t, j, start)
	if n := j.Snapshot(start).Totals.Counter(jobs.StoreErrors); n != 2 || j.Writable() != nil {
		t.Errorf("%v store errors, writable: %v", n, j.Writable())
	}
}

// A sweep every few seconds writes nothing as long as nothing is to be done.
func TestIdleSweep(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	register(t, j, start, "a")
	before := m.commits()
	for i := range time.Duration(50) {
		sweep(t, j, at(i*time.Minute))
	}
	if n := m.commits() - before; n != 0 {
		t.Errorf("%d commits", n)
	}
}

// Once an hour the sweep deletes old requests, and lets the store shrink.
func TestCompact(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	for _, hour := range []time.Duration{0, 10, 20, 40} {
		if err := j.Reserve(at(hour*time.Hour), 1); err != nil {
			t.Fatal(err)
		}
	}
	sweep(t, j, at(48*time.Hour+time.Second))
	if last := m.batches[len(m.batches)-1]; !last.Compact {
		t.Errorf("the sweep's commit is %+v", last)
	}
	var hours []time.Duration
	for _, hour := range []time.Duration{0, 10, 20, 40} {
		if j.Requests()[at(hour*time.Hour).Unix()] == 1 {
			hours = append(hours, hour)
		}
	}
	if !slices.Equal(hours, []time.Duration{40}) || len(m.requests) != 1 {
		t.Errorf("requests of the hours %v are kept, %d are stored", hours, len(m.requests))
	}
	before := m.commits()
	sweep(t, j, at(48*time.Hour+10*time.Minute))
	if n := m.commits() - before; n != 0 {
		t.Errorf("%d commits within ten minutes", n)
	}
	sweep(t, j, at(49*time.Hour)) // notes how much time has passed
	if last := m.batches[len(m.batches)-1]; m.commits()-before != 1 || last.Compact || len(last.Totals) != 1 {
		t.Errorf("%d commits within the hour, the last %+v", m.commits()-before, last)
	}
}

// Operations that arrive while a commit is in progress are committed together, in their
// order. A sweep among them leaves jobs alone that the others changed.
func TestSweepInOneCommitWithOthers(t *testing.T) {
	now := at(48*time.Hour + 1)
	webhook := func(id string) func(j *jobs.Jobs) {
		return func(j *jobs.Jobs) { observe(t, j, hooked(id, jobs.Completed, now)) }
	}
	named := func(j *jobs.Jobs) { register(t, j, now, "removed") }
	swept := func(j *jobs.Jobs) { sweep(t, j, now) }
	for _, tt := range []struct {
		name       string
		operations []func(*jobs.Jobs)
		id         string
		want       string
	}{
		{"a webhook about a lost job, then the sweep", []func(*jobs.Jobs){webhook("lost"), swept}, "lost", "completed"},
		{"the sweep, then a webhook about a lost job", []func(*jobs.Jobs){swept, webhook("lost")}, "lost", "unknown"},
		{"a webhook about an old job, then the sweep", []func(*jobs.Jobs){webhook("old"), swept}, "old", "completed"},
		{"the sweep, then a webhook about an old job", []func(*jobs.Jobs){swept, webhook("old")}, "old", "completed"},
		{"the sweep alone", []func(*jobs.Jobs){swept}, "old", "lost"},
		{"a removed job is named, then the sweep", []func(*jobs.Jobs){named, swept}, "removed", "unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t)
				j := open(t, m, options(func(o *jobs.Options) { o.NotFoundGrace = 0 }))
				register(t, j, start, tt.id)
				switch tt.id {
				case "lost":
					observe(t, j, jobs.Observation{RequestID: "lost", At: start, State: jobs.Missing})
					observe(t, j, jobs.Observation{RequestID: "lost", At: at(1), State: jobs.Missing})
				case "removed":
					remove(t, j, start, "removed")
				}
				together(m, append([]func(){func() { register(t, j, now, "first") }}, bound(j, tt.operations)...)...)
				if got := state(t, j, tt.id); got != tt.want {
					t.Errorf("the job is %s, want %s", got, tt.want)
				}
			})
		})
	}
}

func bound(j *jobs.Jobs, operations []func(*jobs.Jobs)) (all []func()) {
	for _, operation := range operations {
		all = append(all, func() { operation(j) })
	}
	return all
}

// together lets operations begin in their order while the commit of the first is in
// progress, so that all others are committed together, and waits for their ends. It needs
// a synctest bubble.
func together(m *memory, operations ...func()) {
	g := m.block()
	for _, operation := range operations {
		go operation()
		synctest.Wait()
	}
	g.open()
	synctest.Wait()
	m.onCommit = nil
}

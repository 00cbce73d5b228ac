package jobs_test

import (
	"bytes"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// openEngine opens the database in a directory. It is closed by the function that is
// returned, at the end of the test at the latest.
func openEngine(t testing.TB, dir string) (engine store.Engine, closed func()) {
	t.Helper()
	engine, err := sqlite.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	closed = sync.OnceFunc(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(closed)
	return engine, closed
}

func sqliteAccount(t testing.TB, dir string) store.Account {
	t.Helper()
	engine, _ := openEngine(t, dir)
	return engine.Account("a")
}

func openSQLite(t testing.TB, dir string, o jobs.Options, now time.Time) (j *jobs.Jobs, closed func()) {
	t.Helper()
	engine, closed := openEngine(t, dir)
	j, err := jobs.Open(context.Background(), engine.Account("a"), o, now)
	if err != nil {
		t.Fatal(err)
	}
	return j, closed
}

// result is a result with words, and without some of its figures.
func result(r *rand.Rand) *transcript.Result {
	gaps := histogram.New(transcript.WordGapBounds)
	for range 1 + r.IntN(50) {
		gaps.Observe(r.ExpFloat64())
	}
	s := transcript.Unknown()
	s.Confidence, s.Words, s.DurationSeconds, s.Overlaps = r.Float64(), 5, 3, 1
	s.WordGap = transcript.Distribution{Count: 4, Sum: 1.5, Max: 1}
	s.BySpeaker = []transcript.Speaker{{TalkSeconds: 1, ConfidenceMean: math.NaN()}}
	s.Anomalies = [len(transcript.Anomalies)]int{0, 1, 0, 2}
	return &transcript.Result{Statistics: s, WordGaps: gaps}
}

// Whatever happened, jobs that are opened again show what they showed.
func TestReopen(t *testing.T) {
	dir, o := t.TempDir(), options(maxJobSeries(20), func(o *jobs.Options) { o.MaxJobAge = 2 * time.Hour })
	random := rand.New(rand.NewPCG(1, 2))
	now := start
	j, closed := openSQLite(t, dir, o, now)
	for round := range longtest.Size(12, 100) {
		for range 40 {
			now = now.Add(time.Duration(random.IntN(120)) * time.Second)
			id := fmt.Sprint(random.IntN(40))
			var err error
			switch random.IntN(12) {
			case 0, 1, 2:
				_, _, err = j.Register(submission.Sources[random.IntN(5)], []submission.Job{{
					RequestID: id, API: "asr", Labels: map[string]string{"team": "x", "other": "y"}, AudioSeconds: 3,
					Priority: float64(random.IntN(3)), SubmittedAt: now.Add(-time.Minute),
				}}, false, now)
			case 3:
				_, err = j.Remove(id)
			case 4:
				err = j.Sweep(now)
			case 5:
				err = j.Reserve(now, 1+random.IntN(3))
			case 6:
				outcome := jobstatus.Outcome(random.IntN(len(jobstatus.Outcomes)))
				j.CountRequest(jobs.Request{Outcome: outcome, Duration: time.Duration(random.Int64N(1e10))})
			default:
				o := jobs.Observation{RequestID: id, At: now, By: jobs.Observer(random.IntN(2))}
				switch o.State = jobs.State(random.IntN(6) - 2); o.State {
				case jobs.Pending:
					o.State = jobs.Running
				case jobs.Failed:
					o.ErrorCode = "code"
				case jobs.Completed:
					o.Result = result(random)
				}
				_, err = j.Observe(o)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		j.CountSourceErrors(submission.URL, 1)
		flush(t, j)
		reserve(t, j, now, 1) // notes the time: the clock is not set
		before, requests := j.Snapshot(now), j.Requests()
		closed()
		j, closed = openSQLite(t, dir, o, now)
		same(t, fmt.Sprintf("round %d", round), before, j.Snapshot(now))
		if diff := cmp.Diff(requests, j.Requests()); diff != "" {
			t.Errorf("round %d: requests (-before +after):\n%s", round, diff)
		}
	}
	s := j.Snapshot(now)
	for i, n := range []float64{
		s.Totals.Counter(jobs.JobsFinished, "completed") - 4, s.Totals.Counter(jobs.JobsFinished, "lost"),
		s.Totals.Counter(jobs.JobsEvicted, "retention"), s.Totals.Counter(jobs.JobsEvicted, "limit"),
		float64(s.Totals.Histogram(jobs.WordGap).Count()), float64(len(j.Requests())), float64(s.StoreSize),
	} {
		if n <= 0 {
			t.Errorf("figure %d is %v: this test is about more", i, n)
		}
	}
}

// Two accounts in one database have nothing in common.
func TestAccountsAreApart(t *testing.T) {
	engine, _ := openEngine(t, t.TempDir())
	register(t, open(t, engine.Account("a"), options()), start, "a")
	s := open(t, engine.Account("b"), options()).Snapshot(start)
	if len(s.Jobs) != 0 || len(counters(s.Totals)) != 0 {
		t.Errorf("the other account has %+v", s)
	}
}

// The order of jobs survives jumps of the wall clock, also of jobs that were loaded.
func TestOrderWithoutTheWallClock(t *testing.T) {
	m := newMemory(t)
	now := time.Now()
	j, err := jobs.Open(context.Background(), m, options(), now)
	if err != nil {
		t.Fatal(err)
	}
	register(t, j, now, "first")
	j, err = jobs.Open(context.Background(), m, options(), now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	job, _ := j.Job("first")
	if job.FirstSeen.Round(0) == job.FirstSeen || !job.FirstSeen.Equal(now) {
		t.Errorf("first seen %s has no monotonic clock reading, want that of %s", job.FirstSeen, now)
	}
	submitted := jobs.Job{FirstSeen: now, SubmittedAt: jobs.InstantOf(now.Add(-time.Minute))}
	if start := submitted.Start(); start.Round(0) == start || !start.Equal(now.Add(-time.Minute)) {
		t.Errorf("start %s has no monotonic clock reading", start)
	}
}

// A clock that was ahead when a job was stored leaves no time in the future.
func TestTimesAfterNow(t *testing.T) {
	m, ahead := newMemory(t), at(10*365*24*time.Hour)
	j := openAt(t, m, options(), ahead)
	register(t, j, ahead, "running", "ended")
	observe(t, j, polled("running", jobs.Running, ahead))
	observe(t, j, polled("ended", jobs.Completed, ahead))
	j = open(t, m, options())
	for _, id := range []string{"running", "ended"} {
		job, _ := j.Job(id)
		if job.FirstSeen.After(start) || job.LastObserved.After(start) || job.FinishedAt.After(start) {
			t.Errorf("at %s: %+v", start, job)
		}
	}
	sweep(t, j, at(49*time.Hour))
	if got := state(t, j, "running") + " " + state(t, j, "ended"); got != "lost unknown" {
		t.Errorf("after two days they are %s", got)
	}
}

// Of a job of which the store has only the state, everything else is unknown.
func TestBareJob(t *testing.T) {
	m := newMemory(t)
	m.jobs["a"] = store.Job{RequestID: "a", Sequence: 1, State: "running", FirstSeen: start}
	j := open(t, m, options())
	want := jobs.Job{
		RequestID: "a", Sequence: 1, Origin: &jobs.Origin{Priority: 1}, FirstSeen: start,
		Observed: &jobs.Observed{State: jobs.Running},
	}
	if got, _ := j.Job("a"); got == nil || !cmp.Equal(*got, want, cmpopts.IgnoreUnexported(*want.Observed)) {
		t.Errorf("job %+v, want %+v", got, want)
	}
	if n := counters(j.Snapshot(start).Totals); len(n) > 0 {
		t.Errorf("counters %v", n)
	}
}

// Rows that cannot be read are left out and counted, and their numbers are not used again.
func TestCorruptRows(t *testing.T) {
	m := newMemory(t)
	o := options(keepStateChanges(10))
	j := open(t, m, o)
	register(t, j, start, "a", "b", "c")
	for _, id := range []string{"a", "b", "c"} {
		end := hooked(id, jobs.Completed, start)
		end.Result = words(1)
		observe(t, j, end)
	}
	first, third := numbered(1)[0], numbered(3)[0]
	job, change := m.jobs["c"], m.changes[third]
	job.State, change.State = "exploded", "exploded"
	m.jobs["c"], m.changes[third] = job, change
	job.RequestID, job.State, job.AudioSeconds = "d", "pending", math.Inf(1)
	m.jobs["d"] = job
	job.RequestID, job.AudioSeconds, job.Priority = "e", 0, math.Inf(1)
	m.jobs["e"] = job
	job = m.jobs["b"]
	job.Statistics = jsontext.Value(`{"confidence":"high"}`)
	m.jobs["b"] = job
	change = m.changes[first]
	change.Job = jsontext.Value(`[]`)
	m.changes[first] = change
	for _, total := range []string{"words_total", "word_duration_seconds", "created"} {
		m.totals[[2]string{total, "{}"}] = store.Total{Name: total, Labels: "{}", Value: jsontext.Value(`"x"`)}
	}
	row := store.Total{Name: "jobs_finished_total", Labels: "[", Value: jsontext.Value(`7`)}
	m.totals[[2]string{row.Name, row.Labels}] = row
	m.lost = 5

	j = open(t, m, o)
	flush(t, j)
	s := j.Snapshot(start)
	if n := s.Totals.Counter(jobs.CorruptRecords); n != 5+6+4 || s.Totals.Created != start {
		t.Errorf("%v corrupt records, created %s", n, s.Totals.Created)
	}
	if got := ids(s.Jobs); !slices.Equal(got, []string{"a"}) || s.Totals.Counter(jobs.Words) != 0 {
		t.Errorf("jobs %v, %v words", got, s.Totals.Counter(jobs.Words))
	}
	wantUndelivered(t, j, "2 b completed")
	observe(t, j, hooked("new", jobs.Failed, start))
	wantUndelivered(t, j, "2 b completed", "4 new failed")
	if n := m.jobs["new"].Sequence; n != 4 {
		t.Errorf("the sequence of the new job is %d, want 4", n)
	}
}

// Totals and labels that this version does not know stay as they are.
func TestUnknownTotalsSurvive(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	observe(t, j, hooked("a", jobs.Completed, start))
	unknown := []store.Total{
		{Name: "coffees_total", Labels: "{}", Value: jsontext.Value(`{"cups":[1,2]}`)},
		{Name: "jobs_finished_total", Labels: `{"kind":"asr","result":"completed"}`, Value: jsontext.Value(`70`)},
		{Name: "jobs_finished_total", Labels: `{"kind":"completed"}`, Value: jsontext.Value(`71`)},
		{Name: "jobs_finished_total", Labels: `{"result":"postponed"}`, Value: jsontext.Value(`72`)},
		{Name: "words_total", Labels: `{"language":"en"}`, Value: jsontext.Value(`73`)},
	}
	for _, total := range unknown {
		m.totals[[2]string{total.Name, total.Labels}] = total
	}
	for range 5 { // maps have no order
		j = open(t, m, options())
		if n := j.Snapshot(start).Totals.Counter(jobs.JobsFinished, "completed"); n != 1 {
			t.Fatalf("%v jobs completed", n)
		}
	}
	end := hooked("b", jobs.Completed, start)
	end.Result = words(3)
	observe(t, j, end)
	totals := open(t, m, options()).Snapshot(start).Totals
	want := map[string]float64{"jobs_finished_total": 2, "words_total": 3, "store_corrupt_records_total": 0}
	for _, total := range []*jobs.Total{jobs.JobsFinished, jobs.Words, jobs.CorruptRecords} {
		if n := totals.Counter(total); n != want[total.Name] {
			t.Errorf("%s is %v, want %v", total.Name, n, want[total.Name])
		}
	}
	for _, total := range unknown {
		if got := m.totals[[2]string{total.Name, total.Labels}]; !cmp.Equal(got, total) {
			t.Errorf("%s%s became %s", total.Name, total.Labels, got.Value)
		}
	}
}

// Text that is not UTF-8 does not keep the other operations of its commit from being stored.
func TestInvalidText(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options(keepStateChanges(10)))
	given := []submission.Job{{RequestID: "a\xff", Labels: map[string]string{"team": "\xfe"}}}
	if _, _, err := j.Register(submission.HTTP, given, false, start); err != nil {
		t.Fatal(err)
	}
	end := hooked("a\xff", jobs.Failed, start)
	end.ErrorCode, end.Result = "\xfd", words(1)
	observe(t, j, end)
	c := open(t, m, options()).StateChanges(1)[0]
	if c.Job.ErrorCode != "\ufffd" || c.Job.Labels["team"] != "\ufffd" {
		t.Errorf("state change %+v", c)
	}
}

var update = flag.Bool("update", false, "write what this version stores into testdata")

// schema is the number of the newest files in testdata. A change of the format needs a new
// number: the files of the earlier versions stay as they are.
const schema = "schema4"

// everything lets something of every kind happen.
func everything(t *testing.T, m *memory) jobs.Options {
	o := options(keepStateChanges(10), maxJobSeries(3), func(o *jobs.Options) {
		o.KeepTimings, o.NotFoundGrace, o.MaxJobAge, o.JobLabels = true, 0, 1000*time.Hour, []string{"team", "site"}
	})
	early := start.In(time.FixedZone("", 5*3600+1800)) // stored times are in UTC
	j, err := jobs.Open(context.Background(), m, o, early)
	if err != nil {
		t.Fatal(err)
	}
	full := func(id string, now time.Time) {
		observe(t, j, jobs.Observation{
			RequestID: id, At: now, State: jobs.Completed, Result: fullResult(), Request: answered(),
		})
	}
	// What is deleted later.
	register(t, j, early, "evicted early", "removed early")
	full("evicted early", early)
	remove(t, j, early, "removed early")
	for range 2 {
		if err := j.Reserve(early, 1); err != nil {
			t.Fatal(err)
		}
	}
	sweep(t, j, early.Add(50*time.Hour))

	now := early.Add(51*time.Hour + 123456789)
	if _, _, err := j.Register(submission.HTTP, []submission.Job{{
		RequestID: "full", API: "asr", Labels: map[string]string{"team": "x", "site": `"Zürich"`, "other": "y"},
		AudioSeconds: 61.5, Priority: 2.5, SubmittedAt: now.Add(-time.Minute),
	}}, false, now); err != nil {
		t.Fatal(err)
	}
	register(t, j, now, "pending", "running", "missing", "removed", "evicted")
	observe(t, j, polled("running", jobs.Running, now.Add(time.Second)))
	observe(t, j, polled("missing", jobs.Missing, now.Add(time.Second)))
	full("full", now.Add(1500*time.Millisecond))
	observe(t, j, polled("missing", jobs.Missing, now.Add(2*time.Second)))
	adopted := hooked("adopted", jobs.Failed, now.Add(3*time.Second))
	adopted.ErrorCode = "api_error"
	observe(t, j, adopted)
	observe(t, j, polled("evicted", jobs.Completed, now.Add(-2*time.Hour)))
	remove(t, j, now, "removed")
	for _, block := range []int{1, 5} {
		if err := j.Reserve(now, block); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Delivered(numbered(1, 2)); err != nil {
		t.Fatal(err)
	}
	j.SetLearnt([]byte(`{"version":1}`))
	j.CountRequest(jobs.Request{Outcome: jobstatus.OK, Duration: 3 * time.Second, UnknownState: true})
	j.CountRequest(jobs.Request{Outcome: jobstatus.Timeout, Duration: time.Minute})
	j.CountWebhook(jobs.WebhookUnauthorized)
	j.CountSourceErrors(submission.File, 2)
	sweep(t, j, now)
	flush(t, j)
	return o
}

// fullResult is a result in which everything is known.
func fullResult() *transcript.Result {
	var a transcript.Accumulator
	a.KeepTimings = true
	a.WordList()
	for i, w := range []transcript.Piece{
		{Start: 0.1, End: 0.4, Confidence: 0.95}, {Start: 0.5, End: 0.9, Confidence: 0.5},
		{Start: 0.85, End: 1.25, Confidence: 1.5}, {Start: 3, End: 2, Confidence: 0.75},
		{Start: math.NaN(), End: 2, Confidence: 0.75}, {Start: 0.2, End: 0.3, Confidence: math.NaN()},
	} {
		w.Speaker = []byte{'A' + byte(i%2)}
		a.Word(w)
	}
	return a.Result()
}

// What this version stores of everything is what testdata has, to the byte.
func TestFormat(t *testing.T) {
	m := newMemory(t)
	o := everything(t, m)
	for name, text := range map[string]string{
		".txt": render(t, m.batches), ".shown": shown(t, openAt(t, m, o, at(52*time.Hour))),
	} {
		if *update {
			if err := os.WriteFile(filepath.Join("testdata", schema+name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden(t, schema+name, text)
	}
}

// What earlier versions stored, and this one, opens as what they showed.
func TestOpenEveryFormat(t *testing.T) {
	files, err := filepath.Glob("testdata/schema*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m := newMemory(t)
		for _, b := range parse(t, string(text)) {
			m.store(b)
		}
		o := options(keepStateChanges(10), maxJobSeries(3), func(o *jobs.Options) { o.KeepTimings = true })
		j := openAt(t, m, o, at(52*time.Hour))
		golden(t, strings.TrimSuffix(filepath.Base(file), ".txt")+".shown", shown(t, j))
		// Departed jobs cannot be seen, but they do not come back.
		register(t, j, at(52*time.Hour), "removed", "evicted", "removed early")
		if _, _, err := j.Register(submission.HTTP, submissions("removed", "evicted"), false, at(52*time.Hour)); err != nil {
			t.Fatal(err)
		}
		want := []string{"pending", "unknown", "unknown"}
		if file == "testdata/schema3.txt" {
			want[2] = "pending" // that version had forgotten it
		}
		if got := []string{
			state(t, j, "removed"), state(t, j, "evicted"), state(t, j, "removed early"),
		}; !slices.Equal(got, want) {
			t.Errorf("%s: departed jobs that are named are %v, want %v", file, got, want)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// rowOptions are those of the rows in testdata.
var rowOptions = json.JoinOptions(
	json.Deterministic(true), json.OmitZeroStructFields(true),
	json.WithMarshalers(json.MarshalToFunc(func(e *jsontext.Encoder, d time.Duration) error {
		return e.WriteToken(jsontext.String(d.String()))
	})),
	json.WithUnmarshalers(json.UnmarshalFromFunc(func(d *jsontext.Decoder, v *time.Duration) error {
		token, err := d.ReadToken()
		if err == nil {
			*v, err = time.ParseDuration(token.String())
		}
		return err
	})),
)

var uptimeSeconds = regexp.MustCompile(`"uptime_seconds":[0-9.]+`)

// render returns batches as text: a paragraph each, with the name of a list and a row in
// each line.
func render(t *testing.T, batches []*store.Batch) string {
	t.Helper()
	var all []string
	for _, b := range batches {
		var lines []string
		add := func(name string, value any) {
			row, err := json.Marshal(value, rowOptions)
			if err != nil {
				t.Fatal(err)
			}
			row = uptimeSeconds.ReplaceAll(row, []byte(`"uptime_seconds":0`))
			lines = append(lines, name+" "+string(row)+"\n")
		}
		of := reflect.ValueOf(b).Elem()
		for i := range of.NumField() {
			field, name, first := of.Field(i), of.Type().Field(i).Name, len(lines)
			switch {
			case field.IsZero():
			case field.Kind() == reflect.Slice && name != "Learnt":
				for k := range field.Len() {
					add(name, field.Index(k).Interface())
				}
			default:
				add(name, field.Interface())
			}
			slices.Sort(lines[first:]) // batches come from maps
		}
		all = append(all, strings.Join(lines, ""))
	}
	return strings.Join(all, "\n")
}

// parse is the inverse of render. Until schema 3 a departed job was a row of its own: here it is a block of one.
func parse(t *testing.T, text string) (batches []*store.Batch) {
	t.Helper()
	oldDeparted := regexp.MustCompile(`^Departed {"RequestID":"([^"]*)".*?(,"Removed":true)?}|^Forgotten "([^"]*)"`)
	blocks := make(map[string]uint64)
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		b := new(store.Batch)
		for line := range strings.Lines(paragraph) {
			if m := oldDeparted.FindStringSubmatch(line); m != nil && m[3] != "" {
				b.Forgotten = append(b.Forgotten, blocks[m[3]])
				continue
			} else if m != nil {
				blocks[m[1]] = uint64(len(blocks))
				one := []store.Departure{store.DepartureOf(m[1], m[2] != "")}
				b.Departed = append(b.Departed, store.DepartedBlock{Number: blocks[m[1]], Departures: one})
				continue
			}
			name, row, _ := strings.Cut(line, " ")
			field := reflect.ValueOf(b).Elem().FieldByName(name)
			into, list := field.Addr(), field.Kind() == reflect.Slice && name != "Learnt"
			if list {
				into = reflect.New(field.Type().Elem())
			}
			if err := json.Unmarshal([]byte(row), into.Interface(), rowOptions); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if list {
				field.Set(reflect.Append(field, into.Elem()))
			}
		}
		batches = append(batches, b)
	}
	return batches
}

// shown returns everything that can be seen of jobs, as text.
func shown(t *testing.T, j *jobs.Jobs) string {
	t.Helper()
	var b strings.Builder
	line := func(name string, values ...any) { fmt.Fprintln(&b, append([]any{name}, values...)...) }
	asJSON := func(value any) string {
		text, err := json.Marshal(value, rowOptions)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	fields := func(j *jobs.Job) any {
		return struct {
			RequestID, API                                   string
			Source                                           submission.Source
			Labels                                           map[string]string
			AudioSeconds, Priority                           float64
			State                                            jobs.State
			ErrorCode                                        string
			FirstSeen, SubmittedAt, LastObserved, FinishedAt time.Time
			DetectionWindow                                  time.Duration
			Statistics                                       *transcript.Statistics
			LastPoll                                         *jobs.Poll
		}{
			j.RequestID, j.API, j.Source, j.Labels, j.AudioSeconds, j.Priority, j.State, j.ErrorCode, j.FirstSeen.UTC(),
			j.SubmittedAt.Time(), j.LastObserved.UTC(), j.FinishedAt.UTC(), j.DetectionWindow, j.Statistics, j.LastPoll,
		}
	}
	s := j.Snapshot(at(52 * time.Hour))
	line("created", s.Totals.Created.UTC().Format(time.RFC3339Nano))
	line("counts", s.Counts)
	line("oldest unfinished", s.OldestUnfinished)
	line("with series", strings.Join(ids(s.Jobs), ", "))
	all, _, _ := j.List(jobs.Filter{}, "", 1000)
	for _, job := range all {
		line("job", asJSON(fields(job)))
		if timings := j.Timings(job.RequestID); timings != nil {
			line("timings", timings)
		}
	}
	values := series(s.Totals)
	for _, total := range jobs.Declared() {
		for labels := range s.Totals.Series(total) {
			if value := values[fmt.Sprint(total.Name, labels)]; value != "0" {
				line("total", total.Name, labels, value)
			}
		}
	}
	for _, c := range j.StateChanges(1000) {
		line("state change", c.Number, c.At.UTC().Format(time.RFC3339Nano), asJSON(fields(&c.Job)), c.Timings)
	}
	line("requests", j.Requests())
	line("learnt", string(j.Learnt()))
	return b.String()
}

// The questions in docs/storage.md find an answer in the tables.
func TestQuestions(t *testing.T) {
	page, err := os.ReadFile("../../docs/storage.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	j, _ := openSQLite(t, dir, options(), time.Now())
	register(t, j, time.Now(), "running", "failed", "completed")
	observe(t, j, jobs.Observation{RequestID: "failed", At: time.Now(), State: jobs.Failed, ErrorCode: "code"})
	observe(t, j, jobs.Observation{RequestID: "completed", At: time.Now(), State: jobs.Completed, Result: words(2)})
	if err := j.Reserve(time.Now(), 1); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "register.db")) // beside the connection of the engine
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ofSQLite, _, _ := strings.Cut(string(page), "\n## PostgreSQL\n")
	questions := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(ofSQLite, -1)
	if len(questions) < 5 {
		t.Fatalf("%d questions", len(questions))
	}
	for _, q := range questions {
		rows, err := db.Query(q[1])
		if err != nil {
			t.Errorf("%s: %v", q[1], err)
			continue
		}
		if !rows.Next() {
			t.Errorf("%s: no answer, %v", q[1], rows.Err())
		}
		rows.Close()
	}
}

// The log that a killed process leaves, cut or garbled at every frame, has a consistent
// state: the totals are exactly those of the jobs in it.
func TestLogDamagedAtEveryFrame(t *testing.T) {
	dir := t.TempDir()
	j, _ := openSQLite(t, dir, options(), start)
	random := rand.New(rand.NewPCG(3, 4))
	rounds := longtest.Size(2, 24)
	for i := range rounds {
		id := fmt.Sprint(i)
		register(t, j, start, id, id+"-b")
		if err := j.Reserve(start, 1); err != nil {
			t.Fatal(err)
		}
		end := polled(id, jobs.Completed, start)
		end.Result = result(random)
		observe(t, j, end)
		observe(t, j, hooked(id+"-c", jobs.Failed, start))
	}
	read := func(part string) []byte {
		content, err := os.ReadFile(filepath.Join(dir, "register.db"+part))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	main, log := read(""), read("-wal") // as they are if the process is killed now
	const header, frame = 32, 24 + 4096
	frames := (len(log) - header) / frame
	copied := t.TempDir()
	states := make(map[string]bool)
	check := func(what string, log []byte) {
		t.Helper()
		for part, content := range map[string][]byte{"": main, "-wal": log} {
			if err := os.WriteFile(filepath.Join(copied, "register.db"+part), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		j, closed := openSQLite(t, copied, options(), start)
		defer closed()
		s := j.Snapshot(start)
		words := 0.
		for _, j := range s.Jobs {
			if j.Statistics != nil {
				words += j.Statistics.Words
			}
		}
		adopted := s.Totals.Counter(jobs.WebhookRequests, "adopted")
		for name, pair := range map[string][2]float64{
			"jobs":      {s.Totals.Counter(jobs.JobsRegistered), float64(len(s.Jobs))},
			"completed": {s.Totals.Counter(jobs.JobsFinished, "completed"), float64(s.Counts[jobs.Completed])},
			"failed":    {s.Totals.Counter(jobs.JobsFinished, "failed"), float64(s.Counts[jobs.Failed])},
			"requests":  {s.Totals.Counter(jobs.APIRequests), float64(s.Counts[jobs.Completed])},
			"adopted":   {s.Totals.Counter(jobs.JobsRegistered, "webhook"), adopted},
			"words":     {s.Totals.Counter(jobs.Words), words},
			"corrupt":   {s.Totals.Counter(jobs.CorruptRecords), 0},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: %s: the totals have %v, the jobs %v", what, name, pair[0], pair[1])
			}
		}
		states[fmt.Sprint(s.Counts)] = true
	}
	for n := range frames {
		at := header + n*frame
		check(fmt.Sprintf("cut at frame %d", n), log[:at])
		check(fmt.Sprintf("cut in frame %d", n), log[:at+1+random.IntN(frame-1)])
		garbled := bytes.Clone(log)
		garbled[at+random.IntN(frame)] ^= byte(1 + random.IntN(255))
		check(fmt.Sprintf("frame %d garbled", n), garbled)
	}
	t.Logf("%d frames, %d states", frames, len(states))
	if frames < 10*rounds || len(states) < 3*rounds {
		t.Errorf("%d frames, %d states: this test is about more", frames, len(states))
	}
}

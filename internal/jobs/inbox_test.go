package jobs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A writer is what an owner and a replica that is not the owner have in common.
type writer interface {
	Register(submission.Source, []submission.Job, bool, time.Time) (registered, known int, err error)
	Remove(requestID string) (was bool, err error)
	Observe(jobs.Observation) (jobs.Effect, error)
	Delivered(numbers []uint64) error
	CountWebhook(jobs.WebhookOutcome)
	CountSourceErrors(from submission.Source, n int)
}

func receive(t testing.TB, j *jobs.Jobs) {
	t.Helper()
	if err := j.Receive(); err != nil {
		t.Error(err)
	}
}

// view opens a view of what a store has.
func view(t testing.TB, m store.Account, o jobs.Options, now time.Time) *jobs.Jobs {
	t.Helper()
	v, err := jobs.OpenView(context.Background(), m, o, now)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// writeAtRandom writes something.
func writeAtRandom(t *testing.T, w writer, random *rand.Rand) {
	t.Helper()
	now, id := time.Now(), fmt.Sprint(random.IntN(40))
	var err error
	switch random.IntN(10) {
	case 0, 1, 2:
		_, _, err = w.Register(submission.Sources[random.IntN(5)], []submission.Job{{
			RequestID: id, API: "asr", Labels: map[string]string{"team": "x", "other": "y"}, AudioSeconds: 3,
			Priority: float64(random.IntN(3)), SubmittedAt: now.Add(-time.Minute),
		}, {RequestID: id + "b"}}, random.IntN(2) == 0, now)
	case 3:
		_, err = w.Remove(id)
	case 4:
		w.CountWebhook(jobs.WebhookOutcome(4 + random.IntN(4)))
	case 5:
		w.CountSourceErrors(submission.Sources[random.IntN(5)], 1+random.IntN(3))
	case 6:
		// They begin when the jobs are opened: at the beginning of the test, whose time is virtual.
		first := uint64(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
		err = w.Delivered([]uint64{first + uint64(random.IntN(100)), first + uint64(random.IntN(100))})
	default:
		o := hooked(id, jobs.Completed, now)
		o.Adopt = random.IntN(3) > 0
		switch random.IntN(4) {
		case 0:
			o.State, o.ErrorCode = jobs.Failed, "code"
		case 1:
			o.Result = result(random)
		case 2:
			o.Result = fullResult()
		}
		_, err = w.Observe(o)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var longNumber = regexp.MustCompile(`\d\.\d{10,}`)

// rounded is a text with numbers that do not depend on the order in which they were added up.
func rounded(text string) string {
	return longNumber.ReplaceAllStringFunc(text, func(number string) string {
		n, err := strconv.ParseFloat(number, 64)
		if err != nil {
			panic(err)
		}
		return strconv.FormatFloat(n, 'g', 9, 64)
	})
}

// What is written at a replica that is not the owner has the effect that it has at the owner, and a view has it before
// the owner has.
func TestInboxIsAsGoodAsTheOwner(t *testing.T) {
	for name, o := range map[string]jobs.Options{
		"exporter": options(maxJobSeries(20), func(o *jobs.Options) { o.KeepTimings = true }),
		"telegraf": options(maxJobSeries(20), keepStateChanges(30)),
		"both":     options(keepStateChanges(1000), func(o *jobs.Options) { o.KeepTimings = true }),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told, sent := newMemory(t), newMemory(t)
				begin := time.Now()
				a, b := openAt(t, told, o, begin), openAt(t, sent, o, begin)
				followed := [2]*subscriber{subscribe(a), subscribe(b)}
				register(t, a, begin, "first") // from then on the totals count
				register(t, b, begin, "first")
				observe(t, a, hooked("first", jobs.Completed, begin)) // from then on a view knows the numbers
				observe(t, b, hooked("first", jobs.Completed, begin))
				remote := jobs.NewRemote("account", sent, o)
				for round := range uint64(longtest.Size(10, 200)) {
					one, other := rand.New(rand.NewPCG(round, 1)), rand.New(rand.NewPCG(round, 1))
					for range 30 {
						writeAtRandom(t, a, one)
						writeAtRandom(t, remote, other)
						time.Sleep(time.Duration(one.IntN(2000)+0*other.IntN(2000)) * time.Millisecond)
					}
					time.Sleep(2 * time.Second) // counts are sent
					sent.part = 1 + one.IntN(60)
					v := view(t, sent, o, time.Now())
					flush(t, a)
					receive(t, b)
					if len(sent.inbox) > 0 {
						t.Fatalf("%d messages are left", len(sent.inbox))
					}
					want := rounded(shown(t, a))
					for name, j := range map[string]*jobs.Jobs{
						"the owner": b, "the view": v, "a restart": openAt(t, sent, o, time.Now()),
					} {
						if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(rounded(shown(t, j)), "\n")); diff != "" {
							t.Fatalf("round %d: %s (-told +received):\n%s", round, name, diff)
						}
					}
					if diff := cmp.Diff(followed[0].log, followed[1].log); diff != "" {
						t.Fatalf("round %d: events (-told +received):\n%s", round, diff)
					}
				}
				followed[1].check(t, "at the end")
				s := b.Snapshot(time.Now())
				for _, outcome := range []string{"accepted", "duplicate", "adopted", "unknown_job", "malformed", "store_error"} {
					if n := s.Totals.Counter(jobs.WebhookRequests, outcome); n < 3 {
						t.Errorf("%v webhooks are %s: this test is about more", n, outcome)
					}
				}
				if err := remote.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The owner applies what was sent before what it is told, in one commit if that is possible. Much takes several.
func TestInboxComesFirst(t *testing.T) {
	for part, commits := range map[int]int{0: 1, 3: 1, 2: 2, 1: 3} {
		m := newMemory(t)
		j := open(t, m, options())
		flush(t, j)
		remote := jobs.NewRemote("account", m, options())
		for _, step := range []func() error{
			func() error {
				_, _, err := remote.Register(submission.File, submissions("a"), false, start)
				return err
			},
			func() error { _, err := remote.Remove("a"); return err },
			func() error {
				_, _, err := remote.Register(submission.HTTP, submissions("a"), false, start)
				return err
			},
		} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		m.part = part
		before := m.commits()
		remove(t, j, start, "a")
		if n := m.commits() - before; n != commits || len(m.inbox) != 0 {
			t.Errorf("in parts of %d: %d commits, want %d; %d messages are left", part, n, commits, len(m.inbox))
		}
		totals := j.Snapshot(start).Totals
		if got := state(t, j, "a"); got != "unknown" || totals.Counter(jobs.JobsRegistered) != 2 {
			t.Errorf("in parts of %d: the job is %s, counters %v", part, got, counters(totals))
		}
		// Nothing is committed for an empty inbox.
		before = m.commits()
		receive(t, j)
		if n := m.commits() - before; n != 0 {
			t.Errorf("%d commits for an empty inbox", n)
		}
	}
}

// What cannot be committed stays in the inbox, and is not counted.
func TestInboxThatCannotBeCommitted(t *testing.T) {
	m := newMemory(t)
	j := open(t, m, options())
	remote := jobs.NewRemote("account", m, options())
	if _, err := remote.Observe(hooked("a", jobs.Completed, start)); err != nil {
		t.Fatal(err)
	}
	for _, outcome := range []error{errFull, errUnknown, store.ErrNotOwner} {
		m.onCommit = failing(outcome)
		if _, _, err := j.Register(submission.HTTP, submissions("b"), false, start); !errors.Is(err, outcome) {
			t.Errorf("%v, want %v", err, outcome)
		}
		n, is := j.Snapshot(start).Totals.Sum(jobs.WebhookRequests), state(t, j, "a")
		if n != 0 || len(m.inbox) != 1 || is != "unknown" {
			t.Errorf("after %v: %v webhooks counted, %d messages, the job is %s", outcome, n, len(m.inbox), is)
		}
		m.onCommit = nil
	}
	receive(t, j)
	want := map[string]float64{
		"webhook_requests_total": 1, "jobs_registered_total": 1, "jobs_finished_total": 1, "store_errors_total": 3,
	}
	if diff := cmp.Diff(want, counters(j.Snapshot(start).Totals)); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

// A job whose age is unknown where it was registered is so at the owner, and the owner decides which labels it keeps.
func TestRegistrationIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		j := openAt(t, m, options(), time.Now())
		var events []jobs.Event
		j.Subscribe(func(e []jobs.Event) { events = append(events, e...) })
		o := options(func(o *jobs.Options) { o.JobLabels = []string{"other"} })
		remote := jobs.NewRemote("account", m, o)
		given := submission.Job{
			RequestID: "a", API: "asr", Labels: map[string]string{"team": "x", "other": "y"}, AudioSeconds: 2.5, Priority: 7,
			SubmittedAt: time.Now().Add(-time.Minute),
		}
		seen := time.Now().Add(1)
		time.Sleep(time.Second)
		if _, _, err := remote.Register(submission.File, []submission.Job{given}, true, seen); err != nil {
			t.Fatal(err)
		}
		ahead := submissions("of a clock that is ahead")
		if _, _, err := remote.Register(submission.URL, ahead, false, seen.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		receive(t, j)
		a, _ := j.Job("a")
		want := jobs.Job{
			RequestID: "a", AudioSeconds: 2.5,
			Origin: &jobs.Origin{
				API: "asr", Source: submission.File, Priority: 7, Labels: map[string]string{"team": "x"},
			},
			FirstSeen: seen, SubmittedAt: jobs.InstantOf(given.SubmittedAt),
			Observed: new(jobs.Observed),
		}
		if diff := cmp.Diff(want, *a, cmp.Comparer(time.Time.Equal), cmp.FilterPath(func(p cmp.Path) bool {
			return strings.HasPrefix(p.Last().String(), ".Sequence") || p.Last().String() == ".missingSince" ||
				p.Last().String() == ".unreadable"
		}, cmp.Ignore())); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if b, _ := j.Job("of a clock that is ahead"); !b.FirstSeen.Equal(time.Now()) {
			t.Errorf("a job of a replica whose clock is ahead was first seen at %s", b.FirstSeen)
		}
		if len(events) != 2 || !events[0].AgeUnknown || events[1].AgeUnknown || !events[0].At.Equal(time.Now()) {
			t.Errorf("events %+v", events)
		}
	})
}

// badBodies are messages that cannot be read, or cannot be meant.
var badBodies = map[string][]string{
	"register": {
		`{"at":"2026-11-23T18:00:00Z"}`, `{"source":"http"}`, `{"at":"2026-11-23T18:00:00Z","source":"fax"}`,
		`{"at":"yesterday","source":"http"}`, `{"at":"2026-11-23T18:00:00Z","source":"http","priority":-1}`,
		`{"at":"2026-11-23T18:00:00Z","source":"http","audio_seconds":1e308}`,
		`{"at":"2026-11-23T18:00:00Z","source":"http","audio_seconds":1e309}`,
		`{"at":"2026-11-23T18:00:00Z","source":"http","audio_seconds":"1"}`,
		`{"at":"2026-11-23T18:00:00Z","source":"http","labels":{"team":5}}`,
		`{"at":"2026-11-23T18:00:00Z","source":"http","source":"http"}`,
		`{"at":"2026-11-23T18:00:00Z","source":"http"}{}`, `{"at":"2026-11-23T18:00:00Z","source":"http"`,
	},
	"webhook": {
		`{"at":"2026-11-23T18:00:00Z"}`, `{"state":"completed"}`, `{"at":"2026-11-23T18:00:00Z","state":"running"}`,
		`{"at":"2026-11-23T18:00:00Z","state":"lost"}`, `{"at":"2026-11-23T18:00:00Z","state":1}`,
		`{"at":"2026-11-23T18:00:00Z","state":"completed","statistics":{"words":-1}}`,
		`{"at":"2026-11-23T18:00:00Z","state":"completed","statistics":{"words":"many"}}`,
		`{"at":"2026-11-23T18:00:00Z","state":"completed","statistics":{"anomalies":{"out_of_order":-1}}}`,
		`{"at":"2026-11-23T18:00:00Z","state":"completed","statistics":{},"word_gap_seconds":{"sum":1}}`,
		`{"at":"2026-11-23T18:00:00Z","state":"completed","statistics":{},"word_gap_seconds":` +
			`{"sum":-1,"bounds":[],"counts":[1],"native":{"counts":[1]}}}`,
		`{"at":"2026-11-23T18:00:00Z","state":"completed","statistics":{},"word_gap_seconds":` +
			`{"sum":1,"bounds":[],"counts":[1],"native":{"offset":1000000000,"counts":[1]}}}`,
		`{"at":"2026-11-23T18:00:00Z","state":"completed","statistics":{},"timings":[{"start":2,"end":1}]}`,
		`{"at":"2026-11-23T18:00:00Z","state":"completed","statistics":{},"timings":[{"start":1,"end":2,"speaker":99}]}`,
		`{"at":"2026-11-23T18:00:00Z","state":"completed","statistics":{},"timings":[{"start":1,"end":1e300}]}`,
		`{"at":"2026-11-23T18:00:00Z","state":"completed","statistics":{},"timings":[{"confidence":1.5}]}`,
		`{"at":"2026-11-23T18:00:00Z","state":"completed","statistics":{},"packed_timings":"AQ"}`,
		`{"at":"2026-11-23T18:00:00Z","state":"completed","statistics":{},"packed_timings":"/w=="}`,
	},
	"counts": {
		`{"store_errors_total":-1}`, `{"store_errors_total":0.5}`, `{"webhook_requests_total":{"malformed":1e30}}`,
		`{"source_errors_total":[1]}`,
	},
	"delivered": {`{"numbers":[-1]}`, `{"numbers":1}`, `{"numbers":["1"]}`},
	"emitted":   {`{"numbers":[-1]}`, `{"numbers":1}`, `{"numbers":["1"]}`},
	"promote":   {`{}`}, // of a later version
	"":          {`{}`},
}

// goodBodies are messages that can be read. Names that are not known are ignored.
var goodBodies = map[string][]string{
	"register": {
		`{"at":"2026-11-23T18:00:00Z","source":"http","colour":"red"}`,
		`{"at":"2026-11-23T18:00:00Z","source":"http","audio_seconds":0.001}`, // valid in an earlier version
	},
	"remove": {``, `{}`, `{"reason":"unknown"}`},
	"webhook": {
		`{"at":"2026-11-23T18:00:00.123456789Z","state":"completed","statistics":{"words":3},"word_gap_seconds":` +
			`{"sum":2,"bounds":[3],"counts":[2,0],"native":{"schema":3,"offset":0,"counts":[2]}},"packed_timings":"AQooYwE="}`,
		`{"at":"2026-11-23T18:00:00Z","state":"failed","error_code":"x","adopt":true}`,
	},
	"counts":    {`{}`, `{"webhook_requests_total":{"malformed":2,"later":7},"source_errors_total":{"fax":1}}`},
	"delivered": {fmt.Sprintf(`{"numbers":[%[1]d,%[1]d,77]}`, numbered(1)[0])},
	"emitted":   {fmt.Sprintf(`{"numbers":[%[1]d,%[1]d,77]}`, numbered(1)[0])},
}

// A message that cannot be read is deleted and counted, and changes nothing else: however bad its body is.
func TestBadMessages(t *testing.T) {
	o := options(keepStateChanges(10), func(o *jobs.Options) { o.KeepTimings = true })
	prepare := func(t *testing.T) (*memory, *jobs.Jobs) {
		m := newMemory(t)
		j := open(t, m, o)
		register(t, j, start, "a", "b")
		observe(t, j, polled("a", jobs.Running, start))
		flush(t, j)
		return m, j
	}
	corrupt := func(j *jobs.Jobs) float64 { return j.Snapshot(start).Totals.Counter(jobs.CorruptRecords) }
	check := func(t *testing.T, message store.Message, bad bool) {
		t.Helper()
		m, j := prepare(t)
		before := shown(t, j)
		m.send([]store.Message{message, {Kind: "remove", RequestID: "b"}})
		v := view(t, m, o, time.Now())
		receive(t, j)
		for name, j := range map[string]*jobs.Jobs{"owner": j, "view": v} {
			if got := corrupt(j); (got == 1) != bad || state(t, j, "b") != "unknown" || len(m.inbox) != 0 {
				t.Errorf("%s %q at the %s: %v are corrupt; the next message is at %s", message.Kind, message.Body, name, got,
					state(t, j, "b"))
			}
		}
		if !bad {
			return
		}
		_, untouched := prepare(t)
		remove(t, untouched, start, "b")
		want := strings.Split(shown(t, untouched), "\n")
		got := slices.DeleteFunc(strings.Split(shown(t, j), "\n"), func(line string) bool {
			return strings.HasPrefix(line, "total store_corrupt_records_total")
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %q (-want +got):\n%s\nbefore:\n%s", message.Kind, message.Body, diff, before)
		}
	}
	of := func(kind, id, body string) store.Message {
		return store.Message{Kind: kind, RequestID: id, Body: jsontext.Value(body)}
	}
	for kind, bodies := range goodBodies {
		for _, body := range bodies {
			check(t, of(kind, "a", body), false)
		}
		if kind != "counts" && kind != "delivered" && kind != "emitted" {
			check(t, of(kind, "", bodies[0]), true)
		}
	}
	for kind, bodies := range badBodies {
		for _, body := range bodies {
			check(t, of(kind, "a", body), true)
		}
		if kind == "remove" {
			continue
		}
		for _, body := range []string{"", " ", "x", "5", `"x"`, "[]", "{", "\x00", "{\xff}", strings.Repeat("[", 100_000)} {
			check(t, of(kind, "a", body), true)
		}
	}

	// Bodies that are damaged at random are applied or not, but never in part.
	random := rand.New(rand.NewPCG(6, 7))
	for range longtest.Size(1000, 50_000) {
		all := goodBodies
		if random.IntN(2) == 0 {
			all = badBodies
		}
		kind := []string{"register", "webhook", "counts", "delivered", "emitted"}[random.IntN(5)]
		body := []byte(all[kind][random.IntN(len(all[kind]))])
		for range 1 + random.IntN(3) {
			i := random.IntN(len(body))
			switch random.IntN(3) {
			case 0:
				body[i] = byte(random.IntN(256))
			case 1:
				body = slices.Delete(body, i, min(i+1+random.IntN(5), len(body)))
			default:
				body = slices.Insert(body, i, []byte(`0-"{}[]:,e9`)[random.IntN(11)])
			}
			if len(body) == 0 {
				break
			}
		}
		m, j := prepare(t)
		before := j.Snapshot(start).Totals
		m.send([]store.Message{of(kind, "a", string(body))})
		receive(t, j)
		after := j.Snapshot(start)
		wantNotLower(t, before, after.Totals)
		same(t, "opened again", after, openAt(t, m, o, time.Now()).Snapshot(start))
		if t.Failed() || len(m.inbox) != 0 {
			t.Fatalf("%s %q; %d messages", kind, body, len(m.inbox))
		}
	}
}

// A view writes nothing, and several readers can share it.
func TestViewIsForReading(t *testing.T) {
	m := newMemory(t)
	o := options(keepStateChanges(10), func(o *jobs.Options) { o.KeepTimings = true })
	j := open(t, m, o)
	register(t, j, start, "running", "ended")
	remote := jobs.NewRemote("account", m, o)
	end := hooked("ended", jobs.Completed, start)
	end.Result = fullResult()
	if _, err := remote.Observe(end); err != nil {
		t.Fatal(err)
	}
	m.onCommit = failing(store.ErrNotOwner)
	v := view(t, m, o, at(time.Minute))
	commits := m.commits()
	for name, write := range writes(v) {
		if err := write(); !errors.Is(err, jobs.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := m.commits() - commits; n != 0 || len(m.inbox) != 1 || v.Writable() != nil {
		t.Errorf("%d commits, %d messages, %v", n, len(m.inbox), v.Writable())
	}
	want := shown(t, v)
	if state(t, v, "ended") != "completed" || v.Timings("ended") == nil || len(v.StateChanges(10)) != 1 {
		t.Errorf("the view lacks the inbox:\n%s", want)
	}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for range 20 {
				if got := shown(t, v); got != want {
					t.Errorf("one reader sees\n%s\nand another\n%s", got, want)
				}
				v.Sent(at(time.Minute))
				v.Overview(start, 10)
				v.Learnt()
				for range v.Unfinished() {
				}
			}
		})
	}
	readers.Wait()
	m.onLoad = func() error { return errFull }
	if _, err := jobs.OpenView(t.Context(), m, o, start); !errors.Is(err, errFull) {
		t.Errorf("opened: %v", err)
	}
}

// everyMessage sends a message of each kind, with everything that it can have.
func everyMessage(t *testing.T, m *memory) {
	o := options(keepStateChanges(10))
	remote := jobs.NewRemote("account", m, o)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().Add(123456789).In(time.FixedZone("", 5*3600+1800))
	_, _, err := remote.Register(submission.HTTP, []submission.Job{{
		RequestID: "full", API: "asr", Labels: map[string]string{"team": "x", "site": `"Zürich"`},
		AudioSeconds: 61.5, Priority: 2.5, SubmittedAt: now.Add(-time.Minute),
	}, {RequestID: "words"}}, true, now)
	must(err)
	_, _, err = remote.Register(submission.File, submissions("bare", "removed"), false, now)
	must(err)
	_, err = remote.Remove("removed")
	must(err)
	words := jobs.Observation{
		RequestID: "words", At: now.Add(1500 * time.Millisecond), By: jobs.ByWebhook, State: jobs.Completed,
		Result: fullResult(),
	}
	_, err = remote.Observe(words)
	must(err)
	remote.SetOptions(options(func(o *jobs.Options) { o.KeepTimings = true }))
	words.RequestID = "full"
	_, err = remote.Observe(words)
	must(err)
	failed := hooked("adopted", jobs.Failed, now.Add(3*time.Second))
	failed.ErrorCode = "api_error"
	_, err = remote.Observe(failed)
	must(err)
	must(remote.Delivered([]uint64{1, 7}))
	must(remote.Emitted([]uint64{2, 8}))
	remote.CountWebhook(jobs.WebhookUnauthorized)
	remote.CountWebhook(jobs.WebhookMalformed)
	remote.CountSourceErrors(submission.File, 3)
	remote.CountStoreErrors(2)
	must(remote.Close())
}

// The messages of this version are those in testdata, to the byte.
func TestMessageFormat(t *testing.T) {
	m := newMemory(t)
	synctest.Test(t, func(t *testing.T) { everyMessage(t, m) })
	var text bytes.Buffer
	for _, message := range m.inbox {
		message.Number = 0
		row, err := json.Marshal(message, rowOptions)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(row, '\n'))
	}
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", "messages.txt"), text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "messages.txt", text.String())
}

// The messages in docs/storage.md can be read.
func TestDocumentedMessages(t *testing.T) {
	page, err := os.ReadFile("../../docs/storage.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "### Messages")
	section, _, _ = strings.Cut(section, "\n### ")
	m := newMemory(t)
	kinds := make(map[string]bool)
	documented := regexp.MustCompile("(?s)\\*\\*`([a-z]+)`\\*\\*.*?(?:```json\n(.*?)```|`({.*?})`|no body)")
	for _, match := range documented.FindAllStringSubmatch(section, -1) {
		kinds[match[1]] = true
		m.send([]store.Message{{Kind: match[1], RequestID: match[1], Body: jsontext.Value(match[2] + match[3])}})
	}
	j := open(t, m, options())
	receive(t, j)
	want := map[string]float64{
		"jobs_registered_total": 2, "jobs_finished_total": 1, "words_total": 3, "webhook_requests_total": 4,
		"source_errors_total": 3, "store_errors_total": 2,
	}
	if diff := cmp.Diff(want, counters(j.Snapshot(start).Totals)); diff != "" || len(kinds) != 5 {
		t.Errorf("kinds %v, counters (-want +got):\n%s", kinds, diff)
	}
}

// An owner of this version understands the messages of earlier ones.
func TestReceiveEveryFormat(t *testing.T) {
	text, err := os.ReadFile("testdata/messages.txt")
	if err != nil {
		t.Fatal(err)
	}
	m := newMemory(t)
	for line := range strings.Lines(string(text)) {
		var message store.Message
		if err := json.Unmarshal([]byte(line), &message, rowOptions); err != nil {
			t.Fatal(err)
		}
		m.send([]store.Message{message})
	}
	var got string
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Minute)
		o := options(keepStateChanges(10), func(o *jobs.Options) { o.KeepTimings, o.JobLabels = true, []string{"site"} })
		receive(t, openAt(t, m, o, time.Now()))
		got = shown(t, openAt(t, m, o, time.Now()))
	})
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", "messages.shown"), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "messages.shown", got)
}

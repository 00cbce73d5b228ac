// Package storetest is the suite that every storage engine must pass.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// Start is the time of everything that Full returns.
var Start = time.Date(2026, 11, 23, 18, 0, 0, 123456789, time.UTC)

// Full returns a batch with a row of each kind in which everything is known, and one
// in which only the key is.
func Full() *store.Batch {
	return &store.Batch{
		Jobs: []store.Job{{
			RequestID: "full", Sequence: 1, API: "asr", Source: "http", State: "failed", ErrorCode: "api_error",
			Labels: map[string]string{"team": "x", "site": `"Zürich"`}, AudioSeconds: 1.5, Priority: 2,
			FirstSeen: Start, SubmittedAt: Start.Add(-time.Hour), LastObserved: Start.Add(time.Hour),
			FinishedAt: Start.Add(2 * time.Hour), DetectionWindow: 12_119_107_264,
			Statistics: jsontext.Value(`{"words":3,"anomalies":{"out_of_order":1}}`),
		}, {RequestID: "bare", Sequence: 2}},
		Departed: []store.DepartedBlock{
			{Number: 7, Departures: []store.Departure{store.DepartureOf("removed", true), 1 << 63}},
			{Number: 8, Departures: []store.Departure{store.DepartureOf("gone", false)}}, {Number: 9},
		},
		Totals: []store.Total{
			{Name: "created", Labels: "{}", Value: jsontext.Value(`"2026-11-23T18:00:00Z"`)},
			{Name: "jobs_finished_total", Labels: `{"result":"completed"}`, Value: jsontext.Value("1")},
			{Name: "jobs_finished_total", Labels: `{"result":"failed"}`, Value: jsontext.Value("2")},
			{Name: "speech_seconds_total", Labels: "{}", Value: jsontext.Value("1.25")},
			{Name: "transcript_speakers", Labels: "{}", Value: jsontext.Value(
				`{"sum":2,"bounds":[1,2],"counts":[0,1,0],` +
					`"native":{"schema":3,"zero_count":0,"offset":8,"counts":[1]},` +
					`"exemplars":[{"bound":2,"value":2,"request_id":"full","at":"2026-11-23T20:00:00Z"}]}`)},
		},
		Requests: []store.Requests{{Second: 1_795_456_800, Count: 1}, {Second: 1_795_456_801, Count: 30}},
		Learnt:   jsontext.Value(`{"version":1}`),
		Timings: []store.Timings{
			{RequestID: "empty", Packed: []byte{}}, {RequestID: "full", Packed: []byte{1, 0, 200, 1, 100, 1}},
		},
		StateChanges: []store.StateChange{
			{Number: 1, RequestID: "full", State: "running", At: Start, Job: jsontext.Value(`{"source":"http"}`)},
			{Number: 2, RequestID: "full", State: "failed", At: Start.Add(1), Job: jsontext.Value(`{"api":"asr"}`)},
			{Number: 3},
		},
	}
}

// stored returns what a batch leaves in an account that was empty.
func stored(b *store.Batch) *store.Contents {
	return &store.Contents{
		Jobs: b.Jobs, Departed: b.Departed, Totals: b.Totals, Requests: b.Requests, Learnt: b.Learnt,
		Timings: b.Timings, StateChanges: b.StateChanges,
	}
}

// Diff compares contents; the order of departures and state changes counts, and that of the jobs in got, that of others
// does not.
func Diff(want, got *store.Contents) string {
	inOrder := *want
	inOrder.Jobs = slices.SortedFunc(slices.Values(want.Jobs), func(a, b store.Job) int {
		return strings.Compare(a.RequestID, b.RequestID)
	})
	want = &inOrder
	if reflect.DeepEqual(want, got) { // cmp takes half a minute for a large batch
		return ""
	}
	byKey := func(less any) cmp.Option { return cmpopts.SortSlices(less) }
	return cmp.Diff(want, got, cmpopts.EquateEmpty(),
		byKey(func(a, b store.Total) bool { return a.Name+a.Labels < b.Name+b.Labels }),
		byKey(func(a, b store.Requests) bool { return a.Second < b.Second }),
		byKey(func(a, b store.Timings) bool { return a.RequestID < b.RequestID }))
}

// An opener opens the database of one test, again and again.
type opener struct {
	open   func() store.Engine
	engine store.Engine
}

func (o *opener) again(t *testing.T) {
	t.Helper()
	if err := o.engine.Close(); err != nil {
		t.Fatal(err)
	}
	o.engine = o.open()
}

func (o *opener) commit(t *testing.T, account string, b *store.Batch) {
	t.Helper()
	if err := o.engine.Account(account).Commit(b); err != nil {
		t.Fatal(err)
	}
}

func (o *opener) check(t *testing.T, account string, want *store.Contents) {
	t.Helper()
	got, err := o.engine.Account(account).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got.Now = time.Time{} // of the engine's clock
	if diff := Diff(want, got); diff != "" {
		t.Errorf("account %s (-want +loaded):\n%s", account, diff)
	}
}

// Run runs the suite. database makes an empty database for a test and returns a
// function that opens it; the suite closes an engine before it opens the next.
func Run(t *testing.T, database func(*testing.T) (open func() store.Engine)) {
	for name, test := range map[string]func(*testing.T, *opener){
		"every field":        everyField,
		"replace and delete": replaceAndDelete,
		"atomicity":          atomicity,
		"accounts apart":     accountsApart,
		"load again":         loadAgain,
		"empty batch":        emptyBatch,
		"large batch":        largeBatch,
		"odd text":           oddText,
		"numbers":            numbers,
		"order":              order,
		"canceled load":      canceledLoad,
		"compact":            compact,
		"accounts":           accounts,
		"senders":            senders,
		"inbox":              inbox,
	} {
		t.Run(name, func(t *testing.T) {
			o := &opener{open: database(t)}
			o.engine = o.open()
			defer func() {
				if err := o.engine.Close(); err != nil {
					t.Error(err)
				}
			}()
			o.check(t, "a", &store.Contents{})
			test(t, o)
		})
	}
}

// names checks the names of accounts that an engine returns.
func names(t *testing.T, list func(context.Context) ([]string, error), want ...string) {
	t.Helper()
	got, err := list(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func accounts(t *testing.T, o *opener) {
	names(t, o.engine.Accounts)
	full, want := reflect.ValueOf(Full()).Elem(), []string{}
	for i := range full.NumField() { // an account with one kind of rows each
		switch field := full.Type().Field(i); field.Name {
		case "RemovedJobs", "Forgotten", "Delivered", "Received", "Compact":
		default:
			b := new(store.Batch)
			reflect.ValueOf(b).Elem().Field(i).Set(full.Field(i))
			o.commit(t, field.Name, b)
			want = append(want, field.Name)
		}
	}
	o.commit(t, "empty", &store.Batch{RemovedJobs: []string{"x"}})
	slices.Sort(want)
	names(t, o.engine.Accounts, want...)
	o.again(t)
	names(t, o.engine.Accounts, want...)
	o.commit(t, "Jobs", &store.Batch{RemovedJobs: []string{"full", "bare"}})
	names(t, o.engine.Accounts, slices.DeleteFunc(want, func(name string) bool { return name == "Jobs" })...)
}

func senders(t *testing.T, o *opener) {
	check := func(want ...string) {
		t.Helper()
		names(t, o.engine.Senders, want...)
	}
	check()
	o.commit(t, "b", &store.Batch{Requests: []store.Requests{{Second: 1, Count: 1}, {Second: 2, Count: 1}}})
	o.commit(t, "a", &store.Batch{Requests: []store.Requests{{Second: 1, Count: 1}}})
	o.commit(t, "no requests", &store.Batch{RemovedJobs: []string{"x"}, Totals: Full().Totals})
	check("a", "b")
	o.commit(t, "b", &store.Batch{Requests: []store.Requests{{Second: 1}, {Second: 2}}})
	check("a")

	o.commit(t, "full", Full())
	sender := o.engine.Sender("full")
	got, err := sender.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got.Now = time.Time{}
	all := stored(Full())
	if diff := Diff(&store.Contents{Totals: all.Totals, Requests: all.Requests}, got); diff != "" {
		t.Errorf("a sender (-want +loaded):\n%s", diff)
	}
	if messages, more, err := sender.Inbox(); messages != nil || more || err != nil {
		t.Errorf("a sender has messages %v, %v, %v", messages, more, err)
	}
}

// An engine without other replicas has no messages. One that has takes them in order, and returns a part of them again
// and again, until a batch has received them.
func inbox(t *testing.T, o *opener) {
	type sender interface {
		Send(account string, messages []store.Message) ([]store.Whereabouts, error)
	}
	check := func(account string, more bool, want ...store.Message) []store.Message {
		t.Helper()
		got, isMore, err := o.engine.Account(account).Inbox()
		if err != nil {
			t.Fatal(err)
		}
		diff := cmp.Diff(want, got, cmpopts.IgnoreFields(store.Message{}, "Number"), cmpopts.EquateEmpty())
		if diff != "" || isMore != more {
			t.Errorf("account %s: more: %t; messages (-want +got):\n%s", account, isMore, diff)
		}
		return got
	}
	check("a", false)
	if _, has := o.engine.(sender); !has {
		return
	}
	send := func(account string, messages ...store.Message) {
		t.Helper()
		before, err := o.engine.(sender).Send(account, messages)
		if err != nil || len(before) != len(messages) {
			t.Fatalf("%d messages sent, got %d whereabouts: %v", len(messages), len(before), err)
		}
	}
	message := func(kind, id, body string) store.Message {
		return store.Message{Kind: kind, RequestID: id, Body: jsontext.Value(body)}
	}
	first, second := message("register", "x", `{"source":"http"}`), store.Message{Kind: "counts"}
	third := message("remove", "nul\x00 \xff", `{"text":"話\x00"}`)
	send("a", first, second)
	send("b", second)
	send("a", third, first)
	third.RequestID, third.Body = store.Clean(third.RequestID), jsontext.Value(store.Clean(string(third.Body)))
	got := check("a", false, first, second, third, first)
	for i := range got[1:] {
		if got[i].Number >= got[i+1].Number {
			t.Errorf("message %d has number %d, the next one %d", i, got[i].Number, got[i+1].Number)
		}
	}
	names(t, o.engine.Accounts, "a", "b")

	b := Full()
	b.Received = []store.Message{got[0], got[2], {Number: 1 << 40, Kind: "counts"}}
	o.commit(t, "a", b)
	o.commit(t, "b", &store.Batch{Received: []store.Message{got[1]}}) // of another account
	o.check(t, "a", stored(b))
	check("a", false, second, first)
	check("b", false, second)
	o.again(t)
	check("a", false, second, first)
	bad := &store.Batch{Received: []store.Message{got[1]}, Totals: []store.Total{{Name: "without a value", Labels: "{}"}}}
	if err := o.engine.Account("a").Commit(bad); err == nil {
		t.Error("a total without a value was stored")
	}
	check("a", false, second, first)

	// No part is large, but for one with one message.
	large := make([]store.Message, 0, 3_005)
	for i := range 5 {
		large = append(large, message("webhook", fmt.Sprint(i), `"`+strings.Repeat("x", 900_000)+`"`))
	}
	for i := range 3_000 {
		large = append(large, message("register", fmt.Sprint(i), ""))
	}
	large[2].Body = jsontext.Value(`"` + strings.Repeat("x", 5_000_000) + `"`)
	send("c", large...)
	for len(large) > 0 {
		part, more, err := o.engine.Account("c").Inbox()
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for i, m := range part {
			size += len(m.Body)
			if m.RequestID != large[i].RequestID || !bytes.Equal(m.Body, large[i].Body) {
				t.Fatalf("got a message about %q, want one about %q", m.RequestID, large[i].RequestID)
			}
		}
		if len(part) == 0 || len(part) > 2_000 || len(part) > 1 && size > 2_000_000 || more != (len(part) < len(large)) {
			t.Fatalf("%d of %d messages with %d bytes; more: %t", len(part), len(large), size, more)
		}
		large = large[len(part):]
		o.commit(t, "c", &store.Batch{Received: part})
	}
	check("c", false)
}

func everyField(t *testing.T, o *opener) {
	o.commit(t, "a", Full())
	o.check(t, "a", stored(Full()))
	o.again(t)
	o.check(t, "a", stored(Full()))
}

func replaceAndDelete(t *testing.T, o *opener) {
	o.commit(t, "a", Full())
	replaced := Full()
	replaced.Jobs = []store.Job{{RequestID: "full", Sequence: 7, State: "lost"}}
	replaced.RemovedJobs = []string{"bare", "never there"}
	replaced.Departed = []store.DepartedBlock{{Number: 7, Departures: []store.Departure{1, 2, 3}}}
	replaced.Forgotten = []uint64{8, 9, 99}
	replaced.Totals = []store.Total{
		{Name: "jobs_finished_total", Labels: `{"result":"failed"}`, Value: jsontext.Value("3")},
	}
	replaced.Requests = []store.Requests{{Second: 1_795_456_800}, {Second: 1_795_456_801, Count: 31}, {Second: 1}}
	replaced.Learnt = jsontext.Value(`{"version":2}`)
	replaced.Timings = []store.Timings{
		{RequestID: "empty"}, {RequestID: "full", Packed: []byte{1}}, {RequestID: "never there"},
	}
	replaced.StateChanges = []store.StateChange{{Number: 4, State: "lost"}}
	replaced.Delivered = []uint64{1, 3, 99}
	o.commit(t, "a", replaced)

	want := stored(Full())
	want.Jobs, want.Departed = replaced.Jobs, replaced.Departed
	want.Totals[2] = replaced.Totals[0]
	want.Requests, want.Learnt = replaced.Requests[1:2], replaced.Learnt
	want.Timings = replaced.Timings[1:2]
	want.StateChanges = []store.StateChange{want.StateChanges[1], replaced.StateChanges[0]}
	o.check(t, "a", want)
	o.again(t)
	o.check(t, "a", want)
}

// A batch of which one row cannot be stored is not stored at all.
func atomicity(t *testing.T, o *opener) {
	o.commit(t, "a", Full())
	bad := &store.Batch{
		Jobs: []store.Job{{RequestID: "new"}}, RemovedJobs: []string{"full"}, Delivered: []uint64{1},
		Totals: []store.Total{{Name: "without a value", Labels: "{}"}}, StateChanges: []store.StateChange{{Number: 9}},
	}
	if err := o.engine.Account("a").Commit(bad); err == nil {
		t.Error("a total without a value was stored")
	}
	o.check(t, "a", stored(Full()))
	o.commit(t, "a", &store.Batch{RemovedJobs: []string{"bare"}})
	want := stored(Full())
	want.Jobs = want.Jobs[:1]
	o.again(t)
	o.check(t, "a", want)
}

func accountsApart(t *testing.T, o *opener) {
	o.commit(t, "a", Full())
	o.commit(t, "b", Full())
	o.commit(t, "b", &store.Batch{
		RemovedJobs: []string{"full", "bare"}, Forgotten: []uint64{7, 8, 9}, Learnt: jsontext.Value(`2`),
		Requests: []store.Requests{{Second: 1_795_456_800}, {Second: 1_795_456_801}},
		Timings:  []store.Timings{{RequestID: "full"}, {RequestID: "empty"}}, Delivered: []uint64{1, 2, 3},
	})
	ofB := &store.Contents{Totals: Full().Totals, Learnt: jsontext.Value(`2`)}
	o.check(t, "a", stored(Full()))
	o.check(t, "b", ofB)
	o.check(t, "c", &store.Contents{})
	o.again(t)
	o.check(t, "b", ofB)
	o.check(t, "a", stored(Full()))
}

// Load returns what was committed last, also by another value of the same account.
func loadAgain(t *testing.T, o *opener) {
	o.commit(t, "a", Full())
	o.commit(t, "b", Full())
	o.again(t)
	o.commit(t, "a", &store.Batch{RemovedJobs: []string{"full"}})
	want := stored(Full())
	want.Jobs = want.Jobs[1:]
	o.check(t, "a", want)
	o.commit(t, "a", &store.Batch{Learnt: jsontext.Value(`3`)})
	want.Learnt = jsontext.Value(`3`)
	o.check(t, "a", want)
	o.check(t, "a", want)
	o.check(t, "b", stored(Full()))
}

func emptyBatch(t *testing.T, o *opener) {
	if !new(store.Batch).Empty() || (&store.Batch{Compact: true}).Empty() ||
		(&store.Batch{Delivered: []uint64{1}}).Empty() {
		t.Error("an empty batch is one without anything")
	}
	o.commit(t, "a", new(store.Batch))
	o.check(t, "a", &store.Contents{})
}

func largeBatch(t *testing.T, o *opener) {
	const jobs = 5_000
	before := o.engine.Account("a").Size()
	b := new(store.Batch)
	for i := range jobs {
		id := fmt.Sprintf("%020d", i)
		b.Jobs = append(b.Jobs, store.Job{RequestID: id, Sequence: uint64(i), State: "pending", FirstSeen: Start})
	}
	b.Learnt = jsontext.Value(`"` + strings.Repeat("x", 1<<20) + `"`)
	o.commit(t, "a", b)
	if after := o.engine.Account("a").Size(); after < before+jobs*20 {
		t.Errorf("the size is %d bytes, and was %d", after, before)
	}
	o.check(t, "a", stored(b))
	o.again(t)
	o.check(t, "a", stored(b))
}

// Text comes back as store.Clean has it, whatever it is.
func oddText(t *testing.T, o *opener) {
	const account = `a'";-- 話` + "\x00\xff"
	b, want := new(store.Batch), new(store.Contents)
	texts := []string{
		`' " ; -- \ %`, "話 ü 🎧", "line\nand\ttab", "nul\x00behind", "latin\xfc", "\xff", " ", "NULL", "1",
	}
	for i, s := range texts {
		clean := store.Clean(s)
		object := func(s string) jsontext.Value {
			return jsontext.Value(`{"text":"` + strings.ReplaceAll(s, `"`, `\"`) + `"}`)
		}
		job := func(s string) store.Job {
			return store.Job{
				RequestID: "job " + s, Sequence: uint64(i), API: s, ErrorCode: s,
				Labels: map[string]string{s: s}, Statistics: object(s),
			}
		}
		b.Jobs = append(b.Jobs, job(s))
		want.Jobs = append(want.Jobs, job(clean))
		b.Timings = append(b.Timings, store.Timings{RequestID: s, Packed: []byte(s)})
		want.Timings = append(want.Timings, store.Timings{RequestID: clean, Packed: []byte(s)})
		b.StateChanges = append(b.StateChanges, store.StateChange{Number: uint64(i), RequestID: s, Job: object(s)})
		want.StateChanges = append(want.StateChanges,
			store.StateChange{Number: uint64(i), RequestID: clean, Job: object(clean)})
	}
	o.commit(t, account, b)
	o.check(t, account, want)
	o.again(t)
	o.check(t, account, want)
	// Of two keys that are one when they are clean, the last counts.
	same := &store.Batch{
		Jobs: []store.Job{{RequestID: "x", Sequence: 3}, {RequestID: "same\x00"}, {RequestID: "same\xff", Sequence: 4}},
		Totals: []store.Total{
			{Name: "n\x00", Labels: "{}", Value: jsontext.Value("1")}, {Name: "n\xff", Labels: "{}", Value: jsontext.Value("2")},
		},
		Timings: []store.Timings{{RequestID: "same\x00", Packed: []byte{1}}, {RequestID: "same\xff", Packed: []byte{2}}},
	}
	o.commit(t, "same", same)
	o.check(t, "same", &store.Contents{
		Jobs:    []store.Job{{RequestID: "same\uFFFD", Sequence: 4}, {RequestID: "x", Sequence: 3}},
		Totals:  []store.Total{{Name: "n\uFFFD", Labels: "{}", Value: jsontext.Value("2")}},
		Timings: []store.Timings{{RequestID: "same\uFFFD", Packed: []byte{2}}},
	})
	for i := range b.Jobs {
		o.commit(t, account, &store.Batch{RemovedJobs: []string{b.Jobs[i].RequestID}})
	}
	want.Jobs = nil
	o.check(t, account, want)
}

func numbers(t *testing.T, o *opener) {
	b := &store.Batch{Jobs: []store.Job{
		{RequestID: "none", Sequence: 1, AudioSeconds: math.NaN(), Priority: math.Copysign(0, -1), DetectionWindow: 5},
		{RequestID: "small", Sequence: 2, AudioSeconds: 5e-324, Priority: -1, FinishedAt: Start},
		{RequestID: "large", Sequence: math.MaxInt64, AudioSeconds: math.MaxFloat64, FinishedAt: Start,
			DetectionWindow: 1 << 52},
	}, Requests: []store.Requests{{Second: 0, Count: 1}, {Second: -1, Count: math.MaxInt32}}}
	want := stored(b)
	want.Jobs = append([]store.Job{{RequestID: "none", Sequence: 1}}, want.Jobs[1:]...)
	o.commit(t, "a", b)
	o.check(t, "a", want)
	o.again(t)
	o.check(t, "a", want)
}

func order(t *testing.T, o *opener) {
	b, want := new(store.Batch), new(store.Contents)
	for i := range 300 {
		shuffled := uint64(i*7919) % 300
		b.Jobs = append(b.Jobs, store.Job{RequestID: fmt.Sprint(shuffled), Sequence: shuffled})
		b.StateChanges = append(b.StateChanges, store.StateChange{Number: shuffled})
		b.Departed = append(b.Departed, store.DepartedBlock{Number: shuffled, Departures: []store.Departure{1}})
		want.Jobs = append(want.Jobs, store.Job{RequestID: fmt.Sprint(i), Sequence: uint64(i)})
		want.StateChanges = append(want.StateChanges, store.StateChange{Number: uint64(i)})
		want.Departed = append(want.Departed, store.DepartedBlock{Number: uint64(i), Departures: []store.Departure{1}})
	}
	o.commit(t, "a", b)
	o.check(t, "a", want)
	o.again(t)
	o.check(t, "a", want)
}

func canceledLoad(t *testing.T, o *opener) {
	o.commit(t, "a", Full())
	o.again(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.engine.Account("a").Load(ctx); err == nil {
		t.Error("a canceled load returned no error")
	}
	o.check(t, "a", stored(Full()))
}

func compact(t *testing.T, o *opener) {
	o.commit(t, "a", Full())
	o.commit(t, "a", &store.Batch{RemovedJobs: []string{"full", "bare"}, Compact: true})
	want := stored(Full())
	want.Jobs = nil
	o.check(t, "a", want)
}

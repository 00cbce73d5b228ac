package sqlite

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// The tables, in the order in which they are made: their root pages follow from it,
// which is what graft relies on.
var tables = []*table{meta, jobs, departed, totals, requests, learnt, timings, stateChanges, sums}

var meta = newTable(fmt.Sprintf("%d meta ", schemaVersion), "meta", 1, "name TEXT NOT NULL", "value TEXT NOT NULL")

// sums has for each account and table what its rows add up to.
var sums = newTable(fmt.Sprintf("%d sums ", schemaVersion), "sums", 2,
	"account TEXT NOT NULL", "table_name TEXT NOT NULL", "row_count INTEGER NOT NULL", "checksum_sum INTEGER NOT NULL")

var jobs = declare("jobs", 1, []column[store.Job]{
	id("request_id", func(j *store.Job) *string { return &j.RequestID }),
	whole("sequence", func(j *store.Job) *uint64 { return &j.Sequence }),
	text("api", func(j *store.Job) *string { return &j.API }),
	text("source", func(j *store.Job) *string { return &j.Source }),
	text("state", func(j *store.Job) *string { return &j.State }),
	text("error_code", func(j *store.Job) *string { return &j.ErrorCode }),
	{"labels", "TEXT", labels, func(j *store.Job, v any) { _ = json.Unmarshal([]byte(textOf(v)), &j.Labels) }},
	float("audio_seconds", func(j *store.Job) *float64 { return &j.AudioSeconds }),
	float("priority", func(j *store.Job) *float64 { return &j.Priority }),
	moment("first_seen", func(j *store.Job) *time.Time { return &j.FirstSeen }),
	moment("submitted_at", func(j *store.Job) *time.Time { return &j.SubmittedAt }),
	moment("last_observed", func(j *store.Job) *time.Time { return &j.LastObserved }),
	moment("finished_at", func(j *store.Job) *time.Time { return &j.FinishedAt }),
	{"detection_window_seconds", "REAL",
		func(j *store.Job) any { return known(!j.FinishedAt.IsZero(), j.DetectionWindow.Seconds()) },
		func(j *store.Job, v any) { j.DetectionWindow = seconds(v) }},
	text("statistics", func(j *store.Job) *jsontext.Value { return &j.Statistics }),
}, func(b *store.Batch, put, remove func(...store.Job)) {
	put(b.Jobs...)
	for _, id := range b.RemovedJobs {
		remove(store.Job{RequestID: id})
	}
}, func(c *store.Contents) *store.Job { return extend(&c.Jobs) })

var departed = declare("departed", 1, []column[store.DepartedBlock]{
	whole("number", func(d *store.DepartedBlock) *uint64 { return &d.Number }),
	{"packed", "BLOB NOT NULL", func(d *store.DepartedBlock) any { return packed(d.Departures) },
		func(d *store.DepartedBlock, v any) {
			for b, _ := v.([]byte); len(b) >= 8; b = b[8:] {
				d.Departures = append(d.Departures, store.Departure(binary.BigEndian.Uint64(b)))
			}
		}},
}, func(b *store.Batch, put, remove func(...store.DepartedBlock)) {
	put(b.Departed...)
	for _, number := range b.Forgotten {
		remove(store.DepartedBlock{Number: number})
	}
}, func(c *store.Contents) *store.DepartedBlock { return extend(&c.Departed) })

var totals = declare("totals", 2, []column[store.Total]{
	id("name", func(t *store.Total) *string { return &t.Name }),
	id("labels", func(t *store.Total) *string { return &t.Labels }),
	required(text("value", func(t *store.Total) *jsontext.Value { return &t.Value })),
}, func(b *store.Batch, put, _ func(...store.Total)) { put(b.Totals...) },
	func(c *store.Contents) *store.Total { return extend(&c.Totals) })

var requests = declare("requests", 1, []column[store.Requests]{
	whole("unix_second", func(r *store.Requests) *int64 { return &r.Second }),
	whole("requests", func(r *store.Requests) *int { return &r.Count }),
}, func(b *store.Batch, put, remove func(...store.Requests)) {
	for _, r := range b.Requests {
		if r.Count > 0 {
			put(r)
		} else {
			remove(r)
		}
	}
}, func(c *store.Contents) *store.Requests { return extend(&c.Requests) })

var learnt = declare("learnt", 0, []column[jsontext.Value]{
	required(text("value", func(v *jsontext.Value) *jsontext.Value { return v })),
}, func(b *store.Batch, put, _ func(...jsontext.Value)) {
	if b.Learnt != nil {
		put(b.Learnt)
	}
}, func(c *store.Contents) *jsontext.Value { return &c.Learnt })

var timings = declare("timings", 1, []column[store.Timings]{
	id("request_id", func(t *store.Timings) *string { return &t.RequestID }),
	{"packed", "BLOB NOT NULL", func(t *store.Timings) any { return t.Packed },
		func(t *store.Timings, v any) { b, _ := v.([]byte); t.Packed = append([]byte{}, b...) }}, // empty is not NULL
}, func(b *store.Batch, put, remove func(...store.Timings)) {
	for _, t := range b.Timings {
		if t.Packed != nil {
			put(t)
		} else {
			remove(t)
		}
	}
}, func(c *store.Contents) *store.Timings { return extend(&c.Timings) })

var stateChanges = declare("state_changes", 1, []column[store.StateChange]{
	whole("number", func(c *store.StateChange) *uint64 { return &c.Number }),
	text("request_id", func(c *store.StateChange) *string { return &c.RequestID }),
	text("state", func(c *store.StateChange) *string { return &c.State }),
	moment("at", func(c *store.StateChange) *time.Time { return &c.At }),
	text("job", func(c *store.StateChange) *jsontext.Value { return &c.Job }),
}, func(b *store.Batch, put, remove func(...store.StateChange)) {
	put(b.StateChanges...)
	for _, number := range b.Delivered {
		remove(store.StateChange{Number: number})
	}
}, func(c *store.Contents) *store.StateChange { return extend(&c.StateChanges) })

// extend appends a zero row to a list, and returns it.
func extend[T any](list *[]T) *T {
	*list = append(*list, *new(T))
	return &(*list)[len(*list)-1]
}

// A column of a table whose rows are Ts. get and set are each other's inverse, but
// for values that no engine stores (see store.Clean).
type column[T any] struct {
	name, kind string
	get        func(*T) any
	set        func(*T, any)
}

func required[T any](c column[T]) column[T] {
	c.kind += " NOT NULL"
	return c
}

// id is a text that is part of a key: an empty one is no unknown one.
func id[T any](name string, field func(*T) *string) column[T] {
	return column[T]{name, "TEXT NOT NULL",
		func(row *T) any { return store.Clean(*field(row)) }, func(row *T, v any) { *field(row) = textOf(v) }}
}

func text[T any, S string | jsontext.Value](name string, field func(*T) *S) column[T] {
	return column[T]{name, "TEXT",
		func(row *T) any { s := store.Clean(string(*field(row))); return known(s != "", s) },
		func(row *T, v any) {
			if v != nil {
				*field(row) = S(textOf(v))
			}
		}}
}

func whole[T any, N int | int64 | uint64](name string, field func(*T) *N) column[T] {
	return column[T]{name, "INTEGER NOT NULL",
		func(row *T) any { return int64(*field(row)) },
		func(row *T, v any) { n, _ := v.(int64); *field(row) = N(n) }}
}

func float[T any](name string, field func(*T) *float64) column[T] {
	return column[T]{name, "REAL",
		func(row *T) any { v := *field(row); return known(v != 0 && !math.IsNaN(v), v) },
		func(row *T, v any) { *field(row), _ = v.(float64) }}
}

// moment is a time in UTC, as RFC 3339 has it.
func moment[T any](name string, field func(*T) *time.Time) column[T] {
	return column[T]{name, "TEXT",
		func(row *T) any { t := field(row).UTC(); return known(!t.IsZero(), t.Format(time.RFC3339Nano)) },
		func(row *T, v any) { *field(row) = timeOf(v) }}
}

func packed(departures []store.Departure) []byte {
	b := make([]byte, 0, 8*len(departures))
	for _, d := range departures {
		b = binary.BigEndian.AppendUint64(b, uint64(d))
	}
	return b
}

func labels(j *store.Job) any {
	if len(j.Labels) == 0 {
		return nil
	}
	clean := make(map[string]string, len(j.Labels))
	for name, value := range j.Labels {
		clean[store.Clean(name)] = store.Clean(value)
	}
	return string(must(clean))
}

// must returns the JSON of a value that has one.
func must(v any) jsontext.Value {
	text, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return text
}

// known returns NULL in the place of an unknown value.
func known(is bool, v any) any {
	if !is {
		return nil
	}
	return v
}

// What follows reads values of rows with valid checksums: NULL, or of the type that
// was written.

func textOf(v any) string { s, _ := v.(string); return s }
func timeOf(v any) (t time.Time) {
	if v != nil { // the error of an empty text takes as long as a time
		t, _ = time.Parse(time.RFC3339Nano, textOf(v))
	}
	return t
}
func seconds(v any) time.Duration {
	s, _ := v.(float64)
	return time.Duration(math.Round(s * float64(time.Second)))
}

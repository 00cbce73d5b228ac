package postgres

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// The tables of what is kept of an account.

var jobs = declare("jobs", 1, []column[store.Job]{
	id("request_id", func(j *store.Job) *string { return &j.RequestID }),
	whole("sequence", func(j *store.Job) *uint64 { return &j.Sequence }),
	text("api", func(j *store.Job) *string { return &j.API }),
	text("source", func(j *store.Job) *string { return &j.Source }),
	text("state", func(j *store.Job) *string { return &j.State }),
	text("error_code", func(j *store.Job) *string { return &j.ErrorCode }),
	{name: "labels", kind: "text", unknown: "''", array: collect(labels),
		set: func(j *store.Job, v []byte) { _ = json.Unmarshal(v, &j.Labels) }},
	float("audio_seconds", func(j *store.Job) *float64 { return &j.AudioSeconds }),
	float("priority", func(j *store.Job) *float64 { return &j.Priority }),
	moment("first_seen", func(j *store.Job) *time.Time { return &j.FirstSeen }),
	moment("submitted_at", func(j *store.Job) *time.Time { return &j.SubmittedAt }),
	moment("last_observed", func(j *store.Job) *time.Time { return &j.LastObserved }),
	moment("finished_at", func(j *store.Job) *time.Time { return &j.FinishedAt }),
	{name: "detection_window_seconds", kind: "double precision", unknown: "'NaN'", array: collect(detectionWindow),
		set: func(j *store.Job, v []byte) {
			j.DetectionWindow = time.Duration(math.Round(floatOf(v) * float64(time.Second)))
		}},
	document("statistics", func(j *store.Job) *jsontext.Value { return &j.Statistics }),
}, func(b *store.Batch) (put, remove []store.Job) {
	return b.Jobs, keys(b.RemovedJobs, func(id string) store.Job { return store.Job{RequestID: id} })
}, func(c *store.Contents, rows []store.Job) { c.Jobs = rows })

var departed = declare("departed", 1, []column[store.DepartedBlock]{
	whole("number", func(d *store.DepartedBlock) *uint64 { return &d.Number }),
	// An array of arrays must be rectangular: each of these travels as text.
	{name: "departures", kind: "bigint[]", wire: "text", array: collect(departures),
		set: func(d *store.DepartedBlock, v []byte) {
			for v = v[min(20, len(v)):]; len(v) >= 12; v = v[12:] { // behind the header, each has its length before it
				d.Departures = append(d.Departures, store.Departure(binary.BigEndian.Uint64(v[4:])))
			}
		}},
}, func(b *store.Batch) (put, remove []store.DepartedBlock) {
	return b.Departed, keys(b.Forgotten, func(n uint64) store.DepartedBlock { return store.DepartedBlock{Number: n} })
}, func(c *store.Contents, rows []store.DepartedBlock) { c.Departed = rows })

var totals = declare("totals", 2, []column[store.Total]{
	id("name", func(t *store.Total) *string { return &t.Name }),
	id("labels", func(t *store.Total) *string { return &t.Labels }),
	required(document("value", func(t *store.Total) *jsontext.Value { return &t.Value })),
}, func(b *store.Batch) (put, remove []store.Total) { return b.Totals, nil },
	func(c *store.Contents, rows []store.Total) { c.Totals = rows })

var requests = declare("requests", 1, []column[store.Requests]{
	whole("unix_second", func(r *store.Requests) *int64 { return &r.Second }),
	whole("requests", func(r *store.Requests) *int { return &r.Count }),
}, func(b *store.Batch) (put, remove []store.Requests) {
	return part(b.Requests, func(r *store.Requests) bool { return r.Count > 0 })
}, func(c *store.Contents, rows []store.Requests) { c.Requests = rows })

var learnt = declare("learnt", 0, []column[jsontext.Value]{
	required(document("value", func(v *jsontext.Value) *jsontext.Value { return v })),
}, func(b *store.Batch) (put, remove []jsontext.Value) {
	if b.Learnt != nil {
		put = []jsontext.Value{b.Learnt}
	}
	return put, nil
}, func(c *store.Contents, rows []jsontext.Value) {
	if len(rows) > 0 {
		c.Learnt = rows[0]
	}
})

var timings = declare("timings", 1, []column[store.Timings]{
	id("request_id", func(t *store.Timings) *string { return &t.RequestID }),
	{name: "packed", kind: "bytea", array: collect(func(t *store.Timings) []byte { return t.Packed }),
		set: func(t *store.Timings, v []byte) { t.Packed = append([]byte{}, v...) }}, // empty is not NULL
}, func(b *store.Batch) (put, remove []store.Timings) {
	return part(b.Timings, func(t *store.Timings) bool { return t.Packed != nil })
}, func(c *store.Contents, rows []store.Timings) { c.Timings = rows })

var stateChanges = declare("state_changes", 1, []column[store.StateChange]{
	whole("number", func(c *store.StateChange) *uint64 { return &c.Number }),
	text("request_id", func(c *store.StateChange) *string { return &c.RequestID }),
	text("state", func(c *store.StateChange) *string { return &c.State }),
	moment("at", func(c *store.StateChange) *time.Time { return &c.At }),
	document("job", func(c *store.StateChange) *jsontext.Value { return &c.Job }),
}, func(b *store.Batch) (put, remove []store.StateChange) {
	return b.StateChanges, keys(b.Delivered, func(n uint64) store.StateChange { return store.StateChange{Number: n} })
}, func(c *store.Contents, rows []store.StateChange) { c.StateChanges = rows })

func keys[K, T any](list []K, row func(K) T) []T {
	var rows []T
	for _, k := range list {
		rows = append(rows, row(k))
	}
	return rows
}

// part returns the rows of a list for which put is true, and the others.
func part[T any](list []T, put func(*T) bool) (is, not []T) {
	for i := range list {
		if put(&list[i]) {
			is = append(is, list[i])
		} else {
			not = append(not, list[i])
		}
	}
	return is, not
}

// A column of a table whose rows are Ts. array and set are each other's inverse, but for values that no engine stores
// (see store.Clean).
type column[T any] struct {
	name, kind string
	wire       string          // the type in which its values travel; empty: kind
	unknown    string          // the literal that is stored as NULL; empty: none
	required   bool            // not NULL, although there is an unknown
	clean      func(*T) string // the text of a key; nil: it is a number
	array      func([]T) any
	set        func(*T, []byte) // takes a value that is not NULL, in PostgreSQL's binary format
}

func required[T any](c column[T]) column[T] {
	c.required = true
	return c
}

// collect returns a function that returns the values of rows.
func collect[T, V any](value func(*T) V) func([]T) any {
	return func(rows []T) any {
		values := make([]V, len(rows))
		for i := range rows {
			values[i] = value(&rows[i])
		}
		return values
	}
}

// id is a text that is part of a key: an empty one is no unknown one.
func id[T any](name string, field func(*T) *string) column[T] {
	c := text(name, field)
	c.unknown, c.clean = "", func(row *T) string { return store.Clean(*field(row)) }
	return c
}

func text[T any](name string, field func(*T) *string) column[T] {
	return column[T]{name: name, kind: "text", unknown: "''",
		array: collect(func(row *T) string { return store.Clean(*field(row)) }),
		set:   func(row *T, v []byte) { *field(row) = string(v) }}
}

func document[T any](name string, field func(*T) *jsontext.Value) column[T] {
	return column[T]{name: name, kind: "text", unknown: "''",
		array: collect(func(row *T) string { return store.Clean(string(*field(row))) }),
		set:   func(row *T, v []byte) { *field(row) = bytes.Clone(v) }}
}

func whole[T any, N int | int64 | uint64](name string, field func(*T) *N) column[T] {
	return column[T]{name: name, kind: "bigint",
		array: collect(func(row *T) int64 { return int64(*field(row)) }),
		set:   func(row *T, v []byte) { *field(row) = N(intOf(v)) }}
}

func float[T any](name string, field func(*T) *float64) column[T] {
	return column[T]{name: name, kind: "double precision", unknown: "0",
		array: collect(func(row *T) float64 {
			if v := *field(row); !math.IsNaN(v) {
				return v
			}
			return 0
		}),
		set: func(row *T, v []byte) { *field(row) = floatOf(v) }}
}

// timeFormat is RFC 3339 in UTC with nine digits behind the second. A timestamptz has no nanoseconds, and a bigint of
// them is unreadable and ends in 2262. This is exact, readable, in order, and can be cast to a timestamptz.
const timeFormat = "2006-01-02T15:04:05.000000000Z"

func moment[T any](name string, field func(*T) *time.Time) column[T] {
	return column[T]{name: name, kind: "text", unknown: "''",
		array: collect(func(row *T) string {
			if t := field(row).UTC(); !t.IsZero() {
				return t.Format(timeFormat)
			}
			return ""
		}),
		set: func(row *T, v []byte) { *field(row), _ = time.Parse(time.RFC3339Nano, string(v)) }}
}

func departures(d *store.DepartedBlock) string {
	b := []byte{'{'}
	for i, departure := range d.Departures {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(departure), 10)
	}
	return string(append(b, '}'))
}

func labels(j *store.Job) string {
	if len(j.Labels) == 0 {
		return ""
	}
	clean := make(map[string]string, len(j.Labels))
	for name, value := range j.Labels {
		clean[store.Clean(name)] = store.Clean(value)
	}
	text, err := json.Marshal(clean, json.Deterministic(true))
	if err != nil {
		panic(err) // it is valid UTF-8
	}
	return string(text)
}

func detectionWindow(j *store.Job) float64 {
	if j.FinishedAt.IsZero() {
		return math.NaN()
	}
	return j.DetectionWindow.Seconds()
}

func intOf(v []byte) int64     { return int64(binary.BigEndian.Uint64(v)) }
func floatOf(v []byte) float64 { return math.Float64frombits(binary.BigEndian.Uint64(v)) }

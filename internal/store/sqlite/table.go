package sqlite

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
)

// A table is one of the database's. Each of its rows ends with a checksum, so that
// damage that SQLite cannot see is not taken for truth.
type table struct {
	name    string
	key     int      // how many columns, from the first on, are the primary key
	columns []column // the first is the account, or, in meta, the name
}

type column struct {
	name, kind string
	before     any // what rows have that an older version of the schema wrote without it
}

// The version of the schema, in SQLite's user_version and in the table meta. Opening
// a database of an older version makes a new one of it (see rebuild).
//
//	1: without checksums, jobs.priority, learnt, timings, changes and meta
const schemaVersion = 2

var (
	meta = table{"meta", 1, []column{{name: "name", kind: "TEXT NOT NULL"}, {name: "value", kind: "TEXT NOT NULL"}}}
	jobs = table{"jobs", 2, []column{
		{name: "account", kind: "TEXT NOT NULL"}, {name: "request_id", kind: "TEXT NOT NULL"}, {name: "sequence", kind: "INTEGER NOT NULL"},
		{name: "api", kind: "TEXT NOT NULL"}, {name: "source", kind: "TEXT NOT NULL"}, {name: "state", kind: "TEXT NOT NULL"}, {name: "error_code", kind: "TEXT NOT NULL"},
		{name: "labels", kind: "TEXT"}, {name: "audio_seconds", kind: "REAL NOT NULL"}, {name: "priority", kind: "REAL NOT NULL", before: 1.},
		{name: "first_seen", kind: "TEXT NOT NULL"}, {name: "submitted_at", kind: "TEXT"}, {name: "last_observed", kind: "TEXT"}, {name: "finished_at", kind: "TEXT"},
		{name: "detection_window_seconds", kind: "REAL NOT NULL"}, {name: "statistics", kind: "TEXT"},
	}}
	departed = table{"departed", 2, []column{
		{name: "account", kind: "TEXT NOT NULL"}, {name: "request_id", kind: "TEXT NOT NULL"}, {name: "until", kind: "TEXT NOT NULL"}, {name: "removed", kind: "INTEGER NOT NULL"},
	}}
	totals = table{"totals", 2, []column{
		{name: "account", kind: "TEXT NOT NULL"}, {name: "name", kind: "TEXT NOT NULL"}, {name: "value", kind: "TEXT NOT NULL"},
	}}
	requests = table{"requests", 2, []column{
		{name: "account", kind: "TEXT NOT NULL"}, {name: "unix_second", kind: "INTEGER NOT NULL"}, {name: "requests", kind: "INTEGER NOT NULL"},
	}}
	learnt  = table{"learnt", 1, []column{{name: "account", kind: "TEXT NOT NULL"}, {name: "value", kind: "TEXT NOT NULL"}}}
	timings = table{"timings", 2, []column{
		{name: "account", kind: "TEXT NOT NULL"}, {name: "request_id", kind: "TEXT NOT NULL"}, {name: "marks", kind: "BLOB NOT NULL"},
	}}
	changes = table{"changes", 2, []column{
		{name: "account", kind: "TEXT NOT NULL"}, {name: "number", kind: "INTEGER NOT NULL"}, {name: "request_id", kind: "TEXT NOT NULL"},
		{name: "state", kind: "TEXT NOT NULL"}, {name: "at", kind: "TEXT NOT NULL"}, {name: "job", kind: "TEXT NOT NULL"},
	}}

	// In the order in which they are made: with the first page lost, that is what
	// tells where each of them begins.
	tables = []*table{&meta, &jobs, &departed, &totals, &requests, &learnt, &timings, &changes}
)

func (t *table) names() (all, key string) {
	var names []string
	for _, c := range t.columns {
		names = append(names, c.name)
	}
	return strings.Join(names, ", "), strings.Join(names[:t.key], ", ")
}

// place returns n question marks.
func place(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

func (t *table) create() string {
	_, key := t.names()
	var b strings.Builder
	for _, c := range t.columns {
		fmt.Fprintf(&b, "%s %s, ", c.name, c.kind)
	}
	return fmt.Sprintf("CREATE TABLE %s (%schecksum INTEGER NOT NULL, PRIMARY KEY (%s)) WITHOUT ROWID, STRICT;", t.name, b.String(), key)
}

// put takes the values of all columns, and the checksum.
func (t *table) put() string {
	all, _ := t.names()
	return fmt.Sprintf("INSERT OR REPLACE INTO %s (%s, checksum) VALUES (%s)", t.name, all, place(len(t.columns)+1))
}

// remove takes the values of the key.
func (t *table) remove() string {
	_, key := t.names()
	return fmt.Sprintf("DELETE FROM %s WHERE (%s) = (%s)", t.name, key, place(t.key))
}

// read gives all columns and the checksum.
func (t *table) read() string {
	all, _ := t.names()
	return fmt.Sprintf("SELECT %s, checksum FROM %s", all, t.name)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is a CRC-32C over the table's name and a row's values, each with its
// type and length. It is kept in the row.
func (t *table) checksum(values []any) int64 {
	b := append(make([]byte, 0, 512), t.name...)
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			b = append(b, 'n')
		case int64:
			b = binary.BigEndian.AppendUint64(append(b, 'i'), uint64(v))
		case float64:
			b = binary.BigEndian.AppendUint64(append(b, 'r'), math.Float64bits(v+0)) // SQLite has no -0
		case string:
			b = append(binary.AppendUvarint(append(b, 's'), uint64(len(v))), v...)
		case []byte:
			b = append(binary.AppendUvarint(append(b, 'b'), uint64(len(v))), v...)
		}
	}
	return int64(crc32.Checksum(b, castagnoli))
}

// sealed are a row's values with their checksum behind them.
func (t *table) sealed(values ...any) []any { return append(values, t.checksum(values)) }

// sound says whether a row, checksum last, is as it was written.
func (t *table) sound(row []any) bool {
	n := len(t.columns)
	return row[n] == any(t.checksum(row[:n]))
}

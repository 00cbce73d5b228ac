package sqlite

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"sync"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// schemaVersion is in SQLite's user_version and in the table meta. A database of an
// older version is converted when it is opened (see migrate.go).
const schemaVersion = 4

// A table of the database. Each row ends with a checksum, since SQLite does not see
// all damage.
type table struct {
	seed    string // what checksums begin with
	name    string
	key     int      // the primary key is this many columns, from the first on
	columns []string // without the checksum; the first is the account, except in meta

	create, put, remove, find, read string // SQL

	write func(account string, b *store.Batch, put, remove func(values []any))
	take  func(*store.Contents, []any)
	// renew returns a row with the values and the checksum that write would give it.
	renew func(row []any) []any
	// convert returns what a row of an older schema is in the table into, without
	// checksums; nil: the same. Rows are converted in the order of their keys.
	convert func() func(row []any) ([][]any, error)
	into    *table
}

// declare returns a table with the column account, the columns of the rest of the
// key, and the others. next adds a row to the contents.
func declare[T any](name string, key int, columns []column[T],
	changes func(b *store.Batch, put, remove func(...T)), next func(*store.Contents) *T,
) *table {
	definitions := []string{"account TEXT NOT NULL"}
	for _, c := range columns {
		definitions = append(definitions, c.name+" "+c.kind)
	}
	t := newTable(fmt.Sprintf("%d %s ", schemaVersion, name), name, 1+key, definitions...)
	values := func(account string, row *T, columns []column[T]) []any {
		v := append(make([]any, 0, len(columns)+2), store.Clean(account))
		for _, c := range columns {
			v = append(v, c.get(row))
		}
		return v
	}
	parse := func(row *T, values []any) {
		for i, c := range columns {
			c.set(row, values[i+1])
		}
	}
	t.write = func(account string, b *store.Batch, put, remove func([]any)) {
		changes(b, func(rows ...T) {
			for i := range rows {
				put(t.sealed(values(account, &rows[i], columns)))
			}
		}, func(rows ...T) {
			for i := range rows {
				remove(values(account, &rows[i], columns[:key]))
			}
		})
	}
	t.take = func(contents *store.Contents, values []any) { parse(next(contents), values) }
	t.renew = func(old []any) []any {
		var row T
		parse(&row, old)
		return t.sealed(values(textOf(old[0]), &row, columns))
	}
	t.into = t
	return t
}

func newTable(seed, name string, key int, definitions ...string) *table {
	t := &table{seed: seed, name: name, key: key}
	for _, d := range definitions {
		column, _, _ := strings.Cut(d, " ")
		t.columns = append(t.columns, column)
	}
	all, keys := strings.Join(t.columns, ", "), strings.Join(t.columns[:key], ", ")
	t.create = fmt.Sprintf("CREATE TABLE %s (%s, checksum INTEGER NOT NULL, PRIMARY KEY (%s)) WITHOUT ROWID, STRICT",
		name, strings.Join(definitions, ", "), keys)
	t.put = fmt.Sprintf("INSERT OR REPLACE INTO %s (%s, checksum) VALUES (%s?)",
		name, all, strings.Repeat("?, ", len(t.columns)))
	t.remove = fmt.Sprintf("DELETE FROM %s WHERE (%s) = (%s?)", name, keys, strings.Repeat("?, ", key-1))
	t.find = fmt.Sprintf("SELECT checksum FROM %s WHERE (%s) = (%s?)", name, keys, strings.Repeat("?, ", key-1))
	t.read = fmt.Sprintf("SELECT %s, checksum FROM %s", all, name)
	return t
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// buffers are for rows, whose values are put together for their checksum.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxBuffer is the largest buffer that is kept, in bytes.
const maxBuffer = 1 << 16

// checksum returns the CRC-32C over the seed and a row's values, each with its type
// and length.
func (t *table) checksum(values []any) int64 {
	buffer := buffers.Get().(*[]byte)
	b := append((*buffer)[:0], t.seed...)
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
	sum := int64(crc32.Checksum(b, castagnoli))
	if cap(b) <= maxBuffer {
		*buffer = b
	}
	buffers.Put(buffer)
	return sum
}

// sealed returns a row's values with their checksum behind them.
func (t *table) sealed(values []any) []any { return append(values, t.checksum(values)) }

// valid reports whether a row, checksum last, is as it was written.
func (t *table) valid(row []any) bool {
	n := len(t.columns)
	return row[n] == any(t.checksum(row[:n]))
}

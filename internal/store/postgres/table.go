package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// A table has rows of accounts. Its columns are account, the rest of the key, and the others.
type table struct {
	name, create string
	// change adds to a statement what a batch changes in the table.
	change func(*statement, *store.Batch)
	// load reads the rows of an account.
	load func(context.Context, pgx.Tx, string, *store.Contents) error
}

// tables are the tables that Load reads.
var tables = []*table{jobs, departed, totals, requests, learnt, timings, stateChanges}

// A statement is a commit: common table expressions, of which fence comes first, and their arguments. Its text depends
// only on which tables are changed, so that few texts are prepared.
type statement struct {
	parts []string
	args  []any
}

// add adds a part. Each %s in it stands for the next argument, with its type.
func (s *statement) add(part string, args ...any) {
	places := make([]any, len(args))
	for i := range args {
		places[i] = fmt.Sprintf("$%d", len(s.args)+i+1)
	}
	s.parts = append(s.parts, fmt.Sprintf(part, places...))
	s.args = append(s.args, args...)
}

// text returns the statement, which returns a row if the fence was passed.
func (s *statement) text() string {
	return "WITH " + strings.Join(s.parts, ",\n") + "\nSELECT number FROM fence"
}

// declare returns a table whose key is the account and the first columns. take stores its rows in the
// contents.
func declare[T any](name string, key int, columns []column[T],
	changes func(*store.Batch) (put, remove []T), take func(*store.Contents, []T),
) *table {
	names := func(columns []column[T], prefix string) (names []string) {
		for _, c := range columns {
			names = append(names, prefix+c.name)
		}
		return names
	}
	definitions := []string{`account text COLLATE "C"`}
	var values []string
	for _, c := range columns {
		definition, value := c.name+" "+c.kind, "r."+c.name
		if c.kind == "text" {
			definition += ` COLLATE "C"`
		}
		if c.unknown == "" || c.required {
			definition += " NOT NULL"
		}
		if c.unknown != "" {
			value = fmt.Sprintf("nullif(r.%s, %s)", c.name, c.unknown)
		}
		if c.wire != "" {
			value += "::" + c.kind
		}
		definitions, values = append(definitions, definition), append(values, value)
	}
	keyNames := append([]string{"account"}, names(columns[:key], "")...)
	updates := names(columns[key:], "")
	for i, column := range updates {
		updates[i] = column + " = excluded." + column
	}
	unnest := func(columns []column[T]) string {
		var arrays []string
		for _, c := range columns {
			wire := c.kind
			if c.wire != "" {
				wire = c.wire
			}
			arrays = append(arrays, "%s::"+wire+"[]")
		}
		return fmt.Sprintf("unnest(%s) AS r(%s)", strings.Join(arrays, ", "), strings.Join(names(columns, ""), ", "))
	}
	put := fmt.Sprintf("%s_put AS (INSERT INTO %s (account, %s) SELECT fence.account, %s FROM fence, %s\n"+
		"ON CONFLICT (%s) DO UPDATE SET %s)", name, name, strings.Join(names(columns, ""), ", "),
		strings.Join(values, ", "), unnest(columns), strings.Join(keyNames, ", "), strings.Join(updates, ", "))
	var same []string
	for _, k := range names(columns[:key], "") {
		same = append(same, fmt.Sprintf("%s = r.%s", k, k))
	}
	remove := removing(name, unnest(columns[:key]), strings.Join(same, " AND "))
	arrays := func(rows []T, columns []column[T]) (arrays []any) {
		for _, c := range columns {
			arrays = append(arrays, c.array(rows))
		}
		return arrays
	}
	query := fmt.Sprintf("SELECT %s FROM %s WHERE account = $1 ORDER BY %s",
		strings.Join(names(columns, ""), ", "), name, strings.Join(keyNames, ", "))
	counting := fmt.Sprintf("SELECT count(*) FROM %s WHERE account = $1", name)
	return &table{
		name: name,
		create: fmt.Sprintf("CREATE TABLE %s (%s, PRIMARY KEY (%s))",
			name, strings.Join(definitions, ", "), strings.Join(keyNames, ", ")),
		change: func(s *statement, b *store.Batch) {
			stored, removed := changes(b)
			if len(stored) > 0 {
				stored = distinct(stored, columns[:key])
				s.add(put, arrays(stored, columns)...)
			}
			if len(removed) > 0 {
				s.add(remove, arrays(removed, columns[:key])...)
			}
		},
		load: func(ctx context.Context, tx pgx.Tx, account string, contents *store.Contents) error {
			var count int // a list that grows is copied again and again
			if err := tx.QueryRow(ctx, counting, account).Scan(&count); err != nil {
				return err
			}
			rows, err := tx.Query(ctx, query, pgx.QueryResultFormats{pgx.BinaryFormatCode}, account)
			if err != nil {
				return err
			}
			defer rows.Close()
			all := make([]T, count)
			for r := range all {
				if !rows.Next() {
					break
				}
				for i, v := range rows.RawValues() {
					if v != nil {
						columns[i].set(&all[r], v)
					}
				}
			}
			take(contents, all)
			rows.Close()
			return rows.Err()
		},
	}
}

// removing returns a part of a statement that deletes rows of the account from a table: for each row r, those for which
// a condition holds. They are looked up one after the other. As a join, a plan that was made while the table was small
// would go through all rows of the account for each r.
func removing(table, r, condition string) string {
	return fmt.Sprintf("%s_removed AS (DELETE FROM %s USING fence, %s, LATERAL (SELECT ctid FROM %s AS t "+
		"WHERE t.account = fence.account AND %s OFFSET 0) AS found WHERE %s.ctid = found.ctid)",
		table, table, r, table, condition, table)
}

// distinct returns the rows without those whose key is, when it is clean, that of a later one: a statement may store a
// key once.
func distinct[T any](rows []T, key []column[T]) []T {
	if len(rows) < 2 {
		return rows
	}
	keys := make([]string, len(rows))
	last := make(map[string]int, len(rows))
	for i := range rows {
		for _, c := range key {
			if c.clean == nil {
				return rows
			}
			keys[i] += c.clean(&rows[i]) + "\x00"
		}
		last[keys[i]] = i
	}
	if len(last) == len(rows) {
		return rows
	}
	var kept []T
	for i := range rows {
		if last[keys[i]] == i {
			kept = append(kept, rows[i])
		}
	}
	return kept
}

func create(t *table, parameters string) string { return t.create + " WITH (" + parameters + ");" }

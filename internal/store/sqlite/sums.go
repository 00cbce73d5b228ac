package sqlite

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// A sum is what the rows of an account in a table add up to. It is stored in the
// transaction that changes the rows. A page that is another one's copy, or as it was
// some time ago, is valid by itself, but its rows do not add up to the sum.
type sum struct {
	rows      int64
	checksums int64
}

// accountSums are the sums of an account, by table.
type accountSums map[string]sum

func (s accountSums) add(t *table, row []any) {
	checksum, _ := row[len(row)-1].(int64)
	s[t.name] = sum{s[t.name].rows + 1, s[t.name].checksums + checksum}
}

// allSums are the sums of all accounts.
type allSums map[string]accountSums

func (s allSums) of(account string) accountSums {
	if s[account] == nil {
		s[account] = make(accountSums)
	}
	return s[account]
}

// set takes a row of the table sums.
func (s allSums) set(row []any) {
	rows, _ := row[2].(int64)
	checksums, _ := row[3].(int64)
	s.of(textOf(row[0]))[textOf(row[1])] = sum{rows, checksums}
}

// differences returns for each account that is not as stored how many rows it has too
// few: at least one.
func (s allSums) differences(stored allSums) map[string]int {
	missing := make(map[string]int)
	for _, account := range slices.Concat(keys(s), keys(stored)) {
		missing[account] = 0
		for _, t := range current.tables {
			if is, was := s[account][t.name], stored[account][t.name]; is != was {
				missing[account] += int(max(was.rows-is.rows, 1))
			}
		}
		if missing[account] == 0 {
			delete(missing, account)
		}
	}
	return missing
}

func keys(s allSums) (accounts []string) {
	for account := range s {
		accounts = append(accounts, account)
	}
	return accounts
}

// batch writes a batch, and what the rows of the account add up to then.
func (w *writer) batch(account string, b *store.Batch, sums accountSums) {
	for _, t := range current.tables {
		before := sums[t.name]
		t.write(account, b, func(row []any) {
			w.subtract(t, row[:t.key], sums)
			w.exec(t.put, row)
			sums.add(t, row)
		}, func(key []any) {
			if w.subtract(t, key, sums) {
				w.exec(t.remove, key)
			}
		})
		if sums[t.name] != before {
			w.putSum(account, t.name, sums[t.name])
		}
	}
}

func (w *writer) putSum(account, table string, s sum) {
	w.exec(sums.put, sums.sealed([]any{store.Clean(account), table, s.rows, s.checksums}))
}

// subtract takes the row with a key from the sums, and reports whether there is one.
func (w *writer) subtract(t *table, key []any, sums accountSums) bool {
	find := w.statement(t.find)
	if find == nil {
		return false
	}
	var checksum int64
	switch err := find.QueryRow(key...).Scan(&checksum); {
	case errors.Is(err, sql.ErrNoRows):
		return false
	case err != nil:
		w.err = err
		return false
	}
	sums[t.name] = sum{sums[t.name].rows - 1, sums[t.name].checksums - checksum}
	return true
}

// sumUp writes what the rows of a database add up to, and returns it.
func (w *writer) sumUp() allSums {
	all := make(allSums)
	for _, t := range current.tables {
		if w.err != nil {
			break
		}
		query := fmt.Sprintf("SELECT account, count(*), sum(checksum) FROM %s GROUP BY account", t.name)
		rows, err := w.tx.Query(query)
		for err == nil && rows.Next() {
			var account string
			var s sum
			if err = rows.Scan(&account, &s.rows, &s.checksums); err == nil {
				all.of(account)[t.name] = s
			}
		}
		if w.err = err; err == nil {
			w.err = errors.Join(rows.Err(), rows.Close())
		}
	}
	for account, of := range all {
		for name, s := range of {
			w.putSum(account, name, s)
		}
	}
	return all
}

// inOrder reports whether a key comes after the last one, which is nil at first.
func inOrder(last, key []any) bool {
	for i := range last {
		var c int
		switch v := key[i].(type) {
		case string:
			c = cmp.Compare(textOf(last[i]), v)
		case int64:
			n, _ := last[i].(int64)
			c = cmp.Compare(n, v)
		}
		if c != 0 {
			return c < 0
		}
	}
	return last == nil
}

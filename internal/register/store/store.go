// Package store keeps what a register knows on disk: in one SQLite file, in
// tables that an operator can read with sqlite3. What is committed survives the
// process, whatever ends it.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A Job is one row of the table jobs. Times are in UTC; zero where unknown.
type Job struct {
	RequestID       string
	Sequence        uint64 // in order of registration
	API             string
	Source          string
	State           string
	ErrorCode       string
	Labels          []byte // JSON; nil: none
	AudioSeconds    float64
	FirstSeen       time.Time
	SubmittedAt     time.Time
	LastObserved    time.Time
	FinishedAt      time.Time
	DetectionWindow time.Duration
	Statistics      []byte // JSON; nil: none
}

// A Departure is one row of the table departed: a job that is no longer tracked,
// and is remembered for a while.
type Departure struct {
	RequestID string
	Until     time.Time
	Removed   bool // by a user
}

// A Batch is what one transaction changes.
type Batch struct {
	Jobs      []Job             // new or changed
	Gone      []string          // no longer jobs
	Departed  []Departure       // new or changed
	Forgotten []string          // no longer departed
	Totals    map[string][]byte // JSON by name; those that changed
	Requests  map[int64]int     // to the API, to be added, by Unix second
	Before    int64             // requests before this Unix second are forgotten; 0: none
}

// Empty says whether there is nothing to commit.
func (b *Batch) Empty() bool {
	return len(b.Jobs)+len(b.Gone)+len(b.Departed)+len(b.Forgotten)+len(b.Totals)+len(b.Requests) == 0 && b.Before == 0
}

// Contents are all that is stored of an account.
type Contents struct {
	Jobs     []Job // in order of their sequence
	Departed []Departure
	Totals   map[string][]byte
	Requests map[int64]int
	Corrupt  int // rows that make no sense, and were left out
}

// The version of the schema, in SQLite's user_version. A migration adds one.
const schemaVersion = 1

const schema = `
CREATE TABLE jobs (
	account TEXT NOT NULL, request_id TEXT NOT NULL, sequence INTEGER NOT NULL,
	api TEXT NOT NULL, source TEXT NOT NULL, state TEXT NOT NULL, error_code TEXT NOT NULL,
	labels TEXT, audio_seconds REAL NOT NULL,
	first_seen TEXT NOT NULL, submitted_at TEXT, last_observed TEXT, finished_at TEXT,
	detection_window_seconds REAL NOT NULL, statistics TEXT,
	PRIMARY KEY (account, request_id)) WITHOUT ROWID, STRICT;
CREATE TABLE departed (
	account TEXT NOT NULL, request_id TEXT NOT NULL, until TEXT NOT NULL, removed INTEGER NOT NULL,
	PRIMARY KEY (account, request_id)) WITHOUT ROWID, STRICT;
CREATE TABLE totals (
	account TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
	PRIMARY KEY (account, name)) WITHOUT ROWID, STRICT;
CREATE TABLE requests (
	account TEXT NOT NULL, unix_second INTEGER NOT NULL, requests INTEGER NOT NULL,
	PRIMARY KEY (account, unix_second)) WITHOUT ROWID, STRICT;
`

// What is read of an account.
const (
	selectJobs = `SELECT request_id, sequence, api, source, state, error_code, labels, audio_seconds, first_seen, submitted_at, last_observed, finished_at,
		detection_window_seconds, statistics FROM jobs WHERE account = ? ORDER BY sequence`
	selectDeparted = `SELECT request_id, until, removed FROM departed WHERE account = ?`
	selectTotals   = `SELECT name, value FROM totals WHERE account = ?`
	selectRequests = `SELECT unix_second, requests FROM requests WHERE account = ?`
)

// A DB is the database in one directory. It may be used by several goroutines at
// once; commits take turns.
type DB struct {
	sql  *sql.DB
	lock *flock.Flock
	path string
	// Aside is where a damaged database was put; empty: it was sound.
	Aside string
}

// Open opens the database in a directory, and makes both where they are missing.
// The error says what to do: another process has it, it is of a newer version, or
// it cannot be written. A damaged database is put aside under a name that says so,
// and an empty one takes its place.
func Open(dir string) (*DB, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the directory: %w", err)
	}
	db := &DB{lock: flock.New(filepath.Join(dir, "lock")), path: filepath.Join(dir, "register.db")}
	switch locked, err := db.lock.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("locking the directory: %w", err)
	case !locked:
		return nil, fmt.Errorf("another process uses %s; stop it, or choose another directory", dir)
	}
	err := db.open()
	if errors.Is(err, errDamaged) {
		if err = db.putAside(); err == nil {
			err = db.open()
		}
	}
	if err != nil {
		_ = db.lock.Unlock()
		return nil, err
	}
	return db, nil
}

var errDamaged = errors.New("the database is damaged")

func (db *DB) open() (err error) {
	// FULL: a commit is on the disk when it returns, also after a power loss.
	db.sql, err = sql.Open("sqlite", "file:"+db.path+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return fmt.Errorf("opening %s: %w", db.path, err)
	}
	db.sql.SetMaxOpenConns(1)
	defer func() {
		if err != nil {
			_ = db.sql.Close()
		}
	}()
	var sound string
	if err := db.sql.QueryRow("PRAGMA quick_check(1)").Scan(&sound); err != nil {
		return db.trouble("opening", err)
	}
	if sound != "ok" {
		return errDamaged
	}
	var version int
	if err := db.sql.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return db.trouble("opening", err)
	}
	switch {
	case version > schemaVersion:
		return fmt.Errorf("%s was written by a newer version (schema %d, this one knows %d); use that version, or another directory", db.path, version, schemaVersion)
	case version < schemaVersion:
		if _, err := db.sql.Exec(fmt.Sprintf("BEGIN; %s PRAGMA user_version = %d; COMMIT", schema, schemaVersion)); err != nil {
			return db.trouble("making the tables in", err)
		}
	}
	// A sound file may still have lost what its tables are called.
	for _, query := range []string{selectJobs, selectDeparted, selectTotals, selectRequests} {
		statement, err := db.sql.Prepare(query)
		if err != nil {
			return db.trouble("reading", err)
		}
		if err := statement.Close(); err != nil {
			return db.trouble("reading", err)
		}
	}
	return nil
}

// trouble tells damage from what may pass, such as a disk that does not answer or
// a file that must not be read: that is no reason to put the file aside.
func (db *DB) trouble(doing string, err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		// ERROR is SQL that the tables do not fit: one is missing, or there although
		// no version says so.
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR:
			return errDamaged
		}
	}
	return fmt.Errorf("%s %s: %w", doing, db.path, err)
}

// putAside renames a damaged database, with its log, so that it can be looked at.
func (db *DB) putAside() error {
	db.Aside = fmt.Sprintf("%s.damaged-%d", db.path, time.Now().Unix())
	for _, part := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(db.path+part, db.Aside+part); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("putting a damaged database aside: %w", err)
		}
	}
	return nil
}

// Close closes the database, and lets another process have it.
func (db *DB) Close() error { return errors.Join(db.sql.Close(), db.lock.Unlock()) }

// Size is the size of the database and its log on disk, in bytes.
func (db *DB) Size() (bytes int64) {
	for _, part := range []string{"", "-wal"} {
		if info, err := os.Stat(db.path + part); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

// Account returns the part of the database that belongs to an account.
func (db *DB) Account(name string) *Account { return &Account{db, name} }

// An Account is one account's part of a database.
type Account struct {
	db   *DB
	name string
}

// Size is the size of the whole database, in bytes.
func (a *Account) Size() int64 { return a.db.Size() }

// Damaged says whether the database that was there could not be read.
func (a *Account) Damaged() bool { return a.db.Aside != "" }

// stamp is a time as the tables have it: NULL where it is zero.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func parseStamp(s sql.NullString) (time.Time, error) {
	if !s.Valid {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339Nano, s.String)
}

func text(json []byte) any {
	if json == nil {
		return nil
	}
	return string(json)
}

// Commit writes a batch in one transaction. It has been written, durably, when
// the error is nil, and nothing of it otherwise.
func (a *Account) Commit(ctx context.Context, b *Batch) (err error) {
	tx, err := a.db.sql.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("storing: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
			err = fmt.Errorf("storing: %w", err)
		}
	}()
	each := func(n int, query string, args func(i int) []any) error {
		if n == 0 {
			return nil
		}
		statement, err := tx.PrepareContext(ctx, query)
		if err != nil {
			return err
		}
		defer statement.Close()
		for i := range n {
			if _, err := statement.ExecContext(ctx, append([]any{a.name}, args(i)...)...); err != nil {
				return err
			}
		}
		return nil
	}
	names, seconds := slices.Collect(maps.Keys(b.Totals)), slices.Collect(maps.Keys(b.Requests))
	before := 0
	if b.Before > 0 {
		before = 1
	}
	for _, step := range []func() error{
		func() error {
			return each(len(b.Jobs), `INSERT OR REPLACE INTO jobs (account, request_id, sequence, api, source, state, error_code, labels, audio_seconds,
				first_seen, submitted_at, last_observed, finished_at, detection_window_seconds, statistics) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
				func(i int) []any {
					j := &b.Jobs[i]
					return []any{j.RequestID, int64(j.Sequence), j.API, j.Source, j.State, j.ErrorCode, text(j.Labels), j.AudioSeconds,
						stamp(j.FirstSeen), stamp(j.SubmittedAt), stamp(j.LastObserved), stamp(j.FinishedAt), j.DetectionWindow.Seconds(), text(j.Statistics)}
				})
		},
		func() error {
			return each(len(b.Gone), `DELETE FROM jobs WHERE account = ? AND request_id = ?`, func(i int) []any { return []any{b.Gone[i]} })
		},
		func() error {
			return each(len(b.Departed), `INSERT OR REPLACE INTO departed (account, request_id, until, removed) VALUES (?, ?, ?, ?)`,
				func(i int) []any {
					d := &b.Departed[i]
					return []any{d.RequestID, stamp(d.Until), d.Removed}
				})
		},
		func() error {
			return each(len(b.Forgotten), `DELETE FROM departed WHERE account = ? AND request_id = ?`, func(i int) []any { return []any{b.Forgotten[i]} })
		},
		func() error {
			return each(len(names), `INSERT OR REPLACE INTO totals (account, name, value) VALUES (?, ?, ?)`,
				func(i int) []any { return []any{names[i], string(b.Totals[names[i]])} })
		},
		func() error {
			return each(len(seconds), `INSERT INTO requests (account, unix_second, requests) VALUES (?, ?, ?)
				ON CONFLICT (account, unix_second) DO UPDATE SET requests = requests + excluded.requests`,
				func(i int) []any { return []any{seconds[i], b.Requests[seconds[i]]} })
		},
		func() error {
			return each(before, `DELETE FROM requests WHERE account = ? AND unix_second < ?`, func(int) []any { return []any{b.Before} })
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Load reads all that is stored of the account. A row that makes no sense is left
// out and counted.
func (a *Account) Load(ctx context.Context) (*Contents, error) {
	c := &Contents{Totals: make(map[string][]byte), Requests: make(map[int64]int)}
	read := func(query string, row func(*sql.Rows) error) error {
		rows, err := a.db.sql.QueryContext(ctx, query, a.name)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if row(rows) != nil {
				c.Corrupt++
			}
		}
		return rows.Err()
	}
	err := errors.Join(
		read(selectJobs, func(rows *sql.Rows) error {
			var j Job
			var times [4]sql.NullString
			var labels, statistics sql.NullString
			var window float64
			err := rows.Scan(&j.RequestID, &j.Sequence, &j.API, &j.Source, &j.State, &j.ErrorCode, &labels, &j.AudioSeconds,
				&times[0], &times[1], &times[2], &times[3], &window, &statistics)
			if err != nil {
				return err
			}
			j.DetectionWindow = time.Duration(window * float64(time.Second))
			if labels.Valid {
				j.Labels = []byte(labels.String)
			}
			if statistics.Valid {
				j.Statistics = []byte(statistics.String)
			}
			for i, t := range []*time.Time{&j.FirstSeen, &j.SubmittedAt, &j.LastObserved, &j.FinishedAt} {
				if *t, err = parseStamp(times[i]); err != nil {
					return err
				}
			}
			c.Jobs = append(c.Jobs, j)
			return nil
		}),
		read(selectDeparted, func(rows *sql.Rows) error {
			var d Departure
			var until sql.NullString
			if err := rows.Scan(&d.RequestID, &until, &d.Removed); err != nil {
				return err
			}
			var err error
			if d.Until, err = parseStamp(until); err == nil {
				c.Departed = append(c.Departed, d)
			}
			return err
		}),
		read(selectTotals, func(rows *sql.Rows) error {
			var name, value string
			err := rows.Scan(&name, &value)
			if err == nil {
				c.Totals[name] = []byte(value)
			}
			return err
		}),
		read(selectRequests, func(rows *sql.Rows) error {
			var second int64
			var n int
			err := rows.Scan(&second, &n)
			if err == nil {
				c.Requests[second] = n
			}
			return err
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("loading the register of account %q: %w", a.name, err)
	}
	return c, nil
}

// Package store keeps what a register knows on disk: in one SQLite file, in
// tables that an operator can read with sqlite3. What is committed survives the
// process, whatever ends it.
package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gofrs/flock"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A DB is the database in one directory. It may be used by several goroutines at
// once; commits take turns.
type DB struct {
	lock *flock.Flock
	path string
	log  *slog.Logger

	mu      sync.RWMutex // held to put another file in the place of the one that is open
	sql     *sql.DB
	puts    map[*table]*sql.Stmt
	removes map[*table]*sql.Stmt

	unclaimed map[string]*Contents // what was read of the accounts, until they load it; nil: it is read again
	claimed   map[string]bool      // accounts that have loaded
	lost      losses               // not told to their account yet
}

// Open opens the database in a directory, and makes both where they are missing.
// The error says what to do: another process has it, it is of a newer version, or
// it cannot be written. Of a damaged database, what is sound is kept: it goes into
// a new one, and the damaged file is put aside under a name that says so. What was
// lost is logged, and told to the accounts that load.
func Open(dir string, log *slog.Logger) (*DB, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the directory: %w", err)
	}
	db := &DB{lock: flock.New(filepath.Join(dir, "lock")), path: filepath.Join(dir, "register.db"), log: log, claimed: make(map[string]bool)}
	switch locked, err := db.lock.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("locking the directory: %w", err)
	case !locked:
		return nil, fmt.Errorf("another process uses %s; stop it, or choose another directory", dir)
	}
	err := db.finishRebuilding()
	if err == nil {
		err = db.open()
	}
	if old, ok := errors.AsType[olderVersion](err); ok {
		err = db.rebuild(int(old), "schema-"+strconv.Itoa(int(old)))
	}
	if err == nil || errors.Is(err, errDamaged) {
		db.unclaimed, err = db.readOrRebuild(err)
	}
	if err != nil {
		_ = db.lock.Unlock()
		return nil, err
	}
	return db, nil
}

// errDamaged says that a database is not as it was written.
var errDamaged = errors.New("the database is damaged")

// An olderVersion is the version of a schema that is not read any more.
type olderVersion int

func (v olderVersion) Error() string { return fmt.Sprintf("the schema is of version %d", int(v)) }

// connect opens a file, and makes it where it is missing.
func connect(path string) (*sql.DB, error) {
	// FULL: a commit is on the disk when it returns, also after a power loss.
	pragmas := []string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "journal_size_limit(67108864)", "cell_size_check(ON)", "trusted_schema(OFF)"}
	// SQLite would leave it to the umask who may read a file that it makes.
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	_ = file.Close() // nothing was written
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		// Only a new file can be told so; SQLite writes to an old one all the same.
		pragmas = append([]string{"auto_vacuum(INCREMENTAL)"}, pragmas...)
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma="+strings.Join(pragmas, "&_pragma="))
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// open opens the file, if it is sound and of this version.
func (db *DB) open() (err error) {
	if err := checkHeader(db.path); err != nil {
		return err
	}
	db.sql, err = connect(db.path)
	if err != nil {
		return fmt.Errorf("opening %s: %w", db.path, err)
	}
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
	if err := db.checkVersion(); err != nil {
		return err
	}
	db.puts, db.removes = make(map[*table]*sql.Stmt), make(map[*table]*sql.Stmt)
	for _, t := range tables {
		// A sound file may still have lost what its tables are called.
		for query, into := range map[string]map[*table]*sql.Stmt{t.put(): db.puts, t.remove(): db.removes} {
			if into[t], err = db.sql.Prepare(query); err != nil {
				return db.trouble("opening", err)
			}
		}
	}
	return nil
}

// checkVersion makes the tables where there are none yet, and tells an older and a
// newer version of them. The version stands in two places: one flipped bit is no
// newer version.
func (db *DB) checkVersion() error {
	var version int
	if err := db.sql.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return db.trouble("opening", err)
	}
	if version == 0 {
		if err := makeTables(db.sql); err != nil {
			return db.trouble("making the tables in", err)
		}
		return nil
	}
	if version == 1 {
		return olderVersion(1) // which has no table meta
	}
	var row []any
	err := scan(db.sql, &meta, meta.read(), func(r []any) error { row = r; return nil })
	switch {
	case err != nil:
		return db.trouble("opening", err)
	case row == nil || !meta.sound(row) || row[1] != strconv.Itoa(version):
		return errDamaged
	case version > schemaVersion:
		return fmt.Errorf("%s was written by a newer version (schema %d, this one knows %d); use that version, or another directory", db.path, version, schemaVersion)
	}
	return nil
}

func makeTables(db *sql.DB) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // of no effect after a commit
	for _, t := range tables {
		if _, err := tx.Exec(t.create()); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(meta.put(), meta.sealed("schema", strconv.Itoa(schemaVersion))...); err != nil {
		return err
	}
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", schemaVersion)); err != nil {
		return err
	}
	return tx.Commit()
}

// trouble tells damage from what may pass, such as a disk that does not answer or
// a file that must not be read: that is no reason to put the file aside.
func (db *DB) trouble(doing string, err error) error {
	if isDamage(err) || err == errDamaged {
		return errDamaged
	}
	return fmt.Errorf("%s %s: %w", doing, db.path, err)
}

func isDamage(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	// ERROR is SQL that the tables do not fit: one is missing, or there although no
	// version says so.
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR:
		return true
	}
	return false
}

// scan reads rows of a table, checksum last.
func scan(db *sql.DB, t *table, query string, row func([]any) error) error {
	rows, err := db.Query(query)
	if err != nil {
		return err
	}
	defer rows.Close()
	into := make([]any, len(t.columns)+1)
	for rows.Next() {
		values := make([]any, len(into))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := row(values); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Close closes the database, and lets another process have it.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return errors.Join(db.sql.Close(), db.lock.Unlock())
}

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

// Commit writes a batch in one transaction. It has been written, durably, when
// the error is nil, and nothing of it otherwise.
func (a *Account) Commit(ctx context.Context, b *Batch) (err error) {
	db := a.db
	db.mu.RLock()
	defer db.mu.RUnlock()
	tx, err := db.sql.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("storing: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
			err = fmt.Errorf("storing: %w", err)
		}
	}()
	put := func(t *table, values ...any) {
		if err == nil {
			_, err = tx.StmtContext(ctx, db.puts[t]).ExecContext(ctx, t.sealed(values...)...)
		}
	}
	remove := func(t *table, key ...any) {
		if err == nil {
			_, err = tx.StmtContext(ctx, db.removes[t]).ExecContext(ctx, key...)
		}
	}
	for i := range b.Jobs {
		put(&jobs, b.Jobs[i].values(a.name)...)
	}
	for _, id := range b.Gone {
		remove(&jobs, a.name, id)
	}
	for i := range b.Departed {
		put(&departed, b.Departed[i].values(a.name)...)
	}
	for _, id := range b.Forgotten {
		remove(&departed, a.name, id)
	}
	for name, value := range b.Totals {
		put(&totals, a.name, name, string(value))
	}
	for second, n := range b.Requests {
		if n > 0 {
			put(&requests, a.name, second, int64(n))
		} else {
			remove(&requests, a.name, second)
		}
	}
	for id, marks := range b.Timings {
		if marks != nil {
			put(&timings, a.name, id, marks)
		} else {
			remove(&timings, a.name, id)
		}
	}
	for i := range b.Changes {
		put(&changes, b.Changes[i].values(a.name)...)
	}
	for _, number := range b.Delivered {
		remove(&changes, a.name, int64(number))
	}
	if b.Learnt != nil {
		put(&learnt, a.name, string(b.Learnt))
	}
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	if b.Compact {
		// It is no loss where that fails: the room is used again.
		_, _ = db.sql.ExecContext(ctx, "PRAGMA incremental_vacuum")
	}
	return nil
}

// Load returns all that is stored of the account. It comes before the first Commit.
func (a *Account) Load(ctx context.Context) (*Contents, error) {
	db := a.db
	db.mu.Lock()
	defer db.mu.Unlock()
	all := db.unclaimed
	if all == nil || db.claimed[a.name] { // it comes back, and has written since
		var err error
		if all, err = db.readOrRebuild(nil); err != nil {
			return nil, fmt.Errorf("loading the register of account %q: %w", a.name, err)
		}
	}
	db.claimed[a.name] = true
	c := all[a.name]
	delete(all, a.name)
	if c == nil {
		c = newContents()
	}
	c.Lost = db.lost.tell(a.name)
	return c, nil
}

// Loaded says that the accounts of the configuration have loaded: nothing is held in
// memory any more of others, which may yet come.
func (db *DB) Loaded() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.unclaimed = nil
}

// readOrRebuild reads all that is stored. Where a row is not as it was written, or
// the database is damaged as err has it, it is rebuilt from what is sound.
func (db *DB) readOrRebuild(err error) (map[string]*Contents, error) {
	var all map[string]*Contents
	if err == nil {
		if all, err = db.read(); errors.Is(err, errDamaged) {
			_ = db.sql.Close()
		}
	}
	if errors.Is(err, errDamaged) {
		if err = db.rebuild(schemaVersion, "damaged"); err == nil {
			all, err = db.read()
		}
	}
	return all, err
}

// read reads all rows, also those of accounts that nobody asks for: the name of an
// account is damaged as easily as anything else.
func (db *DB) read() (map[string]*Contents, error) {
	all := make(map[string]*Contents)
	for _, t := range tables {
		if t == &meta {
			continue
		}
		err := scan(db.sql, t, t.read(), func(row []any) error {
			if !t.sound(row) {
				return errDamaged
			}
			account := text(row[0])
			if all[account] == nil {
				all[account] = newContents()
			}
			all[account].take(t, row)
			return nil
		})
		if err != nil {
			return nil, db.trouble("reading", err)
		}
	}
	for _, c := range all {
		slices.SortFunc(c.Jobs, func(a, b Job) int { return cmp.Compare(a.Sequence, b.Sequence) })
		slices.SortFunc(c.Changes, func(a, b Change) int { return cmp.Compare(a.Number, b.Number) })
	}
	return all, nil
}

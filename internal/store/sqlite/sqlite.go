// Package sqlite is the storage engine on one SQLite file. docs/storage.md describes
// the file, docs/reliability.md what it survives.
package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/gofrs/flock"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

const (
	FileName = "register.db" // of the database in its directory
	pageSize = 4096          // of every file that this package makes
)

// A DB is the database in one directory, an engine. It is safe for use by several
// goroutines.
type DB struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex                 // guards the fields below and each use of the connection
	sql     *sql.DB                    // nil: it could not be opened
	writes  map[string]*sql.Stmt       // of sql, see prepare
	read    map[string]*store.Contents // by Open, of accounts that have not loaded; nil after the first Commit
	sums    allSums                    // of accounts that were read, as of the last commit
	unknown bool                       // a commit had an unknown outcome, and the file was not opened again since
	lost    *losses
	files   map[string]os.FileInfo // that are open, by suffix
	locks   []*flock.Flock
	locked  os.FileInfo // the file of the first lock
}

// ErrInUse is wrapped by the error of Open if another process uses the directory.
var ErrInUse = errors.New("another process uses")

// Open opens the database in a directory, and makes both if they are missing. The
// error contains the remedy. The readable rows of a damaged database go into a new file;
// the damaged one is put aside. The loss is logged, and reported to the accounts.
func Open(dir string, log *slog.Logger) (*DB, error) {
	db, err := open(dir, log)
	return db, explain(err)
}

func open(dir string, log *slog.Logger) (*DB, error) {
	if err := accessible(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the directory: %w", err)
	}
	db := &DB{path: filepath.Join(dir, FileName), log: log}
	if err := db.lockDirectory(); err != nil {
		return nil, err
	}
	err := db.finishRebuild()
	if err == nil {
		err = db.openChecked()
	}
	if old, ok := errors.AsType[olderSchema](err); ok {
		err = db.rebuild([]*schema{old.schema}, "schema-"+strconv.Itoa(old.version), nil)
	}
	if db.read, err = db.readOrRebuild(context.Background(), "", current.tables, err); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// errDamaged means that a database is not as it was written.
var errDamaged = errors.New("the database is damaged")

// isDamage tells damage from what may pass, such as a disk that does not answer or a
// file that must not be read: these are no reason to put the file aside.
func isDamage(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return errors.Is(err, errDamaged) ||
		ok && (e.Code()&0xff == sqlite3.SQLITE_CORRUPT || e.Code()&0xff == sqlite3.SQLITE_NOTADB ||
			e.Code() == sqlite3.SQLITE_IOERR_SHORT_READ)
}

// uri returns the name of a file as SQLite takes it, with any character in it.
func uri(path string, query url.Values) string {
	return "file:" + url.PathEscape(path) + "?" + query.Encode()
}

// connect opens a file, and makes it if it is missing. It finds damage of the first
// bytes that SQLite takes for the format of a later version, which it refuses or opens
// read-only: bytes 18 and 19 and the four from 44 on (file format, 1.3).
func connect(path string) (*sql.DB, error) {
	// SQLite would leave it to the umask who can read a file that it makes.
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	header := make([]byte, 48)
	n, err := io.ReadFull(file, header)
	switch {
	case err != nil && err != io.EOF && err != io.ErrUnexpectedEOF:
		return nil, err
	case n > 0 && n < len(header), max(header[18], header[19]) > 2, binary.BigEndian.Uint32(header[44:]) > 4:
		return nil, errDamaged
	}
	pragmas := []string{
		"busy_timeout(10000)",
		// FULL: a commit is on the disk when it returns, also after a power loss.
		"journal_mode(WAL)", "synchronous(FULL)", "journal_size_limit(67108864)",
		"cell_size_check(ON)", "trusted_schema(OFF)",
	}
	if n == 0 {
		// They have an effect on a new file only, but SQLite would write to an old one.
		pragmas = append([]string{fmt.Sprintf("page_size(%d)", pageSize), "auto_vacuum(INCREMENTAL)"}, pragmas...)
	}
	// A commit does not wait for a lock: its transaction has it, or has not begun.
	db, err := sql.Open("sqlite", uri(path, url.Values{"_txlock": {"immediate"}, "_pragma": pragmas}))
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// reopen opens the file again. If its rebuild was not completed, also by a process that was
// killed, it completes that first.
func (db *DB) reopen() error {
	db.disconnect()
	if err := db.finishRebuild(); err != nil {
		return err
	}
	return db.open()
}

// openChecked opens the file that another process may have left, if it has not lost its content and its log is not
// damaged.
func (db *DB) openChecked() error {
	superseded, err := checkLog(db.path)
	if err != nil && !isDamage(err) {
		return err
	}
	if emptied(db.path) {
		if err := os.WriteFile(db.path, nil, 0o600); err != nil { // to put aside, before its log
			return err
		}
		return errors.Join(fmt.Errorf("%w: %s is gone or empty, and its log is there", errDamaged, db.path), err)
	}
	if superseded {
		moved := os.Rename(db.path+"-wal", db.path+keptLog)
		if moved = errors.Join(moved, os.Remove(db.path+"-shm")); moved != nil {
			return fmt.Errorf("moving a damaged log away: %w", moved)
		}
	}
	if err != nil {
		return err
	}
	if superseded {
		db.log.Warn("The store's log is damaged, but the database has all of it; nothing is lost",
			"put_aside", db.path+keptLog)
	}
	return db.open()
}

func (db *DB) disconnect() {
	if db.sql != nil {
		_ = db.sql.Close()
		db.sql = nil
		delete(db.files, "-wal") // which SQLite removes
		delete(db.files, "-shm")
	}
}

// open opens the file if it is not damaged and of this version.
func (db *DB) open() error {
	opened, err := connect(db.path)
	var writes map[string]*sql.Stmt
	if err == nil {
		if err = check(opened); err == nil {
			writes, err = prepare(opened)
		}
		if err != nil {
			_ = opened.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w", db.path, err)
	}
	db.sql, db.writes = opened, writes
	db.remember()
	return nil
}

// check makes the tables in a new file, and checks pages, version and tables of
// another. The version is in two places, so that one flipped bit is no newer version.
func check(db *sql.DB) error {
	var result string
	var version int
	query := "SELECT quick_check, user_version FROM pragma_quick_check, pragma_user_version"
	if err := db.QueryRow(query).Scan(&result, &version); err != nil {
		return err
	}
	there, err := tablesIn(db)
	switch {
	case err != nil:
		return err
	case result != "ok":
		return errDamaged
	case version == 0 && len(there) == 0:
		return current.make(db)
	case version == schema1.version:
		return olderSchema{schema1} // it has no table meta
	case there[meta.name] != meta.create:
		return errDamaged
	}
	switch of, err := schemaOf(db, version); {
	case err != nil:
		return err
	case of != current:
		return olderSchema{of}
	case slices.ContainsFunc(tables, func(t *table) bool { return there[t.name] != t.create }):
		return errDamaged
	}
	return nil
}

// schemaOf returns the schema of a database that has a table meta and this user_version.
func schemaOf(db *sql.DB, version int) (*schema, error) {
	row := make([]any, len(meta.columns)+1)
	err := scan(context.Background(), db, meta.read, func(r []any) error { row = slices.Clone(r); return nil })
	i := slices.IndexFunc(schemas, func(s *schema) bool {
		return s.version == version && s.meta != nil && s.meta.valid(row)
	})
	switch {
	case err != nil:
		return nil, err
	case row[1] != strconv.Itoa(version), i < 0 && version <= schemaVersion:
		return nil, errDamaged
	case i < 0:
		return nil, newerSchema(version)
	}
	return schemas[i], nil
}

// tablesIn returns the statements that made the tables of a database, by name.
func tablesIn(db *sql.DB) (map[string]string, error) {
	there := make(map[string]string)
	query := "SELECT name, sql FROM sqlite_schema WHERE type = 'table'"
	return there, scan(context.Background(), db, query, func(row []any) error {
		there[textOf(row[0])] = textOf(row[1])
		return nil
	})
}

// scan reads the rows of a query. row must not keep the slice; it may keep its values. The rows come from the driver
// itself: database/sql would copy each value, which takes as long as reading it.
func scan(ctx context.Context, db *sql.DB, query string, row func([]any) error, args ...any) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	named := make([]driver.NamedValue, len(args))
	for i, v := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return conn.Raw(func(conn any) error {
		rows, err := conn.(driver.QueryerContext).QueryContext(ctx, query, named)
		if err != nil {
			return err
		}
		defer rows.Close()
		read := make([]driver.Value, len(rows.Columns()))
		values := make([]any, len(read))
		for {
			if err := rows.Next(read); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			for i, v := range read {
				values[i] = v
			}
			if err := row(values); err != nil {
				return err
			}
		}
	})
}

// prepare returns the statements of a writer, by their text. Preparing them for each transaction would take a quarter
// of the time of a small one.
func prepare(db *sql.DB) (statements map[string]*sql.Stmt, err error) {
	statements = make(map[string]*sql.Stmt)
	for _, t := range tables {
		for _, text := range []string{t.put, t.remove, t.find} {
			if statements[text], err = db.Prepare(text); err != nil {
				return nil, err
			}
		}
	}
	return statements, nil
}

// A writer executes statements in a transaction, up to the first error.
type writer struct {
	tx         *sql.Tx
	statements map[string]*sql.Stmt // of the database, see prepare
	prepared   map[string]*sql.Stmt // of the transaction
	err        error
}

// begin begins a transaction. Statements that are not prepared are prepared in it.
func begin(db *sql.DB, statements map[string]*sql.Stmt) (*writer, error) {
	tx, err := db.Begin()
	return &writer{tx: tx, statements: statements, prepared: make(map[string]*sql.Stmt)}, err
}

// statement returns a prepared statement; nil after an error.
func (w *writer) statement(text string) *sql.Stmt {
	if w.err == nil && w.prepared[text] == nil {
		if known := w.statements[text]; known != nil {
			w.prepared[text] = w.tx.Stmt(known)
		} else {
			w.prepared[text], w.err = w.tx.Prepare(text)
		}
	}
	if w.err != nil {
		return nil
	}
	return w.prepared[text]
}

func (w *writer) exec(text string, values []any) {
	if s := w.statement(text); s != nil {
		_, w.err = s.Exec(values...)
	}
}

// Close closes the database. Another process can open it then.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	var err error
	if db.sql != nil {
		err = db.sql.Close()
	}
	for _, lock := range db.locks {
		err = errors.Join(err, lock.Unlock())
	}
	return err
}

// Account returns the account of that name; it need not exist yet.
func (db *DB) Account(name string) store.Account { return &account{db, store.Clean(name)} }

// Accounts returns the names of the accounts of which anything is stored, in order.
func (db *DB) Accounts(ctx context.Context) ([]string, error) {
	return db.names(ctx, "SELECT DISTINCT account FROM sums WHERE row_count > 0 ORDER BY account")
}

// Senders returns the names of the accounts that have requests stored, in order.
func (db *DB) Senders(ctx context.Context) ([]string, error) {
	return db.names(ctx, "SELECT DISTINCT account FROM requests ORDER BY account")
}

// Sender returns an account to load its totals and requests only.
func (db *DB) Sender(name string) store.Account { return sender{&account{db, store.Clean(name)}} }

type sender struct{ *account }

// Load reads all totals, not only what is known of the requests: a sender that counts something stores their sums.
func (s sender) Load(ctx context.Context) (*store.Contents, error) {
	c, err := s.load(ctx, totals, requests)
	if err != nil {
		return nil, err
	}
	return &store.Contents{Totals: c.Totals, Requests: c.Requests, Now: c.Now}, nil
}

func (db *DB) names(ctx context.Context, query string) (names []string, err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.sql == nil {
		err = db.settle()
	}
	if err == nil {
		err = scan(ctx, db.sql, query, func(row []any) error {
			names = append(names, textOf(row[0]))
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", db.path, err)
	}
	return names, nil
}

type account struct {
	*DB
	name string
}

// Size returns the size of the database and its log, in bytes.
func (a *account) Size() (bytes int64) {
	for _, part := range []string{"", "-wal"} {
		if info, err := os.Stat(a.path + part); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

// Verify looks whether the files of the database are still those that are open.
func (a *account) Verify() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.present(); err != nil {
		return fmt.Errorf("looking at the store: %w", err)
	}
	return nil
}

// Inbox returns nothing: one process has all accounts of a directory.
func (a *account) Inbox() ([]store.Message, bool, error) { return nil, false, nil }

// Commit writes a batch in one transaction. The outcome is known unless COMMIT
// itself fails, with another error than a full disk or a lock: the log may then have
// the whole transaction, although SQLite could not make sure of it. It is
// unknown, too, if the database is damaged, or was rebuilt since the account loaded.
func (a *account) Commit(b *store.Batch) error {
	if b.Empty() { // nobody else writes, and Verify looks after the files
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.read = nil
	if a.sql == nil {
		if err := a.settle(); isDamage(err) { // Load rebuilds it
			return fmt.Errorf("storing: %w: %w", store.ErrUnknown, err)
		} else if err != nil {
			return fmt.Errorf("storing: %w", err)
		}
	}
	if a.lost.unreported(a.name) {
		return fmt.Errorf("storing: %w: the database was rebuilt", store.ErrUnknown)
	}
	if err := a.present(); err != nil {
		return fmt.Errorf("storing: %w", err)
	}
	changed := maps.Clone(a.sums.of(a.name))
	w, err := begin(a.sql, a.writes)
	if err == nil {
		if w.batch(a.name, b, changed); w.err != nil {
			err = w.err
			_ = w.tx.Rollback()
		}
	}
	switch {
	case isDamage(err): // Load finds it when it opens the file again, and rebuilds it
		a.unknown = true
		return fmt.Errorf("storing: %w: %w", store.ErrUnknown, err)
	case err != nil:
		return fmt.Errorf("storing: %w", err)
	}
	if err := w.tx.Commit(); err != nil {
		e, ok := errors.AsType[*sqlite.Error](err)
		if ok && (e.Code()&0xff == sqlite3.SQLITE_FULL || e.Code()&0xff == sqlite3.SQLITE_BUSY) {
			return fmt.Errorf("storing: %w", err)
		}
		a.unknown = true
		return fmt.Errorf("storing: %w: %w", store.ErrUnknown, err)
	}
	a.sums[a.name] = changed
	if err := a.present(); err != nil {
		return fmt.Errorf("storing: %w: %w", store.ErrUnknown, err)
	}
	if b.Compact {
		// It is no loss if that fails: free pages are used again.
		_, _ = a.sql.Exec("PRAGMA incremental_vacuum")
	}
	return nil
}

// Load returns everything that is stored of the account.
func (a *account) Load(ctx context.Context) (*store.Contents, error) {
	return a.load(ctx, current.tables...)
}

// load returns what some tables have of the account.
func (a *account) load(ctx context.Context, from ...*table) (*store.Contents, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := ctx.Err()
	c := a.read[a.name]
	delete(a.read, a.name)
	if c == nil && err == nil && a.sql != nil && a.moved() != nil {
		err = a.rescue()
	}
	if c == nil && err == nil {
		if a.unknown || a.sql == nil {
			err = a.settle()
		}
		var all map[string]*store.Contents
		all, err = a.readOrRebuild(ctx, a.name, from, err)
		c = cmp.Or(all[a.name], &store.Contents{})
	}
	if err != nil {
		return nil, fmt.Errorf("loading account %q: %w", a.name, err)
	}
	a.unknown = false
	c.Lost = a.lost.report(a.name)
	return c, nil
}

// settle makes the outcome of a failed COMMIT certain. Its connection does not see
// the transaction, but a process that opens the file after a crash may. Without a
// connection there is one truth, which is then written into the database. On an error
// there may be no connection.
func (db *DB) settle() error {
	err := db.moved()
	if err == nil {
		err = db.reopen()
	}
	if err == nil {
		_, err = db.sql.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return err
}

// readOrRebuild reads what some tables have of one account, or of all. If a row is not as it
// was written, or err is that the database is damaged, it is rebuilt.
func (db *DB) readOrRebuild(
	ctx context.Context, account string, from []*table, err error,
) (all map[string]*store.Contents, _ error) {
	if err == nil {
		all, err = db.readRows(ctx, account, from)
	}
	if isDamage(err) {
		if err = db.rebuild(schemas, "damaged", err); err == nil {
			all, err = db.readRows(ctx, account, from)
		}
	}
	return all, err
}

// readRows reads the rows of one account, or of all, in some tables: also of those that are not
// configured, as the name of an account is damaged as easily as anything else. It finds
// what SQLite does not see: rows that have changed, and pages that are copies of others
// or as they were some time ago.
func (db *DB) readRows(ctx context.Context, account string, from []*table) (map[string]*store.Contents, error) {
	all := make(map[string]*store.Contents)
	added, stored := make(allSums), make(allSums)
	for _, t := range slices.Concat([]*table{current.sums}, from) {
		query, args := t.read, []any{}
		if account != "" {
			query, args = query+" WHERE account = ?", append(args, account)
		}
		var last []any
		err := scan(ctx, db.sql, query, func(row []any) error {
			if !t.valid(row) || !inOrder(last, row[:t.key]) {
				return errDamaged
			}
			last = append(last[:0], row[:t.key]...)
			if t == sums {
				stored.set(row)
				return nil
			}
			of := textOf(row[0])
			if all[of] == nil {
				n := min(max(stored.of(of)[jobs.name].rows, 0), 1<<24)
				all[of] = &store.Contents{Jobs: slices.Grow([]store.Job(nil), int(n))}
			}
			t.take(all[of], row)
			added.of(of).add(t, row)
			return nil
		}, args...)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", db.path, err)
		}
	}
	for _, t := range current.tables {
		if !slices.Contains(from, t) { // its rows are checked when they are read
			added.of(account)[t.name] = stored.of(account)[t.name]
		}
	}
	if len(added.differences(stored)) > 0 {
		return nil, fmt.Errorf("reading %s: %w", db.path, errDamaged)
	}
	if account == "" {
		db.sums = added
	} else {
		db.sums[account] = added.of(account)
	}
	for _, c := range all {
		slices.SortFunc(c.StateChanges, func(a, b store.StateChange) int { return cmp.Compare(a.Number, b.Number) })
	}
	return all, nil
}

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Suffixes of files: a new database while it is filled, and once it only has to be
// put in the place of the old one; a copy of the old one with a valid first page; a
// copy of a damaged log.
const (
	unfinished = ".new"
	rebuilt    = ".rebuilt"
	grafted    = ".grafted"
	keptLog    = ".log"
)

// A schema is a version of the format, with its tables in the order of their pages.
type schema struct {
	version int
	meta    *table
	tables  []*table // without meta and sums
	sums    *table   // nil before version 4
}

var (
	current = &schema{schemaVersion, meta, tables[1 : len(tables)-1], sums}
	// schemas are all of them, the newest first. The rows of schema1 have no checksums.
	schemas = []*schema{current, schema3, schema2, schema1}
)

// olderSchema is the error of a database that has to be converted.
type olderSchema struct{ *schema }

func (s olderSchema) Error() string { return fmt.Sprintf("the schema is of version %d", s.version) }

// make makes the tables. After an error the connection is of no use.
func (s *schema) make(db *sql.DB) error {
	var script strings.Builder
	script.WriteString("BEGIN IMMEDIATE; ")
	for _, t := range slices.Concat([]*table{s.meta}, s.tables, []*table{s.sums}) {
		if t != nil {
			script.WriteString(t.create + "; ")
		}
	}
	version := strconv.Itoa(s.version)
	fmt.Fprintf(&script, "INSERT INTO meta VALUES ('schema', '%s', %d); PRAGMA user_version = %s; COMMIT",
		version, s.meta.checksum([]any{"schema", version}), version)
	_, err := db.Exec(script.String())
	return err
}

// rebuild copies the valid rows of the database, which is of one of these schemas,
// into a new one of the current schema, puts that in its place and opens it. The old
// one is kept under a name with that word in it. cause is the damage, if there is any.
func (db *DB) rebuild(from []*schema, word string, cause error) error {
	db.disconnect()
	if errors.Is(cause, errLog) && exists(db.path+"-wal") { // SQLite removes it when it closes the file
		if err := copyFile(db.path+"-wal", db.path+keptLog, nil); err != nil {
			return fmt.Errorf("rebuilding %s: %w", db.path, err)
		}
	}
	removeDatabase(db.path + unfinished)
	defer removeDatabase(db.path + unfinished)
	defer removeDatabase(db.path + grafted)
	c, err := copyRows(from, db.path)
	if err != nil {
		return fmt.Errorf("rebuilding %s: %w", db.path, err)
	}
	if errors.Is(cause, errLog) {
		c.places++
	}
	aside := db.freeName(word)
	damaged := len(from) > 1 || len(c.lost)+c.places > 0
	if damaged {
		// Not later: a process that completes the rebuild, after this one was killed, does not know what was lost.
		db.log.Error("The store was damaged; its readable rows are kept and the damaged file is put aside",
			"err", cause, "put_aside", aside, "rows_kept", c.kept, "rows_lost", c.rowsLost(),
			"unreadable_places", c.places, "lost", c.lost[:min(len(c.lost), 20)])
	}
	if err := os.Rename(db.path+unfinished, db.path+rebuilt); err != nil {
		return fmt.Errorf("rebuilding %s: %w", db.path, err)
	}
	db.files = nil // from here on, the new file is the database, also after an error
	if damaged {
		db.lost = c.losses
	}
	if err := db.swap(aside); err != nil {
		return err
	}
	if errors.Is(cause, errLog) && exists(db.path+keptLog) {
		if err := os.Rename(db.path+keptLog, aside+"-wal"); err != nil {
			return fmt.Errorf("putting a log aside: %w", err)
		}
	}
	if len(from) == 1 {
		db.log.Info("The store was converted to a new schema and the old file put aside",
			"schema", schemaVersion, "put_aside", aside)
	}
	return db.open()
}

// finishRebuild puts a rebuilt database in its place that a process has left, which was killed then or could not do it.
// One that is not whole was not left by this program: it is put aside, unless it is all that there is.
func (db *DB) finishRebuild() error {
	if !exists(db.path + rebuilt) {
		return nil
	}
	err := checkWhole(db.path + rebuilt)
	if isDamage(err) && (size(db.path) > 0 || emptied(db.path)) {
		aside := db.freeName("rebuilt-damaged")
		if err := os.Rename(db.path+rebuilt, aside); err != nil {
			return fmt.Errorf("putting a rebuilt database aside: %w", err)
		}
		db.log.Warn("A rebuilt store was left that is damaged or not whole; the store is used as it was",
			"err", err, "put_aside", aside)
		return nil
	}
	if err != nil && !isDamage(err) {
		return fmt.Errorf("checking %s: %w", db.path+rebuilt, err)
	}
	aside := db.freeName("replaced")
	if err := db.swap(aside); err != nil {
		return err
	}
	attrs := []any{"file", db.path}
	if exists(aside) {
		attrs = append(attrs, "put_aside", aside)
	}
	db.log.Warn("A rebuilt store that was left was put in its place", attrs...)
	return nil
}

// checkWhole returns errDamaged if a file that no process uses is not a whole database of any schema.
func checkWhole(path string) error {
	if size(path) < pageSize {
		return errDamaged
	}
	// An immutable file is opened without a log, and not written to.
	db, err := sql.Open("sqlite", uri(path, url.Values{"immutable": {"1"}}))
	if err != nil {
		return err
	}
	defer db.Close()
	if there, err := tablesIn(db); err != nil {
		return err
	} else if len(there) == 0 { // check would make them
		return errDamaged
	}
	err = check(db)
	if errors.As(err, new(olderSchema)) || errors.As(err, new(newerSchema)) {
		return nil
	}
	return err
}

// freeName returns a name beside the database, with that word in it, that no file has.
func (db *DB) freeName(word string) string {
	name := fmt.Sprintf("%s.%s-%d", db.path, word, time.Now().Unix())
	for n := 2; exists(name); n++ {
		name = fmt.Sprintf("%s.%s-%d-%d", db.path, word, time.Now().Unix(), n)
	}
	return name
}

// swap puts the database and its log aside under a name, and the rebuilt one in its place. If the process is killed in
// between, the next one completes it.
func (db *DB) swap(aside string) error {
	for _, part := range []string{"-wal", "-shm", ""} {
		if err := os.Rename(db.path+part, aside+part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("putting a database aside: %w", err)
		}
	}
	if err := os.Rename(db.path+rebuilt, db.path); err != nil {
		return fmt.Errorf("putting the rebuilt database in its place: %w", err)
	}
	db.files = nil
	// Not every system can do this, so SQLite ignores an error, too.
	if dir, err := os.Open(filepath.Dir(db.path)); err == nil {
		_ = errors.Join(dir.Sync(), dir.Close())
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func removeDatabase(path string) {
	for _, part := range []string{"", "-wal", "-shm"} {
		_ = os.Remove(path + part)
	}
}

// A copier copies valid rows into a new database.
type copier struct {
	*writer
	*losses
	lost   []string // rows of the file that was read last
	kept   int      // rows
	stored allSums  // nil: the schema has none
}

// losses are what a damaged database has lost, until it is reported to the accounts.
type losses struct {
	places   int             // that could not be read
	rows     map[string]int  // that are not valid, by account
	missing  map[string]int  // rows that the accounts have too few
	accounts map[string]bool // of valid rows
	reported map[string]bool // to these accounts
}

// unreported says whether an account has not loaded since the rows were lost.
func (l *losses) unreported(account string) bool { return l != nil && !l.reported[account] }

// report returns how much an account has lost, once: at least one if something was
// not as it should be.
func (l *losses) report(account string) int {
	if !l.unreported(account) {
		return 0
	}
	l.reported[account] = true
	n := l.places
	for of, rows := range l.rows {
		if of == account || !l.accounts[of] { // the name may be damaged
			n += rows
		}
	}
	if len(l.rows) == 0 {
		n = max(n, 1)
	}
	return max(n, l.missing[account])
}

// rowsLost says how many rows are lost. The number is exact only if everything could be read and the rows that are not
// valid are those that the sums miss: what is as it was some time ago has sums of that time.
func (c *copier) rowsLost() string {
	missing := 0
	for _, rows := range c.missing {
		missing += rows
	}
	switch n := max(len(c.lost), missing); {
	case c.places == 0 && c.stored != nil && missing == len(c.lost):
		return strconv.Itoa(n)
	case n > 0:
		return fmt.Sprintf("at least %d", n)
	}
	return "not known"
}

// copyRows copies the valid rows of a database that is of one of these schemas into a
// new one beside it.
func copyRows(from []*schema, path string) (c *copier, err error) {
	fresh, err := connect(path + unfinished)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, fresh.Close()) }()
	c = &copier{losses: &losses{accounts: make(map[string]bool), reported: make(map[string]bool)}}
	if err = current.make(fresh); err == nil {
		c.writer, err = begin(fresh, nil)
	}
	if err != nil {
		return nil, err
	}
	err = c.fromAny(from, path)
	kept := c.sumUp()
	if err = errors.Join(err, c.err, c.tx.Commit()); err != nil {
		return nil, err
	}
	// Close does not say that the disk had no space for what is in the log.
	if _, err = fresh.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return nil, err
	}
	for _, of := range kept {
		for _, s := range of {
			c.kept += int(s.rows)
		}
	}
	if c.stored != nil {
		c.missing = kept.differences(c.stored)
	}
	return c, nil
}

// fromAny copies the valid rows of a file that is of one of these schemas.
func (c *copier) fromAny(schemas []*schema, path string) error {
	for _, s := range schemas {
		err := errDamaged
		if !emptied(path) { // SQLite would delete the log
			err = c.from(s, path)
		}
		if isDamage(err) && s != schema1 {
			// It may be the first page, which says where everything is.
			if err = graft(s, path, path+grafted); err == nil {
				err = c.from(s, path+grafted)
			}
		}
		if err != nil && !isDamage(err) {
			return err
		}
		if len(c.accounts) > 0 {
			return nil
		}
	}
	return nil
}

// from copies the valid rows of a file. errDamaged means that it has places that
// could not be read.
func (c *copier) from(s *schema, path string) error {
	c.lost, c.rows, c.places, c.stored = nil, make(map[string]int), 0, nil
	old, err := connect(path)
	if err != nil {
		c.places++
		return err
	}
	defer old.Close()
	there, err := tablesIn(old)
	if err != nil && !isDamage(err) {
		return err
	}
	if s == schema1 {
		if first, err := isSchema1(old, there); err != nil || !first {
			return err
		}
	}
	for _, t := range s.tables {
		if there[t.name] == "" || s != schema1 && there[t.name] != t.create {
			c.places++
			continue
		}
		if err := c.copy(old, t); err != nil {
			return err
		}
	}
	if s.sums != nil && there[s.sums.name] == s.sums.create {
		c.stored = make(allSums)
		err := scan(context.Background(), old, s.sums.read, func(row []any) error {
			if s.sums.valid(row) {
				c.stored.set(row)
			}
			return nil
		})
		switch {
		case isDamage(err):
			c.places++
		case err != nil:
			return err
		}
	}
	if c.places > 0 {
		return errDamaged
	}
	return nil
}

// isSchema1 reports whether a database is certainly of schema 1: rows without checksums are not taken from another.
func isSchema1(db *sql.DB, there map[string]string) (bool, error) {
	var version int
	if err := db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return false, err
	}
	return version == schema1.version && there[meta.name] == "", nil
}

// copy copies a table: from its beginning to where it is damaged, and from its end.
func (c *copier) copy(old *sql.DB, t *table) error {
	key := t.columns[:t.key]
	query := t.read + " ORDER BY "
	convert := func(row []any) ([][]any, error) { return [][]any{row}, nil }
	if t.convert != nil {
		convert = t.convert()
	}
	take := func(row []any) error { return c.take(t, convert, row) }
	var last []any
	err := scan(context.Background(), old, query+strings.Join(key, ", "), func(row []any) error {
		last = append(last[:0], row[:t.key]...)
		return take(row)
	})
	if !isDamage(err) {
		return err
	}
	c.places++
	err = scan(context.Background(), old, query+strings.Join(key, " DESC, ")+" DESC", func(row []any) error {
		if slices.Equal(row[:t.key], last) {
			return io.EOF // that was read from the beginning
		}
		return take(row)
	})
	if err == io.EOF || isDamage(err) {
		return nil
	}
	return err
}

// take copies a row if it is valid.
func (c *copier) take(t *table, convert func([]any) ([][]any, error), row []any) error {
	account, rows, err := textOf(row[0]), [][]any{row}, errDamaged
	if t.seed == unchecked || t.valid(row) {
		rows, err = convert(row)
	}
	if err != nil {
		c.rows[account]++
		c.lost = append(c.lost, fmt.Sprintf("%s %s %v", t.name, account, row[t.key-1]))
		return nil
	}
	c.accounts[account] = true
	for _, row := range rows {
		c.exec(t.into.put, t.into.renew(row))
	}
	return c.err
}

// graft copies a database and gives the copy the first page of an empty one, which
// says where each table begins: that is the same in all databases of one schema. The
// checksums of the rows decide whether it fits.
func graft(s *schema, from, to string) error {
	removeDatabase(to)
	db, err := connect(to)
	if err != nil {
		return err
	}
	if err := errors.Join(s.make(db), db.Close()); err != nil { // which writes the log into the file
		return err
	}
	empty, err := os.ReadFile(to)
	if err != nil {
		return err
	}
	first := empty[:pageSize]
	// File format, 1.3: no size (SQLite goes by the file's), and no free pages.
	clear(first[28:40])
	return errors.Join(copyFile(from, to, first), copyFile(from+"-wal", to+"-wal", nil))
}

// copyFile copies a file, if there is one, with another beginning.
func copyFile(from, to string, beginning []byte) error {
	source, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	if err == nil {
		_, err = target.WriteAt(beginning, 0)
	}
	return errors.Join(err, target.Close())
}

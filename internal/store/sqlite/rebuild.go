package sqlite

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The names that the files of a rebuilding have, behind the database's: the new
// database while it is filled, and when all that is left to do is to put it in the
// place of the old one; and a copy of the old one with a first page that is sound.
const (
	unfinished = ".new"
	rebuilt    = ".rebuilt"
	grafted    = ".grafted"
)

// rebuild copies what is sound of the database, written with a version of the
// schema, into a new one, which takes its place and is open then. The old one is
// put aside under a name with that word in it. It must not be open.
func (db *DB) rebuild(version int, word string) error {
	for _, suffix := range []string{unfinished, grafted} {
		defer removeDatabase(db.path + suffix)
		removeDatabase(db.path + suffix)
	}
	c := &copier{version: version}
	if err := c.into(db.path + unfinished); err != nil {
		return fmt.Errorf("making a new database in the place of %s: %w", db.path, err)
	}
	err := c.from(db.path)
	if errors.Is(err, errDamaged) && version == schemaVersion {
		// It may be the first page, which says where everything is.
		if err = graft(db.path, db.path+unfinished, db.path+grafted); err == nil {
			err = c.from(db.path + grafted)
		}
	}
	if err = errors.Join(c.finish(), ignoreDamage(err)); err != nil {
		return fmt.Errorf("rebuilding %s: %w", db.path, err)
	}
	if err := os.Rename(db.path+unfinished, db.path+rebuilt); err != nil {
		return fmt.Errorf("rebuilding %s: %w", db.path, err)
	}
	aside, err := db.swap(word)
	if err != nil {
		return err
	}
	if version == schemaVersion {
		db.lost = c.losses()
		db.log.Error("The register was damaged; what is sound of it has been kept, and the damaged file put aside",
			"put_aside", aside, "rows_kept", c.kept, "rows_lost", len(c.lost), "unreadable_places", c.places, "lost", c.some())
	} else {
		db.log.Info("The register has been brought to a new schema, and the old file put aside", "schema", schemaVersion, "put_aside", aside)
	}
	return db.open()
}

func ignoreDamage(err error) error {
	if errors.Is(err, errDamaged) {
		return nil
	}
	return err
}

// finishRebuilding does what a process that died left of a rebuilding.
func (db *DB) finishRebuilding() error {
	if _, err := os.Stat(db.path + rebuilt); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, err := db.swap("replaced")
	return err
}

// swap puts the database and its log aside, and the rebuilt one in its place. A
// process that dies in the middle leaves the rebuilt one for the next to go on with.
func (db *DB) swap(word string) (aside string, err error) {
	aside = fmt.Sprintf("%s.%s-%d", db.path, word, time.Now().Unix())
	for n := 2; exists(aside); n++ {
		aside = fmt.Sprintf("%s.%s-%d-%d", db.path, word, time.Now().Unix(), n)
	}
	for _, part := range []string{"-wal", "-shm", ""} {
		if err := os.Rename(db.path+part, aside+part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("putting a database aside: %w", err)
		}
	}
	if err := os.Rename(db.path+rebuilt, db.path); err != nil {
		return "", fmt.Errorf("putting the rebuilt database in its place: %w", err)
	}
	dir, err := os.Open(filepath.Dir(db.path))
	if err != nil {
		return "", err
	}
	defer dir.Close()
	return aside, dir.Sync()
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

// A copier copies sound rows into a new database.
type copier struct {
	version  int // of the schema that they were written with
	fresh    *sql.DB
	tx       *sql.Tx
	puts     map[*table]*sql.Stmt
	accounts map[string]bool // that were seen in sound rows
	kept     int

	// What was found in the file that was read last.
	lost   []lostRow
	places int // that could not be read
}

type lostRow struct{ table, account, key string }

func (c *copier) into(path string) (err error) {
	if c.fresh, err = connect(path); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = c.fresh.Close()
		}
	}()
	if err = makeTables(c.fresh); err != nil {
		return err
	}
	// Its first page may be needed (see graft).
	if _, err = c.fresh.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return err
	}
	if c.tx, err = c.fresh.Begin(); err != nil {
		return err
	}
	c.puts, c.accounts = make(map[*table]*sql.Stmt), make(map[string]bool)
	for _, t := range tables {
		if c.puts[t], err = c.tx.Prepare(t.put()); err != nil {
			return errors.Join(err, c.tx.Rollback())
		}
	}
	return nil
}

// from copies what is sound in a file. errDamaged says that there are places that
// could not be read.
func (c *copier) from(path string) error {
	c.lost, c.places = nil, 0
	old, err := connect(path)
	if err != nil {
		return err
	}
	defer old.Close()
	for _, t := range tables {
		if t == &meta { // it is about the file
			continue
		}
		if err := c.copy(old, t); err != nil {
			return err
		}
	}
	if c.places > 0 {
		return errDamaged
	}
	return nil
}

// copy copies a table: from its beginning to where it is damaged, and from its end.
func (c *copier) copy(old *sql.DB, t *table) error {
	columns, err := c.columns(old, t)
	if columns == "" && err == nil {
		return nil
	}
	var ascending, descending []string
	for _, column := range t.columns[:t.key] {
		ascending, descending = append(ascending, column.name), append(descending, column.name+" DESC")
	}
	var last []any
	met := errors.New("read from the other end")
	if err == nil {
		query := fmt.Sprintf("SELECT %s FROM %s ORDER BY ", columns, t.name)
		err = scan(old, t, query+strings.Join(ascending, ", "), func(row []any) error {
			last = row[:t.key]
			return c.take(t, row)
		})
		if isDamage(err) {
			c.places++
			err = scan(old, t, query+strings.Join(descending, ", "), func(row []any) error {
				if slices.Equal(row[:t.key], last) {
					return met
				}
				return c.take(t, row)
			})
			if err == met || isDamage(err) {
				err = nil
			}
		}
	}
	if isDamage(err) { // not even its name is there
		c.places++
		return nil
	}
	return err
}

// columns are those to be read of a table, the checksum last; empty where an older
// version had no such table.
func (c *copier) columns(old *sql.DB, t *table) (string, error) {
	all, _ := t.names()
	if c.version == schemaVersion {
		return all + ", checksum", nil
	}
	there := make(map[string]bool)
	rows, err := old.Query("SELECT name FROM pragma_table_info(?)", t.name)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return "", err
		}
		there[name] = true
	}
	if len(there) == 0 {
		return "", rows.Err()
	}
	var columns []string
	for _, column := range t.columns {
		if there[column.name] {
			columns = append(columns, column.name)
		} else {
			columns = append(columns, "NULL")
		}
	}
	return strings.Join(columns, ", ") + ", NULL", rows.Err()
}

// take copies a row, if it is sound.
func (c *copier) take(t *table, row []any) error {
	n := len(t.columns)
	if c.version < schemaVersion {
		for i, column := range t.columns {
			if row[i] == nil {
				row[i] = column.before
			}
		}
	} else if !t.sound(row) {
		c.lost = append(c.lost, lostRow{t.name, text(row[0]), fmt.Sprint(row[t.key-1])})
		return nil
	}
	c.accounts[text(row[0])] = true
	_, err := c.puts[t].Exec(t.sealed(row[:n]...)...)
	return err
}

func (c *copier) finish() error {
	err := c.tx.Commit()
	for _, t := range tables {
		if t == &meta || err != nil {
			continue
		}
		var rows int
		err = c.fresh.QueryRow("SELECT count(*) FROM " + t.name).Scan(&rows)
		c.kept += rows
	}
	return errors.Join(err, c.fresh.Close())
}

// some are the first of the rows that were lost, for the log.
func (c *copier) some() (names []string) {
	for _, l := range c.lost[:min(len(c.lost), 20)] {
		names = append(names, l.table+" "+l.account+" "+l.key)
	}
	return names
}

// losses are what a damaged database has lost, and was not yet told to the accounts.
type losses struct {
	rows       map[string]int  // by account
	everywhere int             // that any account may have lost
	told       map[string]bool // the accounts
}

func (c *copier) losses() losses {
	l := losses{rows: make(map[string]int), everywhere: c.places, told: make(map[string]bool)}
	for _, row := range c.lost {
		if c.accounts[row.account] {
			l.rows[row.account]++
		} else { // its name may be what is damaged
			l.everywhere++
		}
	}
	if len(c.lost)+c.places == 0 {
		l.everywhere = 1 // something was not as it should be
	}
	return l
}

// tell says how much an account has lost, once.
func (l *losses) tell(account string) int {
	if l.told == nil || l.told[account] {
		return 0
	}
	l.told[account] = true
	return l.rows[account] + l.everywhere
}

// graft makes a copy of a database whose first page is that of a new one: it says
// where each table begins, which is the same in all databases of one schema. What
// the checksums of the rows confirm, is right.
func graft(from, fresh, to string) error {
	for _, part := range []string{"", "-wal"} {
		if err := copyFile(from+part, to+part); err != nil {
			return err
		}
	}
	file, err := os.OpenFile(to, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	page, err := firstPage(fresh)
	if err != nil {
		return err
	}
	// File format, 1.3: the size in pages; the list of free pages, and their number.
	binary.BigEndian.PutUint32(page[28:], uint32(info.Size()/int64(len(page))))
	clear(page[32:40])
	_, err = file.WriteAt(page, 0)
	return err
}

func firstPage(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	header := make([]byte, 100)
	if _, err := io.ReadFull(file, header); err != nil {
		return nil, err
	}
	size := int64(binary.BigEndian.Uint16(header[16:]))
	if size == 1 { // stands for what no 16 bits can hold
		size = 65536
	}
	return io.ReadAll(io.NewSectionReader(file, 0, size))
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// checkHeader tells damage of the file's first bytes that SQLite takes for a file
// that a later version of SQLite has written, and opens for reading alone.
func checkHeader(path string) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	defer file.Close()
	header := make([]byte, 20)
	n, err := io.ReadFull(file, header)
	switch {
	case n == 0 && err == io.EOF:
		return nil // made, and not written yet
	case err == io.ErrUnexpectedEOF, err == nil && max(header[18], header[19]) > 2:
		return errDamaged
	case err != nil:
		return fmt.Errorf("opening %s: %w", path, err)
	}
	return nil
}

package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// Copy writes a copy of the database in a directory, as it is at one moment, into
// another directory. Another process may use it meanwhile. If there is no database,
// nothing is written.
func Copy(from, to string) error {
	path := filepath.Join(from, FileName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if emptied(path) { // SQLite would delete the log
		return fmt.Errorf("copying %s: %w: the file is empty, and its log is there", path, errDamaged)
	}
	copied := filepath.Join(to, FileName)
	db, err := sql.Open("sqlite", uri(path, url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)"}}))
	if err != nil {
		return err
	}
	defer db.Close()
	if err := vacuumInto(db, copied); err != nil {
		return fmt.Errorf("copying %s: %w", path, err)
	}
	return nil
}

// vacuumInto writes what a database has into a new file, and on the disk.
func vacuumInto(db *sql.DB, path string) error {
	// SQLite fills an empty file, and would leave it to the umask who can read its own.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = db.Exec("VACUUM INTO ?", uri(path, nil))
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Copy writes a copy of the database in a directory, as it is at one moment, into
// another directory. Another process may use it meanwhile. Where there is none,
// nothing is written.
func Copy(from, to string) error {
	path := filepath.Join(from, "register.db")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		return fmt.Errorf("copying %s: %w", path, err)
	}
	defer db.Close()
	if _, err := db.Exec("VACUUM INTO ?", filepath.Join(to, "register.db")); err != nil {
		return fmt.Errorf("copying %s: %w", path, err)
	}
	return nil
}

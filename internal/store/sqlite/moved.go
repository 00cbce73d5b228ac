package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/gofrs/flock"
)

// parts are the files of an open database, by suffix. SQLite keeps each open, and
// works on with it when its name is gone or names another file. What is committed then
// is lost with the process.
var parts = []string{"", "-wal", "-shm"}

// lockName is the file that a process holds a lock on while it uses the directory.
const lockName = "lock"

// remember notes which files are open.
func (db *DB) remember() {
	db.files = make(map[string]os.FileInfo)
	for _, part := range parts {
		if info, err := os.Lstat(db.path + part); err == nil {
			db.files[part] = info
		}
	}
}

// moved returns an error that names a file of the database that is no longer the one
// that is open, or has no content.
func (db *DB) moved() error {
	for part, open := range db.files {
		if err := sameFile(db.path+part, open); err != nil {
			return err
		}
	}
	if db.files != nil && size(db.path) < pageSize {
		return fmt.Errorf("%w: %s was truncated while it was in use", errDamaged, db.path)
	}
	return nil
}

// sameFile returns an error if a path names another file than this one. A link to it is another one: SQLite looks
// for the log beside the file that the link names.
func sameFile(path string, file os.FileInfo) error {
	switch now, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s was removed while it was in use", path)
	case err != nil:
		return err
	case !os.SameFile(now, file):
		return fmt.Errorf("%s was replaced while it was in use", path)
	}
	return nil
}

// present makes sure that what is committed is found after a restart, and returns an
// error if that was not so. If the database's files were removed, moved or replaced,
// everything is written to a new one in their place, if that is possible.
func (db *DB) present() error {
	cause := errors.Join(db.moved(), db.relock())
	if cause == nil || db.moved() == nil || db.sql == nil { // without a connection there is nothing to write
		return cause
	}
	if err := db.rescue(); err != nil {
		return fmt.Errorf("%w; it cannot be written again: %w", cause, err)
	}
	return cause
}

// rescue writes everything that the open database has into a new file at its path. If
// the file was truncated, and its log and the page cache do not have all of it, it
// recovers what it can.
func (db *DB) rescue() error {
	if err := os.MkdirAll(filepath.Dir(db.path), 0o750); err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	if err := db.relock(); err != nil {
		return err
	}
	cause := db.moved()
	removeDatabase(db.path + unfinished)
	defer removeDatabase(db.path + unfinished)
	err := vacuumInto(db.sql, db.path+unfinished)
	if isDamage(cause) && isDamage(err) {
		return db.rebuild(schemas, "damaged", cause)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(db.path+unfinished, db.path+rebuilt); err != nil {
		return err
	}
	// From here on, the new file is the database, also after an error: then the next use completes what is left to do.
	aside := db.freeName("replaced")
	err = db.swap(aside)
	db.disconnect() // SQLite leaves the new files alone: they are not those that it has open
	db.files = nil
	if err == nil {
		err = db.open()
	}
	if err != nil {
		return err
	}
	db.unknown = false
	attrs := []any{"err", cause}
	if exists(aside) {
		attrs = append(attrs, "put_aside", aside)
	}
	db.log.Error("The store's file was not the one in use; everything was written to a new one", attrs...)
	return nil
}

// lockDirectory locks the directory of the database. The lock on the file is for every
// system; the one on the directory itself holds also if somebody removes that file.
func (db *DB) lockDirectory() error {
	dir := filepath.Dir(db.path)
	file := flock.New(filepath.Join(dir, lockName), flock.SetPermissions(0o600))
	locks := []*flock.Flock{file}
	if runtime.GOOS != "windows" {
		locks = append(locks, flock.New(dir, flock.SetFlag(os.O_RDONLY)))
	}
	for i, lock := range locks {
		locked, err := lock.TryLock()
		if err != nil && i > 0 {
			continue // not every file system can lock a directory
		}
		if err == nil && !locked {
			err = fmt.Errorf("%w %s; stop it, or choose another directory", ErrInUse, dir)
		} else if err != nil {
			err = fmt.Errorf("locking the directory: %w", err)
		}
		if err != nil {
			for _, l := range locks[:i] {
				_ = l.Unlock()
			}
			return err
		}
	}
	info, err := os.Lstat(file.Path())
	if err != nil {
		return err
	}
	db.locks, db.locked = locks, info
	return nil
}

// relock locks the directory again if the file with the lock is no longer the one that
// is locked. The error says if another process uses the directory.
func (db *DB) relock() error {
	path := filepath.Join(filepath.Dir(db.path), lockName)
	if sameFile(path, db.locked) == nil {
		return nil
	}
	if !exists(filepath.Dir(path)) {
		return nil // rescue makes it
	}
	for _, lock := range db.locks { // else that on the directory would exclude this process
		_ = lock.Unlock()
	}
	if err := db.lockDirectory(); err != nil {
		return err
	}
	db.log.Warn("The store's lock was removed; it is locked again", "file", path)
	return nil
}

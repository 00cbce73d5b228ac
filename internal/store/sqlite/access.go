package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
)

// Check returns the error that Open would because of the rights to a directory, of its disk, or of the version of the
// database in it. It leaves everything as it is. Another process may use the directory: that is no error here.
func Check(dir string) error {
	if err := accessible(dir); err != nil {
		return explain(err)
	}
	if err := tryNew(dir); err != nil {
		return explain(err)
	}
	path := filepath.Join(dir, FileName)
	if !exists(path) {
		return nil
	}
	// As an immutable file, it is read without a lock and without a log. What is not readable in that way may be
	// readable to Open, or it rebuilds it.
	db, err := sql.Open("sqlite", uri(path, url.Values{"immutable": {"1"}}))
	if err != nil {
		return nil
	}
	defer db.Close()
	var version int
	if db.QueryRow("PRAGMA user_version").Scan(&version) != nil {
		return nil
	}
	if there, err := tablesIn(db); err != nil || there[meta.name] != meta.create {
		return nil
	}
	if _, err = schemaOf(db, version); errors.As(err, new(newerSchema)) {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	return nil
}

// tryNew makes a store in a directory, or above one that does not exist yet, and removes it. Only so is known what the
// disk allows; opening one that exists needs space, too.
func tryNew(dir string) (err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return err
	}
	at, _, err := existing(dir)
	if err != nil {
		return err
	}
	trial, err := os.MkdirTemp(at, "check-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(trial)) }()
	db, err := open(trial, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("trying to make a store in %s: %w", at, err)
	}
	return db.Close()
}

// existing returns an absolute path, or the nearest one above it that exists.
func existing(path string) (at string, info fs.FileInfo, err error) {
	at = path
	info, err = os.Stat(at)
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(at) != at {
		if _, err := os.Lstat(at); err == nil {
			return "", nil, fmt.Errorf("%s is a symbolic link to nothing", at)
		}
		at = filepath.Dir(at)
		info, err = os.Stat(at)
	}
	return at, info, err
}

// accessible returns an error if this process may not use a directory and its files, or make them.
func accessible(dir string) error {
	dir, err := filepath.Abs(dir) // an error about its parent should not be about "."
	if err != nil {
		return err
	}
	at, info, err := existing(dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "opening", Path: at, Err: syscall.ENOTDIR}
	}
	if err == nil {
		err = writable(at)
	}
	if err != nil {
		return err
	}
	for _, name := range []string{lockName, FileName, FileName + "-wal", FileName + "-shm"} {
		path := filepath.Join(dir, name)
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil && name != lockName && info.Mode().Type() == fs.ModeSymlink:
			err = fmt.Errorf("%s %w; put the file and its log in its place, or make the directory a link", path, errLink)
		case err == nil && !info.Mode().IsRegular():
			err = fmt.Errorf("%s is not a regular file", path)
		case err == nil:
			err = writable(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// newerSchema is the error about a database that a later version of this program has written.
type newerSchema int

func (v newerSchema) Error() string {
	return fmt.Sprintf("it was written by a newer version (schema %d, this one knows %d); "+
		"use that version, or another directory", int(v), schemaVersion)
}

// errLink is about a link in the place of a file. Its log would be beside the file that it names.
var errLink = errors.New("is a symbolic link")

// explain adds the remedy to an error of Open.
func explain(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrInUse), errors.Is(err, errLink), errors.As(err, new(newerSchema)): // they have it
		return err
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; let the user of this process write there, or choose another directory", err)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w; choose a directory", err)
	}
	return fmt.Errorf("%w; choose another directory, or see whether the disk is full or damaged", err)
}

package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

// removals are what an operator may do to the files of a running process.
var removals = []struct {
	name string
	do   func(dir string) error
}{
	{"the file is removed", func(dir string) error { return os.Remove(filepath.Join(dir, "register.db")) }},
	{"the file is moved", func(dir string) error {
		return os.Rename(filepath.Join(dir, "register.db"), filepath.Join(dir, "elsewhere.db"))
	}},
	{"the file is replaced by a link to it", func(dir string) error {
		path := filepath.Join(dir, "register.db")
		return errors.Join(os.Rename(path, path+".elsewhere"), os.Symlink("register.db.elsewhere", path))
	}},
	{"the file is replaced", func(dir string) error {
		other := filepath.Join(dir, "other")
		db, err := sqlite.Open(other, quiet)
		if err == nil {
			err = errors.Join(db.Account("a").Commit(one("of another file")), db.Close(),
				os.Rename(filepath.Join(other, "register.db"), filepath.Join(dir, "register.db")))
		}
		return err
	}},
	{"the file is replaced by something else", func(dir string) error {
		path := filepath.Join(dir, "register.db")
		return errors.Join(os.Remove(path), os.WriteFile(path, []byte("something else"), 0o600))
	}},
	{"the file is emptied", func(dir string) error { return os.Truncate(filepath.Join(dir, "register.db"), 0) }},
	{"the log is removed", func(dir string) error { return os.Remove(filepath.Join(dir, "register.db-wal")) }},
	{"the index of the log is removed",
		func(dir string) error { return os.Remove(filepath.Join(dir, "register.db-shm")) }},
	{"all files are removed", func(dir string) error {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		for _, file := range files {
			err = errors.Join(err, os.Remove(file))
		}
		return err
	}},
	{"the directory is removed", os.RemoveAll},
	{"the directory is moved", func(dir string) error { return os.Rename(dir, dir+" elsewhere") }},
	{"the directory is replaced", func(dir string) error {
		return errors.Join(os.Rename(dir, dir+" elsewhere"), os.Mkdir(dir, 0o700))
	}},
}

// requestIDs returns the IDs of an account's jobs.
func requestIDs(c *store.Contents) (ids []string) {
	for _, j := range c.Jobs {
		ids = append(ids, j.RequestID)
	}
	slices.Sort(ids)
	return ids
}

// If the files are removed, moved or replaced, the next commit or look is an error. Then
// everything is in a new file: a process that is killed has lost nothing.
func TestFilesMoved(t *testing.T) {
	notice := map[string]func(db *sqlite.DB) error{
		"a commit": func(db *sqlite.DB) error { return db.Account("a").Commit(one("refused")) },
		"a look":   func(db *sqlite.DB) error { return db.Account("a").Verify() },
	}
	for _, tt := range removals {
		for by, notice := range notice {
			t.Run(tt.name+", noticed by "+by, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "data")
				var log bytes.Buffer
				db, err := sqlite.Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { db.Close() })
				commit(t, db, "a", one("before"))
				commit(t, db, "not configured", one("of another account"))
				if err := db.Account("a").Verify(); err != nil {
					t.Fatalf("nothing has happened: %v", err)
				}
				if err := tt.do(dir); err != nil {
					t.Fatal(err)
				}
				if err := notice(db); err == nil || errors.Is(err, store.ErrUnknown) ||
					!strings.Contains(err.Error(), "while it was in use") {
					t.Errorf("the error is %v", err)
				}
				for range 2 {
					if err := db.Account("a").Verify(); err != nil {
						t.Errorf("afterwards: %v", err)
					}
					commit(t, db, "a", one("after"))
				}
				if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
					t.Errorf("logged %d times:\n%s", n, &log)
				}
				if _, err := sqlite.Open(dir, quiet); err == nil || !strings.Contains(err.Error(), "another process uses") {
					t.Errorf("a second process: %v", err)
				}
				found := open(t, killed(t, dir, writeAheadLog(t, dir)))
				for account, want := range map[string]string{"a": "[after before]", "not configured": "[of another account]"} {
					c := load(t, found, account)
					if got := fmt.Sprint(requestIDs(c)); got != want || c.Lost != 0 {
						t.Errorf("after a crash account %s has %s, want %s; %d lost", account, got, want, c.Lost)
					}
				}
				closed(t, db)
				if got := fmt.Sprint(requestIDs(load(t, open(t, dir), "a"))); got != "[after before]" {
					t.Errorf("after a stop: %s", got)
				}
			})
		}
	}
}

// What has the file's place is kept.
func TestReplacementIsPutAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "register.db")
	db := open(t, dir)
	commit(t, db, "a", one("before"))
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("of the operator"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := db.Account("a").Verify(); err == nil {
		t.Error("a replaced file was not noticed")
	}
	aside, err := filepath.Glob(path + ".replaced-*")
	if err != nil || len(aside) == 0 {
		t.Fatalf("put aside: %q, %v", aside, err)
	}
	if content, err := os.ReadFile(aside[0]); err != nil || string(content) != "of the operator" {
		t.Errorf("what was put aside is %q, %v", content, err)
	}
}

// If the file is truncated, what neither its log nor the page cache has is lost. That is reported, and the accounts go on.
func TestFileTruncated(t *testing.T) {
	notice := map[string]func(db *sqlite.DB) error{
		"a commit": func(db *sqlite.DB) error { return db.Account("a").Commit(one("refused")) },
		"a look":   func(db *sqlite.DB) error { return db.Account("a").Verify() },
	}
	for by, notice := range notice {
		t.Run("noticed by "+by, func(t *testing.T) {
			dir := t.TempDir()
			db := open(t, dir)
			b := one("first")
			for i := range 4000 { // more than the page cache has
				b.Jobs = append(b.Jobs, store.Job{RequestID: fmt.Sprint(i), FirstSeen: start,
					Labels: map[string]string{"text": strings.Repeat("x", 1000)}})
			}
			commit(t, db, "a", b)
			commit(t, db, "b", one("of b"))
			closed(t, db) // which writes the log into the file
			var log bytes.Buffer
			db, err := sqlite.Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			commit(t, db, "a", one("before"))
			if err := os.Truncate(filepath.Join(dir, "register.db"), 0); err != nil {
				t.Fatal(err)
			}
			if err := notice(db); err == nil || !strings.Contains(err.Error(), "register.db was truncated") {
				t.Errorf("the error is %v", err)
			}
			if err := db.Account("a").Commit(one("after")); !errors.Is(err, store.ErrUnknown) {
				t.Errorf("a commit before the account has loaded: %v", err)
			}
			for _, account := range accounts {
				if c := load(t, db, account); c.Lost == 0 {
					t.Errorf("account %s has %d jobs, and no loss was reported", account, len(c.Jobs))
				}
			}
			commit(t, db, "a", one("after"))
			if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
				t.Errorf("logged %d times:\n%s", n, &log)
			}
			closed(t, db)
			if got := fmt.Sprint(requestIDs(load(t, open(t, dir), "a"))); !strings.Contains(got, "after") {
				t.Errorf("after a stop: %s", got)
			}
		})
	}
}

// If what a truncated file had cannot be recovered at first, that is tried again.
func TestFileTruncatedAndNotReplaceable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "register.db")
	db := open(t, dir)
	commit(t, db, "a", one("before"))
	if err := errors.Join(os.Truncate(path, 0), os.MkdirAll(path+".new/in the way", 0o700)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := db.Account("a").Commit(one("refused")); err == nil {
			t.Error("a commit was acknowledged")
		}
		if _, err := db.Account("a").Load(ctx); err == nil {
			t.Error("the account was loaded")
		}
	}
	if err := os.RemoveAll(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(requestIDs(load(t, db, "a"))); got != "[before]" {
		t.Errorf("found %s", got)
	}
	commit(t, db, "a", one("after"))
}

// As long as nothing can be written in the place of the files, each commit is an error.
// Then nothing is missing.
func TestFilesMovedAndNotReplaceable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	db := open(t, dir)
	commit(t, db, "a", one("before"))
	if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := db.Account("a").Commit(one("refused")); err == nil || errors.Is(err, store.ErrUnknown) {
			t.Errorf("a commit: %v", err)
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := db.Account("a").Verify(); err == nil {
		t.Error("the recovery is not reported")
	}
	commit(t, db, "a", one("after"))
	if got := fmt.Sprint(requestIDs(load(t, open(t, killed(t, dir, writeAheadLog(t, dir))),
		"a"))); got != "[after before]" {
		t.Errorf("found %s", got)
	}
}

// A new file that could not be put in its place is the database from then on, also if the former one comes back.
func TestFileMovedAndBack(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "register.db")
	db := open(t, dir)
	commit(t, db, "a", one("before"))
	if err := os.Rename(path, path+".elsewhere"); err != nil {
		t.Fatal(err)
	}
	var inTheWay []string // of the log, which cannot be put aside
	for second := range int64(100) {
		inTheWay = append(inTheWay, fmt.Sprintf("%s.replaced-%d-wal", path, time.Now().Unix()+second))
		if err := os.Mkdir(inTheWay[second], 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Account("a").Verify(); err == nil || !strings.Contains(err.Error(), "cannot be written again") {
		t.Fatalf("a look: %v", err)
	}
	for _, name := range inTheWay {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(path+".elsewhere", path); err != nil {
		t.Fatal(err)
	}
	commit(t, db, "a", one("after"))
	closed(t, db)
	if got := fmt.Sprint(requestIDs(load(t, open(t, dir), "a"))); got != "[after before]" {
		t.Errorf("found %s", got)
	}
}

// Without the file of the lock the directory is still locked.
func TestLockRemoved(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	lock := filepath.Join(dir, "lock")
	for range 2 { // before it is noticed, and afterwards
		if err := os.Remove(lock); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlite.Open(dir, quiet); err == nil || !strings.Contains(err.Error(), "another process uses") {
			t.Errorf("a second process: %v", err)
		}
		commit(t, db, "a", one("x"))
	}
}

// If the directory was removed and another process made it again, the first one writes nothing any more.
func TestAnotherProcessInTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := open(t, dir)
	commit(t, first, "a", one("of the first"))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	second := open(t, dir)
	commit(t, second, "a", one("of the second"))
	for range 2 {
		if err := first.Account("a").Commit(one("late")); err == nil ||
			!strings.Contains(err.Error(), "another process uses") {
			t.Errorf("a commit of the first: %v", err)
		}
	}
	closed(t, first)
	if got := fmt.Sprint(requestIDs(load(t, second, "a"))); got != "[of the second]" {
		t.Errorf("the second has %s", got)
	}
	closed(t, second)
	if got := fmt.Sprint(requestIDs(load(t, open(t, dir), "a"))); got != "[of the second]" {
		t.Errorf("the directory has %s", got)
	}
}

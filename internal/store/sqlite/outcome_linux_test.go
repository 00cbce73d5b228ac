package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/storetest"
)

// broken puts another file in the place of the write-ahead log that this process has
// open, without SQLite's knowledge, until it is mended.
func broken(t *testing.T, dir, by string, flags int) (mend func()) {
	t.Helper()
	log := filepath.Join(dir, "register.db-wal")
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + entry.Name()); to != log {
			continue
		}
		var fd int
		if _, err := fmt.Sscan(entry.Name(), &fd); err != nil {
			t.Fatal(err)
		}
		saved, err := syscall.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		other, err := syscall.Open(by, flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Dup3(other, fd, syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		return func() {
			err := errors.Join(syscall.Dup3(saved, fd, syscall.O_CLOEXEC), syscall.Close(saved), syscall.Close(other))
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Fatal("the log is not open")
	return nil
}

// A full disk is known to have stored nothing; after another I/O error of a COMMIT
// only the file knows.
func TestCommitOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name, device string
		flags        int
		unknown      bool
	}{
		{"disk full", "/dev/full", os.O_RDWR, false},
		{"write error", os.DevNull, os.O_RDONLY, true},
		{"sync error", os.DevNull, os.O_RDWR, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			db := open(t, dir)
			commit(t, db, "a", one("before"))
			mend := broken(t, dir, tt.device, tt.flags)
			err := db.Account("a").Commit(one("lost"))
			if err == nil || errors.Is(err, store.ErrUnknown) != tt.unknown {
				t.Errorf("the commit: %v", err)
			}
			mend()
			if jobs := load(t, db, "a").Jobs; len(jobs) != 1 {
				t.Errorf("after the error: %+v", jobs)
			}
			commit(t, db, "a", one("after"))
			if jobs := load(t, open(t, killed(t, dir, writeAheadLog(t, dir))), "a").Jobs; len(jobs) != 2 {
				t.Errorf("after the next commit: %+v", jobs)
			}
		})
	}
}

// An error of a statement is known to have stored nothing, and the next batch is
// stored.
func TestStatementError(t *testing.T) {
	db := open(t, t.TempDir())
	bad := one("x")
	bad.Totals = []store.Total{{Name: "without a value"}}
	if err := db.Account("a").Commit(bad); err == nil || errors.Is(err, store.ErrUnknown) {
		t.Errorf("the commit: %v", err)
	}
	commit(t, db, "a", one("y"))
	if jobs := load(t, db, "a").Jobs; len(jobs) != 1 || jobs[0].RequestID != "y" {
		t.Errorf("%+v", jobs)
	}
}

// When a sync fails the whole transaction may be in the log. What Load returns then
// is what a process finds that starts after a crash.
func TestLoadAfterUnknownOutcome(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	commit(t, db, "a", one("before"))

	// The log as it is with the transaction, written by a twin.
	twin := killed(t, dir, writeAheadLog(t, dir))
	other := open(t, twin)
	commit(t, other, "a", one("unknown"))
	log := writeAheadLog(t, twin)

	mend := broken(t, dir, os.DevNull, os.O_RDWR)
	if err := db.Account("a").Commit(one("unknown")); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("the commit: %v", err)
	}
	mend()
	if err := os.WriteFile(filepath.Join(dir, "register.db-wal"), log, 0o600); err != nil {
		t.Fatal(err)
	}
	if jobs := load(t, open(t, killed(t, dir, log)), "a").Jobs; len(jobs) != 2 {
		t.Fatalf("a crash would not have shown the transaction, so this test tests nothing: %+v", jobs)
	}

	c := load(t, db, "a")
	after, err := os.ReadFile(filepath.Join(dir, "register.db-wal"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if diff := storetest.Diff(c, load(t, open(t, killed(t, dir, after)), "a")); diff != "" {
		t.Errorf("a crash after the Load (-loaded +found):\n%s", diff)
	}
}

// If the file cannot be opened after an unknown outcome, a later Load tries again, and
// until then a Commit is an error.
func TestLoadTriesAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	db := open(t, dir)
	commit(t, db, "a", one("before"))
	mend := broken(t, dir, os.DevNull, os.O_RDWR)
	if err := db.Account("a").Commit(one("unknown")); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("the commit: %v", err)
	}
	mend()
	if err := errors.Join(os.Rename(dir, dir+" elsewhere"), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := db.Account("a").Load(ctx); err == nil {
			t.Error("loaded without a directory")
		}
		if err := db.Account("b").Commit(one("x")); err == nil || errors.Is(err, store.ErrUnknown) {
			t.Errorf("the commit of another account: %v", err)
		}
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+" elsewhere", dir)); err != nil {
		t.Fatal(err)
	}
	if jobs := load(t, db, "a").Jobs; len(jobs) == 0 || jobs[0].RequestID != "before" {
		t.Errorf("loaded %+v", jobs)
	}
	commit(t, db, "a", one("after"))
}

var _ store.Engine = (*sqlite.DB)(nil)

// If the file cannot be opened again after a commit of unknown outcome, the other accounts can be written once it can
// be, also if the account of that commit does not come back.
func TestOtherAccountsAfterUnknownOutcome(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	db := open(t, dir)
	commit(t, db, "b", one("before"))
	mend := broken(t, dir, os.DevNull, os.O_RDWR)
	if err := db.Account("a").Commit(one("unknown")); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("the commit: %v", err)
	}
	mend()
	away := dir + " elsewhere"
	if err := errors.Join(os.Rename(dir, away), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Account("a").Load(t.Context()); err == nil {
		t.Fatal("loaded without a directory")
	}
	if err := db.Account("b").Commit(one("meanwhile")); err == nil || errors.Is(err, store.ErrUnknown) {
		t.Errorf("while it cannot be opened: %v", err)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(away, dir)); err != nil {
		t.Fatal(err)
	}
	commit(t, db, "b", one("after"))
	if jobs := load(t, db, "b").Jobs; len(jobs) != 2 {
		t.Errorf("account b has %+v", jobs)
	}
}

// If the file is gone that could not be opened again after a commit of unknown outcome, each access is an error, until
// it is back.
func TestFileRemovedWithoutConnection(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "register.db")
	db := open(t, dir)
	commit(t, db, "b", one("before"))
	mend := broken(t, dir, os.DevNull, os.O_RDWR)
	if err := db.Account("a").Commit(one("unknown")); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("the commit: %v", err)
	}
	mend()
	restore := limitFiles(t)
	if _, err := db.Account("a").Load(t.Context()); err == nil {
		t.Fatal("loaded without a file descriptor")
	}
	restore()
	if err := os.Rename(path, path+".elsewhere"); err != nil {
		t.Fatal(err)
	}
	for name, access := range map[string]func() error{
		"Verify":   db.Account("a").Verify,
		"Commit":   func() error { return db.Account("b").Commit(one("meanwhile")) },
		"Load":     func() error { _, err := db.Account("a").Load(t.Context()); return err },
		"Accounts": func() error { _, err := db.Accounts(t.Context()); return err },
		"Senders":  func() error { _, err := db.Senders(t.Context()); return err },
	} {
		if err := access(); err == nil || !strings.Contains(err.Error(), "was removed while it was in use") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Rename(path+".elsewhere", path); err != nil {
		t.Fatal(err)
	}
	if names, err := db.Accounts(t.Context()); err != nil || len(names) == 0 {
		t.Errorf("the accounts are %v, %v", names, err)
	}
	commit(t, db, "b", one("after"))
}

// limitFiles lets this process open no file until the limit is restored.
func limitFiles(t *testing.T) (restore func()) {
	t.Helper()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
	}
}

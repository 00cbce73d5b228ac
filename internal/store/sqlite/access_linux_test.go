package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

// The error about a relative path names the directory in full: its parent may be ".".
func TestCheckOfARelativePath(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := sqlite.Check("data"); err == nil ||
		!strings.Contains(err.Error(), "opening "+filepath.Join(dir, "data")+": ") {
		t.Errorf("%v", err)
	}
}

// SQLite has the log beside the file that a link names, where nothing else looks for it.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	commit(t, db, "a", one("x"))
	closed(t, db)
	path := filepath.Join(dir, "register.db")
	if err := errors.Join(os.Rename(path, path+".elsewhere"), os.Symlink("register.db.elsewhere", path)); err != nil {
		t.Fatal(err)
	}
	want := path + " is a symbolic link; put the file and its log in its place, or make the directory a link"
	if _, err := sqlite.Open(dir, quiet); fmt.Sprint(err) != want || fmt.Sprint(sqlite.Check(dir)) != want {
		t.Errorf("a file that is a link: %v, and checked: %v", err, sqlite.Check(dir))
	}
	if err := os.Rename(path+".elsewhere", path); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if c := load(t, open(t, link), "a"); len(c.Jobs) != 1 {
		t.Errorf("a directory that is a link has %d jobs", len(c.Jobs))
	}
}

// A directory or one of its files that this process may not write is an error before anything is read.
func TestCheckOfReadOnlyFiles(t *testing.T) {
	const nobody = 65534
	for _, name := range []string{".", "lock", "register.db", "register.db-wal", "register.db-shm"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // it is the user's alone
				t.Fatal(err)
			}
			for _, file := range []string{"lock", "register.db", "register.db-wal", "register.db-shm", "."} {
				path := filepath.Join(dir, file)
				if file != "." {
					if err := os.WriteFile(path, nil, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if os.Getuid() == 0 {
					if err := os.Chown(path, nobody, nobody); err != nil {
						t.Fatal(err)
					}
				}
			}
			checked := make(chan error)
			check := func() {
				runtime.LockOSThread() // and end the thread with the goroutine
				if os.Getuid() == 0 {  // who may write everything; the system call changes this thread alone
					// Only the effective user matters to an open file.
					const keep = ^uintptr(0)
					if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, nobody, keep); errno != 0 {
						checked <- errno
						return
					}
				}
				checked <- sqlite.Check(dir)
			}
			go check()
			if err := <-checked; err != nil {
				t.Fatalf("before: %v", err)
			}
			if err := os.Chmod(filepath.Join(dir, name), 0o500); err != nil {
				t.Fatal(err)
			}
			go check()
			const remedy = ": permission denied; let the user of this process write there, or choose another directory"
			want := "writing " + filepath.Join(dir, name) + remedy
			if err := <-checked; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
}

// Where rights allow a directory, but the file system does not, there can be no store.
func TestCheckOfDirectoryThatCannotBeMade(t *testing.T) {
	const dir = "/proc/deepaffects"
	_, err := sqlite.Open(dir, quiet)
	if checked := sqlite.Check(dir); checked == nil || err == nil {
		t.Errorf("Check has %v, and Open %v", checked, err)
	}
}

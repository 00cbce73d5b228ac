package jobstatus_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

func TestReadKey(t *testing.T) {
	path := write(t, []byte(" first \n"))
	check := func(step, want string) {
		t.Helper()
		if got, err := jobstatus.ReadKey(path); got != want || err != nil {
			t.Errorf("%s: key %q, error %v, want %q", step, got, err, want)
		}
	}
	put := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check("as it was", "first")
	check("unchanged", "first")
	put(path, "a longer one\r\n")
	check("written over", "a longer one")

	// A secret store may keep length and time: only the content differs.
	at := time.Unix(1_700_000_000, 0)
	put(path, "key-1")
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	check("with an old time", "key-1")
	put(path, "key-2")
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	check("of the same length and time", "key-2")
	other := filepath.Join(t.TempDir(), "other")
	put(other, "key-3")
	if err := os.Chtimes(other, at, at); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	check("replaced", "key-3")

	for _, content := range []string{"", " \n\t"} {
		put(path, content)
		if got, err := jobstatus.ReadKey(path); err == nil || !strings.Contains(err.Error(), path) || got != "" {
			t.Errorf("emptied: key %q, error %v, want an error that names the file", got, err)
		}
	}
	put(path, "again")
	check("filled again", "again")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, err := jobstatus.ReadKey(path); err == nil || got != "" {
		t.Errorf("removed: key %q, error %v", got, err)
	}
}

func TestUnreadableKeys(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir(), write(t, []byte("\n"))} {
		if _, err := jobstatus.ReadKey(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v, want one that names %s", err, path)
		}
	}
}

package sqlite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

// Check has the error of Open, which names the path and the remedy, and leaves everything as it is.
func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(dir string) error // something in the place of the directory, or in it
		want string
	}{
		"a file": {func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, "; choose a directory"},
		"a directory in the place of the database": {
			func(dir string) error { return os.MkdirAll(filepath.Join(dir, "register.db"), 0o700) },
			"register.db is not a regular file; choose another directory",
		},
		"a directory in the place of the lock": {
			func(dir string) error { return os.MkdirAll(filepath.Join(dir, "lock"), 0o700) },
			"lock is not a regular file; choose another directory",
		},
		"a link to nothing": {
			func(dir string) error { return os.Symlink("nothing", dir) },
			"dir is a symbolic link to nothing; choose another directory",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "dir")
			if err := tt.make(dir); err != nil {
				t.Fatal(err)
			}
			checked := sqlite.Check(dir)
			_, err := sqlite.Open(dir, quiet)
			if text := fmt.Sprint(checked); text != fmt.Sprint(err) || !strings.Contains(text, dir) ||
				!strings.Contains(text, tt.want) {
				t.Errorf("Check has %v, and Open %v, want …%q", checked, err, tt.want)
			}
		})
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "new", "dir")
	if err := sqlite.Check(dir); err != nil || len(files(t, parent)) > 0 {
		t.Errorf("a new directory: %v, and there is %q", err, files(t, parent))
	}
	db := open(t, dir)
	before := files(t, dir)
	if err := sqlite.Check(dir); err != nil {
		t.Errorf("while another process uses the directory: %v", err)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("the check changes files (-before +after):\n%s", diff)
	}
	closed(t, db)
	before = files(t, dir)
	if err := sqlite.Check(dir); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("the check changes files (-before +after):\n%s", diff)
	}
}

// files returns the files of a directory with what is in them.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	content := make(map[string]string)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		content[path] = string(text)
	}
	return content
}

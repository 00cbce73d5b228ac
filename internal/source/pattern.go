package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/bmatcuk/doublestar/v3"
)

// wildcards are the characters that make a path a pattern. A backslash is a separator on
// Windows.
var wildcards = strings.ReplaceAll(`*?[{\`, string(filepath.Separator), "")

// expand returns the paths that match a pattern as Telegraf's inputs read it, whether it is a path itself, and why
// there may be more of them.
func expand(pattern string) (paths []string, literal bool, errs []error) {
	if !strings.ContainsAny(pattern, wildcards) {
		return []string{filepath.Clean(pattern)}, true, nil
	}
	w := &walk{OS: doublestar.StandardOS}
	paths, _ = doublestar.GlobOS(w, superAsterisk(pattern)) // SetPatterns has checked the pattern
	return paths, false, w.errs
}

// superAsterisk makes ** stand for any number of directories where it is not the whole
// name of one, as in **.txt. Telegraf does the same for the library that both use.
func superAsterisk(pattern string) string {
	pattern = strings.ReplaceAll(filepath.FromSlash(pattern), "**/**", "**")
	return strings.ReplaceAll(pattern, "**", "**/**")
}

// root returns the directory below which a pattern may match.
func root(pattern string) string {
	if i := strings.IndexAny(pattern, wildcards); i >= 0 {
		return filepath.Dir(pattern[:i] + "x")
	}
	return filepath.Dir(pattern)
}

// checkPattern returns an error for a malformed pattern, which the library would take for
// one that matches nothing.
func checkPattern(pattern string) error {
	if pattern == "" {
		return errors.New("an empty file pattern: give the path of a file, or a glob such as /var/spool/ids/*.txt")
	}
	malformed := fmt.Errorf(`malformed file pattern %q: close the bracket or brace, or escape it with \`, pattern)
	braces := 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\' && filepath.Separator != '\\':
			i++
			if i == len(pattern) {
				return malformed
			}
		case c == '[':
			end := strings.IndexByte(pattern[i:], ']')
			if end < 0 {
				return malformed
			}
			if _, err := doublestar.Match(pattern[i:i+end+1], "x"); err != nil {
				return malformed
			}
			i += end
		case c == '{':
			braces++
		case c == '}' && braces > 0:
			braces--
		}
	}
	if braces > 0 {
		return malformed
	}
	return nil
}

// A walk is the file system as a pattern is matched in it. The library passes what it cannot read: a walk keeps the
// errors of that.
type walk struct {
	doublestar.OS
	errs []error
}

// keep keeps an error that may hide files. What is not there, or is no directory, hides none; nor does what a file
// system keeps for itself.
func (w *walk) keep(name string, err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) &&
		!slices.Contains(strings.Split(name, string(filepath.Separator)), "lost+found") {
		w.errs = append(w.errs, err)
	}
}

// Lstat implements doublestar.OS.
func (w *walk) Lstat(name string) (os.FileInfo, error) {
	info, err := w.OS.Lstat(name)
	w.keep(name, err)
	return info, err
}

// Open implements doublestar.OS, which calls it to list a directory.
func (w *walk) Open(name string) (doublestar.File, error) {
	file, err := w.OS.Open(name)
	w.keep(name, err)
	return listing{file, name, w}, err
}

// A listing is a directory that is listed in a walk.
type listing struct {
	doublestar.File
	name string
	walk *walk
}

func (l listing) Readdir(n int) ([]os.FileInfo, error) {
	all, err := l.File.Readdir(n)
	l.walk.keep(l.name, err)
	return all, err
}

// Stat implements doublestar.OS, which calls it to follow a link. It keeps ** from following one to a directory that
// contains it.
func (w *walk) Stat(name string) (os.FileInfo, error) {
	info, err := w.OS.Stat(name)
	w.keep(name, err)
	if err != nil || !info.IsDir() {
		return info, err
	}
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		if above, err := w.OS.Stat(dir); err == nil && os.SameFile(above, info) {
			return nil, &fs.PathError{Op: "stat", Path: name, Err: errors.New("a link to a directory above it")}
		}
		if dir == filepath.Dir(dir) {
			return info, nil
		}
	}
}

package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// A match is a regular file that matches a pattern.
type match struct {
	path string
	info fs.FileInfo
}

// find returns the regular files that match the patterns, each path once. Directories,
// pipes, devices and files that vanish meanwhile are problems only where the pattern has
// no wildcard.
func (f *Files) find(patterns []string) []match {
	var matches []match
	seen := make(map[string]bool)
	for _, pattern := range patterns {
		paths, literal, errs := expand(pattern)
		for _, err := range errs {
			f.problem(err)
		}
		for _, path := range paths {
			info, err := os.Stat(path)
			regular := err == nil && info.Mode().IsRegular()
			f.matched[pattern] = f.matched[pattern] || regular
			if seen[path] {
				continue
			}
			seen[path] = true
			switch {
			case regular:
				matches = append(matches, match{path, info})
			case errors.Is(err, fs.ErrNotExist):
				if literal && !f.matched[pattern] {
					f.problem(fmt.Errorf("%s: no such file; it is read as soon as it appears", path))
				}
			case err != nil:
				f.problem(err)
			case literal && info.IsDir():
				f.problem(fmt.Errorf("%s: a directory; write %s for the files in it", path, filepath.Join(path, "*")))
			case literal:
				f.problem(fmt.Errorf("%s: not a regular file", path))
			}
		}
		if len(paths) == 0 && len(errs) == 0 {
			f.unmatched(pattern)
		}
	}
	return matches
}

// unmatched notes why a pattern matches nothing. An empty directory is no error, but may
// be a mistake in the pattern.
func (f *Files) unmatched(pattern string) {
	dir := root(pattern)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		f.problem(errNoDirectory(pattern, dir))
	} else if !f.matched[pattern] {
		err := errUnmatched(pattern)
		f.note(Problem{Key: err.Error(), Err: err, Count: 1})
	}
}

func errUnmatched(pattern string) error {
	return fmt.Errorf("%s: matches nothing now; files are read as soon as they appear", pattern)
}

func errNoDirectory(pattern, dir string) error {
	return fmt.Errorf("%s: there is no directory %s; create it, or correct the pattern", pattern, dir)
}

// Unmatched returns, for each pattern that matches no file now, an error that says so.
func Unmatched(patterns []string) (errs []error) {
	for _, pattern := range patterns {
		if Matching(pattern) > 0 {
			continue
		}
		err := errUnmatched(pattern)
		if dir := root(pattern); !exists(dir) {
			err = errNoDirectory(pattern, dir)
		}
		errs = append(errs, err)
	}
	return errs
}

// Matching returns how many files match a pattern now.
func Matching(pattern string) (files int) {
	paths, _, _ := expand(pattern)
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			files++
		}
	}
	return files
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// assign gives each file to the follower that followed it before, under this or another
// name, or to a new one. A follower whose file is gone stays while it is open: there may
// be something left to read. After a change of the patterns that only holds for paths
// which still match.
func (f *Files) assign(matches []match, reloaded bool) {
	byPath := make(map[string]*follower)
	for _, fl := range f.followers {
		if fl.found != nil {
			byPath[fl.path] = fl
		}
		fl.found = nil
	}
	// The same path comes first, so that hard links do not exchange their followers.
	var moved []match
	for _, m := range matches {
		if fl := byPath[m.path]; fl != nil && os.SameFile(fl.info, m.info) {
			fl.found = m.info
		} else {
			moved = append(moved, m)
		}
	}
	gone := slices.DeleteFunc(slices.Clone(f.followers), func(fl *follower) bool { return fl.found != nil })
	for _, m := range moved {
		i := slices.IndexFunc(gone, func(fl *follower) bool { return os.SameFile(fl.info, m.info) })
		if i < 0 {
			f.followers = append(f.followers, &follower{path: m.path, found: m.info, added: reloaded})
			continue
		}
		gone[i].path, gone[i].found = m.path, m.info
		gone = slices.Delete(gone, i, i+1)
	}
	f.drop(func(fl *follower) bool {
		matches := func() bool { return slices.ContainsFunc(matches, func(m match) bool { return m.path == fl.path }) }
		return fl.found == nil && (fl.file == nil || reloaded && !matches())
	})
}

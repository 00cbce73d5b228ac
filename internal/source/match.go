package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
		paths, literal := f.expand(pattern)
		for _, path := range paths {
			if seen[path] {
				continue
			}
			seen[path] = true
			info, err := os.Stat(path)
			switch {
			case err == nil && info.Mode().IsRegular():
				matches = append(matches, match{path, info})
				if literal {
					f.appeared[path] = true
				}
			case errors.Is(err, fs.ErrNotExist):
				if literal && !f.appeared[path] {
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
	}
	return matches
}

// expand returns the paths that match a pattern, and whether it is a path itself.
func (f *Files) expand(pattern string) (paths []string, literal bool) {
	i := strings.IndexAny(pattern, wildcards)
	if i < 0 {
		return []string{filepath.Clean(pattern)}, true
	}
	paths, _ = filepath.Glob(pattern) // SetPatterns has checked it
	if len(paths) > 0 {
		return paths, false
	}
	// Glob does not report a directory that it may not read.
	dir, err := open(filepath.Dir(pattern[:i]))
	if err == nil {
		dir.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		f.problem(err)
	}
	return nil, false
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
			f.followers = append(f.followers, &follower{path: m.path, found: m.info})
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

// wildcards are the characters that make a path a pattern for filepath.Match: a backslash
// is a separator on Windows.
var wildcards = strings.ReplaceAll(`*?[\`, string(filepath.Separator), "")

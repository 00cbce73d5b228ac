package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// DefaultLookInterval is how often files are looked at.
const DefaultLookInterval = 5 * time.Second

// maxOpen is how many files are kept open at most. A file that is kept open can
// be read to its end after it was renamed or removed. Beyond that number, those
// that changed longest ago are closed, and opened again when they change; what
// is written to one of them between the last look and a rename is then only
// found if its new name matches a pattern too.
const maxOpen = 256

// Files reads request IDs from files and follows them: as they grow, are
// rotated or truncated, disappear, and appear.
//
// It looks at them every few seconds instead of being notified by the kernel,
// since looking works on every file system, network and container ones too, and
// for thousands of files costs little.
type Files struct {
	every   time.Duration
	handler Handler
	wake    chan struct{} // has an element when the patterns are new

	mu       sync.Mutex
	patterns []string
	reloaded bool

	// What follows belongs to Run.
	followers []*follower     // in the order in which they were found
	opened    []*follower     // those that are kept open, the longest unchanged first
	appeared  map[string]bool // the files without wildcard that have been there
	troubles  map[string]bool // what was wrong at the last look, and is reported already
	lines     *bufio.Reader   // one buffer for all files, as long as the longest line
	fine      bool            // whether nothing was wrong so far, in the current look
}

// NewFiles returns a source for the files that match the patterns, which are
// those of filepath.Glob. They are looked at each `every`, or each
// DefaultLookInterval where that is not positive. The error names a pattern
// that is malformed.
func NewFiles(patterns []string, every time.Duration, h Handler) (*Files, error) {
	if every <= 0 {
		every = DefaultLookInterval
	}
	f := &Files{
		every:    every,
		handler:  h,
		wake:     make(chan struct{}, 1),
		appeared: make(map[string]bool),
		lines:    bufio.NewReaderSize(nil, submission.MaxEntryBytes+len("\r\n")+len(bom)),
	}
	if err := f.SetPatterns(patterns); err != nil {
		return nil, err
	}
	return f, nil
}

// SetPatterns changes which files are read, at once where Run is running. Files
// that still match go on from where they are, others are closed and forgotten.
// An error names a pattern that is malformed, and leaves everything as it was.
// It may be called at any time, from any goroutine.
func (f *Files) SetPatterns(patterns []string) error {
	for _, pattern := range patterns {
		if pattern == "" {
			return errors.New("an empty file pattern: give the path of a file, or a glob such as /var/spool/ids/*.txt")
		}
		if _, err := filepath.Match(pattern, ""); err != nil {
			return fmt.Errorf(`malformed file pattern %q: close the bracket, or write \[ for one that is part of a name`, pattern)
		}
	}
	f.mu.Lock()
	f.patterns, f.reloaded = slices.Clone(patterns), true
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default: // it is awake already
	}
	return nil
}

// Run looks at the files, at once and then again and again, until ctx ends. It
// has closed all of them when it returns. Run it once.
func (f *Files) Run(ctx context.Context) {
	defer func() {
		for _, fl := range f.followers {
			f.close(fl)
		}
	}()
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	for {
		select {
		case <-f.wake: // the first time, too
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		f.look(ctx)
	}
}

// look reads what is new in all files.
func (f *Files) look(ctx context.Context) {
	f.mu.Lock()
	patterns, reloaded := f.patterns, f.reloaded
	f.reloaded = false
	f.mu.Unlock()

	f.fine = true
	troubles := make(map[string]bool)
	trouble := func(err error) {
		f.fine = false
		troubles[err.Error()] = true
		if !f.troubles[err.Error()] {
			f.handler.Problem(submission.File, 1, err)
		}
	}
	if reloaded {
		clear(f.appeared)
	}
	f.match(f.find(patterns, trouble), reloaded)
	// What is gone is read first, before its place among the open files is taken.
	for _, here := range []bool{false, true} {
		for _, fl := range f.followers {
			if fl.here != here {
				continue
			}
			if ctx.Err() != nil {
				return
			}
			err := f.follow(ctx, fl)
			if err == nil {
				continue
			}
			f.close(fl)
			if !errors.Is(err, fs.ErrNotExist) { // else it vanished since it was found
				trouble(err)
			}
		}
	}
	f.forget((*follower).ended)
	f.troubles = troubles
	if len(patterns) > 0 && ctx.Err() == nil {
		f.handler.Looked(submission.File, f.fine)
	}
}

// found is a file that matches a pattern.
type found struct {
	path string
	info fs.FileInfo
}

// find returns the regular files that match the patterns, each path once. A
// directory, a pipe, a device or a file that vanishes while it looks is only
// worth a word where the user named it without wildcard.
func (f *Files) find(patterns []string, trouble func(error)) []found {
	var all []found
	known := make(map[string]bool)
	for _, pattern := range patterns {
		paths, named := []string{filepath.Clean(pattern)}, true
		if i := strings.IndexAny(pattern, wildcards()); i >= 0 {
			paths, _ = filepath.Glob(pattern) // SetPatterns has checked it
			named = false
			if len(paths) == 0 {
				// Glob keeps quiet about a directory that it may not read.
				if dir, err := open(filepath.Dir(pattern[:i])); err == nil {
					dir.Close()
				} else if !errors.Is(err, fs.ErrNotExist) {
					trouble(err)
				}
			}
		}
		for _, path := range paths {
			if known[path] {
				continue
			}
			known[path] = true
			info, err := os.Stat(path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				if named && !f.appeared[path] {
					trouble(fmt.Errorf("%s: no such file; it is read as soon as it appears", path))
				}
			case err != nil:
				trouble(err)
			case info.Mode().IsRegular():
				if named {
					f.appeared[path] = true
				}
				all = append(all, found{path, info})
			case named && info.IsDir():
				trouble(fmt.Errorf("%s: a directory; write %s for the files in it", path, filepath.Join(path, "*")))
			case named:
				trouble(fmt.Errorf("%s: not a regular file", path))
			}
		}
	}
	return all
}

// match gives each file its follower: the one that followed it before, under
// this name or another one, or a new one. Followers whose file is gone stay for
// as long as there may be something to read in it. After a reload that only
// holds for the files that match the new patterns.
func (f *Files) match(files []found, reloaded bool) {
	byPath := make(map[string]*follower)
	for _, fl := range f.followers {
		if fl.here {
			byPath[fl.path] = fl
		}
		fl.here = false
	}
	paths := make(map[string]bool)
	var strangers []found
	for _, file := range files {
		paths[file.path] = true
		if fl := byPath[file.path]; fl != nil && os.SameFile(fl.info, file.info) {
			fl.here, fl.now = true, file.info
		} else {
			strangers = append(strangers, file)
		}
	}
	var lost []*follower
	for _, fl := range f.followers {
		if !fl.here {
			lost = append(lost, fl)
		}
	}
	for _, file := range strangers {
		i := slices.IndexFunc(lost, func(fl *follower) bool { return os.SameFile(fl.info, file.info) })
		if i < 0 {
			f.followers = append(f.followers, &follower{path: file.path, now: file.info, here: true})
			continue
		}
		lost[i].path, lost[i].now, lost[i].here = file.path, file.info, true
		lost = slices.Delete(lost, i, i+1)
	}
	f.forget(func(fl *follower) bool {
		return !fl.here && (fl.file == nil || reloaded && !paths[fl.path])
	})
}

// forget closes and drops the followers that it holds for.
func (f *Files) forget(holds func(*follower) bool) {
	f.followers = slices.DeleteFunc(f.followers, func(fl *follower) bool {
		if !holds(fl) {
			return false
		}
		f.close(fl)
		return true
	})
}

// open opens the follower's file where it is not open, and closes another one
// where that makes too many.
func (f *Files) open(fl *follower) error {
	if fl.file == nil {
		file, err := open(fl.path)
		if err != nil {
			return err
		}
		if len(f.opened) == maxOpen {
			f.close(f.opened[0])
		}
		fl.file = file
	} else {
		i := slices.Index(f.opened, fl)
		f.opened = slices.Delete(f.opened, i, i+1)
	}
	f.opened = append(f.opened, fl)
	return nil
}

// close closes the follower's file where it is open.
func (f *Files) close(fl *follower) {
	if fl.file == nil {
		return
	}
	fl.file.Close() // it was only read
	fl.file = nil
	i := slices.Index(f.opened, fl)
	f.opened = slices.Delete(f.opened, i, i+1)
}

// wildcards are the characters that make a path a pattern, as filepath.Match
// has them: a backslash is a separator on Windows.
func wildcards() string {
	if filepath.Separator == '\\' {
		return `*?[`
	}
	return `*?[\`
}

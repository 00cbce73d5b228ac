package source

import (
	"bufio"
	"context"
	"slices"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// lookInterval is how often files are looked at.
const lookInterval = 5 * time.Second

// maxOpen is the maximum number of files kept open. An open file can be read to its end
// after it was renamed or removed. Beyond maxOpen, the files that changed longest ago are
// closed, and opened again when they change; what is written to one of them between the
// last look and a rename is found only if the new name matches a pattern too.
const maxOpen = 256

// Files reads request IDs from files and follows them while they grow, are rotated or
// truncated, disappear, and appear.
//
// It looks at them every few seconds instead of waiting for notifications of the kernel,
// because that works on network and container file systems too.
type Files struct {
	handler  Handler
	patterns chan []string // has an element when they have changed

	// Only the goroutine of Run uses the following fields.
	followers []*follower     // in the order in which they were found
	opened    []*follower     // with an open file, least recently read first
	matched   map[string]bool // patterns that have matched a file
	problems  []Problem       // of the current look,
	reported  []Problem       // and of the last
	buffer    *bufio.Reader   // shared by all files, as long as the longest line
	ok        bool            // no problem so far in the current look
	left      int64           // bytes that it leaves for the next one
}

// NewFiles returns a source for the files that match the patterns, which are those of
// Telegraf's inputs. The error names a malformed pattern.
func NewFiles(patterns []string, h Handler) (*Files, error) {
	f := &Files{
		handler:  h,
		patterns: make(chan []string, 1),
		buffer:   bufio.NewReaderSize(nil, lineBuffer),
	}
	return f, f.SetPatterns(patterns)
}

// SetPatterns changes which files are read, at once if Run is running. Files that still
// match continue at their position, others are closed and forgotten. An error names a
// malformed pattern and changes nothing. One goroutine at a time may call it.
func (f *Files) SetPatterns(patterns []string) error {
	for _, pattern := range patterns {
		if err := checkPattern(pattern); err != nil {
			return err
		}
	}
	select {
	case <-f.patterns: // Run has not yet taken the last ones
	default:
	}
	f.patterns <- slices.Clone(patterns)
	return nil
}

// Run looks at the files, at once and then every few seconds, until ctx ends. It has closed
// all of them when it returns. Call it once.
func (f *Files) Run(ctx context.Context) {
	defer f.drop(func(*follower) bool { return true })
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	var patterns []string
	for {
		reloaded := false
		select {
		case patterns = <-f.patterns: // the first time, too
			reloaded = true
			f.matched = make(map[string]bool)
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		f.look(ctx, patterns, reloaded)
	}
}

// look reads what is new in all files; reloaded means that the patterns have changed.
func (f *Files) look(ctx context.Context, patterns []string, reloaded bool) {
	f.ok, f.left = true, 0
	f.problems, f.reported = nil, f.problems
	f.assign(f.find(patterns), reloaded)
	for _, gone := range []bool{true, false} { // those first: opening others may close them
		for _, fl := range f.followers {
			if (fl.found == nil) == gone && ctx.Err() == nil {
				f.follow(ctx, fl)
			}
		}
	}
	for _, fl := range f.followers {
		if fl.state == partial {
			f.left += fl.left()
		}
	}
	f.drop((*follower).ended)
	if len(patterns) > 0 && ctx.Err() == nil {
		f.handler.Looked(submission.File, f.problems, f.ok, f.left)
	}
}

// problem notes an error that concerns a file or a pattern as a whole. It is counted when
// it begins.
func (f *Files) problem(err error) {
	f.ok = false
	f.note(Problem{Key: err.Error(), Err: err, Count: 1, New: 1})
}

// note adds a problem to the report, once, and nothing to its count if the last report had it.
func (f *Files) note(p Problem) {
	if slices.ContainsFunc(f.problems, func(r Problem) bool { return r.Key == p.Key }) {
		return // several patterns have it
	}
	if slices.ContainsFunc(f.reported, func(r Problem) bool { return r.Key == p.Key }) {
		p.New = 0
	}
	f.problems = append(f.problems, p)
}

// drop closes and forgets followers.
func (f *Files) drop(which func(*follower) bool) {
	f.followers = slices.DeleteFunc(f.followers, func(fl *follower) bool {
		dropped := which(fl)
		if dropped {
			f.close(fl)
		}
		return dropped
	})
}

// open opens the file of a follower that is to be read, and closes the least recently read
// one beyond maxOpen.
func (f *Files) open(fl *follower) error {
	if fl.file == nil {
		file, err := open(fl.path)
		if err != nil {
			return err
		}
		fl.file = file
	}
	f.opened = append(slices.DeleteFunc(f.opened, func(o *follower) bool { return o == fl }), fl)
	if len(f.opened) > maxOpen {
		f.close(f.opened[0])
	}
	return nil
}

// close closes the file of a follower.
func (f *Files) close(fl *follower) {
	if fl.file == nil {
		return
	}
	fl.file.Close() // it was only read
	fl.file = nil
	f.opened = slices.DeleteFunc(f.opened, func(o *follower) bool { return o == fl })
}

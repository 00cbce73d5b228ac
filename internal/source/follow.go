package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// quietLooks is the number of consecutive looks that must find a file unchanged before its
// last line counts without a newline, and before a rotated file is closed: its writer may
// not have switched to the new file yet.
const quietLooks = 2

// state is what is left to do for a file. Every change of the file makes it unread.
//
//	unread ─┬─► read        everything was accepted
//	        ├─► unfinished  the same, but the last line has no newline: unread after quietLooks
//	        ├─► invalid     it is not a list that can be read
//	        ├─► partial     it is large, and a part of it was accepted: the next look goes on
//	        └─► unread      it cannot be opened, or Track refused jobs: the next look goes on
type state int

const (
	unread state = iota
	read
	unfinished
	invalid
	partial
)

// A follower follows one file through all its names.
type follower struct {
	path  string
	found fs.FileInfo // of the file at path in this look; nil after it was rotated away or removed
	file  *os.File    // nil while it is closed

	state    state
	added    bool        // it was there when its pattern was added, and was not read to its end yet
	info     fs.FileInfo // as of the last look; nil before the first
	quiet    int         // consecutive looks that found it unchanged
	at       position    // in a file of lines; zero in a JSON array
	accepted int         // number of entries of a JSON array that were accepted since it changed
	bad      badEntries  // in what was read of it
}

// badEntries are the invalid entries of a file or URL.
type badEntries struct {
	first error // with its place
	count int
	fresh int // how many of them are not reported yet
}

// add adds entries.
func (b *badEntries) add(n int, first error) {
	if b.count == 0 {
		b.first = first
	}
	b.count += n
	b.fresh += n
}

// replace replaces the entries of a list by those of its new version, which most likely
// are the same ones.
func (b *badEntries) replace(with badEntries) {
	with.fresh = max(0, with.count-b.count)
	*b = with
}

// report returns the problem of a place that has bad entries.
func (b *badEntries) report() Problem {
	p := Problem{Key: b.first.Error(), Err: b.first, Count: b.count, New: b.fresh}
	if b.count > 1 {
		p.Err = fmt.Errorf("%w (the first of %d bad entries)", b.first, b.count)
	}
	b.fresh = 0
	return p
}

// ended reports whether the file is gone and nothing more is expected from it.
func (fl *follower) ended() bool {
	return fl.found == nil && fl.state != unread && fl.state != partial && fl.quiet >= quietLooks
}

// observe notes what the file is like now, and reports whether that is new.
func (fl *follower) observe(info fs.FileInfo) (changed bool) {
	changed = fl.info == nil || fl.info.Size() != info.Size() || !fl.info.ModTime().Equal(info.ModTime())
	if changed {
		fl.state, fl.quiet, fl.accepted = unread, 0, 0
	}
	fl.info = info
	return changed
}

// follow reads what is new in a file, and closes it if that fails.
func (f *Files) follow(ctx context.Context, fl *follower) {
	err := f.update(ctx, fl)
	if fl.state == read || fl.state == invalid {
		fl.added = false
	}
	if fl.bad.count > 0 {
		f.ok = f.ok && fl.bad.fresh == 0
		f.problems = append(f.problems, fl.bad.report())
	}
	switch {
	case err == nil:
		f.ok = f.ok && fl.state != unread && fl.state != invalid
		return
	case !errors.Is(err, fs.ErrNotExist): // else it vanished since find
		f.problem(err)
	}
	f.close(fl)
}

func (f *Files) update(ctx context.Context, fl *follower) error {
	info := fl.found
	if info == nil {
		var err error
		if info, err = fl.file.Stat(); err != nil {
			return err
		}
	}
	if !fl.observe(info) {
		fl.quiet++
	}
	if fl.state == unfinished && fl.quiet >= quietLooks {
		fl.state = unread
	}
	if fl.state == unread || fl.state == partial {
		fl.state = unread
		return f.read(ctx, fl)
	}
	return nil
}

// read reads a file up to its present end.
func (f *Files) read(ctx context.Context, fl *follower) error {
	if err := f.open(fl); err != nil {
		return err
	}
	info, err := fl.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() { // replaced since the look found it
		return fmt.Errorf("%s: not a regular file", fl.path)
	}
	fl.observe(info)
	same, err := fl.at.isIn(fl.file, info.Size())
	if err != nil {
		return err
	}
	if !same {
		fl.at = position{}
	}
	if fl.at.offset > 0 {
		return f.readLines(ctx, fl)
	}
	if format := formatOf(f.from(fl, 0)); format != "" {
		fl.invalid(fmt.Errorf("it is %s; write a request ID per line as UTF-8 text", format))
		return nil
	}
	switch first, err := f.firstByte(fl); {
	case err == io.EOF && !fl.isLarge(): // only space so far
		fl.state = read
		return nil
	case err != nil && err != io.EOF:
		return err
	case first == '[':
		isList, end, err := submission.IsList(f.content(fl))
		if err != nil {
			return err
		}
		if isList || end > submission.MaxEntryBytes { // a line cannot hold that array
			return f.readArray(ctx, fl)
		}
	}
	fl.bad = badEntries{}
	return f.readLines(ctx, fl)
}

// invalid notes that a file is not a list that can be read.
func (fl *follower) invalid(err error) {
	fl.state = invalid
	fl.bad = badEntries{}
	fl.bad.add(1, fmt.Errorf("%s: %w", fl.path, err))
}

// from returns a reader from the offset to the end of the file as fl.info has it, but of maxPart at most. What is
// written meanwhile is left for the next look, so that position and info agree.
func (f *Files) from(fl *follower, offset int64) *bufio.Reader {
	f.buffer.Reset(io.NewSectionReader(fl.file, offset, min(fl.info.Size()-offset, maxPart)))
	return f.buffer
}

// isLarge reports whether more than one part of the file is left to read.
func (fl *follower) isLarge() bool { return fl.left() > maxPart }

// left is how many bytes are left to read.
func (fl *follower) left() int64 { return fl.info.Size() - fl.at.offset }

// content returns a reader of the whole file, without a byte order mark.
func (f *Files) content(fl *follower) *bufio.Reader {
	r := f.from(fl, 0)
	if start, _ := r.Peek(len(bom)); string(start) == bom {
		_, _ = r.Discard(len(bom)) // cannot fail after Peek
	}
	return r
}

// firstByte returns the first byte that is not space.
func (f *Files) firstByte(fl *follower) (byte, error) {
	r := f.content(fl)
	for {
		c, err := r.ReadByte()
		if err != nil || strings.IndexByte(" \t\r\n", c) < 0 {
			return c, err
		}
	}
}

// readArray reads a file that is a JSON array. It is read as a whole each time it changes,
// because a writer changes its end.
func (f *Files) readArray(ctx context.Context, fl *follower) error {
	if size := fl.info.Size(); size > maxDocument {
		fl.invalid(fmt.Errorf("a JSON array of %d bytes, the maximum is %d; write one entry per line instead",
			size, maxDocument))
		return nil
	}
	var bad badEntries
	list := submission.ParseList(f.content(fl), maxEntries, f.handler.check, func(err error) {
		bad.add(1, fmt.Errorf("%s: %w", fl.path, err))
	})
	accepted, broken, refused := f.handler.offer(ctx, submission.File, fl.added, list, fl.accepted)
	fl.accepted = accepted
	if failed, ok := errors.AsType[*fs.PathError](broken); ok {
		return failed
	}
	if refused != nil {
		return nil
	}
	fl.state = read
	fl.bad.replace(bad)
	if broken != nil {
		fl.invalid(broken)
	}
	return nil
}

// readLines reads a file of lines from its position. The next look reads the next part of a large one.
func (f *Files) readLines(ctx context.Context, fl *follower) error {
	isLarge := fl.isLarge()
	reader := lineReader{buffer: f.from(fl, fl.at.offset), at: fl.at, quiet: fl.quiet >= quietLooks && !isLarge}
	b := lines{path: fl.path, check: f.handler.check}
	for ctx.Err() == nil {
		before := reader.at
		text, number, err := reader.next()
		switch err {
		case nil:
			if !b.read(text, number, func() bool { return f.commit(ctx, fl, &b, before) }) {
				return nil
			}
		case errTooLong:
			b.reject(err, number)
		case io.EOF, errUnfinished:
			switch accepted := f.commit(ctx, fl, &b, reader.at); {
			case !accepted:
			case isLarge:
				fl.state = partial
			case err == errUnfinished:
				fl.state = unfinished
			default:
				fl.state = read
			}
			return nil
		default:
			return err
		}
		if (b.full() || b.bad >= batchSize) && !f.commit(ctx, fl, &b, reader.at) {
			return nil
		}
	}
	return nil
}

// lines are what was read from a file and is not yet accepted.
type lines struct {
	batch
	path     string
	check    func(submission.Job) error
	bad      int // number of lines
	firstBad error
}

// read adds the entry of a line, or those of an array. It calls commit when they are many, and returns false if that
// does.
func (b *lines) read(line []byte, number int, commit func() bool) bool {
	if bytes.HasPrefix(line, []byte("[")) {
		if isList, _, _ := submission.IsList(bytes.NewReader(line)); isList { // this reader has no error
			skip := func(err error) { b.reject(err, number) }
			for job, err := range submission.ParseList(bytes.NewReader(line), maxEntries, b.check, skip) {
				if err != nil {
					skip(err)
				} else if b.add(job); b.full() && !commit() {
					return false
				}
			}
			return true
		}
	}
	job, ok, err := submission.ParseLine(line)
	if ok {
		err = b.check(job)
	}
	switch {
	case err != nil:
		b.reject(err, number)
	case ok:
		b.add(job)
	}
	return true
}

func (b *lines) reject(err error, number int) {
	if b.bad++; b.bad == 1 {
		b.firstBad = fmt.Errorf("%s:%d: %w", b.path, number, err)
	}
}

// commit offers what was read, and reports whether it was accepted. If so, it notes the bad lines
// and moves the file's position; if not, the next look reads the same lines again.
func (f *Files) commit(ctx context.Context, fl *follower, b *lines, at position) bool {
	if len(b.jobs) > 0 && f.handler.Track(ctx, submission.File, b.jobs, fl.added) != nil {
		return false
	}
	if b.bad > 0 {
		fl.bad.add(b.bad, b.firstBad)
	}
	*b = lines{path: b.path, check: b.check}
	fl.at = at
	return true
}

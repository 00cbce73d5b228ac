package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

const (
	// quietLooks is how many looks in a row must find a file unchanged until its
	// last line counts without a newline, and until one that was rotated away is
	// no longer waited for: its writer may not have been told yet.
	quietLooks = 2
	// headSize is how many bytes at the start of a file are compared with what was
	// read there, whenever the file changed. That tells a file that grew from one
	// that was written anew, even where it is longer than before. An edit beyond
	// these bytes that only replaces characters is not noticed.
	headSize = 1 << 20
	// maxShown is how many bad lines of one file are reported one by one in a look.
	maxShown = 10
)

// position is how far a file of lines was read.
type position struct {
	offset   int64
	line     int    // lines that were read to their newline
	head     uint32 // checksum of what was read, up to headSize
	skipping bool   // within a line that is too long
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pass moves the position over b.
func (p *position) pass(b []byte) {
	if p.offset < headSize {
		p.head = crc32.Update(p.head, castagnoli, b[:min(int64(len(b)), headSize-p.offset)])
	}
	p.offset += int64(len(b))
}

// follower follows one file, through all its names.
type follower struct {
	path string
	here bool        // whether path still leads to it; false once it was rotated away or removed
	now  fs.FileInfo // as this look found it
	info fs.FileInfo // as it was read last
	file *os.File    // nil where it is not kept open

	at      position
	tail    []byte // the unfinished line after `at` that was taken nevertheless; nil where none was
	waiting bool   // whether there is an unfinished line that was not taken
	entries int    // of a JSON array: how many were taken
	broken  bool   // whether it is a JSON array that cannot be read
	dirty   bool   // whether there is something to read
	quiet   int    // looks in a row that found it unchanged
}

// ended tells whether nothing more can come from a file that is gone.
func (fl *follower) ended() bool {
	return !fl.here && !fl.dirty && fl.quiet >= quietLooks
}

// changed notes that the file is not what it was.
func (fl *follower) changed(info fs.FileInfo) {
	fl.info = info
	fl.quiet, fl.entries = 0, 0
	fl.dirty, fl.broken = true, false
}

func unchanged(a, b fs.FileInfo) bool {
	return a != nil && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// follow reads what is new in a file. Its error says that the file itself could
// not be read.
func (f *Files) follow(ctx context.Context, fl *follower) error {
	if !fl.here {
		info, err := fl.file.Stat()
		if err != nil {
			return err
		}
		fl.now = info
	}
	if unchanged(fl.info, fl.now) {
		fl.quiet++
	} else {
		fl.changed(fl.now)
	}
	if fl.waiting && fl.quiet >= quietLooks {
		fl.dirty = true
	}
	if fl.dirty {
		if err := f.read(ctx, fl); err != nil {
			return err
		}
	}
	if fl.dirty || fl.broken {
		f.fine = false
	}
	return nil
}

// read reads a file to the end it has now. The follower stays dirty where Track
// did not take everything.
func (f *Files) read(ctx context.Context, fl *follower) error {
	if err := f.open(fl); err != nil {
		return err
	}
	info, err := fl.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() { // it was replaced just now
		return fmt.Errorf("%s: not a regular file", fl.path)
	}
	if !unchanged(fl.info, info) {
		fl.changed(info)
	}
	fl.info = info
	same, err := f.beginsAsBefore(fl)
	if err != nil {
		return err
	}
	if !same {
		fl.at, fl.tail = position{}, nil
	}
	fl.waiting = false
	if fl.at.offset == 0 {
		switch first, err := f.firstByte(fl); {
		case err == io.EOF: // nothing but space so far
			fl.dirty = false
			return nil
		case err != nil:
			return err
		case first == '[':
			return f.readDocument(ctx, fl)
		}
	}
	return f.readLines(ctx, fl)
}

// section returns a reader for the file from offset to the end that it had when
// it was looked at. What is written in the meantime is for the next look, so
// that what was read and what is known of the file always agree.
func (f *Files) section(fl *follower, offset, end int64) *bufio.Reader {
	f.lines.Reset(io.NewSectionReader(fl.file, offset, end-offset))
	return f.lines
}

// beginsAsBefore tells whether the file still begins with what was read from it.
func (f *Files) beginsAsBefore(fl *follower) (bool, error) {
	if fl.info.Size() < fl.at.offset {
		return false, nil
	}
	head := crc32.New(castagnoli)
	if _, err := f.section(fl, 0, min(fl.at.offset, headSize)).WriteTo(head); err != nil {
		return false, err
	}
	return head.Sum32() == fl.at.head, nil
}

// firstByte returns the file's first byte that is neither space nor part of a
// byte order mark.
func (f *Files) firstByte(fl *follower) (byte, error) {
	r := f.section(fl, 0, fl.info.Size())
	skipBOM(r)
	for {
		c, err := r.ReadByte()
		if err != nil || strings.IndexByte(" \t\r\n", c) < 0 {
			return c, err
		}
	}
}

func skipBOM(r *bufio.Reader) {
	if start, _ := r.Peek(len(bom)); string(start) == bom {
		_, _ = r.Discard(len(bom)) // it was peeked at
	}
}

// readDocument reads a file that is a JSON array. It is read as a whole each
// time it changes, since its end is where it is written.
func (f *Files) readDocument(ctx context.Context, fl *follower) error {
	reject := func(err error) {
		fl.dirty, fl.broken = false, true
		f.report(1, fmt.Errorf("%s: %w", fl.path, err))
	}
	if size := fl.info.Size(); size > maxDocument {
		reject(fmt.Errorf("a JSON array of %d bytes is longer than the %d that are read; write one entry a line, which may go on for ever", size, maxDocument))
		return nil
	}
	r := f.section(fl, 0, fl.info.Size())
	skipBOM(r)
	jobs, err := submission.ParseJSON(r, maxEntries)
	var failed *fs.PathError
	switch {
	case errors.As(err, &failed):
		return failed
	case err != nil:
		reject(err)
		return nil
	}
	taken, err := f.handler.offer(ctx, submission.File, jobs[min(fl.entries, len(jobs)):])
	fl.entries += taken
	fl.dirty = err != nil
	return nil
}

// readLines reads a file of lines from its position on.
func (f *Files) readLines(ctx context.Context, fl *follower) error {
	r := f.section(fl, fl.at.offset, fl.info.Size())
	b := batch{path: fl.path}
	at, tail, waiting := fl.at, fl.tail, false
	// commit offers what was read. Only once that is taken does the position move,
	// and are the bad lines reported: otherwise both come again at the next look.
	commit := func() bool {
		if len(b.jobs) > 0 {
			if err := f.handler.Track(ctx, submission.File, b.jobs); err != nil {
				return false
			}
		}
		for _, err := range b.bad {
			f.report(1, err)
		}
		b.taken()
		fl.at, fl.tail = at, tail
		return true
	}
	defer func() {
		if b.others > 0 {
			f.report(b.others, fmt.Errorf("%s: %d more bad lines", fl.path, b.others))
		}
	}()
	for ctx.Err() == nil {
		chunk, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return err
		}
		text := chunk
		if at.offset == 0 {
			text = bytes.TrimPrefix(text, []byte(bom))
		}
		text = bytes.TrimSpace(text)
		switch {
		case at.skipping:
			at.pass(chunk)
			if err == nil {
				at.skipping = false
				at.line++
			}
		case err == bufio.ErrBufferFull:
			b.reject(at.line+1, fmt.Errorf("longer than %d bytes", submission.MaxEntryBytes))
			at.pass(chunk)
			at.skipping, tail = true, nil
		case err == nil:
			at.pass(chunk)
			at.line++
			if tail == nil || !bytes.Equal(text, tail) { // else it only got its newline
				b.add(at.line, text)
			}
			tail = nil
		case len(text) == 0 || tail != nil && bytes.Equal(text, tail):
		case fl.quiet >= quietLooks:
			// The position stays before the line: if it grows nevertheless, all of it is
			// read again, and not its end taken for a line.
			b.add(at.line+1, text)
			tail = bytes.Clone(text)
		default:
			waiting = true
		}
		if err == io.EOF {
			if commit() {
				fl.dirty, fl.waiting = false, waiting
			}
			return nil
		}
		if len(b.jobs) == batchSize && !commit() {
			return nil
		}
	}
	return nil
}

// report reports n problems that err stands for.
func (f *Files) report(n int, err error) {
	f.fine = false
	f.handler.Problem(submission.File, n, err)
}

// batch is what was read from a file in one look and is not yet taken.
type batch struct {
	path   string
	jobs   []submission.Job
	bad    []error // what is wrong with lines, at most maxShown in a look
	more   int     // bad lines beyond those
	shown  int     // bad lines of earlier batches that were reported one by one
	others int     // bad lines of earlier batches that were not
}

// add adds what a line says.
func (b *batch) add(line int, text []byte) {
	job, ok, err := submission.ParseLine(text)
	switch {
	case err != nil:
		b.reject(line, err)
	case ok:
		b.jobs = append(b.jobs, job)
	}
}

// reject adds a bad line.
func (b *batch) reject(line int, err error) {
	if b.shown+len(b.bad) == maxShown {
		b.more++
		return
	}
	b.bad = append(b.bad, fmt.Errorf("%s:%d: %w", b.path, line, err))
}

// taken empties the batch for what comes next.
func (b *batch) taken() {
	b.shown += len(b.bad)
	b.others += b.more
	b.jobs, b.bad, b.more = nil, nil, 0
}

// open opens a file for reading. It never waits, as opening a pipe does, should
// there be a pipe of that name by now.
func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// Package logqueue writes a log whose reader may be slow, or stand still, without holding up what is logged.
package logqueue

import (
	"io"
	"slices"
	"sync"
	"time"
)

// Size is how many bytes of lines wait for a slow reader: some thousand lines.
const Size = 1 << 20

// A Queue passes lines on to a writer, in their order. It never waits for the writer: if too much waits, it drops the
// oldest lines, so that the error with which a program ends is not among them. Its methods may be called by several
// goroutines at once.
type Queue struct {
	to    io.Writer
	notes func(dropped int) string

	mu      sync.Mutex // guards the following
	lines   [][]byte
	size    int           // of lines, in bytes
	dropped int           // since the last line that was written
	idle    chan struct{} // closed when no line waits, and none is being written; nil: none was
}

// New returns a queue before a writer. Notes returns the line that takes the place of dropped ones.
func New(to io.Writer, notes func(dropped int) string) *Queue {
	return &Queue{to: to, notes: notes}
}

// Write implements [io.Writer] for lines. It never fails.
func (q *Queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lines = append(q.lines, slices.Clone(line))
	q.size += len(line)
	for q.size > Size && len(q.lines) > 1 {
		q.next()
		q.dropped++
	}
	if !q.writing() {
		q.idle = make(chan struct{})
		go q.write()
	}
	return len(line), nil
}

// next removes the oldest line.
func (q *Queue) next() []byte {
	line := q.lines[0]
	q.lines = q.lines[1:]
	q.size -= len(line)
	return line
}

// writing reports whether a goroutine writes.
func (q *Queue) writing() bool {
	if q.idle == nil {
		return false
	}
	select {
	case <-q.idle:
		return false
	default:
		return true
	}
}

// write writes lines until none waits.
func (q *Queue) write() {
	for {
		q.mu.Lock()
		var line []byte
		switch {
		case q.dropped > 0:
			line = []byte(q.notes(q.dropped))
			q.dropped = 0
		case len(q.lines) > 0:
			line = q.next()
		default:
			close(q.idle)
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		_, _ = q.to.Write(line) // there is no other place for its error
	}
}

// Flush waits until all lines are written, but not for longer than the given time.
func (q *Queue) Flush(atMost time.Duration) {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-time.After(atMost):
	}
}

package source

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// headSize is the number of bytes at the start of a file that are compared with what was
// read before whenever the file has changed. This tells a file that grew from one that was
// rewritten, even if it is longer than before. Beyond headSize, an edit that keeps the size
// is not noticed.
const headSize = 1 << 20

// lineBuffer is the size of a buffer that holds the longest valid line.
const lineBuffer = submission.MaxEntryBytes + len("\r\n") + len(bom)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A position is how far a file of lines was read.
type position struct {
	offset  int64
	line    int    // number of lines read including their newline
	head    uint32 // checksum of the first headSize bytes before offset
	tooLong bool   // offset is inside a line that is too long
	partial []byte // unfinished line at offset that was returned already
}

// advance moves the position over b.
func (p *position) advance(b []byte) {
	if p.offset < headSize {
		p.head = crc32.Update(p.head, castagnoli, b[:min(int64(len(b)), headSize-p.offset)])
	}
	p.offset += int64(len(b))
}

// isIn reports whether a file of this size still starts with what was read before p.
func (p *position) isIn(file io.ReaderAt, size int64) (bool, error) {
	if size < p.offset {
		return false, nil
	}
	head := crc32.New(castagnoli)
	_, err := io.Copy(head, io.NewSectionReader(file, 0, min(p.offset, headSize)))
	return head.Sum32() == p.head, err
}

// The errors of lines.next beside io.EOF and those of the file.
var (
	errTooLong    = fmt.Errorf("longer than %d bytes", submission.MaxEntryBytes) // more lines may follow
	errUnfinished = errors.New("the last line has no newline yet")
)

// A lineReader reads the lines of a file that follow a position.
type lineReader struct {
	buffer *bufio.Reader // of lineBuffer bytes, reads from at.offset on
	at     position      // behind the last line that next returned
	quiet  bool          // the file stopped growing: its last line counts without a newline
}

// next returns the next line without surrounding space, and its number.
func (r *lineReader) next() (text []byte, number int, err error) {
	for {
		chunk, err := r.buffer.ReadSlice('\n')
		switch err {
		case nil:
			if text, isNew := r.finished(chunk); isNew {
				return text, r.at.line, nil
			}
		case bufio.ErrBufferFull:
			reported := r.at.tooLong
			r.at.advance(chunk)
			r.at.tooLong, r.at.partial = true, nil
			if !reported {
				return nil, r.at.line + 1, errTooLong
			}
		case io.EOF:
			text, err := r.unfinished(chunk)
			return text, r.at.line + 1, err
		default:
			return nil, 0, err
		}
	}
}

// finished passes a chunk that ends a line, and returns the line unless it was returned,
// or refused, before its newline came.
func (r *lineReader) finished(chunk []byte) (text []byte, isNew bool) {
	text = r.trim(chunk)
	isNew = !r.at.tooLong && !bytes.Equal(text, r.at.partial)
	r.at.advance(chunk)
	r.at.line++
	r.at.tooLong, r.at.partial = false, nil
	return text, isNew
}

// unfinished handles what follows the last newline of the file.
func (r *lineReader) unfinished(chunk []byte) ([]byte, error) {
	text := r.trim(chunk)
	switch {
	case r.at.tooLong:
		r.at.advance(chunk)
		return nil, io.EOF
	case len(text) == 0, bytes.Equal(text, r.at.partial):
		return nil, io.EOF
	case !r.quiet:
		return nil, errUnfinished
	}
	// The position stays before the line: if the line grows after all, it is read again as
	// a whole, and its end is not mistaken for a line.
	r.at.partial = bytes.Clone(text)
	return text, nil
}

func (r *lineReader) trim(chunk []byte) []byte {
	if r.at.offset == 0 {
		chunk = bytes.TrimPrefix(chunk, []byte(bom))
	}
	return bytes.TrimSpace(chunk)
}

package source

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/go-json-experiment/json/jsontext"

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
	line    int    // number of lines read including their end
	head    uint32 // checksum of the first headSize bytes before offset
	tooLong bool   // offset is inside a line that is too long
	// partial is the checksum of the unfinished line at offset that was returned already; zero: there is none.
	partial [sha256.Size]byte
}

// advance moves the position over b.
func (p *position) advance(b []byte) {
	if p.offset < headSize {
		p.head = crc32.Update(p.head, castagnoli, b[:min(int64(len(b)), headSize-p.offset)])
	}
	p.offset += int64(len(b))
}

// returned reports whether an unfinished line was returned already.
func (p *position) returned(line []byte) bool {
	return p.partial != [sha256.Size]byte{} && sha256.Sum256(line) == p.partial
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

// A lineReader reads the lines of a file that follow a position. A JSON object, or an array, may extend
// over several lines.
type lineReader struct {
	buffer *bufio.Reader // of lineBuffer bytes, reads from at.offset on
	at     position      // behind the last line that next returned
	quiet  bool          // the file stopped growing: its last line counts without a newline
	single int64         // before this offset each line stands for itself: no object is there
}

// next returns the next line, or object, without surrounding space, and its number.
func (r *lineReader) next() (text []byte, number int, err error) {
	for {
		if err := r.skipNULs(); err != nil && err != io.EOF {
			return nil, 0, err
		}
		number := r.at.line + 1
		chunk, err := r.read()
		switch err {
		case nil:
			if text, isNew := r.finished(chunk); isNew {
				return text, number, nil
			}
		case bufio.ErrBufferFull:
			reported := r.at.tooLong
			r.at.advance(chunk)
			r.at.tooLong, r.at.partial = true, [sha256.Size]byte{}
			if !reported {
				return nil, number, errTooLong
			}
		case io.EOF:
			text, err := r.unfinished(chunk)
			return text, number, err
		default:
			return nil, 0, err
		}
	}
}

// skipNULs passes NULs at the start of a line: a crash, or a writer that goes on after its
// file was truncated, leaves a block of them before the line.
func (r *lineReader) skipNULs() error {
	for !r.at.tooLong {
		if _, err := r.buffer.Peek(1); err != nil {
			return err
		}
		buffered, _ := r.buffer.Peek(r.buffer.Buffered()) // cannot fail
		nuls := buffered[:len(buffered)-len(bytes.TrimLeft(buffered, "\x00"))]
		r.at.advance(nuls)
		_, _ = r.buffer.Discard(len(nuls)) // cannot fail after Peek
		if len(nuls) < len(buffered) {
			return nil
		}
	}
	return nil
}

// read reads a line with its newline, or the lines of an object. At the end of the file,
// and if it does not fit into the buffer, it returns what there is, with an error.
func (r *lineReader) read() ([]byte, error) {
	n, err := r.object()
	if n == 0 {
		if err != nil {
			return nil, err
		}
		n, err = r.line()
	}
	chunk, _ := r.buffer.Peek(n) // it was read
	_, _ = r.buffer.Discard(n)
	return chunk, err
}

// line returns the length of a line with its end. The error is that of the reader, or bufio.ErrBufferFull.
func (r *lineReader) line() (n int, err error) {
	for {
		text, _ := r.buffer.Peek(r.buffer.Buffered()) // cannot fail
		if end := lineEnd(text[n:]); end > 0 {
			return n + end, nil
		}
		n = len(bytes.TrimSuffix(text, []byte("\r"))) // a newline may follow
		switch _, err = r.buffer.Peek(len(text) + 1); err {
		case nil:
		case bufio.ErrBufferFull:
			return n, err
		default:
			return len(text), err
		}
	}
}

// lineEnd returns the length of the first line of a text with its end: a newline, or a carriage return alone, as old
// Macs write it. It returns 0 if the text ends before.
func lineEnd(text []byte) int {
	i := bytes.IndexAny(text, "\r\n")
	switch {
	case i < 0, text[i] == '\r' && i+1 == len(text):
		return 0
	case bytes.HasPrefix(text[i:], []byte("\r\n")):
		return i + 2
	}
	return i + 1
}

// countLines returns how many line ends a text has.
func countLines(text []byte) int {
	return bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) - bytes.Count(text, []byte("\r\n"))
}

// object returns the length of the lines that hold one JSON object or array from here on; 0 if there
// is none. The error is io.EOF if the file ends before the object and its last line do.
func (r *lineReader) object() (n int, err error) {
	if r.at.tooLong || r.at.offset < r.single {
		return 0, nil
	}
	text, _ := r.buffer.Peek(r.buffer.Buffered()) // skipNULs has filled it
	space := len(text) - len(r.trimStart(text))
	if space == len(text) || text[space] != '{' && text[space] != '[' {
		return 0, nil
	}
	n, state := objectLines(text[space:])
	if state == cutOff || state == unended {
		text, err = r.buffer.Peek(lineBuffer)
		if err != nil && err != io.EOF {
			return 0, err
		}
		n, state = objectLines(text[space:])
	}
	n += space
	switch {
	case state == ended:
		return n, nil
	case state == unended && err == io.EOF, state == cutOff && err == io.EOF && !r.quiet: // more may come
		return n, io.EOF
	}
	r.single = r.at.offset + int64(n)
	return 0, nil
}

// objectState is what objectLines finds at the start of a text.
type objectState int

const (
	none    objectState = iota // no object, or an invalid one
	ended                      // an object, and its last line, up to the next object
	unended                    // an object; the text ends within its last line
	cutOff                     // a part of an object
)

// objectLines returns the length of the lines that hold the JSON object or array at the start of a
// text; up to the next object if that is on the same line. If it is invalid, it returns the length of its valid part.
func objectLines(text []byte) (n int, state objectState) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true),
		jsontext.AllowInvalidUTF8(true))
	err := dec.SkipValue()
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return len(text), cutOff
	}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return int(syntax.ByteOffset), none
	}
	n = int(dec.InputOffset())
	if next := bytes.TrimLeft(text[n:], " \t"); bytes.HasPrefix(next, []byte("{")) {
		return len(text) - len(next), ended
	}
	end := lineEnd(text[n:])
	if end == 0 {
		return len(text), unended
	}
	return n + end, ended
}

// trimStart returns a text without the space, and the byte order mark, before it.
func (r *lineReader) trimStart(text []byte) []byte {
	if r.at.offset == 0 {
		text = bytes.TrimPrefix(text, []byte(bom))
	}
	return bytes.TrimLeft(text, " \t")
}

// finished passes a chunk that ends a line, and returns the line unless it was returned,
// or refused, before its newline came.
func (r *lineReader) finished(chunk []byte) (text []byte, isNew bool) {
	text = r.trim(chunk)
	isNew = !r.at.tooLong && !r.at.returned(text)
	r.at.advance(chunk)
	r.at.line += countLines(chunk)
	r.at.tooLong, r.at.partial = false, [sha256.Size]byte{}
	return text, isNew
}

// unfinished handles what follows the last newline of the file.
func (r *lineReader) unfinished(chunk []byte) ([]byte, error) {
	text := r.trim(chunk)
	switch {
	case r.at.tooLong:
		r.at.advance(chunk)
		return nil, io.EOF
	case len(text) == 0, r.at.returned(text):
		return nil, io.EOF
	case !r.quiet:
		return nil, errUnfinished
	}
	// The position stays before the line: if the line grows after all, it is read again as
	// a whole, and its end is not mistaken for a line.
	r.at.partial = sha256.Sum256(text)
	return text, nil
}

func (r *lineReader) trim(chunk []byte) []byte { return bytes.TrimSpace(r.trimStart(chunk)) }

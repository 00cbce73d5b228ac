package submission

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// A list splits a JSON array into its entries by brackets, commas and quotes alone, so that what is wrong with one of
// them does not concern the others. It holds the present one.
type list struct {
	from   *bufio.Reader
	offset int64 // of the next byte
	begun  bool  // the opening bracket was read
	ended  bool  // so was the closing one

	value []byte // of the present entry, without the space before it
	start int64  // where that begins
	long  bool   // it is longer than value, which has its start
}

func newList(r io.Reader) *list { return &list{from: withoutBOM(r)} }

// read returns the next byte. The error is a *ReadError, or that the list is cut off.
func (l *list) read() (byte, error) {
	c, err := l.from.ReadByte()
	switch err {
	case nil:
		l.offset++
		return c, nil
	case io.EOF:
		return 0, fmt.Errorf("%w at byte %d", ErrSyntax, l.offset)
	}
	return 0, &ReadError{err}
}

// readSpace returns the next byte that is not space.
func (l *list) readSpace() (byte, error) {
	for {
		if c, err := l.read(); err != nil || strings.IndexByte(space, c) < 0 {
			return c, err
		}
	}
}

// space is that of JSON.
const space = " \t\r\n"

// next goes on to the next entry, and reports whether there is one.
func (l *list) next() (more bool, err error) {
	if l.ended {
		return false, nil
	}
	first := !l.begun
	if first {
		switch c, err := l.readSpace(); {
		case err == nil && c != '[', errors.Is(err, ErrSyntax): // another document is most likely an error message
			return false, errNoArray
		case err != nil:
			return false, err
		}
		l.begun = true
	}
	c, err := l.readSpace()
	l.value, l.start, l.long = l.value[:0], l.offset-1, false
	depth, inString, escaped := 0, false, false
	for ; err == nil; c, err = l.read() {
		switch {
		case c == '\n' && inString: // no string has one: the closing quote is missing
			return true, nil
		case escaped:
			escaped = false
		case inString:
			inString, escaped = c != '"', c == '\\'
		case c == '"':
			inString = true
		case c == '{', c == '[':
			depth++
		case c == ',' && depth == 0:
			return true, nil
		case c == ']' && depth == 0:
			l.ended = true
			return !first || len(l.value) > 0, nil
		case c == '}', c == ']':
			depth = max(depth-1, 0)
		}
		if len(l.value) > MaxEntryBytes {
			l.long = true
		} else {
			l.value = append(l.value, c)
		}
	}
	// The last entry of a list that is cut off may be whole. Of a number this is not known.
	last := bytes.TrimRight(l.value, space)
	whole := depth == 0 && !inString && (bytes.HasSuffix(last, []byte(`"`)) || bytes.HasSuffix(last, []byte("}")))
	if whole && errors.Is(err, ErrSyntax) {
		return true, nil
	}
	return false, err
}

// entry parses the present entry.
func (l *list) entry() (Job, error) {
	if value := bytes.TrimRight(l.value, space); !l.long && len(value) <= MaxEntryBytes {
		return parseEntry(value, l.start)
	}
	return Job{}, errTooLong
}

// end returns nil if only space follows the list.
func (l *list) end() error {
	_, err := l.readSpace()
	switch {
	case err == nil:
		return errors.New("trailing data after the array")
	case errors.Is(err, ErrSyntax): // nothing
		return nil
	}
	return err
}

// listStart matches how a list may begin: log lines begin with a time, or a word, in brackets.
var listStart = regexp.MustCompile(`^\s*\[\s*(?:$|["{\]]|(?:[\d.-]+|null|true|false|-?NaN|-?Infinity)\s*(?:$|[,\]]))`)

// sniffed is how much of a text is compared with listStart.
const sniffed = 512

// IsList reports whether a text is to be read by ParseList: a JSON array, maybe with invalid entries, or a part of one.
// If anything but space follows the array, it is not, and end is where that array ends. The error is that of the reader.
func IsList(r io.Reader) (is bool, end int64, err error) {
	l := newList(r)
	if start, _ := l.from.Peek(sniffed); !listStart.Match(start) {
		return false, 0, nil
	}
	for more := true; more; {
		if more, err = l.next(); err != nil {
			break
		}
	}
	end = l.offset
	if err == nil {
		if err = l.end(); err == nil {
			return true, end, nil
		}
	}
	if failed, ok := errors.AsType[*ReadError](err); ok {
		return false, 0, failed
	}
	return !l.ended, end, nil
}

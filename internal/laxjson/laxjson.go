// Package laxjson reads one JSON document as a stream, in a fixed amount of memory. It checks the structure of all of
// it: brackets, colons and commas. Strings may hold bytes that are not UTF-8, control characters or invalid escapes,
// names may be repeated, and NaN may stand for a number, as some encoders write it. Of other words without quotes, only
// those that the caller skips may be numbers of a wrong form.
package laxjson

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

const (
	// MaxText is the maximum size in bytes of a string or number that is read, before its escapes are decoded. Skipped
	// ones may have any size.
	MaxText = 4 << 10
	// MaxDepth is the maximum depth of a value that is skipped.
	MaxDepth = 10000

	maxName    = 64 // bytes; a longer name is read as an empty one
	bufferSize = 32 << 10
	margin     = 8 // zeros behind what was read: 8 bytes can be looked at from any place
)

// A SyntaxError is a place where a document is not JSON, or where it ends too early. It does not quote the document.
type SyntaxError struct{ Offset int64 }

func (e *SyntaxError) Error() string { return fmt.Sprintf("invalid JSON at byte %d", e.Offset) }

// A ReadError is an error of the reader: the document may be valid.
type ReadError struct{ Err error }

func (e *ReadError) Error() string { return "reading: " + e.Err.Error() }

// Unwrap returns the error of the reader.
func (e *ReadError) Unwrap() error { return e.Err }

// errTrailingData is the error of End if something follows the document.
var errTrailingData = errors.New("trailing data after the document")

// A Scanner reads a document. Call Reset before its first use. After an error it must be Reset.
type Scanner struct {
	r        io.Reader
	err      error // of the reader
	buf      [bufferSize + margin]byte
	pos, end int   // what was read and not used yet
	offset   int64 // of buf[0] in the document
	begun    bool  // a byte order mark was looked for
	started  bool  // a container was begun: there is a document
	first    bool  // the container that was begun last has no element yet
	name     [maxName]byte
	brackets [MaxDepth / 8]byte // a bit for each container that Skip is in: 1 for an object

	member  uint // of the object that was begun last: the number of names that were read
	guesses [8]guess
}

// A guess is what probably precedes the value of an object's next member: comma, white space, name and colon, as they
// were in the object before; or the object's end. The objects of a list mostly differ in their values alone: one
// comparison reads a name.
type guess struct {
	buf  [64]byte
	text []byte // a part of buf
	name []byte // a part of text
	end  bool
}

// Reset begins another document.
func (s *Scanner) Reset(r io.Reader) {
	s.r, s.err, s.pos, s.end, s.offset, s.begun, s.started, s.first = r, nil, 0, 0, 0, false, false, false
	clear(s.buf[:margin])
	for i := range s.guesses {
		s.guesses[i].text = nil
	}
}

// Offset returns the position in the document, in bytes.
func (s *Scanner) Offset() int64 { return s.offset + int64(s.pos) }

// Peek returns the first byte of the next token, and io.EOF if the document is empty.
func (s *Scanner) Peek() (c byte, err error) {
	if c = s.buf[s.pos]; c <= ' ' {
		c, err = s.peekOn()
	}
	return c, err
}

func (s *Scanner) peekOn() (byte, error) {
	c, err := s.peek()
	if err == io.EOF && s.started {
		err = s.invalid()
	}
	return c, err
}

// peek returns io.EOF at the end.
func (s *Scanner) peek() (byte, error) {
	if !s.begun {
		s.begun = true
		mark := "\uFEFF"
		for s.end < len(mark) && s.more() {
		}
		if bytes.HasPrefix(s.buf[:s.end], []byte(mark)) {
			s.pos = len(mark)
		}
	}
	for {
		for ; s.pos < s.end; s.pos++ {
			switch c := s.buf[s.pos]; c {
			case ' ', '\t', '\r', '\n':
			default:
				return c, nil
			}
		}
		if !s.more() {
			if s.err == io.EOF {
				return 0, io.EOF
			}
			return 0, &ReadError{s.err}
		}
	}
}

// more reads on, and keeps what was not used. It reports whether there is more.
func (s *Scanner) more() bool {
	if s.err != nil {
		return false
	}
	copy(s.buf[:], s.buf[s.pos:s.end])
	s.offset, s.end, s.pos = s.offset+int64(s.pos), s.end-s.pos, 0
	for range 100 {
		n, err := s.r.Read(s.buf[s.end:bufferSize])
		s.end, s.err = s.end+n, err
		clear(s.buf[s.end:][:margin])
		if n > 0 || err != nil {
			return n > 0
		}
	}
	s.err = io.ErrNoProgress
	return false
}

func (s *Scanner) invalid() error { return &SyntaxError{s.Offset()} }

// ended returns the error for a token that is not complete.
func (s *Scanner) ended() error {
	if s.err == io.EOF {
		s.pos = s.end
		return s.invalid()
	}
	return &ReadError{s.err}
}

// End returns nil if the document has ended and nothing follows it.
func (s *Scanner) End() error {
	switch _, err := s.peek(); err {
	case io.EOF:
		return nil
	case nil:
		return errTrailingData
	default:
		return err
	}
}

// BeginObject reads the start of an object.
func (s *Scanner) BeginObject() error {
	s.member = 0
	return s.begin('{')
}

// BeginArray reads the start of an array.
func (s *Scanner) BeginArray() error { return s.begin('[') }

func (s *Scanner) begin(bracket byte) error {
	switch c, err := s.Peek(); {
	case err != nil:
		return err
	case c != bracket:
		return s.invalid()
	}
	s.pos++
	s.started, s.first = true, true
	return nil
}

// NextName reads the next name of an object, or the object's end: then ok is false. The value must be read or skipped
// next. The name is valid until the next call; it is empty if it is too long to be one that anybody knows.
func (s *Scanner) NextName() (name []byte, ok bool, err error) {
	if s.member >= uint(len(s.guesses)) { // at 0, the object has just begun: no comma is next
		return s.nextName(nil)
	}
	g := &s.guesses[s.member]
	s.member++
	if len(g.text) > 0 && bytes.HasPrefix(s.buf[s.pos:s.end], g.text) {
		s.pos += len(g.text)
		s.first = false
		return g.name, !g.end, nil
	}
	return s.nextName(g)
}

// nextName reads a name, and makes it the guess g unless that is nil.
func (s *Scanner) nextName(g *guess) (name []byte, ok bool, err error) {
	start := s.Offset()
	if ok, err = s.next('}'); !ok {
		if err == nil && s.note(g, start) {
			g.name, g.end = nil, true
		}
		return nil, false, err
	}
	if c, err := s.Peek(); err != nil {
		return nil, false, err
	} else if c != '"' {
		return nil, false, s.invalid()
	}
	quote := s.Offset()
	text, _, err := s.string(true)
	if err != nil {
		return nil, false, err
	}
	if len(text) <= maxName {
		name = s.name[:copy(s.name[:], text)] // the buffer may be filled before the name is used
	}
	end := s.Offset()
	if c, err := s.Peek(); err != nil {
		return nil, false, err
	} else if c != ':' {
		return nil, false, s.invalid()
	}
	s.pos++
	for s.pos < s.end && s.buf[s.pos] == ' ' {
		s.pos++
	}
	escaped := end-quote != int64(len(name))+2
	if !escaped && s.note(g, start) {
		g.name, g.end = g.text[quote-start+1:end-start-1], false
	}
	return name, true, nil
}

// note makes what was read since start the text of a guess, if there is one and if it is still in the buffer. At the
// end of the buffer, a space may follow that belongs to it: the guess before is better.
func (s *Scanner) note(g *guess, start int64) bool {
	if g == nil || start < s.offset || s.Offset()-start > int64(len(g.buf)) || s.pos == s.end {
		return false
	}
	g.text = append(g.buf[:0], s.buf[start-s.offset:s.pos]...)
	return true
}

// NextElement reports whether an array has another element, which must be read or skipped next. It reads the array's
// end.
func (s *Scanner) NextElement() (ok bool, err error) { return s.next(']') }

// next reads what is before an element, or the end of a container.
func (s *Scanner) next(end byte) (ok bool, err error) {
	c, err := s.Peek()
	first := s.first
	s.first = false
	switch {
	case err != nil:
		return false, err
	case c == end:
		s.pos++
		return false, nil
	case first:
		return true, nil
	case c != ',':
		return false, s.invalid()
	}
	s.pos++
	if c, err = s.Peek(); err == nil && c == end {
		err = s.invalid()
	}
	return err == nil, err
}

// Skip reads a value of any kind.
func (s *Scanner) Skip() error {
	if s.pos < s.end && s.buf[s.pos] == '"' { // most are strings
		s.first = false
		_, _, err := s.string(false)
		return err
	}
	return s.skip()
}

func (s *Scanner) skip() error {
	type token int
	const (
		opened token = iota // a bracket
		name
		colon
		value
		comma
	)
	depth, object, last := 0, false, colon
	for {
		c, err := s.Peek()
		if err != nil {
			return err
		}
		switch {
		case c == '}' || c == ']':
			if last != value && last != opened || depth == 0 || object != (c == '}') {
				return s.invalid()
			}
			s.pos++
			depth--
			object = depth > 0 && s.brackets[(depth-1)/8]>>((depth-1)%8)&1 == 1
			last = value
		case last == value:
			if c != ',' {
				return s.invalid()
			}
			s.pos++
			last = comma
			continue
		case last == name:
			if c != ':' {
				return s.invalid()
			}
			s.pos++
			last = colon
			continue
		case object && last != colon:
			if c != '"' {
				return s.invalid()
			}
			_, _, err = s.string(false)
			last = name
		case c == '{' || c == '[':
			if depth == MaxDepth {
				return s.invalid()
			}
			s.pos++
			s.brackets[depth/8] &^= 1 << (depth % 8)
			if object = c == '{'; object {
				s.brackets[depth/8] |= 1 << (depth % 8)
			}
			depth++
			last = opened
			continue
		case c == '"':
			_, _, err = s.string(false)
			last = value
		default:
			_, _, err = s.word()
			last = value
		}
		if err != nil {
			return err
		}
		if depth == 0 {
			s.first = false
			return nil
		}
	}
}

// Value reads a value of any kind. Its text is valid until the next call.
func (s *Scanner) Value() (Value, error) {
	switch c, err := s.Peek(); {
	case err != nil:
		return Value{}, err
	case c == '{', c == '[':
		return Value{}, s.Skip()
	case c == '"':
		text, broken, err := s.string(true)
		return Value{Kind: String, Text: text, broken: broken}, err
	default:
		start := s.Offset()
		text, broken, err := s.word()
		v := Value{Kind: Word, Text: text, broken: broken}
		if err == nil && !broken && !isLiteral(text) {
			var ok bool
			if v.number, ok = parse(text); !ok {
				return Value{}, &SyntaxError{start}
			}
		}
		return v, err
	}
}

// Text reads a value of any kind, and returns the text of a string or a number, as Value does. ok is false for other
// values. The text is valid until the next call.
func (s *Scanner) Text() (text []byte, ok bool, err error) {
	if c, err := s.Peek(); err == nil && c == '"' {
		text, _, err = s.string(true)
		return text, err == nil, err
	}
	v, err := s.Value()
	return v.Text, v.IsNumber(), err
}

// string reads a string, whose opening quote is next. It returns its text if keep is true.
func (s *Scanner) string(keep bool) (text []byte, broken bool, err error) {
	s.pos++
	escaped, tooLong := false, false // a string that is too long is not kept
	for i := s.pos; ; {
		for i < s.end {
			found := quotesAndBackslashes(binary.LittleEndian.Uint64(s.buf[i:]))
			if found == 0 {
				i = min(i+8, s.end)
				continue
			}
			i += bits.TrailingZeros64(found) / 8
			if s.buf[i] == '\\' {
				escaped = true
				i += 2
				continue
			}
			text = s.buf[s.pos:i]
			s.pos = i + 1
			switch {
			case tooLong || !keep || len(text) > MaxText:
				return nil, true, nil
			case escaped:
				text, broken = unescape(text)
			}
			return text, broken, nil
		}
		tooLong = tooLong || !keep || i-s.pos > MaxText
		if tooLong {
			s.pos = s.end
		}
		used := i - s.pos // 1 after a backslash that is the last byte
		if !s.more() {
			return nil, true, s.ended()
		}
		i = s.pos + used
	}
}

// quotesAndBackslashes returns eight bytes in which the lowest bit that is set is in the first of the given bytes that
// is a quote or a backslash; 0 if there is none.
func quotesAndBackslashes(eight uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quotes, backslashes := eight^'"'*ones, eight^'\\'*ones // bytes that are zero
	return ((quotes-ones)&^quotes | (backslashes-ones)&^backslashes) & highs
}

// word reads a number or a literal, or what stands in the place of a number. Its first byte is in the buffer.
func (s *Scanner) word() (text []byte, broken bool, err error) {
	start, tooLong := s.Offset(), false
	letter := isLetter(s.buf[s.pos])
	for i := s.pos; ; {
		for ; i < s.end; i++ {
			if c := s.buf[i]; !inWord[c] {
				text = s.buf[s.pos:i]
				s.pos = i
				if tooLong || len(text) > MaxText {
					text, broken = nil, true
				}
				if s.Offset() == start || letter && !isLiteral(text) && !isNaN(text) {
					return nil, true, &SyntaxError{start}
				}
				return text, broken, nil
			}
		}
		tooLong = tooLong || i-s.pos > MaxText
		if tooLong {
			s.pos = i
		}
		used := i - s.pos
		if !s.more() {
			return nil, true, s.ended()
		}
		i = s.pos + used
	}
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

var inWord = func() (in [256]bool) {
	for _, c := range "0123456789+-._#abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		in[c] = true
	}
	return in
}()

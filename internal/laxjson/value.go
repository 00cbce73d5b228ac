package laxjson

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A Kind is the kind of a value.
type Kind int

// The kinds.
const (
	Composite Kind = iota // an object or an array, which was skipped
	String
	Word // a number, true, false, null, or another word without quotes
)

// A Value is a value that was read.
type Value struct {
	Kind   Kind
	Text   []byte // of a string, without escapes; or a word. Empty if it is longer than MaxText
	broken bool
	number float64 // of a word that is neither a literal nor broken
}

// IsNull reports whether the value is null.
func (v Value) IsNull() bool { return v.Kind == Word && string(v.Text) == "null" }

// HasValidText reports whether the text is complete, and UTF-8 without control characters.
func (v Value) HasValidText() bool {
	return !v.broken && utf8.Valid(v.Text) && !bytes.ContainsFunc(v.Text, func(r rune) bool { return r < ' ' })
}

// IsNumber reports whether the value is written as a number, without quotes.
func (v Value) IsNumber() bool {
	return v.Kind == Word && len(v.Text) > 0 && (v.Text[0] == '-' || '0' <= v.Text[0] && v.Text[0] <= '9')
}

// Float returns the number that a value means, also in quotes. It is NaN if none is given, as by null, NaN, Infinity or
// an empty string. ok is false if something else is given, which is not a number. A number
// out of the range of float64 is infinite.
func (v Value) Float() (number float64, ok bool) {
	switch {
	case v.Kind == Composite || v.broken:
		return math.NaN(), false
	case v.Kind == String:
		text := bytes.TrimSpace(v.Text)
		if len(text) == 0 {
			return math.NaN(), true
		}
		return parse(text)
	case isLiteral(v.Text):
		return math.NaN(), v.IsNull()
	}
	return v.number, true
}

// parse returns the number that a text means, and NaN if it means that none is given.
func parse(text []byte) (number float64, ok bool) {
	if f, n := decimal(text); n > 0 && n == len(text) {
		return f, true
	}
	if isNaN(text) {
		return math.NaN(), true
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return math.NaN(), false
	}
	return f + 0, true // turns -0 into 0
}

func isLiteral(word []byte) bool {
	return string(word) == "null" || string(word) == "true" || string(word) == "false"
}

// isNaN reports whether a text means that no number is given. Encoders write NaN, infinity and null in several ways;
// `1.#QNAN` and its kin are those of old C libraries.
func isNaN(text []byte) bool {
	word := strings.ToLower(strings.TrimLeft(string(text), "+-"))
	switch word {
	case "null", "none", "undefined", "nan", "inf", "infinity":
		return true
	}
	return strings.HasPrefix(word, "1.#")
}

// Float reads a value of any kind and returns the number that it means, as Value.Float does.
func (s *Scanner) Float() (number float64, ok bool, err error) {
	// Most numbers have less than 8 bytes and no sign. All their bytes are read at once: branches that depend on how many
	// digits there are would take longer than anything else.
	const ones, highs, pairs = 0x0101010101010101, 0x8080808080808080, 0x000000ff000000ff
	text := s.buf[s.pos:]
	digits := binary.LittleEndian.Uint64(text) ^ '0'*ones
	others := (digits + (0x80-10)*ones | digits) & highs // the first byte that is no digit; if a point, the next too
	whole := bits.TrailingZeros64(others) / 8
	n, end := whole, whole // the number of digits, and the end of the text
	if whole < 8 && text[whole] == '.' {
		end = bits.TrailingZeros64(others&(others-1)) / 8
		n = end - 1
		before := uint64(1)<<(8*whole) - 1
		digits = digits&before | digits>>8&^before // without the point
	}
	if n == 0 || end == 8 || s.pos+end == s.end || inWord[text[end]] {
		return s.float()
	}
	s.pos += end
	digits <<= 64 - 8*n // zeros in front, and nothing of what follows
	digits = digits*10 + digits>>8
	digits = (digits&pairs*(100+1000000<<32) + digits>>16&pairs*(1+10000<<32)) >> 32
	return float64(uint32(digits)) / powersOf10[n-whole], true, nil
}

func (s *Scanner) float() (number float64, ok bool, err error) {
	if f, n := decimal(s.buf[s.pos:s.end]); n > 0 && s.pos+n < s.end && !inWord[s.buf[s.pos+n]] {
		s.pos += n
		return f, true, nil
	}
	v, err := s.Value()
	number, ok = v.Float()
	return number, ok, err
}

var powersOf10 = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// decimal parses the number without an exponent that a text begins with, which almost all are, and returns its length;
// 0 if there is none of at most 15 digits. The result is exact, since both the digits and the power of ten are exact as
// float64.
func decimal(text []byte) (f float64, length int) {
	text = text[:min(len(text), 17)]
	i := 0
	negative := len(text) > 0 && text[0] == '-'
	if negative {
		i++
	}
	digits, start := uint64(0), i
	for ; i < len(text) && text[i]-'0' <= 9; i++ {
		digits = digits*10 + uint64(text[i]-'0')
	}
	n, point := i-start, i // the number of digits, and the end of the whole ones
	if i < len(text) && text[i] == '.' {
		for i++; i < len(text) && text[i]-'0' <= 9; i++ {
			digits = digits*10 + uint64(text[i]-'0')
		}
		n += i - point - 1
	}
	if n == 0 || n > 15 {
		return 0, 0
	}
	f = float64(digits)
	if n > point-start {
		f /= powersOf10[n-(point-start)]
	}
	if negative {
		f = 0 - f // not -0
	}
	return f, i
}

// unescape decodes the escapes of a string in place. broken says that some were invalid.
func unescape(text []byte) (decoded []byte, broken bool) {
	decoded = text[:0]
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '\\' {
			decoded = append(decoded, c)
			continue
		}
		i++ // the string does not end with a backslash
		switch c = text[i]; c {
		case '"', '\\', '/':
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(text[i+1:])
			if r < 0 {
				broken = true
				break
			}
			i += 4
			if utf16.IsSurrogate(r) && bytes.HasPrefix(text[i+1:], []byte(`\u`)) {
				if pair := utf16.DecodeRune(r, hex4(text[i+3:])); pair != utf8.RuneError {
					r = pair
					i += 6
				}
			}
			broken = broken || utf16.IsSurrogate(r)
			decoded = utf8.AppendRune(decoded, r)
			continue
		default:
			broken = true
		}
		decoded = append(decoded, c)
	}
	return decoded, broken
}

// hex4 returns the value of four hexadecimal digits, and -1 without them.
func hex4(text []byte) (r rune) {
	if len(text) < 4 {
		return -1
	}
	for _, c := range text[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

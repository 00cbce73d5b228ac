package simulator

import (
	"strconv"
	"unicode/utf16"
)

// Bodies are appended by hand: a benchmark of a client should not spend its
// time in the encoder of the other side.

// appendString appends s as a JSON string in ASCII, as the vendor's encoder
// writes it.
func appendString(b []byte, s string) []byte {
	return append(appendEscaped(append(b, '"'), s), '"')
}

// appendEscaped appends the inside of a JSON string.
func appendEscaped(b []byte, s string) []byte {
	for _, c := range s { // what is not UTF-8 becomes U+FFFD
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c >= ' ' && c < 0x7f:
			b = append(b, byte(c))
		case c > 0xffff:
			high, low := utf16.EncodeRune(c)
			b = appendUnicode(appendUnicode(b, high), low)
		default:
			b = appendUnicode(b, c)
		}
	}
	return b
}

func appendUnicode(b []byte, c rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[c>>12&15], digits[c>>8&15], digits[c>>4&15], digits[c&15])
}

// appendDecimal appends n thousandths without needless zeros.
func appendDecimal(b []byte, n int) []byte {
	if n < 0 {
		b, n = append(b, '-'), -n
	}
	b = strconv.AppendInt(b, int64(n/1000), 10)
	n %= 1000
	if n == 0 {
		return b
	}
	b = append(b, '.', byte('0'+n/100))
	if n %= 100; n == 0 {
		return b
	}
	b = append(b, byte('0'+n/10))
	if n %= 10; n == 0 {
		return b
	}
	return append(b, byte('0'+n))
}

// appendHundredths appends n hundredths: seconds and confidences.
func appendHundredths(b []byte, n int) []byte { return appendDecimal(b, 10*n) }

package source

import (
	"bufio"
	"bytes"
	"regexp"
	"unicode"
	"unicode/utf8"
)

// pem is how a key or a certificate begins.
var pem = regexp.MustCompile(`(?m)^-----BEGIN [A-Z0-9 ]+-----`)

// sniffed is how much of the start of a file shows its format.
const sniffed = 512

// formatOf returns what a file is if it is not UTF-8 text with request IDs, and an empty string if it may
// be. Bytes that are not UTF-8 alone may be Latin-1 in a comment, and NULs alone what a
// crash has left.
func formatOf(r *bufio.Reader) string {
	start, _ := r.Peek(sniffed) // an error shows when it is read
	if isUTF16(start) {
		return "UTF-16 text"
	}
	if pem.Match(start) { // many of its lines could be IDs
		return "a key or a certificate"
	}
	invalid, control := false, false
	for utf8.FullRune(start) {
		c, size := utf8.DecodeRune(start)
		invalid = invalid || c == utf8.RuneError && size == 1
		control = control || unicode.IsControl(c) && c != 0 && !unicode.IsSpace(c)
		start = start[size:]
	}
	if invalid && control {
		return "binary data"
	}
	return ""
}

// isUTF16 reports whether a text is UTF-16, with or without a byte order mark. Without one,
// the second byte of each ASCII character is NUL, and no other.
func isUTF16(text []byte) bool {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return true
	}
	pairs := text[:min(len(text), 64)&^1]
	if len(pairs) < 4 {
		return false
	}
	for first := range 2 { // little endian, then big endian
		alternates := true
		for i, b := range pairs {
			alternates = alternates && (b == 0) == (i%2 != first)
		}
		if alternates {
			return true
		}
	}
	return false
}

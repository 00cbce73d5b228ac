// Package credential reads keys and tokens from files, and checks that a text can be one.
// Its errors name a file and never quote what is in it.
package credential

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// maxSize is the maximum size of a file in bytes. A key has some tens.
const maxSize = 64 << 10

// ReadFile returns the key or token in a file, without surrounding white space and a UTF-8
// byte order mark. Orchestrators and secret stores change such files: call it for each
// request. That is cheap compared to the request, and not every change shows in time and
// size. The error contains the remedy.
func ReadFile(path string) (string, error) {
	text, err := read(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w; let the user of this process read it", err)
	case errors.As(err, new(*fs.PathError)):
		err = fmt.Errorf("%w; put the key or token into the file", err)
	}
	return text, err
}

func read(path string) (string, error) {
	if err := CheckFile(path); err != nil {
		return "", err
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	switch {
	case err != nil:
		return "", err
	case len(content) > maxSize:
		return "", fmt.Errorf("%s is larger than %d bytes; leave only the key or token itself", path, maxSize)
	}
	if bytes.HasPrefix(content, []byte("\xff\xfe")) || bytes.HasPrefix(content, []byte("\xfe\xff")) ||
		bytes.IndexByte(content, 0) >= 0 {
		return "", errors.New(path + " is not text in UTF-8, but most likely UTF-16; save it as UTF-8")
	}
	text := strings.TrimSpace(strings.TrimPrefix(string(content), "\ufeff"))
	if text == "" {
		return "", errors.New(path + " is empty; put the key or token into the file")
	}
	if err := Check(text); err != nil {
		return "", fmt.Errorf("%s %w", path, err)
	}
	return text, nil
}

// CheckFile returns an error if a path is not that of a regular file: to open a pipe blocks,
// and a device may have no end.
func CheckFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return errors.New(path + " is a directory; name a file")
	case !info.Mode().IsRegular():
		return errors.New(path + " is a pipe or a device; name a regular file")
	}
	return nil
}

// assignment matches a line of an environment file.
var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=[^=]`)

// Check returns why a text cannot be a key or a token: the error continues a sentence about
// it. It has to be visible ASCII characters, since it is sent in URLs and headers, and what
// only looks like one would be refused with each request.
func Check(text string) error {
	switch {
	case strings.ContainsAny(text, "\r\n"):
		return errors.New("has more than one line; leave only the key or token itself")
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("has a control character; write the key or token again")
	case strings.ContainsFunc(text, func(r rune) bool { return r > '~' }):
		return errors.New("has a character that is not ASCII, such as a byte order mark; write the key or token again")
	case strings.Contains(text, " "):
		return errors.New("has a space; remove it")
	case strings.HasPrefix(text, "#"):
		return errors.New("begins with #, as a comment does; leave only the key or token itself")
	case strings.HasPrefix(text, "-----"):
		return errors.New("begins as a PEM file does; write the API key or token, not a private key")
	case strings.Contains(text, "://"):
		return errors.New("is a URL; write the key or token itself")
	case assignment.MatchString(text):
		return errors.New("begins with a name and =; leave only the key or token behind it")
	case strings.ContainsAny(text, "\"'`{}<>\\"):
		return errors.New("has a quote, a bracket or a backslash; leave only the key or token itself")
	}
	return nil
}

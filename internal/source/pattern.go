package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v3"
)

// wildcards are the characters that make a path a pattern. A backslash is a separator on
// Windows.
var wildcards = strings.ReplaceAll(`*?[{\`, string(filepath.Separator), "")

// expand returns the paths that match a pattern as Telegraf's inputs read it, and whether
// it is a path itself.
func expand(pattern string) (paths []string, literal bool) {
	if !strings.ContainsAny(pattern, wildcards) {
		return []string{filepath.Clean(pattern)}, true
	}
	// SetPatterns has checked the pattern.
	paths, _ = doublestar.GlobOS(withoutLoops{doublestar.StandardOS}, superAsterisk(pattern))
	return paths, false
}

// superAsterisk makes ** stand for any number of directories where it is not the whole
// name of one, as in **.txt. Telegraf does the same for the library that both use.
func superAsterisk(pattern string) string {
	pattern = strings.ReplaceAll(filepath.FromSlash(pattern), "**/**", "**")
	return strings.ReplaceAll(pattern, "**", "**/**")
}

// root returns the directory below which a pattern may match.
func root(pattern string) string {
	if i := strings.IndexAny(pattern, wildcards); i >= 0 {
		return filepath.Dir(pattern[:i] + "x")
	}
	return filepath.Dir(pattern)
}

// checkPattern returns an error for a malformed pattern, which the library would take for
// one that matches nothing.
func checkPattern(pattern string) error {
	if pattern == "" {
		return errors.New("an empty file pattern: give the path of a file, or a glob such as /var/spool/ids/*.txt")
	}
	malformed := fmt.Errorf(`malformed file pattern %q: close the bracket or brace, or escape it with \`, pattern)
	braces := 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\' && filepath.Separator != '\\':
			i++
			if i == len(pattern) {
				return malformed
			}
		case c == '[':
			end := strings.IndexByte(pattern[i:], ']')
			if end < 0 {
				return malformed
			}
			if _, err := doublestar.Match(pattern[i:i+end+1], "x"); err != nil {
				return malformed
			}
			i += end
		case c == '{':
			braces++
		case c == '}' && braces > 0:
			braces--
		}
	}
	if braces > 0 {
		return malformed
	}
	return nil
}

// withoutLoops keeps ** from following a symbolic link to a directory that contains it.
type withoutLoops struct{ doublestar.OS }

// Stat implements doublestar.OS, which calls it to follow a link.
func (o withoutLoops) Stat(name string) (os.FileInfo, error) {
	info, err := o.OS.Stat(name)
	if err != nil || !info.IsDir() {
		return info, err
	}
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		if above, err := o.OS.Stat(dir); err == nil && os.SameFile(above, info) {
			return nil, &fs.PathError{Op: "stat", Path: name, Err: errors.New("a link to a directory above it")}
		}
		if dir == filepath.Dir(dir) {
			return info, nil
		}
	}
}

//go:build unix

package credential_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/credential"
)

func TestReadFile(t *testing.T) {
	path := write(t, []byte(" first \n"))
	check := func(step, want string) {
		t.Helper()
		if got, err := credential.ReadFile(path); got != want || err != nil {
			t.Errorf("%s: key %q, error %v, want %q", step, got, err, want)
		}
	}
	put := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check("as it was", "first")
	check("unchanged", "first")
	put(path, "a-longer-one\r\n")
	check("written over", "a-longer-one")

	// A secret store may keep length and time: only the content differs.
	at := time.Unix(1_700_000_000, 0)
	put(path, "key-1")
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	check("with an old time", "key-1")
	put(path, "key-2")
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	check("of the same length and time", "key-2")
	other := filepath.Join(t.TempDir(), "other")
	put(other, "key-3")
	if err := os.Chtimes(other, at, at); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	check("replaced", "key-3")

	for _, content := range []string{"", " \n\t"} {
		put(path, content)
		if got, err := credential.ReadFile(path); err == nil || !strings.Contains(err.Error(), path) || got != "" {
			t.Errorf("emptied: key %q, error %v, want an error that names the file", got, err)
		}
	}
	put(path, "again")
	check("filled again", "again")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, err := credential.ReadFile(path); err == nil || got != "" {
		t.Errorf("removed: key %q, error %v", got, err)
	}
}

func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What can be a key is read; what cannot be one is refused in one line that names the file
// and does not quote it.
func TestContents(t *testing.T) {
	for content, want := range map[string]string{
		"abc":                                  "abc",
		"abc\r\n":                              "abc",
		"\ufeffabc\r\n":                        "abc",
		"\n\n abc \n":                          "abc",
		"aB3-_.~+/:@!$%&*()|,;?#^[]":           "aB3-_.~+/:@!$%&*()|,;?#^[]",
		"YWJj=":                                "YWJj=",
		"YWJjZA==":                             "YWJjZA==",
		"eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0-_": "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0-_",
	} {
		if got, err := credential.ReadFile(write(t, []byte(content))); got != want || err != nil {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
	for _, content := range []string{
		"", "\ufeff", " \r\n", "canary\ndef\n", "canary\rdef", "canary\n\ndef", "canary\u2028def", "canary\tdef",
		"canary def",
		"\xff\xfec\x00a\x00n\x00a\x00r\x00y\x00", "\xfe\xff\x00c\x00a\x00n\x00a\x00r\x00y",
		"c\x00a\x00n\x00a\x00r\x00y\x00\n\x00",
		"canary\x00", "\x00\x00\x00\x00", "canary\x1b[0m", "canary\x7f", "\x01canary", "canary\x80", "can\u00e4ry",
		"canary\ufeff",
		"\ufeff\ufeffcanary", "canary\u200b", "\u201ccanary\u201d",
		"NAME=canary", "api_key=canary", "DEEPAFFECTS_API_KEY=canary\n", "export NAME=canary", "NAME: canary",
		"NAME = canary",
		`"canary"`, "'canary'", "`canary`", `api_key = "canary"`, `{"api_key":"canary"}`, "<canary>", "${canary}",
		"{{canary}}", `canary\`,
		"#canaryabc", "-----BEGIN-CANARY-----canary", "https://api.example/canary", "canary://x",
		"Bearer canary", "# canary\nkey", "key # canary", "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
		strings.Repeat("canary", 20_000),
	} {
		path := write(t, []byte(content))
		got, err := credential.ReadFile(path)
		if err == nil || got != "" {
			t.Errorf("%.40q: no error", content)
			continue
		}
		text := err.Error()
		if !strings.HasPrefix(text, path) || strings.Contains(text, "canary") || strings.Contains(text, "\n") {
			t.Errorf("%.40q: %v", content, err)
		}
	}
}

// A pipe or a device is refused without opening it.
func TestNotAFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(pipe, link); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none")
	for _, path := range []string{pipe, link, "/dev/zero", "/dev/null", "/dev/stdin", dir, none, pipe + "/x"} {
		if _, err := credential.ReadFile(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v, want one that names %s", err, path)
		}
	}
}

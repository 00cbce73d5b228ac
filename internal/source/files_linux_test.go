// These tests count descriptors in /proc and use the file permissions of another user,
// which needs Linux. The code under test does not.

package source_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/source"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// fixture is a directory whose files are followed.
type fixture struct {
	*recorder
	dir   string
	files *source.Files
	// unprivileged follows the files with the permissions of others, even as root.
	unprivileged bool
}

func (d *fixture) path(name string) string { return filepath.Join(d.dir, name) }

func (d *fixture) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// write replaces the content of a file in place.
func (d *fixture) write(name, content string) {
	d.t.Helper()
	d.must(os.WriteFile(d.path(name), []byte(content), 0o600))
}

func (d *fixture) add(name, content string) {
	d.t.Helper()
	file, err := os.OpenFile(d.path(name), os.O_APPEND|os.O_WRONLY, 0)
	d.must(err)
	_, err = file.WriteString(content)
	d.must(err)
	d.must(file.Close())
}

// touch sets the modification time of a file to n seconds after a fixed time.
func (d *fixture) touch(name string, n int) {
	d.t.Helper()
	at := time.Unix(1_700_000_000+int64(n), 0)
	d.must(os.Chtimes(d.path(name), at, at))
}

func (d *fixture) rename(from, to string) {
	d.t.Helper()
	d.must(os.Rename(d.path(from), d.path(to)))
}

func (d *fixture) remove(name string) {
	d.t.Helper()
	d.must(os.Remove(d.path(name)))
}

// follow prepares a directory, follows patterns in it in a bubble, and calls test after the
// first look.
func follow(t *testing.T, prepare func(*fixture), test func(*fixture), patterns ...string) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := &fixture{recorder: &recorder{t: t, from: submission.File}, dir: dir}
		if prepare != nil {
			prepare(d)
		}
		var err error
		d.files, err = source.NewFiles(d.patterns(patterns...), d.handler())
		d.must(err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if d.unprivileged {
				runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
				if os.Geteuid() == 0 {
					if err := syscall.Setfsuid(65534); err != nil {
						t.Error(err)
					}
				}
			}
			d.files.Run(ctx)
		}()
		synctest.Wait()
		test(d)
		cancel()
		<-done
		if held := d.held(); len(held) > 0 {
			t.Errorf("Run returned and left %d files open", len(held))
		}
	})
}

func (d *fixture) patterns(names ...string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = d.path(name)
	}
	return paths
}

// held returns the files of the fixture that this process has open.
func (d *fixture) held() []string {
	d.t.Helper()
	const fds = "/proc/self/fd"
	entries, err := os.ReadDir(fds)
	d.must(err)
	var held []string
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(fds, entry.Name()))
		if err == nil && strings.HasPrefix(target, d.dir+"/") {
			held = append(held, target)
		}
	}
	slices.Sort(held)
	return held
}

func TestFilesLines(t *testing.T) {
	long := strings.Repeat("x", submission.MaxEntryBytes+1)
	object := `{"request_id": "o", "labels": {"x": "` + strings.Repeat("y", 200) + `"}}`
	for name, test := range map[string]struct {
		content  string
		ids      []string
		problems []string
	}{
		"empty":           {content: ""},
		"blank":           {content: "\n \r\n\t\n"},
		"ids and objects": {content: "a\n" + object + "\nb\n", ids: ids("a", "o", "b")},
		"comments":        {content: "# one\n\n  # two\na\n", ids: ids("a")},
		"CRLF":            {content: "a\r\nb\r\n", ids: ids("a", "b")},
		"byte order mark": {content: "\ufeffa\nb\n", ids: ids("a", "b")},
		"bad line": {
			content: "a\n\x01secret\n\nb\n{}\n", ids: ids("a", "b"),
			problems: ids("f:2: the request ID contains a non-printable character (the first of 2 bad entries)"),
		},
		"bad JSON": {
			content: `{"request_id": "secret` + "\na\n", ids: ids("a"),
			problems: ids("f:1: invalid JSON at byte 22"),
		},
		"too long": {
			content: "a\n" + long + "\nb\n", ids: ids("a", "b"), problems: ids("f:2: longer than 65536 bytes"),
		},
		"far too long": {
			content: strings.Repeat(long, 5) + "\nb\n\x01\n", ids: ids("b"),
			problems: ids("f:1: longer than 65536 bytes (the first of 2 bad entries)"),
		},
		"longest": {
			content: "\ufeff" + object + strings.Repeat(" ", submission.MaxEntryBytes-len(object)) + "\r\nb\n",
			ids:     ids("o", "b"),
		},
		"bracket in a line": {content: "a\n[b]\n", ids: ids("a"), problems: ids("f:2: " + notAnID)},
	} {
		t.Run(name, func(t *testing.T) {
			follow(t, func(d *fixture) { d.write("f", test.content) }, func(d *fixture) {
				var problems []string
				for _, problem := range test.problems {
					problems = append(problems, d.dir+"/"+problem)
				}
				d.expect(test.ids, problems, problems == nil)
				d.pass(every)
				d.expect(nil, nil, true)
			}, "f")
		})
	}
}

// utf16 returns a text as UTF-16 without a byte order mark.
func utf16Text(order binary.AppendByteOrder, text string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

func gzipText(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What programs, editors and crashes leave in files: what is meant is read, and nothing
// else becomes a job.
func TestFilesContent(t *testing.T) {
	const object = "{\n  \"request_id\": \"o\",\n  \"api\": \"asr\",\n  \"labels\": {\n    \"x\": \"}\"\n  }\n}\n"
	nuls := strings.Repeat("\x00", 300_000)
	lines := "run-1\nrun-2\n"
	for name, test := range map[string]struct {
		content string
		ids     []string
		bad     int    // number of bad entries
		first   string // what is wrong with the first
	}{
		"object over lines":    {content: object, ids: ids("o")},
		"objects over lines":   {content: object + object + "a\n" + object, ids: ids("o", "o", "a", "o")},
		"with CRLF":            {content: strings.ReplaceAll("a\n"+object+"b\n", "\n", "\r\n"), ids: ids("a", "o", "b")},
		"with byte order mark": {content: "\ufeff" + object, ids: ids("o")},
		"indented":             {content: "  " + strings.ReplaceAll(object, "\n", "\n  ") + "\nb\n", ids: ids("o", "b")},
		"empty lines within":   {content: strings.ReplaceAll(object, "\n", "\n\n") + "b\n", ids: ids("o", "b")},
		"without last newline": {content: "a\n" + strings.TrimSpace(object), ids: ids("a", "o")},
		"other members":        {content: "{\n\"request_id\": \"o\",\n\"message\": [\n{}\n]\n}\nb\n", ids: ids("o", "b")},
		"a line of objects":    {content: `{"request_id":"o"}` + "\n" + `{"request_id":"p"}` + "\n", ids: ids("o", "p")},
		"objects on one line": {
			content: `{"request_id":"o"}{"request_id":"p"} {"request_id":"q"}` + "\nb\n" +
				`{"request_id":"r"}{"request_id":"s"}`,
			ids: ids("o", "p", "q", "b", "r", "s"),
		},
		"a bad object on a line of objects": {
			content: `b` + "\n" + `{"request_id":"o"}{"request_id":""}{"request_id":"q"}` + "\n", ids: ids("b", "o", "q"),
			bad:   1,
			first: ":2: the request ID is empty",
		},
		"objects with commas between": {
			content: `{"request_id":"o"},{"request_id":"p"}` + "\nb\n", ids: ids("b"), bad: 1,
			first: ":1: invalid JSON at byte 18",
		},
		"text behind it": {
			content: strings.TrimSpace(object) + " x\nb\n", ids: ids("b"), bad: 1, first: ":1: invalid JSON at byte 72",
		},
		"no ID in it": {
			content: "{\n\"api\": \"asr\"\n}\nb\n", ids: ids("b"), bad: 1, first: ":1: the request ID is empty",
		},
		"name twice": {
			content: "{\n\"request_id\": \"a\",\n\"request_id\": \"b\"\n}\nb\n", ids: ids("b"), bad: 1,
			first: ":1: a name is given twice, at byte 21",
		},
		"comma too many": {
			content: "{\n\"request_id\": \"a\",\n}\nb\n", ids: ids("b"), bad: 3, first: ":1: invalid JSON at byte 1",
		},
		"never finished": {
			content: "{\n\"request_id\": \"a\",\nb\n", ids: ids("b"), bad: 2, first: ":1: invalid JSON at byte 1",
		},
		"cut off at the end": {
			content: "b\n{\n\"request_id\": \"a\",\n", ids: ids("b"), bad: 2, first: ":2: invalid JSON at byte 1",
		},
		"too long": {
			content: "{\n" + strings.Repeat("\n", 1<<16) + "}\nb\n", ids: ids("b"), bad: 1,
			first: ":1: longer than 65536 bytes",
		},
		"object without a name": {
			content: "{\n  \"run-1\"\n}\nb\n", ids: ids("run-1", "b"), bad: 2, first: ":1: invalid JSON at byte 1",
		},

		"lines of an old Mac": {content: "# x\ra\rb\r\rc", ids: ids("a", "b", "c")},
		"objects of an old Mac": {
			content: strings.ReplaceAll("a\n"+object+object+"b\n", "\n", "\r"), ids: ids("a", "o", "o", "b"),
		},
		"bad line of an old Mac": {content: "a\rb c\rd\r", ids: ids("a", "d"), bad: 1, first: ":2: " + notAnID},
		"long lines of an old Mac": {
			content: "a\r" + strings.Repeat("x", 1<<17) + "\rb\r", ids: ids("a", "b"), bad: 1,
			first: ":2: longer than 65536 bytes",
		},
		"all line ends": {content: "a\rb\nc\r\nd\r\r\ne", ids: ids("a", "b", "c", "d", "e")},

		"block of NULs":         {content: "a\n" + nuls[:8] + "b\nc\n", ids: ids("a", "b", "c")},
		"large block of NULs":   {content: "a\n" + nuls + "b\nc\n", ids: ids("a", "b", "c")},
		"NULs at the start":     {content: nuls + "a\nb\n", ids: ids("a", "b")},
		"one NUL at the start":  {content: "\x00a\nb\n", ids: ids("a", "b")},
		"NULs before an object": {content: nuls + object + "b\n", ids: ids("o", "b")},
		"NULs before a comment": {content: nuls + "# x\nb\n", ids: ids("b")},
		"NULs before a newline": {content: "a\n" + nuls + "\nb\n", ids: ids("a", "b")},
		"NULs at the end":       {content: "a\n" + nuls, ids: ids("a")},
		"only NULs":             {content: nuls},
		"NULs twice":            {content: nuls + "a\n" + nuls + "b\n", ids: ids("a", "b")},
		"NULs within a line": {
			content: "run\x00-1\nb\n", ids: ids("b"), bad: 1,
			first: ":1: the request ID contains a non-printable character",
		},
		"NULs behind a line": {
			content: "run-1" + nuls[:8] + "\nb\n", ids: ids("b"), bad: 1,
			first: ":1: the request ID contains a non-printable character",
		},
		"NULs before a bad line": {content: nuls + "a b\nb\n", ids: ids("b"), bad: 1, first: ":1: " + notAnID},

		"UTF-16 LE":         {content: utf16Text(binary.LittleEndian, "\ufeff"+lines), bad: 1, first: utf16Problem},
		"UTF-16 BE":         {content: utf16Text(binary.BigEndian, "\ufeff"+lines), bad: 1, first: utf16Problem},
		"UTF-16 LE, no BOM": {content: utf16Text(binary.LittleEndian, lines), bad: 1, first: utf16Problem},
		"UTF-16 BE, no BOM": {content: utf16Text(binary.BigEndian, lines), bad: 1, first: utf16Problem},
		"UTF-16 of JSON":    {content: utf16Text(binary.LittleEndian, "\ufeff[\"a\"]"), bad: 1, first: utf16Problem},
		"UTF-16, long": {
			content: utf16Text(binary.LittleEndian, strings.Repeat(lines, 999)), bad: 1, first: utf16Problem,
		},
		"compressed": {
			content: gzipText(t, strings.Repeat(lines, 999)), bad: 1,
			first: ": it is binary data; write a request ID per line as UTF-8 text",
		},
		"private key": {
			content: "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("abc", 21) + "\n-----END PRIVATE KEY-----\n",
			bad:     1, first: ": it is a key or a certificate; write a request ID per line as UTF-8 text",
		},
		"comment like a private key": {content: "# -----BEGIN batch 7-----\na\n", ids: ids("a")},
		"Latin-1 in a comment":       {content: "# caf\xe9\na\n", ids: ids("a")},
		"Latin-1 in a line": {
			content: "caf\xe9\na\n", ids: ids("a"), bad: 1, first: ":1: the request ID is not valid UTF-8",
		},
		"looks like an image": {
			content: "BM-1\nGIF89a\nID3-1\n\x01\n", ids: ids("BM-1", "GIF89a", "ID3-1"), bad: 1,
			first: ":4: the request ID contains a non-printable character",
		},

		"no IDs": {
			content: "request_id,api\nrun-csv1,asr\nrun-c1 # trailing\n; comment\nTraceback (most recent call last):\n" +
				"<html><body>502</body></html>\nroot:x:0:0:root:/root:/bin/bash\n",
			bad: 7, first: ":1: " + notAnID,
		},
		"bad entry in lines": {
			content: "a\n{\"request_id\": null}\nb\n", ids: ids("a", "b"), bad: 1, first: ":2: the request ID is empty",
		},
		"bad entry in an array": {
			content: "[\n \"a\",\n {\"request_id\": null},\n \"b\"\n]\n", ids: ids("a", "b"), bad: 1,
			first: ": entry 2: the request ID is empty",
		},
		"bad entries in an array": {
			content: `[true, "a", "", {"request_id": "b", "audio_seconds": -1}, null, "c"]`, ids: ids("a", "c"), bad: 4,
			first: ": entry 1: neither an object nor a string",
		},
		"account of an object": {
			content: `{"request_id":"a","account":"own"}` + "\n" + `{"request_id":"b","account":"secret"}` + "\n",
			ids:     ids("a"), bad: 1, first: ":2: " + otherAccount,
		},
		"account in an array": {
			content: `[{"request_id":"a","account":"own"},{"request_id":"b","account":"secret"}]`, ids: ids("a"), bad: 1,
			first: ": entry 2: " + otherAccount,
		},
		"array cut off": {
			content: `["a", "b", "c`, ids: ids("a", "b"), bad: 1, first: ": entry 3: invalid JSON at byte 13",
		},

		"a word in brackets":   {content: "[INFO] job list\na\nb\n", ids: ids("a", "b"), bad: 1, first: ":1: " + notAnID},
		"bracket not closed":   {content: "[ERROR: \"x]\na\nb\n", ids: ids("a", "b"), bad: 1, first: ":1: " + notAnID},
		"a time in brackets":   {content: "[2026-11-30 12:00:00] x\na\n", ids: ids("a"), bad: 1, first: ":1: " + notAnID},
		"a number in brackets": {content: "[7] x\na\n", ids: ids("a"), bad: 1, first: ":1: " + notAnID},
		"an array per line": {
			content: "[\"a\"]\n[\"b\",\"c\"]\nd\n[]\n[{\"request_id\":\"e\"}]\n", ids: ids("a", "b", "c", "d", "e"),
		},
		"an empty array before lines": {content: "[]\na\n", ids: ids("a")},
		"an array behind a comment":   {content: "# x\n[\"a\"]\n", ids: ids("a")},
		"arrays over lines": {
			content: "[\n\"a\",\n\"b\"\n]\nc\n[\n\"d\"\n]\n", ids: ids("a", "b", "c", "d"),
		},
		"bad entries in arrays of lines": {
			content: "[\"a\",NaN,{\"request_id\":\"b\",\"priority\":NaN}]\n[\"c\" x,\"d\"]\n", ids: ids("a", "b", "d"),
			bad: 2, first: ":1: entry 2: neither an object nor a string",
		},
		"a large array before lines": {
			content: `["` + strings.Repeat(`a","`, 1<<14) + "a\"]\nb\n", ids: slices.Repeat(ids("a"), 1<<14+1), bad: 1,
			first: ": trailing data after the array",
		},
	} {
		t.Run(name, func(t *testing.T) {
			follow(t, func(d *fixture) { d.write("f", test.content) }, func(d *fixture) {
				d.pass(3 * every) // so that the last line counts
				var problems []string
				if test.bad > 0 {
					problems = ids(d.path("f") + test.first)
				}
				if test.bad > 1 {
					problems[0] += fmt.Sprintf(" (the first of %d bad entries)", test.bad)
				}
				d.lasting(problems...)
				if !slices.Equal(d.ids, test.ids) || d.count != test.bad {
					t.Errorf("tracked %q, %d bad entries; want %q, %d", d.ids, d.count, test.ids, test.bad)
				}
				d.forget()
				d.add("f", "")
				d.pass(5 * every)
				if len(d.ids) > 0 || d.count > 0 {
					t.Errorf("tracked %q again, %d bad entries", d.ids, d.count)
				}
			}, "f")
		})
	}
}

const (
	otherAccount = "its account is another one than that of this source; " +
		"list it in a source of that account, or remove account"
	notAnID      = `not a request ID; if it is one, write {"request_id": "…"}`
	utf16Problem = ": it is UTF-16 text; write a request ID per line as UTF-8 text"
)

// An object may be written slowly.
func TestFilesObjectGrows(t *testing.T) {
	follow(t, func(d *fixture) { d.write("f", "a\n{\n") }, func(d *fixture) {
		d.expect(ids("a"), nil, true)
		for _, part := range []string{"  \"request", "_id\": \"b\",\n", "  \"api\": \"asr\"\n", "}"} {
			d.add("f", part)
			d.pass(every)
			d.expect(nil, nil, true)
		}
		d.add("f", "\nc\n")
		d.pass(every)
		d.expect(ids("b", "c"), nil, true)
	}, "f")
}

// A writer that goes on at its old offset after its file was truncated leaves a hole.
func TestFilesHole(t *testing.T) {
	follow(t, func(d *fixture) { d.write("f", strings.Repeat("a\n", 100_000)) }, func(d *fixture) {
		d.forget()
		d.must(os.Truncate(d.path("f"), 0))
		d.must(os.Truncate(d.path("f"), 200_000))
		d.add("f", "b\n")
		d.pass(every)
		d.expect(ids("b"), nil, true)
		d.add("f", "c\n")
		d.pass(every)
		d.expect(ids("c"), nil, true)
	}, "f")
}

// A huge file is read in parts, and the others between them.
func TestFilesHuge(t *testing.T) {
	for name, start := range map[string]string{
		"a hole": "", "a line": "a", "space": " ", "empty lines": strings.Repeat("\n", 1<<16),
	} {
		t.Run(name, func(t *testing.T) {
			follow(t, func(d *fixture) {
				d.write("f", start)
				d.must(os.Truncate(d.path("f"), 128<<20))
				d.add("f", "\nb\n")
				d.write("g", "c\n")
			}, func(d *fixture) {
				var bad []string
				if name == "a line" || name == "space" {
					bad = ids(d.path("f") + ":1: longer than 65536 bytes")
				}
				d.expect(ids("c"), bad, bad == nil)
				d.unread(true)
				d.pass(every)
				d.expect(nil, nil, true)
				d.unread(true)
				d.pass(every)
				d.expect(ids("b"), nil, true)
				d.unread(false)
				d.lasting(bad...)
				d.add("f", "d\n")
				d.pass(every)
				d.expect(ids("d"), nil, true)
			}, "f", "g")
		})
	}
}

// A line of an old Mac may be written slowly, or turn out to be one of Windows.
func TestFilesCarriageReturn(t *testing.T) {
	follow(t, func(d *fixture) { d.write("f", "a\r") }, func(d *fixture) {
		d.expect(nil, nil, true)
		d.pass(3 * every) // it stays so
		d.expect(ids("a"), nil, true)
		d.add("f", "\nb\rc")
		d.pass(every)
		d.expect(ids("b"), nil, true)
		d.add("f", "\r x\r")
		d.pass(every)
		d.expect(ids("c"), nil, true)
		d.add("f", "y z\r")
		d.pass(every)
		d.expect(ids("x"), nil, true)
		d.pass(3 * every)
		d.expect(nil, ids(d.path("f")+":5: "+notAnID), true)
	}, "f")
}

func TestFilesGrow(t *testing.T) {
	follow(t, func(d *fixture) { d.write("f", "# header\na\n") }, func(d *fixture) {
		d.expect(ids("a"), nil, true)
		d.add("f", "b\nc\n")
		d.pass(every)
		d.expect(ids("b", "c"), nil, true)
		d.add("f", "d\n\x01\n")
		d.pass(every)
		d.expect(ids("d"), ids(d.path("f")+":6: the request ID contains a non-printable character"), false)
		d.touch("f", 1) // a touch is not a change
		d.pass(every)
		d.expect(nil, nil, true)
	}, "f")
}

func TestFilesUnfinishedLine(t *testing.T) {
	for name, steps := range map[string][]struct {
		add  string
		want []string
	}{
		"completed in time":    {{"", ids("a")}, {"1", nil}, {"2", nil}, {"\n", ids("b12")}, {"", nil}, {"", nil}},
		"never completed":      {{"", ids("a")}, {"", nil}, {"", ids("b")}, {"", nil}, {"", nil}},
		"newline comes later":  {{"", ids("a")}, {"", nil}, {"", ids("b")}, {"\n", nil}, {"c\n", ids("c")}},
		"CRLF comes later":     {{"", ids("a")}, {"", nil}, {"", ids("b")}, {"\r", nil}, {"\nc\n", ids("c")}},
		"another line follows": {{"", ids("a")}, {"", nil}, {"", ids("b")}, {"\nc\n", ids("c")}},
		"grows though taken":   {{"", ids("a")}, {"", nil}, {"", ids("b")}, {"1\nc\n", ids("b1", "c")}, {"", nil}},
		"grows slowly": {
			{"", ids("a")}, {"", nil}, {"", ids("b")}, {"1", nil}, {"", nil}, {"", ids("b1")}, {"\n", nil},
			{"", nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			follow(t, func(d *fixture) { d.write("f", "a\nb") }, func(d *fixture) {
				for i, step := range steps {
					if i > 0 {
						d.add("f", step.add)
						d.pass(every)
					}
					d.expect(step.want, nil, true)
				}
			}, "f")
		})
	}
}

func TestFilesUnfinishedLineThatIsTooLong(t *testing.T) {
	part := strings.Repeat("x", 100_000)
	follow(t, func(d *fixture) { d.write("f", part) }, func(d *fixture) {
		d.expect(nil, ids(d.path("f")+":1: longer than 65536 bytes"), false)
		d.add("f", part)
		d.pass(every)
		d.expect(nil, nil, true)
		d.add("f", "end\na\n\x01\n")
		d.pass(every)
		d.expect(ids("a"), ids(d.path("f")+":1: longer than 65536 bytes (the first of 2 bad entries)"), false)
	}, "f")
}

func TestFilesRotate(t *testing.T) {
	for name, test := range map[string]struct {
		pattern string
		rotate  func(d *fixture)
		after   []string // IDs of the next look
	}{
		"renamed": {"f", func(d *fixture) {
			d.add("f", "b\n")
			d.rename("f", "f.1")
			d.write("f", "c\n")
		}, ids("b", "c")},
		"renamed, and written to after that": {"f", func(d *fixture) {
			d.rename("f", "f.1")
			d.write("f", "c\n")
			d.add("f.1", "b\n")
		}, ids("b", "c")},
		"renamed to a name that matches": {"f*", func(d *fixture) {
			d.add("f", "b\n")
			d.rename("f", "f.1")
			d.write("f", "c\n")
		}, ids("b", "c")},
		"twice, by names that match": {"f*", func(d *fixture) {
			d.rename("f", "f.2")
			d.write("f.1", "b\n")
			d.write("f", "c\n")
		}, ids("c", "b")}, // both are new, so in order of their names
		"removed": {"f", func(d *fixture) {
			d.add("f", "b\n")
			d.remove("f")
		}, ids("b")},
		"renamed over": {"f", func(d *fixture) {
			d.write("new", "a\nb\n")
			d.rename("new", "f")
		}, ids("a", "b")},
		"truncated": {"f", func(d *fixture) {
			d.write("f", "b\n")
		}, ids("b")},
		"truncated to nothing": {"f", func(d *fixture) {
			d.write("f", "")
		}, nil},
		"truncated, and longer than before": {"f", func(d *fixture) {
			d.write("f", "b\nlonger-than-before\n")
		}, ids("b", "longer-than-before")},
		"replaced in place by as much": {"f", func(d *fixture) {
			d.write("f", "other\n")
			d.touch("f", 1)
		}, ids("other")},
		"linked again": {"link", func(d *fixture) {
			d.write("g", "b\n")
			d.must(os.Symlink("g", d.path("next")))
			d.rename("next", "link")
		}, ids("b")},
	} {
		t.Run(name, func(t *testing.T) {
			follow(t, func(d *fixture) {
				d.write("f", "first\n")
				d.must(os.Symlink("f", d.path("link")))
			}, func(d *fixture) {
				d.expect(ids("first"), nil, true)
				test.rotate(d)
				d.pass(every)
				d.expect(test.after, nil, true)
				d.pass(5 * every)
				d.expect(nil, nil, true)
				if held := d.held(); slices.ContainsFunc(held, func(path string) bool {
					return strings.HasSuffix(path, "(deleted)")
				}) {
					t.Errorf("a deleted file is still open: %q", held)
				}
			}, test.pattern)
		})
	}
}

// Beyond the part of a file that is compared, its size shows that it was truncated.
func TestFilesTruncatedToMuch(t *testing.T) {
	const lines, left = 30_000, 27_000
	line := strings.Repeat("abcd", 10)[1:] + "\n"
	follow(t, func(d *fixture) { d.write("f", strings.Repeat(line, lines)) }, func(d *fixture) {
		if len(d.ids) != lines {
			t.Errorf("%d jobs, want %d", len(d.ids), lines)
		}
		d.forget()
		d.must(os.Truncate(d.path("f"), int64(left*len(line))))
		d.pass(every)
		if len(d.ids) != left {
			t.Errorf("%d jobs after it was truncated, want %d", len(d.ids), left)
		}
		d.forget()
		d.add("f", "d\n")
		d.pass(every)
		d.expect(ids("d"), nil, true)
	}, "f")
}

// A writer may continue in the old file after a rotation.
func TestFilesRotatedFileIsWaitedFor(t *testing.T) {
	follow(t, func(d *fixture) { d.write("f", "a\n") }, func(d *fixture) {
		d.expect(ids("a"), nil, true)
		d.rename("f", "old")
		d.write("f", "x\n")
		d.pass(every)
		d.expect(ids("x"), nil, true)
		d.add("old", "b\nunfinished")
		d.pass(every)
		d.expect(ids("b"), nil, true)
		d.pass(2 * every)
		d.expect(ids("unfinished"), nil, true)
		d.add("old", "\ntoo late\n")
		d.pass(5 * every)
		d.expect(nil, nil, true)
	}, "f")
}

func TestFilesAppearAndDisappear(t *testing.T) {
	follow(t, nil, func(d *fixture) {
		missing := ids(d.path("f") + ": no such file; it is read as soon as it appears")
		d.expect(nil, missing, false)
		d.pass(3 * every)
		d.expect(nil, nil, false) // already reported, and still wrong
		d.write("f", "a\n")
		d.write("1.txt", "b\n")
		d.pass(every)
		d.expect(ids("a", "b"), nil, true)
		d.write("2.txt", "c\n")
		d.pass(every)
		d.expect(ids("c"), nil, true)
		d.remove("f")
		d.remove("1.txt")
		d.pass(5 * every)
		d.expect(nil, nil, true) // files that have existed may be missing
		if held := d.held(); len(held) != 1 {
			t.Errorf("open: %q, want 2.txt only", held)
		}
		d.write("f", "a\n")
		d.pass(every)
		d.expect(ids("a"), nil, true)
	}, "f", "*.txt")
}

func TestFilesDocument(t *testing.T) {
	for name, content := range map[string]string{
		"compact":         `["a",{"request_id":"b"}]`,
		"pretty":          "\n[\n  \"a\",\n  {\n    \"request_id\": \"b\"\n  }\n]\n",
		"byte order mark": "\ufeff[\"a\", \"b\"]\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			follow(t, func(d *fixture) { d.write("f", content) }, func(d *fixture) {
				d.expect(ids("a", "b"), nil, true)
				d.pass(3 * every)
				d.expect(nil, nil, true)
				d.write("f", `["b", "c", "d-and-more-to-make-it-longer"]`)
				d.pass(every)
				d.expect(ids("b", "c", "d-and-more-to-make-it-longer"), nil, true)
				d.write("f", `["secret`)
				d.pass(every)
				d.expect(nil, ids(d.path("f")+": entry 1: invalid JSON at byte 8"), false)
				d.pass(3 * every)
				d.expect(nil, nil, false)
				d.write("f", `["a", `)
				d.pass(every)
				d.expect(ids("a"), ids(d.path("f")+": entry 2: invalid JSON at byte 6"), false)
				d.write("f", `[]`)
				d.pass(every)
				d.expect(nil, nil, true)
				d.write("f", "line\n")
				d.pass(every)
				d.expect(ids("line"), nil, true)
			}, "f")
		})
	}
}

// What is appended to an array that is whole is read, too.
func TestFilesDocumentGrows(t *testing.T) {
	follow(t, func(d *fixture) { d.write("f", `["a"]`) }, func(d *fixture) {
		d.pass(3 * every)
		d.expect(ids("a"), nil, true)
		d.add("f", "\n[\"b\"]\n")
		d.pass(every)
		d.expect(ids("a", "b"), nil, true)
		d.add("f", "c\n")
		d.pass(every)
		d.expect(ids("c"), nil, true)
		d.write("f", `["d", "e"]`)
		d.pass(every)
		d.expect(ids("d", "e"), nil, true)
	}, "f")
}

// An array on one line may have more entries than one call of Track takes.
func TestFilesArrayLines(t *testing.T) {
	line := `["` + strings.Repeat(`a","`, 2500) + "a\"]\n"
	follow(t, func(d *fixture) { d.write("f", line+line) }, func(d *fixture) {
		if len(d.ids) != 5002 {
			t.Errorf("%d tracked", len(d.ids))
		}
	}, "f")
}

func TestFilesDocumentTooLarge(t *testing.T) {
	follow(t, func(d *fixture) {
		d.write("f", `["`)
		d.must(os.Truncate(d.path("f"), 64<<20+1))
	}, func(d *fixture) {
		const tooLarge = ": a JSON array of 67108865 bytes, the maximum is 67108864; write one entry per line instead"
		d.expect(nil, ids(d.path("f")+tooLarge), false)
		d.pass(3 * every)
		d.expect(nil, nil, false)
	}, "f")
}

func TestFilesFloodOfBadLines(t *testing.T) {
	follow(t, func(d *fixture) {
		d.write("f", "a\n"+strings.Repeat("\x01\n", 5_000)+strings.Repeat("b\n", 2_000)+"\x01\n")
	}, func(d *fixture) {
		first := d.path("f") + ":2: the request ID contains a non-printable character (the first of %d bad entries)"
		if len(d.ids) != 2_001 || d.count != 5_001 {
			t.Errorf("%d jobs, %d bad lines; want 2001, 5001", len(d.ids), d.count)
		}
		d.expect(d.ids, ids(fmt.Sprintf(first, 5_001)), false)
		d.pass(every)
		d.expect(nil, nil, true)
		d.lasting(fmt.Sprintf(first, 5_001))
		d.add("f", "\x01\n")
		d.pass(every)
		if d.count != 1 {
			t.Errorf("%d bad lines, want 1", d.count)
		}
		d.expect(nil, ids(fmt.Sprintf(first, 5_002)), false)
		d.write("f", "a\n")
		d.pass(every)
		d.expect(ids("a"), nil, true)
		d.lasting()
	}, "f")
}

func TestFilesBatches(t *testing.T) {
	var content bytes.Buffer
	for i := range 2_500 {
		fmt.Fprintf(&content, "id-%d\n", i)
	}
	document := `["` + strings.ReplaceAll(strings.TrimSpace(content.String()), "\n", `","`) + `"]`
	all := strings.Fields(content.String())
	for name, content := range map[string]string{"lines": content.String(), "document": document} {
		t.Run(name, func(t *testing.T) {
			follow(t, func(d *fixture) {
				d.write("f", "")
			}, func(d *fixture) {
				if !slices.Equal(d.batches, nil) {
					t.Errorf("batches %v of an empty file", d.batches)
				}
				d.forget()
				d.write("f", content)
				d.pass(every)
				if want := []int{1_000, 1_000, 500}; !slices.Equal(d.batches, want) {
					t.Errorf("batches %v, want %v", d.batches, want)
				}
				d.expect(all, nil, true)
			}, "f")
		})
	}
}

// Only what Track refuses is offered again.
func TestFilesTrackRefuses(t *testing.T) {
	var lines strings.Builder
	for i := range 1_500 {
		fmt.Fprintf(&lines, "id-%d\n", i)
	}
	all := strings.Fields(lines.String())
	document := `["` + strings.Join(all, `","`) + `"]`
	for name, content := range map[string]string{"lines": lines.String() + "\x01\n", "document": document} {
		t.Run(name, func(t *testing.T) {
			follow(t, func(d *fixture) {
				d.write("f", content)
				d.refuseNext(2)
			}, func(d *fixture) {
				if !slices.Equal(d.refused, all[:1000]) {
					t.Errorf("refused %q", d.refused)
				}
				d.expect(nil, nil, false)
				d.pass(every)
				if !slices.Equal(d.refused, all[:1000]) {
					t.Errorf("offered %q the second time", d.refused)
				}
				d.expect(nil, nil, false)
				var problems []string
				if name == "lines" { // reported once the lines before it are accepted
					problems = ids(d.path("f") + ":1501: the request ID contains a non-printable character")
				}
				d.pass(every)
				d.expect(all, problems, problems == nil)
				d.pass(every)
				d.expect(nil, nil, true)
			}, "f")
		})
	}
}

func TestFilesTrackRefusesLaterBatch(t *testing.T) {
	first := strings.Repeat("a\n", 999) + "\x01\na\n" // a batch with a bad line in it
	document := "[" + strings.Repeat(`"a",`, 1_000) + `"b"]`
	for name, test := range map[string]struct {
		content string
		bad     bool
	}{"lines": {first + "b\n", true}, "document": {document, false}} {
		t.Run(name, func(t *testing.T) {
			var d *fixture
			follow(t, func(it *fixture) { d = it; d.write("f", "") }, func(*fixture) {
				d.expect(nil, nil, true)
				d.write("f", test.content)
				d.acceptThenRefuse(1)
				d.pass(every)
				if len(d.ids) != 1_000 || !slices.Equal(d.refused, ids("b")) ||
					(len(d.problems) == 1) != test.bad || d.successes > 0 {
					t.Errorf("%d jobs taken, %q refused, problems %q", len(d.ids), d.refused, d.problems)
				}
				d.forget()
				d.pass(every)
				d.expect(ids("b"), nil, true)
			}, "f")
		})
	}
}

// A refusal of earlier lines does not make an unfinished line complete.
func TestFilesTrackRefusesBeforeUnfinishedLine(t *testing.T) {
	follow(t, func(d *fixture) {
		d.write("f", "a\nb")
		d.refuseNext(1)
	}, func(d *fixture) {
		d.expect(nil, nil, false)
		d.pass(every)
		d.expect(ids("a"), nil, true)
		d.pass(every)
		d.expect(ids("b"), nil, true)
	}, "f")
}

// A rotated file stays open until Track has accepted the rest of it.
func TestFilesTrackRefusesRestOfRotatedFile(t *testing.T) {
	follow(t, func(d *fixture) { d.write("f", "a\n") }, func(d *fixture) {
		d.expect(ids("a"), nil, true)
		d.add("f", "b\nunfinished")
		d.remove("f")
		d.refuseNext(6)
		d.pass(6 * every)
		d.expect(nil, nil, false)
		d.pass(every)
		d.expect(ids("b", "unfinished"), nil, true)
	}, "f")
}

func TestFilesThatAreNone(t *testing.T) {
	follow(t, func(d *fixture) {
		d.must(os.Mkdir(d.path("dir"), 0o700))
		d.must(syscall.Mkfifo(d.path("pipe"), 0o600))
		d.must(os.Symlink("loop", d.path("loop")))
		d.must(os.Symlink("nowhere", d.path("dangling")))
		d.must(os.Symlink("/dev/zero", d.path("device")))
		d.write("f", "a\n")
	}, func(d *fixture) {
		loop := "stat " + d.path("loop") + ": too many levels of symbolic links"
		d.expect(ids("a"), ids(loop), false)
		d.pass(3 * every)
		d.expect(nil, nil, false)
		d.must(d.files.SetPatterns(d.patterns("dir", "pipe", "device", "[e-f]")))
		synctest.Wait()
		d.expect(nil, ids(
			d.path("dir")+": a directory; write "+d.path("dir/*")+" for the files in it",
			d.path("pipe")+": not a regular file",
			d.path("device")+": not a regular file"), false)
		d.pass(3 * every)
		d.expect(nil, nil, false)
	}, "*")
}

func TestFilesPermissions(t *testing.T) {
	follow(t, func(d *fixture) {
		d.unprivileged = true
		d.must(os.Chmod(filepath.Dir(d.dir), 0o755))
		d.must(os.Chmod(d.dir, 0o755))
		d.write("f", "a\n")
		d.must(os.Chmod(d.path("f"), 0))
		d.must(os.Mkdir(d.path("dir"), 0o700))
		d.write("dir/g", "b\n")
		d.must(os.Chmod(d.path("dir"), 0))
	}, func(d *fixture) {
		d.expect(nil, ids(
			"open "+d.path("dir")+": permission denied",
			"open "+d.path("f")+": permission denied"), false)
		d.pass(3 * every)
		d.expect(nil, nil, false)
		d.must(os.Chmod(d.path("f"), 0o444))
		d.must(os.Chmod(d.path("dir"), 0o755))
		d.must(os.Chmod(d.path("dir/g"), 0o444))
		d.pass(every)
		d.expect(ids("a", "b"), nil, true)
		d.must(os.Chmod(d.path("dir"), 0o744)) // it can be listed only
		d.pass(every)
		d.expect(nil, ids("fstatat "+d.path("dir")+": permission denied"), false)
	}, "f", "dir/*")
}

// A directory that cannot be read, beside others in which a pattern matches, is a problem. What is only for the file
// system is none.
func TestFilesPermissionsOfSomeDirectories(t *testing.T) {
	follow(t, func(d *fixture) {
		d.unprivileged = true
		d.must(os.Chmod(filepath.Dir(d.dir), 0o755))
		d.must(os.Chmod(d.dir, 0o755))
		for _, dir := range []string{"a", "b", "c", "lost+found"} {
			d.must(os.MkdirAll(d.path(dir+"/deep"), 0o755))
			d.write(dir+"/deep/ids", dir+"\n")
			d.must(os.Chmod(d.path(dir+"/deep/ids"), 0o444))
		}
		d.must(os.Chmod(d.path("b"), 0))
		d.must(os.Chmod(d.path("c/deep"), 0))
		d.must(os.Chmod(d.path("lost+found"), 0))
		d.write("file", "")
	}, func(d *fixture) {
		d.expect(ids("a"), ids(
			"open "+d.path("b")+": permission denied", "open "+d.path("c/deep")+": permission denied",
			"lstat "+d.path("b/deep")+": permission denied"), false)
		d.must(os.Chmod(d.path("b"), 0o755))
		d.must(os.Chmod(d.path("c/deep"), 0o755))
		d.pass(every)
		d.expect(ids("b", "c"), nil, true)
	}, "**/ids", "*/deep/ids", "*/deep/i*")
}

func TestFilesSetPatterns(t *testing.T) {
	follow(t, func(d *fixture) {
		d.write("a1", "a1\n")
		d.write("b1", "b1\n")
	}, func(d *fixture) {
		d.expect(ids("a1", "b1"), nil, true)
		if err := d.files.SetPatterns([]string{"[", d.path("c*")}); err == nil {
			t.Error("a malformed pattern was accepted")
		}
		d.add("b1", "b2\n")
		d.write("c1", "c1\n")
		d.pass(every)
		d.expect(ids("b2"), nil, true) // as before
		d.add("a1", "unread\n")
		d.must(d.files.SetPatterns(d.patterns("b*", "c*")))
		synctest.Wait() // SetPatterns triggers a look
		d.expect(ids("c1"), nil, true)
		if want := d.patterns("b1", "c1"); !slices.Equal(d.held(), want) {
			t.Errorf("open: %q, want %q", d.held(), want)
		}
		d.must(d.files.SetPatterns(d.patterns("a*", "b*")))
		synctest.Wait()
		d.expect(ids("a1", "unread"), nil, true) // a1 was forgotten, b1 was not
		d.must(d.files.SetPatterns(nil))
		d.pass(3 * every)
		d.expect(nil, nil, false) // nothing to read
	}, "a*", "b*")
}

func TestNewFilesErrors(t *testing.T) {
	for name, test := range map[string]struct{ pattern, want string }{
		"malformed": {
			"/ids/[a",
			`malformed file pattern "/ids/[a": close the bracket or brace, or escape it with \`,
		},
		"empty": {"", "an empty file pattern: give the path of a file, or a glob such as /var/spool/ids/*.txt"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := source.NewFiles([]string{"/fine/*", test.pattern}, source.Handler{})
			if err == nil || err.Error() != test.want {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

// There may be more files than descriptors.
func TestFilesManyFiles(t *testing.T) {
	const files = 600
	follow(t, func(d *fixture) {
		for i := range files {
			d.write(fmt.Sprintf("f%03d", i), fmt.Sprintf("a%d\n", i))
		}
	}, func(d *fixture) {
		if len(d.ids) != files {
			t.Errorf("%d jobs, want %d", len(d.ids), files)
		}
		d.forget()
		if held := len(d.held()); held > 256 {
			t.Errorf("%d files are kept open", held)
		}
		d.add("f000", "b\n") // closed by now
		d.pass(every)
		d.expect(ids("b"), nil, true)
		d.add("f000", "c\n") // open again
		d.rename("f000", "elsewhere")
		d.rename("f001", "f000") // closed, but still followed
		d.add("f000", "d\n")
		d.pass(every)
		d.expect(ids("c", "d"), nil, true)
	}, "f*")
}

// Rotated files are read before others are opened in their place.
func TestFilesManyFilesAndRotation(t *testing.T) {
	const files = 600
	name := func(i int) string { return fmt.Sprintf("f%03d", i) }
	follow(t, func(d *fixture) {
		for i := range files {
			d.write(name(i), "a\n")
		}
	}, func(d *fixture) {
		d.forget()
		d.add(name(files-1), "rest\n")
		d.rename(name(files-1), "elsewhere")
		want := ids("rest")
		for i := range 300 {
			d.add(name(i), "b\n")
			want = append(want, "b")
		}
		d.pass(every)
		d.expect(want, nil, true)
	}, "f*")
}

// What a file has when its pattern is added may be old, until it was accepted. What appears later is new.
func TestFilesFirstLook(t *testing.T) {
	follow(t, func(d *fixture) {
		d.write("a.txt", "a1\n")
		d.refuseNext(1)
	}, func(d *fixture) {
		first := func(want ...string) {
			t.Helper()
			if !slices.Equal(d.first, want) {
				t.Errorf("first looks at %q, want %q", d.first, want)
			}
			d.forget()
		}
		first()
		d.pass(every)
		first("a1") // it was refused before
		d.add("a.txt", "a2\n")
		d.write("b.txt", "b1\n")
		d.write("c.ids", "[\"c1\"]")
		d.pass(every)
		first()
		d.must(d.files.SetPatterns(d.patterns("*.txt", "*.ids")))
		synctest.Wait() // SetPatterns triggers a look
		first("c1")
		d.write("c.ids", "[\"c1\", \"c2\"]")
		d.pass(every)
		first()
	}, "*.txt")
}

package sqlite_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

var (
	ctx   = context.Background()
	quiet = slog.New(slog.DiscardHandler)
	start = time.Date(2026, 11, 23, 18, 0, 0, 123456789, time.UTC)
)

func open(t *testing.T, dir string) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func load(t *testing.T, db *sqlite.DB) *sqlite.Contents {
	t.Helper()
	c, err := db.Account("a").Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What is kept about calls is for the one who runs this alone, whatever the umask.
func TestPermissions(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	if err := db.Account("a").Commit(ctx, &sqlite.Batch{Jobs: []sqlite.Job{{RequestID: "x", FirstSeen: start}}}); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "register.db*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%v, %v", files, err)
		}
		for _, file := range files {
			if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
				t.Errorf("%s: %v, %v", file, info.Mode(), err)
			}
		}
	}
	check()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	// A damaged one is made anew.
	if err := os.WriteFile(filepath.Join(dir, "register.db"), make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	check()
}

// An account that was not configured at first finds what is stored of it later.
func TestLoadLater(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	for _, account := range []string{"a", "b"} {
		if err := db.Account(account).Commit(ctx, &sqlite.Batch{Jobs: []sqlite.Job{{RequestID: "of " + account, FirstSeen: start}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, dir)
	load(t, db)
	db.Loaded()
	for range 2 {
		later, err := db.Account("b").Load(ctx)
		if err != nil || len(later.Jobs) != 1 || later.Jobs[0].RequestID != "of b" {
			t.Errorf("%+v, %v", later, err)
		}
	}
}

func TestCommitAndLoad(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	full := sqlite.Job{
		RequestID: "full", Sequence: 1, API: "asr", Source: "http", State: "failed", ErrorCode: "code", Labels: []byte(`{"team":"x"}`), AudioSeconds: 1.5, Priority: 2,
		FirstSeen: start, SubmittedAt: start.Add(-time.Hour), LastObserved: start.Add(time.Hour), FinishedAt: start.Add(2 * time.Hour),
		DetectionWindow: 90 * time.Second, Statistics: []byte(`{"Words":3}`),
	}
	bare := sqlite.Job{RequestID: "bare ' \" ; --", Sequence: 2, Source: "file", State: "pending", FirstSeen: start}
	commit := func(b *sqlite.Batch) {
		t.Helper()
		if err := db.Account("a").Commit(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	commit(&sqlite.Batch{
		Jobs:     []sqlite.Job{bare, full, {RequestID: "gone", FirstSeen: start}},
		Departed: []sqlite.Departure{{"left", start, true}, {"forgotten", start, false}},
		Totals:   map[string][]byte{"words": []byte("1"), "created": []byte(`"x"`)},
		Requests: map[int64]int{100: 1, 200: 2},
		Timings:  map[string][]byte{"full": {1, 2, 0}, "gone": {1}},
		Changes:  []sqlite.Change{{2, "full", "failed", start.Add(1), []byte(`{"api":"asr"}`)}, {1, "full", "running", start, []byte("{}")}},
	})
	commit(&sqlite.Batch{
		Gone: []string{"gone"}, Forgotten: []string{"forgotten"}, Totals: map[string][]byte{"words": []byte("2")},
		Requests: map[int64]int{100: 0, 200: 5, 300: 1}, Learnt: []byte(`{"n":1}`), Compact: true,
		Timings: map[string][]byte{"gone": nil},
		Changes: []sqlite.Change{{3, "bare", "lost", start.Add(2), []byte("{}")}}, Delivered: []uint64{1, 7},
	})
	if err := db.Account("b").Commit(ctx, &sqlite.Batch{Jobs: []sqlite.Job{{RequestID: "other", FirstSeen: start}}, Requests: map[int64]int{1: 1}}); err != nil {
		t.Fatal(err)
	}
	if db.Size() == 0 {
		t.Error("it has no size")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	want := &sqlite.Contents{
		Jobs: []sqlite.Job{full, bare}, Departed: []sqlite.Departure{{"left", start, true}},
		Totals: map[string][]byte{"words": []byte("2"), "created": []byte(`"x"`)}, Requests: map[int64]int{200: 5, 300: 1}, Learnt: []byte(`{"n":1}`),
		Timings: map[string][]byte{"full": {1, 2, 0}},
		Changes: []sqlite.Change{{2, "full", "failed", start.Add(1), []byte(`{"api":"asr"}`)}, {3, "bare", "lost", start.Add(2), []byte("{}")}},
	}
	if diff := cmp.Diff(want, load(t, open(t, dir))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	if _, err := sqlite.Open(dir, quiet); err == nil || !strings.Contains(err.Error(), "another process uses "+dir) {
		t.Errorf("opened twice: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

// The log of a killed process, cut at any place, holds the transactions that are
// whole: each of them, or none of it.
func TestLogCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	const commits = 20
	for i := range commits {
		b := &sqlite.Batch{Requests: map[int64]int{int64(i): 1}, Totals: map[string][]byte{"n": []byte(string(rune('a' + i)))}}
		if err := db.Account("a").Commit(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	read := func(part string) []byte {
		content, err := os.ReadFile(filepath.Join(dir, "register.db"+part))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	main, log := read(""), read("-wal") // as they are when the process is killed now
	seen := make(map[int]bool)
	for cut := 0; cut <= len(log); cut += 1 + len(log)/97 {
		copied := t.TempDir()
		for part, content := range map[string][]byte{"": main, "-wal": log[:cut]} {
			if err := os.WriteFile(filepath.Join(copied, "register.db"+part), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		db, err := sqlite.Open(copied, quiet)
		if err != nil {
			t.Fatalf("cut at %d of %d: %v", cut, len(log), err)
		}
		c := load(t, db)
		n := len(c.Requests)
		want := ""
		if n > 0 {
			want = string(rune('a' + n - 1))
		}
		if string(c.Totals["n"]) != want || c.Lost != 0 {
			t.Errorf("cut at %d of %d: %d requests, total %q, %d lost", cut, len(log), n, c.Totals["n"], c.Lost)
		}
		seen[n] = true
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) < 10 || !seen[0] {
		t.Errorf("the cuts showed %d states; this test is about more", len(seen))
	}
}

// What cannot be opened now is not put aside.
func TestTroubleIsNotDamage(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "register.db", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(dir, quiet); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "register.db")) {
		t.Errorf("a directory in its place: %v", err)
	}
	if left, err := filepath.Glob(dir + "/*damaged*"); err != nil || len(left) != 0 {
		t.Errorf("put aside: %q, %v", left, err)
	}
	if _, err := sqlite.Open(filepath.Join(dir, "register.db", "in the way", "below\x00"), quiet); err == nil {
		t.Error("a directory that cannot be made")
	}
}

// What is gone leaves the disk.
func TestCompact(t *testing.T) {
	dir := t.TempDir()
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, "register.db"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	reopen := func(b *sqlite.Batch) int64 {
		db := open(t, dir)
		if err := db.Account("a").Commit(ctx, b); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return size()
	}
	var many, none sqlite.Batch
	for i := range 5000 {
		id := strings.Repeat("x", 50) + strconv.Itoa(i)
		many.Jobs = append(many.Jobs, sqlite.Job{RequestID: id, Sequence: uint64(i), FirstSeen: start})
		none.Gone = append(none.Gone, id)
	}
	full := reopen(&many)
	if used := reopen(&none); used < full {
		t.Errorf("%d bytes of %d without being asked", used, full)
	}
	if empty := reopen(&sqlite.Batch{Compact: true}); empty > full/10 {
		t.Errorf("%d bytes are left of %d", empty, full)
	}
}

package sqlite_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/storetest"
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

func load(t *testing.T, db *sqlite.DB, account string) *store.Contents {
	t.Helper()
	c, err := db.Account(account).Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func commit(t *testing.T, db *sqlite.DB, account string, b *store.Batch) {
	t.Helper()
	if err := db.Account(account).Commit(b); err != nil {
		t.Fatal(err)
	}
}

func closed(t *testing.T, db *sqlite.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// one is a batch with one job.
func one(id string) *store.Batch {
	return &store.Batch{Jobs: []store.Job{{RequestID: id, FirstSeen: start}}}
}

// Only the user who runs the program can read the files, whatever the umask.
func TestPermissions(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	commit(t, db, "a", one("x"))
	check := func(dir string) {
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
	check(dir)
	copied := t.TempDir()
	if err := sqlite.Copy(dir, copied); err != nil {
		t.Fatal(err)
	}
	check(copied)
	closed(t, db)
	// A damaged one is replaced.
	if err := os.WriteFile(filepath.Join(dir, "register.db"), make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	check(dir)
}

// The name of a directory may have any character that a URI has a meaning for.
func TestOddDirectories(t *testing.T) {
	parent := t.TempDir()
	names := []string{
		"acct#1", "acct#2", "what?mode=memory", "%41", "a b+c&d=e 100%", `it's "quoted"; ü話`, "file:x",
	}
	for _, name := range names {
		dir := filepath.Join(parent, name)
		db := open(t, dir)
		commit(t, db, "a", one("of "+name))
		copied := filepath.Join(parent, "copy of "+name)
		if err := os.Mkdir(copied, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := sqlite.Copy(dir, copied); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if db.Account("a").Size() == 0 {
			t.Errorf("%s: the size is 0", name)
		}
		closed(t, db)
		for _, dir := range []string{dir, copied} {
			file := filepath.Join(dir, "register.db")
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			db := open(t, dir)
			if jobs := load(t, db, "a").Jobs; len(jobs) != 1 || jobs[0].RequestID != "of "+name {
				t.Errorf("%s has %+v", dir, jobs)
			}
			closed(t, db)
			if err := os.Truncate(file, 5000); err != nil { // it is rebuilt
				t.Fatal(err)
			}
			if load(t, open(t, dir), "a").Lost == 0 {
				t.Errorf("%s: the loss was not reported", name)
			}
		}
	}
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 2*len(names) {
		t.Errorf("%d entries for %d directories and their copies: %v, %v", len(entries), len(names), entries, err)
	}
}

func TestCopy(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	if err := sqlite.Copy(dir, copied); err != nil {
		t.Errorf("nothing to copy: %v", err)
	}
	db := open(t, dir)
	commit(t, db, "a", storetest.Full())
	if err := sqlite.Copy(dir, copied); err != nil { // the database is open
		t.Fatal(err)
	}
	if diff := storetest.Diff(load(t, db, "a"), load(t, open(t, copied), "a")); diff != "" {
		t.Errorf("(-original +copy):\n%s", diff)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	if _, err := sqlite.Open(dir, quiet); err == nil || !strings.Contains(err.Error(), "another process uses "+dir) {
		t.Errorf("opened twice: %v", err)
	}
	closed(t, db)
	open(t, dir)
}

// killed returns a directory with the files of a process that is killed now, its
// write-ahead log replaced.
func killed(t *testing.T, dir string, log []byte) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "register.db"))
	if err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	for part, content := range map[string][]byte{"": content, "-wal": log} {
		if err := os.WriteFile(filepath.Join(copied, "register.db"+part), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

func writeAheadLog(t *testing.T, dir string) []byte {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(dir, "register.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// The log of a killed process, cut at any place, has whole transactions: each of
// them, or nothing of it.
func TestLogCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	const commits = 20
	for i := range commits {
		commit(t, db, "a", &store.Batch{
			Requests: []store.Requests{{Second: int64(i), Count: 1}},
			Totals:   []store.Total{{Name: "n", Labels: "{}", Value: jsontext.Value(strconv.Itoa(i + 1))}},
		})
	}
	log, seen := writeAheadLog(t, dir), make(map[int]bool)
	for cut := 0; cut <= len(log); cut += 1 + len(log)/29 {
		db := open(t, killed(t, dir, log[:cut]))
		c := load(t, db, "a")
		n := len(c.Requests)
		if n != len(c.Totals)*n || n > 0 && string(c.Totals[0].Value) != strconv.Itoa(n) || c.Lost != 0 {
			t.Errorf("cut at %d of %d: %d requests, totals %s, %d lost", cut, len(log), n, c.Totals, c.Lost)
		}
		seen[n] = true
		closed(t, db)
	}
	if len(seen) < 10 || !seen[0] {
		t.Errorf("the cuts showed %d states; this test is about more", len(seen))
	}
}

// What cannot be opened now is not put aside.
func TestFailureIsNotDamage(t *testing.T) {
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

// Deleted rows give their pages back to the disk.
func TestCompact(t *testing.T) {
	dir := t.TempDir()
	reopen := func(b *store.Batch) int64 {
		db := open(t, dir)
		commit(t, db, "a", b)
		closed(t, db)
		info, err := os.Stat(filepath.Join(dir, "register.db"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	var many, none store.Batch
	for i := range 5000 {
		id := strings.Repeat("x", 50) + strconv.Itoa(i)
		many.Jobs = append(many.Jobs, store.Job{RequestID: id, Sequence: uint64(i), FirstSeen: start})
		none.RemovedJobs = append(none.RemovedJobs, id)
	}
	full := reopen(&many)
	if used := reopen(&none); used < full {
		t.Errorf("%d bytes of %d without Compact", used, full)
	}
	if empty := reopen(&store.Batch{Compact: true}); empty > full/10 {
		t.Errorf("%d bytes are left of %d", empty, full)
	}
}

// The statements of docs/operations.md delete an account, and are no damage.
func TestRemovedAccount(t *testing.T) {
	text, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, _ := strings.Cut(string(text), "BEGIN IMMEDIATE;")
	script, _, found := strings.Cut(script, "COMMIT;")
	if !found {
		t.Fatal("docs/operations.md has no statements")
	}
	dir := t.TempDir()
	db := open(t, dir)
	for _, account := range []string{"old", "other"} {
		commit(t, db, account, &store.Batch{
			Jobs:         []store.Job{{RequestID: "x", FirstSeen: start}},
			Departed:     []store.DepartedBlock{{Departures: []store.Departure{store.DepartureOf("left", true)}}},
			Totals:       []store.Total{{Name: "n", Labels: "{}", Value: jsontext.Value("1")}},
			Requests:     []store.Requests{{Second: 1, Count: 1}},
			Learnt:       jsontext.Value("{}"),
			Timings:      []store.Timings{{RequestID: "x", Packed: []byte{1}}},
			StateChanges: []store.StateChange{{Number: 1, RequestID: "x", At: start, Job: jsontext.Value("{}")}},
		})
	}
	closed(t, db)
	run(t, filepath.Join(dir, "register.db"), script)
	db = open(t, dir)
	if c := load(t, db, "old"); !reflect.DeepEqual(c, &store.Contents{}) {
		t.Errorf("left of the account: %+v", c)
	}
	if c := load(t, db, "other"); c.Lost > 0 || len(c.Jobs) != 1 || len(c.StateChanges) != 1 {
		t.Errorf("another account has %+v", c)
	}
	closed(t, db)
}

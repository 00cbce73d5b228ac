package sqlite_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

// accounts of the small database that is damaged in these tests.
var accounts = []string{"a", "b"}

// small writes a small database of two accounts with something in every table, and
// returns its file's content and what is stored.
func small(t *testing.T, jobs int) (content []byte, stored map[string]*sqlite.Contents) {
	t.Helper()
	dir := t.TempDir()
	db := open(t, dir)
	for n, account := range accounts {
		b := &sqlite.Batch{
			Departed: []sqlite.Departure{{"left", start, true}, {"long ago", start, false}},
			Totals:   map[string][]byte{"words": []byte("1234"), "created": []byte(`"x"`)},
			Requests: map[int64]int{1_800_000_000: 1, 1_800_000_001: 2},
			Learnt:   []byte(`{"hazard":[1,2,3]}`),
			Timings:  map[string][]byte{"job": {1, 0, 100, 50, 1}},
			Changes:  []sqlite.Change{{1, "job", "running", start, []byte("{}")}, {2, "job", "failed", start.Add(1), []byte(`{"api":"asr"}`)}},
		}
		for i := range jobs {
			b.Jobs = append(b.Jobs, sqlite.Job{
				RequestID: fmt.Sprintf("job-%s-%04d", account, i), Sequence: uint64(i + 1), API: "asr", Source: "http", State: "completed", Priority: 1,
				FirstSeen: start, FinishedAt: start.Add(1), Statistics: []byte(`{"Words":` + strings.Repeat("1", 1+i*n%50) + `}`),
			})
		}
		if err := db.Account(account).Commit(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil { // which writes the log into the file
		t.Fatal(err)
	}
	db = open(t, dir)
	stored = contents(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "register.db"))
	if err != nil {
		t.Fatal(err)
	}
	return content, stored
}

func contents(t *testing.T, db *sqlite.DB) map[string]*sqlite.Contents {
	t.Helper()
	all := make(map[string]*sqlite.Contents)
	for _, account := range accounts {
		c, err := db.Account(account).Load(ctx)
		if err != nil {
			t.Fatal(err)
		}
		all[account] = c
	}
	return all
}

// subset says whether all that is in got is in want.
func subset(got, want *sqlite.Contents) bool {
	jobs := make(map[string]sqlite.Job)
	for _, j := range want.Jobs {
		jobs[j.RequestID] = j
	}
	for _, j := range got.Jobs {
		if !cmp.Equal(jobs[j.RequestID], j) {
			return false
		}
	}
	departed := make(map[sqlite.Departure]bool)
	for _, d := range want.Departed {
		departed[d] = true
	}
	for _, d := range got.Departed {
		if !departed[d] {
			return false
		}
	}
	for name, value := range got.Totals {
		if !bytes.Equal(want.Totals[name], value) {
			return false
		}
	}
	for second, n := range got.Requests {
		if want.Requests[second] != n {
			return false
		}
	}
	for id, marks := range got.Timings {
		if !bytes.Equal(want.Timings[id], marks) {
			return false
		}
	}
	changes := make(map[uint64]sqlite.Change)
	for _, c := range want.Changes {
		changes[c.Number] = c
	}
	for _, c := range got.Changes {
		if !cmp.Equal(changes[c.Number], c) {
			return false
		}
	}
	return got.Learnt == nil || bytes.Equal(got.Learnt, want.Learnt)
}

// A damaged is a directory whose database is damaged again and again.
type damaged struct{ dir, path string }

func newDamaged(t *testing.T) *damaged {
	dir := t.TempDir()
	return &damaged{dir, filepath.Join(dir, "register.db")}
}

func (d *damaged) write(t *testing.T, content []byte) {
	t.Helper()
	left, err := filepath.Glob(d.path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(d.path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// check opens the database: it must open, hold what was stored or say that
// something is lost and hold nothing that was not stored, and go on from there.
func (d *damaged) check(t *testing.T, what string, stored map[string]*sqlite.Contents) (lost int) {
	t.Helper()
	db, err := sqlite.Open(d.dir, quiet)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer db.Close()
	got := contents(t, db)
	for account, c := range got {
		lost += c.Lost
		if c.Lost == 0 {
			if diff := cmp.Diff(stored[account], c, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: account %s says that nothing is lost (-stored +opened):\n%s", what, account, diff)
			}
		} else if !subset(c, stored[account]) {
			t.Errorf("%s: account %s has what was not stored: %+v", what, account, c)
		}
	}
	if err := db.Account("a").Commit(ctx, &sqlite.Batch{Jobs: []sqlite.Job{{RequestID: "new", FirstSeen: start}}}); err != nil {
		t.Errorf("%s: nothing can be stored any more: %v", what, err)
	}
	return lost
}

// every is how far apart the places are that a test damages: EVERY, or so many
// that it takes seconds. 1 is each place (make damage-test).
func every(t *testing.T, usual int) int {
	text := os.Getenv("EVERY")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("EVERY=%q is no distance", text)
	}
	return n
}

// Whatever bit of the file is wrong, the database opens; it holds what was stored,
// or says that something is lost.
func TestFlippedBits(t *testing.T) {
	content, stored := small(t, 6)
	d := newDamaged(t)
	cases, noticed := 0, 0
	for offset := 0; offset < len(content); offset += every(t, 211) {
		broken := bytes.Clone(content)
		broken[offset] ^= 1 << (offset * 5 % 8)
		d.write(t, broken)
		cases++
		if d.check(t, fmt.Sprintf("a bit of byte %d", offset), stored) > 0 {
			noticed++
		}
	}
	t.Logf("%d flipped bits in a file of %d bytes; %d mattered", cases, len(content), noticed)
	if noticed < 5 || noticed == cases {
		t.Errorf("damage was noticed %d times of %d", noticed, cases)
	}
}

// Wherever the file ends too early, the database opens, and says so.
func TestTruncation(t *testing.T) {
	content, stored := small(t, 6)
	d := newDamaged(t)
	cases := 0
	for size := 1; size < len(content); size += every(t, 523) {
		d.write(t, content[:size])
		cases++
		if d.check(t, fmt.Sprintf("%d bytes", size), stored) == 0 {
			t.Errorf("cut to %d of %d bytes: nobody noticed", size, len(content))
		}
	}
	t.Logf("%d truncations of a file of %d bytes", cases, len(content))
}

// What is sound around the damage is kept, the damaged file too, and the log says
// what is lost.
func TestSalvage(t *testing.T) {
	content, stored := small(t, 500)
	place := func(text string) int {
		i := bytes.LastIndex(content, []byte(text))
		if i < 0 {
			t.Fatalf("%q is not in the file", text)
		}
		return i
	}
	const page = 4096
	for _, tt := range []struct {
		name   string
		damage func(c []byte) []byte
		kept   int // jobs at least, of 1000
		logged string
	}{
		{"a digit of a row", func(c []byte) []byte { c[place("job-a-0300")+40] ^= 4; return c }, 999, "jobs a job-a-0300"},
		{"a page in the middle", func(c []byte) []byte { i := place("job-a-0300") / page * page; clear(c[i : i+page]); return c }, 900, "unreadable_places=1"},
		{"the first page", func(c []byte) []byte { clear(c[:page]); return c }, 1000, "rows_lost=0"},
		{"the first bytes", func(c []byte) []byte { copy(c, "not SQLite"); return c }, 1000, "rows_lost=0"},
		{"the version", func(c []byte) []byte { c[63] ^= 64; return c }, 1000, "rows_lost=0"},
		{"half of it is gone", func(c []byte) []byte { return c[:len(c)/2] }, 0, "unreadable_places"},
		{"nothing of it is a database", func([]byte) []byte { return []byte(strings.Repeat("not a database ", 1000)) }, 0, "unreadable_places"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDamaged(t)
			broken := tt.damage(bytes.Clone(content))
			d.write(t, broken)
			var log bytes.Buffer
			db, err := sqlite.Open(d.dir, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			got, kept := contents(t, db), 0
			for account, c := range got {
				kept += len(c.Jobs)
				if !subset(c, stored[account]) {
					t.Errorf("account %s has what was not stored", account)
				}
			}
			if kept < tt.kept {
				t.Errorf("%d jobs were kept, want at least %d", kept, tt.kept)
			}
			if got["a"].Lost == 0 {
				t.Error("account a was told that nothing is lost")
			}
			if again, err := db.Account("a").Load(ctx); err != nil || again.Lost != 0 {
				t.Errorf("told again of %d losses, %v", again.Lost, err)
			}
			if strings.Count(log.String(), "level=ERROR") != 1 || !strings.Contains(log.String(), tt.logged) {
				t.Errorf("the log does not say %q, once:\n%s", tt.logged, &log)
			}
			aside, err := filepath.Glob(d.path + ".damaged-*")
			if err != nil || len(aside) != 1 || !strings.Contains(log.String(), aside[0]) {
				t.Fatalf("put aside: %q, %v; log:\n%s", aside, err, &log)
			}
			if file, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(file, broken) {
				t.Errorf("what was put aside is not what was there: %v", err)
			}
		})
	}
}

// A rebuilding that died at any step is done by the next process.
func TestRebuildingIsFinished(t *testing.T) {
	sound, stored := small(t, 6)
	for name, files := range map[string]map[string][]byte{
		"while it copied":      {"": sound, ".new": []byte("half of it"), ".new-wal": []byte("x")},
		"before it swapped":    {"": []byte("damaged"), "-wal": []byte("old"), ".rebuilt": sound},
		"while it swapped":     {"": []byte("damaged"), ".rebuilt": sound},
		"before the last step": {".rebuilt": sound},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDamaged(t)
			for suffix, content := range files {
				if err := os.WriteFile(d.path+suffix, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if lost := d.check(t, name, stored); lost != 0 {
				t.Errorf("%d lost", lost)
			}
		})
	}
}

// A database of the first version of the schema is brought to this one, and kept.
func TestOlderSchema(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "register.db")
	schema, err := os.ReadFile("testdata/schema-1.sql")
	if err != nil {
		t.Fatal(err)
	}
	old, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Exec(string(schema)); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"at first", "again"} {
		db := open(t, dir)
		want := &sqlite.Contents{
			Jobs: []sqlite.Job{
				{RequestID: "one", Sequence: 1, API: "asr", Source: "http", State: "failed", ErrorCode: "code", Labels: []byte(`{"team":"x"}`), AudioSeconds: 1.5, Priority: 1,
					FirstSeen: start, FinishedAt: start, DetectionWindow: 90e9, Statistics: []byte(`{"Words":3}`)},
				{RequestID: "two", Sequence: 2, Source: "file", State: "pending", Priority: 1, FirstSeen: start},
			},
			Departed: []sqlite.Departure{{"left", start, true}},
			Totals:   map[string][]byte{"words": []byte("2")},
			Requests: map[int64]int{200: 5}, Timings: map[string][]byte{},
		}
		if diff := cmp.Diff(want, load(t, db)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if aside, err := filepath.Glob(path + ".schema-1-*"); err != nil || len(aside) != 1 {
		t.Errorf("put aside: %q, %v", aside, err)
	}
}

func TestNewerSchema(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "register.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	// As a later version would have it: the checksum is of ("meta", "schema", "99").
	if _, err := db.Exec(`PRAGMA user_version = 99; UPDATE meta SET value = '99', checksum = ?`, sqlite.MetaChecksum("schema", "99")); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(dir, quiet); err == nil || !strings.Contains(err.Error(), "newer version (schema 99") {
		t.Errorf("a newer schema: %v", err)
	}
}

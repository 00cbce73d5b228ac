package sqlite_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/storetest"
)

// accounts of the small database that is damaged in these tests.
var accounts = []string{"a", "b"}

// small writes a small database of two accounts with something in every table, and
// returns its file's content and what is stored.
func small(t *testing.T, jobs int) (content []byte, stored map[string]*store.Contents) {
	t.Helper()
	dir := t.TempDir()
	db := open(t, dir)
	for n, account := range accounts {
		b := storetest.Full()
		b.Jobs = nil
		for i := range jobs {
			b.Jobs = append(b.Jobs, store.Job{
				RequestID: fmt.Sprintf("job-%s-%04d", account, i), Sequence: uint64(i + 1), API: "asr", Source: "http",
				State: "completed", Priority: 1, FirstSeen: start, FinishedAt: start.Add(1),
				Statistics: jsontext.Value(`{"words":` + strings.Repeat("1", 1+i*n%50) + `}`),
			})
		}
		commit(t, db, account, b)
	}
	closed(t, db) // which writes the log into the file
	db = open(t, dir)
	stored = contents(t, db)
	closed(t, db)
	content, err := os.ReadFile(filepath.Join(dir, "register.db"))
	if err != nil {
		t.Fatal(err)
	}
	return content, stored
}

func contents(t *testing.T, db *sqlite.DB) map[string]*store.Contents {
	t.Helper()
	all := make(map[string]*store.Contents)
	for _, account := range accounts {
		all[account] = load(t, db, account)
	}
	return all
}

// subset reports whether everything in got is in want.
func subset(got, want *store.Contents) bool {
	return within(got.Jobs, want.Jobs) && within(got.Departed, want.Departed) && within(got.Totals, want.Totals) &&
		within(got.Requests, want.Requests) && within(got.Timings, want.Timings) &&
		within(got.StateChanges, want.StateChanges) && (got.Learnt == nil || bytes.Equal(got.Learnt, want.Learnt))
}

func within[T any](got, want []T) bool {
	there := make(map[string]bool)
	for _, row := range want {
		there[fmt.Sprintf("%+v", row)] = true
	}
	for _, row := range got {
		if !there[fmt.Sprintf("%+v", row)] {
			return false
		}
	}
	return true
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

// check opens the database: it must open, have what was stored or report a loss and
// have nothing that was not stored, and be writable.
func (d *damaged) check(t *testing.T, what string, stored map[string]*store.Contents) (lost int) {
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
			if diff := storetest.Diff(stored[account], c); diff != "" {
				t.Errorf("%s: account %s reports no loss (-stored +opened):\n%s", what, account, diff)
			}
		} else if !subset(c, stored[account]) {
			t.Errorf("%s: account %s has what was not stored: %+v", what, account, c)
		}
	}
	if err := db.Account("a").Commit(one("new")); err != nil {
		t.Errorf("%s: nothing can be stored any more: %v", what, err)
	}
	return lost
}

// every is the distance of the places that a test damages: EVERY, or such that it
// takes seconds. 1 is each place (make damage-test).
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

// Whatever bit of the file is wrong, the database opens; it has what was stored, or
// reports a loss.
func TestFlippedBits(t *testing.T) {
	content, stored := small(t, 6)
	d := newDamaged(t)
	cases, noticed := 0, 0
	for offset := 0; offset < len(content); offset += every(t, 997) {
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

// Wherever the file ends too early, the database opens and reports a loss.
func TestTruncation(t *testing.T) {
	content, stored := small(t, 6)
	d := newDamaged(t)
	cases := 0
	for size := 1; size < len(content); size += every(t, 2039) {
		d.write(t, content[:size])
		cases++
		if d.check(t, fmt.Sprintf("%d bytes", size), stored) == 0 {
			t.Errorf("cut to %d of %d bytes: no loss was reported", size, len(content))
		}
	}
	t.Logf("%d truncations of a file of %d bytes", cases, len(content))
}

const page = 4096

// salvages are kinds of damage, and how many of 400 jobs must survive each.
var salvages = []struct {
	name   string
	damage func(t *testing.T, c []byte) []byte
	kept   int
	logged string
}{
	{"a digit of a row", func(t *testing.T, c []byte) []byte {
		c[place(t, c, "job-a-0120")+40] ^= 4
		return c
	}, 399, `rows_lost=1 unreadable_places=0 lost="[jobs a job-a-0120]"`},
	{"a page in the middle", func(t *testing.T, c []byte) []byte {
		i := place(t, c, "job-a-0120") / page * page
		clear(c[i : i+page])
		return c
	}, 360, "unreadable_places=1"},
	{"the first page", func(_ *testing.T, c []byte) []byte { clear(c[:page]); return c }, 400, "rows_lost=0"},
	{"the first bytes", func(_ *testing.T, c []byte) []byte { copy(c, "not SQLite"); return c }, 400, "rows_lost=0"},
	{"the version", func(_ *testing.T, c []byte) []byte { c[63] ^= 64; return c }, 400, "rows_lost=0"},
	{"the format", func(_ *testing.T, c []byte) []byte { c[47] ^= 8; return c }, 400, "rows_lost=0"},
	{"no version", func(_ *testing.T, c []byte) []byte { clear(c[60:64]); return c }, 400, "rows_lost=0"},
	{"the name of a table", func(t *testing.T, c []byte) []byte {
		c[bytes.Index(c[:page], []byte("tabletotals"))+5]++
		return c
	}, 400, "rows_lost=0"},
	{"the name of a column", func(t *testing.T, c []byte) []byte {
		c[bytes.Index(c[:page], []byte("error_code"))]++
		return c
	}, 400, "rows_lost=0"},
	{"half of it is gone", func(_ *testing.T, c []byte) []byte { return c[:len(c)/2] }, 0, "unreadable_places"},
	{"nothing of it is a database", func(*testing.T, []byte) []byte {
		return []byte(strings.Repeat("not a database ", 1000))
	}, 0, "unreadable_places"},
}

func place(t *testing.T, content []byte, text string) int {
	t.Helper()
	i := bytes.LastIndex(content, []byte(text))
	if i < 0 {
		t.Fatalf("%q is not in the file", text)
	}
	return i
}

// The rows around the damage and the damaged file are kept, and the log names the loss.
func TestSalvage(t *testing.T) {
	content, stored := small(t, 200)
	for _, tt := range salvages {
		t.Run(tt.name, func(t *testing.T) {
			d := newDamaged(t)
			broken := tt.damage(t, bytes.Clone(content))
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
					t.Errorf("account %s has what was not stored: %s", account, cmp.Diff(stored[account], c))
				}
			}
			if kept < tt.kept {
				t.Errorf("%d jobs were kept, want at least %d", kept, tt.kept)
			}
			if got["a"].Lost == 0 {
				t.Error("no loss was reported to account a")
			}
			if again := load(t, db, "a"); again.Lost != 0 {
				t.Errorf("%d losses were reported again", again.Lost)
			}
			if strings.Count(log.String(), "level=ERROR") != 1 || !strings.Contains(log.String(), tt.logged) {
				t.Errorf("the log does not have %q, once:\n%s", tt.logged, &log)
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

// After a rebuild that failed while the database was in use, the other accounts go on, and the
// rebuild is tried again. Every account loads what it has left before it stores more.
func TestRebuildWhileRunning(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "register.db")
	db := open(t, dir)
	for _, account := range accounts {
		load(t, db, account)
		commit(t, db, account, storetest.Full())
	}
	wantUnknown := func(account string) {
		t.Helper()
		if err := db.Account(account).Commit(one("new")); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("the commit of account %s: %v", account, err)
		}
	}
	wantNotLoaded := func(account string) {
		t.Helper()
		if _, err := db.Account(account).Load(ctx); err == nil {
			t.Errorf("account %s was loaded although the database cannot be rebuilt", account)
		}
	}
	damageRow := func(account string) {
		t.Helper()
		other, err := sql.Open("sqlite", path) // beside the connection of the engine
		if err != nil {
			t.Fatal(err)
		}
		_, err = other.Exec("UPDATE jobs SET api = 'changed' WHERE request_id = 'full' AND account = ?", account)
		if err := errors.Join(err, other.Close()); err != nil {
			t.Fatal(err)
		}
	}
	inTheWay := func() (remove func()) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(path+".new", "in the way"), 0o700); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.RemoveAll(path + ".new"); err != nil {
				t.Fatal(err)
			}
		}
	}

	damageRow("a")
	remove := inTheWay()
	wantNotLoaded("a")
	commit(t, db, "b", one("other"))
	wantNotLoaded("a")
	remove()
	if c := load(t, db, "a"); len(c.Jobs) != 1 || c.Lost != 1 {
		t.Errorf("account a has %d jobs, and has lost %d rows", len(c.Jobs), c.Lost)
	}
	commit(t, db, "a", one("new"))
	wantUnknown("b")
	if c := load(t, db, "b"); len(c.Jobs) != 3 || c.Lost != 0 {
		t.Errorf("account b has %d jobs, and has lost %d rows", len(c.Jobs), c.Lost)
	}
	commit(t, db, "b", one("new"))

	// When the file is not opened again either, its next commit leads to the rebuild.
	damageRow("b")
	remove = inTheWay()
	wantNotLoaded("b")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantUnknown("a")
		wantNotLoaded("a")
	}
	remove()
	wantUnknown("a")
	if c := load(t, db, "a"); len(c.Jobs) != 0 || c.Lost == 0 {
		t.Errorf("account a has %d jobs, and has lost %d rows", len(c.Jobs), c.Lost)
	}
	commit(t, db, "a", one("new"))
	wantUnknown("b")
}

// What an account has sent is read without the rest of it, whatever is wrong with that.
func TestSenderOfDamagedAccount(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	commit(t, db, "a", storetest.Full())
	run(t, filepath.Join(dir, "register.db"), "UPDATE jobs SET api = 'changed'")
	sent, err := db.Sender("a").Load(ctx)
	if err != nil || len(sent.Requests) == 0 || len(sent.Totals) == 0 || sent.Lost != 0 {
		t.Errorf("the sender has %+v, %v", sent, err)
	}
	commit(t, db, "a", one("x"))
	if c := load(t, db, "a"); c.Lost == 0 {
		t.Error("the damage of the rest is not found any more")
	}
}

// Damage that a commit finds leads to a rebuild, also if the account has no row in the pages that are damaged.
func TestDamageFoundByCommit(t *testing.T) {
	for _, account := range []string{"a", "new"} {
		t.Run(account, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "register.db")
			db := open(t, dir)
			commit(t, db, "a", storetest.Full())
			if account == "new" {
				load(t, db, account)
			}
			// SQLite reads all pages again when another connection has written.
			run(t, path, "CREATE TABLE other (x); DROP TABLE other; PRAGMA wal_checkpoint(TRUNCATE)")
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			clear(content[page:])
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := db.Account(account).Commit(one("x")); !errors.Is(err, store.ErrUnknown) {
				t.Fatalf("the commit: %v", err)
			}
			if c := load(t, db, account); c.Lost == 0 {
				t.Error("no loss was reported")
			}
			commit(t, db, account, one("y"))
		})
	}
}

// A loss is logged before the next process could complete the rebuild without knowing of it.
func TestLossIsLoggedFirst(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "register.db")
	var log bytes.Buffer
	db, err := sqlite.Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	commit(t, db, "a", one("x"))
	run(t, path, "UPDATE jobs SET api = 'changed'")
	commit(t, db, "a", one("kept"))
	if err := os.MkdirAll(filepath.Join(path+".rebuilt", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Account("a").Load(ctx); err == nil {
		t.Error("the damaged database was replaced")
	}
	if !strings.Contains(log.String(), "rows_lost=1") || !strings.Contains(log.String(), "jobs a x") {
		t.Errorf("the loss is not logged:\n%s", &log)
	}
}

// The next process completes a rebuild that was killed at any step.
func TestRebuildingIsFinished(t *testing.T) {
	valid, stored := small(t, 6)
	for name, files := range map[string]map[string][]byte{
		"while it copied":      {"": valid, ".new": []byte("half of it"), ".new-wal": []byte("x")},
		"before it swapped":    {"": []byte("damaged"), "-wal": []byte("old"), ".rebuilt": valid},
		"while it swapped":     {"": []byte("damaged"), ".rebuilt": valid},
		"before the last step": {".rebuilt": valid},
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

// What is no whole database does not take the place of one. If it is all that there is, its loss is reported.
func TestLeftoverIsNotWhole(t *testing.T) {
	valid, stored := small(t, 200)
	for name, leftover := range map[string][]byte{
		"empty":              {},
		"text":               []byte("something else"),
		"cut":                valid[:len(valid)/2/page*page],
		"a page is zero":     append(append(bytes.Clone(valid[:8*page]), make([]byte, page)...), valid[9*page:]...),
		"a database of 0 kB": make([]byte, page),
	} {
		t.Run(name, func(t *testing.T) {
			d := newDamaged(t)
			d.write(t, valid)
			if err := os.WriteFile(d.path+".rebuilt", leftover, 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			db, err := sqlite.Open(d.dir, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			for account, c := range contents(t, db) {
				if diff := storetest.Diff(stored[account], c); diff != "" || c.Lost != 0 {
					t.Errorf("account %s has lost %d rows (-stored +opened):\n%s", account, c.Lost, diff)
				}
			}
			aside, err := filepath.Glob(d.path + ".*-*")
			if err != nil || len(aside) != 1 || strings.Count(log.String(), aside[0]) != 1 {
				t.Fatalf("put aside: %q, %v; log:\n%s", aside, err, &log)
			}
			if content, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(content, leftover) {
				t.Errorf("what was put aside is not what was left: %v", err)
			}
		})
	}
	d := newDamaged(t)
	d.write(t, valid[:len(valid)/2])
	if err := os.Rename(d.path, d.path+".rebuilt"); err != nil {
		t.Fatal(err)
	}
	if d.check(t, "all that there is", stored) == 0 {
		t.Error("no loss was reported")
	}
}

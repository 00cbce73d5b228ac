package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

// A victim is the files of a database: as they were closed, some time before, and as a
// killed process left them.
type victim struct {
	closed, before     []byte
	base, log, index   []byte
	stored, afterwards map[string]*store.Contents // of closed, and with the log
}

// register100 commits what a hundred registrations and ends do.
func register100(t *testing.T, db *sqlite.DB, round int) {
	t.Helper()
	for n, account := range accounts {
		for part := range 10 {
			b := &store.Batch{
				Totals: []store.Total{
					{Name: "jobs_registered_total", Labels: "{}", Value: jsontext.Value(strconv.Itoa(100*round + 10*part))},
				},
				Requests: []store.Requests{{Second: int64(100*round + part), Count: 1}},
				Departed: []store.DepartedBlock{{Number: uint64(round), Departures: []store.Departure{store.Departure(part)}}},
			}
			for i := range 10 {
				id := fmt.Sprintf("%08x-%s", uint32(round*100+part*10+i)*2654435761, account)
				b.Jobs = append(b.Jobs, store.Job{
					RequestID: id, Sequence: uint64(round*100 + part*10 + i + 1), API: "asr", Source: "http", State: "completed",
					FirstSeen: start, FinishedAt: start.Add(1),
					Statistics: jsontext.Value(`{"words":` + strings.Repeat("1", 1+(i+n)*7%40) + `}`),
				})
			}
			commit(t, db, account, b)
		}
	}
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	v, dir := new(victim), t.TempDir()
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	for round := range 7 {
		db := open(t, dir)
		if round == 6 {
			v.stored = contents(t, db)
		}
		register100(t, db, round)
		if round == 6 {
			v.base, v.log, v.index = read("register.db"), read("register.db-wal"), read("register.db-shm")
			v.afterwards = contents(t, db)
			break
		}
		closed(t, db)
		v.before, v.closed = v.closed, read("register.db")
	}
	return v
}

// A damage changes a page of the file, or the log.
type damage struct {
	name string
	do   func(v *victim, r *rand.Rand) (file, log, index []byte)
}

// ofPages are kinds of damage to the closed file.
func ofPages(name string, do func(v *victim, r *rand.Rand, file []byte) []byte) damage {
	return damage{name, func(v *victim, r *rand.Rand) (file, log, index []byte) {
		return do(v, r, bytes.Clone(v.closed)), nil, nil
	}}
}

// ofLog are kinds of damage to the log of a killed process.
func ofLog(name string, do func(r *rand.Rand, log []byte) []byte) damage {
	return damage{name, func(v *victim, r *rand.Rand) (file, log, index []byte) {
		return v.base, do(r, bytes.Clone(v.log)), v.index
	}}
}

// withoutIndex is after a power failure: the index is not there, or was written before.
func withoutIndex(d damage) damage {
	return damage{d.name + ", without the index", func(v *victim, r *rand.Rand) (file, log, index []byte) {
		file, log, _ = d.do(v, r)
		return file, log, nil
	}}
}

func onePage(r *rand.Rand, file []byte) []byte {
	i := r.IntN(len(file) / page)
	return file[i*page : (i+1)*page]
}

func garble(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// inside returns a part of a log behind which transactions follow.
func inside(r *rand.Rand, log []byte) (from, to int) {
	from = r.IntN(len(log) * 3 / 4)
	return from, from + 1 + r.IntN(2*page)
}

func zeroInside(r *rand.Rand, log []byte) []byte {
	from, to := inside(r, log)
	clear(log[from:to])
	return log
}

func garbleInside(r *rand.Rand, log []byte) []byte {
	from, to := inside(r, log)
	garble(r, log[from:to])
	return log
}

func cutOutInside(r *rand.Rand, log []byte) []byte {
	from, to := inside(r, log)
	return slices.Delete(log, from, to)
}

var damages = []damage{
	ofPages("a page is a copy of another", func(_ *victim, r *rand.Rand, file []byte) []byte {
		copy(onePage(r, file), bytes.Clone(onePage(r, file)))
		return file
	}),
	ofPages("two pages are swapped", func(_ *victim, r *rand.Rand, file []byte) []byte {
		a, b := onePage(r, file), onePage(r, file)
		saved := bytes.Clone(a)
		copy(a, b)
		copy(b, saved)
		return file
	}),
	ofPages("a page is as it was before", func(v *victim, r *rand.Rand, file []byte) []byte {
		i := r.IntN(len(v.before)/page) * page
		copy(file[i:], v.before[i:i+page])
		return file
	}),
	ofPages("a page is zero", func(_ *victim, r *rand.Rand, file []byte) []byte { clear(onePage(r, file)); return file }),
	ofPages("a page is garbled",
		func(_ *victim, r *rand.Rand, file []byte) []byte { garble(r, onePage(r, file)); return file }),
	ofPages("a bit is flipped", func(_ *victim, r *rand.Rand, file []byte) []byte {
		file[r.IntN(len(file))] ^= 1 << r.IntN(8)
		return file
	}),
	ofPages("the file is cut", func(_ *victim, r *rand.Rand, file []byte) []byte { return file[:1+r.IntN(len(file)-1)] }),
	ofLog("a bit of the log is flipped", func(r *rand.Rand, log []byte) []byte {
		log[r.IntN(len(log))] ^= 1 << r.IntN(8)
		return log
	}),
	ofLog("a part of the log is zero", zeroInside),
	ofLog("a part of the log is garbled", garbleInside),
	ofLog("a part of the log is missing", cutOutInside),
	ofLog("the log is cut", func(r *rand.Rand, log []byte) []byte { return log[:r.IntN(len(log))] }),
	withoutIndex(ofLog("a part of the log is zero", zeroInside)),
	withoutIndex(ofLog("a part of the log is garbled", garbleInside)),
	withoutIndex(ofLog("a part of the log is missing", cutOutInside)),
}

// Whatever the damage, the database opens, and has everything that was stored, or
// reports for each account that something is lost. DAMAGES is how many of each kind.
func TestDamages(t *testing.T) {
	trials := 1 // make e2e and make damage-test have more
	if text := os.Getenv("DAMAGES"); text != "" {
		var err error
		if trials, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	v := newVictim(t)
	for _, kind := range damages {
		t.Run(kind.name, func(t *testing.T) {
			d, r, noticed := newDamaged(t), rand.New(rand.NewPCG(1, 2)), 0
			for n := range trials {
				file, log, index := kind.do(v, r)
				d.write(t, file)
				want := v.stored
				for suffix, content := range map[string][]byte{"-wal": log, "-shm": index} {
					if content != nil {
						want = v.afterwards
						if err := os.WriteFile(d.path+suffix, content, 0o600); err != nil {
							t.Fatal(err)
						}
					}
				}
				if d.told(t, fmt.Sprint("trial ", n), want) {
					noticed++
				}
			}
			t.Logf("%d trials: %d reported a loss, %d had everything", trials, noticed, trials-noticed)
		})
	}
}

// told opens the database, which has everything, or reports a loss and keeps the damaged files.
func (d *damaged) told(t *testing.T, what string, stored map[string]*store.Contents) (lost bool) {
	t.Helper()
	var log bytes.Buffer
	db, err := sqlite.Open(d.dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer db.Close()
	for account, c := range contents(t, db) {
		if c.Lost > 0 {
			lost = true
		} else if !reflect.DeepEqual(stored[account], c) {
			t.Errorf("%s: account %s reports no loss, and has %d jobs of %d",
				what, account, len(c.Jobs), len(stored[account].Jobs))
		}
	}
	aside, err := filepath.Glob(d.path + ".damaged-*")
	if err != nil || lost != (len(aside) > 0) || lost != strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("%s: lost: %v; put aside %q, %v; log:\n%s", what, lost, aside, err, &log)
	}
	if err := db.Account("a").Commit(one("new")); err != nil {
		t.Errorf("%s: nothing can be stored any more: %v", what, err)
	}
	return lost
}

// What was copied from the log into the file is not lost with the log, and the log does not hide it.
func TestDamagedLogThatWasCopied(t *testing.T) {
	for name, afterwards := range map[string]int{"all of it": 0, "and then it began again": 3} {
		t.Run(name, func(t *testing.T) {
			dir, d := t.TempDir(), newDamaged(t)
			db := open(t, dir)
			want := new(store.Contents)
			for i := range 20 {
				c := &store.Batch{Totals: []store.Total{{Name: "n", Labels: "{}", Value: jsontext.Value(strconv.Itoa(i))}}}
				commit(t, db, "a", c)
				want.Totals = c.Totals
			}
			run(t, filepath.Join(dir, "register.db"), "PRAGMA wal_checkpoint(PASSIVE)")
			for i := range afterwards {
				commit(t, db, "a", one(fmt.Sprint(i)))
			}
			content, err := os.ReadFile(filepath.Join(dir, "register.db"))
			if err != nil {
				t.Fatal(err)
			}
			index, err := os.ReadFile(filepath.Join(dir, "register.db-shm"))
			if err != nil {
				t.Fatal(err)
			}
			log := writeAheadLog(t, dir)
			for at := 0; at < len(log); at += 1 + len(log)/50 {
				broken := bytes.Clone(log)
				broken[at] ^= 1
				d.write(t, content)
				if err := errors.Join(os.WriteFile(d.path+"-wal", broken, 0o600),
					os.WriteFile(d.path+"-shm", index, 0o600)); err != nil {
					t.Fatal(err)
				}
				db := open(t, d.dir)
				c := load(t, db, "a")
				closed(t, db)
				all := len(c.Jobs) == afterwards
				if all != (c.Lost == 0) || !reflect.DeepEqual(c.Totals, want.Totals) {
					t.Errorf("a bit of byte %d of the log: %d lost, %d jobs of %d, totals %s, want %s",
						at, c.Lost, len(c.Jobs), afterwards, c.Totals, want.Totals)
				}
			}
		})
	}
}

// A killed process, and one that was killed while it wrote a transaction, have lost nothing.
func TestKilledIsNotDamaged(t *testing.T) {
	v := newVictim(t)
	d := newDamaged(t)
	tail := v.log[len(v.log)-page-24:] // a whole frame
	for name, log := range map[string][]byte{
		"killed":                          v.log,
		"a frame without an end":          append(bytes.Clone(v.log), tail[:1000]...),
		"a frame of an unfinished commit": append(bytes.Clone(v.log), tail...),
		"a header without its page":       append(bytes.Clone(v.log), tail[:24]...),
		"an old log behind":               append(bytes.Clone(v.log), bytes.Repeat([]byte{7}, 3*(page+24))...),
	} {
		d.write(t, v.base)
		for suffix, content := range map[string][]byte{"-wal": log, "-shm": v.index} {
			if err := os.WriteFile(d.path+suffix, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if d.told(t, name, v.afterwards) {
			t.Errorf("%s: a loss is reported", name)
		}
	}
}

// If the file is empty or gone, its log is not lost with it: what it has is recovered, and it is put aside.
func TestEmptied(t *testing.T) {
	v := newVictim(t)
	dir := t.TempDir()
	db := open(t, dir)
	register100(t, db, 0)
	index, err := os.ReadFile(filepath.Join(dir, "register.db-shm"))
	if err != nil {
		t.Fatal(err)
	}
	log, stored := writeAheadLog(t, dir), contents(t, db)
	broken := bytes.Clone(log)
	broken[len(log)/2] ^= 1
	for name, tt := range map[string]struct {
		log, index []byte
		stored     map[string]*store.Contents
		kept       int // jobs of account a
	}{
		"all is in the log":             {log, index, stored, 100},
		"all is in the log, no index":   {log, nil, stored, 100},
		"a part is in the log":          {v.log, v.index, v.afterwards, 0},
		"a part is in the log, alone":   {v.log, nil, v.afterwards, 0},
		"the log is damaged":            {broken, index, stored, 1},
		"only the index is there":       {nil, index, stored, 0},
		"only the index of a large one": {nil, v.index, v.afterwards, 0},
	} {
		for how, empty := range map[string]func(path string) error{
			"empty": func(path string) error { return os.Truncate(path, 0) }, "gone": os.Remove,
		} {
			t.Run(name+", the file is "+how, func(t *testing.T) {
				d := newDamaged(t)
				d.write(t, nil)
				if err := empty(d.path); err != nil {
					t.Fatal(err)
				}
				for suffix, content := range map[string][]byte{"-wal": tt.log, "-shm": tt.index} {
					if content != nil {
						if err := os.WriteFile(d.path+suffix, content, 0o600); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := sqlite.Copy(d.dir, t.TempDir()); how == "empty" && err == nil {
					t.Error("the file was copied")
				}
				if !d.told(t, name, tt.stored) {
					t.Error("no loss was reported")
				}
				c := load(t, open(t, d.dir), "a")
				if n := len(c.Jobs) - 1; n < tt.kept { // told has added one
					t.Errorf("%d jobs were recovered, want at least %d", n, tt.kept)
				}
				if aside, err := filepath.Glob(d.path + ".damaged-*-wal"); tt.log != nil && (err != nil || len(aside) != 1) {
					t.Errorf("the log was put aside as %q, %v", aside, err)
				} else if tt.log != nil {
					if content, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(content, tt.log) {
						t.Errorf("the log that was put aside is not the one that was there: %v", err)
					}
				}
			})
		}
	}
}

// The log does not name a number of lost rows that may be too low without saying so.
func TestLossIsNotUnderstated(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	register100(t, db, 0)
	first, err := os.ReadFile(filepath.Join(dir, "register.db"))
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(dir, "register.db-shm"))
	if err != nil {
		t.Fatal(err)
	}
	closed(t, db)
	db = open(t, dir)
	commit(t, db, "a", one("early"))
	early := writeAheadLog(t, dir)
	register100(t, db, 1)
	closed(t, db)
	last, err := os.ReadFile(filepath.Join(dir, "register.db"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		file, log, index []byte
		want             string
	}{
		"the log of an earlier time": {last, early, nil, `rows_lost="at least `},
		"no log":                     {first, nil, index, `rows_lost="not known" `},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDamaged(t)
			d.write(t, tt.file)
			for suffix, content := range map[string][]byte{"-wal": tt.log, "-shm": tt.index} {
				if content != nil {
					if err := os.WriteFile(d.path+suffix, content, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			var log bytes.Buffer
			db, err := sqlite.Open(d.dir, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if !strings.Contains(log.String(), tt.want) {
				t.Errorf("the log does not have %s:\n%s", tt.want, &log)
			}
		})
	}
}

package sqlite_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"database/sql"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/storetest"
)

var update = flag.Bool("update", false, "write testdata/v4.db.gz and testdata/v4.sql")

// The databases of schema 2 in testdata are of the last version that wrote it: a
// demo of eleven minutes that was killed, and a Telegraf plugin with state changes
// that were not delivered. The lists beside them are what that version read of them.
var registers2 = map[string][]string{
	"v2-demo":     {"demo"},
	"v2-telegraf": {"default", `research & "quotes" ä`},
}

func gunzip(t *testing.T, name string) []byte {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// list returns contents as lines of JSON with sorted names, one for each row.
func list(t *testing.T, account string, c *store.Contents) (lines []string) {
	t.Helper()
	add := func(table string, row map[string]any) {
		row["account"] = account
		for name, v := range row {
			switch v := v.(type) {
			case string:
				if v == "" {
					delete(row, name)
				}
			case float64:
				if v == 0 {
					delete(row, name)
				}
			case time.Time:
				if row[name] = v.Format(time.RFC3339Nano); v.IsZero() {
					delete(row, name)
				}
			case jsontext.Value:
				if v == nil {
					delete(row, name)
				}
			}
		}
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		if err := (*jsontext.Value)(&text).Canonicalize(); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, table+" "+string(text))
	}
	for _, j := range c.Jobs {
		row := map[string]any{
			"request_id": j.RequestID, "sequence": j.Sequence, "api": j.API, "source": j.Source, "state": j.State,
			"error_code": j.ErrorCode, "audio_seconds": j.AudioSeconds, "priority": j.Priority, "first_seen": j.FirstSeen,
			"submitted_at": j.SubmittedAt, "last_observed": j.LastObserved, "finished_at": j.FinishedAt,
			"statistics": j.Statistics,
		}
		if j.Labels != nil {
			row["labels"] = j.Labels
		}
		if !j.FinishedAt.IsZero() {
			row["detection_window_seconds"] = jsontext.Value(strconv.FormatFloat(j.DetectionWindow.Seconds(), 'g', -1, 64))
		}
		add("jobs", row)
	}
	for _, block := range c.Departed {
		for _, d := range block.Departures {
			add("departed", map[string]any{"departure": fmt.Sprintf("%016x", uint64(d))})
		}
	}
	for _, total := range c.Totals {
		add("totals", map[string]any{"name": total.Name, "labels": total.Labels, "value": total.Value})
	}
	for _, r := range c.Requests {
		add("requests", map[string]any{"unix_second": r.Second, "requests": r.Count})
	}
	if c.Learnt != nil {
		add("learnt", map[string]any{"value": c.Learnt})
	}
	for _, tm := range c.Timings {
		sum := fmt.Sprintf("%x", sha256.Sum256(tm.Packed))
		add("timings", map[string]any{"request_id": tm.RequestID, "packed_sha256": sum})
	}
	for _, s := range c.StateChanges {
		add("state_changes", map[string]any{
			"number": s.Number, "request_id": s.RequestID, "state": s.State, "at": s.At, "job": s.Job,
		})
	}
	slices.Sort(lines)
	return lines
}

func listed(t *testing.T, name string) []string {
	lines := strings.Split(strings.TrimSpace(string(gunzip(t, name))), "\n")
	for i, line := range lines {
		text, departed := strings.CutPrefix(line, "departed ")
		if !departed {
			continue
		}
		var old struct {
			Account   string `json:"account"`
			RequestID string `json:"request_id"`
			Removed   bool   `json:"removed"`
		}
		if err := json.Unmarshal([]byte(text), &old); err != nil {
			t.Fatal(err)
		}
		now := map[string]any{
			"account": old.Account, "departure": fmt.Sprintf("%016x", uint64(store.DepartureOf(old.RequestID, old.Removed))),
		}
		text2, err := json.Marshal(now, json.Deterministic(true))
		if err != nil {
			t.Fatal(err)
		}
		lines[i] = "departed " + string(text2)
	}
	slices.Sort(lines)
	return lines
}

// Nothing of a database of schema 2 is lost, and its file is kept.
func TestSchema2(t *testing.T) {
	for name, accounts := range registers2 {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "register.db")
			content := gunzip(t, name+".db.gz")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			want := listed(t, name+".txt.gz")
			for _, when := range []string{"at first", "again"} {
				var log bytes.Buffer
				db, err := sqlite.Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, account := range accounts {
					c := load(t, db, account)
					if c.Lost != 0 {
						t.Errorf("%s: account %s has lost %d rows", when, account, c.Lost)
					}
					got = append(got, list(t, account, c)...)
				}
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-what the old version read +converted):\n%s", when, diff)
				}
				if (when == "at first") != strings.Contains(log.String(), "converted") || strings.Contains(log.String(), "ERROR") {
					t.Errorf("%s, the log is:\n%s", when, &log)
				}
				closed(t, db)
			}
			aside, err := filepath.Glob(path + ".schema-2-*")
			if err != nil || len(aside) != 1 {
				t.Fatalf("put aside: %q, %v", aside, err)
			}
			if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, content) {
				t.Errorf("the old file has changed: %v", err)
			}
		})
	}
}

// Counters, histograms, exemplars and created times are those of the last scrape
// before the demo was killed.
func TestScrapeOfSchema2(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "register.db"), gunzip(t, "v2-demo.db.gz"), 0o600); err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]string)
	for line := range strings.Lines(string(gunzip(t, "v2-demo.metrics.gz"))) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		shown[series] = value
	}
	var created float64
	compared := 0
	number := func(text string) float64 {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	c := load(t, open(t, dir), "demo")
	for _, total := range c.Totals {
		if total.Name == "created" {
			var at time.Time
			if err := json.Unmarshal(total.Value, &at); err != nil {
				t.Fatal(err)
			}
			created = float64(at.UnixNano()) / 1e9
		}
	}
	for _, total := range c.Totals {
		var labels map[string]string
		if err := json.Unmarshal([]byte(total.Labels), &labels); err != nil {
			t.Fatal(err)
		}
		inner := `{account="demo"`
		for name, value := range labels {
			inner += fmt.Sprintf(",%s=%q", name, value)
		}
		base := "deepaffects_" + strings.TrimSuffix(total.Name, "_total")
		at, known := shown[base+"_created"+inner]
		if !known { // "created", and counters that are no metrics
			continue
		}
		compared++
		if number(at) != created {
			t.Errorf("%s%s was created at %s, and now at %v", base, inner, at, created)
		}
		if strings.HasSuffix(total.Name, "_total") {
			if number(shown[base+"_total"+inner]) != number(string(total.Value)) {
				t.Errorf("%s%s was %s, and is %s", base, inner, shown[base+"_total"+inner], total.Value)
			}
			continue
		}
		var h struct {
			Sum       float64   `json:"sum"`
			Bounds    []float64 `json:"bounds"`
			Counts    []uint64  `json:"counts"`
			Exemplars []struct {
				Bound     *float64  `json:"bound"`
				Value     float64   `json:"value"`
				RequestID string    `json:"request_id"`
				At        time.Time `json:"at"`
			} `json:"exemplars"`
		}
		if err := json.Unmarshal(total.Value, &h); err != nil {
			t.Fatal(err)
		}
		if was := shown[base+"_sum"+inner]; number(was) != h.Sum {
			t.Errorf("the sum of %s%s was %s, and is %v", base, inner, was, h.Sum)
		}
		exemplars := make(map[string]string)
		for _, e := range h.Exemplars {
			exemplars[openMetrics(e.Bound)] = fmt.Sprintf(`{request_id=%q} %s %v`,
				e.RequestID, openMetrics(&e.Value), float64(e.At.UnixNano())/1e9)
		}
		cumulative := uint64(0)
		for i, n := range h.Counts {
			cumulative += n
			var bound *float64
			if i < len(h.Bounds) {
				bound = &h.Bounds[i]
			}
			was, exemplar, _ := strings.Cut(shown[fmt.Sprintf(`%s_bucket%s,le=%q`, base, inner, openMetrics(bound))], " # ")
			if was != fmt.Sprint(cumulative) || exemplar != exemplars[openMetrics(bound)] {
				t.Errorf("%s%s le %s was %q with exemplar %q, and is %d with %q",
					base, inner, openMetrics(bound), was, exemplar, cumulative, exemplars[openMetrics(bound)])
			}
		}
	}
	if compared < 40 {
		t.Errorf("only %d series were compared", compared)
	}
}

// openMetrics returns a number as OpenMetrics has it; nil is +Inf.
func openMetrics(v *float64) string {
	if v == nil {
		return "+Inf"
	}
	text := strconv.FormatFloat(*v, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text
}

// Damage of a database of schema 2 costs what it costs one of this version.
func TestDamagedSchema2(t *testing.T) {
	content, want := gunzip(t, "v2-telegraf.db.gz"), listed(t, "v2-telegraf.txt.gz")
	for name, tt := range map[string]struct {
		damage func(c []byte)
		kept   int // rows at least
	}{
		"a digit of a row": {func(c []byte) { c[place(t, c, "Zürich")] ^= 1 }, len(want) - 1},
		"the first page":   {func(c []byte) { clear(c[:page]) }, len(want)},
		"the version":      {func(c []byte) { c[63] ^= 4 }, len(want)},
		"this version":     {func(c []byte) { c[63] = 3 }, len(want)},
		"a page": {func(c []byte) {
			i := place(t, c, "job-07") / page * page
			clear(c[i : i+page])
		}, len(want) / 2},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDamaged(t)
			broken := bytes.Clone(content)
			tt.damage(broken)
			d.write(t, broken)
			db := open(t, d.dir)
			var got []string
			lost := 0
			for _, account := range registers2["v2-telegraf"] {
				c := load(t, db, account)
				got, lost = append(got, list(t, account, c)...), lost+c.Lost
			}
			if len(got) < tt.kept || !within(got, want) || lost == 0 {
				t.Errorf("%d rows of %d were kept, want %d; %d lost", len(got), len(want), tt.kept, lost)
			}
		})
	}
}

// A database of the first schema is converted, and kept.
func TestSchema1(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "register.db")
	schema, err := os.ReadFile("testdata/schema-1.sql")
	if err != nil {
		t.Fatal(err)
	}
	run(t, path, "PRAGMA journal_mode = WAL; "+string(schema))
	for _, when := range []string{"at first", "again"} {
		db := open(t, dir)
		want := &store.Contents{
			Jobs: []store.Job{
				{RequestID: "one", Sequence: 1, API: "asr", Source: "http", State: "failed", ErrorCode: "code",
					Labels: map[string]string{"team": "x"}, AudioSeconds: 1.5, Priority: 1, FirstSeen: start, FinishedAt: start,
					DetectionWindow: 90e9, Statistics: jsontext.Value(`{"words":3}`)},
				{RequestID: "two", Sequence: 2, Source: "file", State: "pending", Priority: 1, FirstSeen: start},
			},
			Departed: []store.DepartedBlock{{Departures: []store.Departure{store.DepartureOf("left", true)}}},
			Totals:   []store.Total{{Name: "words_total", Labels: "{}", Value: jsontext.Value("2")}},
			Requests: []store.Requests{{Second: 200, Count: 5}},
		}
		if diff := storetest.Diff(want, load(t, db, "a")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		closed(t, db)
	}
	if aside, err := filepath.Glob(path + ".schema-1-*"); err != nil || len(aside) != 1 {
		t.Errorf("put aside: %q, %v", aside, err)
	}
}

func TestNewerSchema(t *testing.T) {
	dir := t.TempDir()
	closed(t, open(t, dir))
	run(t, filepath.Join(dir, "register.db"), `PRAGMA user_version = 99; UPDATE meta SET value = '99'`)
	_, err := sqlite.Open(dir, quiet)
	if err == nil || !strings.Contains(err.Error(), "newer version (schema 99") {
		t.Errorf("a newer schema: %v", err)
	}
	if checked := sqlite.Check(dir); fmt.Sprint(checked) != fmt.Sprint(err) {
		t.Errorf("Check has %v, and Open %v", checked, err)
	}
}

// run executes statements as an operator would, with SQLite alone.
func run(t *testing.T, path, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(statements); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A database of schema 3 opens with all that was in it.
func TestSchema3(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "register.db"), gunzip(t, "v3.db.gz"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := whole(storetest.Full())
	want.Departed = []store.DepartedBlock{{
		Departures: []store.Departure{store.DepartureOf("gone", false), store.DepartureOf("removed", true)},
	}}
	for range 2 {
		db := open(t, dir)
		if diff := storetest.Diff(want, load(t, db, "a")); diff != "" {
			t.Errorf("(-want +converted):\n%s", diff)
		}
		closed(t, db)
	}
}

// A departed job of schema 3 was a row. They fit into as few blocks as there can be.
func TestManyDepartedOfSchema3(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "register.db")
	if err := os.WriteFile(path, gunzip(t, "v3.db.gz"), 0o600); err != nil {
		t.Fatal(err)
	}
	castagnoli, want := crc32.MakeTable(crc32.Castagnoli), make(map[store.Departure]bool)
	var statements strings.Builder
	for _, account := range []string{"a", "b"} {
		for i := range 1500 {
			id := fmt.Sprintf("%s-%04d", account, i)
			row := "3 departed s\x01" + account + "s\x06" + id + "ni\x00\x00\x00\x00\x00\x00\x00\x00"
			fmt.Fprintf(&statements, "INSERT INTO departed VALUES ('%s', '%s', NULL, 0, %d);",
				account, id, crc32.Checksum([]byte(row), castagnoli))
			want[store.DepartureOf(id, false)] = true
		}
	}
	run(t, path, "BEGIN;"+statements.String()+"COMMIT")
	db := open(t, dir)
	for _, account := range []string{"a", "b"} {
		c := load(t, db, account)
		if len(c.Departed) != 3 || c.Lost != 0 {
			t.Errorf("account %s has %d blocks, %d rows were lost", account, len(c.Departed), c.Lost)
		}
		for _, block := range c.Departed {
			for _, d := range block.Departures {
				delete(want, d)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("%d departed jobs are missing", len(want))
	}
}

// whole returns what a batch leaves in an account that was empty.
func whole(b *store.Batch) *store.Contents {
	return &store.Contents{
		Jobs: b.Jobs, Departed: b.Departed, Totals: b.Totals, Requests: b.Requests, Learnt: b.Learnt,
		Timings: b.Timings, StateChanges: b.StateChanges,
	}
}

// The database of schema 4 in testdata opens with all that is in it, and what is
// written today is the same text. Later versions keep the first half of this test.
func TestSchema4(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "register.db")
	if *update {
		db := open(t, dir)
		commit(t, db, "a", storetest.Full())
		closed(t, db)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var zipped bytes.Buffer
		z := gzip.NewWriter(&zipped)
		_, _ = z.Write(content)
		_ = z.Close()
		for name, content := range map[string][]byte{"v4.db.gz": zipped.Bytes(), "v4.sql": []byte(dump(t, path))} {
			if err := os.WriteFile(filepath.Join("testdata", name), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	want, err := os.ReadFile("testdata/v4.sql")
	if err != nil {
		t.Fatal(err)
	}

	dir = t.TempDir()
	path = filepath.Join(dir, "register.db")
	if err := os.WriteFile(path, gunzip(t, "v4.db.gz"), 0o600); err != nil {
		t.Fatal(err)
	}
	full := storetest.Full()
	if diff := storetest.Diff(whole(full), load(t, open(t, dir), "a")); diff != "" {
		t.Errorf("(-want +loaded):\n%s", diff)
	}

	dir = t.TempDir()
	db := open(t, dir)
	commit(t, db, "a", full)
	closed(t, db)
	if diff := cmp.Diff(string(want), dump(t, filepath.Join(dir, "register.db"))); diff != "" {
		t.Errorf("the format has changed (-testdata/v4.sql +written):\n%s", diff)
	}
}

// dump returns a database as text: the statements of its tables, and their rows.
func dump(t *testing.T, path string) string {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var b strings.Builder
	query := func(statement string, each func(columns []string, row []any)) {
		rows, err := db.Query(statement)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			row := make([]any, len(columns))
			into := make([]any, len(columns))
			for i := range row {
				into[i] = &row[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			each(columns, row)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	query("PRAGMA user_version", func(_ []string, row []any) { fmt.Fprintf(&b, "PRAGMA user_version = %v;\n", row[0]) })
	var names []any
	query("SELECT name, sql FROM sqlite_schema ORDER BY rootpage", func(_ []string, row []any) {
		names = append(names, row[0])
		fmt.Fprintf(&b, "%s;\n", row[1])
	})
	for _, name := range names {
		query(fmt.Sprintf("SELECT * FROM %s", name), func(columns []string, row []any) {
			fmt.Fprintf(&b, "\n%s\n", name)
			for i, v := range row {
				switch v := v.(type) {
				case nil:
					fmt.Fprintf(&b, "  %s NULL\n", columns[i])
				case string:
					fmt.Fprintf(&b, "  %s '%s'\n", columns[i], v)
				case []byte:
					fmt.Fprintf(&b, "  %s x'%x'\n", columns[i], v)
				default:
					fmt.Fprintf(&b, "  %s %v\n", columns[i], v)
				}
			}
		})
	}
	return b.String()
}

// A database of the first schema whose log has lost transactions is converted, and the loss reported.
func TestSchema1WithDamagedLog(t *testing.T) {
	dir, d := t.TempDir(), newDamaged(t)
	path := filepath.Join(dir, "register.db")
	schema, err := os.ReadFile("testdata/schema-1.sql")
	if err != nil {
		t.Fatal(err)
	}
	run(t, path, "PRAGMA journal_mode = WAL; "+string(schema))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	for second := range 10 {
		if _, err := old.Exec("INSERT INTO requests VALUES ('a', ?, 1)", 300+second); err != nil {
			t.Fatal(err)
		}
	}
	log := writeAheadLog(t, dir)
	log[len(log)/2] ^= 1
	d.write(t, before)
	if err := os.WriteFile(d.path+"-wal", log, 0o600); err != nil {
		t.Fatal(err)
	}
	c := load(t, open(t, d.dir), "a")
	if c.Lost == 0 || len(c.Jobs) != 2 || len(c.Requests) < 2 || len(c.Requests) > 10 {
		t.Errorf("%d lost, %d jobs, %d requests", c.Lost, len(c.Jobs), len(c.Requests))
	}
}

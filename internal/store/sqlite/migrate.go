package sqlite

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// This file converts schemas 1 to 3. What it knows of them does not change any more.
//
// In schema 3 there were no sums, and a departed job was a row with the time until
// which it was remembered.
//
// In schema 2 the documents were Go structs: unknown was null for a measure and -1
// for a count, anomalies were in the order of anomalies2, and histograms had no
// bounds. Unknown text was "", and unknown numbers were 0. The columns were those of
// schema 3, but for the labels of totals. Schema 1 had neither checksums nor
// priorities, and four tables.

// unchecked is the seed of tables whose rows have no checksum.
const unchecked = "-"

var schema3 = &schema{3, newTable("3 meta ", "meta", 1, "name TEXT NOT NULL", "value TEXT NOT NULL"), []*table{
	old3(jobs, "jobs", 2, "request_id TEXT NOT NULL", "sequence INTEGER NOT NULL", "api TEXT", "source TEXT",
		"state TEXT", "error_code TEXT", "labels TEXT", "audio_seconds REAL", "priority REAL", "first_seen TEXT",
		"submitted_at TEXT", "last_observed TEXT", "finished_at TEXT", "detection_window_seconds REAL",
		"statistics TEXT"),
	old3(departed, "departed", 2, "request_id TEXT NOT NULL", "until TEXT", "removed INTEGER NOT NULL"),
	old3(totals, "totals", 3, "name TEXT NOT NULL", "labels TEXT NOT NULL", "value TEXT NOT NULL"),
	old3(requests, "requests", 2, "unix_second INTEGER NOT NULL", "requests INTEGER NOT NULL"),
	old3(learnt, "learnt", 1, "value TEXT NOT NULL"),
	old3(timings, "timings", 2, "request_id TEXT NOT NULL", "packed BLOB NOT NULL"),
	old3(stateChanges, "state_changes", 2, "number INTEGER NOT NULL", "request_id TEXT", "state TEXT",
		"at TEXT", "job TEXT"),
}, nil}

func old3(into *table, name string, key int, definitions ...string) *table {
	t := old(into, nil, name, key, definitions...)
	t.seed = "3 " + name + " "
	return t
}

// departed3 puts the departed jobs of an account into blocks. A row replaces the one
// before as long as its block grows.
func departed3() func([]any) ([][]any, error) {
	last := make(map[string]*store.DepartedBlock)
	return func(row []any) ([][]any, error) {
		account := textOf(row[0])
		block := last[account]
		switch {
		case block == nil:
			block = &store.DepartedBlock{}
		case len(block.Departures) == store.DeparturesPerBlock:
			block = &store.DepartedBlock{Number: block.Number + 1}
		}
		last[account] = block
		block.Departures = append(block.Departures, store.DepartureOf(textOf(row[1]), row[3] == int64(1)))
		return [][]any{{account, int64(block.Number), packed(block.Departures)}}, nil
	}
}

var schema2 = &schema{2, newTable("meta", "meta", 1, "name TEXT NOT NULL", "value TEXT NOT NULL"), []*table{
	old(jobs, jobs2, "jobs", 2, "request_id TEXT NOT NULL", "sequence INTEGER NOT NULL",
		"api TEXT NOT NULL", "source TEXT NOT NULL", "state TEXT NOT NULL", "error_code TEXT NOT NULL",
		"labels TEXT", "audio_seconds REAL NOT NULL", "priority REAL NOT NULL",
		"first_seen TEXT NOT NULL", "submitted_at TEXT", "last_observed TEXT", "finished_at TEXT",
		"detection_window_seconds REAL NOT NULL", "statistics TEXT"),
	old(departed, nil, "departed", 2, "request_id TEXT NOT NULL", "until TEXT NOT NULL", "removed INTEGER NOT NULL"),
	old(totals, totals2, "totals", 2, "name TEXT NOT NULL", "value TEXT NOT NULL"),
	old(requests, nil, "requests", 2, "unix_second INTEGER NOT NULL", "requests INTEGER NOT NULL"),
	old(learnt, nil, "learnt", 1, "value TEXT NOT NULL"),
	old(timings, nil, "timings", 2, "request_id TEXT NOT NULL", "marks BLOB NOT NULL"),
	old(stateChanges, changes2, "changes", 2, "number INTEGER NOT NULL", "request_id TEXT NOT NULL",
		"state TEXT NOT NULL", "at TEXT NOT NULL", "job TEXT NOT NULL"),
}, nil}

var schema1 = func() *schema {
	s := &schema{version: 1}
	for _, t := range schema2.tables[:4] {
		first := *t
		first.seed, first.read = unchecked, strings.NewReplacer("priority", "1.0", "checksum", "NULL").Replace(t.read)
		s.tables = append(s.tables, &first)
	}
	return s
}()

func old(into *table, convert func([]any) ([][]any, error), name string, key int, definitions ...string) *table {
	t := newTable(name, name, key, append([]string{"account TEXT NOT NULL"}, definitions...)...)
	t.into = into
	switch {
	case convert != nil:
		t.convert = func() func([]any) ([][]any, error) { return convert }
	case into == departed:
		t.convert = departed3
	}
	return t
}

func jobs2(row []any) ([][]any, error) {
	if row[15] == nil {
		return [][]any{row}, nil
	}
	statistics, err := statisticsOf2([]byte(textOf(row[15])))
	row[15] = string(statistics)
	return [][]any{row}, err
}

func changes2(row []any) (_ [][]any, err error) {
	job, text := make(map[string]jsontext.Value), []byte(textOf(row[5]))
	var window struct {
		Nanoseconds int64 `json:"detection_window_nanoseconds"`
	}
	if err := errors.Join(json.Unmarshal(text, &job), json.Unmarshal(text, &window)); err != nil {
		return nil, err
	}
	if job["finished_at"] != nil {
		job["detection_window_seconds"] = must(time.Duration(window.Nanoseconds).Seconds())
	}
	delete(job, "detection_window_nanoseconds")
	for name, convert := range map[string]func([]byte) ([]byte, error){
		"statistics": statisticsOf2, "timings": timingsOf2,
	} {
		if text, ok := job[name]; ok {
			if job[name], err = convert(text); err != nil {
				return nil, err
			}
		}
	}
	row[5] = string(must(job))
	return [][]any{row}, nil
}

var (
	timing2    = []string{"index", "start", "end", "gap", "confidence", "speaker"}
	anomalies2 = []string{"negative_duration", "out_of_order", "missing_time", "confidence_out_of_range"}
	counts2    = []string{"speakers", "words", "overlaps"}
	camelCase  = regexp.MustCompile("([a-z])([A-Z])")
)

// named returns the known ones of values that were an array in the order of names.
func named(names []string, values []any) map[string]any {
	m := make(map[string]any)
	for i, v := range values[:min(len(values), len(names))] {
		if v != nil {
			m[names[i]] = v
		}
	}
	return m
}

func timingsOf2(text []byte) ([]byte, error) {
	var old [][]any
	if err := json.Unmarshal(text, &old); err != nil {
		return nil, err
	}
	list := make([]map[string]any, len(old))
	for i, t := range old {
		if list[i] = named(timing2, t); list[i]["speaker"] == -1.0 {
			delete(list[i], "speaker")
		}
	}
	return json.Marshal(list, json.Deterministic(true))
}

// statisticsOf2 converts statistics, which have no text but their names.
func statisticsOf2(text []byte) ([]byte, error) {
	var s map[string]any
	if err := json.Unmarshal(bytes.ToLower(camelCase.ReplaceAll(text, []byte("${1}_$2"))), &s); err != nil {
		return nil, err
	}
	for name, v := range s {
		unknown := v == nil
		switch v := v.(type) {
		case float64:
			unknown = v == -1 && slices.Contains(counts2, name)
		case map[string]any: // a distribution
			count, _ := v["count"].(float64)
			sum, _ := v["sum"].(float64)
			v["mean"], unknown = sum/count, count == 0
		case []any:
			if name == "anomalies" {
				s[name] = named(anomalies2, v)
				continue
			}
			for _, speaker := range v {
				if m, _ := speaker.(map[string]any); m["confidence_mean"] == nil {
					delete(m, "confidence_mean")
				}
			}
			unknown = len(v) == 0
		}
		if unknown {
			delete(s, name)
		}
	}
	return json.Marshal(s, json.Deterministic(true))
}

// A total of schema 2 and its name and labels now.
type total2 struct {
	name   string
	label  string    // of a counter whose value was an object: the label whose values were its keys
	labels string    // of a total of one series; empty: {}
	bounds []float64 // of a histogram
}

var (
	ratios2    = []float64{.1, .2, .3, .4, .5, .6, .7, .8, .85, .9, .95, .99, 1}
	durations2 = []float64{1, 5, 15, 30, 60, 120, 300, 600, 1200, 3600, 7200, 14400, 43200, 86400}

	totalsOf2 = map[string]total2{
		"created":                {name: "created"},
		"jobs_registered":        {name: "jobs_registered_total", label: "source"},
		"jobs_finished":          {name: "jobs_finished_total", label: "result"},
		"jobs_evicted":           {name: "jobs_evicted_total", label: "reason"},
		"job_duration_completed": {name: "job_duration_seconds", labels: `{"result":"completed"}`, bounds: durations2},
		"job_duration_failed":    {name: "job_duration_seconds", labels: `{"result":"failed"}`, bounds: durations2},
		"job_duration_lost":      {name: "job_duration_seconds", labels: `{"result":"lost"}`, bounds: durations2},
		"detection_window":       {name: "job_detection_window_seconds", bounds: durations2},
		"transcript_confidence":  {name: "transcript_confidence_ratio", bounds: ratios2},
		"dominant_speaker":       {name: "dominant_speaker_talk_ratio", bounds: ratios2},
		"word_confidence":        {name: "word_confidence_ratio", bounds: ratios2},
		"word_duration": {name: "word_duration_seconds",
			bounds: []float64{.02, .05, .1, .15, .2, .25, .3, .4, .5, .75, 1, 2}},
		"word_gap": {name: "word_gap_seconds",
			bounds: []float64{0, .05, .1, .2, .3, .5, .75, 1, 2, 5, 10, 30}},
		"speech_rate": {name: "transcript_speech_rate_words_per_second",
			bounds: []float64{.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 7}},
		"speakers": {name: "transcript_speakers", bounds: []float64{1, 2, 3, 4, 5, 6, 8, 10}},
		"api_duration": {name: "api_request_duration_seconds",
			bounds: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}},
		"words":              {name: "words_total"},
		"word_overlaps":      {name: "word_overlaps_total"},
		"speech_seconds":     {name: "speech_seconds_total"},
		"word_anomalies":     {name: "word_anomalies_total", label: "reason"},
		"api_requests":       {name: "api_requests_total", label: "outcome"},
		"api_unknown_states": {name: "api_unknown_states_total"},
		"webhooks":           {name: "webhook_requests_total", label: "outcome"},
		"source_errors":      {name: "source_errors_total", label: "source"},
		"store_errors":       {name: "store_errors_total"},
		"corrupt_records":    {name: "store_corrupt_records_total"},
		"changes_dropped":    {name: "state_changes_dropped_total"},
		"timings_dropped":    {name: "timings_dropped_total"},
	}
)

func totals2(row []any) ([][]any, error) {
	value := jsontext.Value(textOf(row[2]))
	t, known := totalsOf2[textOf(row[1])]
	switch {
	case !known || !value.IsValid():
		return nil, fmt.Errorf("total %q is unknown or no JSON", row[1])
	case t.label != "":
		var counts map[string]jsontext.Value
		if err := json.Unmarshal(value, &counts); err != nil {
			return nil, err
		}
		var rows [][]any
		for labelled, n := range counts {
			rows = append(rows, []any{row[0], t.name, string(must(map[string]string{t.label: labelled})), string(n)})
		}
		return rows, nil
	}
	var err error
	if t.bounds != nil {
		value, err = histogramOf2(value, t.bounds)
	}
	return [][]any{{row[0], t.name, cmp.Or(t.labels, "{}"), string(value)}}, err
}

func histogramOf2(text []byte, bounds []float64) (jsontext.Value, error) {
	var old struct { // with names in lower case
		Counts, Native []uint64
		Sum            float64
		Schema, First  int
		Zeros          uint64
		Exemplars      []map[string]any
	}
	if err := json.Unmarshal(text, &old, json.MatchCaseInsensitiveNames(true)); err != nil {
		return nil, err
	}
	if len(old.Counts) != len(bounds)+1 {
		return nil, fmt.Errorf("a histogram has %d buckets, not %d", len(old.Counts), len(bounds)+1)
	}
	for _, e := range old.Exemplars {
		if i, _ := e["bucket"].(float64); i >= 0 && int(i) < len(bounds) {
			e["bound"] = bounds[int(i)] // absent: +Inf
		}
		delete(e, "bucket")
	}
	h := map[string]any{"sum": old.Sum, "bounds": bounds, "counts": old.Counts, "native": map[string]any{
		"schema": old.Schema, "zero_count": old.Zeros, "offset": old.First, "counts": old.Native,
	}}
	if len(old.Exemplars) > 0 {
		h["exemplars"] = old.Exemplars
	}
	return must(h), nil
}

//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/telegraf"
)

// A table is a result of DataFusion.
type table struct {
	columns []string
	types   map[string]string
	rows    [][]string // "" for null
}

func (a *table) numeric(column string) bool {
	return slices.Contains([]string{"Float64", "Int64", "UInt64"}, a.types[column])
}

// datafusion runs the statements and returns their results.
func datafusion(t *testing.T, statements []string) []string {
	t.Helper()
	input, err := json.Marshal(statements)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("node", "datafusion.mjs")
	command.Stdin, command.Stderr = bytes.NewReader(input), os.Stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("DataFusion: %v", err)
	}
	var answers []string
	if err := json.Unmarshal(output, &answers); err != nil || len(answers) != len(statements) {
		t.Fatalf("DataFusion returned %d results for %d statements: %v", len(answers), len(statements), err)
	}
	return answers
}

// parseTable reads a table as DataFusion prints it.
func parseTable(text string) (columns []string, rows [][]string, ok bool) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			ok = strings.HasPrefix(line, "+")
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i, cell := range cells {
			cells[i] = strings.TrimSpace(cell)
		}
		if columns == nil {
			columns = cells
		} else {
			rows = append(rows, cells)
		}
	}
	return columns, rows, ok
}

// views defines the measurements with the types of InfluxDB 3: a time, tags as
// dictionaries of text, and fields. Each row is one text, which the view splits when it
// is read, because DataFusion takes long to plan one value per column.
func views(points []telegraf.Metric) (statements []string) {
	const separator = "|"
	text := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	types := make(map[string]map[string]string) // of the columns, by measurement
	rows := make(map[string][]map[string]string)
	for _, p := range points {
		name := p.Name()
		if name == "deepaffects_word" {
			continue // no panel shows them
		}
		if types[name] == nil {
			types[name] = map[string]string{"time": "Timestamp(Nanosecond, None)"}
		}
		row := map[string]string{"time": strconv.FormatInt(p.Time().UnixNano(), 10)}
		// The plugin emits the overview as two points with the same tags and time.
		if n := len(rows[name]); n > 0 && name == "deepaffects" && rows[name][n-1]["time"] == row["time"] {
			row = rows[name][n-1]
		} else {
			rows[name] = append(rows[name], row)
		}
		for tag, value := range p.Tags() {
			types[name][tag], row[tag] = "Dictionary(Int32, Utf8)", value
		}
		for field, value := range p.Fields() {
			switch value.(type) {
			case int64:
				types[name][field] = "Int64"
			case float64:
				types[name][field] = "Float64"
			case string:
				types[name][field] = "Utf8"
			}
			row[field] = fmt.Sprint(value)
		}
	}
	for name, rows := range rows {
		columns := slices.Sorted(maps.Keys(types[name]))
		values := make([]string, len(rows))
		for i, row := range rows {
			cells := make([]string, len(columns))
			for j, column := range columns {
				cells[j] = row[column]
			}
			values[i] = "(" + text(strings.Join(cells, separator)) + ")"
		}
		selected := make([]string, len(columns))
		for i, column := range columns {
			cell := fmt.Sprintf("split_part(point, '%s', %d)", separator, i+1)
			switch kind := types[name][column]; kind {
			case "Utf8": // may be empty, never null
			case "Timestamp(Nanosecond, None)":
				cell = fmt.Sprintf("arrow_cast(arrow_cast(%s, 'Int64'), '%s')", cell, kind)
			default:
				cell = fmt.Sprintf("arrow_cast(NULLIF(%s, ''), '%s')", cell, kind)
			}
			selected[i] = fmt.Sprintf("%s AS %q", cell, column)
		}
		statements = append(statements, fmt.Sprintf("CREATE VIEW %s AS SELECT %s FROM (VALUES %s) AS points (point)",
			name, strings.Join(selected, ", "), strings.Join(values, ", ")))
	}
	return statements
}

// A sqlDashboard is a dashboard with queries for InfluxDB.
type sqlDashboard struct {
	Templating struct {
		List []struct {
			Name, Type string
			Query      any
		}
	}
	Panels []sqlPanel
}

type sqlPanel struct {
	Title, Type, Interval string
	Panels                []sqlPanel // of a collapsed row
	Targets               []struct{ Format, RawSQL string }
	Transformations       []struct {
		Options struct{ RenameByName map[string]string }
	}
}

// fill replaces macros and variables as Grafana does for InfluxDB: intervals in whole
// seconds, for a panel of 1,000 pixels.
func (p *sqlPanel) fill(t *testing.T, query string, from, to time.Time, variables map[string]string) string {
	t.Helper()
	interval := to.Sub(from) / 1000
	if p.Interval != "" {
		minimum, err := time.ParseDuration(strings.ReplaceAll(p.Interval, "$per", "1m"))
		if err != nil {
			t.Fatal(err)
		}
		interval = max(interval, minimum)
	}
	pairs := []string{
		"$__timeFilter(time)",
		fmt.Sprintf("time >= '%s' AND time <= '%s'", from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339)),
		"$__dateBin(time)",
		fmt.Sprintf("date_bin(interval '%d second', time, timestamp '1970-01-01T00:00:00Z')", int64(interval.Seconds())),
	}
	for name, value := range variables {
		pairs = append(pairs, "${"+name+":singlequote}", value)
	}
	query = strings.NewReplacer(pairs...).Replace(query)
	if strings.Contains(query, "$") {
		t.Errorf("%s: an unknown macro or variable: %s", p.Title, query)
	}
	return query
}

// testSQL runs the SQL of the dashboard for InfluxDB 3 in InfluxDB's query engine, over
// the points that Telegraf wrote. The engine is older than any released InfluxDB 3: the
// dashboard must not use SQL that has changed since.
func testSQL(t *testing.T, f *face) {
	var d sqlDashboard
	text, err := os.ReadFile(grafanaDir + "dashboards/jobs-influxdb.json")
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	points := f.parse(t)
	tables := views(points)
	first := slices.MinFunc(points, func(a, b telegraf.Metric) int { return a.Time().Compare(b.Time()) }).Time()

	var names, queries []string
	for _, v := range d.Templating.List {
		if query, _ := v.Query.(string); v.Type == "query" {
			names, queries = append(names, v.Name), append(queries, query)
		}
	}
	variables := make(map[string]string) // all values, as an SQL list
	for i, answer := range datafusion(t, slices.Concat(tables, queries))[len(tables):] {
		_, rows, ok := parseTable(answer)
		if !ok || len(rows) == 0 {
			t.Fatalf("variable %s: %s", names[i], answer)
		}
		var quoted []string
		for _, row := range rows {
			quoted = append(quoted, "'"+row[0]+"'")
		}
		variables[names[i]] = strings.Join(quoted, ",")
	}
	// A job with all figures.
	known := slices.IndexFunc(points, func(p telegraf.Metric) bool {
		return p.Name() == "deepaffects_job" && p.HasField("word_gap_max") && p.HasField("dominant_speaker_ratio")
	})
	if known < 0 {
		t.Fatal("no job has words and speakers")
	}
	id, _ := points[known].GetField("request_id")
	if job := fmt.Sprintf("'%s'", id); strings.Contains(variables["request_id"], job) {
		variables["request_id"] = job
	} else {
		t.Errorf("the variable does not offer %s: %s", job, variables["request_id"])
	}

	ended := make(map[string]int)
	for _, state := range f.ends(t) {
		ended[state]++
	}

	// In a short range, intervals are shorter than a second.
	for _, length := range []time.Duration{5 * time.Minute, 24 * time.Hour} {
		var panels []*sqlPanel
		statements := slices.Clone(tables)
		all := d.Panels
		for _, row := range d.Panels {
			all = append(all, row.Panels...)
		}
		for i := range all {
			p := &all[i]
			for _, target := range p.Targets {
				query := p.fill(t, target.RawSQL, first, first.Add(length), variables)
				panels = append(panels, p)
				statements = append(statements, "CREATE OR REPLACE VIEW answer AS "+query, "DESCRIBE answer", query)
			}
		}
		if len(panels) < 20 {
			t.Errorf("only %d queries", len(panels))
		}
		answers := datafusion(t, statements)[len(tables):]
		for i, p := range panels {
			_, columns, ok := parseTable(answers[3*i+1])
			_, rows, found := parseTable(answers[3*i+2])
			if !ok || !found {
				t.Errorf("%s: %s\n%s", p.Title, answers[3*i+2], statements[len(tables)+3*i+2])
				continue
			}
			a := table{rows: rows, types: make(map[string]string)}
			for _, column := range columns {
				a.columns = append(a.columns, column[0])
				a.types[column[0]] = column[1]
			}
			p.check(t, &a)
			if want, found := ended[strings.TrimSuffix(strings.ToLower(p.Title), " jobs")]; found &&
				(len(rows) != 1 || rows[0][0] != strconv.Itoa(want)) {
				t.Errorf("%s are %v, want %d", p.Title, rows, want)
			}
		}
	}
}

// check fails if the panel cannot show the result.
func (p *sqlPanel) check(t *testing.T, a *table) {
	t.Helper()
	if len(a.rows) == 0 {
		t.Errorf("%s returns no rows", p.Title)
		return
	}
	if !slices.ContainsFunc(a.columns, a.numeric) {
		t.Errorf("%s has no number: %v", p.Title, a.types)
	}
	for i, column := range a.columns {
		if a.types[column] != "Utf8" && !slices.ContainsFunc(a.rows, func(row []string) bool { return row[i] != "" }) {
			t.Errorf("%s: %s has no value", p.Title, column)
		}
	}
	if p.Type == "table" {
		var shown []string
		for _, transformation := range p.Transformations {
			shown = slices.AppendSeq(shown, maps.Keys(transformation.Options.RenameByName))
		}
		slices.Sort(shown)
		if got := slices.Sorted(slices.Values(a.columns)); !slices.Equal(got, shown) {
			t.Errorf("%s shows the columns %v, and its query returns %v", p.Title, shown, got)
		}
	}
	if p.Targets[0].Format != "time_series" {
		return
	}
	// Grafana needs rows sorted by time, with one row per time and labels.
	at := slices.Index(a.columns, "time")
	if at < 0 || a.types["time"] != "Timestamp(Nanosecond, None)" {
		t.Errorf("%s has no time: %v", p.Title, a.types)
		return
	}
	if !slices.IsSortedFunc(a.rows, func(x, y []string) int { return strings.Compare(x[at], y[at]) }) {
		t.Errorf("%s is not sorted by time", p.Title)
	}
	seen := make(map[string]bool)
	for _, row := range a.rows {
		key := ""
		for i, column := range a.columns {
			if !a.numeric(column) {
				key += row[i] + " "
			}
		}
		if row[at] == "" || seen[key] {
			t.Errorf("%s: a null or duplicate time: %v", p.Title, row)
		}
		seen[key] = true
	}
}

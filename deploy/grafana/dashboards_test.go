// Package grafana_test checks the files that Grafana loads, without a Grafana. make e2e runs the queries.
package grafana_test

import (
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What a dashboard is checked for.
type (
	dashboard struct {
		UID, Title, Description string
		Tags                    []string
		Links                   []link
		Templating              struct{ List []variable }
		Annotations             struct{ List []annotation }
		Panels                  []panel
	}
	variable struct {
		Name, Type string
		Query      string
		Datasource struct{ UID string }
	}
	annotation struct {
		Name, Expr string
		Datasource struct{ UID string }
	}
	panel struct {
		ID                       int
		Type, Title, Description string
		GridPos                  grid
		Collapsed                bool
		Panels                   []panel // of a collapsed row
		Datasource               struct{ UID string }
		FieldConfig              struct {
			Defaults struct {
				Unit       string
				Thresholds struct{ Steps []struct{ Value *float64 } }
				Custom     struct{ DrawStyle string }
			}
			Overrides []struct {
				Properties []struct {
					ID    string
					Value any
				}
			}
		}
		Options struct {
			Calculate *bool
			GraphMode string
			Legend    struct{ Show, ShowLegend bool }
		}
		Transformations []struct {
			ID      string
			Options struct{ ExcludeByName map[string]bool }
		}
		Links   []link
		Targets []target
	}
	grid   struct{ X, Y, W, H int }
	target struct {
		RefID, Expr, RawSQL, Format, LegendFormat string
		Instant, Range, Exemplar                  bool
		Datasource                                struct{ UID string }
	}
	link struct {
		Type, URL, Placement string
		Tags                 []string
	}
)

// all returns the panels, with those of collapsed rows.
func (d *dashboard) all() iter.Seq[panel] {
	return func(yield func(panel) bool) {
		for _, p := range d.Panels {
			for _, p := range append([]panel{p}, p.Panels...) {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// noQuery are the types of panels that query no data source.
var noQuery = []string{"row", "alertlist"}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob(filepath.FromSlash("dashboards/*.json"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]dashboard)
	for _, file := range files {
		var d dashboard
		if err := json.Unmarshal(read(t, file), &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[filepath.Base(file)] = d
	}
	if len(all) != 4 {
		t.Fatalf("%d dashboards", len(all))
	}
	return all
}

var (
	metric        = regexp.MustCompile(`deepaffects_\w+`)
	window        = regexp.MustCompile(`\[([^\]]*)\]`)
	dashboardLink = regexp.MustCompile(`^/d/([\w-]+)\?`)
	runbookLink   = regexp.MustCompile(`/runbooks#(\w+)$`)
)

// metrics are the names of docs/metrics.md.
func metrics(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	rows := regexp.MustCompile("(?m)^\\| `(deepaffects_\\w+)` \\| (\\w+)")
	for _, row := range rows.FindAllStringSubmatch(string(read(t, "../../docs/metrics.md")), -1) {
		names[row[1]] = true
		if row[2] == "histogram" {
			names[row[1]+"_bucket"], names[row[1]+"_sum"], names[row[1]+"_count"] = true, true, true
		}
	}
	return names
}

// units are the Grafana units that the panels use. Any text may follow "suffix:".
var units = []string{"short", "percentunit", "s", "bytes", "dateTimeAsIso", "dateTimeFromNow", "suffix:words/s"}

// testPlaces fails if panels are outside the grid, or cover each other.
func testPlaces(t *testing.T, file string, panels []panel) {
	t.Helper()
	for i, p := range panels {
		g := p.GridPos
		if g.W <= 0 || g.H <= 0 || g.X < 0 || g.Y < 0 || g.X+g.W > 24 {
			t.Errorf("%s: %s is at %+v", file, p.Title, g)
		}
		for _, q := range panels[:i] {
			if o := q.GridPos; g.X < o.X+o.W && o.X < g.X+g.W && g.Y < o.Y+o.H && o.Y < g.Y+g.H {
				t.Errorf("%s: %s covers %s", file, p.Title, q.Title)
			}
		}
	}
}

// The queries fit the type of the panel: instant values, ranges, or distributions. With
// other queries Grafana shows an empty panel, sometimes without an error.
func TestPanels(t *testing.T) {
	carries := make(map[string]bool) // exemplars
	rows := regexp.MustCompile("(?m)^\\| `(deepaffects_\\w+)` \\| histogram, \\*exemplars\\*")
	for _, row := range rows.FindAllStringSubmatch(string(read(t, "../../docs/metrics.md")), -1) {
		carries[row[1]+"_bucket"] = true
	}
	if len(carries) == 0 {
		t.Fatal("no exemplars")
	}
	shown := make(map[string]bool)
	for file, d := range dashboards(t) {
		if d.UID == "" || len(d.UID) > 40 {
			t.Errorf("%s: UID %q", file, d.UID)
		}
		for _, l := range d.Links {
			if l.Placement != "" {
				t.Errorf("%s: the link %s is in a menu", file, l.URL)
			}
		}
		testPlaces(t, file, d.Panels)
		for p := range d.all() {
			where := file + ": " + p.Title
			if p.Collapsed == (len(p.Panels) == 0) {
				t.Errorf("%s: collapsed %t, with %d panels", where, p.Collapsed, len(p.Panels))
			}
			testPlaces(t, file, p.Panels)
			if slices.Contains(noQuery, p.Type) {
				continue
			}
			if !slices.Contains(units, p.FieldConfig.Defaults.Unit) {
				t.Errorf("%s: unit %q", where, p.FieldConfig.Defaults.Unit)
			}
			for _, o := range p.FieldConfig.Overrides {
				for _, property := range o.Properties {
					if unit, ok := property.Value.(string); property.ID == "unit" && (!ok || !slices.Contains(units, unit)) {
						t.Errorf("%s: unit %v", where, property.Value)
					}
				}
			}
			for i, step := range p.FieldConfig.Defaults.Thresholds.Steps {
				if (step.Value == nil) != (i == 0) {
					t.Errorf("%s: only the first threshold must have no value", where)
				}
			}
			if (p.Type == "timeseries" && !p.Options.Legend.ShowLegend) || (p.Type == "heatmap" && !p.Options.Legend.Show) {
				t.Errorf("%s has no legend", where)
			}
			refs := make(map[string]bool)
			for _, q := range p.Targets {
				if q.RefID == "" || refs[q.RefID] {
					t.Errorf("%s: two queries %q", where, q.RefID)
				}
				refs[q.RefID] = true
				if q.Expr == "" {
					continue
				}
				now := p.Type == "stat" && p.Options.GraphMode == "none" || p.Type == "bargauge" || p.Type == "table"
				if q.Instant != now || q.Range == now ||
					(q.Format == "table") != (p.Type == "table") || (q.Format == "heatmap") != (p.Type == "heatmap") {
					t.Errorf("%s, a %s, has the query %+v", where, p.Type, q)
				}
				if p.Type == "heatmap" && (p.Options.Calculate == nil || *p.Options.Calculate ||
					q.LegendFormat != "{{le}}" || !strings.HasPrefix(q.Expr, "sum by (le) (increase(")) {
					t.Errorf("%s does not show the buckets of the histogram", where)
				}
				if p.Type == "timeseries" && (q.LegendFormat == "" || q.LegendFormat == "__auto") {
					t.Errorf("%s: the lines have no names", where)
				}
				name := metric.FindString(q.Expr)
				if q.Exemplar && !carries[name] {
					t.Errorf("%s: %s has no exemplars", where, name)
				}
				shown[name] = shown[name] || q.Exemplar
			}
			var transformations []string
			for _, tr := range p.Transformations {
				transformations = append(transformations, tr.ID)
				for i := range p.Targets {
					name := fmt.Sprintf("Time %d", i+1)
					if len(p.Targets) > 1 && tr.ID == "organize" && !tr.Options.ExcludeByName[name] {
						t.Errorf("%s shows the column %s", where, name)
					}
				}
			}
			want := []string{"organize"}
			if len(p.Targets) > 1 {
				want = []string{"joinByField", "organize"}
			}
			if p.Type == "table" && !slices.Equal(transformations, want) {
				t.Errorf("%s: transformations %v", where, transformations)
			}
		}
	}
	for name := range carries {
		if !shown[name] {
			t.Errorf("no panel shows the exemplars of %s", name)
		}
	}
}

// testMetrics fails if there is no such metric as a query has.
func testMetrics(t *testing.T, where, query string, names map[string]bool) {
	t.Helper()
	for _, name := range metric.FindAllString(query, -1) {
		if !names[name] {
			t.Errorf("%s: no metric %s", where, name)
		}
	}
}

// Where a dashboard has a variable for accounts or APIs, every query uses it, or is about one job; or the title of the
// panel or of its row says that it is about all of them.
func TestVariables(t *testing.T) {
	for file, d := range dashboards(t) {
		for _, v := range d.Templating.List {
			if v.Name != "account" && v.Name != "api" {
				continue
			}
			row := ""
			for p := range d.all() {
				if p.Type == "row" {
					row = p.Title
				}
				for _, q := range p.Targets {
					text := q.Expr + q.RawSQL
					all := strings.Contains(row+p.Title, "all APIs") && v.Name == "api" || strings.Contains(row, "Exporters")
					uses := []string{
						v.Name + `=~"$` + v.Name + `"`, v.Name + " IN (${" + v.Name + ":singlequote})",
						`request_id="$request_id"`, "request_id = ${request_id:singlequote}",
					}
					if !all && !slices.ContainsFunc(uses, func(use string) bool { return strings.Contains(text, use) }) {
						t.Errorf("%s: %s: query %s ignores the variable %s:\n%s", file, p.Title, q.RefID, v.Name, text)
					}
				}
			}
		}
	}
}

// The API can be chosen by the names of the counts and of the jobs: a count has "other" for those that the exporter
// does not know.
func TestAPIs(t *testing.T) {
	for _, v := range dashboards(t)["jobs.json"].Templating.List {
		for _, metric := range []string{"deepaffects_jobs_finished_total{", "deepaffects_job_info{"} {
			if v.Name == "api" && !strings.Contains(v.Query, metric) {
				t.Errorf("%s does not have the values of %s", v.Query, metric)
			}
		}
	}
}

// Every aggregate of what an account has is right over a failover: a counter is the highest of all replicas before its
// increase is taken. Native histograms have no highest value.
func TestFailover(t *testing.T) {
	counter := regexp.MustCompile(`(?:rate|increase)\((\w+)`)
	classic := regexp.MustCompile(`_(total|bucket|sum|count)$`)
	counted := 0
	for file, d := range dashboards(t) {
		for p := range d.all() {
			for _, q := range p.Targets {
				for _, m := range counter.FindAllStringSubmatch(q.Expr, -1) {
					counted++
					if classic.MatchString(m[1]) {
						t.Errorf("%s: %s counts %s for each replica", file, p.Title, m[1])
					}
				}
			}
		}
	}
	if counted == 0 {
		t.Error("nothing is counted")
	}
}

// A bar is what was counted in its time: $__rate_interval is longer.
func TestBars(t *testing.T) {
	bars := 0
	for file, d := range dashboards(t) {
		for p := range d.all() {
			for _, q := range p.Targets {
				if q.Expr == "" || p.FieldConfig.Defaults.Custom.DrawStyle != "bars" {
					continue
				}
				bars++
				if !strings.Contains(q.Expr, "rate(") || !strings.Contains(q.Expr, " * $__interval_ms / 1000") {
					t.Errorf("%s: the bars of %s are not of their time:\n%s", file, p.Title, q.Expr)
				}
			}
		}
	}
	if bars < 10 {
		t.Errorf("%d queries for bars", bars)
	}
}

// Every panel has a description and a unit, queries the chosen data source for existing
// metrics, and has only valid links.
func TestDashboards(t *testing.T) {
	all, names := dashboards(t), metrics(t)
	runbooks := string(read(t, "../../docs/runbooks.md"))
	uids := make(map[string]bool)
	for _, d := range all {
		uids[d.UID] = true
	}
	linked := make(map[string]bool)
	for file, d := range all {
		if d.Title == "" || d.Description == "" || !slices.Contains(d.Tags, "deepaffects") {
			t.Errorf("%s lacks its title, description or tag", file)
		}
		toDashboards := func(l link) bool { return l.Type == "dashboards" && slices.Contains(l.Tags, "deepaffects") }
		if !slices.ContainsFunc(d.Links, toDashboards) ||
			!slices.ContainsFunc(d.Links, func(l link) bool { return strings.HasSuffix(l.URL, "/runbooks") }) {
			t.Errorf("%s does not link to the other dashboards and the runbooks", file)
		}
		if vars := d.Templating.List; len(vars) < 2 || vars[0].Type != "datasource" ||
			vars[0].Name != "datasource" || vars[1].Name != "account" {
			t.Errorf("%s: variables %v", file, vars)
		}
		for _, v := range d.Templating.List[1:] {
			if v.Type == "query" && v.Datasource.UID != "${datasource}" {
				t.Errorf("%s: variable %s queries %s", file, v.Name, v.Datasource.UID)
			}
		}
		for _, a := range d.Annotations.List {
			if a.Datasource.UID != "${datasource}" {
				t.Errorf("%s: annotation %s queries %s", file, a.Name, a.Datasource.UID)
			}
			testMetrics(t, file+": "+a.Name, a.Expr, names)
		}
		if influxdb := len(d.Annotations.List) == 0; influxdb != (file == "jobs-influxdb.json") {
			t.Errorf("%s has no annotations", file)
		}
		ids := make(map[int]bool)
		for p := range d.all() {
			where := file + ": " + p.Title
			if p.Title == "" || p.ID == 0 || ids[p.ID] {
				t.Errorf("%s: no title, or no unique ID: %d", where, p.ID)
			}
			ids[p.ID] = true
			if slices.Contains(noQuery, p.Type) {
				continue
			}
			if p.Description == "" || p.FieldConfig.Defaults.Unit == "" ||
				p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
				t.Errorf("%s lacks its description, its unit, the data source or a query", where)
			}
			for _, l := range p.Links {
				m := runbookLink.FindStringSubmatch(l.URL)
				if m == nil || !strings.Contains(runbooks, "\n## "+m[1]+"\n") {
					t.Errorf("%s: no runbook %s", where, l.URL)
				} else {
					linked[m[1]] = true
				}
			}
			for _, o := range p.FieldConfig.Overrides {
				for _, property := range o.Properties {
					if property.ID != "links" {
						continue
					}
					url := property.Value.([]any)[0].(map[string]any)["url"].(string)
					m := dashboardLink.FindStringSubmatch(url)
					if m == nil || !uids[m[1]] || !strings.Contains(url, "var-request_id=") {
						t.Errorf("%s links to %s", where, url)
					}
				}
			}
			for _, q := range p.Targets {
				if q.Datasource.UID != "${datasource}" || (q.Expr == "") == (q.RawSQL == "") {
					t.Errorf("%s, query %s: %+v", where, q.RefID, q)
				}
				testMetrics(t, where, q.Expr, names)
				for _, w := range window.FindAllStringSubmatch(q.Expr, -1) {
					if !slices.Contains([]string{"$__rate_interval", "$__range", "$__rate_interval:1m", "$__range:1m"}, w[1]) {
						t.Errorf("%s: a window of %s", where, w[1])
					}
				}
			}
		}
	}
	sections := regexp.MustCompile(`(?m)^## (\w+)$`)
	for _, name := range sections.FindAllStringSubmatch(string(read(t, "../../docs/runbooks.md")), -1) {
		if !linked[name[1]] {
			t.Errorf("no panel links to the runbook of %s", name[1])
		}
	}
}

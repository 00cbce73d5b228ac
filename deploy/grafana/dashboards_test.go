// Package grafana_test checks the files that Grafana loads, without a Grafana. make e2e runs the queries.
package grafana_test

import (
	"encoding/json"
	"fmt"
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
		Panels                  []panel
	}
	variable struct {
		Name, Type string
		Datasource struct{ UID string }
	}
	panel struct {
		ID                       int
		Type, Title, Description string
		GridPos                  grid
		Datasource               struct{ UID string }
		FieldConfig              struct {
			Defaults struct {
				Unit       string
				Thresholds struct{ Steps []struct{ Value *float64 } }
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
		for i, p := range d.Panels {
			where := file + ": " + p.Title
			g := p.GridPos
			if g.W <= 0 || g.H <= 0 || g.X < 0 || g.Y < 0 || g.X+g.W > 24 {
				t.Errorf("%s is at %+v", where, g)
			}
			for _, q := range d.Panels[:i] {
				if o := q.GridPos; g.X < o.X+o.W && o.X < g.X+g.W && g.Y < o.Y+o.H && o.Y < g.Y+g.H {
					t.Errorf("%s covers %s", where, q.Title)
				}
			}
			if p.Type == "row" {
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
				now := p.Type == "stat" || p.Type == "bargauge" || p.Type == "table"
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
			if v.Datasource.UID != "${datasource}" {
				t.Errorf("%s: variable %s queries %s", file, v.Name, v.Datasource.UID)
			}
		}
		ids := make(map[int]bool)
		for _, p := range d.Panels {
			where := file + ": " + p.Title
			if p.Title == "" || p.ID == 0 || ids[p.ID] {
				t.Errorf("%s: no title, or no unique ID: %d", where, p.ID)
			}
			ids[p.ID] = true
			if p.Type == "row" {
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
				for _, name := range metric.FindAllString(q.Expr, -1) {
					if !names[name] {
						t.Errorf("%s: no metric %s", where, name)
					}
				}
				for _, w := range window.FindAllStringSubmatch(q.Expr, -1) {
					if w[1] != "$__rate_interval" && w[1] != "$__range" {
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

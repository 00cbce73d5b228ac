package grafana_test

import (
	"strings"
	"testing"
	"text/template"
	"time"

	"go.yaml.in/yaml/v2"
)

// annotationFunctions are the functions that the annotations call, besides Go's own. Grafana
// has all functions of Prometheus except those that query.
var annotationFunctions = template.FuncMap{
	"humanizeDuration":   func(any) string { return "" },
	"humanizePercentage": func(any) string { return "" },
}

// Grafana's alerts are those of Prometheus, in the format that Grafana reads.
func TestAlerting(t *testing.T) {
	type rule struct {
		UID, Title, Alert, For, Condition string
		Expr                              string
		KeepFiringFor                     string `yaml:"keepFiringFor"`
		KeepFiringForInPrometheus         string `yaml:"keep_firing_for"`
		NoDataState                       string `yaml:"noDataState"`
		ExecErrState                      string `yaml:"execErrState"`
		Labels, Annotations               map[string]string
		Data                              []struct {
			RefID             string                 `yaml:"refId"`
			DatasourceUID     string                 `yaml:"datasourceUid"`
			RelativeTimeRange struct{ From, To int } `yaml:"relativeTimeRange"`
			Model             struct {
				RefID, Type, Expr, Expression string
				Instant, Range                bool
			}
		}
	}
	type group struct {
		Name, Folder, Interval string
		Rules                  []rule
	}
	groupsOf := func(file string) []group {
		var parsed struct{ Groups []group }
		if err := yaml.Unmarshal(read(t, file), &parsed); err != nil {
			t.Fatal(err)
		}
		return parsed.Groups
	}
	rulesOf := func(file string) (rules []rule) {
		for _, g := range groupsOf(file) {
			rules = append(rules, g.Rules...)
		}
		return rules
	}
	for _, g := range groupsOf("provisioning/alerting/rules.yml") {
		interval, err := time.ParseDuration(g.Interval)
		if err != nil || g.Name == "" || g.Folder == "" || interval < 10*time.Second || interval%(10*time.Second) != 0 {
			t.Errorf("group %q in folder %q, every %q: Grafana evaluates every multiple of 10 s", g.Name, g.Folder, g.Interval)
		}
	}
	want, got := rulesOf("../prometheus/deepaffects-alerts.yml"), rulesOf("provisioning/alerting/rules.yml")
	if len(want) != len(got) {
		t.Fatalf("%d rules, of %d alerts", len(got), len(want))
	}
	uids := make(map[string]bool)
	for i, w := range want {
		g := got[i]
		if g.Title != w.Alert || g.KeepFiringFor != w.KeepFiringForInPrometheus ||
			g.Labels["severity"] != w.Labels["severity"] ||
			g.Annotations["runbook_url"] != w.Annotations["runbook_url"] ||
			g.NoDataState != "OK" || g.Condition != "threshold" {
			t.Errorf("%s is\n%+v", w.Alert, g)
		}
		if g.UID == "" || len(g.UID) > 40 || uids[g.UID] {
			t.Errorf("%s: UID %q", w.Alert, g.UID)
		}
		uids[g.UID] = true
		if len(g.Data) != 3 || g.Data[0].DatasourceUID != "prometheus" || g.Data[2].RefID != g.Condition {
			t.Errorf("%s: %+v", w.Alert, g.Data)
			continue
		}
		// The query returns one number per series, without a reduction.
		query, math, threshold := g.Data[0].Model, g.Data[1].Model, g.Data[2].Model
		if !query.Instant || query.Range || g.Data[0].RelativeTimeRange.From <= 0 {
			t.Errorf("%s: %+v", w.Alert, g.Data[0])
		}
		if g.Data[1].DatasourceUID != "__expr__" || math.Type != "math" ||
			!strings.Contains(math.Expression, "$"+g.Data[0].RefID) ||
			g.Data[2].DatasourceUID != "__expr__" || threshold.Type != "threshold" ||
			threshold.Expression != g.Data[1].RefID {
			t.Errorf("%s: %+v, %+v", w.Alert, g.Data[1], g.Data[2])
		}
		wantState := "KeepLast"
		if w.Alert == "DeepAffectsExporterGone" {
			wantState = "Error"
		}
		if g.ExecErrState != wantState {
			t.Errorf("%s: execErrState %s", w.Alert, g.ExecErrState)
		}
		if strings.Contains(g.Data[0].Model.Expr, ":deepaffects_") {
			t.Errorf("%s needs a recording rule: %s", w.Alert, g.Data[0].Model.Expr)
		}
		for name, text := range g.Annotations {
			variables := "{{ $labels := .Labels }}{{ $values := .Values }}"
			if _, err := template.New(name).Funcs(annotationFunctions).Parse(variables + text); err != nil {
				t.Errorf("%s: %s: %v", w.Alert, name, err)
			}
			if strings.Contains(text, "$value ") || strings.Contains(text, "$value}") {
				t.Errorf("%s: $value is no number in Grafana, in %s: %s", w.Alert, name, text)
			}
		}
	}
}

// Grafana can read the example of contact points and policies.
func TestNotifications(t *testing.T) {
	var example struct {
		APIVersion    int `yaml:"apiVersion"`
		ContactPoints []struct {
			Name      string
			Receivers []struct{ UID, Type string }
		} `yaml:"contactPoints"`
		Policies []struct {
			Receiver string
			Routes   []struct {
				Receiver       string
				ObjectMatchers [][]string `yaml:"object_matchers"`
			}
		}
	}
	if err := yaml.Unmarshal(read(t, "provisioning/alerting/notifications.yml.example"), &example); err != nil {
		t.Fatal(err)
	}
	points := make(map[string]bool)
	for _, p := range example.ContactPoints {
		points[p.Name] = len(p.Receivers) > 0
	}
	if example.APIVersion != 1 || len(example.Policies) != 1 || len(example.Policies[0].Routes) == 0 {
		t.Fatalf("%+v", example)
	}
	if to := example.Policies[0].Receiver; !points[to] {
		t.Errorf("no contact point %s", to)
	}
	for _, r := range example.Policies[0].Routes {
		if !points[r.Receiver] || len(r.ObjectMatchers) == 0 {
			t.Errorf("route %+v", r)
		}
	}
}

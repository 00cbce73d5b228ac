package grafana_test

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"
)

// Grafana has the alerts that Prometheus has.
func TestAlerting(t *testing.T) {
	type rule struct {
		UID, Title, Alert, For, Condition string
		Expr                              string
		KeepFiringFor                     string `yaml:"keepFiringFor"`
		KeepFiringForInPrometheus         string `yaml:"keep_firing_for"`
		NoDataState                       string `yaml:"noDataState"`
		Labels, Annotations               map[string]string
		Data                              []struct {
			RefID         string `yaml:"refId"`
			DatasourceUID string `yaml:"datasourceUid"`
			Model         struct{ Expr string }
		}
	}
	rulesOf := func(file string) (rules []rule) {
		var parsed struct{ Groups []struct{ Rules []rule } }
		if err := yaml.Unmarshal(read(t, file), &parsed); err != nil {
			t.Fatal(err)
		}
		for _, g := range parsed.Groups {
			rules = append(rules, g.Rules...)
		}
		return rules
	}
	want, got := rulesOf("../prometheus/deepaffects-alerts.yml"), rulesOf("provisioning/alerting/rules.yml")
	if len(want) != len(got) {
		t.Fatalf("%d rules, of %d alerts", len(got), len(want))
	}
	uids := make(map[string]bool)
	for i, w := range want {
		g := got[i]
		if g.Title != w.Alert || g.KeepFiringFor != w.KeepFiringForInPrometheus || g.Labels["severity"] != w.Labels["severity"] ||
			g.Annotations["runbook_url"] != w.Annotations["runbook_url"] || g.NoDataState != "OK" || g.Condition != "threshold" {
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
		if strings.Contains(g.Data[0].Model.Expr, ":deepaffects_") {
			t.Errorf("%s needs a recording rule: %s", w.Alert, g.Data[0].Model.Expr)
		}
		for name, text := range g.Annotations {
			if strings.Contains(text, "$value ") || strings.Contains(text, "$value}") {
				t.Errorf("%s: $value is no number in Grafana, in %s: %s", w.Alert, name, text)
			}
		}
	}
}

// The example of a contact point and a policy is one that Grafana can read.
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

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v2"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
)

const (
	rulesDir   = "../deploy/prometheus/"
	grafanaDir = "../deploy/grafana/"

	// alertmanager is a script that runs Debian's Alertmanager. It reads its templates from
	// /usr/share, so the script mounts the package's directory there.
	alertmanager = `exec unshare --mount sh -c '
mount --bind "$0/share" /usr/share && exec "$0/bin/prometheus-alertmanager" "$@"' "$unpacked" "$@"` + "\n"
)

// run runs a program, which must exit with 0.
func run(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	if strings.HasPrefix(program, "..") {
		path, err := filepath.Abs(program)
		if err != nil {
			t.Fatal(err)
		}
		program = path
	}
	command := exec.Command(program, args...)
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", command, err, out)
	}
}

// promtool accepts the rules, and their tests pass. The example configuration of
// Alertmanager is valid.
func TestRules(t *testing.T) {
	run(t, rulesDir, debian+"amtool", "check-config", "alertmanager.yml")
	tests, err := filepath.Glob(rulesDir + "tests/*.yml")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests of the rules: %v", err)
	}
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			run(t, rulesDir, s.bin+"promtool", "check", "rules", "--lint=all", "--lint-fatal",
				"deepaffects-recording.yml", "deepaffects-alerts.yml")
			for _, test := range tests {
				t.Run(filepath.Base(test), func(t *testing.T) {
					t.Parallel()
					run(t, filepath.Dir(test), s.bin+"promtool", "test", "rules", filepath.Base(test))
				})
			}
		})
	}
}

// A rule is a recording rule or an alert.
type rule struct {
	Record, Alert, Expr string
}

func readRules(t *testing.T, file string) (rules []rule) {
	t.Helper()
	var parsed struct {
		Groups []struct{ Rules []rule }
	}
	readYAML(t, rulesDir+file, &parsed)
	for _, g := range parsed.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// An alert is an alert in a message of Alertmanager.
type alert struct {
	Status              string
	Labels, Annotations map[string]string
}

// A real Prometheus scrapes the demo and evaluates the rules, and a real Alertmanager
// sends the alert on a failed job. The queries of all panels and the series of all alerts
// return data.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			testMonitoring(t, s)
		})
	}
}

func testMonitoring(t *testing.T, s server) {
	exporter, address := freeport.Address(t), freeport.Address(t)
	start(t, binary, "--demo", "--web.listen-address="+exporter)

	var mu sync.Mutex
	var received []alert
	receiver := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var message struct{ Alerts []alert }
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			t.Errorf("message of Alertmanager: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		received = append(received, message.Alerts...)
	})
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		writeFile(t, name, text)
		return name
	}
	// The routes of the example, without delay and with this test as the receiver.
	example, err := os.ReadFile(rulesDir + "alertmanager.yml")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(group_wait|group_interval): \w+`).ReplaceAllString(string(example), "$1: 1s")
	text = regexp.MustCompile(`(?m)^  - name: .+`).
		ReplaceAllString(text, "$0\n    webhook_configs: [{url: "+receiver+"}]")
	unpacked, err := filepath.Abs(debian + "..")
	if err != nil {
		t.Fatal(err)
	}
	start(t, "/bin/sh", "-c", "unpacked=$0\n"+alertmanager, unpacked,
		"--config.file="+write("alertmanager.yml", text), "--storage.path="+filepath.Join(dir, "alertmanager"),
		"--web.listen-address="+address, "--cluster.listen-address=")

	// The rules, with short intervals and windows for the slow ones too.
	recording, err := os.ReadFile(rulesDir + "deepaffects-recording.yml")
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := filepath.Abs(rulesDir + "deepaffects-alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	quick := strings.NewReplacer(`interval: "5m"`, "interval: 1s", "[6h:5m]", "[5m:5s]", "[7d:1h]", "[5m:5s]", ":1m]",
		":5s]")
	base := prometheus(t, s, exporter, fmt.Sprintf(`
rule_files: [%q, %q]
alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}`,
		write("recording.yml", quick.Replace(string(recording))), alerts, address))

	t.Run("alert on a failed job", func(t *testing.T) {
		eventually(t, "the alert", func() (string, bool) {
			mu.Lock()
			defer mu.Unlock()
			i := slices.IndexFunc(received, func(a alert) bool {
				return a.Labels["alertname"] == "DeepAffectsJobFailed"
			})
			if i < 0 {
				return fmt.Sprintf("received: %v", received), false
			}
			a := received[i]
			id := a.Labels["request_id"]
			job, err := get("http://"+exporter+"/api/v1/jobs/"+url.PathEscape(id), "application/json")
			if err != nil || id == "" || !strings.Contains(job, `"failed"`) {
				t.Errorf("the alert is about %q, which is no failed job of the exporter: %v %s", id, err, job)
			}
			if a.Status != "firing" || a.Labels["severity"] != "warning" ||
				a.Labels["api"] == "" || a.Labels["team"] == "" ||
				!strings.Contains(a.Annotations["description"], id) ||
				!strings.HasSuffix(a.Annotations["runbook_url"], "/runbooks#DeepAffectsJobFailed") {
				t.Errorf("the alert: %+v", a)
			}
			return "", true
		})
	})
	t.Run("dashboards", func(t *testing.T) { testDashboards(t, base, exporter) })
	t.Run("expressions", func(t *testing.T) { testExpressions(t, base, s.native) })
	t.Run("runbooks", func(t *testing.T) { testRunbooks(t, base) })
}

// values returns the number of series in the result of a query whose value is a number or
// a histogram.
func values(base, expression string) (int, error) {
	found, err := query(base, expression)
	found = slices.DeleteFunc(found, func(s series) bool { return s.Value[1] == "NaN" })
	return len(found), err
}

// A panel is a panel of a dashboard, or a collapsed row with its panels.
type panel struct {
	Title   string
	Targets []struct{ RefID, Expr string }
	Panels  []panel
}

// testDashboards runs every query of every dashboard for Prometheus, with its variables
// replaced, until it returns data.
func testDashboards(t *testing.T, base, exporter string) {
	files, err := filepath.Glob(grafanaDir + "dashboards/*.json")
	if err != nil {
		t.Fatal(err)
	}
	queries := 0
	for _, file := range files {
		var dashboard struct {
			Title      string
			Templating struct {
				List []struct {
					Name, Type string
					Query      any
				}
			}
			Annotations struct {
				List []struct{ Name, Expr string }
			}
			Panels []panel
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &dashboard)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range dashboard.Templating.List {
			query, _ := v.Query.(string)
			if match := variable.FindStringSubmatch(query); match != nil {
				found(t, base, fill(match[1]+match[2], ".*"), dashboard.Title+": variable "+v.Name)
			}
		}
		for _, a := range dashboard.Annotations.List {
			if _, err := query(base, fill(a.Expr, ".*")); err != nil {
				t.Errorf("%s: annotation %s: %v", dashboard.Title, a.Name, err)
			}
		}
		panels := dashboard.Panels
		for _, row := range dashboard.Panels {
			panels = append(panels, row.Panels...)
		}
		for _, p := range panels {
			for _, target := range p.Targets {
				if target.Expr == "" {
					continue // SQL
				}
				queries++
				what := fmt.Sprintf("%s: %s, query %s", dashboard.Title, p.Title, target.RefID)
				if !strings.Contains(target.Expr, "$request_id") {
					found(t, base, fill(target.Expr, ".*"), what)
					continue
				}
				// Not every job has ended, or has words: at least one must return data.
				eventually(t, what, func() (string, bool) {
					jobs, err := requestIDs(exporter)
					if err != nil {
						return err.Error(), false
					}
					for _, id := range jobs {
						if n, err := values(base, fill(target.Expr, id)); err != nil {
							t.Fatalf("%s: %v", what, err)
						} else if n > 0 {
							return "", true
						}
					}
					return fmt.Sprintf("no data for any of %d jobs", len(jobs)), false
				})
			}
		}
	}
	if queries < 50 {
		t.Errorf("only %d queries", queries)
	}
	t.Logf("%d queries", queries)
}

var variable = regexp.MustCompile(`^(?:label_values\((.*), \w+\)|query_result\((.*)\))$`)

// fill replaces the variables of a dashboard.
func fill(expression, requestID string) string {
	return strings.NewReplacer("$request_id", requestID, "$account", ".*", "$api", ".*",
		"$__rate_interval", "1m", "$__interval_ms", "60000", "$__range", "5m", ":1m]", ":1s]").Replace(expression)
}

func requestIDs(exporter string) (ids []string, err error) {
	body, err := get("http://"+exporter+"/api/v1/jobs?limit=1000", "application/json")
	if err != nil {
		return nil, err
	}
	for _, match := range regexp.MustCompile(`"request_id":\s*"([^"]+)"`).FindAllStringSubmatch(body, -1) {
		ids = append(ids, match[1])
	}
	return ids, nil
}

// found waits until an expression has data.
func found(t *testing.T, base, expression, what string) {
	t.Helper()
	eventually(t, what, func() (string, bool) {
		n, err := values(base, expression)
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, expression)
		}
		return fmt.Sprintf("%d series: %s", n, expression), n > 0
	})
}

var (
	selector  = regexp.MustCompile(`[\w:]*deepaffects_[\w:]+(\{[^}]*\})?`)
	histogram = regexp.MustCompile("(?m)^\\| `(deepaffects_\\w+)` \\| histogram")
)

// testExpressions evaluates every alert, in the form for Prometheus and for Grafana, and
// checks that the series in it exist: without them, the alert could never fire.
func testExpressions(t *testing.T, base string, native bool) {
	catalogue, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := make(map[string]bool) // series that exist only with the other kind of histograms
	for _, match := range histogram.FindAllStringSubmatch(string(catalogue), -1) {
		elsewhere[match[1]] = !native
		for _, part := range []string{"_bucket", "_count", "_sum"} {
			elsewhere[match[1]+part] = native
		}
	}
	rules := append(readRules(t, "deepaffects-recording.yml"), readRules(t, "deepaffects-alerts.yml")...)
	for _, r := range rules {
		for _, s := range selector.FindAllString(r.Expr, -1) {
			if name, _, _ := strings.Cut(s, "{"); !elsewhere[name] {
				found(t, base, s, r.Record+r.Alert+": "+s)
			}
		}
		if _, err := query(base, r.Expr); err != nil {
			t.Errorf("%s%s: %v", r.Record, r.Alert, err)
		}
	}
	var provisioned struct {
		Groups []struct {
			Rules []struct {
				Title string
				Data  []struct {
					RefID string `yaml:"refId"`
					Model struct{ Expr string }
				}
			}
		}
	}
	readYAML(t, grafanaDir+"provisioning/alerting/rules.yml", &provisioned)
	for _, g := range provisioned.Groups {
		for _, r := range g.Rules {
			inGrafana, err := query(base, r.Data[0].Model.Expr)
			if err != nil {
				t.Errorf("%s in Grafana: %v", r.Title, err)
			}
			if r.Title == "DeepAffectsJobFailed" && len(inGrafana) == 0 {
				t.Errorf("%s does not fire in Grafana", r.Title)
			}
		}
	}
	for _, quiet := range []string{
		"DeepAffectsExporterGone", "DeepAffectsAPIKeyRefused", "DeepAffectsStoreFailing",
		"DeepAffectsConfigReloadFailed", "DeepAffectsNothingFinishes", "DeepAffectsNothingAsked",
	} {
		if found, err := query(base, fmt.Sprintf("ALERTS{alertname=%q}", quiet)); len(found) > 0 || err != nil {
			t.Errorf("%s: %d, %v", quiet, len(found), err)
		}
	}
}

var promQL = regexp.MustCompile("(?s)```promql\n(.*?)```")

// testRunbooks runs the queries of the runbooks.
func testRunbooks(t *testing.T, base string) {
	text, err := os.ReadFile("../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	queries := promQL.FindAllStringSubmatch(string(text), -1)
	if len(queries) < 20 {
		t.Errorf("only %d queries", len(queries))
	}
	for _, q := range queries {
		if _, err := query(base, q[1]); err != nil {
			t.Errorf("%v\n%s", err, q[1])
		}
	}
}

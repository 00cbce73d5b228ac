// Package prometheus_test checks the rules without a Prometheus. make e2e tests them with one.
package prometheus_test

import (
	"database/sql"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"
	_ "modernc.org/sqlite"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

// runbookURL is the default of the mixin in deploy/mixin. The head of deepaffects-alerts.yml says how to change it.
const runbookURL = "http://localhost:9891/runbooks#"

// A rule is a recording rule or an alert.
type rule struct {
	Record, Alert, Expr string
	Labels, Annotations map[string]string
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func rulesOf(t *testing.T, name string) (rules []rule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, name)), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	if len(rules) == 0 {
		t.Fatalf("%s: no rules", name)
	}
	return rules
}

// Every alert has a severity, a summary, a description and a runbook, and every runbook has an alert.
func TestAlerts(t *testing.T) {
	sections := regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(read(t, "../../docs/runbooks.md"), -1)
	var described []string
	for _, s := range sections {
		described = append(described, s[1])
	}
	var alerts []string
	for _, r := range rulesOf(t, "deepaffects-alerts.yml") {
		alerts = append(alerts, r.Alert)
		if !strings.HasPrefix(r.Alert, "DeepAffects") {
			t.Errorf("%s: its name does not begin with DeepAffects", r.Alert)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		for _, name := range []string{"summary", "description"} {
			if r.Annotations[name] == "" {
				t.Errorf("%s: no %s", r.Alert, name)
			}
		}
		if got, want := r.Annotations["runbook_url"], runbookURL+r.Alert; got != want {
			t.Errorf("%s: runbook_url %s, want %s", r.Alert, got, want)
		}
	}
	if !slices.Equal(described, alerts) {
		t.Errorf("docs/runbooks.md has the sections\n%v\nthe alerts, in their order, are\n%v", described, alerts)
	}
}

// Every section of the runbooks has all parts.
func TestRunbooks(t *testing.T) {
	_, rest, _ := strings.Cut(read(t, "../../docs/runbooks.md"), "\n## ")
	for section := range strings.SplitSeq(rest, "\n## ") {
		name, text, _ := strings.Cut(section, "\n")
		if name == "Before you begin" {
			continue
		}
		for _, part := range []string{
			"\n**Meaning.** ", "\n**Impact.** ", "\n**Diagnosis.** ", "\n**Mitigation.** ", "\n```promql\n",
		} {
			if !strings.Contains(text, part) {
				t.Errorf("%s lacks %q", name, strings.TrimSpace(part))
			}
		}
	}
}

// The SQL statements of the runbooks are valid for an empty store.
func TestRunbooksSQL(t *testing.T) {
	dir := t.TempDir()
	register, err := sqlite.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := register.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "register.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	statement := regexp.MustCompile(`(?s)sqlite3 -readonly -header "\$STORE/register\.db" "(.*?)"`)
	statements := statement.FindAllStringSubmatch(read(t, "../../docs/runbooks.md"), -1)
	if len(statements) == 0 {
		t.Error("no statements")
	}
	for _, s := range statements {
		if _, err := db.Exec(s[1]); err != nil {
			t.Errorf("%v:\n%s", err, s[1])
		}
	}
}

// What the commands of the runbooks expect is there: the files of the package and of compose, fields of responses,
// and messages of the log. make e2e runs the commands.
func TestRunbooksCommands(t *testing.T) {
	book := read(t, "../../docs/runbooks.md")
	for _, tt := range []struct{ command, file, setting string }{
		{"STORE=/var/lib/deepaffects-exporter", "../systemd/deepaffects-exporter.service", "--storage.path=/var/lib/deepaffects-exporter"},
		{"KEY=/etc/deepaffects/key", "../systemd/deepaffects-exporter.service", "LoadCredential=key:/etc/deepaffects/key"},
		{"--config.file=/etc/deepaffects/exporter.toml", "../systemd/deepaffects-exporter.service", "--config.file=/etc/deepaffects/exporter.toml"},
		{"-u deepaffects-exporter", "../packages/deepaffects-exporter/nfpm.yaml", "/usr/lib/systemd/system/deepaffects-exporter.service"},
		{"deepaffects_exporter)", "../compose/compose.yaml", "name: deepaffects\n"},
		{"deepaffects_exporter)", "../compose/compose.yaml", "\n  exporter:\n"},
		{"deepaffects_exporter)", "../compose/compose.yaml", "- exporter:/data\n"},
		{"--config.file=/etc/deepaffects/exporter.toml", "../compose/compose.yaml", ":/etc/deepaffects/exporter.toml:ro"},
		{"KEY=key\n", "../compose/compose.yaml", "file: ./key"},
		{"statefulset/deepaffects-exporter", "../kubernetes/statefulset.yaml", "kind: StatefulSet\nmetadata:\n  name: deepaffects-exporter\n"},
		{"deployment/deepaffects-exporter", "../kubernetes-replicas/deployment.yaml", "kind: Deployment\nmetadata:\n  name: deepaffects-exporter\n"},
		{"PODS=app.kubernetes.io/name=deepaffects-exporter", "../kubernetes/statefulset.yaml", "labels: {app.kubernetes.io/name: deepaffects-exporter}"},
		{"--container exporter", "../kubernetes/statefulset.yaml", "- name: exporter\n"},
		{"-- /bin/deepaffects_exporter", "../../Dockerfile", `ENTRYPOINT ["/bin/deepaffects_exporter"]`},
		{"--web.local-writes '$ARGS'", "../systemd/deepaffects-exporter.service", "--web.local-writes $ARGS"},
		{"EnvironmentFile=-/etc/default/deepaffects-exporter", "../systemd/deepaffects-exporter.service", "EnvironmentFile=-/etc/default/deepaffects-exporter"},
		{"User=deepaffects-exporter", "../systemd/deepaffects-exporter.service", "User=deepaffects-exporter\n"},
	} {
		if !strings.Contains(book, tt.command) || !strings.Contains(read(t, tt.file), tt.setting) {
			t.Errorf("the runbooks have %q, %s has %q: one of the two is missing", tt.command, tt.file, tt.setting)
		}
	}
	api, program := sources(t, "../../internal/httpapi"), sources(t, "../../internal", "../../collector", "../../cmd/exporter")
	fields := regexp.MustCompile(`([{,.]) *([a-z_]+)( *:)?`)
	for _, jq := range regexp.MustCompile(`jq (?:-c )?'([^']*)'`).FindAllStringSubmatch(book, -1) {
		for _, f := range fields.FindAllStringSubmatch(jq[1], -1) {
			if f[3] == "" && !strings.Contains(api, `json:"`+f[2]) {
				t.Errorf("no response has the field %s of %s", f[2], jq[1])
			}
		}
	}
	for _, grep := range regexp.MustCompile(`log \| grep (?:-\w+ )?('[^']*'|\w+)`).FindAllStringSubmatch(book, -1) {
		for pattern := range strings.SplitSeq(strings.Trim(grep[1], "'"), "|") {
			if !regexp.MustCompile(`(?i)\.(Info|Warn|Error)\([^)]*` + pattern).MatchString(program) {
				t.Errorf("no message of the log has %q", pattern)
			}
		}
	}
}

// sources returns the program text in directories.
func sources(t *testing.T, dirs ...string) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range dirs {
		err := filepath.WalkDir(filepath.FromSlash(dir), func(name string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
				all.WriteString(read(t, name))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// A family holds the values of a metric's labels, from docs/metrics.md. nil: any value.
type family map[string][]string

var (
	familyRow  = regexp.MustCompile("(?m)^\\| `(deepaffects_\\w+)` \\| (\\w+)[^|]*\\| ([^|]*) \\|")
	labelInRow = regexp.MustCompile("`(\\w+)`(?: \\(([a-z0-9_, ]+)\\))?")
)

func catalogue(t *testing.T) map[string]family {
	t.Helper()
	families := make(map[string]family)
	for _, row := range familyRow.FindAllStringSubmatch(read(t, "../../docs/metrics.md"), -1) {
		f := make(family)
		for _, l := range labelInRow.FindAllStringSubmatch(row[3], -1) {
			f[l[1]] = nil
			if strings.Contains(l[2], ", ") {
				f[l[1]] = strings.Split(l[2], ", ")
			}
		}
		families[row[1]] = f
		switch row[2] {
		case "histogram":
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				families[row[1]+suffix] = f
			}
		}
	}
	if len(families) < 50 {
		t.Fatalf("docs/metrics.md has only %d metrics", len(families))
	}
	return families
}

var (
	selector = regexp.MustCompile(`([\w:]*deepaffects_[\w:]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
)

// The rules and the runbooks use only existing metrics, labels and label values.
func TestNames(t *testing.T) {
	families := catalogue(t)
	rules := append(rulesOf(t, "deepaffects-recording.yml"), rulesOf(t, "deepaffects-alerts.yml")...)
	recorded := make(map[string]bool)
	texts := make(map[string]string)
	for _, r := range rules {
		if r.Record != "" {
			recorded[r.Record] = true
		}
		texts[r.Record+r.Alert] = r.Expr
	}
	queries := regexp.MustCompile("(?s)```promql\n(.*?)```")
	for _, q := range queries.FindAllStringSubmatch(read(t, "../../docs/runbooks.md"), -1) {
		texts["docs/runbooks.md: "+q[1]] = q[1]
	}
	used := make(map[string]bool)
	for where, text := range texts {
		for _, s := range selector.FindAllStringSubmatch(text, -1) {
			name := s[1]
			used[name] = true
			if strings.Contains(name, ":") {
				if !recorded[name] {
					t.Errorf("%s: no rule records %s", where, name)
				}
				continue
			}
			f, known := families[name]
			if !known {
				t.Errorf("%s: no metric %s", where, name)
			}
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				values, known := f[m[1]]
				if !known {
					t.Errorf("%s: %s has no label %s", where, name, m[1])
				}
				for v := range strings.SplitSeq(m[3], "|") {
					if values != nil && !slices.Contains(values, v) {
						t.Errorf("%s: %s is never %q in %s", where, m[1], v, name)
					}
				}
			}
		}
	}
	for name := range recorded {
		if !used[name] {
			t.Errorf("no alert uses %s", name)
		}
	}
}

// For every alert, a test lets it fire, and a test lets it clear.
func TestTests(t *testing.T) {
	files, err := filepath.Glob(filepath.FromSlash("tests/*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	type expectation struct {
		Alert  string `yaml:"alertname"`
		Alerts []any  `yaml:"exp_alerts"`
	}
	fires, clears := make(map[string]int), make(map[string]int)
	for _, file := range files {
		var parsed struct {
			Tests []struct {
				Expectations []expectation `yaml:"alert_rule_test"`
			}
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &parsed); err != nil {
			t.Fatal(err)
		}
		for _, test := range parsed.Tests {
			for i, e := range test.Expectations {
				switch {
				case len(e.Alerts) > 0:
					fires[e.Alert]++
				case i > 0 && slices.ContainsFunc(test.Expectations[:i], func(before expectation) bool {
					return before.Alert == e.Alert && len(before.Alerts) > 0
				}):
					clears[e.Alert]++
				}
			}
		}
	}
	for _, r := range rulesOf(t, "deepaffects-alerts.yml") {
		if fires[r.Alert] == 0 {
			t.Errorf("no test lets %s fire", r.Alert)
		}
		if clears[r.Alert] == 0 {
			t.Errorf("no test lets %s clear", r.Alert)
		}
	}
}

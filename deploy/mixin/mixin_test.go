// Package mixin checks the mixin in this directory and what is compiled from it.
package mixin

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-jsonnet"
	"github.com/google/go-jsonnet/formatter"
	"github.com/google/go-jsonnet/linter"
)

// The compiled files are current, and there are no others in their directories.
func TestCurrent(t *testing.T) {
	vm := jsonnet.MakeVM()
	vm.StringOutput = true
	compiled, err := vm.EvaluateFileMulti("compile.jsonnet")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range compiled {
		got, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
		if err != nil || string(got) != want {
			t.Errorf("deploy/%s is not current (%v): make mixin", name, err)
		}
	}
	dashboards, err := filepath.Glob(filepath.FromSlash("../grafana/dashboards/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range dashboards {
		if _, ok := compiled["grafana/dashboards/"+filepath.Base(file)]; !ok {
			t.Errorf("%s is not compiled from the mixin", file)
		}
	}
}

// sources returns the text of all jsonnet files, by name.
func sources(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "sonnet") {
			return err
		}
		text, err := os.ReadFile(name)
		all[name] = string(text)
		return err
	})
	if err != nil || len(all) < 10 {
		t.Fatalf("%d files: %v", len(all), err)
	}
	return all
}

// The source has the format of jsonnetfmt, and its linter finds no problem.
func TestSource(t *testing.T) {
	for name, text := range sources(t) {
		formatted, err := formatter.Format(name, text, formatter.DefaultOptions())
		if err != nil || formatted != text {
			t.Errorf("deploy/mixin/%s is not formatted (%v): jsonnetfmt -i", name, err)
		}
		var problems bytes.Buffer
		if linter.LintSnippet(jsonnet.MakeVM(), &problems, []linter.Snippet{{FileName: name, Code: text}}) {
			t.Error(problems.String())
		}
	}
}

// metric matches a metric of the exporter with its selector. What is recorded from such has a colon before it.
var metric = regexp.MustCompile(`(:?)deepaffects_[a-z0-9_:]+(\{[^}]*\})?`)

// variable matches the query of a variable.
var variable = regexp.MustCompile(`^(label_values|query_result)\(`)

// queriesOf returns the queries for Prometheus in rules and dashboards.
func queriesOf(value any) (queries []string) {
	switch value := value.(type) {
	case map[string]any:
		for name, v := range value {
			text, ok := v.(string)
			if ok && (name == "expr" || variable.MatchString(text)) {
				queries = append(queries, text)
			}
			queries = append(queries, queriesOf(v)...)
		}
	case []any:
		for _, v := range value {
			queries = append(queries, queriesOf(v)...)
		}
	}
	return queries
}

// The configuration reaches every query and every link.
func TestConfiguration(t *testing.T) {
	vm := jsonnet.MakeVM()
	out, err := vm.EvaluateAnonymousSnippet("configured.jsonnet", `
		local mixin = (import 'mixin.libsonnet') + { _config+:: {
			selector: 'cluster="eu"',
			replicaLabels: 'instance, host',
			runbookURL: 'https://example.com/runbooks',
			thresholds+: { failureRatio: 0.75 },
		} };
		[mixin.prometheusRules, mixin.prometheusAlerts, mixin.grafanaDashboards, mixin.grafanaAlerting]`)
	if err != nil {
		t.Fatal(err)
	}
	var parsed any
	if err := json.Unmarshal([]byte(out), &parsed); err != nil {
		t.Fatal(err)
	}
	queries := queriesOf(parsed)
	if len(queries) < 150 {
		t.Fatalf("%d queries", len(queries))
	}
	for _, q := range queries {
		for _, s := range metric.FindAllStringSubmatch(q, -1) {
			if s[1] == "" && !strings.HasPrefix(s[2], `{cluster="eu"`) {
				t.Errorf("%s is not of the configured cluster, in\n%s", s[0], q)
			}
		}
	}
	for _, text := range []string{"instance, pod", "localhost:9891"} {
		if strings.Contains(out, text) {
			t.Errorf("something has %q", text)
		}
	}
	for _, text := range []string{"without (instance, host)", "https://example.com/runbooks#DeepAffectsJobLost",
		"> 0.75"} {
		if !strings.Contains(out, text) {
			t.Errorf("nothing has %q", text)
		}
	}
}

// The examples in the README work, as in a directory into which jsonnet-bundler has installed the mixin.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	vendor := t.TempDir()
	if err := os.Symlink(here, filepath.Join(vendor, "mixin")); err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```jsonnet\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(examples) == 0 {
		t.Error("no examples")
	}
	for _, e := range examples {
		vm := jsonnet.MakeVM()
		vm.Importer(&jsonnet.FileImporter{JPaths: []string{vendor}})
		_, err := vm.EvaluateAnonymousSnippet("example", `
			local mixin = `+e[1]+`;
			[mixin.grafanaDashboards, mixin.prometheusAlerts, mixin.prometheusRules, mixin.grafanaAlerting]`)
		if err != nil {
			t.Errorf("%v\n%s", err, e[1])
		}
	}
}

package mixin

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"
)

const chart = "../helm/deepaffects-exporter"

// chartFiles are the files of the chart that templates read.
type chartFiles struct{ t *testing.T }

func (f chartFiles) Get(name string) string {
	text, err := os.ReadFile(filepath.Join(chart, filepath.FromSlash(name)))
	if err != nil {
		f.t.Error(err)
	}
	return string(text)
}

func (f chartFiles) Glob(pattern string) map[string][]byte {
	names, err := filepath.Glob(filepath.Join(chart, filepath.FromSlash(pattern)))
	if err != nil {
		f.t.Error(err)
	}
	found := make(map[string][]byte)
	for _, name := range names {
		inside, _ := filepath.Rel(chart, name)
		found[filepath.ToSlash(inside)] = nil
	}
	return found
}

// merge sets the values of from in into.
func merge(into, from map[string]any) {
	for name, value := range from {
		inner, isMap := value.(map[string]any)
		if old, ok := into[name].(map[string]any); ok && isMap {
			merge(old, inner)
		} else {
			into[name] = value
		}
	}
}

// render renders the chart as Helm does: text/template with sprig and Helm's own functions. It returns the objects.
func render(t *testing.T, values string) []string {
	t.Helper()
	var all, own map[string]any
	var about struct{ Name, Version, AppVersion string }
	for name, into := range map[string]any{"values.yaml": &all, "Chart.yaml": &about} {
		if err := yaml.Unmarshal([]byte(chartFiles{t}.Get(name)), into); err != nil {
			t.Fatal(err)
		}
	}
	if err := yaml.Unmarshal([]byte(values), &own); err != nil {
		t.Fatal(err)
	}
	merge(all, own)

	root := template.New("chart").Option("missingkey=zero")
	functions := sprig.TxtFuncMap()
	maps.Copy(functions, template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var out strings.Builder
			err := root.ExecuteTemplate(&out, name, data)
			return out.String(), err
		},
		"required": func(message string, value any) (any, error) {
			if value == nil || value == "" {
				return nil, errors.New(message)
			}
			return value, nil
		},
		"toYaml": func(value any) (string, error) {
			text, err := yaml.Marshal(value)
			return strings.TrimSuffix(string(text), "\n"), err
		},
		"fromYaml": func(text string) (value map[string]any, err error) {
			return value, yaml.Unmarshal([]byte(text), &value)
		},
	})
	root.Funcs(functions)
	files, err := filepath.Glob(chart + "/templates/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	if _, err := root.ParseFiles(files...); err != nil {
		t.Fatal(err)
	}
	data := map[string]any{
		"Values": all, "Chart": about, "Files": chartFiles{t},
		"Release": map[string]any{"Name": "calls", "Namespace": "speech", "Service": "Helm"},
	}
	var objects []string
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "_") {
			continue
		}
		var out bytes.Buffer
		if err := root.ExecuteTemplate(&out, name, data); err != nil {
			t.Fatal(err)
		}
		if name == "NOTES.txt" {
			continue
		}
		for object := range strings.SplitSeq(out.String(), "\n---\n") {
			if strings.TrimSpace(object) != "" {
				objects = append(objects, object)
			}
		}
	}
	return objects
}

// everything are values that switch on all that the chart can do.
const everything = `
image: {repository: registry.example/deepaffects-exporter, tag: "1", pullSecrets: [{name: registry}]}
web: {externalURL: "https://example.com/deepaffects/", configSecret: web, tls: true}
persistence: {storageClass: fast}
ingress: {enabled: true, className: nginx, host: hooks.example.com, tlsSecret: hooks, annotations: {a: b}}
serviceMonitor: {enabled: true, labels: {release: prometheus}, endpoint: {basicAuth: {username: {name: web, key: user}, password: {name: web, key: password}}}}
prometheusRule: {enabled: true, labels: {release: prometheus}}
dashboards: {enabled: true}
podLabels: {team: speech}
podAnnotations: {a: b}
nodeSelector: {disk: ssd}
tolerations: [{key: a, operator: Exists}]
affinity: {nodeAffinity: {}}
extraArgs: [--log.level=debug]
extraEnv: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
`

// at returns the value in an object at a path of names.
func at(object any, path ...string) any {
	for _, name := range path {
		m, _ := object.(map[string]any)
		object = m[name]
	}
	return object
}

// The chart makes the objects that it should, with its own values and with others, and they refer to each other.
func TestChart(t *testing.T) {
	for _, tt := range []struct {
		name, values string
		kinds        []string
	}{
		{"as it is", "", []string{"ConfigMap", "Service", "StatefulSet"}},
		{"without persistence", "persistence: {enabled: false}", []string{"ConfigMap", "Service", "StatefulSet"}},
		{"everything", everything, []string{
			"ConfigMap", "ConfigMap -api", "ConfigMap -jobs", "ConfigMap -jobs-influxdb", "ConfigMap -transcripts",
			"Ingress", "PrometheusRule", "Service", "ServiceMonitor", "StatefulSet",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := make(map[string]any)
			for _, text := range render(t, tt.values) {
				var object map[string]any
				if err := yaml.UnmarshalStrict([]byte(text), &object); err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
				if strings.Contains(text, "<no value>") || tt.name == "everything" && strings.Contains(text, "localhost:9891") {
					t.Errorf("a value is missing, or the URL is not that of the values, in\n%s", text)
				}
				name, _ := at(object, "metadata", "name").(string)
				rest, ok := strings.CutPrefix(name, "calls-deepaffects-exporter")
				if !ok {
					t.Errorf("the name %s", name)
				}
				all[strings.TrimSpace(fmt.Sprint(object["kind"], " ", rest))] = object
			}
			if kinds := slices.Sorted(maps.Keys(all)); !slices.Equal(kinds, tt.kinds) {
				t.Fatalf("the objects are %q, want %q", kinds, tt.kinds)
			}
			pod := at(all["StatefulSet"], "spec", "template")
			for name, value := range at(all["Service"], "spec", "selector").(map[string]any) {
				if at(pod, "metadata", "labels", name) != value {
					t.Errorf("the Service selects %s=%v, which the pod does not have", name, value)
				}
			}
			container := at(pod, "spec", "containers").([]any)[0]
			volumes, _ := at(pod, "spec", "volumes").([]any)
			claims, _ := at(all["StatefulSet"], "spec", "volumeClaimTemplates").([]any)
			names := make(map[any]bool)
			for _, v := range volumes {
				names[at(v, "name")] = true
			}
			for _, c := range claims {
				names[at(c, "metadata", "name")] = true
			}
			for _, m := range at(container, "volumeMounts").([]any) {
				if !names[at(m, "name")] {
					t.Errorf("mount %v has no volume", at(m, "name"))
				}
			}
			scheme, prefix := "HTTP", ""
			if tt.name == "everything" {
				scheme, prefix = "HTTPS", "/deepaffects"
				testRules(t, all["PrometheusRule"])
			}
			for probe, path := range map[string]string{
				"startupProbe": "/-/ready", "readinessProbe": "/-/ready", "livenessProbe": "/-/healthy",
			} {
				get := at(container, probe, "httpGet")
				if at(get, "scheme") != scheme || at(get, "path") != prefix+path {
					t.Errorf("%s: %v", probe, get)
				}
			}
		})
	}
}

// testRules fails if the chart's rules are not those of the mixin.
func testRules(t *testing.T, rule any) {
	t.Helper()
	text, err := os.ReadFile("../kubernetes/prometheusrule.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	text = bytes.ReplaceAll(text, []byte("http://localhost:9891"), []byte("https://example.com/deepaffects"))
	if err := yaml.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(at(rule, "spec"), want["spec"]) {
		t.Error("the rules of the chart are not those of the mixin")
	}
}

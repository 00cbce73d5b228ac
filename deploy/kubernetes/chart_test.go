package kubernetes

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"sigs.k8s.io/yaml"
)

// Helm logs that it follows the links in files/.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	m.Run()
}

const chart = "../helm/deepaffects-exporter"

// template is `helm template`: it returns the objects of the chart with some values, and the Secret that they need.
func template(t *testing.T, values string) ([][]byte, error) {
	t.Helper()
	loaded, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	own, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	release := chartutil.ReleaseOptions{Name: "deepaffects-exporter", Namespace: "speech", IsInstall: true}
	all, err := chartutil.ToRenderValues(loaded, own, release, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(loaded, all)
	if err != nil {
		return nil, err
	}
	var objects [][]byte
	for name, text := range files {
		for object := range strings.SplitSeq(text, "\n---\n") {
			if strings.HasSuffix(name, ".yaml") && strings.TrimSpace(object) != "" {
				objects = append(objects, []byte(object))
			}
		}
	}
	secret, err := os.ReadFile("secret.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return append(objects, secret), nil
}

// everything are values that switch on all that the chart can do with a volume.
const everything = `
image: {repository: registry.example/deepaffects-exporter, tag: "1", pullSecrets: [{name: registry}]}
web: {externalURL: "https://example.com/deepaffects/", configSecret: web, tls: true}
persistence: {storageClass: fast}
ingress: {enabled: true, className: nginx, host: hooks.example.com, tlsSecret: hooks, annotations: {a: b}}
serviceMonitor:
  enabled: true
  labels: {release: prometheus}
  endpoint: {basicAuth: {username: {name: web, key: user}, password: {name: web, key: password}}}
prometheusRule: {enabled: true, labels: {release: prometheus}}
dashboards: {enabled: true}
networkPolicy: {enabled: true}
service: {annotations: {a: b}}
podLabels: {team: speech}
podAnnotations: {a: b}
nodeSelector: {disk: ssd}
tolerations: [{key: a, operator: Exists}]
affinity: {nodeAffinity: {}}
extraArgs: [--log.level=debug]
extraEnv: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
`

const threeReplicas = `
replicas: 3
database: {enabled: true, secretName: database}
`

// The chart makes valid objects that refer to each other, with its own values and with others.
func TestChart(t *testing.T) {
	for _, tt := range []struct {
		name, values string
		kinds        []string
	}{
		{"as it is", "", []string{"ConfigMap", "Secret", "Service", "StatefulSet"}},
		{"without persistence", "persistence: {enabled: false}", []string{"ConfigMap", "Secret", "Service", "StatefulSet"}},
		{"everything", everything, []string{
			"ConfigMap", "ConfigMap deepaffects-exporter-api", "ConfigMap deepaffects-exporter-jobs",
			"ConfigMap deepaffects-exporter-jobs-influxdb", "ConfigMap deepaffects-exporter-transcripts",
			"Ingress", "NetworkPolicy", "PrometheusRule", "Secret", "Service", "ServiceMonitor", "StatefulSet",
		}},
		{"replicas", threeReplicas, []string{"ConfigMap", "Deployment", "PodDisruptionBudget", "Secret", "Service"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			objects, err := template(t, tt.values)
			if err != nil {
				t.Fatal(err)
			}
			all := parsed(t, objects)
			check(t, all, tt.kinds)
			checkConfiguration(t, all["ConfigMap"], "DEEPAFFECTS_WEBHOOK_TOKEN=a-token")
			checkConfiguration(t, all["ConfigMap"], "DEEPAFFECTS_WEBHOOK_TOKEN=a-token",
				"DEEPAFFECTS_JOBS_TOKEN=another-token", "DEEPAFFECTS_DATABASE_URL="+databaseURL)
			scheme, prefix := corev1.URISchemeHTTP, ""
			if tt.values == everything {
				scheme, prefix = corev1.URISchemeHTTPS, "/deepaffects"
				checkRules(t, all["PrometheusRule"])
				checkConnections(t, all["NetworkPolicy"])
				if text := string(slices.Concat(objects...)); strings.Contains(text, "localhost:9891") {
					t.Error("a link does not lead to web.externalURL")
				}
			}
			container := workloadOf(t, all, "deepaffects-exporter").template.Spec.Containers[0]
			for probe, path := range map[*corev1.Probe]string{
				container.StartupProbe: "/-/ready", container.ReadinessProbe: "/-/ready", container.LivenessProbe: "/-/healthy",
			} {
				if get := probe.HTTPGet; get.Scheme != scheme || get.Path != prefix+path {
					t.Errorf("a probe is %v, want %s of %s", get, prefix+path, scheme)
				}
			}
		})
	}
}

// The replicas of the chart run as those of the manifests do.
func TestReplicasOfChart(t *testing.T) {
	objects, err := template(t, threeReplicas)
	if err != nil {
		t.Fatal(err)
	}
	var specs [2]appsv1.DeploymentSpec
	for i, manifests := range [][][]byte{objects, manifests(t, replicas)} {
		specs[i] = convert[appsv1.Deployment](t, parsed(t, manifests)["Deployment"]).Spec
	}
	got, want := specs[0], specs[1]
	for what, pair := range map[string][2]any{
		"replicas": {got.Replicas, want.Replicas},
		"strategy": {got.Strategy, want.Strategy},
		"grace period": {got.Template.Spec.TerminationGracePeriodSeconds,
			want.Template.Spec.TerminationGracePeriodSeconds},
		"arguments": {got.Template.Spec.Containers[0].Args, want.Template.Spec.Containers[0].Args},
		"startup probe": {got.Template.Spec.Containers[0].StartupProbe.PeriodSeconds,
			want.Template.Spec.Containers[0].StartupProbe.PeriodSeconds},
		"security context": {got.Template.Spec.Containers[0].SecurityContext,
			want.Template.Spec.Containers[0].SecurityContext},
		"resources": {got.Template.Spec.Containers[0].Resources, want.Template.Spec.Containers[0].Resources},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: %v, want %v", what, pair[0], pair[1])
		}
	}
	for _, variable := range got.Template.Spec.Containers[0].Env {
		if variable.Name == "DEEPAFFECTS_DATABASE_URL" {
			if from := variable.ValueFrom.SecretKeyRef; from.Name != "database" || from.Key != "database-url" {
				t.Errorf("the URL of the database is in %v", from)
			}
			return
		}
	}
	t.Error("the pod has no DEEPAFFECTS_DATABASE_URL")
}

// Values that cannot work are an error that says what to do.
func TestChartMistakes(t *testing.T) {
	for _, tt := range []struct{ values, want string }{
		{"replicas: 3", "set database.enabled"},
		{"{database: {enabled: true}, config: \"[[inputs.deepaffects]]\\njobs_token=''\"}",
			`database_url = "${DEEPAFFECTS_DATABASE_URL}"`},
		{"config: '[[inputs.deepaffects]]'", `jobs_token = "${DEEPAFFECTS_JOBS_TOKEN:-}"`},
		{"config: \"[[inputs.deepaffects]]\\njobs_token=''\\n[[inputs.deepaffects]]\"", "each table needs jobs_token"},
		{"ingress: {enabled: true}", "ingress.host is needed"},
		{"replica: 3", "replica"},
		{"replicas: 0", "replicas"},
		{"web: {externalUrl: 'https://example.com'}", "externalUrl"},
	} {
		if _, err := template(t, tt.values); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.values, err, tt.want)
		}
	}
}

// The values in the README work.
func TestChartReadme(t *testing.T) {
	text, err := os.ReadFile(chart + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(examples) < 4 {
		t.Errorf("%d examples", len(examples))
	}
	for _, e := range examples {
		if strings.Contains(e[1], "kind: ") {
			continue // an object beside the chart
		}
		objects, err := template(t, e[1])
		if err != nil {
			t.Errorf("%v:\n%s", err, e[1])
			continue
		}
		parsed(t, objects)
	}
}

// `helm lint --strict` finds nothing.
func TestChartLint(t *testing.T) {
	for _, values := range []string{"", everything, threeReplicas} {
		own, err := chartutil.ReadValues([]byte(values))
		if err != nil {
			t.Fatal(err)
		}
		for _, message := range lint.All(chart, own, "speech", true).Messages {
			if message.Severity > support.InfoSev { // the chart has no icon
				t.Error(message)
			}
		}
	}
}

// checkConnections fails if the chart's connections are not those of the manifests.
func checkConnections(t *testing.T, policy *unstructured.Unstructured) {
	t.Helper()
	got := convert[networkingv1.NetworkPolicy](t, policy).Spec
	want := convert[networkingv1.NetworkPolicy](t, parsed(t, manifests(t, single))["NetworkPolicy"]).Spec
	if !reflect.DeepEqual(got.Ingress, want.Ingress) || !reflect.DeepEqual(got.Egress, want.Egress) {
		t.Errorf("the connections are\n%v\n%v\nwant\n%v\n%v", got.Ingress, got.Egress, want.Ingress, want.Egress)
	}
}

// checkRules fails if the chart's rules are not those of the mixin.
func checkRules(t *testing.T, rule *unstructured.Unstructured) {
	t.Helper()
	text, err := os.ReadFile("prometheusrule.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want unstructured.Unstructured
	text = bytes.ReplaceAll(text, []byte("http://localhost:9891"), []byte("https://example.com/deepaffects"))
	if err := yaml.Unmarshal(text, &want.Object); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(rule.Object["spec"]), fmt.Sprint(want.Object["spec"]); got != want {
		t.Error("the rules of the chart are not those of the mixin")
	}
}

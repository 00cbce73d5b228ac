// Package kubernetes checks the manifests in this directory against the schemas of
// Kubernetes and of the Prometheus Operator and against the restricted Pod Security
// Standard, and checks the references between them.
package kubernetes

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kubectl-validate/pkg/openapiclient"
	"sigs.k8s.io/kubectl-validate/pkg/validator"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// operator is the module that contains the Prometheus Operator's schemas.
const operator = "github.com/prometheus-operator/prometheus-operator@v0.85.0"

// The kustomizations: one process with a volume, and replicas with a database.
const single, replicas = ".", "../kubernetes-replicas"

// manifests returns the resources of a kustomization, and the Secret that it needs, as YAML.
func manifests(t *testing.T, kustomization string) [][]byte {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), kustomization)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, resource := range resources.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	secret, err := os.ReadFile("secret.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return append(all, secret)
}

func newValidator(t *testing.T) *validator.Validator {
	t.Helper()
	out, err := exec.Command("go", "mod", "download", "-json", operator).Output()
	if err != nil {
		t.Fatalf("fetching the Prometheus Operator's schemas: %v\n%s", err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	versions := openapiclient.HardcodedBuiltinVersions
	v, err := validator.New(openapiclient.NewComposite(
		openapiclient.NewHardcodedBuiltins(versions[len(versions)-1]),
		openapiclient.NewLocalCRDFiles(os.DirFS(filepath.Join(module.Dir, "example/prometheus-operator-crd"))),
	))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// parsed returns the valid manifests by kind, and the dashboards by kind and name.
func parsed(t *testing.T, manifests [][]byte) map[string]*unstructured.Unstructured {
	t.Helper()
	v := newValidator(t)
	all := make(map[string]*unstructured.Unstructured)
	for _, text := range manifests {
		_, object, err := v.Parse(text)
		if err == nil {
			err = v.Validate(object)
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		key := object.GetKind()
		if name := object.GetName(); name != "deepaffects-exporter" {
			key += " " + name
		}
		all[key] = object
	}
	return all
}

func convert[T any](t *testing.T, object *unstructured.Unstructured) *T {
	t.Helper()
	to := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, to, true); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestManifests(t *testing.T) {
	for _, tt := range []struct {
		kustomization string
		kinds         []string
	}{
		{single, []string{"NetworkPolicy", "PrometheusRule", "Secret", "Service", "ServiceMonitor", "StatefulSet"}},
		{replicas, []string{
			"Deployment", "NetworkPolicy", "PodDisruptionBudget", "PrometheusRule", "Secret", "Service", "ServiceMonitor",
		}},
	} {
		t.Run(filepath.Base(tt.kustomization), func(t *testing.T) {
			kinds := []string{
				"ConfigMap", "ConfigMap deepaffects-exporter-dashboard-api", "ConfigMap deepaffects-exporter-dashboard-jobs",
				"ConfigMap deepaffects-exporter-dashboard-jobs-influxdb", "ConfigMap deepaffects-exporter-dashboard-transcripts",
			}
			check(t, parsed(t, manifests(t, tt.kustomization)), append(kinds, tt.kinds...))
		})
	}
}

// A workload is what the tests look at in a StatefulSet and in a Deployment.
type workload struct {
	selector *metav1.LabelSelector
	template corev1.PodTemplateSpec
	claims   []string // of volumes
	storage  bool     // it stores its jobs in a volume
}

func workloadOf(t *testing.T, all map[string]*unstructured.Unstructured, service string) workload {
	if all["Deployment"] != nil {
		d := convert[appsv1.Deployment](t, all["Deployment"])
		selectors := []*metav1.LabelSelector{
			convert[policyv1.PodDisruptionBudget](t, all["PodDisruptionBudget"]).Spec.Selector,
		}
		for _, spread := range d.Spec.Template.Spec.TopologySpreadConstraints {
			selectors = append(selectors, spread.LabelSelector)
		}
		for _, s := range selectors {
			if !labels.SelectorFromSet(s.MatchLabels).Matches(labels.Set(d.Spec.Template.Labels)) {
				t.Errorf("the PodDisruptionBudget or a spread selects %v", s)
			}
		}
		if len(selectors) != 3 || *d.Spec.Replicas != 3 {
			t.Errorf("%d replicas, %d selectors", *d.Spec.Replicas, len(selectors))
		}
		return workload{selector: d.Spec.Selector, template: d.Spec.Template}
	}
	set := convert[appsv1.StatefulSet](t, all["StatefulSet"])
	if set.Spec.ServiceName != service {
		t.Errorf("the StatefulSet's service is %s", set.Spec.ServiceName)
	}
	w := workload{selector: set.Spec.Selector, template: set.Spec.Template, storage: true}
	for _, claim := range set.Spec.VolumeClaimTemplates {
		w.claims = append(w.claims, claim.Name)
	}
	return w
}

func check(t *testing.T, all map[string]*unstructured.Unstructured, want []string) {
	var kinds []string
	for kind := range all {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	if !slices.Equal(kinds, want) {
		t.Fatalf("the manifests are %q, want %q", kinds, want)
	}
	config := convert[corev1.ConfigMap](t, all["ConfigMap"])
	secret := convert[corev1.Secret](t, all["Secret"])
	service := convert[corev1.Service](t, all["Service"])
	work := workloadOf(t, all, service.Name)

	t.Run("dashboards", func(t *testing.T) {
		for name, object := range all {
			if !strings.HasPrefix(name, "ConfigMap ") {
				continue
			}
			dashboard := convert[corev1.ConfigMap](t, object)
			if size := len(dashboard.Data); size != 1 || dashboard.Labels["grafana_dashboard"] != "1" {
				t.Errorf("%s has %d files and the labels %v", name, size, dashboard.Labels)
			}
			for file, text := range dashboard.Data {
				if !strings.HasSuffix(file, ".json") || !json.Valid([]byte(text)) {
					t.Errorf("%s: %s is no dashboard", name, file)
				}
			}
		}
	})

	t.Run("restricted", func(t *testing.T) {
		evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
		if err != nil {
			t.Fatal(err)
		}
		level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
		pod := work.template
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec))
		if !result.Allowed {
			t.Errorf("not allowed: %s", result.ForbiddenDetail())
		}
	})

	t.Run("refer to each other", func(t *testing.T) {
		pod := labels.Set(work.template.Labels)
		selectors := map[string]map[string]string{
			"workload": work.selector.MatchLabels,
			"Service":  service.Spec.Selector,
		}
		var network networkingv1.NetworkPolicy
		if all["NetworkPolicy"] != nil {
			network = *convert[networkingv1.NetworkPolicy](t, all["NetworkPolicy"])
			selectors["NetworkPolicy"] = network.Spec.PodSelector.MatchLabels
		}
		for what, selector := range selectors {
			if len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(pod) {
				t.Errorf("%s selects %v, and the pod has %v", what, selector, pod)
			}
		}
		container := work.template.Spec.Containers[0]
		var ports, servicePorts []string
		for _, port := range container.Ports {
			ports = append(ports, port.Name)
		}
		for _, port := range service.Spec.Ports {
			servicePorts = append(servicePorts, port.Name)
			if !slices.Contains(ports, port.TargetPort.StrVal) {
				t.Errorf("the Service's port %s leads to %s, which the pod does not have", port.Name, port.TargetPort.StrVal)
			}
		}
		for _, rule := range network.Spec.Ingress {
			for _, port := range rule.Ports {
				if !slices.Contains(ports, port.Port.StrVal) {
					t.Errorf("the NetworkPolicy allows %s, which the pod does not have", port.Port.StrVal)
				}
			}
		}
		if monitor := all["ServiceMonitor"]; monitor != nil {
			monitored, _, err := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
			if err != nil || len(monitored) == 0 || !labels.SelectorFromSet(monitored).Matches(labels.Set(service.Labels)) {
				t.Errorf("the ServiceMonitor selects %v (%v), and the Service has %v", monitored, err, service.Labels)
			}
			endpoints, _, _ := unstructured.NestedSlice(monitor.Object, "spec", "endpoints")
			for _, endpoint := range endpoints {
				if port := endpoint.(map[string]any)["port"].(string); !slices.Contains(servicePorts, port) {
					t.Errorf("the ServiceMonitor scrapes %s, which the Service does not have", port)
				}
			}
		}
		for _, probe := range []*corev1.Probe{container.StartupProbe, container.ReadinessProbe, container.LivenessProbe} {
			if !slices.Contains(ports, probe.HTTPGet.Port.StrVal) {
				t.Errorf("a probe uses port %s, which the pod does not have", probe.HTTPGet.Port.StrVal)
			}
		}

		mounts := make(map[string]string)
		for _, mount := range container.VolumeMounts {
			mounts[mount.Name] = mount.MountPath
		}
		volumes := make(map[string]bool)
		for _, name := range work.claims {
			volumes[name] = true
		}
		for _, volume := range work.template.Spec.Volumes {
			volumes[volume.Name] = true
			if volume.ConfigMap != nil && volume.ConfigMap.Name != config.Name ||
				volume.Secret != nil && volume.Secret.SecretName != secret.Name && volume.Name != "web" {
				t.Errorf("volume %s refers to an unknown ConfigMap or Secret", volume.Name)
			}
		}
		for name := range mounts {
			if !volumes[name] {
				t.Errorf("mount %s has no volume", name)
			}
		}
		args := []string{"--config.file=" + mounts["config"] + "/exporter.toml"}
		if work.storage {
			args = append(args, "--storage.path="+mounts["data"])
		}
		for _, arg := range args {
			if !slices.Contains(container.Args, arg) {
				t.Errorf("the arguments lack %s: %q", arg, container.Args)
			}
		}
		key := mounts["secret"] + "/key"
		if secret.StringData["key"] == "" ||
			!strings.Contains(config.Data["exporter.toml"], `api_key_file = "`+key+`"`) {
			t.Errorf("the configuration does not read %s", key)
		}
		token := slices.IndexFunc(container.Env, func(v corev1.EnvVar) bool { return v.Name == "DEEPAFFECTS_JOBS_TOKEN" })
		if token < 0 || secret.StringData[container.Env[token].ValueFrom.SecretKeyRef.Key] == "" ||
			!strings.Contains(config.Data["exporter.toml"], `jobs_token = "${DEEPAFFECTS_JOBS_TOKEN`) {
			t.Error("the configuration does not use the token of the Secret")
		}
	})
}

// The exporter accepts the configuration in the ConfigMap.
func TestConfiguration(t *testing.T) {
	for _, kustomization := range []string{single, replicas} {
		t.Run(filepath.Base(kustomization), func(t *testing.T) {
			checkConfiguration(t, parsed(t, manifests(t, kustomization))["ConfigMap"], "DEEPAFFECTS_WEBHOOK_TOKEN=token",
				"DEEPAFFECTS_JOBS_TOKEN=another-token", "DEEPAFFECTS_DATABASE_URL="+databaseURL)
		})
	}
}

const databaseURL = "postgres://monitor:secret@database.invalid:5432/monitor?sslmode=verify-full"

// checkConfiguration runs the exporter's check of the configuration in a ConfigMap.
func checkConfiguration(t *testing.T, configMap *unstructured.Unstructured, environment ...string) {
	t.Helper()
	config := convert[corev1.ConfigMap](t, configMap)
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Options that are commented out must be valid too.
	text := strings.ReplaceAll(config.Data["exporter.toml"], "/etc/deepaffects/secret/key", key)
	text = strings.ReplaceAll(text, `  # `, `  `)
	file := filepath.Join(dir, "exporter.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	check := exec.Command("../../bin/deepaffects_exporter", "--config.file="+file, "--config.check")
	check.Env = append(os.Environ(), environment...)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

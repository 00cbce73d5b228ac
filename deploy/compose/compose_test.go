// Package compose checks the compose files in this directory and the Dockerfile with
// docker's own parsers.
package compose

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// An installation is a set of compose files, and what they mount.
type installation struct {
	files              []string
	services           []string
	config, prometheus string
	replicas           int
}

var installations = map[string]installation{
	"one": {
		[]string{"compose.yaml"}, []string{"alertmanager", "exporter", "grafana", "prometheus"},
		"exporter.toml", "prometheus.yml", 1,
	},
	"replicas": {
		[]string{"compose.yaml", "compose.replicas.yaml"},
		[]string{"alertmanager", "exporter", "grafana", "postgres", "prometheus"},
		"exporter.replicas.toml", "prometheus.replicas.yml", 3,
	},
}

// each tests all installations.
func each(t *testing.T, test func(*testing.T, installation, *types.Project)) {
	for name, tt := range installations {
		t.Run(name, func(t *testing.T) { test(t, tt, load(t, tt.files...)) })
	}
}

// password is what an operator sets for the replicas.
const password = "POSTGRES_PASSWORD=secret"

func load(t *testing.T, files ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions(files, cli.WithResolvedPaths(true), cli.WithEnv([]string{password}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// source returns what a service mounts at a path.
func source(t *testing.T, project *types.Project, service, target string) string {
	t.Helper()
	for _, volume := range project.Services[service].Volumes {
		if volume.Target == target {
			return volume.Source
		}
	}
	t.Errorf("%s mounts nothing at %s", service, target)
	return ""
}

func TestCompose(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, tt installation, project *types.Project) {
		if names := project.ServiceNames(); !slices.Equal(names, tt.services) {
			t.Errorf("the services are %q, want %q", names, tt.services)
		}
		for name, service := range project.Services {
			for _, volume := range service.Volumes {
				if volume.Type != types.VolumeTypeBind {
					continue
				}
				if _, err := os.Stat(volume.Source); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if !volume.ReadOnly {
					t.Errorf("%s: %s is writable in the container", name, volume.Source)
				}
			}
			for _, port := range service.Ports {
				if port.HostIP != "127.0.0.1" {
					t.Errorf("%s: port %s listens on %q", name, port.Published, port.HostIP)
				}
			}
			for on, dependency := range service.DependsOn {
				checked := project.Services[on].HealthCheck != nil
				if dependency.Condition == types.ServiceConditionHealthy && !checked {
					t.Errorf("%s waits until %s is healthy, which nothing checks", name, on)
				}
			}
		}
		exporter := project.Services["exporter"]
		if context := exporter.Build.Context; context != filepath.Dir(filepath.Dir(here)) {
			t.Errorf("the exporter is built from %s", context)
		}
		if file := project.Secrets[exporter.Secrets[0].Source].File; file != filepath.Join(here, "key") {
			t.Errorf("the key is in %s", file)
		}
		for at, file := range map[string]string{
			source(t, project, "exporter", "/etc/deepaffects/exporter.toml"):   tt.config,
			source(t, project, "prometheus", "/etc/prometheus/prometheus.yml"): tt.prometheus,
		} {
			if at != filepath.Join(here, file) {
				t.Errorf("%s is mounted in the place of %s", at, file)
			}
		}
		first, last, several := strings.Cut(exporter.Ports[0].Published, "-")
		if !several {
			last = first
		}
		lowest, err := strconv.Atoi(first)
		highest, wrong := strconv.Atoi(last)
		if ports := highest - lowest + 1; err != nil || wrong != nil || ports != tt.replicas || exporter.GetScale() != ports {
			t.Errorf("%d exporters have the ports %s, want %d", exporter.GetScale(), exporter.Ports[0].Published, tt.replicas)
		}
	})
}

// The references between services are valid: Grafana's path of the dashboards, the UID of
// the data source in dashboards and alerts, and the names and ports of services.
func TestWiring(t *testing.T) {
	all := func(t *testing.T, expression string, files ...string) (found []string) {
		for _, file := range files {
			for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(read(t, file), -1) {
				found = append(found, match[1])
			}
		}
		if len(found) == 0 {
			t.Fatalf("no %s in %q", expression, files)
		}
		return found
	}
	each(t, func(t *testing.T, tt installation, project *types.Project) {
		for _, dir := range all(t, `path: (\S+)`, "../grafana/provisioning/dashboards/deepaffects.yml") {
			found, err := filepath.Glob(filepath.Join(source(t, project, "grafana", dir), "*.json"))
			if err != nil || len(found) == 0 {
				t.Errorf("Grafana has no dashboards in %s: %v", dir, err)
			}
		}
		uids := all(t, `(?m)^    uid: (\w+)`, "datasources.yml")
		for _, uid := range all(t, `datasourceUid"?: "?(\w+)`, "../grafana/provisioning/alerting/rules.yml") {
			if uid != "__expr__" && !slices.Contains(uids, uid) {
				t.Errorf("the alerts query %s, Grafana has %q", uid, uids)
			}
		}
		for _, files := range all(t, `- (rules/\S+)`, tt.prometheus) {
			rules := filepath.Join(source(t, project, "prometheus", "/etc/prometheus/rules"), filepath.Base(files))
			if found, err := filepath.Glob(rules); err != nil || len(found) != 2 {
				t.Errorf("Prometheus has the rules %q, %v", found, err)
			}
		}
		for _, address := range all(t, `(?:http://|\["?)([\w.]+:\d+)`, "datasources.yml", tt.prometheus) {
			name, port, _ := strings.Cut(address, ":")
			service, found := project.Services[name]
			if name == "localhost" {
				service, found = project.Services["prometheus"]
			}
			if !found || strconv.Itoa(int(service.Ports[0].Target)) != port {
				t.Errorf("no service listens at %s", address)
			}
		}
	})
}

// Prometheus scrapes each replica under the name of its container, and its configuration is that for one exporter
// otherwise.
func TestPrometheusOfReplicas(t *testing.T) {
	tt := installations["replicas"]
	project := load(t, tt.files...)
	var targets []string
	for i := range tt.replicas {
		targets = append(targets, fmt.Sprintf(`"%s-exporter-%d:9891"`, project.Name, i+1))
	}
	want := strings.Replace(read(t, "prometheus.yml"), `"exporter:9891"`, strings.Join(targets, ", "), 1)
	got := regexp.MustCompile(`\A(#.*\n)+`).ReplaceAllString(read(t, tt.prometheus), "")
	if got != want {
		t.Errorf("without its first comment, %s is\n%s\nwant\n%s", tt.prometheus, got, want)
	}
}

// The demo needs neither key nor configuration.
func TestDemo(t *testing.T) {
	project := load(t, "compose.yaml", "compose.demo.yaml")
	exporter := project.Services["exporter"]
	if len(exporter.Secrets) != 0 || len(project.Secrets) != 0 {
		t.Errorf("the demo needs secrets: %v", project.Secrets)
	}
	configured := slices.ContainsFunc(exporter.Command, func(arg string) bool {
		return strings.HasPrefix(arg, "--config.file")
	})
	if configured || !slices.Contains(exporter.Command, "--demo") {
		t.Errorf("the demo's command is %q", exporter.Command)
	}
}

// The exporter accepts the configuration, which reads the key from the path that compose mounts. Replicas have the
// address, user and name of the database that compose starts.
func TestConfiguration(t *testing.T) {
	each(t, func(t *testing.T, tt installation, project *types.Project) {
		text, exporter := read(t, tt.config), project.Services["exporter"]
		secret := "/run/secrets/" + exporter.Secrets[0].Source
		if !strings.Contains(text, `"`+secret+`"`) {
			t.Fatalf("the configuration does not read %s", secret)
		}
		dir := t.TempDir()
		key, file := filepath.Join(dir, "key"), filepath.Join(dir, "exporter.toml")
		if err := os.WriteFile(key, []byte("key"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, secret, key)), 0o600); err != nil {
			t.Fatal(err)
		}
		check := exec.Command(binary, "--config.file="+file, "--config.check")
		for name, value := range exporter.Environment {
			check.Env = append(check.Env, name+"="+*value)
		}
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		database, shared := project.Services["postgres"]
		if !shared {
			return
		}
		e := database.Environment
		url := "postgres://" + *e["POSTGRES_USER"] + ":${POSTGRES_PASSWORD}@postgres:5432/" + *e["POSTGRES_DB"] + "?"
		if !strings.Contains(text, `database_url = "`+url) {
			t.Errorf("the configuration has no database_url that begins with %s", url)
		}
		if used := exporter.Environment["POSTGRES_PASSWORD"]; *used != *e["POSTGRES_PASSWORD"] {
			t.Errorf("the exporters use the password %q, and the database has %q", *used, *e["POSTGRES_PASSWORD"])
		}
	})
}

const binary = "../../bin/deepaffects_exporter"

// images replaces a registry: the checks of a Dockerfile need only the configuration of
// the base image.
type images struct{}

func (images) ResolveImageConfig(
	_ context.Context, ref string, _ sourceresolver.Opt,
) (string, digest.Digest, []byte, error) {
	return ref, "", []byte(`{"os":"linux","architecture":"amd64"}`), nil
}

func dockerfile(t *testing.T) ([]byte, dockerfile2llb.ConvertOpt) {
	t.Helper()
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	source := llb.NewSourceMap(nil, "Dockerfile", "Dockerfile", text)
	source.Definition = new(llb.Definition)
	capabilities := pb.Caps.CapSet(pb.Caps.All())
	return text, dockerfile2llb.ConvertOpt{
		MetaResolver: images{},
		SourceMap:    source,
		LLBCaps:      &capabilities,
	}
}

// `docker build --check` finds no problems.
func TestDockerfileChecks(t *testing.T) {
	text, options := dockerfile(t)
	results, err := dockerfile2llb.DockerfileLint(t.Context(), text, options)
	if err != nil {
		t.Fatal(err)
	}
	if results.Error != nil {
		t.Error(results.Error.Message)
	}
	for _, warning := range results.Warnings {
		t.Errorf("%s: %s", warning.RuleName, warning.Detail)
	}
}

// The image runs the exporter as an unprivileged user. The exporter has the flags of the
// command and of the health check.
func TestImage(t *testing.T) {
	text, options := dockerfile(t)
	result, err := dockerfile2llb.Dockerfile2LLB(t.Context(), text, options)
	if err != nil {
		t.Fatal(err)
	}
	config := result.Image.Config
	if config.User != "65532:65532" {
		t.Errorf("the image runs as %q", config.User)
	}
	if _, ok := config.ExposedPorts["9891/tcp"]; !ok {
		t.Errorf("the image exposes %v", config.ExposedPorts)
	}
	if _, ok := config.Volumes["/data"]; !ok || !slices.Contains(config.Cmd, "--storage.path=/data") {
		t.Errorf("volumes %v, flags %q", config.Volumes, config.Cmd)
	}
	health := config.Healthcheck.Test
	if len(health) < 3 || health[0] != "CMD" || health[1] != config.Entrypoint[0] {
		t.Fatalf("the health check is %q", health)
	}
	help, err := exec.Command(binary, "--help-long").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range append(slices.Clone(config.Cmd), health[2:]...) {
		if name, _, _ := strings.Cut(arg, "="); !strings.Contains(string(help), name+"=") {
			t.Errorf("the exporter has no %s", name)
		}
	}
}

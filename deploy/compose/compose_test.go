// Package compose checks the compose files in this directory and the Dockerfile with
// docker's own parsers.
package compose

import (
	"context"
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

func load(t *testing.T, files ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions(files, cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestCompose(t *testing.T) {
	project := load(t, "compose.yaml")
	want := []string{"alertmanager", "exporter", "grafana", "prometheus"}
	if names := project.ServiceNames(); !slices.Equal(names, want) {
		t.Errorf("the services are %q, want %q", names, want)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
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
	}
	if context := project.Services["exporter"].Build.Context; context != filepath.Dir(filepath.Dir(here)) {
		t.Errorf("the exporter is built from %s", context)
	}
	secret := project.Services["exporter"].Secrets[0].Source
	if file := project.Secrets[secret].File; file != filepath.Join(here, "key") {
		t.Errorf("the key is in %s", file)
	}
}

// The references between services are valid: Grafana's path of the dashboards, the UID of
// the data source in dashboards and alerts, and the names and ports of services.
func TestWiring(t *testing.T) {
	project := load(t, "compose.yaml")
	all := func(expression string, files ...string) (found []string) {
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(string(text), -1) {
				found = append(found, match[1])
			}
		}
		if len(found) == 0 {
			t.Fatalf("no %s in %q", expression, files)
		}
		return found
	}
	source := func(service, target string) string {
		for _, volume := range project.Services[service].Volumes {
			if volume.Target == target {
				return volume.Source
			}
		}
		t.Errorf("%s mounts nothing at %s", service, target)
		return ""
	}
	for _, dir := range all(`path: (\S+)`, "../grafana/provisioning/dashboards/deepaffects.yml") {
		if found, err := filepath.Glob(filepath.Join(source("grafana", dir), "*.json")); err != nil || len(found) == 0 {
			t.Errorf("Grafana has no dashboards in %s: %v", dir, err)
		}
	}
	uids := all(`(?m)^    uid: (\w+)`, "datasources.yml")
	for _, uid := range all(`datasourceUid: (\w+)`, "../grafana/provisioning/alerting/rules.yml") {
		if uid != "__expr__" && !slices.Contains(uids, uid) {
			t.Errorf("the alerts query %s, Grafana has %q", uid, uids)
		}
	}
	for _, files := range all(`- (rules/\S+)`, "prometheus.yml") {
		rules := filepath.Join(source("prometheus", "/etc/prometheus/rules"), filepath.Base(files))
		if found, err := filepath.Glob(rules); err != nil || len(found) != 2 {
			t.Errorf("Prometheus has the rules %q, %v", found, err)
		}
	}
	for _, address := range all(`(?:http://|\["?)([\w.]+:\d+)`, "datasources.yml", "prometheus.yml") {
		name, port, _ := strings.Cut(address, ":")
		service, found := project.Services[name]
		if name == "localhost" {
			service, found = project.Services["prometheus"]
		}
		if !found || strconv.Itoa(int(service.Ports[0].Target)) != port {
			t.Errorf("no service listens at %s", address)
		}
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

// The exporter accepts the configuration, which reads the key from the path that compose mounts.
func TestConfiguration(t *testing.T) {
	project := load(t, "compose.yaml")
	text, err := os.ReadFile("exporter.toml")
	if err != nil {
		t.Fatal(err)
	}
	secret := "/run/secrets/" + project.Services["exporter"].Secrets[0].Source
	if !strings.Contains(string(text), `"`+secret+`"`) {
		t.Fatalf("the configuration does not read %s", secret)
	}
	dir := t.TempDir()
	key, file := filepath.Join(dir, "key"), filepath.Join(dir, "exporter.toml")
	if err := os.WriteFile(key, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), secret, key)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(binary, "--config.file="+file, "--config.check").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
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

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Prometheus and the collector accept the configurations in deploy/, and Prometheus finds
// the rules.
func TestDeployedConfigurations(t *testing.T) {
	const telegraf, key = "../deploy/telegraf/deepaffects.conf", "/etc/telegraf-deepaffects/key"
	text, err := os.ReadFile(telegraf)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), key) {
		t.Fatalf("%s has no %s", telegraf, key)
	}
	dir := t.TempDir()
	here, keyFile := filepath.Join(dir, "deepaffects.conf"), filepath.Join(dir, "key")
	for path, content := range map[string]string{
		here: strings.ReplaceAll(string(text), key, keyFile), keyFile: "secret-key\n",
	} {
		writeFile(t, path, content)
	}
	compose := t.TempDir() // the files as compose.yaml mounts them
	for name, target := range map[string]string{
		"prometheus.yml": "../deploy/compose/prometheus.yml", "rules": "../deploy/prometheus",
		"prometheus.replicas.yml": "../deploy/compose/prometheus.replicas.yml",
	} {
		target, err := filepath.Abs(target)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(compose, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		command []string
		output  string
	}{
		{[]string{debian + "promtool", "check", "config", "../deploy/prometheus/prometheus.yml"}, "2 rule files found"},
		{[]string{newest + "promtool", "check", "config", filepath.Join(compose, "prometheus.yml")}, "2 rule files found"},
		{[]string{newest + "promtool", "check", "config", filepath.Join(compose, "prometheus.replicas.yml")},
			"2 rule files found"},
		{[]string{binary, "--config.check", "--config.file=" + here}, ""},
	} {
		out, err := exec.Command(tt.command[0], tt.command[1:]...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), tt.output) {
			t.Errorf("%q: %v\n%s", tt.command, err, out)
		}
	}
}

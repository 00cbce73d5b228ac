//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Prometheus and the collector take the configurations in deploy/.
func TestDeployedConfigurations(t *testing.T) {
	const telegraf, key = "../deploy/telegraf/deepaffects.conf", "/etc/telegraf/deepaffects.key"
	text, err := os.ReadFile(telegraf)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), key) {
		t.Fatalf("%s has no %s", telegraf, key)
	}
	here := filepath.Join(t.TempDir(), "deepaffects.conf") // where any file is as good as a key
	if err := os.WriteFile(here, []byte(strings.ReplaceAll(string(text), key, here)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{debian + "promtool", "check", "config", "../deploy/prometheus/prometheus.yml"},
		{debian + "promtool", "check", "config", "../deploy/compose/prometheus.yml"},
		{binary, "--config.check", "--config.file=" + here},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}

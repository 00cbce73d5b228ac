//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
)

var (
	shellBlock  = regexp.MustCompile("(?s)```sh\n(.*?)```")
	inlineShell = regexp.MustCompile("`((?:curl|write) [^`]*)`")
	noMatch     = `grep() { command grep "$@" || [ $? = 1 ]; }` // is no failure
	elsewhere   = regexp.MustCompile(`(?m)^.*https://.*\n`)     // needs the vendor, or the reverse proxy of an installation
)

// Every command of the runbooks works as it is, in one shell for each section, after the lines for a checkout, while
// a demo runs. Bash stops at the first command that fails, as curl does if there is no such path.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(text), "\n## DeepAffects")
	var setup, last string // the last of the blocks for an installation, and the one for an alert
	for _, block := range shellBlock.FindAllStringSubmatch(head, -1) {
		if out, err := exec.Command("bash", "-n", "-c", block[1]).CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, out, block[1])
		}
		if strings.Contains(block[1], "bin/deepaffects_exporter") {
			setup = block[1]
		}
		last = block[1]
	}
	if setup == "" {
		t.Fatal("no commands for a checkout")
	}

	checkout := t.TempDir()
	program, err := filepath.Abs(binary)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"key": "a-key\n", "deepaffects.toml": "[[inputs.deepaffects]]\napi_key_file = \"key\"\nrequest_ids = [\"a\"]\n",
	} {
		writeFile(t, filepath.Join(checkout, name), content)
	}
	if err := os.Mkdir(filepath.Join(checkout, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(checkout, "bin", "deepaffects_exporter")); err != nil {
		t.Fatal(err)
	}
	address := freeport.Address(t)
	start(t, "/bin/sh", "-c", `cd "$0" && exec bin/deepaffects_exporter --demo --storage.path=data --web.listen-address="$1" 2>exporter.log`,
		checkout, address)
	base := "http://" + address
	awaitText(t, base+"/api/v1/jobs?state=failed", `"state":"failed"`)
	for _, section := range strings.Split(rest, "\n## DeepAffects") {
		alert, _, _ := strings.Cut(section, "\n")
		t.Run(alert, func(t *testing.T) {
			commands := shellBlock.FindAllStringSubmatch(section, -1)
			commands = append(commands, inlineShell.FindAllStringSubmatch(section, -1)...)
			script := fmt.Sprintf("set -euo pipefail\n%s\n%s%sURL=%s ID='%s' ACCOUNT=demo\n",
				noMatch, setup, last, base, register(t, base, alert))
			for _, c := range commands {
				script += elsewhere.ReplaceAllString(c[1]+"\n", "")
			}
			shell := exec.Command("bash", "-c", script)
			shell.Dir = checkout
			out, err := shell.CombinedOutput()
			if err != nil || strings.Contains(string(out), "rror:") {
				t.Errorf("%v\n%s\n%s", err, script, out)
			}
		})
	}
}

// register registers a job whose ID means something else in a URL where it is not encoded.
func register(t *testing.T, base, name string) (id string) {
	t.Helper()
	id = name + " #1&%41/é"
	resp, err := http.Post(base+"/api/v1/jobs", "application/json", strings.NewReader(`{"request_id": "`+id+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatal(resp.Status)
	}
	return id
}

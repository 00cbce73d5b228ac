//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

var toAnAlert = regexp.MustCompile("(?s)becomes an alert.*?```sh\n(.*?)```")

// The README's commands lead to an alert. The test runs each line as it is, in a shell of
// its own, in a copy of the checkout, on the ports that the README names.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	match := toAnAlert.FindSubmatch(readme)
	if match == nil {
		t.Fatal("the README has no commands for an alert")
	}
	commands := strings.Split(strings.TrimSpace(string(match[1])), "\n")

	checkout, path := t.TempDir(), t.TempDir()
	run(t, "..", "/bin/sh", "-c",
		`git ls-files -z --cached --others --exclude-standard | xargs -0 cp --no-dereference --parents --target-directory="$0"`, checkout)
	absolute := func(name string) string {
		name, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	if err := os.Symlink(absolute(newest+"prometheus"), filepath.Join(path, "prometheus")); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nunpacked=" + absolute(debian+"..") + "\n" + alertmanager
	if err := os.WriteFile(filepath.Join(path, "alertmanager"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}

	// In a new network namespace the ports are free. This thread and its children use it
	// until the test ends.
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Fatalf("creating a network namespace: %v; this test needs root", err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, command := range commands {
		// In a new PID namespace: all processes of the command end with it.
		start(t, "/usr/bin/unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
			fmt.Sprintf("cd %s && export PATH=%s:$PATH && %s", checkout, path, command))
	}
	late, again := time.After(3*time.Minute), time.Tick(time.Second)
	for {
		select {
		case <-late:
			t.Fatal("no alert within the three minutes that the README promises")
		case <-again:
		}
		// An HTTP client in Go could use another thread and its network namespace.
		out, err := exec.Command(debian+"amtool", "--alertmanager.url=http://localhost:9093", "--output=json",
			"alert", "query", "DeepAffectsJobFailed").Output()
		if err != nil {
			continue
		}
		var alerts []struct{ Labels, Annotations map[string]string }
		if err := json.Unmarshal(out, &alerts); err != nil {
			t.Fatalf("response of Alertmanager: %v: %s", err, out)
		}
		for _, a := range alerts {
			if a.Labels["request_id"] == "" || a.Labels["api"] == "" || a.Labels["error_code"] == "" ||
				!strings.Contains(a.Annotations["runbook_url"], "/runbooks#DeepAffectsJobFailed") {
				t.Errorf("the alert lacks labels or annotations that the README promises: %+v", a)
			}
		}
		if len(alerts) > 0 {
			return
		}
	}
}

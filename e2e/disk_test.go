//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
)

// On a full disk the exporter refuses registrations, webhooks and removals, so that the
// sender tries again, sends no requests to the API, and serves scrapes. When there is
// space again, it continues without a restart, and no acknowledged data is lost.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mounting a small disk: %v; this test needs root or unshare --map-root-user --mount make e2e", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	var polls atomic.Int64
	api := serve(t, func(w http.ResponseWriter, r *http.Request) {
		polls.Add(1)
		fmt.Fprint(w, `{"status":"Completed","response":{"response":null}}`)
	})
	config := filepath.Join(t.TempDir(), "config.toml")
	text := fmt.Sprintf(`
[[inputs.deepaffects]]
  url = %q
  api_key = "key"
  requests_per_minute = 60000
  requests_per_day = 0
  webhook_token = "token"
`, api)
	writeFile(t, config, text)
	address := freeport.Address(t)
	base := "http://" + address
	run := func() *process {
		p := start(t, binary, "--config.file="+config, "--storage.path="+filepath.Join(disk, "data"),
			"--web.listen-address="+address)
		awaitText(t, base+"/-/ready", "ready")
		return p
	}
	send := func(method, path, body string) int {
		r, err := http.NewRequest(method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	p := run()
	registered := 0
	register := func() int {
		code := send(http.MethodPost, "/api/v1/jobs", fmt.Sprintf(`{"request_id":"job-%d"}`, registered))
		if code == http.StatusAccepted {
			registered++
		}
		return code
	}
	for range 20 {
		if code := register(); code != http.StatusAccepted {
			t.Fatalf("with free space: HTTP %d", code)
		}
	}
	awaitText(t, base+"/metrics", `deepaffects_jobs_finished_total{account="default",api="unknown",result="completed"} 20`)

	ballast, err := os.Create(filepath.Join(disk, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = ballast.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	// SQLite's write-ahead log has free space that it reuses first.
	eventually(t, "refusals on a full disk", func() (string, bool) {
		code := register()
		return fmt.Sprint(code), code == http.StatusServiceUnavailable
	})
	for _, dir := range []string{"data", "new"} { // a start would fail
		out, err := exec.Command(binary, "--config.check", "--config.file="+config,
			"--storage.path="+filepath.Join(disk, dir), "--web.listen-address=127.0.0.1:0").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "see whether the disk is full") {
			t.Errorf("--config.check of %s on a full disk: %v, %s", dir, err, out)
		}
	}
	before := polls.Load()
	for _, tt := range []struct{ method, path, body string }{
		{http.MethodPost, "/api/v1/jobs", `{"request_id":"new"}`},
		{http.MethodPost, "/webhook/token", `{"request_id":"hook","response":null}`},
		{http.MethodDelete, "/api/v1/jobs/job-3", ""},
	} {
		if code := send(tt.method, tt.path, tt.body); code != http.StatusServiceUnavailable {
			t.Errorf("%s %s on a full disk: HTTP %d", tt.method, tt.path, code)
		}
	}
	metrics, err := get(base+"/metrics", "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	if n := counter(metrics, `deepaffects_store_writable{account="default"}`); n != 0 {
		t.Errorf("on a full disk, store_writable is %d", n)
	}
	if more := polls.Load() - before; more > 1 {
		t.Errorf("%d requests were sent that were not stored before", more)
	}

	logged := func(line string) { // by the housekeeping, within seconds
		t.Helper()
		eventually(t, line, func() (string, bool) { return p.output(), strings.Count(p.output(), line) == 1 })
	}
	logged("Store cannot be written")
	if err := os.Remove(ballast.Name()); err != nil {
		t.Fatal(err)
	}
	ballast.Close()
	for _, tt := range []struct {
		method, path, body string
		code               int
	}{
		{http.MethodPost, "/api/v1/jobs", `{"request_id":"new"}`, http.StatusAccepted},
		{http.MethodPost, "/webhook/token", `{"request_id":"hook","response":null}`, http.StatusOK},
		{http.MethodDelete, "/api/v1/jobs/job-3", "", http.StatusNoContent},
	} {
		if code := send(tt.method, tt.path, tt.body); code != tt.code {
			t.Errorf("%s %s with free space again: HTTP %d", tt.method, tt.path, code)
		}
	}
	// What was counted while nothing could be stored is stored, and shown, now.
	metrics, err = get(base+"/metrics", "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	for series, atLeast := range map[string]int{
		`deepaffects_store_writable{account="default"}`:                               1,
		`deepaffects_store_errors_total{account="default"}`:                           4,
		`deepaffects_webhook_requests_total{account="default",outcome="store_error"}`: 1,
	} {
		if n := counter(metrics, series); n < atLeast {
			t.Errorf("with free space again, %s is %d, want at least %d", series, n, atLeast)
		}
	}
	done := fmt.Sprintf(`deepaffects_jobs_finished_total{account="default",api="unknown",result="completed"} %d`,
		registered+2)
	awaitText(t, base+"/metrics", done)
	logged("Store can be written again")
	if n := strings.Count(p.output(), "Store cannot be written"); n != 1 {
		t.Errorf("it was logged %d times that the store cannot be written", n)
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.done
	run()
	awaitText(t, base+"/metrics", done,
		fmt.Sprintf(`deepaffects_jobs{account="default",state="completed"} %d`, registered+1))
}

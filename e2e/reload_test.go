//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
)

// The exporter is reloaded under load. Every second configuration is invalid, and an
// account with its own listener is added and removed. The exporter drops no request and
// leaks nothing. RELOADS is the number of reloads.
func TestReloads(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) { reload(t, sqliteStore(t), number(t, "RELOADS", 200)) })
	t.Run("PostgreSQL", func(t *testing.T) { reload(t, postgresStore(t), number(t, "RELOADS", 40)) })
}

func reload(t *testing.T, store storage, reloads int) {
	api := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"status":"Completed","response":{"response":null}}`)
	})
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	service := freeport.Address(t) // sometimes nobody listens there
	write := func(n int) (valid bool) {
		text := fmt.Sprintf(`
[[inputs.deepaffects]]
  url = %q
  api_key = "key"
  requests_per_minute = 0
  requests_per_day = 0
  webhook_token = "token"
  max_job_series = 10
  concurrency = 2
%s`, api, store.options)
		if n%4 == 0 {
			text += fmt.Sprintf(`
[[inputs.deepaffects]]
  account = "guest"
  url = %q
  api_key = "other"
  webhook_token = "guest"
  service_address = %q
%s`, api, service, store.options)
		}
		if valid = n%2 == 0; !valid {
			text += []string{"timeout = \"-1s\"\n", "nonsense = 1\n", "= = =\n", "tls_ca = \"/nonexistent\"\n"}[n/2%4]
		}
		writeFile(t, config, text)
		return valid
	}
	write(2)
	address := freeport.Address(t)
	base := "http://" + address
	p := start(t, binary, append(store.flags, "--config.file="+config, "--web.listen-address="+address,
		"--web.enable-lifecycle", "--log.level=warn")...)
	awaitText(t, base+"/-/ready", "ready")
	awaitOwned(t, base, "default")
	goroutines := func() int {
		metrics, err := get(base+"/metrics", "text/plain")
		if err != nil {
			t.Fatal(err)
		}
		return counter(metrics, "go_goroutines")
	}

	var load sync.WaitGroup
	var stop atomic.Bool
	var accepted atomic.Int64
	for g := range 2 {
		load.Go(func() {
			for n := 0; !stop.Load(); n++ {
				id := fmt.Sprintf("%d-%d", g, n)
				for _, tt := range []struct {
					path, body string
					code       int
				}{
					{"/api/v1/jobs?account=default", `{"request_id":"` + id + `"}`, http.StatusAccepted},
					{"/webhook/token", `{"request_id":"` + id + `-adopted","response":null}`, http.StatusOK},
				} {
					resp, err := http.Post(base+tt.path, "application/json", strings.NewReader(tt.body))
					if err != nil {
						t.Errorf("%s: %v", tt.path, err)
						return
					}
					resp.Body.Close()
					if resp.StatusCode != tt.code {
						t.Errorf("%s: HTTP %d", tt.path, resp.StatusCode)
						return
					}
					accepted.Add(1)
				}
			}
		})
	}
	before := goroutines()
	for n := range reloads {
		valid := write(n)
		resp, err := http.Post(base+"/-/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if taken := resp.StatusCode == http.StatusOK; taken != valid {
			t.Fatalf("reload %d: HTTP %d", n, resp.StatusCode)
		}
	}
	stop.Store(true)
	load.Wait()
	write(2)
	resp, err := http.Post(base+"/-/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	awaitText(t, base+"/metrics",
		fmt.Sprintf(`deepaffects_jobs_finished_total{account="default",api="unknown",result="completed"} %d`,
			accepted.Load()))
	http.DefaultClient.CloseIdleConnections()
	// Some connections are kept open and have goroutines.
	eventually(t, "as many goroutines as before", func() (string, bool) {
		n := goroutines()
		return fmt.Sprintf("%d, before %d", n, before), n <= before+10
	})
	if n := strings.Count(p.output(), "level=ERROR"); n != reloads/2 {
		t.Errorf("%d errors were logged for %d invalid configurations", n, reloads/2)
	}
	t.Logf("%d reloads, %d registrations and webhooks acknowledged; %d goroutines, %d MB",
		reloads, accepted.Load(), goroutines(), memory(t, p.Process.Pid, "VmRSS"))
}

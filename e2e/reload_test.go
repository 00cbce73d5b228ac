//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Reloaded again and again under load, half the times with a configuration that is
// wrong, and with accounts and listeners that come and go, the exporter drops
// nothing and leaves nothing behind. RELOADS says how often.
func TestReloads(t *testing.T) {
	reloads := number(t, "RELOADS", 200)
	api := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"status":"Completed","response":{"response":null}}`)
	})
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	// Its port is free now and then: on another address, no connection takes it.
	_, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	service := net.JoinHostPort("127.0.0.2", port)
	write := func(n int) (sound bool) {
		text := "[[inputs.deepaffects]]\nurl = \"" + api + "\"\napi_key = \"key\"\nrequests_per_minute = 0\nrequests_per_day = 0\nwebhook_token = \"token\"\nmax_job_series = 10\nconcurrency = 2\n"
		if n%4 == 0 {
			text += fmt.Sprintf("[[inputs.deepaffects]]\naccount = \"guest\"\nurl = %q\napi_key = \"other\"\nwebhook_token = \"guest\"\nservice_address = %q\n", api, service)
		}
		if sound = n%2 == 0; !sound {
			text += []string{"timeout = \"-1s\"\n", "nonsense = 1\n", "= = =\n", "tls_ca = \"/nonexistent\"\n"}[n/2%4]
		}
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return sound
	}
	write(2)
	address := freeAddress(t)
	base := "http://" + address
	p := start(t, binary, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--web.enable-lifecycle", "--log.level=warn")
	awaitText(t, base+"/-/ready", "ready")
	goroutines := func() int {
		metrics, err := get(base+"/metrics", "text/plain")
		if err != nil {
			t.Fatal(err)
		}
		return counter(metrics, "go_goroutines")
	}

	var load sync.WaitGroup
	var stop atomic.Bool
	var acknowledged atomic.Int64
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
					acknowledged.Add(1)
				}
			}
		})
	}
	before := goroutines()
	for n := range reloads {
		sound := write(n)
		resp, err := http.Post(base+"/-/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if taken := resp.StatusCode == http.StatusOK; taken != sound {
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
	awaitText(t, base+"/metrics", fmt.Sprintf(`deepaffects_jobs_finished_total{account="default",result="completed"} %d`, acknowledged.Load()))
	http.DefaultClient.CloseIdleConnections()
	// But for those of some connections that are kept for later.
	eventually(t, "as many goroutines as before", func() (string, bool) {
		n := goroutines()
		return fmt.Sprintf("%d, before %d", n, before), n <= before+10
	})
	if n := strings.Count(p.output(), "level=ERROR"); n != reloads/2 {
		t.Errorf("%d errors were logged for %d wrong configurations", n, reloads/2)
	}
	t.Logf("%d reloads, %d registrations and webhooks acknowledged; %d goroutines, %d MB", reloads, acknowledged.Load(), goroutines(), memory(t, p.Process.Pid, "VmRSS"))
}

//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
)

// number returns an integer from the environment. The Makefile sets it for long runs.
func number(t *testing.T, variable string, fallback int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// memory returns a value of /proc/PID/status in MB: VmRSS is the present memory of the
// process, VmHWM its maximum.
func memory(t *testing.T, pid int, name string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), name+":")
	fields := strings.Fields(after)
	kB, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return kB / 1024
}

// bomb returns a webhook of 64 MB, compressed to about 64 kB.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, `{"request_id":"bomb","response":{"transcript":"`)
	for range 64 {
		if err == nil {
			_, err = w.Write(bytes.Repeat([]byte("0"), 1<<20))
		}
	}
	if err == nil {
		_, err = io.WriteString(w, `"}}`)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Clients attack the exporter for SIEGE seconds: gzip bombs that know the token, 1,000
// connections that send a byte a second, 10,000 requests a second with wrong tokens. The
// exporter serves every scrape and accepts every valid webhook, in bounded memory. The
// test logs the latencies; docs/reliability.md has the results.
func TestSiege(t *testing.T) {
	seconds := number(t, "SIEGE", 5)
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	text := `
[[inputs.deepaffects]]
  url = "http://127.0.0.1:1"
  api_key = "key"
  webhook_token = "token"
  max_job_series = 100
`
	writeFile(t, config, text)
	address := freeport.Address(t)
	base := "http://" + address
	p := start(t, binary, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=error")
	awaitText(t, base+"/-/ready", "ready")

	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second)
	defer cancel()
	var attackers sync.WaitGroup
	var bombs, wrong, slow, ended atomic.Int64
	// request returns the status of the response, 0 without a response.
	request := func(client *http.Client, method, path, encoding string, body io.Reader) int {
		r, err := http.NewRequestWithContext(ctx, method, base+path, body)
		if err != nil {
			t.Error(err)
			return 0
		}
		r.Header.Set("Content-Encoding", encoding)
		resp, err := client.Do(r)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	packed := bomb(t)
	for range 4 {
		attackers.Go(func() {
			for ctx.Err() == nil {
				code := request(http.DefaultClient, http.MethodPost, "/webhook/token", "gzip", bytes.NewReader(packed))
				switch code {
				case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable:
					bombs.Add(1)
				case 0:
				default:
					t.Errorf("response to a gzip bomb: HTTP %d", code)
				}
			}
		})
	}
	for range 1000 {
		attackers.Go(func() {
			ticker := time.NewTicker(time.Second)
			defer ticker.Stop()
			for ctx.Err() == nil {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				slow.Add(1)
				_, err = io.WriteString(conn, "POST /webhook/token HTTP/1.1\r\nHost: x\r\n")
				for ; err == nil; _, err = io.WriteString(conn, "X") {
					select {
					case <-ticker.C:
					case <-ctx.Done():
						err = ctx.Err()
					}
					if err != nil {
						break
					}
				}
				ended.Add(1)
				conn.Close()
			}
		})
	}
	const perSecond, connections, batch = 10_000, 20, 25
	for range connections {
		attackers.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			ticker := time.NewTicker(connections * batch * time.Second / perSecond)
			defer ticker.Stop()
			for n, answers := 0, bufio.NewReader(conn); ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
				guess := fmt.Sprintf("POST /webhook/guess-%d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", n)
				if _, err := io.WriteString(conn, strings.Repeat(guess, batch)); err != nil {
					t.Error(err)
					return
				}
				for range batch {
					resp, err := http.ReadResponse(answers, nil)
					if err != nil || resp.StatusCode != http.StatusNotFound {
						t.Errorf("response to a wrong token: %v, %v", resp, err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					wrong.Add(1)
				}
			}
		})
	}

	// Scrapes and valid webhooks at the same time.
	var scrapes, hooks []time.Duration
	valid := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for n := 0; ; n++ {
		begin := time.Now()
		code := request(valid, http.MethodGet, "/metrics", "", nil)
		scraped := time.Since(begin)
		begin = time.Now()
		hook := request(valid, http.MethodPost, "/webhook/token", "",
			strings.NewReader(fmt.Sprintf(`{"request_id":"true-%d","response":null}`, n)))
		took := time.Since(begin)
		if ctx.Err() != nil {
			break
		}
		if code != http.StatusOK || hook != http.StatusOK {
			t.Errorf("response to a scrape: HTTP %d; to a valid webhook: HTTP %d", code, hook)
		}
		scrapes, hooks = append(scrapes, scraped), append(hooks, took)
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	attackers.Wait()
	most := memory(t, p.Process.Pid, "VmHWM")
	metrics, err := get(base+"/metrics", "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	adopted := counter(metrics, `deepaffects_webhook_requests_total{account="default",outcome="adopted"}`)
	if adopted < len(hooks) {
		t.Errorf("%d webhooks were adopted, %d acknowledged", adopted, len(hooks))
	}
	if bombs.Load() == 0 || wrong.Load() == 0 || ended.Load() == 0 {
		t.Errorf("%d bombs, %d wrong tokens, %d closed slow connections: an attack did not run",
			bombs.Load(), wrong.Load(), ended.Load())
	}
	if most > 1024 {
		t.Errorf("the exporter used %d MB", most)
	}
	quantile := func(of []time.Duration, q float64) time.Duration {
		slices.Sort(of)
		return of[int(q*float64(len(of)-1))].Round(time.Millisecond)
	}
	t.Logf("%d s: %d bombs, %d slow connections opened, %d wrong tokens (%d a second)",
		seconds, bombs.Load(), slow.Load(), wrong.Load(), wrong.Load()/int64(seconds))
	t.Logf("%d scrapes: p50 %s, p99 %s; true webhooks: p50 %s, p99 %s; memory at most %d MB",
		len(scrapes), quantile(scrapes, .5), quantile(scrapes, .99), quantile(hooks, .5), quantile(hooks, .99), most)
}

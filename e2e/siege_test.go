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
)

// number is an integer from the environment, which the large runs of the Makefile
// set.
func number(t *testing.T, variable string, usual int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// memory is a figure of a process's memory, in MB: VmRSS is now, VmHWM the most
// that it has been.
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

// bomb is a webhook of 64 MB in some 64 kB.
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

// Besieged for SIEGE seconds (gzip bombs that know the token, 1,000 connections
// that send a byte now and then, 10,000 requests a second with wrong tokens), the
// exporter serves every scrape and every registration and takes every true webhook,
// in bounded memory. How fast is logged; docs/reliability.md has the figures.
func TestSiege(t *testing.T) {
	seconds := number(t, "SIEGE", 5)
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	text := "[[inputs.deepaffects]]\nurl = \"http://127.0.0.1:1\"\napi_key = \"key\"\nwebhook_token = \"token\"\nmax_job_series = 100\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	base := "http://" + address
	p := start(t, binary, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=error")
	awaitText(t, base+"/-/ready", "ready")

	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second)
	defer cancel()
	var besiegers sync.WaitGroup
	var bombs, wrong, slow, given atomic.Int64
	// request says which status came; 0: none did.
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
		besiegers.Go(func() {
			for ctx.Err() == nil {
				switch code := request(http.DefaultClient, http.MethodPost, "/webhook/token", "gzip", bytes.NewReader(packed)); code {
				case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable:
					bombs.Add(1)
				case 0:
				default:
					t.Errorf("a bomb was answered with HTTP %d", code)
				}
			}
		})
	}
	for range 1000 {
		besiegers.Go(func() {
			ticker := time.NewTicker(time.Second)
			defer ticker.Stop()
			for ctx.Err() == nil {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				slow.Add(1)
				for _, err = io.WriteString(conn, "POST /webhook/token HTTP/1.1\r\nHost: x\r\n"); err == nil; _, err = io.WriteString(conn, "X") {
					select {
					case <-ticker.C:
					case <-ctx.Done():
						err = ctx.Err()
					}
					if err != nil {
						break
					}
				}
				given.Add(1)
				conn.Close()
			}
		})
	}
	const perSecond, connections, batch = 10_000, 20, 25
	for range connections {
		besiegers.Go(func() {
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
						t.Errorf("a wrong token was answered with %v, %v", resp, err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					wrong.Add(1)
				}
			}
		})
	}

	// Everyday life goes on.
	var scrapes, hooks []time.Duration
	honest := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	everyday := time.NewTicker(100 * time.Millisecond)
	defer everyday.Stop()
	for n := 0; ; n++ {
		begin := time.Now()
		code := request(honest, http.MethodGet, "/metrics", "", nil)
		scraped := time.Since(begin)
		begin = time.Now()
		hook := request(honest, http.MethodPost, "/webhook/token", "", strings.NewReader(fmt.Sprintf(`{"request_id":"true-%d","response":null}`, n)))
		took := time.Since(begin)
		if ctx.Err() != nil {
			break
		}
		if code != http.StatusOK || hook != http.StatusOK {
			t.Errorf("a scrape was answered with HTTP %d, a true webhook with %d", code, hook)
		}
		scrapes, hooks = append(scrapes, scraped), append(hooks, took)
		select {
		case <-everyday.C:
		case <-ctx.Done():
		}
	}
	besiegers.Wait()
	most := memory(t, p.Process.Pid, "VmHWM")
	metrics, err := get(base+"/metrics", "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	if adopted := counter(metrics, `deepaffects_webhook_requests_total{account="default",outcome="adopted"}`); adopted < len(hooks) {
		t.Errorf("%d webhooks were adopted, %d acknowledged", adopted, len(hooks))
	}
	if bombs.Load() == 0 || wrong.Load() == 0 || given.Load() == 0 {
		t.Errorf("%d bombs, %d wrong tokens: this was no siege", bombs.Load(), wrong.Load())
	}
	if most > 1024 {
		t.Errorf("it took %d MB", most)
	}
	quantile := func(of []time.Duration, q float64) time.Duration {
		slices.Sort(of)
		return of[int(q*float64(len(of)-1))].Round(time.Millisecond)
	}
	t.Logf("%d s: %d bombs, %d slow connections opened, %d wrong tokens (%d a second)", seconds, bombs.Load(), slow.Load(), wrong.Load(), wrong.Load()/int64(seconds))
	t.Logf("%d scrapes: p50 %s, p99 %s; true webhooks: p50 %s, p99 %s; memory at most %d MB",
		len(scrapes), quantile(scrapes, .5), quantile(scrapes, .99), quantile(hooks, .5), quantile(hooks, .99), most)
}

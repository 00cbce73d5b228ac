//go:build e2e

// Package e2e tests the built programs as an operator runs them: binaries, signals and
// logs, with real Prometheus, Alertmanager, Telegraf and InfluxDB.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
)

const (
	binary       = "../bin/deepaffects_exporter"
	debian       = "../.cache/prometheus/usr/bin/"
	newest       = "../.cache/prometheus3/current/"
	usualTimeout = 3 * time.Minute // of eventually; a test machine may be slow, and only a failure takes so long
)

// wait lets time pass between what users, vendors and faults do. It waits for nothing to happen: eventually does.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// eventually tries until ok. After usualTimeout it fails the test with the last text that try
// returned.
func eventually(t *testing.T, what string, try func() (text string, ok bool)) {
	t.Helper()
	eventuallyWithin(t, usualTimeout, what, try)
}

// eventuallyWithin is eventually with another timeout.
func eventuallyWithin(t *testing.T, timeout time.Duration, what string, try func() (text string, ok bool)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		last, ok := try()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s; last: %s", what, timeout, last)
		case <-ticker.C:
		}
	}
}

// A process is a program that a test starts, and its output.
type process struct {
	*exec.Cmd
	mu   sync.Mutex
	text bytes.Buffer
	done chan struct{}
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// start starts a program.
func start(t *testing.T, program string, args ...string) *process {
	t.Helper()
	p := newProcess(t, program, args...)
	p.launch(t)
	return p
}

// newProcess returns a program that is not started yet.
func newProcess(t *testing.T, program string, args ...string) *process {
	t.Helper()
	path, err := filepath.Abs(program)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.Dir = t.TempDir() // for its default storage path
	p.Stdout, p.Stderr = p, p
	return p
}

// launch starts the program. The end of the test kills it.
func (p *process) launch(t *testing.T) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait() // its exit code is in ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.done
		if t.Failed() {
			lines := strings.Split(p.output(), "\n")
			t.Logf("last output of %s:\n%s", p.Path, strings.Join(lines[max(len(lines)-50, 0):], "\n"))
		}
	})
}

// awaitEnd waits until a program that was asked to stop has stopped. Telegraf kills a plugin after this time.
func (p *process) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		t.Fatal("the process did not stop within 5 seconds")
	}
}

// get returns a page. The error of another status than 200 contains the body.
func get(url, accept string) (string, error) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP %d: %s", resp.StatusCode, body)
	}
	return string(body), err
}

// listed returns the states of all jobs of an account, by request ID.
func listed(base, account string) (map[string]string, error) {
	states := make(map[string]string)
	for after := ""; ; {
		text, err := get(base+"/api/v1/jobs?account="+account+"&limit=1000&after="+after, "application/json")
		var page struct {
			Jobs []struct {
				RequestID string `json:"request_id"`
				State     string `json:"state"`
			} `json:"jobs"`
			Next string `json:"next"`
		}
		if err == nil {
			err = json.Unmarshal([]byte(text), &page)
		}
		if err != nil {
			return nil, err
		}
		for _, j := range page.Jobs {
			states[j.RequestID] = j.State
		}
		if after = page.Next; after == "" {
			return states, nil
		}
	}
}

// writeFile writes a file.
func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func awaitText(t *testing.T, url string, texts ...string) {
	t.Helper()
	eventually(t, url, func() (string, bool) {
		body, err := get(url, "text/plain")
		for _, text := range texts {
			if !strings.Contains(body, text) {
				return fmt.Sprintf("%v; %q is missing", err, text), false
			}
		}
		return "", err == nil
	})
}

// In the demo, the first jobs complete and fail within 20 seconds. promtool accepts its
// metrics. It stops within 5 seconds of SIGTERM.
func TestDemo(t *testing.T) {
	address := freeport.Address(t)
	begin := time.Now()
	demo := start(t, binary, "--demo", "--web.listen-address="+address)
	base := "http://" + address
	awaitText(t, base+"/-/ready", "ready")
	eventually(t, "the first ends", func() (string, bool) {
		metrics, err := get(base+"/metrics", "text/plain")
		if err != nil {
			return err.Error(), false
		}
		for _, result := range []string{"completed", "failed"} {
			some := regexp.MustCompile(`deepaffects_jobs_finished_total{.*result="` + result + `"} [1-9]`)
			if !some.MatchString(metrics) {
				return "no job " + result, false
			}
		}
		return "", true
	})
	t.Logf("the first jobs completed and failed after %s", time.Since(begin).Round(time.Second))

	metrics, err := get(base+"/metrics", "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	lint := exec.Command(debian+"promtool", "check", "metrics")
	lint.Stdin = strings.NewReader(metrics)
	if out, err := lint.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	openMetrics, err := get(base+"/metrics", "application/openmetrics-text; version=1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{` # {request_id="`, "deepaffects_jobs_finished_created{", "# EOF"} {
		if !strings.Contains(openMetrics, part) {
			t.Errorf("OpenMetrics lacks %q", part)
		}
	}
	awaitText(t, base+"/", "demo", "completed")
	stop(t, demo)
	if code := demo.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// stop sends SIGTERM and waits until the process has stopped.
func stop(t *testing.T, p *process) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.awaitEnd(t)
}

// After kill -9 the exporter starts again on the same address.
func TestKillAndStartAgain(t *testing.T) {
	address := freeport.Address(t)
	for range 3 {
		demo := start(t, binary, "--demo", "--web.listen-address="+address)
		awaitText(t, "http://"+address+"/-/ready", "ready")
		awaitText(t, "http://"+address+"/metrics", "deepaffects_job_state{")
		if err := demo.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-demo.done
	}
}

// If its port is in use, the process exits at once with one line, and sends no request to
// the API.
func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	polled := make(chan struct{}, 1)
	api := serve(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case polled <- struct{}{}:
		default:
		}
	})
	config := filepath.Join(t.TempDir(), "config.toml")
	text := fmt.Sprintf("[[inputs.deepaffects]]\nurl = %q\napi_key = \"key\"\nrequest_ids = [\"a\"]\n", api)
	writeFile(t, config, text)
	p := start(t, binary, "--config.file="+config, "--web.listen-address="+l.Addr().String())
	<-p.done
	if p.ProcessState.ExitCode() != 1 || !strings.Contains(p.output(), "address already in use") {
		t.Errorf("exit code %d:\n%s", p.ProcessState.ExitCode(), p.output())
	}
	select {
	case <-polled:
		t.Error("the exporter sent a request to the API")
	default:
	}
}

// serve runs an HTTP server on loopback until the test ends, and returns its base URL.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return "http://" + l.Addr().String()
}

// SIGHUP loads a new configuration; the exporter keeps the previous one if the new one is
// invalid. Jobs that are registered over HTTP are polled and end.
func TestReloadAndRegister(t *testing.T) {
	api := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"status":"Failed","response":{"request_id":%q,
			"response":{"fault":{"detail":{"error_code":"com.deepaffects.BadRequest"}}}}}`, r.URL.Query().Get("request_id"))
	})
	config := filepath.Join(t.TempDir(), "config.toml")
	write := func(options string) {
		t.Helper()
		text := "[[inputs.deepaffects]]\nurl = \"" + api + "\"\napi_key = \"key\"\n" + options
		writeFile(t, config, text)
	}
	write("")
	address := freeport.Address(t)
	p := start(t, binary, "--config.file="+config, "--web.listen-address="+address)
	base := "http://" + address
	awaitText(t, base+"/-/ready", "ready")

	resp, err := http.Post(base+"/api/v1/jobs", "application/json",
		strings.NewReader(`{"request_id":"posted","api":"/audio/generic/api/v1/async/asr"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("registering: HTTP %d", resp.StatusCode)
	}
	awaitText(t, base+"/metrics",
		`deepaffects_job_info{account="default",api="asr",error_code="com.deepaffects.BadRequest",`+
			`request_id="posted",source="http"} 1`,
		`deepaffects_jobs_finished_total{account="default",api="asr",result="failed"} 1`)

	hangUp := func() {
		t.Helper()
		if err := p.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	service := freeport.Address(t)
	write("request_ids = [\"from-reload\"]\nservice_address = \"" + service + "\"\nwebhook_token = \"token\"\n")
	hangUp()
	awaitText(t, base+"/metrics", `request_id="from-reload"`, "deepaffects_config_last_reload_successful 1",
		`deepaffects_jobs_finished_total{account="default",api="unknown",result="failed"} 1`)
	resp, err = http.Post("http://"+service+"/webhook/token", "application/json",
		strings.NewReader(`{"request_id":"hook","response":null}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	awaitText(t, base+"/metrics", `deepaffects_job_state{account="default",request_id="hook",state="completed"} 1`,
		`deepaffects_webhook_requests_total{account="default",outcome="adopted"} 1`)
	write("request_ids = [\"not-taken\"]\nnonsense = true\n")
	hangUp()
	awaitText(t, base+"/metrics", `request_id="from-reload"`, "deepaffects_config_last_reload_successful 0")
	if !strings.Contains(p.output(), "nonsense: no such option") {
		t.Error("the log does not name the invalid option")
	}
	stop(t, p)
}

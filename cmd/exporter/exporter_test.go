package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse parses a command line.
func parse(t *testing.T, args ...string) *flags {
	t.Helper()
	f := new(flags)
	if _, err := newApp(f).Parse(args); err != nil {
		t.Fatal(err)
	}
	return f
}

// discard is a log that nothing reads.
var discard = slog.New(slog.DiscardHandler)

// writeFile writes a file into a new directory and returns its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// idleExporter returns an exporter with one account, whose poller is not running.
func idleExporter(t *testing.T, args ...string) *exporter {
	t.Helper()
	config := collector.DefaultConfig()
	config.APIKey = "key"
	c, err := collector.New([]collector.Config{config}, collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return newExporter(parse(t, args...), c, discard)
}

func TestHealthCheck(t *testing.T) {
	healthy := httptest.NewServer(idleExporter(t).handler())
	defer healthy.Close()
	stuck := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the poller has not moved", http.StatusServiceUnavailable)
	}))
	defer stuck.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	secure := httptest.NewTLSServer(idleExporter(t).handler()) // with a certificate of an unknown CA
	defer secure.Close()
	for _, tt := range []struct{ url, want string }{
		{secure.URL + "/-/healthy", ""},
		{healthy.URL + "/-/healthy", ""},
		{stuck.URL + "/-/healthy", "not healthy: 503 Service Unavailable: the poller has not moved"},
		{gone.URL + "/-/healthy", "connection refused"},
		{"localhost:9891", "--web.health-check: not an http or https URL"},
		{"http://user:secret@localhost:port/-/healthy", "--web.health-check: not an http or https URL"},
		{"http://user:secret%zz@localhost/", "--web.health-check: not an http or https URL"},
		{strings.Replace(gone.URL, "http://", "http://user:secret@", 1), "connection refused"},
	} {
		err := run(parse(t, "--web.health-check="+tt.url), io.Discard, discard)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(fmt.Sprint(err), tt.want) ||
			strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%s: %v, want %q", tt.url, err, tt.want)
		}
	}
}

func TestWrongFlags(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "--config.file: required; to try the exporter without a configuration, use --demo"},
		{[]string{"--demo", "--config.file=x"}, "--demo: cannot be combined with"},
		{[]string{"--demo", "--once"}, "--demo: cannot be combined with"},
		{[]string{"--demo", "--web.telemetry-path=metrics"}, "--web.telemetry-path: must begin with a slash"},
		{[]string{"--demo", "--web.telemetry-path=/"}, "--web.telemetry-path: / is a status page"},
		{[]string{"--demo", "--web.telemetry-path=/jobs"}, "--web.telemetry-path: /jobs is a status page"},
		{[]string{"--demo", "--web.telemetry-path=/-/healthy"}, "--web.telemetry-path: /-/ is reserved"},
		{[]string{"--demo", "--web.telemetry-path=/api/v1/jobs"}, "--web.telemetry-path: /api/ is reserved"},
		{[]string{"--demo", "--web.telemetry-path=/webhook/metrics"}, "--web.telemetry-path: /webhook and what looks like"},
		{[]string{"--demo", "--web.telemetry-path=/webhook"}, "--web.telemetry-path: /webhook and what looks like"},
		{[]string{"--config.check", "--once", "--config.file=x"}, "--config.check: cannot be combined with --once"},
		{[]string{"--config.check", "--plan", "--config.file=x"}, "--config.check: cannot be combined with --once"},
		{[]string{"--demo", "--web.telemetry-path=/debug/pprof/"}, "--web.telemetry-path: /debug/ is reserved"},
		{[]string{"--demo", "--web.telemetry-path=/{metrics}"}, "--web.telemetry-path: must be a plain path"},
		{[]string{"--demo", "--web.telemetry-path=//metrics"}, "--web.telemetry-path: must be a plain path"},
		{[]string{"--config.check", "--config.file=/nonexistent"}, "/nonexistent"},
		{[]string{"--demo", "--storage.copy-to=x"}, "--storage.copy-to: cannot be combined with"},
		{[]string{"--storage.copy-to=host=127.0.0.1 password=canary"}, "--storage.copy-to: is neither a directory nor a URL"},
		{[]string{"--storage.copy-to=mysql://u:canary@h/d"}, "--storage.copy-to: is neither a directory nor a URL"},
		{[]string{"--storage.copy-to=x", "--storage.path=password=canary host=h"}, "--storage.path: is neither a directory"},
		{[]string{"--demo", "--storage.path=postgres://u:canary@h/d"}, "--storage.path: is a directory; a database is set"},
	} {
		err := run(parse(t, tt.args...), io.Discard, discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v, want %q", tt.args, err, tt.want)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	for _, tt := range []struct{ text, out, err string }{
		{"[[inputs.deepaffects]]\napi_key = \"key\"\n", `account "default"
  url:      https://proxy.api.deepaffects.com
  key:      from the configuration
  quota:    5 requests in any 60 seconds, 100 requests in any 24 hours
configuration is valid
`, ""},
		{`[[inputs.deepaffects]]
account = "b"
url = "https://example.com/"
api_key_file = "/run/credentials/deepaffects-exporter.service/key"
request_ids = ["x", "y"]
request_id_files = ["/etc/passwd", "/etc/passw[d]"]
request_id_urls = ["https://user:canary@example.com/ids?token=canary"]
requests_per_minute = 0.5
requests_per_day = 0
webhook_token = "canary-canary-canary"
`, `account "b"
  url:      https://example.com/
  key:      not read
  quota:    1 request in any 2 min, no limit in any 24 hours
  ids:      2 in request_ids
  files:    /etc/passwd (1 now)
  files:    /etc/passw[d] (1 now)
  ids from: https://…@example.com/ids?… every 1m
  webhooks: at /webhook/{token}
configuration is valid
`, ""},
		{`[[inputs.deepaffects]]
api_key = "key"
database_url = "postgres://monitor:canary@db.example.com/monitor?sslmode=verify-full&password=canary"
`, `account "default"
  url:      https://proxy.api.deepaffects.com
  key:      from the configuration
  quota:    5 requests in any 60 seconds, 100 requests in any 24 hours
  database: postgres://db.example.com:5432/monitor, lease 5s
configuration is valid
`, ""},
		{"[[inputs.deepaffects]]\napi_key = \"key\"\nrequests_per_minute = 2.7\nrequests_per_day = 1\n", `account "default"
  url:      https://proxy.api.deepaffects.com
  key:      from the configuration
  quota:    2 requests in any 60 seconds, 1 request in any 24 hours
configuration is valid
`, ""},
		{"[[inputs.deepaffects]]\napi_key = \"key\"\ndatabase_url = \"postgres://monitor:2024#canary@db/monitor\"\n",
			`account "default"
  url:      https://proxy.api.deepaffects.com
  key:      from the configuration
  quota:    5 requests in any 60 seconds, 100 requests in any 24 hours
  database: postgres://db:5432/monitor, lease 5s
configuration is valid
`, ""},
		{"[[inputs.deepaffects]]\napi_key = \"key\"\ndatabase_url = \"host=db password=canary\"\n", "",
			"database_url: must begin with postgres://"},
		{"[[inputs.deepaffects]]\napi_key_file = \"/nonexistent\"\n", "", "api_key_file: "},
		{"[[inputs.deepaffects]]\napi_key = \"${UNSET}\"\n", "", "the environment variable UNSET is not set"},
		{"[[inputs.deepaffects]]\napi_key = \"key\"\ntimeout = \"-1s\"\n", "", "timeout: must be longer than 0"},
	} {
		config := writeFile(t, "config.toml", tt.text)
		var out bytes.Buffer
		err := run(parse(t, "--config.check", "--config.file="+config), &out, discard)
		right := (err == nil) == (tt.err == "") && (err == nil || strings.Contains(err.Error(), tt.err))
		if out.String() != tt.out || !right {
			t.Errorf("%q: %q, %v; want %q, %q", tt.text, out.String(), err, tt.out, tt.err)
		}
	}
}

// A credential that only the service can read is a warning: the check runs outside of it.
func TestConfigCheckWithoutCredentials(t *testing.T) {
	const table = "[[inputs.deepaffects]]\napi_key_file = \"/run/credentials/x.service/key\"\n"
	config := writeFile(t, "config.toml", table+"tls_ca = \"/run/credentials/x.service/ca\"\n")
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	if err := run(parse(t, "--config.check", "--config.file="+config), io.Discard, logger); err != nil {
		t.Error(err)
	}
	for _, option := range []string{"api_key_file", "tls_ca"} {
		if !strings.Contains(log.String(), option+": a credential of the service") {
			t.Errorf("no warning about %s: %s", option, log.String())
		}
	}
	if err := run(parse(t, "--once", "--config.file="+config), io.Discard, discard); err == nil {
		t.Error("the exporter runs without its credential")
	}
}

// A pattern that matches nothing is valid, and most likely a mistake.
// What packages log without a logger is in the format of the program, at level debug.
func TestStandardLog(t *testing.T) {
	output, flags, prefix := stdlog.Writer(), stdlog.Flags(), stdlog.Prefix()
	defer func() {
		stdlog.SetOutput(output)
		stdlog.SetFlags(flags)
		stdlog.SetPrefix(prefix)
	}()
	config := writeFile(t, "config.toml", "[[inputs.deepaffects]]\napi_key = \"key\"\n")
	var logged bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if err := run(parse(t, "--config.check", "--config.file="+config), io.Discard, logger); err != nil {
		t.Fatal(err)
	}
	stdlog.Print("Unsolicited response received on idle HTTP channel starting with \"canary\"")
	const want = `level=DEBUG msg="Unsolicited response received on idle HTTP channel"`
	if !strings.Contains(logged.String(), want) || strings.Contains(logged.String(), "canary") {
		t.Errorf("logged %s", &logged)
	}
}

func TestConfigCheckWarns(t *testing.T) {
	dir := t.TempDir()
	config := writeFile(t, "config.toml", fmt.Sprintf("[[inputs.deepaffects]]\napi_key = \"key\"\nrequest_id_files = "+
		"[%q, %q, %q]\n", dir+"/calls/*.ids", dir+"/*.ids", dir+"/config.toml"))
	if err := os.WriteFile(dir+"/config.toml", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out, log bytes.Buffer
	err := run(parse(t, "--config.check", "--config.file="+config), &out, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || !strings.HasSuffix(out.String(), "configuration is valid\n") {
		t.Errorf("%q, %v", out.String(), err)
	}
	nowhere, nothing := "/calls/*.ids: there is no directory "+dir+"/calls", "/*.ids: matches nothing now"
	text := log.String()
	if strings.Count(text, "\n") != 2 || !strings.Contains(text, dir+nowhere) || !strings.Contains(text, dir+nothing) {
		t.Errorf("warnings: %s", text)
	}
}

// A warning says what is wrong, and is no option without effect.
func TestConfigWarning(t *testing.T) {
	config := writeFile(t, "config.toml",
		"[[inputs.deepaffects]]\napi_key = \"key\"\nwebhook_token = \"canary-canary\"\n")
	var out, log bytes.Buffer
	err := run(parse(t, "--config.check", "--config.file="+config), &out, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	text := log.String()
	if !strings.Contains(text, `msg="Option is valid, but most likely a mistake"`) ||
		!strings.Contains(text, "webhook_token: shorter than") || strings.Contains(text, "canary") {
		t.Errorf("warnings: %s", text)
	}
}

// An answering transport is an API in memory.
type answering func(*http.Request) *http.Response

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) { return a(r), nil }

func answer(status int, body string, header ...string) *http.Response {
	h := make(http.Header)
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

// show returns everything that an operator can see of an exporter.
func show(t *testing.T, e *exporter, ids []string) map[string]string {
	t.Helper()
	shown := make(map[string]string)
	paths := []string{"/metrics", "/", "/jobs", "/api/v1/jobs", "/api/v1/status", "/-/healthy", "/-/ready"}
	for _, id := range ids {
		paths = append(paths, "/api/v1/jobs/"+id, "/job?request_id="+id)
	}
	handler := e.handler()
	for _, path := range paths {
		for _, accept := range []string{"text/plain", "application/openmetrics-text"} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("Accept", accept)
			handler.ServeHTTP(w, r)
			if w.Code != http.StatusOK && path != "/-/ready" {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
			shown[path+" as "+accept] = w.Body.String()
		}
	}
	return shown
}

// The key and the content of transcripts are in everything that the API sends here, and in
// nothing that an operator sees.
func TestNothingLeaks(t *testing.T) {
	const key = "canary-key-0123456789"
	result := `{"confidence":0.9,"num_speakers":1,"transcript":"canary transcript",
		"words":[{"word":"canary","speaker_id":"canary-speaker","start":0,"end":1,"confidence":0.9}],
		"segments":[{"speaker_id":"canary-speaker","start":0,"end":1,"text":"canary text",
			"emotion":"canary-emotion","intent":"canary-intent"}],
		"questions_asked":[{"questions":[{"text":"canary question"}]}],
		"url":"https://canary.invalid/?token=canary","depressed":true,"canary":"canary"}`
	failed := func(code string) *http.Response {
		return answer(200, `{"status":"Failed","response":{"response":{"fault":{
			"fault_string":"canary fault","detail":{"error_code":"`+code+`"}}}}}`)
	}
	answers := map[string]func() *http.Response{
		"completed": func() *http.Response {
			return answer(200, `{"status":"Completed","response":{"request_id":"completed","response":`+result+`}}`)
		},
		"failed":        func() *http.Response { return failed(key) },
		"odd-code":      func() *http.Response { return failed("said: canary") },
		"unknown-state": func() *http.Response { return answer(200, `{"status":"a canary is not one word"}`) },
		"echo":          func() *http.Response { return answer(400, "Bad request: apikey="+key, "X-Echo", key) },
		"redirect": func() *http.Response {
			return answer(302, "", "Location", "https://canary.invalid/?apikey="+key)
		},
		"broken": func() *http.Response { return answer(200, `{"status":"Completed","canary":"canary`) },
		"twice":  func() *http.Response { return answer(200, `{"canary":1,"canary":2}`) },
		"other": func() *http.Response {
			return answer(200, `{"status":"Completed","response":{"request_id":"canary","response":`+result+`}}`)
		},
		"html": func() *http.Response { return answer(502, "<h1>canary "+key) },
		"overflow": func() *http.Response {
			return answer(200, `{"response":{"response":{"confidence":1e999,"canary":"canary"}}}`)
		},
		"health": func() *http.Response {
			return answer(200, `{"status":"Completed","response":{"depressed":"canary"}}`)
		},
		"unknown-id": func() *http.Response { return answer(404, `{"fault":{"faultstring":"canary `+key+`"}}`) },
		"refused": func() *http.Response {
			return answer(401, `{"fault":{"faultstring":"canary `+key+`","detail":{"errorcode":"oauth.v2.`+key+`"}}}`)
		},
		"limited": func() *http.Response {
			return answer(429, `{"fault":{"detail":{"error_code":"rate_limit"}}}`, "Retry-After", key)
		},
		"quota":      func() *http.Response { return answer(402, key) },
		"impossible": func() *http.Response { return answer(299, key, "Content-Type", key) },
	}
	for id, reply := range answers { // one at a time: some of them pause polling
		t.Run(id, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged bytes.Buffer
				var mu sync.Mutex
				log := slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
					mu.Lock()
					defer mu.Unlock()
					return logged.Write(p)
				}), &slog.HandlerOptions{Level: slog.LevelDebug}))
				config := collector.DefaultConfig()
				config.URL, config.APIKey = "http://simulated.invalid", key
				polled, dir := 0, t.TempDir()
				api := answering(func(*http.Request) *http.Response {
					polled++
					return reply()
				})
				options := collector.Options{Logger: log, StateDirectory: dir, Transport: api}
				c, err := collector.New([]collector.Config{config}, options)
				if err != nil {
					t.Fatal(err)
				}
				c.Start()
				defer c.Stop(context.Background())
				account, err := c.Account("")
				if err != nil {
					t.Fatal(err)
				}
				jobs := []submission.Job{{RequestID: id}}
				if _, _, err := account.Register(submission.HTTP, jobs); err != nil {
					t.Fatal(err)
				}
				<-time.After(time.Hour)
				synctest.Wait()
				if polled == 0 {
					t.Fatal("nothing was polled")
				}
				e := newExporter(parse(t, "--config.file=x"), c, log)
				shown := show(t, e, []string{id})
				mu.Lock()
				shown["the log"] = logged.String()
				mu.Unlock()
				if !strings.Contains(shown["/metrics as text/plain"], `request_id="`+id+`"`) {
					t.Error("the metrics lack the job")
				}
				c.Stop(context.Background())
				files, err := filepath.Glob(dir + "/*")
				if err != nil || len(files) < 2 {
					t.Fatalf("files %q, %v", files, err)
				}
				for _, file := range files {
					content, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					shown[file] = string(content)
				}
				for where, text := range shown {
					if strings.Contains(text, "canary") {
						t.Errorf("a secret is in %s:\n%s", where, text)
					}
				}
			})
		})
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// Before the start and after the stop there is nothing to reload: the start would then bind the service addresses of
// the configuration that the process began with.
func TestReloadWhenNotReady(t *testing.T) {
	config := writeFile(t, "config.toml", "[[inputs.deepaffects]]\napi_key = \"key\"\naccount = \"reloaded\"\n")
	e := idleExporter(t, "--web.enable-lifecycle", "--config.file="+config)
	w := httptest.NewRecorder()
	e.handler().ServeHTTP(w, httptest.NewRequest("POST", "/-/reload", nil))
	if w.Code != http.StatusServiceUnavailable || e.collector.Accounts()[0].Name() != "default" {
		t.Errorf("HTTP %d %q, account %q", w.Code, w.Body, e.collector.Accounts()[0].Name())
	}
}

// The demo has nothing to reload, and a try is no failure that would stay until one succeeds.
func TestDemoIsNotReloaded(t *testing.T) {
	e := idleExporter(t, "--demo")
	if err := e.reload(); err == nil || !strings.Contains(err.Error(), "no configuration") {
		t.Errorf("%v", err)
	}
	if err := e.reloadError(); err != nil {
		t.Errorf("the pages show %v", err)
	}
}

// A reload logs one line with the accounts in which it differs.
func TestReloadLog(t *testing.T) {
	e := idleExporter(t, "--config.file="+writeFile(t, "config.toml", ""))
	var log strings.Builder
	e.log = slog.New(slog.NewTextHandler(&log, nil))
	account := func(name, options string) string {
		return fmt.Sprintf("[[inputs.deepaffects]]\naccount = %q\napi_key = \"key-%s\"\n%s\n", name, name, options)
	}
	for _, tt := range []struct{ config, want string }{
		{account("a", "") + account("b", ""), "added=\"[a b]\" removed=[default] changed=[]"},
		{account("b", "") + account("a", ""), "added=[] removed=[] changed=[]"},
		{account("a", "timeout = \"1s\"") + account("c", ""), "added=[c] removed=[b] changed=[a]"},
		{account("a", "timeout = \"1s\"") + account("c", "insecure_skip_verify = true"), "added=[] removed=[] changed=[c]"},
		{account("a", "timeout = \"1s\"\nhttp_proxy_url = \"http://proxy.invalid\"") + account("c", ""),
			"added=[] removed=[] changed=\"[a c]\""},
		{account("a", "jobs_token = \"canary-canary-canary\""), "added=[] removed=[c] changed=[a]"},
	} {
		if err := os.WriteFile(e.flags.configFile, []byte(tt.config), 0o600); err != nil {
			t.Fatal(err)
		}
		log.Reset()
		if err := e.reload(); err != nil {
			t.Fatal(err)
		}
		lines := slices.DeleteFunc(strings.Split(log.String(), "\n"), func(line string) bool {
			return !strings.Contains(line, "Configuration reloaded")
		})
		if len(lines) != 1 || !strings.HasSuffix(lines[0], tt.want) || strings.Contains(lines[0], "canary") {
			t.Errorf("%s\nlogged %q, want %q", tt.config, lines, tt.want)
		}
	}
}

// A reload that fails returns 500 with the error and keeps the previous configuration; the
// metrics show whether it succeeded.
func TestReload(t *testing.T) {
	good := "[[inputs.deepaffects]]\napi_key = \"key\"\n"
	config := writeFile(t, "config.toml", good)
	e := idleExporter(t, "--web.enable-lifecycle", "--config.file="+config)
	e.ready.Store(true)
	handler := e.handler()
	ask := func(method, path, origin string) (int, string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, path, nil)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		handler.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	for _, tt := range []struct {
		text, method, origin string
		code                 int
		body, metric         string
	}{
		{good, "POST", "", 200, "", "deepaffects_config_last_reload_successful 1"},
		{
			good + "nonsense = 1", "POST", "", 500,
			"nonsense: no such option", "deepaffects_config_last_reload_successful 0",
		},
		{good, "GET", "", 405, "Only POST", "deepaffects_config_last_reload_successful 0"},
		{good, "POST", "https://elsewhere.invalid", 403, "", "deepaffects_config_last_reload_successful 0"},
		{good + "account = \"renamed\"", "PUT", "", 200, "", `deepaffects_up{account="renamed"} 0`},
	} {
		if err := os.WriteFile(config, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, body := ask(tt.method, "/-/reload", tt.origin); code != tt.code || !strings.Contains(body, tt.body) {
			t.Errorf("%s: %d %q, want %d %q", tt.method, code, body, tt.code, tt.body)
		}
		if _, metrics := ask("GET", "/metrics", ""); !strings.Contains(metrics, tt.metric+"\n") {
			t.Errorf("after %q the metrics lack %q", tt.text, tt.metric)
		}
		const problem = "The configuration could not be reloaded"
		if _, page := ask("GET", "/", ""); strings.Contains(page, problem) != strings.HasSuffix(tt.metric, "successful 0") {
			t.Errorf("after %q the page tells of a reload that failed, or does not:\n%s", tt.text, page)
		}
	}
	e.flags.localWrites = true
	handler = e.handler()
	if code, _ := ask("POST", "/-/reload", ""); code != 403 {
		t.Errorf("with --web.local-writes, from another machine: %d", code)
	}
	e.flags.enableLifecycle = false
	handler = e.handler()
	if code, _ := ask("POST", "/-/reload", ""); code != 404 {
		t.Errorf("without --web.enable-lifecycle: %d", code)
	}
}

// Each of 2,000 clients may send a header without any password, so none is large.
func TestLargeHeader(t *testing.T) {
	s := httptest.NewUnstartedServer(nil)
	e := idleExporter(t, "--config.file=x")
	s.Config = e.newServer(e.handler(), func() {})
	s.Start()
	defer s.Close()
	for size, want := range map[int]int{12 << 10: http.StatusOK, 24 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		r, err := http.NewRequest(http.MethodGet, s.URL+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", strings.Repeat("x", size))
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("a header of %d bytes: HTTP %d, want %d", size, resp.StatusCode, want)
		}
	}
}

func TestPaths(t *testing.T) {
	e := idleExporter(t, "--config.file=x", "--web.enable-pprof")
	for _, tt := range []struct {
		ready  bool
		path   string
		code   int
		accept string
		has    string
	}{
		{true, "/", 200, "", "<html"},
		{true, "/metrics", 200, "", "# TYPE deepaffects_jobs gauge"},
		{true, "/metrics", 200, "application/openmetrics-text; version=1.0.0", "deepaffects_jobs_registered_created"},
		{true, "/-/ready", 200, "", "ready"},
		{false, "/-/ready", 503, "", "not ready"},
		{true, "/-/healthy", 200, "", "healthy"},
		{true, "/api/v1/status", 200, "", "accounts"},
		{true, "/api/v1/jobs", 200, "", "jobs"},
		{true, "/api/v1/jobs/a//b", 400, "", ""},
		{true, "/debug/pprof/", 200, "", "goroutine"},
		{true, "/nothing", 404, "", ""},
	} {
		e.ready.Store(tt.ready)
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, tt.path, nil)
		r.Header.Set("Accept", tt.accept)
		e.handler().ServeHTTP(w, r)
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.has) {
			t.Errorf("%s: %d %.200q, want %d %q", tt.path, w.Code, w.Body.String(), tt.code, tt.has)
		}
	}
}

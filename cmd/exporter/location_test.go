package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/crypto/bcrypt"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// The page of a replica is linked only if the link works, as far as is known.
func TestReplicaURL(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "http://" + host + ":9891/"},
		{[]string{"--web.listen-address=0.0.0.0:80", "--web.route-prefix=/jobs"}, "http://" + host + ":80/jobs/"},
		{[]string{"--web.external-url=https://jobs.example.com/x"}, "https://jobs.example.com/x/"},
		{[]string{"--web.external-url=https://jobs.example.com", "--web.systemd-socket"}, "https://jobs.example.com/"},
		{[]string{"--web.config.file=web.yml"}, ""},
		{[]string{"--web.systemd-socket"}, ""},
		{[]string{"--web.listen-address=127.0.0.1:9891"}, ""},
		{[]string{"--web.listen-address=[::1]:9891"}, ""},
		{[]string{"--web.listen-address=localhost:9891"}, ""},
		{[]string{"--web.listen-address=127.0.0.1:9891", "--web.listen-address=:9892"}, "http://" + host + ":9892/"},
	} {
		if got := parse(t, append([]string{"--config.file=x"}, tt.args...)...).replicaURL(); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
	}
}

// With a password, probes, webhooks and registrations with a token need none, and everything else does.
func TestAuthentication(t *testing.T) {
	basic := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	hash, err := bcrypt.GenerateFromPassword([]byte("password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	config := writeFile(t, "web.yml", fmt.Sprintf("basic_auth_users:\n  user: %s\n", hash))
	for _, prefix := range []string{"", "/prefix"} {
		e := idleExporter(t, "--web.config.file="+config, "--web.route-prefix="+prefix)
		c := collector.DefaultConfig()
		c.APIKey, c.WebhookToken, c.JobsToken = "key", "token", "jobs"
		if err := e.collector.Reload(t.Context(), []collector.Config{c}); err != nil {
			t.Fatal(err)
		}
		e.ready.Store(true)
		var listeners []net.Listener
		opened := make(chan struct{}, 2)
		for range cap(opened) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			listeners = append(listeners, l)
		}
		var servers []*http.Server
		served := make(chan error, 2)
		handler := e.handler()
		for _, l := range listeners {
			server := e.newServer(handler, func() { opened <- struct{}{} })
			servers = append(servers, server)
			go func() { served <- web.Serve(l, server, e.flags.web, discard) }()
		}
		for range listeners {
			<-opened
		}
		const hook = `{"request_id":"a","response":null}`
		password, wrong := basic("user:password"), basic("user:wrong")
		for _, l := range listeners {
			for _, tt := range []struct {
				method, path, authorization string
				want                        int
			}{
				{"GET", "/-/healthy", "", 200},
				{"GET", "/-/ready", "", 200},
				{"GET", "/-/ready", wrong, 200},
				{"POST", "/webhook/token", "", 200},
				{"POST", "/webhook/token/", "", 200},
				{"POST", "/webhook/wrong", "", 404},
				{"POST", "/webhook/../api/v1/jobs", "", 404},
				{"GET", "/webhook/../metrics", "", 404},
				{"GET", "/metrics", "", 401},
				{"GET", "/metrics", wrong, 401},
				{"GET", "/metrics", password, 200},
				{"GET", "/", "", 401},
				{"GET", "/-/healthy/../../metrics", "", 401},
				{"GET", "/api/v1/status", "", 401},
				{"POST", "/api/v1/jobs", "", 401},
				{"POST", "/api/v1/jobs", "Bearer wrong", 401},
				{"POST", "/api/v1/jobs", password, 401},
				{"POST", "/api/v1/jobs", "Bearer jobs", 400}, // the body is that of a webhook
				{"DELETE", "/api/v1/jobs/unknown", "Bearer jobs", 404},
				{"GET", "/api/v1/jobs", "Bearer jobs", 401},
				{"POST", "/api/v1/jobs/../../../-/reload", "Bearer jobs", 400},
				{"POST", "/-/reload", "", 401},
			} {
				r, err := http.NewRequest(tt.method, "http://"+l.Addr().String(), strings.NewReader(hook))
				if err != nil {
					t.Fatal(err)
				}
				r.URL.Path, r.Close = prefix+tt.path, true
				if tt.authorization != "" {
					r.Header.Set("Authorization", tt.authorization)
				}
				resp, err := http.DefaultTransport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != tt.want {
					t.Errorf("%s %s%s with %q: HTTP %d, want %d", tt.method, prefix, tt.path, tt.authorization, resp.StatusCode,
						tt.want)
				}
			}
		}
		for i := range listeners {
			servers[i].Close()
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}
	}
}

var attribute = regexp.MustCompile(`(?:href|action|src)="([^"#$]*)["#]`)

// Every link and redirect of every page leads to an endpoint, wherever the exporter is.
func TestLocations(t *testing.T) {
	for _, tt := range []struct {
		external, prefix string // flags
		served, seen     string // paths
	}{
		{"", "", "", ""},
		{"https://example.com", "", "", ""},
		{"https://example.com/", "", "", ""},
		{"https://example.com/a/b", "", "/a/b", "/a/b"},
		{"https://example.com/a/b/", "", "/a/b", "/a/b"},
		{"https://example.com/a", "/", "", "/a"},
		{"https://example.com/a", "b/", "/b", "/a"},
		{"", "/b", "/b", "/b"},
	} {
		e := idleExporter(t, "--web.external-url="+tt.external, "--web.route-prefix="+tt.prefix, "--web.enable-pprof")
		ids := []submission.Job{{RequestID: "x"}, {RequestID: "a//b"}}
		if _, _, err := e.collector.Accounts()[0].Register(submission.HTTP, ids); err != nil {
			t.Fatal(err)
		}
		handler := e.handler()
		var done []string
		paths := []string{"", "/", "/jobs?q=x", "/debug/pprof"}
		for len(paths) > 0 {
			path := paths[0]
			if paths = paths[1:]; slices.Contains(done, path) {
				continue
			}
			done = append(done, path)
			if path == "" && tt.served == "" {
				continue
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest("GET", tt.served+path, nil))
			links := []string{w.Header().Get("Location")}
			if w.Code != http.StatusOK && links[0] == "" {
				t.Errorf("%+v: %q: HTTP %d", tt, path, w.Code)
			}
			if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") && !strings.HasPrefix(path, "/debug") {
				for _, match := range attribute.FindAllStringSubmatch(w.Body.String(), -1) {
					links = append(links, strings.ReplaceAll(match[1], "&amp;", "&"))
				}
			}
			for _, link := range links {
				u, err := url.Parse(link)
				if err != nil {
					t.Fatal(err)
				}
				if link == "" || u.IsAbs() {
					continue
				}
				below, ok := strings.CutPrefix(link, tt.seen+"/")
				if !ok {
					t.Errorf("%+v: %q links to %q", tt, path, link)
				}
				paths = append(paths, "/"+below)
			}
		}
		if len(done) < 9 {
			t.Errorf("%+v: only %q are linked", tt, done)
		}
		for _, path := range []string{"/metrics", "/-/healthy", "/api/v1/jobs/a%2F%2Fb"} {
			for prefix, want := range map[string]int{tt.served: 200, "/elsewhere": 404} {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequest("GET", prefix+path, nil))
				if w.Code != want {
					t.Errorf("%+v: %s%s: HTTP %d, want %d", tt, prefix, path, w.Code, want)
				}
			}
		}
	}
}

// The address of the status page is logged when it is served, and not before.
func TestURL(t *testing.T) {
	served := &net.TCPAddr{IP: net.IPv6unspecified, Port: 9891}
	config := writeFile(t, "web.yml", "basic_auth_users: {}\n")
	for _, tt := range []struct {
		args    []string
		address net.Addr
		want    string
	}{
		{nil, served, "http://localhost:9891/"},
		{nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}, "http://127.0.0.1:80/"},
		{nil, &net.TCPAddr{IP: net.IPv6loopback, Port: 80}, "http://[::1]:80/"},
		{nil, &net.UnixAddr{Name: "socket"}, ""},
		{[]string{"--web.route-prefix=/a"}, served, "http://localhost:9891/a/"},
		{[]string{"--web.external-url=https://example.com/b"}, served, "https://example.com/b/"},
		{[]string{"--web.config.file=" + config}, served, ""},
	} {
		if got := idleExporter(t, tt.args...).url(tt.address); got != tt.want {
			t.Errorf("%q at %s: %q, want %q", tt.args, tt.address, got, tt.want)
		}
	}
}

// Where others reach the port, the log says who may write.
func TestLogWriters(t *testing.T) {
	anywhere, here := &net.TCPAddr{IP: net.IPv6unspecified, Port: 9891}, &net.TCPAddr{IP: net.IPv6loopback, Port: 9891}
	config := writeFile(t, "web.yml", "basic_auth_users: {}\n")
	for _, tt := range []struct {
		args    []string
		address net.Addr
		token   string
		want    string // empty: nothing
	}{
		{nil, anywhere, "", "Everyone who reaches the port"},
		{nil, here, "", ""},
		{[]string{"--demo"}, anywhere, "", "Everyone who reaches the port can register and remove jobs of the demo"},
		{[]string{"--demo"}, here, "", ""},
		{nil, anywhere, "a-token", ""},
		{[]string{"--web.local-writes"}, anywhere, "", "Only this machine"},
		{[]string{"--web.local-writes"}, anywhere, "a-token", ""},
		{[]string{"--web.config.file=" + config}, anywhere, "", "Everyone whom --web.config.file admits"},
		{[]string{"--web.config.file=" + config}, anywhere, "a-token", ""},
		{[]string{"--web.external-url=https://example.com"}, here, "", "Everyone who reaches the port"},
		{[]string{"--web.external-url=https://example.com", "--web.local-writes"}, here, "", "Only this machine"},
	} {
		e := idleExporter(t, tt.args...)
		c := collector.DefaultConfig()
		c.APIKey, c.JobsToken = "key", tt.token
		if err := e.collector.Reload(t.Context(), []collector.Config{c}); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		e.log = slog.New(slog.NewTextHandler(&log, nil))
		e.logWriters(tt.address)
		if log := log.String(); (log == "") != (tt.want == "") || !strings.Contains(log, tt.want) {
			t.Errorf("%q at %s with the token %q: logged %q, want %q", tt.args, tt.address, tt.token, log, tt.want)
		}
	}
}

// A port that is taken is an error with a remedy, and no address is logged.
func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := idleExporter(t)
	var log strings.Builder
	f := parse(t, "--demo", "--web.listen-address="+l.Addr().String())
	err = serve(f, nil, e.collector, nil, slog.New(slog.NewTextHandler(&log, nil)))
	if err == nil || !strings.Contains(err.Error(), "--web.listen-address") {
		t.Errorf("error %v", err)
	}
	if strings.Contains(log.String(), "Serving the status page") {
		t.Errorf("logged:\n%s", log.String())
	}
}

// An error of the main port names the flags that decide about it.
func TestWrongListenAddress(t *testing.T) {
	for _, flag := range []string{"--web.listen-address=foo", "--web.listen-address=:99999",
		"--web.config.file=/nonexistent"} {
		err := serve(parse(t, "--demo", flag), nil, idleExporter(t).collector, nil, discard)
		name, _, _ := strings.Cut(flag, "=")
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", flag, err)
		}
	}
}

func TestWrongLocations(t *testing.T) {
	for _, tt := range []struct{ flag, want string }{
		{"--web.external-url=example.com", "--web.external-url: not a URL such as https://example.com/deepaffects"},
		{"--web.external-url=https://user:secret@example.com", "--web.external-url: not a URL"},
		{"--web.external-url=https://example.com/?a=b", "--web.external-url: not a URL"},
		{"--web.external-url=https://example.com/a//b", "--web.external-url: the path must be plain"},
		{"--web.route-prefix=/a/../b", "--web.route-prefix: the path must be plain"},
		{"--web.grafana-url=grafana", "--web.grafana-url: not a URL such as https://grafana.example.com/d/deepaffects"},
		{"--web.grafana-url=javascript:alert(1)", "--web.grafana-url: not a URL"},
		{"--web.alertmanager-url=https://user:secret@example.com", "--web.alertmanager-url: not a URL"},
		{"--web.route-prefix=/{a}", "--web.route-prefix: the path must be plain"},
	} {
		err := run(parse(t, "--demo", tt.flag), io.Discard, discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", tt.flag, err, tt.want)
		}
	}
}

// The pages link to Grafana and Alertmanager where the flags say so.
func TestLinks(t *testing.T) {
	page := func(flags ...string) string {
		w := httptest.NewRecorder()
		idleExporter(t, flags...).handler().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		return w.Body.String()
	}
	without := page()
	with := page("--web.grafana-url=https://g.example/d/x?var-account=a#y", "--web.alertmanager-url=http://a.example")
	for _, link := range []string{
		`<a href="https://g.example/d/x?var-account=a#y">Grafana</a>`, `<a href="http://a.example">Alertmanager</a>`,
	} {
		if strings.Contains(without, link) || !strings.Contains(with, link) {
			t.Errorf("the page lacks %s, or has it without a flag", link)
		}
	}
}

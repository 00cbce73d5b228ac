package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/version"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/exposition"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/statuspage"
)

// An exporter exposes a collector over HTTP.
type exporter struct {
	flags     *flags
	location  location
	collector *collector.Collector
	log       *slog.Logger
	ready     atomic.Bool
	reloading sync.Mutex // held during a reload
	reloaded  *exposition.Reload
	reloadErr atomic.Pointer[error] // of the last reload; nil: there was none
	limits    *httpapi.Limits
	webhooks  *httpapi.Webhooks // of the main port
	listeners *httpapi.Listeners
}

func newExporter(f *flags, c *collector.Collector, log *slog.Logger) *exporter {
	limits := httpapi.NewLimits()
	location, _ := f.location() // validate reports its error
	return &exporter{
		flags: f, location: location, collector: c, log: log, reloaded: exposition.NewReload(time.Now()),
		limits: limits, webhooks: httpapi.NewWebhooks(c, limits, log, "", location.prefix),
		listeners: httpapi.NewListeners(c, limits, log),
	}
}

// reloadError returns the error of the last reload.
func (e *exporter) reloadError() error {
	if err := e.reloadErr.Load(); err != nil {
		return *err
	}
	return nil
}

// handler returns the handler of the main port.
func (e *exporter) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+e.flags.telemetryPath, e.metrics())
	pages := statuspage.New(e.collector, statuspage.Options{
		Base: e.location.base, TelemetryPath: e.flags.telemetryPath, Version: version.Version,
		Grafana: e.flags.grafanaURL, Alertmanager: e.flags.alertmanagerURL,
		ReloadError: e.reloadError,
	})
	for _, path := range statuspage.Paths {
		mux.Handle("GET "+path, e.limits.Responses(pages))
	}
	mux.HandleFunc("GET "+healthyPath, e.serveHealthy)
	mux.HandleFunc("GET "+readyPath, e.serveReady)
	origins := httpapi.NewOrigins(e.location.external)
	if e.flags.enableLifecycle {
		reload := origins.Handler(http.HandlerFunc(e.serveReload))
		if e.flags.localWrites {
			reload = httpapi.LocalOnly(reload)
		}
		mux.Handle("/-/reload", reload)
	}
	if e.flags.enablePprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", lasting(pprof.Profile))
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", lasting(pprof.Trace))
		mux.Handle("/debug/pprof", http.RedirectHandler(e.location.base+"/debug/pprof/", http.StatusMovedPermanently))
	}
	api := httpapi.New(e.collector, e.limits, origins, e.log, httpapi.Options{
		LocalWrites: e.flags.localWrites, Version: version.Version, ReloadError: e.reloadError,
	})
	mounted := e.location.mount(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch p := r.URL.Path; {
		case strings.HasPrefix(p, "/api/v1/"):
			api.ServeHTTP(w, r)
		case p != path.Clean(p) && p != path.Clean(p)+"/":
			http.NotFound(w, r) // the mux would redirect it, and knows no prefix
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.webhooks.Takes(r) { // also outside of the location
			e.webhooks.ServeHTTP(w, r)
			return
		}
		mounted.ServeHTTP(w, r)
	})
}

// lasting lets a response take longer than a request may, which has been read.
func lasting(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // else the server takes it for a client that is gone
		h(w, r)
	}
}

const (
	healthyPath = "/-/healthy"
	readyPath   = "/-/ready"
)

// isOpen reports whether a request needs no password: those of probes, which have none, and
// webhooks and registrations with a token, which is one.
func (e *exporter) isOpen(r *http.Request) bool {
	p, ok := strings.CutPrefix(r.URL.Path, e.location.prefix)
	return ok && (p == healthyPath || p == readyPath || httpapi.HasJobsToken(e.collector, r, p)) || e.webhooks.Takes(r)
}

// newServer returns a server of the handler of the main port, for exporter-toolkit. It calls listening when a port is
// open.
func (e *exporter) newServer(handler http.Handler, listening func()) *http.Server {
	server := e.limits.NewServer(handler, e.log)
	server.WriteTimeout = 2 * time.Minute // a profile takes 30 s by default
	own := server.Handler
	var mu sync.Mutex // guards server.Handler, where systemd passes several sockets
	server.BaseContext = func(l net.Listener) context.Context {
		// exporter-toolkit has no paths without authentication. By now, before the port is
		// served, it has put its handler in front of ours.
		mu.Lock()
		defer mu.Unlock()
		if authenticated := server.Handler; *e.flags.web.WebConfigFile != "" {
			server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if e.isOpen(r) {
					own.ServeHTTP(w, r)
					return
				}
				authenticated.ServeHTTP(w, r)
			})
		}
		if u := e.url(l.Addr()); u != "" {
			e.log.Info("Serving the status page", "url", u)
		}
		e.logWriters(l.Addr())
		listening()
		return context.Background()
	}
	return server
}

// logWriters logs who may write the jobs of accounts without a token at an address that is served.
func (e *exporter) logWriters(served net.Addr) {
	var open []string
	for _, a := range e.collector.Accounts() {
		if needed, _ := a.CheckJobsToken(""); !needed {
			open = append(open, a.Name())
		}
	}
	a, ok := served.(*net.TCPAddr)
	// With an external URL, a proxy serves the address to others.
	onlyHere := ok && a.IP.IsLoopback() && e.location.external == nil
	switch {
	case len(open) == 0 || onlyHere:
	case e.flags.localWrites:
		e.log.Info("Only this machine can register and remove jobs of accounts without a jobs_token", "accounts", open)
	case *e.flags.web.WebConfigFile == "" && e.flags.demo: // which has no configuration
		e.log.Info("Everyone who reaches the port can register and remove jobs of the demo; " +
			"set --web.listen-address=127.0.0.1:9891, --web.local-writes or --web.config.file")
	case *e.flags.web.WebConfigFile == "":
		e.log.Info("Everyone who reaches the port can register and remove jobs of accounts without a jobs_token; "+
			"set one, or --web.local-writes or --web.config.file", "accounts", open)
	default:
		e.log.Info("Everyone whom --web.config.file admits can register and remove jobs of accounts without a jobs_token",
			"accounts", open)
	}
}

// url returns where a browser finds the status page at an address that is served; empty if that is not known, since a
// --web.config.file decides about TLS.
func (e *exporter) url(served net.Addr) string {
	if e.location.external != nil {
		return strings.TrimRight(e.location.external.String(), "/") + "/"
	}
	a, ok := served.(*net.TCPAddr)
	if !ok || *e.flags.web.WebConfigFile != "" {
		return ""
	}
	host := a.IP.String()
	if a.IP.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(a.Port)) + e.location.prefix + "/"
}

func (e *exporter) metrics() http.Handler {
	process := prometheus.NewRegistry()
	process.MustRegister(
		exposition.BuildInfo(), e.reloaded,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.InstrumentMetricHandler(process,
		e.limits.Responses(exposition.New(e.collector, process).Handler(e.log)))
}

func (e *exporter) serveHealthy(w http.ResponseWriter, _ *http.Request) {
	if err := e.collector.Healthy(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, program+" is healthy.")
}

func (e *exporter) serveReady(w http.ResponseWriter, _ *http.Request) {
	if !e.ready.Load() {
		http.Error(w, program+" is not ready.", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, program+" is ready.")
}

func (e *exporter) serveReload(w http.ResponseWriter, r *http.Request) {
	if !e.ready.Load() { // the start, which may be in progress, uses the first configuration
		e.serveReady(w, r)
		return
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		w.Header().Set("Allow", "POST, PUT")
		http.Error(w, "Only POST or PUT requests allowed.", http.StatusMethodNotAllowed)
		return
	}
	if err := e.reload(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

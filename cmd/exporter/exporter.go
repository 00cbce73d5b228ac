package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
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
	collector *collector.Collector
	log       *slog.Logger
	ready     atomic.Bool
	reloading sync.Mutex // held during a reload
	reloaded  *exposition.Reload
	limits    *httpapi.Limits
	listeners *httpapi.Listeners
}

func newExporter(f *flags, c *collector.Collector, log *slog.Logger) *exporter {
	limits := httpapi.NewLimits()
	return &exporter{
		flags: f, collector: c, log: log, reloaded: exposition.NewReload(time.Now()),
		limits: limits, listeners: httpapi.NewListeners(c, limits, log),
	}
}

// handler returns the handler of the main port.
func (e *exporter) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+e.flags.telemetryPath, e.metrics())
	pages := statuspage.New(e.collector, e.flags.telemetryPath, version.Version)
	for _, path := range statuspage.Paths {
		mux.Handle("GET "+path, e.limits.Responses(pages))
	}
	mux.Handle(httpapi.WebhookPattern, httpapi.NewWebhooks(e.collector, e.limits, e.log, ""))
	mux.HandleFunc("GET /-/healthy", e.serveHealthy)
	mux.HandleFunc("GET /-/ready", e.serveReady)
	if e.flags.enableLifecycle {
		mux.Handle("/-/reload", http.NewCrossOriginProtection().Handler(http.HandlerFunc(e.serveReload)))
	}
	if e.flags.enablePprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	// Not part of the mux, which redirects a path with an unescaped request ID to another job.
	api := httpapi.New(e.collector, e.limits, e.log, version.Version)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v1/") {
			api.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
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

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/configfile"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/exposition"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/statuspage"
)

// stopTimeout is how long requests under way may take when the process is to
// stop, those that it answers and those that it asks.
const stopTimeout = 4 * time.Second

// serve runs the collector and shows it until the process is told to stop.
func serve(f *flags, configs []collector.Config, c *collector.Collector, log *slog.Logger) error {
	// One to stop has room of its own: it is not lost behind those that come while a
	// reload is under way.
	hangups, stops := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	signal.Notify(stops, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(stops)

	log.Info("Starting "+program, "version", version.Info(), "build_context", version.BuildContext())
	e := newExporter(f, c, log)
	server := &http.Server{
		Handler:           e.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          httpapi.ErrorLog(log),
	}
	httpapi.LimitConnections(server)
	// The collector starts when the port is ours: a process that cannot have it,
	// and is started again and again, must not spend the quota on that.
	listening := make(chan struct{})
	listen := sync.OnceFunc(func() { close(listening) })
	server.BaseContext = func(net.Listener) context.Context {
		listen()
		return context.Background()
	}
	failed := make(chan error, 1)
	go func() { failed <- web.ListenAndServe(server, f.web, log) }()

	var err error
	for running := true; running; {
		select {
		case <-listening:
			listening = nil
			if err = e.begin(configs); err != nil {
				running = false
			}
		case err = <-failed:
			running = false
		case s := <-stops:
			log.Info("Stopping", "signal", s.String())
			running = false
		case <-hangups:
			if listening == nil { // else the configuration has just been read
				_ = e.reload() // which has logged its error
			}
		}
	}
	e.ready.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	// A second signal ends the waiting.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
	})
	wg.Go(func() { e.listeners.Stop(ctx) })
	wg.Go(func() { c.Stop(ctx) })
	wg.Wait()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

// begin starts what serve waits with until it has its port.
func (e *exporter) begin(configs []collector.Config) error {
	services, err := e.listeners.Prepare(configs)
	if err != nil {
		return err
	}
	e.collector.Start()
	services.Apply(context.Background()) // nothing is there yet that would have to end
	e.ready.Store(true)
	return nil
}

// An exporter shows a collector over HTTP.
type exporter struct {
	flags     *flags
	collector *collector.Collector
	log       *slog.Logger
	ready     atomic.Bool
	reloading sync.Mutex
	reloaded  *exposition.Reload
	listeners *httpapi.Listeners
}

func newExporter(f *flags, c *collector.Collector, log *slog.Logger) *exporter {
	return &exporter{
		flags: f, collector: c, log: log,
		reloaded: exposition.NewReload(time.Now()), listeners: httpapi.NewListeners(c, log),
	}
}

func (e *exporter) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		exposition.New(e.collector), exposition.BuildInfo(), e.reloaded,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.Handle("GET "+e.flags.telemetryPath, promhttp.InstrumentMetricHandler(registry, promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:                            slog.NewLogLogger(e.log.Handler(), slog.LevelError),
		ErrorHandling:                       promhttp.ContinueOnError,
		Registry:                            registry,
		MaxRequestsInFlight:                 20,
		EnableOpenMetrics:                   true,
		EnableOpenMetricsTextCreatedSamples: true,
	})))
	pages := statuspage.New(e.collector, e.flags.telemetryPath, version.Version)
	for _, path := range statuspage.Paths {
		mux.Handle("GET "+path, pages)
	}
	mux.Handle(httpapi.WebhookPattern, httpapi.NewWebhooks(e.collector, e.log, ""))
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
	// A ServeMux redirects a path that is not clean, such as one with a request ID
	// that was not escaped; a client that follows would speak of another job.
	api := httpapi.New(e.collector, e.log, version.Version)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v1/") {
			api.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
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
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		w.Header().Set("Allow", "POST, PUT")
		http.Error(w, "Only POST or PUT reload the configuration.", http.StatusMethodNotAllowed)
		return
	}
	if err := e.reload(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// reload takes the configuration file as it is now. On an error, which is
// logged here, the old configuration goes on.
func (e *exporter) reload() error {
	e.reloading.Lock()
	defer e.reloading.Unlock()
	err := e.tryReload()
	e.reloaded.Done(time.Now(), err == nil)
	if err != nil {
		e.log.Error("The configuration was not reloaded; the old one goes on", "err", err)
		return err
	}
	e.log.Info("The configuration was reloaded", "file", e.flags.configFile)
	return nil
}

func (e *exporter) tryReload() error {
	if e.flags.demo {
		return errors.New("the demo has no configuration to reload")
	}
	file, err := configfile.Load(e.flags.configFile)
	if err != nil {
		return err
	}
	for _, warning := range file.Warnings {
		e.log.Warn("An option has no effect", "file", e.flags.configFile, "reason", warning)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	change, err := e.listeners.Prepare(file.Accounts)
	if err != nil {
		return fmt.Errorf("%s: %w", e.flags.configFile, err)
	}
	if err := e.collector.Reload(ctx, file.Accounts); err != nil {
		change.Discard()
		return err
	}
	change.Apply(ctx)
	return nil
}

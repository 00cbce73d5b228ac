package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/configfile"
)

// stopTimeout is how long requests in flight, incoming and outgoing, may take when the
// process stops.
const stopTimeout = 4 * time.Second

// onHangup returns the signals to reload from now on. One that comes during the start waits: the configuration may have
// changed after it was read, and opening a large store takes seconds.
func onHangup() (hangups chan os.Signal) {
	hangups = make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return hangups
}

// serve runs the collector and the web server until a signal stops the process.
func serve(
	f *flags, configs []collector.Config, c *collector.Collector, hangups <-chan os.Signal, log *slog.Logger,
) error {
	// Without this, the process ends when the reader of its log goes away.
	signal.Ignore(syscall.SIGPIPE)
	// Not the channel of hangups: a signal to stop is not lost behind pending reloads, and does not wait for them.
	stops := make(chan os.Signal, 1)
	signal.Notify(stops, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(stops)

	log.Info("Starting "+program, "version", version.Info(), "build_context", version.BuildContext())
	e := newExporter(f, c, log)
	listening, stopping := make(chan struct{}), make(chan struct{})
	defer close(stopping)
	// A server for each address: exporter-toolkit changes the handler of a server when it begins to serve one.
	handler, each := e.handler(), f.eachAddress()
	failed, servers := make(chan error, len(each)), make([]*http.Server, len(each))
	var open atomic.Int64
	for i := range each {
		servers[i] = e.newServer(handler, sync.OnceFunc(func() {
			if open.Add(1) == int64(len(each)) {
				close(listening)
			}
		}))
	}
	for i, flags := range each {
		go func() { failed <- explainListening(web.ListenAndServe(servers[i], flags, log)) }()
	}

	err := e.run(configs, listening, failed, stops, func() { go e.reloadOn(hangups, stopping) })
	e.stop(servers)
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// eachAddress returns the flags of exporter-toolkit for each address to listen at alone.
func (f *flags) eachAddress() (each []*web.FlagConfig) {
	if *f.web.WebSystemdSocket {
		return []*web.FlagConfig{f.web}
	}
	for _, address := range *f.web.WebListenAddresses {
		one := *f.web
		one.WebListenAddresses = &[]string{address}
		each = append(each, &one)
	}
	return each
}

// explainListening adds to an error of the main port which flag it is about, and what to do.
func explainListening(err error) error {
	e, ok := errors.AsType[*net.OpError](err)
	listening := ok && e.Op == "listen"
	switch {
	case err == nil, errors.Is(err, http.ErrServerClosed):
		return err
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("--web.listen-address: %w; stop what uses the port, or choose another", err)
	case listening:
		return fmt.Errorf("--web.listen-address: %w; choose an address of this machine, such as :9891", err)
	}
	return fmt.Errorf("%w; correct --web.listen-address, --web.systemd-socket, or the file of --web.config.file", err)
}

// reloadOn reloads the configuration on SIGHUP, until the process stops. A reload may hang on a disk.
func (e *exporter) reloadOn(hangups <-chan os.Signal, stopping <-chan struct{}) {
	for {
		select {
		case <-stopping:
			return
		case <-hangups:
			if e.ready.Load() { // else the process stops
				_ = e.reload() // it logs its error
			}
		}
	}
}

// run starts the collector, calls started, and returns when a signal stops the process or the server fails.
func (e *exporter) run(
	configs []collector.Config, listening <-chan struct{}, failed <-chan error, stops <-chan os.Signal, started func(),
) error {
	for {
		select {
		case <-listening:
			// The collector starts only now: a process that cannot bind its port, and is
			// restarted again and again, must not spend the quota.
			if err := e.start(configs); err != nil {
				return err
			}
			listening = nil
			started()
		case err := <-failed:
			return err
		case s := <-stops:
			e.log.Info("Stopping", "signal", s.String())
			return nil
		}
	}
}

// start starts the collector and the service addresses.
func (e *exporter) start(configs []collector.Config) error {
	services, err := e.listeners.Prepare(configs)
	if err != nil {
		return e.flags.nameConfig(err)
	}
	e.collector.Start()
	services.Apply(context.Background()) // it stops no server yet, so no context is needed
	e.ready.Store(true)
	return nil
}

// stop stops everything within stopTimeout, or at once on a second signal.
func (e *exporter) stop(servers []*http.Server) {
	e.ready.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var wg sync.WaitGroup
	for _, server := range servers {
		wg.Go(func() {
			if server.Shutdown(ctx) != nil {
				_ = server.Close()
			}
		})
	}
	wg.Go(func() { e.listeners.Stop(ctx) })
	wg.Go(func() { e.collector.Stop(ctx) })
	wg.Wait()
}

// reload reads the configuration file again. It logs its error and keeps the previous
// configuration then.
func (e *exporter) reload() error {
	e.reloading.Lock()
	defer e.reloading.Unlock()
	if e.flags.demo { // no reload failed that the next could mend
		err := errors.New("the demo has no configuration to reload")
		e.log.Warn("Configuration not reloaded", "err", err)
		return err
	}
	before := e.collector.Configs()
	err := e.tryReload()
	e.reloaded.Done(time.Now(), err == nil)
	e.reloadErr.Store(&err)
	if err != nil {
		e.log.Error("Reloading the configuration failed, keeping the previous configuration", "err", err)
		return err
	}
	changes := collector.Compare(before, e.collector.Configs())
	e.log.Info("Configuration reloaded", "file", e.flags.configFile,
		"added", changes.Added, "removed", changes.Removed, "changed", changes.Changed)
	return nil
}

func (e *exporter) tryReload() error {
	accounts, err := loadConfig(e.flags.configFile, configfile.Load, e.log)
	if err != nil {
		return err
	}
	if err := e.flags.checkAddresses(accounts); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	services, err := e.listeners.Prepare(accounts)
	if err != nil {
		return e.flags.nameConfig(err)
	}
	if err := e.collector.Reload(ctx, accounts); err != nil {
		services.Discard()
		return err
	}
	services.Apply(ctx)
	return nil
}

//go:generate ../../../tools/readme_config_includer/generator

// Package deepaffects is a Telegraf input for jobs of the DeepAffects speech API.
package deepaffects

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"sync"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/plugins/inputs"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/collector/listener"
	"github.com/deepaffects-monitor/deepaffects-monitor/collector/options"
)

//go:embed sample.conf
var sampleConfig string

// stopTimeout limits how long Stop waits for requests in flight.
const stopTimeout = 3 * time.Second

// started has the tags of the instances that emit points. Points of two instances with the
// same tags would replace each other.
var started sync.Map // from seriesTags to struct{}

// seriesTags are the tags of all points of an account.
type seriesTags struct{ account, source string }

// DeepAffects is the plugin. Instances share only started.
type DeepAffects struct {
	options.Options

	// DeliveredAfter replaces the acknowledgements of Telegraf's outputs, which inputs.execd
	// does not pass on: a state change counts as delivered when Telegraf gathers again
	// this long after it was written. 0: acknowledgements count.
	DeliveredAfter time.Duration `toml:"-"`

	// Transport replaces the network to the API in tests; nil is the network.
	Transport http.RoundTripper `toml:"-"`

	Log telegraf.Logger `toml:"-"`

	points points
	limit  int // options.MaxStateChanges, or less in tests

	mu        sync.Mutex           // held by Start, Gather and Stop; guards the fields below
	collector *collector.Collector // nil: not started
	listeners *listener.Listeners
	account   *collector.Account
	delivery  *delivery
	internal  *internal
	losses    losses
}

// SampleConfig returns every option with its default.
func (*DeepAffects) SampleConfig() string { return sampleConfig }

// ID identifies the account of the API that the points are about.
func (d *DeepAffects) ID() string {
	sum := sha256.Sum256([]byte("deepaffects\x00" + d.Account + "\x00" + d.URL))
	return hex.EncodeToString(sum[:])
}

// Init checks the configuration without using the network.
func (d *DeepAffects) Init() error {
	c, err := d.Config()
	if err != nil {
		return errors.New(oneLine.Replace(err.Error()))
	}
	for _, warning := range c.Warnings() {
		d.Log.Warn(warning)
	}
	api, _ := url.Parse(d.URL) // Config has checked it
	for _, warning := range d.WithoutEffect("telegraf") {
		d.Log.Warn(warning)
	}
	d.points = points{&d.Options, api.Hostname()}
	return nil
}

// Start starts to track the jobs. It may be called again after an error and after Stop.
func (d *DeepAffects) Start(acc telegraf.Accumulator) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, taken := started.LoadOrStore(d.series(), struct{}{}); taken {
		return fmt.Errorf("account %q: another [[inputs.deepaffects]] table has this account at %s; "+
			"give each table its own account", d.Account, d.points.source)
	}
	if err := d.start(acc); err != nil {
		started.Delete(d.series())
		return &startupError{err}
	}
	return nil
}

func (d *DeepAffects) series() seriesTags { return seriesTags{d.Account, d.points.source} }

func (d *DeepAffects) start(acc telegraf.Accumulator) error {
	c, err := d.Config()
	if err != nil {
		return errors.New(oneLine.Replace(err.Error()))
	}
	if !d.APIKey.Empty() { // a secret store may rotate the key
		c.Key = func() (string, error) { return options.Reveal(&d.APIKey) }
	}
	c.KeepTimings = false // they are for the status page
	configs := []collector.Config{c}
	log, limit := slog.New(newLogHandler(d.Log)), d.limit
	if d.JobMetrics == collector.JobMetricsOff {
		limit = 0
	}
	monitor, err := collector.New(configs, collector.Options{
		Logger: log, StateDirectory: d.StateDirectory, Transport: d.Transport, MaxStateChanges: limit,
	})
	if _, ok := errors.AsType[*collector.StoreError](err); ok {
		option := "state_directory"
		if c.DatabaseURL != "" {
			option = "database_url"
		}
		return fmt.Errorf("account %q: %s: %w", d.Account, option, err)
	} else if err != nil {
		return err
	}
	now, cancel := context.WithCancel(context.Background())
	cancel()
	listeners := listener.New(monitor, log)
	services, err := listeners.Prepare(configs)
	if err != nil {
		monitor.Stop(now)
		return err
	}
	if d.StateDirectory == "" && c.DatabaseURL == "" {
		d.Log.Warn("state_directory is not set: " +
			"jobs, counters and undelivered state changes are lost when Telegraf stops")
	}
	for _, token := range []struct{ option, text string }{{"webhook_token", c.WebhookToken}, {"jobs_token", c.JobsToken}} {
		if token.text != "" && c.ServiceAddress == "" {
			d.Log.Warn(token.option + " has no effect without service_address")
		}
	}
	d.collector, d.listeners, d.account = monitor, listeners, monitor.Accounts()[0]
	s := d.account.Snapshot()
	d.losses.report(&s, d.Log, d.limit) // not those of before
	monitor.Start()
	services.Apply(now)
	d.delivery = newDelivery(d, d.account, acc)
	d.internal = newInternal(map[string]string{"account": d.Account, "source": d.points.source})
	return nil
}

// A startupError is an error of Start that may pass, such as an address in use, a locked
// store or a secret store that is unavailable: Init found the configuration valid. It is
// the internal.StartupError that startup_error_behavior needs, which only packages
// within Telegraf can import.
type startupError struct{ error }

// Unwrap returns the cause.
func (e *startupError) Unwrap() error { return e.error }

// As sets a target of type **internal.StartupError.
func (e *startupError) As(target any) bool {
	pointer := reflect.ValueOf(target).Elem()
	if pointer.Type().String() != "*internal.StartupError" {
		return false
	}
	pointer.Set(reflect.New(pointer.Type().Elem()))
	pointer.Elem().FieldByName("Err").Set(reflect.ValueOf(e.error))
	pointer.Elem().FieldByName("Retry").SetBool(true)
	return true
}

// Gather emits the state of the account and undelivered state changes, if this process
// owns the account. It does not call the API.
func (d *DeepAffects) Gather(acc telegraf.Accumulator) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collector == nil {
		return nil
	}
	s := d.account.Snapshot()
	if !s.Absent {
		d.points.overview(acc, &s)
	}
	d.losses.report(&s, d.Log, d.limit)
	undelivered := 0
	if d.JobMetrics != collector.JobMetricsOff { // the store may have some from when it was on
		undelivered = d.delivery.gather()
	}
	d.internal.set(&s, undelivered)
	return nil
}

// losses are what was dropped since this process owns the account.
type losses struct {
	known                 bool // the account is owned, and what follows was counted before
	dropped, withoutWords float64
}

// report logs what was dropped since the report before. What an earlier owner has dropped, that one has logged.
func (l *losses) report(s *collector.Snapshot, log telegraf.Logger, limit int) {
	now := losses{
		!s.Absent, s.Totals.Counter(collector.StateChangesDropped), s.Totals.Counter(collector.TimingsDropped),
	}
	before := *l
	*l = now
	if !before.known || !now.known {
		return
	}
	if n := now.dropped - before.dropped; n > 0 {
		log.Errorf("Dropped %.0f state changes: more than %d were waiting for Telegraf's outputs", n, limit)
	}
	if n := now.withoutWords - before.withoutWords; n > 0 {
		log.Errorf("Dropped the words of %.0f jobs: too many were waiting for Telegraf's outputs", n)
	}
}

// Stop ends all work. No point is emitted after it.
func (d *DeepAffects) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collector == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	d.listeners.Stop(ctx)
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		d.delivery.stop()
	}()
	select {
	case <-delivered:
	case <-ctx.Done(): // the disk hangs; the collector says so
	}
	d.collector.Stop(ctx)
	d.internal.stop()
	d.collector = nil
	started.Delete(d.series())
}

func init() {
	inputs.Add("deepaffects", func() telegraf.Input {
		return &DeepAffects{Options: options.Default(), limit: options.MaxStateChanges}
	})
}

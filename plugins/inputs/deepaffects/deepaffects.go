//go:generate ../../../tools/readme_config_includer/generator

// Package deepaffects tells Telegraf about jobs of the DeepAffects speech API.
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
	"sync"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/plugins/inputs"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/collector/listener"
)

//go:embed sample.conf
var sampleConfig string

// stopTimeout is how long requests under way may take when the plugin is to stop.
const stopTimeout = 3 * time.Second

// maxChanges is how many changes of state wait for Telegraf's outputs at most. It is
// more than a large plan sees in a day, and takes about 100 MB.
const maxChanges = 100_000

// DeepAffects is the plugin. It shares nothing with other instances.
type DeepAffects struct {
	Account    string        `toml:"account"`
	URL        string        `toml:"url"`
	APIKey     config.Secret `toml:"api_key"`
	APIKeyFile string        `toml:"api_key_file"`

	RequestIDs      []string        `toml:"request_ids"`
	RequestIDFiles  []string        `toml:"request_id_files"`
	RequestIDURLs   []string        `toml:"request_id_urls"`
	RefreshInterval config.Duration `toml:"refresh_interval"`
	JobLabels       []string        `toml:"job_labels"`

	RequestsPerMinute number          `toml:"requests_per_minute"`
	RequestsPerDay    int             `toml:"requests_per_day"`
	DayResetsAt       string          `toml:"day_resets_at"`
	Timeout           config.Duration `toml:"timeout"`
	MaxResponseSize   config.Size     `toml:"max_response_size"`
	Concurrency       int             `toml:"concurrency"`

	NotFoundGrace config.Duration `toml:"not_found_grace"`
	MaxJobAge     config.Duration `toml:"max_job_age"`
	Retention     config.Duration `toml:"retention"`
	JobMetrics    string          `toml:"job_metrics"`
	MaxJobSeries  int             `toml:"max_job_series"`
	KeepTimings   bool            `toml:"keep_timings"` // of no effect: there is no page

	StateDirectory string `toml:"state_directory"`
	WordPoints     bool   `toml:"word_points"`
	RequestIDAs    string `toml:"request_id_as"`

	ServiceAddress       string        `toml:"service_address"`
	JobsToken            config.Secret `toml:"jobs_token"`
	WebhookToken         config.Secret `toml:"webhook_token"`
	AdoptUnknownWebhooks bool          `toml:"adopt_unknown_webhooks"`

	TLSCA              string `toml:"tls_ca"`
	TLSCert            string `toml:"tls_cert"`
	TLSKey             string `toml:"tls_key"`
	InsecureSkipVerify bool   `toml:"insecure_skip_verify"`
	HTTPProxyURL       string `toml:"http_proxy_url"`

	// DeliveredAfter says that what is written is not acknowledged, as it is where
	// this is a process of its own. A change of state then counts as delivered when
	// Telegraf has asked again this long after it was written. 0: the
	// acknowledgement counts.
	DeliveredAfter time.Duration `toml:"-"`

	// Transport replaces the network to the API; nil is the network. Tests set a
	// simulated API.
	Transport http.RoundTripper `toml:"-"`

	Log telegraf.Logger `toml:"-"`

	points points
	limit  int // maxChanges, but for tests

	mu        sync.Mutex // makes Start, Gather and Stop take turns
	collector *collector.Collector
	listeners *listener.Listeners
	account   *collector.Account
	delivery  *delivery
	// What is known to be lost: changes of state, and words of changes.
	dropped, bare uint64
}

// SampleConfig returns every option with its default.
func (*DeepAffects) SampleConfig() string { return sampleConfig }

// ID is the same as long as the points are about the same account of the same API.
func (d *DeepAffects) ID() string {
	sum := sha256.Sum256([]byte("deepaffects\x00" + d.Account + "\x00" + d.URL))
	return hex.EncodeToString(sum[:])
}

// Init finds every mistake in the configuration, without any network.
func (d *DeepAffects) Init() error {
	if _, err := d.config(); err != nil {
		return err
	}
	api, err := url.Parse(d.URL)
	if err != nil {
		return errors.New("url: give the API's base URL")
	}
	d.points = points{
		account: d.Account, source: api.Hostname(), jobLabels: d.JobLabels,
		requestIDTag: d.RequestIDAs == "tag", jobMetrics: d.JobMetrics, words: d.WordPoints,
	}
	return nil
}

// Start begins to watch the jobs. It may be called again after an error, and
// after Stop.
func (d *DeepAffects) Start(acc telegraf.Accumulator) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.config()
	if err != nil {
		return err
	}
	if !d.APIKey.Empty() {
		// A secret store may give another key from time to time.
		c.Key = func() (string, error) { return reveal(&d.APIKey) }
	}
	configs := []collector.Config{c}
	log := slog.New(newLogHandler(d.Log))
	options := collector.Options{Logger: log, StateDirectory: d.StateDirectory, Transport: d.Transport, MaxChanges: d.limit}
	if d.JobMetrics == collector.JobMetricsOff {
		options.MaxChanges = 0
	}
	monitor, err := collector.New(configs, options)
	if err != nil {
		return fmt.Errorf("state_directory: %w", err)
	}
	stopNow, cancel := context.WithCancel(context.Background())
	cancel()
	account, err := monitor.Account(d.Account)
	if err != nil {
		monitor.Stop(stopNow)
		return err
	}
	listeners := listener.New(monitor, log)
	services, err := listeners.Prepare(configs)
	if err != nil {
		monitor.Stop(stopNow)
		return err
	}
	if d.StateDirectory == "" {
		d.Log.Warn("state_directory is not set: jobs, counters and what Telegraf has not accepted yet are forgotten when it stops")
	}
	if c.WebhookToken != "" && c.ServiceAddress == "" {
		d.Log.Warn("webhook_token has no effect without service_address: no webhook is taken")
	}
	snapshot := account.Snapshot()
	d.dropped, d.bare = snapshot.Totals.ChangesDropped, snapshot.Totals.TimingsDropped
	monitor.Start()
	services.Apply(stopNow)
	d.collector, d.listeners, d.account = monitor, listeners, account
	d.delivery = newDelivery(account, acc, d.points, d.DeliveredAfter, d.StateDirectory, d.Log)
	return nil
}

// Gather reads what is known, and asks nothing of the API.
func (d *DeepAffects) Gather(acc telegraf.Accumulator) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collector == nil {
		return nil
	}
	s := d.account.Snapshot()
	d.points.overview(acc, &s)
	if dropped := s.Totals.ChangesDropped; dropped > d.dropped {
		d.Log.Errorf("%d changes of state were dropped: more than %d wait for Telegraf's outputs to accept them", dropped-d.dropped, d.limit)
		d.dropped = dropped
	}
	if bare := s.Totals.TimingsDropped; bare > d.bare {
		d.Log.Errorf("The words of %d jobs have no points: too many wait for Telegraf's outputs to accept their jobs", bare-d.bare)
		d.bare = bare
	}
	if d.JobMetrics != collector.JobMetricsOff { // the register may have some from a time when it was on
		d.delivery.offer()
	}
	return nil
}

// Stop ends all work. Nothing is emitted after it.
func (d *DeepAffects) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collector == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	d.listeners.Stop(ctx)
	d.delivery.stop()
	d.collector.Stop(ctx)
	d.collector = nil
}

func init() {
	inputs.Add("deepaffects", func() telegraf.Input {
		c := collector.DefaultConfig()
		return &DeepAffects{
			Account: c.Account, URL: c.URL, RefreshInterval: config.Duration(c.RefreshInterval),
			RequestsPerMinute: number(c.RequestsPerMinute), RequestsPerDay: c.RequestsPerDay,
			Timeout: config.Duration(c.Timeout), MaxResponseSize: config.Size(c.MaxResponseSize), Concurrency: c.Concurrency,
			NotFoundGrace: config.Duration(c.NotFoundGrace), MaxJobAge: config.Duration(c.MaxJobAge), Retention: config.Duration(c.Retention),
			JobMetrics: c.JobMetrics, MaxJobSeries: c.MaxJobSeries, KeepTimings: c.KeepTimings,
			limit: maxChanges, RequestIDAs: "field", AdoptUnknownWebhooks: c.AdoptUnknownWebhooks,
		}
	})
}

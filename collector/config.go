package collector

import (
	"errors"
	"fmt"
	"math"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A Config is one account: a key, its quota and its jobs. sample.conf says what
// each option means, under the name in its comment.
type Config struct {
	Account    string // account
	URL        string // url
	APIKey     string // api_key
	APIKeyFile string // api_key_file
	// Key, where a face sets it, is asked for the key instead: Telegraf's
	// secret stores give another one from time to time.
	Key func() (string, error)

	RequestIDs      []string      // request_ids
	RequestIDFiles  []string      // request_id_files
	RequestIDURLs   []string      // request_id_urls
	RefreshInterval time.Duration // refresh_interval
	JobLabels       []string      // job_labels

	RequestsPerMinute float64       // requests_per_minute
	RequestsPerDay    int           // requests_per_day
	DayResetsAt       string        // day_resets_at
	Timeout           time.Duration // timeout
	MaxResponseSize   int64         // max_response_size, bytes
	Concurrency       int           // concurrency

	NotFoundGrace time.Duration // not_found_grace
	MaxJobAge     time.Duration // max_job_age
	Retention     time.Duration // retention
	JobMetrics    string        // job_metrics: JobMetricsFull, …Basic or …Off
	MaxJobSeries  int           // max_job_series
	KeepTimings   bool          // keep_timings

	ServiceAddress       string // service_address; empty: the face's own, where it has one
	JobsToken            string // jobs_token; empty: no registration at ServiceAddress
	WebhookToken         string // webhook_token; empty: no webhooks
	AdoptUnknownWebhooks bool   // adopt_unknown_webhooks

	// WordPoints keeps the timings of each word with the changes of state.
	WordPoints bool // word_points

	TLSCA, TLSCert, TLSKey string // tls_ca, tls_cert, tls_key
	InsecureSkipVerify     bool   // insecure_skip_verify
	HTTPProxyURL           string // http_proxy_url
}

// timings says whether the timings of a result's words are of any use.
func (c *Config) timings() bool { return c.WordPoints || c.KeepTimings }

// The values of job_metrics.
const (
	JobMetricsFull  = "full"
	JobMetricsBasic = "basic"
	JobMetricsOff   = "off"
)

// VendorURL is the base URL of the vendor's API.
const VendorURL = "https://proxy.api.deepaffects.com"

// DefaultConfig returns the defaults of all options.
func DefaultConfig() Config {
	return Config{
		Account:           "default",
		URL:               VendorURL,
		RefreshInterval:   time.Minute,
		RequestsPerMinute: 5,
		RequestsPerDay:    100,
		Timeout:           10 * time.Second,
		MaxResponseSize:   64 << 20,
		Concurrency:       16,
		NotFoundGrace:     15 * time.Minute,
		MaxJobAge:         24 * time.Hour,
		Retention:         24 * time.Hour,
		JobMetrics:        JobMetricsFull,
		MaxJobSeries:      1000,
		KeepTimings:       true,

		AdoptUnknownWebhooks: true,
	}
}

var webhookToken = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// ReservedLabels are the names of labels and tags that a job label cannot take.
var ReservedLabels = []string{"account", "api", "error_code", "exported_account", "instance", "job", "request_id", "source", "state"}

// Validate returns every mistake that shows without touching a file or the
// network, each beginning with the option's name.
func (c *Config) Validate() []error {
	var mistakes []error
	mistake := func(option, format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf(option+": "+format, args...))
	}
	if strings.TrimSpace(c.Account) == "" || len(c.Account) > 128 {
		mistake("account", "must be 1 to 128 characters; name the account as it should show in labels")
	}
	switch {
	case c.Key != nil:
	case c.APIKey != "" && c.APIKeyFile != "":
		mistake("api_key", "set together with api_key_file; remove one of the two")
	case c.APIKey == "" && c.APIKeyFile == "":
		mistake("api_key", "empty; set it to the key, to \"${VAR}\" with VAR in the environment, or set api_key_file")
	case strings.TrimSpace(c.APIKey) != c.APIKey:
		mistake("api_key", "begins or ends with a space; remove it")
	}
	for i, id := range c.RequestIDs {
		if err := submission.CheckRequestID(id); err != nil {
			mistake("request_ids", "entry %d: %w", i+1, err)
		}
	}
	for _, name := range c.JobLabels {
		switch {
		case !labelName.MatchString(name) || strings.HasPrefix(name, "__"):
			mistake("job_labels", "%q is not a label name; use letters, digits and underscores", name)
		case slices.Contains(ReservedLabels, name):
			mistake("job_labels", "%q is a label that the metrics have already; rename it where jobs are registered", name)
		}
	}
	if sorted := slices.Sorted(slices.Values(c.JobLabels)); len(slices.Compact(slices.Clone(sorted))) != len(sorted) {
		mistake("job_labels", "names a label twice; remove one")
	}
	if math.IsNaN(c.RequestsPerMinute) || c.RequestsPerMinute < 0 || c.RequestsPerMinute > 1e6 {
		mistake("requests_per_minute", "must be from 0 to 1000000; 0 means unlimited")
	}
	if c.RequestsPerMinute > 0 && c.RequestsPerMinute < 1e-4 {
		mistake("requests_per_minute", "must be at least 0.0001 (one request in a week), or 0 for unlimited")
	}
	if c.RequestsPerDay < 0 {
		mistake("requests_per_day", "must not be negative; 0 means unlimited")
	}
	if _, err := schedule.ParseDayReset(c.DayResetsAt); err != nil {
		mistake("day_resets_at", "%w", err)
	}
	for _, d := range []struct {
		option string
		value  time.Duration
		sample string
	}{
		{"refresh_interval", c.RefreshInterval, "1m"},
		{"timeout", c.Timeout, "10s"},
		{"not_found_grace", c.NotFoundGrace, "15m"},
		{"max_job_age", c.MaxJobAge, "24h"},
		{"retention", c.Retention, "24h"},
	} {
		if d.value <= 0 {
			mistake(d.option, "must be longer than 0; write a duration such as %q", d.sample)
		}
	}
	if c.MaxResponseSize <= 0 {
		mistake("max_response_size", `must be larger than 0; write a size such as "64MiB"`)
	}
	if c.Concurrency < 1 || c.Concurrency > 1000 {
		mistake("concurrency", "must be from 1 to 1000")
	}
	if !slices.Contains([]string{JobMetricsFull, JobMetricsBasic, JobMetricsOff}, c.JobMetrics) {
		mistake("job_metrics", `must be "full", "basic" or "off"`)
	}
	if c.MaxJobSeries < 0 || c.MaxJobSeries > 1e6 {
		mistake("max_job_series", "must be from 0 to 1000000")
	}
	if c.ServiceAddress != "" && !isAddress(c.ServiceAddress) {
		mistake("service_address", `must be an address to listen at, such as ":8095" or "10.0.0.1:8095"`)
	}
	if c.JobsToken != "" && c.ServiceAddress == "" {
		mistake("jobs_token", "has no effect without service_address; set that too, or remove it")
	}
	if strings.TrimSpace(c.JobsToken) != c.JobsToken {
		mistake("jobs_token", "begins or ends with a space, which no HTTP header does; remove it")
	}
	if c.WebhookToken != "" && !webhookToken.MatchString(c.WebhookToken) {
		mistake("webhook_token", "must be letters, digits, - or _, as it stands in a URL; make one with: openssl rand -hex 16")
	}
	return mistakes
}

// isAddress says whether an address has a host, or none, and a port: a number or the
// name of a service.
func isAddress(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err == nil && port != "" {
		_, err = net.LookupPort("tcp", port) // which asks no network
	}
	return err == nil && port != ""
}

// ValidateAll validates every account, and that no two have one name. Each
// mistake begins with the account's name and the option's.
func ValidateAll(configs []Config) error {
	var mistakes []error
	if len(configs) == 0 {
		mistakes = append(mistakes, errors.New("no account is configured; add an [[inputs.deepaffects]] table"))
	}
	names, tokens := make(map[string]bool), make(map[string]bool)
	for i := range configs {
		c := &configs[i]
		for _, err := range c.Validate() {
			mistakes = append(mistakes, fmt.Errorf("account %q: %w", c.Account, err))
		}
		if names[c.Account] {
			mistakes = append(mistakes, fmt.Errorf("account %q: account: two tables have this name; give each account its own", c.Account))
		}
		names[c.Account] = true
		for _, t := range []struct{ option, token string }{{"webhook_token", c.WebhookToken}, {"jobs_token", c.JobsToken}} {
			if t.token != "" && tokens[t.token] {
				mistakes = append(mistakes, fmt.Errorf("account %q: %s: has been given as a token before; give each its own", c.Account, t.option))
			}
			tokens[t.token] = true
		}
	}
	return errors.Join(mistakes...)
}

package collector

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/credential"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/duration"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/source"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A Config is the configuration of one account. A field has the option of the same name
// in snake_case, which sample.conf describes.
type Config struct {
	Account    string
	URL        string
	APIKey     string
	APIKeyFile string
	// Key returns the current key, if set. A face sets it for a secret store that rotates
	// keys.
	Key func() (string, error)

	RequestIDs      []string
	RequestIDFiles  []string
	RequestIDURLs   []string
	RefreshInterval time.Duration
	JobLabels       []string
	// These go to every URL of RequestIDURLs.
	RequestIDURLHeaders   map[string]string
	RequestIDURLTokenFile string // its token is sent as bearer token

	RequestsPerMinute float64 // 0: unlimited
	RequestsPerDay    int     // 0: unlimited
	DayResetsAt       string
	Timeout           time.Duration
	MaxResponseSize   int64 // bytes
	Concurrency       int

	NotFoundGrace time.Duration
	MaxJobAge     time.Duration
	Retention     time.Duration
	JobMetrics    string // JobMetricsFull, JobMetricsBasic or JobMetricsOff
	MaxJobSeries  int
	KeepTimings   bool // for the status page
	WordPoints    bool // keep the timings of each word with state changes

	ServiceAddress       string // empty: no listener of its own
	JobsToken            string // needed to write jobs; empty: no registration at ServiceAddress
	WebhookToken         string // empty: no webhooks
	AdoptUnknownWebhooks bool

	DatabaseURL string        // of the database that several replicas share; empty: none. The same for all accounts
	Lease       time.Duration // how long a replica that stays silent owns its accounts. The same for all accounts

	TLS   *tls.Config                           // nil: the defaults, with TLS 1.2 or later
	Proxy func(*http.Request) (*url.URL, error) // nil: none
}

// timings returns which timings of words are needed.
func (c *Config) timings() jobstatus.Timings {
	switch {
	case c.WordPoints:
		return jobstatus.WordTimings
	case c.KeepTimings:
		return jobstatus.CompactTimings
	}
	return jobstatus.NoTimings
}

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

		Lease: 5 * time.Second,
	}
}

// A webhook token is part of a URL's path.
var webhookToken = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// minTokenLength is the minimum length of tokens, in characters.
const minTokenLength = 3

// A shorter lease ends with each hiccup of the network. After a longer one, nobody polls for too long.
const minLease, maxLease = time.Second, time.Minute

// maxAge is the longest of the longer durations: no job or result is of use for ten years. A number of seconds that
// overflows is most likely longer.
const maxAge = 10 * 366 * 24 * time.Hour

// minResponseSize is less than what the API answers about a running job with its header.
const minResponseSize = 1000

// longToken is the length below which a token is easy to guess.
const longToken = 16

// shortRefresh is the interval below which a list of request IDs is requested more often than any needs it.
const shortRefresh = time.Second

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// camelCase matches names that promtool refuses.
var camelCase = regexp.MustCompile(`[a-z][A-Z]`)

// ReservedLabels are names of labels and tags that a job label cannot have: our own, those
// that Prometheus adds to what it scrapes, those of histograms and summaries, the time of
// a point in InfluxDB, and the fields of deepaffects_job, since InfluxDB 3 refuses a tag with the name of a field.
var ReservedLabels = append([]string{
	"account", "api", "error_code", "exported_account", "exported_instance", "exported_job", "instance", "job", "le",
	"quantile", "request_id", "source", "state", "time",
	"age_seconds", "detection_window_seconds", "duration_seconds", "state_code",
}, fieldsOfResults()...)

// fieldsOfResults returns the fields of deepaffects_job that show the figures of a result.
func fieldsOfResults() (names []string) {
	for _, f := range Figures {
		names = append(names, f.Field)
	}
	for _, d := range WordDistributions {
		for _, m := range d.Fields {
			names = append(names, d.Name+"_"+m.Name)
		}
	}
	return names
}

// ownHeaders are headers that a user cannot set: of the connection, and of our own requests.
var ownHeaders = []string{
	"Accept-Encoding", "Connection", "Content-Length", "Host", "If-Modified-Since", "If-None-Match", "Keep-Alive",
	"Proxy-Authorization", "Proxy-Connection", "Range", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// Validate returns all mistakes that show without files and network. Each begins with the
// option's name.
func (c *Config) Validate() (mistakes []error) {
	mistake := func(made bool, option, format string, args ...any) {
		if made {
			mistakes = append(mistakes, fmt.Errorf(option+": "+format, args...))
		}
	}
	between := func(d time.Duration, option, sample string, least, most time.Duration) {
		mistake(d <= 0, option, "must be longer than 0; write a duration such as %q", sample)
		mistake(d > 0 && (d < least || d > most),
			option, "must be from %s to %s; write a duration such as %q", least, duration.Text(most), sample)
	}
	mistake(strings.TrimSpace(c.Account) == "" || len(c.Account) > 128,
		"account", "must be 1 to 128 characters; name the account as it should show in labels")
	if c.Key == nil {
		mistake(c.APIKey != "" && c.APIKeyFile != "",
			"api_key", "set together with api_key_file; remove one of the two")
		mistake(c.APIKey == "" && c.APIKeyFile == "",
			"api_key", "empty; set it to the key, to \"${VAR}\" with VAR in the environment, or set api_key_file")
		err := credential.Check(c.APIKey)
		mistake(err != nil && c.APIKeyFile == "", "api_key", "%w", err)
	}
	for i, id := range c.RequestIDs {
		err := submission.CheckRequestID(id)
		mistake(err != nil, "request_ids", "entry %d: %w", i+1, err)
	}
	for _, name := range c.JobLabels {
		mistake(!labelName.MatchString(name) || strings.HasPrefix(name, "__"),
			"job_labels", "%q is not a label name; use letters, digits and underscores", name)
		mistake(slices.Contains(ReservedLabels, name) || strings.HasPrefix(name, "exported_"),
			"job_labels", "%q has another use in metrics or points; rename it where jobs are registered", name)
		mistake(camelCase.MatchString(name),
			"job_labels", "%q is not in snake_case, as promtool requires; rename it where jobs are registered", name)
	}
	names := slices.Compact(slices.Sorted(slices.Values(c.JobLabels)))
	mistake(len(names) < len(c.JobLabels), "job_labels", "names a label twice; remove one")
	mistake(math.IsNaN(c.RequestsPerMinute) || c.RequestsPerMinute < 0 || c.RequestsPerMinute > 1e6,
		"requests_per_minute", "must be from 0 to 1000000; 0 means unlimited")
	mistake(c.RequestsPerMinute > 0 && c.RequestsPerMinute < 1e-4,
		"requests_per_minute", "must be at least 0.0001 (one request in a week), or 0 for unlimited")
	mistake(c.RequestsPerDay < 0, "requests_per_day", "must not be negative; 0 means unlimited")
	_, err := schedule.ParseDayReset(c.DayResetsAt)
	mistake(err != nil, "day_resets_at", "%w", err)
	between(c.RefreshInterval, "refresh_interval", "1m", time.Millisecond, maxAge)
	between(c.Timeout, "timeout", "10s", 10*time.Millisecond, time.Hour)
	between(c.NotFoundGrace, "not_found_grace", "15m", time.Second, maxAge)
	between(c.MaxJobAge, "max_job_age", "24h", time.Second, maxAge)
	between(c.Retention, "retention", "24h", time.Second, maxAge)
	err = postgres.CheckURL(c.DatabaseURL)
	mistake(err != nil && c.DatabaseURL != "", "database_url", "%w", err)
	mistake(c.Lease < minLease || c.Lease > maxLease, "lease", `must be from 1s to 1m; write a duration such as "5s"`)
	mistake(c.MaxResponseSize <= 0, "max_response_size", `must be larger than 0; write a size such as "64MiB"`)
	mistake(c.MaxResponseSize > 0 && c.MaxResponseSize < minResponseSize,
		"max_response_size", "must be at least %d bytes; write a size such as \"64MiB\"", minResponseSize)
	mistake(c.Concurrency < 1 || c.Concurrency > 1000, "concurrency", "must be from 1 to 1000")
	mistake(!slices.Contains([]string{JobMetricsFull, JobMetricsBasic, JobMetricsOff}, c.JobMetrics),
		"job_metrics", `must be "full", "basic" or "off"`)
	mistake(c.MaxJobSeries < 0 || c.MaxJobSeries > 1e6, "max_job_series", "must be from 0 to 1000000")
	mistake(c.ServiceAddress != "" && !isAddress(c.ServiceAddress),
		"service_address", `must be an address to listen at, such as ":8095" or "10.0.0.1:8095"`)
	err = credential.Check(c.JobsToken)
	mistake(err != nil, "jobs_token", "%w", err)
	mistake(c.JobsToken != "" && c.JobsToken == c.WebhookToken,
		"jobs_token", "is the same as webhook_token; give each its own")
	mistake(c.WebhookToken != "" && !webhookToken.MatchString(c.WebhookToken),
		"webhook_token", "must be letters, digits, - or _ (it is part of a URL); make one with: openssl rand -hex 16")
	for option, token := range map[string]string{"jobs_token": c.JobsToken, "webhook_token": c.WebhookToken} {
		mistake(token != "" && len(token) < minTokenLength,
			option, "shorter than %d characters; make one with: openssl rand -hex 16", minTokenLength)
	}
	seen := make(map[string]bool)
	for name, value := range c.RequestIDURLHeaders {
		const option = "request_id_url_headers"
		key := http.CanonicalHeaderKey(name)
		mistake(!httpguts.ValidHeaderFieldName(name), option, "%q is not a name of a header; use letters, digits and hyphens",
			name)
		mistake(slices.Contains(ownHeaders, key), option, "%s cannot be set; remove it", key)
		mistake(!httpguts.ValidHeaderFieldValue(value), option, "%s: the value has a control character; remove it", key)
		mistake(seen[key], option, "%s is there twice; remove one", key)
		mistake(key == "Authorization" && c.RequestIDURLTokenFile != "",
			option, "Authorization is set together with request_id_url_token_file; remove one of the two")
		seen[key] = true
	}
	return mistakes
}

// Warnings returns what is valid and most likely a mistake. Each begins with the option's
// name.
func (c *Config) Warnings() (warnings []string) {
	warning := func(is bool, option, format string, args ...any) {
		if is {
			warnings = append(warnings, fmt.Sprintf(option+": "+format, args...))
		}
	}
	for _, token := range []struct{ option, text string }{{"jobs_token", c.JobsToken}, {"webhook_token", c.WebhookToken}} {
		warning(token.text != "" && len(token.text) < longToken, token.option,
			"shorter than %d characters, and easy to guess; make one with: openssl rand -hex 16", longToken)
		warning(len(token.text) >= longToken && isGuessable(token.text), token.option,
			"not random, and easy to guess; make one with: openssl rand -hex 16")
	}
	warning(len(c.RequestIDURLs) == 0 && (len(c.RequestIDURLHeaders) > 0 || c.RequestIDURLTokenFile != ""),
		"request_id_url_headers, request_id_url_token_file", "no effect without request_id_urls")
	warning(len(c.RequestIDURLs) > 0 && c.RefreshInterval < shortRefresh, "refresh_interval",
		"shorter than %s; each of request_id_urls is requested as often as that", shortRefresh)
	warning(c.ServiceAddress != "" && c.WebhookToken == "" && c.JobsToken == "", "service_address",
		"nothing is served there without webhook_token or jobs_token; set one, or remove service_address")
	warning(c.MaxJobAge < c.NotFoundGrace, "max_job_age",
		"shorter than not_found_grace, which has no effect then; make it longer than the longest job takes")
	warning(c.TLS != nil && c.TLS.InsecureSkipVerify, "insecure_skip_verify",
		"anyone on the network path to the API can read the key and change results; "+
			"set tls_ca to the CA of its certificate instead")
	return warnings
}

// placeholder matches what stands in examples in the place of a token.
var placeholder = regexp.MustCompile(`(?i)^(?:your|change|example|placeholder)`)

// isGuessable reports whether a token is a placeholder, or has too few different characters to be random.
func isGuessable(token string) bool {
	characters := make(map[rune]bool)
	for _, r := range token {
		characters[r] = true
	}
	return len(characters) < 5 || placeholder.MatchString(token)
}

// Unmatched returns an error for each pattern of request_id_files that matches no file now.
// That is valid, but may be a mistake.
func (c *Config) Unmatched() []error { return source.Unmatched(c.RequestIDFiles) }

// isAddress reports whether an address has a port, which may be the name of a service.
func isAddress(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err == nil && port != "" {
		_, err = net.LookupPort("tcp", port) // does not use the network
	}
	return err == nil && port != ""
}

// Overlap reports whether two addresses to listen at exclude each other. An address without a port, or none, does not.
func Overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil {
		return false
	}
	numberA, errA := net.LookupPort("tcp", portA) // does not use the network
	numberB, errB := net.LookupPort("tcp", portB)
	return errA == nil && errB == nil && numberA == numberB && numberA != 0 &&
		(strings.EqualFold(hostA, hostB) || includes(hostA, hostB) || includes(hostB, hostA))
}

// includes reports whether a host stands for another one, or for all addresses of this machine of the kind that the
// other has.
func includes(host, other string) bool {
	if strings.EqualFold(other, "localhost") { // of a name, the IPv4 address is listened at
		other = "127.0.0.1"
	}
	ip, of := net.ParseIP(host), net.ParseIP(other)
	return ip != nil && ip.Equal(of) || host == "" ||
		ip != nil && ip.IsUnspecified() && (ip.To4() == nil || of.To4() != nil)
}

// ValidateAll returns the mistakes of all accounts, a line for each, which begins with the
// account and the option.
func ValidateAll(configs []Config) error {
	var mistakes []error
	for _, c := range configs {
		for _, err := range c.Validate() {
			mistakes = append(mistakes, fmt.Errorf("account %q: %w", c.Account, err))
		}
	}
	return errors.Join(append(mistakes, CheckAccounts(configs))...)
}

// CheckAccounts returns the mistakes of ValidateAll that show only in all accounts
// together: names and tokens must be unique, and an account spends its quota alone. It reads the files with the keys.
func CheckAccounts(configs []Config) error {
	if len(configs) == 0 {
		return errors.New("no account is configured; add an [[inputs.deepaffects]] table")
	}
	var mistakes []error
	names, tokens := make(map[string]bool), make(map[string]bool)
	for i, c := range configs {
		mistake := func(made bool, text string) {
			if made {
				mistakes = append(mistakes, fmt.Errorf("account %q: %s", c.Account, text))
			}
		}
		mistake(names[c.Account], "account: two tables have this name; give each account its own")
		mistake(c.WebhookToken != "" && tokens[c.WebhookToken],
			"webhook_token: another account has the same token; give each its own")
		mistake(c.JobsToken != "" && tokens[c.JobsToken],
			"jobs_token: another account has the same token; give each its own")
		mistake(c.DatabaseURL != configs[0].DatabaseURL,
			"database_url: is not that of the other accounts; one process has one database")
		mistake(c.DatabaseURL != "" && c.Lease != configs[0].Lease,
			"lease: is not that of the other accounts; one process has one lease")
		mistake(slices.ContainsFunc(configs[:i], func(other Config) bool {
			return c.ServiceAddress != other.ServiceAddress && Overlap(c.ServiceAddress, other.ServiceAddress)
		}), "service_address: overlaps with that of another account; write the same address, or choose another port")
		names[c.Account], tokens[c.WebhookToken], tokens[c.JobsToken] = true, true, true
	}
	return errors.Join(append(mistakes, checkQuotas(configs)...)...)
}

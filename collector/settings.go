package collector

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/credential"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outbound"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/source"
)

// settings are the configuration of one account, and what is made from it. They do
// not change; a reload replaces them.
type settings struct {
	config          Config
	key             func() (string, error)
	client          *jobstatus.Client
	web             *http.Client // for request_id_urls
	urlHeader       func() (http.Header, error)
	gate            *gate // of all requests
	limits          schedule.Limits
	maxStateChanges int
}

// prepareAll does everything about a configuration that can fail.
func prepareAll(configs []Config, options Options) ([]*settings, error) {
	var all []*settings
	mistakes := []error{ValidateAll(configs)}
	for _, config := range configs {
		s, err := prepare(config, options)
		if err != nil {
			mistakes = append(mistakes, err)
		}
		all = append(all, s)
	}
	return all, errors.Join(mistakes...)
}

// prepare does everything about the configuration of one account that can fail and
// that Validate does not check. The error holds every mistake.
func prepare(config Config, options Options) (*settings, error) {
	s := &settings{config: config, gate: new(gate), maxStateChanges: options.MaxStateChanges}
	var mistakes []error
	mistake := func(err error) {
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("account %q: %w", config.Account, err))
		}
	}
	var err error
	s.key, err = config.key()
	mistake(err)
	transport := outbound.NewTransport(config.Timeout, config.Concurrency, config.TLS, config.Proxy)
	transport.DialContext = s.gate.dialing(transport.DialContext)
	s.web = &http.Client{Transport: transport}
	api := options.Transport
	if api == nil {
		api = transport
	}
	s.client, err = jobstatus.New(jobstatus.Config{
		URL: config.URL, Timeout: config.Timeout, MaxResponseSize: config.MaxResponseSize, Transport: api,
		Timings: config.timings(),
	})
	mistake(err)
	resets, _ := schedule.ParseDayReset(config.DayResetsAt) // Validate reports its error
	s.limits = schedule.PerMinute(config.RequestsPerMinute)
	s.limits.PerDay, s.limits.DayResets, s.limits.Concurrent = config.RequestsPerDay, resets, config.Concurrency
	s.urlHeader, err = s.config.urlHeader()
	mistake(err)
	// These are made again when the account starts. Here only the errors matter.
	if _, err := source.NewFiles(config.RequestIDFiles, source.Handler{}); err != nil {
		mistake(fmt.Errorf("request_id_files: %w", err))
	}
	_, err = source.NewURLs(config.RequestIDURLs, s.web.Transport, s.urlHeader, config.RefreshInterval, source.Handler{})
	if err != nil {
		mistake(fmt.Errorf("request_id_urls: %w", err))
	}
	return s, errors.Join(mistakes...)
}

// key returns a function that returns the API key. A key file is read each time, so
// that a new key is used without a reload.
func (c *Config) key() (func() (string, error), error) {
	switch {
	case c.Key != nil:
		return func() (string, error) {
			key, err := c.Key()
			if err == nil {
				err = credential.Check(key)
			}
			if err != nil {
				return "", fmt.Errorf("api_key: %w", err)
			}
			return key, nil
		}, nil
	case c.APIKeyFile == "" || c.APIKey != "":
		key := c.APIKey
		return func() (string, error) { return key, nil }, nil
	}
	path := c.APIKeyFile
	if _, err := credential.ReadFile(path); err != nil {
		return nil, fmt.Errorf("api_key_file: %w", err)
	}
	return func() (string, error) { return credential.ReadFile(path) }, nil
}

// urlHeader returns a function that returns the header of requests to request_id_urls. A
// token file is read each time, so that a new token is used without a reload.
func (c *Config) urlHeader() (func() (http.Header, error), error) {
	constant := make(http.Header)
	for name, value := range c.RequestIDURLHeaders {
		constant.Set(name, value)
	}
	header := func() (http.Header, error) {
		if c.RequestIDURLTokenFile == "" {
			return constant, nil
		}
		token, err := credential.ReadFile(c.RequestIDURLTokenFile)
		if err != nil {
			return nil, fmt.Errorf("request_id_url_token_file: %w", err)
		}
		with := constant.Clone()
		with.Set("Authorization", "Bearer "+token)
		return with, nil
	}
	_, err := header()
	return header, err
}

func (s *settings) close() {
	s.client.Close()
	s.web.CloseIdleConnections()
}

func (s *settings) forJobs() jobs.Options {
	return jobs.Options{
		Retention: s.config.Retention, MaxJobAge: s.config.MaxJobAge, NotFoundGrace: s.config.NotFoundGrace,
		MaxJobSeries: s.config.MaxJobSeries, JobLabels: s.config.JobLabels, KeepTimings: s.config.KeepTimings,
		MaxStateChanges: s.maxStateChanges, WordPoints: s.config.WordPoints,
		RequestsKept: s.limits.Kept() + s.answeredWithin(),
	}
}

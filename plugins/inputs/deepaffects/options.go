package deepaffects

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/influxdata/telegraf/config"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// config returns the options as the collector has them, with the secrets as they
// are now. The error has every mistake that shows without any network, on one line.
func (d *DeepAffects) config() (collector.Config, error) {
	c := collector.Config{
		Account: d.Account, URL: d.URL, APIKeyFile: d.APIKeyFile,
		RequestIDs: d.RequestIDs, RequestIDFiles: d.RequestIDFiles, RequestIDURLs: d.RequestIDURLs,
		RefreshInterval: time.Duration(d.RefreshInterval), JobLabels: d.JobLabels,
		RequestsPerMinute: float64(d.RequestsPerMinute), RequestsPerDay: d.RequestsPerDay, DayResetsAt: d.DayResetsAt,
		Timeout: time.Duration(d.Timeout), MaxResponseSize: int64(d.MaxResponseSize), Concurrency: d.Concurrency,
		NotFoundGrace: time.Duration(d.NotFoundGrace), MaxJobAge: time.Duration(d.MaxJobAge), Retention: time.Duration(d.Retention),
		JobMetrics: d.JobMetrics, MaxJobSeries: d.MaxJobSeries, WordPoints: d.WordPoints,
		ServiceAddress: d.ServiceAddress, AdoptUnknownWebhooks: d.AdoptUnknownWebhooks,
		TLSCA: d.TLSCA, TLSCert: d.TLSCert, TLSKey: d.TLSKey,
		InsecureSkipVerify: d.InsecureSkipVerify, HTTPProxyURL: d.HTTPProxyURL,
	}
	mistakes := d.unset()
	for _, secret := range []struct {
		option string
		from   *config.Secret
		to     *string
	}{
		{"api_key", &d.APIKey, &c.APIKey}, {"jobs_token", &d.JobsToken, &c.JobsToken}, {"webhook_token", &d.WebhookToken, &c.WebhookToken},
	} {
		var err error
		if *secret.to, err = reveal(secret.from); err == nil {
			err = checkUnset(*secret.to)
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("account %q: %s: %w", d.Account, secret.option, err))
		}
	}
	if d.RequestIDAs != "field" && d.RequestIDAs != "tag" {
		mistakes = append(mistakes, fmt.Errorf(`account %q: request_id_as: must be "field" or "tag"`, d.Account))
	}
	if len(mistakes) == 0 {
		mistakes = flatten(collector.Check([]collector.Config{c}))
	}
	if len(mistakes) == 0 {
		return c, nil
	}
	lines := make([]string, len(mistakes))
	for i, mistake := range mistakes {
		lines[i] = mistake.Error()
	}
	return c, errors.New(strings.Join(lines, "; "))
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// A number may be written without a point: Telegraf's decoder takes 5 for no float64.
type number float64

// UnmarshalText reads the number.
func (n *number) UnmarshalText(text []byte) error {
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return errors.New("must be a number, without quotes")
	}
	*n = number(v)
	return nil
}

// reveal returns a secret, without the newline that a file of a secret store ends
// with. The error names no part of it.
func reveal(s *config.Secret) (string, error) {
	if s.Empty() {
		return "", nil
	}
	buffer, err := s.Get()
	if err != nil {
		return "", fmt.Errorf("the secret cannot be resolved: %w", err)
	}
	defer buffer.Destroy()
	return strings.TrimRight(buffer.String(), "\r\n"), nil
}

// unset finds options that refer to environment variables that are not set:
// Telegraf leaves those as they are.
func (d *DeepAffects) unset() (mistakes []error) {
	plugin := reflect.ValueOf(d).Elem()
	for i := range plugin.NumField() {
		option := plugin.Type().Field(i).Tag.Get("toml")
		if option == "" || option == "-" {
			continue
		}
		var values []string
		switch v := plugin.Field(i).Interface().(type) {
		case string:
			values = []string{v}
		case []string:
			values = v
		}
		for _, v := range values {
			if err := checkUnset(v); err != nil {
				mistakes = append(mistakes, fmt.Errorf("account %q: %s: %w", d.Account, option, err))
				break
			}
		}
	}
	return mistakes
}

var variable = regexp.MustCompile(`\$\{(\w+)`)

func checkUnset(value string) error {
	if !strings.Contains(value, "${") {
		return nil
	}
	if name := variable.FindStringSubmatch(value); name != nil {
		return fmt.Errorf("the environment variable %s is not set; set it where Telegraf is started", name[1])
	}
	return errors.New("a ${ that is no variable; write ${VAR}")
}

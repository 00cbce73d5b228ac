// Package options is the [[inputs.deepaffects]] table. The exporter, the execd plugin
// and Telegraf's own loader decode it into the same struct, so that an option means the
// same to all three.
package options

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/plugins/common/proxy"
	"github.com/influxdata/telegraf/plugins/common/tls"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// MaxStateChanges is the maximum number of state changes that Telegraf's outputs have not
// accepted. It is more than a large plan sees in a day; in memory they take about 100 MB.
const MaxStateChanges = 100_000

// Options has a field for each option of the table; sample.conf describes them. A field
// with the name and kind of one in collector.Config sets that. The tags exporter and
// telegraf give the reason why an option has no effect there.
type Options struct {
	Account    string        `toml:"account"`
	URL        string        `toml:"url"`
	APIKey     config.Secret `toml:"api_key"`
	APIKeyFile string        `toml:"api_key_file"`

	RequestIDs      []string        `toml:"request_ids"`
	RequestIDFiles  []string        `toml:"request_id_files"`
	RequestIDURLs   []string        `toml:"request_id_urls"`
	RefreshInterval config.Duration `toml:"refresh_interval"`
	JobLabels       []string        `toml:"job_labels"`

	RequestIDURLHeaders   map[string]*config.Secret `toml:"request_id_url_headers"`
	RequestIDURLTokenFile string                    `toml:"request_id_url_token_file"`

	RequestsPerMinute Number          `toml:"requests_per_minute"`
	RequestsPerDay    Integer         `toml:"requests_per_day"`
	DayResetsAt       string          `toml:"day_resets_at"`
	Timeout           config.Duration `toml:"timeout"`
	MaxResponseSize   Size            `toml:"max_response_size"`
	Concurrency       Integer         `toml:"concurrency"`

	NotFoundGrace config.Duration `toml:"not_found_grace"`
	MaxJobAge     config.Duration `toml:"max_job_age"`
	Retention     config.Duration `toml:"retention"`
	JobMetrics    string          `toml:"job_metrics"`
	MaxJobSeries  Integer         `toml:"max_job_series" telegraf:"there are no series of jobs"`
	KeepTimings   bool            `toml:"keep_timings" telegraf:"there is no status page"`

	StateDirectory        string          `toml:"state_directory" exporter:"it works in Telegraf only; use --storage.path"`
	DatabaseURL           config.Secret   `toml:"database_url"`
	Lease                 config.Duration `toml:"lease"`
	MaxUndeliveredChanges Integer         `toml:"max_undelivered_changes" exporter:"it works in Telegraf only"`
	WordPoints            bool            `toml:"word_points" exporter:"it works in Telegraf only"`
	RequestIDAs           string          `toml:"request_id_as" exporter:"it works in Telegraf only"`

	ServiceAddress       string        `toml:"service_address"`
	JobsToken            config.Secret `toml:"jobs_token"`
	WebhookToken         config.Secret `toml:"webhook_token"`
	AdoptUnknownWebhooks bool          `toml:"adopt_unknown_webhooks"`

	tls.ClientConfig
	proxy.HTTPProxy
}

// Default returns the defaults of all options.
func Default() Options {
	o := Options{
		MaxUndeliveredChanges: 1000, RequestIDAs: "field",
		ClientConfig: tls.ClientConfig{
			TLSMinVersion: "TLS12", RenegotiationMethod: "never", Enable: new(true),
		},
		HTTPProxy: proxy.HTTPProxy{UseSystemProxy: true},
	}
	c := collector.DefaultConfig()
	transfer(&o, &c)
	return o
}

// transfer copies the fields that two structs have in common. Their types may have
// different names, such as time.Duration and config.Duration.
func transfer(to, from any) {
	target, source := reflect.ValueOf(to).Elem(), reflect.ValueOf(from).Elem()
	for _, field := range reflect.VisibleFields(source.Type()) {
		into := target.FieldByName(field.Name)
		if into.IsValid() && into.Kind() == field.Type.Kind() && field.Type.ConvertibleTo(into.Type()) {
			into.Set(source.FieldByIndex(field.Index).Convert(into.Type()))
		}
	}
}

// Fields returns a pointer to the value of each option, by its name in the table.
func (o *Options) Fields() map[string]any {
	fields := make(map[string]any)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Options]()) {
		if name := field.Tag.Get("toml"); name != "" {
			fields[name] = reflect.ValueOf(o).Elem().FieldByIndex(field.Index).Addr().Interface()
		}
	}
	return fields
}

// WithoutEffect returns a warning for each option that was set and has no effect in the
// given face, "exporter" or "telegraf".
func (o *Options) WithoutEffect(face string) (warnings []string) {
	defaults := Default()
	for field, value := range reflect.ValueOf(o).Elem().Fields() {
		reason, ineffective := field.Tag.Lookup(face)
		if ineffective && !value.Equal(reflect.ValueOf(defaults).FieldByIndex(field.Index)) {
			warnings = append(warnings, field.Tag.Get("toml")+" has no effect: "+reason)
		}
	}
	return warnings
}

// Config returns the configuration of the account, with the secrets as they are now. It
// reads certificates and the key's file and does not use the network. The error has a
// line for each mistake with the account, the option and the remedy, and no value: a
// value may be a secret.
func (o *Options) Config() (collector.Config, error) { return o.ConfigWithKey(nil) }

// ConfigWithKey is Config with a source of keys in the place of api_key and api_key_file, if it is not nil.
func (o *Options) ConfigWithKey(key func() (string, error)) (collector.Config, error) {
	var c collector.Config
	transfer(&c, o)
	if c.Key = key; key != nil {
		c.APIKeyFile = ""
	}
	var mistakes []error
	mistake := func(option string, err error) {
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("account %q: %s: %w", o.Account, option, err))
		}
	}
	secrets := map[string]*string{
		"api_key": &c.APIKey, "jobs_token": &c.JobsToken, "webhook_token": &c.WebhookToken,
		"database_url": &c.DatabaseURL,
	}
	fields := o.Fields()
	for _, option := range slices.Sorted(maps.Keys(fields)) {
		switch field := fields[option].(type) {
		case *string:
			mistake(option, checkText(*field))
		case *[]string:
			mistake(option, checkText(*field...))
		case *config.Secret:
			if option == "api_key" && key != nil {
				continue
			}
			text, err := Reveal(field)
			mistake(option, cmp.Or(err, checkText(text)))
			*secrets[option] = text
		case *map[string]*config.Secret:
			if len(*field) > 0 {
				c.RequestIDURLHeaders = make(map[string]string, len(*field))
			}
			for name, value := range *field {
				text, err := Reveal(value)
				mistake(option, cmp.Or(err, checkText(text)))
				c.RequestIDURLHeaders[name] = text
			}
		}
	}
	if err := c.CheckNames(); err != nil {
		return c, err
	}
	if len(mistakes) > 0 { // others might only follow from these
		return c, errors.Join(mistakes...)
	}
	if o.MaxUndeliveredChanges < 1 || o.MaxUndeliveredChanges > MaxStateChanges {
		mistake("max_undelivered_changes", fmt.Errorf("must be a number from 1 to %d", MaxStateChanges))
	}
	if c.DatabaseURL != "" && o.StateDirectory != "" {
		mistake("database_url", errors.New("set together with state_directory; remove one of the two"))
	}
	if o.RequestIDAs != "field" && o.RequestIDAs != "tag" {
		mistake("request_id_as", errors.New(`must be "field" or "tag"`))
	}
	var err error
	if c.TLS, err = o.TLSConfig(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			mistakes = append(mistakes, fmt.Errorf("account %q: %s", o.Account, line))
		}
	}
	c.Proxy, err = o.proxy()
	mistake("http_proxy_url", err)
	return c, errors.Join(append(mistakes, collector.Check([]collector.Config{c}))...)
}

// Reveal returns the text of a secret, without the newline at the end of a file that a
// secret store reads.
func Reveal(s *config.Secret) (string, error) {
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

var variable = regexp.MustCompile(`\$\{(\w+)`)

// NotSet returns the error for an environment variable that is not set.
func NotSet(variable string) error {
	return fmt.Errorf("the environment variable %s is not set; set it where this program is started", variable)
}

// checkText finds what the readers leave as it is: variables that are not set, as
// Telegraf does, and U+FFFD in place of bytes that are not UTF-8.
func checkText(texts ...string) error {
	for _, text := range texts {
		if strings.ContainsRune(text, '\uFFFD') {
			return errors.New("not valid UTF-8; save the file as UTF-8")
		}
		if name := variable.FindStringSubmatch(text); name != nil {
			if _, set := os.LookupEnv(name[1]); set {
				return fmt.Errorf("holds ${%s} after the variables in it were replaced, which is done once; "+
					"write what it stands for", name[1])
			}
			return NotSet(name[1])
		}
		if strings.Contains(text, "${") {
			return errors.New("not a variable after ${; write ${VAR} or ${VAR:-default}")
		}
	}
	return nil
}

package configfile

import (
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/compose-spec/compose-go/template"
	"github.com/influxdata/telegraf/config"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/collector/options"
)

// A table is one [[inputs.deepaffects]].
type table struct {
	md     *toml.MetaData
	values map[string]toml.Primitive
	// expanded means that variables were replaced before the file was parsed.
	expanded bool
	// unreadable are options that name a credential of the service.
	unreadable []string
}

// read finds the tables of the file that a flag names. The error names both, as far as the
// flag may be wrong, or the file.
func read(flag, path string) ([]table, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		remedy := "give the path of a TOML file"
		if errors.Is(err, fs.ErrPermission) {
			remedy = "let the user of this process read the file and its directories"
		}
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err // without the operation
		}
		return nil, fmt.Errorf("%s: %s: %w; %s", flag, path, err, remedy)
	}
	tables, err := parse(text)
	return tables, prefix(path, err)
}

// parse finds the tables. Like Telegraf, it also accepts a single [inputs.deepaffects],
// and bytes that are not UTF-8 where they do not matter.
func parse(text []byte) ([]table, error) {
	var document struct {
		Inputs struct {
			DeepAffects toml.Primitive `toml:"deepaffects"`
		} `toml:"inputs"`
	}
	valid := strings.ToValidUTF8(string(text), "\uFFFD")
	md, err := toml.Decode(valid, &document)
	expanded := false
	if err != nil {
		var again error
		if md, again = toml.Decode(expandFile(valid), &document); again != nil {
			return nil, syntaxError(err)
		}
		expanded = true
	}
	if !md.IsDefined("inputs", "deepaffects") {
		return nil, nil
	}
	all := make([]map[string]toml.Primitive, 1)
	if md.Type("inputs", "deepaffects") == "Hash" {
		err = md.PrimitiveDecode(document.Inputs.DeepAffects, &all[0])
	} else {
		err = md.PrimitiveDecode(document.Inputs.DeepAffects, &all)
	}
	if err != nil {
		return nil, errors.New("inputs.deepaffects: not a table; begin each account with [[inputs.deepaffects]]")
	}
	tables := make([]table, len(all))
	for i, values := range all {
		tables[i] = table{md: &md, values: values, expanded: expanded}
	}
	return tables, nil
}

// telegrafOptions are the options that Telegraf's loader accepts in the table of every
// plugin.
var telegrafOptions = []string{
	"alias", "always_include_local_tags", "buffer_directory", "buffer_disk_sync", "buffer_strategy",
	"collection_jitter", "collection_offset", "data_format", "data_type", "delay", "drop", "drop_original",
	"fielddrop", "fieldexclude", "fieldinclude", "fieldpass", "flush_interval", "flush_jitter", "grace",
	"id", "influx_parser_type", "interval", "labels", "log_level", "lvm",
	"metric_batch_size", "metric_buffer_limit", "metricpass",
	"name_override", "name_prefix", "name_suffix", "namedrop", "namedrop_separator", "namepass", "namepass_separator",
	"order", "pass", "period", "precision", "startup_error_behavior",
	"tagdrop", "tagexclude", "taginclude", "tagpass", "tags",
}

// config sets the options and returns the configuration of the account, nil if a value has
// another form: other mistakes might only follow from that. agent has the names of the
// options that are Telegraf's. The error has a line for each mistake.
func (t *table) config(o *options.Options, with secrets) (c *collector.Config, agent []string, err error) {
	// The key of a monitor is in the environment or in a file. To protect its memory
	// needs a right that many services do not have.
	config.DisableSecretProtection()
	if with == withoutKey {
		delete(t.values, "api_key")
		delete(t.values, "api_key_file")
	}
	fields := o.Fields()
	var mistakes []error
	malformed := false
	for _, name := range slices.Sorted(maps.Keys(t.values)) {
		var err error
		switch field := fields[name]; {
		case field != nil:
			err = t.decodeField(t.values[name], field)
			malformed = malformed || err != nil
		case slices.Contains(telegrafOptions, name):
			agent = append(agent, name)
		default:
			err = errors.New("no such option; remove it, or see sample.conf for its name")
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", name, err))
		}
	}
	err = prefix(fmt.Sprintf("account %q", o.Account), errors.Join(mistakes...))
	if malformed {
		return nil, agent, err
	}
	var key func() (string, error)
	if with != withKey {
		t.leaveCredentials(fields)
	}
	if with == withoutKey || slices.Contains(t.unreadable, "api_key_file") {
		key = func() (string, error) { return "", errors.New("it was not read") }
	}
	valid, invalid := o.ConfigWithKey(key)
	return &valid, agent, errors.Join(err, invalid)
}

// secrets says which secrets a command needs.
type secrets int

const (
	withKey            secrets = iota // all
	withoutKey                        // all but the API key
	withoutCredentials                // those that are no credentials of the service
)

// credentials is where systemd puts the credentials of a service while it runs, for that service only.
const credentials = "/run/credentials/"

// leaveCredentials empties the options that name a credential which cannot be read here.
func (t *table) leaveCredentials(fields map[string]any) {
	for _, option := range slices.Sorted(maps.Keys(fields)) {
		path, ok := fields[option].(*string)
		if !ok || !strings.HasPrefix(*path, credentials) {
			continue
		}
		file, err := os.Open(*path)
		if err == nil {
			_ = file.Close() // nothing was written
			continue
		}
		t.unreadable = append(t.unreadable, option)
		*path = ""
	}
}

func (t table) decodeField(value toml.Primitive, field any) error {
	malformed := errors.New(forms[reflect.TypeOf(field)]) // the decoder's error may quote the value
	if secrets, ok := field.(*map[string]*config.Secret); ok {
		var values map[string]toml.Primitive
		if t.md.PrimitiveDecode(value, &values) != nil || values == nil { // it decodes a string to nil
			return malformed
		}
		*secrets = make(map[string]*config.Secret, len(values))
		for _, name := range slices.Sorted(maps.Keys(values)) {
			secret := new(config.Secret)
			if err := t.decodeField(values[name], secret); err != nil {
				return fmt.Errorf("%q: %w", name, err)
			}
			(*secrets)[name] = secret
		}
		return nil
	}
	unmarshaler, isText := field.(encoding.TextUnmarshaler)
	if !isText {
		if t.md.PrimitiveDecode(value, field) != nil {
			return malformed
		}
		switch field := field.(type) {
		case *string:
			return t.expand(field)
		case *[]string:
			for i := range *field {
				if err := t.expand(&(*field)[i]); err != nil {
					return err
				}
			}
		}
		return nil
	}
	text, ok := t.text(value)
	if !ok {
		return malformed
	}
	if err := t.expand(&text); err != nil {
		return err
	}
	if _, secret := field.(*config.Secret); secret && reference.MatchString(text) {
		return errors.New("secret stores work only if the plugin is compiled into Telegraf; use ${VAR} or api_key_file")
	}
	if unmarshaler.UnmarshalText([]byte(text)) != nil {
		return malformed
	}
	return nil
}

// forms say how an option of each type is written.
var forms = map[reflect.Type]string{
	reflect.TypeFor[*string]():          `must be a string; write it in quotes`,
	reflect.TypeFor[*[]string]():        `must be an array of strings; write it as ["…", "…"]`,
	reflect.TypeFor[*bool]():            `must be true or false, without quotes`,
	reflect.TypeFor[**bool]():           `must be true or false, without quotes`,
	reflect.TypeFor[*options.Integer](): `must be a whole number`,
	reflect.TypeFor[*options.Number]():  `must be a number`,
	reflect.TypeFor[*options.Size]():    `must be a size, such as "64MiB", or a number of bytes`,
	reflect.TypeFor[*config.Duration](): `must be a duration, such as "90s", "24h" or "7d", or a number of seconds`,
	reflect.TypeFor[*config.Secret]():   `must be a string; write it in quotes`,

	reflect.TypeFor[*map[string]*config.Secret](): `must be a table; write it as { "NAME" = "…" }`,
}

// text returns a value as Telegraf's decoder passes it to UnmarshalText.
func (t table) text(value toml.Primitive) (text string, ok bool) {
	var v any
	if t.md.PrimitiveDecode(value, &v) != nil {
		return "", false
	}
	switch v := v.(type) {
	case string:
		return v, true
	case int64, bool:
		return fmt.Sprint(v), true
	case float64:
		text = strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0" // 2.0 is not a whole number
		}
		return text, true
	}
	return "", false
}

// reference is what Telegraf takes for a reference to a secret store.
var reference = regexp.MustCompile(`@\{.+?:.+?}`)

// expand replaces environment variables. What is not set stays as it is; options.Config
// reports it.
func (t table) expand(text *string) error {
	if t.expanded {
		return nil
	}
	expanded, err := substitute(*text)
	if unset, ok := errors.AsType[*template.MissingRequiredError](err); ok {
		return options.NotSet(unset.Variable)
	}
	*text = expanded
	return nil
}

// substitute replaces environment variables with Telegraf's own library and settings, so
// that the result is the same: ${VAR}, ${VAR:-default}, nested, $VAR and $$ for a dollar.
func substitute(text string) (string, error) {
	return template.SubstituteWithOptions(text, os.LookupEnv, template.WithoutLogging,
		template.WithReplacementFunction(func(s string, m template.Mapping, c *template.Config) (string, error) {
			value, applied, err := template.DefaultReplacementAppliedFunc(s, m, c)
			if _, unset := errors.AsType[*template.MissingRequiredError](err); unset || err == nil && applied {
				return value, err
			}
			return s, nil
		}))
}

// unsetValue matches a line whose value is a variable without quotes.
var unsetValue = regexp.MustCompile(`(?m)^(\s*[\w."-]+\s*=\s*)(\$\{\w+\}|\$\w+)([ \t]*(?:#.*)?\r?)$`)

// expandFile replaces the variables of a file that is not TOML before, as older versions of
// Telegraf and --non-strict-env-handling do. In quotes, those that are not set only matter
// if they are in a table of ours.
func expandFile(text string) string {
	expanded, err := substitute(text)
	if err != nil {
		return text
	}
	return unsetValue.ReplaceAllString(expanded, `$1"$2"$3`)
}

// quotesNothing are how those messages of the decoder begin that do not repeat a value.
var quotesNothing = []string{
	"Key ", "expected '.'", "expected a comma", "expected a top-level item", "expected end of table", "files cannot",
	"invalid UTF-8", "unexpected ",
}

// syntaxError says where the file is not TOML.
func syntaxError(err error) error {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return errors.New("inputs: not a table; begin each account with [[inputs.deepaffects]]")
	}
	message := parse.Message
	if !slices.ContainsFunc(quotesNothing, func(begin string) bool { return strings.HasPrefix(message, begin) }) {
		message = "the value is not valid TOML; write text in quotes"
	}
	return fmt.Errorf("line %d: not TOML, at or after %q: %s", parse.Position.Line, parse.LastKey, message)
}

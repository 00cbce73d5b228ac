// Package configfile reads the exporter's configuration: the
// [[inputs.deepaffects]] tables of a TOML file, which may be a whole telegraf.conf.
package configfile

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/dustin/go-humanize"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// A File is what a configuration file says.
type File struct {
	Accounts []collector.Config
	// Warnings are about options that are right and have no effect here.
	Warnings []string
}

// Load reads a configuration file, and what it refers to in the environment.
// The error has a line for each mistake, which names the file, the option and
// the remedy, and never a value: it may be a key.
func Load(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w; give the path of a TOML file that can be read", err)
	}
	file, mistakes := exporter.parse(string(text))
	for i, mistake := range mistakes {
		mistakes[i] = fmt.Errorf("%s: %w", path, mistake)
	}
	return file, errors.Join(mistakes...)
}

// flatten takes joined errors apart, so that each can have a line of its own.
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

// A reader is who reads a configuration file, and what it can refer to.
type reader struct {
	env         func(string) (string, bool)
	startedAs   string // where environment variables are to be set
	secretStore string // why a reference to a secret store cannot be resolved
}

var exporter = reader{os.LookupEnv, "where the exporter is started", "secret-store references work in Telegraf only; use ${VAR} or api_key_file"}

// tables finds the [[inputs.deepaffects]] tables.
func tables(text string) (toml.MetaData, []map[string]toml.Primitive, error) {
	var document struct {
		Inputs struct {
			DeepAffects toml.Primitive `toml:"deepaffects"`
		} `toml:"inputs"`
	}
	md, err := toml.Decode(text, &document)
	if err != nil {
		return md, nil, syntaxError(err)
	}
	if !md.IsDefined("inputs", "deepaffects") {
		return md, nil, nil
	}
	var tables []map[string]toml.Primitive
	if err := md.PrimitiveDecode(document.Inputs.DeepAffects, &tables); err != nil {
		return md, nil, errors.New("inputs.deepaffects: not an array of tables; begin each account with [[inputs.deepaffects]], in two brackets")
	}
	return md, tables, nil
}

// errUnknown says that there is no such option.
var errUnknown = errors.New("no such option; remove it, or see sample.conf for how it is spelt")

// parse reads the tables. Options are checked for their form here; what they
// mean is the collector's to check, in tables of which every option could be read:
// in others, one mistake might only follow from another.
func (r reader) parse(text string) (*File, []error) {
	md, tables, err := tables(text)
	if err != nil {
		return nil, []error{err}
	}
	file := new(File)
	var whole []collector.Config
	var mistakes []error
	for _, table := range tables {
		readable := true
		config := collector.DefaultConfig()
		options := optionsOf(&config)
		var own []error
		for _, name := range slices.Sorted(maps.Keys(table)) {
			target, known := options[name]
			switch {
			case slices.Contains(telegrafOptions, name):
			case !known:
				own = append(own, fmt.Errorf("%s: %w", name, errUnknown))
			default:
				if err := r.decode(&md, table[name], target); err != nil {
					own = append(own, fmt.Errorf("%s: %w", name, err))
					readable = false
				}
				if reason, ineffective := ineffectiveOptions[name]; ineffective {
					file.Warnings = append(file.Warnings, name+": "+reason)
				}
			}
		}
		for _, mistake := range own {
			if len(tables) > 1 {
				mistake = fmt.Errorf("account %q: %w", config.Account, mistake)
			}
			mistakes = append(mistakes, mistake)
		}
		file.Accounts = append(file.Accounts, config)
		if readable {
			whole = append(whole, config)
		}
	}
	if len(whole) > 0 || len(tables) == 0 {
		mistakes = append(mistakes, flatten(collector.Check(whole))...)
	}
	return file, mistakes
}

// decode reads one option.
func (r reader) decode(md *toml.MetaData, value toml.Primitive, target any) error {
	if as, ok := target.(encoding.TextUnmarshaler); ok {
		var text string
		if md.PrimitiveDecode(value, &text) == nil {
			if err := r.expand(&text); err != nil {
				return err
			}
			if as.UnmarshalText([]byte(text)) == nil {
				return nil
			}
		}
	}
	if err := md.PrimitiveDecode(value, target); err != nil {
		// The library's message may quote the value.
		return errors.New(forms[fmt.Sprintf("%T", target)])
	}
	switch target := target.(type) {
	case *string:
		return r.expand(target)
	case *[]string:
		for i := range *target {
			if err := r.expand(&(*target)[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// forms say how an option of each type is written.
var forms = map[string]string{
	"*string":              `must be a string; write it in quotes`,
	"*[]string":            `must be an array of strings; write it as ["…", "…"]`,
	"*int":                 `must be a whole number, without quotes`,
	"*float64":             `must be a number, without quotes`,
	"*bool":                `must be true or false, without quotes`,
	"*configfile.duration": `must be a duration in quotes, such as "90s", "15m" or "24h"`,
	"*configfile.size":     `must be a size in quotes, such as "64MiB"`,
	"*deepaffects.number":  `must be a number, without quotes`,
	"*config.Duration":     `must be a duration in quotes, such as "90s", "15m" or "24h"`,
	"*config.Size":         `must be a size in quotes, such as "64MiB"`,
	"*config.Secret":       `must be a string; write it in quotes`,
}

type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

type size int64

func (s *size) UnmarshalText(text []byte) error {
	parsed, err := humanize.ParseBytes(string(text))
	if err == nil && parsed > 1<<40 {
		err = errors.New("too large")
	}
	if _, plain := strconv.ParseFloat(string(text), 64); plain == nil {
		err = errors.New("no unit")
	}
	*s = size(parsed)
	return err
}

var variable = regexp.MustCompile(`^\w+$`)

// expand puts environment variables in the place of ${VAR} and ${VAR:-default}.
// A plain $ stays: a key may have one.
func (r reader) expand(s *string) error {
	var out strings.Builder
	for rest := *s; ; {
		before, after, found := strings.Cut(rest, "${")
		out.WriteString(before)
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return errors.New("a ${ is not closed; write ${VAR}")
		}
		name, fallback, hasFallback := strings.Cut(name, ":-")
		value, set := r.env(name)
		switch {
		case !variable.MatchString(name): // what stands there may be a default
			return errors.New("a ${ that is no variable; write ${VAR} or ${VAR:-default}")
		case set && value != "":
		case hasFallback:
			value = fallback
		default:
			return fmt.Errorf("the environment variable %s is not set or empty; set it %s", name, r.startedAs)
		}
		out.WriteString(value)
		rest = tail
	}
	if strings.HasPrefix(out.String(), "@{") {
		return errors.New(r.secretStore)
	}
	*s = out.String()
	return nil
}

// quotesNothing are how those messages of the library begin that repeat no value: it
// may be a secret, also one of another plugin's.
var quotesNothing = []string{"Key ", "expected '.'", "expected a comma", "expected a top-level item", "expected end of table", "files cannot", "invalid UTF-8", "unexpected "}

// syntaxError says where the file is not TOML.
func syntaxError(err error) error {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return errors.New("inputs: not a table; begin each account with [[inputs.deepaffects]]")
	}
	message := parse.Message
	if !slices.ContainsFunc(quotesNothing, func(begin string) bool { return strings.HasPrefix(message, begin) }) {
		message = "the value is not as TOML has it; write text in quotes"
	}
	return fmt.Errorf("line %d: not TOML, at or after %q: %s", parse.Position.Line, parse.LastKey, message)
}

package configfile

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
)

type telegrafPlugin interface{ Init() error }

var plugin = reader{
	os.LookupEnv, "where Telegraf is started, or in environment of [[inputs.execd]]",
	"secret-store references work where the plugin is compiled in only; use ${VAR} or api_key_file",
}

// LoadPlugin reads the one [[inputs.deepaffects]] table of a file, and what it
// refers to in the environment, into a Telegraf plugin: a pointer to a struct whose
// options have toml tags. Where every option could be read, the plugin's Init says
// what is wrong with their meaning. The error has a line for each mistake, which names
// the file, the option and the remedy, and never a value.
func LoadPlugin(path string, into telegrafPlugin) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w; give the path of a TOML file that can be read", err)
	}
	mistakes := plugin.parsePlugin(string(text), into)
	for i, mistake := range mistakes {
		mistakes[i] = fmt.Errorf("%s: %w", path, mistake)
	}
	return errors.Join(mistakes...)
}

func (r reader) parsePlugin(text string, into telegrafPlugin) (mistakes []error) {
	md, tables, err := tables(text)
	switch {
	case err != nil:
		return []error{err}
	case len(tables) == 0:
		return []error{errors.New("no account is configured; add an [[inputs.deepaffects]] table")}
	case len(tables) > 1:
		return []error{errors.New("several [[inputs.deepaffects]] tables; give each account a file and an [[inputs.execd]] of its own")}
	}
	options := make(map[string]any)
	fields := reflect.ValueOf(into).Elem()
	for i := range fields.NumField() {
		if name := fields.Type().Field(i).Tag.Get("toml"); name != "" && name != "-" {
			options[name] = fields.Field(i).Addr().Interface()
		}
	}
	readable := true
	for _, name := range slices.Sorted(maps.Keys(tables[0])) {
		err := errUnknown
		if target, known := options[name]; known {
			err = r.decode(&md, tables[0][name], target)
			readable = readable && err == nil
		} else if slices.Contains(telegrafOptions, name) {
			err = errors.New("an option of Telegraf's; set it in [[inputs.execd]]")
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", name, err))
		}
	}
	if readable {
		if err := into.Init(); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	return mistakes
}

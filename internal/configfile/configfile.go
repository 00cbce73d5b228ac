// Package configfile reads [[inputs.deepaffects]] tables where Telegraf's own loader
// does not: for the exporter and for the execd plugin. The file may be a whole
// telegraf.conf.
package configfile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/collector/options"
)

// A File is what a configuration file says to the exporter.
type File struct {
	Accounts []collector.Config
	Warnings []string // about options that are most likely mistakes
}

// Load reads the exporter's configuration file. The error has a line for each mistake
// with the file, the option and the remedy, and no value: a value may be a secret.
func Load(path string) (*File, error) { return load(path, withKey) }

// LoadForPlan is Load for a command that sends no request: it needs no API key. Without one it knows only what an
// account has sent under its present name.
func LoadForPlan(path string) (*File, error) {
	if file, err := Load(path); err == nil {
		return file, nil
	}
	return load(path, withoutKey)
}

// LoadForCheck is Load for a command that runs outside of the service: a file of its credentials that cannot be read
// here is a warning.
func LoadForCheck(path string) (*File, error) { return load(path, withoutCredentials) }

func load(path string, with secrets) (*File, error) {
	tables, err := read("--config.file", path)
	if err != nil {
		return nil, err
	}
	file := new(File)
	var mistakes []error
	for i := range tables {
		t := &tables[i]
		o := options.Default()
		c, _, err := t.config(&o, with)
		mistakes = append(mistakes, err)
		for _, option := range t.unreadable {
			file.Warnings = append(file.Warnings, fmt.Sprintf(
				"account %q: %s: a credential of the service, which cannot be read here; not checked", o.Account, option))
		}
		if c == nil {
			continue
		}
		c.WordPoints = false
		file.Accounts = append(file.Accounts, *c)
		for _, warning := range append(o.WithoutEffect("exporter"), c.Warnings()...) {
			file.Warnings = append(file.Warnings, fmt.Sprintf("account %q: %s", o.Account, warning))
		}
	}
	if len(tables) == 0 || len(file.Accounts) > 0 {
		mistakes = append(mistakes, collector.CheckAccounts(file.Accounts))
	}
	return file, prefix(path, errors.Join(mistakes...))
}

// LoadPlugin reads the configuration file of the execd plugin, which has one table. The
// error is as that of Load.
func LoadPlugin(path string, o *options.Options) (warnings []string, err error) {
	tables, err := read("-config", path)
	switch {
	case err != nil:
		return nil, err
	case len(tables) == 0:
		err = errors.New("no account is configured; add an [[inputs.deepaffects]] table")
	case len(tables) > 1:
		err = errors.New("several [[inputs.deepaffects]] tables; give each its own file and [[inputs.execd]]")
	default:
		var agent []string
		_, agent, err = tables[0].config(o, withKey)
		for _, name := range agent {
			warnings = append(warnings, name+" has no effect here; set it in [[inputs.execd]]")
		}
	}
	return warnings, prefix(path, err)
}

// prefix puts a text before each line of an error.
func prefix(with string, err error) error {
	if err == nil {
		return nil
	}
	return errors.New(with + ": " + strings.ReplaceAll(err.Error(), "\n", "\n"+with+": "))
}

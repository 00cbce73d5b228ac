package configfile

import (
	"maps"
	"slices"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// Options returns the names of the options that have an effect, sorted.
func Options() []string {
	names := slices.Sorted(maps.Keys(optionsOf(new(collector.Config))))
	return slices.DeleteFunc(names, func(name string) bool { _, none := ineffectiveOptions[name]; return none })
}

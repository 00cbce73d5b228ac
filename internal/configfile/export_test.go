package configfile

import (
	"maps"
	"slices"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// Options returns the names of all options, sorted.
func Options() []string { return slices.Sorted(maps.Keys(optionsOf(new(collector.Config)))) }

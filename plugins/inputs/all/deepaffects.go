//go:build !custom || inputs || inputs.deepaffects

// Package all registers the plugin, as Telegraf's package of this name does with
// each of its own.
package all

import _ "github.com/deepaffects-monitor/deepaffects-monitor/plugins/inputs/deepaffects" // register plugin

// Package listener lets a face outside of this module, such as the plugin in a
// fork of Telegraf, serve registration and webhooks.
package listener

import (
	"log/slog"
	"sync"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
)

// Listeners serve registration and webhooks at the service addresses of accounts.
type Listeners = httpapi.Listeners

// limits are those of the process: Telegraf has a collector for each of its tables.
var limits = sync.OnceValue(httpapi.NewLimits)

// New returns listeners that serve a collector's accounts, and listens nowhere yet.
func New(c *collector.Collector, log *slog.Logger) *Listeners {
	return httpapi.NewListeners(c, limits(), log)
}

// Package listener lets a face outside of this module, such as the plugin in a
// fork of Telegraf, serve registration and webhooks.
package listener

import (
	"log/slog"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
)

// Listeners serve registration and webhooks at the service addresses of accounts.
type Listeners = httpapi.Listeners

// New returns listeners that serve a collector's accounts, and listens nowhere yet.
func New(c *collector.Collector, log *slog.Logger) *Listeners {
	return httpapi.NewListeners(c, httpapi.NewLimits(), log)
}

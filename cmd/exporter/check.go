package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outbound"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/source"
)

// printConfig prints what was understood of a valid configuration, without secrets.
func printConfig(accounts []collector.Config, stdout io.Writer, log *slog.Logger) error {
	var text strings.Builder
	for _, c := range accounts {
		for _, err := range c.Unmatched() {
			log.Warn("Option has no effect yet", "account", c.Account, "option", "request_id_files", "reason", err)
		}
		line := func(name, value string) { fmt.Fprintf(&text, "  %-9s %s\n", name+":", value) }
		fmt.Fprintf(&text, "account %s\n", strconv.Quote(c.Account))
		line("url", outbound.WithoutSecrets(c.URL))
		line("key", cmp.Or(c.APIKeyFile, map[bool]string{true: "from the configuration", false: "not read"}[c.APIKey != ""]))
		line("quota", quotaOf(&c))
		if n := len(c.RequestIDs); n > 0 {
			line("ids", strconv.Itoa(n)+" in request_ids")
		}
		for _, pattern := range c.RequestIDFiles {
			line("files", fmt.Sprintf("%s (%d now)", pattern, source.Matching(pattern)))
		}
		for _, u := range c.RequestIDURLs {
			line("ids from", outbound.WithoutSecrets(u)+" every "+c.RefreshInterval.String())
		}
		if c.DatabaseURL != "" {
			line("database", outbound.WithoutSecrets(c.DatabaseURL)+", lease "+c.Lease.String())
		}
		if c.ServiceAddress != "" {
			line("listens", c.ServiceAddress)
		}
		if c.WebhookToken != "" {
			line("webhooks", "at /webhook/{token}")
		}
	}
	text.WriteString("configuration is valid\n")
	_, err := io.WriteString(stdout, text.String())
	return err
}

func quotaOf(c *collector.Config) string {
	limit := func(n float64, window string) string {
		if n == 0 {
			return "no limit " + window
		}
		return strconv.FormatFloat(n, 'f', -1, 64) + " requests " + window
	}
	day := "in any 24 hours"
	if c.DayResetsAt != "" {
		day = "a day from " + c.DayResetsAt
	}
	return limit(c.RequestsPerMinute, "in any 60 seconds") + ", " + limit(float64(c.RequestsPerDay), day)
}

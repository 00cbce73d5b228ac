package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/prometheus/common/model"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/duration"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outbound"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/source"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

// checkWebConfig checks the file of --web.config.file.
func (f *flags) checkWebConfig() error {
	path := *f.web.WebConfigFile
	err := web.Validate(path)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == path {
		err = e.Err
	}
	lines := strings.Fields(err.Error()) // those of YAML are indented
	return fmt.Errorf("--web.config.file: %s: %s; correct it as described at "+
		"https://prometheus.io/docs/prometheus/latest/configuration/https/", path, strings.Join(lines, " "))
}

// listenAddresses returns the TCP addresses of the main port, as far as flags tell them.
func (f *flags) listenAddresses() (addresses []string) {
	if *f.web.WebSystemdSocket {
		return nil
	}
	for _, a := range *f.web.WebListenAddresses {
		if !strings.HasPrefix(a, "vsock://") {
			addresses = append(addresses, a)
		}
	}
	return addresses
}

// checkAddresses returns an error if an address to listen at excludes another one.
func (f *flags) checkAddresses(accounts []collector.Config) error {
	addresses := f.listenAddresses()
	for i, a := range addresses {
		for _, before := range addresses[:i] {
			if collector.Overlap(before, a) {
				return fmt.Errorf("--web.listen-address: %s overlaps with %s; remove one of the two", a, before)
			}
		}
		for _, c := range accounts {
			if collector.Overlap(a, c.ServiceAddress) {
				return fmt.Errorf("%s: account %q: service_address: %s overlaps with --web.listen-address=%s, where jobs are "+
					"registered and webhooks received, too; remove service_address, or choose another port",
					f.configFile, c.Account, c.ServiceAddress, a)
			}
		}
	}
	return nil
}

// checkMachine returns what a start with a valid configuration would refuse on this machine because of the store or an
// address to listen at. It leaves nothing behind. What a running service holds is a warning.
func (f *flags) checkMachine(accounts []collector.Config, storage string, log *slog.Logger) error {
	if storage != "" {
		err := sqlite.Check(storage)
		switch {
		case err != nil && f.storagePath == "": // a service has another working directory, or the flag
			log.Warn("The default of --storage.path cannot be used here; check with the flags of the service", "err", err)
		case err != nil:
			return fmt.Errorf("--storage.path: %w", err)
		}
	}
	refused := func(err error) error {
		if errors.Is(err, syscall.EADDRINUSE) {
			log.Warn("Address is in use; if not by the service itself, it cannot start", "err", err)
			return nil
		}
		return err
	}
	for _, a := range f.listenAddresses() {
		l, err := net.Listen("tcp", a)
		if err == nil {
			err = l.Close()
		}
		if err := refused(explainListening(err)); err != nil {
			return err
		}
	}
	listeners := httpapi.NewListeners(nil, nil, log) // which serve nothing
	for _, c := range accounts {
		services, err := listeners.Prepare([]collector.Config{c})
		if err == nil {
			services.Discard()
		}
		if err := refused(f.nameConfig(err)); err != nil {
			return err
		}
	}
	return nil
}

// nameConfig adds to an error of an account in which file that is.
func (f *flags) nameConfig(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", f.configFile, err)
}

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
			line("ids from", outbound.WithoutSecrets(u)+" every "+model.Duration(c.RefreshInterval).String())
		}
		if c.DatabaseURL != "" {
			line("database", postgres.Shown(c.DatabaseURL)+", lease "+model.Duration(c.Lease).String())
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

// quotaOf tells what is sent at most, which may be less than what is configured.
func quotaOf(c *collector.Config) string {
	limit := func(n int, window string) string {
		if n == 0 {
			return "no limit " + window
		}
		return english.Plural(n, "request", "") + " " + window
	}
	day := "in any 24 hours"
	if c.DayResetsAt != "" {
		day = "a day from " + c.DayResetsAt
	}
	minute := schedule.PerMinute(c.RequestsPerMinute)
	window := "in any 60 seconds"
	if minute.Per > time.Minute {
		window = "in any " + duration.Text(minute.Per)
	}
	return limit(minute.Requests, window) + ", " + limit(c.RequestsPerDay, day)
}

// Command deepaffects_exporter shows DeepAffects speech jobs to Prometheus.
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"
	webflag "github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/configfile"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/statuspage"
)

const program = "deepaffects_exporter"

// defaultStorage is where the register lives, below the working directory, as
// Prometheus has it.
const defaultStorage = "data/"

// flags are what the command line says.
type flags struct {
	configFile      string
	check           bool
	demo            bool
	once            bool
	plan            bool
	storagePath     string
	telemetryPath   string
	enableLifecycle bool
	enablePprof     bool
	healthCheck     string
	web             *web.FlagConfig
	log             *promslog.Config
}

func newApp(f *flags) *kingpin.Application {
	app := kingpin.New(program, "Shows the jobs of the DeepAffects speech API to Prometheus: what runs, what failed and why, how long it takes, how good the transcripts are, and what is left of the quota.")
	app.Flag("config.file", "TOML file with an [[inputs.deepaffects]] table for each account; a whole telegraf.conf will do.").PlaceHolder("FILE").StringVar(&f.configFile)
	app.Flag("config.check", "Read the configuration, say what is wrong with it or that it is valid, and exit.").BoolVar(&f.check)
	app.Flag("demo", "Watch lively jobs of a simulated API inside this process: needs no configuration and no key.").BoolVar(&f.demo)
	app.Flag("once", "Ask once about every unfinished job, within the quota, print the metrics and exit.").BoolVar(&f.once)
	app.Flag("plan", "Print which job would be asked about when in the next 24 hours, why, and what that leaves of the quota; calls nothing.").BoolVar(&f.plan)
	app.Flag("storage.path", "Directory where the register lives, with all that must outlive the process. (default data/; with --demo and --once: none, it is kept in memory)").PlaceHolder("DIR").StringVar(&f.storagePath)
	app.Flag("web.telemetry-path", "Path under which to expose metrics.").Default("/metrics").StringVar(&f.telemetryPath)
	app.Flag("web.enable-lifecycle", "Enable reload by an HTTP POST to /-/reload.").BoolVar(&f.enableLifecycle)
	app.Flag("web.enable-pprof", "Serve Go profiles under /debug/pprof/.").BoolVar(&f.enablePprof)
	app.Flag("web.health-check", "Ask the exporter that runs at URL, such as http://localhost:9891/-/healthy, whether it is healthy, and exit: with 0 if it is. For containers, which have nothing else to ask with.").PlaceHolder("URL").StringVar(&f.healthCheck)
	f.web = webflag.AddFlags(app, ":9891")
	f.log = new(promslog.Config)
	promslogflag.AddFlags(app, f.log)
	app.Version(version.Print(program))
	app.HelpFlag.Short('h')
	app.UsageWriter(os.Stdout)
	return app
}

func main() {
	var f flags
	kingpin.MustParse(newApp(&f).Parse(os.Args[1:]))
	f.log.Writer = os.Stderr
	if err := run(&f, os.Stdout, promslog.New(f.log)); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
		os.Exit(1)
	}
}

// run does what the flags say. An error has been told to nobody yet.
func run(f *flags, stdout io.Writer, log *slog.Logger) error {
	if f.healthCheck != "" {
		return checkHealth(f.healthCheck)
	}
	switch {
	case f.demo && (f.configFile != "" || f.once || f.check || f.plan):
		return errors.New("--demo: needs no configuration and runs until it is stopped; leave --config.file, --config.check, --once and --plan out")
	case f.once && f.plan:
		return errors.New("--plan: calls nothing, which --once does; leave one of them out")
	case !f.demo && f.configFile == "":
		return errors.New("--config.file: missing; give the configuration file, or --demo to try it without one")
	}
	if err := checkTelemetryPath(f.telemetryPath); err != nil {
		return fmt.Errorf("--web.telemetry-path: %w", err)
	}
	if f.demo {
		return demo(f, log)
	}
	file, err := configfile.Load(f.configFile)
	if err != nil {
		return err
	}
	if err := web.Validate(*f.web.WebConfigFile); err != nil {
		return fmt.Errorf("--web.config.file: %w", err)
	}
	for _, warning := range file.Warnings {
		log.Warn("An option has no effect", "file", f.configFile, "reason", warning)
	}
	if f.check {
		_, err := fmt.Fprintln(stdout, "configuration is valid")
		return err
	}
	storage := f.storagePath
	if storage == "" && !f.once {
		storage = defaultStorage
	}
	if f.plan {
		return plan(file.Accounts, storage, stdout, log)
	}
	c, err := collector.New(file.Accounts, collector.Options{Logger: log, StateDirectory: storage})
	if err != nil {
		return err
	}
	if f.once {
		return once(c, stdout)
	}
	return serve(f, file.Accounts, c, log)
}

// ownPaths are what the exporter serves under, now or with another flag, beside
// the metrics and the pages.
var ownPaths = []string{"/-/", "/api/", "/debug/", "/webhook/"}

// checkTelemetryPath says what a ServeMux would say in a panic, or not at all.
func checkTelemetryPath(telemetry string) error {
	switch {
	case telemetry == "" || telemetry[0] != '/':
		return errors.New("must begin with a slash")
	case telemetry == "/", slices.Contains(statuspage.Paths, telemetry):
		return fmt.Errorf("%s is a page for people; choose another path", telemetry)
	case path.Clean(telemetry) != strings.TrimSuffix(telemetry, "/") || strings.ContainsAny(telemetry, "{} \t?#%"):
		return errors.New("must be a plain path such as /metrics")
	}
	for _, own := range ownPaths {
		if strings.HasPrefix(telemetry, own) {
			return fmt.Errorf("%s has another use; choose another path", own)
		}
	}
	return nil
}

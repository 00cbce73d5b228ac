// Command deepaffects_exporter exports the state of DeepAffects speech jobs to Prometheus.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"
	webflag "github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/configfile"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/logqueue"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outbound"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/statuspage"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
)

const program = "deepaffects_exporter"

// defaultStorage is relative to the working directory, as in Prometheus.
const defaultStorage = "data/"

// flags are the flags of the command line.
type flags struct {
	configFile      string
	check           bool
	demo            bool
	once            bool
	plan            bool
	storagePath     string
	copyTo          string
	telemetryPath   string
	externalURL     string
	routePrefix     string
	grafanaURL      string
	alertmanagerURL string
	enableLifecycle bool
	localWrites     bool
	enablePprof     bool
	healthCheck     string
	web             *web.FlagConfig
	log             *promslog.Config
}

func newApp(f *flags) *kingpin.Application {
	app := kingpin.New(program, "Exports the jobs of the DeepAffects speech API to Prometheus: "+
		"their state, errors and duration, the quality of transcripts, and the use of the quota.")
	app.Flag("config.file", "TOML file with an [[inputs.deepaffects]] table per account, such as a telegraf.conf.").
		PlaceHolder("FILE").StringVar(&f.configFile)
	app.Flag("config.check",
		"Check the configuration, the store and the addresses to listen at, print what was understood, "+
			"and exit. Sends no request, and does not connect to a database.").
		BoolVar(&f.check)
	app.Flag("demo", "Monitor jobs of a simulated API inside this process. Needs no configuration and no API key.").
		BoolVar(&f.demo)
	app.Flag("once", "Poll every unfinished job once, as far as the quota allows, print the metrics and exit with 0, "+
		"or with 1 if nothing was learnt: no request was answered, or the API knows none of the jobs. Uses the database of "+
		"the service, so that each counts what the other has sent, and cannot run beside it.").BoolVar(&f.once)
	app.Flag("plan", "Print when and why each job would be polled in the next 24 hours, and the quota left after it. "+
		"Sends no request and needs no API key.").BoolVar(&f.plan)
	app.Flag("storage.path", "Directory of the database that survives restarts. "+
		"(default data/; with --demo: none, everything is kept in memory)").
		PlaceHolder("DIR").StringVar(&f.storagePath)
	app.Flag("storage.copy-to", "Copy the store to a PostgreSQL database or to a directory, compare the two, and exit. "+
		"The target must be empty, and no other process may use either meanwhile. The store is that of --storage.path, "+
		"or of the database_url in --config.file.").PlaceHolder("URL|DIR").StringVar(&f.copyTo)
	app.Flag("web.telemetry-path", "Path under which to expose metrics.").
		Default("/metrics").StringVar(&f.telemetryPath)
	app.Flag("web.external-url", "The URL under which the exporter is externally reachable, such as "+
		"https://example.com/deepaffects behind a reverse proxy. Used for links and redirects, and as the origin of "+
		"web pages that may write. If it has a path, all endpoints are below that path.").
		PlaceHolder("URL").StringVar(&f.externalURL)
	app.Flag("web.route-prefix", "Prefix of the paths of all endpoints. (default: the path of --web.external-url)").
		PlaceHolder("PATH").StringVar(&f.routePrefix)
	app.Flag("web.grafana-url", "URL of Grafana, or of a dashboard, that the status pages link to.").
		PlaceHolder("URL").StringVar(&f.grafanaURL)
	app.Flag("web.alertmanager-url", "URL of Alertmanager that the status pages link to.").
		PlaceHolder("URL").StringVar(&f.alertmanagerURL)
	app.Flag("web.enable-lifecycle", "Enable reload via HTTP POST to /-/reload.").BoolVar(&f.enableLifecycle)
	app.Flag("web.local-writes", "Let other machines register and remove jobs only with the jobs_token of the account, "+
		"and not reload. Without this, everyone who reaches the port may, unless the account has a jobs_token.").
		BoolVar(&f.localWrites)
	app.Flag("web.enable-pprof", "Serve Go profiles under /debug/pprof/.").BoolVar(&f.enablePprof)
	app.Flag("web.health-check", "Check the health of the exporter at URL, such as http://localhost:9891/-/healthy, "+
		"and exit with 0 if it is healthy. For container images without a shell.").
		PlaceHolder("URL").StringVar(&f.healthCheck)
	f.web = webflag.AddFlags(app, ":9891")
	f.log = new(promslog.Config)
	promslogflag.AddFlags(app, f.log)
	app.Version(version.Print(program))
	app.HelpFlag.Short('h')
	app.UsageWriter(os.Stdout)
	return app
}

// flushWithin is how long the end of the process waits for the reader of its log. With stopTimeout and what a stop
// waits for the store, it makes less than the 10 seconds that a stop takes at most.
const flushWithin = 500 * time.Millisecond

func main() {
	var f flags
	kingpin.MustParse(newApp(&f).Parse(os.Args[1:]))
	f.log.Writer = os.Stderr
	stderr := queueLog(f.log)
	err := run(&f, os.Stdout, promslog.New(f.log))
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", program, err)
	}
	stderr.Flush(flushWithin)
	if err != nil {
		os.Exit(1)
	}
}

// queueLog puts a queue before the writer of a log: a reader that stands still must not stop what logs.
func queueLog(config *promslog.Config) *logqueue.Queue {
	notes := *config
	queue := logqueue.New(config.Writer, func(dropped int) string {
		var line strings.Builder
		notes.Writer = &line
		promslog.New(&notes).Error("The log was not read in time; lines were dropped", "lines", dropped)
		return line.String()
	})
	config.Writer = queue
	return queue
}

// run executes the command that the flags select. It does not log the error it returns.
func run(f *flags, stdout io.Writer, log *slog.Logger) error {
	// Packages log there what a user can do nothing about, such as net/http that a server answers unasked. Telegraf's,
	// which read options, have set its format.
	stdlog.SetFlags(0)
	stdlog.SetPrefix("")
	stdlog.SetOutput(slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer())
	if f.healthCheck != "" {
		return checkHealth(f.healthCheck)
	}
	if err := f.validate(); err != nil {
		return err
	}
	if f.demo {
		return demo(f, log)
	}
	if f.copyTo != "" {
		return copyStore(f, cmp.Or(f.storagePath, defaultStorage), stdout, log)
	}
	load := configfile.Load
	switch {
	case f.check:
		load = configfile.LoadForCheck
	case f.plan:
		load = configfile.LoadForPlan
	}
	var hangups chan os.Signal
	if !f.check && !f.plan && !f.once {
		hangups = onHangup()
		defer signal.Stop(hangups)
	}
	accounts, err := loadConfig(f.configFile, load, log)
	if err != nil {
		return err
	}
	if err := f.checkWebConfig(); err != nil {
		return err
	}
	storage, err := storageOf(f, accounts)
	if err != nil {
		return err
	}
	if err := f.checkAddresses(accounts); err != nil {
		return err
	}
	switch {
	case f.check:
		if err := f.checkMachine(accounts, storage, log); err != nil {
			return err
		}
		return printConfig(accounts, stdout, log)
	case f.plan:
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM) // the copy is removed
		context.AfterFunc(ctx, stop)                                                             // a second signal ends the process at once
		defer stop()
		return f.nameStore(accounts, plan(ctx, accounts, storage, stdout, log))
	}
	c, err := collector.New(accounts, collector.Options{
		Logger: log, StateDirectory: storage, ReplicaURL: f.replicaURL(),
	})
	err = f.nameStore(accounts, err)
	switch {
	case err != nil && f.once && errors.Is(err, collector.ErrStoreInUse):
		return fmt.Errorf("--once: %w; if it is the exporter, it polls these jobs already: scrape it", err)
	case err != nil:
		return err
	case f.once:
		return once(c, stdout)
	}
	return serve(f, accounts, c, hangups, log)
}

// storageOf returns the directory of the store; empty if the configuration has a database.
func storageOf(f *flags, accounts []collector.Config) (string, error) {
	switch inDatabase := accounts[0].DatabaseURL != ""; { // that of all accounts
	case inDatabase && f.storagePath != "":
		return "", errors.New("--storage.path: set together with database_url; remove one of the two")
	case inDatabase:
		return "", nil
	}
	return cmp.Or(f.storagePath, defaultStorage), nil
}

// nameStore adds to an error of the store which option says where that is.
func (f *flags) nameStore(accounts []collector.Config, err error) error {
	_, ofStore := errors.AsType[*collector.StoreError](err)
	switch {
	case !ofStore:
		return err
	case accounts[0].DatabaseURL != "":
		return fmt.Errorf("%s: database_url: %w", f.configFile, err)
	}
	return fmt.Errorf("--storage.path: %w", err)
}

const healthTimeout = 5 * time.Second

// checkHealth requests the health endpoint of a running exporter.
func checkHealth(url string) error {
	parsed, err := outbound.ParseURL(url)
	if err != nil {
		return errors.New("--web.health-check: not an http or https URL such as http://localhost:9891/-/healthy")
	}
	client := http.Client{Timeout: healthTimeout}
	if host := parsed.Hostname(); host == "localhost" || net.ParseIP(host).IsLoopback() {
		// A certificate is for another name, and nobody is on the way. It gets nothing that is secret.
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		client.Transport = transport
	}
	response, err := client.Get(url)
	if err != nil {
		return fmt.Errorf("--web.health-check: %w", outbound.Cause(err)) // the URL may have a password
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(response.Body, 1000)) // a part of it is enough
		return fmt.Errorf("not healthy: %s: %s", response.Status, strings.TrimSpace(string(reason)))
	}
	return nil
}

// validate checks flags that exclude or require each other.
func (f *flags) validate() error {
	switch {
	case f.demo && (f.configFile != "" || f.once || f.check || f.plan):
		return errors.New("--demo: cannot be combined with --config.file, --config.check, --once or --plan")
	case f.copyTo != "" && (f.demo || f.once || f.check || f.plan):
		return errors.New("--storage.copy-to: cannot be combined with --demo, --config.check, --once or --plan")
	case f.check && (f.once || f.plan):
		return errors.New("--config.check: cannot be combined with --once or --plan")
	case f.once && f.plan:
		return errors.New("--plan: cannot be combined with --once")
	case !f.demo && f.copyTo == "" && f.configFile == "":
		return errors.New("--config.file: required; to try the exporter without a configuration, use --demo")
	case f.copyTo == "" && postgres.IsURL(f.storagePath):
		return errors.New("--storage.path: is a directory; a database is set with database_url in the configuration file")
	}
	if err := checkStore(f.storagePath); err != nil {
		return fmt.Errorf("--storage.path: %w", err)
	}
	if err := checkStore(f.copyTo); err != nil {
		return fmt.Errorf("--storage.copy-to: %w", err)
	}
	if _, err := f.location(); err != nil {
		return err
	}
	if err := f.checkLinks(); err != nil {
		return err
	}
	if err := checkTelemetryPath(f.telemetryPath); err != nil {
		return fmt.Errorf("--web.telemetry-path: %w", err)
	}
	return nil
}

// loadConfig reads the configuration file and logs its warnings.
func loadConfig(
	path string, load func(string) (*configfile.File, error), log *slog.Logger,
) ([]collector.Config, error) {
	file, err := load(path)
	if err != nil {
		return nil, err
	}
	for _, warning := range file.Warnings {
		log.Warn("Option is valid, but most likely a mistake", "file", path, "reason", warning)
	}
	return file.Accounts, nil
}

// checkTelemetryPath rejects paths that a ServeMux would reject with a panic, and paths
// with another use.
func checkTelemetryPath(telemetry string) error {
	switch {
	case telemetry == "" || telemetry[0] != '/':
		return errors.New("must begin with a slash")
	case telemetry == "/", slices.Contains(statuspage.Paths, telemetry):
		return fmt.Errorf("%s is a status page; choose another path", telemetry)
	case path.Clean(telemetry) != strings.TrimSuffix(telemetry, "/") || strings.ContainsAny(telemetry, "{} \t?#%"):
		return errors.New("must be a plain path such as /metrics")
	}
	if httpapi.IsWebhook(telemetry) {
		return errors.New("/webhook and what looks like it are reserved; choose another path")
	}
	for _, own := range []string{"/-/", "/api/", "/debug/"} { // with any flags
		if strings.HasPrefix(telemetry, own) {
			return fmt.Errorf("%s is reserved; choose another path", own)
		}
	}
	return nil
}

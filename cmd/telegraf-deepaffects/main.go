// Command telegraf-deepaffects is the deepaffects input plugin for a stock
// Telegraf, which runs it through inputs.execd.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/logger"
	"github.com/influxdata/telegraf/plugins/common/shim"
	"github.com/influxdata/telegraf/plugins/inputs"
	"github.com/prometheus/common/version"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/configfile"
	"github.com/deepaffects-monitor/deepaffects-monitor/plugins/inputs/deepaffects"
)

const program = "telegraf-deepaffects"

func main() {
	logger.RedirectLogging(forTelegraf{os.Stderr}) // else every line is kept for ever
	if err := run(os.Args[1:]); err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintln(os.Stderr, "E! "+strings.TrimSpace(line))
		}
		os.Exit(1)
	}
}

// run runs the plugin until standard input ends or a signal comes. The error has a
// line for each mistake in the configuration.
func run(args []string) error {
	flags := flag.NewFlagSet(program, flag.ContinueOnError)
	file := flags.String("config", "", "TOML file with the [[inputs.deepaffects]] table")
	pollInterval := flags.Duration("poll_interval", shim.PollIntervalDisabled, "how often to emit metrics; 0: whenever Telegraf asks, as it does with signal = \"STDIN\"")
	deliveredAfter := flags.Duration("delivered_after", 30*time.Second, "how long after a change of state was written it counts as delivered; longer than flush_interval and flush_jitter together, in Telegraf's [agent]")
	showVersion := flags.Bool("version", false, "print the version")
	var usage bytes.Buffer
	flags.SetOutput(&usage)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, err := io.Copy(os.Stdout, &usage)
		return err
	case err != nil:
		return err
	case *showVersion:
		_, err := fmt.Println(version.Print(program))
		return err
	case flags.NArg() > 0:
		return fmt.Errorf("%s: not expected; only flags are", flags.Arg(0))
	case *file == "":
		return errors.New("-config: missing; give the file with the [[inputs.deepaffects]] table")
	case *pollInterval < 0:
		return errors.New("-poll_interval: must not be negative")
	case *deliveredAfter <= 0:
		return errors.New("-delivered_after: must be longer than 0; give more than Telegraf's flush_interval and flush_jitter together")
	}
	// The key is in this process' environment or in a file that it can read. To
	// protect its memory would need a right that many services do not have.
	config.DisableSecretProtection()
	plugin := inputs.Inputs["deepaffects"]().(*deepaffects.DeepAffects)
	plugin.DeliveredAfter = *deliveredAfter
	if err := configfile.LoadPlugin(*file, plugin); err != nil {
		return err
	}
	p := &asked{DeepAffects: plugin}
	s := shim.New()
	if err := s.AddInput(p); err != nil {
		return err
	}
	p.watch()
	p.expect(*pollInterval)
	return s.Run(*pollInterval)
}

// asked is the plugin, and tells the operator of the two ways to set up
// inputs.execd in which nothing would come of it.
type asked struct {
	*deepaffects.DeepAffects
	yes atomic.Bool
}

// Gather implements telegraf.Input.
func (a *asked) Gather(acc telegraf.Accumulator) error {
	a.yes.Store(true)
	return a.DeepAffects.Gather(acc)
}

// askedWithin is how soon Telegraf asks at the latest, with a common interval.
const askedWithin = 5 * time.Minute

const useStdin = `set signal = "STDIN" in [[inputs.execd]]`

// watch tells of signals that nothing comes of.
func (a *asked) watch() {
	others := make(chan os.Signal, 1)
	signal.Notify(others, otherSignals...) // which would end the process
	go func() {
		for s := range others {
			a.Log.Warnf("A signal (%s) is of no effect; %s", s, useStdin)
		}
	}()
}

// expect tells when nobody asks, where that is waited for.
func (a *asked) expect(pollInterval time.Duration) {
	if pollInterval != shim.PollIntervalDisabled {
		return
	}
	time.AfterFunc(askedWithin, func() {
		if !a.yes.Load() {
			a.Log.Warnf("Telegraf has not asked for metrics within %s; %s", askedWithin, useStdin)
		}
	})
}

// forTelegraf writes log lines as inputs.execd reads them: beginning with their
// level, without the time (Telegraf has its own) and the name of the plugin.
type forTelegraf struct{ w io.Writer }

var logLine = regexp.MustCompile(`^\S+ ([EWIDT]! )(?:\[\S*\] )?(?:\(\S*\) )?`)

func (f forTelegraf) Write(p []byte) (int, error) {
	line := logLine.ReplaceAll(bytes.TrimSpace(p), []byte("$1"))
	line = bytes.ReplaceAll(line, []byte("\n"), []byte("; "))
	if _, err := f.w.Write(append(line, '\n')); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Command telegraf-deepaffects is the deepaffects input for a stock Telegraf, which runs
// it through inputs.execd.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/logger"
	"github.com/influxdata/telegraf/plugins/common/shim"
	"github.com/influxdata/telegraf/plugins/inputs"
	"github.com/prometheus/common/version"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/configfile"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/logqueue"
	"github.com/deepaffects-monitor/deepaffects-monitor/plugins/inputs/deepaffects"
)

const program = "telegraf-deepaffects"

func main() {
	stderr := logqueue.New(os.Stderr, func(dropped int) string {
		return fmt.Sprintf("E! Telegraf has not read the log in time; %d lines were dropped\n", dropped)
	})
	logger.RedirectLogging(forTelegraf{stderr}) // the default keeps every line in memory
	err := run(os.Args[1:])
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintln(stderr, "E! "+strings.TrimSpace(line))
		}
	}
	end := time.Now().Add(lingerAtMost)
	stderr.Flush(lingerAtMost)
	linger(os.Stderr, end)
	if err != nil {
		os.Exit(1)
	}
}

// endWithin is the time in which the plugin ends in order. Telegraf sends SIGTERM 5 seconds
// after it has closed standard input, and kills the plugin another 5 seconds later.
const endWithin = 3500 * time.Millisecond

// run runs the plugin until standard input ends or a signal arrives. The error has a line
// for each mistake in the configuration.
func run(args []string) error {
	flags := flag.NewFlagSet(program, flag.ContinueOnError)
	file := flags.String("config", "", "TOML file with the [[inputs.deepaffects]] table")
	pollInterval := flags.Duration("poll_interval", shim.PollIntervalDisabled,
		"how often to emit metrics; 0: when Telegraf asks, which needs signal = \"STDIN\"")
	deliveredAfter := flags.Duration("delivered_after", 30*time.Second,
		"time after which a written state change counts as delivered; must exceed flush_interval + flush_jitter")
	showVersion := flags.Bool("version", false, "print the version")
	var usage bytes.Buffer
	flags.SetOutput(&usage)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, err := usage.WriteTo(os.Stdout)
		return err
	case err != nil:
		return err
	case *showVersion:
		_, err := fmt.Println(version.Print(program))
		return err
	case flags.NArg() > 0:
		return fmt.Errorf("%s: unexpected argument; only flags are allowed", flags.Arg(0))
	case *file == "":
		return errors.New("-config: missing; give the file with the [[inputs.deepaffects]] table")
	case *pollInterval < 0:
		return errors.New("-poll_interval: must not be negative")
	case *deliveredAfter <= 0:
		return errors.New("-delivered_after: must be longer than 0; give more than flush_interval + flush_jitter")
	}
	plugin := inputs.Inputs["deepaffects"]().(*deepaffects.DeepAffects)
	plugin.DeliveredAfter = *deliveredAfter
	warnings, err := configfile.LoadPlugin(*file, &plugin.Options)
	if err != nil {
		return err
	}
	p := &asked{DeepAffects: plugin}
	stdin, ended, err := watch(os.Stdin)
	if err != nil {
		return err
	}
	os.Stdin = stdin // the shim reads this one
	s := shim.New()
	if err := s.AddInput(p); err != nil {
		return err
	}
	for _, warning := range warnings {
		p.Log.Warn(warning)
	}
	others := make(chan os.Signal, 1)
	signal.Notify(others, otherSignals...) // these would end the process
	go func() {
		for s := range others {
			p.Log.Warnf("Ignored a signal (%s); %s", s, useStdin)
		}
	}()
	p.expect(*pollInterval)
	signaled, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) // as the shim
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.Run(*pollInterval) }()
	select {
	case err := <-done:
		return err
	case <-ended:
	case <-signaled.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(endWithin): // the shim waits for ever if nobody reads its output
		p.Log.Warnf("Telegraf has not read all points within %s of the end; it gets them after the next start",
			endWithin)
		return nil
	}
}

// watch returns the ends of the lines of standard input, which are all that the shim needs, and a channel that is
// closed at its end. The shim would take a line that is too long for the end.
func watch(stdin io.Reader) (ends *os.File, ended <-chan struct{}, err error) {
	ends, writer, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	end := make(chan struct{})
	go func() {
		lines := bufio.NewReader(stdin)
		for {
			_, err := lines.ReadSlice('\n')
			if err == nil {
				_, err = writer.WriteString("\n")
			}
			if err != nil && err != bufio.ErrBufferFull { // any other is an end
				break
			}
		}
		_ = writer.Close()
		close(end)
	}()
	return ends, end, nil
}

// asked is the plugin. It warns of a mistake in the settings of inputs.execd that would
// leave it silent.
type asked struct {
	*deepaffects.DeepAffects
	yes atomic.Bool
}

// Gather implements telegraf.Input.
func (a *asked) Gather(acc telegraf.Accumulator) error {
	a.yes.Store(true)
	return a.DeepAffects.Gather(acc)
}

const (
	askedWithin = 5 * time.Minute // longer than usual intervals
	useStdin    = `set signal = "STDIN" in [[inputs.execd]]`
)

// expect warns if Telegraf does not ask, unless the plugin emits on its own.
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

// forTelegraf writes log lines in the form that inputs.execd reads: the level first,
// without the time and the plugin's name, which Telegraf adds.
type forTelegraf struct{ w io.Writer }

var logLine = regexp.MustCompile(`^\S+ ([EWIDT]! )(?:\[\S*\] )?(?:\(\S*\) )?`)

func (f forTelegraf) Write(p []byte) (int, error) {
	line := logLine.ReplaceAll(bytes.TrimSpace(p), []byte("$1"))
	line = bytes.ReplaceAll(line, []byte("\n"), []byte("; "))
	_, err := f.w.Write(append(line, '\n'))
	return len(p), err
}

// Command telegraf is an example of a Telegraf with the deepaffects plugin compiled in. It
// consists of Telegraf's agent, the plugin, and the outputs and secret stores that the
// tests need. Telegraf's own main includes its plugins by import too.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/influxdata/telegraf/agent"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/logger"
	_ "github.com/influxdata/telegraf/plugins/outputs/file"
	_ "github.com/influxdata/telegraf/plugins/outputs/influxdb"
	_ "github.com/influxdata/telegraf/plugins/outputs/prometheus_client"
	_ "github.com/influxdata/telegraf/plugins/secretstores/docker"
	_ "github.com/influxdata/telegraf/plugins/serializers/influx"

	_ "github.com/deepaffects-monitor/deepaffects-monitor/plugins/inputs/all"
)

func main() {
	file := flag.String("config", "telegraf.conf", "configuration file")
	flag.Parse()
	for again := true; again; {
		var err error
		if again, err = run(*file); err != nil {
			log.Fatalf("E! [telegraf] Error running agent: %v", err)
		}
	}
}

// run runs an agent until a signal. reload is true after SIGHUP.
func run(file string) (reload bool, err error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)

	config.ResetSecrets()
	c := config.NewConfig()
	if err := c.LoadAll(file); err != nil {
		return false, err
	}
	err = logger.SetupLogging(&logger.Config{
		Debug: c.Agent.Debug, Quiet: c.Agent.Quiet, Logfile: c.Agent.Logfile, LogFormat: c.Agent.LogFormat,
		RotationInterval: time.Duration(c.Agent.LogfileRotationInterval),
	})
	if err != nil {
		return false, err
	}
	done := make(chan error, 1)
	go func() { done <- agent.NewAgent(c).Run(ctx) }()
	select {
	case s := <-signals:
		reload = s == syscall.SIGHUP
		stop()
		err = <-done
	case err = <-done:
	}
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return reload, err
}

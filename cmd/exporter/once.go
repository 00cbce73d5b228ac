package main

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/exposition"
)

// once polls every unfinished job once and prints the metrics, even if nothing could be
// polled: the metrics show why.
func once(c *collector.Collector, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	polled := c.Once(ctx)
	process := prometheus.NewRegistry()
	process.MustRegister(exposition.BuildInfo())
	read := func() (snapshots []collector.Snapshot) {
		for _, a := range c.Accounts() {
			snapshots = append(snapshots, a.Read())
		}
		return snapshots
	}
	if err := exposition.Of(read, process).Write(stdout, expfmt.NewFormat(expfmt.TypeTextPlain)); err != nil {
		return fmt.Errorf("printing the metrics: %w", err)
	}
	return polled
}

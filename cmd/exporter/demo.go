package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/signal"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// webhookURL returns the URL at which the simulated API reaches this exporter; empty if
// the flags do not tell it.
func webhookURL(f *flags, token string) string {
	host, port, err := net.SplitHostPort((*f.web.WebListenAddresses)[0])
	if err != nil || *f.web.WebConfigFile != "" {
		return ""
	}
	l, _ := f.location() // validate reports its error
	return "http://" + net.JoinHostPort(cmp.Or(host, "localhost"), port) + l.prefix + "/webhook/" + token
}

// demo monitors a simulated API inside this process until it is stopped.
func demo(f *flags, log *slog.Logger) error {
	options := simulator.DemoOptions()
	options.Key = "demo"
	// A plan that binds: an average day has as many jobs as it has requests for.
	options.RequestsPerMinute, options.RequestsPerDay = 60, 32_000
	api := simulator.New(options)
	defer api.Close()

	config := collector.DefaultConfig()
	config.Account = "demo"
	config.URL = "http://simulated.invalid"
	config.APIKey = options.Key
	config.RequestsPerMinute, config.RequestsPerDay = float64(options.RequestsPerMinute), options.RequestsPerDay
	config.NotFoundGrace = 15 * time.Second
	config.MaxJobAge = 2 * time.Hour
	config.Retention = 24 * time.Hour
	config.WebhookToken = "demo"
	config.JobLabels = []string{"team", "language"}
	configs := []collector.Config{config}
	state := collector.Options{Logger: log, Transport: api.Transport(), StateDirectory: f.storagePath}
	if f.storagePath == "" {
		before, err := newPast(time.Now(), simulator.DemoJobsPerHour)
		if err != nil {
			return fmt.Errorf("inventing the day before the demo: %w", err)
		}
		state.Engine = before
	}
	c, err := collector.New(configs, state)
	if err != nil {
		return f.nameStore(configs, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var submitting sync.WaitGroup
	defer submitting.Wait()
	defer cancel()
	submitting.Go(func() {
		simulator.Demo(ctx, api, webhookURL(f, config.WebhookToken), func(s simulator.Submission) {
			_, _, err := c.Accounts()[0].Register(submission.HTTP, []submission.Job{{
				RequestID: s.RequestID, API: submission.APIName(s.API),
				AudioSeconds: s.AudioSeconds, SubmittedAt: s.SubmittedAt, Labels: s.Labels,
			}})
			if err != nil && !errors.Is(err, jobs.ErrClosed) {
				log.Error("Registering a job of the demo failed", "err", err)
			}
		})
	})
	hangups := onHangup()
	defer signal.Stop(hangups)
	return serve(f, configs, c, hangups, log)
}

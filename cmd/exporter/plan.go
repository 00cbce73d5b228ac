package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"text/tabwriter"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

// How far a plan goes.
const (
	planLength = 24 * time.Hour
	planMost   = 1000 // requests, for each account
)

// plan prints which job would be asked about when, and what of the quota that
// leaves. It asks nothing of anybody: the jobs are those that the register has,
// which a running exporter may be using meanwhile.
func plan(accounts []collector.Config, storage string, stdout io.Writer, log *slog.Logger) error {
	dir, err := os.MkdirTemp("", program)
	if err != nil {
		return fmt.Errorf("making the plan: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := sqlite.Copy(storage, dir); err != nil {
		return fmt.Errorf("making the plan: %w", err)
	}
	if files, err := os.ReadDir(dir); err == nil && len(files) == 0 {
		log.Warn("There is no register, and so no job to plan for; see --storage.path", "directory", storage)
	}
	c, err := collector.New(accounts, collector.Options{Logger: log, StateDirectory: dir})
	if err != nil {
		return err
	}
	defer c.Stop(context.Background())
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, a := range c.Accounts() {
		polls, day := a.Plan(planLength, planMost)
		expected := 0.0
		fmt.Fprintf(w, "Account %s: the next 24 hours, if no job ended and none came\n", a.Name())
		fmt.Fprint(w, "AT (UTC)\tJOB\tNEEDED\tWHY\n")
		for _, p := range polls {
			expected += p.Needed
			fmt.Fprintf(w, "%s\t%s\t%.0f %%\t%s\n", p.At.UTC().Format("2006-01-02 15:04:05"), p.RequestID, 100*p.Needed, p.Reason)
		}
		if len(polls) == planMost {
			fmt.Fprintf(w, "and more: only the first %d are shown\n", planMost)
		}
		left := "no limit"
		if !math.IsInf(day.Limit, 1) {
			left = fmt.Sprintf("%.0f of %.0f", max(day.Limit-day.Used, 0), day.Limit)
		}
		fmt.Fprintf(w, "%d requests, %.1f expected as jobs end; left of the day's quota after them: %s\n\n", len(polls), expected, left)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing the plan: %w", err)
	}
	return nil
}

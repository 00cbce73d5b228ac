package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
)

// Limits of a plan.
const (
	planLength = 24 * time.Hour
	maxPlanned = 1000 // requests per account
)

// copyOf returns a temporary directory with a copy of a store; empty if there is no store.
func copyOf(storage string, log *slog.Logger) (dir string, err error) {
	if _, err := os.Stat(filepath.Join(storage, sqlite.FileName)); errors.Is(err, fs.ErrNotExist) {
		log.Warn("No database found, so there are no jobs to plan; check --storage.path", "directory", storage)
		return "", nil
	}
	for _, parent := range []string{os.TempDir(), storage} { // the image has only the latter
		if dir, err = os.MkdirTemp(parent, program+"-plan-"); err == nil {
			break
		}
	}
	if err == nil {
		if err = sqlite.Copy(storage, dir); err == nil {
			return dir, nil
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return "", fmt.Errorf("--storage.path: %w; let the user of this process read it, see whether the disk "+
		"of the copy is full or the store damaged, or set TMPDIR to a directory for the copy", err)
}

// plan prints when each job would be polled, and the quota left after that. It reads a
// copy of the store, which a running exporter may be using, or the database that replicas
// share (storage is empty), and sends no request.
func plan(
	ctx context.Context, accounts []collector.Config, storage string, stdout io.Writer, log *slog.Logger,
) error {
	var dir string
	if storage != "" {
		var err error
		if dir, err = copyOf(storage, log); err != nil {
			return err
		}
		defer os.RemoveAll(dir) // does nothing without a copy
	}
	c, err := collector.New(accounts, collector.Options{Logger: log, StateDirectory: dir, ReadOnly: true})
	if err != nil {
		return err
	}
	defer c.Stop(context.Background())
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, a := range c.Accounts() {
		if err := cmp.Or(ctx.Err(), a.Refresh(ctx)); err != nil {
			return fmt.Errorf("making the plan: %w", err)
		}
		polls, day, backlog := a.Plan(planLength, maxPlanned)
		expected := 0.0
		fmt.Fprintf(w, "Account %s: the next 24 hours, if no job ends and none is registered\n", a.Name())
		fmt.Fprint(w, "AT (UTC)\tJOB\tNEEDED\tFINISH EXPECTED\tLATE AFTER\tWHY\n")
		for _, p := range polls {
			expected += p.Needed
			fmt.Fprintf(w, "%s\t%s\t%.0f %%\t%s\t%s\t%s\n",
				stamp(p.At), p.RequestID, 100*p.Needed, stamp(p.Finish.Expected), stamp(p.Finish.LateAfter), p.Reason)
		}
		if len(polls) == maxPlanned {
			fmt.Fprintf(w, "Only the first %d polls are shown.\n", maxPlanned)
		}
		left := "no limit"
		if !math.IsInf(day.Limit, 1) {
			left = fmt.Sprintf("%.0f of %.0f", max(day.Limit-day.Used, 0), day.Limit)
		}
		fmt.Fprintf(w, "%d requests planned, %.1f expected, since jobs end before; daily quota left after them: %s\n",
			len(polls), expected, left)
		if text := backlog.String(); text != "" {
			fmt.Fprintf(w, "%s.\n", text)
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing the plan: %w", err)
	}
	return nil
}

// stamp formats a time in UTC; a dash if it is unknown.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateTime)
}

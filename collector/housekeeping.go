package collector

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outage"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

const (
	// sweepInterval is also the time after which an unwritable store is tried again.
	sweepInterval = 5 * time.Second
	// learntInterval is how much of what the scheduler has learnt a crash loses at most, and how old it is in a copy of
	// the store. It begins with the first interval, since most is learnt at first, and doubles.
	learntInterval      = 10 * time.Minute
	firstLearntInterval = time.Minute
)

// A housekeeper sweeps the jobs of an account and stores what its scheduler learns.
type housekeeper struct {
	jobs     *jobs.Jobs
	schedule *schedule.Scheduler
	quotas   *quotas
	log      *slog.Logger
	now      func() time.Time

	storedLearnt time.Time     // only sweep uses it
	interval     time.Duration // until it is stored again; only sweep uses it
	outage       outage.Outage // of the store; only reportStore uses it
}

func (h *housekeeper) run(ctx context.Context) {
	h.storedLearnt, h.interval = h.now(), firstLearntInterval
	var sweeps sync.WaitGroup
	sweeps.Go(func() { every(ctx, sweepInterval, h.sweep) })
	every(ctx, sweepInterval, h.reportStore) // also while a sweep waits for a disk that hangs
	sweeps.Wait()
}

func every(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}

func (h *housekeeper) sweep() {
	now := h.now()
	switch {
	case now.Sub(h.storedLearnt) >= h.interval:
		h.interval = min(2*h.interval, learntInterval)
		fallthrough
	case h.schedule.OthersNoticed().After(h.storedLearnt): // which changes the price of a request many times
		h.storedLearnt = now
		h.storeLearnt()
	}
	_ = h.jobs.Sweep(now) // the next sweep tries again
	h.quotas.keep(now)
}

// reportStore logs when the store can no longer be written, and when it can again.
func (h *housekeeper) reportStore() {
	err, now := h.jobs.Writable(), h.now()
	switch lasted, failed := h.outage.Lasts(now); {
	case err == nil && failed:
		h.log.Info("Store can be written again", "after", lasted.String())
		h.outage = outage.Outage{}
	case err != nil && h.outage.Report(now, outage.Cause(err)):
		log := h.log
		if failed {
			log = log.With("after", lasted.String())
		}
		log.Error("Store cannot be written; registrations and webhooks are refused, and polling stops, until it can",
			"err", err)
	}
}

// storeLearnt stores what the scheduler has learnt with the next commit.
func (h *housekeeper) storeLearnt() {
	learnt, err := h.schedule.Learnt(h.now())
	if err != nil {
		h.log.Error("Learned job durations cannot be stored", "err", err)
		return
	}
	h.jobs.SetLearnt(learnt)
}

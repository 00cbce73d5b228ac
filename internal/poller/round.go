package poller

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// maxQuotaWait is how long a round waits for the quota: the quota of a minute
// recovers within that time, that of a day does not.
const maxQuotaWait = 2 * time.Minute

// minLoggedWait is the shortest wait for the quota that a round logs.
const minLoggedWait = 5 * time.Second

// Round polls each of some jobs once, logs its progress, and returns how many requests were answered as they should
// be. It waits for the quota of the minute, and ends early if that of the day is used up or the API cannot be polled.
// The error says why not all jobs were polled, or why no request was answered. It is used instead of Run.
func (p *Poller) Round(ctx context.Context, unfinished []*jobs.Job) (answered int, err error) {
	p.log.Info("Polling each unfinished job once", "jobs", len(unfinished))
	var sent, good atomic.Int64
	for i, job := range unfinished {
		var r *request
		if r, err = p.await(ctx, job, len(unfinished)-i); r == nil {
			p.log.Warn("Not all jobs were polled: the quota or the API does not allow more requests now",
				"jobs_left", len(unfinished)-i, "err", err)
			break
		}
		p.inFlight.Go(func() {
			wasSent, answered := p.poll(ctx, r)
			if wasSent {
				sent.Add(1)
			}
			if answered {
				good.Add(1)
			}
			p.Wake()
		})
	}
	p.inFlight.Wait()
	p.schedule.RefreshAll(p.now()) // for those who read afterwards
	answered = int(good.Load())
	p.log.Info("Polled", "requests", sent.Load(), "answered", answered)
	if t := p.State().Trouble; answered == 0 && sent.Load() > 0 && t != nil && !t.NoKey {
		code := ""
		if t.ErrorCode != "" {
			code = ", error code " + t.ErrorCode
		}
		err = fmt.Errorf("no request was answered with a state (%d sent); the last: %s%s: %w",
			sent.Load(), t.Outcome, code, t.Err)
	}
	return answered, err
}

// await takes a turn for one job, of so many that are left, and waits for the quota if necessary.
func (p *Poller) await(ctx context.Context, job *jobs.Job, left int) (*request, error) {
	turnFor := func(now time.Time) (*schedule.Turn, time.Time) {
		return p.schedule.TurnFor(job.Sequence, job.RequestID, now)
	}
	var logged time.Time // until when it waits
	for ctx.Err() == nil {
		r, at, err := p.take(turnFor)
		if r != nil || err != nil {
			return r, err
		}
		wait := maxQuotaWait
		if !at.IsZero() {
			wait = at.Sub(p.now())
		}
		if wait > maxQuotaWait {
			return nil, fmt.Errorf("%w until %s", errQuotaUsed, at.UTC().Format(time.RFC3339))
		}
		if !at.IsZero() && wait >= minLoggedWait && !at.Equal(logged) { // else another request ended meanwhile
			logged = at
			p.log.Info("Waiting for the quota of the minute",
				"wait", wait.Round(time.Second).String(), "jobs_left", left)
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-time.After(wait):
		}
	}
	return nil, ctx.Err()
}

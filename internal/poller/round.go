package poller

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// maxQuotaWait is how long a round waits for the quota: the quota of a minute
// recovers within that time, that of a day does not.
const maxQuotaWait = 2 * time.Minute

// Round polls each of some jobs once, and returns how many requests were answered. It
// waits for the quota of the minute, and ends early if that of the day is used up or
// the API cannot be polled. It is used instead of Run.
func (p *Poller) Round(ctx context.Context, requestIDs []string) (answered int) {
	var count atomic.Int64
	for i, id := range requestIDs {
		r, err := p.await(ctx, id)
		if r == nil {
			p.log.Warn("Not all jobs were polled: the quota or the API does not allow more requests now",
				"jobs_left", len(requestIDs)-i, "err", err)
			break
		}
		p.inFlight.Go(func() {
			if p.poll(ctx, r) {
				count.Add(1)
			}
			p.Wake()
		})
	}
	p.inFlight.Wait()
	p.schedule.Refresh(p.now()) // for those who read afterwards
	return int(count.Load())
}

// await takes a turn for one job, and waits for the quota if necessary.
func (p *Poller) await(ctx context.Context, id string) (*request, error) {
	turnFor := func(now time.Time) (*schedule.Turn, time.Time) { return p.schedule.TurnFor(id, now) }
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
			return nil, errQuotaUsed
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-time.After(wait):
		}
	}
	return nil, ctx.Err()
}

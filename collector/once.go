package collector

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrNothingAsked says that no job could be asked about.
var ErrNothingAsked = errors.New("nothing could be asked")

// Once takes the place of Start and Stop where one round is enough: it looks at
// every source once and asks once about every unfinished job, waiting for the
// minute's quota where need be, and ending early where the day's is used up or
// the API cannot be asked. It returns ErrNothingAsked where not one job was
// answered for.
func (c *Collector) Once(ctx context.Context) error {
	var answered atomic.Int64
	var wg sync.WaitGroup
	for _, a := range c.Accounts() {
		wg.Go(func() { answered.Add(a.once(ctx)) })
	}
	wg.Wait()
	c.Stop(ctx)
	if answered.Load() == 0 {
		return ErrNothingAsked
	}
	return ctx.Err()
}

// longestQuotaWait is how long a round waits for the quota: the minute's comes
// back in time, the day's does not.
const longestQuotaWait = 2 * time.Minute

// once returns how many jobs were answered for.
func (a *Account) once(ctx context.Context) int64 {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.sources.start(ctx, a)
	err := a.sources.wait(ctx)
	a.sources.stop()
	if err != nil {
		return 0
	}
	s := a.settings.Load()
	var answered atomic.Int64
	jobs := slices.Collect(a.register.Unfinished())
	for i, job := range jobs {
		key, err := s.key()
		if err != nil {
			a.keyFailed(err)
			break
		}
		if !a.awaitTurn(ctx, key) {
			a.log.Warn("Not all jobs were asked about: the quota or the API does not allow more now", "jobs_left", len(jobs)-i)
			break
		}
		a.schedule.Take(job.RequestID)
		a.requests.Go(func() {
			if a.ask(ctx, s, key, job.RequestID) {
				answered.Add(1)
			}
			a.nudge()
		})
	}
	a.requests.Wait()
	a.finish()
	return answered.Load()
}

// awaitTurn reserves a request, and says whether there was one in good time.
func (a *Account) awaitTurn(ctx context.Context, key string) bool {
	for ctx.Err() == nil {
		now := a.now()
		if until, _ := a.api.pausedUntil(now, key); !until.IsZero() {
			return false
		}
		ok, at := a.ledger.Reserve(now)
		if ok {
			return true
		}
		wait := longestQuotaWait
		if !at.IsZero() {
			wait = at.Sub(now)
		}
		if wait > longestQuotaWait {
			return false
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-a.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
	return false
}

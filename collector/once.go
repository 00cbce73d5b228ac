package collector

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrNothingPolled means that no job could be polled.
var ErrNothingPolled = errors.New("no job could be polled")

// Once replaces Start and Stop where one round is enough: it reads every source once and polls every unfinished
// job once. It waits for the quota of the minute, and ends early if that of the day is used up or the API
// cannot be polled. It returns ErrNothingPolled if no request was answered.
func (c *Collector) Once(ctx context.Context) error {
	var answered atomic.Int64
	var wg sync.WaitGroup
	for _, a := range c.Accounts() {
		wg.Go(func() { answered.Add(int64(a.once(ctx))) })
	}
	wg.Wait()
	c.Stop(ctx)
	if answered.Load() == 0 {
		return ErrNothingPolled
	}
	return ctx.Err()
}

// once returns how many requests were answered.
func (a *Account) once(ctx context.Context) (answered int) {
	a.logStart()
	a.sources.start(a.settings.Load())
	err := a.sources.wait(ctx)
	a.sources.stop()
	if err == nil {
		answered = a.poller.Round(ctx, requestIDs(slices.Collect(a.jobs.Unfinished())))
	}
	a.finish()
	return answered
}

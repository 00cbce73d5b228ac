package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// ErrNothingPolled is wrapped by the error of Once if nothing was learnt about any job.
var ErrNothingPolled = errors.New("nothing was learnt about any job")

// Once replaces Start and Stop where one round is enough: it reads every source once and polls every unfinished
// job once. It waits for the quota of the minute, and ends early if that of the day is used up or the API
// cannot be polled for a minute. If no request was answered, or the API knows none of the jobs, the error wraps
// ErrNothingPolled and says why, for each account. It is no error that all jobs have ended. If there are replicas, it
// polls the accounts that no other one owns. Account.Read returns what is known afterwards.
func (c *Collector) Once(ctx context.Context) error {
	accounts := c.Accounts()
	defer c.Stop(ctx)
	if c.replicas != nil {
		c.replicas.start(accounts, false)
		if err := c.replicas.settle(ctx, len(accounts)); err != nil {
			return err
		}
	}
	done, errs := make([]bool, len(accounts)), make([]error, len(accounts))
	var wg sync.WaitGroup
	for i, a := range accounts {
		wg.Go(func() { done[i], errs[i] = a.once(ctx) })
	}
	wg.Wait()
	if slices.Contains(done, true) {
		return ctx.Err()
	}
	err := ErrNothingPolled
	for i, a := range accounts {
		if errs[i] != nil {
			err = fmt.Errorf("%w; account %q: %w", err, a.name, errs[i])
		}
	}
	return err
}

// once reports whether something is known afterwards: the API knows a job, or all jobs have ended. The error says
// why not all jobs were polled.
func (a *Account) once(ctx context.Context) (done bool, err error) {
	a.logStart()
	o := a.owned.Load()
	if o == nil {
		switch by := a.ownerNow(); {
		case by.ID == "" || by.Self:
			return false, errors.New("the account could not be taken over in time; try again")
		default:
			return false, fmt.Errorf("the replica %s owns the account, and polls it already: scrape it", cmp.Or(by.URL, by.ID))
		}
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() {
		select {
		case <-o.lost:
			end(errors.New("another replica has taken the account over"))
		case <-ctx.Done():
		}
	}()
	a.changing.Lock() // abandon stops them, too
	a.sources.start(a.settings.Load())
	a.changing.Unlock()
	err = a.sources.wait(ctx)
	a.changing.Lock()
	a.sources.stop()
	a.changing.Unlock()
	if err == nil {
		unfinished := slices.Collect(o.jobs.Unfinished())
		var answered int
		answered, err = o.poller.Round(ctx, unfinished)
		tracked := 0
		for _, n := range o.jobs.Snapshot(a.now()).Counts {
			tracked += n
		}
		isKnown := func(j *Job) bool {
			now, tracked := o.jobs.Job(j.RequestID)
			return !tracked || now.LastPoll == nil || now.LastPoll.Outcome != jobstatus.NotFound
		}
		done = answered > 0 || len(unfinished) == 0 && tracked > 0
		switch {
		case tracked == 0:
			err = errors.New("no job is tracked; check the sources of request IDs")
		case len(unfinished) > 0 && !slices.ContainsFunc(unfinished, isKnown):
			done = false
			err = errors.New("the API knows none of the jobs; check their IDs, and that they were submitted with this key")
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	o.keeper.storeLearnt()
	a.settings.Load().close()
	return done, err
}

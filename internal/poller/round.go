package poller

import (
	"context"
	"fmt"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

const (
	// maxQuotaWait is how long a round waits for the quota: the quota of a minute
	// recovers within that time, that of a day does not.
	maxQuotaWait = 2 * time.Minute
	// maxOutageWait is how long it waits for an API that fails: three requests find out whether an error lasts.
	maxOutageWait = time.Minute
)

// minLoggedWait is the shortest wait for the quota that a round logs.
const minLoggedWait = 5 * time.Second

// Round polls each of some jobs once, logs its progress, and returns how many requests were answered as they should
// be. A job whose request failed is polled again, after the pause if there is one. One whose request was refused for
// the account counts as not polled, and the pause ends the round. Round waits for the quota of the minute, and ends
// early if that of the day is used up, the API cannot be polled for longer, or a request cannot be stored. The error
// says why not all jobs were polled, or why no request was answered. It is used instead of Run.
func (p *Poller) Round(ctx context.Context, unfinished []*jobs.Job) (good int, err error) {
	p.log.Info("Polling each unfinished job once", "jobs", len(unfinished))
	sent := 0
	left := unfinished
	for len(left) > 0 && err == nil {
		classes := make([]outcomeClass, len(left)) // notSent: it is still to be polled
		unsent := make([]error, len(left))         // why it was not sent
		for i, job := range left {
			var r *request
			if r, err = p.await(ctx, job, len(left)-i); r == nil {
				break
			}
			p.inFlight.Go(func() {
				classes[i], unsent[i] = p.poll(ctx, r)
				p.Wake()
			})
		}
		p.inFlight.Wait()
		var again []*jobs.Job
		for i, class := range classes {
			if class != notSent {
				sent++
			}
			if err == nil {
				err = unsent[i]
			}
			switch class {
			case answered:
				good++
			case notSent, refused, failed:
				again = append(again, left[i])
			}
		}
		left = again
	}
	if len(left) > 0 {
		p.log.Warn("Not all jobs were polled: the quota or the API does not allow more requests now",
			"jobs_left", len(left), "err", err)
	}
	p.schedule.RefreshAll(p.now()) // for those who read afterwards
	p.log.Info("Polled", "requests", sent, "answered", good)
	if t := p.State().Trouble; good == 0 && sent > 0 && t != nil && !t.NoKey {
		code := ""
		if t.ErrorCode != "" {
			code = ", error code " + t.ErrorCode
		}
		err = fmt.Errorf("no request was answered with a state (%d sent); the last: %s%s: %w",
			sent, t.Outcome, code, t.Err)
	}
	return good, err
}

// await takes a permit for one job, of so many that are left. It waits for the quota and the end of a pause if needed.
func (p *Poller) await(ctx context.Context, job *jobs.Job, left int) (*request, error) {
	permitFor := func(now time.Time) (*schedule.Permit, time.Time) {
		return p.schedule.PermitFor(job.Sequence, job.RequestID, now)
	}
	var logged time.Time // until when it waits
	for ctx.Err() == nil {
		r, at, err := p.take(permitFor)
		if r != nil || err != nil && (err != errPaused || !p.breaker.mayPass(at)) {
			return r, err
		}
		wait := maxQuotaWait
		if !at.IsZero() {
			wait = at.Sub(p.now())
		}
		if wait > maxQuotaWait {
			return nil, fmt.Errorf("%w until %s", errQuotaUsed, at.UTC().Format(time.RFC3339))
		}
		if err == nil && !at.IsZero() && wait >= minLoggedWait && !at.Equal(logged) { // else another request ended meanwhile
			logged = at
			p.log.Info("Waiting until the next request may be sent",
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

package collector

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// longestIdle is how long the poller sleeps at most. It looks after jobs that
// have become too old, and shows that it is alive, at least that often.
const longestIdle = 5 * time.Second

// stuckAfter is how long the poller may not have moved before the process
// counts as unhealthy. It never waits for the network, so this is long.
const stuckAfter = 2 * time.Minute

// poll asks about jobs until running ends. Requests end with asking.
func (a *Account) poll(running, asking context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-running.Done():
			return
		case <-a.wake:
		case <-timer.C:
		}
		a.moved.Store(int64(time.Since(a.begun)))
		a.tidy(running)
		wait := longestIdle
		for running.Err() == nil {
			ask, at := a.next()
			if ask == nil {
				if !at.IsZero() {
					wait = min(wait, max(at.Sub(a.now()), time.Millisecond))
				}
				break
			}
			a.requests.Go(func() {
				ask(asking)
				a.nudge()
			})
		}
		timer.Reset(wait)
	}
}

// tidy sees to it that what was counted is stored, gives up the jobs that are too
// old, and lets go of those out of retention.
func (a *Account) tidy(ctx context.Context) {
	now := a.now()
	if now.Sub(a.tidied) < longestIdle {
		return
	}
	a.tidied = now
	_ = a.stored(a.register.Flush())
	// After a long outage it may be very many that are too old.
	for some := range slices.Chunk(a.register.Expired(now), 1000) {
		if ctx.Err() != nil || !a.register.Writable() {
			return
		}
		a.giveUp(ctx, now, some...)
		a.moved.Store(int64(time.Since(a.begun)))
	}
	_ = a.stored(a.register.Sweep(ctx, now)) // it is tried again with the next tidying
	if now.Sub(a.learntKept) >= learntInterval {
		a.learntKept = now
		a.keepLearnt()
	}
}

// learntInterval is how often what was learnt is kept: as much is lost with a crash.
const learntInterval = 10 * time.Minute

func (a *Account) healthy() error {
	if idle := time.Since(a.begun) - time.Duration(a.moved.Load()); idle > stuckAfter {
		return fmt.Errorf("account %q: the poller has not moved for %s", a.name, idle.Round(time.Second))
	}
	return nil
}

// next takes the job that is to be asked about now, and a request of the quota,
// and returns how to ask. Where nothing may be asked now, at says when to look
// again: zero when something else has to happen first.
func (a *Account) next() (ask func(context.Context), at time.Time) {
	if !a.register.Writable() { // what comes of a request could not be kept
		return nil, time.Time{}
	}
	now := a.now()
	s := a.settings.Load()
	key, err := s.key()
	if err != nil {
		a.keyFailed(err)
		return nil, time.Time{}
	}
	at, alone := a.api.pausedUntil(now, key)
	if !at.IsZero() || alone && a.ledger.UnderWay() > 0 {
		return nil, at
	}
	id, ok, at := a.schedule.Next(now)
	if !ok {
		return nil, at
	}
	return func(ctx context.Context) { a.ask(ctx, s, key, id) }, time.Time{}
}

// ask asks about one job and applies what came of it. It says whether the API
// answered as it should.
func (a *Account) ask(ctx context.Context, s *settings, key, id string) (answered bool) {
	begin := a.now()
	// A restart must know of the request: it is stored before it is sent.
	if block := s.limits.Block(); block > 0 {
		if a.stored(a.register.Request(ctx, begin, block)) != nil {
			a.ledger.Release()
			a.schedule.Unanswered(id, begin, 0)
			return false
		}
	}
	answer := s.client.Status(ctx, key, id)
	now := a.now()
	a.ledger.Answered(now)
	if ctx.Err() != nil && answer.Outcome != jobstatus.OK {
		// We broke it off ourselves: that says nothing about the API.
		a.schedule.Unanswered(id, now, 0)
		return false
	}
	a.register.Count(func(c *jobs.Counts) {
		c.APIRequests[answer.Outcome]++
		c.APIDuration.Observe(max(now.Sub(begin), 0).Seconds())
		if answer.Outcome == jobstatus.OK && answer.State == jobstatus.Unknown {
			c.APIUnknownStates++
		}
	})
	if answer.Outcome == jobstatus.OK && answer.State == jobstatus.Unknown {
		a.log.Warn("The API answered with a state that is not known; the job stays as it is", "request_id", id)
	}
	delay := a.api.apply(a, id, answer, key, now)
	// What the scheduler is told at the end is of no effect when the job has ended.
	switch {
	case answer.Outcome == jobstatus.NotFound:
		missing := now.Sub(a.register.Missing(id, now))
		if missing > s.config.NotFoundGrace {
			a.giveUp(ctx, now, id)
		}
		// Nothing was learnt of how long it takes: it may have been registered too early.
		a.schedule.Unanswered(id, now, max(delay, min(missing/2, longestMissing)))
		return true
	case answer.Outcome != jobstatus.OK:
		a.schedule.Unanswered(id, now, delay)
		return false
	case answer.State != jobstatus.Unknown:
		if _, err := a.observe(ctx, jobs.Observation{
			RequestID: id, At: now, State: stateOf[answer.State], ErrorCode: answer.ErrorCode, Result: answer.Result,
		}); err != nil {
			a.schedule.Unanswered(id, now, delay)
			return true
		}
	}
	a.schedule.Running(id, now, delay)
	return true
}

// longestMissing is how long a job that the API does not know is let be at most.
const longestMissing = 30 * time.Minute

var stateOf = map[jobstatus.State]jobs.State{
	jobstatus.Running:   jobs.Running,
	jobstatus.Completed: jobs.Completed,
	jobstatus.Failed:    jobs.Failed,
}

// A consequence is what follows from an outcome that is not OK.
type consequence struct {
	// job is how long at least the job that was asked about waits.
	job time.Duration
	// pause is how long the whole account waits the first time, and longest how
	// long when it happens again and again: each time doubles it.
	pause, longest time.Duration
	// patience is how many such outcomes in a row only concern the jobs.
	patience int
	// quota says that the scheduler knows how long the account waits.
	quota bool
}

// consequences say for each outcome who waits and how long. A delay that the
// API asks for is kept where it is longer.
var consequences = [len(jobstatus.Outcomes)]consequence{
	// The job is given up after not_found_grace.
	jobstatus.NotFound: {},
	// The request is refused as such: asking again soon gives the same.
	jobstatus.ClientError: {job: 5 * time.Minute, pause: time.Minute, longest: 15 * time.Minute, patience: 3},
	// Until then, or until there is another key.
	jobstatus.Unauthorized: {pause: 5 * time.Minute, longest: time.Hour},
	// Somebody else may be using the same key.
	jobstatus.RateLimited: {quota: true},
	jobstatus.OverQuota:   {quota: true},
	// The API or the way to it is down; each try may cost a request of the quota.
	jobstatus.ServerError: {pause: 10 * time.Second, longest: 15 * time.Minute},
	jobstatus.Timeout:     {pause: 10 * time.Second, longest: 15 * time.Minute},
	jobstatus.Network:     {pause: 10 * time.Second, longest: 15 * time.Minute},
	// One result may be bad; when all are, it is something in between.
	jobstatus.Malformed: {job: 10 * time.Minute, pause: time.Minute, longest: 15 * time.Minute, patience: 3},
	jobstatus.TooLarge:  {job: time.Hour, pause: time.Minute, longest: 15 * time.Minute, patience: 3},
}

// A condition is how an account's API and key do at present.
type condition struct {
	mu          sync.Mutex
	outcome     jobstatus.Outcome // of the last request
	err         error             // of the last request
	asked       bool              // there was one
	outage      bool              // a pause was needed, and no request has gone well since
	lastSuccess time.Time
	inARow      int // requests with this outcome, none of another in between
	steps       int // pauses that were needed, less the requests that have gone well since
	alone       int // requests that are still to go well alone
	until       time.Time
	refusedKey  string // the key that the pause is about
	keyError    error  // why the key could not be read
}

// recovery is how many requests must go well after a pause, each asked alone,
// before several are under way at once again: they would fail together.
const recovery = 10

// pausedUntil is until when nothing is asked: zero when it may be. alone says that
// no request may be under way beside the next.
func (c *condition) pausedUntil(now time.Time, key string) (until time.Time, alone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keyError = nil
	if c.refusedKey != "" && c.refusedKey != key {
		c.steps, c.alone, c.until, c.refusedKey = 0, 0, time.Time{}, ""
	}
	if now.Before(c.until) {
		return c.until, true
	}
	return time.Time{}, c.alone > 0
}

// apply draws the consequences of an answer about a job, and returns how long at
// least that job is not asked about. What an operator should know is logged: an
// outage when it begins, changes and ends, and each answer that is only of no use
// for its job.
func (c *condition) apply(a *Account, id string, answer jobstatus.Answer, key string, now time.Time) (job time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.outcome
	if answer.Outcome != before || !c.asked {
		c.inARow = 0
	}
	c.outcome, c.err, c.asked = answer.Outcome, answer.Err, true
	c.inARow++
	if answer.Outcome == jobstatus.OK || answer.Outcome == jobstatus.NotFound {
		c.lastSuccess = now
		c.steps, c.alone = max(c.steps-1, 0), max(c.alone-1, 0)
		c.until, c.refusedKey = time.Time{}, ""
		if c.outage {
			c.outage = false
			a.log.Info("The API answers again", "outcome_before", before.String())
		}
		return answer.RetryAfter
	}
	what := consequences[answer.Outcome]
	switch {
	case !what.quota && what.pause == 0 || c.inARow <= what.patience:
		a.log.Warn("The API's answer about a job was of no use", "request_id", id, "outcome", answer.Outcome.String(), "err", answer.Err)
	case now.Before(c.until):
		// Requests that were under way together are one failure.
	default:
		pause := min(what.pause<<min(c.steps, 16), what.longest)
		if what.quota {
			pause = a.schedule.Refused(id, now, answer.Outcome == jobstatus.OverQuota).Sub(now)
		}
		pause = max(pause, answer.RetryAfter)
		c.until = now.Add(pause)
		c.steps++
		c.alone = recovery
		if answer.Outcome == jobstatus.Unauthorized {
			c.refusedKey = key
		}
		if !c.outage || answer.Outcome != before {
			c.outage = true
			a.log.Warn("The API does not answer as it should; it is asked again after a pause",
				"outcome", answer.Outcome.String(), "err", answer.Err, "pause", pause.String())
		}
	}
	return max(what.job, answer.RetryAfter)
}

// forgive ends a pause: what it was about may have changed.
func (c *condition) forgive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps, c.alone, c.until, c.refusedKey = 0, 0, time.Time{}, ""
}

// keyFailed notes that the key cannot be read now.
func (a *Account) keyFailed(err error) {
	c := &a.api
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keyError == nil || err.Error() != c.keyError.Error() {
		c.keyError = err
		a.log.Error("The API key cannot be read; nothing is asked until it can", "err", err)
	}
}

// state says whether the last request was answered as the API should, and if not,
// why; without a key there can be no next one.
func (c *condition) state() (up bool, lastSuccess time.Time, trouble *Trouble) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.keyError != nil:
		trouble = &Trouble{Err: c.keyError}
	case !c.asked:
	case c.outcome == jobstatus.OK || c.outcome == jobstatus.NotFound:
		up = true
	default:
		trouble = &Trouble{Outcome: c.outcome, Err: c.err, Until: c.until}
	}
	return up, c.lastSuccess, trouble
}

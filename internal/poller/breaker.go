package poller

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outage"
)

// A consequence is what follows from an outcome that is not OK. A longer delay that
// the API asks for (Retry-After) replaces each of the waits, up to maxPause.
type consequence struct {
	// job is the minimum time before the job is polled again.
	job time.Duration
	// pause is how long the account is not polled the first time. Each further
	// failure doubles it, up to maxPause.
	pause, maxPause time.Duration
	// threshold is the number of such outcomes in a row that affect only their jobs. Further ones pause the account.
	threshold int
	// quota means that the scheduler sets the pause, also above maxPause.
	quota bool
}

// consequences has a pause for each outcome that concerns more than one job.
var consequences = [len(jobstatus.Outcomes)]consequence{
	// The store gives the job up after not_found_grace.
	jobstatus.NotFound: {},
	// The API rejects the request itself: repeating it soon gives the same response.
	jobstatus.ClientError: {job: 5 * time.Minute, pause: time.Minute, maxPause: 15 * time.Minute, threshold: 3},
	// A new key ends the pause, as it does where a quota is used up.
	jobstatus.Unauthorized: {pause: 5 * time.Minute, maxPause: time.Hour},
	// Another client may be using the same key.
	jobstatus.RateLimited: {quota: true, maxPause: 15 * time.Minute},
	jobstatus.OverQuota:   {quota: true, maxPause: time.Hour},
	// The API or the network is down, and each attempt may cost a request of the quota.
	jobstatus.ServerError: {pause: 10 * time.Second, maxPause: 15 * time.Minute},
	jobstatus.Timeout:     {pause: 10 * time.Second, maxPause: 15 * time.Minute},
	jobstatus.Network:     {pause: 10 * time.Second, maxPause: 15 * time.Minute},
	// A single bad result affects its job. Several in a row come from a gateway.
	jobstatus.Malformed: {job: unreadableWait, pause: time.Minute, maxPause: 15 * time.Minute, threshold: 3},
	jobstatus.TooLarge:  {job: unreadableWait, pause: time.Minute, maxPause: 15 * time.Minute, threshold: 3},
}

// unreadableWait is the minimum time before a job is polled again whose answer cannot be read: some unreadable answers,
// over a few minutes, end the job.
const unreadableWait = 5 * time.Minute

// recoveryRequests is the number of requests that must succeed after a pause, one at a time, before several are
// in flight again: if the API is still down, they would all fail and all count against the quota.
const recoveryRequests = 10

// maxAsked is the longest wait that the API can ask for with a good response. Longer ones are mistakes, or cost more
// in late ends than the requests that they save.
const maxAsked = 15 * time.Minute

// maxDoublings keeps the shift of a pause from overflowing.
const maxDoublings = 16

// A breaker pauses polling after failures. It is the state of an API and a key as the responses show it.
type breaker struct {
	mu sync.Mutex // guards everything below

	started     time.Time
	lastPoll    time.Time        // of the last response, whatever it was; zero: there was none
	polled      bool             // there was a response that says something about the API
	last        jobstatus.Answer // the last of those, without its result
	lastSuccess time.Time
	spared      int           // failures since then that are about their jobs alone
	keyError    error         // why the key cannot be read; nil: it can
	keyOutage   outage.Outage // since then, or since the store does not let it be used

	inARow     int           // responses with this outcome without another in between
	steps      int           // pauses minus the successes since then
	alone      int           // requests that must still succeed one at a time, or concern their jobs alone
	until      time.Time     // end of the pause
	refusedKey string        // the last key that a pause was about; another one ends any pause. Empty: there was none
	lastKey    string        // that was refused in the outage; empty: none was
	outage     outage.Outage // since the first pause after the last success. Its failures are responses
}

// allow returns until when polling is paused; zero when it is not. With alone, no
// other request may be in flight.
func (b *breaker) allow(now time.Time, key string) (until time.Time, alone bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refusedKey != "" && b.refusedKey != key {
		b.reset()
	}
	if now.Before(b.until) {
		return b.until, true
	}
	return time.Time{}, b.alone > 0
}

// endPause ends a pause, for example because a reload may have removed its cause. One request finds out.
func (b *breaker) endPause() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reset()
}

// mayPass reports whether a pause until a time is worth a round's wait: the API or the network fails, and will not have
// failed for too long by then.
func (b *breaker) mayPass(until time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	lasts, _ := b.outage.Lasts(until)
	return conditions[b.last.Outcome] == Unavailable && lasts <= maxOutageWait
}

func (b *breaker) reset() {
	b.steps, b.alone, b.until, b.refusedKey = 0, min(b.alone, 1), time.Time{}, ""
	b.outage.Retried()
}

// keyFailed records that the key cannot be read, or not be used. It reports whether to log that, and for how long it
// has been so.
func (b *breaker) keyFailed(err error, now time.Time) (log bool, lasts time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keyError = err; errors.Is(err, ErrStore) { // which the store reports
		b.keyError = nil
	}
	log = b.keyOutage.Report(now, err.Error())
	lasts, _ = b.keyOutage.Lasts(now)
	return log, lasts
}

// keyRead records that the key can be used. It reports whether that is news, and how long it was not so.
func (b *breaker) keyRead(now time.Time) (lasted time.Duration, news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lasted, news = b.keyOutage.Lasts(now)
	b.keyError, b.keyOutage = nil, outage.Outage{}
	return lasted, news
}

// A verdict is what a response means for polling, and what to log about it.
type verdict struct {
	wait      time.Duration     // minimum time before the job is polled again
	pause     time.Duration     // polling is paused for this long, and that is to be logged
	unusable  bool              // the response affects only its job
	recovered bool              // an outage ended
	before    jobstatus.Outcome // the last outcome before
	failures  int               // responses of the outage that are not OK
	lasted    time.Duration     // the outage
	newKey    bool              // the API refuses another key than before in the outage
	unknown   int               // responses in a row that know no job, where that is to be logged; else 0
}

// manyUnknown is the number of jobs in a row from which on it is remarkable that the API knows none.
const manyUnknown = 10

// successHolds is for how long a good answer says that a bad one is about its job alone.
const successHolds = time.Hour

// maxSpared is the number of failures in a row that may be about their jobs alone. When the API breaks down, jobs that
// have failed before cost so many requests more.
const maxSpared = 3

// spares reports whether a bad answer is about its job alone: it is if all answers about the job since a time were bad,
// and the API has answered about others meanwhile.
func (b *breaker) spares(o jobstatus.Outcome, since, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !since.Before(b.lastSuccess), now.Sub(b.lastSuccess) >= successHolds:
		return false
	case consequences[o].threshold > 0:
		return true
	case conditions[o] != Unavailable, !succeeded(b.last.Outcome), b.spared >= maxSpared:
		return false
	}
	b.spared++
	return true
}

// judge records a response to a request sent with key. quotaUntil is when the
// scheduler allows requests again; it is only read if the API refused for quota.
func (b *breaker) judge(a jobstatus.Answer, key string, now, quotaUntil time.Time) verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastPoll = now
	if a.AboutJob { // it concerns its job alone, and says nothing about the API
		b.alone = max(b.alone-1, 0)
		return verdict{wait: max(unreadableWait, min(a.RetryAfter, maxAsked))}
	}
	before, changed := b.last.Outcome, !b.polled || a.Outcome != b.last.Outcome
	if changed {
		b.inARow = 0
	}
	b.inARow++
	b.polled, b.last = true, a
	b.last.Result = nil
	c := consequences[a.Outcome]
	asked := min(a.RetryAfter, cmp.Or(c.maxPause, maxAsked))
	if succeeded(a.Outcome) {
		v := verdict{wait: asked, before: before, failures: b.outage.Failures}
		v.lasted, v.recovered = b.outage.Lasts(now)
		b.lastSuccess, b.spared, b.outage, b.lastKey = now, 0, outage.Outage{}, ""
		b.steps, b.alone = max(b.steps-1, 0), max(b.alone-1, 0)
		b.until, b.refusedKey = time.Time{}, ""
		if a.Outcome == jobstatus.NotFound && b.inARow == manyUnknown {
			v.unknown = b.inARow
		}
		return v
	}
	v := verdict{wait: max(c.job, asked), before: before}
	b.outage.Failures++
	switch {
	case b.inARow <= c.threshold:
		v.unusable = true
		b.alone = max(b.alone-1, 0)
	case now.Before(b.until): // requests that were in flight together are one failure
	default:
		pause := min(c.pause<<min(b.steps, maxDoublings), c.maxPause)
		if c.quota {
			pause = quotaUntil.Sub(now)
		}
		pause = max(pause, asked)
		b.until = now.Add(pause)
		b.steps++
		b.alone = recoveryRequests
		if a.Outcome == jobstatus.Unauthorized || c.quota {
			v.newKey = b.lastKey != "" && b.lastKey != key
			b.refusedKey, b.lastKey = key, key
		}
		if b.outage.Report(now, causeOf(a)) {
			v.pause, v.failures = pause, b.outage.Failures
			v.lasted, _ = b.outage.Lasts(now)
		}
	}
	return v
}

// causeOf returns by what two outages differ.
func causeOf(a jobstatus.Answer) string {
	cause := fmt.Sprint(a.Outcome, " ", a.HTTPStatus, " ", a.ErrorCode)
	if a.Outcome == jobstatus.Network && a.Err != nil {
		cause += " " + outage.Cause(a.Err)
	}
	return cause
}

// succeeded reports whether a response is one that the API gives when it works. It
// does when it says that it does not know a job.
func succeeded(o jobstatus.Outcome) bool { return o == jobstatus.OK || o == jobstatus.NotFound }

// A State is how the API and the key are at present.
type State struct {
	Up          bool      // the last response was as it should be, and there is a key for the next request
	LastSuccess time.Time // zero: never
	Started     time.Time // since when this process polls the account
	LastPoll    time.Time // of the last response; zero: none since then
	Unknown     int       // the last so many responses say that the API does not know the job; 0: they are few
	Trouble     *Trouble  // why Up is false; nil: Up, or nothing was polled yet
}

// Trouble is why the API is not polled, or does not respond as it should.
type Trouble struct {
	NoKey     bool              // the key cannot be read or used
	Outcome   jobstatus.Outcome // of the last response, unless NoKey
	ErrorCode string            // with which the API refused the last request; empty: none
	Err       error             // contains neither the key nor the response
	Until     time.Time         // end of the pause; zero or past: there is none
	Lasted    time.Duration     // from the first pause to the last response, unless NoKey
}

// A Condition is how the API does at present.
type Condition int

// The conditions.
const (
	OK           Condition = iota // the last response was as it should be
	NotAsked                      // no request was sent since the start
	NoKey                         // the key cannot be read
	Unauthorized                  // the API rejects the key
	OverQuota                     // the quota of the plan is used up
	RateLimited                   // too many requests at once
	Unavailable                   // no response, or an internal error
	Unusable                      // a response that is not one of the API, or a rejected request
)

// Conditions are the names of the conditions, as the label `state` of api_state shows them.
var Conditions = [...]string{
	"ok", "not_asked", "no_key", "unauthorized", "over_quota", "rate_limited", "unavailable", "unusable",
}

func (c Condition) String() string { return Conditions[c] }

// conditions are the conditions after outcomes.
var conditions = [len(jobstatus.Outcomes)]Condition{
	jobstatus.OK: OK, jobstatus.NotFound: OK,
	jobstatus.Unauthorized: Unauthorized, jobstatus.OverQuota: OverQuota, jobstatus.RateLimited: RateLimited,
	jobstatus.ServerError: Unavailable, jobstatus.Timeout: Unavailable, jobstatus.Network: Unavailable,
	jobstatus.ClientError: Unusable, jobstatus.Malformed: Unusable, jobstatus.TooLarge: Unusable,
}

// Condition returns how the API does at present.
func (s *State) Condition() Condition {
	switch {
	case s.Up:
		return OK
	case s.Trouble == nil:
		return NotAsked
	case s.Trouble.NoKey:
		return NoKey
	}
	return conditions[s.Trouble.Outcome]
}

// RetryAt returns when a paused account polls again; zero if it is not paused.
func (s *State) RetryAt(now time.Time) time.Time {
	if s.Trouble == nil || !now.Before(s.Trouble.Until) {
		return time.Time{}
	}
	return s.Trouble.Until
}

func (b *breaker) state() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := State{LastSuccess: b.lastSuccess, Started: b.started, LastPoll: b.lastPoll}
	switch {
	case b.keyError != nil:
		s.Trouble = &Trouble{NoKey: true, Err: b.keyError}
	case !b.polled:
	case succeeded(b.last.Outcome):
		s.Up = true
		if b.last.Outcome == jobstatus.NotFound && b.inARow >= manyUnknown {
			s.Unknown = b.inARow
		}
	default:
		s.Trouble = &Trouble{Outcome: b.last.Outcome, ErrorCode: b.last.ErrorCode, Err: b.last.Err, Until: b.until}
		s.Trouble.Lasted, _ = b.outage.Lasts(b.lastPoll)
	}
	return s
}

// Package poller spends the requests of an account: it takes permits from the scheduler, polls the API, and hands
// on the observations. It does not know the account. A breaker pauses polling after failures.
package poller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/duration"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/wake"
)

const (
	// maxIdle is the maximum time between two looks at the scheduler.
	maxIdle = 5 * time.Second
	// stuckAfter is how long Run may stand still before the poller is unhealthy. Run never waits for the API, but it may
	// for a commit, of which key is used, to a database.
	stuckAfter = 2 * time.Minute
	// maxMissingWait is the maximum time between two polls of a job that the API does
	// not know. It may have been registered before the API knew it.
	maxMissingWait = 30 * time.Minute
	// deferredWait is when a job is polled again whose result had to wait for other large ones.
	deferredWait = time.Minute
)

// A Client polls the API about one job.
type Client interface {
	Status(ctx context.Context, key, requestID string) jobstatus.Answer
}

// Results stores what requests cost and what they observe.
type Results interface {
	Reserve(at time.Time, requests int) error
	Observe(jobs.Observation) (jobs.Effect, error)
	Writable() error // nil: the last commit succeeded
}

// ErrKeyInUse is wrapped by an error of Settings.Key if there is a key, but another account polls with it.
var ErrKeyInUse = errors.New("the quota of an API key is spent by one account only")

// ErrStore is wrapped by an error of Settings.Key if there is a key, but the store does not take that it is used, or
// does not tell what was sent with it.
var ErrStore = errors.New("the store fails")

// ErrInFlight is wrapped by an error of Settings.Key if there is a key, but requests are in flight that must end before
// it is used.
var ErrInFlight = errors.New("requests with the former key are in flight")

// Settings can be replaced while the poller runs.
type Settings struct {
	Client Client
	Key    func() (string, error) // for the next request; Run and Round call it from one goroutine
	// Block is the number of requests that are reserved at once, before the first of
	// them is sent. 0: there is no quota, and nothing is reserved.
	Block int
}

// A Poller polls the jobs of one scheduler. It may be used by several goroutines at once.
type Poller struct {
	// These do not change.
	schedule *schedule.Scheduler
	results  Results
	log      *slog.Logger
	now      func() time.Time
	created  time.Time

	settings atomic.Pointer[Settings]
	moved    atomic.Int64 // when Run last moved, nanoseconds after created
	wake     wake.Signal
	breaker  breaker    // has a lock of its own
	logged   problems   // has a lock of its own
	unknown  stateWords // has a lock of its own

	// Only Run and Round add to it, and they wait for it.
	inFlight sync.WaitGroup
}

// New returns a poller. It polls when Run or Round is called.
func New(s *schedule.Scheduler, r Results, settings Settings, log *slog.Logger, now func() time.Time) *Poller {
	p := &Poller{schedule: s, results: r, log: log, now: now, created: now(), wake: wake.NewSignal()}
	p.breaker.started = p.created
	// A pause is not stored: a restart may have removed its cause. If not, the API gets one request, and not many at once.
	// An answer that concerns its job alone lets the others follow, too.
	p.breaker.alone = 1
	p.settings.Store(&settings)
	return p
}

// SetSettings replaces the settings and ends a pause, since they may have removed its
// cause. Requests in flight end with the settings that they began with.
func (p *Poller) SetSettings(s Settings) {
	p.settings.Store(&s)
	p.breaker.endPause()
	p.Wake()
}

// Wake makes the poller look at the scheduler now.
func (p *Poller) Wake() { p.wake.Send() }

// State returns how the API and the key are at present.
func (p *Poller) State() State { return p.breaker.state() }

// Healthy returns an error if Run has not moved for longer than it ever should.
func (p *Poller) Healthy() error {
	if idle := p.now().Sub(p.created) - time.Duration(p.moved.Load()); idle > stuckAfter {
		return fmt.Errorf("the poller has not moved for %s", duration.Text(idle))
	}
	return nil
}

// Run polls until ctx is done, and returns when the requests in flight have ended.
// Canceling sending aborts those.
func (p *Poller) Run(ctx, sending context.Context) {
	defer p.inFlight.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
		wait := maxIdle
		for ctx.Err() == nil {
			p.moved.Store(int64(p.now().Sub(p.created)))
			r, at, _ := p.take(p.schedule.Next)
			if r == nil {
				if !at.IsZero() {
					wait = min(wait, max(at.Sub(p.now()), time.Millisecond))
				}
				break
			}
			p.inFlight.Go(func() {
				_, _ = p.poll(sending, r) // the store logs that it cannot be written
				p.Wake()
			})
		}
		if again := p.schedule.Refresh(p.now()); !again.IsZero() {
			wait = min(wait, max(again.Sub(p.now()), time.Millisecond))
		}
		timer.Reset(wait)
	}
}

// A request is a permit, and what it is used with.
type request struct {
	permit   *schedule.Permit
	settings *Settings
	key      string
}

var (
	errPaused    = errors.New("polling is paused after errors")
	errQuotaUsed = errors.New("the quota is used up")
)

// take takes a permit from next. Without one, at is when to try again, which is zero if something has to happen
// first. The error says that it is not the quota which prevents a request.
func (p *Poller) take(next func(time.Time) (*schedule.Permit, time.Time)) (r *request, at time.Time, err error) {
	// Without a store, the result of a request would be lost.
	if err := p.results.Writable(); err != nil {
		return nil, time.Time{}, err
	}
	s, now := p.settings.Load(), p.now()
	key, err := s.Key()
	if errors.Is(err, ErrInFlight) {
		return nil, time.Time{}, nil
	}
	if err != nil {
		log := p.log
		report, lasts := p.breaker.keyFailed(err, now)
		if lasts > 0 {
			log = log.With("after", lasts.String())
		}
		switch {
		case report && errors.Is(err, ErrKeyInUse):
			log.Error("API key is used by another account; polling stops until it is not", "err", err)
		case report && errors.Is(err, ErrStore):
			log.Error("API key cannot be used, since the store fails; polling stops until it can", "err", err)
		case report:
			log.Error("API key cannot be read; polling stops until it can", "err", err)
		}
		return nil, time.Time{}, err
	}
	if lasted, news := p.breaker.keyRead(now); news {
		p.log.Info("API key can be used again; polling continues", "after", lasted.String())
	}
	until, alone := p.breaker.allow(now, key)
	switch {
	case !until.IsZero():
		return nil, until, errPaused
	case alone && p.schedule.InFlight() > 0:
		return nil, time.Time{}, nil
	}
	permit, at := next(now)
	if permit == nil {
		return nil, at, nil
	}
	return &request{permit, s, key}, time.Time{}, nil
}

// An outcomeClass is what the outcome of a request means for a round.
type outcomeClass int

const (
	notSent  outcomeClass = iota
	answered              // as it should be
	unusable              // for this job
	refused               // for the account, until the pause ends or something is done about it
	failed                // the API or the network did: another one may be answered
)

// poll uses a permit, which it ends exactly once. The error says why the request was not sent.
func (p *Poller) poll(ctx context.Context, r *request) (outcomeClass, error) {
	begin := p.now()
	// A restart must know about the request, so it is stored before it is sent.
	if block := r.settings.Block; block > 0 {
		if err := p.results.Reserve(begin, block); err != nil {
			r.permit.NotSent()
			return notSent, err
		}
	}
	answer := r.settings.Client.Status(ctx, r.key, r.permit.RequestID)
	now := p.now()
	canceled := ctx.Err() != nil && (answer.Outcome == jobstatus.Network || answer.Outcome == jobstatus.Timeout)
	if canceled { // by us: it says nothing about the API
		r.permit.Unanswered(now, 0, schedule.RequestFailed)
		return failed, nil
	}
	o := jobs.Observation{
		RequestID: r.permit.RequestID, At: now, By: jobs.ByPoll, State: jobs.Unanswered,
		Request: &jobs.Request{Outcome: answer.Outcome, Duration: max(now.Sub(begin), 0), Detail: detail(answer)},
	}
	if answer.Deferred { // nor does this
		if p.logged.news(o.RequestID, answer.Outcome) {
			p.log.Warn("Large result was not read in time beside others; its job is polled again",
				"request_id", o.RequestID)
		}
		_, _ = p.results.Observe(o)
		r.permit.Unanswered(now, deferredWait, schedule.Unreadable)
		return failed, nil
	}
	switch answer.Outcome {
	case jobstatus.OK, jobstatus.NotFound:
		p.observe(r, answer, o)
		return answered, nil
	case jobstatus.Malformed, jobstatus.TooLarge:
		if answer.HTTPStatus < http.StatusMultipleChoices { // a redirect or a web server's page says nothing about the job
			p.observeUnreadable(r, answer, o)
			return unusable, nil
		}
	}
	_, _ = p.results.Observe(o) // a failure of the store is logged by it, and nothing is lost
	switch {
	case !consequences[answer.Outcome].quota:
		v := p.judge(r, answer, now, time.Time{})
		r.permit.Unanswered(now, v.wait, schedule.RequestFailed)
		if v.unusable {
			return unusable, nil
		}
	case answer.Outcome == jobstatus.OverQuota && answer.HTTPStatus != http.StatusPaymentRequired:
		p.judge(r, answer, now, r.permit.RefusedByEither(now))
	default:
		p.judge(r, answer, now, r.permit.Refused(now, answer.Outcome == jobstatus.OverQuota))
	}
	switch conditions[answer.Outcome] {
	case Unavailable:
		return failed, nil
	case Unauthorized, OverQuota, RateLimited:
		return refused, nil
	}
	return unusable, nil
}

// detail returns why an answer is not as it should be.
func detail(a jobstatus.Answer) string {
	if a.Err == nil {
		return ""
	}
	return a.Err.Error()
}

// observe hands on what a response says about its job, and ends the permit.
func (p *Poller) observe(r *request, answer jobstatus.Answer, o jobs.Observation) {
	now, wait := o.At, p.judge(r, answer, o.At, time.Time{}).wait
	p.logged.solved(o.RequestID)
	o.State, o.Result = stateOf(answer), answer.Result
	if o.State == jobs.Failed {
		o.ErrorCode = answer.ErrorCode
	}
	if o.State == jobs.Unchanged {
		o.Request.UnknownState, o.Request.StateWord = true, answer.StateWord
		if n, news := p.unknown.count(answer.StateWord); news {
			p.log.Warn("API reported an unknown state; its jobs keep their state",
				"state", answer.StateWord, "request_id", o.RequestID, "count", n)
		}
	}
	effect, err := p.results.Observe(o)
	switch {
	case err != nil:
		r.permit.Unanswered(now, wait, schedule.NotStored)
	case answer.Outcome == jobstatus.NotFound:
		r.permit.Unanswered(now, max(wait, min(effect.MissingFor/2, maxMissingWait)), schedule.NotKnown)
	default:
		r.permit.Answered(now, wait)
	}
}

// observeUnreadable hands on that a response cannot be read, and ends the permit. If it stays so, that ends the job.
func (p *Poller) observeUnreadable(r *request, answer jobstatus.Answer, o jobs.Observation) {
	healthy := p.breaker.state().LastSuccess
	wait := p.judge(r, answer, o.At, time.Time{}).wait
	o.State, o.Readable, o.HealthyAt = jobs.Unreadable, jobs.Lost, healthy
	if answer.AboutJob {
		o.HealthyAt = o.At
		switch answer.State {
		case jobstatus.Running:
			o.State = jobs.Running
		case jobstatus.Completed, jobstatus.Failed:
			o.Readable, o.ErrorCode = states[answer.State], answer.ErrorCode
		}
	}
	effect, err := p.results.Observe(o)
	if err == nil && effect.Unreadable {
		p.log.Warn("API response for job stayed unreadable; the job ended without a result", "request_id", o.RequestID,
			"state", effect.Job.State.String(), "err", answer.Err)
	}
	r.permit.Unanswered(o.At, wait, schedule.Unreadable)
}

// states are what the states of the API mean for a job.
var states = [...]jobs.State{
	jobstatus.Unknown: jobs.Unchanged, jobstatus.Running: jobs.Running,
	jobstatus.Completed: jobs.Completed, jobstatus.Failed: jobs.Failed,
}

// stateOf is what a response says about its job.
func stateOf(a jobstatus.Answer) jobs.State {
	if a.Outcome == jobstatus.NotFound {
		return jobs.Missing
	}
	return states[a.State]
}

// judge tells the breaker about a response, logs its verdict, and returns it.
func (p *Poller) judge(r *request, a jobstatus.Answer, now, quotaUntil time.Time) verdict {
	spared, unavailable := false, conditions[a.Outcome] == Unavailable
	if !a.AboutJob && (unavailable || consequences[a.Outcome].threshold > 0) {
		// It may be about the job alone, although nothing of it says so.
		spared = p.breaker.spares(a.Outcome, p.logged.since(r.permit.RequestID, now), now)
		a.AboutJob = spared
	}
	v := p.breaker.judge(a, r.key, now, quotaUntil)
	v.unusable = v.unusable || spared
	if spared && unavailable {
		v.wait = max(v.wait, p.logged.wait(r.permit.RequestID))
	}
	log := p.log
	if a.Outcome != jobstatus.OK && a.ErrorCode != "" {
		log = log.With("error_code", a.ErrorCode)
	}
	if v.unknown > 0 {
		log.Warn("API does not know any of the last jobs polled; they are given up after not_found_grace; "+
			"check url and the request IDs", "requests", v.unknown)
	}
	switch {
	case v.recovered:
		p.log.Info("API recovered; polling continues", "outcome_before", v.before.String(),
			"failed_requests", v.failures, "after", v.lasted.String())
	case v.unusable:
		if p.logged.news(r.permit.RequestID, a.Outcome) {
			log.Warn("Unusable API response for job",
				"request_id", r.permit.RequestID, "outcome", a.Outcome.String(), "err", a.Err)
		}
	case v.pause > 0:
		attrs := []any{"outcome", a.Outcome.String(), "err", a.Err, "pause", v.pause.String()}
		if v.lasted > 0 {
			attrs = append(attrs, "failed_requests", v.failures, "after", v.lasted.String())
		}
		if v.newKey {
			attrs = append(attrs, "key_changed", true)
		}
		log.Warn("API request failed; polling is paused", attrs...)
	}
	return v
}

// stateWords counts the state words that nobody knows.
type stateWords struct {
	mu     sync.Mutex // guards counts
	counts map[string]int
}

// maxStateWords bounds stateWords. Further ones count as one.
const maxStateWords = 100

// count counts a word; an empty one is text that does not look like a word. It reports whether the number is news: the
// first, the tenth, the hundredth and so on.
func (w *stateWords) count(word string) (n int, news bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.counts == nil {
		w.counts = make(map[string]int)
	}
	if _, known := w.counts[word]; !known && len(w.counts) >= maxStateWords {
		word = ""
	}
	w.counts[word]++
	n = w.counts[word]
	for power := 1; power < n; power *= 10 {
		news = power*10 == n
	}
	return n, news || n == 1
}

// problems remembers the problems of single jobs.
type problems struct {
	mu   sync.Mutex         // guards jobs
	jobs map[string]problem // by request ID
}

type problem struct {
	since  time.Time         // of bad answers that may be about the job alone; zero: there was none
	logged jobstatus.Outcome // OK: none
	alone  int               // answers that were about the job alone
}

// maxAloneWait is the maximum time between two polls of a job whose answers are bad while those of others are good: over
// a day they would otherwise use up a small quota.
const maxAloneWait = time.Hour

// maxProblems bounds problems. Beyond it some count as new: they are logged again, and may pause the account again.
const maxProblems = 1000

// since returns since when the answers about a job are unusable, which is now if none was.
func (l *problems) since(requestID string, now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.jobs[requestID]
	if p.since.IsZero() {
		p.since = now
		l.set(requestID, p)
	}
	return p.since
}

// wait counts an answer that is about a job alone, and returns the minimum time before the next poll of the job, which
// doubles with each.
func (l *problems) wait(requestID string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.jobs[requestID]
	wait := min(unreadableWait<<min(p.alone, maxDoublings), maxAloneWait)
	p.alone++
	l.set(requestID, p)
	return wait
}

// news reports whether the problem of a job was not logged yet.
func (l *problems) news(requestID string, o jobstatus.Outcome) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.jobs[requestID]
	if p.logged == o {
		return false
	}
	p.logged = o
	l.set(requestID, p)
	return true
}

func (l *problems) set(requestID string, p problem) {
	if _, known := l.jobs[requestID]; l.jobs == nil || !known && len(l.jobs) >= maxProblems {
		l.jobs = make(map[string]problem)
	}
	l.jobs[requestID] = p
}

func (l *problems) solved(requestID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.jobs, requestID)
}

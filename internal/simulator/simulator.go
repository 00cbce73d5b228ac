// Package simulator is the vendor's API as an [http.Handler]: submissions,
// job life cycles, status answers, quotas, faults and webhooks. It is the back
// end of --demo, of tests and of benchmarks, and imports none of our other
// packages: it is the independent other side.
//
// A job's fate is a function of the seed and its request ID, and its state a
// function of that fate and the time, so nothing runs between two requests
// and no result is stored. Only webhooks need timers. Time is taken from
// package time alone; inside a testing/synctest bubble a day passes at once.
package simulator

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options says how the simulated API behaves. The zero value is a life-like
// API without quota, latency or faults that accepts any key.
//
// A share is between 0 and 1. Where a share has a default, a negative one
// means none.
type Options struct {
	// Seed determines every drawn thing: the same seed and request ID give
	// the same life and the same result.
	Seed uint64
	// Key is the API key that is accepted; empty accepts any.
	Key string

	// Speed divides every drawn duration of a job; 0 is 1, life-like.
	Speed float64
	// FailedShare of the drawn jobs fail; 0 is 0.06.
	FailedShare float64
	// CompletedWithFaultShare of the drawn jobs are Completed and carry a
	// fault where the result should be; 0 is 0.01.
	CompletedWithFaultShare float64
	// StuckShare of the drawn jobs never end; 0 is 0.01.
	StuckShare float64
	// Retention is how long after its end a job is known; 0 is for ever.
	// One that never ends is known for a day longer than that.
	Retention time.Duration

	// RequestsPerMinute is the quota of status requests in any 60 s; 0 is
	// unlimited. A fraction stretches or shrinks the window so that the rate
	// holds with whole requests: 0.5 is 1 in 120 s, 2.5 is 2 in 48 s.
	RequestsPerMinute float64
	// RequestsPerDay is the quota of status requests in any 24 h; 0 is
	// unlimited.
	RequestsPerDay int
	// ChargeRefused charges requests that were refused over quota, too.
	ChargeRefused bool
	// RateLimit is how a request over the rate is refused.
	RateLimit RateLimit

	// Latency of every request.
	Latency Latency
	// Faults are injected into the answers to status requests by share.
	Faults []FaultShare
	// Fault, when not nil, is asked about every request, submissions
	// included, and decides instead of Faults.
	Fault func(*http.Request) Fault

	// Webhooks says how webhooks are sent.
	Webhooks Webhooks

	// LogSize is how many status requests [Simulator.Log] remembers, the
	// newest; 0 is 100000, negative none.
	LogSize int
}

// Counters is what the simulator has counted since it was made.
type Counters struct {
	Submitted       uint64 // jobs
	StatusRequests  uint64 // that arrived
	Unauthorized    uint64 // refused with 401
	RateLimited     uint64 // refused over the rate
	OverQuota       uint64 // refused with 402
	NotFound        uint64 // answered with 404
	Faults          uint64 // injected into a status answer
	WebhookTries    uint64 // POSTs sent
	WebhooksTaken   uint64 // tries answered with 200
	WebhooksGivenUp uint64 // jobs whose every try failed
	WebhooksLost    uint64 // jobs whose webhook was never sent, as configured
}

// Simulator is the simulated API. Make it with [New] and end it with
// [Simulator.Close]. Every method may be called concurrently.
type Simulator struct {
	opt   Options
	start time.Time

	ctx      context.Context // done once closed
	cancel   context.CancelFunc
	running  sync.WaitGroup // in-memory requests and webhook senders
	requests atomic.Uint64  // status requests begun, to draw each one's luck

	mu       sync.Mutex
	closed   bool
	down     bool
	key      string
	jobs     map[string]*job
	order    []*job // as submitted; may hold jobs that were replaced
	swept    time.Time
	fixed    map[string]fixedAnswer
	minute   window
	day      window
	log      requestLog
	counters Counters
	hooks    dispatcher
}

// New returns a running simulator.
func New(o Options) *Simulator {
	if o.Speed <= 0 {
		o.Speed = 1
	}
	o.FailedShare = share(o.FailedShare, 0.06)
	o.CompletedWithFaultShare = share(o.CompletedWithFaultShare, 0.01)
	o.StuckShare = share(o.StuckShare, 0.01)
	if o.LogSize == 0 {
		o.LogSize = 100_000
	}
	s := &Simulator{
		opt:    o,
		start:  time.Now(),
		key:    o.Key,
		jobs:   make(map[string]*job),
		fixed:  make(map[string]fixedAnswer),
		minute: perMinute(o.RequestsPerMinute),
		day:    window{limit: o.RequestsPerDay, span: 24 * time.Hour},
		log:    requestLog{limit: o.LogSize},
		hooks:  newDispatcher(o.Webhooks),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// share is v, the default where v is 0, and none where v is negative.
func share(v, byDefault float64) float64 {
	if v == 0 {
		return byDefault
	}
	return max(v, 0)
}

// Close ends the simulator: no webhook is sent any more, requests under way
// are cut off, and nothing of it runs when Close returns but handlers of an
// HTTP server that the caller closes. It may be called again.
func (s *Simulator) Close() {
	s.mu.Lock()
	s.closed = true
	s.hooks.stop()
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
	s.hooks.closeIdle()
}

// begin counts a goroutine in for Close to wait for; false once closed.
func (s *Simulator) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// ServeHTTP answers submissions and status requests.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, call, ok := strings.Cut(r.URL.Path, "/async/")
	switch {
	case ok && call == "status":
		s.serveStatus(w, r)
	case ok && known(call):
		s.serveSubmission(w, r, call)
	default:
		refuse(w, http.StatusNotFound, apiFault("No such route", "unknown_route"))
	}
}

// SetKey makes key the one that is accepted from now on; empty accepts any.
func (s *Simulator) SetKey(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = key
}

// SetDown takes the API down or up again. While it is down, everything is
// answered with 503 and nothing is charged against a quota.
func (s *Simulator) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// SetBody makes the API answer every status request for requestID with this
// status and body, whatever is known of the job. Status 0 takes that back.
// Key and quota are checked as ever. The body is not copied.
func (s *Simulator) SetBody(requestID string, status int, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if status == 0 {
		delete(s.fixed, requestID)
		return
	}
	s.fixed[requestID] = fixedAnswer{status, body}
}

// fixedAnswer is what SetBody was given.
type fixedAnswer struct {
	status int
	body   []byte
}

// Counters returns what was counted so far.
func (s *Simulator) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters
}

// admit answers for a request that the gateway refuses at once, because the
// API is down or the key is wrong. The caller holds s.mu.
func (s *Simulator) admit(key string) (status int, body []byte) {
	switch {
	case s.down:
		return http.StatusServiceUnavailable, []byte(htmlPage)
	case s.key == "" || key == s.key:
		return 0, nil
	case key == "":
		s.counters.Unauthorized++
		return http.StatusUnauthorized, gatewayFault("Failed to resolve API Key variable request.queryparam.apikey", "steps.oauth.v2.FailedToResolveAPIKey")
	default:
		s.counters.Unauthorized++
		return http.StatusUnauthorized, gatewayFault("Invalid ApiKey", "oauth.v2.InvalidApiKey")
	}
}

// Package simulator simulates the vendor's Job Status API as an [http.Handler]: the life of
// jobs, status responses, quotas, faults and webhooks. It serves --demo and tests. It
// imports no other package of this module, to be independent of them.
//
// The life of a job is a function of the seed and its request ID, and its state a function
// of that and the time. So nothing runs between requests and no result is stored; only
// webhooks need goroutines. All times come from package time, so that it works in a
// testing/synctest bubble.
package simulator

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options configures the simulated API. The zero value is a realistic API without quota,
// latency or faults that accepts any key.
type Options struct {
	// Seed is the seed of everything that is drawn: a seed and a request ID determine the
	// life of a job and its result.
	Seed uint64
	// Key is the valid API key; empty: any.
	Key string

	// Speed divides every drawn duration of a job; 0 means 1, which is realistic.
	Speed float64
	// StuckShare is the share of drawn jobs that never end; 0 means 0.01, a negative value
	// none.
	StuckShare float64
	// Retention is the time after its end for which a job is known; 0: for ever. A job that
	// never ends is known for Retention and a day.
	Retention time.Duration

	// RequestsPerMinute is the quota of status requests in any 60 s; 0: unlimited.
	RequestsPerMinute int
	// RequestsPerDay is the quota of status requests in any 24 h; 0: unlimited.
	RequestsPerDay int

	// Latency is the duration of every request.
	Latency Latency
	// Fault returns the fault of a status request; nil: none.
	Fault func(*http.Request) Fault

	// Webhooks configures webhooks.
	Webhooks Webhooks
}

// Simulator is the simulated API. It is safe for concurrent use.
type Simulator struct {
	opt      Options
	ctx      context.Context // done once closed
	cancel   context.CancelFunc
	running  sync.WaitGroup // in-memory requests and webhooks
	requests atomic.Uint64  // number of requests, the seed of each one's latency

	mu        sync.Mutex // guards what follows
	down      bool
	key       string
	submitted int // number of jobs
	jobs      map[string]*job
	fixed     map[string]reply // arguments of SetBody
	minute    window
	day       window
	log       []Seen
	answered  map[int]int // number of responses by HTTP status
}

// New returns a simulator. The caller must close it.
func New(o Options) *Simulator {
	if o.Speed <= 0 {
		o.Speed = 1
	}
	if o.StuckShare == 0 {
		o.StuckShare = 0.01
	}
	o.StuckShare = max(o.StuckShare, 0)
	o.Webhooks = o.Webhooks.withDefaults()
	s := &Simulator{
		opt:      o,
		key:      o.Key,
		jobs:     make(map[string]*job),
		fixed:    make(map[string]reply),
		minute:   window{limit: o.RequestsPerMinute, span: time.Minute},
		day:      window{limit: o.RequestsPerDay, span: 24 * time.Hour},
		answered: make(map[int]int),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close cancels requests and webhooks. When it returns, nothing of the simulator runs but
// handlers of an HTTP server of the caller. It may be called again.
func (s *Simulator) Close() {
	s.mu.Lock()
	s.cancel()
	s.mu.Unlock()
	s.running.Wait()
	s.opt.Webhooks.Client.CloseIdleConnections()
}

// begin registers a goroutine that Close waits for; it returns false after Close. The caller
// holds s.mu.
func (s *Simulator) begin() bool {
	if s.ctx.Err() != nil {
		return false
	}
	s.running.Add(1)
	return true
}

// Submit submits a job and returns its request ID. It replaces a job with the same request
// ID. It panics if the API does not exist.
func (s *Simulator) Submit(sub Job) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub.RequestID == "" {
		sub.RequestID = requestID(s.opt.Seed, s.submitted)
	}
	s.sweep()
	j := newJob(sub, s.opt, time.Now())
	j.number = s.submitted
	s.submitted++
	s.jobs[j.RequestID] = j
	if j.Webhook != "" && j.Outcome.ends() && s.begin() {
		go s.sendWebhook(j)
	}
	return j.RequestID
}

// Jobs returns the state of all jobs within their retention, in order of submission.
func (s *Simulator) Jobs() []JobRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	records := make([]JobRecord, 0, len(s.jobs))
	for _, j := range slices.SortedFunc(maps.Values(s.jobs), func(a, b *job) int { return a.number - b.number }) {
		records = append(records, j.JobRecord)
	}
	return records
}

// sweep removes jobs past their retention. The caller holds s.mu.
func (s *Simulator) sweep() {
	if s.opt.Retention <= 0 {
		return
	}
	now := time.Now()
	maps.DeleteFunc(s.jobs, func(_ string, j *job) bool {
		known := s.opt.Retention
		if !j.Outcome.ends() {
			return now.Sub(j.SubmittedAt) > 24*time.Hour+known
		}
		return now.Sub(j.EndsAt) > known
	})
}

// SetKey changes the valid API key; empty: any.
func (s *Simulator) SetKey(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = key
}

// SetDown sets whether the API is down. While it is down, every response is 503 and no
// quota is charged.
func (s *Simulator) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// SetBody fixes the HTTP status and body for status requests for requestID. Key and quota
// still apply. The body is not copied.
func (s *Simulator) SetBody(requestID string, status int, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fixed[requestID] = reply{status: status, body: body}
}

// Seen is a status request that arrived.
type Seen struct {
	At        time.Time // of arrival
	RequestID string
	Status    int // HTTP status of the response; 0: the connection was reset
}

// maxLog limits the memory for the log.
const maxLog = 100_000

// Log returns the newest status requests, oldest first. It drops the older half of them
// when there are 100,000.
func (s *Simulator) Log() []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// Answered returns the number of status requests that got a response with this HTTP status;
// 0: the connection was reset.
func (s *Simulator) Answered(status int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answered[status]
}

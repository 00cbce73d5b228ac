package simulator

import "time"

// RateLimit is how the API refuses a request over its rate.
type RateLimit int

// The ways to refuse a request over the rate. All carry the fault rate_limit.
const (
	RateLimit429     RateLimit = iota // with Retry-After
	RateLimit429Bare                  // without
	RateLimit400
	RateLimit200
)

// status is the HTTP status of the refusal.
func (l RateLimit) status() int {
	switch l {
	case RateLimit200:
		return 200
	case RateLimit400:
		return 400
	default:
		return 429
	}
}

// window is a sliding window: at most limit charges in any span. It keeps the
// newest limit charges in a ring: there is room when the oldest of them has
// left the span.
type window struct {
	limit   int // 0: unlimited
	span    time.Duration
	charges []time.Duration // since the simulator's start
	oldest  int             // index, once the ring is full
}

// perMinute is the window for a rate that may be a fraction: whole requests
// in a span that makes up for the fraction.
func perMinute(rate float64) window {
	if rate <= 0 {
		return window{}
	}
	limit := max(1, int(rate))
	return window{limit: limit, span: seconds(60 * float64(limit) / rate)}
}

// wait is how long after now there is room for a charge; 0: now.
func (w *window) wait(now time.Duration) time.Duration {
	if w.limit == 0 || len(w.charges) < w.limit {
		return 0
	}
	return max(0, w.charges[w.oldest]+w.span-now)
}

// charge notes a request.
func (w *window) charge(now time.Duration) {
	switch {
	case w.limit == 0:
	case len(w.charges) < w.limit:
		w.charges = append(w.charges, now)
	default:
		w.charges[w.oldest] = now
		w.oldest = (w.oldest + 1) % w.limit
	}
}

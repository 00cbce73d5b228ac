package simulator

import "time"

// window is a sliding window of at most limit requests in any span. It keeps the newest
// requests in a ring: another one fits when the oldest has left the span.
type window struct {
	limit int // 0: unlimited
	span  time.Duration
	ring  []time.Time
	next  int // index of the oldest request once the ring is full
}

// wait returns the time until another request fits.
func (w *window) wait(now time.Time) time.Duration {
	if w.limit == 0 || len(w.ring) < w.limit {
		return 0
	}
	return max(0, w.ring[w.next].Add(w.span).Sub(now))
}

// charge adds a request for which wait has returned 0.
func (w *window) charge(now time.Time) {
	switch {
	case w.limit == 0:
	case len(w.ring) < w.limit:
		w.ring = append(w.ring, now)
	default:
		w.ring[w.next] = now
		w.next = (w.next + 1) % w.limit
	}
}

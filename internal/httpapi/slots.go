package httpapi

import (
	"context"
	"slices"
	"sync"
	"time"
)

// slots limit how many requests of a kind hold memory at a time. While one waits for a
// slot, those whose clients are slow lose theirs. The slot goes to the request that came
// last: the others may be slow, too, and must not keep it out.
type slots struct {
	contended allowance // of a client while other requests wait for a slot

	mu      sync.Mutex // guards the following
	free    int
	waiting []chan struct{} // a slot is handed over by closing it
	taken   map[*exchange]bool
}

const (
	slotTimeout     = 10 * time.Second // how long a request waits for a slot
	preemptInterval = 100 * time.Millisecond
)

// newSlots returns n slots. While others wait, a client must not be slower than for so
// long, and 1 MiB per second.
func newSlots(n int, start time.Duration) *slots {
	return &slots{contended: allowance{start, 1 << 20}, free: n, taken: make(map[*exchange]bool)}
}

// acquire waits for a slot and reports whether there was one in time; release frees it.
func (s *slots) acquire(ctx context.Context) (release func(), ok bool) {
	if !s.wait(ctx) {
		return nil, false
	}
	x := exchangeOf(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken[x] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.taken, x)
		s.hand()
	}, true
}

// wait reports whether the caller has a slot.
func (s *slots) wait(ctx context.Context) bool {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return true
	}
	handed := make(chan struct{})
	s.waiting = append(s.waiting, handed)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, slotTimeout)
	defer cancel()
	ticker := time.NewTicker(preemptInterval)
	defer ticker.Stop()
	for {
		s.preempt()
		select {
		case <-handed:
			return true
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			i := slices.Index(s.waiting, handed)
			if i >= 0 {
				s.waiting = slices.Delete(s.waiting, i, i+1)
			} else {
				s.hand() // it was handed over meanwhile
			}
			return false
		case <-ticker.C:
		}
	}
}

// hand hands a slot over to the request that waits for the shortest time.
func (s *slots) hand() {
	last := len(s.waiting) - 1
	if last < 0 {
		s.free++
		return
	}
	close(s.waiting[last])
	s.waiting = s.waiting[:last]
}

// preempt aborts the request whose client is the slowest, if it is too slow.
func (s *slots) preempt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var slowest *exchange
	var worst time.Duration
	for x := range s.taken {
		if x == nil {
			continue
		}
		waited, moved, since := x.waiting(now)
		if excess := waited - s.contended.after(moved); !since.IsZero() && excess > worst {
			slowest, worst = x, excess
		}
	}
	if slowest != nil {
		slowest.abort()
		delete(s.taken, slowest)
	}
}

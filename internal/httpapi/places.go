package httpapi

import (
	"context"
	"slices"
	"sync"
	"time"
)

// places limit how many requests of a kind hold memory at a time. While one waits for a
// place, those whose clients are slow lose theirs. The place goes to the request that came
// last: the others may be slow, too, and must not keep it out.
type places struct {
	contended allowance // of a client while other requests wait for a place

	mu      sync.Mutex // guards the following
	free    int
	waiting []chan struct{} // a place is handed over by closing it
	taken   map[*exchange]bool
}

const (
	placeTimeout  = 10 * time.Second // how long a request waits for a place
	evictInterval = 100 * time.Millisecond
)

// newPlaces returns n places. While others wait, a client must not be slower than for so
// long, and 1 MiB per second.
func newPlaces(n int, start time.Duration) *places {
	return &places{contended: allowance{start, 1 << 20}, free: n, taken: make(map[*exchange]bool)}
}

// acquire waits for a place and reports whether there was one in time; release frees it.
func (p *places) acquire(ctx context.Context) (release func(), ok bool) {
	if !p.wait(ctx) {
		return nil, false
	}
	x := exchangeOf(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken[x] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.taken, x)
		p.hand()
	}, true
}

// wait reports whether the caller has a place.
func (p *places) wait(ctx context.Context) bool {
	p.mu.Lock()
	if p.free > 0 {
		p.free--
		p.mu.Unlock()
		return true
	}
	handed := make(chan struct{})
	p.waiting = append(p.waiting, handed)
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, placeTimeout)
	defer cancel()
	ticker := time.NewTicker(evictInterval)
	defer ticker.Stop()
	for {
		p.evict()
		select {
		case <-handed:
			return true
		case <-ctx.Done():
			p.mu.Lock()
			defer p.mu.Unlock()
			i := slices.Index(p.waiting, handed)
			if i >= 0 {
				p.waiting = slices.Delete(p.waiting, i, i+1)
			} else {
				p.hand() // it was handed over meanwhile
			}
			return false
		case <-ticker.C:
		}
	}
}

// hand hands a place over to the request that waits for the shortest time.
func (p *places) hand() {
	last := len(p.waiting) - 1
	if last < 0 {
		p.free++
		return
	}
	close(p.waiting[last])
	p.waiting = p.waiting[:last]
}

// evict aborts the request whose client is the slowest, if it is too slow.
func (p *places) evict() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var slowest *exchange
	var worst time.Duration
	for x := range p.taken {
		if x == nil {
			continue
		}
		waited, moved, since := x.waiting(now)
		if excess := waited - p.contended.after(moved); !since.IsZero() && excess > worst {
			slowest, worst = x, excess
		}
	}
	if slowest != nil {
		slowest.abort()
		delete(p.taken, slowest)
	}
}

package httpapi

import (
	"sync"
	"time"
)

// sometimes limits how often what any client can cause is logged: at once, and then at most
// once a minute.
type sometimes struct {
	mu   sync.Mutex // guards the following
	last time.Time
	more int // calls since then
}

// do calls f with the number of calls of do since the last one of f.
func (s *sometimes) do(f func(more int)) {
	s.mu.Lock()
	now := time.Now()
	if !s.last.IsZero() && now.Sub(s.last) < time.Minute {
		s.more++
		s.mu.Unlock()
		return
	}
	more := s.more
	s.last, s.more = now, 0
	s.mu.Unlock()
	f(more)
}

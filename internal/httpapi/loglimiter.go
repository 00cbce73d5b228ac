package httpapi

import (
	"sync"
	"time"
)

// A logLimiter limits how often what any client can cause is logged: at once, and then at most
// once a minute.
type logLimiter struct {
	mu   sync.Mutex // guards the following
	last time.Time
	more int // calls since then
}

// do calls f with the number of calls of do since the last one of f.
func (l *logLimiter) do(f func(more int)) {
	l.mu.Lock()
	now := time.Now()
	if !l.last.IsZero() && now.Sub(l.last) < time.Minute {
		l.more++
		l.mu.Unlock()
		return
	}
	more := l.more
	l.last, l.more = now, 0
	l.mu.Unlock()
	f(more)
}

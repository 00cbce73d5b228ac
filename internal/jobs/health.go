package jobs

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/duration"
)

// hangsAfter is how long the store may take before it counts as unwritable. That is longer than it waits for the lock
// of another process.
const hangsAfter = 30 * time.Second

// health is how the store is, as those who write find it.
type health struct {
	failure atomic.Pointer[error] // of the last write; nil: it succeeded
	// accessed is since when the store has been busy with a call; nil: it is not.
	accessed atomic.Pointer[time.Time]
}

// access calls the store, and lets Writable know since when.
func (h *health) access(call func() error) error {
	now := time.Now()
	h.accessed.Store(&now)
	defer h.accessed.Store(nil)
	return call()
}

func (h *health) failed(err error) { h.failure.Store(&err) }

func (h *health) succeeded() { h.failure.Store(nil) }

// Writable returns why the last write failed, or that the present one hangs; nil if neither is so.
func (h *health) Writable() error {
	if err := h.failure.Load(); err != nil {
		return *err
	}
	if since := h.accessed.Load(); since != nil && time.Since(*since) > hangsAfter {
		return fmt.Errorf("a commit has been waiting for the store for more than %s", duration.Text(hangsAfter))
	}
	return nil
}

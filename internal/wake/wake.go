// Package wake lets goroutines wake another one without waiting for it.
package wake

// A Signal wakes the goroutine that receives from it. It holds one signal: those that are sent before that is received
// are one. A nil Signal takes none.
type Signal chan struct{}

// NewSignal returns a signal that was not sent yet.
func NewSignal() Signal { return make(Signal, 1) }

// Send wakes the receiver, now or when it receives next. It never waits.
func (s Signal) Send() {
	select {
	case s <- struct{}{}:
	default: // it was sent before
	}
}

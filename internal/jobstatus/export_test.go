package jobstatus

import (
	"context"
	"io"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// A Body is a decoded body, for tests.
type Body struct {
	HasStatus bool
	State     State
	RequestID string
	Word      string // of an unknown state
	FaultCode string // empty: no fault
	Result    *transcript.Result
}

// DecodeStatus is decodeStatus.
func DecodeStatus(r io.Reader) (Body, error) {
	b, err := decodeStatus(context.Background(), r, NoTimings)
	return Body{b.hasStatus, b.state, b.requestID, b.stateWord, b.errorCode, b.result}, err
}

// MaxErrorCode is the maximum length of an error code.
const MaxErrorCode = maxErrorCode

// QueuedDelay is the delay after a poll that was too early.
const QueuedDelay = queuedDelay

// RenewSlot makes another slot of large results, for a bubble of synctest, until the returned function is called.
func RenewSlot() (restore func()) {
	before := largeSlot
	largeSlot = make(chan struct{}, 1)
	return func() { largeSlot = before }
}

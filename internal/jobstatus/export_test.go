package jobstatus

import (
	"io"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// A Body is what decoding a body says, for the tests.
type Body struct {
	HasStatus    bool
	State        State
	RequestID    string
	FaultPresent bool
	FaultCode    string
	Result       *transcript.Result
}

// DecodeStatus is decodeStatus.
func DecodeStatus(r io.Reader) (Body, error) {
	b, err := decodeStatus(r, false)
	return Body{b.hasStatus, b.state, b.requestID, b.fault.present, b.fault.code, b.result}, err
}

// MaxErrorCode is how long an error code may be.
const MaxErrorCode = maxErrorCode

// QueuedDelay is how long a job waits that was asked about too early.
const QueuedDelay = queuedDelay

package jobstatus

import (
	"errors"
	"io"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/laxjson"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// A Webhook is what the vendor POSTs when a job ends. It has no signature: the receiver
// must authenticate the sender.
type Webhook struct {
	RequestID string
	State     State              // Completed or Failed
	ErrorCode string             // of a failed job
	Result    *transcript.Result // of a completed job; nil if there is nothing to measure
}

// ReadWebhook decodes the body of a webhook as tolerantly as a status, with the timings that
// are wanted. It returns an error of the reader as it is, and ErrBusy; other errors do not
// quote the document. While other large results wait, and the body comes slowly or not at all, it calls abort, which
// must end a read of the body that waits, and may come at any time before ReadWebhook returns.
func ReadWebhook(r io.Reader, abort func(), timings Timings) (Webhook, error) {
	b, err := decodeWebhook(r, abort, timings)
	if e, ok := errors.AsType[*laxjson.ReadError](err); ok {
		return Webhook{}, e.Err
	}
	if err != nil {
		return Webhook{}, unreadable(err)
	}
	w := Webhook{RequestID: b.requestID, State: b.state, Result: b.result}
	if b.state == Failed {
		w.ErrorCode = b.errorCode
	}
	return w, nil
}

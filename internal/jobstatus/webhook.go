package jobstatus

import (
	"io"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// A Webhook is what the vendor POSTs when a job ends. It has no signature: who
// sent it is for the receiver to find out.
type Webhook struct {
	RequestID string
	State     State              // Completed or Failed
	ErrorCode string             // of a failed job
	Result    *transcript.Result // of a completed job; nil where there is nothing to measure
}

// ReadWebhook reads the body of a webhook, as strictly as a status. An error of
// the reader is returned as it is; others say what is wrong with the
// document without quoting it. The result has the timings of its words where they
// are wanted.
func ReadWebhook(r io.Reader, timings bool) (Webhook, error) {
	limited := &reader{r: r}
	b, err := decodeWebhook(limited, timings)
	switch {
	case err != nil && limited.err != nil:
		return Webhook{}, limited.err
	case err != nil:
		return Webhook{}, malformed(err)
	}
	w := Webhook{RequestID: b.requestID, State: b.state, Result: b.result}
	if b.state == Failed {
		w.ErrorCode = b.fault.code
	}
	return w, nil
}

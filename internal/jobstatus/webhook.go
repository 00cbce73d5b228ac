package jobstatus

import (
	"context"
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

// decodeWebhook decodes the body of a webhook as decodeStatus does: a request ID and beside it a result as in a status
// body. The webhook of is_depressed has the field `depressed` in place of `response`. The status body of an ended job,
// which has its ID in `response`, is accepted too.
func decodeWebhook(r io.Reader, abort func(), timings Timings) (body, error) {
	return decode(context.Background(), r, timings, func(d *decoder, b *body) error {
		d.abort = abort // a client may send slowly for minutes; a poll has a timeout
		w := webhookBody{body: b}
		if err := d.object(func(name []byte) error { return d.webhookMember(name, &w) }); err != nil {
			return err
		}
		return w.conclude()
	})
}

// A webhookBody is the body of a webhook while it is read.
type webhookBody struct {
	*body
	ended   bool // it has what the webhook of an ended job has
	decides bool // and this says how the job ended

	// Of the response in it, which may be that of a status body.
	inner      body // its request ID
	innerEnded bool
}

// webhookMember reads a member of the body of a webhook.
func (d *decoder) webhookMember(name []byte, w *webhookBody) error {
	switch string(name) {
	case "request_id":
		return d.requestID(w.body)
	case "status":
		if d.is('"') {
			return d.status(w.body)
		}
	case "response":
		w.ended = true
		c, err := d.Peek()
		w.decides = w.decides || c != 'n' // null
		if err != nil || c == '{' {
			d.acc.Reset()
			return d.object(func(name []byte) error { return d.webhookResponseMember(name, w) })
		}
	case "depressed":
		w.ended, w.decides = true, true
	case "fault":
		err := d.fault(w.body)
		if w.errorCode != "" {
			w.ended, w.decides = true, true
		}
		return err
	}
	return d.Skip()
}

// webhookResponseMember reads a member of the response in a webhook: of a result, or of the response in a status body.
func (d *decoder) webhookResponseMember(name []byte, w *webhookBody) error {
	switch string(name) {
	case "request_id":
		return d.requestID(&w.inner)
	case "response":
		w.innerEnded = true
		return d.result(w.body)
	case "fault":
		err := d.fault(w.body)
		w.innerEnded = w.innerEnded || w.errorCode != ""
		return err
	}
	return d.resultMember(name, w.body)
}

// conclude decides how the job ended, or that the body is not a webhook about the end of a job.
func (w *webhookBody) conclude() error {
	if w.requestID == "" {
		w.requestID, w.ended = w.inner.requestID, w.innerEnded || w.state != Unknown
	}
	switch {
	case !w.ended || w.requestID == "":
		return errNoWebhook
	case w.state == Running:
		return errors.New("the job has not ended")
	case w.state == Unknown && w.hasStatus && !w.decides:
		return errors.New("the state is unknown, and there is no result")
	case w.state == Unknown:
		w.state = Completed
	}
	return nil
}

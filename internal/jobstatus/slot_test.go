package jobstatus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// A trickle is a document that comes in parts, with a pause before each. A negative pause: it stops for good after half
// of it, until it is closed.
type trickle struct {
	*bytes.Reader
	size   int // of a part
	pause  time.Duration
	closed chan struct{}
	close  func()
}

func newTrickle(doc []byte, size int, pause time.Duration) *trickle {
	closed := make(chan struct{})
	return &trickle{bytes.NewReader(doc), size, pause, closed, sync.OnceFunc(func() { close(closed) })}
}

func (r *trickle) Read(p []byte) (int, error) {
	if r.pause < 0 && r.Len() < int(r.Size())/2 {
		<-r.closed
		return 0, context.DeadlineExceeded
	}
	time.Sleep(r.pause)
	select {
	case <-r.closed:
		return 0, context.DeadlineExceeded
	default:
	}
	return r.Reader.Read(p[:min(len(p), r.size)])
}

func (r *trickle) Close() error {
	r.close()
	return nil
}

// bubble runs a test in virtual time, with the status and the webhook of a large result.
func bubble(t *testing.T, test func(t *testing.T, status, webhook []byte)) {
	of := conversation(30_000)
	status, err := json.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	webhook, err := json.Marshal(of.Response)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		defer jobstatus.RenewSlot()()
		test(t, status, webhook)
	})
}

// poll polls a job whose status comes from a reader.
func poll(t *testing.T, ctx context.Context, body io.ReadCloser) jobstatus.Answer {
	c, err := jobstatus.New(jobstatus.Config{
		URL: "http://api.invalid", Timeout: time.Minute, MaxResponseSize: 10 << 20,
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			context.AfterFunc(r.Context(), func() { body.Close() })
			return &http.Response{StatusCode: http.StatusOK, Body: body}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c.Status(ctx, key, conversation(0).Response.RequestID)
}

// A webhook with a large result that is slow, or stops for good, keeps neither a poll out, nor another webhook.
func TestSlowWebhookGivesWay(t *testing.T) {
	bubble(t, func(t *testing.T, status, webhook []byte) {
		for name, other := range map[string]func() error{
			"poll": func() error { return poll(t, t.Context(), io.NopCloser(bytes.NewReader(status))).Err },
			"webhook": func() error {
				_, err := jobstatus.ReadWebhook(bytes.NewReader(webhook), func() {}, jobstatus.NoTimings)
				return err
			},
		} {
			for kind, pause := range map[string]time.Duration{"slow": time.Second, "stopped": -1} {
				body := newTrickle(webhook, 16<<10, pause)
				ended := make(chan error)
				go func() {
					_, err := jobstatus.ReadWebhook(body, body.close, jobstatus.NoTimings)
					ended <- err
				}()
				time.Sleep(time.Minute)
				begin := time.Now()
				if err := other(); err != nil || time.Since(begin) > 5*time.Second {
					t.Errorf("%s beside a %s one: after %s: %v", name, kind, time.Since(begin), err)
				}
				body.close()
				if err := <-ended; !errors.Is(err, jobstatus.ErrBusy) {
					t.Errorf("%s beside a %s one, which ended with %v, want %v", name, kind, err, jobstatus.ErrBusy)
				}
			}
		}
	})
}

// A slow webhook that is in nobody's way is read.
func TestSlowWebhook(t *testing.T) {
	bubble(t, func(t *testing.T, _, webhook []byte) {
		got, err := jobstatus.ReadWebhook(newTrickle(webhook, 16<<10, time.Second), func() {}, jobstatus.NoTimings)
		if err != nil || got.Result.Words != 30_000 {
			t.Errorf("error %v", err)
		}
	})
}

// Who waits for the slot of large results gives up: a webhook is to be sent again, and a poll says nothing about the
// API.
func TestWaitForALargeResult(t *testing.T) {
	bubble(t, func(t *testing.T, status, webhook []byte) {
		held := newTrickle(status, 32<<10, -1)
		done := make(chan jobstatus.Answer)
		go func() { done <- poll(t, t.Context(), held) }()
		synctest.Wait() // it has the slot, and does not go on before its timeout
		begin := time.Now()
		_, err := jobstatus.ReadWebhook(bytes.NewReader(webhook), func() {}, jobstatus.NoTimings)
		if took := time.Since(begin); !errors.Is(err, jobstatus.ErrBusy) || took > 15*time.Second {
			t.Errorf("a webhook ended after %s: %v", took, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if a := poll(t, ctx, io.NopCloser(bytes.NewReader(status))); !a.Deferred || a.Outcome == jobstatus.OK {
			t.Errorf("a poll that waited: %+v", a)
		}
		if a := <-done; a.Outcome != jobstatus.Timeout || a.Deferred {
			t.Errorf("a poll whose answer stops: %+v", a)
		}
	})
}

// A poll that got its slot late has less time left than the API was promised.
func TestTimeoutAfterAWait(t *testing.T) {
	bubble(t, func(t *testing.T, status, _ []byte) {
		first := make(chan jobstatus.Answer)
		within := func(d time.Duration) *trickle { return newTrickle(status, 16<<10, d/time.Duration(len(status)>>14+1)) }
		go func() { first <- poll(t, t.Context(), within(50*time.Second)) }()
		time.Sleep(26 * time.Second) // of 50
		if a := poll(t, t.Context(), within(55*time.Second)); !a.Deferred {
			t.Errorf("it waited, and had no minute for itself: %+v", a)
		}
		if a := <-first; a.Outcome != jobstatus.OK {
			t.Errorf("the first poll: %+v", a)
		}
	})
}

// A poll whose connection breaks after it waited for its slot has failed as any other.
func TestResetAfterAWait(t *testing.T) {
	bubble(t, func(t *testing.T, status, _ []byte) {
		held := make(chan jobstatus.Answer)
		go func() { held <- poll(t, t.Context(), newTrickle(status, 32<<10, 50*time.Millisecond)) }()
		time.Sleep(2 * time.Second) // of 4
		broken := io.MultiReader(bytes.NewReader(status[:len(status)-10]), iotest.ErrReader(syscall.ECONNRESET))
		if a := poll(t, t.Context(), io.NopCloser(broken)); a.Outcome != jobstatus.Network || a.Deferred {
			t.Errorf("%+v", a)
		}
		if a := <-held; a.Outcome != jobstatus.OK {
			t.Errorf("the first poll: %+v", a)
		}
	})
}

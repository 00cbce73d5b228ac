package httpapi

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// An allowance is how long a request may wait for its client: for some time, and longer
// with each byte that the client sends or reads, so that a deadline follows progress.
type allowance struct {
	start time.Duration
	rate  float64 // bytes per second
}

func (a allowance) after(moved int64) time.Duration {
	return a.start + time.Duration(float64(moved)/a.rate*float64(time.Second))
}

// clientAllowance is what every client gets.
var clientAllowance = allowance{10 * time.Second, 16 << 10}

// An exchange is a request in a handler. It knows how long it has waited for its client:
// in reads of the body and in writes of the response.
type exchange struct {
	clients *clients
	conn    net.Conn
	control *http.ResponseController

	mu     sync.Mutex    // guards what follows
	moved  int64         // bytes read and written
	waited time.Duration // until since
	since  time.Time     // when the present read or write began; zero: none
}

type exchangeKey struct{}

// exchangeOf returns the exchange of a request; nil if it came by another server.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// waiting returns how long the exchange has waited for its client in all, and since when it
// waits now; zero: it does not.
func (x *exchange) waiting(now time.Time) (waited time.Duration, moved int64, since time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	waited = x.waited
	if !x.since.IsZero() {
		waited += now.Sub(x.since)
	}
	return waited, x.moved, x.since
}

// abort ends the present read or write with an error. It does nothing if there is none: the
// handler may have returned.
func (x *exchange) abort() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.since.IsZero() {
		past := time.Unix(1, 0)
		_ = x.control.SetReadDeadline(past)
		_ = x.control.SetWriteDeadline(past)
	}
}

// transfer reads or writes, with a deadline.
func (x *exchange) transfer(setDeadline func(time.Time) error, move func() (int, error)) (int, error) {
	x.mu.Lock()
	x.since = time.Now()
	_ = setDeadline(x.since.Add(max(clientAllowance.after(x.moved)-x.waited, 0))) // fails only if the client is gone
	x.mu.Unlock()
	x.clients.waits(x.conn, true)
	n, err := move()
	x.clients.waits(x.conn, false)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.waited += time.Since(x.since)
	x.since = time.Time{}
	x.moved += int64(n)
	return n, err
}

// A requestBody is the body of an exchange.
type requestBody struct {
	io.ReadCloser
	of *exchange
}

func (b requestBody) Read(p []byte) (int, error) {
	n, err := b.of.transfer(b.of.control.SetReadDeadline, func() (int, error) { return b.ReadCloser.Read(p) })
	if err == io.EOF {
		// Else the server would take a deadline that passes for a client that is gone.
		_ = b.of.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Close ends a read that waits for the client, from any goroutine. The server closes the body itself, which would wait
// for that read.
func (b requestBody) Close() error {
	b.of.mu.Lock()
	defer b.of.mu.Unlock()
	if b.of.since.IsZero() {
		return nil
	}
	return b.of.control.SetReadDeadline(time.Unix(1, 0))
}

// A responseWriter writes the response of an exchange.
type responseWriter struct {
	http.ResponseWriter
	of *exchange
}

// Unwrap lets an [http.ResponseController] find the writer of the server.
func (w responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// maxWrite is small, so that each write shows progress.
const maxWrite = 32 << 10

func (w responseWriter) Write(p []byte) (written int, err error) {
	for {
		chunk := p[:min(len(p), maxWrite)]
		n, err := w.of.transfer(w.of.control.SetWriteDeadline, func() (int, error) {
			return w.ResponseWriter.Write(chunk)
		})
		written += n
		if p = p[len(chunk):]; err != nil || len(p) == 0 {
			return written, err
		}
	}
}

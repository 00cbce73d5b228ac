package simulator

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
)

// Transport returns a round tripper that calls the simulator in memory,
// whatever the host of the URL: under testing/synctest, waiting for a socket
// would keep the bubble's clock from going on. Like an [http.Transport] it
// asks for gzip and unpacks it unless the request sets Accept-Encoding, and
// heeds the request's context until the body is read.
func (s *Simulator) Transport() http.RoundTripper { return transport{s} }

type transport struct{ s *Simulator }

var errClosed = errors.New("simulator: closed")

// errReset is what a socket says when the other side cuts it off.
var errReset = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}

// RoundTrip implements [http.RoundTripper].
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	s := t.s
	if err := req.Context().Err(); err != nil {
		closeRequest(req)
		return nil, err
	}
	if !s.begin() {
		closeRequest(req)
		return nil, errClosed
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	in := req.Clone(ctx)
	in.RequestURI = req.URL.RequestURI()
	in.RemoteAddr = "192.0.2.1:1234"
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	unpack := req.Header.Get("Accept-Encoding") == ""
	if unpack {
		in.Header.Set("Accept-Encoding", "gzip")
	}

	body, pipe := io.Pipe()
	w := &memoryWriter{header: make(http.Header), pipe: pipe, begun: make(chan struct{})}
	closing := context.AfterFunc(s.ctx, func() { cancel(errClosed) })
	// A pipe has no buffer: whoever stops reading would hold up the handler.
	cutOff := context.AfterFunc(ctx, func() { pipe.CloseWithError(context.Cause(ctx)) })
	failed := make(chan struct{})
	go func() {
		defer s.running.Done()
		aborted := w.run(s, in)
		cutOff()
		closing()
		closeRequest(req)
		switch {
		case !aborted:
			pipe.Close()
		case w.status == 0:
			close(failed)
		case ctx.Err() != nil:
			pipe.CloseWithError(context.Cause(ctx))
		default:
			pipe.CloseWithError(io.ErrUnexpectedEOF)
		}
		cancel(nil)
	}()

	select {
	case <-w.begun:
		return w.response(req, body, unpack), nil
	case <-failed:
	case <-req.Context().Done():
	case <-s.ctx.Done():
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if s.ctx.Err() != nil {
		return nil, errClosed
	}
	return nil, errReset
}

func closeRequest(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// memoryWriter is the response writer of a request in memory.
type memoryWriter struct {
	header http.Header
	pipe   *io.PipeWriter
	status int
	sent   http.Header   // the header when begun
	begun  chan struct{} // closed once status and sent are set
}

// run calls the handler and reports whether it aborted its answer.
func (w *memoryWriter) run(h http.Handler, r *http.Request) (aborted bool) {
	defer func() {
		if v := recover(); v == http.ErrAbortHandler {
			aborted = true
		} else if v != nil {
			panic(v)
		}
	}()
	h.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK)
	return false
}

func (w *memoryWriter) Header() http.Header { return w.header }

func (w *memoryWriter) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	w.sent = w.header.Clone()
	close(w.begun)
}

func (w *memoryWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if len(p) == 0 {
		return 0, nil
	}
	return w.pipe.Write(p)
}

// Flush implements [http.Flusher]; nothing is held back but the header.
func (w *memoryWriter) Flush() { w.WriteHeader(http.StatusOK) }

// response is what the client gets. Call it once begun.
func (w *memoryWriter) response(req *http.Request, body io.ReadCloser, unpack bool) *http.Response {
	resp := &http.Response{
		Status:        strconv.Itoa(w.status) + " " + http.StatusText(w.status),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.sent,
		Body:          body,
		ContentLength: -1,
		Request:       req,
	}
	if n, err := strconv.ParseInt(w.sent.Get("Content-Length"), 10, 64); err == nil {
		resp.ContentLength = n
	}
	if unpack && w.sent.Get("Content-Encoding") == "gzip" {
		resp.Body = &gunzip{packed: body}
		resp.Header.Del("Content-Encoding")
		resp.Header.Del("Content-Length")
		resp.ContentLength = -1
		resp.Uncompressed = true
	}
	return resp
}

// gunzip unpacks a body. It looks at it on the first read only, since
// RoundTrip returns before the body is there.
type gunzip struct {
	packed io.ReadCloser
	open   sync.Once
	z      *gzip.Reader
	err    error
}

func (g *gunzip) Read(p []byte) (int, error) {
	g.open.Do(func() { g.z, g.err = gzip.NewReader(g.packed) })
	if g.err != nil {
		return 0, g.err
	}
	return g.z.Read(p)
}

func (g *gunzip) Close() error { return g.packed.Close() }

package httpapi

import (
	"context"
	"crypto/tls"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxConnections is the maximum number of open connections of a server. Each takes some
// kilobytes and a file descriptor.
const maxConnections = 2000

// NewServer returns a server that slow, idle or malicious clients cannot occupy: every
// phase of a request has a timeout, and the number of connections is limited.
func NewServer(handler http.Handler, logger *slog.Logger) *http.Server {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(errorWriter{logger}, "", 0),
	}
	limitConnections(server, maxConnections)
	return server
}

// limitConnections has a server close, beyond the limit, the connection that has gone
// longest without being served: a slow or an idle one. A listener that stops accepting at
// the limit (netutil.LimitListener) does not do: clients that open many connections and
// send nothing would keep all others out until their headers time out, again and again.
func limitConnections(server *http.Server, limit int) {
	c := &connections{limit: limit, open: make(map[net.Conn]*connection)}
	server.ConnState = c.changed
	type key struct{}
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, key{}, conn)
	}
	next := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _ := r.Context().Value(key{}).(net.Conn)
		c.serving(conn, 1)
		// After the handler, net/http may wait for the rest of the body: a connection that
		// never sends it is closed like others.
		defer c.serving(conn, -1)
		next.ServeHTTP(w, r)
	})
}

// connections are the open connections of one server.
type connections struct {
	limit int

	mu   sync.Mutex // guards open and what is in it
	open map[net.Conn]*connection
}

type connection struct {
	serving int       // requests in handlers; HTTP/2 has several at once
	since   time.Time // when serving became 0
}

func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = &connection{since: time.Now()}
		if len(c.open) > c.limit {
			c.closeLongest()
		}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}

// closeLongest closes the connection that has gone longest without being served. There is
// one: that which has just been opened.
func (c *connections) closeLongest() {
	var longest net.Conn
	for conn, o := range c.open {
		if o.serving == 0 && (longest == nil || o.since.Before(c.open[longest].since)) {
			longest = conn
		}
	}
	delete(c.open, longest)
	if t, ok := longest.(*tls.Conn); ok {
		longest = t.NetConn() // tls.Conn.Close waits until the client takes an alert
	}
	_ = longest.Close() // the server notices it when it reads
}

// serving adds n to the requests of a connection that are in handlers.
func (c *connections) serving(conn net.Conn, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.open[conn]; o != nil { // else it was closed meanwhile
		o.serving += n
		o.since = time.Now()
	}
}

// slotTimeout is how long a request waits for a slot.
const slotTimeout = 10 * time.Second

// slots limit how many requests are read at a time: each may hold megabytes of its body.
type slots chan struct{}

// acquire waits for a slot and reports whether there was one in time; release frees it.
func (s slots) acquire(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, slotTimeout)
	defer cancel()
	select {
	case s <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s slots) release() { <-s }

// errorWriter logs the errors of a server: panics at error level, and mistakes of clients at
// debug level, because clients could fill the log with them.
type errorWriter struct{ log *slog.Logger }

func (w errorWriter) Write(p []byte) (int, error) {
	message, level := strings.TrimSpace(string(p)), slog.LevelDebug
	if strings.HasPrefix(message, "http: panic serving") || strings.HasPrefix(message, "http2: panic serving") {
		level = slog.LevelError
	}
	w.log.Log(context.Background(), level, message)
	return len(p), nil
}

package httpapi

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// clients are the open connections and the requests in handlers. Beyond a limit, the one
// that has waited longest for its client is closed: a slow or an idle one. A listener that
// stops accepting at the limit (netutil.LimitListener) does not do: clients that open many
// connections and send nothing would keep all others out.
type clients struct {
	maxConnections, maxRequests int

	mu       sync.Mutex // guards the following and the connections
	open     map[net.Conn]*connection
	requests map[*exchange]bool
}

// A connection waits for its client unless one of its requests is in a handler that does
// not.
type connection struct {
	working int       // requests in handlers that do not wait; HTTP/2 has several at once
	since   time.Time // when working became 0
}

func newClients(maxConnections, maxRequests int) *clients {
	return &clients{
		maxConnections: maxConnections, maxRequests: maxRequests,
		open: make(map[net.Conn]*connection), requests: make(map[*exchange]bool),
	}
}

// changed is a ConnState of an [http.Server].
func (c *clients) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = &connection{since: time.Now()}
		if len(c.open) > c.maxConnections {
			c.closeLongest()
		}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}

// closeLongest closes the connection that has waited longest for its client. There is one:
// that which has just been opened.
func (c *clients) closeLongest() {
	var longest net.Conn
	for conn, o := range c.open {
		if o.working == 0 && (longest == nil || o.since.Before(c.open[longest].since)) {
			longest = conn
		}
	}
	delete(c.open, longest)
	if t, ok := longest.(*tls.Conn); ok {
		longest = t.NetConn() // tls.Conn.Close waits until the client takes an alert
	}
	_ = longest.Close() // the server notices it when it reads
}

// serve has a handler serve a request, unless there are too many.
func (c *clients) serve(w http.ResponseWriter, r *http.Request, conn net.Conn, handler http.Handler) {
	x := &exchange{clients: c, conn: conn, control: http.NewResponseController(w)}
	if !c.begin(x) {
		tooMany(w, r)
		return
	}
	defer c.end(x)
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	r.Body = requestBody{r.Body, x}
	handler.ServeHTTP(responseWriter{w, x}, r)
}

// begin reports whether a request may be served. At the limit, another one must wait for
// its client, and ends.
func (c *clients) begin(x *exchange) bool {
	c.mu.Lock()
	var longest *exchange
	if len(c.requests) >= c.maxRequests {
		var begun time.Time
		for other := range c.requests {
			_, _, since := other.waiting(time.Now())
			if !since.IsZero() && (longest == nil || since.Before(begun)) {
				longest, begun = other, since
			}
		}
		if longest == nil {
			c.mu.Unlock()
			return false
		}
		delete(c.requests, longest) // so that the next one does not find it again
	}
	c.requests[x] = true
	c.work(x.conn, 1)
	c.mu.Unlock()
	if longest != nil {
		longest.abort()
	}
	return true
}

// end ends a request. What the server still does, such as waiting for the rest of the body
// or for a client to take the response, must end soon.
func (c *clients) end(x *exchange) {
	soon := time.Now().Add(clientAllowance.start)
	_ = x.control.SetReadDeadline(soon)
	_ = x.control.SetWriteDeadline(soon)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.requests, x)
	c.work(x.conn, -1)
}

// waits notes that a request of a connection begins or ends to wait for its client.
func (c *clients) waits(conn net.Conn, begins bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if begins {
		c.work(conn, -1)
	} else {
		c.work(conn, 1)
	}
}

func (c *clients) work(conn net.Conn, n int) {
	if o := c.open[conn]; o != nil { // else it was closed meanwhile
		o.working += n
		o.since = time.Now()
	}
}

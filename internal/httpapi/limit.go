package httpapi

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxConnections is how many connections a server has open. Each costs it some
// kilobytes and a file descriptor.
const maxConnections = 2000

// LimitConnections bounds the connections that a server has open, before it is
// started. Beyond the limit, the connection gives way that has waited for longest
// without a whole request: it is a slow one, or one that is kept for later. Whoever
// opens many and sends nothing keeps nobody out.
func LimitConnections(server *http.Server) { limitConnections(server, maxConnections) }

func limitConnections(server *http.Server, limit int) {
	c := &connections{limit: limit, open: make(map[net.Conn]*connection), waiting: list.New()}
	server.ConnState = c.changed
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, conn)
	}
	next := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, ok := r.Context().Value(connectionKey{}).(net.Conn); ok {
			c.begin(conn)
			defer c.end(conn)
		}
		next.ServeHTTP(w, r)
	})
}

type connectionKey struct{}

// connections are those of one server.
type connections struct {
	limit int

	mu      sync.Mutex // guards what follows
	open    map[net.Conn]*connection
	waiting *list.List // net.Conn: no request of theirs is served, the oldest first
}

type connection struct {
	requests int           // that are served: with HTTP/2, several at once
	place    *list.Element // among those that wait; nil: some are served
}

func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.open[conn]
	switch {
	case state == http.StateNew:
		c.open[conn] = &connection{place: c.waiting.PushBack(conn)}
		if len(c.open) > c.limit {
			longest := c.waiting.Front().Value.(net.Conn)
			c.leave(c.open[longest])
			under := longest
			if tls, ok := longest.(*tls.Conn); ok {
				under = tls.NetConn() // does not wait for a farewell to be taken
			}
			_ = under.Close() // its reader finds it closed, and reports that here
		}
	case o == nil: // it was closed already
	case state == http.StateIdle && o.place != nil:
		c.waiting.MoveToBack(o.place)
	case state == http.StateClosed, state == http.StateHijacked:
		c.leave(o)
		delete(c.open, conn)
	}
}

// begin notes that a whole header has come.
func (c *connections) begin(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.open[conn]; o != nil { // else it was closed meanwhile
		c.leave(o)
		o.requests++
	}
}

// end notes that a request was dealt with. Its body may still be waited for: whoever
// sends that slowly, or not at all, gives way like others.
func (c *connections) end(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.open[conn]
	if o == nil {
		return
	}
	if o.requests--; o.requests == 0 {
		o.place = c.waiting.PushBack(conn)
	}
}

func (c *connections) leave(o *connection) {
	if o.place != nil {
		c.waiting.Remove(o.place)
		o.place = nil
	}
}

// patience is how long a request waits for its turn.
const patience = 10 * time.Second

// turns let so many requests through at a time as it has room for: each may hold
// some megabytes of its body.
type turns chan struct{}

// wait says whether there was a turn within patience; it is over with done.
func (t turns) wait(ctx context.Context) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case t <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (t turns) done() { <-t }

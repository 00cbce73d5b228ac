package intake

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
	c := &connections{limit: limit, waiting: list.New(), places: make(map[net.Conn]*list.Element)}
	server.ConnState = c.changed
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, conn)
	}
	next := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, ok := r.Context().Value(connectionKey{}).(net.Conn); ok {
			c.served(conn)
		}
		next.ServeHTTP(w, r)
	})
}

type connectionKey struct{}

// connections are those of one server.
type connections struct {
	limit int

	mu      sync.Mutex // guards what follows
	open    int
	waiting *list.List // net.Conn: no request of theirs is served, the oldest first
	places  map[net.Conn]*list.Element
}

func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open++
		c.places[conn] = c.waiting.PushBack(conn)
		if c.open > c.limit {
			longest := c.waiting.Front().Value.(net.Conn)
			c.leave(longest)
			under := longest
			if tls, ok := longest.(*tls.Conn); ok {
				under = tls.NetConn() // does not wait for a farewell to be taken
			}
			_ = under.Close() // its reader finds it closed, and reports that here
		}
	case http.StateIdle:
		c.leave(conn)
		c.places[conn] = c.waiting.PushBack(conn)
	case http.StateClosed, http.StateHijacked:
		c.leave(conn)
		c.open--
	}
}

// served notes that a whole header has come.
func (c *connections) served(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave(conn)
}

func (c *connections) leave(conn net.Conn) {
	if place, waits := c.places[conn]; waits {
		c.waiting.Remove(place)
		delete(c.places, conn)
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

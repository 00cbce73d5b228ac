package collector

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
)

// A gate lets requests of an account leave only while this process certainly owns it. That is looked at last of all: a
// process may stand still at any time before.
type gate struct {
	open atomic.Pointer[func() bool] // nil: always
}

var errShut = errors.New("another replica may own the account by now")

func (g *gate) set(open func() bool) { g.open.Store(&open) }

// dialing returns a dial function for connections with the gate in their way.
func (g *gate) dialing(dial func(ctx context.Context, network, address string) (net.Conn, error)) (
	gated func(ctx context.Context, network, address string) (net.Conn, error),
) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return gatedConn{conn, g}, nil
	}
}

type gatedConn struct {
	net.Conn
	gate *gate
}

// Write implements net.Conn.
func (c gatedConn) Write(p []byte) (int, error) {
	if open := c.gate.open.Load(); open != nil && !(*open)() {
		return 0, errShut
	}
	return c.Conn.Write(p)
}

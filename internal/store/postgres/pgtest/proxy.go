//go:build linux

package pgtest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// A Proxy is a way to a server that can be cut: what was sent stays on its way.
type Proxy struct {
	listener net.Listener
	ctx      context.Context // of the test
	all      sync.WaitGroup

	mu      sync.Mutex // guards what follows
	server  string
	mended  chan struct{}
	hold    func(Message) int
	conns   map[net.Conn]bool
	count   int // of connections, also ended ones
	stuck   int
	changed chan struct{} // closed and replaced when stuck or conns change
}

// A Message is one of the protocol: a letter, the length of the rest in 4 bytes, and the rest. The first one of a
// connection has no letter, and is not shown.
type Message struct {
	FromServer bool
	Bytes      []byte
}

// NewProxy makes a way to a server, which ends with the test.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		server: s.Address(), listener: l, ctx: t.Context(), mended: make(chan struct{}), conns: make(map[net.Conn]bool),
		changed: make(chan struct{}),
	}
	close(p.mended)
	p.all.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.Mend()
		p.all.Wait()
	})
	return p
}

// URL returns the URL of a database by this way.
func (p *Proxy) URL(database string) string {
	u, err := url.Parse(database)
	if err != nil {
		panic(err)
	}
	u.Host = p.listener.Addr().String()
	return u.String()
}

// Lead makes this the way to another server, for new connections.
func (p *Proxy) Lead(to *Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = to.Address()
}

// Cut lets nothing through from now on, until Mend: connections hang, and new ones too.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.mended:
		p.mended = make(chan struct{})
	default:
	}
}

// Mend lets everything through again, first what is on its way.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = nil
	select {
	case <-p.mended:
	default:
		close(p.mended)
	}
}

// Hold cuts the way in the middle of a message: hold returns for each message how many of its bytes still pass. If that
// is less than all, the way is cut.
func (p *Proxy) Hold(hold func(Message) int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = hold
}

// Break lets clients see that their connections have ended. What they sent stays on its way.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.(*net.TCPConn).CloseWrite()
	}
}

// Wait waits until all connections have ended, at both ends.
func (p *Proxy) Wait() {
	p.wait(func() bool { return len(p.conns) == 0 })
}

// WaitConnections waits until there have been so many connections.
func (p *Proxy) WaitConnections(count int) {
	p.wait(func() bool { return p.count >= count })
}

// Connections returns how many connections there have been.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// WaitStuck waits until a message is on its way that is cut.
func (p *Proxy) WaitStuck() {
	p.wait(func() bool { return p.stuck > 0 })
}

func (p *Proxy) wait(until func() bool) {
	for {
		p.mu.Lock()
		done, changed := until(), p.changed
		p.mu.Unlock()
		if done {
			return
		}
		<-changed
	}
}

// change changes what Wait waits for.
func (p *Proxy) change(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.all.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	p.change(func() {
		p.conns[client] = true
		p.count++
	})
	defer p.change(func() { delete(p.conns, client) })
	p.pass()
	p.mu.Lock()
	address := p.server
	p.mu.Unlock()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(p.ctx, func() { _ = server.Close() })() // it may wait for a standby that has ended
	var both sync.WaitGroup
	both.Go(func() {
		_ = p.forward(server, client, false)
		_ = server.(*net.TCPConn).CloseWrite() // what was sent is executed
	})
	_ = p.forward(client, server, true)
	_, _ = io.Copy(io.Discard, server) // if the client takes nothing any more
	_ = client.Close()
	both.Wait()
}

// pass waits until the way is mended.
func (p *Proxy) pass() {
	p.mu.Lock()
	mended := p.mended
	p.mu.Unlock()
	<-mended
}

func (p *Proxy) forward(to, from net.Conn, fromServer bool) error {
	for first := !fromServer; ; first = false {
		m, err := read(from, first)
		if err != nil {
			p.pass()
			return err
		}
		p.pass()
		if passing := p.passing(Message{fromServer, m}, first); passing < len(m) {
			if _, err := to.Write(m[:passing]); err != nil {
				return err
			}
			m = m[passing:]
			p.Cut()
			p.change(func() { p.stuck++ })
			p.pass()
			p.change(func() { p.stuck-- })
		}
		if _, err := to.Write(m); err != nil {
			return err
		}
	}
}

// passing returns how many bytes of a message pass.
func (p *Proxy) passing(m Message, first bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold == nil || first {
		return len(m.Bytes)
	}
	return p.hold(m)
}

// read reads a message, which has no letter if it is the first of a connection.
func read(from io.Reader, first bool) ([]byte, error) {
	header := make([]byte, 5)
	if first {
		header = header[:4]
	}
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(header[len(header)-4:])
	m := append(header, make([]byte, length-4)...)
	_, err := io.ReadFull(from, m[len(header):])
	return m, err
}

// Package freeport finds addresses for tests that must know where a server will listen before it does.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Systems give higher ports to clients, and to listeners that leave the port open. A port between these stays free
// after it was found so, but for a test that finds the same one.
const lowest, highest = 10_000, 30_000

// Listen listens at a loopback address, which stays free after the listener is closed.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	var l net.Listener
	var err error
	for range 100 { // most are free
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(highest-lowest))); err == nil {
			return l
		}
	}
	t.Fatal(err)
	return nil
}

// Address returns a loopback address at which nobody listens.
func Address(t testing.TB) string {
	t.Helper()
	l := Listen(t)
	defer l.Close()
	return l.Addr().String()
}

//go:build e2e && linux

package replica_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/replica"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

// A cluster is some replicas on a real server, each with its own way to it.
type cluster struct {
	t   *testing.T
	url string

	mu      sync.Mutex // guards tenures
	tenures map[*postgres.Tenure]tenureOf
}

type tenureOf struct {
	node    *node
	account string
}

// A node is a replica, with somebody who commits to what it owns.
type node struct {
	*replica.Replica[*postgres.Tenure]
	proxy *pgtest.Proxy
	kill  func()
}

func (c *cluster) start(server *pgtest.Server, name string) *node {
	c.t.Helper()
	n := &node{proxy: pgtest.NewProxy(c.t, server)}
	db, err := postgres.Open(c.t.Context(), n.proxy.URL(c.url), logger(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	n.Replica = replica.New(db, replica.Options{Name: name, Lease: lease, Log: logger(c.t)})
	n.SetAccounts(five)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.Run(ctx) })
	running.Go(func() { db.Listen(ctx, n.Notified, func(string) {}) })
	running.Go(func() {
		for change := range n.Changes() {
			if change.Release {
				running.Go(func() { _ = change.Tenure.Release(ctx, change.Successor) })
				continue
			}
			c.mu.Lock()
			c.tenures[change.Tenure] = tenureOf{n, change.Account}
			c.mu.Unlock()
			running.Go(func() { work(ctx, change.Tenure) })
		}
	})
	n.kill = sync.OnceFunc(func() {
		cancel()
		c.mu.Lock()
		maps.DeleteFunc(c.tenures, func(_ *postgres.Tenure, of tenureOf) bool { return of.node == n })
		c.mu.Unlock()
		n.proxy.Break()
		running.Wait()
		_ = db.Close()
	})
	c.t.Cleanup(n.kill)
	return n
}

// work loads an account and commits to it until the tenure ends.
func work(ctx context.Context, tenure *postgres.Tenure) {
	_, err := tenure.Load(ctx)
	for n := 0; err == nil; n++ {
		select {
		case <-tenure.Done():
			return
		case <-ctx.Done():
			return
		case <-time.After(lease / 10):
		}
		total := store.Total{Name: "n", Labels: "{}", Value: jsontext.Value(fmt.Sprint(n))}
		err = tenure.Commit(&store.Batch{Totals: []store.Total{total}})
	}
}

// sizes returns how many accounts each node has. It fails the test if two own the same account.
func (c *cluster) sizes() map[*node]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	sizes := map[*node]int{}
	var valid []*postgres.Tenure
	for t, of := range c.tenures {
		if t.Valid() {
			sizes[of.node]++
			valid = append(valid, t)
		}
	}
	for i, t := range valid {
		for _, other := range valid[:i] {
			// They are asked one after another, so the first is asked again.
			account := c.tenures[t].account
			if account == c.tenures[other].account && other.Valid() && t.Valid() && other.Valid() {
				c.t.Errorf("two replicas own account %s", account)
			}
		}
	}
	return sizes
}

// owners returns the owner of each account.
func (c *cluster) owners() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	owners := map[string]string{}
	for t, of := range c.tenures {
		if t.Valid() {
			owners[of.account] = of.node.ID()
		}
	}
	return owners
}

// await waits for the sizes of nodes, largest first, and returns for how long.
func (c *cluster) await(what string, want ...int) time.Duration {
	c.t.Helper()
	began, look := time.Now(), time.NewTicker(5*time.Millisecond)
	defer look.Stop()
	for {
		sizes := slices.Sorted(maps.Values(c.sizes()))
		slices.Reverse(sizes)
		if cmp.Equal(sizes, want) {
			c.t.Logf("%s: %s", what, time.Since(began).Round(time.Millisecond))
			return time.Since(began)
		}
		if time.Since(began) > time.Minute {
			c.t.Fatalf("%s: the sizes are %v, want %v", what, sizes, want)
		}
		<-look.C
	}
}

// Replicas share five accounts on a real server, come and go, and the server does, too.
func TestPostgres(t *testing.T) {
	server := pgtest.Start(t)
	c := &cluster{t: t, url: server.URL(t), tenures: map[*postgres.Tenure]tenureOf{}}
	x := c.start(server, "x")
	c.await("alone", 5)
	y := c.start(server, "y")
	c.await("a second one joins", 3, 2)
	z := c.start(server, "z")
	c.await("a third one joins", 2, 2, 1)

	z.kill()
	c.await("one was killed", 3, 2)
	z = c.start(server, "z")
	c.await("it starts again", 2, 2, 1)

	y.proxy.Cut()
	c.await("one is cut off", 3, 2)
	y.proxy.Mend()
	c.await("it is not any more", 2, 2, 1)

	before := c.owners()
	server.Stop()
	c.await("the server is stopped")
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
	c.await("it runs again", 2, 2, 1)
	if diff := cmp.Diff(before, c.owners()); diff != "" {
		t.Errorf("accounts have moved: %s", diff)
	}

	for _, n := range []*node{z, y, x} {
		if err := n.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		switch n {
		case z:
			c.await("one leaves", 3, 2)
		case y:
			c.await("another one leaves", 5)
		}
	}
	c.await("nobody is left")
}

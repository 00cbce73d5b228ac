package replica_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/replica"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
)

var five = []string{"a", "b", "c", "d", "e"}

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// run runs a test in virtual time. Every now and then it checks that no account has two valid tenures.
func run(t *testing.T, test func(t *testing.T, d *database)) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatabase(t)
		t.Cleanup(func() { time.Sleep(2 * lease) }) // for what is still on its way
		d.every(lease/20, func() { d.owners(five) })
		test(t, d)
	})
}

// every does something again and again until the end of the test, or until it is stopped.
func (d *database) every(interval time.Duration, do func()) (stop func()) {
	ctx, cancel := context.WithCancel(d.t.Context()) // which ends before the cleanup
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(interval):
				do()
			}
		}
	}()
	return cancel
}

// await waits until something holds and returns how long that took. It fails after a time.
func await(t *testing.T, atMost time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > atMost {
			t.Fatalf("not within %s: %s", atMost, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

// owned reports whether every account has an owner.
func (d *database) owned(accounts ...string) func() bool {
	return func() bool { return d.owners(accounts)[""] == 0 }
}

// sizes returns how many accounts the replicas own, sorted.
func (d *database) sizes() []int {
	return slices.Sorted(maps.Values(d.owners(five)))
}

// three starts three replicas that share five accounts.
func (d *database) three(t *testing.T) (x, y, z *process) {
	t.Helper()
	x, y, z = d.start("x", five...), d.start("y", five...), d.start("z", five...)
	await(t, 3*lease, "shared", func() bool { return cmp.Equal(d.sizes(), []int{1, 2, 2}) })
	return x, y, z
}

// once fails the test if an account was acquired twice since a time.
func (d *database) once(t *testing.T, since time.Time) {
	t.Helper()
	seen := map[string]bool{}
	for _, m := range d.movesSince(since) {
		if seen[m.account] {
			t.Errorf("account %s moved twice: %v", m.account, d.movesSince(since))
		}
		seen[m.account] = true
	}
}

func TestAlone(t *testing.T) {
	tests := map[string]struct {
		row      *postgres.Lease
		min, max time.Duration
	}{
		"a new account at once": {nil, 0, 0},
		"a released one at once": {
			&postgres.Lease{Account: "a", Owner: "before", Released: true}, 0, 0,
		},
		"one released to a replica that is not there, at once": {
			&postgres.Lease{Account: "a", Owner: "before", Released: true, Successor: "other"}, 0, 0,
		},
		"one whose owner is gone, after its lease": {
			&postgres.Lease{Account: "a", Owner: "before"}, lease, lease,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, d *database) {
				if test.row != nil {
					d.put(*test.row)
				}
				p := d.start("alone", "a")
				took := await(t, test.max+100*time.Millisecond, "taken over", d.owned("a"))
				if took < test.min {
					t.Errorf("taken over after %s, want at least %s", took, test.min)
				}
				if o := p.Owner("a"); o.ID != p.ID() || o.URL != "http://alone" || o.Since.After(time.Now()) {
					t.Errorf("the owner is %v", o)
				}
				if err := p.Leave(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(2 * lease)
				if row := d.row("a"); !row.Released || len(d.ids()) != 0 {
					t.Errorf("after it left: %v, %v", row, d.ids())
				}
			})
		})
	}
}

// All take part at the same moment. Each account is taken over by one, which others can see by then.
func TestStartTogether(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		d.start("x", five...)
		d.start("y", five...)
		slow := d.link()
		slow.fail(hangingRenewal, 1)
		d.startOn(slow, "z", five...)
		await(t, lease/2, "all owned", d.owned(five...))
		for _, m := range d.movesSince(time.Time{}) {
			if !m.visible {
				t.Errorf("before others could see the replica: %v", m)
			}
		}
		await(t, 2*lease, "shared", func() bool { return cmp.Equal(d.sizes(), []int{1, 2, 2}) })
	})
}

// A kill leaves the accounts of one replica without an owner for a lease and a third, in the worst case. The others
// share them, and nothing else moves.
func TestKill(t *testing.T) {
	for phase := range 10 {
		run(t, func(t *testing.T, d *database) {
			x, _, _ := d.three(t)
			time.Sleep(2*lease + time.Duration(phase)*lease/30)
			killed := time.Now()
			x.kill()
			gap := await(t, lease+lease/3+100*time.Millisecond, "taken over", d.owned(five...))
			t.Logf("killed at %d/30 of a lease: %s", phase, gap)
			time.Sleep(4 * lease)
			if sizes := d.sizes(); !cmp.Equal(sizes, []int{2, 3}) {
				t.Errorf("shares %v", sizes)
			}
			for _, m := range d.movesSince(killed) {
				if m.from != x.ID() {
					t.Errorf("moved: %v", m)
				}
			}
			d.once(t, killed)
		})
	}
}

// A replica that joins gets its share within two leases.
func TestJoin(t *testing.T) {
	accounts := make([]string, 40)
	for i := range accounts {
		accounts[i] = fmt.Sprintf("account-%02d", i)
	}
	run(t, func(t *testing.T, d *database) {
		all := []*process{d.start("x", accounts...), d.start("y", accounts...)}
		time.Sleep(4 * lease)
		for _, want := range []map[int]int{{13: 2, 14: 1}, {10: 4}} {
			joined := time.Now()
			all = append(all, d.start("z", accounts...))
			for _, p := range all {
				p.busy = lease / 4
			}
			shares := func() map[int]int {
				sizes := map[int]int{}
				for _, n := range d.owners(accounts) {
					sizes[n]++
				}
				return sizes
			}
			await(t, 2*lease, "shared", func() bool { return cmp.Equal(shares(), want) })
			time.Sleep(4 * lease)
			if moves, share := len(d.movesSince(joined)), 40/len(all); moves != share {
				t.Errorf("%d accounts moved, want %d", moves, share)
			}
			d.once(t, joined)
		}
	})
}

// A replica with TakeFreeOnly takes nothing from the others. They take what it leaves.
func TestVisit(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		host := d.start("host", "a", "b", "c")
		await(t, 2*lease, "taken over", func() bool { return d.owners(five)[host.ID()] == 3 })
		guest := d.begin(d.link(), "guest", five, func(p *process) { p.TakeFreeOnly() })
		await(t, 2*lease, "it has what is free", func() bool { return d.owners(five)[guest.ID()] == 2 })
		time.Sleep(5 * lease)
		if owners := d.owners(five); owners[host.ID()] != 3 || owners[guest.ID()] != 2 {
			t.Errorf("owners %v", owners)
		}
		host.SetAccounts(five)
		if err := guest.leave(); err != nil {
			t.Error(err)
		}
		await(t, 2*lease, "the host has all", func() bool { return d.owners(five)[host.ID()] == 5 })
	})
}

// A replica that stops hands everything to the others at once. A restart under the same name is another replica.
func TestLeave(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		x, _, _ := d.three(t)
		time.Sleep(lease)
		left := time.Now()
		x.busy = 4 * lease // its requests in flight take longer than a lease: it renews for as long
		if err := x.leave(); err != nil {
			t.Fatal(err)
		}
		if len(x.asked) == 0 {
			t.Error("no release was asked for")
		}
		for account, n := range x.asked {
			if n != 1 {
				t.Errorf("the release of %s was asked for %d times", account, n)
			}
		}
		for account := range x.asked {
			if row := d.row(account); row.Successor == "" && row.Owner == x.ID() {
				t.Errorf("released to nobody in particular: %v", row)
			}
		}
		await(t, lease/3, "taken over", d.owned(five...))
		if sizes := d.sizes(); !cmp.Equal(sizes, []int{2, 3}) {
			t.Errorf("shares %v", sizes)
		}
		again := d.start("x", five...)
		if again.ID() == x.ID() {
			t.Errorf("the ID %s twice", x.ID())
		}
		time.Sleep(4 * lease)
		if sizes := d.sizes(); !cmp.Equal(sizes, []int{1, 2, 2}) {
			t.Errorf("shares %v", sizes)
		}
		for _, m := range d.movesSince(left) {
			if m.from != x.ID() && m.to != again.ID() {
				t.Errorf("moved: %v", m)
			}
		}
	})
}

// A leaving replica whose accounts nobody releases tells so.
func TestLeaveInVain(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		x := d.start("x", five...)
		await(t, lease, "taken over", d.owned(five...))
		x.busy = 20 * lease
		if err := x.leave(); err == nil {
			t.Error("no error")
		}
	})
}

// Only a replica that has an account in its configuration gets it, and gives it up when it is removed from there.
func TestConfiguration(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		x, y := d.start("x", "a", "b", "c"), d.start("y", "c", "d", "e")
		time.Sleep(4 * lease)
		for _, account := range five {
			switch owner := d.owner(account); {
			case account < "c" && owner != x.ID(), account > "c" && owner != y.ID(), owner == "":
				t.Errorf("%s is owned by %q", account, owner)
			}
		}
		x.SetAccounts([]string{"c"})
		y.SetAccounts([]string{"a", "c", "d", "e"})
		await(t, 2*lease, "moved", func() bool { return d.owner("a") == y.ID() && d.owner("b") == "" })
		if owner := y.Owner("b"); owner != (replica.Owner{}) {
			t.Errorf("an owner of an account that nobody has: %v", owner)
		}
		time.Sleep(2 * lease)
		if owners := d.owners([]string{"a", "d", "e"}); owners[y.ID()] != 3 {
			t.Errorf("owners %v", owners)
		}
	})
}

// A replica that was paused for longer than its lease does not go on. It gets its share again when it is back.
func TestPause(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		x, y := d.start("x", five...), d.start("y", five...)
		await(t, 3*lease, "shared", func() bool { return cmp.Equal(d.sizes(), []int{2, 3}) })
		time.Sleep(2 * lease)
		began := time.Now()
		x.pause(lease / 2)
		time.Sleep(2 * lease)
		if moves := d.movesSince(began); len(moves) != 0 {
			t.Errorf("after a short pause: %v", moves)
		}
		began = time.Now()
		x.pause(5 * lease)
		await(t, lease+lease/3+100*time.Millisecond, "taken over", func() bool { return d.owners(five)[y.ID()] == 5 })
		await(t, 4*lease+2*lease, "shared again", func() bool { return d.owners(five)[x.ID()] >= 2 })
		if waited := time.Since(began) - 5*lease; waited < lease {
			t.Errorf("it got its share %s after it was back: it may be paused all the time", waited)
		}
		time.Sleep(4 * lease)
		if moves := d.movesSince(began); len(moves) > 6 {
			t.Errorf("after a long pause: %v", moves)
		}
	})
}

// The monotonic clock stands still while a machine sleeps. The wall clock tells.
func TestSleepingMachine(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		x := d.start("x", five...)
		await(t, lease, "taken over", d.owned(five...))
		time.Sleep(lease)
		before := d.row("a")
		x.link.set(func(l *link) { l.slept += 2 * lease })
		if owners := d.owners(five); owners[""] != 5 {
			t.Errorf("valid after the machine slept: %v", owners)
		}
		await(t, lease/2, "taken over again", d.owned(five...))
		if after := d.row("a"); after.Number <= before.Number {
			t.Errorf("it went on from memory: %v, before %v", after, before)
		}
		// What others had not renewed while it slept says nothing.
		d.put(postgres.Lease{Account: "f", Owner: "other"})
		x.SetAccounts(append([]string{"f"}, five...))
		time.Sleep(lease - lease/10)
		x.link.set(func(l *link) { l.slept += 2 * lease })
		time.Sleep(lease / 2)
		if row := d.row("f"); row.Owner != "other" {
			t.Errorf("taken over: %v", row)
		}
		await(t, lease, "taken over", d.owned("f"))
	})
}

// While the database is gone, leases run out. When it is back, every account is where it was.
func TestOutage(t *testing.T) {
	for _, outage := range []time.Duration{lease / 2, lease + lease/2, 10 * lease} {
		run(t, func(t *testing.T, d *database) {
			d.three(t)
			time.Sleep(2 * lease)
			before := d.owners(five)
			began := time.Now()
			d.setDown(true)
			time.Sleep(outage)
			if owners := d.owners(five); outage > lease && owners[""] != 5 {
				t.Errorf("valid after an outage of %s: %v", outage, owners)
			}
			d.setDown(false)
			await(t, lease/2, "taken over", d.owned(five...))
			time.Sleep(4 * lease)
			if after := d.owners(five); !cmp.Equal(before, after) {
				t.Errorf("before the outage %v, after it %v", before, after)
			}
			for _, m := range d.movesSince(began) {
				if m.from != m.to {
					t.Errorf("moved: %v", m)
				}
			}
		})
	}
}

// An asynchronous standby goes back to an earlier owner. What the later one has is lost, and it takes over again.
func TestAsynchronousFailover(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		x, y := d.start("x", five...), d.start("y", five...)
		await(t, 3*lease, "shared", func() bool { return cmp.Equal(d.sizes(), []int{2, 3}) })
		time.Sleep(lease)
		d.replicate()
		x.kill()
		await(t, 2*lease, "taken over", d.owned(five...))
		time.Sleep(2 * lease)
		failed := time.Now()
		d.failover()
		await(t, lease/3+100*time.Millisecond, "noticed", func() bool { return d.owners(five)[y.ID()] < 5 })
		await(t, lease+lease/3, "taken over again", d.owned(five...))
		for _, m := range d.movesSince(failed) {
			if m.from != x.ID() {
				t.Errorf("moved: %v", m)
			}
		}
		d.once(t, failed)
	})
}

// A look that fails, or that takes too long, begins the wait again.
func TestFailedLook(t *testing.T) {
	tests := map[string]struct{ min, max time.Duration }{
		failedLook:  {lease, lease + lease/2},
		hangingLook: {lease + lease/2, lease + lease*2/3 + lease/2},
	}
	for fault, test := range tests {
		t.Run(fault, func(t *testing.T) {
			run(t, func(t *testing.T, d *database) {
				d.put(postgres.Lease{Account: "a", Owner: "gone"})
				x := d.start("x", "a")
				time.Sleep(lease * 3 / 4)
				x.link.fail(fault, 1)
				if took := await(t, test.max, "taken over", d.owned("a")); took < test.min {
					t.Errorf("taken over after %s, want at least %s", took, test.min)
				}
			})
		})
	}
}

// A takeover that hangs holds up neither the renewals nor the next attempt.
func TestHangingTakeOver(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		d.quiet = true // a commit renews, too
		x := d.start("x", "a")
		await(t, lease, "taken over", d.owned("a"))
		x.link.fail(hangingTakeOver, 2)
		x.SetAccounts(five)
		for range 2 * lease / (10 * time.Millisecond) {
			time.Sleep(10 * time.Millisecond)
			if d.owner("a") == "" {
				t.Fatal("a takeover that hung ended the validity of another account")
			}
		}
		await(t, 0, "all owned", d.owned(five...))
	})
}

// A look that is slow after a takeover that hung is no pause: else every wait would begin again.
func TestSlowLookAfterHangingTakeOver(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		var log bytes.Buffer
		slow := d.link()
		slow.delay = func() time.Duration { return lease * 29 / 100 }
		slow.fail(hangingTakeOver, 3)
		r := replica.New(slow, replica.Options{
			Name: "x", URL: "http://x", Lease: lease, Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		r.SetAccounts([]string{"a"})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.Run(ctx)
		}()
		time.Sleep(5 * lease)
		cancel()
		<-ended
		if text := log.String(); strings.Contains(text, "was paused") || !strings.Contains(text, "Cannot take over") {
			t.Errorf("logged:\n%s", text)
		}
	})
}

// A replica that leaves waits for what is under way: it releases what it has just taken over, and no late renewal
// brings its row back.
func TestLeaveAtAnyTime(t *testing.T) {
	for phase := range 40 {
		run(t, func(t *testing.T, d *database) {
			slow := d.link()
			slow.delay = func() time.Duration { return lease / 10 }
			x := d.startOn(slow, "x", "a")
			time.Sleep(time.Duration(phase) * lease / 20)
			if err := x.leave(); err != nil {
				t.Fatal(err)
			}
			if row := d.row("a"); row.Number > 0 && !row.Released {
				t.Errorf("after it left: %v", row)
			}
			time.Sleep(lease)
			if ids := d.ids(); len(ids) > 0 {
				t.Errorf("replicas after it left: %v", ids)
			}
		})
	}
}

// What a replica hears of lets it look at once, unless it owns the account.
func TestNotified(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		d.put(postgres.Lease{Account: "a", Owner: "other"})
		d.put(postgres.Lease{Account: "c", Owner: "other"})
		d.puppet(postgres.Member{ID: "other", Accounts: []string{"a", "c"}})
		x := d.start("x", "a", "b")
		looks := func() (n int) {
			x.link.set(func(l *link) { n = l.looks })
			return n
		}
		time.Sleep(4*lease + lease/20)
		d.put(postgres.Lease{Account: "a", Owner: "other", Released: true, Successor: x.ID()})
		x.Notified("a")
		await(t, lease/10+100*time.Millisecond, "taken over", d.owned("a"))
		time.Sleep(lease / 2)
		before := looks()
		for range 100 {
			x.Notified("a")
			time.Sleep(lease / 100)
		}
		if n := looks() - before; n > 3 {
			t.Errorf("%d looks within a lease for an account of its own", n)
		}
		before = looks()
		for range 100 {
			x.Notified("c")
			time.Sleep(lease / 100)
		}
		if n := looks() - before; n < 8 || n > 11 {
			t.Errorf("%d looks within a lease for an account of others", n)
		}
	})
}

// A renewal that hangs costs nothing, since the next one is sent. If all hang, the lease runs out.
func TestHangingRenewal(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		d.quiet = true // a commit renews, too
		x := d.start("x", "a")
		await(t, lease, "taken over", d.owned("a"))
		for range 5 {
			x.link.fail(hangingRenewal, 1)
			for range 200 {
				time.Sleep(lease / 100)
				if d.owner("a") == "" {
					t.Fatal("a renewal that hung ended the validity")
				}
			}
		}
		x.link.set(func(l *link) { l.cut = true })
		time.Sleep(lease)
		if d.owner("a") != "" {
			t.Error("valid without renewals")
		}
	})
}

// Nothing of a reader who does not read holds up the renewals.
func TestSlowReader(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		x := &process{link: d.link()}
		x.Replica = replica.New(x.link, replica.Options{Name: "x", Lease: lease, Log: logger(t)})
		x.SetAccounts(five)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); x.Run(ctx) }()
		time.Sleep(10 * lease)
		if owners := d.owners(five); owners[x.ID()] != 5 {
			t.Errorf("owners: %v", owners)
		}
		x.SetAccounts([]string{"a"})
		time.Sleep(lease)
		var got []string
		for range 9 {
			c := <-x.Changes()
			got = append(got, fmt.Sprint(c.Account, c.Release))
		}
		slices.Sort(got)
		want := []string{"afalse", "bfalse", "btrue", "cfalse", "ctrue", "dfalse", "dtrue", "efalse", "etrue"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		cancel()
		<-ended
		if _, open := <-x.Changes(); open {
			t.Error("changes after the end")
		}
	})
}

// After a commit of unknown outcome, the same replica takes over again, at once and with a new number.
func TestUnknownOutcome(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		d.start("x", "a")
		d.start("y", "a")
		await(t, lease, "taken over", d.owned("a"))
		time.Sleep(lease + lease/7)
		before, owner := d.row("a"), d.owner("a")
		d.mu.Lock()
		lost := d.tenures[len(d.tenures)-1]
		d.mu.Unlock()
		lost.die()
		await(t, lease/9, "taken over again", d.owned("a"))
		if after := d.row("a"); after.Owner != owner || after.Number != before.Number+1 {
			t.Errorf("before %v, after %v", before, after)
		}
	})
}

// A released account is for its successor alone for one lease, unless that one is gone.
func TestSuccessor(t *testing.T) {
	tests := map[string]struct {
		successor string
		min, max  time.Duration
	}{
		"itself":                    {"x", 0, lease / 3},
		"another that does nothing": {"alive", lease, lease + lease/3},
		"another that is gone":      {"gone", 0, lease / 3},
		"any, and it has fewer":     {"", 0, lease / 3},
		"none, but the owner that does not renew it lives": {"stuck", 2*lease - lease/3, 2*lease + lease/3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, d *database) {
				d.puppet(postgres.Member{ID: "alive", Accounts: []string{"a", "b", "c"}})
				gone := d.puppet(postgres.Member{ID: "gone", Accounts: []string{"a"}})
				d.put(postgres.Lease{Account: "a", Owner: "alive"})
				d.put(postgres.Lease{Account: "b", Owner: "alive"})
				d.put(postgres.Lease{Account: "c", Owner: "alive"})
				x := d.start("x", "a")
				time.Sleep(lease)
				gone()
				time.Sleep(2 * lease)
				switch test.successor {
				case "x":
					test.successor = x.ID()
					fallthrough
				default:
					d.put(postgres.Lease{Account: "a", Owner: "alive", Released: true, Successor: test.successor})
				case "stuck":
					d.mu.Lock()
					d.stuck = "a"
					d.mu.Unlock()
				}
				took := await(t, test.max+100*time.Millisecond, "taken over", d.owned("a"))
				if took < test.min {
					t.Errorf("taken over after %s, want at least %s", took, test.min)
				}
			})
		})
	}
}

// puppet adds a replica that renews what it owns, and does nothing else until it is stopped.
func (d *database) puppet(m postgres.Member) (stop func()) {
	d.beat(m)
	return d.every(lease/3, func() { d.beat(m) })
}

// If a release does not get through, the replica takes the account over again, and tries again later.
func TestReleaseFails(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		x := d.start("x", five...)
		time.Sleep(lease)
		x.link.fail(failedRelease, 2)
		d.start("y", five...)
		await(t, 2*lease, "handing over", func() bool { return !d.owned(five...)() })
		released := time.Now()
		took := await(t, 2*lease, "all owned", d.owned(five...))
		if took < lease-lease/3 {
			t.Errorf("taken over after %s, but the release could have been on its way", took)
		}
		if moves := d.movesSince(released); moves[0].to != x.ID() || moves[1].to != x.ID() {
			t.Errorf("moved: %v", moves)
		}
		await(t, lease, "shared", func() bool { return cmp.Equal(d.sizes(), []int{2, 3}) })
	})
}

// Who has just started does not hold up a takeover: it has yet to wait for the lease, and may be restarting all the
// time.
func TestRestartAfterKill(t *testing.T) {
	for phase := range 10 {
		run(t, func(t *testing.T, d *database) {
			x, _, _ := d.three(t)
			time.Sleep(2 * lease)
			x.kill()
			killed := time.Now()
			time.Sleep(time.Duration(phase) * lease / 10)
			d.start("x", five...)
			await(t, 2*lease, "taken over", d.owned(five...))
			if gap := time.Since(killed); gap > lease+lease/3+100*time.Millisecond {
				t.Errorf("restarted after %d/10 of a lease: no owner for %s", phase, gap)
			}
			await(t, 3*lease, "shared", func() bool { return cmp.Equal(d.sizes(), []int{1, 2, 2}) })
		})
	}
}

// What one replica takes of the accounts that are free, beside others that do nothing.
func TestDistribution(t *testing.T) {
	type puppet struct {
		accounts []string // of its configuration
		owns     []string
		leaving  bool
	}
	tests := map[string]struct {
		puppets  map[string]puppet
		free     []string
		accounts []string // of its configuration
		first    []string // takes at once
		then     []string // takes when the others have not
		gives    int
	}{
		"nobody else": {free: five, accounts: five, first: five},
		"half, as another one lives": {
			puppets: map[string]puppet{"m": {accounts: five}}, free: five, accounts: five,
			first: []string{"b", "d"}, then: []string{"a", "c", "e"},
		},
		"all, as the other one has many": {
			puppets: map[string]puppet{"m": {accounts: []string{"a", "b", "v", "w"}, owns: []string{"v", "w"}}},
			free:    []string{"a", "b"}, accounts: []string{"a", "b"}, first: []string{"a", "b"},
		},
		"what the others do not have in their configuration": {
			puppets: map[string]puppet{"m": {accounts: []string{"a", "b"}}},
			free:    five, accounts: five, first: []string{"c", "d", "e"}, then: []string{"a", "b"},
		},
		"all, as the other one leaves": {
			puppets: map[string]puppet{"m": {accounts: five, leaving: true}}, free: five, accounts: five, first: five,
		},
		"nothing that it does not have itself": {
			puppets: map[string]puppet{"m": {accounts: five}}, free: five, accounts: []string{"b"},
			first: []string{"b"},
		},
		"it hands over half to one that has nothing": {
			free: five, accounts: five, first: five, gives: 2,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, d *database) {
				for id, p := range test.puppets {
					for _, account := range p.owns {
						d.put(postgres.Lease{Account: account, Owner: id})
					}
					d.puppet(postgres.Member{ID: id, Accounts: p.accounts, Leaving: p.leaving})
				}
				for _, account := range test.free {
					d.put(postgres.Lease{Account: account, Owner: "gone", Released: true})
				}
				x := d.start("x", test.accounts...)
				mine := func() (accounts []string) {
					for _, account := range five {
						if d.row(account).Owner == x.ID() {
							accounts = append(accounts, account)
						}
					}
					return accounts
				}
				time.Sleep(lease / 2)
				if diff := cmp.Diff(test.first, mine()); diff != "" {
					t.Errorf("at once: %s", diff)
				}
				if test.gives > 0 {
					joined := time.Now()
					d.puppet(postgres.Member{ID: "joins", Accounts: five})
					await(t, 2*lease, "handed over", func() bool {
						given := 0
						for _, account := range five {
							if row := d.row(account); row.Released && row.Successor == "joins" {
								given++
							}
						}
						return given == test.gives
					})
					if waited := time.Since(joined); waited < lease {
						t.Errorf("handed over after %s to one that may be restarting all the time", waited)
					}
				} else {
					time.Sleep(lease)
					want := slices.Sorted(slices.Values(append(test.first, test.then...)))
					if diff := cmp.Diff(want, mine()); diff != "" {
						t.Errorf("a lease later: %s", diff)
					}
				}
			})
		})
	}
}

// The row of a replica that is gone is deleted. That of a paused one comes back.
func TestGoneMembers(t *testing.T) {
	run(t, func(t *testing.T, d *database) {
		x, y, z := d.three(t)
		x.kill()
		y.pause(5 * lease)
		time.Sleep(lease / 2)
		if ids := d.ids(); len(ids) != 3 {
			t.Errorf("after half a lease: %v", ids)
		}
		time.Sleep(lease)
		if diff := cmp.Diff([]string{z.ID()}, d.ids()); diff != "" {
			t.Errorf("after one and a half: %s", diff)
		}
		time.Sleep(8 * lease)
		if sizes := d.sizes(); !cmp.Equal(sizes, []int{2, 3}) {
			t.Errorf("shares %v of %v", sizes, d.ids())
		}
	})
}

func (d *database) ids() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.members))
}

// Everything happens at random. At no moment are two tenures of an account valid, unless an asynchronous standby
// has taken over within a lease. When it is quiet, each account has an owner soon, and the shares are even.
func TestStorm(t *testing.T) {
	for seed := range uint64(longtest.Size(5, 1000)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { run(t, func(t *testing.T, d *database) { storm(t, d, seed) }) })
	}
}

func storm(t *testing.T, d *database, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	part := func(of time.Duration) time.Duration { return time.Duration(random.Int64N(int64(of))) }
	start := func(i int) *process {
		l := d.link()
		r := rand.New(rand.NewPCG(random.Uint64(), 1))
		l.delay = func() time.Duration { // mostly fast, sometimes slow; called with the lock of the link
			if r.IntN(20) == 0 {
				return time.Duration(r.Int64N(int64(lease)))
			}
			return time.Duration(r.Int64N(int64(lease / 100)))
		}
		return d.startOn(l, fmt.Sprint("r", i), five...)
	}
	all := []*process{start(0), start(1), start(2)}
	for range 40 {
		i := random.IntN(len(all))
		p := all[i]
		switch random.IntN(8) {
		case 0, 1:
			p.kill()
			time.Sleep(part(2 * lease))
			all[i] = start(i)
		case 2:
			p.pause(part(3 * lease))
		case 3:
			p.link.set(func(l *link) { l.cut = true })
			time.Sleep(part(3 * lease))
			p.link.set(func(l *link) { l.cut = false })
		case 4:
			d.setDown(true)
			time.Sleep(part(3 * lease))
			d.setDown(false)
		case 5:
			faults := []string{hangingRenewal, hangingLook, hangingTakeOver, failedLook, failedRelease}
			p.link.fail(faults[random.IntN(len(faults))], 1+random.IntN(3))
		case 6:
			_ = p.leave() // it may be paused, or cut off: then its leases run out
			all[i] = start(i)
		case 7: // nothing
		}
		time.Sleep(part(2 * lease))
	}
	for _, p := range all {
		p.link.set(func(l *link) { l.delay = func() time.Duration { return 10 * time.Millisecond } })
	}
	await(t, 6*lease, "all owned", d.owned(five...))
	time.Sleep(12 * lease)
	if sizes := d.sizes(); !cmp.Equal(sizes, []int{1, 2, 2}) {
		t.Errorf("shares %v: %v", sizes, d.owners(five))
	}
	quiet := time.Now()
	time.Sleep(10 * lease)
	if moves := d.movesSince(quiet); len(moves) > 0 {
		t.Errorf("moved without a reason: %v", moves)
	}
}

package main

import "fmt"

// The model of the agreement on the length of a lease: two replicas with different ones, and the row of one account.
// Whoever starts with another length than the agreed one looks whether replicas run, withdraws it if none does, waits,
// and lets its own be the agreed one.
// Any time may pass between any two steps: a replica that does nothing for a while
// stands still, or is cut off. There is no last tick: times are ages that stop at the longer lease.
type agreement struct {
	looks      bool // whoever withdraws a length first looks, for one lease, whether replicas run
	waits      bool // and waits for one more before another length is agreed on
	takesOnly  bool // only takeovers need the length to be agreed on, not renewals
	checksOnce bool // no statement needs that: a replica looks when it starts only
	faults     uint8
}

// leaseOf is the length of each replica's lease.
var leaseOf = [2]uint8{3, 2}

type agreementPhase uint8

const (
	stopped agreementPhase = iota
	lookingForOthers
	waitingForLeases
	running
)

type agreementReplica struct {
	phase   agreementPhase
	other   uint8 // the length that was agreed on: an index of leaseOf
	age     uint8 // of the phase, or since the row is as it was seen
	current bool  // nobody has renewed since: nothing while it looks for others, not the row while it runs
	owns    bool
	own     bool  // the row says so, too
	left    uint8 // ticks of validity
	sent    bool  // a renewal is on its way
	sentAge uint8
	beaten  bool  // it has renewed since the last tick
	steady  uint8 // ticks in a row in which it has
}

type agreementState struct {
	agreed    uint8 // an index of leaseOf
	withdrawn bool  // nobody may renew or take over until a length is agreed on again
	owned     bool  // the account has had an owner
	faults    uint8
	disturbed bool // the length was withdrawn under a replica that renews steadily
	replicas  [2]agreementReplica
}

func (c *agreement) agrees(s *agreementState, i int) bool {
	return int(s.agreed) == i && !s.withdrawn || c.checksOnce
}

// beat notes that a replica has renewed: who looks for others sees that it runs.
func (s *agreementState) beat(i int) {
	s.replicas[i].beaten = true
	if other := &s.replicas[1-i]; other.phase == lookingForOthers {
		other.current = false
	}
}

// write notes that a replica has written to the row.
func (s *agreementState) write(i int) {
	if other := &s.replicas[1-i]; other.phase == running {
		other.current = false
	}
}

func (c *agreement) next(s agreementState, emit func(string, agreementState)) {
	n := s
	for i := range n.replicas {
		r := &n.replicas[i]
		r.age, r.sentAge, r.left = min(r.age+1, leaseOf[0]), min(r.sentAge+1, leaseOf[0]), max(r.left, 1)-1
		if r.steady = min(r.steady+1, leaseOf[0]); !r.beaten {
			r.steady = 0
		}
		if r.beaten = false; !r.sent {
			r.sentAge = 0
		}
	}
	emit("time passes", n)
	for i := range s.replicas {
		c.nextOf(s, i, func(what string, change func(*agreementState, *agreementReplica)) {
			n := s
			change(&n, &n.replicas[i])
			emit(fmt.Sprintf("%c, with a lease of %d, %s", 'A'+i, leaseOf[i], what), n)
		})
	}
}

func (c *agreement) nextOf(s agreementState, i int, step func(string, func(*agreementState, *agreementReplica))) {
	r := s.replicas[i]
	to := func(what string, phase agreementPhase) {
		step(what, func(n *agreementState, r *agreementReplica) {
			*r = agreementReplica{phase: phase, other: n.agreed, current: phase == lookingForOthers}
		})
	}
	switch r.phase {
	case stopped:
		switch {
		case s.withdrawn:
			to("starts, and waits until no old lease is valid", waitingForLeases)
		case int(s.agreed) == i:
			to("starts", running)
		default:
			to("starts, and looks for replicas with another one", lookingForOthers)
		}
	case lookingForOthers:
		switch {
		case c.looks && r.age < leaseOf[r.other]:
		case c.looks && !r.current || s.agreed != r.other || s.withdrawn:
			to("is refused", stopped)
		default:
			step("withdraws the agreed lease", func(n *agreementState, r *agreementReplica) {
				other := n.replicas[1-i]
				n.disturbed = other.phase == running && other.steady >= leaseOf[1-i]
				n.withdrawn = true
				*r = agreementReplica{phase: waitingForLeases, other: r.other}
			})
		}
	case waitingForLeases:
		switch {
		case c.waits && r.age < leaseOf[r.other]:
		case s.agreed != r.other || !s.withdrawn:
			to("finds that another one was agreed on", stopped)
		default:
			step("agrees on its lease, and begins", func(n *agreementState, r *agreementReplica) {
				n.agreed, n.withdrawn = uint8(i), false
				*r = agreementReplica{phase: running}
			})
		}
	case running:
		c.nextRunning(s, i, step)
	}
	if r.phase != stopped && s.faults < c.faults {
		step("is killed", func(n *agreementState, r *agreementReplica) {
			n.faults++
			*r = agreementReplica{}
		})
	}
}

func (c *agreement) nextRunning(s agreementState, i int, step func(string, func(*agreementState, *agreementReplica))) {
	r := s.replicas[i]
	switch {
	case r.owns && !r.sent && r.left > 0:
		step("sends a renewal or commit", func(_ *agreementState, r *agreementReplica) { r.sent, r.sentAge = true, 0 })
	case r.owns && r.left == 0:
		step("lets go, its lease has run out", func(_ *agreementState, r *agreementReplica) {
			*r = agreementReplica{phase: running}
		})
	case !r.owns:
		step("renews, and owns nothing", func(n *agreementState, _ *agreementReplica) { n.beat(i) })
		if !r.current {
			step("looks", func(_ *agreementState, r *agreementReplica) { r.current, r.age = true, 0 })
		}
		if (!s.owned || r.current && r.age >= leaseOf[i]) && c.agrees(&s, i) {
			step("takes over", func(n *agreementState, r *agreementReplica) {
				n.write(i)
				n.owned = true
				n.replicas[1-i].own = false
				r.owns, r.own, r.left, r.current, r.age = true, true, leaseOf[i], false, 0
			})
		}
	}
	if !r.sent {
		return
	}
	for _, commits := range []bool{false, true} {
		step(fmt.Sprintf("renews (by a commit: %t), and learns it", commits),
			func(n *agreementState, r *agreementReplica) {
				if !r.own || !c.agrees(n, i) && !c.takesOnly {
					*r = agreementReplica{phase: running}
					return
				}
				n.write(i)
				if !commits {
					n.beat(i)
				}
				r.left = max(r.left, leaseOf[i]-min(r.sentAge, leaseOf[i]))
				r.sent, r.sentAge = false, 0
			})
	}
}

func (c *agreement) violation(s agreementState) string {
	switch a, b := s.replicas[0], s.replicas[1]; {
	case a.left > 0 && b.left > 0:
		return "I5: two replicas show the account"
	case s.disturbed:
		return "I10: the length of the lease is withdrawn under a replica that renews"
	}
	return ""
}

func agreementVariants() (all []variant) {
	add := func(name, breaks string, change func(*agreement)) {
		c := &agreement{looks: true, waits: true, faults: 1}
		change(c)
		all = append(all, variant{name: name, breaks: breaks, explore: func() result {
			return explore(agreementState{}, c.next, c.violation)
		}})
	}
	add("G0 agreement on the length of a lease", "", func(*agreement) {})
	add("G1 a replica does not look for others that run", "I10", func(c *agreement) { c.looks = false })
	add("G2 a replica looks whether the length is agreed on when it starts only", "I5", func(c *agreement) {
		c.checksOnce = true
	})
	add("G3 takeovers look, renewals do not", "I5", func(c *agreement) { c.takesOnly = true })
	add("G4 another length is agreed on at once after one was withdrawn", "I5", func(c *agreement) { c.waits = false })
	return all
}

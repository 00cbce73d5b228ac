package main

import "fmt"

// The model of distribution: three replicas that act promptly, and one account. Each replica that runs renews, looks
// and decides every third of a lease, one after another in any order that stays. Some events happen at any time.
type distribution struct {
	forgets bool // a look that fails begins the wait again
	prefers bool // a free account goes to the replica that had it, if that lives; at once if that let it go itself
	waits   bool // others leave a released account to its successor for a lease
	settled bool // a free account goes to a replica that has been alive for a lease, if there is one
	event   distributionEvent
	events  uint8
}

type distributionEvent uint8

const (
	outage         distributionEvent = iota // the database is gone, and comes back
	ownerDie                                // the owner is killed
	handOver                                // the owner releases the account to replica C
	handOverToDead                          // the same, and C is killed before it takes over
	ownerRestart                            // the owner is killed, and starts again at any time: it is a new replica
)

const (
	distributed = 3
	// leasePhases is how often a replica acts in a lease.
	leasePhases = 3
	noReplica   = distributed
	goneReplica = distributed + 1 // one that was killed, and started again
)

type distributionReplica struct {
	dead    bool
	owns    bool
	left    uint8 // thirds of a lease for which its tenure is valid
	current bool  // the row is as it was seen
	age     uint8 // for how long
	beats   [distributed]uint8
	alive   [distributed]uint8 // for how long each has been seen to be alive; of itself: since its first look
}

type distributionState struct {
	owner    uint8 // in the row
	released bool
	to       uint8
	down     bool
	events   uint8
	order    [distributed]uint8 // in which the replicas act
	acted    uint8              // in this third of a lease
	started  bool               // the account has had an owner
	unowned  uint8              // thirds of a lease
	moves    uint8              // takeovers by others than the owner since the event
	wrong    bool               // one by another than it should be
	replicas [distributed]distributionReplica
}

func (c *distribution) next(s distributionState, emit func(string, distributionState)) {
	if s.order == [distributed]uint8{} {
		for _, order := range [][distributed]uint8{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
			n := s
			n.order = order
			emit(fmt.Sprintf("the replicas act in the order %v", order), n)
		}
		return
	}
	n := s
	if s.acted == distributed {
		c.tick(&n)
		emit("a third of a lease passes", n)
	} else {
		i := s.order[s.acted]
		n.acted++
		what := "is not there"
		if !s.replicas[i].dead {
			what = c.act(&n, int(i))
		}
		emit(fmt.Sprintf("%c %s", 'A'+i, what), n)
	}
	c.happen(s, emit)
}

func (c *distribution) tick(s *distributionState) {
	s.acted = 0
	if !s.down {
		s.unowned++
	}
	for i := range s.replicas {
		r := &s.replicas[i]
		r.age = min(r.age+1, 2*leasePhases)
		for k := range r.beats {
			r.beats[k] = min(r.beats[k]+1, leasePhases)
			if c.event == ownerRestart {
				r.alive[k] = min(r.alive[k]+1, leasePhases)
			}
		}
		r.left = max(r.left, 1) - 1
	}
}

func (c *distribution) happen(s distributionState, emit func(string, distributionState)) {
	if s.down {
		n := s
		n.down, n.unowned = false, 0
		emit("the database is back", n)
		return
	}
	for i := range s.replicas {
		if c.event == ownerRestart && s.replicas[i].dead {
			n := s
			n.replicas[i] = distributionReplica{}
			for k := range s.replicas {
				if s.replicas[k].dead {
					n.replicas[i].beats[k] = leasePhases
				}
			}
			emit(fmt.Sprintf("%c starts again", 'A'+i), n)
		}
	}
	if s.events == c.events || !s.started || s.owner >= noReplica || !s.replicas[s.owner].owns {
		return
	}
	n := s
	n.events++
	n.moves = 0
	owner := &n.replicas[s.owner]
	switch c.event {
	case outage:
		n.down = true
		emit("the database is gone", n)
	case ownerRestart:
		n.owner = goneReplica
		for k := range n.replicas { // nobody has seen what starts again
			n.replicas[k].beats[s.owner] = leasePhases
		}
		fallthrough
	case ownerDie:
		*owner = distributionReplica{dead: true}
		emit(fmt.Sprintf("%c is killed", 'A'+s.owner), n)
	case handOver, handOverToDead:
		if s.owner == 2 {
			return
		}
		owner.owns = false
		n.changed()
		n.released, n.to = true, 2
		emit(fmt.Sprintf("%c releases the account to C", 'A'+s.owner), n)
		if c.event == handOverToDead {
			n.replicas[2] = distributionReplica{dead: true}
			emit(fmt.Sprintf("%c releases the account to C, which is killed", 'A'+s.owner), n)
		}
	}
}

func (s *distributionState) changed() {
	for i := range s.replicas {
		s.replicas[i].current = false
	}
}

// act lets a replica renew, look and take over what it may.
func (c *distribution) act(s *distributionState, i int) string {
	r := &s.replicas[i]
	if r.owns && r.left == 0 {
		r.owns = false
	}
	if s.down {
		if c.forgets {
			r.current = false
			r.beats = [distributed]uint8{}
		}
		return "cannot reach the database"
	}
	for k := range s.replicas {
		if other := &s.replicas[k]; k != i {
			if other.beats[i] == leasePhases {
				other.alive[i] = 0
			}
			other.beats[i] = 0
		}
	}
	if r.owns {
		r.left, s.unowned = leasePhases, 0
		s.changed()
		r.current = true
		return "renews"
	}
	if !r.current {
		r.current, r.age = true, 0
	}
	if !c.mayTake(s, i) {
		return "looks"
	}
	if s.started {
		should := s.owner
		if s.released {
			should = s.to
		}
		s.moves++
		s.wrong = should != uint8(i) && should < distributed && !s.replicas[should].dead
	}
	s.changed()
	s.owner, s.released, s.to = uint8(i), false, noReplica
	r.owns, r.left, r.current, r.age = true, leasePhases, true, 0
	s.started, s.unowned = true, 0
	return "takes over"
}

// mayTake is the policy.
func (c *distribution) mayTake(s *distributionState, i int) bool {
	r := s.replicas[i]
	alive := func(k uint8) bool { return k == uint8(i) || k < distributed && r.beats[k] < leasePhases }
	after, to := uint8(leasePhases), uint8(noReplica)
	switch {
	case s.owner == noReplica:
		after = 0
	case s.released:
		after, to = 0, s.to
	case c.prefers:
		to = s.owner
		if s.owner == uint8(i) {
			after = 0
		}
	}
	if !alive(to) {
		to = noReplica
		for k := range uint8(distributed) {
			better := to == noReplica || c.settled && r.alive[k] == leasePhases && r.alive[to] < leasePhases
			if alive(k) && better {
				to = k
			}
		}
	}
	if to != uint8(i) && c.waits {
		after += leasePhases
	}
	return r.age >= after
}

func (c *distribution) violation(s distributionState) string {
	switch {
	case s.wrong:
		return "I9: the account goes to another replica than it should"
	case s.moves > 1:
		return "I9: the account moves twice"
	case s.started && s.unowned > c.longest():
		return "I6: the account has no owner for longer than it should"
	}
	return ""
}

// longest returns for how many ticks the account may have no owner.
func (c *distribution) longest() uint8 {
	switch c.event {
	case outage, handOver:
		return 2
	}
	return leasePhases + 2 // what is left of the tick in which it was renewed, the lease, and the tick of the takeover
}

func distributionVariants() (all []variant) {
	add := func(name, breaks string, change func(*distribution)) {
		c := &distribution{forgets: true, prefers: true, waits: true, settled: true, events: 1}
		change(c)
		first := distributionState{owner: noReplica, to: noReplica}
		all = append(all, variant{name: name, breaks: breaks, explore: func() result {
			return explore(first, c.next, c.violation)
		}})
	}
	add("F0 an outage of the database", "", func(c *distribution) { c.events = 2 })
	add("F1 the same, a look that fails does not begin the wait again", "I9", func(c *distribution) {
		c.forgets = false
	})
	add("F2 the same, the replica that had the account is not preferred", "I6", func(c *distribution) {
		c.prefers = false
	})
	add("F3 the owner is killed", "", func(c *distribution) { c.event, c.events = ownerDie, 2 })
	add("F4 a handover", "", func(c *distribution) { c.event = handOver })
	add("F5 the same, others do not leave the account to its successor", "I9", func(c *distribution) {
		c.event, c.waits = handOver, false
	})
	add("F6 a handover to a replica that is killed", "", func(c *distribution) { c.event = handOverToDead })
	add("F7 the owner is killed and starts again", "", func(c *distribution) {
		c.event, c.events = ownerRestart, 2
	})
	add("F8 the same, one that has just started is as good as any", "I6", func(c *distribution) {
		c.event, c.settled = ownerRestart, false
	})
	return all
}

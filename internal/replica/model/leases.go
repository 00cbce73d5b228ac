package main

import "fmt"

// The model of leases as package replica has them: two replicas and the row of one account. Looks, takeovers, renewals
// and releases are sent, executed and answered in steps of their own; answers may be lost, statements may be executed
// late, and replicas may be killed. Bounds are one statement of each kind under way for each replica, and the number of
// faults. There is no last tick: times are ages that stop at a lease, and of a row only counts whether it has changed.
type leases struct {
	faults        uint8 // kills, and statements whose answers are lost
	keeps         bool  // nobody releases the account
	validity      uint8 // ticks for which a tenure is valid
	renewals      int   // that may be under way at once
	fromSending   bool  // the wait begins when the look was sent, not when its answer came
	fromAnswer    bool  // validity begins when the answer came, not when the renewal was sent
	unconditional bool  // a takeover does not fail if the row has changed
	sameID        bool  // both replicas have the same ID
	lateStop      bool  // a replica stops to show the account when its release is answered, not before
}

// An owner is the process that a row names.
type ownerID uint8

const (
	nobody ownerID = iota
	replicaA
	replicaB
	goneProcess // one that was killed
)

type leaseRow struct {
	owner    ownerID
	released bool
	to       ownerID // the successor; nobody: any
}

type statementState uint8

const (
	noStatement statementState = iota
	onItsWay
	done // executed, and the answer is on its way
	refused
)

type leaseStatement struct {
	state statementState
	late  bool // nobody waits for the answer
	// current means that the row is still as it was seen, or that the tenure is still the one of the row.
	current bool
	age     uint8 // since it was sent
	to      ownerID
}

type leaseReplica struct {
	seen, current bool  // the row was seen, and has not changed since
	age           uint8 // since then
	owns, own     bool  // it believes to own the account; own: the row says so, too
	left          uint8 // ticks of validity
	look, take    leaseStatement
	renewal       [2]leaseStatement
	release       leaseStatement
}

type leaseState struct {
	row      leaseRow
	faults   uint8
	replicas [2]leaseReplica
}

func (s *leaseState) valid(i int) bool { return s.replicas[i].owns && s.replicas[i].left > 0 }

// changed notes that the row is not as it was, or not even of the same tenure.
func (s *leaseState) changed(tenure bool) {
	for i := range s.replicas {
		r := &s.replicas[i]
		r.current, r.look.current, r.take.current = false, false, r.take.current && r.take.state == done
		if tenure {
			r.own, r.take.current, r.release.current = false, false, false
			for k := range r.renewal {
				r.renewal[k].current = false
			}
		}
	}
}

func older(age *uint8) { *age = min(*age+1, leaseTicks) }

func (c *leases) tick(s leaseState) leaseState {
	for i := range s.replicas {
		r := &s.replicas[i]
		older(&r.age)
		older(&r.look.age)
		older(&r.take.age)
		older(&r.release.age)
		for k := range r.renewal {
			older(&r.renewal[k].age)
		}
		r.left = max(r.left, 1) - 1
	}
	return s
}

// simplify forgets what nothing depends on.
func (c *leases) simplify(s leaseState) leaseState {
	for i := range s.replicas {
		r := &s.replicas[i]
		if !r.seen || !r.current && !c.unconditional {
			r.seen, r.current, r.age = false, false, 0
		}
		if !r.owns {
			r.own, r.left = false, 0
		}
		statements := []*leaseStatement{&r.look, &r.take, &r.release}
		for k := range r.renewal {
			statements = append(statements, &r.renewal[k])
		}
		for _, m := range statements {
			stale := m.state == onItsWay && !m.current && m != &r.look && !(c.unconditional && m == &r.take)
			if stale {
				*m = leaseStatement{state: refused, late: m.late}
			}
			answered := m.state == done || m.state == refused
			switch {
			case m.late && answered:
			case m == &r.look && m.state == done && !m.current && !c.fromSending && !c.unconditional:
			case m == &r.take && m.state == refused:
			case m == &r.release && answered && !c.lateStop:
			case m.state != noStatement:
				continue
			}
			*m = leaseStatement{} // nothing follows from its answer
		}
		if !c.fromSending {
			r.look.age = 0
		}
		r.release.age = 0
	}
	return s
}

func (c *leases) next(s leaseState, emitRaw func(string, leaseState)) {
	emit := func(step string, n leaseState) { emitRaw(step, c.simplify(n)) }
	emit("time passes", c.tick(s))
	for i := range s.replicas {
		who := string(rune('A' + i))
		step := func(what string, change func(*leaseState, *leaseReplica)) {
			n := s
			change(&n, &n.replicas[i])
			emit(who+" "+what, n)
		}
		c.nextLook(s, i, step)
		c.nextTakeover(s, i, step)
		for k := range c.renewals {
			c.nextRenewal(s, i, k, step)
		}
		c.nextRelease(s, i, step)
		if s.faults == c.faults {
			continue
		}
		step("is killed and starts again", func(n *leaseState, r *leaseReplica) {
			n.faults++
			statements := *r
			*r = leaseReplica{take: statements.take, renewal: statements.renewal, release: statements.release}
			r.take.late, r.release.late = true, true
			for k := range r.renewal {
				r.renewal[k].late = true
			}
			if n.row.owner == c.id(i) {
				n.row.owner = goneProcess
			}
			if n.row.to == c.id(i) {
				n.row.to = goneProcess
			}
		})
	}
}

func (c *leases) id(i int) ownerID {
	if c.sameID {
		return replicaA
	}
	return replicaA + ownerID(i)
}

type leaseStep func(what string, change func(*leaseState, *leaseReplica))

func (c *leases) nextLook(s leaseState, i int, step leaseStep) {
	switch s.replicas[i].look.state {
	case noStatement:
		step("looks", func(_ *leaseState, r *leaseReplica) { r.look = leaseStatement{state: onItsWay, current: true} })
	case onItsWay:
		step("has its look executed", func(_ *leaseState, r *leaseReplica) {
			r.look.state, r.look.current = done, true
		})
	case done:
		step("learns what it looked at", func(_ *leaseState, r *leaseReplica) {
			if !r.seen || !r.current || !r.look.current {
				r.seen, r.current, r.age = true, r.look.current, 0
				if c.fromSending {
					r.age = r.look.age
				}
			}
			r.look = leaseStatement{}
		})
	}
}

func (c *leases) nextTakeover(s leaseState, i int, step leaseStep) {
	me := c.id(i)
	switch r := s.replicas[i]; r.take.state {
	case noStatement:
		waited := r.age >= leaseTicks
		free := waited || s.row.owner == nobody || s.row.released && (s.row.to == me || s.row.to == nobody) ||
			!s.row.released && s.row.owner == me
		if !r.owns && r.seen && free && (r.current || c.unconditional && waited) {
			step("sends a takeover", func(_ *leaseState, r *leaseReplica) {
				r.take = leaseStatement{state: onItsWay, current: r.current}
			})
		}
	case onItsWay:
		step("takes over", func(n *leaseState, r *leaseReplica) {
			if !r.take.current && !c.unconditional {
				r.take.state = refused
				return
			}
			owner := me
			if r.take.late {
				owner = goneProcess // or this one without knowing, which it may take over again at once
			}
			n.changed(true)
			n.row = leaseRow{owner: owner}
			r.take.state, r.take.current = done, true
		})
	}
	c.answer(s, s.replicas[i].take, step, "the takeover", func(r *leaseReplica) *leaseStatement { return &r.take },
		func(r *leaseReplica) {
			r.owns, r.own, r.left = true, r.take.current, c.validFor(r.take)
		})
}

// validFor returns for how many ticks a tenure is valid after the answer to a statement.
func (c *leases) validFor(m leaseStatement) uint8 {
	if c.fromAnswer {
		return c.validity
	}
	return c.validity - min(m.age, c.validity)
}

func (c *leases) nextRenewal(s leaseState, i, k int, step leaseStep) {
	switch r := s.replicas[i]; {
	case r.renewal[k].state == noStatement && r.owns && (k == 0 || r.renewal[0].state != noStatement):
		step("sends a renewal", func(_ *leaseState, r *leaseReplica) {
			r.renewal[k] = leaseStatement{state: onItsWay, current: r.own}
		})
	case r.renewal[k].state == onItsWay:
		step("renews", func(n *leaseState, r *leaseReplica) {
			if !r.renewal[k].current {
				r.renewal[k].state = refused
				return
			}
			n.changed(false)
			r.renewal[k].state = done
		})
	}
	c.answer(s, s.replicas[i].renewal[k], step, "the renewal",
		func(r *leaseReplica) *leaseStatement { return &r.renewal[k] },
		func(r *leaseReplica) {
			if r.owns && r.renewal[k].state == done {
				r.left = max(r.left, c.validFor(r.renewal[k]))
			} else {
				r.owns = false
			}
		})
	if r := s.replicas[i]; k == 0 && r.owns && r.left == 0 {
		step("lets go, its lease has run out", func(_ *leaseState, r *leaseReplica) {
			r.owns = false
			for k := range r.renewal {
				r.renewal[k].late = true
			}
		})
	}
}

func (c *leases) nextRelease(s leaseState, i int, step leaseStep) {
	r := s.replicas[i]
	switch {
	case r.owns && r.release.state == noStatement && !c.keeps:
		for _, to := range []ownerID{nobody, c.id(1 - i)} {
			step(fmt.Sprintf("sends a release, to anybody: %t", to == nobody), func(_ *leaseState, r *leaseReplica) {
				r.release = leaseStatement{state: onItsWay, current: r.own, to: to}
				r.owns = c.lateStop
				for k := range r.renewal {
					r.renewal[k].late = true
				}
			})
		}
	case r.release.state == onItsWay:
		step("releases", func(n *leaseState, r *leaseReplica) {
			if !r.release.current {
				r.release.state = refused
				return
			}
			to := r.release.to
			n.changed(true)
			n.row.released, n.row.to = true, to
			r.release.state = done
		})
	}
	c.answer(s, r.release, step, "the release", func(r *leaseReplica) *leaseStatement { return &r.release },
		func(r *leaseReplica) { r.owns = false })
}

// answer lets the answer to a statement come, or get lost.
func (c *leases) answer(
	s leaseState, m leaseStatement, step leaseStep, what string,
	of func(*leaseReplica) *leaseStatement, change func(*leaseReplica),
) {
	if m.state == noStatement {
		return
	}
	if m.state != onItsWay {
		step("gets the answer to "+what, func(_ *leaseState, r *leaseReplica) {
			if of(r).state == done || what == "the renewal" {
				change(r)
			}
			*of(r) = leaseStatement{}
		})
	}
	switch {
	case !m.late && s.faults < c.faults:
		step("gives up "+what, func(n *leaseState, r *leaseReplica) {
			n.faults++
			of(r).late = true
		})
	case m.late:
		step("loses "+what, func(_ *leaseState, r *leaseReplica) { *of(r) = leaseStatement{} })
	}
}

func (c *leases) violation(s leaseState) string {
	if s.valid(0) && s.valid(1) {
		return "I5: two replicas show the account"
	}
	return ""
}

func leaseVariants() (all []variant) {
	add := func(name, breaks string, change func(*leases)) {
		c := &leases{faults: 1, validity: leaseTicks, renewals: 1}
		change(c)
		all = append(all, variant{name: name, breaks: breaks, explore: func() result {
			return explore(leaseState{}, c.next, c.violation)
		}})
	}
	add("E0 leases, no faults, no releases", "", func(c *leases) { c.faults, c.keeps = 0, true })
	long := func(name string, change func(*leases)) {
		add(name, "", change)
		all[len(all)-1].long = true
	}
	long("E0a no faults", func(c *leases) { c.faults = 0 })
	long("E0b one fault", func(*leases) {})
	long("E0c no faults, two renewals under way", func(c *leases) { c.faults, c.renewals = 0, 2 })
	add("E1 the wait begins when the look was sent", "I5", func(c *leases) { c.fromSending = true })
	add("E2 validity begins when the answer came", "I5", func(c *leases) { c.fromAnswer = true })
	add("E3 validity is as long as the wait and one tick", "I5", func(c *leases) { c.validity++ })
	add("E4 a takeover does not look whether the row has changed", "I5", func(c *leases) { c.unconditional = true })
	add("E5 two replicas have the same ID", "I5", func(c *leases) { c.sameID = true })
	add("E6 handover: shows until the release is answered", "I5", func(c *leases) { c.lateStop = true })
	return all
}

package main

import "fmt"

// The model of ownership: two replicas, one account, its lease with a number and a token, commits of ends of jobs with
// a total, renewals, unknown outcomes, scrapes, failovers and handovers. Each step of a replica, of the network and of
// the clock is a step of its own, so that any time may pass between any two steps.
type ownership struct {
	checkApart bool // the lease is read before the commit, without a lock, and not as its first part
	tokens     bool // a lease has a random token beside its number
	unknown    unknownOutcome
	async      bool // the standby may lack what was committed last
	failovers  uint8
	clockJumps bool // the clock of the new primary differs
	observe    bool // takeover when the row was unchanged for a lease by the own clock; otherwise by the database's
	sleep      bool // a machine may sleep, and its monotonic clock stands still
	unchecked  bool // the owner shows the account without looking whether its lease is still valid
	renewsOld  bool // a replica whose lease has run out renews it and goes on with what it has in memory
	handover   handoverOrder
	faults     uint8
	until      uint8 // the last tick
	invariants string
}

// An unknownOutcome is what an owner does after a commit of which it has not learnt the outcome.
type unknownOutcome uint8

const (
	takenForFailed unknownOutcome = iota
	letsGo                        // it takes over again
	numbersCommits                // a commit fails if it is not the next one; the owner loads again
)

type handoverOrder uint8

const (
	noHandover handoverOrder = iota
	stopsThenReleases
	releasesThenStops
)

const (
	leaseTicks = 3
	endingJobs = 2
	unseen     = 255
)

// A row is what the database has of the account.
type row struct {
	number, token    uint8
	expires          uint8 // by the clock of the database
	total, ends      uint8 // the counter, and the jobs whose ends are stored, a bit each
	commits, renewed uint8
}

type ownerPhase uint8

const (
	waiting ownerPhase = iota
	takingOver
	loading
	owning
)

type ownershipReplica struct {
	phase                             ownerPhase
	number, token, commits            uint8
	until                             uint8 // validity
	total, ends                       uint8
	seenToken, seenRenewed, seenSince uint8
	oldNumber, oldToken               uint8 // of the lease that has run out
}

type messageKind uint8

const (
	noMessage messageKind = iota
	renewal
	commit
	takeover
	release
)

type messageState uint8

const (
	underWay messageState = iota
	leaseRead
	succeeded
	failed
)

type message struct {
	kind                   messageKind
	state                  messageState
	number, token, commits uint8
	total, ends, sent      uint8
	gotNumber, gotToken    uint8
	seenToken, seenRenewed uint8
}

type ownershipState struct {
	now, faults, failovers, lastToken uint8
	jump                              int8 // of the database's clock
	row, standby                      row
	replicas                          [2]ownershipReplica
	messages                          [2]message
	late                              [2]message // their senders have given them up
	shown                             uint8      // the total that was scraped last
	wentBack                          bool
}

func (s *ownershipState) databaseNow() uint8 { return uint8(int8(s.now) + 4 + s.jump) } // never negative

func (c *ownership) valid(s *ownershipState, i int) bool {
	return s.replicas[i].phase == owning && (c.unchecked || s.now < s.replicas[i].until)
}

// fenced reports whether the fence lets a message through.
func (c *ownership) fenced(s *ownershipState, m *message) bool {
	return m.number == s.row.number && (!c.tokens || m.token == s.row.token)
}

// execute executes a message in the database.
func (c *ownership) execute(s ownershipState, m message, who string, emit func(string, ownershipState, message)) {
	pass := c.fenced(&s, &m)
	m.state = map[bool]messageState{true: succeeded, false: failed}[pass]
	switch m.kind {
	case renewal:
		if pass {
			s.row.expires = s.databaseNow() + leaseTicks
			s.row.renewed++
		}
		emit(who+" renews", s, m)
	case takeover:
		m.state = failed
		free := s.databaseNow() >= s.row.expires
		if c.observe {
			free = s.row.token == m.seenToken && s.row.renewed == m.seenRenewed
		}
		if free || s.row.number == 0 {
			s.row.number++
			s.lastToken++
			s.row.token, s.row.expires = s.lastToken, s.databaseNow()+leaseTicks
			s.row.renewed++
			m.state, m.gotNumber, m.gotToken = succeeded, s.row.number, s.row.token
		}
		emit(fmt.Sprintf("%s takes over: %t, number %d", who, m.state == succeeded, s.row.number), s, m)
	case release:
		if pass {
			s.row.expires = 0
		}
		m.state = failed // there is nothing to go on with
		emit(who+" releases", s, m)
	case commit:
		if c.checkApart {
			pass = true
		}
		if c.unknown == numbersCommits && m.commits != s.row.commits {
			pass = false
		}
		m.state = failed
		if pass {
			s.row.total, s.row.ends, m.state = m.total, s.row.ends|m.ends, succeeded
			s.row.commits++
			s.row.renewed++
			s.row.expires = max(s.row.expires, s.databaseNow()+leaseTicks)
		}
		emit(fmt.Sprintf("%s commits: %t, total %d, ends %02b", who, pass, s.row.total, s.row.ends), s, m)
	}
}

// deliver lets a message reach the database.
func (c *ownership) deliver(s ownershipState, m message, who string, emit func(string, ownershipState, message)) {
	if m.kind == commit && c.checkApart && m.state == underWay {
		m.state = failed
		if c.fenced(&s, &m) {
			m.state = leaseRead
		}
		emit(who+" reads the lease", s, m)
		return
	}
	c.execute(s, m, who, emit)
}

// simplify forgets what nothing depends on any more, so that states that behave alike are one.
func (c *ownership) simplify(s ownershipState) ownershipState {
	if s.databaseNow() >= s.row.expires {
		s.row.expires = 0
	}
	if !c.observe {
		s.row.renewed, s.standby.renewed = 0, 0
	}
	if c.unknown != numbersCommits {
		s.row.commits, s.standby.commits = 0, 0
	}
	if !c.async {
		s.standby = row{}
	}
	onlyRises := c.observe && !c.async // who has seen another row never sees this one again
	for i := range s.replicas {
		r := &s.replicas[i]
		if r.until <= s.now {
			r.until = 0
		}
		if !c.renewsOld {
			r.oldNumber, r.oldToken = 0, 0
			if r.phase < loading {
				r.total, r.ends, r.commits, r.number, r.token, r.until = 0, 0, 0, 0, 0, 0
			}
		}
		if c.unknown != numbersCommits {
			r.commits = 0
		}
		if !c.observe || r.phase != waiting {
			r.seenToken, r.seenRenewed, r.seenSince = 0, 0, 0
		}
		if c.observe && r.phase == waiting && (r.seenToken != s.row.token || r.seenRenewed != s.row.renewed) {
			r.seenToken, r.seenRenewed, r.seenSince = unseen, unseen, 0
		}
		for _, m := range []*message{&s.messages[i], &s.late[i]} {
			if c.unknown != numbersCommits {
				m.commits = 0
			}
			mayPass := c.async || c.fenced(&s, m) // numbers only rise, unless a failover goes back
			if m.kind != noMessage && m.state == underWay && m.kind != takeover && !mayPass {
				m.state = failed
			}
			if onlyRises && m.kind == takeover && m.state == underWay && s.row.number != 0 &&
				(m.seenToken != s.row.token || m.seenRenewed != s.row.renewed) {
				m.state = failed
			}
			if m.state == failed {
				*m = message{kind: m.kind, state: failed}
			}
			if m.sent+leaseTicks <= s.now {
				m.sent = 0
			}
		}
		if s.late[i].state >= succeeded {
			s.late[i] = message{}
		}
		s.late[i].sent = 0
		if onlyRises && r.phase == waiting && r.seenSince+leaseTicks <= s.now && r.seenToken != unseen {
			r.seenSince = 0
		}
	}
	return s
}

func (c *ownership) next(s ownershipState, emitRaw func(string, ownershipState)) {
	emit := func(step string, n ownershipState) { emitRaw(step, c.simplify(n)) }
	if s.now < c.until {
		n := s
		n.now++
		emit(fmt.Sprintf("it is %d", n.now), n)
	}
	c.nextOfServer(s, emit)
	for i := range s.replicas {
		who := string(rune('A' + i))
		if s.messages[i].kind == noMessage {
			c.nextOfReplica(s, i, who, emit)
		} else {
			c.nextOfMessage(s, i, who, emit)
		}
		if late := s.late[i]; late.kind != noMessage && late.state <= leaseRead {
			c.deliver(s, late, who, func(step string, n ownershipState, m message) {
				if m.state >= succeeded {
					m = message{}
				}
				n.late[i] = m
				emit("late: "+step, n)
			})
			n := s
			n.late[i] = message{}
			emit("a late message of "+who+" is lost", n)
		}
		if c.valid(&s, i) {
			n := s
			n.wentBack = n.wentBack || s.replicas[i].total < s.shown
			n.shown = s.replicas[i].total
			if n != s {
				emit(fmt.Sprintf("%s is scraped: total %d", who, n.shown), n)
			}
		}
		if s.faults < c.faults && s.replicas[i].phase != waiting && s.late[i].kind == noMessage {
			c.killed(s, i, who, emit)
		}
	}
}

func (c *ownership) nextOfServer(s ownershipState, emit func(string, ownershipState)) {
	if c.failovers > 0 && c.async && s.standby != s.row {
		n := s
		n.standby = s.row
		emit("the standby catches up", n)
	}
	if s.failovers == c.failovers {
		return
	}
	jumps := []int8{0}
	if c.clockJumps {
		jumps = []int8{-2, -1, 1, 2}
	}
	for _, jump := range jumps {
		n := s
		n.failovers++
		n.jump += jump
		if c.async {
			n.row = s.standby
		}
		for i := range n.messages { // what is under way is lost, answers too
			if n.messages[i].kind != noMessage {
				n = c.giveUp(n, i, true)
			}
			n.late[i] = message{}
		}
		emit(fmt.Sprintf("failover, the clock jumps by %d", jump), n)
	}
}

func (c *ownership) nextOfReplica(s ownershipState, i int, who string, emit func(string, ownershipState)) {
	r := s.replicas[i]
	send := func(step string, m message, change func(*ownershipReplica)) {
		n := s
		m.sent = s.now
		n.messages[i] = m
		if change != nil {
			change(&n.replicas[i])
		}
		emit(who+" sends "+step, n)
	}
	to := func(step string, r ownershipReplica) {
		n := s
		n.replicas[i] = r
		emit(who+" "+step, n)
	}
	switch r.phase {
	case waiting:
		seen := r.seenToken == s.row.token && r.seenRenewed == s.row.renewed
		may := s.databaseNow() >= s.row.expires
		if c.observe {
			may = seen && s.now >= r.seenSince+leaseTicks
			if !seen {
				look := r
				look.seenToken, look.seenRenewed, look.seenSince = s.row.token, s.row.renewed, s.now
				to("looks at the lease", look)
			}
		}
		if may || s.row.number == 0 {
			send("a takeover", message{kind: takeover, seenToken: r.seenToken, seenRenewed: r.seenRenewed},
				func(r *ownershipReplica) { r.phase = takingOver })
		}
		if c.renewsOld && r.oldNumber != 0 {
			send("a renewal of the lease that it had", message{kind: renewal, number: r.oldNumber, token: r.oldToken},
				func(r *ownershipReplica) { r.phase, r.number, r.token = owning, r.oldNumber, r.oldToken })
		}
	case loading: // in one look, under its own fence
		if s.row.number == r.number && (!c.tokens || s.row.token == r.token) {
			r.phase, r.total, r.ends, r.commits = owning, s.row.total, s.row.ends, s.row.commits
			to(fmt.Sprintf("loads total %d", r.total), r)
		} else {
			to("finds the lease gone", lostLease(r))
		}
	case owning:
		send("a renewal", message{kind: renewal, number: r.number, token: r.token}, nil)
		if c.handover != noHandover && s.lastToken < 4 {
			send("a release", message{kind: release, number: r.number, token: r.token}, func(r *ownershipReplica) {
				if c.handover == stopsThenReleases {
					*r = ownershipReplica{}
				}
			})
		}
		if s.now >= r.until {
			if !c.renewsOld {
				to("lets go, its lease has run out", lostLease(r))
			}
			return
		}
		for job := range uint8(endingJobs) {
			if r.ends&(1<<job) == 0 {
				send(fmt.Sprintf("a commit: job %d ends, total %d", job+1, r.total+1), message{
					kind: commit, number: r.number, token: r.token, commits: r.commits,
					total: r.total + 1, ends: 1 << job,
				}, nil)
				return
			}
		}
	}
}

func (c *ownership) nextOfMessage(s ownershipState, i int, who string, emit func(string, ownershipState)) {
	m := s.messages[i]
	if m.state <= leaseRead {
		c.deliver(s, m, who, func(step string, n ownershipState, m message) {
			n.messages[i] = m
			emit(step, n)
		})
	} else {
		n := s
		n.messages[i] = message{}
		n.replicas[i] = answered(s.replicas[i], m)
		emit(who+" gets the answer", n)
	}
	if s.faults < c.faults && s.late[i].kind == noMessage {
		n := s
		n.faults++
		emit("the connection of "+who+" breaks", c.giveUp(n, i, false))
	}
}

func (c *ownership) killed(s ownershipState, i int, who string, emit func(string, ownershipState)) {
	n := s
	n.faults++
	n.late[i] = s.messages[i]
	if n.late[i].state >= succeeded {
		n.late[i] = message{}
	}
	n.messages[i], n.replicas[i] = message{}, ownershipReplica{}
	emit(who+" is killed and starts again", n)
	if c.sleep && s.replicas[i].phase == owning {
		n := s
		n.faults++
		n.replicas[i].until += 2
		emit("the machine of "+who+" sleeps for 2 of the ticks to come, and so does its monotonic clock", n)
	}
}

// lostLease returns a replica that waits, and its memory.
func lostLease(r ownershipReplica) ownershipReplica {
	return ownershipReplica{
		oldNumber: r.number, oldToken: r.token, total: r.total, ends: r.ends, commits: r.commits,
	}
}

// giveUp is what a replica does when its connection broke.
func (c *ownership) giveUp(s ownershipState, i int, lost bool) ownershipState {
	m := s.messages[i]
	s.messages[i] = message{}
	if m.state <= leaseRead && !lost {
		s.late[i] = m
	}
	switch {
	case m.kind == takeover:
		s.replicas[i] = ownershipReplica{}
	case m.kind == commit && c.unknown == letsGo:
		s.replicas[i] = lostLease(s.replicas[i])
	case m.kind == commit && c.unknown == numbersCommits:
		s.replicas[i].phase = loading
	}
	return s
}

func answered(r ownershipReplica, m message) ownershipReplica {
	until := max(r.until, m.sent+leaseTicks)
	switch {
	case m.state == failed:
		return ownershipReplica{}
	case m.kind == renewal:
		r.until = until
	case m.kind == takeover:
		r.phase, r.number, r.token, r.until = loading, m.gotNumber, m.gotToken, m.sent+leaseTicks
	case m.kind == commit:
		r.total, r.ends, r.commits, r.until = m.total, r.ends|m.ends, r.commits+1, until
	}
	return r
}

func (c *ownership) violation(s ownershipState) string {
	ends := s.row.ends&1 + s.row.ends>>1&1
	for _, invariant := range c.invariants {
		switch {
		case invariant == '2' && s.row.total != ends:
			return fmt.Sprintf("I2: total %d, ends stored %d", s.row.total, ends)
		case invariant == '3' && s.wentBack:
			return "I3: a counter goes back"
		case invariant == '5' && c.valid(&s, 0) && c.valid(&s, 1):
			return "I5: two replicas show the account"
		case invariant == '6' && !c.settles(s, leaseTicks+2):
			return "I6: no replica owns the account in time"
		}
	}
	return ""
}

// settles reports whether there is a valid owner within some ticks once faults and pauses have ended.
func (c *ownership) settles(s ownershipState, ticks uint8) bool {
	quiet := *c
	quiet.faults, quiet.failovers, quiet.until = 0, 0, 250
	for end := s.now + ticks; s.now <= end; {
		if quiet.valid(&s, 0) || quiet.valid(&s, 1) {
			return true
		}
		// Whatever can be done is done before time passes.
		var act, wait *ownershipState
		quiet.next(s, func(_ string, n ownershipState) {
			if n.now != s.now {
				wait = &n
			} else if act == nil {
				act = &n
			}
		})
		if act == nil {
			act = wait
		}
		s = *act
	}
	return false
}

func ownershipVariants() (all []variant) {
	add := func(name, breaks string, change func(*ownership)) {
		c := &ownership{tokens: true, unknown: letsGo, faults: 1, until: 6, invariants: "235"}
		change(c)
		all = append(all, variant{name: name, breaks: breaks, explore: func() result {
			return explore(ownershipState{}, c.next, c.violation)
		}})
	}
	addLong := func(name, breaks string, change func(*ownership)) {
		add(name, breaks, change)
		all[len(all)-1].long = true
	}
	long := func(name string, change func(*ownership)) { addLong(name, "", change) }
	long("A0 fence, token, letting go after an unknown outcome", func(*ownership) {})
	long("A0b the same, 2 faults, to tick 5", func(c *ownership) { c.faults, c.until = 2, 5 })
	long("A0c the same, no faults, to tick 10", func(c *ownership) { c.faults, c.until = 0, 10 })
	long("A0d a valid owner within a lease and 2 ticks", func(c *ownership) { c.invariants = "6" })
	long("A0e the same as A0, 2 faults, to tick 7", func(c *ownership) { c.faults, c.until = 2, 7 })
	add("A0f the same, to tick 3", "", func(c *ownership) { c.until = 3 })
	add("A1 an unknown outcome is taken for a failure", "I2", func(c *ownership) { c.unknown = takenForFailed })
	long("A2 numbers of commits, loading after an unknown outcome", func(c *ownership) { c.unknown = numbersCommits })
	long("A2b the same, 2 faults", func(c *ownership) { c.unknown, c.faults = numbersCommits, 2 })
	add("A3 the lease is read before a commit, without a lock", "I5", func(c *ownership) { c.checkApart = true })
	addLong("A3b the same: totals", "I2", func(c *ownership) { c.checkApart, c.invariants = true, "2" })
	add("A4 the owner shows without looking at its validity", "I5", func(c *ownership) {
		c.unchecked, c.invariants = true, "35"
	})
	add("A5 failover, clocks jump, leases expire by the clock of the database", "I5", func(c *ownership) {
		c.failovers, c.clockJumps, c.faults = 1, true, 0
	})
	long("A6 the same, takeover by own observation", func(c *ownership) {
		c.failovers, c.clockJumps, c.faults, c.observe = 1, true, 0, true
	})
	long("A6b the same, 1 fault, to tick 5", func(c *ownership) {
		c.failovers, c.clockJumps, c.observe, c.until = 1, true, true, 5
	})
	add("A7 asynchronous failover, numbers without tokens", "I2", func(c *ownership) {
		c.failovers, c.async, c.tokens, c.faults, c.invariants = 1, true, false, 0, "2"
	})
	add("A8 asynchronous failover, numbers and tokens", "I2", func(c *ownership) {
		c.failovers, c.async, c.faults, c.invariants = 1, true, 0, "2"
	})
	long("A8b asynchronous failover, tokens and numbers of commits", func(c *ownership) {
		c.failovers, c.async, c.faults, c.unknown, c.invariants, c.until = 1, true, 0, numbersCommits, "2", 5
	})
	long("A8c asynchronous failover, numbers of commits without tokens", func(c *ownership) {
		c.failovers, c.async, c.tokens, c.faults, c.unknown = 1, true, false, 0, numbersCommits
		c.invariants, c.until = "2", 5
	})
	addLong("A9 asynchronous failover: counters", "I3", func(c *ownership) {
		c.failovers, c.async, c.faults, c.invariants = 1, true, 0, "3"
	})
	add("A9b asynchronous failover: two owners", "I5", func(c *ownership) {
		c.failovers, c.async, c.faults, c.invariants = 1, true, 0, "5"
	})
	add("A10 a machine sleeps, and validity goes by the monotonic clock alone", "I5", func(c *ownership) {
		c.sleep, c.invariants = true, "5"
	})
	add("A10b asynchronous failover, takeover by own observation: two owners", "I5", func(c *ownership) {
		c.failovers, c.async, c.faults, c.observe, c.unknown = 1, true, 0, true, numbersCommits
		c.invariants, c.until = "5", 7
	})
	add("A11 an owner renews a lease that has run out, and goes on from memory", "I2", func(c *ownership) {
		c.renewsOld = true
	})
	add("A12 the same after an asynchronous failover, numbers without tokens", "I2", func(c *ownership) {
		c.renewsOld, c.tokens, c.async, c.failovers, c.faults = true, false, true, 1, 0
		c.until, c.invariants = 7, "2"
	})
	long("A13 failover, 1 fault, numbers of commits", func(c *ownership) { c.failovers, c.unknown = 1, numbersCommits })
	long("A14 handover: stops showing, then releases", func(c *ownership) {
		c.handover, c.until = stopsThenReleases, 5
	})
	add("A15 handover: shows until the release is answered", "I5", func(c *ownership) {
		c.handover = releasesThenStops
	})
	long("A16 handover, 2 faults, to tick 4", func(c *ownership) {
		c.handover, c.faults, c.until = stopsThenReleases, 2, 4
	})
	return all
}

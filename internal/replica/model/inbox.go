package main

import "fmt"

// The model of the order in the inbox: a client registers and removes one job, each time after the answer to the time
// before, at the owner or at another replica. In the end the job must be as the client last heard.
type inboxOrder struct {
	direct bool // the owner applies what it is told itself without looking into the inbox first
	cached bool // the numbers of messages come from a cache of each session
	late   bool // a message without an answer may be stored later; the client sends it again, to another replica
}

type inboxAct uint8

const (
	registers inboxAct = iota + 1
	removes
)

func (a inboxAct) String() string {
	return [...]string{"", "the client registers", "the client removes"}[a]
}

type inboxMessage struct {
	number uint8
	act    inboxAct
}

type inboxOrderState struct {
	inbox   [5]inboxMessage
	inboxN  uint8
	numbers [2]uint8 // the last one of each session, or of both in the first
	job     inboxAct // the last one that was applied
	heard   inboxAct // the last one that was acknowledged
	left    uint8    // acts
	late    inboxAct // of a message that is on its way, and was sent again
}

func (c *inboxOrder) next(s inboxOrderState, emit func(string, inboxOrderState)) {
	for _, act := range []inboxAct{registers, removes} {
		if s.left == 0 {
			break
		}
		for replica := range s.numbers {
			n := s
			n.left--
			session, first := 0, uint8(0)
			if c.cached {
				session, first = replica, [...]uint8{10, 1}[replica]
			}
			n.numbers[session]++
			n.inbox[n.inboxN] = inboxMessage{n.numbers[session] + first, act}
			n.inboxN++
			n.heard = act
			emit(fmt.Sprintf("%s at replica %d, message %d", act, replica+1, n.inbox[s.inboxN].number), n)
			if c.late && s.late == 0 {
				n.late = act
				emit(fmt.Sprintf("%s again at replica %d, after it had no answer", act, replica+1), n)
			}
		}
		n := s
		n.left--
		for !c.direct && n.inboxN > 0 {
			n = n.receive()
		}
		n.job, n.heard = act, act
		emit(fmt.Sprint(act, " at the owner"), n)
	}
	if s.late != 0 {
		n := s
		n.numbers[0]++
		n.inbox[n.inboxN], n.late = inboxMessage{n.numbers[0], s.late}, 0
		n.inboxN++
		emit("the message that had no answer is stored", n)
	}
	if s.inboxN > 0 {
		n := s.receive()
		emit("the owner applies a message", n)
		for n.inboxN > 0 {
			n = n.receive()
		}
		emit("the owner applies all messages", n)
	}
}

// receive applies the message with the lowest number.
func (s inboxOrderState) receive() inboxOrderState {
	lowest := uint8(0)
	for i := range s.inboxN {
		if s.inbox[i].number < s.inbox[lowest].number {
			lowest = i
		}
	}
	s.job = s.inbox[lowest].act
	copy(s.inbox[lowest:], s.inbox[lowest+1:])
	s.inboxN--
	s.inbox[s.inboxN] = inboxMessage{}
	return s
}

func (c *inboxOrder) violation(s inboxOrderState) string {
	if s.inboxN == 0 && s.late == 0 && s.job != s.heard {
		return "I7: the job is not as the client last heard"
	}
	return ""
}

// The model of the inbox over takeovers: an owner reads messages, and applies and deletes them in a commit, whose
// outcome it may not learn. The other replica may take over at any time. Each message must be applied once.
type inboxTakeover struct {
	fenced   bool // a commit fails if another replica has taken over
	numbered bool // a commit fails if it is not the next one of its owner
	apart    bool // messages are deleted in a commit of their own, after the one that applies them
	resigns  bool // after an unknown outcome the owner takes over again; otherwise it reads again and goes on
	acts     uint8
}

const inboxMessages = 2

type inboxCommit struct {
	sent            bool
	fence, number   uint8
	applies         uint8 // messages, a bit each
	deletes         uint8
	executed, valid bool // valid: it was executed, and the fence let it through
}

type inboxOwner struct {
	fence, number uint8
	owns          bool
	deletes       uint8 // what it has applied and not deleted yet
	commit, late  inboxCommit
}

type inboxTakeoverState struct {
	fence, number uint8 // of the lease
	inbox         uint8
	applied       [inboxMessages]uint8
	replicas      [2]inboxOwner
	acts          uint8 // takeovers and broken connections
}

func (c *inboxTakeover) next(s inboxTakeoverState, emit func(string, inboxTakeoverState)) {
	for i, r := range s.replicas {
		who := string(rune('A' + i))
		step := func(what string, change func(*inboxTakeoverState, *inboxOwner)) {
			n := s
			change(&n, &n.replicas[i])
			emit(who+" "+what, n)
		}
		if !r.owns && s.acts < c.acts {
			step("takes over", func(n *inboxTakeoverState, r *inboxOwner) {
				n.acts++
				n.fence++
				n.number = 0
				*r = inboxOwner{fence: n.fence, owns: true, late: r.late}
			})
		}
		switch {
		case r.owns && !r.commit.sent && r.deletes != 0:
			step("sends a commit that deletes messages", func(n *inboxTakeoverState, r *inboxOwner) {
				r.commit = inboxCommit{sent: true, fence: r.fence, number: r.number, deletes: r.deletes}
			})
		case r.owns && !r.commit.sent && s.inbox != 0:
			for _, messages := range []uint8{s.inbox & -s.inbox, s.inbox} {
				step(fmt.Sprintf("reads the messages %02b, and sends a commit", messages),
					func(n *inboxTakeoverState, r *inboxOwner) {
						r.commit = inboxCommit{sent: true, fence: r.fence, number: r.number, applies: messages}
						if !c.apart {
							r.commit.deletes = messages
						}
					})
			}
		case r.commit.executed:
			step("learns the outcome", func(_ *inboxTakeoverState, r *inboxOwner) {
				switch {
				case !r.commit.valid:
					r.owns = false
				case c.apart:
					r.deletes = r.commit.applies
				}
				r.number++
				r.commit = inboxCommit{}
			})
		case r.commit.sent:
			step("commits", func(n *inboxTakeoverState, r *inboxOwner) { c.execute(n, &r.commit) })
		}
		if r.commit.sent && s.acts < c.acts && !r.late.sent {
			step("loses its connection", func(n *inboxTakeoverState, r *inboxOwner) {
				n.acts++
				r.late = r.commit
				if r.late.executed {
					r.late = inboxCommit{}
				}
				r.commit = inboxCommit{}
				r.owns = !c.resigns
				r.number = n.number // it looks
			})
		}
		if r.late.sent {
			step("commits late", func(n *inboxTakeoverState, r *inboxOwner) {
				c.execute(n, &r.late)
				r.late = inboxCommit{}
			})
		}
	}
}

func (c *inboxTakeover) execute(s *inboxTakeoverState, commit *inboxCommit) {
	commit.executed = true
	if c.fenced && commit.fence != s.fence || c.numbered && commit.number != s.number {
		return
	}
	commit.valid = true
	s.number++
	s.inbox &^= commit.deletes
	for m := range s.applied {
		s.applied[m] += commit.applies >> m & 1
	}
}

func (c *inboxTakeover) violation(s inboxTakeoverState) string {
	for m, times := range s.applied {
		if times > 1 {
			return fmt.Sprintf("I7: message %d is applied twice", m+1)
		}
		if times == 0 && s.inbox>>m&1 == 0 {
			return fmt.Sprintf("I7: message %d is lost", m+1)
		}
	}
	return ""
}

func inboxVariants() (all []variant) {
	order := func(name, breaks string, c inboxOrder) {
		all = append(all, variant{name: name, breaks: breaks, explore: func() result {
			return explore(inboxOrderState{left: 4}, c.next, c.violation)
		}})
	}
	order("C0 the owner applies the inbox before what it is told itself", "", inboxOrder{})
	order("C1 it applies what it is told at once", "I7", inboxOrder{direct: true})
	order("C2 messages get their numbers from the cache of a session", "I7", inboxOrder{cached: true})
	order("C2b a message that had no answer is stored late", "I7", inboxOrder{late: true})
	takeover := func(name, breaks string, change func(*inboxTakeover)) {
		c := &inboxTakeover{fenced: true, numbered: true, resigns: true, acts: 4}
		change(c)
		all = append(all, variant{name: name, breaks: breaks, explore: func() result {
			return explore(inboxTakeoverState{inbox: 1<<inboxMessages - 1}, c.next, c.violation)
		}})
	}
	takeover("C3 a commit applies messages and deletes them", "", func(*inboxTakeover) {})
	takeover("C4 another commit deletes them", "I7", func(c *inboxTakeover) { c.apart = true })
	takeover("C5 commits are not fenced", "I7", func(c *inboxTakeover) { c.fenced, c.numbered = false, false })
	takeover("C6 after an unknown outcome the owner goes on, without numbers of commits", "I7", func(c *inboxTakeover) {
		c.resigns, c.numbered = false, false
	})
	takeover("C7 the same with numbers of commits", "", func(c *inboxTakeover) { c.resigns = false })
	return all
}

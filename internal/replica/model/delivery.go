package main

import "fmt"

// The model of deliveries to Telegraf: a change of state waits in the database. The owner emits it, an output accepts
// it, and the acceptance is noted, which is a commit. The account goes from replica A to replica B.
type delivery struct {
	inbox bool // an acceptance that comes when the account has gone elsewhere is noted by the inbox
	wait  bool // after a handover, the successor holds what was emitted, while the other one lives
	late  bool // it holds it for some time only, and an output may accept it later
	kill  bool // A may be killed
}

type deliveryState struct {
	owner    int // 0: A, 1: B
	noted    bool
	handed   bool
	killed   bool // A was
	free     bool // the successor holds nothing any more
	emitted  [2]bool
	buffered [2]bool
	accepted [2]bool
	told     [2]bool // the acceptance was noted
}

func (c *delivery) next(s deliveryState, emit func(string, deliveryState)) {
	for i := range s.emitted {
		if s.killed && i == 0 {
			continue
		}
		other := 1 - i
		waits := c.wait && s.handed && !s.killed && !s.free && s.emitted[other] && !s.told[other]
		if s.owner == i && !s.noted && !s.emitted[i] && !waits {
			n := s
			n.emitted[i], n.buffered[i] = true, true
			emit(fmt.Sprintf("%c emits the change", 'A'+i), n)
		}
		if s.buffered[i] {
			n := s
			n.buffered[i], n.accepted[i] = false, true
			emit(fmt.Sprintf("the output of %c accepts it", 'A'+i), n)
		}
		if s.accepted[i] && !s.told[i] && !s.noted && (s.owner == i || c.inbox) {
			n := s
			n.noted, n.told[i] = true, true
			emit(fmt.Sprintf("the acceptance at %c is noted", 'A'+i), n)
		}
	}
	if c.late && s.handed && !s.free {
		n := s
		n.free = true
		emit("B has held it for long enough", n)
	}
	if s.owner == 0 {
		n := s
		n.owner, n.handed = 1, true
		emit("A hands over to B", n)
		if c.kill && !s.killed {
			n := s
			n.owner, n.killed, n.buffered[0] = 1, true, false
			emit("A is killed, B takes over", n)
		}
	}
}

func (c *delivery) violation(s deliveryState) string {
	switch {
	case s.accepted[0] && s.accepted[1]:
		return "I8: the change is accepted twice"
	case s.noted && !s.accepted[0] && !s.accepted[1]:
		return "I8: the change is lost"
	}
	return ""
}

func deliveryVariants() (all []variant) {
	add := func(name, breaks string, c delivery) {
		all = append(all, variant{name: name, breaks: breaks, explore: func() result {
			return explore(deliveryState{}, c.next, c.violation)
		}})
	}
	add("D0 the successor emits what is not noted", "I8", delivery{})
	add("D1 late acceptances are noted by the inbox", "I8", delivery{inbox: true})
	add("D2 and the successor waits for them after a handover", "", delivery{inbox: true, wait: true})
	add("D2b and they come after it has waited: the same points are emitted again", "I8", delivery{
		inbox: true, wait: true, late: true,
	})
	add("D3 the same after a kill: the same points are emitted again", "I8", delivery{
		inbox: true, wait: true, kill: true,
	})
	return all
}

package main

import "fmt"

// The model of the quota: an owner and its successor share one quota of some requests in any window. A request is
// reserved, which is a commit, then it is sent, then it arrives; any time may pass between. The server counts it when
// it arrives.
type quota struct {
	requests uint8 // in a window
	window   uint8 // the server's
	margin   uint8 // by which ours is longer
	restored uint8 // for how much longer a request counts that the successor has read from the database
	flight   uint8 // from sending to arriving, at most
	lease    uint8
	check    quotaCheck
	gap      uint8 // from the check to sending, at most
	anyGap   bool  // from the check to sending, any time may pass
	skew     int8  // of the successor's wall clock against the owner's
	ownClock bool  // reservations carry the time of the owner's wall clock, not that of the database
	until    uint8 // the last tick
}

// A quotaCheck is when the owner checks that its lease is still valid.
type quotaCheck uint8

const (
	neverChecked quotaCheck = iota
	checkedBefore
	checkedAtSending
)

type requestState uint8

const (
	noRequest requestState = iota
	reserved
	checked
	sent
	arrived
)

type quotaRequest struct {
	state requestState
	at    uint8 // when it was checked or sent
}

type quotaState struct {
	now, valid uint8 // until when the owner's lease is valid
	succeeded  bool  // the successor has taken over
	owner      [3]quotaRequest
	reserved   [6]uint8 // when, as the successor reads it
	reservedN  uint8
	successor  [6]uint8 // when the successor sent, and its requests arrived
	successorN uint8
	arrivals   [8]uint8
	arrivalsN  uint8
}

func (c *quota) next(s quotaState, emit func(string, quotaState)) {
	if s.now < c.until && c.mayWait(s) {
		n := s
		n.now++
		emit(fmt.Sprintf("it is %d", n.now), n)
	}
	if !s.succeeded && s.now >= s.valid {
		n := s
		n.succeeded = true
		emit("the successor takes over, and restores what was reserved", n)
	}
	// Only the owner's first window is modelled.
	if !s.succeeded && s.now < s.valid && s.reservedN < c.requests {
		for i := range s.owner {
			if s.owner[i].state == noRequest {
				n := s
				n.owner[i] = quotaRequest{reserved, s.now}
				n.reserved[n.reservedN] = s.now
				n.reservedN++
				emit("the owner reserves a request", n)
				break
			}
		}
	}
	for i := range s.owner {
		c.nextRequest(s, i, emit)
	}
	if s.succeeded && c.used(s) < c.requests && s.successorN < c.requests {
		n := s
		n.successor[n.successorN] = s.now
		n.successorN++
		n.arrivals[n.arrivalsN] = s.now
		n.arrivalsN++
		emit("a request of the successor is reserved, sent and arrives", n)
	}
}

// mayWait reports whether time may pass: nothing arrives later than its flight allows.
func (c *quota) mayWait(s quotaState) bool {
	for _, r := range s.owner {
		if r.state == sent && s.now >= r.at+c.flight {
			return false
		}
		if r.state == checked && !c.anyGap && s.now >= r.at+c.gap {
			return false
		}
	}
	return true
}

func (c *quota) nextRequest(s quotaState, i int, emit func(string, quotaState)) {
	to := func(state requestState, step string) {
		n := s
		n.owner[i] = quotaRequest{state, s.now}
		if state == arrived {
			n.owner[i].at = 0
			n.arrivals[n.arrivalsN] = s.now
			n.arrivalsN++
		}
		emit(step, n)
	}
	switch s.owner[i].state {
	case reserved:
		switch {
		case c.check == neverChecked:
			to(sent, "the owner sends, without a check")
		case s.now >= s.valid:
		case c.check == checkedBefore:
			to(checked, "the owner checks that its lease is valid")
		default:
			to(sent, "the owner checks that its lease is valid, and sends")
		}
	case checked:
		to(sent, "the owner sends")
	case sent:
		to(arrived, "a request of the owner arrives")
	}
}

// used returns how much of the quota is used, as the successor sees it.
func (c *quota) used(s quotaState) (n uint8) {
	for _, at := range s.reserved[:s.reservedN] {
		age := int8(s.now) - int8(at)
		if c.ownClock {
			age += c.skew
		}
		if age < int8(c.window+c.margin+c.restored) {
			n++
		}
	}
	for _, at := range s.successor[:s.successorN] {
		if s.now-at < c.window+c.margin {
			n++
		}
	}
	return n
}

func (c *quota) violation(s quotaState) string {
	return tooMany(s.arrivals[:s.arrivalsN], c.window, c.requests)
}

// tooMany returns a violation if more requests than are allowed arrive within a window.
func tooMany(arrivals []uint8, window, allowed uint8) string {
	for i, first := range arrivals {
		n := uint8(0)
		for _, at := range arrivals[i:] {
			if at-first < window {
				n++
			}
		}
		if n > allowed {
			return fmt.Sprintf("I4: %d requests arrive within a window, %d are allowed", n, allowed)
		}
	}
	return ""
}

func quotaVariants() (all []variant) {
	add := func(name, breaks string, change func(*quota)) {
		c := &quota{
			requests: 2, window: 6, margin: 1, restored: 5, flight: 2, lease: 3, check: checkedAtSending, until: 22,
		}
		change(c)
		all = append(all, variant{name: name, breaks: breaks, explore: func() result {
			return explore(quotaState{valid: c.lease}, c.next, c.violation)
		}})
	}
	add("B0 what was reserved counts for lease and flight longer", "", func(*quota) {})
	add("B1 what was reserved counts for the flight longer", "I4", func(c *quota) { c.restored = 2 })
	add("B1b for the flight and one tick longer", "", func(c *quota) { c.restored = 3 })
	add("B2 validity is not checked before a request is sent", "I4", func(c *quota) { c.check = neverChecked })
	add("B3 it is checked, and any time passes before the request is sent", "I4", func(c *quota) {
		c.check, c.anyGap = checkedBefore, true
	})
	add("B4 it is checked, and at most one tick passes", "", func(c *quota) {
		c.check, c.gap, c.restored = checkedBefore, 1, 6
	})
	add("B5 reservations carry the owner's time, the successor's clock is ahead", "I4", func(c *quota) {
		c.ownClock, c.skew, c.restored = true, 2, 3
	})
	add("B6 the same, the successor's clock is behind", "", func(c *quota) {
		c.ownClock, c.skew, c.restored = true, -2, 3
	})
	return all
}

package main

import "fmt"

// The model of a key that moves: account X had it, and account Y, which another replica owns, gets it by a reload of
// both. Each account knows what it has sent itself with the key; Y reads from the database what X has reserved for it.
// A request takes the key, is reserved, which is a commit, and is sent. Requests arrive at once: the model of the quota
// has what comes of those that do not.
type keys struct {
	requests uint8 // in a window
	window   uint8
	restored uint8 // for how much longer a request counts that was read from the database
	pending  uint8 // from taking the key to sending, at most
	reading  keyReading
	both     bool // what is reserved while the key changes counts for the key before, too
	anyOrder bool // Y may get the key while X, or a request of it, still has it
	until    uint8
}

// A keyReading is when Y reads what others have sent with its key.
type keyReading uint8

const (
	neverRead  keyReading = iota
	readBefore            // at any time before it gets the key, such as when it took over the account
	readWithKey
)

type keyRequest struct {
	state requestState // noRequest, taken, reserved or sent
	at    uint8        // when it took the key
}

// taken is a request that has the key, and is not reserved.
const taken = checked

type keyState struct {
	now       uint8
	x         [2]keyRequest
	lost      bool // X has got another key
	has       bool // Y has got the key
	read      bool
	reserved  [2]uint8 // when, of X, as the database has it for the key
	reservedN uint8
	known     [2]uint8 // as Y has read it
	knownN    uint8
	sent      [2]uint8 // by Y
	sentN     uint8
	arrivals  [4]uint8 // of both
	arrivalsN uint8
}

func (s *keyState) arrive() {
	s.arrivals[s.arrivalsN] = s.now
	s.arrivalsN++
}

func (s *keyState) readX() { s.read, s.known, s.knownN = true, s.reserved, s.reservedN }

func (c *keys) next(s keyState, emit func(string, keyState)) {
	step := func(what string, change func(*keyState)) {
		n := s
		change(&n)
		emit(what, n)
	}
	busy, late := false, false
	for _, r := range s.x {
		busy = busy || r.state == taken || r.state == reserved
		late = late || (r.state == taken || r.state == reserved) && s.now >= r.at+c.pending
	}
	if s.now < c.until && !late {
		step(fmt.Sprintf("it is %d", s.now+1), func(n *keyState) { n.now++ })
	}
	for i, r := range s.x {
		switch r.state {
		case noRequest:
			if !s.lost && s.reservedN < c.requests && (i == 0 || s.x[0].state != noRequest) {
				step("a request of X takes the key", func(n *keyState) { n.x[i] = keyRequest{taken, s.now} })
			}
		case taken:
			step("it is reserved", func(n *keyState) {
				n.x[i].state = reserved
				if !s.lost || c.both {
					n.reserved[n.reservedN] = s.now
					n.reservedN++
				}
			})
		case reserved:
			step("it is sent", func(n *keyState) {
				n.x[i].state = sent
				n.arrive()
			})
		}
	}
	if !s.lost {
		step("X gets another key", func(n *keyState) { n.lost = true })
	}
	if c.reading == readBefore && !s.read {
		step("Y reads what others have sent", (*keyState).readX)
	}
	if !s.has && (c.anyOrder || s.lost && !busy) {
		step("Y gets the key", func(n *keyState) {
			n.has = true
			if c.reading == readWithKey {
				n.readX()
			}
		})
	}
	if s.has && c.used(s) < c.requests && s.sentN < c.requests {
		step("a request of Y is sent", func(n *keyState) {
			n.sent[n.sentN] = s.now
			n.sentN++
			n.arrive()
		})
	}
}

// used returns how much of the quota is used, as Y sees it.
func (c *keys) used(s keyState) (n uint8) {
	for _, at := range s.known[:s.knownN] {
		if s.now-at < c.window+c.restored {
			n++
		}
	}
	for _, at := range s.sent[:s.sentN] {
		if s.now-at < c.window {
			n++
		}
	}
	return n
}

func (c *keys) violation(s keyState) string {
	return tooMany(s.arrivals[:s.arrivalsN], c.window, c.requests)
}

func keyVariants() (all []variant) {
	add := func(name, breaks string, change func(*keys)) {
		c := &keys{requests: 2, window: 4, restored: 2, pending: 2, reading: readWithKey, both: true, until: 10}
		change(c)
		all = append(all, variant{name: name, breaks: breaks, explore: func() result {
			return explore(keyState{}, c.next, c.violation)
		}})
	}
	add("H0 a key moves to an account of another owner", "", func(*keys) {})
	add("H1 what was sent with it is not read", "I4", func(c *keys) { c.reading = neverRead })
	add("H2 what was sent with it is read before it moves", "I4", func(c *keys) { c.reading = readBefore })
	add("H3 what is reserved while it moves counts for the other key only", "I4", func(c *keys) { c.both = false })
	add("H4 what was read counts for a window only", "I4", func(c *keys) { c.restored = 0 })
	add("H5 both accounts have it for a while", "I4", func(c *keys) { c.anyOrder = true })
	return all
}

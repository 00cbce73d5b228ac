package replica

import (
	"slices"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
)

// A view is what a replica knows when it decides.
type view struct {
	now     time.Time
	lease   time.Duration
	self    postgres.Member
	leases  []seenLease         // of all accounts in the configuration of any replica, by account
	members []seenMember        // by ID, with self
	held    map[string]handover // the accounts that this replica owns, or has not quite released
}

// A handover says how far the release of an account has come.
type handover struct {
	asked bool
	ended bool // the tenure has, and no look has shown yet that it was released
	to    string
}

// A decision is what a replica does next.
type decision struct {
	takeOver []takeover
	handOver []move
	bury     []postgres.Member // rows of replicas that are gone
	next     time.Time         // when something may become due; zero: nothing
}

// A takeover says why a lease may be taken.
type takeover struct {
	seen    postgres.Lease
	because string
}

// A move is the handover of an account to another replica, or to any if to is empty.
type move struct{ account, to string }

// decide follows these rules:
//
//   - A replica that has not renewed for a lease is gone, and its row is deleted, so that nobody counts on it any
//     more. If it was only paused, its next renewal brings the row back.
//   - A lease that has not changed for its length is free. So is at once one that was released, one
//     that nobody has had yet, and one that this replica itself has let go.
//   - A free account goes to one replica: its successor if it was released to one, else the one that had it if that
//     lives, else the one with the fewest accounts of those that live and have it in their configuration. Those that
//     have been alive for a lease come first: the others have yet to wait, and may be restarting all the time.
//     All others take it one lease later, if it is still free.
//   - A replica that leaves, or loses an account from its configuration, hands over in the same way.
//   - Who has at least two accounts more than another hands over, until that is no longer so. All replicas
//     compute the whole plan, and each does its own part: so nothing moves twice. A replica
//     gets a share when it has been alive for a lease.
func decide(v view) decision {
	var d decision
	at := func(t time.Time) bool { // reports whether t has come
		if !v.now.Before(t) {
			return true
		}
		if d.next.IsZero() || t.Before(d.next) {
			d.next = t
		}
		return false
	}
	p := newPlan(v)

	// Who has which account, and who is to get those that are free.
	type due struct {
		seenLease
		after   time.Duration // the lease is free when it has been unchanged for this time
		because string
	}
	var open []due
	var leave []string // accounts to release
	for _, l := range v.leases {
		h, holding := v.held[l.Account]
		switch {
		case h.ended && v.now.Sub(l.since) >= v.lease:
			p.expect(l.Account, v.self.ID)
			open = append(open, due{l, v.lease, "this replica could not release it"})
		case h.asked:
			p.expect(l.Account, h.to)
		case holding && (v.self.Leaving || !slices.Contains(v.self.Accounts, l.Account)):
			leave = append(leave, l.Account)
		case holding:
			p.keep(l.Account, v.self.ID)
		case l.Number == 0:
			open = append(open, due{l, 0, "it is new"})
		case l.Released:
			p.expect(l.Account, l.Successor)
			open = append(open, due{l, 0, "it was released"})
		case l.Owner == v.self.ID: // this process had it, and nobody since
			p.expect(l.Account, l.Owner)
			open = append(open, due{l, 0, "this replica had let it go"})
		default:
			if v.now.Sub(l.since) < v.lease {
				p.keep(l.Account, l.Owner)
			} else {
				p.expect(l.Account, l.Owner)
			}
			open = append(open, due{l, v.lease, "its lease was not renewed"})
		}
	}
	p.assign(v.leases)
	for _, account := range leave {
		d.handOver = append(d.handOver, move{account, p.of[account]})
	}
	for _, l := range open {
		if !p.may(v.self.ID, l.Account) {
			continue
		}
		if p.of[l.Account] != v.self.ID {
			l.after += v.lease
		}
		if at(l.since.Add(l.after)) {
			d.takeOver = append(d.takeOver, takeover{l.Lease, l.because})
		}
	}

	settled := map[string]bool{}
	for _, m := range v.members {
		settled[m.ID] = m.ID == v.self.ID || at(m.since.Add(v.lease))
		if !m.alive(v.now, v.lease) {
			d.bury = append(d.bury, m.Member)
		}
	}
	for from, m := range p.balance {
		if from == v.self.ID && settled[m.to] {
			d.handOver = append(d.handOver, m)
		}
	}
	return d
}

// A plan says who is to have which account.
type plan struct {
	ids      []string                   // of the replicas that may get accounts
	accounts map[string]map[string]bool // of their configuration, by ID
	of       map[string]string          // account -> ID
	settled  map[string]bool            // IDs of those that have been alive for a lease
	firm     map[string][]string        // ID -> accounts that it has and could hand over
	count    map[string]int             // ID -> accounts
}

func newPlan(v view) *plan {
	p := &plan{
		accounts: map[string]map[string]bool{},
		of:       map[string]string{},
		settled:  map[string]bool{},
		firm:     map[string][]string{},
		count:    map[string]int{},
	}
	for _, m := range v.members {
		if m.Leaving || !m.alive(v.now, v.lease) {
			continue
		}
		p.ids = append(p.ids, m.ID)
		p.settled[m.ID] = v.now.Sub(m.since) >= v.lease
		p.accounts[m.ID] = map[string]bool{}
		for _, account := range m.Accounts {
			p.accounts[m.ID][account] = true
		}
	}
	return p
}

// may reports whether a replica may get an account.
func (p *plan) may(id, account string) bool { return p.accounts[id][account] }

// expect notes who is to get an account, if that replica may.
func (p *plan) expect(account, id string) {
	if p.may(id, account) {
		p.of[account] = id
		p.count[id]++
	}
}

// keep notes that a replica has an account.
func (p *plan) keep(account, id string) {
	if p.may(id, account) {
		p.expect(account, id)
		p.firm[id] = append(p.firm[id], account)
	}
}

// assign gives the accounts that nobody is to have yet to the replicas with the fewest. It begins with those that
// the fewest replicas may get, so that the others can make up for them.
func (p *plan) assign(leases []seenLease) {
	candidates := map[string][]string{}
	var open []string
	for _, l := range leases {
		if p.of[l.Account] != "" {
			continue
		}
		open = append(open, l.Account)
		var settled []string
		for _, id := range p.ids {
			if p.may(id, l.Account) {
				candidates[l.Account] = append(candidates[l.Account], id)
				if p.settled[id] {
					settled = append(settled, id)
				}
			}
		}
		if len(settled) > 0 {
			candidates[l.Account] = settled
		}
	}
	slices.SortStableFunc(open, func(a, b string) int { return len(candidates[a]) - len(candidates[b]) })
	for _, account := range open {
		if of := candidates[account]; len(of) > 0 {
			p.expect(account, slices.MinFunc(of, func(a, b string) int { return p.count[a] - p.count[b] }))
		}
	}
}

// balance yields the moves, by who hands over, after which nobody has two accounts more
// than another that could have one of them.
func (p *plan) balance(yield func(from string, m move) bool) {
	for {
		var from string
		var best move
		most := 1
		for _, a := range p.ids {
			for _, b := range p.ids {
				if more := p.count[a] - p.count[b]; more > most {
					if account, ok := p.transferable(a, b); ok {
						from, best, most = a, move{account, b}, more
					}
				}
			}
		}
		if from == "" {
			return
		}
		p.count[from]--
		p.count[best.to]++
		p.firm[from] = slices.DeleteFunc(p.firm[from], func(account string) bool { return account == best.account })
		if !yield(from, best) {
			return
		}
	}
}

// transferable returns an account that a has and b may have.
func (p *plan) transferable(a, b string) (string, bool) {
	for _, account := range slices.Backward(p.firm[a]) {
		if p.may(b, account) {
			return account, true
		}
	}
	return "", false
}

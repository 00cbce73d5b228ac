package replica

import (
	"maps"
	"slices"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
)

// A watch is what this replica has seen of the rows, and since when by its own monotonic
// clock. The clocks of other machines are never compared with it.
type watch struct {
	leases  map[string]seenLease
	members map[string]seenMember
	began   time.Time // with the first look
	now     time.Time // of the last look
	wall    time.Time
}

// A seenLease is a row that has not changed since a time.
type seenLease struct {
	postgres.Lease
	since time.Time
}

// A seenMember is the row of another replica.
type seenMember struct {
	postgres.Member
	beat  time.Time // since when its beats have not changed
	since time.Time // since when it has been alive
}

// alive reports whether the replica has renewed within a lease.
func (m seenMember) alive(now time.Time, lease time.Duration) bool { return now.Sub(m.beat) < lease }

// forget begins every wait again. While the database cannot be reached, nobody can renew:
// if that time counted, every account would move after an outage.
func (w *watch) forget() { *w = watch{} }

// observe takes in what a look returned at a time. It forgets what was seen before, and returns true, if the look
// before was longer ago than a lease: this process was paused. The wall clock tells that of a machine that slept.
func (w *watch) observe(
	now, wall time.Time, lease time.Duration, self postgres.Member, leases []postgres.Lease, members []postgres.Member,
) bool {
	paused := !w.now.IsZero() && max(now.Sub(w.now), wall.Sub(w.wall)) > lease
	if paused {
		w.forget()
	}
	began := w.began
	if began.IsZero() {
		began = now
	}
	seen := watch{began: began, now: now, wall: wall, leases: map[string]seenLease{}, members: map[string]seenMember{}}
	for _, l := range leases {
		seen.leases[l.Account] = w.lease(l, now)
	}
	for _, m := range members {
		seen.members[m.ID] = w.member(m, now, lease)
	}
	seen.members[self.ID] = seenMember{self, now, began}
	for _, m := range seen.members {
		for _, account := range m.Accounts {
			if _, ok := seen.leases[account]; !ok {
				seen.leases[account] = w.lease(postgres.Lease{Account: account}, now)
			}
		}
	}
	*w = seen
	return paused
}

func (w *watch) lease(l postgres.Lease, now time.Time) seenLease {
	before, ok := w.leases[l.Account]
	before.Since = l.Since // a time is not comparable, and does not change alone
	if ok && before.Lease == l {
		return before
	}
	return seenLease{l, now}
}

func (w *watch) member(m postgres.Member, now time.Time, lease time.Duration) seenMember {
	before, ok := w.members[m.ID]
	switch {
	case !ok:
		return seenMember{m, now, now}
	case before.Beats == m.Beats:
		return seenMember{m, before.beat, before.since}
	case before.alive(now, lease):
		return seenMember{m, now, before.since}
	}
	return seenMember{m, now, now}
}

// rows returns what was seen, by account and by ID.
func (w *watch) rows() ([]seenLease, []seenMember) {
	leases := make([]seenLease, 0, len(w.leases))
	for _, account := range slices.Sorted(maps.Keys(w.leases)) {
		leases = append(leases, w.leases[account])
	}
	members := make([]seenMember, 0, len(w.members))
	for _, id := range slices.Sorted(maps.Keys(w.members)) {
		members = append(members, w.members[id])
	}
	return leases, members
}

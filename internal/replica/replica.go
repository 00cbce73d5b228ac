// Package replica decides which of several replicas on one database owns which account.
// docs/replicas.md describes the protocol, and package model explores it.
package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/wake"
)

// A Tenure is the time in which this replica owns an account.
type Tenure interface {
	// Done is closed when the tenure is dead: lost, run out, released, or after a commit of unknown outcome.
	Done() <-chan struct{}
}

// A Database holds the rows of the accounts and of the replicas.
type Database[T Tenure] interface {
	// Look returns all rows, as of one moment.
	Look(context.Context) ([]postgres.Lease, []postgres.Member, error)
	// Renew raises the beats of self, stores its other fields, and renews the tenures, for a lease from when this was
	// sent. A tenure dies that has run out, also while the database cannot be reached, or whose row is no longer its
	// own. Calls may overlap.
	Renew(ctx context.Context, self postgres.Member, tenures []T) error
	// TakeOver makes self the owner if the row of the account is still as it was seen.
	TakeOver(ctx context.Context, seen postgres.Lease, self postgres.Member, lease time.Duration) (T, error)
	// Leave deletes the row of a member whose beats are as seen.
	Leave(ctx context.Context, seen postgres.Member) error
}

// Options configure a Replica.
type Options struct {
	Name  string // by which people know this replica, such as the name of the host
	URL   string // where browsers reach its pages; empty: unknown
	Lease time.Duration
	Log   *slog.Logger
}

// A Change tells the reader of Changes what to do about an account.
type Change[T Tenure] struct {
	Account string
	Tenure  T
	// Release asks to end all work, and then to release the tenure to Successor. Otherwise the tenure has just begun.
	Release   bool
	Successor string // an ID; empty: any replica
}

// An Owner is a replica that owns an account.
type Owner struct {
	ID, URL string
	Since   time.Time // by the clock of the database
}

// A Replica takes part in the distribution of accounts.
type Replica[T Tenure] struct {
	db      Database[T]
	id      string
	options Options
	changes chan Change[T]
	wake    wake.Signal // asks for a look
	beat    wake.Signal // asks for a renewal
	queued  wake.Signal // there are changes to pass on
	leave   chan leaveRequest
	wall    func() time.Time

	freeOnly bool // it does not change after Run

	// watch is what was seen of the others. Only the goroutine of Run that looks uses it.
	watch watch

	mu       sync.Mutex // guards everything below
	accounts []string   // of the configuration
	leaving  bool
	held     map[string]*holding[T]
	given    map[string]string // accounts whose release began, until a look shows it, and the successor
	taking   int               // takeovers that are under way
	idle     chan struct{}
	queue    []Change[T]
	owners   map[string]Owner
	failing  map[string]bool // what fails: an error is logged once
}

// A holding is a tenure of this replica.
type holding[T Tenure] struct {
	tenure   T
	since    time.Time
	handover bool // its release was asked for
	to       string
}

// New returns a replica that does nothing before Run.
func New[T Tenure](db Database[T], o Options) *Replica[T] {
	return &Replica[T]{
		db: db,
		// Each start has an ID of its own. So a row with this ID was written by this process, and nobody else uses it.
		id:      o.Name + "-" + rand.Text()[:8],
		options: o,
		changes: make(chan Change[T]),
		wake:    wake.NewSignal(),
		beat:    wake.NewSignal(),
		queued:  wake.NewSignal(),
		leave:   make(chan leaveRequest),
		wall:    time.Now,
		held:    map[string]*holding[T]{},
		given:   map[string]string{},
		failing: map[string]bool{},
	}
}

// ID returns the ID of this replica, which no other process has had.
func (r *Replica[T]) ID() string { return r.id }

// Changes returns what there is to do, in order. It is closed when Run has ended. That a
// tenure was lost is told by the tenure alone.
func (r *Replica[T]) Changes() <-chan Change[T] { return r.changes }

// SetAccounts tells which accounts are in the configuration. Others are not taken over,
// and those that this replica owns are to be released.
func (r *Replica[T]) SetAccounts(names []string) {
	r.mu.Lock()
	r.accounts = slices.Sorted(slices.Values(names))
	r.mu.Unlock()
	r.beat.Send()
	r.wake.Send()
}

// Notified looks at the leases before it is due, since something has changed about an account; empty: any.
func (r *Replica[T]) Notified(account string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held[account] == nil {
		r.wake.Send()
	}
}

// Owner returns the owner of an account, as far as this replica knows. Without an owner, its ID is empty.
func (r *Replica[T]) Owner(account string) Owner {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, h := r.owners[account], r.held[account]
	switch {
	case h != nil && o.ID != r.id: // no look has shown it yet
		return Owner{ID: r.id, URL: r.options.URL, Since: h.since}
	case h == nil && o.ID == r.id: // it was released since the last look
		return Owner{}
	}
	return o
}

// TakeFreeOnly makes this replica take over only accounts that are free: the others give it none. It comes before
// Run.
func (r *Replica[T]) TakeFreeOnly() { r.freeOnly = true }

// Run takes part until the context ends. Tenures that are left then run out.
func (r *Replica[T]) Run(ctx context.Context) {
	defer close(r.changes)
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { r.passOn(ctx) })
	r.renew(ctx) // the others count on a replica from its first beat, so it comes before the first look
	group.Go(func() { r.renewing(ctx) })
	r.looking(ctx, &group)
}

// Leave asks for the release of all accounts and takes over nothing more. It returns when
// nothing is held any more and the other replicas no longer see this one. Run must go on
// for as long, and somebody must read the changes.
func (r *Replica[T]) Leave(ctx context.Context) error {
	idle := make(chan struct{})
	r.mu.Lock()
	r.leaving, r.idle = true, idle
	r.checkIdle()
	r.mu.Unlock()
	r.beat.Send()
	r.wake.Send()
	select {
	case <-idle:
	case <-ctx.Done():
		return fmt.Errorf("releasing the accounts: %w", ctx.Err())
	}
	left := make(chan error, 1)
	select {
	case r.leave <- leaveRequest{ctx, left}:
		return <-left
	case <-ctx.Done():
		return fmt.Errorf("leaving the other replicas: %w", ctx.Err())
	}
}

// A leaveRequest asks renewing for the end, and to delete the row of this replica.
type leaveRequest struct {
	ctx  context.Context
	left chan<- error
}

// checkIdle tells Leave that nothing is held.
func (r *Replica[T]) checkIdle() {
	if r.idle != nil && len(r.held) == 0 && r.taking == 0 {
		close(r.idle)
		r.idle = nil
	}
}

// self returns the row of this replica.
func (r *Replica[T]) self() postgres.Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return postgres.Member{ID: r.id, URL: r.options.URL, Accounts: r.accounts, Leaving: r.leaving}
}

// renewing sends a renewal every third of the lease, also while the one before hangs: a
// connection that is cut off must not cost the lease.
func (r *Replica[T]) renewing(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	tick := time.NewTicker(r.options.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-r.leave:
			group.Wait() // a late renewal would bring the row back
			l.left <- r.db.Leave(l.ctx, postgres.Member{ID: r.id})
			return
		case <-tick.C:
		case <-r.beat:
		}
		group.Go(func() { r.renew(ctx) })
	}
}

// renew renews everything that is held.
func (r *Replica[T]) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.options.Lease*2/3)
	defer cancel()
	r.mu.Lock()
	tenures := make([]T, 0, len(r.held))
	for _, h := range r.held {
		tenures = append(tenures, h.tenure)
	}
	r.mu.Unlock()
	self := r.self()
	self.Leaving = self.Leaving || r.freeOnly
	r.report(ctx, "Cannot renew the leases", "Leases are renewed again", r.db.Renew(ctx, self, tenures))
}

// looking looks at the rows every third of the lease, when something becomes due and
// when it is woken, and does what follows.
func (r *Replica[T]) looking(ctx context.Context, group *sync.WaitGroup) {
	for ctx.Err() == nil {
		began := time.Now()
		next := r.look(ctx, group)
		timer := time.NewTimer(time.Until(next))
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-r.wake:
			// Each look costs the database something, however often somebody wakes us.
			pause := time.NewTimer(time.Until(began.Add(r.options.Lease / 10)))
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			pause.Stop()
		}
		timer.Stop()
	}
}

// look looks once, acts, and returns when to look again at the latest.
func (r *Replica[T]) look(ctx context.Context, group *sync.WaitGroup) (next time.Time) {
	// Two looks are less than a lease apart, or this process seems to have been paused: the second one ends at most 3/5 of
	// a lease after the wait for it, or after takeAll.
	next = time.Now().Add(r.options.Lease / 3)
	bounded, cancel := context.WithTimeout(ctx, r.options.Lease*3/5)
	defer cancel()
	leases, members, err := r.db.Look(bounded)
	now := time.Now() // the rows may have changed until the answer came
	r.report(ctx, "Cannot read the leases", "Leases are read again", err)
	if err != nil {
		r.watch.forget()
		return next
	}
	self := r.self()
	if r.watch.observe(now, r.wall().Round(0), r.options.Lease, self, leases, members) {
		r.options.Log.Warn("This process was paused for longer than a lease, or the clock was set")
	}
	d := decide(r.view(now, self))
	r.ask(d.handOver)
	r.takeAll(ctx, d.takeOver, self, group)
	for _, m := range d.bury {
		r.report(ctx, "Cannot delete a replica that is gone", "Replicas that are gone can be deleted again",
			r.db.Leave(bounded, m))
	}
	if d.next.Before(next) && !d.next.IsZero() {
		next = d.next
	}
	return next
}

// view returns what decide needs, and notes the owners.
func (r *Replica[T]) view(now time.Time, self postgres.Member) view {
	v := view{now: now, lease: r.options.Lease, self: self, held: map[string]handover{}}
	v.leases, v.members = r.watch.rows()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owners = map[string]Owner{}
	for _, l := range v.leases {
		if l.Number > 0 && !l.Released {
			r.owners[l.Account] = Owner{ID: l.Owner, URL: l.OwnerURL, Since: l.Since}
		}
		if to, ok := r.given[l.Account]; ok && !l.Released && l.Owner == r.id {
			v.held[l.Account] = handover{asked: true, ended: true, to: to}
		} else {
			delete(r.given, l.Account)
		}
	}
	for account, h := range r.held {
		v.held[account] = handover{asked: h.handover, to: h.to}
	}
	return v
}

// ask asks for the release of accounts.
func (r *Replica[T]) ask(moves []move) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range moves {
		if h := r.held[m.account]; h != nil && !h.handover {
			h.handover, h.to = true, m.to
			r.enqueue(Change[T]{Account: m.account, Tenure: h.tenure, Release: true, Successor: m.to})
		}
	}
}

// takeAll takes over accounts. It does not take longer than a quarter of a lease.
func (r *Replica[T]) takeAll(ctx context.Context, seen []takeover, self postgres.Member, group *sync.WaitGroup) {
	r.mu.Lock()
	if r.leaving {
		seen = nil
	}
	r.taking = len(seen)
	r.mu.Unlock()
	attempts := make(chan struct{}, 2) // so that there is a connection for the renewals
	var takers sync.WaitGroup
	bounded, cancel := context.WithTimeout(ctx, r.options.Lease/4)
	defer cancel()
	for _, s := range seen {
		attempts <- struct{}{}
		takers.Go(func() {
			defer func() { <-attempts }()
			tenure, err := r.db.TakeOver(bounded, s.seen, self, r.options.Lease)
			r.took(ctx, s, tenure, err, group)
		})
	}
	takers.Wait()
}

// took ends an attempt to take over an account.
func (r *Replica[T]) took(ctx context.Context, s takeover, tenure T, err error, group *sync.WaitGroup) {
	account := s.seen.Account
	if !errors.Is(err, postgres.ErrSeenChanged) { // another replica was faster
		r.report(ctx, "Cannot take over account "+account, "Account "+account+" was taken over after earlier errors", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taking--
	defer r.checkIdle()
	if err != nil {
		return
	}
	r.options.Log.Info("Took over the account", "account", account, "because", s.because, "from", s.seen.Owner)
	h := &holding[T]{tenure: tenure, since: time.Now()}
	r.held[account] = h
	delete(r.given, account)
	r.enqueue(Change[T]{Account: account, Tenure: tenure})
	group.Go(func() {
		select {
		case <-ctx.Done():
			return
		case <-tenure.Done():
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.held, account)
		if h.handover {
			r.given[account] = h.to
		}
		r.checkIdle()
		r.wake.Send()
	})
}

// enqueue hands a change to passOn, so that nothing waits for the reader.
func (r *Replica[T]) enqueue(c Change[T]) {
	r.queue = append(r.queue, c)
	r.queued.Send()
}

// passOn passes changes on to the reader.
func (r *Replica[T]) passOn(ctx context.Context) {
	for {
		r.mu.Lock()
		queue := r.queue
		r.queue = nil
		r.mu.Unlock()
		for _, c := range queue {
			select {
			case r.changes <- c:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-r.queued:
		case <-ctx.Done():
			return
		}
	}
}

// report logs that something failed once, and that it succeeds again.
func (r *Replica[T]) report(ctx context.Context, failure, recovery string, err error) {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return // this replica stops
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch failed := r.failing[failure]; {
	case err == nil && failed:
		delete(r.failing, failure)
		r.options.Log.Info(recovery)
	case err != nil && !failed:
		r.failing[failure] = true
		r.options.Log.Warn(failure, "err", err)
	}
}

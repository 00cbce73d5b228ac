package replica_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/replica"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
)

const lease = 3 * time.Second

// A database does what PostgreSQL does with the rows: each statement is one step, and fails if the rows are not as it
// expects them.
type database struct {
	t  *testing.T
	mu sync.Mutex // guards everything below

	leases  map[string]postgres.Lease
	members map[string]postgres.Member
	standby *database // the state to which an asynchronous failover goes back
	down    bool
	stuck   string // the account that beat does not renew
	quiet   bool   // nobody commits
	numbers int64  // of all acquisitions, also of those that a failover has lost
	tenures []*tenure
	moves   []moved // all acquisitions
}

// A moved is an acquisition.
type moved struct {
	account, from, to string
	at                time.Time
	visible           bool // other replicas could see the one that took over
}

func newDatabase(t *testing.T) *database {
	return &database{t: t, leases: map[string]postgres.Lease{}, members: map[string]postgres.Member{}}
}

// row returns the lease of an account.
func (d *database) row(account string) postgres.Lease {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.leases[account]
}

// put stores a lease, as another replica would.
func (d *database) put(l postgres.Lease) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.numbers++
	l.Number, l.Token = d.numbers, fmt.Sprint("put", d.numbers)
	d.leases[l.Account] = l
}

// beat stores a member, as another replica would.
func (d *database) beat(m postgres.Member) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m.Beats = d.members[m.ID].Beats + 1
	d.members[m.ID] = m
	for account, l := range d.leases {
		if l.Owner == m.ID && !l.Released && account != d.stuck {
			l.Renewals++
			d.leases[account] = l
		}
	}
}

// movesSince returns the acquisitions since a time.
func (d *database) movesSince(t time.Time) (since []moved) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.moves {
		if !m.at.Before(t) {
			since = append(since, m)
		}
	}
	return since
}

// owner returns whose tenure of an account is valid. It fails the test if there are two.
func (d *database) owner(account string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := ""
	for _, t := range d.tenures {
		if t.account != account || !t.Valid() {
			continue
		}
		if id != "" {
			d.t.Errorf("%s is valid at %s and at %s", account, id, t.id)
		}
		id = t.id
	}
	return id
}

// owners returns how many accounts each replica owns.
func (d *database) owners(accounts []string) map[string]int {
	owners := map[string]int{}
	for _, account := range accounts {
		owners[d.owner(account)]++
	}
	return owners
}

// setDown lets the database be gone, or come back.
func (d *database) setDown(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

// replicate lets the standby catch up.
func (d *database) replicate() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.standby = &database{leases: maps.Clone(d.leases), members: maps.Clone(d.members)}
}

// failover goes on with what the standby had.
func (d *database) failover() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leases, d.members = maps.Clone(d.standby.leases), maps.Clone(d.standby.members)
}

// What can go wrong with a statement.
const (
	hangingRenewal  = "hanging renewal" // gets stuck on its way
	hangingLook     = "hanging look"
	hangingTakeOver = "hanging takeover"
	failedLook      = "failed look"
	failedRelease   = "failed release"
)

// A link is a replica's way to the database. It implements replica.Database.
type link struct {
	db *database

	mu     sync.Mutex     // guards everything below
	dead   bool           // the process was killed
	cut    bool           // nothing gets through, in either direction
	faults map[string]int // what is to go wrong how often: see the constants
	looks  int
	delay  func() time.Duration
	thaw   time.Time     // the process stands still until then
	slept  time.Duration // by how much the wall clock is ahead: the machine slept
}

func (d *database) link() *link {
	return &link{db: d, faults: map[string]int{}, delay: func() time.Duration { return 10 * time.Millisecond }}
}

func (l *link) set(change func(*link)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

// fault reports whether something is to go wrong now.
func (l *link) fault(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.faults[what] == 0 {
		return false
	}
	l.faults[what]--
	return true
}

// fail lets something go wrong a number of times.
func (l *link) fail(what string, times int) { l.set(func(l *link) { l.faults[what] = times }) }

func (l *link) wall() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Add(l.slept)
}

// still waits while the process stands still. A process that is killed stays so.
func (l *link) still() {
	for {
		l.mu.Lock()
		thaw := time.Until(l.thaw)
		l.mu.Unlock()
		if thaw <= 0 {
			return
		}
		time.Sleep(thaw)
	}
}

func (l *link) broken() (broken bool) {
	l.set(func(l *link) { broken = l.cut })
	return broken
}

// exec sends a statement and waits for its answer. A statement whose caller has given up may still get through.
func (l *link) exec(ctx context.Context, stuck bool, statement func() error) error {
	l.still()
	l.mu.Lock()
	there, back, dead := l.delay(), l.delay(), l.dead
	l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if dead {
		return errors.New("killed")
	}
	answer := make(chan error, 1)
	if !stuck {
		go func() {
			time.Sleep(there)
			if l.broken() {
				return
			}
			l.db.mu.Lock()
			var err error
			if l.db.down {
				err = errors.New("the database is gone")
			} else {
				err = statement()
			}
			l.db.mu.Unlock()
			time.Sleep(back)
			if !l.broken() {
				answer <- err
			}
		}()
	}
	select {
	case err := <-answer:
		l.still()
		return err
	case <-ctx.Done():
		l.still()
		return ctx.Err()
	}
}

func (l *link) Look(ctx context.Context) (leases []postgres.Lease, members []postgres.Member, err error) {
	l.set(func(l *link) { l.looks++ })
	if l.fault(failedLook) {
		return nil, nil, errors.New("look failed")
	}
	var seen []postgres.Lease
	var who []postgres.Member
	err = l.exec(ctx, l.fault(hangingLook), func() error {
		seen = slices.Collect(maps.Values(l.db.leases))
		who = slices.Collect(maps.Values(l.db.members))
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return seen, who, nil
}

func (l *link) Renew(ctx context.Context, self postgres.Member, tenures []*tenure) error {
	stuck := l.fault(hangingRenewal)
	l.still()
	tenures = slices.DeleteFunc(slices.Clone(tenures), func(t *tenure) bool { return !t.alive() })
	sent, wall := time.Now(), l.wall()
	lost := map[*tenure]bool{}
	err := l.exec(ctx, stuck, func() error {
		self.Beats = l.db.members[self.ID].Beats + 1
		l.db.members[self.ID] = self
		for _, t := range tenures {
			row := l.db.leases[t.account]
			if !t.owns(row) {
				lost[t] = true
				continue
			}
			row.Renewals++
			l.db.leases[t.account] = row
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, t := range tenures {
		if lost[t] {
			t.die()
		} else {
			t.extend(sent, wall)
		}
	}
	return nil
}

func (l *link) TakeOver(
	ctx context.Context, seen postgres.Lease, self postgres.Member, _ time.Duration,
) (*tenure, error) {
	l.still()
	t := &tenure{link: l, id: self.ID, account: seen.Account, done: make(chan struct{})}
	sent, wall := time.Now(), l.wall()
	err := l.exec(ctx, l.fault(hangingTakeOver), func() error {
		row, ok := l.db.leases[seen.Account]
		if !ok {
			row.Account = seen.Account
		}
		if row != seen {
			return postgres.ErrSeenChanged
		}
		l.db.numbers++
		t.number, t.token = row.Number+1, fmt.Sprint("token", l.db.numbers)
		l.db.leases[t.account] = postgres.Lease{Account: t.account, Owner: self.ID, OwnerURL: self.URL,
			Number: t.number, Token: t.token, Since: time.Now()}
		_, visible := l.db.members[self.ID]
		l.db.moves = append(l.db.moves, moved{t.account, seen.Owner, self.ID, time.Now(), visible})
		return nil
	})
	if err != nil {
		return nil, err
	}
	t.extend(sent, wall)
	l.db.mu.Lock()
	l.db.tenures = append(l.db.tenures, t)
	l.db.mu.Unlock()
	l.db.owner(t.account)
	return t, nil
}

func (l *link) Leave(ctx context.Context, seen postgres.Member) error {
	return l.exec(ctx, false, func() error {
		if seen.Beats == 0 || seen.Beats == l.db.members[seen.ID].Beats {
			delete(l.db.members, seen.ID)
		}
		return nil
	})
}

// A tenure implements replica.Tenure.
type tenure struct {
	link    *link
	id      string // of the replica
	account string
	number  int64
	token   string
	done    chan struct{}

	mu          sync.Mutex // guards everything below
	until, wall time.Time
	dead        bool
}

func (t *tenure) owns(row postgres.Lease) bool {
	return row.Number == t.number && row.Token == t.token && !row.Released
}

func (t *tenure) extend(sent, wall time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if until := sent.Add(lease - lease/10); until.After(t.until) {
		t.until, t.wall = until, wall.Add(lease-lease/10)
	}
}

func (t *tenure) Valid() bool {
	wall, killed := t.link.wall(), false
	t.link.set(func(l *link) { killed = l.dead })
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.dead && !killed && time.Now().Before(t.until) && wall.Before(t.wall)
}

func (t *tenure) Done() <-chan struct{} { return t.done }

// alive lets a tenure die that is no longer valid.
func (t *tenure) alive() bool {
	if !t.Valid() {
		t.die()
		return false
	}
	return true
}

func (t *tenure) die() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.dead {
		t.dead = true
		close(t.done)
	}
}

// commit renews the lease, as everything that is written for the account does.
func (t *tenure) commit(ctx context.Context) error {
	t.link.still()
	if !t.alive() {
		return errors.New("not the owner")
	}
	sent, wall := time.Now(), t.link.wall()
	err := t.link.exec(ctx, false, func() error {
		row := t.link.db.leases[t.account]
		if !t.owns(row) {
			return errors.New("not the owner")
		}
		row.Commits++
		t.link.db.leases[t.account] = row
		return nil
	})
	if err != nil {
		t.die()
		return err
	}
	t.extend(sent, wall)
	return nil
}

// release ends the tenure, and then frees the lease.
func (t *tenure) release(ctx context.Context, successor string) error {
	t.die()
	if t.link.fault(failedRelease) {
		return errors.New("release lost")
	}
	return t.link.exec(ctx, false, func() error {
		if row := t.link.db.leases[t.account]; t.owns(row) {
			row.Released, row.Successor = true, successor
			t.link.db.leases[t.account] = row
		}
		return nil
	})
}

// A process is a running replica with somebody who does what it says.
type process struct {
	*replica.Replica[*tenure]
	link   *link
	t      *testing.T
	cancel context.CancelFunc
	ended  chan struct{}
	// busy is how long a handover takes.
	busy time.Duration
	// asked is how often the release of an account was asked for.
	asked map[string]int
}

// start starts a process with accounts in its configuration.
func (d *database) start(name string, accounts ...string) *process {
	return d.startOn(d.link(), name, accounts...)
}

func (d *database) startOn(l *link, name string, accounts ...string) *process {
	return d.begin(l, name, accounts, func(*process) {})
}

// begin starts a process after a preparation.
func (d *database) begin(l *link, name string, accounts []string, prepare func(*process)) *process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{link: l, t: d.t, cancel: cancel, ended: make(chan struct{}), asked: map[string]int{}}
	p.Replica = replica.New(l, replica.Options{
		Name: name, URL: "http://" + name, Lease: lease, Log: logger(d.t),
	})
	p.SetWall(l.wall)
	p.SetAccounts(accounts)
	prepare(p)
	go p.Run(ctx)
	go func() {
		defer close(p.ended)
		var working sync.WaitGroup
		defer working.Wait()
		for c := range p.Changes() {
			if c.Release {
				p.asked[c.Account]++
				working.Go(func() {
					time.Sleep(p.busy)
					bounded, cancel := context.WithTimeout(ctx, lease)
					defer cancel()
					_ = c.Tenure.release(bounded, c.Successor) // if it fails, the lease runs out
				})
				continue
			}
			working.Go(func() { p.work(ctx, c.Tenure) })
		}
	}()
	d.t.Cleanup(p.kill)
	return p
}

// work commits now and then.
func (p *process) work(ctx context.Context, t *tenure) {
	for {
		select {
		case <-t.Done():
			return
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(rand.Int64N(int64(lease)))):
		}
		if p.link.db.quiet {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, lease)
		_ = t.commit(bounded)
		cancel()
	}
}

// kill ends a process as kill -9 does.
func (p *process) kill() {
	p.link.set(func(l *link) { l.dead = true })
	p.cancel()
	<-p.ended
}

// leave stops a process in order.
func (p *process) leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*lease)
	defer cancel()
	err := p.Leave(ctx)
	p.cancel()
	<-p.ended
	return err
}

// pause lets a process stand still, as SIGSTOP does.
func (p *process) pause(d time.Duration) {
	p.link.set(func(l *link) { l.thaw = time.Now().Add(d) })
}

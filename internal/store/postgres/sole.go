package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// A Sole is a database as an engine for one process that owns all accounts, such as one that copies them. It takes over
// an account when it is used first, renews nothing, and releases all when it is closed.
type Sole struct {
	*DB
	self Member
	seen map[string]Lease // before the wait

	mu       sync.Mutex // guards accounts
	accounts map[string]*soleAccount
}

// soleTenure is how long a Sole owns an account if no replica takes it over.
const soleTenure = 24 * time.Hour

// Sole returns the database as an engine that owns all accounts, under the name of a replica. If there are accounts
// that other replicas own, it logs that, and waits for a lease once. An account whose lease is renewed meanwhile cannot
// be used.
func (db *DB) Sole(ctx context.Context, self Member, lease time.Duration) (*Sole, error) {
	leases, _, err := db.Look(ctx)
	if err != nil {
		return nil, err
	}
	s := &Sole{DB: db, self: self, seen: make(map[string]Lease), accounts: make(map[string]*soleAccount)}
	owned := 0
	for _, l := range leases {
		s.seen[l.Account] = l
		if !l.Released {
			owned++
		}
	}
	if owned == 0 {
		return s, nil
	}
	db.log.Info("Accounts have an owner that may have been killed; waiting until it certainly no longer owns them",
		"accounts", owned, "wait", lease)
	select {
	case <-time.After(lease):
		return s, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting until no replica owns an account: %w", ctx.Err())
	}
}

// Account returns the account of that name; it need not exist yet.
func (s *Sole) Account(name string) store.Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = store.Clean(name)
	if s.accounts[name] == nil {
		s.accounts[name] = &soleAccount{Account: s.DB.Account(name), sole: s, name: name}
	}
	return s.accounts[name]
}

// Close releases all accounts, and closes the database.
func (s *Sole) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	var err error
	for _, a := range s.accounts {
		if a.tenure != nil && a.tenure.Valid() {
			err = errors.Join(err, a.tenure.Release(ctx, ""))
		}
	}
	return errors.Join(err, s.DB.Close())
}

// A soleAccount is taken over when it is used first.
type soleAccount struct {
	store.Account // to read
	sole          *Sole
	name          string

	mu     sync.Mutex // guards tenure
	tenure *Tenure
}

// own returns the tenure, which it begins if there is none.
func (a *soleAccount) own(ctx context.Context) (*Tenure, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tenure != nil {
		return a.tenure, nil
	}
	seen, there := a.sole.seen[a.name]
	if !there {
		seen.Account = a.name
	}
	var err error
	a.tenure, err = a.sole.TakeOver(ctx, seen, a.sole.self, soleTenure)
	if errors.Is(err, ErrSeenChanged) {
		err = a.owned(ctx)
	}
	return a.tenure, err
}

// owned returns the error that another replica owns the account.
func (a *soleAccount) owned(ctx context.Context) error {
	leases, _, err := a.sole.Look(ctx)
	if err != nil {
		return err
	}
	for _, l := range leases {
		if l.Account == a.name {
			return fmt.Errorf("replica %q at %s owns account %q: stop it first", l.Owner, l.OwnerURL, a.name)
		}
	}
	return fmt.Errorf("account %q: %w", a.name, ErrSeenChanged)
}

// ownSoon is own, for what has no context.
func (a *soleAccount) ownSoon() (*Tenure, error) {
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	return a.own(ctx)
}

func (a *soleAccount) Load(ctx context.Context) (*store.Contents, error) {
	t, err := a.own(ctx)
	if err != nil {
		return nil, err
	}
	return t.Load(ctx)
}

func (a *soleAccount) Commit(b *store.Batch) error {
	t, err := a.ownSoon()
	if err != nil {
		return err
	}
	return t.Commit(b)
}

func (a *soleAccount) Inbox() ([]store.Message, bool, error) {
	t, err := a.ownSoon()
	if err != nil {
		return nil, false, err
	}
	return t.Inbox()
}

// Size measures the database.
func (a *soleAccount) Size() (bytes int64) {
	err := a.sole.pool.QueryRow(context.Background(), "SELECT pg_database_size(current_database())").Scan(&bytes)
	if err != nil {
		return a.Account.Size()
	}
	return bytes
}

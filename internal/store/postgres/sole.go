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
	self  Member
	lease time.Duration

	mu       sync.Mutex // guards accounts
	accounts map[string]*soleAccount
}

// soleTenure is how long a Sole owns an account if no replica takes it over.
const soleTenure = 24 * time.Hour

// Sole returns the database as an engine that owns all accounts, under the name of a replica. An account that another
// one owns is used only if that has not renewed its lease for the duration of one.
func (db *DB) Sole(self Member, lease time.Duration) *Sole {
	return &Sole{DB: db, self: self, lease: lease, accounts: make(map[string]*soleAccount)}
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
	seen, err := a.sole.lookAt(ctx, a.name)
	if err == nil && seen.Number > 0 && !seen.Released {
		select {
		case <-time.After(a.sole.lease):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err == nil {
		a.tenure, err = a.sole.TakeOver(ctx, seen, a.sole.self, soleTenure)
	}
	if errors.Is(err, ErrSeenChanged) {
		err = fmt.Errorf("replica %q at %s owns account %q: stop it first", seen.Owner, seen.OwnerURL, a.name)
	}
	return a.tenure, err
}

// lookAt returns the lease of an account.
func (db *DB) lookAt(ctx context.Context, account string) (Lease, error) {
	leases, _, err := db.Look(ctx)
	for _, l := range leases {
		if l.Account == account {
			return l, err
		}
	}
	return Lease{Account: account}, err
}

func (a *soleAccount) Load(ctx context.Context) (*store.Contents, error) {
	t, err := a.own(ctx)
	if err != nil {
		return nil, err
	}
	return t.Load(ctx)
}

func (a *soleAccount) Commit(b *store.Batch) error {
	t, err := a.own(context.Background())
	if err != nil {
		return err
	}
	return t.Commit(b)
}

func (a *soleAccount) Inbox() ([]store.Message, bool, error) {
	t, err := a.own(context.Background())
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

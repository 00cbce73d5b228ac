package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// A reader reads an account, whoever owns it.
type reader struct {
	db   *DB
	name string
}

// Load returns everything that is stored of the account, as it is at one moment.
func (r reader) Load(ctx context.Context) (*store.Contents, error) {
	return r.load(ctx, tables, func(tx pgx.Tx, c *store.Contents) (err error) {
		c.Inbox, _, err = inbox(ctx, tx, r.name, viewMessages, viewBytes)
		return err
	})
}

// load loads what some tables have of the account, and first does what else belongs into the same snapshot. It waits
// while many others load.
func (r reader) load(
	ctx context.Context, from []*table, first func(pgx.Tx, *store.Contents) error,
) (*store.Contents, error) {
	select {
	case r.db.loads <- struct{}{}:
		defer func() { <-r.db.loads }()
	case <-ctx.Done():
		return nil, fmt.Errorf("loading account %q: %w", r.name, ctx.Err())
	}
	c := new(store.Contents)
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, r.db.pool, snapshot, func(tx pgx.Tx) error {
		if err := first(tx, c); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SET LOCAL enable_seqscan = on"); err != nil { // it may be most of the table
			return err
		}
		for _, t := range from {
			if err := t.load(ctx, tx, r.name, c); err != nil {
				return fmt.Errorf("reading the table %s: %w", t.name, err)
			}
		}
		return tx.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&c.Now)
	})
	if err != nil {
		return nil, fmt.Errorf("loading account %q: %w", r.name, r.db.failed(ctx, err))
	}
	c.Now = c.Now.UTC()
	return c, nil
}

// Commit stores nothing.
func (r reader) Commit(*store.Batch) error { return fmt.Errorf("storing: %w", store.ErrNotOwner) }

// Verify finds nothing wrong: the database looks after its files.
func (r reader) Verify() error { return nil }

// Size returns the bytes on disk of the whole database, as measured within a minute before the last renewal of leases.
func (r reader) Size() int64 { return r.db.size.Load() }

// A sender reads what was sent for an account.
type sender struct{ reader }

// Load returns the totals and requests of the account.
func (s sender) Load(ctx context.Context) (*store.Contents, error) {
	return s.load(ctx, []*table{totals, requests}, func(pgx.Tx, *store.Contents) error { return nil })
}

// Inbox returns nothing: its messages are for all of the account.
func (sender) Inbox() ([]store.Message, bool, error) { return nil, false, nil }

// A Tenure is an account from a takeover to the next one, for its owner. It is dead from when another replica may own
// the account: then it stores and loads nothing.
type Tenure struct {
	reader
	number int64
	token  string
	lease  time.Duration

	mu      sync.Mutex   // a commit holds it, and no other changes commits
	commits atomic.Int64 // that were successful

	renewed atomic.Pointer[time.Time] // when the last successful takeover, renewal or commit was sent
	died    sync.Once
	done    chan struct{}
}

// Valid reports whether the account is certainly owned: no other replica may have taken it over yet.
func (t *Tenure) Valid() bool {
	select {
	case <-t.done:
		return false
	default:
	}
	sent, now := *t.renewed.Load(), time.Now()
	// A machine may sleep, which its monotonic clock may not count, and its wall clock may be set.
	passed := max(now.Sub(sent), now.Round(0).Sub(sent.Round(0)))
	return passed < t.lease-t.lease/10
}

// Done is closed when the tenure is dead.
func (t *Tenure) Done() <-chan struct{} { return t.done }

// Drop makes the tenure dead, without a word to the database.
func (t *Tenure) Drop() { t.died.Do(func() { close(t.done) }) }

// alive returns an error if the account is not certainly owned any more. A tenure that expired stays dead: a successor
// may have shown what a failover of the database has lost since, its takeover with it.
func (t *Tenure) alive() error {
	if !t.Valid() {
		t.Drop()
		return store.ErrNotOwner
	}
	return nil
}

// renew notes the time at which a successful renewal was sent.
func (t *Tenure) renew(sent time.Time) {
	for {
		before := t.renewed.Load()
		if !sent.After(*before) || t.renewed.CompareAndSwap(before, &sent) {
			return
		}
	}
}

// Load returns everything that is stored of the account.
func (t *Tenure) Load(ctx context.Context) (*store.Contents, error) {
	if err := t.alive(); err != nil {
		return nil, fmt.Errorf("loading account %q: %w", t.name, err)
	}
	return t.load(ctx, tables, func(tx pgx.Tx, _ *store.Contents) error {
		var owned bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM leases
			WHERE account = $1 AND number = $2 AND token = $3 AND NOT released)`, t.name, t.number, t.token).Scan(&owned)
		if err == nil && !owned {
			t.Drop()
			err = store.ErrNotOwner
		}
		return err
	})
}

// fence is the first part of a commit, on whose row all others depend: it locks the row of the lease, so that a
// takeover comes before all of the commit or after it, and it passes each number of a commit once.
const fence = `fence AS (UPDATE leases SET commits = commits + 1
WHERE account = %s AND number = %s AND token = %s AND commits = %s AND NOT released AND ` + agreed + `
RETURNING account, number)`

// Commit stores a batch in one statement. Its outcome is unknown if the connection breaks or the time of a lease is
// over before the answer, or if the database warns that it did not wait for its standby. The tenure is dead then.
func (t *Tenure) Commit(b *store.Batch) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.alive(); err != nil {
		return fmt.Errorf("storing: %w", err)
	}
	s := new(statement)
	s.add(fence, t.name, t.number, t.token, t.commits.Load(), t.db.lease)
	for _, table := range tables {
		table.change(s, b)
	}
	if len(b.Received) > 0 {
		// A failover to an asynchronous standby may have lost some of these, and given their numbers to others.
		numbers, sums := make([]uint64, len(b.Received)), make([][]byte, len(b.Received))
		for i, m := range b.Received {
			sum := sha256.Sum256(slices.Concat([]byte(m.Kind), []byte(m.RequestID), m.Body))
			numbers[i], sums[i] = m.Number, sum[:]
		}
		s.add(removing("inbox", "unnest(%s::bigint[], %s::bytea[]) AS r(number, sum)",
			"number = r.number AND sha256(convert_to(concat(kind, request_id, body), 'UTF8')) = sum"), numbers, sums)
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.lease)
	defer cancel()
	sent := time.Now()
	passed, err := change(ctx, t.db, t.db.pool, pgx.RowTo[int64], s.text(), s.args...)
	switch {
	case errors.Is(err, store.ErrUnknown):
		t.Drop()
	case err == nil && len(passed) == 0:
		t.Drop()
		err = store.ErrNotOwner
	case err == nil:
		t.commits.Add(1)
		t.renew(sent)
	}
	if err != nil {
		return fmt.Errorf("storing: %w", err)
	}
	return nil
}

// Verify returns an error if the tenure is dead.
func (t *Tenure) Verify() error {
	select {
	case <-t.done:
		return fmt.Errorf("looking at the store: %w", store.ErrNotOwner)
	default:
		return nil
	}
}

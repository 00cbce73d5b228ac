package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// A Lease is the row of an account, as it was seen.
type Lease struct {
	Account         string
	Owner, OwnerURL string
	Number          int64     // of acquisitions; 0: the account has never had an owner
	Token           string    // random, of this acquisition: a failover may give a number twice
	Commits         int64     // of this acquisition
	Renewals        int64     // beside commits
	Since           time.Time // of the acquisition, by the clock of the database
	Released        bool      // there is no owner
	Successor       string    // the replica for which it was released; empty: any
}

// A Member is the row of a replica.
type Member struct {
	ID, URL  string
	Accounts []string // in its configuration
	Beats    int64    // rises with each renewal
	Leaving  bool     // it takes over nothing any more
}

// ErrSeenChanged is wrapped by an error of TakeOver if the lease is not as it was seen.
var ErrSeenChanged = errors.New("the lease has changed meanwhile")

// Look returns all leases and members as they are at one moment.
func (db *DB) Look(ctx context.Context) (leases []Lease, members []Member, err error) {
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, db.control, snapshot, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT account, owner, owner_url, number, token, commits, renewals, since, released,
			successor FROM leases ORDER BY account`)
		if err == nil {
			leases, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Lease])
		}
		if err != nil {
			return err
		}
		rows, err = tx.Query(ctx, "SELECT id, url, accounts, beats, leaving FROM replicas ORDER BY id")
		if err == nil {
			members, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Member])
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("looking at the leases: %w", err)
	}
	return leases, members, nil
}

// Renew lets other replicas see that this one is alive, and renews its leases. A tenure whose lease is another
// replica's dies. A lease whose row is locked is left to what locks it: a commit, which renews it too.
func (db *DB) Renew(ctx context.Context, self Member, tenures []*Tenure) error {
	var accounts, tokens []string
	var numbers []int64
	owned := make(map[string]*Tenure)
	for _, t := range tenures {
		if t.alive() == nil {
			accounts, numbers, tokens = append(accounts, t.name), append(numbers, t.number), append(tokens, t.token)
			owned[t.name] = t
		}
	}
	type row struct {
		Account string
		Renewed bool
		Size    int64
	}
	sent := time.Now()
	rows, err := unlocking(ctx, db.control, "replicas", "id", self.ID, func() ([]row, error) {
		return change(ctx, db.control, pgx.RowToStructByPos[row], `
			WITH alone AS (SELECT FROM replicas WHERE id = $1 FOR UPDATE NOWAIT),
			beat AS (INSERT INTO replicas (id, url, accounts, beats, leaving)
				SELECT $1, $2, $3, 1, $4 FROM (SELECT count(*) FROM alone) AS first
				ON CONFLICT (id) DO UPDATE SET url = excluded.url, accounts = excluded.accounts,
					beats = replicas.beats + 1, leaving = excluded.leaving),
			own AS (SELECT * FROM unnest($5::text[], $6::bigint[], $7::text[]) AS own (account, number, token)),
			free AS (SELECT leases.account FROM leases JOIN own USING (account, number, token) WHERE NOT released
				FOR UPDATE OF leases SKIP LOCKED),
			renewed AS (UPDATE leases SET renewals = renewals + 1 FROM free WHERE leases.account = free.account
				RETURNING leases.account)
			SELECT account, account IN (SELECT account FROM renewed), 0 FROM leases JOIN own USING (account, number, token)
			WHERE NOT released
			UNION ALL SELECT '', false, pg_database_size(current_database())`,
			self.ID, self.URL, clean(self.Accounts), self.Leaving, accounts, numbers, tokens)
	})
	if err != nil {
		return fmt.Errorf("renewing the leases: %w", err)
	}
	for _, r := range rows {
		if r.Account == "" {
			db.size.Store(r.Size)
			continue
		}
		if r.Renewed {
			owned[r.Account].renew(sent)
		}
		delete(owned, r.Account)
	}
	for _, t := range owned {
		t.die()
	}
	return nil
}

// TakeOver makes a replica the owner of an account whose lease was seen released, or unchanged for a whole lease, or
// never (Lease{Account: name}). It ends sessions that hold the row: no timeout ends a transaction whose statement was
// cut off before its end.
func (db *DB) TakeOver(ctx context.Context, seen Lease, self Member, lease time.Duration) (*Tenure, error) {
	t := &Tenure{
		reader: reader{db, store.Clean(seen.Account)}, number: seen.Number + 1, token: rand.Text(), lease: lease,
		done: make(chan struct{}),
	}
	sent := time.Now()
	t.renewed.Store(&sent)
	taken, err := unlocking(ctx, db.control, "leases", "account", t.name, func() ([]int64, error) {
		if seen.Number == 0 {
			return change(ctx, db.control, pgx.RowTo[int64], `
				INSERT INTO leases (account, owner, owner_url, number, token, commits, renewals, since, released, successor)
				VALUES ($1, $2, $3, $4, $5, 0, 0, clock_timestamp(), false, '') ON CONFLICT DO NOTHING RETURNING number`,
				t.name, self.ID, self.URL, t.number, t.token)
		}
		return change(ctx, db.control, pgx.RowTo[int64], `
			WITH seen AS (SELECT account FROM leases WHERE account = $1 AND number = $6 AND token = $7 AND commits = $8
				AND renewals = $9 AND released = $10 AND successor = $11 FOR UPDATE NOWAIT)
			UPDATE leases SET owner = $2, owner_url = $3, number = $4, token = $5, commits = 0, renewals = 0,
				since = clock_timestamp(), released = false, successor = ''
			FROM seen WHERE leases.account = seen.account RETURNING number`,
			t.name, self.ID, self.URL, t.number, t.token,
			seen.Number, seen.Token, seen.Commits, seen.Renewals, seen.Released, seen.Successor)
	})
	if err == nil && len(taken) == 0 {
		err = ErrSeenChanged
	}
	if err != nil {
		return nil, fmt.Errorf("taking over account %q: %w", t.name, err)
	}
	return t, nil
}

// unlocking calls do until it does not fail because a row is locked, and ends the session that locks it.
func unlocking[T any](
	ctx context.Context, pool *pgxpool.Pool, table, key, value string, do func() ([]T, error),
) ([]T, error) {
	for {
		rows, err := do()
		if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != locked {
			return rows, err
		}
		// The transaction that locks a row is the xmax of its last committed version.
		_, err = pool.Exec(ctx, "SELECT pg_terminate_backend(l.pid) FROM "+table+" r JOIN pg_locks l "+
			"ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = r.xmax WHERE r."+key+" = $1", value)
		if err != nil {
			return nil, fmt.Errorf("ending the session that locks the row: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond): // it ends by itself
		}
	}
}

// Release gives the lease back, for a successor if it is not empty. The tenure is dead then, also after an error.
func (t *Tenure) Release(ctx context.Context, successor string) error {
	t.mu.Lock() // after the last commit
	defer t.mu.Unlock()
	if err := t.alive(); err != nil {
		return fmt.Errorf("releasing account %q: %w", t.name, err)
	}
	t.die()
	released, err := change(ctx, t.db.control, pgx.RowTo[int64], `
		UPDATE leases SET released = true, successor = $4, renewals = renewals + 1
		WHERE account = $1 AND number = $2 AND token = $3 AND NOT released RETURNING number`,
		t.name, t.number, t.token, successor)
	if err == nil && len(released) == 0 {
		err = store.ErrNotOwner
	}
	if err != nil {
		return fmt.Errorf("releasing account %q: %w", t.name, err)
	}
	return nil
}

// Leave removes a member. If its beats are not 0, they must be those of the row: it is not removed if it is alive.
func (db *DB) Leave(ctx context.Context, self Member) error {
	_, err := db.control.Exec(ctx, "DELETE FROM replicas WHERE id = $1 AND $2::bigint IN (0, beats)", self.ID, self.Beats)
	if err != nil {
		return fmt.Errorf("removing the replica %q: %w", self.ID, err)
	}
	return nil
}

func clean(texts []string) []string {
	cleaned := make([]string, len(texts))
	for i, text := range texts {
		cleaned[i] = store.Clean(text)
	}
	return cleaned
}

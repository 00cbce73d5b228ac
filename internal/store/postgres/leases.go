package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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

// ErrSeenChanged is wrapped by an error of TakeOver if the lease is not as it was seen, or another one was agreed on.
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
		return nil, nil, fmt.Errorf("looking at the leases: %w", db.failed(ctx, err))
	}
	for i := range leases {
		leases[i].Since = leases[i].Since.UTC()
	}
	return leases, members, nil
}

// Renew lets other replicas see that this one is alive, and renews its leases. A tenure whose lease is another
// replica's dies, and so does one whose row lacks a commit: the database has gone back. A row that is locked is left to
// what locks it, such as a commit that waits for a standby: that renews the lease, too. If the tables have become too
// new for this version, or another lease was agreed on, all tenures die.
func (db *DB) Renew(ctx context.Context, self Member, tenures []*Tenure) error {
	for {
		locked, err := db.renew(ctx, self, tenures)
		var ended bool
		var failed error
		switch {
		case isLocked(err): // by the first renewal of this replica
			ended, failed = db.unlock(ctx, writers, stalled, "replicas")
		case locked:
			var accounts []string
			for _, t := range tenures {
				accounts = append(accounts, t.name)
			}
			ended, failed = db.unlock(ctx, lockers(`SELECT xmax FROM leases WHERE account = ANY($1)
				UNION ALL SELECT xmax FROM replicas WHERE id = $2`), stalled, accounts, store.Clean(self.ID))
		}
		err = errors.Join(err, failed)
		if !ended {
			db.measure(ctx)
			return err
		}
	}
}

// measureEvery is how often the database is measured at most: the server looks at all of its files for that.
const measureEvery = time.Minute

// measure measures the database if it is time. If it cannot, the last size stays.
func (db *DB) measure(ctx context.Context) {
	before, now := db.measured.Load(), time.Now()
	if before != nil && now.Sub(*before) < measureEvery || !db.measured.CompareAndSwap(before, &now) {
		return
	}
	var bytes int64
	err := db.control.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&bytes)
	if db.failed(ctx, err) == nil {
		db.size.Store(bytes)
	}
}

// renew reports whether a row was locked.
func (db *DB) renew(ctx context.Context, self Member, tenures []*Tenure) (locked bool, err error) {
	var accounts, tokens []string
	var numbers, commits []int64
	owned := make(map[string]*Tenure)
	for _, t := range tenures {
		if t.alive() == nil {
			accounts, numbers, tokens = append(accounts, t.name), append(numbers, t.number), append(tokens, t.token)
			commits = append(commits, t.commits.Load())
			owned[t.name] = t
		}
	}
	type row struct {
		Account      string // empty: of the replica
		Own, Renewed bool   // of the replica: its lease is the agreed one
		Compatible   int    // see schemaVersion
	}
	sent := time.Now()
	id := store.Clean(self.ID)
	rows, err := change(ctx, db, db.control, pgx.RowToStructByPos[row], `
		WITH agreed AS (SELECT WHERE `+fmt.Sprintf(agreed, "$8::text")+`),
		own AS (SELECT own.* FROM agreed, unnest($5::text[], $6::bigint[], $7::text[], $9::bigint[])
			AS own (account, number, token, known)),
		free AS (SELECT leases.account FROM leases JOIN own USING (account, number, token)
			WHERE NOT released AND commits >= known ORDER BY leases.account FOR UPDATE OF leases SKIP LOCKED),
		renewed AS (UPDATE leases SET renewals = renewals + 1 FROM free WHERE leases.account = free.account
			RETURNING leases.account),
		there AS (SELECT FROM replicas WHERE id = $1),
		unlocked AS (SELECT FROM replicas WHERE id = $1 FOR UPDATE SKIP LOCKED),
		beat AS (INSERT INTO replicas (id, url, accounts, beats, leaving) SELECT $1, $2, $3, 1, $4
			FROM agreed, `+boundWait+` WHERE EXISTS (SELECT FROM unlocked) OR NOT EXISTS (SELECT FROM there)
			ON CONFLICT (id) DO UPDATE SET url = excluded.url, accounts = excluded.accounts,
				beats = replicas.beats + 1, leaving = excluded.leaving RETURNING id)
		SELECT account, coalesce(NOT released AND commits >= known, false), account IN (SELECT account FROM renewed), 0
			FROM own LEFT JOIN leases USING (account, number, token)
		UNION ALL SELECT '', EXISTS (SELECT FROM agreed), EXISTS (SELECT FROM beat), value::int
			FROM meta WHERE name = 'compatible'`,
		id, store.Clean(self.URL), clean(self.Accounts), self.Leaving, accounts, numbers, tokens, db.lease, commits)
	if err != nil {
		return false, fmt.Errorf("renewing the leases: %w", err)
	}
	for _, r := range rows {
		locked = locked || r.Own && !r.Renewed
		switch {
		case r.Account == "":
			if err = tooNew(r.Compatible); err == nil && !r.Own {
				err = errOtherLease
			}
		case !r.Own:
			owned[r.Account].Drop()
		case r.Renewed:
			owned[r.Account].renew(sent)
		}
	}
	if err != nil {
		for _, t := range tenures {
			t.Drop()
		}
	}
	return locked, err
}

const (
	// stallTimeout is how long a statement may take between its parts. All of one travels at once.
	stallTimeout = "500 ms"
	// stalled is true of a session whose transaction waits for its client. Those that write are of one statement, the
	// end of which is missing then.
	stalled = "wait_event = 'ClientRead' AND xact_start < clock_timestamp() - interval '" + stallTimeout + "'"
	// boundWait ends, in the FROM of a statement, its wait for a row that another one has inserted and not committed. Such
	// a row cannot be seen, and not be skipped. The error is one of isLocked.
	boundWait = "set_config('lock_timeout', '" + stallTimeout + "', true)"
	// writers are, for unlock, the sessions that write to the table $1. Who has inserted a row cannot be seen.
	writers = `SELECT pid FROM pg_locks WHERE relation = $1::text::regclass AND mode = 'RowExclusiveLock' AND granted`
)

// lockers returns, for unlock, the sessions that lock rows. The transaction that locks one is the xmax of its last
// committed version, which rows selects.
func lockers(rows string) string {
	return `SELECT pid FROM (` + rows + `) AS r
		JOIN pg_locks AS l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = r.xmax`
}

// isLocked reports whether a statement failed since another session locks a row.
func isLocked(err error) bool {
	e, answered := errors.AsType[*pgconn.PgError](err)
	return answered && e.Code == rowLocked
}

// unlock ends those of some sessions for which a condition on pg_stat_activity is true, and reports whether there was
// one.
func (db *DB) unlock(ctx context.Context, sessions, condition string, args ...any) (ended bool, err error) {
	err = db.control.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity
		WHERE pid IN (`+sessions+`) AND pid <> pg_backend_pid() AND datname = current_database() AND `+condition,
		args...).Scan(&ended)
	if err != nil {
		return false, fmt.Errorf("ending the session that locks a row: %w", db.failed(ctx, err))
	}
	select { // it takes a moment, also where a session lets go by itself
	case <-ctx.Done():
		return false, ctx.Err()
	case <-time.After(10 * time.Millisecond):
	}
	return ended, nil
}

// TakeOver makes a replica the owner of an account whose lease was seen released, or unchanged for a whole lease, or
// never (Lease{Account: name}). It ends sessions that hold the row: no timeout ends a transaction whose statement was
// cut off before its end.
func (db *DB) TakeOver(ctx context.Context, seen Lease, self Member, lease time.Duration) (*Tenure, error) {
	t := &Tenure{
		reader: reader{db, store.Clean(seen.Account)}, number: seen.Number + 1, token: rand.Text(), lease: lease,
		done: make(chan struct{}),
	}
	for {
		err := db.take(ctx, t, seen, self)
		if err == nil {
			return t, nil
		}
		switch {
		case isLocked(err) && seen.Number == 0:
			_, err = db.unlock(ctx, writers, stalled, "leases")
		case isLocked(err):
			_, err = db.unlock(ctx, lockers("SELECT xmax FROM leases WHERE account = $1"), "true", t.name)
		}
		if err != nil {
			return nil, fmt.Errorf("taking over account %q: %w", t.name, err)
		}
	}
}

func (db *DB) take(ctx context.Context, t *Tenure, seen Lease, self Member) error {
	statement := `INSERT INTO leases (account, owner, owner_url, number, token, commits, renewals, since, released,
		successor) SELECT $1, $2, $3, $4, $5, 0, 0, clock_timestamp(), false, '' FROM ` + boundWait + `
		WHERE ` + fmt.Sprintf(agreed, "$6::text") + ` ON CONFLICT DO NOTHING RETURNING number`
	args := []any{store.Clean(self.ID), store.Clean(self.URL), t.number, t.token, db.lease}
	if seen.Number > 0 {
		statement = `UPDATE leases SET owner = $2, owner_url = $3, number = $4, token = $5, commits = 0, renewals = 0,
			since = clock_timestamp(), released = false, successor = ''
			FROM (SELECT account FROM leases WHERE account = $1 AND number = $7 AND token = $8 AND commits = $9
				AND renewals = $10 AND released = $11 AND successor = $12
				AND ` + fmt.Sprintf(agreed, "$6::text") + ` FOR UPDATE NOWAIT) AS seen
			WHERE leases.account = seen.account RETURNING number`
		args = append(args, seen.Number, seen.Token, seen.Commits, seen.Renewals, seen.Released, seen.Successor)
	}
	sent := time.Now()
	t.renewed.Store(&sent)
	err := db.changeLease(ctx, statement, t.name, args...)
	if errors.Is(err, errNoRow) {
		return ErrSeenChanged
	}
	return err
}

// errNoRow means that a statement has changed no row.
var errNoRow = errors.New("no row was changed")

// changeLease changes the lease of an account, $1, and lets those hear it that listen.
func (db *DB) changeLease(ctx context.Context, statement string, account string, args ...any) error {
	changed, err := change(ctx, db, db.control, pgx.RowTo[int64], statement, append([]any{account}, args...)...)
	if err == nil && len(changed) == 0 {
		err = errNoRow
	}
	if err == nil {
		db.notify(ctx, db.control, leaseChannel, account)
	}
	return err
}

// Release gives the lease back, for a successor if it is not empty. The tenure is dead then, also after an error.
func (t *Tenure) Release(ctx context.Context, successor string) error {
	t.mu.Lock() // after the last commit
	defer t.mu.Unlock()
	if err := t.alive(); err != nil {
		return fmt.Errorf("releasing account %q: %w", t.name, err)
	}
	t.Drop()
	err := t.db.changeLease(ctx, `UPDATE leases SET released = true, successor = $4, renewals = renewals + 1
		WHERE account = $1 AND number = $2 AND token = $3 AND NOT released RETURNING number`,
		t.name, t.number, t.token, store.Clean(successor))
	if errors.Is(err, errNoRow) {
		err = store.ErrNotOwner
	}
	if err != nil {
		return fmt.Errorf("releasing account %q: %w", t.name, err)
	}
	return nil
}

// Leave removes a member. If its beats are not 0, they must be those of the row: it is not removed if it is alive.
func (db *DB) Leave(ctx context.Context, self Member) error {
	_, err := db.control.Exec(ctx, "DELETE FROM replicas WHERE id = $1 AND $2::bigint IN (0, beats)",
		store.Clean(self.ID), self.Beats)
	if err != nil {
		return fmt.Errorf("removing the replica %q: %w", self.ID, db.failed(ctx, err))
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

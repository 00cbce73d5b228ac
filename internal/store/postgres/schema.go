package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// schemaVersion is in the table meta, as the row schema. The row compatible is the oldest version whose replicas may
// use the tables: a migration that only adds leaves it as it is, so that they run on beside newer ones. One that does
// more raises it, and takes all leases away in its transaction.
const schemaVersion = 1

// schemaLock is the key of the advisory lock under which the tables are made and migrated.
const schemaLock = 0x6465657061666665 // "deepaffe"

// migrations bring a database from the version of their index to the next one, which they do not store themselves.
//
// Rows of leases, replicas and totals are changed with every commit or renewal. Their pages have room for the next
// versions of a row, and no index has what changes, so that these take the place of older ones on the page.
var migrations = []string{`
CREATE TABLE meta (name text COLLATE "C" PRIMARY KEY, value text COLLATE "C" NOT NULL);
INSERT INTO meta VALUES ('compatible', '1');

CREATE TABLE leases (account text COLLATE "C" PRIMARY KEY, owner text COLLATE "C" NOT NULL,
	owner_url text COLLATE "C" NOT NULL, number bigint NOT NULL, token text COLLATE "C" NOT NULL, commits bigint NOT NULL,
	renewals bigint NOT NULL, since timestamptz NOT NULL, released boolean NOT NULL, successor text COLLATE "C" NOT NULL)
	WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE replicas (id text COLLATE "C" PRIMARY KEY, url text COLLATE "C" NOT NULL, accounts text[] NOT NULL,
	beats bigint NOT NULL, leaving boolean NOT NULL)
	WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

` + create(jobs, "fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000") + `
` + create(departed, "fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000") + `
` + create(totals, "fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000") + `
` + create(requests, "fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000") + `
` + create(learnt, "fillfactor = 80") + `
` + create(timings, "fillfactor = 100") + `
` + create(stateChanges, "fillfactor = 100, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000") + `

CREATE TABLE inbox (account text COLLATE "C" NOT NULL, number bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
	kind text COLLATE "C" NOT NULL, request_id text COLLATE "C", body text COLLATE "C", PRIMARY KEY (account, number))
	WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX inbox_request_id ON inbox (account, request_id);
`}

// migrate makes the tables, or migrates those of an older version. If they are up to date, it takes no lock: a process
// that stands still with it must not keep others from starting.
func (db *DB) migrate(ctx context.Context) error {
	upToDate, err := db.upToDate(ctx)
	if err != nil || upToDate {
		return err
	}
	// The lock is held to the end of the transaction: who waits for it finds the tables made.
	return pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(schemaLock)); err != nil {
			return fmt.Errorf("waiting for the lock on the tables: %w", err)
		}
		version, compatible, err := versions(ctx, tx)
		if err == nil {
			err = tooNew(compatible)
		}
		if err != nil {
			return err
		}
		for ; version < schemaVersion; version++ {
			script := migrations[version] +
				"INSERT INTO meta VALUES ('schema', '" + strconv.Itoa(version+1) + "') " +
				"ON CONFLICT (name) DO UPDATE SET value = excluded.value"
			if _, err := tx.Conn().PgConn().Exec(ctx, script).ReadAll(); err != nil {
				return fmt.Errorf("making the tables of schema %d: %w", version+1, err)
			}
		}
		return nil
	})
}

// refuseOlder returns an error if migrate would change anything.
func (db *DB) refuseOlder(ctx context.Context) error {
	upToDate, err := db.upToDate(ctx)
	if err == nil && !upToDate {
		err = errors.New("the tables of this version are not there; a replica of it makes or migrates them when it starts")
	}
	return err
}

// upToDate reports whether the tables are there, and of this version or a newer one that replicas of this one may use.
func (db *DB) upToDate(ctx context.Context) (bool, error) {
	version, compatible, err := versions(ctx, db.control) // a session remembers that a table is not there
	if err == nil {
		err = tooNew(compatible)
	}
	return version >= schemaVersion, err
}

// versions returns the version of the tables, 0 if there are none, and the oldest one whose replicas may use them.
func versions(ctx context.Context, in interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}) (version, compatible int, err error) {
	var there bool
	err = in.QueryRow(ctx, "SELECT to_regclass('meta') IS NOT NULL").Scan(&there)
	if err == nil && there {
		err = in.QueryRow(ctx, `SELECT s.value::int, c.value::int FROM meta AS s, meta AS c
			WHERE s.name = 'schema' AND c.name = 'compatible'`).Scan(&version, &compatible)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		err = errors.New("the table meta is of another program; use another database or schema")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("reading the version of the tables: %w", err)
	}
	return version, compatible, nil
}

// tooNew returns an error if replicas of this version must not use the tables.
func tooNew(compatible int) error {
	if compatible <= schemaVersion {
		return nil
	}
	return fmt.Errorf("the tables were made by a newer version (they need schema %d, this one knows %d); "+
		"use that version, or another database", compatible, schemaVersion)
}

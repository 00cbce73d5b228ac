package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
)

// agreed is a condition of a statement that gives or renews leases: the length of this replica's is still the one that
// all agreed on. An empty one is of a process that did not ask.
const agreed = "%s IN ('', (SELECT value FROM meta WHERE name = 'lease'))"

// errOtherLease is the error of a renewal where agreed does not hold.
var errOtherLease = errors.New("replicas that were started since have another lease; restart this one with that")

// AgreeOnLease returns an error if replicas run that have another lease: those with a shorter one would take over
// while an owner is still valid. If none has run for one of their leases, it withdraws that, so that none can go on,
// and waits for one more, until none is valid that was renewed before. Package model explores why.
func (db *DB) AgreeOnLease(ctx context.Context, lease time.Duration) error {
	db.lease = lease.String()
	_, err := db.pool.Exec(ctx, "INSERT INTO meta VALUES ('lease', $1) ON CONFLICT DO NOTHING", db.lease)
	for err == nil {
		var before, after string
		if before, err = db.agreedOn(ctx); err != nil || before == db.lease {
			break
		}
		others, _, withdrawn := strings.Cut(before, " ")
		if err = db.replaceLease(ctx, before, others, withdrawn); err != nil {
			break
		}
		if after, err = db.agreedOn(ctx); err == nil && after == before {
			return fmt.Errorf("replicas with a lease of %s use this database, and this one has %s; "+
				"give all the same lease, and stop all of them to change it", others, db.lease)
		}
	}
	if err != nil {
		return fmt.Errorf("comparing the lease with that of other replicas: %w", db.failed(ctx, err))
	}
	return nil
}

// agreedOn returns the length that replicas agreed on, with a random text behind it if it was withdrawn.
func (db *DB) agreedOn(ctx context.Context) (text string, err error) {
	err = db.pool.QueryRow(ctx, "SELECT value FROM meta WHERE name = 'lease'").Scan(&text)
	return text, err
}

// replaceLease withdraws a length after a lease of it, unless replicas have run meanwhile; or, if it is withdrawn, puts
// the own in its place.
func (db *DB) replaceLease(ctx context.Context, before, others string, withdrawn bool) error {
	length, err := time.ParseDuration(others)
	if err != nil {
		return err
	}
	_, members, err := db.Look(ctx)
	if err != nil {
		return err
	}
	db.log.Info("Replicas agreed on another lease; waiting until certainly none has it any longer", "lease", others)
	select {
	case <-time.After(length):
	case <-ctx.Done():
		return ctx.Err()
	}
	if withdrawn {
		_, err = db.pool.Exec(ctx, "UPDATE meta SET value = $2 WHERE name = 'lease' AND value = $1", before, db.lease)
		return err
	}
	var ids []string
	var beats []int64
	for _, m := range members {
		ids, beats = append(ids, m.ID), append(beats, m.Beats)
	}
	_, err = db.pool.Exec(ctx, `UPDATE meta SET value = $2 WHERE name = 'lease' AND value = $1 AND NOT EXISTS
		(SELECT id, beats FROM replicas EXCEPT SELECT * FROM unnest($3::text[], $4::bigint[]))`,
		before, others+" "+rand.Text(), ids, beats)
	return err
}

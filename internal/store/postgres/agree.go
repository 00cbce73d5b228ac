package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// AgreeOnLease returns an error if replicas run that have another lease: those with a shorter one would take over while
// an owner is still valid. Whether they run is certain after one of their leases.
func (db *DB) AgreeOnLease(ctx context.Context, lease time.Duration) error {
	agreed := func() (text string, err error) {
		err = db.pool.QueryRow(ctx, "SELECT value FROM meta WHERE name = 'lease'").Scan(&text)
		return text, err
	}
	own := lease.String()
	_, err := db.pool.Exec(ctx, "INSERT INTO meta VALUES ('lease', $1) ON CONFLICT DO NOTHING", own)
	for err == nil {
		var others string
		if others, err = agreed(); err != nil || others == own {
			break
		}
		length, _ := time.ParseDuration(others)
		var before, after []Member
		if _, before, err = db.Look(ctx); err != nil {
			break
		}
		select {
		case <-time.After(length):
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, after, err = db.Look(ctx); err != nil {
			break
		}
		var now string // a replica with this lease may have been faster
		if now, err = agreed(); err != nil || now != others {
			continue
		}
		for _, m := range after {
			seen := func(b Member) bool { return b.ID == m.ID && b.Beats == m.Beats }
			if !slices.ContainsFunc(before, seen) {
				return fmt.Errorf("replicas with a lease of %s use this database, and this one has %s; "+
					"give all the same lease, and stop all of them to change it", others, own)
			}
		}
		_, err = db.pool.Exec(ctx, "UPDATE meta SET value = $1 WHERE name = 'lease' AND value = $2", own, others)
	}
	if err != nil {
		return fmt.Errorf("comparing the lease with that of other replicas: %w", db.failed(ctx, err))
	}
	return nil
}

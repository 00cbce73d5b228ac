//go:build e2e

package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// A statement finds its rows by their keys, although its plan was made while the tables were empty: a session keeps it
// until the tables are analyzed. Nor does it read all requests to find out who has sent some.
func TestPlansOfEmptyTables(t *testing.T) {
	db, url := openedAt(t)
	a := takeOver(t, db, "a", time.Hour)
	// Of the departed jobs, each of these is read once, to be sent about jobs; so is a part of the inbox.
	const rows, some, blocks = 5000, 10, 200
	atMost := map[string]int{
		"jobs": 3 * some, "departed": blocks + 5*some, "requests": 3 * some, "timings": 3 * some, "state_changes": 3 * some,
		"inbox": 1000 + 5*some,
	}
	for table := range atMost {
		exec(t, url, "ALTER TABLE "+table+" SET (autovacuum_enabled = off)")
	}
	// step sends some messages, and removes some rows of each table.
	step := func() {
		t.Helper()
		removed := new(store.Batch)
		var messages []store.Message
		for i := range some {
			id := fmt.Sprint(i)
			messages = append(messages, store.Message{Kind: "webhook", RequestID: id})
			removed.RemovedJobs = append(removed.RemovedJobs, id)
			removed.Forgotten = append(removed.Forgotten, uint64(i))
			removed.Requests = append(removed.Requests, store.Requests{Second: int64(i)})
			removed.Timings = append(removed.Timings, store.Timings{RequestID: id})
			removed.Delivered = append(removed.Delivered, uint64(i))
		}
		_, err := db.Senders(t.Context())
		must(t, err)
		_, err = db.Send("a", messages)
		must(t, err)
		read, _, err := a.Inbox()
		must(t, err)
		removed.Received = read[:some]
		must(t, a.Commit(removed))
	}
	step()
	exec(t, url, fmt.Sprintf(`
INSERT INTO jobs (account, request_id, sequence, api, source, state, priority, first_seen)
	SELECT 'a', n, n, '', 'http', 'pending', 1, '2026-11-23T18:00:00Z' FROM generate_series(0, %[1]d) AS n;
INSERT INTO departed SELECT 'a', n, '{}' FROM generate_series(0, %[2]d) AS n;
INSERT INTO requests SELECT 'a', n, 1 FROM generate_series(0, %[1]d) AS n;
INSERT INTO timings SELECT 'a', n, '' FROM generate_series(0, %[1]d) AS n;
INSERT INTO state_changes SELECT 'a', n, n, 'completed', '2026-11-23T18:00:00Z', '{}' FROM generate_series(0, %[1]d) AS n;
INSERT INTO inbox (account, kind, request_id) SELECT 'a', 'webhook', n FROM generate_series(0, %[1]d) AS n`, rows, blocks-1))
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "SELECT pg_stat_reset()")
	must(t, err)
	step()
	must(t, db.Close())
	for sessions := 1; sessions > 0; { // at their end, they report what they have read
		must(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&sessions))
	}
	for table, most := range atMost {
		var read int
		must(t, conn.QueryRow(t.Context(), `SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
			WHERE relname = $1`, table).Scan(&read))
		if read > most {
			t.Errorf("%d rows of %s were read, want at most %d", read, table, most)
		}
	}
}

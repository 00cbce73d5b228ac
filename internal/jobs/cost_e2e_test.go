//go:build e2e && linux

package jobs_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// TestDatabaseCost measures what a job costs PostgreSQL, beside 300,000 that have ended: JOBS jobs come as evenly as
// a million in a day do. Each is registered by itself, found running by two polls, a second apart, and ended by the third,
// with the statistics of an hour of speech. docs/operations.md has the results.
func TestDatabaseCost(t *testing.T) {
	count, err := strconv.Atoi(os.Getenv("JOBS"))
	if err != nil {
		t.Skip("JOBS is not set: this measures for minutes")
	}
	const kept, interval = 300_000, 24 * time.Hour / 1_000_000
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	server, err := pgtest.New("shared_buffers = 512MB", "max_wal_size = 4GB")
	must(err)
	t.Cleanup(server.Close)
	url := server.URL(t)
	db, err := postgres.Open(t.Context(), url, slog.New(slog.DiscardHandler))
	must(err)
	conn, err := pgx.Connect(t.Context(), url)
	must(err)
	defer conn.Close(context.Background())
	client, err := jobstatus.New(jobstatus.Config{
		URL: "http://api.example", Timeout: time.Minute, MaxResponseSize: 64 << 20, Transport: answering(hourOfSpeech()),
	})
	must(err)
	result := client.Status(t.Context(), "key", "a").Result

	tenure, err := db.TakeOver(t.Context(), postgres.Lease{Account: "a"}, postgres.Member{ID: "x"}, time.Hour)
	must(err)
	j := openAt(t, tenure, options(), time.Now())
	id := func() string {
		return fmt.Sprintf("%08x-%04x-4000-8000-%012x", rand.Uint32(), rand.Uint32()>>16, rand.Uint64()>>16)
	}
	register := func(id string) {
		s := []submission.Job{{RequestID: id, API: "asr", Labels: map[string]string{"team": "research"}}}
		if _, _, err := j.Register(submission.HTTP, s, false, time.Now()); err != nil {
			t.Error(err)
		}
	}
	poll := func(id string, state jobs.State) {
		if err := j.Reserve(time.Now(), 50); err != nil {
			t.Error(err)
		}
		o := polled(id, state, time.Now())
		if state == jobs.Completed {
			o.Result = result
		}
		if _, err := j.Observe(o); err != nil {
			t.Error(err)
		}
	}
	first := id()
	register(first)
	poll(first, jobs.Completed)
	_, err = conn.Exec(t.Context(), `INSERT INTO jobs (account, request_id, sequence, api, source, state, labels, priority,
			first_seen, last_observed, finished_at, detection_window_seconds, statistics)
		SELECT account, gen_random_uuid(), -n, api, source, state, labels, priority, first_seen, last_observed, finished_at,
			detection_window_seconds, statistics FROM jobs, generate_series(1, $1::int) AS n`, kept)
	must(err)
	for _, statement := range []string{"VACUUM ANALYZE", "CHECKPOINT"} {
		_, err = conn.Exec(t.Context(), statement)
		must(err)
	}
	time.Sleep(11 * time.Second) // a session that is idle reports after 10 what it did

	var before, after struct{ transactions, log, table float64 }
	const used = `SELECT xact_commit, pg_current_wal_lsn() - '0/0', pg_total_relation_size('jobs')
		FROM pg_stat_database WHERE datname = current_database()`
	must(conn.QueryRow(t.Context(), used).Scan(&before.transactions, &before.log, &before.table))
	begin := time.Now()
	var all sync.WaitGroup
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for range count {
		<-tick.C
		all.Go(func() {
			id := id()
			register(id)
			for _, state := range []jobs.State{jobs.Running, jobs.Running, jobs.Completed} {
				time.Sleep(time.Second)
				poll(id, state)
			}
		})
	}
	all.Wait()
	took := time.Since(begin)
	must(j.Close())
	must(db.Close())
	for sessions := 1; sessions > 0; {
		must(conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE application_name = 'deepaffects-monitor'`).Scan(&sessions))
	}
	must(conn.QueryRow(t.Context(), used).Scan(&after.transactions, &after.log, &after.table))
	n := float64(count)
	t.Logf("%d jobs in %s; a job costs %.2f transactions, %.0f bytes of write-ahead log and %.0f bytes of the table jobs "+
		"with its index", count, took.Round(time.Second), (after.transactions-before.transactions)/n,
		(after.log-before.log)/n, (after.table-before.table)/n)
}

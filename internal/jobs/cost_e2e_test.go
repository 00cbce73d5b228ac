//go:build e2e && linux

package jobs_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
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

// BenchmarkDatabaseCost measures what a job costs PostgreSQL, beside 300,000 that have ended: b.N jobs come as evenly
// as a million in a day do. Each is registered by itself, found running by two polls, a second apart, and ended by the
// third, with the statistics of an hour of speech. docs/operations.md has the results.
func BenchmarkDatabaseCost(b *testing.B) {
	const (
		kept     = 300_000
		interval = 24 * time.Hour / 1_000_000
		apart    = int(time.Second/interval) + 1 // intervals between two polls
	)
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	server, err := pgtest.New("shared_buffers = 512MB", "max_wal_size = 4GB")
	must(err)
	b.Cleanup(server.Close)
	url := server.URL(b)
	conn, err := pgx.Connect(b.Context(), url)
	must(err)
	defer conn.Close(context.Background())
	client, err := jobstatus.New(jobstatus.Config{
		URL: "http://api.example", Timeout: time.Minute, MaxResponseSize: 64 << 20, Transport: answering(hourOfSpeech()),
	})
	must(err)
	result := client.Status(b.Context(), "key", "a").Result

	var db *postgres.DB
	var j *jobs.Jobs
	begin := func() {
		db, err = postgres.Open(b.Context(), url, slog.New(slog.DiscardHandler))
		must(err)
		leases, _, err := db.Look(b.Context())
		must(err)
		lease := postgres.Lease{Account: "a"}
		if len(leases) > 0 {
			lease = leases[0]
		}
		tenure, err := db.TakeOver(b.Context(), lease, postgres.Member{ID: "x"}, time.Hour)
		must(err)
		j = openAt(b, tenure, options(), time.Now())
	}
	end := func() { // a session reports what it did when it ends
		must(j.Close())
		must(db.Close())
		for sessions := 1; sessions > 0; {
			must(conn.QueryRow(b.Context(), `SELECT count(*) FROM pg_stat_activity
				WHERE application_name = 'deepaffects-monitor'`).Scan(&sessions))
		}
	}
	id := func() string {
		return fmt.Sprintf("%08x-%04x-4000-8000-%012x", rand.Uint32(), rand.Uint32()>>16, rand.Uint64()>>16)
	}
	register := func(id string) {
		s := []submission.Job{{RequestID: id, API: "asr", Labels: map[string]string{"team": "research"}}}
		if _, _, err := j.Register(submission.HTTP, s, false, time.Now()); err != nil {
			b.Error(err)
		}
	}
	poll := func(id string, state jobs.State) {
		if err := j.Reserve(time.Now(), 50); err != nil {
			b.Error(err)
		}
		o := polled(id, state, time.Now())
		if state == jobs.Completed {
			o.Result = result
		}
		if _, err := j.Observe(o); err != nil {
			b.Error(err)
		}
	}
	begin()
	first := id()
	register(first)
	poll(first, jobs.Completed)
	end()
	_, err = conn.Exec(b.Context(), `INSERT INTO jobs (account, request_id, sequence, api, source, state, labels, priority,
			first_seen, last_observed, finished_at, detection_window_seconds, statistics)
		SELECT account, gen_random_uuid(), -n, api, source, state, labels, priority, first_seen, last_observed, finished_at,
			detection_window_seconds, statistics FROM jobs, generate_series(1, $1::int) AS n`, kept)
	must(err)
	for _, statement := range []string{"VACUUM ANALYZE", "CHECKPOINT"} {
		_, err = conn.Exec(b.Context(), statement)
		must(err)
	}

	type usage struct{ transactions, log, table float64 }
	used := func() (u usage) {
		must(conn.QueryRow(b.Context(), `SELECT xact_commit, pg_current_wal_lsn() - '0/0', pg_total_relation_size('jobs')
			FROM pg_stat_database WHERE datname = current_database()`).Scan(&u.transactions, &u.log, &u.table))
		return u
	}
	before := used()
	begin()
	ids := make([]string, b.N)
	for i := range ids {
		ids[i] = id()
	}
	steps := []func(id string){
		register,
		func(id string) { poll(id, jobs.Running) },
		func(id string) { poll(id, jobs.Running) },
		func(id string) { poll(id, jobs.Completed) },
	}
	tick := time.NewTicker(interval / time.Duration(len(steps))) // together they would share a transaction
	defer tick.Stop()
	var all sync.WaitGroup
	b.ResetTimer()
	for i := range len(steps) * (b.N + (len(steps)-1)*apart) {
		<-tick.C
		n := i % len(steps)
		if at := i/len(steps) - n*apart; at >= 0 && at < b.N {
			all.Go(func() { steps[n](ids[at]) })
		}
	}
	all.Wait()
	b.StopTimer()
	end()
	after := used()
	n := float64(b.N)
	b.ReportMetric((after.transactions-before.transactions)/n, "transactions/op")
	b.ReportMetric((after.log-before.log)/n, "WAL-bytes/op")
	b.ReportMetric((after.table-before.table)/n, "table-bytes/op")
}

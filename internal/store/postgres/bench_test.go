//go:build e2e

package postgres_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/storetest"
)

// statistics are those of a job, as docs/storage.md has them.
var statistics = jsontext.Value(`{"confidence":0.91,"speakers":2,"words":10,` + strings.Repeat(
	`"word_confidence":{"count":10,"sum":9.1,"min":0.8,"max":0.99,"mean":0.91,"p1":0.8,"p10":0.8,"p50":0.92},`, 6) +
	`"overlaps":0}`)

// counted are totals that change with every commit of a kind.
func counted(n int) (totals []store.Total) {
	for i := range 8 {
		totals = append(totals, store.Total{
			Name: fmt.Sprint("total_", i), Labels: "{}", Value: jsontext.Value(fmt.Sprint(n)),
		})
	}
	return totals
}

func registrations(n, size int) *store.Batch {
	b := &store.Batch{Totals: counted(n)[:1]}
	for i := range size {
		b.Jobs = append(b.Jobs, store.Job{
			RequestID: fmt.Sprintf("%08x-%04x-4000-8000-000000000000", n*7919%1_000_003, i), Sequence: uint64(n*size + i),
			API: "asr", Source: "http", State: "pending", FirstSeen: storetest.Start, SubmittedAt: storetest.Start, Priority: 1,
			Labels: map[string]string{"team": "research"}, AudioSeconds: 131,
		})
	}
	return b
}

func ends(n, size int) *store.Batch {
	b := registrations(n, size)
	b.Totals = counted(n)
	for i := range b.Jobs {
		j := &b.Jobs[i]
		j.State, j.LastObserved, j.FinishedAt, j.Statistics = "completed", storetest.Start, storetest.Start, statistics
	}
	return b
}

// BenchmarkCommit compares one owner with a bare loop that inserts the same jobs, and then updates them with the same
// statistics, in as large transactions; and with SQLite, in the same run. A batch registers jobs, the next one ends
// them.
func BenchmarkCommit(b *testing.B) {
	server, err := pgtest.New("fsync = on", "shared_buffers = 512MB", "max_wal_size = 4GB")
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	for _, size := range []int{1, 64, 1_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			url := server.URL(b)
			db, err := postgres.Open(b.Context(), url, quiet)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			owner, err := db.TakeOver(b.Context(), postgres.Lease{Account: "a"}, self, time.Hour)
			if err != nil {
				b.Fatal(err)
			}
			file, err := sqlite.Open(b.TempDir(), slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			defer file.Close()
			other := file.Account("a")
			conn, err := pgx.Connect(b.Context(), url)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close(b.Context())
			if _, err := conn.Exec(b.Context(), "CREATE TABLE bare (LIKE jobs INCLUDING ALL)"); err != nil {
				b.Fatal(err)
			}
			bare := func(jobs []store.Job) error {
				batch := new(pgx.Batch)
				batch.Queue("BEGIN")
				for _, j := range jobs {
					batch.Queue(`INSERT INTO bare (account, request_id, sequence, api, source, state, labels, audio_seconds,
						priority, first_seen, submitted_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
						"a", j.RequestID, int64(j.Sequence), j.API, j.Source, j.State, `{"team":"research"}`, j.AudioSeconds,
						j.Priority, j.FirstSeen.Format(time.RFC3339Nano), j.SubmittedAt.Format(time.RFC3339Nano))
				}
				batch.Queue("COMMIT")
				return conn.SendBatch(b.Context(), batch).Close()
			}
			bareEnds := func(jobs []store.Job) error {
				batch := new(pgx.Batch)
				batch.Queue("BEGIN")
				for _, j := range jobs {
					batch.Queue(`UPDATE bare SET state = $3, last_observed = $4, finished_at = $5, statistics = $6
						WHERE account = $1 AND request_id = $2`, "a", j.RequestID, j.State, j.LastObserved.Format(time.RFC3339Nano),
						j.FinishedAt.Format(time.RFC3339Nano), string(j.Statistics))
				}
				batch.Queue("COMMIT")
				return conn.SendBatch(b.Context(), batch).Close()
			}
			var took [6]time.Duration
			measure := func(i int, do func() error) {
				start := time.Now()
				if err := do(); err != nil {
					b.Fatal(err)
				}
				took[i] += time.Since(start)
			}
			n := 0
			for b.Loop() {
				registered, ended := registrations(n, size), ends(n, size)
				measure(0, func() error { return bare(registered.Jobs) })
				measure(1, func() error { return owner.Commit(registered) })
				measure(2, func() error { return owner.Commit(ended) })
				measure(3, func() error { return other.Commit(registered) })
				measure(4, func() error { return other.Commit(ended) })
				measure(5, func() error { return bareEnds(ended.Jobs) })
				n++
			}
			for i, name := range []string{"bare", "registered", "ended", "sqlite-registered", "sqlite-ended", "bare-ended"} {
				b.ReportMetric(float64(n*size)/took[i].Seconds(), name+"/s")
			}
		})
	}
}

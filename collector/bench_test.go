package collector_test

import (
	"database/sql"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/cputime"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// uuids returns n request IDs, the same for each n.
func uuids(n int) []string {
	random, ids := rand.New(rand.NewPCG(1, 2)), make([]string, n)
	for i := range ids {
		high, low := random.Uint64(), random.Uint64()
		ids[i] = fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", high>>32, high>>16&0xffff, high&0xfff, low>>48, low&(1<<48-1))
	}
	return ids
}

// tracking returns an account with pending jobs of which none is due, in a state directory (empty: in memory). It does
// not poll.
func tracking(b *testing.B, directory string, n int) *collector.Account {
	a := opened(b, directory)
	submitted := time.Now().Add(-time.Hour)
	var batch []submission.Job
	for i, id := range uuids(n) {
		batch = append(batch, submission.Job{RequestID: id, API: "asr", AudioSeconds: 36_000, SubmittedAt: submitted})
		if len(batch) == 10_000 || i == n-1 {
			if _, _, err := a.Register(submission.HTTP, batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	return a
}

func opened(b *testing.B, directory string) *collector.Account {
	c, err := collector.New([]collector.Config{config(nil)}, collector.Options{StateDirectory: directory})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Stop(b.Context()) })
	return c.Accounts()[0]
}

// BenchmarkRegister registers one job at a time beside pending ones, in memory.
func BenchmarkRegister(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000, 1_000_000} {
		a := tracking(b, "", n)
		b.Run(fmt.Sprint("beside/", n), func(b *testing.B) {
			b.ReportAllocs()
			runtime.GC()
			cputime.Report(b)
			for i := 0; b.Loop(); i++ {
				id := fmt.Sprintf("%p-%d", b, i)
				if new, _, err := a.Register(submission.HTTP, []submission.Job{{RequestID: id, API: "asr"}}); new != 1 {
					b.Fatal(new, err)
				}
			}
		})
	}
}

// BenchmarkPending measures the memory of a pending job, all included, and of one in a plain map.
func BenchmarkPending(b *testing.B) {
	type job struct {
		api                    string
		firstSeen, submittedAt time.Time
		sequence               uint64
	}
	const n = 1_000_000
	for name, fill := range map[string]func() any{
		"ours": func() any { return tracking(b, "", n) },
		"map": func() any {
			plain := make(map[string]*job)
			for i, id := range uuids(n) {
				plain[id] = &job{"asr", time.Now(), time.Time{}, uint64(i)}
			}
			return plain
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				before := heap()
				filled := fill()
				b.ReportMetric(float64(heap()-before)/n, "B/job")
				runtime.KeepAlive(filled)
			}
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkStart opens a state directory with a million pending jobs, and reads its rows without anything else.
func BenchmarkStart(b *testing.B) {
	const n = 1_000_000
	dir := b.TempDir()
	engine, err := sqlite.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	batch, now := new(store.Batch), time.Now()
	for i, id := range uuids(n) {
		batch.Jobs = append(batch.Jobs, store.Job{
			RequestID: id, Sequence: uint64(i + 1), API: "asr", Source: "http", State: "pending", Priority: 1,
			FirstSeen: now.Add(time.Duration(i-n) * time.Millisecond),
		})
	}
	if err := engine.Account(config(nil).Account).Commit(batch); err != nil {
		b.Fatal(err)
	}
	if err := engine.Close(); err != nil {
		b.Fatal(err)
	}
	batch = nil
	b.Run("ours", func(b *testing.B) {
		cputime.Report(b)
		for b.Loop() {
			if a := opened(b, dir); a.Counts()[jobs.Pending] != n {
				b.Fatal(a.Counts())
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "register.db")+"?mode=ro")
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		cputime.Report(b)
		for b.Loop() {
			if got := readBare(b, db); got != n {
				b.Fatal(got)
			}
		}
	})
}

func readBare(b *testing.B, db *sql.DB) (n int) {
	rows, err := db.Query("SELECT * FROM jobs")
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	var (
		account, id, source, state, firstSeen                                     string
		api, errorCode, labels, submittedAt, lastObserved, finishedAt, statistics sql.NullString
		audio, priority, window                                                   sql.NullFloat64
		sequence, checksum                                                        int64
	)
	for rows.Next() {
		err := rows.Scan(&account, &id, &sequence, &api, &source, &state, &errorCode, &labels, &audio, &priority,
			&firstSeen, &submittedAt, &lastObserved, &finishedAt, &window, &statistics, &checksum)
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
	return n
}

//go:build unix

package jobs_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// BenchmarkOpen opens a store with a million unfinished jobs, and reads its rows without anything else.
func BenchmarkOpen(b *testing.B) {
	const n = 1_000_000
	dir := b.TempDir()
	account := sqliteAccount(b, dir)
	j := open(b, account, options())
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		var batch []submission.Job
		for range n / 100 {
			high, low := random.Uint64(), random.Uint64()
			id := fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", high>>32, high>>16&0xffff, high&0xfff, low>>48, low&(1<<48-1))
			batch = append(batch, submission.Job{RequestID: id, API: "asr"})
		}
		if _, _, err := j.Register(submission.HTTP, batch, false, start); err != nil {
			b.Fatal(err)
		}
	}
	j = nil
	b.Run("open", func(b *testing.B) {
		cpu := cpuTime()
		for b.Loop() {
			if j := open(b, account, options()); j.Snapshot(start).Counts[jobs.Pending] != n {
				b.Fatal(j.Snapshot(start).Counts)
			}
		}
		b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N)/1e9, "cpu-s/op")
	})
	b.Run("bare", func(b *testing.B) {
		db, err := sql.Open("sqlite", "file:"+dir+"/register.db?mode=ro")
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		cpu := cpuTime()
		for b.Loop() {
			if got := readBare(b, db); got != n {
				b.Fatal(got)
			}
		}
		b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N)/1e9, "cpu-s/op")
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

// BenchmarkObserve counts durable ends of jobs, as many callers bring them.
func BenchmarkObserve(b *testing.B) {
	j := open(b, sqliteAccount(b, b.TempDir()), options(func(o *jobs.Options) { o.Retention, o.MaxJobAge = 1<<60, 1<<60 }))
	b.SetParallelism(500)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			id := fmt.Sprintf("%p-%d", pb, i)
			if _, _, err := j.Register(submission.HTTP, submissions(id), false, start); err != nil {
				b.Error(err)
			}
			end := jobs.Observation{RequestID: id, At: start, State: jobs.Completed, Result: words(2), Request: answered()}
			if _, err := j.Observe(end); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkRegister registers one job at a time, durably, as 64 callers do.
func BenchmarkRegister(b *testing.B) {
	j := open(b, sqliteAccount(b, b.TempDir()), options(func(o *jobs.Options) { o.Retention, o.MaxJobAge = 1<<60, 1<<60 }))
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	cpu := cpuTime()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			id := fmt.Sprintf("%p-%d", pb, i)
			if _, _, err := j.Register(submission.HTTP, submissions(id), false, start); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
}

// BenchmarkBareInsert inserts rows in transactions of 64, as BenchmarkRegister would at best.
func BenchmarkBareInsert(b *testing.B) {
	db, err := sql.Open("sqlite", "file:"+b.TempDir()+"/bare.db?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	_, err = db.Exec("CREATE TABLE jobs (id TEXT PRIMARY KEY, sequence INTEGER, source TEXT, state TEXT, priority REAL, " +
		"first_seen TEXT) WITHOUT ROWID")
	if err != nil {
		b.Fatal(err)
	}
	insert, err := db.Prepare("INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?)")
	if err != nil {
		b.Fatal(err)
	}
	cpu := cpuTime()
	for i := 0; b.Loop(); {
		tx, err := db.Begin()
		if err != nil {
			b.Fatal(err)
		}
		for range 64 {
			i++
			_, err = tx.Stmt(insert).Exec(fmt.Sprintf("%p-%d", b, i), i, "http", "pending", 1.0, start.Format(time.RFC3339Nano))
			if err != nil {
				b.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N)/64, "cpu-ns/row")
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

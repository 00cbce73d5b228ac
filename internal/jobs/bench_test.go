package jobs_test

import (
	"database/sql"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/cputime"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

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
	cputime.Report(b)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			id := fmt.Sprintf("%p-%d", pb, i)
			if _, _, err := j.Register(submission.HTTP, submissions(id), false, start); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkBareInsert inserts one row per iteration in transactions of 64, as BenchmarkRegister would at best.
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
	var tx *sql.Tx
	b.ResetTimer()
	cputime.Report(b)
	for i := 0; i < b.N; i++ {
		if i%64 == 0 {
			if tx, err = db.Begin(); err != nil {
				b.Fatal(err)
			}
		}
		id := fmt.Sprintf("%p-%d", b, i)
		_, err := tx.Stmt(insert).Exec(id, i, "http", "pending", 1.0, start.Format(time.RFC3339Nano))
		if err != nil {
			b.Fatal(err)
		}
		if i%64 == 63 || i == b.N-1 {
			if err := tx.Commit(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

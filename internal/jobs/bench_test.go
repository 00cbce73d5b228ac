package jobs_test

import (
	"fmt"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// BenchmarkOpen opens a store with a million unfinished jobs.
func BenchmarkOpen(b *testing.B) {
	const n = 1_000_000
	account := sqliteAccount(b, b.TempDir())
	j := open(b, account, options())
	for i := range 100 {
		var batch []submission.Job
		for k := range n / 100 {
			id := fmt.Sprintf("8c0f3a52-5d0b-4b5c-9a3e-%012d", i*n/100+k)
			batch = append(batch, submission.Job{RequestID: id, API: "asr"})
		}
		if _, _, err := j.Register(submission.HTTP, batch, false, start); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if j := open(b, account, options()); j.Snapshot(start).Counts[jobs.Pending] != n {
			b.Fatal(j.Snapshot(start).Counts)
		}
	}
	b.ReportMetric(n, "jobs/op")
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

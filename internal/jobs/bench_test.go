package jobs_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// BenchmarkOpen opens a register of a million unfinished jobs.
func BenchmarkOpen(b *testing.B) {
	const n = 1_000_000
	dir := b.TempDir()
	db, err := sqlite.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	options := jobs.Options{Retention: 1, MaxJobAge: 1, MaxJobSeries: 1000}
	r, err := jobs.Open(context.Background(), options, db.Account("a"), start)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		var batch []submission.Job
		for k := range n / 100 {
			batch = append(batch, submission.Job{RequestID: fmt.Sprintf("8c0f3a52-5d0b-4b5c-9a3e-%012d", i*n/100+k), API: "asr"})
		}
		if _, err := r.Track(context.Background(), submission.HTTP, batch, start); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		r, err := jobs.Open(context.Background(), options, db.Account("a"), start)
		if err != nil || r.Snapshot(start).Counts[jobs.Pending] != n {
			b.Fatal(err)
		}
	}
	b.ReportMetric(n, "jobs/op")
}

// BenchmarkObserve counts durable ends of jobs, as many callers bring them.
func BenchmarkObserve(b *testing.B) {
	db, err := sqlite.Open(b.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	r, err := jobs.Open(context.Background(), jobs.Options{Retention: 1 << 60, MaxJobAge: 1 << 60, MaxJobSeries: 1000}, db.Account("a"), start)
	if err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(500)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			id := fmt.Sprintf("%p-%d", pb, i)
			if _, err := r.Track(context.Background(), submission.HTTP, []submission.Job{{RequestID: id}}, start); err != nil {
				b.Error(err)
			}
			if _, err := r.Observe(context.Background(), jobs.Observation{RequestID: id, At: start, State: jobs.Completed, Result: words(2)}); err != nil {
				b.Error(err)
			}
		}
	})
}

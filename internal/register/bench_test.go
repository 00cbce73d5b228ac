package register_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/register"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/register/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/registration"
)

// BenchmarkOpen opens a register of a million unfinished jobs.
func BenchmarkOpen(b *testing.B) {
	const jobs = 1_000_000
	dir := b.TempDir()
	db, err := store.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	options := register.Options{Retention: 1, MaxJobAge: 1, MaxJobSeries: 1000}
	r, err := register.Open(context.Background(), options, db.Account("a"), start)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		var batch []registration.Job
		for k := range jobs / 100 {
			batch = append(batch, registration.Job{RequestID: fmt.Sprintf("8c0f3a52-5d0b-4b5c-9a3e-%012d", i*jobs/100+k), API: "asr"})
		}
		if _, err := r.Track(context.Background(), registration.HTTP, batch, start); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		r, err := register.Open(context.Background(), options, db.Account("a"), start)
		if err != nil || r.Snapshot(start).Counts[register.Pending] != jobs {
			b.Fatal(err)
		}
	}
	b.ReportMetric(jobs, "jobs/op")
}

// BenchmarkObserve counts durable ends of jobs, as many callers bring them.
func BenchmarkObserve(b *testing.B) {
	db, err := store.Open(b.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	r, err := register.Open(context.Background(), register.Options{Retention: 1 << 60, MaxJobAge: 1 << 60, MaxJobSeries: 1000}, db.Account("a"), start)
	if err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(500)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			id := fmt.Sprintf("%p-%d", pb, i)
			if _, err := r.Track(context.Background(), registration.HTTP, []registration.Job{{RequestID: id}}, start); err != nil {
				b.Error(err)
			}
			if _, err := r.Observe(context.Background(), register.Observation{RequestID: id, At: start, State: register.Completed, Result: words(2)}); err != nil {
				b.Error(err)
			}
		}
	})
}

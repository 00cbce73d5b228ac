//go:build e2e

package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres"
)

// BenchmarkFirstSend sends a message to the owner of an account that remembers as many departed jobs as it can, by a
// process that has read none of them.
func BenchmarkFirstSend(b *testing.B) {
	url := server.URL(b)
	owner, err := postgres.Open(b.Context(), url, quiet)
	if err != nil {
		b.Fatal(err)
	}
	defer owner.Close()
	a, err := owner.TakeOver(b.Context(), postgres.Lease{Account: "a"}, self, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	const blocks, perCommit = 8191, 256
	for first := 0; first < blocks; first += perCommit {
		batch := new(store.Batch)
		for n := first; n < min(first+perCommit, blocks); n++ {
			block := store.DepartedBlock{Number: uint64(n)}
			for i := range store.DeparturesPerBlock {
				block.Departures = append(block.Departures, store.DepartureOf(fmt.Sprint(n, "-", i), false))
			}
			batch.Departed = append(batch.Departed, block)
		}
		if err := a.Commit(batch); err != nil {
			b.Fatal(err)
		}
	}
	var next time.Duration
	for b.Loop() {
		b.StopTimer()
		db, err := postgres.Open(b.Context(), url, quiet)
		if err != nil {
			b.Fatal(err)
		}
		send := func(id string) {
			was, err := db.Send("a", []store.Message{{Kind: "webhook", RequestID: id}})
			if err != nil || was[0] != store.Departed {
				b.Fatal(was, err)
			}
		}
		b.StartTimer()
		send("0-0")
		begin := time.Now()
		send("8000-511")
		next += time.Since(begin)
		b.StopTimer()
		_ = db.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(next.Microseconds())/float64(b.N), "µs-next")
}

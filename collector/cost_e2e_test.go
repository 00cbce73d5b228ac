//go:build e2e && linux

package collector_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// BenchmarkDatabaseCost measures what three replicas with five accounts cost PostgreSQL: in a minute in which nothing
// happens, with the default lease; and for b.N registrations, which come as evenly as a million in a day do, at the
// owner of an account and at another replica. docs/operations.md has the results.
func BenchmarkDatabaseCost(b *testing.B) {
	const interval = 24 * time.Hour / 1_000_000
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	server, err := pgtest.New()
	must(err)
	b.Cleanup(server.Close)
	url := server.URL(b)
	conn, err := pgx.Connect(b.Context(), url)
	must(err)
	defer conn.Close(context.Background())
	configs := shared(url, "a", "b", "c", "d", "e")
	for i := range configs {
		configs[i].Lease = collector.DefaultConfig().Lease
		configs[i].RequestsPerDay = 1 // polls have a benchmark of their own
	}
	var replicas []*collector.Collector
	for range 3 {
		c, err := collector.New(configs, collector.Options{Transport: new(counter)})
		must(err)
		c.Start()
		defer c.Stop(context.Background())
		replicas = append(replicas, c)
	}
	var owner, other *collector.Account // the first account, at two replicas
	for sizes := []int(nil); !slices.Equal(sizes, []int{1, 2, 2}); {
		sizes = nil
		for _, c := range replicas {
			n := 0
			for i, a := range c.Accounts() {
				switch {
				case a.Owned():
					n++
					if i == 0 {
						owner = a
					}
				case i == 0:
					other = a
				}
			}
			sizes = append(sizes, n)
		}
		slices.Sort(sizes)
	}

	type usage struct{ transactions, log, messages, seconds float64 }
	measure := func(do func()) (u usage) {
		used := func() (u usage) {
			time.Sleep(11 * time.Second) // after which an idle session has reported what it did
			must(conn.QueryRow(b.Context(), `SELECT xact_commit, pg_current_wal_lsn() - '0/0', n_tup_ins,
				extract(epoch FROM clock_timestamp()) FROM pg_stat_database, pg_stat_user_tables
				WHERE datname = current_database() AND relname = 'inbox'`).
				Scan(&u.transactions, &u.log, &u.messages, &u.seconds))
			return u
		}
		before := used()
		do()
		after := used()
		return usage{
			after.transactions - before.transactions, after.log - before.log, after.messages - before.messages,
			after.seconds - before.seconds,
		}
	}
	idle := measure(func() { time.Sleep(time.Minute) })
	b.ReportMetric(idle.transactions*60/idle.seconds, "idle-transactions/min")
	b.ReportMetric(idle.log*60/idle.seconds, "idle-WAL-bytes/min")
	for name, a := range map[string]*collector.Account{"owner": owner, "other": other} {
		u := measure(func() {
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for i := range b.N {
				<-tick.C
				id := fmt.Sprintf("%s-%08x-4000-8000-%012x", name, i, i)
				if _, _, err := a.Register(submission.HTTP, []submission.Job{{RequestID: id, API: "asr"}}); err != nil {
					b.Error(err)
				}
			}
		})
		n := float64(b.N)
		b.ReportMetric((u.transactions-idle.transactions*u.seconds/idle.seconds)/n, name+"-transactions/op")
		b.ReportMetric((u.log-idle.log*u.seconds/idle.seconds)/n, name+"-WAL-bytes/op")
		b.ReportMetric(u.messages/n, name+"-messages/op")
	}
}

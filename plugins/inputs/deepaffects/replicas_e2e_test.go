//go:build e2e && linux

package deepaffects

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/selfstat"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/collector/options"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

// shared returns the options of a replica on a database.
func shared(url string) string { return fmt.Sprintf("database_url = %q\nlease = \"1s\"\n", url) }

// join starts another replica for the account, as that of another Telegraf would be.
func join(t *testing.T, url string) (leave func(), other *collector.Account) {
	t.Helper()
	c := collector.DefaultConfig()
	c.APIKey, c.RequestsPerMinute, c.RequestsPerDay, c.DatabaseURL, c.Lease = "key", 0, 0, url, time.Second
	monitor, err := collector.New([]collector.Config{c}, collector.Options{
		Transport: ends{}, MaxStateChanges: options.MaxStateChanges,
	})
	if err != nil {
		t.Fatal(err)
	}
	leave = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		monitor.Stop(ctx)
	}
	t.Cleanup(leave)
	monitor.Start()
	return leave, monitor.Accounts()[0]
}

// until waits until a condition holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	timeout := time.After(time.Minute)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-timeout:
			t.Fatalf("not within a minute: %s", what)
		case <-ticker.C:
		}
	}
}

// end tells a replica by webhook that jobs have ended.
func end(t *testing.T, a *collector.Account, ids ...string) {
	t.Helper()
	for _, id := range ids {
		body := `{"request_id":"` + id + `","response":{"words":[{"speaker_id":"a","start":0,"end":1}]}}`
		if _, err := a.Webhook(io.NopCloser(strings.NewReader(body)), false); err != nil {
			t.Fatal(err)
		}
	}
}

// wantSilent fails if the plugin, or Telegraf's internal input, emits anything of the account.
func (p *pipeline) wantSilent(t *testing.T, when string) {
	t.Helper()
	p.drain(t) // of what was emitted before
	p.gather(t)
	wantNone(t, when, p.drain(t))
	for _, m := range selfstat.Metrics() {
		if m.Name() == "internal_deepaffects" {
			t.Errorf("%s: %v %v", when, m.Tags(), m.Fields())
		}
	}
}

// drain returns everything that was emitted.
func (p *pipeline) drain(t *testing.T) (all []telegraf.Metric) {
	t.Helper()
	p.acc.AddFields("last", map[string]any{"value": 1}, nil) // behind everything else
	until(t, "the last point", func() bool {
		all = append(all, p.take()...)
		return len(named(all, "last")) == 1
	})
	return slices.DeleteFunc(all, func(m telegraf.Metric) bool { return m.Name() == "last" })
}

// await gathers until there are n points about jobs, beside the overview.
func (p *pipeline) await(t *testing.T, n int) (metrics []telegraf.Metric) {
	t.Helper()
	overviews := 0
	until(t, fmt.Sprintf("%d points about jobs", n), func() bool {
		p.gather(t)
		all := p.take()
		jobs := named(all, "deepaffects_job")
		overviews += len(named(all, "deepaffects"))
		metrics = append(metrics, jobs...)
		for _, m := range named(all, "deepaffects_speaker") {
			m.Accept()
		}
		return len(metrics) >= n && overviews > 0
	})
	return metrics
}

// delivered waits until all state changes are delivered. Each gathering repeats what failed.
func (p *pipeline) delivered(t *testing.T) {
	t.Helper()
	until(t, "all state changes are delivered", func() bool {
		p.gather(t)
		p.take()
		return p.plugin.account.Owned() && len(p.plugin.account.StateChanges(1)) == 0
	})
}

// A replica emits nothing of an account that another one owns, whatever it has read of it. When it has taken over, it
// emits what the other has not.
func TestReplicaThatOwnsNothing(t *testing.T) {
	server := pgtest.Start(t)
	url := server.URL(t)
	leave, other := join(t, url)
	until(t, "the other replica owns the account", func() bool { return !other.Snapshot().Absent })
	end(t, other, "a", "b")

	p := begin(t, shared(url), nil)
	defer p.stop()
	p.wantSilent(t, "while another replica owns the account")
	if err := p.plugin.account.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.wantSilent(t, "after a read")
	leave()
	metrics := p.await(t, 2)
	for _, m := range metrics {
		m.Accept()
	}
	p.delivered(t)
}

// A replica whose lease has run out emits nothing.
func TestReplicaWithoutLease(t *testing.T) {
	server := pgtest.Start(t)
	way := pgtest.NewProxy(t, server)
	p := begin(t, shared(way.URL(server.URL(t))), nil)
	defer p.stop()
	account := p.plugin.account
	until(t, "it owns the account", func() bool { return !account.Snapshot().Absent })
	end(t, account, "a")
	first := p.await(t, 1)
	end(t, account, "b")
	way.Cut()
	until(t, "its lease has run out", func() bool { return account.Snapshot().Absent })
	until(t, "the statistics are gone", func() bool {
		for _, m := range selfstat.Metrics() {
			if m.Name() == "internal_deepaffects" {
				return false
			}
		}
		return true
	})
	p.wantSilent(t, "without a lease")
	way.Mend()
	second := p.await(t, 1)
	if id, _ := second[0].GetField("request_id"); len(second) != 1 || id != "b" {
		t.Errorf("%d points, of %v first", len(second), id)
	}
	for _, m := range append(first, second...) {
		m.Accept()
	}
	p.delivered(t)
}

// A Telegraf that stops tells the next owner what it has emitted. What its outputs accept afterwards is not emitted
// again.
func TestReplicaStops(t *testing.T) {
	server := pgtest.Start(t)
	url := server.URL(t)
	p := begin(t, shared(url), nil)
	until(t, "it owns the account", p.plugin.account.Owned)
	_, other := join(t, url)
	end(t, p.plugin.account, "a", "b", "c")
	metrics := p.await(t, 3)
	metrics[0].Accept()
	until(t, "one is delivered", func() bool { return len(p.plugin.account.StateChanges(10)) == 2 })
	p.input.Stop()
	until(t, "the other replica owns the account", other.Owned)
	end(t, other, "d")
	held := func() (names []string) {
		for _, c := range other.StateChanges(10) {
			if !c.HeldUntil.IsZero() {
				names = append(names, c.Job.RequestID)
			}
		}
		return names
	}
	if got := held(); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("%q are held", got)
	}
	metrics[1].Accept() // Telegraf writes its buffers after it has stopped the plugin
	until(t, "what was accepted is delivered", func() bool { return slices.Equal(held(), []string{"c"}) })
	metrics[2].Accept()
	until(t, "all of it is", func() bool { return held() == nil && len(other.StateChanges(10)) == 1 })
	p.stop()
}

// A Telegraf that takes over emits what the one before has emitted when its outputs did not accept that for some time,
// and everything else at once.
func TestReplicaTakesOver(t *testing.T) {
	server := pgtest.Start(t)
	url := server.URL(t)
	leave, other := join(t, url)
	until(t, "the other replica owns the account", other.Owned)
	end(t, other, "a", "b", "c")
	waiting := other.StateChanges(10)
	other.Emitted(waiting[0].Number, waiting[1].Number)
	p := begin(t, shared(url), nil)
	defer p.stop()
	leave()
	metrics := p.await(t, 1)
	until(t, "it is the owner", p.plugin.account.Owned)
	if err := other.Delivered(waiting[0].Number); err != nil {
		t.Fatal(err)
	}
	metrics = append(metrics, p.await(t, 1)...)
	var ids []any
	for _, m := range metrics {
		id, _ := m.GetField("request_id")
		ids = append(ids, id)
		m.Accept()
	}
	if !slices.Equal(ids, []any{"c", "b"}) {
		t.Errorf("%v were emitted, want c and then b", ids)
	}
	p.delivered(t)
}

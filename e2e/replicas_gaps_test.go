//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// An event is something that a test did or saw, and from when to when.
type event struct {
	what     string
	from, to time.Time
}

func (e event) length() time.Duration { return e.to.Sub(e.from) }

func (e event) String() string {
	return fmt.Sprintf("%s (%s to %s, %s)", e.what, e.from.Format("15:04:05.0"), e.to.Format("05.0"), short(e.length()))
}

// within returns the part of an event that lies in a time.
func (e event) within(from, to time.Time) (part event, some bool) {
	if e.from.Before(from) {
		e.from = from
	}
	if e.to.After(to) {
		e.to = to
	}
	return e, e.from.Before(e.to)
}

func short(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// shares reads how often each kind of fault is met, such as "60,40,20,10,5".
func shares(t *testing.T, variable string, fallback []int) []int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return fallback
	}
	var list []int
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 {
			t.Fatalf("%s: %q is not a positive number", variable, part)
		}
		list = append(list, n)
	}
	if len(list) != len(fallback) {
		t.Fatalf("%s: %d numbers, want %d", variable, len(list), len(fallback))
	}
	return list
}

// fault notes that a fault begins, and returns a function that notes its end.
func (f *fleet) fault(format string, args ...any) (end func()) {
	began := time.Now()
	return func() {
		f.note(func() { f.faults = append(f.faults, event{fmt.Sprintf(format, args...), began, time.Now()}) })
	}
}

// databaseFault is as fault, of one while which the database takes no commit.
func (f *fleet) databaseFault(what string) (end func()) {
	began, noted := time.Now(), f.fault("%s", what)
	return func() {
		noted()
		f.note(func() { f.outages = append(f.outages, event{"no commit", began, time.Now()}) })
	}
}

// outage is how long the database takes no commit, at least, until that counts. A restart and a failover always count.
const outage = 500 * time.Millisecond

// probe commits a row every 100 ms, by a way to the database that is never cut, and notes when that did not succeed.
func (f *fleet) probe(ctx context.Context) {
	var conn *pgx.Conn
	commit := func(statement string) error {
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		var err error
		if conn == nil {
			if conn, err = pgx.Connect(bounded, f.url); err != nil {
				return err
			}
		}
		if _, err = conn.Exec(bounded, statement); err != nil {
			_ = conn.Close(bounded)
			conn = nil
		}
		return err
	}
	if err := commit("CREATE TABLE probe (n int)"); err != nil {
		f.t.Error(err)
		return
	}
	last := time.Now()
	for ctx.Err() == nil {
		if err := commit("INSERT INTO probe VALUES (1)"); err == nil {
			if now := time.Now(); now.Sub(last) > outage {
				f.note(func() { f.outages = append(f.outages, event{"no commit", last, now}) })
			}
			last = time.Now()
		}
		wait(ctx, 100*time.Millisecond)
	}
	if conn != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
	}
}

// longGap is a gap that is reported with what happened in it.
const longGap = 8 * time.Second

// reportGaps logs how long accounts were not seen owned, and how long of that after the database took commits again.
func (f *fleet) reportGaps() {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortFunc(f.outages, func(a, b event) int { return a.from.Compare(b.from) })
	var all, since []time.Duration
	for _, gap := range f.gaps {
		begin, without := gap.from, time.Duration(0)
		for _, o := range f.outages {
			if part, some := o.within(begin, gap.to); some { // they overlap
				without += part.length()
				begin = part.to
			}
		}
		all, since = append(all, gap.length()), append(since, gap.to.Sub(begin))
		if gap.length() <= longGap {
			continue
		}
		var report strings.Builder
		for _, e := range slices.Concat(f.faults, f.outages) {
			if _, some := e.within(gap.from.Add(-testLease), gap.to); some {
				fmt.Fprintf(&report, "\n  %s", e)
			}
		}
		f.t.Logf("no owner of %s; the database took no commit for %s of it, and then %s passed:%s",
			gap, short(without), short(gap.to.Sub(begin)), report.String())
	}
	f.t.Logf("the database took no commit: %s", spread(lengths(f.outages)))
	f.t.Logf("time between two looks that found an owner: %s", spread(all))
	f.t.Logf("of that, after the last time in it when the database took no commit: %s", spread(since))
}

func lengths(events []event) (lengths []time.Duration) {
	for _, e := range events {
		lengths = append(lengths, e.length())
	}
	return lengths
}

// spread describes durations.
func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "never"
	}
	slices.Sort(d)
	return fmt.Sprintf("p50 %s, p99 %s, longest %s", short(d[len(d)/2]), short(d[len(d)*99/100]), short(d[len(d)-1]))
}

package schedule_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

var start = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

// mostWithin is the largest number of times within any window of that length.
func mostWithin(times []time.Time, length time.Duration) int {
	slices.SortFunc(times, time.Time.Compare)
	most, first := 0, 0
	for i, t := range times {
		for t.Sub(times[first]) >= length {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// A server counts requests when they arrive, which is some time after they
// were reserved and before they were answered. Whatever that time is, whatever
// the load, no window of the server's ever holds more than the quota.
func TestLedgerKeepsTheServersWindows(t *testing.T) {
	for _, tt := range []struct {
		name      string
		limits    schedule.Limits
		perMinute int
		perDay    int
		latency   time.Duration
	}{
		{"default plan", schedule.Limits{PerMinute: 5, PerDay: 100, Concurrent: 16}, 5, 100, 9 * time.Second},
		{"minute only", schedule.Limits{PerMinute: 30, Concurrent: 16}, 30, math.MaxInt, 3 * time.Second},
		{"fraction", schedule.Limits{PerMinute: 0.5, PerDay: 100, Concurrent: 4}, 1, 100, 20 * time.Second},
		{"fraction above one", schedule.Limits{PerMinute: 2.5, Concurrent: 4}, 2, math.MaxInt, time.Second},
		{"large", schedule.Limits{PerMinute: 200, PerDay: 8_000, Concurrent: 100}, 200, 8_000, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(len(tt.name))))
			l := schedule.NewLedger(tt.limits)
			type request struct{ answered time.Time }
			var arrivals []time.Time
			var underWay []request
			now := start
			for now.Before(at(30*24*time.Hour)) && len(arrivals) < 20_000 {
				underWay = slices.DeleteFunc(underWay, func(q request) bool {
					if q.answered.After(now) {
						return false
					}
					l.Answered(q.answered)
					return true
				})
				if ok, _ := l.Reserve(now); ok {
					latency := time.Duration(r.Int64N(int64(tt.latency)))
					arrivals = append(arrivals, now.Add(time.Duration(r.Int64N(int64(latency)+1))))
					underWay = append(underWay, request{now.Add(latency)})
					continue
				}
				now = now.Add(time.Duration(r.Int64N(int64(tt.latency)/2) + 1))
			}
			if len(arrivals) < 1000 {
				t.Fatalf("only %d requests in the whole time: the quota was not used", len(arrivals))
			}
			if most := mostWithin(arrivals, time.Minute); most > tt.perMinute {
				t.Errorf("%d requests within a minute, more than %d", most, tt.perMinute)
			}
			if most := mostWithin(arrivals, 24*time.Hour); most > tt.perDay {
				t.Errorf("%d requests within a day, more than %d", most, tt.perDay)
			}
			if tt.limits.PerMinute < 1 {
				if most := mostWithin(arrivals, 2*time.Minute); most > 1 {
					t.Errorf("%d requests within two minutes at half a request a minute", most)
				}
			}
		})
	}
}

// What the ledger promises about when it will be free again is kept, and early
// enough that the quota is used up in full.
func TestLedgerSaysWhenItIsFree(t *testing.T) {
	l := schedule.NewLedger(schedule.Limits{PerMinute: 5, PerDay: 100})
	now, sent := start, 0
	for now.Before(at(24 * time.Hour)) {
		ok, free := l.Reserve(now)
		if ok {
			sent++
			l.Answered(now)
			continue
		}
		if !free.After(now) {
			t.Fatalf("at %s: not free, and free at %s", now, free)
		}
		now = free
	}
	if sent != 100 {
		t.Errorf("%d requests in 24 hours, want 100", sent)
	}
	if ok, _ := l.Reserve(now.Add(2 * time.Minute)); !ok {
		t.Error("not free after the time that it named")
	}
}

func TestLedgerDayReset(t *testing.T) {
	day, err := schedule.ParseDayReset("00:00")
	if err != nil {
		t.Fatal(err)
	}
	l := schedule.NewLedger(schedule.Limits{PerDay: 3, DayResets: day})
	for range 3 {
		if ok, _ := l.Reserve(start); !ok {
			t.Fatal("refused within the quota")
		}
		l.Answered(start)
	}
	ok, free := l.Reserve(start)
	if midnight := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC); ok || free.Before(midnight) || free.After(midnight.Add(2*time.Minute)) {
		t.Errorf("after the quota: ok %v, free at %s; want just after %s", ok, free, midnight)
	}
	if _, usage := l.Usage(start); usage.Used != 3 || usage.Limit != 3 || !usage.Resets.Equal(free) {
		t.Errorf("usage %+v; want 3 of 3, reset at %s", usage, free)
	}
	if ok, _ := l.Reserve(free); !ok {
		t.Error("refused after the reset")
	}
}

// A day that begins at a time of a zone does so all year, also where the clocks are
// changed at that time, and at the end of months.
func TestLedgerDayResetAllYear(t *testing.T) {
	for _, text := range []string{"00:00", "00:00 America/Los_Angeles", "02:30 Europe/Berlin", "01:30 America/New_York", "23:59 Asia/Kathmandu", "00:00 America/Santiago"} {
		day, err := schedule.ParseDayReset(text)
		if err != nil {
			t.Fatal(err)
		}
		clock, name, _ := strings.Cut(text, " ")
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		l := schedule.NewLedger(schedule.Limits{PerDay: 1, DayResets: day})
		changed := 0
		for now, end := start, start.AddDate(1, 0, 0); now.Before(end); {
			if ok, _ := l.Reserve(now); !ok {
				t.Fatalf("%s: refused after the reset at %s", text, now.In(zone))
			}
			l.Answered(now)
			_, free := l.Reserve(now)
			if length := free.Sub(now); length <= 0 || length > 25*time.Hour+2*time.Minute {
				t.Fatalf("%s: free %s after %s", text, length, now.In(zone))
			}
			if reset := free.Add(-time.Minute).In(zone); reset.Format("15:04") != clock {
				changed++ // the clocks were put forward over it
				if _, before := reset.Add(-12 * time.Hour).Zone(); reset.UTC().Add(time.Duration(before)*time.Second).Format("15:04") != clock {
					t.Errorf("%s: the day begins at %s", text, reset)
				}
			}
			if ok, _ := l.Reserve(free.Add(-time.Second)); ok {
				t.Fatalf("%s: free before the reset at %s", text, free.In(zone))
			}
			now = free
		}
		if changed > 1 {
			t.Errorf("%s: the day began at another time %d times", text, changed)
		}
	}
}

func TestParseDayReset(t *testing.T) {
	for _, good := range []string{"", "00:00", "23:59", "00:00 America/Los_Angeles", "06:30 Europe/Berlin"} {
		if _, err := schedule.ParseDayReset(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"midnight", "24:00", "0", "00:00 Nowhere/Land", "00:00 Local", "00:00:00"} {
		if _, err := schedule.ParseDayReset(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestLedgerUnderManyGoroutines(t *testing.T) {
	l := schedule.NewLedger(schedule.Limits{PerMinute: 50, PerDay: 70, Concurrent: 8})
	var sent atomic.Int64
	for _, minute := range []time.Duration{0, 1, 2} {
		now := at(minute * 62 * time.Second)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range 100 {
					if ok, _ := l.Reserve(now); ok {
						sent.Add(1)
						l.Answered(now)
					}
				}
			})
		}
		wg.Wait()
	}
	if sent.Load() != 70 {
		t.Errorf("%d requests were let through, want the day's 70", sent.Load())
	}
}

func TestLedgerConcurrencyAndRelease(t *testing.T) {
	l := schedule.NewLedger(schedule.Limits{Concurrent: 2})
	for i, want := range []bool{true, true, false} {
		if ok, _ := l.Reserve(start); ok != want {
			t.Errorf("reservation %d: %v, want %v", i+1, ok, want)
		}
	}
	l.Release()
	if ok, _ := l.Reserve(start); !ok {
		t.Error("refused after a release")
	}
	if minute, day := l.Usage(start); !math.IsInf(minute.Limit, 1) || !math.IsInf(day.Limit, 1) || minute.Used != 2 {
		t.Errorf("usage %+v, %+v; want 2 used of no limit", minute, day)
	}
}

func TestLedgerLimitsChange(t *testing.T) {
	l := schedule.NewLedger(schedule.Limits{PerMinute: 5})
	for range 5 {
		l.Reserve(start)
		l.Answered(start)
	}
	for _, tt := range []struct {
		perMinute float64
		want      bool
	}{{5, false}, {6, true}, {2, false}, {0, true}} {
		l.SetLimits(schedule.Limits{PerMinute: tt.perMinute})
		ok, _ := l.Reserve(start)
		if ok != tt.want {
			t.Errorf("5 used, limit %v: %v, want %v", tt.perMinute, ok, tt.want)
		}
		if ok {
			l.Release()
		}
	}
}

func TestUsageOfAFraction(t *testing.T) {
	l := schedule.NewLedger(schedule.Limits{PerMinute: 0.5})
	l.Reserve(start)
	l.Answered(start)
	minute, _ := l.Usage(start)
	if minute.Limit != 0.5 || minute.Used != 0.5 {
		t.Errorf("%+v, want 0.5 of 0.5", minute)
	}
	if got := fmt.Sprint(minute.Resets.Sub(start).Round(time.Second)); got != "2m1s" {
		t.Errorf("resets after %s, want 2m1s", got)
	}
}

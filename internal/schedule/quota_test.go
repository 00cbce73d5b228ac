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

// perMinute returns limits of n requests a minute and perDay a day.
func perMinute(n float64, perDay int) schedule.Limits {
	limits := schedule.PerMinute(n)
	limits.PerDay = perDay
	return limits
}

func concurrent(limits schedule.Limits, n int) schedule.Limits {
	limits.Concurrent = n
	return limits
}

func resets(limits schedule.Limits, at string) schedule.Limits {
	limits.DayResets, _ = schedule.ParseDayReset(at)
	return limits
}

// A quota takes permits for jobs that the scheduler does not know: only the quota decides.
type quota struct {
	*scheduler
	permits int
}

func newQuota(limits schedule.Limits) *quota { return &quota{scheduler: newScheduler(limits, start)} }

func (q *quota) permit(now time.Time) (*schedule.Permit, time.Time) {
	q.permits++
	return q.PermitFor(fmt.Sprint(q.permits), now)
}

// send sends a request that is answered at once.
func (q *quota) send(now time.Time) (ok bool, free time.Time) {
	permit, free := q.permit(now)
	if permit != nil {
		permit.Answered(now, 0)
	}
	return permit != nil, free
}

func (q *quota) usage(now time.Time) (minute, day schedule.Usage) {
	v := q.View(now, nil)
	return v.Minute, v.Day
}

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

// What was sent counts for the whole window, whatever a refusal makes of the rate in between. Refusals come rarely: the
// share has grown again when the next one comes.
func TestQuotaAfterRefusals(t *testing.T) {
	for _, limit := range []float64{0.5, 5, 60, 600} {
		for name, refuse := range map[string]func(permit *schedule.Permit, now time.Time) time.Time{
			"minute": func(permit *schedule.Permit, now time.Time) time.Time { return permit.Refused(now, false) },
			"either": (*schedule.Permit).RefusedByEither,
		} {
			t.Run(fmt.Sprint(limit, " a minute, ", name), func(t *testing.T) {
				q := newQuota(perMinute(limit, 0))
				var sent []time.Time
				now := start
				for refused := 0; refused < 5; {
					permit, free := q.permit(now)
					if permit == nil {
						now = free
						continue
					}
					sent = append(sent, now)
					if len(sent)%(int(limit)/2+50) > 0 {
						permit.Answered(now, 0)
						continue
					}
					refused++
					if until := refuse(permit, now); until.After(now) {
						now = until
					}
				}
				length := time.Duration(max(1, 1/limit) * float64(time.Minute))
				if most := mostWithin(sent, length); most > max(int(limit), 1) {
					t.Errorf("%d requests within %s", most, length)
				}
			})
		}
	}
}

// A server counts requests when they arrive, some time between their reservation and
// their answer. Whatever that time is, and whatever the load, no window of the server
// holds more than the quota.
func TestQuotaKeepsTheServersWindows(t *testing.T) {
	for _, tt := range []struct {
		name      string
		limits    schedule.Limits
		perMinute int
		perDay    int
		latency   time.Duration
	}{
		{"default plan", concurrent(perMinute(5, 100), 16), 5, 100, 9 * time.Second},
		{"minute only", concurrent(perMinute(30, 0), 16), 30, math.MaxInt, 3 * time.Second},
		{"fraction", concurrent(perMinute(0.5, 100), 4), 1, 100, 20 * time.Second},
		{"fraction above one", concurrent(perMinute(2.5, 0), 4), 2, math.MaxInt, time.Second},
		{"large", concurrent(perMinute(200, 8_000), 100), 200, 8_000, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(len(tt.name))))
			q := newQuota(tt.limits)
			type request struct {
				permit   *schedule.Permit
				answered time.Time
			}
			var arrivals []time.Time
			var inFlight []request
			now := start
			for now.Before(at(30*24*time.Hour)) && len(arrivals) < 20_000 {
				inFlight = slices.DeleteFunc(inFlight, func(r request) bool {
					if r.answered.After(now) {
						return false
					}
					r.permit.Unanswered(r.answered, 0, schedule.RequestFailed)
					return true
				})
				permit, free := q.permit(now)
				if permit != nil {
					latency := time.Duration(r.Int64N(int64(tt.latency)))
					arrivals = append(arrivals, now.Add(time.Duration(r.Int64N(int64(latency)+1))))
					inFlight = append(inFlight, request{permit, now.Add(latency)})
					continue
				}
				// Ever more often, the closer it is to the time at which the quota is free.
				wait := max(tt.latency/2, free.Sub(now))
				now = now.Add(time.Duration(r.Int64N(int64(wait)) + 1))
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
			if tt.limits.Per > time.Minute {
				if most := mostWithin(arrivals, 2*time.Minute); most > 1 {
					t.Errorf("%d requests within two minutes at half a request a minute", most)
				}
			}
		})
	}
}

// The quota is free when it says so, and early enough to be used up in full.
func TestQuotaSaysWhenItIsFree(t *testing.T) {
	q := newQuota(perMinute(5, 100))
	now, sent := start, 0
	for now.Before(at(24 * time.Hour)) {
		ok, free := q.send(now)
		if ok {
			sent++
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
	if ok, _ := q.send(now.Add(2 * time.Minute)); !ok {
		t.Error("not free after the time that it named")
	}
}

// The log of the day has each request for as long as it counts.
func TestDayLog(t *testing.T) {
	for reset, leaves := range map[string][]time.Duration{
		"":      {24*time.Hour + 87*time.Second + 400*time.Millisecond, 25*time.Hour + 87*time.Second + 400*time.Millisecond},
		"00:00": {},
	} {
		q := newQuota(resets(perMinute(0, 100), reset))
		if reset != "" {
			next := time.Date(2026, 11, 24, 0, 1, 0, 0, time.UTC).Sub(start)
			leaves = []time.Duration{next, next}
		}
		q.send(start)
		q.send(start)
		q.send(at(time.Hour))
		if permit, _ := q.permit(at(time.Hour)); permit == nil { // in flight
			t.Fatal("refused within the quota")
		}
		want := []schedule.Counted{
			{At: start, Leaves: at(leaves[0]), Requests: 2}, {At: at(time.Hour), Leaves: at(leaves[1]), Requests: 1},
		}
		for _, now := range []time.Duration{time.Hour, leaves[0] - 1, leaves[0], leaves[1]} {
			for len(want) > 0 && !want[0].Leaves.After(at(now)) {
				want = want[1:]
			}
			if _, got := q.ViewAndLog(at(now), nil); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("reset %q, after %s: %v, want %v", reset, now, got, want)
			}
			sum := 1
			for _, c := range want {
				sum += c.Requests
			}
			if _, day := q.usage(at(now)); day.Used != float64(sum) {
				t.Errorf("reset %q, after %s: %g used, in the log %d", reset, now, day.Used, sum)
			}
		}
	}
}

func TestDayReset(t *testing.T) {
	q := newQuota(resets(schedule.Limits{PerDay: 3}, "00:00"))
	for range 3 {
		if ok, _ := q.send(start); !ok {
			t.Fatal("refused within the quota")
		}
	}
	ok, free := q.send(start)
	midnight := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	if ok || free.Before(midnight) || free.After(midnight.Add(2*time.Minute)) {
		t.Errorf("after the quota: ok %v, free at %s; want just after %s", ok, free, midnight)
	}
	if _, usage := q.usage(start); usage.Used != 3 || usage.Limit != 3 || !usage.Resets.Equal(free) {
		t.Errorf("usage %+v; want 3 of 3, reset at %s", usage, free)
	}
	if ok, _ := q.send(free); !ok {
		t.Error("refused after the reset")
	}
}

// A vendor whose clock differs by less than a minute never counts more than its quota on one of its days.
func TestDayResetByAnotherClock(t *testing.T) {
	midnight := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for _, ahead := range []time.Duration{-59 * time.Second, 0, time.Second, 59 * time.Second} {
		q := newQuota(resets(schedule.Limits{PerDay: 100}, "00:00"))
		days := make(map[int]int)
		// Half a request per second around midnight, which a day's quota does not last for, and then at noon.
		for _, from := range []time.Time{midnight.Add(-70 * time.Second), midnight.Add(12 * time.Hour)} {
			for now := from; now.Before(from.Add(4 * time.Minute)); now = now.Add(2 * time.Second) {
				if ok, _ := q.send(now); ok {
					days[now.Add(ahead).Day()]++
				}
			}
		}
		if days[23] > 100 || days[24] > 100 {
			t.Errorf("a clock that is %s ahead counts %v requests", ahead, days)
		}
		// What it counts leaves when it said so.
		_, free := q.send(midnight.Add(13 * time.Hour))
		_, usage := q.usage(free.Add(-time.Second))
		_, after := q.usage(free)
		if usage.Used != 100 || after.Used != 0 || !usage.Resets.Equal(free) {
			t.Errorf("a clock that is %s ahead: free at %s, before that %+v, then %+v", ahead, free, usage, after)
		}
	}
}

// A day that resets at a time of a zone does so all year, also where the clocks change
// at that time, and at the end of months.
func TestDayResetAllYear(t *testing.T) {
	for _, text := range []string{
		"00:00", "00:00 America/Los_Angeles", "02:30 Europe/Berlin", "01:30 America/New_York",
		"23:59 Asia/Kathmandu", "00:00 America/Santiago",
	} {
		clock, name, _ := strings.Cut(text, " ")
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		q := newQuota(resets(schedule.Limits{PerDay: 1}, text))
		changed := 0
		for now, end := start, start.AddDate(1, 0, 0); now.Before(end); {
			if ok, _ := q.send(now); !ok {
				t.Fatalf("%s: refused after the reset at %s", text, now.In(zone))
			}
			_, free := q.send(now)
			if length := free.Sub(now); length <= 0 || length > 25*time.Hour+2*time.Minute {
				t.Fatalf("%s: free %s after %s", text, length, now.In(zone))
			}
			if reset := free.Add(-time.Minute).In(zone); reset.Format("15:04") != clock {
				changed++ // the clocks were put forward over it
				_, before := reset.Add(-12 * time.Hour).Zone()
				if reset.UTC().Add(time.Duration(before)*time.Second).Format("15:04") != clock {
					t.Errorf("%s: the day resets at %s", text, reset)
				}
			}
			if ok, _ := q.send(free.Add(-time.Second)); ok {
				t.Fatalf("%s: free before the reset at %s", text, free.In(zone))
			}
			now = free
		}
		if changed > 1 {
			t.Errorf("%s: the day reset at another time %d times", text, changed)
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
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestQuotaUnderManyGoroutines(t *testing.T) {
	s := newScheduler(concurrent(perMinute(50, 70), 8), start)
	var sent atomic.Int64
	for _, minute := range []time.Duration{0, 1, 2} {
		now := at(minute * 62 * time.Second)
		var wg sync.WaitGroup
		for worker := range 64 {
			wg.Go(func() {
				for range 100 {
					if permit, _ := s.PermitFor(fmt.Sprint(worker), now); permit != nil {
						sent.Add(1)
						permit.Answered(now, 0)
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

// A permit ends in one way: what was sent stays counted, and a second end panics.
func TestTurn(t *testing.T) {
	ends := map[string]func(*schedule.Permit){
		"NotSent":    func(permit *schedule.Permit) { permit.NotSent() },
		"Answered":   func(permit *schedule.Permit) { permit.Answered(start, 0) },
		"Unanswered": func(permit *schedule.Permit) { permit.Unanswered(start, 0, schedule.RequestFailed) },
		"Refused":    func(permit *schedule.Permit) { permit.Refused(start, false) },

		"RefusedByEither": func(permit *schedule.Permit) { permit.RefusedByEither(start) },
	}
	for first, end := range ends {
		for second, again := range ends {
			q := newQuota(concurrent(perMinute(5, 100), 1))
			permit, _ := q.permit(start)
			if more, at := q.permit(start); permit == nil || more != nil || !at.IsZero() || q.InFlight() != 1 {
				t.Fatalf("a permit of one: %v, beside it %v, at %s, %d in flight", permit, more, at, q.InFlight())
			}
			end(permit)
			want := 1.0
			if first == "NotSent" {
				want = 0
			}
			if _, day := q.usage(start); day.Used != want || q.InFlight() != 0 {
				t.Errorf("after %s: %v used, %d in flight", first, day.Used, q.InFlight())
			}
			func() {
				defer func() {
					r := fmt.Sprint(recover())
					if !strings.Contains(r, "ended by "+first) || !strings.Contains(r, "again by "+second) {
						t.Errorf("%s after %s panics with %s", second, first, r)
					}
				}()
				again(permit)
			}()
			if next, _ := q.permit(start.Add(time.Hour)); next == nil { // the panic left no lock and no count behind
				t.Errorf("after %s and %s: no permit", first, second)
			}
		}
	}
}

// No second permit is given out for a job while one is held, also where the job was removed
// and added again in between.
func TestOneTurnPerJob(t *testing.T) {
	s := newScheduler(schedule.Limits{}, start)
	job := schedule.Job{RequestID: "a", Start: start, AtOnce: true}
	s.Add(start, job)
	permit, _ := s.Next(start)
	s.Remove("a")
	s.Add(start, job)
	if second, _ := s.Next(start); second != nil {
		t.Error("a second permit for a job in flight")
	}
	if second, at := s.PermitFor("a", start); second != nil || !at.IsZero() {
		t.Error("a second permit out of order for a job in flight")
	}
	permit.NotSent()
	if again, at := s.Next(start); again != nil || at.Sub(start) != 10*time.Second {
		t.Errorf("after a request that could not be sent: %v, or at %s", again, at)
	}
	if again, _ := s.Next(at(10 * time.Second)); again == nil || again.RequestID != "a" {
		t.Errorf("10 s after a request that could not be sent: %+v", again)
	}
}

func TestUnlimited(t *testing.T) {
	q := newQuota(schedule.Limits{})
	q.permit(start)
	q.permit(start)
	if minute, day := q.usage(start); !math.IsInf(minute.Limit, 1) || !math.IsInf(day.Limit, 1) || minute.Used != 2 {
		t.Errorf("usage %+v, %+v; want 2 used of no limit", minute, day)
	}
}

func TestSetLimits(t *testing.T) {
	q := newQuota(perMinute(5, 0))
	for range 5 {
		q.send(start)
	}
	for _, tt := range []struct {
		perMinute float64
		want      bool
	}{{5, false}, {6, true}, {2, false}, {0, true}} {
		q.SetLimits(perMinute(tt.perMinute, 0))
		permit, _ := q.permit(start)
		if (permit != nil) != tt.want {
			t.Errorf("5 used, limit %v: %v, want %v", tt.perMinute, permit != nil, tt.want)
		}
		if permit != nil {
			permit.NotSent()
		}
	}
}

// What was reserved before a restart, or by another process, counts as answered as late as it may be.
func TestRestore(t *testing.T) {
	const timeout = 20 * time.Second
	q := newQuota(perMinute(5, 100))
	q.send(start) // is replaced
	q.Restore([]schedule.Sent{
		{Reserved: at(-8 * time.Second), Requests: 3}, {Reserved: at(-25 * time.Hour), Requests: 50},
		{Reserved: at(-time.Hour), Requests: 30},
	}, timeout, start)
	minute, day := q.usage(start)
	if minute.Used != 3 || day.Used != 33 {
		t.Errorf("%v of the minute and %v of the day are used, want 3 and 33", minute.Used, day.Used)
	}
	for wait, want := range map[time.Duration]float64{12*time.Second + time.Minute: 3, 15*time.Second + time.Minute: 0} {
		if minute, _ := q.usage(at(wait)); minute.Used != want {
			t.Errorf("%s later: %v used, want %v", wait, minute.Used, want)
		}
	}
}

// What is sent after a restart leaves the window by its own time, although what was reserved before may be answered
// later.
func TestRestoreAhead(t *testing.T) {
	q := newQuota(perMinute(3, 0))
	q.Restore([]schedule.Sent{{Reserved: start, Requests: 1}}, time.Minute, start)
	for _, after := range []time.Duration{2 * time.Second, time.Second} {
		if ok, _ := q.send(at(after)); !ok {
			t.Error("nothing can be sent")
		}
	}
	if ok, free := q.send(at(3 * time.Second)); ok || free.After(at(3*time.Second+time.Minute)) {
		t.Errorf("sent: %v; free after %s", ok, free.Sub(start))
	}
	for wait, want := range map[time.Duration]float64{65 * time.Second: 1, 2*time.Minute + 5*time.Second: 0} {
		if minute, _ := q.usage(at(wait)); minute.Used != want {
			t.Errorf("%s later: %v used, want %v", wait, minute.Used, want)
		}
	}
}

// Where a day resets at a fixed time, requests from before the clock was set count for the longest day.
func TestRestoreFromBeforeTheClockWasSet(t *testing.T) {
	q := newQuota(resets(schedule.Limits{PerDay: 5}, "18:30"))
	q.Restore([]schedule.Sent{{Reserved: start, Requests: 3, ClockSet: true}, {Reserved: start, Requests: 1}}, 0, start)
	for after, want := range map[time.Duration]float64{time.Hour: 4, 25 * time.Hour: 4, 26 * time.Hour: 0} {
		if _, day := q.usage(at(after)); day.Used != want {
			t.Errorf("%s later: %v used, want %v", after, day.Used, want)
		}
	}
	// Two resets free none of them, and it is known when they leave.
	leave := at(25*time.Hour + 147*time.Second + 400*time.Millisecond)
	for _, after := range []time.Duration{time.Hour, 25 * time.Hour} {
		_, day := q.usage(at(after))
		if _, log := q.ViewAndLog(at(after), nil); !day.Resets.Equal(leave) || len(log) != 1 || !log[0].Leaves.Equal(leave) {
			t.Errorf("%s later: the quota resets at %s, and the log is %v; want %s", after, day.Resets, log, leave)
		}
	}
	for range 2 {
		q.send(at(time.Hour)) // one more than is left
	}
	_, free := q.send(at(time.Hour))
	if wait := free.Sub(start); wait < 25*time.Hour || wait > 26*time.Hour {
		t.Errorf("free after %s", wait)
	}
}

func TestKept(t *testing.T) {
	for want, limits := range map[time.Duration]schedule.Limits{
		25 * time.Hour: perMinute(5, 100), 7 * 24 * time.Hour: perMinute(1./(7*24*60), 100),
		26 * time.Hour: resets(perMinute(5, 100), "00:00"),
	} {
		if got := limits.Kept(); got < want-time.Hour || got > want+time.Hour {
			t.Errorf("%+v: %s, want about %s", limits, got, want)
		}
	}
}

func TestUsagePerMinute(t *testing.T) {
	for _, tt := range []struct {
		perMinute, limit, used float64
		resets                 string
	}{
		{0.5, 0.5, 0.5, "2m1s"}, {0.7, 0.7, 0.7, "1m27s"}, {0.0001, 0.0001, 0.0001, "166h50m1s"},
		{2.9, 2, 1, "1m1s"}, {5, 5, 1, "1m1s"},
	} {
		q := newQuota(perMinute(tt.perMinute, 0))
		q.send(start)
		minute, _ := q.usage(start)
		if minute.Limit != tt.limit || minute.Used != tt.used {
			t.Errorf("%v per minute: %v of %v used, want %v of %v", tt.perMinute, minute.Used, minute.Limit, tt.used, tt.limit)
		}
		if got := fmt.Sprint(minute.Resets.Sub(start).Round(time.Second)); got != tt.resets {
			t.Errorf("%v per minute: resets after %s, want %s", tt.perMinute, got, tt.resets)
		}
	}
}

func TestBlock(t *testing.T) {
	for _, tt := range []struct {
		limits schedule.Limits
		want   int
	}{
		{schedule.Limits{}, 0}, {perMinute(5, 100), 1}, {perMinute(0.1, 0), 1}, {perMinute(600, 0), 10},
		{perMinute(6000, 864_000), 10}, {schedule.Limits{PerDay: 86_400_000}, 1000},
	} {
		if got := tt.limits.Block(); got != tt.want {
			t.Errorf("%+v: %d requests are reserved at once, want %d", tt.limits, got, tt.want)
		}
	}
}

// On a day with a fixed reset, no more than 39 % of the quota is spent in the first ten
// hours, however much there is to poll.
func TestMorning(t *testing.T) {
	midnight := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	s := newScheduler(resets(perMinute(60, 100), "00:00"), midnight)
	for i := range 500 {
		// Overdue: due at any price.
		s.Add(midnight, schedule.Job{RequestID: fmt.Sprint(i), Start: midnight.Add(-48 * time.Hour)})
	}
	noon := midnight.Add(10 * time.Hour)
	polled := make(backEnd).work(s, midnight.Add(2*time.Minute), midnight.Add(24*time.Hour))
	before, after := 0, 0
	for _, times := range polled {
		for _, at := range times {
			if at.Before(noon) {
				before++
			} else {
				after++
			}
		}
	}
	if before != 39 || after != 61 {
		t.Errorf("%d requests before %s and %d after, want 39 and 61", before, noon, after)
	}
}

// While the morning's share is spent, the price that is shown is the time until the next request, also that of a plan
// so large that no price holds requests back.
func TestPriceOfMorning(t *testing.T) {
	midnight := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	s := newScheduler(resets(perMinute(60, 20000), "00:00"), midnight)
	now := midnight.Add(2 * time.Minute)
	for i := range 7800 {
		if price := s.View(now, nil).Pricing.Price; price > 60 {
			t.Fatalf("after %d requests, the price is %v", i, price)
		}
		now = now.Add(1100 * time.Millisecond)
		permit, at := s.PermitFor(fmt.Sprint(i), now)
		if permit == nil {
			t.Fatalf("after %d requests, none before %s", i, at)
		}
		permit.Answered(now, 0)
	}
	s.Add(now, schedule.Job{RequestID: "due", Start: midnight.Add(-48 * time.Hour)})
	permit, at := s.Next(now)
	if price := s.View(now, nil).Pricing.Price; permit != nil || price != at.Sub(now).Seconds() || price < 7*3600 {
		t.Errorf("the price is %v, and the next request at %s", price, at)
	}
}

// What was spent on the day before counts for a minute after the reset, and then no longer in the share of the morning.
func TestDayBegins(t *testing.T) {
	midnight := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	s := newScheduler(resets(perMinute(60, 100), "00:00"), midnight.Add(-time.Hour))
	for i := range 90 {
		at := midnight.Add(time.Duration(i-130) * 2 * time.Second)
		permit, _ := s.PermitFor(fmt.Sprint(i), at)
		permit.Answered(at, 0)
	}
	for i := range 20 {
		s.Add(midnight, schedule.Job{RequestID: fmt.Sprint("new", i), Start: midnight, AgeUnknown: true})
	}
	polled := make(backEnd).work(s, midnight.Add(30*time.Second), midnight.Add(2*time.Minute))
	if len(polled) != 20 {
		t.Errorf("%d of 20 jobs were polled in the first 2 minutes", len(polled))
	}
}

// In the minute after a reset, the requests of the day before still count. They say nothing about the price of this
// day, but for those of the last minute, which count for all of it.
func TestPriceAfterReset(t *testing.T) {
	reset := 6 * time.Hour
	for name, tt := range map[string]struct {
		requests int
		sent     func(n int) time.Duration
	}{
		"all day":         {90, func(n int) time.Duration { return time.Duration(n) * 2 * time.Minute }},
		"the last minute": {50, func(n int) time.Duration { return reset - time.Duration(50-n)*time.Second }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScheduler(resets(perMinute(60, 100), "00:00"), start)
			q := &quota{scheduler: s}
			for n := range tt.requests {
				if ok, _ := q.send(at(tt.sent(n))); !ok {
					t.Fatalf("request %d is not sent", n)
				}
			}
			for n := range 10 {
				s.Add(at(5*time.Hour), schedule.Job{RequestID: fmt.Sprint("job ", n), Start: at(5 * time.Hour)})
			}
			price := func(after time.Duration) float64 {
				now := at(reset + after)
				s.RefreshAll(now)
				return s.View(now, nil).Pricing.Price
			}
			during, later := price(30*time.Second), price(3*time.Minute)
			if during > 1.2*later || during < later/1.2 {
				t.Errorf("the price is %.4g within the first minute of a day, and %.4g after it", during, later)
			}
		})
	}
}

package schedule_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// A back end is jobs that end at a time; zero: never.
type backEnd map[string]time.Time

// work lets a scheduler ask until a time, with answers that come at once, and
// returns when it asked about whom.
func (b backEnd) work(t *testing.T, s *schedule.Scheduler, from, until time.Time) (asked map[string][]time.Time) {
	t.Helper()
	asked = make(map[string][]time.Time)
	for now := from; now.Before(until); {
		id, ok, next := s.Next(now)
		if !ok {
			if next.IsZero() {
				return asked
			}
			if !next.After(now) {
				next = now.Add(time.Millisecond)
			}
			now = next
			continue
		}
		asked[id] = append(asked[id], now)
		s.Ledger().Answered(now)
		if end := b[id]; !end.IsZero() && !end.After(now) {
			s.Ended(id, now)
		} else {
			s.Running(id, now, 0)
		}
	}
	return asked
}

// Whatever happens in whatever order, the quota is never exceeded, a job that has
// ended or gone is never asked about, and none is asked about twice at once.
func TestAnySequenceOfEvents(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		limits := schedule.Limits{PerMinute: 6, PerDay: 150, Concurrent: 3}
		if seed%2 == 1 {
			limits.DayResets, _ = schedule.ParseDayReset("00:00")
		}
		// Half of them save nothing for later, and meet the limits.
		s := schedule.New(limits, start, schedule.Parts{Pacing: seed%4 > 1})
		now := start
		var sent []time.Time
		var underWay, ended []string
		known := 0
		for range 6_000 {
			now = now.Add(time.Duration(r.ExpFloat64() * float64(8*time.Second)))
			id := fmt.Sprint(r.IntN(max(known, 1)))
			switch n := r.IntN(40); {
			case n == 0:
				id = fmt.Sprint(known)
				known++
				s.Add(schedule.Job{RequestID: id, API: fmt.Sprint("api", r.IntN(3)), AudioSeconds: float64(r.IntN(2) * 300), Start: now.Add(-time.Duration(r.IntN(100)) * time.Second)}, now)
			case n == 1:
				if known > 0 && !slices.Contains(underWay, id) {
					s.Ended(id, now) // by webhook
					ended = append(ended, id)
				}
			case n == 2:
				if known > 0 && r.IntN(20) == 0 {
					s.Remove(id)
					ended = append(ended, id)
				}
			case n <= 15:
				if len(underWay) == 0 {
					continue
				}
				id, underWay = underWay[0], underWay[1:]
				s.Ledger().Answered(now)
				switch r.IntN(8) {
				case 0:
					s.Ended(id, now)
					ended = append(ended, id)
				case 1:
					s.Unanswered(id, now, 0)
				case 2:
					if r.IntN(10) == 0 {
						s.Refused(id, now, r.IntN(2) == 0)
					} else {
						s.Unanswered(id, now, time.Minute)
					}
				default:
					s.Running(id, now, 0)
				}
			default:
				id, ok, _ := s.Next(now)
				if !ok {
					continue
				}
				if slices.Contains(ended, id) {
					t.Fatalf("%s was asked about after its end", id)
				}
				if slices.Contains(underWay, id) {
					t.Fatalf("%s is asked about twice at once", id)
				}
				underWay = append(underWay, id)
				sent = append(sent, now)
			}
		}
		if len(sent) < 20 || seed%4 > 1 && len(sent) < 150 {
			t.Errorf("seed %d: only %d requests", seed, len(sent))
		}
		if most := mostWithin(slices.Clone(sent), time.Minute); most > 6 {
			t.Errorf("seed %d: %d requests within a minute", seed, most)
		}
		if seed%2 == 0 {
			if most := mostWithin(slices.Clone(sent), 24*time.Hour); most > 150 {
				t.Errorf("seed %d: %d requests within 24 hours", seed, most)
			}
			continue
		}
		days := make(map[string]int)
		for _, at := range sent {
			if days[at.Format(time.DateOnly)]++; days[at.Format(time.DateOnly)] > 150 {
				t.Errorf("seed %d: more than 150 requests on %s", seed, at)
			}
		}
	}
}

// No job starves: with far more jobs than the quota can serve, some of which
// never end, each is asked about within the bound that the scheduler names.
func TestNobodyStarves(t *testing.T) {
	const jobs, perMinute = 300, 5.0
	s := schedule.New(schedule.Limits{PerMinute: perMinute}, start, schedule.Parts{})
	b := make(backEnd)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range jobs {
		id := fmt.Sprint(i)
		s.Add(schedule.Job{RequestID: id, API: "asr", Start: start}, start)
		if i%3 > 0 {
			b[id] = at(time.Duration(r.ExpFloat64() * float64(20*time.Minute)))
		}
	}
	until := at(96 * time.Hour)
	asked := b.work(t, s, start, until)
	// Sixteen requests for each job that may be overdue.
	wait := time.Duration(16 * jobs / perMinute * float64(time.Minute))
	for i := range jobs {
		times := asked[fmt.Sprint(i)]
		if len(times) == 0 {
			t.Fatalf("job %d was never asked about", i)
		}
		if !b[fmt.Sprint(i)].IsZero() {
			if end := b[fmt.Sprint(i)]; times[len(times)-1].Before(end) {
				t.Errorf("the end of job %d was never seen", i)
			}
			continue
		}
		last := start
		for _, now := range append(times, until) {
			if bound := 3*last.Sub(start) + 20*time.Minute + wait; now.Sub(last) > bound {
				t.Errorf("job %d was not asked about from %s to %s", i, last.Sub(start), now.Sub(start))
			}
			last = now
		}
	}
}

// What jobs are like is learnt: with the same quota, ends are seen sooner than by
// a scheduler that learns nothing.
func TestItLearns(t *testing.T) {
	const jobs = 300
	late := func(without schedule.Parts) (late time.Duration) {
		s := schedule.New(schedule.Limits{PerMinute: 2}, start, without)
		b := make(backEnd)
		for i := range jobs {
			now := at(time.Duration(i) * time.Minute)
			id := fmt.Sprint(i)
			b[id] = now.Add(10*time.Minute + time.Duration(i%20)*time.Second)
			s.Add(schedule.Job{RequestID: id, API: "asr", Start: now}, now)
			for id, times := range b.work(t, s, now, now.Add(time.Minute)) {
				if seen := times[len(times)-1]; !seen.Before(b[id]) {
					late += seen.Sub(b[id])
				}
			}
		}
		return late
	}
	with, without := late(schedule.Parts{}), late(schedule.Parts{Learning: true})
	if with > without/2 {
		t.Errorf("%d ends were seen %s late together, without learning %s", jobs, with, without)
	}
}

// A request about a job that must have ended long ago is worth any price, and says
// nothing of what others are worth: they are asked about as often as without it.
func TestOverdueHoldNobodyBack(t *testing.T) {
	looks := func(alsoOverdue bool) int {
		s := schedule.New(schedule.Limits{PerMinute: 60}, start, schedule.Parts{})
		s.Add(schedule.Job{RequestID: "young", Start: start}, start)
		if alsoOverdue {
			s.Add(schedule.Job{RequestID: "overdue", Start: start.AddDate(-1, 0, 0)}, start)
		}
		looks := 0
		for now, until := start, at(10*time.Minute); now.Before(until); {
			id, ok, next := s.Next(now)
			switch {
			case !ok:
				now = next
				continue
			case id == "young":
				looks++
				s.Running(id, now, 0)
			default:
				s.Unanswered(id, now, time.Minute) // the API does not know it
			}
			s.Ledger().Answered(now)
		}
		return looks
	}
	alone, beside := looks(false), looks(true)
	if beside < alone*9/10 {
		t.Errorf("%d looks beside a job that is overdue, %d without", beside, alone)
	}
}

// A request about a job of more weight is worth more.
func TestWeight(t *testing.T) {
	s := schedule.New(schedule.Limits{PerMinute: 1}, start, schedule.Parts{})
	s.Add(schedule.Job{RequestID: "light", Start: start}, start)
	s.Add(schedule.Job{RequestID: "heavy", Weight: 3, Start: start}, start)
	now := at(5 * time.Minute)
	if id, ok, _ := s.Next(now); id != "heavy" || !ok {
		t.Errorf("the first is %q", id)
	}
	light, _ := s.Explain("light", now)
	heavy, _ := s.Explain("heavy", now)
	if ratio := heavy.Worth / light.Worth; ratio < 2 || ratio > 5 {
		t.Errorf("they are worth %v and %v", light.Worth, heavy.Worth)
	}
}

// Somebody else spends the quota: each refusal means a pause and a lower rate,
// which comes back.
func TestRefused(t *testing.T) {
	s := schedule.New(schedule.Limits{PerMinute: 60}, start, schedule.Parts{})
	for i := range 50 {
		s.Add(schedule.Job{RequestID: fmt.Sprint(i), Start: at(-time.Hour)}, start)
	}
	now, pauses := start, []time.Duration{}
	for range 3 {
		id, ok, _ := s.Next(now)
		if !ok {
			t.Fatal("nothing to ask")
		}
		s.Ledger().Answered(now)
		until := s.Refused(id, now, false)
		if _, ok, at := s.Next(now.Add(time.Second)); ok || !at.Equal(until) {
			t.Errorf("asked in a pause (%v), or look again at %s, not %s", ok, at, until)
		}
		pauses = append(pauses, until.Sub(now))
		now = until
	}
	if !slices.IsSorted(pauses) || pauses[2] <= pauses[0] {
		t.Errorf("the pauses are %s", pauses)
	}
	low := s.Pricing(now).Sharing
	if low > 0.5 {
		t.Errorf("after three refusals, %v of the quota is used", low)
	}
	make(backEnd).work(t, s, now, now.Add(3*time.Hour))
	if high := s.Pricing(now.Add(3 * time.Hour)).Sharing; high != 1 {
		t.Errorf("hours later %v of the quota is used, after %v", high, low)
	}
	// The day's quota is gone: it is not asked about before the reset.
	day, _ := schedule.ParseDayReset("18:30")
	s = schedule.New(schedule.Limits{PerDay: 50, DayResets: day}, start, schedule.Parts{})
	s.Add(schedule.Job{RequestID: "a", Start: at(-24 * time.Hour)}, start)
	id, _, _ := s.Next(at(10 * time.Minute))
	if until := s.Refused(id, at(10*time.Minute), true); until.Before(at(30*time.Minute)) || until.After(at(32*time.Minute)) {
		t.Errorf("with a reset at %s, nothing is asked until %s", at(30*time.Minute), until)
	}
}

// What others spend of the same quota outlives a restart and a reload, for as long as
// the quota is the same. A pause ends with them.
func TestOthersAreRemembered(t *testing.T) {
	limits := schedule.Limits{PerMinute: 60, PerDay: 1000}
	s := schedule.New(limits, start, schedule.Parts{})
	s.Add(schedule.Job{RequestID: "a", Start: at(-time.Hour)}, start)
	now := start
	for _, day := range []bool{false, false, true} {
		id, ok, _ := s.Next(now)
		if !ok {
			t.Fatal("nothing to ask")
		}
		s.Ledger().Answered(now)
		now = s.Refused(id, now, day)
	}
	now = now.Add(-time.Minute) // in the last pause
	price := func(s *schedule.Scheduler) schedule.Pricing {
		s.Add(schedule.Job{RequestID: "b", API: "asr", Start: now.Add(-48 * time.Hour)}, now)
		return s.Pricing(now)
	}
	state, err := s.Learnt(now)
	if err != nil {
		t.Fatal(err)
	}
	restarted := func(limits schedule.Limits, state []byte) *schedule.Scheduler {
		s := schedule.New(limits, now, schedule.Parts{})
		if err := s.Recall(state); err != nil {
			t.Fatal(err)
		}
		return s
	}
	after := restarted(limits, state)
	if again, err := after.Learnt(now); err != nil || string(again) != string(state) {
		t.Errorf("after a restart it knows\n%s\nand before\n%s\n%v", again, state, err)
	}
	fresh := price(schedule.New(limits, now, schedule.Parts{}))
	if got := price(after); got.Sharing >= fresh.Sharing || got.Price <= fresh.Price {
		t.Errorf("after a restart %+v, without others %+v", got, fresh)
	}
	if _, ok, at := after.Next(now); !ok {
		t.Errorf("after a restart in a pause, it waits until %s", at)
	}
	s.SetLimits(limits)
	if _, ok, at := s.Next(now); !ok || s.Pricing(now).Sharing >= fresh.Sharing {
		t.Errorf("after a reload it asks: %v, at %s, with %v of the quota", ok, at, s.Pricing(now).Sharing)
	}
	larger := schedule.Limits{PerMinute: 120, PerDay: 1000}
	after.SetLimits(larger)
	for name, s := range map[string]*schedule.Scheduler{"reload": after, "restart": restarted(larger, state)} {
		if got := s.Pricing(now).Sharing; got != 1 {
			t.Errorf("after a %s with another quota, %v of it is used", name, got)
		}
	}
}

func TestExplain(t *testing.T) {
	s := schedule.New(schedule.Limits{PerMinute: 60}, start, schedule.Parts{})
	s.Add(schedule.Job{RequestID: "new", AudioSeconds: 600, Start: start}, start)
	s.Add(schedule.Job{RequestID: "old", Start: at(-48 * time.Hour)}, start)
	s.Add(schedule.Job{RequestID: "asked", Start: at(-49 * time.Hour)}, start)
	s.Take("asked")
	s.Add(schedule.Job{RequestID: "held", Start: at(-48 * time.Hour)}, start)
	s.Take("held")
	s.Unanswered("held", start, time.Hour)
	for id, want := range map[string]struct {
		at   time.Duration
		text string
	}{
		"new":   {-1, "jobs like it take 3m0s"},
		"old":   {0, "whatever else is to be done"},
		"asked": {0, "being asked about"},
		"held":  {time.Hour, "asks to wait"},
	} {
		r, ok := s.Explain(id, start)
		if !ok || !strings.Contains(r.String(), want.text) {
			t.Errorf("%s: %v, %s", id, ok, r)
		}
		if got := r.At.Sub(start); want.at >= 0 && got != want.at || want.at < 0 && got <= 0 {
			t.Errorf("%s is due in %s", id, got)
		}
	}
	if _, ok := s.Explain("unknown", start); ok || !s.NextPoll("unknown", start).IsZero() {
		t.Error("an unknown job is explained")
	}
	var order []string
	for _, p := range s.NextPolls(start, 5) {
		order = append(order, p.RequestID)
	}
	if want := []string{"old", "new", "held"}; !slices.Equal(order, want) {
		t.Errorf("the next polls are %q, want %q", order, want)
	}
	if n := len(s.NextPolls(start, 2)); n != 2 {
		t.Errorf("%d polls, want 2", n)
	}
	if due := s.Due(start); due != 1 {
		t.Errorf("%d jobs are due", due)
	}
}

// The next polls of many jobs are the first of all, whatever order the jobs are in.
func TestNextPolls(t *testing.T) {
	const jobs, n = 5000, 20
	due := func(i int) (begun, seen time.Duration) {
		return -24*time.Hour - time.Duration(i)*time.Second, -time.Hour - time.Duration(i)*time.Millisecond
	}
	for name, of := range map[string]func(i int) (begun, seen time.Duration){
		"the oldest first": func(i int) (time.Duration, time.Duration) { return -time.Duration(jobs-i) * time.Second / 10, 0 },
		"the oldest last":  func(i int) (time.Duration, time.Duration) { return -time.Duration(jobs-i) * time.Second, -time.Second },
		"many are due":     due,
	} {
		s := schedule.New(schedule.Limits{PerMinute: 60}, start, schedule.Parts{})
		for i := range jobs {
			begun, seen := of(i)
			if i%500 == 0 {
				begun, seen = due(i)
			}
			s.Add(schedule.Job{RequestID: fmt.Sprint(i), API: fmt.Sprint("api", i%3), Weight: 1 + float64(i%7), Start: at(begun), Seen: at(seen)}, start)
		}
		for i := 1; i < jobs; i += 40 {
			s.Take(fmt.Sprint(i))
			switch {
			case i%3 == 0:
				s.Unanswered(fmt.Sprint(i), start, time.Duration(i)*time.Millisecond)
			case i%3 == 1:
				s.Ended(fmt.Sprint(i), start)
			}
		}
		type first struct {
			id    string
			at    time.Time
			worth float64
		}
		var want []first
		for i := range jobs {
			if r, ok := s.Explain(fmt.Sprint(i), start); ok && !r.UnderWay {
				want = append(want, first{fmt.Sprint(i), r.At, r.Worth})
			}
		}
		slices.SortFunc(want, func(a, b first) int {
			return cmp.Or(a.at.Compare(b.at), cmp.Compare(b.worth, a.worth), cmp.Compare(a.id, b.id))
		})
		for i, p := range s.NextPolls(start, n) {
			if got := (first{p.RequestID, p.At, p.Worth}); got != want[i] {
				t.Fatalf("%s: poll %d of %d is %+v, want %+v", name, i, n, got, want[i])
			}
		}
	}
}

// What is forecast for a day is reckoned from the hours that were watched of the days
// before: there was nobody to count what came in the others.
func TestForecast(t *testing.T) {
	midnight := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	type watch struct{ from, until float64 } // hours; the next watch has what this one learnt
	for name, tt := range map[string]struct {
		watches []watch
		perHour float64
		fewest  float64
		most    float64 // are expected in the 24 hours to come
	}{
		"begun at midnight":                     {[]watch{{0, 48}}, 2, 43, 53},
		"begun an hour before midnight":         {[]watch{{23, 24.5}}, 2, 25, 80},
		"begun six hours before":                {[]watch{{18, 24.5}}, 4, 50, 150},
		"off for a day's working hours":         {[]watch{{0, 78}, {94, 96.5}}, 2, 43, 53},
		"off for the first day's working hours": {[]watch{{0, 6}, {22, 24.5}}, 2, 25, 110},
		"off for a week":                        {[]watch{{0, 72}, {240, 240.5}}, 2, 43, 53},
	} {
		var s *schedule.Scheduler
		var now time.Time
		for _, w := range tt.watches {
			begin, end := midnight.Add(time.Duration(w.from*float64(time.Hour))), midnight.Add(time.Duration(w.until*float64(time.Hour)))
			before := s
			s = schedule.New(schedule.Limits{PerDay: 100}, begin, schedule.Parts{})
			if before != nil {
				state, err := before.Learnt(now)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Recall(state); err != nil {
					t.Fatal(err)
				}
			}
			for now = begin.Add(7 * time.Minute); now.Before(end); now = now.Add(time.Duration(float64(time.Hour) / tt.perHour)) {
				s.Add(schedule.Job{RequestID: now.String(), API: "asr", Start: now}, now)
				s.Ended(now.String(), now.Add(time.Minute))
			}
			now = end
		}
		if got := s.Pricing(now).Coming; got < tt.fewest || got > tt.most {
			t.Errorf("%s: %.1f jobs are expected in a day, want %v to %v", name, got, tt.fewest, tt.most)
		}
	}
}

// A plan asks as the scheduler would, changes nothing, and keeps the quota.
func TestPlan(t *testing.T) {
	s := schedule.New(schedule.Limits{PerMinute: 5, PerDay: 40}, start, schedule.Parts{})
	for i := range 8 {
		s.Add(schedule.Job{RequestID: fmt.Sprint(i), AudioSeconds: 300, Start: at(-time.Duration(i) * time.Minute)}, start)
	}
	polls, day := s.Plan(start, 24*time.Hour, 1000)
	again, _ := s.Plan(start, 24*time.Hour, 1000)
	if len(polls) == 0 || len(polls) > 40 || !slices.Equal(polls, again) {
		t.Errorf("%d polls planned, then %d", len(polls), len(again))
	}
	if int(day.Used) != len(polls) {
		t.Errorf("%v of the day's quota is used after %d polls", day.Used, len(polls))
	}
	needed := make(map[string]float64)
	for i, p := range polls {
		if i > 0 && p.At.Before(polls[i-1].At) {
			t.Error("the polls are not in order")
		}
		if before, known := needed[p.RequestID]; known && p.Needed > before || !known && p.Needed != 1 {
			t.Errorf("%s is needed with %v, before with %v", p.RequestID, p.Needed, before)
		}
		needed[p.RequestID] = p.Needed
	}
	if _, usage := s.Ledger().Usage(start); usage.Used != 0 {
		t.Errorf("planning used %v", usage.Used)
	}
	first := make(backEnd).work(t, s, start, polls[0].At.Add(time.Millisecond))
	if len(first[polls[0].RequestID]) != 1 {
		t.Errorf("planned was %+v, asked %v", polls[0], first)
	}
}

// What was learnt outlives a restart; what is damaged or old is refused and
// changes nothing.
func TestLearnt(t *testing.T) {
	learn := func() *schedule.Scheduler {
		s := schedule.New(schedule.Limits{PerMinute: 20}, start, schedule.Parts{})
		b := make(backEnd)
		for i := range 200 {
			id := fmt.Sprint(i)
			now := at(time.Duration(i) * time.Minute)
			b[id] = now.Add(20 * time.Minute)
			s.Add(schedule.Job{RequestID: id, API: fmt.Sprint("api", i%2), Start: now}, now)
			b.work(t, s, now, now.Add(time.Minute))
		}
		return s
	}
	before := learn()
	state, err := before.Learnt(start)
	if err != nil {
		t.Fatal(err)
	}
	if len(state) > 64<<10 {
		t.Errorf("%d bytes for two APIs", len(state))
	}
	later := at(300 * time.Minute)
	expected := func(s *schedule.Scheduler) time.Duration {
		s.Add(schedule.Job{RequestID: "new", API: "api1", Start: later}, later)
		r, _ := s.Explain("new", later)
		return r.Expected
	}
	fresh := func() *schedule.Scheduler {
		return schedule.New(schedule.Limits{PerMinute: 20}, later, schedule.Parts{})
	}
	after := fresh()
	if err := after.Recall(state); err != nil {
		t.Fatal(err)
	}
	if got, want := expected(after), expected(before); math.Abs(got.Seconds()/want.Seconds()-1) > 0.01 || want < 15*time.Minute || want > 25*time.Minute {
		t.Errorf("a job is expected to take %s after the restart, %s before", got, want)
	}
	again, err := after.Learnt(later)
	if err != nil || len(again) == 0 {
		t.Fatal(err)
	}
	unlearnt := expected(fresh())
	text := string(state)
	for name, damaged := range map[string]string{
		"empty":           "",
		"not JSON":        "what",
		"cut off":         text[:len(text)/2],
		"another version": strings.Replace(text, `"version":1`, `"version":99`, 1),
		"too short a law": strings.Replace(text, `"shape":[`, `"shape":[1,`, 1),
		"below zero":      strings.Replace(text, `"ends":`, `"ends":-`, 1),
		"absurd sharing":  strings.Replace(text, `"share":1`, `"share":2`, 1),
		"absurd":          strings.Replace(text, `"location":[`, `"location":[1e300,`, 1),
	} {
		s := fresh()
		if err := s.Recall([]byte(damaged)); err == nil {
			t.Errorf("%s: it was taken", name)
		}
		if got := expected(s); got != unlearnt {
			t.Errorf("%s: a job is expected to take %s, without any state %s", name, got, unlearnt)
		}
	}
}

// However many names of APIs there are, what is learnt stays bounded.
func TestLearntIsBounded(t *testing.T) {
	s := schedule.New(schedule.Limits{}, start, schedule.Parts{})
	for i := range 1000 {
		id := fmt.Sprint(i)
		s.Add(schedule.Job{RequestID: id, API: id, AudioSeconds: float64(i%2) * 60, Start: start}, start)
		s.Take(id)
		s.Running(id, at(time.Minute), 0)
		s.Ended(id, at(time.Hour))
	}
	state, err := s.Learnt(at(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if len(state) > 512<<10 {
		t.Errorf("%d bytes", len(state))
	}
	if err := schedule.New(schedule.Limits{}, start, schedule.Parts{}).Recall(state); err != nil {
		t.Error(err)
	}
}

func BenchmarkDecision(b *testing.B) {
	for _, jobs := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(jobs), func(b *testing.B) {
			// A quota that every job is asked within about 10 minutes with.
			s := schedule.New(schedule.Limits{PerMinute: float64(jobs) / 10, Burst: max(jobs/600, 1)}, start, schedule.Parts{})
			r := rand.New(rand.NewPCG(1, 1))
			for i := range jobs {
				s.Add(schedule.Job{
					RequestID: fmt.Sprint(i), API: fmt.Sprint("api", i%12), AudioSeconds: float64(i%3) * 300,
					Start: at(-time.Duration(r.IntN(3600)) * time.Second),
				}, start)
			}
			now, decided := start, 0
			b.ResetTimer()
			for decided < b.N {
				id, ok, next := s.Next(now)
				if !ok {
					if now = now.Add(time.Millisecond); next.After(now) {
						now = next
					}
					continue
				}
				decided++
				s.Ledger().Answered(now)
				s.Running(id, now, 0)
			}
		})
	}
}

// BenchmarkLook is what the status and a scrape, with a thousand jobs shown, cost
// each minute: some jobs are due, most wait for very different times.
func BenchmarkLook(b *testing.B) {
	for _, jobs := range []int{1_000, 100_000, 1_000_000} {
		s := schedule.New(schedule.Limits{PerMinute: float64(jobs) / 10, Burst: max(jobs/600, 1)}, start, schedule.Parts{})
		r := rand.New(rand.NewPCG(1, 1))
		for i := range jobs {
			begun := -time.Duration(r.IntN(3600)) * time.Second
			s.Add(schedule.Job{
				RequestID: fmt.Sprint(i), API: fmt.Sprint("api", i%12), AudioSeconds: float64(i%3) * 300,
				Start: at(begun), Seen: at(begun * time.Duration(r.IntN(100)) / 100),
			}, start)
		}
		b.Run(fmt.Sprintf("status/%d", jobs), func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				s.NextPolls(at(time.Duration(n)*time.Minute), 20)
			}
		})
		b.Run(fmt.Sprintf("scrape/%d", jobs), func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				now := at(time.Duration(n) * time.Minute)
				for i := range 1000 {
					s.NextPoll(fmt.Sprint(i), now)
				}
				s.Due(now)
				s.Pricing(now)
			}
		})
	}
}

// A plan that is far larger than what there is to ask about is used: a few jobs are
// not held back on the first day because many might still come. A small plan is
// held back.
func TestLargePlanIsUsed(t *testing.T) {
	for _, tt := range []struct{ perDay, fewest, most int }{ // requests in ten minutes
		{100_000, 30, 75}, // a tenth of an even spending
		{100, 0, 5},
	} {
		s := schedule.New(schedule.Limits{PerMinute: 600, PerDay: tt.perDay}, start, schedule.Parts{})
		b := make(backEnd)
		for i := range 3 {
			b[fmt.Sprint(i)] = time.Time{}
			s.Add(schedule.Job{RequestID: fmt.Sprint(i), API: "asr", Start: start}, start)
		}
		n := 0
		for _, times := range b.work(t, s, start, start.Add(10*time.Minute)) {
			n += len(times)
		}
		if n < tt.fewest || n > tt.most {
			t.Errorf("%d a day: %d requests in ten minutes", tt.perDay, n)
		}
	}
}

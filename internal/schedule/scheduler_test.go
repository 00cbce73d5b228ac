package schedule_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/cputime"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// A scheduler is one that finds its jobs by their request IDs.
type scheduler struct {
	*schedule.Scheduler

	mu        sync.Mutex // guards everything below
	last      uint64
	sequences map[string]uint64 // of the jobs that are tracked
}

func newScheduler(limits schedule.Limits, now time.Time) *scheduler {
	return &scheduler{Scheduler: schedule.New(limits, now), sequences: make(map[string]uint64)}
}

// sequence returns 0 for an unknown job.
func (s *scheduler) sequence(id string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sequences[id]
}

// depart lets a job have another sequence when it comes back.
func (s *scheduler) depart(id string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer delete(s.sequences, id)
	return s.sequences[id]
}

func (s *scheduler) Add(now time.Time, jobs ...schedule.Job) {
	jobs = slices.Clone(jobs)
	s.mu.Lock()
	for i := range jobs {
		id := jobs[i].RequestID
		if s.sequences[id] == 0 {
			s.last++
			s.sequences[id] = s.last
		}
		jobs[i].Sequence = s.sequences[id]
	}
	s.mu.Unlock()
	s.Scheduler.Add(now, jobs...)
}

func (s *scheduler) Remove(id string) { s.Scheduler.Remove(s.depart(id)) }

func (s *scheduler) StillRunning(id string, at time.Time) {
	s.Scheduler.StillRunning(s.sequence(id), at)
}

func (s *scheduler) Ended(id string, at time.Time, webhook bool) {
	s.Scheduler.Ended(s.depart(id), at, webhook)
}

func (s *scheduler) PermitFor(id string, now time.Time) (*schedule.Permit, time.Time) {
	return s.Scheduler.PermitFor(s.sequence(id), id, now)
}

func (s *scheduler) Explain(id string, now time.Time) (schedule.Reason, bool) {
	return s.Scheduler.Explain(s.sequence(id), now)
}

func (s *scheduler) IsLate(id string, now time.Time) bool {
	return s.Scheduler.IsLate(s.sequence(id), now)
}

func (s *scheduler) View(now time.Time, ids []string) schedule.View {
	var jobs []uint64
	for _, id := range ids {
		jobs = append(jobs, s.sequence(id))
	}
	return s.Scheduler.View(now, jobs)
}

// A back end is jobs that end at a time; zero: never.
type backEnd map[string]time.Time

// work lets a scheduler poll until a time, with answers that come at once, and returns
// when it polled which job.
func (b backEnd) work(s *scheduler, from, until time.Time) (polled map[string][]time.Time) {
	polled = make(map[string][]time.Time)
	for now := from; now.Before(until); {
		permit, next := s.Next(now)
		if permit == nil {
			if next.IsZero() {
				return polled
			}
			if !next.After(now) {
				next = now.Add(time.Millisecond)
			}
			now = next
			continue
		}
		id := permit.RequestID
		polled[id] = append(polled[id], now)
		if end := b[id]; !end.IsZero() && !end.After(now) {
			s.Ended(id, now, false)
		} else {
			s.StillRunning(id, now)
		}
		permit.Answered(now, 0)
	}
	return polled
}

// Whatever happens in whatever order, the quota is never exceeded, a job that has ended
// or was removed is never polled, and none is polled twice at once.
func TestAnySequenceOfEvents(t *testing.T) {
	for seed := range uint64(longtest.Size(4, 80)) {
		r := rand.New(rand.NewPCG(seed, 1))
		limits := concurrent(perMinute(6, 150), 3)
		if seed%2 == 1 {
			limits = resets(limits, "00:00")
		}
		// For half of them no price is too high, so that they meet the limits.
		priority := 1.0
		if seed%4 > 1 {
			priority = 1e9
		}
		s := newScheduler(limits, start)
		now := start
		var sent []time.Time
		var inFlight []*schedule.Permit
		var ended []string
		known := 0
		for range 3_000 {
			now = now.Add(time.Duration(r.ExpFloat64() * float64(8*time.Second)))
			id := fmt.Sprint(r.IntN(max(known, 1)))
			switch n := r.IntN(40); {
			case n == 0:
				s.Add(now, schedule.Job{
					RequestID: fmt.Sprint(known), API: fmt.Sprint("api", r.IntN(3)), AudioSeconds: float64(r.IntN(2) * 300),
					Priority: priority, Start: now.Add(-time.Duration(r.IntN(100)) * time.Second),
				})
				known++
			case n == 1:
				if known > 0 {
					s.Ended(id, now, true)
					ended = append(ended, id)
				}
			case n == 2:
				if known > 0 && r.IntN(20) == 0 {
					s.Remove(id)
					ended = append(ended, id)
				}
			case n <= 15:
				if len(inFlight) == 0 {
					continue
				}
				permit := inFlight[0]
				inFlight = inFlight[1:]
				switch r.IntN(8) {
				case 0:
					s.Ended(permit.RequestID, now, false)
					ended = append(ended, permit.RequestID)
					permit.Answered(now, 0)
				case 1:
					permit.Unanswered(now, 0, schedule.RequestFailed)
				case 2:
					if r.IntN(10) == 0 {
						permit.Refused(now, r.IntN(2) == 0)
					} else {
						permit.Unanswered(now, time.Minute, schedule.RequestFailed)
					}
				default:
					s.StillRunning(permit.RequestID, now)
					permit.Answered(now, 0)
				}
			default:
				permit, _ := s.Next(now)
				if permit == nil {
					continue
				}
				if slices.Contains(ended, permit.RequestID) {
					t.Fatalf("%s was polled after its end", permit.RequestID)
				}
				if slices.ContainsFunc(inFlight, func(p *schedule.Permit) bool {
					return p.RequestID == permit.RequestID
				}) {
					t.Fatalf("%s is polled twice at once", permit.RequestID)
				}
				inFlight = append(inFlight, permit)
				sent = append(sent, now)
				if n := s.InFlight(); n != len(inFlight) {
					t.Fatalf("%d permits are held, and %d in flight", len(inFlight), n)
				}
			}
		}
		if len(sent) < 20 || priority > 1 && len(sent) < 150 {
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

// Reading changes no state and no decision, whatever happened before.
func TestReadingChangesNothing(t *testing.T) {
	run := func(seed uint64, read bool) (decisions []string) {
		r := rand.New(rand.NewPCG(seed, 2))
		limits := resets(concurrent(perMinute(6, 150), 3), []string{"", "00:00"}[seed%2])
		s := newScheduler(limits, start)
		now := start
		var inFlight []*schedule.Permit
		known := 0
		decided := func(what any) { decisions = append(decisions, fmt.Sprint(now, what)) }
		for range longtest.Size(40, 200) {
			now = now.Add(time.Duration(r.ExpFloat64() * float64(time.Minute)))
			id := fmt.Sprint(r.IntN(known + 1))
			switch n := r.IntN(20); {
			case n < 3:
				var jobs []schedule.Job
				for range r.IntN(4) {
					known++
					jobs = append(jobs, schedule.Job{
						RequestID: fmt.Sprint(known), API: fmt.Sprint("api", r.IntN(3)), AudioSeconds: float64(r.IntN(2) * 300),
						Start: now.Add(-time.Duration(r.IntN(1000)) * time.Second), AgeUnknown: r.IntN(5) == 0,
					})
				}
				s.Add(now, jobs...)
			case n == 3:
				s.Ended(id, now, true)
			case n == 4:
				s.Remove(id)
			case n == 5:
				s.StillRunning(id, now)
			case n == 6:
				s.Refresh(now)
			case n == 7 && r.IntN(10) == 0:
				s.SetLimits(perMinute(float64(1+r.IntN(9)), 100))
			case n < 13 && len(inFlight) > 0:
				permit := inFlight[0]
				inFlight = inFlight[1:]
				switch r.IntN(6) {
				case 0:
					s.Ended(permit.RequestID, now, false)
					permit.Answered(now, 0)
				case 1:
					permit.Unanswered(now, time.Minute, schedule.RequestFailed)
				case 2:
					decided(permit.Refused(now, r.IntN(2) == 0))
				case 3:
					permit.NotSent()
				default:
					s.StillRunning(permit.RequestID, now)
					permit.Answered(now, 5*time.Second)
				}
			default:
				permit, at := s.Next(now)
				if permit != nil {
					inFlight = append(inFlight, permit)
					decided(permit.RequestID)
				} else {
					decided(at)
				}
			}
			if !read {
				continue
			}
			before := s.Dump()
			// Also at times at which requests have left the windows, and another day has begun.
			for _, at := range []time.Time{now, now.Add(30 * time.Second), now.Add(20 * time.Hour)} {
				s.View(at, []string{id, "1", "2", "unknown"})
				s.Explain(id, at)
				s.NextPolls(at, 3)
				s.Plan(at, time.Hour, 5)
				s.InFlight()
				if _, err := s.Learnt(at); err != nil {
					t.Error(err)
				}
			}
			if after := s.Dump(); after != before {
				t.Fatalf("seed %d: reading has changed %s", seed, difference(before, after))
			}
		}
		state, err := s.Learnt(now)
		if err != nil {
			t.Error(err)
		}
		decided(string(state))
		return decisions
	}
	for seed := range uint64(2) {
		if without, with := run(seed, false), run(seed, true); !slices.Equal(without, with) {
			t.Errorf("seed %d: the decisions are %q with readers, and %q without", seed, with, without)
		}
	}
}

// difference returns the first lines that differ.
func difference(before, after string) string {
	b, a := strings.Split(before, "\n"), strings.Split(after, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return b[i] + " to " + a[i]
		}
	}
	return "the number of lines"
}

// Readers, events and permits may come from any goroutine.
func TestConcurrentUse(t *testing.T) {
	s := newScheduler(perMinute(6000, 100_000), start)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 50 {
				now, id := at(time.Duration(i)*time.Second), fmt.Sprint(worker, "/", i)
				s.Add(now, schedule.Job{RequestID: id, API: "asr", Start: now, AtOnce: true})
				if permit, _ := s.Next(now); permit != nil {
					s.StillRunning(permit.RequestID, now)
					permit.Answered(now, 0)
				}
				s.View(now, []string{id})
				s.Plan(now, time.Hour, 5)
				s.NextPolls(now, 5)
				s.Refresh(now)
				s.Ended(id, now, true)
			}
		})
	}
	wg.Wait()
	if n := s.InFlight(); n != 0 {
		t.Errorf("%d in flight at the end", n)
	}
}

// No job starves: with far more jobs than the quota can serve, some of which never end,
// each is polled within the bound that the scheduler documents.
func TestNoJobStarves(t *testing.T) {
	const jobs, rate = 300, 5.0
	s := newScheduler(schedule.PerMinute(rate), start)
	b := make(backEnd)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range jobs {
		id := fmt.Sprint(i)
		s.Add(start, schedule.Job{RequestID: id, API: "asr", Start: start})
		if i%3 > 0 {
			b[id] = at(time.Duration(r.ExpFloat64() * float64(20*time.Minute)))
		}
	}
	until := at(time.Duration(longtest.Size(48, 96)) * time.Hour)
	polled := b.work(s, start, until)
	// Sixteen requests for each job that may be overdue.
	wait := time.Duration(16 * jobs / rate * float64(time.Minute))
	for i := range jobs {
		times := polled[fmt.Sprint(i)]
		if len(times) == 0 {
			t.Fatalf("job %d was never polled", i)
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
				t.Errorf("job %d was not polled from %s to %s", i, last.Sub(start), now.Sub(start))
			}
			last = now
		}
	}
}

// One request in sixteen goes to the job that is overdue for longest, even when all
// others have a higher score.
func TestFairTurn(t *testing.T) {
	s := newScheduler(schedule.PerMinute(60), start)
	s.Add(start, schedule.Job{RequestID: "unimportant", Priority: 1e-6, Start: at(-49 * time.Hour)})
	for i := range 100 {
		s.Add(start, schedule.Job{RequestID: fmt.Sprint(i), Priority: 1e6, Start: at(-48 * time.Hour)})
	}
	var polled []string
	for range 32 {
		permit, _ := s.Next(start)
		if permit == nil {
			t.Fatal("no permit while jobs are overdue")
		}
		polled = append(polled, permit.RequestID)
	}
	if i := slices.Index(polled, "unimportant"); i != 15 {
		t.Errorf("the job that is overdue for longest is number %d of %q, want the 16th", i+1, polled)
	}
}

// Jobs whose requests failed are polled last, the one that did first before the others, until a request is answered.
func TestFailedComeLast(t *testing.T) {
	s := newScheduler(schedule.Limits{}, start)
	for id, age := range map[string]time.Duration{"a": 3, "b": 2, "c": 1} {
		s.Add(start, schedule.Job{RequestID: id, Start: at(-48*time.Hour - age*time.Minute), AtOnce: true})
	}
	now, polled := start, ""
	poll := func(wait time.Duration, end func(permit *schedule.Permit)) {
		now = now.Add(wait)
		permit, _ := s.Next(now)
		if permit == nil {
			t.Fatalf("no permit after %q", polled)
		}
		polled += permit.RequestID
		end(permit)
	}
	fails := func(permit *schedule.Permit) { permit.Unanswered(now, 0, schedule.RequestFailed) }
	for range 7 {
		poll(time.Minute, fails)
	}
	poll(time.Minute, func(permit *schedule.Permit) { permit.Unanswered(now, time.Hour, schedule.NotKnown) })
	poll(time.Minute, fails)
	poll(time.Minute, fails)
	if polled != "abcabca"+"b"+"ac" {
		t.Errorf("polled %s", polled)
	}
}

// Among very many overdue jobs, too, one request in sixteen goes to the one that was seen running the longest ago.
func TestFairTurns(t *testing.T) {
	const jobs = 5000
	s := newScheduler(schedule.Limits{}, start)
	var all []schedule.Job
	for i := range jobs { // the higher the number, the longer ago it was seen, and the lower its priority
		all = append(all, schedule.Job{
			RequestID: fmt.Sprint(i), API: "asr", Priority: 1 / float64(1+i),
			Start: at(-49 * time.Hour), Seen: at(-48*time.Hour - time.Duration(i)*time.Millisecond),
		})
	}
	s.Add(start, all...)
	s.RefreshAll(start)
	var fair []string
	for i := range 10 * 16 {
		permit, _ := s.Next(start)
		if permit == nil {
			t.Fatal("no permit while jobs are overdue")
		}
		if i%16 == 15 {
			fair = append(fair, permit.RequestID)
		}
	}
	for i, id := range fair {
		if want := fmt.Sprint(jobs - 1 - i); id != want {
			t.Errorf("fair choice %d goes to job %s, want %s", i, id, want)
		}
	}
}

// Among very many jobs that wait, too, one is polled as soon as it is due.
func TestDueAmongMany(t *testing.T) {
	s := newScheduler(schedule.Limits{}, start)
	var all []schedule.Job
	for i := range longtest.Size(2500, 10_000) {
		all = append(all, schedule.Job{RequestID: fmt.Sprint(i), API: "asr", AudioSeconds: 360_000, Start: start})
	}
	s.Add(start, all...)
	s.Add(start, schedule.Job{RequestID: "short", API: "asr", AudioSeconds: 60, Start: start})
	r, _ := s.Explain("short", start)
	polled := make(backEnd).work(s, start, r.At.Add(2*time.Second))
	if len(polled["short"]) == 0 {
		t.Fatalf("%d jobs were polled, and not the one that is due", len(polled))
	}
	if late := polled["short"][0].Sub(r.At); late.Abs() > time.Second {
		t.Errorf("the job was polled %s after it was due", late)
	}
}

// stale returns a scheduler with so many due jobs, and the time, after requests that are in flight about 50 important
// ones have raised the price above what the others were worth when they were last looked at.
func stale(t *testing.T, jobs int) (s *scheduler, now time.Time) {
	t.Helper()
	s, now = newScheduler(schedule.PerMinute(60), start), at(4*time.Minute)
	var all []schedule.Job
	for i := range jobs {
		all = append(all, schedule.Job{RequestID: fmt.Sprint(i), API: "asr", Start: start})
	}
	for i := range 50 {
		all = append(all, schedule.Job{RequestID: fmt.Sprint("important ", i), API: "asr", Priority: 1000, Start: start})
	}
	s.Add(now, all...)
	for range 50 {
		if permit, _ := s.Next(now); permit == nil || !strings.HasPrefix(permit.RequestID, "important") {
			t.Fatalf("the next permit is %+v, want one for an important job", permit)
		}
	}
	if due := s.View(now, nil).Due; due != jobs {
		t.Fatalf("%d jobs are due, want %d", due, jobs)
	}
	return s, now
}

// Where the price has risen above the scores of all due jobs, as they were, the next decisions look at them again.
func TestPriceRises(t *testing.T) {
	s, now := stale(t, 1500)
	for looks, wake := 0, now; s.View(now, nil).Due > 0; looks++ {
		var permit *schedule.Permit
		now = wake
		if permit, wake = s.Next(now); permit != nil {
			t.Fatalf("job %s is polled %s after the price has risen", permit.RequestID, now.Sub(start))
		}
		if wait := wake.Sub(now); s.View(now, nil).Due > 0 && wait > time.Second || looks > 10 {
			t.Fatalf("after %d looks, %d jobs are due, and the next look is in %s", looks, s.View(now, nil).Due, wait)
		}
	}
	// All will be due again.
	b := make(backEnd)
	if polled := b.work(s, now, now.Add(24*time.Hour)); len(polled) < 10 { // the other requests stay in flight
		t.Errorf("%d jobs were polled in a day", len(polled))
	}
}

// A due job that has become worth the higher price is polled at once.
func TestScoreRisesWithThePrice(t *testing.T) {
	s, now := stale(t, 1500)
	for i := range 40 { // jobs are shorter than expected
		s.Ended(fmt.Sprint(i), at(time.Minute), true)
	}
	if permit, wake := s.Next(now); permit == nil {
		r, _ := s.Explain("1000", now)
		t.Errorf("no permit until %s, and a job is worth %.3g", wake.Sub(now), r.Score)
	}
}

// A job that is overdue is polled at any price, also beside due jobs that are not worth it.
func TestOverdueAtAnyPrice(t *testing.T) {
	for _, jobs := range []int{500, 1500} {
		s, now := stale(t, jobs)
		s.Add(now, schedule.Job{RequestID: "overdue", Priority: 1e-9, Start: at(-48 * time.Hour)})
		if permit, wake := s.Next(now); permit == nil || permit.RequestID != "overdue" {
			t.Errorf("%d jobs: the next permit is %+v, or look again after %s", jobs, permit, wake.Sub(now))
		}
	}
}

// A job that was polled, observed or removed loses its place among the overdue jobs.
func TestOverdueNoLonger(t *testing.T) {
	poll := func(s *scheduler) {
		permit, _ := s.PermitFor("low", start)
		s.StillRunning("low", start)
		permit.Answered(start, 0)
	}
	for name, tt := range map[string]struct {
		happens func(s *scheduler)
		polls   int
	}{
		"nothing: it gets the fair choice": {func(*scheduler) {}, 1},
		"polled":                           {poll, 0},
		"observed":                         {func(s *scheduler) { s.StillRunning("low", start) }, 0},
		"asked to wait": {func(s *scheduler) {
			permit, _ := s.PermitFor("low", start)
			permit.Unanswered(start, time.Minute, schedule.RequestFailed)
		}, 0},
		"removed and added": {func(s *scheduler) {
			s.Remove("low")
			s.Add(start, schedule.Job{RequestID: "low", Start: start})
		}, 0},
	} {
		s := newScheduler(schedule.PerMinute(600), start)
		s.Add(start, schedule.Job{RequestID: "low", Priority: 1e-6, Start: at(-49 * time.Hour)})
		for i := range 40 {
			s.Add(start, schedule.Job{RequestID: fmt.Sprint(i), Start: at(-48 * time.Hour)})
		}
		polled := make(map[string]int)
		for i := 0; ; i++ {
			permit, _ := s.Next(start)
			if permit == nil {
				break
			}
			polled[permit.RequestID]++
			s.StillRunning(permit.RequestID, start)
			permit.Answered(start, 0)
			if i == 0 {
				tt.happens(s)
			}
		}
		if low := polled["low"]; low != tt.polls || len(polled) != 40+low {
			t.Errorf("%s: %d polls of it, want %d; %d jobs were polled", name, low, tt.polls, len(polled))
		}
		delete(polled, "low")
		for id, polls := range polled {
			if polls != 1 {
				t.Errorf("%s: %d polls of job %s at once", name, polls, id)
			}
		}
	}
}

// Durations are learnt: with the same quota, ends are seen sooner than by a scheduler that
// forgets them.
func TestItLearns(t *testing.T) {
	const jobs = 300
	late := func(forget bool) (late time.Duration) {
		s := newScheduler(schedule.PerMinute(2), start)
		b := make(backEnd)
		for i := range jobs {
			now := at(time.Duration(i) * time.Minute)
			id := fmt.Sprint(i)
			b[id] = now.Add(10*time.Minute + time.Duration(i%20)*time.Second)
			s.Add(now, schedule.Job{RequestID: id, API: "asr", Start: now})
			for id, times := range b.work(s, now, now.Add(time.Minute)) {
				late += max(times[len(times)-1].Sub(b[id]), 0)
			}
			if forget {
				s.Forget()
			}
		}
		return late
	}
	if with, without := late(false), late(true); with > without/2 {
		t.Errorf("%d ends were seen %s late together, without learning %s", jobs, with, without)
	}
}

// A request about an overdue job is worth any price, and is no measure for others: they
// are polled as often as without it.
func TestOverdueHoldNobodyBack(t *testing.T) {
	polls := func(alsoOverdue bool) int {
		s := newScheduler(schedule.PerMinute(60), start)
		s.Add(start, schedule.Job{RequestID: "young", Start: start})
		if alsoOverdue {
			s.Add(start, schedule.Job{RequestID: "overdue", Start: start.AddDate(-1, 0, 0)})
		}
		polls := 0
		for now, until := start, at(10*time.Minute); now.Before(until); {
			permit, next := s.Next(now)
			switch {
			case permit == nil:
				now = next
			case permit.RequestID == "young":
				polls++
				s.StillRunning("young", now)
				permit.Answered(now, 0)
			default:
				permit.Answered(now, time.Minute) // the API does not know it
			}
		}
		return polls
	}
	alone, beside := polls(false), polls(true)
	if beside < alone*9/10 {
		t.Errorf("%d polls beside a job that is overdue, %d without", beside, alone)
	}
}

// An answer that says nothing about its job does not lead to the same poll at once.
func TestAnsweredWithoutObservation(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(s *scheduler, permit *schedule.Permit)
		next time.Duration
	}{
		"nothing": {func(_ *scheduler, permit *schedule.Permit) {
			permit.Answered(start, 0)
		}, 10 * time.Second},
		"nothing, and a wait": {func(_ *scheduler, permit *schedule.Permit) {
			permit.Answered(start, time.Hour)
		}, time.Hour},
		"no answer": {func(_ *scheduler, permit *schedule.Permit) {
			permit.Unanswered(start, 0, schedule.RequestFailed)
		}, 10 * time.Second},
		"running, and a wait": {func(s *scheduler, permit *schedule.Permit) {
			s.StillRunning("a", start)
			permit.Answered(start, 24*time.Hour)
		}, time.Hour},
	} {
		s := newScheduler(schedule.Limits{}, start)
		s.Add(start, schedule.Job{RequestID: "a", Start: at(-time.Hour)})
		permit, _ := s.Next(start)
		tt.end(s, permit)
		r, _ := s.Explain("a", start)
		if got := r.At.Sub(start); !r.Held || got != tt.next {
			t.Errorf("%s: held %v, for %s, want %s", name, r.Held, got, tt.next)
		}
		if permit, at := s.Next(start); permit != nil || at.Sub(start) != tt.next {
			t.Errorf("%s: polled again at once, or look again after %s", name, at.Sub(start))
		}
	}
}

// The caller says who brought an end: a webhook's time is exact, also while a poll of the
// job is in flight.
func TestWebhookWhileInFlight(t *testing.T) {
	ends := func(webhook, inFlight bool) time.Duration {
		s := newScheduler(schedule.Limits{}, start)
		for i := range 50 {
			id := fmt.Sprint(i)
			s.Add(start, schedule.Job{RequestID: id, API: "asr", Start: start})
			if inFlight {
				permit, _ := s.PermitFor(id, at(time.Minute))
				defer permit.Answered(at(time.Hour), 0)
			}
			s.Ended(id, at(time.Hour), webhook)
		}
		s.Add(start, schedule.Job{RequestID: "next", API: "asr", Start: start})
		r, _ := s.Explain("next", start)
		return r.Expected.Round(time.Second)
	}
	if beside, alone := ends(true, true), ends(true, false); beside != alone || beside < 50*time.Minute {
		t.Errorf("after ends at an hour by webhook, %s are expected, and %s with polls in flight", alone, beside)
	}
	if byPoll := ends(false, true); byPoll >= ends(true, true) {
		t.Errorf("after ends within an hour, %s are expected", byPoll)
	}
}

// A request about a job of higher priority is worth more.
func TestPriority(t *testing.T) {
	s := newScheduler(schedule.PerMinute(1), start)
	s.Add(start,
		schedule.Job{RequestID: "low", Start: start},
		schedule.Job{RequestID: "high", Priority: 3, Start: start})
	now := at(5 * time.Minute)
	if permit, _ := s.Next(now); permit == nil || permit.RequestID != "high" {
		t.Errorf("the first is %+v", permit)
	}
	low, _ := s.Explain("low", now)
	high, _ := s.Explain("high", now)
	if ratio := high.Score / low.Score; ratio < 2 || ratio > 5 {
		t.Errorf("their scores are %v and %v", low.Score, high.Score)
	}
}

func sharing(s *scheduler, now time.Time) float64 { return s.View(now, nil).Pricing.Sharing }

// Somebody else spends the quota: each refusal means a pause and a lower rate, which
// recovers.
func TestRefused(t *testing.T) {
	s := newScheduler(schedule.PerMinute(60), start)
	for i := range 50 {
		s.Add(start, schedule.Job{RequestID: fmt.Sprint(i), Start: at(-time.Hour)})
	}
	now, pauses := start, []time.Duration{}
	for range 3 {
		permit, _ := s.Next(now)
		if permit == nil {
			t.Fatal("nothing to poll")
		}
		until := permit.Refused(now, false)
		if permit, at := s.Next(until.Add(-time.Millisecond)); permit != nil || !at.Equal(until) {
			t.Errorf("a permit in a pause (%v), or look again at %s, not %s", permit, at, until)
		}
		pauses = append(pauses, until.Sub(now))
		now = until.Add(10 * time.Second)
	}
	if !slices.IsSorted(pauses) || pauses[2] <= pauses[0] {
		t.Errorf("the pauses are %s", pauses)
	}
	low := sharing(s, now)
	if low > 0.7 {
		t.Errorf("after three refusals, %v of the quota is used", low)
	}
	make(backEnd).work(s, now, now.Add(3*time.Hour))
	if high := sharing(s, now.Add(3*time.Hour)); high != 1 {
		t.Errorf("hours later %v of the quota is used, after %v", high, low)
	}
	// The day's quota is used up: nothing is sent before the reset.
	s = newScheduler(resets(schedule.Limits{PerDay: 50}, "18:30"), start)
	s.Add(start, schedule.Job{RequestID: "a", Start: at(-24 * time.Hour)})
	permit, _ := s.Next(at(10 * time.Minute))
	until := permit.Refused(at(10*time.Minute), true)
	if until.Before(at(30*time.Minute)) || until.After(at(32*time.Minute)) {
		t.Errorf("with a reset at %s, nothing is sent until %s", at(30*time.Minute), until)
	}
}

// A pause does not end before it begins, however rare requests are, and however often they are refused.
func TestRefusedOften(t *testing.T) {
	s := newScheduler(schedule.PerMinute(1./(7*24*60)), start)
	s.Add(start, schedule.Job{RequestID: "a", Start: at(-time.Hour)})
	now := start
	for i := range 20 {
		permit, _ := s.Next(now)
		if permit == nil {
			t.Fatalf("no permit after %d refusals", i)
		}
		if pause := permit.Refused(now, false).Sub(now); pause != 15*time.Minute {
			t.Errorf("after %d refusals, nothing is sent for %s", i, pause)
		}
		now = now.Add(400 * 24 * time.Hour)
	}
}

// What was refused with a key says nothing about the next one, also if it was sent before and is refused later.
func TestForgetRefusals(t *testing.T) {
	for _, day := range []bool{false, true} {
		s := newScheduler(perMinute(60, 1000), start)
		for i := range 3 {
			s.Add(start, schedule.Job{RequestID: fmt.Sprint(i), Start: at(-48 * time.Hour)})
		}
		fresh := s.View(start, nil).Pricing
		first, _ := s.Next(start)
		second, _ := s.Next(start)
		first.Refused(start, day)
		s.ForgetRefusals(at(time.Second))
		if until := second.Refused(at(2*time.Second), day); until.After(at(2 * time.Second)) {
			t.Errorf("a request with the key before is refused: nothing is sent until %s", until)
		}
		if permit, at := s.Next(at(3 * time.Second)); permit == nil {
			t.Errorf("nothing is sent with the next key until %s", at)
		}
		if got := sharing(s, at(3*time.Second)); got != fresh.Sharing || !s.OthersNoticed().IsZero() {
			t.Errorf("%v of the quota is used, others were noticed at %s", got, s.OthersNoticed())
		}
	}
}

// Requests that were in flight together and are refused are one refusal.
func TestRefusedTogether(t *testing.T) {
	for _, day := range []bool{false, true} {
		s := newScheduler(perMinute(60, 1000), start)
		for i := range 3 {
			s.Add(start, schedule.Job{RequestID: fmt.Sprint(i), Start: at(-48 * time.Hour)})
		}
		var permits []*schedule.Permit
		for range 3 {
			permit, _ := s.Next(start)
			permits = append(permits, permit)
		}
		first := permits[0].Refused(start, day)
		once, pause := sharing(s, start), first.Sub(start)
		for i, permit := range permits[1:] {
			if until := permit.Refused(at(time.Duration(i)*time.Second), day); !until.Equal(first) {
				t.Errorf("refusal %d lets nothing be sent until %s, the first until %s", i+2, until, first)
			}
		}
		if got := sharing(s, start); got != once {
			t.Errorf("after three refusals together, %v of the quota is used, after one %v", got, once)
		}
		later := first.Add(10 * time.Second)
		permit, _ := s.Next(later)
		if again := permit.Refused(later, day).Sub(later); again != 2*pause {
			t.Errorf("the next pause is %s after the first of %s", again, pause)
		}
	}
}

// A refusal that does not say of which quota is for the minute's if there were other requests within a minute, and then
// costs a minute. If a single request is refused, it is for the day's.
func TestRefusedByEither(t *testing.T) {
	for name, tt := range map[string]struct {
		before time.Duration // since an answered request; 0: none
		beside bool          // another request is in flight
		want   time.Duration
	}{
		"after another":            {before: 50 * time.Second, want: 61 * time.Second},
		"beside another":           {beside: true, want: 61 * time.Second},
		"alone":                    {want: time.Hour},
		"alone for over a minute":  {before: 62 * time.Second, want: time.Hour},
		"after one, beside others": {before: time.Second, beside: true, want: 61 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			q := newQuota(perMinute(60, 1000))
			if tt.before > 0 {
				q.send(start)
			}
			now := at(tt.before)
			permit, _ := q.permit(now)
			if tt.beside {
				q.permit(now)
			}
			until := permit.RefusedByEither(now)
			if got := until.Sub(now); got != tt.want {
				t.Errorf("paused for %s, want %s", got, tt.want)
			}
			// The next one, after the pause and alone, decides.
			if tt.beside {
				return
			}
			permit, _ = q.permit(until)
			if got := permit.RefusedByEither(until).Sub(until); got < time.Hour || got > 2*time.Hour {
				t.Errorf("refused again after the pause, paused for %s", got)
			}
		})
	}
}

// How long the API asks to leave a job alone counts for as long as the job has been running, at most.
func TestAnsweredWithAWait(t *testing.T) {
	for age, want := range map[time.Duration]time.Duration{
		time.Second: 3 * time.Minute, 10 * time.Minute: 10 * time.Minute, 5 * time.Hour: 5 * time.Hour,
	} {
		for wait, want := range map[time.Duration]time.Duration{24 * time.Hour: want, 2 * time.Minute: 2 * time.Minute} {
			s := newScheduler(schedule.Limits{}, start)
			s.Add(start, schedule.Job{RequestID: "a", Start: start, AtOnce: true})
			permit, _ := s.PermitFor("a", at(age))
			s.StillRunning("a", at(age))
			permit.Answered(at(age), wait)
			if r, _ := s.Explain("a", at(age)); !r.Held || r.At.Sub(at(age)) != want {
				t.Errorf("at an age of %s, asked to wait for %s: held %v, for %s, want %s", age, wait, r.Held, r.At.Sub(at(age)),
					want)
			}
		}
	}
}

// What others spend of the same quota is remembered after a restart and a reload, as long
// as the quota is the same. A pause ends with them.
func TestOthersAreRemembered(t *testing.T) {
	limits := perMinute(60, 1000)
	s := newScheduler(limits, start)
	s.Add(start, schedule.Job{RequestID: "a", Start: at(-time.Hour)})
	now := start
	for _, day := range []bool{false, false, true} {
		permit, _ := s.Next(now)
		if permit == nil {
			t.Fatal("nothing to poll")
		}
		now = permit.Refused(now, day).Add(10 * time.Second)
	}
	now = now.Add(-time.Minute) // in the last pause
	pricing := func(s *scheduler) schedule.Pricing {
		s.Add(now, schedule.Job{RequestID: "b", API: "asr", Start: now.Add(-48 * time.Hour)})
		s.Refresh(now)
		return s.View(now, nil).Pricing
	}
	state, err := s.Learnt(now)
	if err != nil {
		t.Fatal(err)
	}
	restarted := func(limits schedule.Limits, state []byte) *scheduler {
		s := newScheduler(limits, now)
		if err := s.Recall(state); err != nil {
			t.Fatal(err)
		}
		return s
	}
	after := restarted(limits, state)
	if again, err := after.Learnt(now); err != nil || string(again) != string(state) {
		t.Errorf("after a restart it knows\n%s\nand before\n%s\n%v", again, state, err)
	}
	fresh := pricing(newScheduler(limits, now))
	if got := pricing(after); got.Sharing >= fresh.Sharing || got.Price <= fresh.Price {
		t.Errorf("after a restart %+v, without others %+v", got, fresh)
	}
	if permit, at := after.Next(now); permit == nil {
		t.Errorf("after a restart in a pause, it waits until %s", at)
	}
	s.SetLimits(limits)
	if permit, at := s.Next(now); permit == nil || sharing(s, now) >= fresh.Sharing {
		t.Errorf("after a reload: %v, at %s, with %v of the quota", permit, at, sharing(s, now))
	}
	larger := perMinute(120, 1000)
	after.SetLimits(larger)
	for name, s := range map[string]*scheduler{"reload": after, "restart": restarted(larger, state)} {
		if got := sharing(s, now); got != 1 {
			t.Errorf("after a %s with another quota, %v of it is used", name, got)
		}
	}
}

func TestExplain(t *testing.T) {
	s := newScheduler(schedule.PerMinute(60), start)
	s.Add(start,
		schedule.Job{RequestID: "new", AudioSeconds: 600, Start: start},
		schedule.Job{RequestID: "old", Start: at(-48 * time.Hour)},
		schedule.Job{RequestID: "polled", Start: at(-49 * time.Hour)},
		schedule.Job{RequestID: "held", Start: at(-48 * time.Hour)},
		schedule.Job{RequestID: "unknown age", Start: start, AgeUnknown: true},
	)
	if _, at := s.PermitFor("polled", start); !at.IsZero() {
		t.Fatalf("no permit before %s", at)
	}
	permit, _ := s.PermitFor("held", start)
	permit.Unanswered(start, time.Hour, schedule.RequestFailed)
	for id, want := range map[string]struct {
		at          time.Duration
		short, full string
	}{
		"new": {-1, "unlikely to have finished; assumed to take 3 min, since no similar job has ended yet",
			"the current minimum is"},
		"old":         {0, "almost certain to have finished", "polled as soon as the quota and the API allow"},
		"polled":      {0, "request in flight", "request in flight"},
		"held":        {time.Hour, "the last request about it failed", "failed"},
		"unknown age": {0, "not polled yet", "not polled yet; polled as soon as"},
	} {
		r, ok := s.Explain(id, start)
		if !ok || r.Short() != want.short || !strings.Contains(r.String(), want.full) {
			t.Errorf("%s: %v, %q, %q", id, ok, r.Short(), r.String())
		}
		if got := r.At.Sub(start); want.at >= 0 && got != want.at || want.at < 0 && got <= 0 {
			t.Errorf("%s is due in %s", id, got)
		}
	}
	if _, ok := s.Explain("unknown", start); ok {
		t.Error("an unknown job is explained")
	}
	var order []string
	for _, p := range s.NextPolls(start, 5) {
		order = append(order, p.RequestID)
	}
	if want := []string{"old", "unknown age", "new", "held"}; !slices.Equal(order, want) {
		t.Errorf("the next polls are %q, want %q", order, want)
	}
	for n := range 4 {
		if got := len(s.NextPolls(start, n)); got != n {
			t.Errorf("%d polls, want %d", got, n)
		}
	}
}

// The view shows what the last decision or Refresh found, and new jobs, also while the quota is used up.
func TestView(t *testing.T) {
	s := newScheduler(perMinute(1, 100), start)
	for i := range 3 {
		s.Add(start, schedule.Job{RequestID: fmt.Sprint(i), Start: at(-48 * time.Hour)})
	}
	permit, _ := s.Next(start)
	s.StillRunning(permit.RequestID, start)
	permit.Answered(start, 0)
	now := at(10 * time.Second)
	s.Add(now, schedule.Job{RequestID: "3", Start: at(-48 * time.Hour)}, schedule.Job{RequestID: "later", Start: now})
	if permit, at := s.Next(now); permit != nil || !at.After(now) {
		t.Fatalf("a permit beyond the quota, or look again at %s", at)
	}
	if v := s.View(now, nil); v.Due != 3 {
		t.Errorf("before Refresh %d jobs are due, want 2 as at the last decision, and a new one", v.Due)
	}
	s.Refresh(now)
	v := s.View(now, []string{"3", "unknown", "later"})
	if v.Due != 3 || v.Minute.Used != 1 || v.Day.Used != 1 || v.Pricing.Price <= 0 || v.Pricing.Coming <= 0 {
		t.Errorf("after Refresh: %+v", v)
	}
	if !v.NextPolls[0].Equal(v.Minute.Resets) || !v.NextPolls[1].IsZero() || !v.NextPolls[2].After(v.Minute.Resets) {
		t.Errorf("the next polls are %s, and the minute's quota resets at %s", v.NextPolls, v.Minute.Resets)
	}
	next := s.NextPolls(now, 4) // two more are due
	for i, poll := range map[int]schedule.Poll{0: next[0], 2: next[3]} {
		explained, _ := s.Explain(poll.RequestID, now)
		if !v.NextPolls[i].Equal(explained.At) || !v.NextPolls[i].Equal(poll.At) {
			t.Errorf("in the view a job is due at %s, explained with %s, and the next poll is at %s",
				v.NextPolls[i], explained.At, poll.At)
		}
	}
}

// Refresh finds a job as soon as it is due while the quota is used up, also among many jobs that are not.
func TestRefreshFindsDueJobs(t *testing.T) {
	for _, others := range []int{0, 5000} {
		s := newScheduler(perMinute(0, 1), start)
		permit, _ := s.PermitFor("the only request", start)
		permit.Answered(start, 0)
		jobs := []schedule.Job{{RequestID: "short", API: "short", AudioSeconds: 60, Start: start}}
		for i := range others {
			id := fmt.Sprint(i)
			jobs = append(jobs, schedule.Job{RequestID: id, API: "long", AudioSeconds: 360_000, Start: start})
		}
		s.Add(start, jobs...)
		s.RefreshAll(start)
		wait := s.DueAt(s.sequence("short"), start).Sub(start)
		if wait <= time.Second || wait > time.Hour {
			t.Fatalf("the short job is due in %s", wait)
		}
		for due, age := range []time.Duration{wait * 9 / 10, wait * 11 / 10} {
			if permit, _ := s.Next(at(age)); permit != nil {
				t.Fatal("a permit beyond the quota")
			}
			s.Refresh(at(age))
			if got := s.View(at(age), nil).Due; got != due {
				t.Errorf("beside %d jobs, %d are due %s after the start, want %d", others, got, age, due)
			}
		}
	}
}

// The next polls are the first of all, whatever order the jobs are in.
func TestNextPolls(t *testing.T) {
	due := func(i int) (begun, seen time.Duration) {
		return -24*time.Hour - time.Duration(i)*time.Second, -time.Hour - time.Duration(i)*time.Millisecond
	}
	for _, jobs := range []int{1000, longtest.Size(3000, 10_000)} {
		for name, of := range map[string]func(i int) (begun, seen time.Duration){
			"running until now": func(i int) (begun, seen time.Duration) {
				return -time.Duration(jobs-i) * time.Second / 10, 0
			},
			"the youngest first": func(i int) (begun, seen time.Duration) {
				return -time.Duration(i) * time.Second, -time.Second
			},
			"many are due": due,
		} {
			s := newScheduler(schedule.PerMinute(6000), start)
			var all []schedule.Job
			for i := range jobs {
				begun, seen := of(i)
				if i%500 == 0 {
					begun, seen = due(i)
				}
				all = append(all, schedule.Job{
					RequestID: fmt.Sprint(i), API: fmt.Sprint("api", i%3), Priority: 1 + float64(i%7),
					Start: at(begun), Seen: at(seen),
				})
			}
			s.Add(start, all...)
			for i := 1; i < jobs; i += 40 {
				permit, _ := s.PermitFor(fmt.Sprint(i), start)
				switch i % 3 {
				case 0:
					permit.Unanswered(start, time.Duration(i)*time.Millisecond, schedule.RequestFailed)
				case 1:
					s.Ended(permit.RequestID, start, false)
					permit.Answered(start, 0)
				}
			}
			testNextPolls(t, fmt.Sprint(jobs, " jobs, ", name), s, jobs)
		}
		testNextPolls(t, fmt.Sprint(jobs, " jobs in a queue"), waiting(jobs), jobs)
	}
}

// testNextPolls compares the next polls with what is known of each job.
func testNextPolls(t *testing.T, name string, s *scheduler, jobs int) {
	t.Helper()
	const n = 20
	type poll struct {
		id    string
		at    time.Time
		score float64
	}
	var want, got []poll
	for i := range jobs {
		if r, ok := s.Explain(fmt.Sprint(i), start); ok && !r.InFlight {
			want = append(want, poll{fmt.Sprint(i), r.At, r.Score})
		}
	}
	slices.SortFunc(want, func(a, b poll) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(b.score, a.score), cmp.Compare(a.id, b.id))
	})
	s.RefreshAll(start)
	for _, p := range s.NextPolls(start, n) {
		got = append(got, poll{p.RequestID, p.At, p.Score})
	}
	if !slices.Equal(got, want[:n]) {
		t.Errorf("%s: the next polls are\n%v, want\n%v", name, got, want[:n])
	}
}

// jumped is a reading of the clock after the wall clock was set by d, whole seconds, or the machine slept: its wall
// time (bits 30 to 62 of the first word) differs, its monotonic time does not.
func jumped(t time.Time, d time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(int64(d/time.Second) << 30)
	return t
}

// Hours that the clock was set over were not watched: that no job came in them says nothing.
func TestForecastAfterAJump(t *testing.T) {
	noon := time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour)
	real := time.Now() // with a monotonic reading
	now := jumped(real, noon.Sub(real))
	s := newScheduler(perMinute(60, 1000), now)
	s.Add(now.Add(time.Hour), schedule.Job{RequestID: "a", Start: now.Add(time.Hour)})
	now = jumped(now.Add(time.Hour), 53*time.Hour) // 18:00
	s.Add(now, schedule.Job{RequestID: "b", Start: now})
	state, err := s.Learnt(now)
	if err != nil {
		t.Fatal(err)
	}
	var learnt struct {
		Arrivals struct {
			Days   []float64 `json:"days_watched"`
			Missed []float64 `json:"missed"`
		} `json:"arrivals"`
	}
	if err := json.Unmarshal(state, &learnt); err != nil {
		t.Fatal(err)
	}
	watched, missed := 0.0, 0.0
	for h, n := range learnt.Arrivals.Days {
		watched += n
		missed += learnt.Arrivals.Missed[h]
	}
	if math.Abs(watched-1) > 0.01 || math.Abs(missed-18) > 0.01 {
		t.Errorf("%v hours were watched before today, and %v were not today: %s", watched, missed, state)
	}
}

// The forecast is based on the hours that were watched of the days before: nothing was
// counted in the others.
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
		var s *scheduler
		var now time.Time
		for _, w := range tt.watches {
			begin := midnight.Add(time.Duration(w.from * float64(time.Hour)))
			end := midnight.Add(time.Duration(w.until * float64(time.Hour)))
			before := s
			s = newScheduler(schedule.Limits{PerDay: 100}, begin)
			if before != nil {
				state, err := before.Learnt(now)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Recall(state); err != nil {
					t.Fatal(err)
				}
			}
			gap := time.Duration(float64(time.Hour) / tt.perHour)
			for now = begin.Add(7 * time.Minute); now.Before(end); now = now.Add(gap) {
				s.Add(now, schedule.Job{RequestID: now.String(), API: "asr", Start: now})
				s.Ended(now.String(), now.Add(time.Minute), true)
			}
			now = end
		}
		s.Refresh(now)
		if got := s.View(now, nil).Pricing.Coming; got < tt.fewest || got > tt.most {
			t.Errorf("%s: %.1f jobs are expected in a day, want %v to %v", name, got, tt.fewest, tt.most)
		}
	}
}

// A day begins once: a job that was registered just before midnight may be told after the new day has begun, and the
// clock may be set back over midnight.
func TestDayBeginsOnce(t *testing.T) {
	midnight := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	run := func(back ...time.Duration) string {
		s := newScheduler(schedule.Limits{PerDay: 100}, midnight)
		now := midnight
		for hour := range 24*4 + 2 {
			now = midnight.Add(time.Duration(hour) * time.Hour)
			s.Add(now, schedule.Job{RequestID: now.String(), API: "asr", Start: now})
			s.Ended(now.String(), now.Add(time.Minute), true)
			for _, d := range back {
				s.RefreshAll(now.Add(-d))
				s.RefreshAll(now)
			}
		}
		learnt, err := s.Learnt(now)
		if err != nil {
			t.Fatal(err)
		}
		var state struct{ Arrivals jsontext.Value }
		if err := json.Unmarshal(learnt, &state, json.MatchCaseInsensitiveNames(true)); err != nil {
			t.Fatal(err)
		}
		return string(state.Arrivals)
	}
	want := run()
	for _, back := range []time.Duration{time.Millisecond, 20 * time.Minute, 59 * time.Minute} {
		if got := run(back); got != want {
			t.Errorf("set back by %s:\n%s, want\n%s", back, got, want)
		}
	}
	// Not so a clock that was days ahead.
	if got := run(72 * time.Hour); !strings.Contains(got, `"date":2026331`) {
		t.Errorf("set back by 3 days: %s", got)
	}
}

// A plan polls as the scheduler would, and keeps the quota.
func TestPlan(t *testing.T) {
	s := newScheduler(perMinute(5, 40), start)
	for i := range 8 {
		s.Add(start, schedule.Job{RequestID: fmt.Sprint(i), AudioSeconds: 300, Start: at(-time.Duration(i) * time.Minute)})
	}
	polls, day, _ := s.Plan(start, 24*time.Hour, 1000)
	again, _, _ := s.Plan(start, 24*time.Hour, 1000)
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
	first := make(backEnd).work(s, start, polls[0].At.Add(time.Millisecond))
	if len(first[polls[0].RequestID]) != 1 {
		t.Errorf("the plan starts with %+v, and polled was %v", polls[0], first)
	}
}

// crowd returns a scheduler with many jobs, and a quota to poll each within 10 minutes.
func crowd(jobs int, seen bool) *scheduler {
	s := newScheduler(schedule.Limits{Requests: max(jobs/600, 1), Per: time.Second}, start)
	for i := range 24 { // something was learnt about each kind
		id := fmt.Sprint("old ", i)
		job := schedule.Job{RequestID: id, API: fmt.Sprint("api", i%12), AudioSeconds: float64(i/12) * 300}
		job.Start = at(-time.Hour)
		s.Add(start, job)
		s.Ended(id, start, true)
	}
	r := rand.New(rand.NewPCG(1, 1))
	all := make([]schedule.Job, jobs)
	for i := range all {
		begun := -time.Duration(r.IntN(3600)) * time.Second
		all[i] = schedule.Job{
			RequestID: fmt.Sprint(i), API: fmt.Sprint("api", i%12), AudioSeconds: float64(i%3) * 300, Start: at(begun),
		}
		if seen {
			all[i].Seen = at(begun * time.Duration(r.IntN(100)) / 100)
		}
	}
	s.Add(start, all...)
	return s
}

// BenchmarkDecision polls each job every ten minutes. worst-cpu-ns is the CPU time of the longest decision, which may
// include garbage collection.
func BenchmarkDecision(b *testing.B) {
	for _, jobs := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(jobs), func(b *testing.B) {
			s := crowd(jobs, false)
			now, decided, worst := start, 0, time.Duration(0)
			b.ResetTimer()
			cputime.Report(b)
			for decided < b.N {
				begin := cputime.Used(b)
				permit, next := s.Next(now)
				worst = max(worst, cputime.Used(b)-begin)
				if permit == nil {
					if now = now.Add(time.Millisecond); next.After(now) {
						now = next
					}
					continue
				}
				decided++
				s.StillRunning(permit.RequestID, now)
				permit.Answered(now, 0)
			}
			b.ReportMetric(float64(worst), "worst-cpu-ns")
		})
	}
}

// BenchmarkLook is what the status, a scrape with a thousand jobs shown, and the poller's
// Refresh cost each minute: some jobs are due, most wait for very different times.
func BenchmarkLook(b *testing.B) {
	for _, jobs := range []int{1_000, 100_000, 1_000_000} {
		s := crowd(jobs, true)
		behind := waiting(jobs)
		shown := make([]string, 1000)
		for i := range shown {
			shown[i] = fmt.Sprint(i)
		}
		for name, look := range map[string]func(now time.Time){
			"status":  func(now time.Time) { s.NextPolls(now, 20) },
			"scrape":  func(now time.Time) { s.View(now, shown) },
			"refresh": func(now time.Time) { s.Refresh(now) },
			"queue":   func(now time.Time) { behind.View(now, shown) },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, jobs), func(b *testing.B) {
				cputime.Report(b)
				for n := 0; b.Loop(); n++ {
					look(at(time.Duration(n) * time.Minute))
				}
			})
		}
	}
}

// waiting returns a scheduler with many jobs, of an API whose jobs four workers serve in order.
func waiting(jobs int) *scheduler {
	before := at(-time.Hour)
	s := newScheduler(schedule.PerMinute(60), before)
	b, all := make(backEnd), make([]schedule.Job, jobs)
	for i, end := range inOrder(rand.New(rand.NewPCG(1, 1)), before, 200, 4, make([]time.Time, 4)) {
		id := fmt.Sprint("old ", i)
		b[id] = end
		s.Add(before, schedule.Job{RequestID: id, API: "asr", Start: before})
	}
	b.work(s, before, start)
	for i := range all {
		all[i] = schedule.Job{RequestID: fmt.Sprint(i), API: "asr", Start: start}
	}
	s.Add(start, all...)
	return s
}

// A quota that is far larger than what there is to poll is used: a few jobs are not held
// back on the first day because many might still arrive. A small quota is held back.
func TestLargeQuotaIsUsed(t *testing.T) {
	for _, tt := range []struct{ perDay, fewest, most int }{ // requests in ten minutes
		{100_000, 30, 75}, // a tenth of an even spending
		{100, 0, 5},
	} {
		s := newScheduler(perMinute(600, tt.perDay), start)
		b := make(backEnd)
		for i := range 3 {
			b[fmt.Sprint(i)] = time.Time{}
			s.Add(start, schedule.Job{RequestID: fmt.Sprint(i), API: "asr", Start: start})
		}
		n := 0
		for _, times := range b.work(s, start, start.Add(10*time.Minute)) {
			n += len(times)
		}
		if n < tt.fewest || n > tt.most {
			t.Errorf("%d a day: %d requests in ten minutes", tt.perDay, n)
		}
	}
}

// Whatever numbers a stored job has, nothing panics, and others are polled as without it.
func TestAbsurdNumbers(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	numbers := []float64{5e-324, 1e-322, 1e-40, -1, math.Copysign(0, -1), 1e39, math.MaxFloat64, inf, -inf, nan}
	times := []time.Time{{}, start.AddDate(-5000, 0, 0), start.AddDate(5000, 0, 0)}
	var absurd []schedule.Job
	for _, v := range numbers {
		absurd = append(absurd, schedule.Job{AudioSeconds: v, Start: start}, schedule.Job{Priority: v, Start: start},
			schedule.Job{AudioSeconds: v, Priority: v, Start: start.Add(-time.Hour), Seen: start})
	}
	for _, at := range times {
		absurd = append(absurd, schedule.Job{Start: at}, schedule.Job{Start: start, Seen: at},
			schedule.Job{Start: at, Seen: start, AudioSeconds: 60})
	}
	for _, job := range absurd {
		t.Run(fmt.Sprintf("%v", job), func(t *testing.T) {
			s := newScheduler(perMinute(5, 500), start)
			for i := range 8 {
				ended := job
				ended.RequestID, ended.API = fmt.Sprint("ended", i), "asr"
				running := ended
				running.RequestID = fmt.Sprint("running", i)
				s.Add(start, ended, running)
			}
			now, polls := start, 0
			s.Add(start, schedule.Job{RequestID: "usual", API: "asr", Start: start, AudioSeconds: 300})
			for now.Before(at(6 * time.Hour)) {
				permit, _ := s.Next(now)
				if permit == nil {
					now = now.Add(2 * time.Minute)
					continue
				}
				if permit.RequestID == "usual" {
					polls++
				}
				if strings.HasPrefix(permit.RequestID, "ended") {
					s.Ended(permit.RequestID, now, polls%2 == 0)
				} else {
					s.StillRunning(permit.RequestID, now)
				}
				permit.Answered(now, 0)
			}
			if polls == 0 {
				t.Error("the usual job was never polled")
			}
			if r, _ := s.Explain("usual", now); math.IsNaN(r.Price) || math.IsInf(r.Price, 0) || math.IsNaN(r.Score) {
				t.Errorf("price %v, score %v", r.Price, r.Score)
			}
			s.RefreshAll(now)
			s.View(now, []string{"usual", "running0", "ended0"})
			s.NextPolls(now, 20)
			learnt, err := s.Learnt(now)
			if err != nil {
				t.Fatal(err)
			}
			if err := newScheduler(perMinute(5, 500), now).Recall(learnt); err != nil {
				t.Errorf("what was learnt cannot be recalled: %v", err)
			}
		})
	}
}

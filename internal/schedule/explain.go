package schedule

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// The methods in this file read: they change no state, and so no decision.

// Reason is why a job is polled when it is.
type Reason struct {
	At       time.Time     // when it is due; not after now where it is
	Expected time.Duration // median duration of such jobs
	Chance   float64       // probability that it has ended by now, unseen
	Score    float64       // what a request about it is worth now, seconds of expected delay
	Price    float64       // what a request must be worth
	Overdue  bool          // it is polled at any price
	AtOnce   bool          // because it was not polled yet
	InFlight bool
	Held     bool // it is not polled before At: the last answer said so, or was unusable
}

// Poll is a request that is to be sent.
type Poll struct {
	RequestID string
	Reason
}

func (p Poll) compare(q Poll) int {
	return cmp.Or(p.At.Compare(q.At), cmp.Compare(q.Score, p.Score), cmp.Compare(p.RequestID, q.RequestID))
}

// Short gives the reason in a few words.
func (r Reason) Short() string {
	chance := fmt.Sprintf("%.0f %% likely to have finished", 100*r.Chance)
	switch {
	case r.InFlight:
		return "request in flight"
	case r.Held:
		return "the last response asked to wait, or was unusable"
	case r.AtOnce:
		return "not polled yet"
	case r.Chance < .005:
		chance = "unlikely to have finished"
	case r.Chance > .995:
		chance = "almost certain to have finished"
	}
	if r.Overdue || r.Score >= r.Price {
		return chance
	}
	return fmt.Sprintf("%s; similar jobs take %s", chance, r.Expected.Round(time.Second))
}

// String gives the reason in full.
func (r Reason) String() string {
	switch {
	case r.InFlight, r.Held:
		return r.Short()
	case r.AtOnce, r.Overdue:
		return r.Short() + "; polled as soon as the quota and the API allow"
	}
	return fmt.Sprintf("%s; a poll now would save %.3g s of expected delay, the current minimum is %.3g s",
		r.Short(), r.Score, r.Price)
}

func (s *Scheduler) reason(j *job, now time.Time, price float64) Reason {
	t, factor := s.seconds(now), j.api.ranks.factor(j.api.rank(j))
	score := j.score(t, factor)
	unseen := j.api.uncovered() * -math.Expm1(-score.hazard)
	r := Reason{
		At:       now,
		Expected: time.Duration(math.Exp(min(j.model().median(float64(j.lnAudio)), 20)) * float64(time.Second)),
		Chance:   unseen / (unseen + math.Exp(-score.hazard)),
		Score:    score.value, Price: price, Overdue: score.overdue, InFlight: j.inFlight,
		AtOnce: j.atOnce && j.neverSeen(),
	}
	switch {
	case j.inFlight:
	case j.notBefore > t:
		r.At, r.Held = s.time(j.notBefore), true
	case !score.isDue(price):
		r.At = s.time(j.due(t, factor, price))
	}
	return r
}

// priceNow returns the price of a request when the minute's quota is unused.
func (s *Scheduler) priceNow(now time.Time) float64 { return s.price.now(&s.quota, 0, now) }

// Explain returns why and when a job is polled; ok is false where it is unknown.
func (s *Scheduler) Explain(id string, now time.Time) (r Reason, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j == nil {
		return Reason{}, false
	}
	return s.reason(j, now, s.priceNow(now)), true
}

// Pricing is the present price of requests, as of the last decision or Refresh.
type Pricing struct {
	Price   float64 // what a request must be worth, seconds of expected delay
	Coming  float64 // jobs expected until the day's quota resets, or in 24 hours; 0 without one
	PerJob  float64 // requests that each of them is expected to get
	Sharing float64 // part of the minute's quota that is used; others use the rest
}

// View is the scheduler at one moment.
type View struct {
	Due         int // jobs that would be polled now if the quota allowed, as of the last scan
	Pricing     Pricing
	Minute, Day Usage
	NextPolls   []time.Time // when each of the given jobs is due; zero: unknown
}

// View returns the present view, with the next polls of some jobs.
func (s *Scheduler) View(now time.Time, ids []string) View {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := View{
		Due:       s.due,
		Pricing:   Pricing{s.priceNow(now), s.price.coming, s.price.perJob, s.quota.share},
		NextPolls: make([]time.Time, len(ids)),
	}
	v.Minute, v.Day = s.quota.usage(now)
	for i, id := range ids {
		if j := s.jobs[id]; j != nil {
			v.NextPolls[i] = s.reason(j, now, v.Pricing.Price).At
		}
	}
	return v
}

// stride is the distance of neighbours in a look at all jobs. Whatever their order, it soon finds some that are due
// early, and need not compute when the others are.
const stride = 997

// NextPolls returns the first n polls in the order in which they are to be sent: due jobs by score, then those that
// wait. Jobs in flight are not among them.
func (s *Scheduler) NextPolls(now time.Time, n int) (first []Poll) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n <= 0 {
		return nil
	}
	t, price := s.seconds(now), s.priceNow(now)
	for offset := range stride {
		for _, a := range s.apis {
			for i := offset; i < len(a.jobs); i += stride {
				j := a.jobs[i]
				if j.removed || j.inFlight {
					continue
				}
				if len(first) == n { // is it due later than the last of them, or worth less?
					last := &first[n-1]
					end := s.seconds(last.At)
					score := j.score(end, a.ranks.factor(max(i-a.removed, 0)))
					worse := !score.isDue(price) || end <= t && score.value < last.Score
					if j.notBefore > end || j.notBefore <= t && worse {
						continue
					}
				}
				poll := Poll{j.id, s.reason(j, now, price)}
				at, _ := slices.BinarySearchFunc(first, poll, Poll.compare)
				if at < n {
					first = slices.Insert(first[:min(len(first), n-1)], at, poll)
				}
			}
		}
	}
	return first
}

// Planned is a future poll, if the job still runs until then.
type Planned struct {
	Poll
	Needed float64 // probability of that, as far as known now
}

// Plan returns at most so many of the polls of the coming time, and the usage of the day's quota after them: what would
// be sent if no job ended and none arrived.
func (s *Scheduler) Plan(now time.Time, length time.Duration, most int) (polls []Planned, day Usage) {
	s.mu.Lock()
	plan := s.clone()
	s.mu.Unlock()
	ended := make(map[string]float64) // probability
	for t := now; len(polls) < most; {
		turn, at := plan.Next(t)
		if turn == nil {
			if at.IsZero() || at.Sub(now) > length {
				break
			}
			if t = t.Add(time.Millisecond); at.After(t) {
				t = at
			}
			continue
		}
		j := plan.jobs[turn.RequestID]
		r := plan.reason(j, t, plan.priceNow(t))
		r.InFlight = false
		polls = append(polls, Planned{Poll{j.id, r}, 1 - ended[j.id]})
		ended[j.id] = 1 - (1-ended[j.id])*(1-r.Chance)
		j.seen = plan.seconds(t) // nothing is learnt from it
		turn.Answered(t, 0)
	}
	_, day = plan.quota.usage(now.Add(length))
	return polls, day
}

// clone returns a scheduler with the same jobs, models and quota, and nothing in flight.
func (s *Scheduler) clone() *Scheduler {
	c := &Scheduler{
		quota: s.quota, epoch: s.epoch, zone: s.zone, price: s.price, forecast: s.forecast, sharing: s.sharing,
		jobs: make(map[string]*job, len(s.jobs)), pool: clone(s.pool),
	}
	c.quota.inFlight = make(map[string]struct{})
	c.quota.minute.entries = slices.Clone(s.quota.minute.entries)
	c.quota.day.entries = slices.Clone(s.quota.day.entries)
	for _, a := range s.apis {
		b := *a
		b.models, b.jobs, b.removed = clone(a.models), nil, 0
		for _, j := range a.jobs {
			if !j.removed {
				k := *j
				k.api, k.inFlight = &b, false
				b.jobs = append(b.jobs, &k)
				c.jobs[k.id] = &k
			}
		}
		b.sorted = len(b.jobs)
		c.apis = append(c.apis, &b)
	}
	return c
}

func clone(models [2]*model) [2]*model {
	plain, hinted := *models[0], *models[1]
	return [2]*model{&plain, &hinted}
}

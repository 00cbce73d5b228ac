package schedule

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"
)

// A Reason is why a job is asked about when it is.
type Reason struct {
	At       time.Time     // when it is due; not after now where it is
	Expected time.Duration // how long jobs like it take, the median
	Chance   float64       // how likely it has ended by now, unseen, 0 to 1
	Worth    float64       // what a request about it is worth now, seconds of expected delay
	Price    float64       // what a request must be worth
	Overdue  bool          // it is asked about whatever the price
	AtOnce   bool          // it is so because nobody has looked at it yet
	UnderWay bool          // it is being asked about
	Held     bool          // it is not asked about before At, since the last answer said so or was of no use
}

// A Poll is a request that is to be sent.
type Poll struct {
	RequestID string
	Reason
}

// String says it in a sentence.
func (r Reason) String() string {
	chance := fmt.Sprintf("%.0f %% likely to have ended", 100*r.Chance)
	switch {
	case r.UnderWay:
		return "it is being asked about"
	case r.Held:
		return "the last answer asks to wait, or was of no use"
	case r.AtOnce:
		return "it is one of the first, or nobody knows how long it has run: it is looked at once, as soon as the quota allows"
	case r.Overdue:
		return chance + ": it is asked about whatever else is to be done, as soon as the quota allows"
	case r.Worth >= r.Price:
		return fmt.Sprintf("%s: a request is worth %.3g s of expected delay, and one must be worth %.3g s", chance, r.Worth, r.Price)
	}
	return fmt.Sprintf("%s, jobs like it take %s: a request is worth %.3g s of expected delay yet, and one must be worth %.3g s",
		chance, r.Expected.Round(time.Second), r.Worth, r.Price)
}

// reason explains a job, whose rank is known.
func (s *Scheduler) reason(j *job, rank int, now time.Time, price float64) Reason {
	t := s.seconds(now)
	factor := s.factor(j.api, rank)
	j.law.refresh()
	standing := j.standing(t, factor)
	silent := j.api.silent() * -math.Expm1(-standing.hazard)
	r := Reason{
		At:       now,
		Expected: time.Duration(math.Exp(min(j.law.median(float64(j.lnAudio)), 20)) * float64(time.Second)),
		Chance:   silent / (silent + math.Exp(-standing.hazard)),
		Worth:    standing.worth, Price: price, Overdue: standing.overdue, UnderWay: j.underWay,
		AtOnce: j.atOnce && j.seen < j.start,
	}
	switch {
	case j.underWay:
	case j.notBefore > t:
		r.At, r.Held = s.time(j.notBefore), true
	case !standing.isDue(price):
		r.At = s.time(j.due(t, factor, price))
	}
	return r
}

// priceNow is what a request must be worth now.
func (s *Scheduler) priceNow(now time.Time) float64 {
	pace := s.ledger.pace(now, 1)
	if s.ledger.limited() {
		return s.price.now(0, pace)
	}
	return s.price.now(math.NaN(), pace)
}

// Explain says why and when a job is asked about; ok is false where it is not known.
func (s *Scheduler) Explain(id string, now time.Time) (r Reason, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j == nil {
		return Reason{}, false
	}
	return s.reason(j, j.api.rank(j), now, s.priceNow(now)), true
}

// NextPoll is when a job is due: zero when it is not known.
func (s *Scheduler) NextPoll(id string, now time.Time) time.Time {
	r, _ := s.Explain(id, now)
	return r.At
}

// NextPolls returns the first n polls in the order in which they are to be sent,
// those that are due before those that wait. Jobs that are being asked about are
// not among them. With very many jobs, they are those that were the first a few
// seconds ago (see fresh).
func (s *Scheduler) NextPolls(now time.Time, n int) []Poll {
	s.mu.Lock()
	defer s.mu.Unlock()
	price := s.priceNow(now)
	if !now.Before(s.fresh(s.ahead.at)) || s.ahead.most < n {
		s.lookAhead(now, price, n)
	}
	var polls []Poll
	for _, first := range s.ahead.jobs {
		if j := first.job; !j.gone && !j.underWay {
			polls = append(polls, Poll{j.id, s.reason(j, j.api.rank(j), now, price)})
		}
	}
	slices.SortFunc(polls, func(a, b Poll) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(b.Worth, a.Worth), cmp.Compare(a.RequestID, b.RequestID))
	})
	return polls[:min(n, len(polls))]
}

// ahead is a look at who will be asked about next.
type ahead struct {
	at   time.Time
	jobs []waiting // the first, in order
	most int       // as many, at most
}

// A waiting job is due at a time, with a worth if that is now.
type waiting struct {
	*job
	at, worth float64
}

func (w waiting) before(v waiting) bool {
	return w.at < v.at || w.at == v.at && w.worth > v.worth
}

// lookStride is how far from each other neighbours are in a look at all jobs.
// Whatever order they are in, it soon knows some that are due early, and need not
// find out when exactly the others are.
const lookStride = 997

// lookAhead looks through all jobs for the first n.
func (s *Scheduler) lookAhead(now time.Time, price float64, n int) {
	s.ahead = ahead{at: now, most: n}
	t := s.seconds(now)
	for _, a := range s.apis {
		a.order()
		a.laws[0].refresh()
		a.laws[1].refresh()
	}
	for offset := range lookStride {
		for _, a := range s.apis {
			for i := offset; i < len(a.jobs); i += lookStride {
				if j := a.jobs[i]; !j.gone && !j.underWay {
					s.ahead.add(j, t, s.factor(a, max(i-a.gone, 0)), price)
				}
			}
		}
	}
}

// add puts a job among the first, if it is one of them.
func (h *ahead) add(j *job, t, factor, price float64) {
	last := math.Inf(1)
	full := len(h.jobs) == h.most
	if full {
		last = h.jobs[h.most-1].at
	}
	w := waiting{j, j.notBefore, 0}
	if w.at <= t {
		switch standing := j.standing(t, factor); {
		case standing.isDue(price):
			w.at, w.worth = t, standing.worth
		case full && !j.standing(last, factor).isDue(price):
			return
		default:
			w.at = j.due(t, factor, price)
		}
	}
	i := sort.Search(len(h.jobs), func(i int) bool { return w.before(h.jobs[i]) })
	if i < h.most {
		h.jobs = slices.Insert(h.jobs[:min(len(h.jobs), h.most-1)], i, w)
	}
}

// Due is how many jobs would be asked about now if the quota allowed.
func (s *Scheduler) Due(now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.After(s.fresh(s.scanned)) {
		s.scan(now, s.priceNow(now))
	}
	return s.due
}

// Pricing is what requests cost at present.
type Pricing struct {
	Price   float64 // what a request must be worth, seconds of expected delay
	Coming  float64 // jobs expected until the day's quota begins anew, or in 24 hours; 0 without one
	PerJob  float64 // requests that each of them is expected to get
	Sharing float64 // part of the minute's quota that is used; the rest is somebody else's
}

// Pricing returns what requests cost at present.
func (s *Scheduler) Pricing(now time.Time) Pricing {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updatePrice(now)
	return Pricing{s.priceNow(now), s.price.coming, s.price.arrival, s.sharing.share}
}

// A Planned poll is one of the coming, if the job still runs until then.
type Planned struct {
	Poll           // as things will stand then
	Needed float64 // how likely that is, as far as known now, 0 to 1
}

// Plan returns the polls of the coming time, at most so many, and the usage of
// the day's quota after them: what would be sent if no job ended and none came. It
// changes nothing.
func (s *Scheduler) Plan(now time.Time, length time.Duration, most int) (polls []Planned, day Usage) {
	s.mu.Lock()
	plan := s.clone()
	s.mu.Unlock()
	chances := make(map[string]float64)
	for t := now; len(polls) < most; {
		id, ok, at := plan.Next(t)
		if !ok {
			if at.IsZero() || at.Sub(now) > length {
				break
			}
			t = later(t, at)
			continue
		}
		j := plan.jobs[id]
		r := plan.reason(j, j.api.rank(j), t, plan.priceNow(t))
		r.At, r.UnderWay = t, false
		chance, known := chances[id]
		if !known {
			chance = 1
		}
		polls = append(polls, Planned{Poll{id, r}, chance})
		chances[id] = chance * (1 - r.Chance)
		plan.ledger.Answered(t)
		plan.Running(id, t, 0)
	}
	_, day = plan.ledger.Usage(now.Add(length))
	return polls, day
}

// later is at, or a moment after t where that is later.
func later(t, at time.Time) time.Time {
	if soon := t.Add(time.Millisecond); at.Before(soon) {
		return soon
	}
	return at
}

// clone is a scheduler with the same jobs and quota that learns nothing.
func (s *Scheduler) clone() *Scheduler {
	c := &Scheduler{
		ledger: s.ledger.clone(), without: s.without, epoch: s.epoch, clockIn: s.clockIn,
		jobs:  make(map[string]*job, len(s.jobs)),
		price: s.price, forecast: s.forecast, sharing: s.sharing,
	}
	c.without.Learning = true
	for i, l := range s.pool { // refresh writes to laws
		law := *l
		c.pool[i] = &law
	}
	for _, a := range s.apis {
		a.order()
		copied := *a
		copied.jobs, copied.sorted, copied.gone = nil, 0, 0
		for i, l := range a.laws {
			law := *l
			copied.laws[i] = &law
		}
		for _, j := range a.jobs {
			if j.gone {
				continue
			}
			k := *j
			k.api, k.underWay, k.law = &copied, false, copied.laws[0]
			if j.law == a.laws[1] {
				k.law = copied.laws[1]
			}
			copied.jobs = append(copied.jobs, &k)
			c.jobs[k.id] = &k
		}
		copied.sorted = len(copied.jobs)
		c.apis = append(c.apis, &copied)
	}
	return c
}

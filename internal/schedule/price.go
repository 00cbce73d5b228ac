package schedule

import (
	"math"
	"time"
)

// A price is what a request must be worth to be sent, in seconds of expected
// delay: the multiplier λ of the quota.
//
// Under the day's quota, one request more would shorten the time without any, by
// as much as one job would then wait less for its request: the price is the
// expected length of the time in which none is left. It depends on itself, since at
// a higher price less is spent; λ solves λ = shortage(λ), which has one solution,
// as the right side falls. The future is a handful of equally likely scenarios, with
// more or fewer arrivals, and each has a price of its own. What will be learnt of
// the day softens the dear ones, and so their power mean with an exponent below 1
// stands for them all; the exponent was found by simulation.
//
// Under the minute's quota alone, holding back gains little: what is not spent is
// lost once the bucket is full. Then the price is a part of what the last requests
// were worth, in proportion to how much of the minute is used, which spreads
// requests over the minute.
type price struct {
	perDay  float64   // λ under the day's quota
	at      time.Time // when it was computed
	sent    int       // requests since
	typical float64   // worth of the last requests, geometric mean
	arrival float64   // requests that an arriving job is expected to get at perDay
	coming  float64   // jobs expected until the day's quota begins anew, or in 24 hours
}

// What a request is worth at least: where there is a quota for the minute, it is
// there to be used; without one, somebody pays.
const (
	leastWorth     = 0.01 // seconds
	leastUnlimited = 0.1
)

const (
	typicalShare  = 0.3 // of the typical worth, when the minute is used up
	typicalWeight = 0.1 // of the last request
	scenarioPower = 0.4
	requestSpread = 0.7 // variance of a job's number of requests, by its mean
)

// freePace is how much of what an even spending of the day's quota would be costs
// nothing: a plan that is much larger than what there is to ask about is there to be
// used, whatever may still come.
const freePace = 0.1

// now is the price, with a part of the minute's quota used (NaN: it has no limit),
// at a pace (see Ledger.pace).
func (p *price) now(used, pace float64) float64 {
	perDay := p.perDay
	if pace <= freePace {
		perDay = 0
	}
	if math.IsNaN(used) {
		return max(perDay, leastUnlimited)
	}
	return max(perDay, leastWorth, typicalShare*p.typical*used)
}

// spent notes what a request was worth.
func (p *price) spent(worth float64) {
	p.sent++
	worth = max(worth, leastWorth/10)
	if p.typical == 0 {
		p.typical = worth
	}
	p.typical *= math.Pow(worth/p.typical, typicalWeight)
}

// longestPrice is how long a price stands; it is also computed anew when a
// fiftieth of what was left is spent.
const longestPrice = 2 * time.Minute

// update computes the price under the day's quota anew where that is due.
func (s *Scheduler) updatePrice(now time.Time) {
	p := &s.price
	day := s.ledger.outlook(now)
	if day.limit == 0 || s.without.Pacing {
		p.perDay = 0
		return
	}
	if !p.at.IsZero() && now.Sub(p.at) < longestPrice && float64(p.sent) < 0.02*day.left {
		return
	}
	p.at, p.sent = now, 0
	day.left++ // the one that is reserved for this decision
	day.early++
	if others := s.sharing.taken(now); others > 0 {
		day.left = max(day.left-others, 0)
		day.early = max(day.early-others*morningShare, 0)
	}
	hours, variance := s.forecast.coming(s.clock(now), day.limit)
	arriving, unfinished, lag := s.demands()
	// A job is asked about when it has run for a while, which may be after the horizon.
	if shift := int(lag.Hours()); shift > 0 {
		var later [24]float64
		copy(later[min(shift, 24):], hours[:])
		hours = later
	}
	p.coming = 0
	for i := range hours {
		hours[i] *= day.share(i)
		p.coming += hours[i]
	}

	sum := 0.0
	for _, q := range scenarios {
		sd := math.Sqrt(variance)
		factor := math.Exp(q*sd - variance/2)
		shortage := func(price float64) float64 {
			open, each := unfinished.at(price), arriving.at(price)*factor
			risk := q * math.Sqrt(requestSpread*(open+each*p.coming/factor))
			return day.shortage(open+risk, each, &hours)
		}
		sum += math.Pow(solve(shortage), scenarioPower)
	}
	p.perDay = math.Pow(sum/float64(len(scenarios)), 1/scenarioPower)
	p.arrival = arriving.at(max(p.perDay, leastWorth))
}

// scenarios are seven equally likely parts of a normal law.
var scenarios = [...]float64{-1.47, -0.79, -0.37, 0, 0.37, 0.79, 1.47}

// solve finds the price that equals the time without requests that it leads to.
func solve(shortage func(price float64) float64) float64 {
	low, high := 0.1, 1e5
	if shortage(low) <= low {
		return 0
	}
	for range 14 {
		if middle := math.Sqrt(low * high); shortage(middle) > middle {
			low = middle
		} else {
			high = middle
		}
	}
	return math.Sqrt(low * high)
}

// demands is how many requests an arriving job, and all unfinished ones together,
// are expected to get at each price, and how long a job takes, in the median.
func (s *Scheduler) demands() (arriving, unfinished demand, lag time.Duration) {
	arrivals := 0.0
	for _, a := range s.apis {
		for _, l := range a.laws {
			arrivals += l.arrivals
		}
	}
	if arrivals == 0 {
		return s.pool[0].requests(1)[0], unfinished, 0
	}
	for _, a := range s.apis {
		for _, l := range a.laws {
			if l.arrivals == 0 {
				continue
			}
			n := l.requests(a.silent())
			var seen [bins]float64 // jobs by their age when they were last seen running
			for _, j := range a.jobs {
				if j.law != l || j.gone {
					continue
				}
				b := 0
				if j.seen >= j.start {
					b = min(int(position(math.Log(max(j.seen-j.start, 1e-3))-l.median(float64(j.lnAudio)))), bins-1)
				}
				seen[b]++
			}
			lag += time.Duration(l.arrivals / arrivals * math.Exp(min(l.median(0), 15)) * float64(time.Second))
			for p := range prices {
				arriving[p] += l.arrivals / arrivals * n[0][p]
			}
			for b, jobs := range seen {
				if jobs > 0 {
					for p := range prices {
						unfinished[p] += jobs * n[b][p]
					}
				}
			}
		}
	}
	return arriving, unfinished, lag
}

// An outlook is what of the day's quota may be spent when.
type outlook struct {
	limit   float64 // 0: unlimited
	left    float64 // now
	hour    float64 // how far the present hour of the clock is gone, 0 to 1
	horizon float64 // hours, from the beginning of the present one: until the reset, or a day
	morning float64 // hours until the morning's share no longer binds; 0: it does not
	early   float64 // what is left of that
	frees   [24]float64
}

// The morning: until 10 of the 24 hours after a fixed reset have passed, so much
// of the quota may be spent at most. Something is left for the afternoon, whatever
// the forecast.
const (
	morningHours = 10
	morningShare = 0.37 // is planned with
	morningMost  = 0.39 // is never exceeded
)

// share is how much of an hour lies before the horizon.
func (o *outlook) share(i int) float64 {
	if i == 0 {
		return 1
	}
	return min(max(o.horizon-float64(i), 0), 1)
}

// shortage is for how long none is left, in seconds, if so many requests are
// needed at once and each of the arrivals needs some.
func (o *outlook) shortage(open, each float64, arrivals *[24]float64) float64 {
	supply, early, need, short := o.left, o.early, open, 0.0
	for i := range arrivals {
		if float64(i) >= o.horizon {
			break
		}
		length := o.share(i)
		if i == 0 {
			length -= o.hour
		}
		more := arrivals[i]*each + 1e-9
		available := supply
		if float64(i) < o.morning {
			available = min(supply, early)
		}
		covered := min(max((available-need)/more, 0), 1)
		short += (1 - covered) * length
		need += more
		supply += o.frees[i]
	}
	return short * 3600
}

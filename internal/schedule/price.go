package schedule

import (
	"cmp"
	"math"
	"time"
)

// price is what a request must be worth to be sent, in seconds of expected delay: the multiplier λ of the quota.
// Under the day's quota, λ is the expected length of the time in which no request is left: λ = shortage(λ), whose
// right side falls. The day will soften the high ones of the seven scenarios' prices, so their power mean has an
// exponent below 1, which was found by simulation. Under the minute's quota alone, it is a part of what the last
// requests were worth, in proportion to how much of the minute is used. docs/scheduling.md gives the reasons.
type price struct {
	perDay  float64   // λ under the day's quota
	at      time.Time // when it was computed
	sent    int       // requests since
	typical float64   // score of the last requests, geometric mean
	perJob  float64   // requests that an arriving job is expected to get at perDay
	coming  float64   // jobs expected until the day's quota resets, or in 24 hours
	// expected are requests in each of the next hours, as in Pricing.
	expected [24]float64
}

const (
	minPrice          = 0.0075 // seconds: a quota per minute is there to be used
	minPriceUnlimited = 0.1    // without a quota, the server still has work with each request

	typicalShare  = 0.3 // of the typical score, when the minute is used up
	typicalWeight = 0.1 // of the last request
	scenarioPower = 0.4
	planShare     = 0.15 // of the plan in the price, as a power; 0.25 gains 2 % more, and loses 7 % on a light load
	planPrice     = 2.0  // of the median duration, where requests are spent as planned
	planGain      = 15.0 // of the price's logarithm, where the whole quota is spent too early
	requestSpread = 0.7  // variance of a job's number of requests, by its mean

	// This part of an even spending of the day's quota costs nothing: a quota that is much larger than what there is to
	// poll is there to be used, whatever may still arrive.
	freePace = 0.1

	maxPriceAge = 2 * time.Minute // then, or when a fiftieth of what was left is spent, the price is computed again
)

// now returns the price with a part of the minute's quota used.
func (p *price) now(q *quota, used float64, at time.Time) float64 {
	perDay := p.perDay
	if q.pace(at) <= freePace {
		perDay = 0
	}
	if q.minute.limit == 0 {
		return max(perDay, minPriceUnlimited)
	}
	return max(perDay, minPrice, typicalShare*p.typical*used)
}

// spent notes the score of a request.
func (p *price) spent(score float64) {
	p.sent++
	score = max(score, minPrice/10)
	p.typical = cmp.Or(p.typical, score)
	p.typical *= math.Pow(score/p.typical, typicalWeight)
}

// updatePrice computes the price under the day's quota again where that is due.
func (s *Scheduler) updatePrice(now time.Time) {
	p := &s.price
	if s.quota.limits.PerDay == 0 {
		*p = price{typical: p.typical}
		return
	}
	// Without a request left, no decision needs the price before it is old.
	left := s.quota.left(now)
	if !p.at.IsZero() && now.Sub(p.at) < maxPriceAge && (left < 1 || float64(p.sent) < 0.02*(left-1)) {
		return
	}
	p.at, p.sent = now, 0
	day := s.quota.outlook(now)
	if others := s.sharing.taken(now); others > 0 {
		day.left = max(day.left-others, 0)
		day.early = max(day.early-others*morningShare, 0)
	}
	hours, variance := s.forecast.coming(s.watch(now), day.limit)
	arriving, unfinished, lag := s.demands()
	// A job is polled when it has run for a while, which may be after the horizon.
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
		factor := math.Exp(q*math.Sqrt(variance) - variance/2)
		sum += math.Pow(solve(func(price float64) float64 {
			open, each := unfinished.at(price), arriving.at(price)*factor
			risk := q * math.Sqrt(requestSpread*(open+each*p.coming/factor))
			return day.shortage(open+risk, each, &hours)
		}), scenarioPower)
	}
	p.perDay = math.Pow(sum/float64(len(scenarios)), 1/scenarioPower)
	// The forecast relies on what it expects of the rest of the day. The plan looks only at what was spent, and errs in
	// other ways: the geometric mean of both errs less than either.
	if !s.quota.dayResets(now).IsZero() {
		ahead := 1 - (day.left-s.unreported())/day.limit - s.forecast.planned(s.local(now), 24-day.horizon+day.hour)
		plan := planPrice * max(lag.Seconds(), 1) * math.Exp(min(planGain*ahead, 10))
		p.perDay = math.Pow(max(p.perDay, minPriceUnlimited), 1-planShare) * math.Pow(plan, planShare)
	}
	price := max(p.perDay, minPrice)
	p.perJob = arriving.at(price)
	for i, jobs := range hours {
		p.expected[i] = jobs * p.perJob
	}
	p.expected[0] += unfinished.at(price)
}

// scenarios are the medians of seven equally likely parts of a normal distribution.
var scenarios = [...]float64{-1.47, -0.79, -0.37, 0, 0.37, 0.79, 1.47}

// solve finds the price that equals the shortage that it leads to.
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

// outlook is what of the day's quota may be spent when.
type outlook struct {
	limit   float64
	left    float64 // now
	hour    float64 // part of the present hour that has passed
	horizon float64 // hours from the start of the present one until the reset, or 24
	morning float64 // hours until the morning's share no longer binds; 0: it does not
	early   float64 // what is left of that
	frees   [24]float64
}

// The morning: until 10 of the 24 hours after a fixed reset have passed, a part of the quota may be spent at most, so
// that something is left for the afternoon whatever the forecast.
const (
	morningHours = 10
	morningShare = 0.37 // the price plans with this part
	morningMost  = 0.39 // this part is never exceeded
)

// share returns how much of an hour lies before the horizon.
func (o *outlook) share(i int) float64 {
	if i == 0 {
		return 1
	}
	return min(max(o.horizon-float64(i), 0), 1)
}

// shortage returns for how long no request is left, in seconds, if open requests are needed at once and each of the
// arrivals needs some.
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

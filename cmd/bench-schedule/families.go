package main

import (
	"math"
	"math/rand/v2"
)

func flat(perHour float64) func(float64) float64 {
	return func(float64) float64 { return perHour / 3600 }
}

// office is a day with its peak at an hour.
func office(perDay, peak, width float64) func(float64) float64 {
	return func(t float64) float64 {
		h := math.Mod(t/3600-peak+36, 24) - 12
		return perDay / 3600 * (0.1/24 + 0.9*math.Exp(-h*h/2/width/width)/(width*math.Sqrt(2*math.Pi)))
	}
}

// ofAudio is proportional to the audio, with some spread; some jobs fail early.
func ofAudio(factor, spread, fail float64) work {
	return func(r *rand.Rand, api int, _, audio float64) float64 {
		d := 5 + factor*audio*math.Exp(spread*r.NormFloat64())
		if r.Float64() < fail {
			d *= r.Float64() * r.Float64()
		}
		return d
	}
}

// random does not depend on the audio.
func random(d func(r *rand.Rand) float64) work {
	return func(r *rand.Rand, _ int, _, _ float64) float64 { return d(r) }
}

// perAPI takes longer from one API to the next.
func perAPI(factor float64) work {
	return func(r *rand.Rand, api int, t, audio float64) float64 {
		return ofAudio(0.03*math.Pow(factor, float64(api)), 0.3, 0.04)(r, api, t, audio)
	}
}

func families() []family {
	const hour = 3600
	rate := func(perMinute float64) budget { return budget{RatePerS: perMinute / 60, Burst: 5} }
	capped := func(perMinute, day float64) budget {
		return budget{RatePerS: perMinute / 60, Burst: min(perMinute, 5), DailyCap: day}
	}
	shared := func(b budget, others float64) budget { // requests per second of others
		b.Shadow = []float64{others}
		return b
	}
	usual := ofAudio(0.25, 0.25, 0.04)
	stuck := func(share float64) work {
		return func(r *rand.Rand, api int, t, audio float64) float64 {
			if r.Float64() < share {
				return math.Inf(1)
			}
			return usual(r, api, t, audio)
		}
	}
	lost := func(share float64, w work) work {
		return func(r *rand.Rand, api int, t, audio float64) float64 {
			if d := w(r, api, t, audio); r.Float64() >= share {
				return d
			}
			return math.Inf(1)
		}
	}
	hung := func(share float64, w work) work { // a worker is stuck with it for an hour
		return func(r *rand.Rand, api int, t, audio float64) float64 {
			if d := w(r, api, t, audio); r.Float64() >= share {
				return d
			}
			return hour
		}
	}
	slower := func(factor, from, until float64) work { // between these times
		return func(r *rand.Rand, api int, t, audio float64) float64 {
			d := usual(r, api, t, audio)
			if t > from && t < until {
				d *= factor
			}
			return d
		}
	}
	faster := func(r *rand.Rand, api int, t, audio float64) float64 { // from 4 hours on
		d := 3 * usual(r, api, t, audio)
		if t > 4*hour {
			d /= 8
		}
		return d
	}
	week := func(perDay, weekend float64) func(t float64) float64 {
		return func(t float64) float64 {
			if int(t/dayS)%7 > 4 {
				return office(weekend, 13, 4)(t)
			}
			return office(perDay, 13, 4)(t)
		}
	}
	monday := func(batch float64, week func(t float64) float64) func(t float64) float64 { // a batch from 8:00 to 9:00
		return func(t float64) float64 {
			if int(t/dayS)%7 == 0 && int(t/hour)%24 == 8 {
				return batch / hour
			}
			return week(t)
		}
	}
	holidays := func(t float64) float64 {
		if day := int(t / dayS); day == 2 || day == 6 || day == 7 || day == 8 {
			return office(2, 13, 4)(t)
		}
		return office(60, 13, 4)(t)
	}
	growing := func(t float64) float64 { return office(20*math.Exp(t/dayS/5), 13, 4)(t) }
	night := func(t float64) float64 {
		if h := math.Mod(t/hour, 24); h > 2 && h < 2.5 {
			return 200. / 1800
		}
		return 0.5 / hour
	}
	overload := func(t float64) float64 {
		if t < 2*hour {
			return 500. / hour
		}
		return 60. / hour
	}
	exponential := random(func(r *rand.Rand) float64 { return 200 * r.ExpFloat64() })
	constant := random(func(r *rand.Rand) float64 { return 300 + 5*r.NormFloat64() })
	slow := random(func(r *rand.Rand) float64 { return 3000 * math.Exp(0.8*r.NormFloat64()) })
	overnight := random(func(r *rand.Rand) float64 { return 8 * hour * math.Exp(0.4*r.NormFloat64()) })
	heavy := random(func(r *rand.Rand) float64 { return 40 * math.Pow(r.Float64(), -1/1.2) })
	return []family{
		{name: "light", horizon: 2 * dayS, budget: capped(5, 100), rate: office(30, 13, 4), work: usual},
		{name: "capbind", horizon: 3 * dayS, budget: capped(5, 100), rate: office(75, 13, 4.5), work: usual},
		{name: "flatcap", horizon: 3 * dayS, budget: capped(5, 100), rate: flat(3), work: usual},
		{name: "evening", horizon: 2 * dayS, budget: capped(5, 100), rate: office(60, 19, 2.5), work: usual},
		{name: "capstuck", horizon: 4 * dayS, budget: capped(5, 100), rate: office(40, 13, 4), work: stuck(0.05)},
		{name: "weekend", horizon: 9 * dayS, budget: capped(5, 200), rate: week(110, 10), work: usual},
		{name: "monday", horizon: 9 * dayS, budget: capped(5, 200), rate: monday(120, week(110, 10)), work: usual},
		{name: "holidays", horizon: 12 * dayS, budget: capped(5, 100), rate: holidays, work: usual},
		{name: "growing", horizon: 10 * dayS, budget: capped(5, 200), rate: growing, work: usual},
		{name: "bigcap", horizon: dayS, budget: capped(60, 5000), rate: office(2500, 13, 4), work: usual},
		{name: "caponly", horizon: 2 * dayS, budget: budget{DailyCap: 300}, rate: office(150, 13, 4), work: usual},
		{name: "nightbatch", horizon: 2 * dayS, budget: capped(5, 600), rate: night, work: usual},
		{name: "rate5", horizon: 9 * hour, budget: rate(5), rate: flat(190), work: usual},
		{name: "rate20stuck", horizon: 9 * hour, budget: rate(20), rate: flat(400), work: stuck(0.08)},
		{name: "overload", horizon: 6 * hour, budget: rate(5), rate: overload, work: usual},
		{name: "idle", horizon: 4 * hour, budget: budget{RatePerS: 5, Burst: 10}, rate: flat(40), work: usual},
		{name: "window", horizon: 6 * hour, budget: budget{RatePerS: 0.5, Burst: 30, WindowS: 60}, rate: flat(600),
			work: usual},
		{name: "exponential", horizon: 6 * hour, budget: rate(20), rate: flat(400), hints: -1, work: exponential},
		{name: "constant", horizon: 6 * hour, budget: rate(20), rate: flat(600), hints: -1, work: constant},
		{name: "heavytail", horizon: 9 * hour, budget: rate(20), rate: flat(400), hints: -1, work: heavy},
		{name: "manyapis", horizon: 4 * hour, budget: rate(30), rate: flat(500), apis: 20, work: perAPI(1.3)},
		{name: "manyapiscap", horizon: 2 * dayS, budget: capped(5, 200), rate: office(100, 13, 4), apis: 12,
			work: perAPI(1.5)},
		{name: "fifo", horizon: 8 * hour, budget: rate(20), rate: flat(350), servers: 1,
			work: ofAudio(0.0135, 0.4, 0.02)},
		{name: "fifo4", horizon: 8 * hour, budget: rate(20), rate: flat(400), servers: 4,
			work: ofAudio(0.05, 0.4, 0.02)},
		{name: "fifocap", horizon: 2 * dayS, budget: capped(5, 300), rate: office(200, 13, 4), servers: 1,
			work: ofAudio(0.2, 0.3, 0.02)},
		{name: "fifo1batch", horizon: 8 * hour, budget: rate(20), rate: flat(300), batch: 60, servers: 1,
			work: ofAudio(0.0135, 0.4, 0.02)},
		{name: "fifo4batch", horizon: 8 * hour, budget: rate(20), rate: flat(300), batch: 60, servers: 4,
			work: ofAudio(0.05, 0.4, 0.02)},
		{name: "fifo16", horizon: 8 * hour, budget: rate(20), rate: flat(400), servers: 16,
			work: ofAudio(0.2, 0.4, 0.02)},
		{name: "fifo16batch", horizon: 8 * hour, budget: rate(20), rate: flat(300), batch: 80, servers: 16,
			work: ofAudio(0.2, 0.4, 0.02)},
		{name: "fifo4tight", horizon: 8 * hour, budget: rate(5), rate: flat(150), batch: 40, servers: 4,
			work: ofAudio(0.1, 0.4, 0.02)},
		{name: "fifo4hung", horizon: 8 * hour, budget: rate(20), rate: flat(250), batch: 40, servers: 4,
			work: hung(0.01, ofAudio(0.05, 0.4, 0.02))},
		{name: "fifo4lost", horizon: 8 * hour, budget: rate(20), rate: flat(300), batch: 40, servers: 4,
			work: lost(0.05, ofAudio(0.05, 0.4, 0.02))},
		{name: "fifo8urgent", horizon: 8 * hour, budget: rate(20), rate: flat(400), batch: 60, servers: 8,
			urgent: 0.2, work: ofAudio(0.1, 0.4, 0.02)},
		{name: "fifo4apis", horizon: 8 * hour, budget: rate(20), rate: flat(300), batch: 40, servers: 4, apis: 2,
			work: ofAudio(0.05, 0.4, 0.02)},
		{name: "fifo4hooks", horizon: 8 * hour, budget: rate(20), rate: flat(300), batch: 40, servers: 4, hooks: 0.5,
			work: ofAudio(0.05, 0.4, 0.02)},
		{name: "fifo2cap", horizon: 2 * dayS, budget: capped(5, 300), rate: office(150, 13, 4), batch: 30, servers: 2,
			work: ofAudio(0.2, 0.4, 0.02)},
		{name: "restart", horizon: 6 * hour, budget: rate(10), rate: flat(75), hints: -1, restart: true, work: slow},
		{name: "outage", horizon: 9 * hour, budget: rate(20), rate: flat(400), work: usual,
			outage: [2]float64{3 * hour, 4.2 * hour}},
		{name: "slowdown", horizon: 10 * hour, budget: rate(20), rate: flat(350), work: slower(5, 3*hour, 6*hour)},
		{name: "speedup", horizon: 8 * hour, budget: rate(20), rate: flat(400), work: faster},
		{name: "hooks50", horizon: 2 * dayS, budget: capped(5, 300), rate: office(300, 13, 4), work: usual, hooks: 0.5},
		{name: "hooks97", horizon: dayS, budget: capped(5, 100), rate: office(1500, 13, 4), work: usual, hooks: 0.97},
		{name: "sharedrate", horizon: 8 * hour, budget: shared(rate(20), 0.12), rate: flat(250), work: usual},
		{name: "shared20", horizon: 8 * hour, budget: shared(rate(20), 0.067), rate: flat(250), work: usual},
		{name: "shared60", horizon: 8 * hour, budget: shared(rate(20), 0.2), rate: flat(150), work: usual},
		{name: "shared80", horizon: 8 * hour, budget: shared(rate(20), 0.267), rate: flat(80), work: usual},
		{name: "sharedcap", horizon: 3 * dayS, budget: shared(capped(5, 200), 0.0012), rate: office(60, 13, 4),
			work: usual},
		{name: "month", horizon: 30 * dayS, budget: capped(5, 100), rate: monday(40, week(45, 5)), work: usual},
		{name: "hugecap", horizon: dayS, rate: flat(40), work: usual,
			budget: budget{RatePerS: 10, Burst: 600, WindowS: 60, DailyCap: 500_000}},
		{name: "slowcap", horizon: 4 * dayS, budget: capped(5, 100), rate: office(60, 10, 3), hints: -1, work: overnight},
		{name: "sharedday", horizon: 5 * dayS, budget: shared(capped(5, 100), 0.0006), rate: office(40, 13, 4),
			work: usual},
	}
}

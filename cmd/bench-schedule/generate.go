package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
)

// family is a kind of generated trace.
type family struct {
	name    string
	horizon float64
	budget  budget
	rate    func(t float64) float64 // arrivals per second
	work    work
	apis    int
	hints   float64    // share of jobs with the length of their audio; 0: 0.7
	hooks   float64    // share that a webhook reports
	servers int        // of a queue that serves in order; 0: no queue
	outage  [2]float64 // nothing ends in between
}

// work returns the seconds of work of a job; +Inf: it never ends.
type work func(r *rand.Rand, api int, t, audio float64) float64

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
	week := func(t float64) float64 {
		if int(t/dayS)%7 > 4 {
			return office(10, 13, 4)(t)
		}
		return office(110, 13, 4)(t)
	}
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
	heavy := random(func(r *rand.Rand) float64 { return 40 * math.Pow(r.Float64(), -1/1.2) })
	return []family{
		{name: "light", horizon: 2 * dayS, budget: capped(5, 100), rate: office(30, 13, 4), work: usual},
		{name: "capbind", horizon: 3 * dayS, budget: capped(5, 100), rate: office(75, 13, 4.5), work: usual},
		{name: "flatcap", horizon: 3 * dayS, budget: capped(5, 100), rate: flat(3), work: usual},
		{name: "evening", horizon: 2 * dayS, budget: capped(5, 100), rate: office(60, 19, 2.5), work: usual},
		{name: "capstuck", horizon: 4 * dayS, budget: capped(5, 100), rate: office(40, 13, 4), work: stuck(0.05)},
		{name: "weekend", horizon: 9 * dayS, budget: capped(5, 200), rate: week, work: usual},
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
		{name: "outage", horizon: 9 * hour, budget: rate(20), rate: flat(400), work: usual,
			outage: [2]float64{3 * hour, 4.2 * hour}},
		{name: "slowdown", horizon: 10 * hour, budget: rate(20), rate: flat(350), work: slower(5, 3*hour, 6*hour)},
		{name: "speedup", horizon: 8 * hour, budget: rate(20), rate: flat(400), work: faster},
		{name: "hooks50", horizon: 2 * dayS, budget: capped(5, 300), rate: office(300, 13, 4), work: usual, hooks: 0.5},
		{name: "hooks97", horizon: dayS, budget: capped(5, 100), rate: office(1500, 13, 4), work: usual, hooks: 0.97},
		{name: "sharedrate", horizon: 8 * hour, budget: shared(rate(20), 0.12), rate: flat(250), work: usual},
		{name: "sharedcap", horizon: 3 * dayS, budget: shared(capped(5, 200), 0.0012), rate: office(60, 13, 4),
			work: usual},
	}
}

// generate writes a trace of each family into a directory.
func generate(dir string, seed uint64) error {
	for n, f := range families() {
		r := rand.New(rand.NewPCG(seed, uint64(n)))
		if len(f.budget.Shadow) == 1 { // the rate
			rate := f.budget.Shadow[0]
			f.budget.Shadow = nil
			for t := r.ExpFloat64() / rate; t < f.horizon; t += r.ExpFloat64() / rate {
				f.budget.Shadow = append(f.budget.Shadow, tenths(t))
			}
		}
		jobs := f.arrivals(r)
		f.end(r, jobs)
		var text bytes.Buffer
		enc := json.NewEncoder(&text)
		err := enc.Encode(map[string]any{"name": f.name, "horizon_s": f.horizon, "budget": f.budget})
		for i := 0; i < len(jobs) && err == nil; i++ {
			err = enc.Encode(jobs[i])
		}
		if err != nil {
			return fmt.Errorf("encoding %s: %w", f.name, err)
		}
		path := filepath.Join(dir, fmt.Sprintf("%s.%d.jsonl", f.name, seed))
		if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func tenths(t float64) float64 { return math.Round(t*10) / 10 }

// arrivals returns the jobs of a trace. Where there is a queue, Fin is yet the seconds of work.
func (f *family) arrivals(r *rand.Rand) (jobs []traceJob) {
	most := 0.0
	for t := 0.0; t < f.horizon; t += 60 {
		most = max(most, f.rate(t))
	}
	last := f.horizon - min(f.horizon/8, 7200)
	for t := r.ExpFloat64() / most; t < last; t += r.ExpFloat64() / most {
		if r.Float64()*most > f.rate(t) {
			continue
		}
		api := 0
		if f.apis > 1 {
			api = int(float64(f.apis) * r.Float64() * r.Float64())
		}
		audio := 600 * math.Exp(0.8*r.NormFloat64())
		j := traceJob{ID: fmt.Sprintf("%s-%d", f.name, len(jobs)), T: tenths(t), API: fmt.Sprintf("api%d", api)}
		if r.Float64() < cmp.Or(f.hints, 0.7) {
			j.Audio = tenths(audio)
		}
		if d := f.work(r, api, t, audio); !math.IsInf(d, 1) {
			if f.servers == 0 {
				d = t + max(d, 1)
			}
			j.Fin = &d
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// end applies the queue, the outage and webhooks to the ends of jobs.
func (f *family) end(r *rand.Rand, jobs []traceJob) {
	free := make([]float64, f.servers)
	for i := range jobs {
		j := &jobs[i]
		if j.Fin == nil {
			continue
		}
		if f.servers > 0 {
			sort.Float64s(free)
			free[0] = max(j.T, free[0]) + *j.Fin
			*j.Fin = free[0]
		}
		if *j.Fin > f.outage[0] && j.T < f.outage[1] {
			*j.Fin += f.outage[1] - max(f.outage[0], j.T)
		}
		*j.Fin = tenths(*j.Fin)
		if r.Float64() < f.hooks {
			hook := tenths(*j.Fin + 1 + 2*r.Float64())
			j.Hook = &hook
		}
	}
}

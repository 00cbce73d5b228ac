package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
)

// A family is a kind of made-up trace: laws and budgets that others are not.
type family struct {
	name    string
	horizon float64
	budget  budget
	rate    func(t float64) float64 // arrivals a second
	apis    int
	law     func(r *rand.Rand, api int, t, audio float64) float64 // seconds of work; +Inf: never ends
	hints   float64                                               // share of jobs with the length of their audio
	hooks   float64                                               // share that a webhook reports
	servers int                                                   // of a queue that serves in order; 0: no queue
	outage  [2]float64                                            // nothing ends in between
}

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

// usualLaw is proportional to the audio, with some spread, and fails early at times.
func usualLaw(factor, spread, fail float64) func(*rand.Rand, int, float64, float64) float64 {
	return func(r *rand.Rand, api int, _, audio float64) float64 {
		d := 5 + factor*audio*math.Exp(spread*r.NormFloat64())
		if r.Float64() < fail {
			d *= r.Float64() * r.Float64()
		}
		return d
	}
}

func families() []family {
	perMinute := func(n float64) budget { return budget{RatePerS: n / 60, Burst: 5} }
	capped := func(perMin, day float64) budget {
		return budget{RatePerS: perMin / 60, Burst: math.Min(perMin, 5), DailyCap: day}
	}
	usual := usualLaw(0.25, 0.25, 0.04)
	stuck := func(share float64) func(*rand.Rand, int, float64, float64) float64 {
		return func(r *rand.Rand, api int, t, audio float64) float64 {
			if r.Float64() < share {
				return math.Inf(1)
			}
			return usual(r, api, t, audio)
		}
	}
	fs := []family{
		{name: "light", horizon: 2 * dayS, budget: capped(5, 100), rate: office(30, 13, 4), law: usual},
		{name: "capbind", horizon: 3 * dayS, budget: capped(5, 100), rate: office(75, 13, 4.5), law: usual},
		{name: "flatcap", horizon: 3 * dayS, budget: capped(5, 100), rate: flat(3), law: usual},
		{name: "evening", horizon: 2 * dayS, budget: capped(5, 100), rate: office(60, 19, 2.5), law: usual},
		{name: "capstuck", horizon: 4 * dayS, budget: capped(5, 100), rate: office(40, 13, 4), law: stuck(0.05)},
		{name: "weekend", horizon: 9 * dayS, budget: capped(5, 200), rate: func(t float64) float64 {
			if int(t/dayS)%7 > 4 {
				return office(10, 13, 4)(t)
			}
			return office(110, 13, 4)(t)
		}, law: usual},
		{name: "bigcap", horizon: dayS, budget: capped(60, 5000), rate: office(2500, 13, 4), law: usual},
		{name: "caponly", horizon: 2 * dayS, budget: budget{DailyCap: 300}, rate: office(150, 13, 4), law: usual},
		{name: "nightbatch", horizon: 2 * dayS, budget: capped(5, 600), rate: func(t float64) float64 {
			if h := math.Mod(t/3600, 24); h > 2 && h < 2.5 {
				return 200. / 1800
			}
			return 0.5 / 3600
		}, law: usual},
		{name: "rate5", horizon: 9 * 3600, budget: perMinute(5), rate: flat(190), law: usual},
		{name: "rate20stuck", horizon: 9 * 3600, budget: perMinute(20), rate: flat(400), law: stuck(0.08)},
		{name: "overload", horizon: 6 * 3600, budget: perMinute(5), rate: func(t float64) float64 {
			if t < 2*3600 {
				return 500. / 3600
			}
			return 60. / 3600
		}, law: usual},
		{name: "idle", horizon: 4 * 3600, budget: budget{RatePerS: 5, Burst: 10}, rate: flat(40), law: usual},
		{name: "window", horizon: 6 * 3600, budget: budget{RatePerS: 0.5, Burst: 30, WindowS: 60}, rate: flat(600), law: usual},
		{name: "exponential", horizon: 6 * 3600, budget: perMinute(20), rate: flat(400), hints: -1, law: func(r *rand.Rand, _ int, _, _ float64) float64 { return 200 * r.ExpFloat64() }},
		{name: "constant", horizon: 6 * 3600, budget: perMinute(20), rate: flat(600), hints: -1, law: func(r *rand.Rand, _ int, _, _ float64) float64 { return 300 + 5*r.NormFloat64() }},
		{name: "heavytail", horizon: 9 * 3600, budget: perMinute(20), rate: flat(400), hints: -1, law: func(r *rand.Rand, _ int, _, _ float64) float64 { return 40 * math.Pow(r.Float64(), -1/1.2) }},
		{name: "manyapis", horizon: 4 * 3600, budget: perMinute(30), rate: flat(500), apis: 20, law: func(r *rand.Rand, api int, t, audio float64) float64 {
			return usualLaw(0.03*math.Pow(1.3, float64(api)), 0.3, 0.04)(r, api, t, audio)
		}},
		{name: "manyapiscap", horizon: 2 * dayS, budget: capped(5, 200), rate: office(100, 13, 4), apis: 12, law: func(r *rand.Rand, api int, t, audio float64) float64 {
			return usualLaw(0.03*math.Pow(1.5, float64(api)), 0.3, 0.04)(r, api, t, audio)
		}},
		{name: "fifo", horizon: 8 * 3600, budget: perMinute(20), rate: flat(350), servers: 1, law: usualLaw(0.0135, 0.4, 0.02)},
		{name: "fifo4", horizon: 8 * 3600, budget: perMinute(20), rate: flat(400), servers: 4, law: usualLaw(0.05, 0.4, 0.02)},
		{name: "fifocap", horizon: 2 * dayS, budget: capped(5, 300), rate: office(200, 13, 4), servers: 1, law: usualLaw(0.2, 0.3, 0.02)},
		{name: "outage", horizon: 9 * 3600, budget: perMinute(20), rate: flat(400), law: usual, outage: [2]float64{3 * 3600, 4.2 * 3600}},
		{name: "slowdown", horizon: 10 * 3600, budget: perMinute(20), rate: flat(350), law: func(r *rand.Rand, api int, t, audio float64) float64 {
			d := usual(r, api, t, audio)
			if t > 3*3600 && t < 6*3600 {
				d *= 5
			}
			return d
		}},
		{name: "speedup", horizon: 8 * 3600, budget: perMinute(20), rate: flat(400), law: func(r *rand.Rand, api int, t, audio float64) float64 {
			d := usual(r, api, t, audio) * 3
			if t > 4*3600 {
				d /= 8
			}
			return d
		}},
		{name: "hooks50", horizon: 2 * dayS, budget: capped(5, 300), rate: office(300, 13, 4), law: usual, hooks: 0.5},
		{name: "hooks97", horizon: dayS, budget: capped(5, 100), rate: office(1500, 13, 4), law: usual, hooks: 0.97},
		{name: "sharedrate", horizon: 8 * 3600, budget: budget{RatePerS: 20. / 60, Burst: 5, Shadow: []float64{0.12}}, rate: flat(250), law: usual},
		{name: "sharedcap", horizon: 3 * dayS, budget: budget{RatePerS: 5. / 60, Burst: 5, DailyCap: 200, Shadow: []float64{0.0012}}, rate: office(60, 13, 4), law: usual},
	}
	return fs
}

// generate writes a trace of each family into a directory.
func generate(dir string, seed uint64) error {
	for n, f := range families() {
		r := rand.New(rand.NewPCG(seed, uint64(n)))
		if f.hints == 0 {
			f.hints = 0.7
		}
		if len(f.budget.Shadow) == 1 { // a rate
			rate := f.budget.Shadow[0]
			f.budget.Shadow = nil
			for t := r.ExpFloat64() / rate; t < f.horizon; t += r.ExpFloat64() / rate {
				f.budget.Shadow = append(f.budget.Shadow, math.Round(t*10)/10)
			}
		}
		type line struct {
			ID    string   `json:"id"`
			T     float64  `json:"t"`
			API   string   `json:"api"`
			Audio float64  `json:"audio,omitempty"`
			Fin   *float64 `json:"fin,omitempty"`
			Hook  *float64 `json:"hook,omitempty"`
		}
		var jobs []line
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
			j := line{ID: fmt.Sprintf("%s-%d", f.name, len(jobs)), T: math.Round(t*10) / 10, API: fmt.Sprintf("api%d", api)}
			if r.Float64() < f.hints {
				j.Audio = math.Round(audio*10) / 10
			}
			d := f.law(r, api, t, audio)
			if !math.IsInf(d, 1) {
				fin := t + max(d, 1)
				if f.servers > 0 {
					fin = d // the work; see below
				}
				j.Fin = &fin
			}
			jobs = append(jobs, j)
		}
		if f.servers > 0 {
			free := make([]float64, f.servers)
			for i := range jobs {
				sort.Float64s(free)
				begin := max(jobs[i].T, free[0])
				free[0] = begin + *jobs[i].Fin
				*jobs[i].Fin = free[0]
			}
		}
		for i := range jobs {
			j := &jobs[i]
			if j.Fin == nil {
				continue
			}
			if *j.Fin > f.outage[0] && j.T < f.outage[1] && f.outage[1] > 0 { // work stands still
				*j.Fin += f.outage[1] - max(f.outage[0], j.T)
			}
			*j.Fin = math.Round(*j.Fin*10) / 10
			if r.Float64() < f.hooks {
				hook := math.Round((*j.Fin+1+2*r.Float64())*10) / 10
				j.Hook = &hook
			}
		}
		if err := write(filepath.Join(dir, fmt.Sprintf("%s.%d.jsonl", f.name, seed)), f, jobs); err != nil {
			return err
		}
	}
	return nil
}

func write[T any](path string, f family, jobs []T) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	enc := json.NewEncoder(w)
	if err := enc.Encode(map[string]any{"name": f.name, "horizon_s": f.horizon, "budget": f.budget}); err != nil {
		return err
	}
	for _, j := range jobs {
		if err := enc.Encode(j); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return file.Close()
}

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
	servers int        // of a queue that serves the jobs of all APIs in order; 0: no queue
	urgent  float64    // share of the jobs that the queue serves first
	batch   int        // mean size of batches that arrive at once; 0: jobs arrive alone
	restart bool       // jobs from before the start, of unknown age, are there as well
	outage  [2]float64 // nothing ends in between
}

// work returns the seconds of work of a job; +Inf: it never ends.
type work func(r *rand.Rand, api int, t, audio float64) float64

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
	most, first := 0.0, 0.0
	for t := 0.0; t < f.horizon; t += 60 {
		most = max(most, f.rate(t))
	}
	if f.restart {
		first = -4 * 3600
	}
	most /= float64(max(f.batch, 1))
	last := f.horizon - min(f.horizon/8, 7200)
	for t := first + r.ExpFloat64()/most; t < last; t += r.ExpFloat64() / most {
		if r.Float64()*most > f.rate(t)/float64(max(f.batch, 1)) {
			continue
		}
		size := 1
		if f.batch > 0 {
			size = 1 + int(float64(f.batch)*r.ExpFloat64())
		}
		for range size {
			jobs = append(jobs, f.job(r, len(jobs), t))
		}
	}
	return jobs
}

// job returns a job that arrives at a time.
func (f *family) job(r *rand.Rand, n int, t float64) traceJob {
	api := 0
	if f.apis > 1 {
		api = int(float64(f.apis) * r.Float64() * r.Float64())
	}
	audio := 600 * math.Exp(0.8*r.NormFloat64())
	j := traceJob{ID: fmt.Sprintf("%s-%d", f.name, n), T: tenths(t), API: fmt.Sprintf("api%d", api)}
	if r.Float64() < cmp.Or(f.hints, 0.7) {
		j.Audio = tenths(audio)
	}
	if d := f.work(r, api, t, audio); !math.IsInf(d, 1) {
		if f.servers == 0 {
			d = t + max(d, 1)
		}
		j.Fin = &d
	}
	return j
}

// end applies the queue, the restart, the outage and webhooks to the ends of jobs.
func (f *family) end(r *rand.Rand, jobs []traceJob) {
	if f.servers > 0 {
		f.queue(r, jobs)
	}
	for i := range jobs {
		j := &jobs[i]
		if j.T < 0 {
			j.T, j.Unknown = 0, true
		}
		if j.Fin == nil {
			continue
		}
		if *j.Fin > f.outage[0] && j.T < f.outage[1] {
			*j.Fin += f.outage[1] - max(f.outage[0], j.T)
		}
		*j.Fin = tenths(max(*j.Fin, j.T))
		if r.Float64() < f.hooks {
			hook := tenths(*j.Fin + 1 + 2*r.Float64())
			j.Hook = &hook
		}
	}
}

// queue serves the jobs, the urgent ones first, then in order. Fin becomes the end of each.
func (f *family) queue(r *rand.Rand, jobs []traceJob) {
	free := make([]float64, f.servers)
	var urgent, usual []*traceJob
	for i := range jobs {
		switch j := &jobs[i]; {
		case j.Fin == nil: // lost before a worker took it
		case r.Float64() < f.urgent:
			urgent = append(urgent, j)
		default:
			usual = append(usual, j)
		}
	}
	for len(urgent)+len(usual) > 0 {
		sort.Float64s(free)
		line := &usual
		if len(urgent) > 0 && (len(usual) == 0 || urgent[0].T <= max(free[0], usual[0].T)) {
			line = &urgent
		}
		j := (*line)[0]
		*line = (*line)[1:]
		free[0] = max(j.T, free[0]) + *j.Fin
		*j.Fin = free[0]
	}
}

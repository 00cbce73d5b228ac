package main

import (
	"cmp"
	"math"
	"slices"
)

// A result is what came of a trace.
type result struct {
	MeanS      float64 `json:"mean_s"` // delays, of detected and undetected jobs
	P50S       float64 `json:"p50_s"`
	P95S       float64 `json:"p95_s"`
	MaxS       float64 `json:"max_s"`
	Requests   int     `json:"requests"` // refused ones included
	Detected   int     `json:"detected"`
	Undetected int     `json:"undetected"` // ended within the trace, and nobody noticed
	Refusals   int     `json:"refusals"`
	SpentBy10  float64 `json:"spent_by_10"` // share of the day's quota, on the worst day; 0 without one
	CPUS       float64 `json:"cpu_s"`       // of the whole run, the driver's own included
}

// run runs a policy over a trace in virtual time, from one thing that happens to
// the next. An answer comes at once.
func run(tr *trace, p policy) result {
	var r result
	begin := cpuSeconds()
	server := newServer(tr.budget)
	jobs := make(map[string]*traceJob, len(tr.jobs))
	seen := make(map[string]float64, len(tr.jobs)) // when each end was
	var hooks []*traceJob
	for i := range tr.jobs {
		j := &tr.jobs[i]
		jobs[j.ID] = j
		if j.Hook != nil {
			hooks = append(hooks, j)
		}
	}
	slices.SortStableFunc(hooks, func(a, b *traceJob) int { return cmp.Compare(*a.Hook, *b.Hook) })

	arrived, hooked, wake := 0, 0, math.Inf(1)
	day, today := 0.0, 0.0
	for {
		now := wake
		if arrived < len(tr.jobs) {
			now = min(now, tr.jobs[arrived].T)
		}
		if hooked < len(hooks) {
			now = min(now, *hooks[hooked].Hook)
		}
		if now >= tr.horizon {
			break
		}
		for ; arrived < len(tr.jobs) && tr.jobs[arrived].T <= now; arrived++ {
			p.add(&tr.jobs[arrived], now)
		}
		for ; hooked < len(hooks) && *hooks[hooked].Hook <= now; hooked++ {
			id := hooks[hooked].ID
			if _, known := seen[id]; !known {
				seen[id] = now
				p.reported(id, now)
			}
		}
		for {
			id, ok, next := p.next(now)
			if !ok {
				wake = max(next, now+1e-4)
				break
			}
			r.Requests++
			if v := server.request(now); v != accepted {
				r.Refusals++
				p.refused(id, now, v == overCap)
				continue
			}
			ended := jobs[id].end() <= now
			if ended {
				seen[id] = now
			}
			p.answered(id, now, ended)
			if d := math.Floor(now / dayS); d != day {
				day, today = d, 0
			}
			today++
			if now-day*dayS < 10*3600 && tr.budget.DailyCap > 0 {
				r.SpentBy10 = max(r.SpentBy10, today/tr.budget.DailyCap)
			}
		}
	}
	r.CPUS = cpuSeconds() - begin

	var delays []float64
	for i := range tr.jobs {
		j := &tr.jobs[i]
		if j.end() > tr.horizon {
			continue
		}
		when, known := seen[j.ID]
		if known {
			r.Detected++
		} else {
			r.Undetected++
			when = tr.horizon
		}
		delay := max(when-j.end(), 0)
		r.MeanS += delay
		delays = append(delays, delay)
	}
	if n := float64(len(delays)); n > 0 {
		slices.Sort(delays)
		quantile := func(q float64) float64 { return delays[max(int(math.Ceil(q*n))-1, 0)] }
		r.MeanS /= n
		r.P50S, r.P95S, r.MaxS = quantile(0.5), quantile(0.95), quantile(1)
	}
	return r
}

package main

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// midnight is second 0 of every trace.
var midnight = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func at(t float64) time.Time { return midnight.Add(time.Duration(math.Round(t * 1e9))) }

// limitsOf returns the limits that an operator who knows the budget would configure.
func limitsOf(b budget) schedule.Limits {
	limits := schedule.Limits{PerDay: int(b.DailyCap)}
	switch {
	case b.WindowS > 0:
		limits.Requests, limits.Per = int(b.Burst), time.Duration(b.WindowS*float64(time.Second))
	case b.RatePerS > 0: // a token bucket accepts its size in the time that fills it
		limits.Requests, limits.Per = int(b.Burst), time.Duration(b.Burst/b.RatePerS*float64(time.Second))
	}
	limits.DayResets, _ = schedule.ParseDayReset("00:00")
	return limits
}

// result is how the scheduler did on a trace.
type result struct {
	MeanS      float64 `json:"mean_s"` // delays, of detected and undetected jobs
	P50S       float64 `json:"p50_s"`
	P95S       float64 `json:"p95_s"`
	MaxS       float64 `json:"max_s"`
	Requests   int     `json:"requests"` // refused ones included
	Detected   int     `json:"detected"`
	Undetected int     `json:"undetected"` // ended within the trace, and not detected
	Refusals   int     `json:"refusals"`
	SpentBy10  float64 `json:"spent_by_10"` // share of the day's quota, on the worst day; 0 without one
	CPUS       float64 `json:"cpu_s"`       // of the whole run, the driver's own included

	Calibration calibration `json:"finish"`

	weekdays [7][]float64 // delays by the day of the end, Monday first, in order
}

// run runs the scheduler over a trace in virtual time, from one event to the next. Answers take no time, so one request
// is in flight at a time.
func run(tr *trace) result {
	var r result
	s := schedule.New(limitsOf(tr.budget), at(0))
	begin := cpuSeconds()
	server := newServer(tr.budget)
	jobs := make(map[string]*traceJob, len(tr.jobs))
	seen := make(map[string]float64, len(tr.jobs)) // when each end was
	var hooks []*traceJob
	for i := range tr.jobs {
		j := &tr.jobs[i]
		j.sequence = uint64(i)
		jobs[j.ID] = j
		if j.Hook != nil {
			hooks = append(hooks, j)
		}
	}
	slices.SortStableFunc(hooks, func(a, b *traceJob) int { return cmp.Compare(*a.Hook, *b.Hook) })

	looks := moments(tr.jobs)
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
		for ; len(looks) > 0 && looks[0].t <= now; looks = looks[1:] {
			r.Calibration.Random.look(s, looks[0].traceJob, looks[0].t)
		}
		for ; arrived < len(tr.jobs) && tr.jobs[arrived].T <= now; arrived++ {
			j := &tr.jobs[arrived]
			s.Add(at(now), schedule.Job{
				Sequence: j.sequence, RequestID: j.ID, API: j.API, AudioSeconds: j.Audio, Start: at(j.T),
				AgeUnknown: j.Unknown,
			})
			r.Calibration.Registered.look(s, j, now)
		}
		for ; hooked < len(hooks) && *hooks[hooked].Hook <= now; hooked++ {
			j := hooks[hooked]
			if _, known := seen[j.ID]; !known {
				seen[j.ID] = now
				s.Ended(j.sequence, at(now), true)
			}
		}
		for {
			permit, next := s.Next(at(now))
			if permit == nil {
				wake = math.Inf(1) // until something else happens
				if !next.IsZero() {
					wake = max(next.Sub(midnight).Seconds(), now+1e-4)
				}
				break
			}
			r.Requests++
			if v := server.request(now); v != accepted {
				r.Refusals++
				permit.Refused(at(now), v == overCap)
				continue
			}
			if j := jobs[permit.RequestID]; j.end() <= now {
				seen[j.ID] = now
				s.Ended(j.sequence, at(now), false)
			} else {
				s.StillRunning(j.sequence, at(now))
			}
			permit.Answered(at(now), 0)
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
	r.measure(tr, seen)
	return r
}

// measure computes the delays, from when each end was seen.
func (r *result) measure(tr *trace, seen map[string]float64) {
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
		delays = append(delays, delay)
		r.MeanS += delay
		day := int(j.end()/dayS) % len(r.weekdays)
		r.weekdays[day] = append(r.weekdays[day], delay)
	}
	for _, day := range r.weekdays {
		slices.Sort(day)
	}
	slices.Sort(delays)
	r.MeanS /= max(float64(len(delays)), 1)
	r.P50S, r.P95S, r.MaxS = quantile(delays, 0.5), quantile(delays, 0.95), quantile(delays, 1)
}

// quantile returns a quantile of values in order; 0 without any.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}

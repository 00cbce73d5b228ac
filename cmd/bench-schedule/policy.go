package main

import (
	"math"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// A policy decides which job is asked about when. Times are seconds.
type policy interface {
	add(j *traceJob, t float64)
	next(t float64) (id string, ok bool, at float64) // at +Inf: not before something else happens
	answered(id string, t float64, ended bool)
	refused(id string, t float64, day bool)
	reported(id string, t float64) // by webhook
}

// midnight is second 0 of every trace.
var midnight = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func at(t float64) time.Time { return midnight.Add(time.Duration(math.Round(t * 1e9))) }

// ours is the scheduler and the ledger as the collector runs them.
type ours struct {
	*schedule.Scheduler
	noHints bool
}

func newOurs(b budget, without schedule.Parts, noHints bool) *ours {
	return &ours{schedule.New(limitsOf(b), at(0), without), noHints}
}

// limitsOf is how an operator who knows the budget would configure it.
func limitsOf(b budget) schedule.Limits {
	limits := schedule.Limits{PerDay: int(b.DailyCap)}
	switch {
	case b.WindowS > 0:
		limits.Burst = int(b.Burst)
		limits.PerMinute = b.Burst * 60 / b.WindowS
	case b.RatePerS > 0:
		limits.Burst = int(b.Burst)
		limits.PerMinute = b.RatePerS * 60
	}
	limits.DayResets, _ = schedule.ParseDayReset("00:00")
	return limits
}

func (o *ours) add(j *traceJob, t float64) {
	job := schedule.Job{RequestID: j.ID, API: j.API, AudioSeconds: j.Audio, Start: at(j.T)}
	if o.noHints {
		job.AudioSeconds = 0
	}
	o.Add(job, at(t))
}

func (o *ours) next(t float64) (string, bool, float64) {
	id, ok, when := o.Next(at(t))
	if when.IsZero() {
		return id, ok, math.Inf(1)
	}
	return id, ok, when.Sub(midnight).Seconds()
}

func (o *ours) answered(id string, t float64, ended bool) {
	o.Ledger().Answered(at(t))
	if ended {
		o.Ended(id, at(t))
	} else {
		o.Running(id, at(t), 0)
	}
}

func (o *ours) refused(id string, t float64, day bool) {
	o.Ledger().Answered(at(t))
	o.Refused(id, at(t), day)
}

func (o *ours) reported(id string, t float64) { o.Ended(id, at(t)) }

// inTurn is what this monitor did before it learnt anything, paced: the job that
// was not asked about for longest, not again within 10 s or a quarter of its age,
// and requests spread evenly over the quota.
type inTurn struct {
	gap, last float64
	jobs      []*turn // in the order of their turns
}

type turn struct {
	*traceJob
	due float64
}

func newInTurn(b budget) *inTurn {
	p := &inTurn{last: math.Inf(-1)}
	if b.RatePerS > 0 {
		p.gap = 1 / b.RatePerS
	}
	if b.WindowS > 0 {
		p.gap = b.WindowS / b.Burst
	}
	if b.DailyCap > 0 {
		p.gap = max(p.gap, dayS/b.DailyCap)
	}
	return p
}

func (p *inTurn) add(j *traceJob, t float64) { p.jobs = append(p.jobs, &turn{j, t}) }

func (p *inTurn) next(t float64) (string, bool, float64) {
	at := math.Inf(1)
	for _, j := range p.jobs {
		if j.due <= t && t >= p.last+p.gap {
			p.last = t
			return j.ID, true, t
		}
		at = min(at, max(j.due, p.last+p.gap))
	}
	return "", false, at
}

func (p *inTurn) answered(id string, t float64, ended bool) {
	for i, j := range p.jobs {
		if j.ID == id {
			p.jobs = append(p.jobs[:i], p.jobs[i+1:]...)
			if !ended {
				j.due = t + min(max((t-j.T)/4, 10), 1800)
				p.jobs = append(p.jobs, j)
			}
			return
		}
	}
}

func (p *inTurn) refused(id string, t float64, _ bool) { p.answered(id, t, false) }
func (p *inTurn) reported(id string, t float64)        { p.answered(id, t, true) }

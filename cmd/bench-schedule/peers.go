package main

import (
	"container/heap"
	"math"
)

// A policy is a simple way to choose the next job, for comparison.
type policy string

const (
	inTurn  policy = "rr_paced" // the job that was polled longest ago
	backoff policy = "backoff"  // each job after 10 s, then after 1.5 times the time before
	oldest  policy = "oldest"   // the job that is tracked for longest
)

var policies = []policy{inTurn, backoff, oldest}

// peerOf returns how a policy does on a trace. It paces its requests evenly, by the minute's and the day's quota. A
// refusal costs it one turn.
func peerOf(tr *trace, p policy) result {
	interval := 0.01
	if tr.budget.WindowS > 0 {
		interval = tr.budget.WindowS / tr.budget.Burst
	} else if tr.budget.RatePerS > 0 {
		interval = 1 / tr.budget.RatePerS
	}
	if tr.budget.DailyCap > 0 {
		interval = max(interval, dayS/tr.budget.DailyCap)
	}
	server := newServer(tr.budget)
	seen := make(map[string]float64)
	var q peerQueue
	arrived := 0
	for now := 0.0; now < tr.horizon; {
		for ; arrived < len(tr.jobs) && tr.jobs[arrived].T <= now; arrived++ {
			j := &tr.jobs[arrived]
			heap.Push(&q, &peerJob{traceJob: j, key: p.first(j)})
		}
		for len(q) > 0 && q[0].Hook != nil && *q[0].Hook <= now {
			seen[q[0].ID] = *q[0].Hook
			heap.Pop(&q)
		}
		if len(q) == 0 || p == backoff && q[0].key > now { // nothing to poll yet
			next := tr.horizon
			if arrived < len(tr.jobs) {
				next = tr.jobs[arrived].T
			}
			if len(q) > 0 {
				next = min(next, q[0].key)
			}
			now = max(next, now+interval/100)
			continue
		}
		if j := q[0]; server.request(now) == accepted {
			if j.end() <= now {
				seen[j.ID] = now
				heap.Pop(&q)
			} else {
				p.running(j, now)
				heap.Fix(&q, 0)
			}
		}
		now += interval
	}
	for i := range tr.jobs {
		j := &tr.jobs[i]
		if _, known := seen[j.ID]; !known && j.Hook != nil && *j.Hook < tr.horizon {
			seen[j.ID] = *j.Hook
		}
	}
	var r result
	r.measure(tr, seen)
	return r
}

// peerJob is an unfinished job, whose key orders it.
type peerJob struct {
	*traceJob
	key, gap float64
}

func (p policy) first(j *traceJob) float64 {
	if p == backoff {
		return j.T + 10
	}
	return j.T
}

func (p policy) running(j *peerJob, now float64) {
	switch p {
	case inTurn:
		j.key = math.Nextafter(now, math.Inf(1))
	case backoff:
		j.gap = max(10, 1.5*j.gap)
		j.key = now + j.gap
	}
}

// peerQueue is a heap of jobs.
type peerQueue []*peerJob

func (q peerQueue) Len() int           { return len(q) }
func (q peerQueue) Less(a, b int) bool { return q[a].key < q[b].key }
func (q peerQueue) Swap(a, b int)      { q[a], q[b] = q[b], q[a] }
func (q *peerQueue) Push(j any)        { *q = append(*q, j.(*peerJob)) }
func (q *peerQueue) Pop() any {
	old := *q
	j := old[len(old)-1]
	*q = old[:len(old)-1]
	return j
}

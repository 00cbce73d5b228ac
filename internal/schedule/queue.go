package schedule

import (
	"iter"
	"math"
	"slices"
)

// queue is the hypothesis that the back end serves the jobs of an API in order, with a number of workers. A job is in
// service from when a worker is free for it, and its time in service has the distribution of a duration model. A
// waiting job has almost no hazard, so the jobs in service get the requests. docs/scheduling.md describes it.
type queue struct {
	api     *api
	workers int
	bit     uint8     // of job.served
	models  models    // of the time in service; their tables stay empty
	serving []service // at most one for each worker
	taken   place     // all jobs before it were taken

	gain float64 // of log-likelihood over the duration models of the API

	gaps   gaps
	last   float64 // end of a job in service; -Inf: unknown
	waited bool    // jobs waited then

	// Waiting jobs that ended out of order, and how many the duration models of the API expected.
	jumped, expected float64
}

// service is a job that a worker has taken.
type service struct {
	*job
	since float64 // before the epoch: unknown, and nothing is learnt from it
	end   float64 // as a poll tells; +Inf: none did
}

// workers are the numbers of workers that are tried.
var workers = [...]int{1, 2, 4, 8, 16}

const (
	queueMemory = 50.0 // ends
	queueStep   = 4.0  // by which one outcome changes a gain, at most
	queueTrust  = 3.0  // gain at which a queue is believed
	queueSwitch = 2.0  // gain over the present hypothesis at which another one is believed
	queueRange  = 12.0 // gains stay within so much of the best, so that a change of the back end is noticed
	outOfOrder  = 0.01 // likelihood that a job ends out of order

	minLost = 0.02 // probability that a job never ends at which its worker is taken to serve others

	priorJump     = 0.002 // part of the hazard that a waiting job has
	priorJumpEnds = 10.0
)

func (a *api) newQueues() {
	for i, n := range workers {
		a.queues[i] = &queue{api: a, workers: n, bit: 1 << i, taken: front, models: newModels(models{})}
	}
}

// jump is the factor on the hazard of a waiting job.
func (q *queue) jump() float64 {
	return (q.jumped + priorJump*priorJumpEnds) / (q.expected + priorJumpEnds)
}

// hasTaken reports whether a worker has taken the job.
func (q *queue) hasTaken(j *job) bool { return j.served&q.bit != 0 }

// find returns the job's index in serving; -1: it waits, or the queue has passed it by.
func (q *queue) find(j *job) int {
	return slices.IndexFunc(q.serving, func(s service) bool { return s.job == j })
}

// alone is what since returns for a job that the queue has passed by, or where there is no queue.
const alone = -math.MaxFloat64

// since returns when a worker took the job: +Inf while it waits, below 0 where that is unknown.
func (q *queue) since(j *job) float64 {
	if q == nil {
		return alone
	}
	if !q.hasTaken(j) {
		return math.Inf(1)
	}
	if k := q.find(j); k >= 0 {
		return q.serving[k].since
	}
	return alone
}

// waiting yields the jobs that wait for a worker, in their order.
func (q *queue) waiting() iter.Seq[*job] {
	return func(yield func(*job) bool) {
		for j := range q.api.jobs.from(q.taken) {
			if !q.hasTaken(j) && !yield(j) {
				return
			}
		}
	}
}

// serve lets the free workers take the next waiting jobs, at that time or when the job started.
func (q *queue) serve(from float64) {
	if len(q.serving) == q.workers {
		return
	}
	for j := range q.waiting() {
		q.taken = j.place()
		j.served |= q.bit
		q.serving = append(q.serving, service{j, max(from, j.start), math.Inf(1)})
		if len(q.serving) == q.workers {
			return
		}
	}
}

// release frees the workers of a job that was removed, at that time or earlier, when its service has ended.
func (a *api) release(j *job, t float64) {
	for _, q := range a.queues {
		if k := q.find(j); k >= 0 {
			end := min(q.serving[k].end, t)
			q.serving = slices.Delete(q.serving, k, k+1)
			q.ended(end)
			q.serve(end)
		}
		if q.hasTaken(j) {
			q.waited = q.waits()
		}
	}
}

// learnQueues applies an outcome to every hypothesis. It comes with its log-likelihood under the duration model of the
// API, and the hazard that this had accumulated.
func (a *api) learnQueues(j *job, t float64, o outcome, plain, hazard float64) {
	for _, q := range a.queues {
		q.learn(j, t, o, plain, hazard)
	}
	a.believe()
}

func (q *queue) learn(j *job, t float64, o outcome, plain, hazard float64) {
	since := q.since(j)
	with := math.Log(1 - outOfOrder)
	switch {
	case since < 0 || since >= t && !math.IsInf(since, 1):
		return
	case since < t:
		m, lnAudio := q.models.of(j), float64(j.lnAudio)
		o.from, o.to = math.Inf(-1), math.Log(max(t-since, 1e-3))
		if j.seen > since {
			o.from = math.Log(max(j.seen-since, 1e-3))
		}
		median := m.median(lnAudio)
		with, _, _ = o.under(m.k, median)
		if o.ended && !o.exact {
			q.serving[q.find(j)].end = max(since+math.Exp(median+o.middle(m.k, median)), j.seen)
		}
		m.locate(lnAudio, o)
		m.drift = drift{} // the queue is what drifts
	default:
		q.expected += hazard
		if o.ended {
			with = math.Log(outOfOrder)
			q.jumped++
			q.passBy()
		}
	}
	if since > j.start+1 { // else both hypotheses say the same
		q.gain = max(q.gain+min(max(with-plain, -queueStep), queueStep), -queueRange)
	}
	if o.ended {
		q.gain *= 1 - 1/queueMemory
		q.jumped *= 1 - 1/queueMemory
		q.expected *= 1 - 1/queueMemory
	}
}

// passBy frees the worker of the job in service that most likely never ends, if that is likely: a job was lost before a
// worker took it, which shows when those behind it end.
func (q *queue) passBy() {
	found, most := -1, minLost
	for k, s := range q.serving {
		if s.since < 0 || s.seen <= s.since {
			continue
		}
		m := q.models.of(s.job)
		if p := m.neverEnds(sigmoid(m.k * (math.Log(s.seen-s.since) - m.median(float64(s.lnAudio))))); p > most {
			found, most = k, p
		}
	}
	if found >= 0 {
		since := q.serving[found].since
		q.serving = slices.Delete(q.serving, found, found+1)
		q.serve(since)
	}
}

// believe chooses the hypothesis that has predicted best of late, and stays with the present one unless another is
// clearly better.
func (a *api) believe() {
	gain := func(q *queue) float64 {
		if q == nil {
			return queueTrust
		}
		return q.gain
	}
	var best *queue
	for _, q := range a.queues {
		if gain(q) > gain(best) {
			best = q
		}
	}
	ordered := a.ends >= 2 // jobs that all run tell nothing of their order
	if ordered && gain(best) > gain(a.queue)+queueSwitch {
		a.queue = best
	}
	if excess := gain(best) - queueRange; excess > 0 {
		for _, q := range a.queues {
			q.gain = max(q.gain-excess, -queueRange)
		}
	}
	if a.queue != nil {
		a.queue.models[0].tabulate()
		a.queue.models[1].tabulate()
	}
}

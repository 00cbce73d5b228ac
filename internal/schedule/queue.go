package schedule

import (
	"math"
	"slices"
)

// queue is the hypothesis that the back end serves the jobs of an API in order, with a number of workers. A job is in
// service from when a worker is free for it, and its time in service has the distribution of a duration model. A
// waiting job has almost no hazard, so the jobs in service get the requests. docs/scheduling.md describes it.
type queue struct {
	workers int
	models  [2]*model // of the time in service, without and with the length of the audio; their tables stay empty
	serving []service // at most one for each worker
	taken   place     // all jobs before it were taken

	gain float64 // of log-likelihood over the duration models of the API

	gaps   gaps
	last   float64 // end of a job in service; -Inf: unknown
	waited bool    // jobs waited then

	// Waiting jobs that ended before their turn, and how many the duration models of the API expected.
	jumped, expected float64
}

// service is a job that a worker has taken.
type service struct {
	*job
	since float64 // before the epoch: unknown, and nothing is learnt from it
}

// workers are the numbers of workers that are tried.
var workers = [...]int{1, 2, 4, 8, 16}

const (
	queueMemory = 50.0 // ends
	queueTrust  = 3.0  // gain at which a queue is believed
	queueSwitch = 2.0  // gain over the present hypothesis at which another one is believed
	queueRange  = 12.0 // gains stay within so much of the best, so that a change of the back end is noticed
	outOfOrder  = 0.01 // likelihood that a job ends before its turn

	minLost = 0.02 // probability that a job never ends at which its worker is taken to serve others

	priorJump     = 0.002 // part of the hazard that a waiting job has
	priorJumpEnds = 10.0
)

func newQueues() (queues [len(workers)]*queue) {
	for i, n := range workers {
		queues[i] = &queue{workers: n, taken: front, models: [2]*model{newModel(false, nil), newModel(true, nil)}}
	}
	return queues
}

// queue returns the hypothesis that scores are computed by; nil: that jobs do not wait for each other.
func (a *api) queue() *queue {
	if a.believed < 0 {
		return nil
	}
	return a.queues[a.believed]
}

// jump is the factor on the hazard of a waiting job.
func (q *queue) jump() float64 {
	return (q.jumped + priorJump*priorJumpEnds) / (q.expected + priorJumpEnds)
}

func (q *queue) model(j *job) *model {
	if j.hinted {
		return q.models[1]
	}
	return q.models[0]
}

// lost is what since returns for a job that the queue has passed by.
const lost = -math.MaxFloat64

// since returns when a worker took the job: +Inf while it waits, below 0 where that is unknown.
func (j *job) since(i int) float64 {
	if j.served&(1<<i) == 0 {
		return math.Inf(1)
	}
	serving := j.api.queues[i].serving
	if k := slices.IndexFunc(serving, func(s service) bool { return s.job == j }); k >= 0 {
		return serving[k].since
	}
	return lost
}

// serve lets the free workers of hypothesis i take the next waiting jobs, at that time or when the job started.
func (a *api) serve(i int, from float64) {
	q := a.queues[i]
	if len(q.serving) == q.workers {
		return
	}
	for j := range a.jobs.from(q.taken) {
		q.taken = j.place()
		if j.served&(1<<i) != 0 {
			continue
		}
		j.served |= 1 << i
		if q.serving = append(q.serving, service{j, max(from, j.start)}); len(q.serving) == q.workers {
			return
		}
	}
}

// release frees the workers of a job that was removed. ends is when its service ended under each hypothesis.
func (a *api) release(j *job, ends *[len(workers)]float64) {
	for i, q := range a.queues {
		if j.served&(1<<i) != 0 {
			if k := slices.IndexFunc(q.serving, func(s service) bool { return s.job == j }); k >= 0 {
				q.serving = slices.Delete(q.serving, k, k+1)
				q.ended(ends[i])
			}
			a.serve(i, ends[i])
			q.waited = a.waits(i)
		}
	}
}

// learnQueues applies an outcome to every hypothesis. It comes with its log-likelihood under the duration model of the
// API, and the hazard that this had accumulated. It returns when the job's service ended, if it did, under each
// hypothesis.
func (a *api) learnQueues(j *job, t float64, o outcome, plain, hazard float64) (ends [len(workers)]float64) {
	lnAudio := float64(j.lnAudio)
	for i, q := range a.queues {
		ends[i] = t
		since := j.since(i)
		with := math.Log(1 - outOfOrder)
		switch {
		case since < 0 || since >= t && !math.IsInf(since, 1):
			continue
		case since < t:
			m := q.model(j)
			o.from, o.to = math.Inf(-1), math.Log(max(t-since, 1e-3))
			if j.seen > since {
				o.from = math.Log(max(j.seen-since, 1e-3))
			}
			median := m.median(lnAudio)
			with, _, _ = o.under(m.k, median)
			if o.ended && !o.exact { // the middle of the interval, by probability
				middle := (sigmoid(m.k*(o.from-median)) + sigmoid(m.k*(o.to-median))) / 2
				after := math.Exp(median + math.Log(middle/max(1-middle, 1e-9))/m.k)
				ends[i] = max(min(t, since+after), j.seen)
			}
			m.locate(lnAudio, o)
			m.drift = drift{} // the queue is what drifts
		default:
			q.expected += hazard
			if o.ended {
				with = math.Log(outOfOrder)
				q.jumped++
				a.passBy(i)
			}
		}
		if since > j.start+1 { // else both hypotheses say the same
			q.gain = max(q.gain+min(max(with-plain, -4), 2), -queueRange)
		}
		if o.ended {
			q.gain *= 1 - 1/queueMemory
			q.jumped *= 1 - 1/queueMemory
			q.expected *= 1 - 1/queueMemory
		}
	}
	a.believe()
	return ends
}

// passBy frees the worker of the job in service that most likely never ends, if that is likely: a job was lost before a
// worker took it, which shows when those behind it end.
func (a *api) passBy(i int) {
	q, found, most := a.queues[i], -1, minLost
	for n, s := range q.serving {
		if s.since < 0 || s.seen <= s.since {
			continue
		}
		m := q.model(s.job)
		if p := m.neverEnds(sigmoid(m.k * (math.Log(s.seen-s.since) - m.median(float64(s.lnAudio))))); p > most {
			found, most = n, p
		}
	}
	if found >= 0 {
		since := q.serving[found].since
		q.serving = slices.Delete(q.serving, found, found+1)
		a.serve(i, since)
	}
}

// believe chooses the hypothesis that has predicted best of late, and stays with the present one unless another is
// clearly better.
func (a *api) believe() {
	gain := func(i int) float64 {
		if i < 0 {
			return queueTrust
		}
		return a.queues[i].gain
	}
	best := -1
	for i := range a.queues {
		if gain(i) > gain(best) {
			best = i
		}
	}
	ordered := a.ends >= 2 // jobs that all run tell nothing of their order
	if ordered && gain(best) > gain(a.believed)+queueSwitch {
		a.believed = best
	}
	if excess := gain(best) - queueRange; excess > 0 {
		for _, q := range a.queues {
			q.gain = max(q.gain-excess, -queueRange)
		}
	}
	if q := a.queue(); q != nil {
		q.models[0].tabulate()
		q.models[1].tabulate()
	}
}

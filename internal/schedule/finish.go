package schedule

import (
	"math"
	"sort"
	"time"
)

// Finish is when an unfinished job is expected to have finished. Both times are zero while no job of its API has ended,
// with or without the length of the audio as this one.
//
// Time that passes moves neither: a job that takes longer than others is late, and so are those that wait in a queue
// that does not move. Ends do, of jobs before it in a queue most of all.
type Finish struct {
	Expected  time.Time // half of such jobs have finished by then
	LateAfter time.Time // nine in ten have
}

// IsLate reports whether the job is late if it is unfinished.
func (f Finish) IsLate(now time.Time) bool { return !f.LateAfter.IsZero() && now.After(f.LateAfter) }

// The shares of jobs that have finished by the two times, and z where nine in ten of a normal distribution lie below.
var finished = [2]float64{0.5, 0.9}

const nineInTen = 1.2816

// The levels at which quantiles are read from the table follow the ends (see calibrate).
const (
	levelStep   = 0.01
	lowestLevel = 0.02
	topLevel    = 0.995
)

// quantile returns z at which a share of the jobs that end have ended.
func (m *model) quantile(share float64) float64 {
	hazard := -math.Log1p(-share * (1 - m.neverEnds(0))) // accumulated
	b := sort.Search(bins-1, func(b int) bool { return m.cum[b+1] >= hazard })
	z := lowestZ + float64(b)*binWidth + (hazard-m.cum[b])/m.hazards[b]
	return min(z, lowestZ+bins*binWidth)
}

// calibrate moves the levels by an end, so that in the long run the shares of ends before the two times are right
// whatever is wrong with the model: adaptive conformal inference (Gibbs and Candès 2021). An end on both sides of a
// time counts by its probability.
func (m *model) calibrate(lnAudio float64, o outcome) {
	if !o.ended || m.Ends == 0 {
		return
	}
	median := m.median(lnAudio)
	from, to := position(o.from-median), position(o.to-median)
	for i, share := range finished {
		at, before := position(m.quantiles[i]), 0.0
		switch {
		case to <= at:
			before = 1
		case !o.exact && from < at:
			before = m.ended(from, at) / m.ended(from, to)
		}
		m.levels[i] = min(max(m.levels[i]+levelStep*(share-before), lowestLevel), topLevel)
	}
}

// gaps are the times between the ends of jobs in service while others waited. They tell how fast a queue moves,
// whatever is wrong with its number of workers and with the model of the time in service.
type gaps struct {
	Ends    float64 `json:"ends"`
	Sum     float64 `json:"sum"`
	Squares float64 `json:"squares"`
}

// ended counts the end of a job in service; -Inf: it is unknown, and so is the gap to the next one.
func (q *queue) ended(at float64) {
	if unknown := math.Inf(-1); q.waited && at != unknown && q.last != unknown {
		gap := max(at-q.last, 0)
		q.gaps.Ends = (q.gaps.Ends + 1) * (1 - 1/queueMemory)
		q.gaps.Sum = (q.gaps.Sum + gap) * (1 - 1/queueMemory)
		q.gaps.Squares = (q.gaps.Squares + gap*gap) * (1 - 1/queueMemory)
		at = max(at, q.last)
	}
	q.last = at
}

// waits reports whether a job waits for a worker.
func (q *queue) waits() bool {
	j := q.api.jobs.last()
	return j != nil && !q.hasTaken(j)
}

// priorGaps is the weight of the model of the time in service, in ends.
const priorGaps = 2.0

// moved is when a worker last took a job, as far as it is known.
func (q *queue) moved() (at float64) {
	for _, s := range q.serving {
		at = max(at, s.since)
	}
	return at
}

// wait returns the mean time until a worker takes a job with so many waiting jobs before it, and its variance.
func (q *queue) wait(before int, m *model) (mean, variance float64) {
	spread := m.spread()
	typical := math.Exp(m.median(0)+spread/2) / float64(q.workers)
	ends := q.gaps.Ends + priorGaps
	gap := (q.gaps.Sum + priorGaps*typical) / ends
	squares := (q.gaps.Squares + priorGaps*typical*typical*math.Exp(spread)) / ends
	n := float64(before + 1)
	mean = n * gap
	return mean, mean * mean * max(squares/gap/gap-1, 0) * (1/n + 1/ends)
}

// spread is the variance of the logarithm of a duration. It is bounded, so that the mean is not that of the few longest
// jobs.
func (m *model) spread() float64 { return min(math.Pi*math.Pi/3/(m.k*m.k)+m.varA, 1) }

// before is how many jobs wait before a waiting job, under the hypothesis that is believed.
func (j *job) before() int {
	// Workers take jobs in order, so those that wait are the last ones.
	waits := func(k *job) bool { return !j.api.queue.hasTaken(k) }
	return max(j.ahead()-j.api.jobs.before(waits), 0)
}

// finish returns the two times of a job, as seconds; ok is false if nothing was learnt. before is needed of waiting
// jobs.
func (j *job) finish(t float64, before func() int) (expected, late float64, ok bool) {
	m, from := j.model(), j.start
	if m.Ends == 0 {
		return 0, 0, false
	}
	expected, late = math.Inf(-1), math.Inf(-1)
	if q := j.api.queue; q != nil {
		m = q.models.of(j)
		switch since := q.since(j); {
		case since > t:
			wait, variance := q.wait(before(), m)
			own := math.Exp(m.median(float64(j.lnAudio)) + m.spread()/2)
			mean := wait + own
			variance += own * own * math.Expm1(m.spread())
			// A log-normal distribution with this mean and variance.
			spread := math.Log1p(variance / (mean * mean))
			median := mean * math.Exp(-spread/2)
			moved := q.moved() // not t: while the queue stands still, those that wait become late
			expected, late = moved+median, moved+median*math.Exp(nineInTen*math.Sqrt(spread))
		case since != alone: // before the epoch it is unknown, and from then on the job was in service
			from = max(since, 0)
		}
	}
	// A job that waits may have come when the queue had been standing still for long: it takes the time in service at
	// least.
	median := m.median(float64(j.lnAudio))
	expected = max(expected, from+math.Exp(median+m.quantiles[0]))
	return expected, max(late, from+math.Exp(median+m.quantiles[1])), true
}

func (s *Scheduler) finish(j *job, t float64) Finish {
	expected, late, ok := j.finish(t, j.before)
	if !ok {
		return Finish{}
	}
	return Finish{s.time(expected), s.time(late)}
}

// IsLate reports whether an unfinished job is late.
func (s *Scheduler) IsLate(sequence uint64, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.job(sequence)
	return j != nil && s.finish(j, s.seconds(now)).IsLate(now)
}

// Late is the unfinished jobs that are late.
type Late struct {
	Jobs int // whose LateAfter has passed
	// Longest is for how long a job was seen running, divided by the time in which nine in ten of such jobs finish, or by
	// minLate if that is less; the largest of all jobs. 0: none was seen running.
	Longest float64
}

// Of jobs that end within seconds, each one that a poll finds running has taken many times as long as others. That is
// no reason to worry.
const minLate = 60

// countLate counts the next job of the pass.
func (s *Scheduler) countLate(j *job, t float64) {
	p := &s.pass
	_, late, ok := j.finish(t, func() int { return p.waiting })
	if q := j.api.queue; q != nil && !q.hasTaken(j) {
		p.waiting++
	}
	if !ok {
		return
	}
	if late < t {
		p.late.Jobs++
	}
	p.late.Longest = max(p.late.Longest, (j.seen-j.start)/max(late-j.start, minLate))
}

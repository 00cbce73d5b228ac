package schedule

import "math"

// A law is what is known of how long one kind of job takes: the jobs of one API,
// with the length of their audio known or not. It has three parts.
//
// Where: the logarithm of the median duration is a + b·ln(audio/typicalAudio), or a
// without the length, plus a drift that follows what happens at present.
//
// Shape: a log-logistic law around the median. In z = ln(age/median), the share
// that has ended is σ(kz), σ(u) = 1/(1+e⁻ᵘ), and the hazard of the logarithm of
// the age is kσ(kz): none early, and k/age after, so that gaps grow with the age,
// as with exponential back-off. A share of jobs never ends.
//
// Table: events and exposure in bins of z, for whatever is not log-logistic (jobs
// that fail at once, two kinds of recordings). Its prior is the shape.
//
// All three forget: what was seen before the last 200 ends counts less and less.
type law struct {
	hinted bool // the length of the audio is known
	pool   *law // all APIs together, which one is like until it is known better; nil for the pool

	// Where, in information form: sums of information, and of information × value.
	infoA, infoAB, infoB float64
	sumA, sumB           float64
	a, b, varA           float64 // what follows: the estimate, and the variance of a
	drift                drift

	// Shape.
	ends   float64 // seen
	spread float64 // sum of |z| at them
	stuck  float64 // how many of the jobs last seen running never end, expected
	k      float64

	// Table.
	events, exposed [bins]float64 // ends; and time under observation, in z

	arrivals float64 // of jobs of this kind

	stale bool
	haz   [bins]float64     // hazard in z: of the age, times the age
	cum   [bins + 1]float64 // its integral from the lowest age
}

// The bins: 6 an octave, of ages from 2^-10 to 2^8 medians.
const (
	binsPerOctave = 6
	bins          = 18 * binsPerOctave
	binWidth      = math.Ln2 / binsPerOctave
	lowestZ       = -10 * math.Ln2
)

// What is believed before anything was seen, and how firmly.
const (
	typicalAudio = 480.0 // seconds
	priorFactor  = 0.3   // seconds of work for a second of audio: transcribing is faster than talking
	priorSD      = 1.0   // of the logarithm of the duration, where the audio's length is known
	priorBlindSD = 1.5   // where it is not
	siblingSD    = 0.7   // of one API around all
	priorSlope   = 1.0
	priorSlopeSD = 0.2

	priorK      = 4.0 // half of the jobs end within a factor of 1.3 of the median
	priorBlindK = 2.0 // of 1.7
	priorKEnds  = 4.0 // ends that this is worth

	priorStuck     = 0.001 // share of jobs that never end
	priorStuckEnds = 20.0

	priorTable  = 3.0  // jobs that the shape is worth in each bin
	priorFail   = 0.01 // hazard in z at any age: a few jobs fail at once
	leastHazard = 0.05 // past the median: keeps gaps finite, whatever the table says

	memory = 200.0
	keep   = 1 - 1/memory
)

func newLaw(hinted bool, pool *law) *law {
	l := &law{hinted: hinted, pool: pool}
	l.estimate()
	return l
}

func sigmoid(u float64) float64 { return 1 / (1 + math.Exp(-u)) }

func cube(x float64) float64 { return x * x * x }

// estimate solves for the median and the shape.
func (l *law) estimate() {
	a, variance := math.Log(priorFactor*typicalAudio), priorSD*priorSD
	b, k := priorSlope, priorK
	if !l.hinted {
		variance, k = priorBlindSD*priorBlindSD, priorBlindK
	}
	if l.pool != nil {
		a, b, variance = l.pool.a, l.pool.b, l.pool.varA+siblingSD*siblingSD
	}
	pa, pb := 1/variance, 1/(priorSlopeSD*priorSlopeSD)
	// The least-squares equations of a line, with a prior for both of its numbers.
	A, B, C := l.infoA+pa, l.infoAB, l.infoB+pb
	u, v := l.sumA+pa*a, l.sumB+pb*b
	det := A*C - B*B
	l.a, l.b, l.varA = (C*u-B*v)/det, (A*v-B*u)/det, C/det
	// E|z| = 2 ln 2 / k for a log-logistic law.
	l.k = (l.ends + priorKEnds) * 2 * math.Ln2 / (l.spread + priorKEnds*2*math.Ln2/k)
	l.k = min(max(l.k, 0.8), 12)
	l.stale = true
}

// median is the logarithm of the predicted duration. lnAudio is that of the
// audio's length by typicalAudio, 0 where it is not known.
func (l *law) median(lnAudio float64) float64 { return l.a + l.b*lnAudio + l.drift.at }

// An outcome is what was seen of a job: it was running at one age (-Inf: at its
// birth), and at another it still was or had ended, in between or right then. Ages
// are logarithms.
type outcome struct {
	from, to     float64
	ended, exact bool
}

// of says how likely the outcome was under a log-logistic law (its logarithm),
// what it says of the median (the score: the derivative of that), and how much
// (the information that watching over this time is expected to bring).
//
// With s = σ(k(age−median)), and S = 1−s of those running at from: still running
// has likelihood S₁/S₀ and score k(s₁−s₀); ended in between, (S₀−S₁)/S₀ and
// −k(1−s₁); ended right then, k·s₁S₁/S₀ and k(2s₁−1−s₀). The information of a
// hazard h is ∫(∂ln h)²hS/S₀ = k²(S₀³−S₁³)/(3S₀), k²/3 over a whole life.
func (o outcome) of(k, median float64) (likelihood, score, info float64) {
	s0, s1 := sigmoid(k*(o.from-median)), sigmoid(k*(o.to-median))
	S0, S1 := max(1-s0, 1e-9), max(1-s1, 1e-9)
	switch {
	case o.ended && o.exact:
		likelihood, score = k*s1*S1/S0, k*(2*s1-1-s0)
	case o.ended:
		likelihood, score = max(S0-S1, 0)/S0, -k*(1-s1)
	default:
		likelihood, score = S1/S0, k*(s1-s0)
	}
	return math.Log(likelihood + 1e-6), score, k * k * max(cube(S0)-cube(S1), 0) / (3 * S0)
}

// learn takes in what was seen of a job.
func (l *law) learn(lnAudio float64, o outcome) {
	if l.pool != nil {
		l.tabulate(lnAudio, o) // by the law as it was predicted
		l.pool.locate(lnAudio, o)
	}
	l.locate(lnAudio, o)
}

// locate moves the median and the shape: one step of Fisher scoring, which is
// what an extended Kalman filter does, so that a job which still runs past its
// time speaks before any has ended. The score of one job is at most k, however
// far off it is: one that is stuck weighs no more than one that is late.
func (l *law) locate(lnAudio float64, o outcome) {
	base := l.a + l.b*lnAudio
	median := base + l.drift.at
	_, score, info := o.of(l.k, median)
	l.drift.learn(l.k, base, o)
	value := info*base + score // of a, were b known; and so on
	l.infoA += info
	l.infoAB += info * lnAudio
	l.infoB += info * lnAudio * lnAudio
	l.sumA += value
	l.sumB += value * lnAudio
	s0, s1 := sigmoid(l.k*(o.from-median)), sigmoid(l.k*(o.to-median))
	if !math.IsInf(o.from, -1) {
		l.stuck = max(l.stuck-l.neverEnds(s0), 0)
	}
	if !o.ended {
		l.stuck += l.neverEnds(s1)
	} else {
		for _, sum := range []*float64{&l.infoA, &l.infoAB, &l.infoB, &l.sumA, &l.sumB, &l.ends, &l.spread, &l.stuck} {
			*sum *= keep
		}
		z := o.to - median
		if !o.exact { // the middle of the interval, by probability
			middle := (s0 + s1) / 2
			z = min(z, math.Log(middle/max(1-middle, 1e-9))/l.k)
		}
		l.ends++
		l.spread += min(math.Abs(z), 3)
	}
	l.estimate()
}

// neverEnds is how likely a job never ends, that runs when a share of the others
// has ended: Bayes' rule for a mixture of jobs that end and jobs that do not.
func (l *law) neverEnds(ended float64) float64 {
	c := (l.stuck + priorStuck*priorStuckEnds) / (l.stuck + l.ends + priorStuckEnds)
	return c / (c + (1-c)*(1-ended))
}

// tabulate counts in the table. Still running adds exposure; an end is one event,
// spread over its interval by the present law, with the exposure before it: one
// step of the EM algorithm for interval-censored data (Turnbull 1976).
func (l *law) tabulate(lnAudio float64, o outcome) {
	l.refresh()
	median := l.median(lnAudio)
	z0, z1 := min(position(o.from-median), bins-1e-9), min(position(o.to-median), bins-1e-9)
	first, last := int(z0), int(z1)
	within := func(b int) float64 { return (min(z1, float64(b+1)) - max(z0, float64(b))) * binWidth }
	if o.ended {
		for b := range bins {
			l.events[b] *= keep
			l.exposed[b] *= keep
		}
	}
	total := -math.Expm1(l.at(z0) - l.at(z1)) // likely to end within the interval
	switch {
	case !o.ended || o.exact:
		for b := first; b <= last; b++ {
			l.exposed[b] += within(b)
		}
		if o.ended {
			l.events[last]++
		}
	case total < 1e-12:
		l.events[last]++
	default:
		running := 1.0
		for b := first; b <= last; b++ {
			after := running * math.Exp(-l.haz[b]*within(b))
			here, beyond := (running-after)/total, (after-(1-total))/total
			l.events[b] += here
			l.exposed[b] += within(b) * (beyond + here/2)
			running = after
		}
	}
	l.stale = true
}

// position is where z is in the table, in bins; beyond the end it goes on.
func position(z float64) float64 { return max((z-lowestZ)/binWidth, 0) }

// at is the hazard accumulated from birth to a position.
func (l *law) at(position float64) float64 {
	b := min(int(position), bins-1)
	return l.cum[b] + l.haz[b]*(position-float64(b))*binWidth
}

// hazard is the hazard in z at a position.
func (l *law) hazard(position float64) float64 { return l.haz[min(int(position), bins-1)] }

// refresh computes the hazards anew, where something was learnt: the table, a
// little smoothed, with the shape as the prior of each bin (events and exposure as
// of a Gamma law). The less sure the median, the wider the shape: the variance of
// a log-logistic law, π²/3k², and that of the median add.
func (l *law) refresh() {
	if !l.stale {
		return
	}
	l.stale = false
	k := 1 / math.Sqrt(1/(l.k*l.k)+3/(math.Pi*math.Pi)*(l.varA+l.drift.variance))
	kernel := [...]float64{0.1, 0.2, 0.4, 0.2, 0.1}
	var events, exposed [bins]float64
	for b := range bins {
		if l.events[b] == 0 && l.exposed[b] == 0 {
			continue
		}
		for d, weight := range kernel {
			if at := b + d - len(kernel)/2; at >= 0 && at < bins {
				events[at] += weight * l.events[b]
				exposed[at] += weight * l.exposed[b]
			}
		}
	}
	total := 0.0
	for b := range bins {
		z := lowestZ + (float64(b)+0.5)*binWidth
		ended := sigmoid(k * z)
		prior := k*ended*(1-l.neverEnds(ended)) + priorFail
		h := (events[b] + priorTable*binWidth*prior) / (exposed[b] + priorTable*binWidth)
		if z > 0 {
			h = max(h, leastHazard)
		}
		l.haz[b], l.cum[b] = h, total
		total += h * binWidth
	}
	l.cum[bins] = total
}

// A drift is how far the durations of late are from those of the long run, in
// logarithms: a back end that slows down or works off a queue shows in all jobs
// alike. It is a second, fast filter beside the slow one, and is believed as far
// as it predicted the latest outcomes better.
type drift struct {
	sum, info float64
	trial     float64 // what it would be
	gain      float64 // of log-likelihood of late, had it been believed
	at        float64 // what is believed
	variance  float64
}

const (
	driftSD     = 0.7
	driftMemory = 8.0 // ends
	gainMemory  = 20.0
	gainBelief  = 3.0 // of which half is believed
)

func (d *drift) learn(k, base float64, o outcome) {
	without, _, _ := o.of(k, base)
	with, score, info := o.of(k, base+d.trial)
	d.gain = min(max(d.gain+min(max(with-without, -2), 2), -3), 6)
	d.sum += info*d.trial + score
	d.info += info
	if o.ended {
		d.gain *= 1 - 1/gainMemory
		d.sum *= 1 - 1/driftMemory
		d.info *= 1 - 1/driftMemory
	}
	d.variance = 1 / (d.info + 1/(driftSD*driftSD))
	d.trial = d.sum * d.variance
	belief := sigmoid(2 * (d.gain - gainBelief))
	d.at = belief * d.trial
	d.variance *= belief * belief
}

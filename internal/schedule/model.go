package schedule

import "math"

// model is the duration model of one kind of job: the jobs of one API, with or without the length of their audio.
// docs/scheduling.md describes its location, shape and table. With z = ln(age/median) and σ(u) = 1/(1+e⁻ᵘ), σ(kz)
// of the jobs have ended, and the hazard of the logarithm of the age is kσ(kz). What was seen before the last 200 ends
// counts less and less.
type model struct {
	hinted bool   // the length of the audio is known
	pool   *model // all APIs together, the prior of each; nil for the pool

	location
	a, b, varA float64 // the estimate, and the variance of a
	drift      drift

	shape
	k float64

	events, exposed [bins]float64 // ends, and time under observation in z

	arrivals float64 // of jobs of this kind

	levels [2]float64 // at which quantiles are read from the table

	// Computed from all of the above by tabulate.
	hazards [bins]float64     // in z: of the age, times the age
	cum     [bins + 1]float64 // their integral from the lowest age

	quantiles [2]float64 // z at the two levels
}

// location is information about a and b: sums of information, and of information × value.
type location struct {
	InfoA  float64 `json:"info_a"`
	InfoAB float64 `json:"info_ab"`
	InfoB  float64 `json:"info_b"`
	SumA   float64 `json:"sum_a"`
	SumB   float64 `json:"sum_b"`
}

type shape struct {
	Ends   float64 `json:"ends"`   // seen
	Spread float64 `json:"spread"` // sum of |z| at them
	Stuck  float64 `json:"stuck"`  // expected number of the jobs last seen running that never end
}

// The bins: 6 per octave, for ages from 2^-10 to 2^8 medians.
const (
	lowestOctave  = -10
	binsPerOctave = 6
	bins          = 18 * binsPerOctave
	binWidth      = math.Ln2 / binsPerOctave
	lowestZ       = lowestOctave * math.Ln2
)

// The priors, and their weights.
const (
	typicalAudio = 480.0 // seconds
	priorFactor  = 0.3   // seconds of work per second of audio: transcribing is faster than talking
	priorSD      = 1.0   // of the logarithm of the duration, where the audio's length is known
	priorBlindSD = 1.5   // where it is not
	siblingSD    = 0.7   // of one API around all
	priorSlope   = 1.0
	priorSlopeSD = 0.2

	priorK      = 4.0 // half of the jobs end within a factor of 1.3 of the median
	priorBlindK = 2.0 // of 1.7
	priorKEnds  = 4.0 // weight in ends

	priorStuck     = 0.001 // share of jobs that never end
	priorStuckEnds = 20.0

	priorTable = 3.0  // weight of the shape in each bin, in jobs
	priorFail  = 0.01 // hazard in z at any age: a few jobs fail at once
	minHazard  = 0.05 // past the median: keeps gaps finite, whatever the table says

	memory = 200.0 // ends
	keep   = 1 - 1/memory
)

// models are those of the jobs without the length of their audio, and with it.
type models [2]*model

func newModels(pool models) models { return models{newModel(false, pool[0]), newModel(true, pool[1])} }

func (m models) of(j *job) *model {
	if j.hinted {
		return m[1]
	}
	return m[0]
}

func (m models) arrivals() float64 { return m[0].arrivals + m[1].arrivals }

func (m models) clone() models {
	plain, hinted := *m[0], *m[1]
	return models{&plain, &hinted}
}

func newModel(hinted bool, pool *model) *model {
	m := &model{hinted: hinted, pool: pool, levels: finished}
	m.estimate()
	m.tabulate()
	return m
}

func sigmoid(u float64) float64 { return 1 / (1 + math.Exp(-u)) }

// estimate solves for the median and the shape.
func (m *model) estimate() {
	a, variance := math.Log(priorFactor*typicalAudio), priorSD*priorSD
	b, k := priorSlope, priorK
	if !m.hinted {
		variance, k = priorBlindSD*priorBlindSD, priorBlindK
	}
	if m.pool != nil {
		a, b, variance = m.pool.a, m.pool.b, m.pool.varA+siblingSD*siblingSD
	}
	pa, pb := 1/variance, 1/(priorSlopeSD*priorSlopeSD)
	// The normal equations of a line, with a prior for both coefficients.
	A, B, C := m.InfoA+pa, m.InfoAB, m.InfoB+pb
	u, v := m.SumA+pa*a, m.SumB+pb*b
	det := A*C - B*B
	m.a, m.b, m.varA = (C*u-B*v)/det, (A*v-B*u)/det, C/det
	// E|z| = 2 ln 2 / k for a log-logistic distribution.
	m.k = (m.Ends + priorKEnds) * 2 * math.Ln2 / (m.Spread + priorKEnds*2*math.Ln2/k)
	m.k = min(max(m.k, 0.8), 12)
}

// median is the logarithm of the predicted duration. lnAudio is that of the audio's length by typicalAudio, 0 where it
// is unknown.
func (m *model) median(lnAudio float64) float64 { return m.a + m.b*lnAudio + m.drift.Believed }

// outcome is one observation of a job: it was running at one age (-Inf: at its start), and at another it still was or
// had ended, in between or (exact) right then. Ages are logarithms.
type outcome struct {
	from, to     float64
	ended, exact bool
}

// under returns the logarithm of the outcome's likelihood under a log-logistic distribution, its derivative by the
// median (the score of statistics), and the information that watching over this time is expected to bring.
//
// With s = σ(k(age−median)), and S = 1−s of those running at from:
//   - still running has likelihood S₁/S₀ and score k(s₁−s₀);
//   - ended in between, (S₀−S₁)/S₀ and −k(1−s₁);
//   - ended right then, k·s₁S₁/S₀ and k(2s₁−1−s₀).
//
// The information of a hazard h is ∫(∂ln h)²hS/S₀ = k²(S₀³−S₁³)/(3S₀),
// k²/3 over a whole life.
func (o outcome) under(k, median float64) (likelihood, score, info float64) {
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
	return math.Log(likelihood + 1e-6), score, k * k * max(S0*S0*S0-S1*S1*S1, 0) / (3 * S0)
}

// middle returns ln(age/median) when the job ended: where that was between two ages, in the middle by probability.
func (o outcome) middle(k, median float64) float64 {
	if o.exact {
		return o.to - median
	}
	ended := (sigmoid(k*(o.from-median)) + sigmoid(k*(o.to-median))) / 2
	return min(o.to-median, math.Log(ended/max(1-ended, 1e-9))/k)
}

// learn applies an outcome.
func (m *model) learn(lnAudio float64, o outcome) {
	m.calibrate(lnAudio, o) // by the model as it predicted, as the next
	m.count(lnAudio, o)
	m.pool.locate(lnAudio, o)
	m.locate(lnAudio, o)
	m.tabulate()
}

// locate moves the median and the shape: one step of Fisher scoring, as in an extended Kalman filter, so that a job
// which still runs past its time counts before any has ended. The score of one job is at most k, however far off it is:
// a stuck job weighs no more than a late one.
func (m *model) locate(lnAudio float64, o outcome) {
	base := m.a + m.b*lnAudio
	median := base + m.drift.Believed
	_, score, info := o.under(m.k, median)
	m.drift.learn(m.k, base, o)
	value := info*base + score // of a, if b were known, and of b likewise
	m.InfoA += info
	m.InfoAB += info * lnAudio
	m.InfoB += info * lnAudio * lnAudio
	m.SumA += value
	m.SumB += value * lnAudio
	s0, s1 := sigmoid(m.k*(o.from-median)), sigmoid(m.k*(o.to-median))
	if !math.IsInf(o.from, -1) {
		m.Stuck = max(m.Stuck-m.neverEnds(s0), 0)
	}
	if !o.ended {
		m.Stuck += m.neverEnds(s1)
	} else {
		for _, sum := range []*float64{&m.InfoA, &m.InfoAB, &m.InfoB, &m.SumA, &m.SumB, &m.Ends, &m.Spread, &m.Stuck} {
			*sum *= keep
		}
		m.Ends++
		m.Spread += min(math.Abs(o.middle(m.k, median)), 3)
	}
	m.estimate()
}

// neverEnds is the probability that a job never ends that runs when a share of the others has ended: Bayes' rule for a
// mixture of both kinds.
func (m *model) neverEnds(ended float64) float64 {
	c := (m.Stuck + priorStuck*priorStuckEnds) / (m.Stuck + m.Ends + priorStuckEnds)
	return c / (c + (1-c)*(1-ended))
}

// count updates the table. Still running adds exposure. An end is one event, spread over its interval by the present
// model, with the exposure before it: one step of the EM algorithm for interval-censored data (Turnbull 1976).
func (m *model) count(lnAudio float64, o outcome) {
	median := m.median(lnAudio)
	z0, z1 := min(position(o.from-median), bins-1e-9), min(position(o.to-median), bins-1e-9)
	first, last := int(z0), int(z1)
	within := func(b int) float64 { return (min(z1, float64(b+1)) - max(z0, float64(b))) * binWidth }
	if o.ended {
		for b := range bins {
			m.events[b] *= keep
			m.exposed[b] *= keep
		}
	}
	total := m.ended(z0, z1)
	switch {
	case !o.ended || o.exact:
		for b := first; b <= last; b++ {
			m.exposed[b] += within(b)
		}
		if o.ended {
			m.events[last]++
		}
	case total < 1e-12:
		m.events[last]++
	default:
		running := 1.0
		for b := first; b <= last; b++ {
			after := running * math.Exp(-m.hazards[b]*within(b))
			here, beyond := (running-after)/total, (after-(1-total))/total
			m.events[b] += here
			m.exposed[b] += within(b) * (beyond + here/2)
			running = after
		}
	}
}

// position returns where z is by the table, in bins. Behind the last one its hazard goes on, up to ages that no job
// reaches.
func position(z float64) float64 { return min(max((z-lowestZ)/binWidth, 0), 100*bins) }

// accumulated returns the hazard accumulated from the start to a position.
func (m *model) accumulated(position float64) float64 {
	b := min(int(position), bins-1)
	return m.cum[b] + m.hazards[b]*(position-float64(b))*binWidth
}

// ended returns the share of the jobs running at a position that have ended at a later one.
func (m *model) ended(from, to float64) float64 {
	return -math.Expm1(m.accumulated(from) - m.accumulated(to))
}

func (m *model) hazard(position float64) float64 { return m.hazards[min(int(position), bins-1)] }

// tabulate computes the hazards: the table, smoothed, with the shape as the Gamma prior of each bin. The less certain
// the median, the wider the shape: the variance of a log-logistic distribution, π²/3k², and that of the median add
// up.
func (m *model) tabulate() {
	k := 1 / math.Sqrt(1/(m.k*m.k)+3/(math.Pi*math.Pi)*(m.varA+m.drift.Variance))
	kernel := [...]float64{0.1, 0.2, 0.4, 0.2, 0.1}
	var events, exposed [bins]float64
	for b := range bins {
		if m.events[b] == 0 && m.exposed[b] == 0 {
			continue
		}
		for d, weight := range kernel {
			if at := b + d - len(kernel)/2; at >= 0 && at < bins {
				events[at] += weight * m.events[b]
				exposed[at] += weight * m.exposed[b]
			}
		}
	}
	total := 0.0
	for b := range bins {
		z := lowestZ + (float64(b)+0.5)*binWidth
		ended := sigmoid(k * z)
		prior := k*ended*(1-m.neverEnds(ended)) + priorFail
		h := (events[b] + priorTable*binWidth*prior) / (exposed[b] + priorTable*binWidth)
		if z > 0 {
			h = max(h, minHazard)
		}
		m.hazards[b], m.cum[b] = h, total
		total += h * binWidth
	}
	m.cum[bins] = total
	for i, level := range m.levels {
		m.quantiles[i] = m.quantile(level)
	}
}

// drift is how far present durations are from those of the long run, in logarithms: a back end that slows down or works
// off a queue affects all jobs alike. It is a fast filter beside the slow one of the location, and is believed as far
// as it predicted the latest outcomes better.
type drift struct {
	Sum      float64 `json:"sum"`
	Info     float64 `json:"info"`
	Trial    float64 `json:"trial"`    // the estimate
	Gain     float64 `json:"gain"`     // log-likelihood that it would have gained of late
	Believed float64 `json:"believed"` // what the median is moved by
	Variance float64 `json:"variance"`
}

const (
	driftSD     = 0.7
	driftMemory = 8.0 // ends
	gainMemory  = 20.0
	gainBelief  = 3.0 // the gain at which half is believed
)

func (d *drift) learn(k, base float64, o outcome) {
	without, _, _ := o.under(k, base)
	with, score, info := o.under(k, base+d.Trial)
	d.Gain = min(max(d.Gain+min(max(with-without, -2), 2), -3), 6)
	d.Sum += info*d.Trial + score
	d.Info += info
	if o.ended {
		d.Gain *= 1 - 1/gainMemory
		d.Sum *= 1 - 1/driftMemory
		d.Info *= 1 - 1/driftMemory
	}
	d.Variance = 1 / (d.Info + 1/(driftSD*driftSD))
	d.Trial = d.Sum * d.Variance
	belief := sigmoid(2 * (d.Gain - gainBelief))
	d.Believed = belief * d.Trial
	d.Variance *= belief * belief
}

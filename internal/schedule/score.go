package schedule

import "math"

// scoreOf returns what a request about a job is worth, in seconds of expected delay:
//
//	score = priority · q · (eˣ − 1 − x) / h
//
// x is the hazard accumulated since the job was last seen running, h the hazard just ahead, and q the share of ends
// that no webhook reports. The score is the price at which polling now is optimal; docs/scheduling.md derives it.
func scoreOf(x, h, q, priority float64) float64 {
	x = min(x, 50)
	excess := x * x / 2 * (1 + x/3)
	if x > 1e-3 {
		excess = math.Expm1(x) - x
	}
	return priority * q * excess / h
}

// score is a job's score at a time.
type score struct {
	value   float64
	hazard  float64 // accumulated since it was last seen running
	overdue bool    // it is due at any price
}

func (s score) isDue(price float64) bool { return s.value >= price || s.overdue }

const (
	overdueHazard = 3.5 // accumulated: the job has ended with a probability of 97 %, and waiting gains nothing
	overdueGap    = 4.0 // times its age when it was last seen running, or twice the predicted duration
)

// score returns the score at a time.
func (j *job) score(t float64) score {
	q := j.api.queue
	switch since := q.since(j); {
	case since == alone:
		return j.scoreBy(j.model(), j.start, t, 1)
	case since < t:
		return j.scoreBy(q.models.of(j), since, t, 1)
	default:
		return j.scoreBy(j.model(), j.start, t, q.jump())
	}
}

// scoreBy returns the score by a model of the time since then, with a factor on the hazard.
func (j *job) scoreBy(m *model, since, t, factor float64) score {
	median := m.median(float64(j.lnAudio))
	age := max(t-since, 1e-3)
	to, from := position(math.Log(age)-median), 0.0
	if j.seen >= since {
		from = position(math.Log(max(j.seen-since, 1e-3)) - median)
	}
	x := (m.accumulated(to) - m.accumulated(from)) * factor
	q := j.api.uncovered()
	longest := j.model().median(float64(j.lnAudio))
	return score{
		value:  scoreOf(x, m.hazard(to+0.5)*factor/age, q, float64(j.priority)),
		hazard: x,
		overdue: j.atOnce && j.neverSeen() || x >= overdueHazard-math.Log(q) ||
			t-j.start > overdueGap/q*max(j.seen-j.start, 2*math.Exp(longest)),
	}
}

// step is the width of a bin of the table at a job's age, in seconds.
func (j *job) step(t float64) float64 {
	return max(t-j.start, 0.05*math.Exp(j.model().median(float64(j.lnAudio)))) * binWidth
}

// due returns when a job that is not due at t will be.
func (j *job) due(t, price float64) float64 {
	isDue := func(t float64) bool { return j.score(t).isDue(price) }
	// Ages a bin apart, then between the last two.
	step := j.step(t)
	early, late := t, t+step
	for !isDue(late) {
		step *= 1 + binWidth
		early, late = late, late+step
	}
	for late-early > 0.001*(late-j.start) {
		if middle := (early + late) / 2; isDue(middle) {
			late = middle
		} else {
			early = middle
		}
	}
	return late
}

package schedule

import "math"

// worth is the index W of a job at a hazard: what a request about it is worth,
// in seconds of expected delay.
//
//	W = w · q · (eˣ − 1 − x) / h
//
// x is the hazard accumulated since the job was last known to run, h the hazard
// just ahead, q the share of ends that no webhook reports, w the job's weight.
//
// Derivation. At a constant hazard h, look again and again after a gap τ, with
// x = hτ and D = 1−e⁻ˣ. From a moment at which the job runs, the cost V of the
// requests, at λ each, and of the delay until the end is seen obeys
//
//	V = λ(e⁻ˣ + qD) + q(τ − D/h) + e⁻ˣV:
//
// a request is sent if the job still runs, or has ended and no webhook said so; in
// the second case it is seen after τ − E[end | end < τ]. Then V = λq + λe⁻ˣ/D +
// qτ/D − q/h, and dV/dτ = 0 where λ = q(eˣ − 1 − x)/h. So W is the price λ at which
// asking now is best, and asking whoever has W ≥ λ, the highest first, shares a
// budget among jobs: the Lagrange relaxation of the inspection problem (Barlow,
// Hunter, Proschan 1963), with the structure of Azar et al. (PNAS 2018) and Kolobov et
// al. (NeurIPS 2019) for crawling. Over nine laws and five prices it costs at most
// 5 % more than the exact optimum of a single job.
func worth(x, h, q, w float64) float64 {
	x = min(x, 50)
	excess := x * x / 2 * (1 + x/3)
	if x > 1e-3 {
		excess = math.Expm1(x) - x
	}
	return w * q * excess / h
}

// A standing is how a job stands at a time.
type standing struct {
	worth   float64
	hazard  float64 // accumulated since it was last seen running
	overdue bool    // to be asked about whatever the price
}

// Past these, a job is asked about at any price: it has almost surely ended, so
// that waiting saves nothing; or it has not been asked about until four times the
// age that it had when it was, or twice the predicted one.
const (
	surely     = 3.5 // accumulated hazard: 97 %
	longestGap = 4.0
)

// standing says how a job stands at a time, with a factor on its hazard.
func (j *job) standing(t, factor float64) standing {
	l := j.law
	median := l.median(float64(j.lnAudio))
	age := max(t-j.start, 1e-3)
	from, to := 0.0, position(math.Log(age)-median)
	if j.seen >= j.start {
		from = position(math.Log(max(j.seen-j.start, 1e-3)) - median)
	}
	x := (l.at(to) - l.at(from)) * factor
	silent := j.api.silent()
	return standing{
		worth:   worth(x, l.hazard(to+0.5)*factor/age, silent, float64(j.weight)),
		hazard:  x,
		overdue: j.atOnce && j.seen < j.start || x >= surely-math.Log(silent) || age > longestGap/silent*max(j.seen-j.start, 2*math.Exp(median)),
	}
}

// due is when a job will be worth a price, from t on.
func (j *job) due(t, factor, price float64) float64 {
	is := func(t float64) bool {
		s := j.standing(t, factor)
		return s.worth >= price || s.overdue
	}
	if is(t) {
		return t
	}
	// Ages a bin apart, then between the last two.
	step := max(t-j.start, 0.05*math.Exp(j.law.median(float64(j.lnAudio)))) * binWidth
	early, late := t, t+step
	for !is(late) {
		step *= 1 + binWidth
		early, late = late, late+step
	}
	for late-early > 0.001*(late-j.start) {
		if middle := (early + late) / 2; is(middle) {
			late = middle
		} else {
			early = middle
		}
	}
	return late
}

// The prices for which the number of requests is computed: 0.1 to 100,000 s.
const prices = 16

func priceAt(i int) float64 { return 0.1 * math.Pow(10, float64(i)*6/(prices-1)) }

// A demand is a number of requests at each price.
type demand [prices]float64

// at interpolates.
func (d *demand) at(price float64) float64 {
	p := min(max(math.Log10(price*10)*(prices-1)/6, 0), prices-1.001)
	i := int(p)
	return d[i] + (d[i+1]-d[i])*(p-float64(i))
}

// requests is how many more requests a job is expected to get, of median length,
// by the bin of its age when it was last seen running: from each age on to the next
// at which the index reaches the price, and so on, backwards.
func (l *law) requests(silent float64) *[bins]demand {
	l.refresh()
	var n [bins + 1]demand
	var ages [bins + 1]float64
	for b := range ages {
		ages[b] = math.Exp(l.median(0) + lowestZ + float64(b)*binWidth)
	}
	for i := range prices {
		price := priceAt(i)
		next := bins
		for b := bins - 1; b >= 0; b-- {
			reaches := func(c int) bool {
				return worth(l.cum[c]-l.cum[b], l.haz[min(c, bins-1)]/ages[c], silent, 1) >= price
			}
			for next > b+1 && reaches(next-1) {
				next--
			}
			x := l.cum[next] - l.cum[b]
			running := math.Exp(-x)
			n[b][i] = running*(1+n[next][i]) + silent*(1-running)
			// Several within a bin: (eˣ−1−x)/h = λ is about x = √(2λh) for small x.
			if gap := math.Sqrt(2 * price * l.haz[b] / ages[b] / silent); next == b+1 && gap < x {
				n[b][i] = (1-running)/gap + running*n[next][i]
			}
		}
	}
	return (*[bins]demand)(n[:bins])
}

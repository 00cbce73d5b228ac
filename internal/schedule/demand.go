package schedule

import (
	"math"
	"time"
)

// The number of requests is computed at this many prices, from 0.1 to 100,000 s.
const prices = 16

func priceAt(i int) float64 { return 0.1 * math.Pow(10, float64(i)*6/(prices-1)) }

// demand is a number of requests at each price.
type demand [prices]float64

// at interpolates.
func (d *demand) at(price float64) float64 {
	p := min(max(math.Log10(price*10)*(prices-1)/6, 0), prices-1.001)
	i := int(p)
	return d[i] + (d[i+1]-d[i])*(p-float64(i))
}

// requests returns how many more requests a job of median length is expected to get, by the bin of its age when it was
// last seen running. It goes backwards: from each age to the next at which the score reaches the price.
func (m *model) requests(q float64) *[bins]demand {
	var n [bins + 1]demand
	var ages [bins + 1]float64
	for b := range ages {
		ages[b] = math.Exp(m.median(0) + lowestZ + float64(b)*binWidth)
	}
	for i := range prices {
		price := priceAt(i)
		next := bins
		for b := bins - 1; b >= 0; b-- {
			reaches := func(c int) bool {
				return scoreOf(m.cum[c]-m.cum[b], m.hazards[min(c, bins-1)]/ages[c], q, 1) >= price
			}
			for next > b+1 && reaches(next-1) {
				next--
			}
			x := m.cum[next] - m.cum[b]
			running := math.Exp(-x)
			n[b][i] = running*(1+n[next][i]) + q*(1-running)
			// Several within a bin: (eˣ−1−x)/h = λ is about x = √(2λh) for small x.
			if gap := math.Sqrt(2 * price * m.hazards[b] / ages[b] / q); next == b+1 && gap < x {
				n[b][i] = (1-running)/gap + running*n[next][i]
			}
		}
	}
	return (*[bins]demand)(n[:bins])
}

// sampled is the maximum number of unfinished jobs of each API by which the requests of all are estimated.
const sampled = 4096

// demands returns how many requests an arriving job, and all unfinished ones together, are expected to get at each
// price, and the median duration of a job.
func (s *Scheduler) demands() (arriving, unfinished demand, lag time.Duration) {
	arrivals := 0.0
	for _, a := range s.apis {
		arrivals += a.models.arrivals()
	}
	if arrivals == 0 {
		pool := *s.pool[0]
		pool.tabulate() // learning does not
		return pool.requests(1)[0], unfinished, 0
	}
	for _, a := range s.apis {
		for _, m := range a.models {
			if m.arrivals == 0 {
				continue
			}
			n := m.requests(a.uncovered())
			var seen [bins]float64 // jobs by their age when they were last seen running
			sample, each := a.jobs.sample(sampled)
			for j := range sample {
				if j.hinted == m.hinted {
					seen[min(int(position(j.lnAge(j.seen)-m.median(float64(j.lnAudio)))), bins-1)] += float64(each)
				}
			}
			lag += time.Duration(m.arrivals / arrivals * math.Exp(min(m.median(0), 15)) * float64(time.Second))
			for p := range prices {
				arriving[p] += m.arrivals / arrivals * n[0][p]
			}
			for b, jobs := range seen {
				for p := range prices {
					unfinished[p] += jobs * n[b][p]
				}
			}
		}
	}
	return arriving, unfinished, lag
}

// unreported returns the number of unfinished jobs whose end no webhook is expected to report.
func (s *Scheduler) unreported() (jobs float64) {
	for _, a := range s.apis {
		jobs += float64(a.jobs.length) * a.uncovered()
	}
	return jobs
}

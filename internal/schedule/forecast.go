package schedule

import (
	"math"
	"time"
)

// A forecast is what is known of when jobs arrive: how many in each hour of the
// day, on the days before and today.
type forecast struct {
	usual [24]float64 // mean over the days before
	days  float64     // how many those are; they count for the last few
	today [24]float64
	date  int // of today
}

// Days count for the mean of the last few: a month is not like this week.
const forecastDays = 4

// guesses for a day of which nothing is known.
const (
	guessedShare = 0.35 // jobs in a day, by requests in a day
	guessJobs    = 3.0  // arrivals that today's level is believed against: on the first day
	usualJobs    = 40.0 // and later
	usualWeight  = 0.25 // days that the office hours are worth beside those seen
	leastShare   = 0.4  // jobs still to come on the first day, at least, by the same measure as guessedShare
	firstSpread  = 0.4  // variance of the logarithm of the arrivals to come, on the first day
)

// turn begins a new day where one has begun.
func (f *forecast) turn(now time.Time) {
	date := now.Year()*1000 + now.YearDay()
	if f.date == 0 {
		f.date = date
	}
	if f.date == date {
		return
	}
	for h := range f.usual {
		f.usual[h] += (f.today[h] - f.usual[h]) / (f.days + 1)
		f.today[h] = 0
	}
	f.days = min(f.days+1, forecastDays)
	f.date = date
}

// arrived counts a job.
func (f *forecast) arrived(now time.Time) {
	f.turn(now)
	f.today[now.Hour()]++
}

// officeHours is the share of a day's jobs in an hour, where nobody knows better:
// around one in the afternoon, and some at any time.
func officeHours(hour int) float64 {
	d := (float64(hour) + 0.5 - 13) / 4
	return 0.35/24 + 0.65*math.Exp(-d*d/2)/(4*math.Sqrt(2*math.Pi))
}

// coming is how many jobs are expected in each of the next hours, the first being
// what is left of the present one, and the variance of the logarithm of their sum.
//
// The hours' shares are those of the days before, smoothed, and office hours; their
// level is today's count so far against what was expected of it, a Gamma law. On
// the first day the level is nearly unknown: half of a full day is always thought
// to be possible.
func (f *forecast) coming(now time.Time, perDay float64) (hours [24]float64, variance float64) {
	f.turn(now)
	level := guessedShare * perDay
	prior := guessJobs
	if f.days > 0 {
		level, prior = 0, usualJobs
		for _, n := range f.usual {
			level += n
		}
	}
	var expected [24]float64
	for h := range expected {
		expected[h] = level * officeHours(h)
		if f.days > 0 {
			near := func(d int) float64 { return f.usual[(h+d+24)%24] }
			smooth := 0.3*near(0) + 0.2*(near(-1)+near(1)) + 0.15*(near(-2)+near(2))
			expected[h] = (f.days*smooth + usualWeight*expected[h]) / (f.days + usualWeight)
		}
	}
	hour := now.Hour()
	gone := float64(now.Minute())/60 + float64(now.Second())/3600 // of this hour
	passed, seen := expected[hour]*gone, f.today[hour]
	for h := range hour {
		passed += expected[h]
		seen += f.today[h]
	}
	ratio := (seen + prior) / (passed + prior)
	least := leastShare * perDay / 24 / (1 + 3*f.days)
	sum := 0.0
	for i := range hours {
		hours[i] = max(expected[(hour+i)%24]*ratio, least)
		if i == 0 {
			hours[i] *= 1 - gone
		}
		sum += hours[i]
	}
	return hours, 1/(seen+prior) + (1+1/(f.days+1))/(sum+1) + firstSpread/(1+5*f.days)
}

package schedule

import (
	"math"
	"time"
)

// A forecast is what is known of when jobs arrive: how many in each hour of the
// day, on the days before and today. Not all of a day may have been watched: the
// process began in the middle of it, or did not run for a while.
type forecast struct {
	usual  [24]float64 // in a whole hour, mean over the days before
	days   [24]float64 // how many times that hour was watched; they count for the last few
	today  [24]float64
	missed [24]float64 // how much of that hour nobody watched today
	date   int         // of today
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

// longestMissed is how old what was seen of the days before may be.
const longestMissed = 30 * 24 * time.Hour

// begin begins to watch, at a time until which nobody has since another: zero where
// nobody ever did.
func (f *forecast) begin(since, now time.Time) {
	if now.Sub(since) > longestMissed {
		*f = forecast{}
		since = time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	}
	for t := since; t.Before(now); {
		f.turn(t)
		left := min(time.Duration((1-hourGone(t))*float64(time.Hour)), now.Sub(t))
		f.missed[t.Hour()] += left.Hours()
		t = t.Add(left)
	}
	f.turn(now)
}

// hourGone is how much of the present hour has passed, to the second.
func hourGone(t time.Time) float64 { return float64(t.Minute())/60 + float64(t.Second())/3600 }

// turn begins a new day where one has begun.
func (f *forecast) turn(now time.Time) {
	date := now.Year()*1000 + now.YearDay()
	if f.date == date {
		return
	}
	for h := range f.usual {
		if watched := 1 - f.missed[h]; watched > 0 && f.date != 0 {
			f.usual[h] += (f.today[h] - watched*f.usual[h]) / (f.days[h] + watched)
			f.days[h] = min(f.days[h]+watched, forecastDays)
		}
	}
	f.today, f.missed = [24]float64{}, [24]float64{}
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

// level is how many jobs a day has, as far as the days before tell, and on how many
// days that rests: a mean over the hours. What is missing of the first day is
// guessed, by how the hours that were watched differ from the guess.
func (f *forecast) level(perDay float64) (level, days float64) {
	var known, all, seen float64 // parts of a day, by office hours; and jobs
	for h, n := range f.days {
		part := min(n, 1)
		known += part * officeHours(h)
		all += officeHours(h)
		seen += part * f.usual[h]
		days += n
	}
	guess := guessedShare * perDay
	differ := (seen + guessJobs) / (guess*known/all + guessJobs)
	return seen + guess*(1-known/all)*differ, days / 24
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
	level, days := f.level(perDay)
	prior := guessJobs + (usualJobs-guessJobs)*min(days, 1)
	smooth := func(h int, of func(h int) float64) float64 {
		near := func(d int) float64 { return of((h + d + 24) % 24) }
		return 0.3*near(0) + 0.2*(near(-1)+near(1)) + 0.15*(near(-2)+near(2))
	}
	var expected [24]float64
	for h := range expected {
		jobs := smooth(h, func(h int) float64 { return f.days[h] * f.usual[h] })
		watched := smooth(h, func(h int) float64 { return f.days[h] })
		expected[h] = (jobs + usualWeight*level*officeHours(h)) / (watched + usualWeight)
	}
	hour, gone := now.Hour(), hourGone(now)
	passed, seen := expected[hour]*max(gone-f.missed[hour], 0), f.today[hour]
	for h := range hour {
		passed += expected[h] * max(1-f.missed[h], 0)
		seen += f.today[h]
	}
	ratio := (seen + prior) / (passed + prior)
	least := leastShare * perDay / 24 / (1 + 3*days)
	sum := 0.0
	for i := range hours {
		hours[i] = max(expected[(hour+i)%24]*ratio, least)
		if i == 0 {
			hours[i] *= 1 - gone
		}
		sum += hours[i]
	}
	return hours, 1/(seen+prior) + (1+1/(days+1))/(sum+1) + firstSpread/(1+5*days)
}

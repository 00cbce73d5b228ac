package schedule

import (
	"math"
	"slices"
	"time"
)

// forecast counts the jobs that arrive in each hour of the day, on the days before and today. A day may be watched only
// in part: the process started in the middle of it, or did not run for a while.
type forecast struct {
	Usual  [24]float64 `json:"usual"`        // jobs in a whole hour, mean of the days before
	Days   [24]float64 `json:"days_watched"` // how often that hour was watched, at most forecastDays
	Today  [24]float64 `json:"today"`
	Missed [24]float64 `json:"missed"` // part of that hour that was not watched today
	Date   int         `json:"date"`   // of today: year × 1000 + day of the year
	Uneven float64     `json:"uneven"` // mean square of the logarithm of a day's jobs by those of the days before
}

const (
	forecastDays = 4 // the mean is over the last few: a month is not like this week
	maxUnwatched = 30 * 24 * time.Hour

	// For a day about which nothing is known.
	guessedShare = 0.35 // jobs in a day, by requests in a day
	guessJobs    = 3.0  // weight of the expected level against today's count, in jobs, on the first day
	usualJobs    = 40.0 // and later, at most: where one day is like the other
	unevenDays   = 3.0  // over which the unevenness of days is a mean
	planJobs     = 20.0 // weight of the office hours in the plan, in jobs
	usualWeight  = 0.25 // weight of the office hours, in days
	minToCome    = 0.4  // jobs still to come on the first day, at least, by the same measure as guessedShare
	firstSpread  = 0.4  // variance of the logarithm of the arrivals to come, on the first day
)

// begin starts to watch, after nothing was watched since then: zero where nothing ever was.
func (f *forecast) begin(since, now time.Time) {
	if now.Sub(since) > maxUnwatched {
		*f = forecast{}
		since = time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	}
	for t := since; t.Before(now); {
		f.startDay(t)
		left := min(time.Duration((1-hourGone(t))*float64(time.Hour)), now.Sub(t))
		f.Missed[t.Hour()] += left.Hours()
		t = t.Add(left)
	}
	f.startDay(now)
}

// hourGone is the part of the present hour that has passed, to the second.
func hourGone(t time.Time) float64 { return float64(t.Minute())/60 + float64(t.Second())/3600 }

func dateOf(t time.Time) int { return t.Year()*1000 + t.YearDay() }

// startDay starts a new day where one has begun, and returns the time of today. On the day before, that is the
// beginning of today: the clock was set back over midnight, or an event is told late. A day that began again would
// count twice.
func (f *forecast) startDay(now time.Time) time.Time {
	date := dateOf(now)
	if f.Date == date {
		return now
	}
	tomorrow := time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, now.Location())
	if f.Date == dateOf(tomorrow) {
		return tomorrow
	}
	if f.Date != 0 && slices.Max(f.Days[:]) > 0 {
		jobs, usual := guessJobs, guessJobs
		for h := range f.Usual {
			jobs += f.Today[h]
			usual += max(1-f.Missed[h], 0) * f.Usual[h]
		}
		differ := math.Log(jobs / usual)
		f.Uneven += (differ*differ - f.Uneven) / unevenDays
	}
	for h := range f.Usual {
		if watched := 1 - f.Missed[h]; watched > 0 && f.Date != 0 {
			f.Usual[h] += (f.Today[h] - watched*f.Usual[h]) / (f.Days[h] + watched)
			f.Days[h] = min(f.Days[h]+watched, forecastDays)
		}
	}
	f.Today, f.Missed = [24]float64{}, [24]float64{}
	f.Date = date
	return now
}

// arrived counts a job.
func (f *forecast) arrived(now time.Time) {
	f.Today[f.startDay(now).Hour()]++
}

// officeHours is the prior of the share of a day's jobs in an hour: around one in the afternoon, and some at any time.
func officeHours(hour int) float64 {
	d := (float64(hour) + 0.5 - 13) / 4
	return 0.35/24 + 0.65*math.Exp(-d*d/2)/(4*math.Sqrt(2*math.Pi))
}

// level returns how many jobs a day has, by the days before, and on how many days that is based, as a mean over the
// hours. What was missed of the first day is guessed, by how the hours that were watched differ from the guess.
func (f *forecast) level(perDay float64) (level, days float64) {
	var known, all, seen float64 // parts of a day, by office hours; and jobs
	for h, n := range f.Days {
		part := min(n, 1)
		known += part * officeHours(h)
		all += officeHours(h)
		seen += part * f.Usual[h]
		days += n
	}
	guess := guessedShare * perDay
	differ := (seen + guessJobs) / (guess*known/all + guessJobs)
	return seen + guess*(1-known/all)*differ, days / 24
}

// smooth returns the mean of a function around an hour of the day.
func smooth(h int, of func(h int) float64) float64 {
	near := func(d int) float64 { return of((h + d + 24) % 24) }
	return 0.3*near(0) + 0.2*(near(-1)+near(1)) + 0.15*(near(-2)+near(2))
}

// planned returns the part of the day's quota that is spent some hours after a reset where it is spent as jobs arrive,
// on the days before and in office hours, and a tenth of it evenly.
func (f *forecast) planned(now time.Time, gone float64) float64 {
	passed, all := 0.0, 0.0
	first := now.Add(-time.Duration(gone * float64(time.Hour))).Round(time.Hour).Hour()
	for i := range 24 {
		h := (first + i) % 24
		jobs := planJobs*officeHours(h) + smooth(h, func(h int) float64 { return f.Days[h] * f.Usual[h] })
		all += jobs
		passed += jobs * min(max(gone-float64(i), 0), 1)
	}
	return 0.9*passed/all + 0.1*gone/24
}

// coming returns how many jobs are expected in each of the next hours, the first being what is left of the present one,
// and the variance of the logarithm of their sum.
//
// The hours' shares are those of the days before, smoothed, and office hours. Their level is today's count by what was
// expected of it, with a Gamma prior. On the first day the level is nearly unknown: half of a full day always counts as
// possible.
func (f *forecast) coming(now time.Time, perDay float64) (hours [24]float64, variance float64) {
	now = f.startDay(now)
	level, days := f.level(perDay)
	prior := guessJobs + (1/(1/usualJobs+f.Uneven)-guessJobs)*min(days, 1)
	var expected [24]float64
	for h := range expected {
		jobs := smooth(h, func(h int) float64 { return f.Days[h] * f.Usual[h] })
		watched := smooth(h, func(h int) float64 { return f.Days[h] })
		expected[h] = (jobs + usualWeight*level*officeHours(h)) / (watched + usualWeight)
	}
	hour, gone := now.Hour(), hourGone(now)
	passed, seen := expected[hour]*max(gone-f.Missed[hour], 0), f.Today[hour]
	for h := range hour {
		passed += expected[h] * max(1-f.Missed[h], 0)
		seen += f.Today[h]
	}
	ratio := (seen + prior) / (passed + prior)
	least := minToCome * perDay / 24 / (1 + 3*days)
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

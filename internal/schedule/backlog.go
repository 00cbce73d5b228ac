package schedule

import (
	"fmt"
	"math"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
)

// Backlog is the jobs that are due, by what the quota allows.
type Backlog struct {
	Jobs int // due
	// Takes is how long it takes to poll each of them once, beside as many new jobs as on the days before. 0: there is
	// no quota, or no backlog.
	Takes time.Duration
	// Never: it takes for ever, since new jobs alone need more than the quota allows.
	Never bool

	// The quota that would suffice to do so within a day; 0 where the present one would.
	PerMinute, PerDay float64
}

const day = 24 * time.Hour

// Slow reports whether the quota cannot keep up: polling each due job once needs more requests than it allows in a day.
func (b Backlog) Slow() bool { return b.PerMinute > 0 || b.PerDay > 0 }

// String says how long it takes, and which quota would suffice; empty where it takes no time.
func (b Backlog) String() string {
	jobs := humanize.Comma(int64(b.Jobs)) + " " + english.PluralWord(b.Jobs, "due job", "")
	text := fmt.Sprintf("One poll of each of the %s takes %s at this quota", jobs, roughly(b.Takes))
	switch {
	case b.Never:
		text = fmt.Sprintf("New jobs alone need more requests than this quota allows; %s more %s due",
			humanize.Comma(int64(b.Jobs)), english.PluralWord(b.Jobs, "job is", "jobs are"))
	case b.Takes == 0:
		return ""
	case b.Jobs == 1:
		text = "A poll of the due job takes " + roughly(b.Takes) + " at this quota"
	}
	var suffices []string
	if b.PerDay > 0 {
		suffices = append(suffices, fmt.Sprintf("requests_per_day = %.0f", b.PerDay))
	}
	if b.PerMinute > 0 {
		suffices = append(suffices, fmt.Sprintf("requests_per_minute = %.0f", b.PerMinute))
	}
	if len(suffices) > 0 {
		text += "; " + english.WordSeries(suffices, "and") + " would do it within a day"
	}
	return text
}

// roughly formats a time in its largest unit.
func roughly(d time.Duration) string {
	switch {
	case d >= 2*day:
		return humanize.Comma(int64(math.Round(d.Hours()/24))) + " days"
	case d >= 2*time.Hour:
		return fmt.Sprintf("%.0f hours", d.Hours())
	}
	return english.Plural(int(math.Ceil(d.Minutes())), "minute", "")
}

// arriving returns how many jobs of a day need a request, by the days before: at least one for each whose end no
// webhook is expected to report. 0: unknown.
func (s *Scheduler) arriving(now time.Time) float64 {
	f := s.forecast
	f.startDay(s.local(now))
	jobs, hours := 0.0, 0.0
	for h, n := range f.Days {
		if n > 0 {
			jobs += f.Usual[h]
			hours++
		}
	}
	if hours < watchedHours {
		return 0
	}
	all, uncovered := 0.0, 0.0
	for _, a := range s.apis {
		n := a.models.arrivals()
		all += n
		uncovered += n * a.uncovered()
	}
	return jobs * 24 / hours * uncovered / max(all, 1e-9)
}

// watchedHours are the hours of a day that must have been watched before the others are taken to be like them.
const watchedHours = 12

// backlog returns the backlog as of the last decision.
func (s *Scheduler) backlog(now time.Time) Backlog {
	b := Backlog{Jobs: s.due.Len()}
	limits := s.quota.limits
	perMinute, perDay := math.Inf(1), math.Inf(1)
	if limits.Requests > 0 {
		perMinute = float64(limits.Requests) / limits.Per.Minutes() * s.quota.share
	}
	left := math.Inf(1)
	if limits.PerDay > 0 {
		perDay = max(float64(limits.PerDay)-s.sharing.taken(now), 0)
		left = s.quota.left(now)
	}
	allowed := min(perDay, perMinute*day.Minutes())
	if b.Jobs == 0 || math.IsInf(allowed, 1) {
		return b
	}
	jobs, arriving := float64(b.Jobs), s.arriving(now)
	days := jobs / perMinute / day.Minutes()
	if beyond := jobs - left; beyond > 0 {
		wait := max(s.quota.used(&s.quota.day, now).Resets.Sub(now), 0)
		days = max(days, wait.Hours()/24+beyond/(allowed-arriving))
	}
	if b.Never = arriving >= allowed; !b.Never {
		b.Takes = time.Duration(min(days, 36500) * float64(day))
	}
	if b.Never || b.Takes > day {
		need := jobs + arriving
		if need > perDay {
			b.PerDay = math.Ceil(need + s.sharing.taken(now))
		}
		if need > perMinute*day.Minutes() {
			b.PerMinute = math.Ceil(need / day.Minutes() / s.quota.share)
		}
	}
	return b
}

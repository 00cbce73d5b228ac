package schedule

import (
	"errors"
	"math"
	"strings"
	"time"
	_ "time/tzdata" // day_resets_at names time zones, also where the system has no database of them
)

// Limits is a quota of requests. The zero value is unlimited.
type Limits struct {
	Requests   int           // in any window of length Per; 0: unlimited
	Per        time.Duration // at least a nanosecond where Requests is not 0
	PerDay     int           // in any 24 hours, or between two resets; 0: unlimited
	DayResets  DayReset
	Concurrent int // requests in flight; 0: unlimited
}

// PerMinute returns limits of n requests in any minute; 0 is unlimited. Below 1, that is one request in 60/n seconds.
// Above 1, a fraction is dropped.
func PerMinute(n float64) Limits {
	switch {
	case n <= 0:
		return Limits{}
	case n < 1:
		return Limits{Requests: 1, Per: time.Duration(float64(time.Minute) / n)}
	}
	return Limits{Requests: int(n), Per: time.Minute}
}

func (l Limits) sameQuota(m Limits) bool {
	return l.Requests == m.Requests && l.Per == m.Per && l.PerDay == m.PerDay
}

// Block is the number of requests to store as reserved in one write, before the first of them is sent: the requests of
// one second, at least 1. It is 0 without a quota, where nothing needs to be stored.
func (l Limits) Block() int {
	perSecond := math.Inf(1)
	if l.Requests > 0 {
		perSecond = float64(l.Requests) / l.Per.Seconds()
	}
	if l.PerDay > 0 {
		perSecond = min(perSecond, float64(l.PerDay)/86400)
	}
	if math.IsInf(perSecond, 1) {
		return 0
	}
	return max(int(perSecond), 1)
}

// Kept is the longest time for which a request counts, after its answer.
func (l Limits) Kept() time.Duration {
	q := quota{limits: l}
	q.resize()
	return max(q.minute.length, q.day.longest())
}

// DayReset is the time of day at which the day's quota resets. The zero value is a rolling day: any 24 hours.
type DayReset struct {
	hour, minute int
	zone         *time.Location
}

// ParseDayReset parses "15:04" (UTC), "15:04 Europe/Berlin", or "" for a rolling day.
func ParseDayReset(s string) (DayReset, error) {
	if s == "" {
		return DayReset{}, nil
	}
	clock, zoneName, _ := strings.Cut(s, " ")
	at, err := time.Parse("15:04", clock)
	if err != nil {
		return DayReset{}, errors.New(`not a time of day; write "00:00", or ` +
			`"00:00 America/Los_Angeles" with a time zone, or "" for a rolling 24 hours`)
	}
	zone, err := time.LoadLocation(strings.TrimSpace(zoneName))
	if err != nil || zone == time.Local {
		return DayReset{}, errors.New(`not the name of a time zone; write one as in "00:00 America/Los_Angeles"`)
	}
	return DayReset{at.Hour(), at.Minute(), zone}, nil
}

// around returns the latest reset up to now, and the one after it.
func (d DayReset) around(now time.Time) (last, next time.Time) {
	year, month, day := now.In(d.zone).Date()
	for day++; ; day-- { // starts with tomorrow's, which may have come where clocks are put forward
		if last := d.on(year, month, day); !last.After(now) {
			return last, d.on(year, month, day+1)
		}
	}
}

// on returns the reset of a day. Where clocks are put forward over it, it is when they would have shown that time.
func (d DayReset) on(year int, month time.Month, day int) time.Time {
	t := time.Date(year, month, day, d.hour, d.minute, 0, 0, d.zone)
	if t.Hour() == d.hour && t.Minute() == d.minute {
		return t
	}
	_, before := t.Add(-12 * time.Hour).Zone()
	return time.Date(year, month, day, d.hour, d.minute, -before, 0, time.UTC).In(d.zone)
}

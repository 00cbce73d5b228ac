// Package schedule decides when the API is asked, and about which job: the
// ledger keeps the quota, the queue keeps the order.
//
// Times are compared as time.Time does it, by the monotonic clock where they
// have one, so that a wall clock that jumps neither overspends the quota nor
// stops the polling.
package schedule

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // day_resets_at names time zones, also where the system knows none
)

// Limits are a quota: how many requests the API accepts in a time.
type Limits struct {
	PerMinute  float64 // in any 60 seconds; a fraction below 1 is one request in 60/PerMinute seconds, above 1 it is dropped; 0: unlimited
	Burst      int     // at once, where the API takes fewer than a minute's; 0: as many as in a minute
	PerDay     int     // in any 24 hours, or from one reset to the next; 0: unlimited
	DayResets  DayReset
	Concurrent int // requests under way at once
}

// sameQuota says whether the API accepts as much with other limits.
func (l Limits) sameQuota(m Limits) bool {
	return l.PerMinute == m.PerMinute && l.Burst == m.Burst && l.PerDay == m.PerDay
}

// Block is how many requests the quota allows in a second, where that is more than
// one: as many are stored at once before the first is sent. 0: there is no quota.
func (l Limits) Block() int {
	perSecond := math.Inf(1)
	if l.PerMinute > 0 {
		perSecond = l.PerMinute / 60
	}
	if l.PerDay > 0 {
		perSecond = min(perSecond, float64(l.PerDay)/86400)
	}
	if math.IsInf(perSecond, 1) {
		return 0
	}
	return max(int(perSecond), 1)
}

// A DayReset is a time of day at which the day's quota begins anew. The zero
// value is none: the day is any 24 hours.
type DayReset struct {
	hour, minute int
	zone         *time.Location
}

// ParseDayReset reads a time of day: "15:04" in UTC, "15:04 Europe/Berlin" in a
// time zone, or nothing for a rolling day.
func ParseDayReset(s string) (DayReset, error) {
	if s == "" {
		return DayReset{}, nil
	}
	clock, zoneName, _ := strings.Cut(s, " ")
	at, err := time.Parse("15:04", clock)
	if err != nil {
		return DayReset{}, errors.New(`not a time of day; write "00:00", or "00:00 America/Los_Angeles" with a time zone, or "" for a rolling 24 hours`)
	}
	zone, err := time.LoadLocation(strings.TrimSpace(zoneName))
	if err != nil || zone == time.Local {
		return DayReset{}, errors.New(`not the name of a time zone; write one as in "00:00 America/Los_Angeles"`)
	}
	return DayReset{at.Hour(), at.Minute(), zone}, nil
}

// last is the latest reset up to now, next the one after it.
func (d DayReset) last(now time.Time) (last, next time.Time) {
	year, month, day := now.In(d.zone).Date()
	for day++; ; day-- { // the next day's may have come already, where clocks are put forward
		if last := d.on(year, month, day); !last.After(now) {
			return last, d.on(year, month, day+1)
		}
	}
}

// on is the reset of a day. Where clocks are put forward over it, it comes when they
// would have shown that time.
func (d DayReset) on(year int, month time.Month, day int) time.Time {
	t := time.Date(year, month, day, d.hour, d.minute, 0, 0, d.zone)
	if t.Hour() == d.hour && t.Minute() == d.minute {
		return t
	}
	_, before := t.Add(-12 * time.Hour).Zone()
	return time.Date(year, month, day, d.hour, d.minute, -before, 0, time.UTC).In(d.zone)
}

// Margins by which a window is kept longer than the vendor's: for a server that
// counts in whole seconds, for a clock that runs a little faster than ours, and,
// with a fixed reset, for clocks that do not agree on the time of day.
const (
	secondMargin = time.Second
	driftMargin  = 1000 // one part in
	resetMargin  = time.Minute
)

// A Ledger keeps the log of requests, and lets one more be sent only when no
// window of the quota can come to hold too many. A request counts from when it
// was reserved until a window's length after it was answered: the server counted
// it somewhere in between, so that the windows hold whatever the latency is.
// It may be used by several goroutines at once.
type Ledger struct {
	mu       sync.Mutex
	limits   Limits
	underWay int
	share    float64 // of the minute's quota that is used; the rest is somebody else's
	minute   window
	day      window
}

// A window is the log of one window of the quota.
type window struct {
	limit    int           // 0: unlimited
	length   time.Duration // of a sliding window
	vendor   time.Duration // the length that the vendor counts with
	reset    DayReset      // a window that begins anew at a time of day
	entries  []entry       // the oldest first
	answered int           // requests in entries
}

// An entry stands for requests that were answered within a short time, the last
// of them at its time.
type entry struct {
	first, last time.Time
	requests    int
}

// maxEntries is about how many entries a window has: with a larger quota,
// neighbours share one.
const maxEntries = 4096

// NewLedger returns a ledger with an empty log.
func NewLedger(limits Limits) *Ledger {
	l := &Ledger{share: 1}
	l.SetLimits(limits)
	return l
}

// SetLimits changes the quota. What was sent stays counted. Of another quota than
// before, all may be used.
func (l *Ledger) SetLimits(limits Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !limits.sameQuota(l.limits) {
		l.share = 1
	}
	l.setLimits(limits)
}

// quota is what SetLimits was given.
func (l *Ledger) quota() Limits {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limits
}

// SetShare says what part of the minute's quota may be used, above 0 and at most 1.
func (l *Ledger) SetShare(share float64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if share != l.share {
		l.minute.expire(now)
		l.share = share
		l.setLimits(l.limits)
	}
}

func (l *Ledger) setLimits(limits Limits) {
	l.limits = limits
	l.minute.limit, l.minute.vendor = int(limits.PerMinute), time.Minute
	if 0 < limits.PerMinute && limits.PerMinute < 1 {
		l.minute.limit, l.minute.vendor = 1, time.Duration(float64(time.Minute)/limits.PerMinute)
	}
	if limits.Burst > 0 && limits.PerMinute > 0 {
		// What a token bucket of this size lets through, and any window of this length.
		l.minute.limit, l.minute.vendor = limits.Burst, time.Duration(float64(limits.Burst)*float64(time.Minute)/limits.PerMinute)
	}
	if l.share < 1 && l.minute.limit > 0 {
		// The same share of what is let through at once, and of the rate.
		rate := float64(l.minute.limit) / l.minute.vendor.Seconds() * l.share
		l.minute.limit = max(int(float64(l.minute.limit)*l.share), 1)
		l.minute.vendor = time.Duration(float64(l.minute.limit) / rate * float64(time.Second))
	}
	l.day.limit, l.day.vendor, l.day.reset = limits.PerDay, 24*time.Hour, limits.DayResets
	for _, w := range []*window{&l.minute, &l.day} {
		w.length = w.vendor + w.vendor/driftMargin + min(secondMargin, w.vendor/60)
	}
}

// Reserve takes one request from the quota. Where that is not possible, at says
// when it may be, for all that is known now: zero when that depends on a request
// under way being answered.
func (l *Ledger) Reserve(now time.Time) (ok bool, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limits.Concurrent > 0 && l.underWay >= l.limits.Concurrent {
		return false, time.Time{}
	}
	for _, w := range []*window{&l.minute, &l.day} {
		w.expire(now)
		if w.limit == 0 || w.answered+l.underWay < w.limit {
			continue
		}
		if w.answered == 0 {
			return false, time.Time{}
		}
		if free := w.frees(now); free.After(at) {
			at = free
		}
	}
	if !at.IsZero() {
		return false, at
	}
	l.underWay++
	return true, now
}

// Answered says that a reserved request was answered, or given up, at a time.
func (l *Ledger) Answered(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.underWay--
	l.minute.add(at, 1)
	l.day.add(at, 1)
}

// Restore puts requests into an empty log that were reserved before a restart, by
// the Unix second of their reservation. Each was answered within longest after
// that, as far as anybody knows, but not after now.
func (l *Ledger) Restore(requests map[int64]int, longest time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, second := range slices.Sorted(maps.Keys(requests)) {
		ago := max(now.Round(0).Sub(time.Unix(second+1, 0))-longest, 0)
		l.minute.add(now.Add(-ago), requests[second])
		l.day.add(now.Add(-ago), requests[second])
	}
}

// UnderWay is how many requests are reserved and not answered yet.
func (l *Ledger) UnderWay() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.underWay
}

// Release gives a reserved request back that was not sent after all.
func (l *Ledger) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.underWay--
}

// add counts requests that were answered at a time.
func (w *window) add(at time.Time, requests int) {
	w.answered += requests
	if n := len(w.entries); n > 0 {
		latest := &w.entries[n-1]
		if at.Before(latest.last) { // two answers told us in the other order
			at = latest.last
		}
		// Where nobody waits for a single request to leave the window, it may be
		// counted coarsely.
		coarse := w.limit == 0 || w.limit > maxEntries
		if at.Equal(latest.last) || coarse && at.Sub(latest.first) < w.length/maxEntries {
			latest.last = at
			latest.requests += requests
			return
		}
	}
	w.entries = append(w.entries, entry{at, at, requests})
}

// expire drops what has left the window.
func (w *window) expire(now time.Time) {
	length := w.length
	if w.reset.zone != nil {
		last, _ := w.reset.last(now.Add(-resetMargin))
		length = now.Sub(last)
	}
	gone := 0
	for gone < len(w.entries) && now.Sub(w.entries[gone].last) >= length {
		w.answered -= w.entries[gone].requests
		gone++
	}
	w.entries = w.entries[gone:]
}

// frees is when the oldest entry leaves the window.
func (w *window) frees(now time.Time) time.Time {
	if w.reset.zone != nil {
		_, next := w.reset.last(now.Add(-resetMargin))
		return now.Add(next.Add(resetMargin).Sub(now))
	}
	return w.entries[0].last.Add(w.length)
}

// Usage is how much of one window of the quota is used.
type Usage struct {
	Limit  float64   // requests; +Inf: unlimited
	Used   float64   // requests that were sent within the window, or are under way
	Resets time.Time // when the oldest of them leaves the window, or all do at a fixed reset; zero with none
}

// Usage returns the usage of the minute (of any length, counted for 60 seconds)
// and of the day.
func (l *Ledger) Usage(now time.Time) (minute, day Usage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := func(w *window) Usage {
		w.expire(now)
		u := Usage{Limit: float64(w.limit), Used: float64(w.answered + l.underWay)}
		if w.limit == 0 {
			u.Limit = math.Inf(1)
		}
		if w.answered > 0 {
			u.Resets = w.frees(now)
		}
		return u
	}
	minute, day = of(&l.minute), of(&l.day)
	switch perMinute := l.limits.PerMinute; {
	case 0 < perMinute && perMinute < 1:
		minute.Limit, minute.Used = perMinute, min(minute.Used, 1)*perMinute
	case perMinute > 0 && l.share < 1:
		minute.Limit = math.Floor(perMinute)
	}
	return minute, day
}

// outlook is what may be spent of the day's quota, and when.
func (l *Ledger) outlook(now time.Time) outlook {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.day
	w.expire(now)
	o := outlook{limit: float64(w.limit), left: float64(w.limit - w.answered - l.underWay), horizon: 24}
	if w.limit == 0 {
		return o
	}
	o.left = max(o.left, 0)
	begin := now.Truncate(time.Hour) // hours of every zone begin with those of UTC, or so
	o.hour = now.Sub(begin).Hours()
	if w.reset.zone == nil {
		for _, e := range w.entries {
			if i := int(e.last.Add(w.length).Sub(begin).Hours()); i >= 0 && i < len(o.frees) {
				o.frees[i] += float64(e.requests)
			}
		}
		return o
	}
	last, next := w.reset.last(now)
	o.horizon = next.Sub(begin).Hours()
	o.morning = last.Add(morningHours * time.Hour).Sub(begin).Hours()
	o.early = math.Floor(morningShare*o.limit) - (o.limit - o.left)
	return o
}

// dayResets is when the day's quota begins anew at a fixed time; zero without one.
func (l *Ledger) dayResets(now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limits.PerDay == 0 || l.day.reset.zone == nil {
		return time.Time{}
	}
	return l.day.frees(now)
}

// filled is how much of the minute's window is used beside the request reserved
// last, 0 to 1 (NaN: it has no limit), and when more of it is free.
func (l *Ledger) filled(now time.Time) (part float64, free time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.minute
	if w.limit == 0 {
		return math.NaN(), time.Time{}
	}
	w.expire(now)
	if w.answered > 0 {
		free = w.frees(now)
	}
	return float64(w.answered+l.underWay-1) / float64(w.limit), free
}

// pace is how many requests the last minute has had, with so many more, by those
// that it would have if the day's quota were spent evenly; 0 where that has no limit.
func (l *Ledger) pace(now time.Time, more int) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.day.limit == 0 {
		return 0
	}
	l.minute.expire(now)
	perMinute := float64(l.day.limit) / (24 * 60) * l.minute.length.Minutes()
	return float64(l.minute.answered+l.underWay+more) / perMinute
}

// morning is until when nothing more may be spent of a day that begins at a fixed
// time, because the morning's share is: zero where that is not so.
func (l *Ledger) morning(now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.day
	w.expire(now)
	if w.limit == 0 || w.reset.zone == nil || float64(w.answered+l.underWay) < morningMost*float64(w.limit) {
		return time.Time{}
	}
	last, _ := w.reset.last(now)
	if noon := last.Add(morningHours * time.Hour); noon.After(now) {
		return now.Add(noon.Sub(now))
	}
	return time.Time{}
}

// limited says whether the minute has a limit.
func (l *Ledger) limited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.minute.limit > 0
}

// clone is a ledger with the same log and nothing under way.
func (l *Ledger) clone() *Ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &Ledger{limits: l.limits, share: l.share, minute: l.minute, day: l.day}
	c.minute.entries, c.day.entries = slices.Clone(l.minute.entries), slices.Clone(l.day.entries)
	return c
}

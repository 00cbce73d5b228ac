package schedule

import (
	"math"
	"slices"
	"time"
)

// Windows are kept longer than the vendor's: for a server that counts in whole seconds, for a clock that runs a little
// faster than ours, and, with a fixed reset, for clocks that disagree on the time of day, in either direction.
const (
	secondMargin = time.Second
	driftMargin  = 1000 // one part in
	resetMargin  = time.Minute
)

// quota is the log of requests, and decides whether one more may be sent. A request counts from its reservation until a
// window's length after its answer: the server counted it somewhere in between, so the windows hold whatever the
// latency is. The scheduler's lock guards it.
type quota struct {
	limits      Limits
	inFlight    map[string]*job // of the permits that have not ended, by request ID; nil: it is not known
	share       float64         // of the minute's quota that is used; others use the rest. Below 1, requests are paced
	minute, day window
}

// window is the log of one window of the quota.
type window struct {
	limit    int           // 0: unlimited
	length   time.Duration // of a rolling window
	reset    DayReset      // of a window that resets at a time of day
	entries  []entry       // answered requests, the oldest first; after Restore, those that may be answered later, too
	requests int           // in entries
}

// entry is requests that were answered within a short time.
type entry struct {
	first, last time.Time
	requests    int
	clockSet    bool // the wall clock was set after them, before they were restored
}

// maxSkew is how much the wall clock and the monotonic clock may drift apart before it counts as a wall clock that was
// set.
const maxSkew = 10 * time.Second

// beforeClockSet reports whether the wall clock was set after the entry.
func (e *entry) beforeClockSet(now time.Time) bool {
	skew := now.Round(0).Sub(e.last.Round(0)) - now.Sub(e.last)
	return e.clockSet || skew.Abs() > maxSkew
}

// maxEntries is roughly the maximum number of entries of a window. With a larger quota, neighbouring requests share an
// entry.
const maxEntries = 4096

func (q *quota) resize() {
	length := q.limits.Per
	if q.limits.Requests == 0 {
		length = time.Minute
	}
	q.minute.limit, q.minute.length = q.limits.Requests, withMargin(length)
	q.day.limit, q.day.length, q.day.reset = q.limits.PerDay, withMargin(24*time.Hour), q.limits.DayResets
}

func withMargin(length time.Duration) time.Duration {
	return length + length/driftMargin + min(secondMargin, length/60)
}

// paced reports whether requests are sent one at a time and at even intervals, because others use a part of the
// minute's quota, too: they send at any time, and refuse a burst more often. next is when the next one may be sent;
// zero: now, or that depends on the answer to the one in flight. What was sent stays in the window of the minute.
func (q *quota) paced(now time.Time) (next time.Time, paced bool) {
	if q.share == 1 || q.limits.Requests == 0 {
		return time.Time{}, false
	}
	each := q.limits.Per.Seconds() / float64(q.limits.Requests) / q.share
	if n := len(q.minute.entries); n > 0 {
		next = q.minute.entries[n-1].last.Add(withMargin(time.Duration(each * float64(time.Second))))
	}
	if !next.After(now) {
		next = time.Time{}
	}
	return next, true
}

// busyMinute returns the part of what may be sent in a minute that was sent, and when it falls; zero with none.
func (q *quota) busyMinute(now time.Time) (part float64, falls time.Time) {
	if next, paced := q.paced(now); paced {
		if len(q.inFlight) > 0 || !next.IsZero() {
			part = 1
		}
		return part, next
	}
	minute := q.used(&q.minute, now)
	return minute.Used / minute.Limit, minute.Resets
}

// free reports whether one more request may be sent. If not, at is when that may change: zero when it depends on the
// answer to a request in flight.
func (q *quota) free(now time.Time) (ok bool, at time.Time) {
	if q.limits.Concurrent > 0 && len(q.inFlight) >= q.limits.Concurrent {
		return false, time.Time{}
	}
	if next, paced := q.paced(now); paced {
		if len(q.inFlight) > 0 {
			return false, time.Time{}
		}
		at = next
	}
	for _, w := range []*window{&q.minute, &q.day} {
		entries, requests := w.live(now)
		if w.limit == 0 || requests+len(q.inFlight) < w.limit {
			continue
		}
		if requests == 0 {
			return false, time.Time{}
		}
		if free := w.frees(now, entries); free.After(at) {
			at = free
		}
	}
	return at.IsZero(), at
}

// earliest returns the first time at which the quota allows a request, the morning's share included; now where that
// depends on the answer to a request in flight.
func (q *quota) earliest(now time.Time) time.Time {
	at := now
	if _, free := q.free(now); free.After(at) {
		at = free
	}
	if morning := q.morning(now); morning.After(at) {
		at = morning
	}
	return at
}

// busy reports whether requests were answered after a time, or are in flight.
func (q *quota) busy(since time.Time) bool {
	n := len(q.day.entries)
	return len(q.inFlight) > 0 || n > 0 && q.day.entries[n-1].last.After(since)
}

// answered counts a request that is no longer in flight, and was answered or given up.
func (q *quota) answered(at time.Time) {
	for _, w := range []*window{&q.minute, &q.day} {
		w.expire(at)
		w.add(at, 1, false)
	}
}

func (w *window) add(at time.Time, requests int, clockSet bool) {
	w.requests += requests
	i := len(w.entries)
	for i > 0 && at.Before(w.entries[i-1].first) { // answers arrived in another order, or are expected later than this one
		i--
	}
	if i > 0 {
		e := &w.entries[i-1]
		coarse := w.limit == 0 || w.limit > maxEntries
		if !at.After(e.last) || coarse && at.Sub(e.first) < w.length/maxEntries {
			if at.After(e.last) {
				e.last = at
			}
			e.requests += requests
			e.clockSet = e.clockSet || clockSet
			return
		}
	}
	w.entries = slices.Insert(w.entries, i, entry{at, at, requests, clockSet})
}

// live returns what has not left the window. At a fixed reset, requests of the margin before it stay for the day after
// it, which may have begun at the vendor. Those from before the clock was set stay for the longest day: nobody knows
// whether the reset has passed, or the clock was only set past it.
func (w *window) live(now time.Time) (entries []entry, requests int) {
	length := w.length
	if w.reset.zone != nil {
		last, _ := w.reset.around(now.Add(-resetMargin))
		length = now.Sub(last) + resetMargin
	}
	entries, requests = w.entries, w.requests
	for len(entries) > 0 {
		e := &entries[0]
		if age := now.Sub(e.last); age < length ||
			w.reset.zone != nil && age < w.longest() && e.beforeClockSet(now) {
			break
		}
		requests -= e.requests
		entries = entries[1:]
	}
	return entries, requests
}

// longest is the longest time for which a request stays in the window.
func (w *window) longest() time.Duration {
	if w.reset.zone == nil {
		return w.length
	}
	return w.length + time.Hour + resetMargin // a day on which clocks are put back
}

func (w *window) expire(now time.Time) { w.entries, w.requests = w.live(now) }

// resets returns the latest reset up to now and the next one, at which requests leave a window with a fixed reset; zero
// without one.
func (w *window) resets(now time.Time) (last, next time.Time) {
	if w.reset.zone == nil {
		return last, next
	}
	last, next = w.reset.around(now.Add(-resetMargin))
	return last, now.Add(next.Add(resetMargin).Sub(now)) // keeps the monotonic clock
}

// leaves returns when an entry leaves the window, between two resets.
func (w *window) leaves(e *entry, now, last, next time.Time) time.Time {
	if w.reset.zone == nil {
		return e.last.Add(w.length)
	}
	if e.beforeClockSet(now) {
		longest := e.last.Add(w.longest())
		if longest.After(next) || now.Sub(e.last) >= now.Sub(last)+resetMargin { // the latest reset did not free it
			return longest
		}
	}
	if reset := next.Add(-resetMargin); e.last.After(reset.Add(-resetMargin)) {
		_, next = w.resets(next)
	}
	return next
}

// frees returns when the oldest of the entries leaves the window.
func (w *window) frees(now time.Time, entries []entry) time.Time {
	last, next := w.resets(now)
	return w.leaves(&entries[0], now, last, next)
}

// Usage is the usage of one window of the quota.
type Usage struct {
	Limit  float64   // requests; +Inf: unlimited
	Used   float64   // requests sent within the window, or in flight
	Resets time.Time // when the oldest of them leaves the window, or all do at a fixed reset; zero with none
}

func (q *quota) used(w *window, now time.Time) Usage {
	entries, requests := w.live(now)
	u := Usage{Limit: float64(w.limit), Used: float64(requests + len(q.inFlight))}
	if w.limit == 0 {
		u.Limit = math.Inf(1)
	}
	if requests > 0 {
		u.Resets = w.frees(now, entries)
	}
	return u
}

// Counted is requests that count in the day's quota.
type Counted struct {
	At       time.Time // when they were answered, or will be at the latest
	Leaves   time.Time // when they leave the window
	Requests int
}

// counted returns the requests of the window that are not in flight, the oldest first.
func (w *window) counted(now time.Time) (all []Counted) {
	last, next := w.resets(now)
	entries, _ := w.live(now)
	var leaves time.Time
	for i := range entries {
		e := &entries[i]
		if at := w.leaves(e, now, last, next); at.After(leaves) { // none leaves before an older one
			leaves = at
		}
		all = append(all, Counted{e.last, leaves, e.requests})
	}
	return all
}

// usage returns the usage of the minute and of the day. A window longer than a minute is shown as requests per minute.
func (q *quota) usage(now time.Time) (minute, day Usage) {
	minute, day = q.used(&q.minute, now), q.used(&q.day, now)
	if limit := float64(q.limits.Requests); limit > 0 {
		minute.Limit = limit
		if q.limits.Per > time.Minute {
			// Per was rounded to nanoseconds.
			perMinute := math.Round(limit/q.limits.Per.Minutes()*1e9) / 1e9
			minute.Limit, minute.Used = perMinute, min(minute.Used/limit, 1)*perMinute
		}
	}
	return minute, day
}

// left returns how many requests the day's quota still has; 0 without a limit.
func (q *quota) left(now time.Time) float64 {
	return max(float64(q.day.limit)-q.used(&q.day, now).Used, 0)
}

// outlook returns what may be spent of the day's quota, and when.
func (q *quota) outlook(now time.Time) outlook {
	w := &q.day
	begin := now.Truncate(time.Hour) // close enough for zones with half hours
	o := outlook{limit: float64(w.limit), left: q.left(now), hour: now.Sub(begin).Hours(), horizon: 24}
	if w.reset.zone == nil {
		entries, _ := w.live(now)
		for _, e := range entries {
			if i := int(e.last.Add(w.length).Sub(begin).Hours()); i >= 0 && i < len(o.frees) {
				o.frees[i] += float64(e.requests)
			}
		}
		return o
	}
	last, next := w.reset.around(now)
	if now.Sub(last) < resetMargin { // what was sent on the day before still counts, and will not in a minute
		entries, _ := w.live(now)
		for i := range entries {
			if e := &entries[i]; !e.last.After(last.Add(-resetMargin)) && !e.beforeClockSet(now) {
				o.left = min(o.left+float64(e.requests), o.limit)
			}
		}
	}
	o.horizon = next.Sub(begin).Hours()
	o.morning = last.Add(morningHours * time.Hour).Sub(begin).Hours()
	o.early = math.Floor(morningShare*o.limit) - (o.limit - o.left)
	return o
}

// dayResets returns when the day's quota resets at a fixed time; zero without one.
func (q *quota) dayResets(now time.Time) (next time.Time) {
	if q.limits.PerDay > 0 {
		_, next = q.day.resets(now)
	}
	return next
}

// pace returns the requests of the last minute, with one more, divided by those of a minute if the day's quota were
// spent evenly; 0 without a limit per day.
func (q *quota) pace(now time.Time) float64 {
	if q.day.limit == 0 {
		return 0
	}
	return (q.used(&q.minute, now).Used + 1) / (float64(q.day.limit) / (24 * 60) * q.minute.length.Minutes())
}

// morning returns until when nothing may be sent because the morning's share of a day with a fixed reset is spent; zero
// if it is not.
func (q *quota) morning(now time.Time) time.Time {
	w := &q.day
	if w.limit == 0 || w.reset.zone == nil {
		return time.Time{}
	}
	if q.used(w, now).Used < morningMost*float64(w.limit) {
		return time.Time{}
	}
	last, _ := w.reset.around(now)
	// What was spent on the day before counts until the first of these.
	for _, end := range []time.Time{last.Add(resetMargin), last.Add(morningHours * time.Hour)} {
		if end.After(now) {
			return now.Add(end.Sub(now)) // keeps the monotonic clock
		}
	}
	return time.Time{}
}

package jobs

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/uptime"
)

// This file keeps the log of requests: how many were reserved in which second, and for which key. Seconds are those of
// the wall clock, which can be set at any time, also while no process watches. A request must not be forgotten because
// of that, so the log has a clock of its own.

const (
	// maxSkew is how much the clock of the log and the wall clock may differ before the log follows the wall clock.
	maxSkew = 10 * time.Second
	// noteEvery is how much of the time before a reboot is not known after it, at most.
	noteEvery = 10 * time.Minute
	// keySlack is for requests that were reserved while the key changed: they count for both keys.
	keySlack = 5
	// minKept is the shortest time for which requests are kept: longer than a day.
	minKept = 26 * time.Hour
)

// A clock is the clock of the log of requests. It showed wall at the time at, and the monotonic clock carries it on.
type clock struct {
	wall, at time.Time
	// set is the Unix second at which the log followed a wall clock that had been set; 0: not since the oldest request.
	set   int64
	noted time.Time // when the clock was stored last
	// store is what the clock of the store showed while the jobs were loaded: at loaded, or until took later. Zero: it has
	// none.
	store, loaded time.Time
	took          time.Duration
}

func (c clock) now(t time.Time) time.Time { return c.wall.Add(t.Sub(c.at)) }

// skew is by how much the wall clock was set since the log followed it; 0: it was not.
func (c clock) skew(now time.Time) time.Duration {
	skew := now.Round(0).Sub(c.now(now)).Truncate(time.Second)
	if skew.Abs() < maxSkew {
		return 0
	}
	return skew
}

// ClockSet reports whether the wall clock seems to have been set before the jobs were opened, not longer ago than
// requests are kept: then the stored times say little about the age of a job. A machine that was off looks the same.
func (j *Jobs) ClockSet() bool { return j.clockSet }

// storeTime returns what the clock of the store shows at most; zero if it has none.
func (c clock) storeTime(t time.Time) time.Time {
	if c.store.IsZero() {
		return c.store
	}
	return c.store.Add(t.Sub(c.loaded)).UTC()
}

// A keyUse says since when requests are for a key.
type keyUse struct {
	key   string
	since int64 // Unix second
}

// storedRequests is the JSON of what is known of the log beside its rows.
type storedRequests struct {
	// The clock of the log showed At when the clock of the store showed StoreTime; if that has none, when the machine had
	// been up for UptimeSeconds.
	At            time.Time      `json:"at"`
	StoreTime     time.Time      `json:"store_time,omitzero"`
	UptimeSeconds float64        `json:"uptime_seconds,omitzero"`
	ClockSet      time.Time      `json:"clock_set,omitzero"`
	Keys          []storedKeyUse `json:"keys,omitempty"`
}

type storedKeyUse struct {
	Key   string    `json:"key"`
	Since time.Time `json:"since"`
}

// requestsTotal is the name under which storedRequests is stored among the totals.
const requestsTotal = "requests"

// loadRequests takes in what is stored about the log. Between the last note and now, as much time has passed as the
// wall clock says, but no more than has certainly passed.
func (s *accountState) loadRequests(row *store.Total, now time.Time) error {
	var stored storedRequests
	if err := json.Unmarshal(row.Value, &stored); err != nil {
		return fmt.Errorf("decoding the log of requests: %w", err)
	}
	passed := max(min(now.Round(0).Sub(stored.At), s.clock.since(&stored)), 0)
	s.clock.wall, s.clock.at, s.clock.noted = stored.At, now.Add(-passed), now.Add(-passed)
	if !stored.ClockSet.IsZero() {
		s.clock.set = stored.ClockSet.Unix()
	}
	for _, k := range stored.Keys {
		s.keys = append(s.keys, keyUse{k.Key, k.Since.Unix()})
	}
	return nil
}

// since returns how much time has certainly passed since a note when the jobs were loaded. If the note is by another
// kind of clock, that is unknown.
func (c clock) since(note *storedRequests) time.Duration {
	switch {
	case !note.StoreTime.IsZero() && !c.store.IsZero():
		return c.store.Sub(note.StoreTime) - c.took
	case note.StoreTime.IsZero() && c.store.IsZero():
		return uptime.Since(time.Duration(note.UptimeSeconds * float64(time.Second)))
	}
	return 0
}

// requestsRow encodes what is known of the log beside its rows.
func (t *transaction) requestsRow() (store.Total, error) {
	stored := storedRequests{At: t.clock.now(t.noting).UTC().Round(0), StoreTime: t.clock.storeTime(t.noting)}
	if stored.StoreTime.IsZero() {
		stored.UptimeSeconds = uptime.Now().Truncate(time.Millisecond).Seconds()
	}
	if t.clock.set != 0 {
		stored.ClockSet = time.Unix(t.clock.set, 0).UTC()
	}
	for _, k := range t.keys {
		stored.Keys = append(stored.Keys, storedKeyUse{k.key, time.Unix(k.since, 0).UTC()})
	}
	return totalRow(requestsTotal, map[string]string{}, stored)
}

// note stores what the clock of the log shows. If the wall clock was set, the log follows.
func (t *transaction) note(now time.Time) {
	t.noting, t.clock.noted = now, now
	if skew := t.clock.skew(now); skew != 0 {
		t.shift(skew)
		t.clock.set = t.clock.now(now).Unix()
	}
	if t.requests.Len() == 0 {
		t.clock.set = 0
	}
}

// shift sets the clock of the log. Its rows keep their age, and so do the keys that they were for.
func (t *transaction) shift(by time.Duration) {
	moved := make(map[int64]int)
	for second, n := range t.requests.Copy().Scan {
		moved[second+int64(by/time.Second)] = n
		t.requests.remove(second)
	}
	for second, n := range moved {
		t.requests.put(second, n)
	}
	t.keys = slices.Clone(t.keys)
	for i := range t.keys {
		t.keys[i].since += int64(by / time.Second)
	}
	t.clock.wall, t.reserved = t.clock.wall.Add(by), nil
}

// A reservedBlock is the requests that were stored at once for a second. They are taken one by one, without a commit.
type reservedBlock struct {
	second int64
	left   atomic.Int64 // negative: more were asked for
}

// take takes a request that was stored for the second of a time, and reports whether one was left.
func (r *reservedBlock) take(at time.Time, c clock) bool {
	return r != nil && r.second == c.now(at).Unix() && c.skew(at) == 0 && r.left.Add(-1) >= 0
}

// drop leaves nothing to take.
func (r *reservedBlock) drop() {
	if r != nil {
		r.left.Store(0)
	}
}

// ReserveWithin is how long after the time of its reservation a request may be sent at most.
const ReserveWithin = 10 * time.Second

var errSlow = fmt.Errorf("a request could not be stored within %s", ReserveWithin)

// Reserve makes sure that a restart knows of a request that is about to be sent. If the quota allows many in a
// second, block of them are stored at once: after a restart those that were not sent count as sent. If that takes
// longer than ReserveWithin, it is a failure of the store: a restart would forget the request too early.
func (j *Jobs) Reserve(at time.Time, block int) error {
	if c := j.committed.Load(); c.reserved.take(at, c.clock) {
		return nil
	}
	begin := time.Now()
	err := j.reserve(at, block)
	if err == nil && time.Since(begin) > ReserveWithin {
		err = errSlow
		j.countFailure(err)
	}
	return err
}

func (j *Jobs) reserve(at time.Time, block int) error {
	return j.apply(func(t *transaction) {
		if t.reserved.take(at, t.clock) { // of a commit in between
			return
		}
		t.note(at)
		second, block := t.clock.now(at).Unix(), max(block, 1)
		stored, _ := t.requests.Get(second)
		t.requests.put(second, stored+block)
		t.reserved = &reservedBlock{second: second}
		t.reserved.left.Store(int64(block - 1))
	})
}

// UsesKey reports whether the last request was for a key, which is reports as with UseKey; false: there was none.
func (j *Jobs) UsesKey(is func(name string) bool) bool {
	keys := j.committed.Load().keys
	return len(keys) > 0 && is(keys[len(keys)-1].key)
}

// UseKey makes sure that a restart knows for which key the requests are from now on. Keys are known by names that do
// not tell them: is reports whether a name is that of the key, and name returns a new one.
func (j *Jobs) UseKey(is func(name string) bool, name func() string, now time.Time) error {
	if j.UsesKey(is) {
		return nil
	}
	return j.apply(func(t *transaction) {
		t.note(now)
		use := keyUse{since: t.clock.now(now).Unix()}
		if i := slices.IndexFunc(t.keys, func(k keyUse) bool { return is(k.key) }); i >= 0 {
			use.key = t.keys[i].key
		} else {
			use.key = name()
		}
		t.keys, t.reserved = append(slices.Clip(t.keys), use), nil
	})
}

// Sent is requests that were reserved at one time.
type Sent struct {
	Key      string    // its name, see UseKey; empty: unknown
	Reserved time.Time // no earlier than they were, by time that certainly passed
	Requests int
	ClockSet bool // the wall clock was set after that
}

// Sent returns the requests that are not older than any window of the quota. Those that were reserved while the key
// changed are there twice.
func (j *Jobs) Sent(now time.Time) []Sent {
	c := j.committed.Load()
	shows, isSet := c.clock.now(now), c.clock.skew(now) != 0
	var sent []Sent
	for second, n := range c.requests.Scan {
		age := max(shows.Sub(time.Unix(second+1, 0)), 0)
		s := Sent{Reserved: now.Add(-age), Requests: n, ClockSet: isSet || second <= c.clock.set}
		for _, s.Key = range c.keysOf(second) {
			sent = append(sent, s)
		}
	}
	return sent
}

// keysOf returns the names of the keys that requests of a second may have been for.
func (s *accountState) keysOf(second int64) (names []string) {
	if len(s.keys) == 0 || second < s.keys[0].since-keySlack {
		return []string{""}
	}
	for i, k := range s.keys {
		last := i == len(s.keys)-1
		if second >= k.since-keySlack && (last || second <= s.keys[i+1].since+keySlack) && !slices.Contains(names, k.key) {
			names = append(names, k.key)
		}
	}
	return names
}

// KeepRequests is the housekeeping of the log of requests, which Sweep includes: it notes how much time has passed, so
// that it is known after a reboot, and forgets requests that have left every window of the quota.
func (j *Jobs) KeepRequests(now time.Time) error {
	if c := j.committed.Load(); c.requests.Len() == 0 || now.Sub(c.clock.noted) < noteEvery {
		return nil
	}
	return j.apply(func(t *transaction) {
		t.note(now)
		t.forgetRequests(now)
	})
}

// forgetRequests forgets requests that have left every window of the quota, and the keys that they were for.
func (t *transaction) forgetRequests(now time.Time) {
	cutoff := t.clock.now(now).Add(-max(t.options.RequestsKept, minKept)).Unix()
	for second := range t.requests.Copy().Scan {
		if second >= cutoff {
			break
		}
		t.requests.remove(second)
	}
	if t.clock.set < cutoff {
		t.clock.set = 0
	}
	for len(t.keys) > 1 && t.keys[1].since+keySlack < cutoff {
		t.keys = t.keys[1:]
	}
}

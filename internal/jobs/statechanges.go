package jobs

import (
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// A StateChange is a change of a job's state that was observed and is not delivered
// yet. A face that must emit each one exactly once finds them here until it has.
type StateChange struct {
	Number uint64 // in order of observation; it does not come again
	// At is the time of the observation, moved by nanoseconds if needed: it is unique within the account.
	At  time.Time
	Job Job // after the change, with times that have no monotonic clock reading
	// Timings of the words of a completed job, with Options.WordPoints.
	Timings []transcript.Timing
	// HeldUntil is when the change may be emitted at the earliest: until then, the outputs of another process, which
	// has handed over the account, may accept it. Zero: at once. It is not stored.
	HeldUntil time.Time
}

// HoldFor is how long a state change is held that the owner before has emitted and no output has accepted when it hands
// over the account. A Telegraf that stops writes its buffers once more.
const HoldFor = 30 * time.Second

const (
	// clockSlack is how far a clock may be behind the newest state change and still count
	// as one that ticks slowly. A clock that is further behind was set, and is believed.
	clockSlack = time.Second
	// maxTimings bounds the timings that undelivered state changes hold: 50 MB. State
	// changes beyond it are kept without.
	maxTimings = 1_000_000
)

// stateChanges are the undelivered state changes.
type stateChanges struct {
	waiting table[uint64, *StateChange] // by number
	number  uint64                      // of the newest
	at      time.Time                   // of the newest
	timings int                         // of all that wait
}

// changed records that an observation changed a job's state.
func (t *transaction) changed(j *Job, o Observation) {
	if t.options.MaxStateChanges == 0 {
		return
	}
	s := &t.changes
	c := &StateChange{Number: s.number + 1, At: o.At.Round(0), Job: j.byWallClock()}
	if behind := s.at.Sub(c.At); behind >= 0 && behind < clockSlack {
		c.At = s.at.Add(1)
	}
	if t.options.WordPoints && o.Result != nil && o.Result.Words > 0 {
		if s.timings+len(o.Result.Timings) <= maxTimings {
			c.Timings = o.Result.Timings
		} else {
			t.counts.add(TimingsDropped, 1)
		}
	}
	s.insert(c)
	s.waiting.changed.add(c.Number)
}

// byWallClock returns the job with times as they are stored, so that figures derived
// from them are the same before and after a restart.
func (j *Job) byWallClock() Job {
	c := j.next()
	for _, t := range []*time.Time{&c.FirstSeen, &c.LastObserved, &c.FinishedAt} {
		*t = t.Round(0)
	}
	return *c
}

func (s *stateChanges) insert(c *StateChange) {
	s.waiting.Set(c.Number, c)
	s.timings += len(c.Timings)
	s.number, s.at = c.Number, c.At
}

// remove ignores numbers that do not wait.
func (s *stateChanges) remove(number uint64) {
	if c, waits := s.waiting.Get(number); waits {
		s.timings -= len(c.Timings)
		s.waiting.remove(number)
	}
}

// hold notes that a state change may be accepted elsewhere until a time. It ignores numbers that do not wait.
func (s *stateChanges) hold(number uint64, until time.Time) {
	if c, waits := s.waiting.Get(number); waits {
		held := *c
		held.HeldUntil = until
		s.waiting.Set(number, &held)
	}
}

// StateChanges returns at most limit undelivered state changes, the oldest first. They are
// shared, and immutable.
func (j *Jobs) StateChanges(limit int) []*StateChange {
	waiting := j.committed.Load().changes.waiting
	changes := make([]*StateChange, 0, min(limit, waiting.Len()))
	for _, c := range waiting.Scan {
		if len(changes) == limit {
			break
		}
		changes = append(changes, c)
	}
	return changes
}

// Delivered removes state changes, by number. It ignores numbers that are not waiting.
func (j *Jobs) Delivered(numbers []uint64) error {
	return j.apply(func(t *transaction) {
		for _, number := range numbers {
			t.changes.remove(number)
		}
	})
}

package jobs

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/tidwall/btree"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// A StateChange is a job's change of state that was observed. A face that must
// tell of each one finds them in the outbox until it has.
type StateChange struct {
	Number uint64 // in order of observation
	// At is when it was observed, give or take nanoseconds: no two changes of an
	// account have the same time.
	At  time.Time
	Job Job // as it was then
	// Timings are those of the words of a completed job, where they are kept.
	Timings []transcript.Timing
}

// settled is how far a clock may be behind the newest change and still be taken
// for one that ticks slowly: the change then follows by a nanosecond. A clock that
// is further behind has been set, and is believed.
const settled = time.Second

// maxTimings is how many words' timings wait at most: 50 MB. The changes that are too
// many wait without.
const maxTimings = 1_000_000

// An outbox holds the changes of state that wait to be delivered.
type outbox struct {
	waiting btree.Map[uint64, *StateChange] // by number
	number  uint64                          // of the newest
	at      time.Time                       // of the newest
	timings int                             // of all that wait
}

// A posting is what a group of operations does to an outbox.
type posting struct {
	outbox  *outbox
	limit   int
	words   bool // changes come with the timings of words
	added   []*StateChange
	leaving map[uint64]bool // delivered or dropped
	timings int             // of those added
	bare    uint64          // how many were added without the timings that they should have
}

func (b *outbox) begin(o *Options) posting {
	return posting{outbox: b, limit: o.MaxChanges, words: o.WordPoints, leaving: make(map[uint64]bool)}
}

// add notes that an observation has changed a job's state.
func (p *posting) add(j *Job, o Observation) {
	if p.limit == 0 {
		return
	}
	number, newest := p.outbox.number, p.outbox.at
	if n := len(p.added); n > 0 {
		number, newest = p.added[n-1].Number, p.added[n-1].At
	}
	c := &StateChange{Number: number + 1, At: o.At.Round(0), Job: j.byWallClock()}
	if behind := newest.Sub(c.At); behind >= 0 && behind < settled {
		c.At = newest.Add(1)
	}
	if p.words && o.Result != nil && o.Result.Words > 0 {
		if n := len(o.Result.Timings); p.outbox.timings+p.timings+n <= maxTimings {
			c.Timings = o.Result.Timings
			p.timings += n
		} else {
			p.bare++
		}
	}
	p.added = append(p.added, c)
}

// byWallClock returns the job with times as they are stored: whoever reads the
// change works out the same figures before a restart and after.
func (j *Job) byWallClock() Job {
	c := *j
	for _, t := range []*time.Time{&c.FirstSeen, &c.SubmittedAt, &c.LastObserved, &c.FinishedAt} {
		*t = t.Round(0)
	}
	return c
}

// deliver notes that changes have been delivered; others than those that wait are
// passed over.
func (p *posting) deliver(numbers []uint64) {
	for _, number := range numbers {
		if _, waits := p.outbox.waiting.Get(number); waits {
			p.leaving[number] = true
		}
	}
}

// bound drops the oldest changes where too many would wait, and returns how many.
func (p *posting) bound() (dropped uint64) {
	if p.limit == 0 {
		return 0
	}
	excess := p.outbox.waiting.Len() - len(p.leaving) + len(p.added) - p.limit
	p.outbox.waiting.Scan(func(number uint64, _ *StateChange) bool {
		if excess <= 0 {
			return false
		}
		if !p.leaving[number] {
			p.leaving[number] = true
			dropped++
			excess--
		}
		return true
	})
	if excess > 0 {
		p.added = p.added[excess:]
		dropped += uint64(excess)
	}
	return dropped
}

// install makes the posting visible.
func (b *outbox) install(p *posting) {
	for number := range p.leaving {
		if c, waits := b.waiting.Delete(number); waits {
			b.timings -= len(c.Timings)
		}
	}
	for _, c := range p.added {
		b.waiting.Set(c.Number, c)
		b.timings += len(c.Timings)
		b.number, b.at = c.Number, c.At
	}
}

// Changes returns the changes of state that wait to be delivered, the oldest
// first, at most limit. Their statistics and timings are shared and do not change.
func (r *Register) Changes(limit int) []StateChange {
	r.mu.RLock()
	defer r.mu.RUnlock()
	changes := make([]StateChange, 0, min(limit, r.outbox.waiting.Len()))
	r.outbox.waiting.Scan(func(_ uint64, c *StateChange) bool {
		if len(changes) == limit {
			return false
		}
		changes = append(changes, *c)
		return true
	})
	return changes
}

// Delivered takes changes out of the outbox. Numbers that do not wait there are
// passed over.
func (r *Register) Delivered(_ context.Context, numbers []uint64) error {
	return r.apply(func(c *change) { c.outbox.deliver(numbers) })
}

// storedChange is what the column job of a stored change has.
type storedChange struct {
	API             string                 `json:"api,omitzero"`
	Source          submission.Source      `json:"source"`
	Labels          map[string]string      `json:"labels,omitzero"`
	AudioSeconds    float64                `json:"audio_seconds,omitzero"`
	ErrorCode       string                 `json:"error_code,omitzero"`
	FirstSeen       time.Time              `json:"first_seen"`
	SubmittedAt     time.Time              `json:"submitted_at,omitzero"`
	LastObserved    time.Time              `json:"last_observed,omitzero"`
	FinishedAt      time.Time              `json:"finished_at,omitzero"`
	DetectionWindow int64                  `json:"detection_window_nanoseconds,omitzero"`
	Statistics      *transcript.Statistics `json:"statistics,omitzero"`
	Timings         [][6]float64           `json:"timings,omitzero"` // fields of transcript.Timing, in their order
}

// row is a change as it is stored.
func (c *StateChange) row() (sqlite.Change, error) {
	j := &c.Job
	s := storedChange{
		API: j.API, Source: j.Source, Labels: j.Labels, AudioSeconds: j.AudioSeconds, ErrorCode: j.ErrorCode,
		FirstSeen: j.FirstSeen, SubmittedAt: j.SubmittedAt, LastObserved: j.LastObserved, FinishedAt: j.FinishedAt,
		DetectionWindow: int64(j.DetectionWindow), Statistics: j.Statistics,
	}
	for _, t := range c.Timings {
		s.Timings = append(s.Timings, [6]float64{float64(t.Index), t.Start, t.End, t.Gap, t.Confidence, float64(t.Speaker)})
	}
	text, err := json.Marshal(s, asStored)
	return sqlite.Change{Number: c.Number, RequestID: j.RequestID, State: j.State.String(), At: c.At, Job: text}, err
}

// changeOf is the change that a row is about.
func changeOf(r *sqlite.Change) (*StateChange, error) {
	var s storedChange
	if err := json.Unmarshal(r.Job, &s, asStored); err != nil {
		return nil, err
	}
	c := &StateChange{Number: r.Number, At: r.At, Job: Job{
		RequestID: r.RequestID, State: State(slices.Index(States[:], r.State)),
		API: s.API, Source: s.Source, Labels: s.Labels, AudioSeconds: s.AudioSeconds, ErrorCode: s.ErrorCode,
		FirstSeen: s.FirstSeen, SubmittedAt: s.SubmittedAt, LastObserved: s.LastObserved, FinishedAt: s.FinishedAt,
		DetectionWindow: time.Duration(s.DetectionWindow), Statistics: s.Statistics,
	}}
	if c.Job.State < 0 {
		return nil, fmt.Errorf("unknown state %q", r.State)
	}
	for _, t := range s.Timings {
		c.Timings = append(c.Timings, transcript.Timing{Index: int(t[0]), Start: t[1], End: t[2], Gap: t[3], Confidence: t[4], Speaker: int(t[5])})
	}
	return c, nil
}

// load takes in what is stored, and returns how many rows make no sense.
func (b *outbox) load(rows []sqlite.Change) (corrupt uint64) {
	for i := range rows {
		c, err := changeOf(&rows[i])
		if err != nil {
			corrupt++
			continue
		}
		b.waiting.Set(c.Number, c)
		b.number, b.at = c.Number, c.At
		b.timings += len(c.Timings)
	}
	return corrupt
}

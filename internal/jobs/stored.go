package jobs

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// format are the options of all stored JSON. Invalid UTF-8 becomes U+FFFD: a bad label
// must not fail the other operations of its commit.
var format = json.JoinOptions(json.Deterministic(true), jsontext.AllowInvalidUTF8(true))

// decode returns what the store has, and counts the rows that were lost or are unreadable. It was loaded from now on,
// which took some time. before is what was known of the jobs until now.
func (j *Jobs) decode(contents *store.Contents, before index, now time.Time, took time.Duration) *accountState {
	s, corrupt := newAccountState(now), contents.Lost
	s.clock.store, s.clock.loaded, s.clock.took = contents.Now, now, took
	for i := range contents.Totals {
		load := s.totals.load
		if contents.Totals[i].Name == requestsTotal {
			load = func(row *store.Total) error { return s.loadRequests(row, now) }
		}
		if load(&contents.Totals[i]) != nil {
			corrupt++
		}
	}
	loaded := make([]*Job, 0, len(contents.Jobs))
	for i := range contents.Jobs {
		s.sequence = max(s.sequence, contents.Jobs[i].Sequence)
		job, err := s.jobOf(&contents.Jobs[i], now)
		if err != nil {
			corrupt++
			continue
		}
		if old, known := before.Get(job.RequestID); known {
			job = old.reloaded(job, contents.Jobs[i].FirstSeen)
		}
		loaded = append(loaded, job)
		s.totals.know(apiOf(job))
	}
	s.load(loaded)
	s.departed.load(contents.Departed)
	for _, r := range contents.Requests {
		s.requests.Set(r.Second, r.Count)
	}
	s.learnt = contents.Learnt
	for _, row := range contents.Timings {
		if job, tracked := s.jobs.Get(row.RequestID); tracked && job.State.Ended() {
			s.timings.Set(row.RequestID, row.Packed)
			s.timed.Set(job)
		}
	}
	for i := range contents.StateChanges {
		s.changes.number = contents.StateChanges[i].Number
		c, err := stateChangeOf(&contents.StateChanges[i])
		if err != nil {
			corrupt++
			continue
		}
		s.changes.insert(c)
	}
	if corrupt > 0 {
		j.count(func(c increments) { c.add(CorruptRecords, float64(corrupt)) })
	}
	return s
}

// load inserts jobs in the order of their IDs. It adds to each tree in its order, or nearly, which is fast.
func (s *accountState) load(loaded []*Job) {
	type place struct { // without a look at the job, sorting takes half the time
		sequence uint64
		job      *Job
	}
	places := make([]place, len(loaded))
	for i, j := range loaded {
		s.jobs.Load(j)
		s.tally(j, 1)
		places[i] = place{j.Sequence, j}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.sequence, b.sequence) })
	for _, p := range places {
		_, byTime := s.orders(p.job.State)
		byTime.Load(p.job)
	}
	for _, p := range slices.Backward(places) {
		byRegistration, _ := s.orders(p.job.State)
		byRegistration.Load(p.job)
	}
}

// row encodes a job.
func (j *Job) row() (store.Job, error) {
	r := store.Job{
		RequestID: j.RequestID, Sequence: j.Sequence, API: j.API, Source: string(j.Source),
		State: j.State.String(), ErrorCode: j.ErrorCode, Labels: j.Labels,
		AudioSeconds: j.AudioSeconds, Priority: j.Priority,
		FirstSeen: j.FirstSeen.UTC(), SubmittedAt: j.SubmittedAt.Time(),
		LastObserved: j.LastObserved.UTC(), FinishedAt: j.FinishedAt.UTC(),
		DetectionWindow: j.DetectionWindow,
	}
	if j.Statistics == nil {
		return r, nil
	}
	var err error
	if r.Statistics, err = json.Marshal(j.Statistics, format); err != nil {
		return r, fmt.Errorf("encoding statistics: %w", err)
	}
	return r, nil
}

// jobOf decodes a job.
func (s *accountState) jobOf(r *store.Job, now time.Time) (*Job, error) {
	j := &Job{
		RequestID: r.RequestID, Sequence: r.Sequence,
		Origin:       s.origins.of(r.API, submission.Source(r.Source), r.Priority, r.Labels),
		AudioSeconds: r.AudioSeconds, FirstSeen: carryOver(r.FirstSeen, now),
		SubmittedAt: InstantOf(r.SubmittedAt), Observed: nothing,
	}
	if math.IsInf(r.AudioSeconds, 0) || math.IsInf(r.Priority, 0) { // no JSON has it, of a state change or for the API
		return nil, errors.New("a number is infinite")
	}
	is := State(slices.Index(States[:], r.State))
	if is < 0 {
		return nil, fmt.Errorf("unknown state %q", r.State)
	}
	if is == Pending && r.LastObserved.IsZero() {
		return j, nil
	}
	j.Observed = &Observed{
		State: is, LastObserved: carryOver(r.LastObserved, now), FinishedAt: carryOver(r.FinishedAt, now),
		ErrorCode: shared(r.ErrorCode), DetectionWindow: r.DetectionWindow,
	}
	if r.Statistics != nil {
		if err := json.Unmarshal(r.Statistics, &j.Statistics); err != nil {
			return nil, fmt.Errorf("decoding statistics: %w", err)
		}
	}
	return j, nil
}

// reloaded returns a job that was loaded again, with what is not stored: if nothing else was stored of it meanwhile, it
// is the one from before. The wall clock may have been set since it was registered: its times keep the readings of the
// monotonic clock, or else it would age by that.
func (j *Job) reloaded(again *Job, firstSeen time.Time) *Job {
	switch {
	case again.Sequence != j.Sequence, !firstSeen.Equal(j.FirstSeen.Round(0)):
		return again // another job with that ID
	case again.State == j.State:
		return j
	}
	again.FirstSeen = j.FirstSeen
	return again
}

// carryOver gives a time that was stored, or noted by another replica, the reading of the monotonic clock that it would
// have had here, so that jumps of the wall clock do not change its order with later times. One after now becomes now:
// that clock was ahead. A job that begins in the future would not be polled, and one that ended there would not leave.
func carryOver(t, now time.Time) time.Time {
	switch age := now.Round(0).Sub(t); {
	case t.IsZero():
		return t
	case age < 0:
		return now
	default:
		return now.Add(-age)
	}
}

// storedChange is the JSON of a state change's job.
type storedChange struct {
	API                    string                 `json:"api,omitzero"`
	Source                 submission.Source      `json:"source"`
	Labels                 map[string]string      `json:"labels,omitempty"`
	AudioSeconds           float64                `json:"audio_seconds,omitzero"`
	Priority               float64                `json:"priority,omitzero"` // absent: 1
	ErrorCode              string                 `json:"error_code,omitzero"`
	FirstSeen              time.Time              `json:"first_seen"`
	SubmittedAt            time.Time              `json:"submitted_at,omitzero"`
	LastObserved           time.Time              `json:"last_observed,omitzero"`
	FinishedAt             time.Time              `json:"finished_at,omitzero"`
	DetectionWindowSeconds float64                `json:"detection_window_seconds,omitzero"`
	Statistics             *transcript.Statistics `json:"statistics,omitzero"`
	Timings                []storedTiming         `json:"timings,omitempty"`
}

// storedTiming is the JSON of a word's timing; what is unknown is absent.
type storedTiming struct {
	Index      int      `json:"index"`
	Start      float64  `json:"start"`
	End        float64  `json:"end"`
	Gap        *float64 `json:"gap,omitzero"`
	Confidence *float64 `json:"confidence,omitzero"`
	Speaker    *int     `json:"speaker,omitzero"`
}

func known(v float64) *float64 {
	if math.IsNaN(v) {
		return nil
	}
	return &v
}

func orNaN(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

// storedTimings encodes timings.
func storedTimings(timings []transcript.Timing) (all []storedTiming) {
	for _, t := range timings {
		stored := storedTiming{t.Index, t.Start, t.End, known(t.Gap), known(t.Confidence), nil}
		if t.Speaker >= 0 {
			stored.Speaker = &t.Speaker
		}
		all = append(all, stored)
	}
	return all
}

// timingsOf decodes timings.
func timingsOf(stored []storedTiming) (timings []transcript.Timing) {
	for _, s := range stored {
		t := transcript.Timing{
			Index: s.Index, Start: s.Start, End: s.End, Gap: orNaN(s.Gap), Confidence: orNaN(s.Confidence), Speaker: -1,
		}
		if s.Speaker != nil {
			t.Speaker = *s.Speaker
		}
		timings = append(timings, t)
	}
	return timings
}

// row encodes a state change.
func (c *StateChange) row() (store.StateChange, error) {
	j := &c.Job
	s := storedChange{
		API: j.API, Source: j.Source, Labels: j.Labels, AudioSeconds: j.AudioSeconds, ErrorCode: j.ErrorCode,
		FirstSeen: j.FirstSeen.UTC(), SubmittedAt: j.SubmittedAt.Time(),
		LastObserved: j.LastObserved.UTC(), FinishedAt: j.FinishedAt.UTC(),
		DetectionWindowSeconds: j.DetectionWindow.Seconds(), Statistics: j.Statistics,
		Timings: storedTimings(c.Timings),
	}
	if j.Priority != 1 {
		s.Priority = j.Priority
	}
	encoded, err := json.Marshal(s, format)
	if err != nil {
		err = fmt.Errorf("encoding a state change: %w", err)
	}
	return store.StateChange{
		Number: c.Number, RequestID: j.RequestID, State: j.State.String(), At: c.At.UTC(), Job: encoded,
	}, err
}

// stateChangeOf decodes a state change.
func stateChangeOf(r *store.StateChange) (*StateChange, error) {
	var s storedChange
	if err := json.Unmarshal(r.Job, &s); err != nil {
		return nil, fmt.Errorf("decoding a state change: %w", err)
	}
	window := time.Duration(math.Round(s.DetectionWindowSeconds * float64(time.Second)))
	c := &StateChange{Number: r.Number, At: r.At, Timings: timingsOf(s.Timings), Job: Job{
		RequestID: r.RequestID, Origin: &Origin{s.API, s.Source, cmp.Or(s.Priority, 1), s.Labels},
		AudioSeconds: s.AudioSeconds, FirstSeen: s.FirstSeen, SubmittedAt: InstantOf(s.SubmittedAt), Observed: &Observed{
			State: State(slices.Index(States[:], r.State)), LastObserved: s.LastObserved, FinishedAt: s.FinishedAt,
			ErrorCode: s.ErrorCode, DetectionWindow: window, Statistics: s.Statistics,
		},
	}}
	if c.Job.State < 0 {
		return nil, fmt.Errorf("unknown state %q", r.State)
	}
	return c, nil
}

package jobs

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// This file has the messages in which a replica writes to the owner of an account: the owner applies them as if it had
// been told itself. docs/storage.md describes them. A message is read as a whole before anything of it is applied.

// The kinds of messages.
const (
	registerMessage  = store.RegisterMessage
	removeMessage    = store.RemoveMessage
	webhookMessage   = "webhook"
	countsMessage    = "counts"
	deliveredMessage = "delivered"
	emittedMessage   = "emitted"
)

// A registration is the JSON of a message that a job is to be tracked. Labels are all that were given.
type registration struct {
	At           time.Time         `json:"at"`
	Source       submission.Source `json:"source"`
	API          string            `json:"api,omitzero"`
	Labels       map[string]string `json:"labels,omitempty"`
	AudioSeconds float64           `json:"audio_seconds,omitzero"`
	Priority     float64           `json:"priority,omitzero"`
	SubmittedAt  time.Time         `json:"submitted_at,omitzero"`
	AgeUnknown   bool              `json:"age_unknown,omitzero"`
}

// A hook is the JSON of a message that a webhook came. It has the figures of the result, and no text.
type hook struct {
	At         time.Time              `json:"at"`
	State      string                 `json:"state"`
	ErrorCode  string                 `json:"error_code,omitzero"`
	Adopt      bool                   `json:"adopt,omitzero"`
	Statistics *transcript.Statistics `json:"statistics,omitzero"`
	// The values behind the distributions, with the exemplars that the totals show.
	WordConfidence *histogram.Histogram `json:"word_confidence_ratio,omitzero"`
	WordDuration   *histogram.Histogram `json:"word_duration_seconds,omitzero"`
	WordGap        *histogram.Histogram `json:"word_gap_seconds,omitzero"`
	// At most one of these is there.
	Timings []storedTiming `json:"timings,omitempty"`
	Packed  []byte         `json:"packed_timings,omitempty"`
}

// counts is the JSON of a message that has what a replica counted without a job.
type counts struct {
	Webhooks     map[string]uint64 `json:"webhook_requests_total,omitempty"` // by outcome
	SourceErrors map[string]uint64 `json:"source_errors_total,omitempty"`    // by source
	StoreErrors  uint64            `json:"store_errors_total,omitzero"`
}

// numbered is the JSON of a message about state changes, by number: that they were accepted, or that they were emitted
// and may yet be accepted.
type numbered struct {
	Numbers []uint64 `json:"numbers"`
}

// message encodes a message.
func message(kind, requestID string, body any) (store.Message, error) {
	encoded, err := json.Marshal(body, format)
	if err != nil {
		return store.Message{}, fmt.Errorf("encoding a message: %w", err)
	}
	return store.Message{Kind: kind, RequestID: requestID, Body: encoded}, nil
}

// hookOf returns the JSON of an observation by a webhook. Word points need all of the timings; else what the pages show
// is enough.
func hookOf(o *Observation, wordPoints bool) *hook {
	h := &hook{At: o.At.UTC(), State: o.State.String(), ErrorCode: o.ErrorCode, Adopt: o.Adopt}
	r := o.Result
	if r == nil {
		return h
	}
	h.Statistics, h.WordConfidence = &r.Statistics, r.WordConfidences
	h.WordDuration = o.named(r.WordDurations, transcript.WordDurationBounds)
	h.WordGap = o.named(r.WordGaps, transcript.WordGapBounds)
	if wordPoints {
		h.Timings = storedTimings(r.Timings)
	} else {
		h.Packed = o.packedTimings()
	}
	return h
}

// named returns a histogram of the result with exemplars that name the job: others are not encoded.
func (o *Observation) named(h *histogram.Histogram, bounds []float64) *histogram.Histogram {
	if h == nil {
		return nil
	}
	named := histogram.New(bounds)
	named.Merge(h, o.RequestID, o.At)
	return named
}

// receive applies messages of other replicas, and notes that they can be deleted. Those that cannot be read, by damage
// or since they are of a later version, are counted.
func (t *transaction) receive(messages []store.Message, now time.Time) {
	for i := range messages {
		if err := t.receiveOne(&messages[i], now); err != nil {
			t.counts.add(CorruptRecords, 1)
		}
	}
	t.received = append(t.received, messages...)
}

func (t *transaction) receiveOne(m *store.Message, now time.Time) error {
	switch m.Kind {
	case registerMessage:
		return t.receiveRegistration(m, now)
	case removeMessage:
		if m.RequestID == "" {
			return errNoJob
		}
		t.removeJob(m.RequestID)
		return nil
	case webhookMessage:
		return t.receiveWebhook(m, now)
	case countsMessage:
		return t.receiveCounts(m)
	case deliveredMessage, emittedMessage:
		var changes numbered
		if err := json.Unmarshal(m.Body, &changes); err != nil {
			return err
		}
		for _, number := range changes.Numbers {
			if m.Kind == emittedMessage {
				t.changes.hold(number, now.Add(HoldFor))
			} else {
				t.changes.remove(number)
			}
		}
		return nil
	}
	return fmt.Errorf("unknown kind %q", m.Kind)
}

var (
	errNoJob  = errors.New("the job is missing")
	errNoTime = errors.New("the time is missing")
)

func (t *transaction) receiveRegistration(m *store.Message, now time.Time) error {
	var r registration
	if err := json.Unmarshal(m.Body, &r); err != nil {
		return err
	}
	s := submission.Job{
		RequestID: m.RequestID, API: submission.APIName(r.API), AudioSeconds: r.AudioSeconds, Priority: r.Priority,
		SubmittedAt: r.SubmittedAt, Labels: r.Labels,
	}
	switch {
	case r.At.IsZero():
		return errNoTime
	case !slices.Contains(submission.Sources, r.Source):
		return fmt.Errorf("unknown source %q", r.Source)
	}
	if s.AudioSeconds > 0 && s.AudioSeconds < submission.MinAudioSeconds {
		s.AudioSeconds = 0 // an earlier version has acknowledged it
	}
	if err := s.Check(); err != nil {
		return err
	}
	if job := t.track(shared(r.Source), s, carryOver(r.At, now)); job != nil {
		t.events = append(t.events, Event{Kind: Registered, Job: job, At: now, AgeUnknown: r.AgeUnknown})
	}
	return nil
}

func (t *transaction) receiveWebhook(m *store.Message, now time.Time) error {
	h := hook{
		WordConfidence: histogram.New(transcript.RatioBounds),
		WordDuration:   histogram.New(transcript.WordDurationBounds),
		WordGap:        histogram.New(transcript.WordGapBounds),
	}
	if err := json.Unmarshal(m.Body, &h); err != nil {
		return err
	}
	o := Observation{
		RequestID: m.RequestID, At: carryOver(h.At, now), By: ByWebhook, Adopt: h.Adopt,
		State: State(slices.Index(States[:], h.State)), ErrorCode: shared(h.ErrorCode),
	}
	switch {
	case o.RequestID == "":
		return errNoJob
	case h.At.IsZero():
		return errNoTime
	case o.State != Completed && o.State != Failed:
		return fmt.Errorf("%q is no end of a job", h.State)
	}
	if h.Statistics != nil {
		var err error
		if o.Result, err = h.result(); err != nil {
			return err
		}
		o.packed = h.Packed
	}
	t.observe(o)
	return nil
}

// result decodes the result, which has statistics.
func (h *hook) result() (*transcript.Result, error) {
	r := &transcript.Result{Statistics: *h.Statistics, Timings: timingsOf(h.Timings)}
	for to, from := range map[**histogram.Histogram]*histogram.Histogram{
		&r.WordConfidences: h.WordConfidence, &r.WordDurations: h.WordDuration, &r.WordGaps: h.WordGap,
	} {
		if from != nil && from.Count() > 0 {
			*to = from
		}
	}
	// What is negative would take counters back.
	for i := range transcript.Figures {
		if transcript.Figures[i].Value(&r.Statistics) < 0 {
			return nil, errors.New("a negative figure")
		}
	}
	if slices.Min(r.Anomalies[:]) < 0 {
		return nil, errors.New("a negative number of anomalies")
	}
	if slices.ContainsFunc(r.Timings, func(t transcript.Timing) bool { return !t.Valid() }) {
		return nil, errors.New("a timing that cannot be")
	}
	if h.Packed != nil {
		if _, err := transcript.UnpackTimings(h.Packed); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (t *transaction) receiveCounts(m *store.Message) error {
	var c counts
	if err := json.Unmarshal(m.Body, &c); err != nil {
		return err
	}
	for _, outcome := range WebhookOutcomes {
		t.count(WebhookRequests, c.Webhooks[outcome], outcome)
	}
	for _, source := range submission.Sources {
		t.count(SourceErrors, c.SourceErrors[string(source)], string(source))
	}
	t.count(StoreErrors, c.StoreErrors)
	return nil
}

func (t *transaction) count(total *Total, n uint64, values ...string) {
	if n > 0 {
		t.counts.add(total, float64(n), values...)
	}
}

package jobs

import (
	"maps"
	"math"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// Classic bucket bounds of the histograms over jobs and requests; those over
// words are in package transcript.
var (
	JobDurationBounds = []float64{1, 5, 15, 30, 60, 120, 300, 600, 1200, 3600, 7200, 14400, 43200, 86400} // seconds
	SpeechRateBounds  = []float64{.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 7}                                    // words per second
	SpeakersBounds    = []float64{1, 2, 3, 4, 5, 6, 8, 10}
	APIRequestBounds  = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10} // seconds
)

// An Eviction is why a job, or its series, left.
type Eviction int

// The evictions.
const (
	ByRetention Eviction = iota // it ended longer ago than the retention: it leaves the register
	ByLimit                     // more jobs than may have series of their own: it loses its series
)

// Evictions are the names of the evictions, as the label `reason` has them.
var Evictions = [...]string{"retention", "limit"}

// A WebhookOutcome is what became of a webhook.
type WebhookOutcome int

// The outcomes of webhooks.
const (
	WebhookAccepted     WebhookOutcome = iota // it ended its job
	WebhookDuplicate                          // its job had ended
	WebhookAdopted                            // it ended a job that nobody had registered
	WebhookUnknownJob                         // nobody had registered its job, and it was not adopted
	WebhookUnauthorized                       // it came without the token
	WebhookMalformed                          // it is no webhook of the vendor's
	WebhookTooLarge                           // it is over the size limit
	WebhookStoreError                         // what it says could not be kept
)

// WebhookOutcomes are the names of the outcomes, as the label `outcome` has them.
var WebhookOutcomes = [...]string{
	"accepted", "duplicate", "adopted", "unknown_job", "unauthorized", "malformed", "too_large", "store_error",
}

// Results are the states that are ends, in the order in which Totals counts them.
var Results = [...]State{Completed, Failed, Lost}

// Counts are what is counted beside observations.
type Counts struct {
	APIRequests      [len(jobstatus.Outcomes)]uint64
	APIDuration      *histogram.Histogram // seconds
	APIUnknownStates uint64
	Webhooks         [len(WebhookOutcomes)]uint64
	SourceErrors     bySource
}

func newCounts() Counts {
	return Counts{APIDuration: histogram.New(APIRequestBounds), SourceErrors: make(map[submission.Source]uint64)}
}

// add adds other counts.
func (c *Counts) add(o *Counts) {
	for i, n := range o.APIRequests {
		c.APIRequests[i] += n
	}
	c.APIDuration.Merge(o.APIDuration, "", time.Time{})
	c.APIUnknownStates += o.APIUnknownStates
	for i, n := range o.Webhooks {
		c.Webhooks[i] += n
	}
	for source, n := range o.SourceErrors {
		c.SourceErrors[source] += n
	}
}

// Totals only ever grow, from Created on.
type Totals struct {
	Created time.Time
	Counts

	Registered bySource
	Finished   [len(Results)]uint64 // each job once, at its first end
	Evicted    [len(Evictions)]uint64

	JobDuration     [len(Results)]*histogram.Histogram // seconds
	DetectionWindow *histogram.Histogram               // seconds

	// Over the results of jobs.
	TranscriptConfidence, SpeechRate, Speakers, DominantSpeaker *histogram.Histogram
	WordConfidence, WordDuration, WordGap                       *histogram.Histogram
	Words, WordOverlaps                                         uint64
	SpeechSeconds                                               float64
	WordAnomalies                                               [len(transcript.Anomalies)]uint64

	StoreErrors    uint64
	CorruptRecords uint64
	ChangesDropped uint64 // changes of state that left the outbox without having been delivered
	TimingsDropped uint64 // changes of state whose words' timings were too many to wait with them
}

func newTotals(created time.Time) *Totals {
	t := &Totals{
		Created:              created,
		Counts:               newCounts(),
		Registered:           make(map[submission.Source]uint64),
		DetectionWindow:      histogram.New(JobDurationBounds),
		TranscriptConfidence: histogram.New(transcript.RatioBounds),
		SpeechRate:           histogram.New(SpeechRateBounds),
		Speakers:             histogram.New(SpeakersBounds),
		DominantSpeaker:      histogram.New(transcript.RatioBounds),
		WordConfidence:       histogram.New(transcript.RatioBounds),
		WordDuration:         histogram.New(transcript.WordDurationBounds),
		WordGap:              histogram.New(transcript.WordGapBounds),
	}
	for i := range t.JobDuration {
		t.JobDuration[i] = histogram.New(JobDurationBounds)
	}
	return t
}

// counters are a row of named counts, stored as an object.
type counters struct {
	names  []string
	counts []uint64
}

func (c counters) MarshalJSON() ([]byte, error) {
	object := make(map[string]uint64, len(c.names))
	for i, name := range c.names {
		object[name] = c.counts[i]
	}
	return json.Marshal(object, json.Deterministic(true))
}

// bySource is a count for each source; never nil, also where null was stored.
type bySource map[submission.Source]uint64

func (b *bySource) UnmarshalJSON(text []byte) error {
	counts := make(map[submission.Source]uint64)
	err := json.Unmarshal(text, &counts)
	if err == nil && counts != nil {
		*b = counts
	}
	return err
}

func (c counters) UnmarshalJSON(text []byte) error {
	var object map[string]uint64
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	for i, name := range c.names {
		c.counts[i] = object[name]
	}
	return nil
}

// stored are the totals as they are stored: pointers to what can be marshaled and
// unmarshaled, by name.
func (t *Totals) stored() map[string]any {
	parts := map[string]any{
		"created":               &t.Created,
		"jobs_registered":       &t.Registered,
		"jobs_finished":         &counters{resultNames[:], t.Finished[:]},
		"jobs_evicted":          &counters{Evictions[:], t.Evicted[:]},
		"detection_window":      t.DetectionWindow,
		"transcript_confidence": t.TranscriptConfidence,
		"speech_rate":           t.SpeechRate,
		"speakers":              t.Speakers,
		"dominant_speaker":      t.DominantSpeaker,
		"word_confidence":       t.WordConfidence,
		"word_duration":         t.WordDuration,
		"word_gap":              t.WordGap,
		"words":                 &t.Words,
		"word_overlaps":         &t.WordOverlaps,
		"speech_seconds":        &t.SpeechSeconds,
		"word_anomalies":        &counters{transcript.Anomalies[:], t.WordAnomalies[:]},
		"api_requests":          &counters{jobstatus.Outcomes[:], t.APIRequests[:]},
		"api_duration":          t.APIDuration,
		"api_unknown_states":    &t.APIUnknownStates,
		"webhooks":              &counters{WebhookOutcomes[:], t.Webhooks[:]},
		"source_errors":         &t.SourceErrors,
		"store_errors":          &t.StoreErrors,
		"corrupt_records":       &t.CorruptRecords,
		"changes_dropped":       &t.ChangesDropped,
		"timings_dropped":       &t.TimingsDropped,
	}
	for i, result := range Results {
		parts["job_duration_"+result.String()] = t.JobDuration[i]
	}
	return parts
}

var resultNames = func() (names [len(Results)]string) {
	for i, result := range Results {
		names[i] = result.String()
	}
	return names
}()

// clone returns a copy that shares nothing that changes.
func (t *Totals) clone() *Totals {
	c := *t
	c.Registered = maps.Clone(t.Registered)
	c.SourceErrors = maps.Clone(t.SourceErrors)
	for i := range c.JobDuration {
		c.JobDuration[i] = c.JobDuration[i].Clone()
	}
	for _, h := range []**histogram.Histogram{
		&c.DetectionWindow, &c.TranscriptConfidence, &c.SpeechRate, &c.Speakers, &c.DominantSpeaker,
		&c.WordConfidence, &c.WordDuration, &c.WordGap, &c.APIDuration,
	} {
		*h = (*h).Clone()
	}
	return &c
}

// end counts a job's first end. How long a job took that was first heard of
// through its end is not known.
func (t *Totals) end(j *Job) {
	result := int(j.State - Completed)
	t.Finished[result]++
	if !j.Started() {
		return
	}
	t.JobDuration[result].ObserveExemplar(j.Age(j.FinishedAt).Seconds(), j.RequestID, j.FinishedAt)
	t.DetectionWindow.Observe(j.DetectionWindow.Seconds())
}

// result counts a job's result.
func (t *Totals) result(j *Job, r *transcript.Result) {
	t.TranscriptConfidence.ObserveExemplar(r.Confidence, j.RequestID, j.FinishedAt)
	t.SpeechRate.Observe(r.SpeechRate)
	t.DominantSpeaker.Observe(r.DominantSpeakerRatio)
	t.Speakers.Observe(float64(r.Statistics.Speakers)) // -1, not known, is not counted
	if r.WordConfidences != nil {
		t.WordConfidence.Merge(r.WordConfidences, "", j.FinishedAt)
	}
	if r.WordDurations != nil {
		t.WordDuration.Merge(r.WordDurations, j.RequestID, j.FinishedAt)
	}
	if r.WordGaps != nil {
		t.WordGap.Merge(r.WordGaps, j.RequestID, j.FinishedAt)
	}
	t.Words += uint64(max(r.Words, 0))
	t.WordOverlaps += uint64(max(r.Overlaps, 0))
	if !math.IsNaN(r.SpeechSeconds) {
		t.SpeechSeconds += r.SpeechSeconds
	}
	for i, n := range r.Anomalies {
		t.WordAnomalies[i] += uint64(n)
	}
}

package jobs

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// A Total is a counter or a histogram over all jobs of an account. It is declared
// once, below: what is stored, and what Prometheus shows, follow from the declaration.
type Total struct {
	Name      string // in the store; with the prefix deepaffects_, the name of the metric
	Help      string
	Labels    []Label   // none: there is one series
	Bounds    []float64 // classic upper bounds of a histogram; nil: a counter
	Exemplars bool      // the histogram's exemplars name jobs
}

// A Label is a label of a total, with all values that it can have; nil: those of Totals.apis.
type Label struct {
	Name   string
	Values []string
}

// apiLabel is the name of the label whose values are the APIs of the jobs that were registered so far.
const apiLabel = "api"

// UnknownAPI is the value of the label `api` of a job whose API is unknown. It is not stored: in a stored total an
// absent label means it, also in those of versions without the label.
const UnknownAPI = "unknown"

// apiOf returns the value of the label `api` that counts a job.
func apiOf(j *Job) string {
	if j.API == "" {
		return UnknownAPI
	}
	return submission.KnownAPI(j.API)
}

// Classic bucket bounds. Those over words and results are in package transcript.
var (
	// In seconds.
	jobDurationBounds = []float64{1, 5, 15, 30, 60, 120, 300, 600, 1200, 3600, 7200, 14400, 43200, 86400}
	apiRequestBounds  = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

	speechRateBounds = []float64{.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 7} // words per second
	speakersBounds   = []float64{1, 2, 3, 4, 5, 6, 8, 10}
)

// Results are the names of the states that are ends, as the label `result` shows them.
var Results = States[Completed:]

// The values of the label `reason` of evictions.
const (
	ByRetention = "retention"
	ByLimit     = "limit"
)

func sourceNames() (names []string) {
	for _, s := range submission.Sources {
		names = append(names, string(s))
	}
	return names
}

// A WebhookOutcome is the result of a webhook request.
type WebhookOutcome int

// The outcomes of webhooks.
const (
	WebhookAccepted     WebhookOutcome = iota // it ended its job
	WebhookDuplicate                          // its job had ended before
	WebhookAdopted                            // it ended a job that was not registered
	WebhookUnknownJob                         // its job is not registered, and was not adopted
	WebhookUnauthorized                       // wrong token
	WebhookMalformed                          // not a webhook of the vendor
	WebhookTooLarge                           // over the size limit
	WebhookStoreError                         // could not be stored
)

// WebhookOutcomes are the names of the outcomes, as the label `outcome` shows them.
var WebhookOutcomes = [...]string{
	"accepted", "duplicate", "adopted", "unknown_job", "unauthorized", "malformed", "too_large", "store_error",
}

func (o WebhookOutcome) String() string { return WebhookOutcomes[o] }

// The totals.
var (
	JobsRegistered = counter("jobs_registered_total",
		"Number of jobs that were registered, by their source.").by("source", sourceNames())
	JobsFinished = counter("jobs_finished_total",
		"Number of jobs that finished, each counted once, at its first end.").
		by("result", Results).byAPI()
	JobsEvicted = counter("jobs_evicted_total",
		"Number of jobs that left the store at the end of their retention, or lost their own series to "+
			"max_job_series.").by("reason", []string{ByRetention, ByLimit})
	JobDuration = histogramOf("job_duration_seconds",
		"Time from the submission of a job, or else its registration, until its end was observed, in seconds.",
		jobDurationBounds).by("result", Results).byAPI().withExemplars()
	JobDetectionWindow = histogramOf("job_detection_window_seconds",
		"Time from the last poll that found a job unfinished until its end was observed, in seconds: "+
			"the upper bound of the error of job_duration_seconds.", jobDurationBounds)

	UnreadableResults = counter("unreadable_results_total",
		"Number of jobs that ended without statistics because what the API answers about them stayed unreadable.")
	TranscriptConfidence = histogramOf("transcript_confidence_ratio",
		"Confidence of a result, from 0 to 1.", transcript.RatioBounds).byAPI().withExemplars()
	WordConfidence = histogramOf("word_confidence_ratio",
		"Confidence of a word, from 0 to 1.", transcript.RatioBounds)
	WordDuration = histogramOf("word_duration_seconds",
		"Duration of a word, in seconds.", transcript.WordDurationBounds).withExemplars()
	WordGap = histogramOf("word_gap_seconds",
		"Silence from the end of a word to the start of the next in order of start, in seconds; 0 where they overlap.",
		transcript.WordGapBounds).withExemplars()
	SpeechRate = histogramOf("transcript_speech_rate_words_per_second",
		"Words of a transcript per second of its duration, pauses included.", speechRateBounds)
	TranscriptSpeakers = histogramOf("transcript_speakers",
		"Number of speakers of a result.", speakersBounds)
	DominantSpeaker = histogramOf("dominant_speaker_talk_ratio",
		"Share of the talk time of all speakers of a result that the most talkative speaker has, from 0 to 1.",
		transcript.RatioBounds)
	Words = counter("words_total",
		"Number of words in the transcripts of finished jobs.")
	SpeechSeconds = counter("speech_seconds_total",
		"Sum of the durations of the words, or else of the speech segments, of finished jobs, in seconds.")
	WordOverlaps = counter("word_overlaps_total",
		"Number of words that start before the previous word, in order of start, has ended.")
	WordAnomalies = counter("word_anomalies_total",
		"Number of invalid values in results, which are left out of the statistics, and of words out of order.").
		by("reason", transcript.Anomalies[:])

	APIRequests = counter("api_requests_total",
		"Number of requests to the API, by outcome.").by("outcome", jobstatus.Outcomes[:])
	APIRequestDuration = histogramOf("api_request_duration_seconds",
		"Duration of a request to the API until its response was read, in seconds.", apiRequestBounds)
	APIUnknownStates = counter("api_unknown_states_total",
		"Number of API responses with a state that this version does not know.")

	WebhookRequests = counter("webhook_requests_total",
		"Number of webhooks received, by outcome.").by("outcome", WebhookOutcomes[:])
	SourceErrors = counter("source_errors_total",
		"Number of errors while reading request IDs from the source.").by("source", sourceNames())
	StoreErrors = counter("store_errors_total",
		"Number of failures of the store (commits, slow reservations and looks whether it is still there), "+
			"counted when it can be written again.")
	CorruptRecords = counter("store_corrupt_records_total",
		"Number of stored records that were damaged and left out.")

	// StateChangesDropped and TimingsDropped are not metrics: the Telegraf plugin logs them.
	StateChangesDropped = counter("state_changes_dropped_total",
		"Number of state changes that were dropped because too many were undelivered.")
	TimingsDropped = counter("timings_dropped_total",
		"Number of state changes that were kept without the timings of their words, because those were too many.")
)

var declared []*Total // all totals

func declare(t *Total) *Total {
	declared = append(declared, t)
	return t
}

func counter(name, help string) *Total { return declare(&Total{Name: name, Help: help}) }

func histogramOf(name, help string, bounds []float64) *Total {
	return declare(&Total{Name: name, Help: help, Bounds: bounds})
}

func (t *Total) by(label string, values []string) *Total {
	t.Labels = append(t.Labels, Label{label, values})
	return t
}

func (t *Total) byAPI() *Total { return t.by(apiLabel, nil) }

func (t *Total) withExemplars() *Total { t.Exemplars = true; return t }

// maxLabels is the number of labels that a total can have.
const maxLabels = 2

// A seriesID identifies one series.
type seriesID struct {
	total  *Total
	values [maxLabels]string // of its labels
}

func id(t *Total, values ...string) seriesID {
	id := seriesID{total: t}
	copy(id.values[:], values)
	return id
}

// A series is the value of one series.
type series struct {
	count     float64              // of a counter
	histogram *histogram.Histogram // of a histogram
}

// add returns the sum of two values. It changes neither.
func (s series) add(o series) series {
	switch {
	case s.histogram == nil:
		s.histogram = o.histogram
	case o.histogram != nil:
		s.histogram = s.histogram.Clone()
		s.histogram.Add(o.histogram)
	}
	s.count += o.count
	return s
}

// Totals are the values of all totals at one moment. They are immutable.
type Totals struct {
	Created time.Time // since when they count
	stored  bool      // the store has Created
	series  map[seriesID]series
	apis    []string // values of the label `api`, sorted
}

// Series yields the label values of every series of a total: each value of one label with each of the other. They are
// present, at 0, from the first scrape on, and with the label `api` from the registration of a job of that API.
// Values select those whose first labels have them.
func (t Totals) Series(of *Total, values ...string) iter.Seq[[]string] {
	return func(yield func([]string) bool) { t.each(of.Labels[len(values):], values, yield) }
}

// each yields values followed by each combination of the values of more labels.
func (t Totals) each(more []Label, values []string, yield func([]string) bool) bool {
	if len(more) == 0 {
		return yield(values)
	}
	all := more[0].Values
	if more[0].Name == apiLabel {
		all = t.apis
	}
	for _, v := range all {
		if !t.each(more[1:], append(slices.Clip(values), v), yield) {
			return false
		}
	}
	return true
}

// Counter returns the sum of a counter over the series whose first labels have these values.
func (t Totals) Counter(of *Total, values ...string) (sum float64) {
	for values := range t.Series(of, values...) {
		sum += t.series[id(of, values...)].count
	}
	return sum
}

// Sum returns the sum of a counter over all of its series.
func (t Totals) Sum(of *Total) float64 { return t.Counter(of) }

// Histogram returns the sum of a histogram over the series whose first labels have these values. It must not be
// changed.
func (t Totals) Histogram(of *Total, values ...string) *histogram.Histogram {
	var sum series
	for values := range t.Series(of, values...) {
		sum = sum.add(t.series[id(of, values...)])
	}
	if sum.histogram == nil {
		return histogram.New(of.Bounds)
	}
	return sum.histogram
}

// know makes an API one of those that the label `api` has.
func (t *Totals) know(api string) {
	if i, known := slices.BinarySearch(t.apis, api); !known {
		t.apis = slices.Insert(slices.Clone(t.apis), i, api)
	}
}

// with returns the totals after increments.
func (t Totals) with(d increments) Totals {
	if len(d) == 0 {
		return t
	}
	t.series = maps.Clone(t.series)
	for id, increment := range d {
		t.series[id] = t.series[id].add(increment)
	}
	return t
}

// size returns how much was counted.
func (s series) size() float64 {
	if s.histogram != nil {
		return float64(s.histogram.Count())
	}
	return s.count
}

// have reports whether the totals have increments that the totals before did not have.
func (t *Totals) have(d increments, before *Totals) bool {
	for id := range d {
		if t.series[id].size() > before.series[id].size() {
			return true
		}
	}
	return false
}

// increments are what is to be added to totals.
type increments map[seriesID]series

func (d increments) add(t *Total, n float64, values ...string) {
	s := d[id(t, values...)]
	s.count += n
	d[id(t, values...)] = s
}

// histogram returns the histogram of a series, to be added to.
func (d increments) histogram(t *Total, values ...string) *histogram.Histogram {
	s := d[id(t, values...)]
	if s.histogram == nil {
		s.histogram = histogram.New(t.Bounds)
		d[id(t, values...)] = s
	}
	return s.histogram
}

// addAll adds other increments.
func (d increments) addAll(o increments) {
	for id, increment := range o {
		d[id] = d[id].add(increment)
	}
}

// end counts the first end of a job. The duration of a job that was adopted is unknown.
func (d increments) end(j *Job) {
	result, api := j.State.String(), apiOf(j)
	d.add(JobsFinished, 1, result, api)
	if j.Started() {
		duration := j.Age(j.FinishedAt).Seconds()
		d.histogram(JobDuration, result, api).ObserveExemplar(duration, j.RequestID, j.FinishedAt)
		d.histogram(JobDetectionWindow).Observe(j.DetectionWindow.Seconds())
	}
}

// result counts the result of a job. Histograms ignore unknown (NaN) values.
func (d increments) result(j *Job, r *transcript.Result) {
	d.histogram(TranscriptConfidence, apiOf(j)).ObserveExemplar(r.Confidence, j.RequestID, j.FinishedAt)
	d.histogram(SpeechRate).Observe(r.SpeechRate)
	d.histogram(DominantSpeaker).Observe(r.DominantSpeakerRatio)
	d.histogram(TranscriptSpeakers).Observe(r.Statistics.Speakers)
	for total, of := range map[*Total]*histogram.Histogram{
		WordConfidence: r.WordConfidences, WordDuration: r.WordDurations, WordGap: r.WordGaps,
	} {
		exemplar := ""
		if total.Exemplars {
			exemplar = j.RequestID
		}
		if of != nil {
			d.histogram(total).Merge(of, exemplar, j.FinishedAt)
		}
	}
	for total, n := range map[*Total]float64{Words: r.Words, WordOverlaps: r.Overlaps, SpeechSeconds: r.SpeechSeconds} {
		if !math.IsNaN(n) {
			d.add(total, n)
		}
	}
	for i, n := range r.Anomalies {
		if n > 0 {
			d.add(WordAnomalies, float64(n), transcript.Anomalies[i])
		}
	}
}

// createdTotal is the name of the stored total that has Totals.Created.
const createdTotal = "created"

// addTo adds the series that were incremented to a batch.
func (t *Totals) addTo(b *store.Batch, incremented increments) error {
	for id := range incremented {
		row, err := t.row(id)
		if err != nil {
			return fmt.Errorf("encoding the total %s: %w", id.total.Name, err)
		}
		b.Totals = append(b.Totals, row)
	}
	if t.stored || len(b.Totals) == 0 {
		return nil
	}
	created, err := totalRow(createdTotal, map[string]string{}, t.Created.UTC())
	b.Totals = append(b.Totals, created)
	return err
}

func (t *Totals) row(of seriesID) (store.Total, error) {
	labels := make(map[string]string)
	for i, label := range of.total.Labels {
		if label.Name != apiLabel || of.values[i] != UnknownAPI {
			labels[label.Name] = of.values[i]
		}
	}
	s := t.series[of]
	if s.histogram != nil {
		return totalRow(of.total.Name, labels, s.histogram)
	}
	return totalRow(of.total.Name, labels, s.count)
}

func totalRow(name string, labels map[string]string, value any) (store.Total, error) {
	encodedLabels, err := json.Marshal(labels, format)
	if err != nil {
		return store.Total{}, err
	}
	encoded, err := json.Marshal(value, format)
	return store.Total{Name: name, Labels: string(encodedLabels), Value: jsontext.Value(encoded)}, err
}

// load takes in a stored series. A series that this version does not declare stays in the
// store, untouched. An error says that the row is unreadable.
func (t *Totals) load(row *store.Total) error {
	if row.Name == createdTotal {
		err := json.Unmarshal(row.Value, &t.Created)
		t.stored = err == nil
		return err
	}
	i := slices.IndexFunc(declared, func(d *Total) bool { return d.Name == row.Name })
	if i < 0 {
		return nil
	}
	total := declared[i]
	var labels map[string]string
	if err := json.Unmarshal([]byte(row.Labels), &labels); err != nil {
		return err
	}
	of := seriesID{total: total}
	api := ""
	for i, label := range total.Labels {
		value, labelled := labels[label.Name]
		switch {
		case label.Name == apiLabel:
			api = cmp.Or(value, UnknownAPI)
			value = api
		case !labelled:
			return nil
		}
		of.values[i] = value
		delete(labels, label.Name)
	}
	if len(labels) > 0 {
		return nil
	}
	var s series
	var into any = &s.count
	if total.Bounds != nil {
		s.histogram = histogram.New(total.Bounds)
		into = s.histogram
	}
	if err := json.Unmarshal(row.Value, into); err != nil {
		return err
	}
	t.series[of] = s
	if api != "" {
		t.know(api)
	}
	return nil
}

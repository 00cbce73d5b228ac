package transcript

import "math"

// A Unit is the unit of a figure.
type Unit int

// The units.
const (
	Count          Unit = iota // a whole number
	Ratio                      // 0 to 1
	Seconds                    // seconds
	WordsPerSecond             // words per second
)

// A Figure declares one number about a result, for all that show it.
type Figure struct {
	Name   string // in JSON
	Field  string // of the Telegraf measurement deepaffects_job; its type is int64 for a Count, else float64
	Metric string // of each job in Prometheus, without the prefix; empty: none
	Label  string // on the page of a job
	Help   string // of the metric
	Unit   Unit

	of func(*Statistics) *float64
}

// Figures are the figures of a result, in the order in which they are shown.
var Figures = []Figure{
	{
		Name: "confidence", Field: "confidence", Metric: "job_confidence_ratio", Label: "Confidence", Unit: Ratio,
		Help: "Confidence of the job's result, from 0 to 1: its own, else the mean over its words or segments.",
		of:   func(s *Statistics) *float64 { return &s.Confidence },
	},
	{
		Name: "speakers", Field: "num_speakers", Metric: "job_speakers", Label: "Speakers", Unit: Count,
		Help: "Number of speakers in the job's result.",
		of:   func(s *Statistics) *float64 { return &s.Speakers },
	},
	{
		Name: "words", Field: "words", Metric: "job_words", Label: "Words", Unit: Count,
		Help: "Number of words in the job's transcript.",
		of:   func(s *Statistics) *float64 { return &s.Words },
	},
	{
		Name: "speech_seconds", Field: "speech_seconds", Metric: "job_speech_seconds", Label: "Speech", Unit: Seconds,
		Help: "Sum of the durations of the words in the job's result, or of its speech segments if it has no words, " +
			"in seconds.",
		of: func(s *Statistics) *float64 { return &s.SpeechSeconds },
	},
	{
		Name: "duration_seconds", Field: "transcript_seconds", Metric: "job_transcript_duration_seconds",
		Label: "Recording", Unit: Seconds,
		Help: "End of the last word in the job's result, or of its last segment if it has no words, " +
			"in seconds from the start of the recording.",
		of: func(s *Statistics) *float64 { return &s.DurationSeconds },
	},
	{
		Name: "speech_rate", Field: "speech_rate", Label: "Words per second", Unit: WordsPerSecond,
		of: func(s *Statistics) *float64 { return &s.SpeechRate },
	},
	{
		Name: "dominant_speaker_ratio", Field: "dominant_speaker_ratio", Label: "Dominant speaker", Unit: Ratio,
		of: func(s *Statistics) *float64 { return &s.DominantSpeakerRatio },
	},
	{
		Name: "overlaps", Field: "overlaps", Label: "Overlapping words", Unit: Count,
		of: func(s *Statistics) *float64 { return &s.Overlaps },
	},
}

// Value returns the figure's value; NaN if it is unknown.
func (f *Figure) Value(s *Statistics) float64 { return *f.of(s) }

// IsCount reports whether the figure is a whole number.
func (f *Figure) IsCount() bool { return f.Unit == Count }

// A WordDistribution declares the distribution of a value over the words of a result, for all that show it.
type WordDistribution struct {
	Name      string    // in JSON, and before the measures' names in the fields of deepaffects_job
	Fields    []Measure // those that are fields of deepaffects_job
	Metric    string    // of each job in Prometheus, without the prefix
	Quantiles []Measure // those of the metric
	Label     string    // on the page of a job
	Help      string    // of the metric
	Unit      Unit

	of func(*Statistics) *Distribution
}

// WordDistributions are the distributions over the words of a result, in the order in which they are shown.
var WordDistributions = []WordDistribution{
	{
		Name: "word_confidence", Fields: []Measure{Mean, Min, P10}, Metric: "job_word_confidence_ratio",
		Quantiles: []Measure{P1, P10, P50}, Label: "Confidence", Unit: Ratio,
		Help: "Confidence of the words of the job, from 0 to 1; the quantiles are exact.",
		of:   func(s *Statistics) *Distribution { return &s.WordConfidence },
	},
	{
		Name: "word_duration", Fields: []Measure{Mean, P90}, Metric: "job_word_duration_seconds",
		Quantiles: []Measure{P50, P90, P99}, Label: "Length", Unit: Seconds,
		Help: "Duration of the words of the job, in seconds; the quantiles are exact.",
		of:   func(s *Statistics) *Distribution { return &s.WordDuration },
	},
	{
		Name: "word_gap", Fields: []Measure{Mean, P90, Max}, Metric: "job_word_gap_seconds",
		Quantiles: []Measure{P50, P90, P99}, Label: "Gap before", Unit: Seconds,
		Help: "Silence between the end of a word of the job and the start of the next, in seconds, " +
			"0 where they overlap; the quantiles are exact.",
		of: func(s *Statistics) *Distribution { return &s.WordGap },
	},
}

// Value returns the distribution.
func (d *WordDistribution) Value(s *Statistics) *Distribution { return d.of(s) }

// A Measure is one number about a distribution.
type Measure struct {
	Name     string  // in JSON and Telegraf
	Label    string  // on the page of a job
	Quantile float64 // 0: it is no quantile
	of       func(*Distribution) float64
}

// The measures.
var (
	Min  = Measure{"min", "Min", 0, func(d *Distribution) float64 { return d.Min }}
	P1   = Measure{"p1", "1st percentile", .01, func(d *Distribution) float64 { return d.P1 }}
	P10  = Measure{"p10", "10th percentile", .1, func(d *Distribution) float64 { return d.P10 }}
	P50  = Measure{"p50", "Median", .5, func(d *Distribution) float64 { return d.P50 }}
	P90  = Measure{"p90", "90th percentile", .9, func(d *Distribution) float64 { return d.P90 }}
	P99  = Measure{"p99", "99th percentile", .99, func(d *Distribution) float64 { return d.P99 }}
	Max  = Measure{"max", "Max", 0, func(d *Distribution) float64 { return d.Max }}
	Mean = Measure{"mean", "Mean", 0, func(d *Distribution) float64 { return d.Sum / float64(d.Count) }}

	Measures = []Measure{Min, P1, P10, P50, P90, P99, Max, Mean}
)

// Of returns the measure of a distribution; NaN if it is unknown, or the distribution has no values.
func (m *Measure) Of(d *Distribution) float64 {
	if d.Count == 0 {
		return math.NaN()
	}
	return m.of(d)
}

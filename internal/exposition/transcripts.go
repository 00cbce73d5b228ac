package exposition

import (
	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

var anomalyLabel = closed("reason", transcript.Anomalies[:]...)

// transcripts are the metrics over the results of finished jobs.
var transcripts = []*family{
	{
		name: "transcript_confidence_ratio", kind: kindHistogram, exemplars: true,
		help:    "Confidence of a result, from 0 to 1.",
		account: overall(func(t *jobs.Totals) *histogram.Histogram { return t.TranscriptConfidence }),
	},
	{
		name: "word_confidence_ratio", kind: kindHistogram,
		help:    "Confidence of a word, from 0 to 1.",
		account: overall(func(t *jobs.Totals) *histogram.Histogram { return t.WordConfidence }),
	},
	{
		name: "word_duration_seconds", kind: kindHistogram, exemplars: true,
		help:    "Duration of a word, in seconds.",
		account: overall(func(t *jobs.Totals) *histogram.Histogram { return t.WordDuration }),
	},
	{
		name: "word_gap_seconds", kind: kindHistogram, exemplars: true,
		help:    "Silence from the end of a word to the start of the next, in seconds, in order of start; 0 where they overlap.",
		account: overall(func(t *jobs.Totals) *histogram.Histogram { return t.WordGap }),
	},
	{
		name: "transcript_speech_rate_words_per_second", kind: kindHistogram,
		help:    "Words of a transcript for each second of its duration, pauses included.",
		account: overall(func(t *jobs.Totals) *histogram.Histogram { return t.SpeechRate }),
	},
	{
		name: "transcript_speakers", kind: kindHistogram,
		help:    "Number of speakers in a result.",
		account: overall(func(t *jobs.Totals) *histogram.Histogram { return t.Speakers }),
	},
	{
		name: "dominant_speaker_talk_ratio", kind: kindHistogram,
		help:    "Share of the talk time of all speakers in a result that belongs to the one who talks most, from 0 to 1.",
		account: overall(func(t *jobs.Totals) *histogram.Histogram { return t.DominantSpeaker }),
	},
	{
		name: "words_total", kind: kindCounter,
		help:    "Number of words in the transcripts of finished jobs.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(float64(s.Totals.Words)) },
	},
	{
		name: "speech_seconds_total", kind: kindCounter,
		help:    "Sum of the durations of the words, else of the speech segments, of finished jobs, in seconds.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(s.Totals.SpeechSeconds) },
	},
	{
		name: "word_overlaps_total", kind: kindCounter,
		help:    "Number of words that start before the word before them, in order of start, has ended.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(float64(s.Totals.WordOverlaps)) },
	},
	{
		name: "word_anomalies_total", kind: kindCounter, labels: []label{anomalyLabel},
		help: "Number of faults in the data of results: figures that were left out of the statistics, or words out of order.",
		account: func(e *emitter, s *collector.Snapshot) {
			for i, n := range s.Totals.WordAnomalies {
				e.value(float64(n), transcript.Anomalies[i])
			}
		},
	},
}

// overall sends a histogram of the totals.
func overall(of func(*jobs.Totals) *histogram.Histogram) func(*emitter, *collector.Snapshot) {
	return func(e *emitter, s *collector.Snapshot) { e.histogram(of(s.Totals)) }
}

package transcript_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

var nan = math.NaN()

// equal: hand-worked sums differ from computed ones in their last digits.
var equal = cmp.Options{cmpopts.EquateApprox(1e-12, 1e-12), cmpopts.EquateNaNs(), cmpopts.EquateEmpty()}

// piece returns a Piece.
func piece(speaker string, start, end, confidence float64) transcript.Piece {
	return transcript.Piece{Start: start, End: end, Confidence: confidence, Speaker: []byte(speaker)}
}

// document is a result, in the order of the document.
type document struct {
	confidence, speakers    *float64
	words, segments, pauses []transcript.Piece
	wordList, segmentList   bool // listed even if empty
}

func number(v float64) *float64 { return &v }

func (d document) result(a *transcript.Accumulator) *transcript.Result {
	if d.confidence != nil {
		a.Confidence(*d.confidence)
	}
	if d.speakers != nil {
		a.Speakers(*d.speakers)
	}
	if d.wordList || d.words != nil {
		a.WordList()
	}
	for _, w := range d.words {
		a.Word(w)
	}
	if d.segmentList || d.segments != nil || d.pauses != nil {
		a.SegmentList()
	}
	for _, s := range d.segments {
		a.Segment(s)
	}
	for _, s := range d.pauses {
		a.Pause(s)
	}
	return a.Result()
}

// with returns unknown statistics, changed by set.
func with(set func(*transcript.Statistics)) *transcript.Statistics {
	s := transcript.Unknown()
	set(&s)
	return &s
}

func anomalies(count map[transcript.Anomaly]int) (all [len(transcript.Anomalies)]int) {
	for a, n := range count {
		all[a] = n
	}
	return all
}

// Sums have no more digits than what was added up: no error of floating-point additions shows.
func TestSumsAreDecimal(t *testing.T) {
	var words []transcript.Piece
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"} // the last ones are joined
	for i := range 1001 {
		words = append(words, piece(names[i%13], float64(i)/10, float64(i)/10+.1, .9))
	}
	s := document{words: words, wordList: true}.result(&transcript.Accumulator{KeepTimings: true})
	got := map[string]float64{
		"speech": s.SpeechSeconds, "talk of the first": s.BySpeaker[0].TalkSeconds,
		"talk of the others": s.BySpeaker[transcript.MaxSpeakers].TalkSeconds, "word durations": s.WordDuration.Sum,
		"word gaps": s.WordGap.Sum, "word confidences": s.WordConfidence.Sum, "confidence": s.Confidence,
		"length of a word": s.Timings[7].Length(),
	}
	want := map[string]float64{
		"speech": 100.1, "talk of the first": 7.7, "talk of the others": 23.1, "word durations": 100.1, "word gaps": 0,
		"word confidences": 900.9, "confidence": .9, "length of a word": .1,
	}
	if diff := cmp.Diff(want, got); diff != "" { // to the last bit
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatistics(t *testing.T) {
	tests := map[string]struct {
		document
		want *transcript.Statistics // nil: nothing to measure
	}{
		"nothing": {},
		"own figures only": {
			document{confidence: number(.5), speakers: number(3)},
			with(func(s *transcript.Statistics) { s.Confidence, s.Speakers = .5, 3 }),
		},
		"a fraction of a speaker alone": {
			document{speakers: number(2.5)},
			with(func(s *transcript.Statistics) {
				s.Anomalies = anomalies(map[transcript.Anomaly]int{transcript.SpeakersOutOfRange: 1})
			}),
		},
		"number of speakers that says unknown": {document: document{speakers: number(-1)}},
		"as many speakers as are plausible": {
			document{speakers: number(1000)}, with(func(s *transcript.Statistics) { s.Speakers = 1000 }),
		},
		"more speakers than are plausible beside their IDs": {
			document{speakers: number(1001), segments: []transcript.Piece{piece("a", 0, 1, nan), piece("b", 1, 2, nan)}},
			with(func(s *transcript.Statistics) {
				s.Speakers, s.SpeechSeconds, s.DurationSeconds, s.DominantSpeakerRatio = 2, 2, 2, .5
				s.BySpeaker = []transcript.Speaker{
					{TalkSeconds: 1, Turns: 1, ConfidenceMean: nan}, {TalkSeconds: 1, Turns: 1, ConfidenceMean: nan},
				}
				s.Anomalies = anomalies(map[transcript.Anomaly]int{transcript.SpeakersOutOfRange: 1})
			}),
		},
		"absurd number of speakers": {
			document{speakers: number(1e300)},
			with(func(s *transcript.Statistics) {
				s.Anomalies = anomalies(map[transcript.Anomaly]int{transcript.SpeakersOutOfRange: 1})
			}),
		},
		"no words": {
			document{wordList: true},
			with(func(s *transcript.Statistics) { s.Words, s.Overlaps, s.SpeechSeconds = 0, 0, 0 }),
		},
		"no segments": {
			document{segmentList: true},
			with(func(s *transcript.Statistics) { s.SpeechSeconds = 0 }),
		},
		"the vendor's sample": {
			document{confidence: number(.97), speakers: number(2), words: []transcript.Piece{
				piece("1", 0, 1, .97), piece("2", 1.2, 2, .97), piece("2", 2, 2.6, .97), piece("2", 2.6, 3, .97),
				piece("2", 3, 4, .97),
			}},
			with(func(s *transcript.Statistics) {
				s.Confidence, s.Speakers, s.Words, s.Overlaps = .97, 2, 5, 0
				s.SpeechSeconds, s.DurationSeconds, s.SpeechRate, s.DominantSpeakerRatio = 3.8, 4, 1.25, 2.8/3.8
				s.WordConfidence = transcript.Distribution{
					Count: 5, Sum: 4.85, Min: .97, Max: .97, P1: .97, P10: .97, P50: .97, P90: .97, P99: .97,
				}
				s.WordDuration = transcript.Distribution{
					Count: 5, Sum: 3.8, Min: .4, Max: 1, P1: .4, P10: .4, P50: .8, P90: 1, P99: 1,
				}
				s.WordGap = transcript.Distribution{Count: 4, Sum: .2, Min: 0, Max: .2, P50: 0, P90: .2, P99: .2}
				s.BySpeaker = []transcript.Speaker{
					{TalkSeconds: 2.8, Words: 4, Turns: 1, ConfidenceMean: .97},
					{TalkSeconds: 1, Words: 1, Turns: 1, ConfidenceMean: .97},
				}
			}),
		},
		"one word without anything else": {
			document{words: []transcript.Piece{piece("", 1, 2, nan)}},
			with(func(s *transcript.Statistics) {
				s.Words, s.Overlaps, s.SpeechSeconds, s.DurationSeconds, s.SpeechRate = 1, 0, 1, 2, .5
				s.WordDuration = transcript.Distribution{
					Count: 1, Sum: 1, Min: 1, Max: 1, P1: 1, P10: 1, P50: 1, P90: 1, P99: 1,
				}
			}),
		},
		"confidences of the words only": {
			document{words: []transcript.Piece{piece("", nan, nan, .2), piece("", nan, nan, .6)}},
			with(func(s *transcript.Statistics) {
				s.Confidence, s.Words, s.Overlaps = .4, 2, 0
				s.WordConfidence = transcript.Distribution{
					Count: 2, Sum: .8, Min: .2, Max: .6, P1: .2, P10: .2, P50: .2, P90: .6, P99: .6,
				}
				s.Anomalies = anomalies(map[transcript.Anomaly]int{transcript.MissingTime: 2})
			}),
		},
		"every anomaly, each left out of the figures": {
			document{words: []transcript.Piece{
				piece("a", 5, 6, .5),
				piece("a", 8, 7, .7),         // negative duration: its confidence counts
				piece("a", nan, 9, .9),       // no start
				piece("b", 9, nan, nan),      // no end, no confidence
				piece("b", -1, 3, 1),         // no time
				piece("b", 3, 1e9, 0),        // not plausible
				piece("b", 3, 4, 1.5),        // out of order, and no confidence
				piece("b", 10, 10.5, -.0001), // no confidence
				piece("b", math.Inf(-1), math.Inf(1), math.Inf(1)),
			}},
			with(func(s *transcript.Statistics) {
				s.Confidence, s.Speakers, s.Words, s.Overlaps = 3.1/5, 2, 9, 0
				s.SpeechSeconds, s.DurationSeconds, s.SpeechRate, s.DominantSpeakerRatio = 2.5, 10.5, 3/10.5, .6
				s.WordConfidence = transcript.Distribution{Count: 5, Sum: 3.1, Min: 0, Max: 1, P50: .7, P90: 1, P99: 1}
				s.WordDuration = transcript.Distribution{
					Count: 3, Sum: 2.5, Min: .5, Max: 1, P1: .5, P10: .5, P50: 1, P90: 1, P99: 1,
				}
				s.WordGap = transcript.Distribution{
					Count: 2, Sum: 5, Min: 1, Max: 4, P1: 1, P10: 1, P50: 1, P90: 4, P99: 4,
				}
				s.BySpeaker = []transcript.Speaker{
					{TalkSeconds: 1.5, Words: 6, Turns: 2, ConfidenceMean: .5},
					{TalkSeconds: 1, Words: 3, Turns: 1, ConfidenceMean: .7},
				}
				s.Anomalies = anomalies(map[transcript.Anomaly]int{
					transcript.NegativeDuration: 1, transcript.MissingTime: 4, transcript.OutOfOrder: 1,
					transcript.ConfidenceOutOfRange: 3, transcript.ImplausibleTime: 1,
				})
			}),
		},
		"overlaps": { // 0–4 and 1–2 overlap, 3–5 starts after 1–2 has ended, 5–6 follows at once
			document{words: []transcript.Piece{
				piece("a", 0, 4, nan), piece("b", 1, 2, nan), piece("a", 3, 5, nan), piece("b", 5, 6, nan),
			}},
			with(func(s *transcript.Statistics) {
				s.Speakers, s.Words, s.Overlaps = 2, 4, 1
				s.SpeechSeconds, s.DurationSeconds, s.SpeechRate, s.DominantSpeakerRatio = 8, 6, 4./6, .75
				s.WordDuration = transcript.Distribution{
					Count: 4, Sum: 8, Min: 1, Max: 4, P1: 1, P10: 1, P50: 1, P90: 4, P99: 4,
				}
				s.WordGap = transcript.Distribution{Count: 3, Sum: 1, Min: 0, Max: 1, P50: 0, P90: 1, P99: 1}
				s.BySpeaker = []transcript.Speaker{
					{TalkSeconds: 6, Words: 2, Turns: 2, ConfidenceMean: nan},
					{TalkSeconds: 2, Words: 2, Turns: 2, ConfidenceMean: nan},
				}
			}),
		},
		"out of order": { // in order of start: a 0–1, b 1–2, a 3–4
			document{words: []transcript.Piece{piece("a", 3, 4, nan), piece("a", 0, 1, nan), piece("b", 1, 2, nan)}},
			with(func(s *transcript.Statistics) {
				s.Speakers, s.Words, s.Overlaps = 2, 3, 0
				s.SpeechSeconds, s.DurationSeconds, s.SpeechRate, s.DominantSpeakerRatio = 3, 4, .75, 2./3
				s.WordDuration = transcript.Distribution{
					Count: 3, Sum: 3, Min: 1, Max: 1, P1: 1, P10: 1, P50: 1, P90: 1, P99: 1,
				}
				s.WordGap = transcript.Distribution{Count: 2, Sum: 1, Min: 0, Max: 1, P50: 0, P90: 1, P99: 1}
				s.BySpeaker = []transcript.Speaker{
					{TalkSeconds: 2, Words: 2, Turns: 2, ConfidenceMean: nan},
					{TalkSeconds: 1, Words: 1, Turns: 1, ConfidenceMean: nan},
				}
				s.Anomalies = anomalies(map[transcript.Anomaly]int{transcript.OutOfOrder: 1})
			}),
		},
		"words of no time": {
			document{words: []transcript.Piece{piece("a", 0, 0, nan), piece("b", 0, 0, nan)}},
			with(func(s *transcript.Statistics) {
				s.Speakers, s.Words, s.Overlaps, s.SpeechSeconds, s.DurationSeconds = 2, 2, 0, 0, 0
				s.WordDuration = transcript.Distribution{Count: 2}
				s.WordGap = transcript.Distribution{Count: 1}
				s.BySpeaker = []transcript.Speaker{
					{Words: 1, Turns: 1, ConfidenceMean: nan}, {Words: 1, Turns: 1, ConfidenceMean: nan},
				}
			}),
		},
		"words without a speaker do not end a turn": {
			document{words: []transcript.Piece{piece("a", 0, 1, nan), piece("", 1, 2, nan), piece("a", 2, 3, nan)}},
			with(func(s *transcript.Statistics) {
				s.Speakers, s.Words, s.Overlaps = 1, 3, 0
				s.SpeechSeconds, s.DurationSeconds, s.SpeechRate, s.DominantSpeakerRatio = 3, 3, 1, 1
				s.WordDuration = transcript.Distribution{
					Count: 3, Sum: 3, Min: 1, Max: 1, P1: 1, P10: 1, P50: 1, P90: 1, P99: 1,
				}
				s.WordGap = transcript.Distribution{Count: 2}
				s.BySpeaker = []transcript.Speaker{{TalkSeconds: 2, Words: 2, Turns: 1, ConfidenceMean: nan}}
			}),
		},
		"segments": {
			document{speakers: number(3), segments: []transcript.Piece{
				piece("1", 0, 4.2, nan), piece("2", 4, 9.5, .8), piece("1", 9.9, 12, .6), piece("3", 12.4, 13, nan),
			}},
			with(func(s *transcript.Statistics) {
				s.Confidence, s.Speakers, s.SpeechSeconds, s.DurationSeconds, s.DominantSpeakerRatio = .7, 3, 12.4, 13, 6.3/12.4
				s.BySpeaker = []transcript.Speaker{
					{TalkSeconds: 6.3, Turns: 2, ConfidenceMean: .6},
					{TalkSeconds: 5.5, Turns: 1, ConfidenceMean: .8},
					{TalkSeconds: .6, Turns: 1, ConfidenceMean: nan},
				}
			}),
		},
		"segments without speech": {
			document{
				segments: []transcript.Piece{piece("", 0, 10, nan)},
				pauses:   []transcript.Piece{piece("", 11, 20, nan), piece("", 10, 11, nan), piece("", 0, nan, nan)},
			},
			with(func(s *transcript.Statistics) { s.SpeechSeconds, s.DurationSeconds = 10, 20 }),
		},
		"speech of unknown length beside a pause": {
			document{segments: []transcript.Piece{piece("a", nan, nan, .5)}, pauses: []transcript.Piece{piece("", 0, 5, nan)}},
			with(func(s *transcript.Statistics) {
				s.Confidence, s.Speakers, s.DurationSeconds = .5, 1, 5
				s.BySpeaker = []transcript.Speaker{{ConfidenceMean: .5}}
				s.Anomalies = anomalies(map[transcript.Anomaly]int{transcript.MissingTime: 1})
			}),
		},
		"pauses alone": {
			document{segmentList: true, pauses: []transcript.Piece{piece("", 0, 5, nan)}},
			with(func(s *transcript.Statistics) { s.SpeechSeconds, s.DurationSeconds = 0, 5 }),
		},
		"an empty list of words beside segments": {
			document{wordList: true, segments: []transcript.Piece{piece("a", 0, 2, .5)}},
			with(func(s *transcript.Statistics) {
				s.Confidence, s.Speakers, s.SpeechSeconds, s.DurationSeconds, s.DominantSpeakerRatio = .5, 1, 2, 2, 1
				s.BySpeaker = []transcript.Speaker{{TalkSeconds: 2, Turns: 1, ConfidenceMean: .5}}
			}),
		},
		"words are preferred to segments": {
			document{words: []transcript.Piece{piece("a", 0, 1, .9)}, segments: []transcript.Piece{piece("b", 2, 1, 7)}},
			with(func(s *transcript.Statistics) {
				s.Confidence, s.Speakers, s.Words, s.Overlaps = .9, 1, 1, 0
				s.SpeechSeconds, s.DurationSeconds, s.SpeechRate, s.DominantSpeakerRatio = 1, 1, 1, 1
				s.WordConfidence = transcript.Distribution{
					Count: 1, Sum: .9, Min: .9, Max: .9, P1: .9, P10: .9, P50: .9, P90: .9, P99: .9,
				}
				s.WordDuration = transcript.Distribution{
					Count: 1, Sum: 1, Min: 1, Max: 1, P1: 1, P10: 1, P50: 1, P90: 1, P99: 1,
				}
				s.BySpeaker = []transcript.Speaker{{TalkSeconds: 1, Words: 1, Turns: 1, ConfidenceMean: .9}}
			}),
		},
		"too short for a rate": {
			document{words: []transcript.Piece{piece("", 0, 1e-300, nan)}},
			with(func(s *transcript.Statistics) {
				s.Words, s.Overlaps, s.SpeechSeconds, s.DurationSeconds = 1, 0, 1e-300, 1e-300
				s.WordDuration = transcript.Distribution{
					Count: 1, Sum: 1e-300, Min: 1e-300, Max: 1e-300, P1: 1e-300, P10: 1e-300, P50: 1e-300, P90: 1e-300,
					P99: 1e-300,
				}
			}),
		},
		"punctuation without times does not count in the rate": {
			document{words: []transcript.Piece{
				piece("", 0, 1, nan), piece("", nan, nan, nan), piece("", 1, 2, nan), piece("", nan, nan, nan),
			}},
			with(func(s *transcript.Statistics) {
				s.Words, s.Overlaps, s.SpeechSeconds, s.DurationSeconds, s.SpeechRate = 4, 0, 2, 2, 1
				s.WordDuration = transcript.Distribution{
					Count: 2, Sum: 2, Min: 1, Max: 1, P1: 1, P10: 1, P50: 1, P90: 1, P99: 1,
				}
				s.WordGap = transcript.Distribution{Count: 1}
				s.Anomalies = anomalies(map[transcript.Anomaly]int{transcript.MissingTime: 2})
			}),
		},
		"values that are no numbers": {
			document{confidence: &transcript.NotANumber, words: []transcript.Piece{
				piece("", 0, 1, transcript.NotANumber), piece("", transcript.NotANumber, 1, nan),
				piece("", 0, transcript.NotANumber, nan),
			}},
			with(func(s *transcript.Statistics) {
				s.Words, s.Overlaps, s.SpeechSeconds, s.DurationSeconds, s.SpeechRate = 3, 0, 1, 1, 1
				s.WordDuration = transcript.Distribution{
					Count: 1, Sum: 1, Min: 1, Max: 1, P1: 1, P10: 1, P50: 1, P90: 1, P99: 1,
				}
				s.Anomalies = anomalies(map[transcript.Anomaly]int{
					transcript.ConfidenceOutOfRange: 2, transcript.MissingTime: 2,
				})
			}),
		},
		"a word of more than a minute": {
			document{words: []transcript.Piece{piece("", 0, 60, .5), piece("", 60, 120.5, .7), piece("", 121, 122, nan)}},
			with(func(s *transcript.Statistics) {
				s.Confidence, s.Words, s.Overlaps = .6, 3, 0
				s.SpeechSeconds, s.DurationSeconds, s.SpeechRate = 61, 122, 2/122.
				s.WordConfidence = transcript.Distribution{
					Count: 2, Sum: 1.2, Min: .5, Max: .7, P1: .5, P10: .5, P50: .5, P90: .7, P99: .7,
				}
				s.WordDuration = transcript.Distribution{
					Count: 2, Sum: 61, Min: 1, Max: 60, P1: 1, P10: 1, P50: 1, P90: 60, P99: 60,
				}
				s.WordGap = transcript.Distribution{
					Count: 1, Sum: 61, Min: 61, Max: 61, P1: 61, P10: 61, P50: 61, P90: 61, P99: 61,
				}
				s.Anomalies = anomalies(map[transcript.Anomaly]int{transcript.ImplausibleTime: 1})
			}),
		},
		"a short call in milliseconds, with one word that is plausible": {
			document{words: []transcript.Piece{piece("a", 0, 40, nan), piece("a", 100, 500, nan), piece("a", 600, 900, .5)}},
			with(func(s *transcript.Statistics) {
				s.Confidence, s.Speakers, s.Words, s.Overlaps = .5, 1, 3, 0
				s.WordConfidence = transcript.Distribution{
					Count: 1, Sum: .5, Min: .5, Max: .5, P1: .5, P10: .5, P50: .5, P90: .5, P99: .5,
				}
				s.BySpeaker = []transcript.Speaker{{Words: 3, ConfidenceMean: .5}}
				s.Anomalies = anomalies(map[transcript.Anomaly]int{transcript.ImplausibleTime: 3})
			}),
		},
		"a transcript of more than a day": {
			document{words: []transcript.Piece{piece("", 0, 1, nan), piece("", 1, 2, nan), piece("", 86400, 86400.5, nan)}},
			with(func(s *transcript.Statistics) {
				s.Words, s.Overlaps = 3, 0
				s.Anomalies = anomalies(map[transcript.Anomaly]int{transcript.ImplausibleTime: 3})
			}),
		},
		"a transcript of a day": {
			document{segments: []transcript.Piece{piece("", 0, 86400, nan)}},
			with(func(s *transcript.Statistics) { s.SpeechSeconds, s.DurationSeconds = 86400, 86400 }),
		},
		"segments in milliseconds": {
			document{
				segments: []transcript.Piece{piece("a", 0, 50000, nan), piece("a", 60000, 100000, nan)},
				pauses:   []transcript.Piece{piece("", 50000, 60000, nan)},
			},
			with(func(s *transcript.Statistics) {
				s.Speakers = 1
				s.BySpeaker = []transcript.Speaker{{ConfidenceMean: nan}}
				s.Anomalies = anomalies(map[transcript.Anomaly]int{transcript.ImplausibleTime: 2})
			}),
		},
		"a pause after more than a day": {
			document{
				segments: []transcript.Piece{piece("", 0, 50000, nan)},
				pauses:   []transcript.Piece{piece("", 50000, 90000, nan)},
			},
			with(func(s *transcript.Statistics) {
				s.Anomalies = anomalies(map[transcript.Anomaly]int{transcript.ImplausibleTime: 2})
			}),
		},
		"own confidence out of range": {
			document{confidence: number(97), segments: []transcript.Piece{piece("", 0, 1, .25), piece("", 1, 2, .75)}},
			with(func(s *transcript.Statistics) {
				s.Confidence, s.SpeechSeconds, s.DurationSeconds = .5, 2, 2
				s.Anomalies = anomalies(map[transcript.Anomaly]int{transcript.ConfidenceOutOfRange: 1})
			}),
		},
	}
	var a transcript.Accumulator // one for all: Reset must not leave anything
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a.Reset()
			var got *transcript.Statistics
			r := test.result(&a)
			if r != nil {
				got = &r.Statistics
				checkHistograms(t, r)
			}
			if diff := cmp.Diff(test.want, got, equal); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A list that is given twice counts once.
func TestRepeatedLists(t *testing.T) {
	var a transcript.Accumulator
	for range 2 {
		a.WordList()
		a.Word(piece("a", 0, 1, .5))
		a.SegmentList()
		a.Segment(piece("b", 0, 1, .5))
	}
	if r := a.Result(); r.Words != 1 || r.SpeechSeconds != 1 || r.Speakers != 1 {
		t.Errorf("%+v", r.Statistics)
	}
}

// What no transcript of a day has is not held.
func TestLimits(t *testing.T) {
	var a transcript.Accumulator
	a.WordList()
	for i := range 1 << 20 {
		a.Word(transcript.Piece{Start: 0, End: 1, Confidence: .5, Speaker: fmt.Appendf(nil, "speaker %d", i)})
	}
	a.Word(piece(strings.Repeat("x", 1e6), 0, 1, .5))
	if n := a.Memory(); n > 13<<20 {
		t.Errorf("%d bytes are held", n)
	}
	r := a.Result()
	if r.Words != 1<<20+1 || r.Speakers > 5000 || !math.IsNaN(r.SpeechSeconds) || r.WordConfidence.Count > 1<<18 ||
		r.Anomalies[transcript.ImplausibleTime] != 1<<20+1 {
		t.Errorf("%+v", r.Statistics)
	}
}

// checkHistograms checks that each histogram has the values of its distribution.
func checkHistograms(t *testing.T, r *transcript.Result) {
	t.Helper()
	for name, pair := range map[string]struct {
		d transcript.Distribution
		h *histogram.Histogram
	}{
		"confidence": {r.WordConfidence, r.WordConfidences},
		"duration":   {r.WordDuration, r.WordDurations},
		"gap":        {r.WordGap, r.WordGaps},
	} {
		if (pair.h == nil) != (pair.d.Count == 0) {
			t.Fatalf("%s: %d values, and the histogram is %v", name, pair.d.Count, pair.h)
		}
		if pair.h == nil {
			continue
		}
		if pair.h.Count() != uint64(pair.d.Count) || !cmp.Equal(pair.h.Sum(), pair.d.Sum, equal) {
			t.Errorf("%s: the histogram counts %d values of together %g, the distribution %d of %g",
				name, pair.h.Count(), pair.h.Sum(), pair.d.Count, pair.d.Sum)
		}
	}
}

// Nobody talks for longer than the transcript lasts, but for words that overlap a little.
func TestTalkBeyondTheTranscript(t *testing.T) {
	for name, tt := range map[string]struct {
		count, speakers int
		length          float64
		dropped         bool
	}{
		"once":                         {count: 1, speakers: 1, length: 86_000},
		"each speaker once":            {count: 50, speakers: 50, length: 86_000},
		"one speaker many times":       {count: 5000, speakers: 1, length: 86_000, dropped: true},
		"one speaker twice":            {count: 2, speakers: 1, length: 86_000, dropped: true},
		"no speaker many times":        {count: 5000, length: 86_000, dropped: true},
		"short ones overlap":           {count: 2, speakers: 1, length: 30},
		"short ones overlap much more": {count: 50, speakers: 1, length: 30, dropped: true},
	} {
		for _, words := range []bool{false, true} {
			var pieces []transcript.Piece
			for i := range tt.count {
				speaker := ""
				if tt.speakers > 0 {
					speaker = strconv.Itoa(i % tt.speakers)
				}
				pieces = append(pieces, piece(speaker, 0, tt.length, .5))
			}
			d := document{segments: pieces}
			if words {
				if tt.length > 60 {
					continue
				}
				d = document{words: pieces}
			}
			r := d.result(&transcript.Accumulator{KeepTimings: true})
			speech, n := float64(tt.count)*tt.length, 0
			if tt.dropped {
				speech, n = nan, tt.count
			}
			talk := 0.0
			for _, s := range r.BySpeaker {
				talk += s.TalkSeconds
			}
			got := []float64{r.SpeechSeconds, float64(r.Anomalies[transcript.ImplausibleTime])}
			if diff := cmp.Diff([]float64{speech, float64(n)}, got, equal); diff != "" || tt.dropped && talk > 0 {
				t.Errorf("%s, words %v: talk %v, (-want +got):\n%s", name, words, talk, diff)
			}
		}
	}
}

func TestMoreThanMaxSpeakers(t *testing.T) {
	var a transcript.Accumulator
	a.WordList()
	var at float64
	for i := range transcript.MaxSpeakers + 3 { // of 1, 2, 3… seconds
		for range 2 {
			a.Word(piece(fmt.Sprint("speaker ", i), at, at+float64(i+1)/2, float64(i)/100))
			at += float64(i+1) / 2
		}
	}
	r := a.Result()
	var want []transcript.Speaker
	for i := transcript.MaxSpeakers + 2; i > 2; i-- {
		want = append(want, transcript.Speaker{
			TalkSeconds: float64(i + 1), Words: 2, Turns: 1, ConfidenceMean: float64(i) / 100,
		})
	}
	want = append(want, transcript.Speaker{TalkSeconds: 1 + 2 + 3, Words: 6, Turns: 3, ConfidenceMean: .01}) // all others
	if diff := cmp.Diff(want, r.BySpeaker, equal); diff != "" {
		t.Errorf("speakers (-want +got):\n%s", diff)
	}
	if r.Speakers != transcript.MaxSpeakers+3 {
		t.Errorf("%g speakers, want all %d", r.Speakers, transcript.MaxSpeakers+3)
	}
	if share := 13. / 91; math.Abs(r.DominantSpeakerRatio-share) > 1e-12 {
		t.Errorf("the dominant speaker has %g of the talk time, want %g", r.DominantSpeakerRatio, share)
	}
}

// With one speaker more than MaxSpeakers, that one alone is `other`.
func TestOneMoreThanMaxSpeakers(t *testing.T) {
	var a transcript.Accumulator
	a.SegmentList()
	for i := range transcript.MaxSpeakers + 1 {
		a.Segment(piece(fmt.Sprint(i), 0, float64(i), nan))
	}
	if n := len(a.Result().BySpeaker); n != transcript.MaxSpeakers+1 {
		t.Errorf("%d speakers shown, want %d", n, transcript.MaxSpeakers+1)
	}
}

// The caller may reuse the memory of an ID.
func TestSpeakerIsCopied(t *testing.T) {
	var a transcript.Accumulator
	a.SegmentList()
	id := []byte("a")
	for i := range 4 {
		id[0] = "abab"[i]
		a.Segment(transcript.Piece{Start: float64(i), End: float64(i + 1), Confidence: nan, Speaker: id})
	}
	want := []transcript.Speaker{
		{TalkSeconds: 2, Turns: 2, ConfidenceMean: nan}, {TalkSeconds: 2, Turns: 2, ConfidenceMean: nan},
	}
	if diff := cmp.Diff(want, a.Result().BySpeaker, equal); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Quantiles are by nearest rank: the smallest value that at least that share of the values
// do not exceed, found by counting here.
func TestQuantiles(t *testing.T) {
	nearestRank := func(values []float64, percent int) float64 {
		sorted := slices.Sorted(slices.Values(values))
		for _, v := range sorted {
			atMost := 0
			for _, w := range values {
				if w <= v {
					atMost++
				}
			}
			if atMost*100 >= percent*len(values) {
				return v
			}
		}
		return nan
	}
	r := rand.New(rand.NewPCG(1, 2))
	for n := 1; n <= 210; n++ {
		var a transcript.Accumulator
		a.WordList()
		var values []float64
		for range n {
			c := float64(r.IntN(n)) / float64(n) // with repeats
			values = append(values, c)
			a.Word(piece("", nan, nan, c))
		}
		d := a.Result().WordConfidence
		want := transcript.Distribution{
			Count: n, Sum: d.Sum, Min: slices.Min(values), Max: slices.Max(values),
			P1: nearestRank(values, 1), P10: nearestRank(values, 10), P50: nearestRank(values, 50),
			P90: nearestRank(values, 90), P99: nearestRank(values, 99),
		}
		if d != want {
			t.Errorf("%d values: got %+v, want %+v", n, d, want)
		}
	}
}

// Distributions and histograms are, to the last digit, those of the values added up and observed one by one in
// ascending order, whatever the resolution of the values.
func TestDistributionsAreExact(t *testing.T) {
	for digits := range 18 {
		for _, seed := range []uint64{1, 2, 3} {
			r := rand.New(rand.NewPCG(seed, uint64(digits)))
			round := func(v float64) float64 {
				v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'f', digits, 64), 64)
				return v
			}
			var confidences, durations, gaps []float64
			var a transcript.Accumulator
			var end float64
			a.WordList()
			for i := range 3000 {
				start := round(end + r.ExpFloat64()*[]float64{.1, .1, 30}[r.IntN(3)])
				next := min(round(start+r.ExpFloat64()*.3), start+60)
				c := round(r.Float64())
				a.Word(piece("", start, next, c))
				confidences = append(confidences, c)
				durations = append(durations, math.Round((next-start)*1e6)/1e6)
				if i > 0 {
					gaps = append(gaps, max(math.Round((start-end)*1e6)/1e6, 0))
				}
				end = next
			}
			got := a.Result()
			for name, test := range map[string]struct {
				values, bounds []float64
				d              transcript.Distribution
				h              *histogram.Histogram
			}{
				"confidence": {confidences, transcript.RatioBounds, got.WordConfidence, got.WordConfidences},
				"duration":   {durations, transcript.WordDurationBounds, got.WordDuration, got.WordDurations},
				"gap":        {gaps, transcript.WordGapBounds, got.WordGap, got.WordGaps},
			} {
				slices.Sort(test.values)
				h := histogram.New(test.bounds)
				for _, v := range test.values {
					h.Observe(v)
				}
				n := len(test.values)
				rank := func(percent int) float64 { return test.values[(n*percent+99)/100-1] }
				want := transcript.Distribution{
					Count: n, Sum: math.Round(h.Sum()*1e9) / 1e9, Min: test.values[0], Max: test.values[n-1],
					P1: rank(1), P10: rank(10), P50: rank(50), P90: rank(90), P99: rank(99),
				}
				if test.d != want {
					t.Errorf("%s with %d digits: %+v, want %+v", name, digits, test.d, want)
				}
				if diff := cmp.Diff(h, test.h, cmp.AllowUnexported(histogram.Histogram{})); diff != "" {
					t.Errorf("%s with %d digits (-want +got):\n%s", name, digits, diff)
				}
			}
		}
	}
}

func TestMeasures(t *testing.T) {
	d := transcript.Distribution{Count: 4, Sum: 10, Min: 1, Max: 6, P1: 1.25, P10: 1.5, P50: 2, P90: 4, P99: 5}
	got, none := make(map[string]float64), make(map[string]float64)
	for _, m := range transcript.Measures {
		got[m.Name] = m.Of(&d)
		if v := m.Of(&transcript.Distribution{}); !math.IsNaN(v) {
			none[m.Name] = v
		}
	}
	want := map[string]float64{"mean": 2.5, "min": 1, "max": 6, "p1": 1.25, "p10": 1.5, "p50": 2, "p90": 4, "p99": 5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("measures (-want +got):\n%s", diff)
	}
	if len(none) > 0 {
		t.Errorf("measures without values: %v, want NaN", none)
	}
}

// A result does not change when the accumulator is used again.
func TestResultIsIndependent(t *testing.T) {
	var a transcript.Accumulator
	first := document{words: []transcript.Piece{piece("a", 0, 1, .5), piece("b", 1, 3, .7)}}
	got, again := first.result(&a), first.result(new(transcript.Accumulator))
	a.Reset()
	document{words: []transcript.Piece{piece("c", 7, 9, .1), piece("d", 11, 19, .2), piece("e", 20, 29, .3)}}.result(&a)
	if diff := cmp.Diff(again.Statistics, got.Statistics, equal); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	checkHistograms(t, got)
}

// With any floats for times and confidences, no figure is infinite, negative or out of
// range.
func FuzzAccumulator(f *testing.F) {
	seed := func(values ...float64) {
		var data []byte
		for i, v := range values {
			if i%3 == 0 {
				data = append(data, byte(i))
			}
			data = binary.LittleEndian.AppendUint64(data, math.Float64bits(v))
		}
		f.Add(data, .5, 2.)
	}
	seed(0, 1, .9, 1, 2, .8, 3, 2, .7, 1, 2, 1.1)
	seed(0, 1, 1e-76)
	seed(math.Inf(-1), math.Inf(1), nan, 0, math.MaxFloat64, math.MaxFloat64, 0, 1e7, 1)
	seed(1e7, 1e7, 1, 0, 1e7, 0, math.Copysign(0, -1), math.SmallestNonzeroFloat64, math.SmallestNonzeroFloat64)
	f.Fuzz(func(t *testing.T, data []byte, confidence, speakers float64) {
		var a transcript.Accumulator
		a.Confidence(confidence)
		a.Speakers(speakers)
		words := 0
		for ; len(data) >= 25; data = data[25:] {
			float := func(i int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(data[1+8*i:])) }
			p := transcript.Piece{Start: float(0), End: float(1), Confidence: float(2), Speaker: data[:1]}
			switch data[0] % 8 {
			case 0:
				a.SegmentList()
				a.Segment(p)
			case 1:
				a.SegmentList()
				a.Pause(p)
			default:
				if words == 0 {
					a.WordList()
				}
				words++
				a.Word(p)
			}
		}
		r := a.Result()
		if r == nil {
			t.Fatal("no result, though it has a confidence")
		}
		checkRanges(t, &r.Statistics)
		checkHistograms(t, r)
		if words > 0 && r.Words != float64(words) {
			t.Errorf("%g words, want %d", r.Words, words)
		}
	})
}

func checkRanges(t *testing.T, s *transcript.Statistics) {
	t.Helper()
	check := func(name string, v, most float64) {
		if v < 0 || v > most || math.IsInf(v, 0) {
			t.Errorf("%s is %g, want NaN or 0 to %g", name, v, most)
		}
	}
	for i := range transcript.Figures {
		f := &transcript.Figures[i]
		most := math.MaxFloat64
		if f.Unit == transcript.Ratio {
			most = 1
		}
		v := f.Value(s)
		check(f.Name, v, most)
		if f.IsCount() && v != math.Trunc(v) && !math.IsNaN(v) {
			t.Errorf("%s is %g, want a whole number", f.Name, v)
		}
	}
	for i := range transcript.WordDistributions {
		d := transcript.WordDistributions[i].Value(s)
		ascending := slices.IsSorted([]float64{0, d.Min, d.P1, d.P10, d.P50, d.P90, d.P99, d.Max})
		// A sum has nine digits behind the point.
		if !ascending || d.Count == 1 && math.Abs(d.Sum-d.Max) > 1e-9 || !(d.Sum >= 0) || math.IsInf(d.Sum, 0) {
			t.Errorf("%s: %+v", transcript.WordDistributions[i].Name, d)
		}
	}
	if len(s.BySpeaker) > transcript.MaxSpeakers+1 {
		t.Errorf("%d speakers shown", len(s.BySpeaker))
	}
	for _, x := range s.BySpeaker {
		check("talk time", x.TalkSeconds, math.MaxFloat64)
		check("speaker's confidence", x.ConfidenceMean, 1)
		if math.IsNaN(x.TalkSeconds) || x.Words < 0 || x.Turns < 0 {
			t.Errorf("speaker %+v", x)
		}
	}
}

func BenchmarkResult(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	words := make([]transcript.Piece, 9000)
	var at float64
	for i := range words {
		start := at + r.ExpFloat64()*.1
		at = start + .1 + r.ExpFloat64()*.2
		words[i] = piece(fmt.Sprint(i/20%4), start, at, 1-r.Float64()*r.Float64()/2)
	}
	d := document{words: words}
	var a transcript.Accumulator
	b.ReportAllocs()
	for b.Loop() {
		a.Reset()
		d.result(&a)
	}
}

// Timings are those of the words with valid times, in order of start. Speakers are indexes
// into BySpeaker.
func TestTimings(t *testing.T) {
	listed := document{
		words: []transcript.Piece{
			piece("quiet", 0, 1, .9), piece("talker", 3, 6, 1.5), piece("talker", 2, 1, .5),
			piece("talker", .5, 2, .8), piece("", 7, 7.5, nan),
		},
		segments: []transcript.Piece{piece("x", 0, 9, .1)},
	}
	want := []transcript.Timing{
		{Index: 0, Start: 0, End: 1, Gap: nan, Confidence: .9, Speaker: 1},
		{Index: 3, Start: .5, End: 2, Gap: 0, Confidence: .8, Speaker: 0},
		{Index: 1, Start: 3, End: 6, Gap: 1, Confidence: nan, Speaker: 0},
		{Index: 4, Start: 7, End: 7.5, Gap: 1, Confidence: nan, Speaker: -1},
	}
	a := transcript.Accumulator{KeepTimings: true}
	for range 2 { // again, with the memory of before
		if diff := cmp.Diff(want, listed.result(&a).Timings, equal); diff != "" {
			t.Errorf("timings (-want +got):\n%s", diff)
		}
		a.Reset()
	}
	ofSegments := []transcript.Timing{{Index: 0, Start: 0, End: 9, Gap: nan, Confidence: .1, Speaker: 0}}
	if diff := cmp.Diff(ofSegments, (document{segments: listed.segments}).result(&a).Timings, equal); diff != "" {
		t.Errorf("timings of segments (-want +got):\n%s", diff)
	}
	if r := listed.result(new(transcript.Accumulator)); r.Timings != nil {
		t.Errorf("timings without KeepTimings: %v", r.Timings)
	}
}

// A pause between two segments is part of the silence between them, in any order of the
// document.
func TestPauseIsSilence(t *testing.T) {
	a := transcript.Accumulator{KeepTimings: true}
	a.SegmentList()
	a.Pause(piece("", 0, 1, nan))
	a.Segment(piece("a", 1, 2, nan))
	a.Pause(piece("", 2, 5, nan))
	a.Segment(piece("a", 5, 6, nan))
	want := []transcript.Timing{
		{Index: 0, Start: 1, End: 2, Gap: nan, Confidence: nan, Speaker: 0},
		{Index: 1, Start: 5, End: 6, Gap: 3, Confidence: nan, Speaker: 0},
	}
	if diff := cmp.Diff(want, a.Result().Timings, equal); diff != "" {
		t.Errorf("timings (-want +got):\n%s", diff)
	}
}

// Times are decimal. The error of a floating-point difference must not put a value into
// another bucket: 1.6 - 1.5 is above 0.1, and 0.1 + 0.2 above 0.3.
func TestDifferencesAreDecimal(t *testing.T) {
	end := .1
	end += .2
	var a transcript.Accumulator
	a.WordList()
	a.Word(piece("a", .1, end, nan))
	a.Word(piece("a", .3, 1.5, nan))
	a.Word(piece("a", 1.5, 1.6, nan))
	a.Word(piece("a", 1.8, 2.1, nan))
	r := a.Result()
	if r.Overlaps != 0 {
		t.Errorf("%g overlaps, want none", r.Overlaps)
	}
	upTo := func(h *histogram.Histogram) map[float64]uint64 {
		counts := make(map[float64]uint64)
		for b := range h.Buckets() {
			counts[b.UpperBound] = b.Cumulative
		}
		return counts
	}
	for bound, want := range map[float64]uint64{.05: 0, .1: 1, .15: 1, .2: 2, .25: 2, .3: 3, 1: 3, 2: 4} {
		if n := upTo(r.WordDurations)[bound]; n != want {
			t.Errorf("%d words last up to %v s, want %d", n, bound, want)
		}
	}
	for bound, want := range map[float64]uint64{0: 2, .1: 2, .2: 3} {
		if n := upTo(r.WordGaps)[bound]; n != want {
			t.Errorf("%d gaps last up to %v s, want %d", n, bound, want)
		}
	}
	if shortest := r.WordGap.Min; shortest != 0 || math.Signbit(shortest) {
		t.Errorf("the shortest gap is %v, want 0", shortest)
	}
	if p50, p90 := r.WordDuration.P50, r.WordDuration.P90; p50 != .2 || p90 != 1.2 {
		t.Errorf("median duration %v, ninth decile %v, want 0.2 and 1.2", p50, p90)
	}
}

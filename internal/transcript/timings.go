package transcript

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// A Timing is the time of one word, without the word, or of one segment. A compacted timing is that of several words of
// one speaker.
type Timing struct {
	Index      int     // in the result, from 0; of several words, the first
	Start, End float64 // seconds
	Gap        float64 // seconds of silence before it; 0 for an overlap, NaN for the first word and if unknown
	Confidence float64 // 0 to 1; NaN if unknown
	Speaker    int     // index into BySpeaker; -1: unknown
}

// Valid reports whether the timing can be that of a result.
func (t Timing) Valid() bool {
	return t.Index >= 0 && t.Start >= 0 && t.End >= t.Start && t.End <= maxUnits*resolution && !(t.Gap < 0) &&
		!(t.Confidence < 0 || t.Confidence > 1) && t.Speaker >= -1 && t.Speaker <= MaxSpeakers
}

// Length is how long the word or segment is, in seconds, to the microsecond.
func (t Timing) Length() float64 { return between(t.Start, t.End) }

// maxTimings bounds the compacted timings of a result: more than the timeline has columns.
const maxTimings = 4000

// Compact returns at most maxTimings timings, in order of start as the given ones are. If there are more, it joins what
// a speaker says within a short interval, and takes the shortest interval that suffices.
func Compact(timings []Timing) []Timing {
	for interval := 0.; ; interval = max(2*interval, timings[len(timings)-1].Start/maxTimings, resolution) {
		if joined := join(timings, interval); len(joined) <= maxTimings {
			return joined
		}
	}
}

// join joins the timings of each speaker that start within an interval.
func join(timings []Timing, interval float64) []Timing {
	var joined []Timing
	latest := make(map[int]int) // index of each speaker's latest
	for _, t := range timings {
		i, found := latest[t.Speaker]
		if !found || t.Start >= joined[i].Start+interval {
			latest[t.Speaker] = len(joined)
			joined = append(joined, t)
			continue
		}
		j := &joined[i]
		// Weighted by length; unknown if one of them is, as NaN propagates.
		before, added := j.End-j.Start, max(t.End-t.Start, 0)
		if sum := before + added; sum > 0 {
			j.Confidence = (j.Confidence*before + t.Confidence*added) / sum
		}
		j.End = max(j.End, t.End)
	}
	return joined
}

// The packed format: a byte with the format's number, and for each timing the time since the start of the one before
// and the length, both in units of the resolution as uvarints, a byte each for the confidence and the speaker plus 1.
const (
	packedFormat      = 1
	resolution        = 0.01 // seconds
	confidenceSteps   = 100
	unknownConfidence = confidenceSteps + 1
	maxPackedTiming   = 2*binary.MaxVarintLen32 + 2 // bytes
	maxUnits          = 1e7 / resolution            // older versions took times up to 115 days
)

// PackTimings packs timings, which are in order of start, into about five bytes each. Index and Gap are not kept.
func PackTimings(timings []Timing) []byte {
	packed := append(make([]byte, 0, 1+maxPackedTiming*len(timings)), packedFormat)
	units := func(seconds float64) uint64 { return uint64(math.Round(max(seconds, 0) / resolution)) }
	last := uint64(0)
	for _, t := range timings {
		start := max(units(t.Start), last)
		packed = binary.AppendUvarint(packed, start-last)
		packed = binary.AppendUvarint(packed, units(t.End-t.Start))
		last = start
		confidence := byte(unknownConfidence)
		if !math.IsNaN(t.Confidence) {
			confidence = byte(math.Round(t.Confidence * confidenceSteps))
		}
		packed = append(packed, confidence, byte(t.Speaker+1))
	}
	return packed
}

var errPacked = errors.New("invalid packed timings")

// UnpackTimings returns packed timings, to a hundredth of a second and of a confidence, with Index 0 and Gap NaN.
func UnpackTimings(packed []byte) ([]Timing, error) {
	if len(packed) == 0 || packed[0] != packedFormat {
		return nil, errPacked
	}
	var timings []Timing
	start := uint64(0)
	for rest := packed[1:]; len(rest) > 0; {
		since, n := binary.Uvarint(rest)
		if n <= 0 {
			return nil, errPacked
		}
		length, k := binary.Uvarint(rest[n:])
		if k <= 0 || len(rest) < n+k+2 || since > maxUnits || length > maxUnits {
			return nil, errPacked
		}
		confidence, speaker := rest[n+k], int(rest[n+k+1])-1
		if confidence > unknownConfidence || speaker > MaxSpeakers {
			return nil, errPacked
		}
		rest = rest[n+k+2:]
		start += since
		t := Timing{
			// As a sum of two floats, the end would not be the start of a word that follows at once.
			Start: float64(start) * resolution, End: float64(start+length) * resolution, Gap: math.NaN(),
			Confidence: float64(confidence) / confidenceSteps, Speaker: speaker,
		}
		if confidence == unknownConfidence {
			t.Confidence = math.NaN()
		}
		timings = append(timings, t)
	}
	return slices.Clip(timings), nil
}

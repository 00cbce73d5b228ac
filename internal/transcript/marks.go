package transcript

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// A Mark is a stretch of speech of one speaker in the picture of a conversation: a
// word or a segment, or several where there are too many.
type Mark struct {
	Start, End float64 // seconds
	Confidence float64 // 0 to 1; NaN where it is not known
	Speaker    int     // index into BySpeaker; MaxSpeakers: one of the others; -1: not given
}

// maxMarks is how many marks a picture has at most: more than it has columns.
const maxMarks = 4000

// Marks returns the marks of a result with these timings, which are in order of
// start. Where those are too many, what a speaker says within a moment is one mark,
// and the moment is as short as may be.
func Marks(timings []Timing) []Mark {
	moment := 0.
	for {
		if marks := within(timings, moment); len(marks) <= maxMarks {
			return marks
		}
		last := timings[len(timings)-1].Start
		moment = max(2*moment, last/maxMarks, resolution)
	}
}

// within joins what one speaker says within a moment.
func within(timings []Timing, moment float64) []Mark {
	var marks []Mark
	open := make(map[int]int) // the latest mark of each speaker
	for _, t := range timings {
		i, found := open[t.Speaker]
		if !found || t.Start >= marks[i].Start+moment {
			open[t.Speaker] = len(marks)
			marks = append(marks, Mark{t.Start, t.End, t.Confidence, t.Speaker})
			continue
		}
		m := &marks[i]
		// Unknown where any of them is: NaN. Words count by their length.
		before, more := m.End-m.Start, max(t.End-t.Start, 0)
		if sum := before + more; sum > 0 {
			m.Confidence = (m.Confidence*before + t.Confidence*more) / sum
		}
		m.End = max(m.End, t.End)
	}
	return marks
}

// What a mark is kept with.
const (
	resolution     = 0.01 // seconds
	confidences    = 100  // steps
	noConfidence   = confidences + 1
	marksFormat    = 1
	bytesOfAMark   = 2*binary.MaxVarintLen32 + 2
	longestInUnits = maxSeconds / resolution
)

// PackMarks returns marks, which are in order of start, in some five bytes each.
func PackMarks(marks []Mark) []byte {
	packed := make([]byte, 1, 1+bytesOfAMark*len(marks))
	packed[0] = marksFormat
	unit := func(seconds float64) uint64 { return uint64(math.Round(max(seconds, 0) / resolution)) }
	last := uint64(0)
	for _, m := range marks {
		start := max(unit(m.Start), last)
		packed = binary.AppendUvarint(packed, start-last)
		packed = binary.AppendUvarint(packed, unit(m.End-m.Start))
		last = start
		confidence := byte(noConfidence)
		if !math.IsNaN(m.Confidence) {
			confidence = byte(math.Round(m.Confidence * confidences))
		}
		packed = append(packed, confidence, byte(m.Speaker+1))
	}
	return packed
}

var errMarks = errors.New("not the marks of a conversation")

// UnpackMarks returns what PackMarks has packed, to a hundredth of a second and of
// a confidence. An error says that it is something else.
func UnpackMarks(packed []byte) ([]Mark, error) {
	if len(packed) == 0 || packed[0] != marksFormat {
		return nil, errMarks
	}
	var marks []Mark
	start := uint64(0)
	for rest := packed[1:]; len(rest) > 0; {
		since, n := binary.Uvarint(rest)
		if n <= 0 {
			return nil, errMarks
		}
		length, k := binary.Uvarint(rest[n:])
		if k <= 0 || len(rest) < n+k+2 || since > longestInUnits || length > longestInUnits {
			return nil, errMarks
		}
		confidence, speaker := rest[n+k], int(rest[n+k+1])-1
		if confidence > noConfidence || speaker > MaxSpeakers {
			return nil, errMarks
		}
		rest = rest[n+k+2:]
		start += since
		m := Mark{Start: float64(start) * resolution, Confidence: float64(confidence) / confidences, Speaker: speaker}
		m.End = m.Start + float64(length)*resolution
		if confidence == noConfidence {
			m.Confidence = math.NaN()
		}
		marks = append(marks, m)
	}
	return slices.Clip(marks), nil
}

package transcript_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

func timing(speaker int, start, end, confidence float64) transcript.Timing {
	return transcript.Timing{Start: start, End: end, Confidence: confidence, Speaker: speaker}
}

// A short conversation is kept word by word.
func TestMarks(t *testing.T) {
	nan := math.NaN()
	marks := transcript.Marks([]transcript.Timing{
		timing(0, .104, .5, .987), timing(1, .3, .3, nan), timing(-1, 5, 6, 0), timing(10, 3600, 3661.5, 1),
	})
	kept, err := transcript.UnpackMarks(transcript.PackMarks(marks))
	if err != nil {
		t.Fatal(err)
	}
	want := []transcript.Mark{{.1, .5, .99, 0}, {.3, .3, nan, 1}, {5, 6, 0, -1}, {3600, 3661.5, 1, 10}}
	if diff := cmp.Diff(want, kept, cmpopts.EquateNaNs(), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("(-want +kept):\n%s", diff)
	}
	if none := transcript.Marks(nil); none != nil {
		t.Errorf("marks of nothing: %v", none)
	}
}

// A long conversation is kept in bounded space; nobody's talk time is lost on the
// way.
func TestMarksAreBounded(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	var timings []transcript.Timing
	var talk [4]float64
	at := 0.
	for range 200_000 {
		at += random.ExpFloat64() * .1
		w := timing(random.IntN(4), at, at+.01+random.Float64(), .5+random.Float64()/2)
		talk[w.Speaker] = w.End
		timings = append(timings, w)
	}
	marks := transcript.Marks(timings)
	packed := transcript.PackMarks(marks)
	if len(marks) > 4000 || len(marks) < 1000 || len(packed) > 32_000 {
		t.Errorf("%d marks in %d bytes", len(marks), len(packed))
	}
	var ends [4]float64
	for i, m := range marks {
		if i > 0 && m.Start < marks[i-1].Start || m.End < m.Start || !(m.Confidence >= .5 && m.Confidence <= 1) {
			t.Fatalf("mark %d: %+v", i, m)
		}
		ends[m.Speaker] = max(ends[m.Speaker], m.End)
	}
	for speaker, end := range talk {
		if ends[speaker] < end {
			t.Errorf("speaker %d ends at %v, and talks until %v", speaker, ends[speaker], end)
		}
	}
}

// What is no picture is refused, whatever it is.
func FuzzUnpackMarks(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte{1})
	f.Add([]byte{2, 1, 1, 1, 1})
	f.Add([]byte{1, 1, 1, 255, 1})
	f.Add(transcript.PackMarks([]transcript.Mark{{1, 2, .5, 3}, {2, 900, math.NaN(), -1}}))
	f.Fuzz(func(t *testing.T, packed []byte) {
		marks, err := transcript.UnpackMarks(packed)
		if err != nil {
			return
		}
		again, err := transcript.UnpackMarks(transcript.PackMarks(marks))
		if diff := cmp.Diff(marks, again, cmpopts.EquateNaNs(), cmpopts.EquateEmpty(), cmpopts.EquateApprox(0, 1e-6)); err != nil || diff != "" {
			t.Errorf("%v (-first +again):\n%s", err, diff)
		}
	})
}

package transcript_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

func timing(speaker int, start, end, confidence float64) transcript.Timing {
	return transcript.Timing{Start: start, End: end, Gap: nan, Confidence: confidence, Speaker: speaker}
}

// The bytes are those of every version: stores keep them.
func TestPackedTimings(t *testing.T) {
	timings := []transcript.Timing{
		timing(0, .104, .5, .987), timing(1, .3, .3, nan), timing(-1, 5, 6, 0), timing(10, 3600, 3661.5, 1),
	}
	timings[1].Index, timings[1].Gap = 7, 2
	packed := transcript.PackTimings(timings)
	want := []byte{1, 10, 40, 99, 1, 20, 0, 101, 2, 214, 3, 100, 0, 0, 204, 248, 21, 134, 48, 100, 11}
	if !slices.Equal(packed, want) {
		t.Errorf("packed as %v, want %v", packed, want)
	}
	got, err := transcript.UnpackTimings(want)
	if err != nil {
		t.Fatal(err)
	}
	kept := []transcript.Timing{
		timing(0, .1, .5, .99), timing(1, .3, .3, nan), timing(-1, 5, 6, 0), timing(10, 3600, 3661.5, 1),
	}
	if diff := cmp.Diff(kept, got, cmpopts.EquateNaNs(), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("unpacked (-want +got):\n%s", diff)
	}
}

// A word that ends when the next one starts does not overlap it.
func TestPackedTimingsMeet(t *testing.T) {
	var timings []transcript.Timing
	for i := range 1000 {
		timings = append(timings, timing(0, float64(i)/10, float64(i+1)/10, 1))
	}
	got, err := transcript.UnpackTimings(transcript.PackTimings(timings))
	if err != nil {
		t.Fatal(err)
	}
	for i := range got[1:] {
		if got[i].End != got[i+1].Start {
			t.Fatalf("word %d ends at %v, the next one starts at %v", i, got[i].End, got[i+1].Start)
		}
	}
}

func TestCompactKeepsAShortResult(t *testing.T) {
	timings := []transcript.Timing{
		{Index: 1, Start: 0, End: 1, Gap: nan, Confidence: .5, Speaker: 0},
		{Index: 0, Start: 0, End: 2, Gap: 0, Confidence: nan, Speaker: 0},
	}
	if diff := cmp.Diff(timings, transcript.Compact(timings), cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if none := transcript.Compact(nil); none != nil {
		t.Errorf("compacted nothing to %v", none)
	}
}

// A long result is compacted to bounded space; all talk time of each speaker is kept.
func TestCompactALongResult(t *testing.T) {
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
	compact := transcript.Compact(timings)
	packed := transcript.PackTimings(compact)
	if len(compact) > 4000 || len(compact) < 1000 || len(packed) > 32_000 {
		t.Errorf("%d timings in %d bytes", len(compact), len(packed))
	}
	var ends [4]float64
	for i, c := range compact {
		if i > 0 && c.Start < compact[i-1].Start || c.End < c.Start || !(c.Confidence >= .5 && c.Confidence <= 1) {
			t.Fatalf("timing %d: %+v", i, c)
		}
		ends[c.Speaker] = max(ends[c.Speaker], c.End)
	}
	for speaker, end := range talk {
		if ends[speaker] < end {
			t.Errorf("speaker %d ends at %v, want %v", speaker, ends[speaker], end)
		}
	}
}

// Whatever can be unpacked is the same when packed again.
func FuzzUnpackTimings(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte{1})
	f.Add([]byte{2, 1, 1, 1, 1})
	f.Add([]byte{1, 1, 1, 255, 1})
	f.Add(transcript.PackTimings([]transcript.Timing{timing(3, 1, 2, .5), timing(-1, 2, 900, math.NaN())}))
	f.Fuzz(func(t *testing.T, packed []byte) {
		first, err := transcript.UnpackTimings(packed)
		if err != nil {
			return
		}
		again, err := transcript.UnpackTimings(transcript.PackTimings(first))
		if err != nil {
			t.Fatal(err)
		}
		same := cmp.Options{cmpopts.EquateNaNs(), cmpopts.EquateEmpty(), cmpopts.EquateApprox(0, 1e-6)}
		if diff := cmp.Diff(first, again, same); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}

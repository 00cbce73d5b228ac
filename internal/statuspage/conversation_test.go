package statuspage

import (
	"math"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// The drawing shows who speaks when, the pauses, and simultaneous speech.
func TestDraw(t *testing.T) {
	nan := math.NaN()
	timing := func(speaker int, start, end, confidence float64) transcript.Timing {
		return transcript.Timing{Start: start, End: end, Confidence: confidence, Speaker: speaker}
	}
	type timings = []transcript.Timing
	for name, tt := range map[string]struct {
		timings           timings
		lanes             string
		pauses, overlaps  int
		longest, together float64
		classes           string // of the bars, lane by lane
	}{
		"one after the other": {
			timings: timings{timing(0, 0, 2, .97), timing(1, 2, 4, .6)},
			lanes:   "Speaker 0, Speaker 1", classes: "c5 c2",
		},
		"pauses": {
			timings: timings{timing(0, 2, 3, .9), timing(0, 6, 7, .1)},
			lanes:   "Speaker 0", pauses: 2, longest: 3, classes: "c1c4",
		},
		"two at once": {
			timings: timings{timing(0, 0, 4, .8), timing(1, 1, 2, nan), timing(1, 3, 5, .8)},
			lanes:   "Speaker 0, Speaker 1", overlaps: 2, together: 2, classes: "c3 c0c3",
		},
		"three at once are one overlap": {
			timings: timings{timing(0, 0, 4, 1), timing(1, 1, 4, 1), timing(2, 2, 4, 1)},
			lanes:   "Speaker 0, Speaker 1, Speaker 2", overlaps: 1, together: 3, classes: "c5 c5 c5",
		},
		"one speaker does not overlap": {
			timings: timings{timing(0, 0, 4, 1), timing(0, 1, 2, 1)}, lanes: "Speaker 0", classes: "c5",
		},
		"words without a length": {
			timings: timings{timing(0, 0, 0, 1), timing(1, 1, 3, 1), timing(0, 2, 2, 1), timing(1, 6, 7, 1)},
			lanes:   "Speaker 0, Speaker 1", pauses: 2, longest: 3, classes: "c5 c5",
		},
		"an unknown speaker": {timings: timings{timing(-1, 0, 1, nan)}, lanes: "Speech", classes: "c0"},
		"others":             {timings: timings{timing(10, 0, 1, .85)}, lanes: "Others", classes: "c4"},
	} {
		t.Run(name, func(t *testing.T) {
			p := draw(tt.timings)
			var lanes, classes []string
			for _, l := range p.Lanes {
				lanes = append(lanes, l.Speaker)
				of := ""
				for _, m := range l.Bars {
					of += m.Class
				}
				classes = append(classes, of)
			}
			if got := strings.Join(lanes, ", "); got != tt.lanes {
				t.Errorf("lanes %s, want %s", got, tt.lanes)
			}
			if got := strings.Join(classes, " "); got != tt.classes {
				t.Errorf("shades %s, want %s", got, tt.classes)
			}
			if p.PauseCount != tt.pauses || p.LongestPause != tt.longest {
				t.Errorf("%d pauses up to %v s, want %d up to %v s", p.PauseCount, p.LongestPause, tt.pauses, tt.longest)
			}
			if p.OverlapCount != tt.overlaps || p.OverlapSeconds != tt.together {
				t.Errorf("%d overlaps for %v s, want %d for %v s", p.OverlapCount, p.OverlapSeconds, tt.overlaps, tt.together)
			}
			if strings.Count(p.Pauses, "M") != tt.pauses || (p.Overlaps == "") != (tt.overlaps == 0) {
				t.Errorf("pauses %q, overlaps %q", p.Pauses, p.Overlaps)
			}
		})
	}
	if draw(nil) != nil {
		t.Error("a drawing of nothing")
	}
}

// Bars that cannot be told apart are joined, so that a long conversation is not a large
// page.
func TestDrawLong(t *testing.T) {
	var timings []transcript.Timing
	for i := range 4000 {
		start := float64(i)
		timings = append(timings, transcript.Timing{Start: start, End: start + .5, Confidence: .9, Speaker: 0})
	}
	timings = append(timings, transcript.Timing{Start: 5000, End: 5001, Confidence: .9, Speaker: 0})
	if got := draw(timings).Lanes[0].Bars; len(got) != 1 || strings.Count(got[0].Path, "M") != 2 {
		t.Errorf("%d colours, %d bars", len(got), strings.Count(got[0].Path, "M"))
	}
}

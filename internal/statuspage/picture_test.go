package statuspage

import (
	"math"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// The picture shows who speaks when, where nobody does, and where several do.
func TestDraw(t *testing.T) {
	nan := math.NaN()
	mark := func(speaker int, start, end, confidence float64) transcript.Mark {
		return transcript.Mark{Start: start, End: end, Confidence: confidence, Speaker: speaker}
	}
	for _, tt := range []struct {
		name                       string
		marks                      []transcript.Mark
		lanes                      string
		pauses, overlaps, speakers int
		longest, together          float64
		classes                    string // of the marks, lane by lane
	}{
		{"one after the other", []transcript.Mark{mark(0, 0, 2, .97), mark(1, 2, 4, .6)}, "Speaker 0, Speaker 1", 0, 0, 2, 0, 0, "c5 c2"},
		{"a pause", []transcript.Mark{mark(0, 2, 3, .9), mark(0, 6, 7, .1)}, "Speaker 0", 2, 0, 1, 3, 0, "c1c4"},
		{"two at once", []transcript.Mark{mark(0, 0, 4, .8), mark(1, 1, 2, nan), mark(1, 3, 5, .8)}, "Speaker 0, Speaker 1", 0, 2, 2, 0, 2, "c3 c0c3"},
		{"three at once are several once", []transcript.Mark{mark(0, 0, 4, 1), mark(1, 1, 4, 1), mark(2, 2, 4, 1)}, "Speaker 0, Speaker 1, Speaker 2", 0, 1, 3, 0, 3, "c5 c5 c5"},
		{"a speaker is not several", []transcript.Mark{mark(0, 0, 4, 1), mark(0, 1, 2, 1)}, "Speaker 0", 0, 0, 1, 0, 0, "c5"},
		{"nobody is named", []transcript.Mark{mark(-1, 0, 1, nan)}, "Speech", 0, 0, 0, 0, 0, "c0"},
		{"many", []transcript.Mark{mark(10, 0, 1, .85)}, "Others", 0, 0, 1, 0, 0, "c4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := draw(tt.marks)
			var lanes, classes []string
			for _, l := range p.Lanes {
				lanes = append(lanes, l.Speaker)
				of := ""
				for _, m := range l.Marks {
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
			if p.PauseCount != tt.pauses || p.OverlapCount != tt.overlaps || p.LongestPause != tt.longest || p.OverlapSeconds != tt.together {
				t.Errorf("%d pauses, %d overlaps, the longest pause %v, together %v", p.PauseCount, p.OverlapCount, p.LongestPause, p.OverlapSeconds)
			}
			if strings.Count(p.Pauses, "M") != tt.pauses || (p.Overlaps == "") != (tt.overlaps == 0) {
				t.Errorf("pauses %q, overlaps %q", p.Pauses, p.Overlaps)
			}
		})
	}
	if draw(nil) != nil {
		t.Error("a picture of nothing")
	}
}

// What nobody could tell apart is drawn as one, so that a long conversation is not a
// large page.
func TestDrawLong(t *testing.T) {
	var marks []transcript.Mark
	for i := range 4000 {
		start := float64(i)
		marks = append(marks, transcript.Mark{Start: start, End: start + .5, Confidence: .9, Speaker: 0})
	}
	marks = append(marks, transcript.Mark{Start: 5000, End: 5001, Confidence: .9, Speaker: 0})
	if got := draw(marks).Lanes[0].Marks; len(got) != 1 || strings.Count(got[0].Path, "M") != 2 {
		t.Errorf("%d colours, %d bars", len(got), strings.Count(got[0].Path, "M"))
	}
}

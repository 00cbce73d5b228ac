package statuspage

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// The picture of a conversation has a lane for each speaker. Lengths are in the
// units of the SVG, which is stretched to the width that there is.
const (
	pictureWidth = 1000.
	laneHeight   = 24.
	lanePadding  = 3.
	hair         = .2 // a gap that nobody sees: what is on both sides of it is one
	longPause    = 1. // seconds of silence from which on it is shown
)

// picture is what the template draws.
type picture struct {
	Height   float64
	Lanes    []lane
	Pauses   string // a path
	Overlaps string // a path
	Times    []float64
	Shades   []shadeShare // of which there is something, the lowest first

	Duration       float64 // seconds
	PauseCount     int
	LongestPause   float64 // seconds
	OverlapCount   int
	OverlapSeconds float64
	Width, Bottom  float64
}

type lane struct {
	Speaker string
	Marks   []marks
}

// span is from where to where something is drawn.
type span struct{ from, to float64 }

// marks are those of one colour in a lane.
type marks struct {
	Class string
	Path  string
}

// A shade is a range of confidence that has one colour, and one height: it can be told
// without seeing colours.
type shade struct {
	Class, Text string
	From        float64
	Height      float64 // of its marks
}

const markHeight = laneHeight - 2*lanePadding

// shades begin with the one of a confidence that is not known, and go on from the
// lowest to the highest.
var shades = [...]shade{
	{"c0", "not known", math.NaN(), markHeight},
	{"c1", "below 50 %", 0, 8}, {"c2", "50 to 70 %", .5, 10.5}, {"c3", "70 to 85 %", .7, 13},
	{"c4", "85 to 95 %", .85, 15.5}, {"c5", "95 % and more", .95, markHeight},
}

// shadeOf returns the index of a confidence's shade.
func shadeOf(confidence float64) int {
	of := 0
	for i, s := range shades {
		if confidence >= s.From {
			of = i
		}
	}
	return of
}

// Top is where a mark begins, from the top of where it may be.
func (s shade) Top() float64 { return markHeight - s.Height }

// shadeShare is how much of the speech has a shade.
type shadeShare struct {
	shade
	Share float64 // 0 to 1
}

// draw returns the picture of a conversation; nil without marks.
func draw(all []transcript.Mark) *picture {
	if len(all) == 0 {
		return nil
	}
	p := &picture{Width: pictureWidth}
	for _, m := range all {
		p.Duration = max(p.Duration, m.End)
	}
	p.Shades = shares(all)
	scale := pictureWidth / max(p.Duration, 1e-3)

	bySpeaker := make(map[int][]transcript.Mark)
	for _, m := range all {
		bySpeaker[m.Speaker] = append(bySpeaker[m.Speaker], m)
	}
	speakers := make([]int, 0, len(bySpeaker))
	for s := range bySpeaker {
		speakers = append(speakers, s)
	}
	slices.Sort(speakers)
	for i, s := range speakers {
		l := lane{Speaker: speakerName(s)}
		var spans [len(shades)][]span
		for _, m := range bySpeaker[s] {
			of := &spans[shadeOf(m.Confidence)]
			// A word is at least a tick that can be seen.
			from := m.Start * scale
			to := max(m.End*scale, from+.6)
			if n := len(*of); n > 0 && from < (*of)[n-1].to+hair {
				(*of)[n-1].to = max((*of)[n-1].to, to)
				continue
			}
			*of = append(*of, span{from, to})
		}
		bottom := float64(i+1)*laneHeight - lanePadding
		for of, spans := range spans {
			var path strings.Builder
			for _, s := range spans {
				bar(&path, s.from, s.to-s.from, bottom-shades[of].Height, shades[of].Height)
			}
			if spans != nil {
				l.Marks = append(l.Marks, marks{shades[of].Class, path.String()})
			}
		}
		p.Lanes = append(p.Lanes, l)
	}
	p.Bottom = float64(len(p.Lanes)) * laneHeight
	p.Height = p.Bottom + laneHeight/2
	p.between(all, scale)
	for i := range 5 {
		p.Times = append(p.Times, p.Duration*float64(i)/4)
	}
	return p
}

// shares are how much of the speech has each shade, of those that there are.
func shares(all []transcript.Mark) (shares []shadeShare) {
	var lengths [len(shades)]float64
	total := 0.
	for _, m := range all {
		length := max(m.End-m.Start, 1e-3) // also what takes no time is there
		lengths[shadeOf(m.Confidence)] += length
		total += length
	}
	for i := range shades {
		i = (i + 1) % len(shades) // the one that is not known comes last
		if lengths[i] > 0 {
			shares = append(shares, shadeShare{shades[i], lengths[i] / total})
		}
	}
	return shares
}

// between finds where nobody talks, and where several speakers do at once.
func (p *picture) between(all []transcript.Mark, scale float64) {
	type edge struct {
		at      float64
		speaker int
		step    int
	}
	var edges []edge
	for _, m := range all {
		edges = append(edges, edge{m.Start, m.Speaker, 1}, edge{m.End, m.Speaker, -1})
	}
	// What ends gives way to what begins at the same time.
	slices.SortStableFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.step, b.step)) })
	var pauses, overlaps strings.Builder
	talking := make(map[int]int)
	at := 0. // since then as many have talked
	for _, e := range edges {
		length := e.at - at
		switch {
		case len(talking) == 0 && length >= longPause:
			bar(&pauses, at*scale, length*scale, 0, p.Bottom)
			p.PauseCount++
			p.LongestPause = max(p.LongestPause, length)
		case len(talking) > 1 && length > 0:
			bar(&overlaps, at*scale, max(length*scale, .6), p.Bottom+lanePadding, laneHeight/2-lanePadding)
			p.OverlapSeconds += length
		}
		before := len(talking)
		if talking[e.speaker] += e.step; talking[e.speaker] <= 0 {
			delete(talking, e.speaker)
		}
		if before == 1 && len(talking) == 2 {
			p.OverlapCount++
		}
		at = e.at
	}
	p.Pauses, p.Overlaps = pauses.String(), overlaps.String()
}

// bar adds a rectangle to a path.
func bar(path *strings.Builder, x, width, y, height float64) {
	fmt.Fprintf(path, "M%.1f %gh%.1fv%gH%.1fz", x, y, width, height, x)
}

// speakerName names speakers as the metrics do: by their talk time.
func speakerName(index int) string {
	switch {
	case index < 0:
		return "Speech"
	case index >= transcript.MaxSpeakers:
		return "Others"
	}
	return fmt.Sprintf("Speaker %d", index)
}

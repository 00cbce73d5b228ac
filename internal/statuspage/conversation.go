package statuspage

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// The drawing of a conversation has a lane for each speaker. Lengths are in the units of the SVG, which is stretched to
// the available width.
const (
	drawingWidth = 1000.
	laneHeight   = 24.
	lanePadding  = 3.
	barHeight    = laneHeight - 2*lanePadding
	minGap       = .2 // narrower gaps are invisible: what is on both sides is joined
	minBar       = .6 // the width of the shortest bar, to be visible
	longPause    = 1. // seconds of silence from which a pause is shown
)

// conversation is a drawing of who speaks when.
type conversation struct {
	Width, Height, Bottom float64 // the lanes end at the bottom
	Lanes                 []lane
	Pauses, Overlaps      string // paths
	Times                 []float64
	Shades                []shadeShare // those that occur, the lowest first

	PauseCount, OverlapCount               int
	Duration, LongestPause, OverlapSeconds float64 // seconds
}

type lane struct {
	Speaker string
	Bars    []bars
}

// bars are those of one shade in a lane.
type bars struct{ Class, Path, Title string }

// A shade is a range of confidence with its own colour, and its own height for those who do not see the colour.
type shade struct {
	Class, Text string
	From        float64
	Height      float64 // of its bars
}

// shades begin with the one for an unknown confidence; the others are ascending.
var shades = [...]shade{
	{"c0", "unknown", math.NaN(), barHeight},
	{"c1", "below 50 %", 0, 8}, {"c2", "50 to 70 %", .5, 10.5}, {"c3", "70 to 85 %", .7, 13},
	{"c4", "85 to 95 %", .85, 15.5}, {"c5", "95 % and more", .95, barHeight},
}

// shadeOf returns the index of a confidence's shade.
func shadeOf(confidence float64) (of int) {
	for i, s := range shades {
		if confidence >= s.From {
			of = i
		}
	}
	return of
}

// Top is where a bar of the shade begins, from the top of the highest bar.
func (s shade) Top() float64 { return barHeight - s.Height }

// shadeShare is the share of the speech that has a shade.
type shadeShare struct {
	shade
	Share float64 // 0 to 1
}

// draw returns the drawing of a conversation; nil without timings.
func draw(all []transcript.Timing) *conversation {
	if len(all) == 0 {
		return nil
	}
	c := &conversation{Width: drawingWidth, Shades: shares(all)}
	bySpeaker := make(map[int][]transcript.Timing)
	for _, t := range all {
		c.Duration = max(c.Duration, t.End)
		bySpeaker[t.Speaker] = append(bySpeaker[t.Speaker], t)
	}
	scale := drawingWidth / max(c.Duration, 1e-3)
	for i, speaker := range slices.Sorted(maps.Keys(bySpeaker)) {
		bottom := float64(i+1)*laneHeight - lanePadding
		c.Lanes = append(c.Lanes,
			lane{speakerTitle(speaker), barsOf(speakerTitle(speaker), bySpeaker[speaker], scale, bottom)})
	}
	c.Bottom = float64(len(c.Lanes)) * laneHeight
	c.Height = c.Bottom + laneHeight/2
	c.drawBetween(all, scale)
	for i := range 5 {
		c.Times = append(c.Times, c.Duration*float64(i)/4)
	}
	return c
}

// barsOf returns the bars of one speaker.
func barsOf(speaker string, timings []transcript.Timing, scale, bottom float64) (lane []bars) {
	type span struct{ from, to float64 }
	var byShade [len(shades)][]span
	var lengths [len(shades)]float64
	for _, t := range timings {
		lengths[shadeOf(t.Confidence)] += t.End - t.Start
		spans := &byShade[shadeOf(t.Confidence)]
		from := t.Start * scale
		to := max(t.End*scale, from+minBar)
		if n := len(*spans); n > 0 && from < (*spans)[n-1].to+minGap {
			(*spans)[n-1].to = max((*spans)[n-1].to, to)
			continue
		}
		*spans = append(*spans, span{from, to})
	}
	for i, spans := range byShade {
		var path strings.Builder
		for _, s := range spans {
			addBar(&path, s.from, s.to-s.from, bottom-shades[i].Height, shades[i].Height)
		}
		if spans != nil {
			title := fmt.Sprintf("%s, confidence %s: %s", speaker, shades[i].Text, seconds(lengths[i]))
			lane = append(lane, bars{shades[i].Class, path.String(), title})
		}
	}
	return lane
}

// shares returns the shares of the shades in the speech.
func shares(all []transcript.Timing) (shares []shadeShare) {
	var lengths [len(shades)]float64
	total := 0.
	for _, t := range all {
		length := max(t.End-t.Start, 1e-3) // a word without length counts, too
		lengths[shadeOf(t.Confidence)] += length
		total += length
	}
	for i := range shades {
		i = (i + 1) % len(shades) // unknown comes last
		if lengths[i] > 0 {
			shares = append(shares, shadeShare{shades[i], lengths[i] / total})
		}
	}
	return shares
}

// drawBetween finds the pauses, and the times at which several speakers talk at once.
func (c *conversation) drawBetween(all []transcript.Timing, scale float64) {
	type edge struct {
		at            float64
		speaker, step int
	}
	var edges []edge
	for _, t := range all {
		if t.End > t.Start { // else its end would come before its start
			edges = append(edges, edge{t.Start, t.Speaker, 1}, edge{t.End, t.Speaker, -1})
		}
	}
	// At the same time, ends come before starts.
	slices.SortStableFunc(edges, func(a, b edge) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.step, b.step))
	})
	var pauses, overlaps strings.Builder
	talking := make(map[int]int)
	last := 0. // time of the edge before
	for _, e := range edges {
		length := e.at - last
		switch {
		case len(talking) == 0 && length >= longPause:
			addBar(&pauses, last*scale, length*scale, 0, c.Bottom)
			c.PauseCount++
			c.LongestPause = max(c.LongestPause, length)
		case len(talking) > 1 && length > 0:
			addBar(&overlaps, last*scale, max(length*scale, minBar), c.Bottom+lanePadding, laneHeight/2-lanePadding)
			c.OverlapSeconds += length
		}
		before := len(talking)
		if talking[e.speaker] += e.step; talking[e.speaker] <= 0 {
			delete(talking, e.speaker)
		}
		if before == 1 && len(talking) == 2 {
			c.OverlapCount++
		}
		last = e.at
	}
	c.Pauses, c.Overlaps = pauses.String(), overlaps.String()
}

// addBar adds a rectangle to a path.
func addBar(path *strings.Builder, x, width, y, height float64) {
	fmt.Fprintf(path, "M%.1f %gh%.1fv%gH%.1fz", x, y, width, height, x)
}

// speakerTitle returns a heading for Statistics.BySpeaker[i], and for -1, speech without a speaker.
func speakerTitle(i int) string {
	switch {
	case i < 0:
		return "Speech"
	case i >= transcript.MaxSpeakers:
		return "Others"
	}
	return "Speaker " + transcript.SpeakerName(i)
}

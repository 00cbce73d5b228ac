package statuspage

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// Lengths are in the units of the SVGs, which are stretched to the available width.
const (
	latest     = 50 // results in the strip
	resultStep = 10.
	resultBar  = 8.
	stripHigh  = 24.

	hourStep  = 20. // in the charts
	hourBar   = 16.
	chartHigh = 80.
	chartTop  = 6. // where the limit of the quota is
	leastBar  = 3. // the height of the lowest bar, to be visible
)

// history is what an account did in the last hours.
type history struct {
	Strip   []bar // the latest results
	Hours   []jobs.Hour
	Bars    []bar
	Most    int       // results in an hour
	Gap     time.Time // until then the hours lack ends of jobs that are no longer kept; zero: they lack none
	Summary string
	Width   float64
	Height  float64
	Quota   *quotaChart // nil: no limit per day
}

// bar is a rectangle with a tooltip.
type bar struct {
	Class, Title        string
	X, Y, Width, Height float64
}

// StripWidth and StripHeight are the size of the strip.
func (h *history) StripWidth() float64  { return latest * resultStep }
func (h *history) StripHeight() float64 { return stripHigh }

// Ended is the number of all ends in the hours.
func (h *history) Ended() (n int) {
	for _, hour := range h.Hours {
		n += hour.Ended.All()
	}
	return n
}

// heights of results, for those who do not see the colour: what failed is higher.
var heights = map[jobs.State]float64{jobs.Completed: 12, jobs.Failed: stripHigh, jobs.Lost: 18}

// historyOf draws the history of an account.
func historyOf(h collector.JobHistory, s *collector.Snapshot) *history {
	v := &history{Hours: h.Hours[:], Width: jobs.HistoryHours * hourStep, Height: chartHigh}
	var counts [len(jobs.States)]int
	for i, j := range h.Latest {
		counts[j.State]++
		title := fmt.Sprintf("%s %s: %s", j.State, relative(j.FinishedAt, s.At), j.RequestID)
		if j.ErrorCode != "" {
			title += ", " + j.ErrorCode
		}
		x, high := float64(latest-len(h.Latest)+i)*resultStep, heights[j.State]
		v.Strip = append(v.Strip, bar{j.State.String(), title, x, stripHigh - high, resultBar, high})
	}
	var parts []string
	for _, state := range jobs.EndStates {
		if n := counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	v.Summary = fmt.Sprintf("The last %s: %s.", count(len(h.Latest), "result", "results"), strings.Join(parts, ", "))
	if h.Complete.After(h.Hours[0].Start) {
		v.Gap = h.Complete
	}
	for _, hour := range h.Hours {
		v.Most = max(v.Most, hour.Ended.All())
	}
	for i, hour := range h.Hours {
		y := chartHigh
		for k, state := range jobs.EndStates {
			n := hour.Ended[k]
			if n == 0 {
				continue
			}
			high := max(float64(n)/float64(v.Most)*(chartHigh-3*leastBar), leastBar)
			y -= high
			title := fmt.Sprintf("%s: %s %s", span(hour.Start), count(n, "job", "jobs"), state)
			v.Bars = append(v.Bars, bar{state.String(), title, float64(i)*hourStep + 2, tenths(y), hourBar, tenths(high)})
		}
	}
	v.Quota = drawQuota(s)
	return v
}

// tenths rounds a coordinate: more digits make only the page longer.
func tenths(v float64) float64 { return math.Round(v*10) / 10 }

// span formats an hour.
func span(start time.Time) string {
	return start.Format("15:04") + "–" + start.Add(time.Hour).Format("15:04") + " UTC"
}

// quotaChart draws how the day's quota is used up.
type quotaChart struct {
	Width, Height, Limit  float64 // Limit is where its line is
	Now                   float64 // where the present is
	Area, Line, Forecast  string  // paths; the last may be empty
	Summary               string
	Begin, Present, Until string // labels of the axis; the second may be empty
}

// drawQuota draws the requests that count at present, by when they were sent, and those that are expected to count at
// each hour until the day's quota resets or, where any 24 hours count, of a day.
func drawQuota(s *collector.Snapshot) *quotaChart {
	if math.IsInf(s.Day.Limit, 1) {
		return nil
	}
	begin, end := s.At.Add(-24*time.Hour), s.At.Add(24*time.Hour)
	c := &quotaChart{
		Width: jobs.HistoryHours * hourStep, Height: chartHigh, Limit: chartTop,
		Begin: "24 h ago", Present: "now", Until: "in 24 h",
	}
	if !s.DayBegins.IsZero() {
		begin, end = s.DayBegins, s.DayEnds
		c.Begin, c.Present, c.Until = begin.UTC().Format("15:04 UTC"), "", end.UTC().Format("15:04 UTC")
	}
	x := func(t time.Time) float64 {
		return min(max(float64(t.Sub(begin))/float64(end.Sub(begin)), 0), 1) * c.Width
	}
	y := func(requests float64) float64 {
		return chartHigh - min(requests/s.Day.Limit, 1)*(chartHigh-chartTop)
	}
	c.Now = tenths(x(s.At))
	hour := s.At.Add(-s.At.Sub(s.At.Truncate(time.Hour))) // keeps the monotonic clock
	var line strings.Builder
	fmt.Fprintf(&line, "M0 %.1f", y(0))
	sent, since := 0, s.DayLog
	for at := hour.Add(-25 * time.Hour); !at.After(hour); at = at.Add(time.Hour) {
		for len(since) > 0 && !since[0].At.After(at) {
			sent, since = sent+since[0].Requests, since[1:]
		}
		if at.After(begin) {
			fmt.Fprintf(&line, "L%.1f %.1f", x(at), y(float64(sent)))
		}
	}
	fmt.Fprintf(&line, "L%.1f %.1f", x(s.At), y(s.Day.Used))
	c.Line = line.String()
	c.Area = fmt.Sprintf("%sV%gH0z", c.Line, chartHigh)
	c.Summary = fmt.Sprintf("%s of %s used.", number(s.Day.Used), number(s.Day.Limit))
	if s.Pricing.Coming == 0 {
		return c
	}
	var forecast strings.Builder
	fmt.Fprintf(&forecast, "M%.1f %.1f", x(s.At), y(s.Day.Used))
	used, at, exhausted, log := s.Day.Used, s.At, time.Time{}, s.DayLog
	for _, expected := range s.Pricing.Requests {
		if !at.Before(end) {
			break
		}
		hour = hour.Add(time.Hour)
		if at = hour; at.After(end) {
			at = end
		}
		for len(log) > 0 && !log[0].Leaves.After(at) {
			used, log = used-float64(log[0].Requests), log[1:]
		}
		left := max(s.Day.Limit-used, 0) // a reload may have lowered the limit below what is used
		if expected >= left && exhausted.IsZero() {
			exhausted = at
		}
		used += min(expected, left)
		fmt.Fprintf(&forecast, "L%.1f %.1f", x(at), y(used))
	}
	c.Forecast = forecast.String()
	switch {
	case s.Day.Used >= s.Day.Limit:
	case !exhausted.IsZero():
		c.Summary += " Forecast: used up by " + stamp(exhausted, s.At) + "."
	default:
		c.Summary += fmt.Sprintf(" Forecast: %s at %s.", number(math.Round(used)), stamp(at, s.At))
	}
	return c
}

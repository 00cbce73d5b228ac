package statuspage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// The use of the day's quota is drawn exactly: each request counts from when it is sent until it leaves the window,
// which is a little longer than 24 hours.
func TestDrawQuota(t *testing.T) {
	now := time.Date(2026, 3, 1, 14, 30, 0, 0, time.UTC)
	const window = 24*time.Hour + time.Minute
	sent := func(ago time.Duration, requests int) collector.Counted {
		at := now.Add(-ago)
		return collector.Counted{At: at, Leaves: at.Add(window), Requests: requests}
	}
	s := &collector.Snapshot{At: now}
	s.Day.Limit, s.Day.Used = 74, 37 // one unit of the drawing for each request
	s.DayLog = []collector.Counted{
		sent(24*time.Hour, 1),                            // at 14:30
		sent(23*time.Hour+32*time.Minute, 2),             // at 14:58: leaves at 14:59
		sent(23*time.Hour+31*time.Minute+time.Second, 4), // at 14:58:59: leaves just before 15:00
		sent(23*time.Hour+30*time.Minute, 8),             // at 15:00: leaves just after 15:00
		sent(10*time.Minute, 16),                         // and 6 are in flight
	}
	s.Pricing.Coming = 1
	s.Pricing.Requests[0], s.Pricing.Requests[1], s.Pricing.Requests[23] = 3, 5, 100
	// 48 hours are 480 units: an hour is 10.
	flat := func(from, to, step float64, y string) (path string) {
		for x := from; x <= to; x += step {
			path += fmt.Sprintf("L%.1f %s", x, y)
		}
		return path
	}
	c := drawQuota(s)
	if want := "M0 80.0" + flat(5, 235, 10, "65.0") + "L240.0 43.0"; c.Line != want {
		t.Errorf("the line is %s, want %s", c.Line, want)
	}
	// At 15:00, 1, 2 and 4 have left; at 16:00, 8; at 14:00 of the next day nothing else; then it is used up.
	want := "M240.0 43.0" + "L245.0 47.0" + flat(255, 465, 10, "50.0") + "L475.0 6.0"
	if c.Forecast != want {
		t.Errorf("the forecast is %s, want %s", c.Forecast, want)
	}
	if want := "37 of 74 used. Forecast: used up by 2026-03-02 14:00 UTC."; c.Summary != want {
		t.Errorf("the summary is %q, want %q", c.Summary, want)
	}

	s.Pricing.Requests[23] = 1
	if want := " Forecast: 31 at 2026-03-02 14:00 UTC."; !strings.HasSuffix(drawQuota(s).Summary, want) {
		t.Errorf("the summary is %q, want %q", drawQuota(s).Summary, want)
	}

	// A day that resets at 00:00: an hour is 20.
	s.DayBegins, s.DayEnds = now.Truncate(24*time.Hour), now.Truncate(24*time.Hour).Add(24*time.Hour)
	for i := range s.DayLog {
		s.DayLog[i].At, s.DayLog[i].Leaves = now.Add(-10*time.Minute), s.DayEnds.Add(time.Minute)
	}
	s.Pricing.Requests[9], s.Pricing.Requests[10] = 2, 1000 // before 00:00, and after it
	c = drawQuota(s)
	if want := "M290.0 43.0L300.0 40.0" + flat(320, 460, 20, "35.0") + "L480.0 33.0"; c.Forecast != want {
		t.Errorf("the forecast is %s, want %s", c.Forecast, want)
	}
	if want := "M0 80.0" + flat(20, 280, 20, "80.0") + "L290.0 43.0"; c.Line != want {
		t.Errorf("the line is %s, want %s", c.Line, want)
	}

	// A reload has lowered the limit below what is used: nothing more is sent until enough has left.
	s.DayBegins, s.DayEnds = time.Time{}, time.Time{}
	s.Day.Limit, s.Day.Used, s.DayLog = 10, 37, []collector.Counted{sent(23*time.Hour, 30), sent(time.Hour, 7)}
	want = "M240.0 6.0" + flat(245, 465, 10, "6.0") + "L475.0 50.4"
	if got := drawQuota(s).Forecast; got != want {
		t.Errorf("the forecast is %s, want %s", got, want)
	}
}

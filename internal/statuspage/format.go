package statuspage

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/duration"
)

// functions format values in templates.
var functions = template.FuncMap{
	"style":    func() template.CSS { return template.CSS(style) },
	"icons":    func() []icon { return icons },
	"favicon":  favicon,
	"script":   func() template.JS { return template.JS(script) },
	"moment":   func(at, now time.Time, never string) moment { return moment{at, now, never} },
	"date":     date,
	"stamp":    stamp,
	"clock":    clock,
	"speaker":  speakerTitle,
	"datetime": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"relative": relative,
	"number":   number,
	"dotted":   func(code string) []string { return strings.SplitAfter(code, ".") }, // where a line may break
	"expected": expected,
	"int":      func(v float64) int { return int(v) },
	"integer":  func(n int) string { return humanize.Comma(int64(n)) },
	"count":    count,
	"percent":  percent,
	"duration": duration.Text,
	"seconds":  seconds,
	"delay":    delay,
	"known":    func(v float64) bool { return !math.IsNaN(v) },
}

// moment is a time for the template "time", which writes it relative to now.
type moment struct {
	At, Now time.Time
	Never   string // the text if the time is unknown
}

// date formats a time in full. All times are in UTC, as in the log.
func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// stamp formats a time, without the date if it is today.
func stamp(t, now time.Time) string {
	if t.UTC().Format(time.DateOnly) == now.UTC().Format(time.DateOnly) {
		return t.UTC().Format("15:04:05 UTC")
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// relative formats a time relative to now: "35 s ago", "in 2 h 5 min".
func relative(t, now time.Time) string {
	switch d := t.Sub(now).Round(time.Second); {
	case d < 0:
		return duration.Text(-d) + " ago"
	case d > 0:
		return "in " + duration.Text(d)
	}
	return "now"
}

// seconds formats a length of speech; below 10 s in tenths.
func seconds(v float64) string {
	if v < 9.95 {
		return number(math.Round(v*10)/10) + " s"
	}
	return duration.Text(time.Duration(v * float64(time.Second)))
}

// delay formats a delay that may be close to none.
func delay(v float64) string {
	if v > 0 && v < .05 {
		return "less than 0.1 s"
	}
	return seconds(v)
}

// number formats a number with at most two decimals.
func number(v float64) string { return humanize.Commaf(math.Round(v*100) / 100) }

// expected formats an expected number: rounded, unless it is small.
func expected(v float64) string {
	switch {
	case v > 0 && v < 1:
		return "<1"
	case v < 10:
		return number(math.Round(v*10) / 10)
	}
	return humanize.Comma(int64(math.Round(v)))
}

// count formats a number of things.
func count(n int, one, more string) string {
	if n == 1 {
		more = one
	}
	return humanize.Comma(int64(n)) + " " + more
}

// percent formats a ratio; only 0 and 1 appear as 0 % and 100 %.
func percent(v float64) string {
	switch {
	case v > 0 && v < .001:
		return "<0.1 %"
	case v > .999 && v < 1:
		return ">99.9 %"
	}
	return fmt.Sprintf("%.1f %%", v*100)
}

// clock formats a position in a recording of a length: "1.5 s", "2:03", "1:02:03".
func clock(at, length float64) string {
	switch whole := int(math.Round(at)); {
	case length < 10:
		return fmt.Sprintf("%.1f s", at)
	case whole < 3600:
		return fmt.Sprintf("%d:%02d", whole/60, whole%60)
	default:
		return fmt.Sprintf("%d:%02d:%02d", whole/3600, whole/60%60, whole%60)
	}
}

package statuspage

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// functions are what the templates write values with.
var functions = template.FuncMap{
	"moment":   func(at, now time.Time, never string) moment { return moment{at, now, never} },
	"date":     date,
	"stamp":    stamp,
	"clock":    clock,
	"speaker":  speakerName,
	"runbook":  func(alert string) string { return runbooks + strings.ToLower(alert) },
	"datetime": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"relative": relative,
	"number":   number,
	"expected": expected,
	"integer":  func(n int) string { return humanize.Comma(int64(n)) },
	"count":    count,
	"percent":  percent,
	"duration": duration,
	"seconds":  seconds,
	"delay":    delay,
	"known":    func(v float64) bool { return !math.IsNaN(v) },
}

// moment is a time as the template "time" writes it: how long from now, and
// what to say where it is not known.
type moment struct {
	At, Now time.Time
	Never   string
}

// date writes a time in full. All times are in UTC, as in the log.
func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// stamp writes a time as short as it can be told from others: without today's date.
func stamp(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.Truncate(24 * time.Hour).Equal(now.Truncate(24 * time.Hour)) {
		return t.Format("15:04:05 UTC")
	}
	return t.Format("2006-01-02 15:04 UTC")
}

// relative writes how long from now a time is: "35 s ago", "in 2 h 5 min".
func relative(t, now time.Time) string {
	switch d := t.Sub(now).Round(time.Second); {
	case d < 0:
		return duration(-d) + " ago"
	case d > 0:
		return "in " + duration(d)
	}
	return "now"
}

// duration writes a duration with the two largest of its units: "2 d 3 h", "1 min 5 s".
func duration(d time.Duration) string {
	if d > 0 && d < time.Second {
		return "<1 s"
	}
	d = d.Round(time.Second)
	if d >= time.Hour {
		d = d.Round(time.Minute)
	}
	if d >= 24*time.Hour {
		d = d.Round(time.Hour)
	}
	var parts []string
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := d / unit.length; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, unit.name))
			d -= n * unit.length
		}
	}
	if parts == nil {
		return "0 s"
	}
	return strings.Join(parts, " ")
}

// seconds writes a length of speech; a short one in tenths.
func seconds(v float64) string {
	if v < 9.95 {
		return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) + " s"
	}
	return duration(time.Duration(v * float64(time.Second)))
}

// delay writes a delay that may be as good as none.
func delay(v float64) string {
	if v > 0 && v < .05 {
		return "less than 0.1 s"
	}
	return seconds(v)
}

// number writes a number with at most two decimals.
func number(v float64) string { return humanize.Commaf(math.Round(v*100) / 100) }

// expected writes how many are expected: whole ones, unless they are few.
func expected(v float64) string {
	switch {
	case v > 0 && v < 1:
		return "<1"
	case v < 10:
		return number(math.Round(v*10) / 10)
	}
	return humanize.Comma(int64(math.Round(v)))
}

// count writes how many there are of something.
func count(n int, one, more string) string {
	if n == 1 {
		more = one
	}
	return humanize.Comma(int64(n)) + " " + more
}

// percent writes a ratio; what is not quite all, or not quite none, never as if it were.
func percent(v float64) string {
	switch {
	case v > 0 && v < .001:
		return "<0.1 %"
	case v > .999 && v < 1:
		return ">99.9 %"
	}
	return fmt.Sprintf("%.1f %%", v*100)
}

// clock writes a place in a recording of that length: "1.5 s", "2:03", "1:02:03".
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

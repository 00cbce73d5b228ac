package statuspage

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// functions are what the template writes values with.
var functions = template.FuncMap{
	"moment":   func(at, now time.Time, never string) moment { return moment{at, now, never} },
	"date":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"clock":    clock,
	"speaker":  speakerName,
	"datetime": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"relative": func(t, now time.Time) string { return humanize.RelTime(t, now, "ago", "from now") },
	"number":   func(v float64) string { return humanize.Commaf(math.Round(v*100) / 100) },
	"integer":  func(n int) string { return humanize.Comma(int64(n)) },
	"percent":  func(v float64) string { return fmt.Sprintf("%.1f %%", v*100) },
	"duration": duration,
	"seconds":  func(v float64) string { return duration(time.Duration(v * float64(time.Second))) },
	"known":    func(v float64) bool { return !math.IsNaN(v) },
}

// moment is a time as the template "time" writes it: how long from now, and
// what to say where it is not known.
type moment struct {
	At, Now time.Time
	Never   string
}

// duration writes a duration with the two largest of its units: "2 d 3 h", "1 min 5 s".
func duration(d time.Duration) string {
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

// clock writes a place in a recording: "1.5 s", "2:03", "1:02:03".
func clock(seconds float64) string {
	switch whole := int(math.Round(seconds)); {
	case seconds < 10:
		return fmt.Sprintf("%.1f s", seconds)
	case whole < 3600:
		return fmt.Sprintf("%d:%02d", whole/60, whole%60)
	default:
		return fmt.Sprintf("%d:%02d:%02d", whole/3600, whole/60%60, whole%60)
	}
}

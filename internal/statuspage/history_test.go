package statuspage_test

import (
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// The overview draws the latest results, the ends by hour and the use of the day's quota, each with a text; and a
// table has the numbers.
func TestHistory(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*collector.Config)
		quota  string // pattern of the text about the day's quota
		axis   string
		gap    string
	}{
		"any 24 hours": {
			quota: `The day's quota over time: 3 of 100 used\. Forecast: \d+ at 2000-01-02 01:00 UTC\.`,
			axis:  `<li>24 h ago</li><li>now</li><li>in 24 h</li>`,
		},
		"a reset": {
			change: func(c *collector.Config) { c.DayResetsAt = "00:00" },
			quota:  `The day's quota over time: 3 of 100 used\. Forecast: \d+ at 2000-01-02 00:00 UTC\.`,
			axis:   `<li>00:00 UTC</li><li>00:00 UTC</li>`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := config("a")
				if tt.change != nil {
					tt.change(&o)
				}
				c := watch(t, vendor{"c": completed, "f": failed, "r": running}, o)
				track(t, c, "a", jobs("c", "f", "r")...)
				<-time.After(90 * time.Minute)
				if err := c.Once(t.Context()); err != nil {
					t.Fatal(err)
				}
				<-time.After(time.Minute)
				page := get(c, "GET", "/").Body.String()
				for _, want := range []string{
					"The last 2 results: 1 completed, 1 failed.", "By hour, in the last day: 2, at most 2 in an hour.",
					"Hour (UTC) | Completed | Failed | Lost | Reserved requests |", "01:00 | 1 | 1 | 0 | 3 |",
					"00:00 | 0 | 0 | 0 | 0 |",
				} {
					if !strings.Contains(text(page), want) {
						t.Errorf("the page lacks %q: %s", want, text(page))
					}
				}
				if !regexp.MustCompile(tt.quota).MatchString(text(page)) || !strings.Contains(page, tt.axis) {
					t.Errorf("the page lacks %s, or %s: %s", tt.quota, tt.axis, text(page))
				}
				if strings.Contains(text(page), "still kept") != (tt.gap != "") || !strings.Contains(text(page), tt.gap) {
					t.Errorf("the page does not say %q: %s", tt.gap, text(page))
				}
				for _, svg := range regexp.MustCompile(`(?s)<svg class="(strip|chart)".*?</svg>`).FindAllString(page, -1) {
					if long := regexp.MustCompile(`\d+\.\d\d+`).FindString(svg); long != "" {
						t.Errorf("the coordinate %s", long)
					}
				}
				for _, want := range []string{
					`<rect class="failed" x="(480|490)" y="0" width="8" height="24"><title>failed 1 min ago: f, com.deepaffects.BadRequest</title>`,
					`<rect class="completed" x="(480|490)" y="12" width="8" height="12"><title>completed 1 min ago: c</title>`,
					`<rect class="completed" x="462" y="44.5" width="16" height="35.5"><title>01:00–02:00 UTC: 1 job completed</title>`,
					`<rect class="failed" x="462" y="9" width="16" height="35.5"><title>01:00–02:00 UTC: 1 job failed</title>`,
					`<path class="line" d="M0 80.0L[^"]*L[\d.]+ 77.8"/><path class="forecast" d="M[\d.]+ 77.8L`,
				} {
					if !regexp.MustCompile(want).MatchString(page) {
						t.Errorf("the page lacks %s: %s", want,
							regexp.MustCompile(`(?s)<svg class="(strip|chart)".*?</svg>`).FindAllString(page, -1))
					}
				}
			})
		})
	}
}

// A page without results or a limit has no empty charts.
func TestNoHistory(t *testing.T) {
	page := get(watch(t, nil, unlimited("a")), "GET", "/").Body.String()
	for _, not := range []string{`class="strip"`, `class="chart"`, "<details"} {
		if strings.Contains(page, not) {
			t.Errorf("the page has %s", not)
		}
	}
}

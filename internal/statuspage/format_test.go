package statuspage

import (
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

func TestFormats(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 30, 0, 0, time.FixedZone("", 2*60*60)) // still February in UTC
	for _, tt := range []struct{ got, want string }{
		{expected(0), "0"}, {expected(.004), "<1"}, {expected(1.04), "1"}, {expected(3.27), "3.3"},
		{expected(9.96), "10"}, {expected(596923.61), "596,924"},
		{number(1500000), "1,500,000"}, {number(2.8456), "2.85"}, {number(4), "4"},
		{count(0, "job", "jobs"), "0 jobs"}, {count(1, "job", "jobs"), "1 job"}, {count(1234, "job", "jobs"), "1,234 jobs"},
		{percent(0), "0.0 %"}, {percent(.0004), "<0.1 %"}, {percent(.756), "75.6 %"},
		{percent(.9996), ">99.9 %"}, {percent(1), "100.0 %"},
		{seconds(0), "0 s"}, {seconds(.28), "0.3 s"}, {seconds(5), "5 s"},
		{seconds(9.97), "10 s"}, {seconds(5430), "1 h 31 min"},
		{delay(.0001), "less than 0.1 s"}, {delay(184), "3 min 4 s"},
		{relative(now, now), "now"}, {relative(now.Add(-35*time.Second), now), "35 s ago"},
		{relative(now.Add(125*time.Minute), now), "in 2 h 5 min"},
		{stamp(now, now), "22:30:00 UTC"},
		{stamp(now.Add(90*time.Minute), now), "2026-03-01 00:00 UTC"}, {date(now), "2026-02-28 22:30:00 UTC"},
		{clock(1.46, 3), "1.5 s"}, {clock(0, 90), "0:00"}, {clock(123, 200), "2:03"}, {clock(3723, 7200), "1:02:03"},
		{perMinute(schedule.Usage{Limit: .5, Used: .5}).Window, "2 min"},
		{number(perMinute(schedule.Usage{Limit: .4, Used: .4}).Used), "1"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

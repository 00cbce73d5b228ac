package statuspage_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// BenchmarkPages serves the overview, and a list without a hit, of some and of very many jobs. The time must not grow
// with their number.
func BenchmarkPages(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		c := watch(b, vendor{}, config("a"))
		var all []submission.Job
		for i := range n {
			all = append(all, submission.Job{RequestID: fmt.Sprintf("8c0f3a52-5d0b-4b5c-9a3e-%012d", i), API: "asr",
				Labels: map[string]string{"team": fmt.Sprint(i % 7)}})
		}
		track(b, c, "a", all...)
		a, err := c.Account("a")
		if err != nil {
			b.Fatal(err)
		}
		for name, target := range map[string]string{
			"overview": "/", "no hit": "/jobs?q=none", "failed": "/jobs?state=failed",
			"no such label": "/jobs?label=team%3Dnone", "sorted": "/jobs?sort=duration",
			"both of no job": "/jobs?label=team%3D1&q=-000000000002",
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					if w := get(c, "GET", target); w.Code != http.StatusOK {
						b.Fatal(w.Code)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("its next polls/%d", n), func(b *testing.B) {
			for b.Loop() {
				a.NextPolls(5)
			}
		})
		b.Run(fmt.Sprintf("a look at each job/%d", n), func(b *testing.B) {
			for b.Loop() {
				for after := ""; ; {
					page, _ := a.Jobs(collector.JobFilter{Text: "none"}, after, 100)
					if after = page.Next; after == "" {
						break
					}
				}
			}
		})
	}
}

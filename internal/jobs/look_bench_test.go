package jobs_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// BenchmarkLook takes in that one of many jobs, which have labels, still runs.
func BenchmarkLook(b *testing.B) {
	const n = 10_000
	j := open(b, nil, options(func(o *jobs.Options) { o.JobLabels = []string{"team", "language"} }))
	var all []submission.Job
	for i := range n {
		all = append(all, submission.Job{RequestID: fmt.Sprint(i), API: "asr", Labels: map[string]string{
			"team": fmt.Sprint(i % 7), "language": fmt.Sprint(i % 5),
		}})
	}
	if _, _, err := j.Register(submission.HTTP, all, false, start); err != nil {
		b.Fatal(err)
	}
	look := func(i int) {
		o := jobs.Observation{RequestID: all[i%n].RequestID, At: start, State: jobs.Running, Request: answered()}
		if _, err := j.Observe(o); err != nil {
			b.Error(err)
		}
	}
	for i := range n {
		look(i)
	}
	b.SetParallelism(500)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := rand.IntN(n); pb.Next(); i++ {
			look(i)
		}
	})
}

package simulator

import (
	"context"
	"math"
	"math/rand/v2"
	"net/http"
	"time"
)

// Submission is what a user knows about a job to register it with a monitor.
type Submission struct {
	RequestID    string
	API          string // path of the call, as in the vendor's answer
	AudioSeconds float64
	SubmittedAt  time.Time
	Labels       map[string]string // team, language
}

// demoInterval is the mean time between two jobs that a demo submits, in seconds.
const demoInterval = 4.0

// DemoJobsPerHour is how many jobs a demo submits in an hour, on average.
const DemoJobsPerHour = 3600 / demoInterval

// The API of a demo is down now and then: for outageLength, outageAfter the start and then every outageEvery.
const (
	outageAfter  = 5 * time.Minute
	outageEvery  = 15 * time.Minute
	outageLength = 40 * time.Second
)

// DemoOptions returns options for a demo: jobs end sooner, requests have a latency as over
// the internet, rare server errors and now and then an outage, and memory is bounded.
func DemoOptions() Options {
	begin := time.Now()
	return Options{
		Seed:      uint64(time.Now().UnixNano()),
		Speed:     4,
		Retention: time.Hour,
		Latency:   Latency{Median: 40 * time.Millisecond, P99: 400 * time.Millisecond},
		Fault: func(*http.Request) Fault {
			if since := time.Since(begin) - outageAfter; since >= 0 && since%outageEvery < outageLength {
				return Fault{Kind: ServerErrorHTML, Status: 503}
			}
			switch x := rand.Float64(); {
			case x < 0.004:
				return Fault{Kind: ServerErrorJSON}
			case x < 0.006:
				return Fault{Kind: ServerErrorHTML, Status: 503}
			}
			return Fault{}
		},
	}
}

// Demo submits jobs until ctx ends: at once one or more for every API and outcome, the first
// of which complete and fail within 10 s, and then a new one every few seconds. It calls
// register, in this goroutine, right after it has submitted a job. One job in three gets
// the webhookURL, unless that is empty.
func Demo(ctx context.Context, s *Simulator, webhookURL string, register func(Submission)) {
	r := chance(s.opt.Seed, "demo", "")
	submit := func(job Job) {
		if r.IntN(3) == 0 {
			job.Webhook = webhookURL
		}
		if job.AudioSeconds == 0 {
			job.AudioSeconds = math.Floor(drawAudio(r))
		}
		at := time.Now()
		register(Submission{
			RequestID:    s.Submit(job),
			API:          "/audio/generic/api/v1/async/" + job.API,
			AudioSeconds: job.AudioSeconds,
			SubmittedAt:  at,
			Labels: map[string]string{
				"team":     pick(r, "support", "support", "sales", "research"),
				"language": pick(r, "en-US", "en-US", "en-US", "en-GB", "es-ES", "de-DE"),
			},
		})
	}
	for _, job := range demoStart() {
		submit(job)
	}
	for s.wait(ctx, seconds(between(r, demoInterval/2, demoInterval*3/2))) == nil {
		job := Job{API: pick(r, "asr", pick(r, APIs()...))}
		switch r.IntN(40) {
		case 0:
			job.Outcome = Unknown
		case 1, 2, 3, 4, 5, 6:
			job.Duration = seconds(between(r, 5, 30))
		}
		submit(job)
	}
}

// demoStart returns the jobs at the start of a demo.
func demoStart() []Job {
	jobs := []Job{
		{API: "asr", Outcome: Completed, Duration: 3 * time.Second, AudioSeconds: 95},
		{API: "asr", Outcome: Failed, Duration: 5 * time.Second, AudioSeconds: 410},
		{API: "diarize", Outcome: CompletedWithFault, Duration: 8 * time.Second, AudioSeconds: 62},
		{API: "asr", Outcome: Completed, Duration: 20 * time.Minute, AudioSeconds: 4800},
		{API: "analytics/interaction", Outcome: Completed, Duration: 45 * time.Minute, AudioSeconds: 5400},
		{API: "asr", Outcome: Stuck},
		{API: "summary", Outcome: Stuck},
		{API: "asr", Outcome: Unknown},
		{API: "vad", Outcome: Unknown},
	}
	for i, a := range apis {
		soon := time.Duration(4+2*i) * time.Second
		jobs = append(jobs,
			Job{API: a.name, Outcome: Completed, Duration: soon, AudioSeconds: float64(60 + 30*i)},
			Job{API: a.name, AudioSeconds: float64(300 * (i + 1))})
	}
	return jobs
}

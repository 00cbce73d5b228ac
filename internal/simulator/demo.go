package simulator

import (
	"context"
	"math/rand/v2"
	"time"
)

// Submission is what a user has at hand to register a job with a monitor.
type Submission struct {
	RequestID    string
	API          string // the path that was called, as the vendor answers it
	AudioSeconds float64
	SubmittedAt  time.Time
	Labels       map[string]string // team, language
}

// DemoOptions are options for a demo: a faster life, latency as over the
// internet, now and then a server error, and memory that stays bounded.
func DemoOptions() Options {
	return Options{
		Seed:      uint64(time.Now().UnixNano()),
		Speed:     4,
		Retention: time.Hour,
		Latency:   Latency{Median: 40 * time.Millisecond, P99: 400 * time.Millisecond},
		Faults: []FaultShare{
			{0.004, Fault{Kind: ServerErrorJSON}},
			{0.002, Fault{Kind: ServerErrorHTML, Status: 503}},
		},
	}
}

// Demo leads a lively life with the API until ctx ends. It submits jobs of
// every API and every fate at once, of which the first complete and fail
// within 10 s, and then a new one every few seconds. Each is given to
// register, in this goroutine, right after it was submitted. With a
// webhookURL, about one in three is told there.
func Demo(ctx context.Context, s *Simulator, webhookURL string, register func(Submission)) {
	r := chance(s.opt.Seed, "demo", forLife)
	submit := func(sub Job) {
		if webhookURL != "" && r.IntN(3) == 0 {
			sub.Webhook = webhookURL
		}
		demoSubmit(s, r, sub, register)
	}
	for _, sub := range demoStart() {
		submit(sub)
	}
	t := time.NewTimer(0)
	defer t.Stop()
	<-t.C
	for {
		t.Reset(seconds(between(r, 2, 6)))
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			submit(demoNext(r))
		}
	}
}

// demoStart is what a demo begins with.
func demoStart() []Job {
	jobs := []Job{
		{API: "asr", Outcome: Completed, Duration: 3 * time.Second, AudioSeconds: 95},
		{API: "asr", Outcome: Failed, Duration: 5 * time.Second, AudioSeconds: 410},
		{API: "diarize", Outcome: CompletedWithFault, Duration: 8 * time.Second, AudioSeconds: 62},
	}
	for i, a := range apis {
		jobs = append(jobs,
			Job{API: a.name, Outcome: Completed, Duration: time.Duration(4+2*i) * time.Second, AudioSeconds: float64(60 + 30*i)},
			Job{API: a.name, AudioSeconds: float64(300 * (i + 1))},
		)
	}
	return append(jobs,
		Job{API: "asr", Outcome: Completed, Duration: 20 * time.Minute, AudioSeconds: 4800},
		Job{API: "analytics/interaction", Outcome: Completed, Duration: 45 * time.Minute, AudioSeconds: 5400},
		Job{API: "asr", Outcome: Stuck},
		Job{API: "summary", Outcome: Stuck},
		Job{API: "asr", Outcome: Unknown},
		Job{API: "vad", Outcome: Unknown},
	)
}

// demoNext is one of the jobs that follow: mostly asr, mostly drawn.
func demoNext(r *rand.Rand) Job {
	sub := Job{API: "asr"}
	if r.IntN(5) < 3 {
		sub.API = pick(r, apis).name
	}
	switch r.IntN(40) {
	case 0:
		sub.Outcome = Unknown
	case 1, 2, 3, 4, 5, 6:
		sub.Duration = seconds(between(r, 5, 30))
	}
	return sub
}

var (
	demoTeams     = []string{"support", "support", "sales", "research"}
	demoLanguages = []string{"en-US", "en-US", "en-US", "en-GB", "es-ES", "de-DE"}
)

func demoSubmit(s *Simulator, r *rand.Rand, sub Job, register func(Submission)) {
	if sub.AudioSeconds == 0 {
		sub.AudioSeconds = float64(int(min(max(lognormal(r, 420, 0.9), 20), 5400)))
	}
	at := time.Now()
	id := s.Submit(sub)
	register(Submission{
		RequestID:    id,
		API:          "/audio/generic/api/v1/async/" + sub.API,
		AudioSeconds: sub.AudioSeconds,
		SubmittedAt:  at,
		Labels:       map[string]string{"team": pick(r, demoTeams), "language": pick(r, demoLanguages)},
	})
}

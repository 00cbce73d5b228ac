package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// past is a store with the day before a demo, so that its pages show a day from the first second on. What is committed
// to it is dropped: a demo is kept in memory.
type past struct{ contents *store.Contents }

func (p past) Account(string) store.Account                        { return p }
func (p past) Sender(string) store.Account                         { return p }
func (past) Accounts(context.Context) ([]string, error)            { return nil, nil }
func (past) Senders(context.Context) ([]string, error)             { return nil, nil }
func (past) Close() error                                          { return nil }
func (p past) Load(context.Context) (*store.Contents, error)       { return p.contents, nil }
func (past) Commit(*store.Batch) error                             { return nil }
func (past) Verify() error                                         { return nil }
func (past) Inbox() (oldest []store.Message, more bool, err error) { return nil, false, nil }
func (past) Size() int64                                           { return 0 }

// demoRequests is how many requests a job of the past took.
const demoRequests = 1.4

// newPast invents the day before a demo that submits so many jobs an hour: fewer of them in the night before, and an
// outage of the API for half an hour, after which some jobs failed.
func newPast(now time.Time, perHour float64) (past, error) {
	const day = 24 * time.Hour
	const outageBegan, outageEnded, troubleEnded = 7 * time.Hour, 6*time.Hour + 30*time.Minute, 6 * time.Hour // ago
	contents := new(store.Contents)
	requests := make(map[int64]int)
	owed := 0.0
	for at := now.Add(-day); at.Before(now.Add(-time.Minute)); {
		ago := now.Sub(at)
		rate := perHour * (0.6 + 0.4*math.Cos(2*math.Pi*ago.Hours()/day.Hours()))
		at = at.Add(time.Duration(rand.ExpFloat64() / rate * float64(time.Hour)))
		if ago < outageBegan && ago > outageEnded {
			continue
		}
		failed := 0.04
		if ago < outageEnded && ago > troubleEnded {
			failed = 0.3
		}
		job, err := pastJob(len(contents.Jobs), at, failed)
		if err != nil {
			return past{}, err
		}
		contents.Jobs = append(contents.Jobs, job)
		for owed += demoRequests; owed >= 1; owed-- {
			requests[at.Unix()]++
		}
	}
	for second, n := range requests {
		contents.Requests = append(contents.Requests, store.Requests{Second: second, Count: n})
	}
	return past{contents}, nil
}

// pastJob invents a job that ended at a time. It failed with this probability.
func pastJob(n int, end time.Time, failed float64) (store.Job, error) {
	apis := simulator.APIs()
	took := time.Duration(math.Exp(3.5+0.9*rand.NormFloat64()) * float64(time.Second))
	j := store.Job{
		RequestID: fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x",
			rand.Uint32(), rand.IntN(1<<16), rand.IntN(1<<12), rand.IntN(1<<12), rand.Int64N(1<<48)),
		Sequence: uint64(n + 1), API: string(submission.APIName("asr")), Source: string(submission.HTTP),
		Labels: map[string]string{
			"team":     []string{"support", "support", "sales", "research"}[rand.IntN(4)],
			"language": []string{"en-US", "en-US", "en-GB", "es-ES", "de-DE"}[rand.IntN(5)],
		},
		AudioSeconds: 60 + math.Floor(rand.ExpFloat64()*600), FirstSeen: end.Add(-took), SubmittedAt: end.Add(-took),
		LastObserved: end, FinishedAt: end, DetectionWindow: time.Duration(rand.Float64() * 0.2 * float64(took)),
		State: jobs.Completed.String(),
	}
	if rand.IntN(3) == 0 {
		j.API = string(submission.APIName(apis[rand.IntN(len(apis))]))
	}
	switch x := rand.Float64(); {
	case x < failed:
		j.State = jobs.Failed.String()
		j.ErrorCode = []string{
			"com.deepaffects.UnsupportedLanguage", "com.deepaffects.AudioTooLong", "com.deepaffects.AudioTooLong",
		}[rand.IntN(3)]
		return j, nil
	case x > 0.995:
		j.State, j.ErrorCode = jobs.Lost.String(), jobs.CodeNotFound
		return j, nil
	}
	s := transcript.Unknown()
	s.Confidence = min(0.88+0.05*rand.NormFloat64(), 0.99)
	s.Speakers = float64(1 + rand.IntN(4))
	s.DurationSeconds = j.AudioSeconds
	s.Words = math.Floor(j.AudioSeconds * (1.8 + rand.Float64()))
	var err error
	j.Statistics, err = json.Marshal(&s)
	return j, err
}

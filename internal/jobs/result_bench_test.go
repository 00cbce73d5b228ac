package jobs_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/cputime"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// answering is an API whose every answer is the same status.
type answering []byte

func (status answering) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(status))}, nil
}

// hourOfSpeech is the status of a job with 9,000 words.
func hourOfSpeech() []byte {
	b := []byte(`{"status":"Completed","response":{"response":{"confidence":0.91,"num_speakers":4,"words":[`)
	for i, at := 0, 0; i < 9000; i++ {
		length := 5 + i*i%71
		b = fmt.Appendf(b, `{"confidence":%g,"end":%g,"speaker_id":"%d","start":%g,"word":"word"},`,
			float64(100-i%40)/100, float64(at+length)/100, i/17%4, float64(at)/100)
		at += length + i*i%31
	}
	return append(bytes.TrimRight(b, ","), "]}}}"...)
}

// BenchmarkResult polls results, which is little more than decoding them, and polls them and ends their jobs in the
// store, one after the other. The API is in memory. The CPU time counts: a commit waits for the disk.
func BenchmarkResult(b *testing.B) {
	client, err := jobstatus.New(jobstatus.Config{
		URL: "http://api.example", Timeout: time.Minute, MaxResponseSize: 64 << 20, Transport: answering(hourOfSpeech()),
	})
	if err != nil {
		b.Fatal(err)
	}
	poll := func(b *testing.B, id string) jobstatus.Answer {
		answer := client.Status(b.Context(), "key", id)
		if answer.Outcome != jobstatus.OK || answer.Result.Words != 9000 {
			b.Fatalf("%+v", answer)
		}
		return answer
	}
	b.Run("polled", func(b *testing.B) {
		cputime.Report(b)
		for b.Loop() {
			poll(b, "a")
		}
	})
	b.Run("stored", func(b *testing.B) {
		keep := options(func(o *jobs.Options) { o.Retention, o.MaxJobAge = 1<<60, 1<<60 })
		j := open(b, sqliteAccount(b, b.TempDir()), keep)
		cputime.Report(b)
		var registered []submission.Job
		for b.Loop() {
			if len(registered) == 0 {
				for range 1000 {
					registered = append(registered, submissions(rand.Text())...)
				}
				if _, _, err := j.Register(submission.HTTP, registered, false, start); err != nil {
					b.Fatal(err)
				}
			}
			id := registered[0].RequestID
			registered = registered[1:]
			if err := j.Reserve(start, 1); err != nil {
				b.Fatal(err)
			}
			end := jobs.Observation{
				RequestID: id, At: start, State: jobs.Completed, Result: poll(b, id).Result, Request: answered(),
			}
			if effect, err := j.Observe(end); err != nil || !effect.Changed {
				b.Fatal(effect, err)
			}
		}
	})
}

package statuspage_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/cputime"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// full is a store with a day of work. It forgets what is committed to it.
type full struct{ contents *store.Contents }

func (f full) Account(string) store.Account                        { return f }
func (f full) Sender(string) store.Account                         { return f }
func (full) Accounts(context.Context) ([]string, error)            { return nil, nil }
func (full) Senders(context.Context) ([]string, error)             { return nil, nil }
func (full) Close() error                                          { return nil }
func (f full) Load(context.Context) (*store.Contents, error)       { return f.contents, nil }
func (full) Commit(*store.Batch) error                             { return nil }
func (full) Verify() error                                         { return nil }
func (full) Inbox() (oldest []store.Message, more bool, err error) { return nil, false, nil }
func (full) Size() int64                                           { return 0 }

// newFull returns a store with n jobs, of which half have ended, and with a request in each second of the last day.
func newFull(n int, now time.Time) full {
	const day = 24 * time.Hour
	contents := new(store.Contents)
	for i := range n {
		at := now.Add(-day + time.Duration(float64(i)/float64(n)*float64(day)))
		j := store.Job{
			RequestID: fmt.Sprintf("8c0f3a52-5d0b-4b5c-9a3e-%012d", i), Sequence: uint64(i + 1), API: "asr", Source: "http",
			Labels: map[string]string{"team": fmt.Sprint(i % 7)}, FirstSeen: at, State: "running", LastObserved: at,
		}
		switch i % 8 {
		case 0, 2, 4:
			j.State, j.FinishedAt, j.Statistics = "completed", at, []byte(`{"confidence":0.9,"words":100}`)
		case 6:
			j.State, j.FinishedAt, j.ErrorCode = "failed", at, fmt.Sprint("com.deepaffects.Code", i%56)
		}
		contents.Jobs = append(contents.Jobs, j)
	}
	for second := now.Add(-day).Unix(); second < now.Unix(); second++ {
		contents.Requests = append(contents.Requests, store.Requests{Second: second, Count: 1})
	}
	return full{contents}
}

// BenchmarkPages serves the overview, and lists, of some and of very many jobs. The time must not grow with their
// number.
func BenchmarkPages(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		o := config("a")
		o.RequestsPerMinute, o.RequestsPerDay = 60, 100_000
		options := collector.Options{Transport: vendor{}, Engine: newFull(n, time.Now())}
		c, err := collector.New([]collector.Config{o}, options)
		if err != nil {
			b.Fatal(err)
		}
		a, err := c.Account("a")
		if err != nil {
			b.Fatal(err)
		}
		for name, target := range map[string]string{
			"overview": "/", "no hit": "/jobs?q=none", "failed": "/jobs?state=failed",
			"no such label": "/jobs?label=team%3Dnone", "sorted": "/jobs?sort=duration", "by end": "/jobs?sort=ended",
			"late": "/jobs?state=late", "an error's name": "/jobs?q=Code1",
			"both of no job": "/jobs?label=team%3D1&q=-000000000002",
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				cputime.Report(b)
				for b.Loop() {
					if w := get(c, "GET", target); w.Code != http.StatusOK {
						b.Fatal(w.Code)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("its next polls/%d", n), func(b *testing.B) {
			cputime.Report(b)
			for b.Loop() {
				a.NextPolls(5)
			}
		})
		b.Run(fmt.Sprintf("a look at each job/%d", n), func(b *testing.B) {
			cputime.Report(b)
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

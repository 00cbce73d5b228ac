package collector_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// hook lets the account receive a webhook.
func (m *monitor) hook(body string) (collector.WebhookOutcome, error) {
	return m.account.Webhook(io.NopCloser(strings.NewReader(body)), false)
}

// Webhooks that are repeated, late or lost, and polls in between: each end counts once,
// with its result, and what webhooks report need not be polled.
func TestWebhooksAndPolls(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, hooks simulator.Webhooks, url string) (s collector.Snapshot, polls int) {
		synctest.Test(t, func(t *testing.T) {
			var m *monitor
			hooks.Client = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
				code := http.StatusOK
				if _, err := m.account.Webhook(r.Body, false); err != nil {
					code = http.StatusBadRequest
				}
				return &http.Response{StatusCode: code, Body: http.NoBody}, nil
			})}
			c := config(func(c *collector.Config) { c.AdoptUnknownWebhooks = false })
			api := simulator.Options{Seed: 3, Key: "key", Speed: 5, StuckShare: -1, Webhooks: hooks}
			m = start(t, api, c, collector.Options{})
			defer m.stop()
			for i := range 100 {
				m.track(t, m.api.Submit(simulator.Job{RequestID: fmt.Sprint(i), Webhook: url, AudioSeconds: float64(10 + i)}))
			}
			pass(23 * time.Hour)
			s, polls = m.account.Snapshot(), len(m.api.Log())
			if s.Counts[jobs.Pending]+s.Counts[jobs.Running]+s.Counts[jobs.Lost] != 0 {
				t.Errorf("not all jobs ended: %v", s.Counts)
			}
		})
		return s, polls
	}
	polled, polls := run(t, simulator.Webhooks{}, "")
	for name, hooks := range map[string]simulator.Webhooks{
		"all in time":          {},
		"repeated, late, lost": {DuplicatedShare: 0.3, LostShare: 0.2, DelayedShare: 0.3, Delay: 3 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			s, requests := run(t, hooks, "http://monitor.invalid/webhook/token")
			for _, total := range []*jobs.Total{jobs.Words, jobs.WordOverlaps, jobs.WordAnomalies} {
				if got, want := s.Totals.Counter(total), polled.Totals.Counter(total); got != want {
					t.Errorf("%s: %v, by polling alone %v", total.Name, got, want)
				}
			}
			for _, total := range []*jobs.Total{jobs.TranscriptConfidence, jobs.WordGap} {
				if got, want := s.Totals.Histogram(total).Count(), polled.Totals.Histogram(total).Count(); got != want {
					t.Errorf("%s: %v, by polling alone %v", total.Name, got, want)
				}
			}
			if finished(&s) != finished(&polled) {
				t.Errorf("%+v, by polling alone %+v", finished(&s), finished(&polled))
			}
			of := func(outcome collector.WebhookOutcome) float64 {
				return s.Totals.Counter(jobs.WebhookRequests, outcome.String())
			}
			if of(jobs.WebhookAccepted) == 0 || of(jobs.WebhookMalformed)+of(jobs.WebhookUnknownJob) != 0 {
				t.Errorf("%v webhooks accepted, %v malformed", of(jobs.WebhookAccepted), of(jobs.WebhookMalformed))
			}
			if late := of(jobs.WebhookDuplicate); (late > 0) != (hooks.DuplicatedShare > 0) {
				t.Errorf("%v duplicates", late)
			}
			if requests >= polls {
				t.Errorf("%d requests with webhooks, %d without", requests, polls)
			}
		})
	}
}

// A job that a webhook brought has ended: no request is spent on it.
func TestAdoptedJobsAreNotPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "key"}, config(nil), collector.Options{})
		defer m.stop()
		for i := range 100 {
			outcome, err := m.hook(fmt.Sprintf(`{"request_id":"%d","response":null}`, i))
			if err != nil || outcome != jobs.WebhookAdopted {
				t.Fatalf("%s, %v", outcome, err)
			}
		}
		pass(time.Hour)
		s := m.account.Snapshot()
		registered := s.Totals.Counter(jobs.JobsRegistered, string(submission.Webhook))
		if finished(&s).completed != 100 || registered != 100 || len(m.api.Log()) != 0 {
			t.Errorf("%+v, %v registered, %d requests", finished(&s), registered, len(m.api.Log()))
		}
		if n := s.Totals.Histogram(jobs.JobDuration, "completed").Count(); n != 0 {
			t.Errorf("%v durations were counted that are unknown", n)
		}
	})
}

// A lost job takes the end that a late webhook reports, and stays counted as lost.
func TestLateWebhook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "key"}, config(nil), collector.Options{})
		defer m.stop()
		m.track(t, "unknown")
		pass(time.Hour)
		if m.state("unknown") != "lost" {
			t.Fatalf("the job is %s", m.state("unknown"))
		}
		before := len(m.api.Log())
		for _, want := range []collector.WebhookOutcome{jobs.WebhookAccepted, jobs.WebhookDuplicate} {
			outcome, err := m.hook(`{"request_id":"unknown","response":{"words":[{"start":0,"end":1}]}}`)
			if err != nil || outcome != want {
				t.Errorf("%s, %v; want %s", outcome, err, want)
			}
		}
		pass(time.Hour)
		s := m.account.Snapshot()
		if ago := s.At.Sub(s.WebhookReceived); ago != time.Hour {
			t.Errorf("the last webhook was received %s ago", ago)
		}
		words, polls := s.Totals.Counter(jobs.Words), len(m.api.Log())-before
		if m.state("unknown") != "completed" || finished(&s) != (ends{0, 0, 1}) || words != 1 || polls != 0 {
			t.Errorf("the job is %s; %+v, %v words, %d polls", m.state("unknown"), finished(&s), words, polls)
		}
		for _, line := range []string{
			`"Job given up" account=default request_id=unknown state=lost error_code=not_found` + "\n",
			`"Job finished" account=default request_id=unknown state=completed` + "\n",
		} {
			if n := strings.Count(m.logs.String(), line); n != 1 {
				t.Errorf("%q was logged %d times", line, n)
			}
		}
	})
}

// A webhook after Stop is refused, so that the vendor tries again. It is no problem of
// the store.
func TestWebhookAfterStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "key"}, config(nil), collector.Options{StateDirectory: t.TempDir()})
		m.stop()
		if outcome, err := m.hook(`{"request_id":"a","response":null}`); err == nil || outcome != jobs.WebhookStoreError {
			t.Errorf("%s, %v", outcome, err)
		}
		if strings.Contains(m.logs.String(), "ERROR") {
			t.Errorf("logged:\n%s", m.logs)
		}
	})
}

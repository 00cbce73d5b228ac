package collector_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A handler is a transport to itself, in memory.
type handler struct{ http.Handler }

func (h handler) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, in)
	return w.Result(), nil
}

// Webhooks that come twice, late or never, and polls in between: each end counts
// once, with its result, and what webhooks report need not be asked.
func TestWebhooksAndPolls(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, hooks simulator.Webhooks, url string) (totals *jobs.Totals, requests int) {
		synctest.Test(t, func(t *testing.T) {
			mux := http.NewServeMux()
			hooks.Client = &http.Client{Transport: handler{mux}}
			m := start(t, simulator.Options{Seed: 3, Key: "key", Speed: 5, StuckShare: -1, Webhooks: hooks},
				config(func(c *collector.Config) { c.WebhookToken = "token"; c.AdoptUnknownWebhooks = false }), collector.Options{})
			defer m.stop()
			mux.Handle(httpapi.WebhookPattern, httpapi.NewWebhooks(m.Collector, slog.New(slog.DiscardHandler), ""))
			for i := range 300 {
				m.track(t, m.api.Submit(simulator.Job{RequestID: fmt.Sprint(i), Webhook: url, AudioSeconds: float64(10 + i)}))
			}
			pass(23 * time.Hour)
			s := m.account.Snapshot()
			if s.Counts[jobs.Pending]+s.Counts[jobs.Running]+s.Counts[jobs.Lost] != 0 {
				t.Errorf("not all jobs ended: %v", s.Counts)
			}
			totals, requests = s.Totals, int(s.Totals.APIRequests[0])
		})
		return totals, requests
	}
	polled, polls := run(t, simulator.Webhooks{}, "")
	for name, hooks := range map[string]simulator.Webhooks{
		"all in time":        {},
		"twice, late, never": {DuplicatedShare: 0.3, LostShare: 0.2, DelayedShare: 0.3, Delay: 3 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			got, requests := run(t, hooks, "http://monitor.invalid/webhook/token")
			if got.Finished != polled.Finished || got.Words != polled.Words || got.WordAnomalies != polled.WordAnomalies ||
				got.TranscriptConfidence.Count() != polled.TranscriptConfidence.Count() || got.WordGap.Count() != polled.WordGap.Count() {
				t.Errorf("finished %v, %d words; by polling alone %v, %d", got.Finished, got.Words, polled.Finished, polled.Words)
			}
			if got.Webhooks[jobs.WebhookAccepted] == 0 || got.Webhooks[jobs.WebhookMalformed]+got.Webhooks[jobs.WebhookUnknownJob] != 0 {
				t.Errorf("webhooks %v", got.Webhooks)
			}
			if requests >= polls {
				t.Errorf("%d requests with webhooks, %d without", requests, polls)
			}
			if late := got.Webhooks[jobs.WebhookDuplicate]; (late > 0) != (hooks.DuplicatedShare > 0) {
				t.Errorf("%d duplicates", late)
			}
		})
	}
}

// A job that a webhook brought has ended: no request is spent on it.
func TestAdoptedJobsAreNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "key"}, config(func(c *collector.Config) { c.WebhookToken = "token" }), collector.Options{})
		defer m.stop()
		mux := http.NewServeMux()
		mux.Handle(httpapi.WebhookPattern, httpapi.NewWebhooks(m.Collector, slog.New(slog.DiscardHandler), ""))
		for i := range 100 {
			w := httptest.NewRecorder()
			body := fmt.Sprintf(`{"request_id":"%d","response":null}`, i)
			mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/webhook/token", strings.NewReader(body)))
		}
		pass(time.Hour)
		s := m.account.Snapshot()
		if s.Totals.Finished[0] != 100 || s.Totals.Registered[submission.Webhook] != 100 || len(m.api.Log()) != 0 {
			t.Errorf("finished %v, registered %v, %d requests", s.Totals.Finished, s.Totals.Registered, len(m.api.Log()))
		}
		if s.Totals.JobDuration[0].Count() != 0 {
			t.Error("durations were counted that nobody knows")
		}
	})
}

// A lost job takes the end that a late webhook brings, and counts as lost still.
func TestLateWebhook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "key"}, config(func(c *collector.Config) { c.WebhookToken = "token" }), collector.Options{})
		defer m.stop()
		mux := http.NewServeMux()
		mux.Handle(httpapi.WebhookPattern, httpapi.NewWebhooks(m.Collector, slog.New(slog.DiscardHandler), ""))
		m.track(t, "unknown")
		pass(time.Hour)
		if m.state("unknown") != "lost" {
			t.Fatalf("the job is %s", m.state("unknown"))
		}
		before := len(m.api.Log())
		for range 2 {
			w := httptest.NewRecorder()
			body := `{"request_id":"unknown","response":{"words":[{"start":0,"end":1}]}}`
			mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/webhook/token", strings.NewReader(body)))
			if w.Code != http.StatusOK {
				t.Errorf("HTTP %d", w.Code)
			}
		}
		pass(time.Hour)
		s := m.account.Snapshot()
		if m.state("unknown") != "completed" || s.Totals.Finished != [3]uint64{0, 0, 1} || s.Totals.Words != 1 || len(m.api.Log()) != before {
			t.Errorf("the job is %s; finished %v, %d words, %d requests", m.state("unknown"), s.Totals.Finished, s.Totals.Words, len(m.api.Log())-before)
		}
	})
}

// What comes when the collector has stopped is refused, so that the vendor tries
// again: it is no trouble with the register.
func TestWebhookAfterStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "key"}, config(func(c *collector.Config) { c.WebhookToken = "token" }), collector.Options{StateDirectory: t.TempDir()})
		m.stop()
		outcome, err := m.account.Webhook(t.Context(), io.NopCloser(strings.NewReader(`{"request_id":"a","response":null}`)), false)
		if err == nil || outcome != jobs.WebhookStoreError {
			t.Errorf("%s, %v", jobs.WebhookOutcomes[outcome], err)
		}
		if strings.Contains(m.logs.String(), "ERROR") {
			t.Errorf("logged:\n%s", m.logs)
		}
	})
}

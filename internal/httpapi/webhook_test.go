package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

const webhookToken = "canary-token"

// hooks is an account that takes webhooks, and all that was logged.
type hooks struct {
	*collector.Account
	http.Handler
	log bytes.Buffer
}

func newHooks(t *testing.T, change func(*collector.Config)) *hooks {
	t.Helper()
	config := collector.DefaultConfig()
	config.APIKey, config.WebhookToken = "key", webhookToken
	if change != nil {
		change(&config)
	}
	h := new(hooks)
	log := slog.New(slog.NewTextHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, err := collector.New([]collector.Config{config}, collector.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	if h.Account, err = c.Account(""); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(httpapi.WebhookPattern, httpapi.NewWebhooks(c, log, ""))
	h.Handler = mux
	return h
}

func (h *hooks) post(method, path, encoding, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	h.ServeHTTP(w, r)
	return w
}

func packed(t *testing.T, body string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func payload(t *testing.T, name string) string {
	t.Helper()
	body, err := os.ReadFile("../jobstatus/testdata/payloads/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Each webhook comes to an account that has job "a" registered, unless it has
// ended, or adopts it.
func TestWebhooks(t *testing.T) {
	const completed = `{"request_id":"a","response":{"confidence":0.5,"words":[{"word":"canary","start":0,"end":1}]}}`
	for _, tt := range []struct {
		name, path, encoding, body string
		change                     func(*collector.Config)
		code                       int
		outcome                    jobs.WebhookOutcome
		state, id, errorCode       string // of the job
	}{
		{name: "completed", body: completed, code: 200, outcome: jobs.WebhookAccepted, state: "completed"},
		{name: "gzip", encoding: "gzip", body: packed(t, completed), code: 200, outcome: jobs.WebhookAccepted, state: "completed"},
		{name: "gzip, spelt otherwise", encoding: "GZIP", body: packed(t, completed), code: 200, outcome: jobs.WebhookAccepted, state: "completed"},
		{name: "identity", encoding: "identity", body: completed, code: 200, outcome: jobs.WebhookAccepted, state: "completed"},
		{name: "any query", path: "/webhook/canary-token?mine=1", body: completed, code: 200, outcome: jobs.WebhookAccepted, state: "completed"},
		{name: "the vendor's asr", body: payload(t, "webhook_asr.json"), code: 200, outcome: jobs.WebhookAdopted, id: "8c0f3a52-5d0b-4b5c-9a3e-0f6a4f3b7f10", state: "completed"},
		{name: "the vendor's failure", body: payload(t, "webhook_failed.json"), code: 200, outcome: jobs.WebhookAdopted, id: "0f8fad5b-d9cb-469f-a165-70867728950e", state: "failed", errorCode: "com.deepaffects.BadRequest"},
		{name: "the vendor's is_depressed", body: payload(t, "webhook_depressed.json"), code: 200, outcome: jobs.WebhookAdopted, id: "h1", state: "completed"},
		{name: "an array", body: `{"response":[{"emotion":"canary"}],"request_id":"a"}`, code: 200, outcome: jobs.WebhookAccepted, state: "completed"},
		{name: "no result", body: `{"request_id":"a","response":null}`, code: 200, outcome: jobs.WebhookAccepted, state: "completed"},
		{name: "in the form of a status", body: `{"response":{"response":{"words":[{"word":"canary","start":0,"end":1}]},"request_id":"a"},"status":"Completed"}`,
			code: 200, outcome: jobs.WebhookAccepted, state: "completed"},
		{name: "a status that failed", body: payload(t, "failed.json"), code: 200, outcome: jobs.WebhookAdopted, id: "0f8fad5b-d9cb-469f-a165-70867728950e", state: "failed", errorCode: "com.deepaffects.BadRequest"},
		{name: "a status without a result", body: `{"status":"Completed","response":{"request_id":"a"}}`, code: 200, outcome: jobs.WebhookAccepted, state: "completed"},
		{name: "a word that it failed", body: `{"request_id":"a","status":"Failed","response":null}`, code: 200, outcome: jobs.WebhookAccepted, state: "failed", errorCode: "unknown"},
		{name: "a word that nobody knows", body: `{"request_id":"a","status":"canary","response":null}`, code: 200, outcome: jobs.WebhookAccepted, state: "completed"},
		{name: "an ID in the result, too", body: `{"response":{"request_id":"canary"},"request_id":"a"}`, code: 200, outcome: jobs.WebhookAccepted, state: "completed"},
		{name: "a status that has not ended", body: `{"status":"Running","response":{"request_id":"a","response":null}}`, code: 400, outcome: jobs.WebhookMalformed, state: "pending"},
		{name: "a word that it has not ended", body: `{"request_id":"a","status":"In Progress","response":null}`, code: 400, outcome: jobs.WebhookMalformed, state: "pending"},
		{name: "only an ID, in a response", body: `{"response":{"request_id":"a"}}`, code: 400, outcome: jobs.WebhookMalformed, state: "pending"},
		{name: "not to be adopted", body: payload(t, "webhook_depressed.json"), change: func(c *collector.Config) { c.AdoptUnknownWebhooks = false },
			code: 200, outcome: jobs.WebhookUnknownJob, id: "h1"},
		{name: "wrong token", path: "/webhook/canary-tokem", body: completed, code: 404, outcome: jobs.WebhookUnauthorized, state: "pending"},
		{name: "only an ID", body: `{"request_id":"a"}`, code: 400, outcome: jobs.WebhookMalformed, state: "pending"},
		{name: "no ID", body: `{"response":{}}`, code: 400, outcome: jobs.WebhookMalformed, state: "pending"},
		{name: "an odd ID", body: `{"request_id":"a\ncanary","response":{}}`, code: 400, outcome: jobs.WebhookMalformed, state: "pending"},
		{name: "cut off", body: completed[:60], code: 400, outcome: jobs.WebhookMalformed, state: "pending"},
		{name: "more behind it", body: completed + "canary", code: 400, outcome: jobs.WebhookMalformed, state: "pending"},
		{name: "empty", body: "", code: 400, outcome: jobs.WebhookMalformed, state: "pending"},
		{name: "not gzip", encoding: "gzip", body: completed, code: 400, outcome: jobs.WebhookMalformed, state: "pending"},
		{name: "gzip, cut off", encoding: "gzip", body: packed(t, completed)[:40], code: 400, outcome: jobs.WebhookMalformed, state: "pending"},
		{name: "too large", body: completed + strings.Repeat(" ", 2000), change: func(c *collector.Config) { c.MaxResponseSize = 1000 },
			code: 413, outcome: jobs.WebhookTooLarge, state: "pending"},
		{name: "too large when unpacked", encoding: "gzip", body: packed(t, completed+strings.Repeat(" ", 2000)), change: func(c *collector.Config) { c.MaxResponseSize = 1000 },
			code: 413, outcome: jobs.WebhookTooLarge, state: "pending"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHooks(t, tt.change)
			if _, _, err := h.Track(t.Context(), submission.HTTP, []submission.Job{{RequestID: "a"}}); err != nil {
				t.Fatal(err)
			}
			path, id := "/webhook/"+webhookToken, "a"
			if tt.path != "" {
				path = tt.path
			}
			if tt.id != "" {
				id = tt.id
			}
			w := h.post(http.MethodPost, path, tt.encoding, tt.body)
			if w.Code != tt.code {
				t.Errorf("HTTP %d, want %d", w.Code, tt.code)
			}
			var want [len(jobs.WebhookOutcomes)]uint64
			want[tt.outcome] = 1
			s := h.Snapshot()
			if s.Totals.Webhooks != want {
				t.Errorf("counted %v, want one %s", s.Totals.Webhooks, jobs.WebhookOutcomes[tt.outcome])
			}
			var state, errorCode string
			if j, _, known := h.Job(id); known {
				state, errorCode = j.State.String(), j.ErrorCode
			}
			if state != tt.state || errorCode != tt.errorCode {
				t.Errorf("the job is %q, %q; want %q, %q", state, errorCode, tt.state, tt.errorCode)
			}
			if tt.code == 200 == s.WebhookReceived.IsZero() {
				t.Errorf("received at %s", s.WebhookReceived)
			}
			if shown := w.Body.String() + h.log.String(); strings.Contains(shown, "canary") {
				t.Errorf("content or token shows: %s", shown)
			}
			if w.Code == http.StatusNotFound {
				if other := h.post(http.MethodPost, "/nothing", "", ""); w.Body.String() != other.Body.String() {
					t.Errorf("%q, and a path that does not exist gives %q", w.Body, other.Body)
				}
			}
			if tt.code != 200 {
				return
			}
			// The vendor tries again although it had its 200.
			again := h.post(http.MethodPost, path, tt.encoding, tt.body)
			s = h.Snapshot()
			finished := s.Totals.Finished[0] + s.Totals.Finished[1]
			if tt.outcome == jobs.WebhookUnknownJob {
				if finished != 0 {
					t.Error("a job that is not tracked counts")
				}
			} else if again.Code != 200 || s.Totals.Webhooks[jobs.WebhookDuplicate] != 1 || finished != 1 {
				t.Errorf("the second time: HTTP %d, %v, %d finished", again.Code, s.Totals.Webhooks, finished)
			}
		})
	}
}

func TestWebhookMethods(t *testing.T) {
	h := newHooks(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		if w := h.post(method, "/webhook/"+webhookToken, "", ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: HTTP %d", method, w.Code)
		}
	}
	if w := h.post(http.MethodPost, "/webhook/"+webhookToken, "br", "x"); w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("brotli: HTTP %d", w.Code)
	}
	if n := h.Snapshot().Totals.Webhooks[jobs.WebhookMalformed]; n != 1 || !strings.Contains(h.log.String(), "Only gzip is known") {
		t.Errorf("brotli: %d are counted as malformed; logged:\n%s", n, h.log.String())
	}
	none := newHooks(t, func(c *collector.Config) { c.WebhookToken = "" })
	for _, path := range []string{"/webhook/", "/webhook/x"} {
		if w := none.post(http.MethodPost, path, "", "{}"); w.Code != http.StatusNotFound {
			t.Errorf("without a token, %s: HTTP %d", path, w.Code)
		}
	}
	if n := none.Snapshot().Totals.Webhooks[jobs.WebhookUnauthorized]; n != 0 {
		t.Errorf("%d unauthorized webhooks where none are taken", n)
	}
}

// Many reports of one end, at once, are one end.
func TestWebhooksAtOnce(t *testing.T) {
	h := newHooks(t, nil)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if w := h.post(http.MethodPost, "/webhook/"+webhookToken, "", `{"request_id":"a","response":{"words":[{"start":0,"end":1}]}}`); w.Code != 200 {
				t.Errorf("HTTP %d", w.Code)
			}
		})
	}
	wg.Wait()
	s := h.Snapshot()
	if s.Totals.Finished[0] != 1 || s.Totals.Words != 1 || s.Totals.Webhooks[jobs.WebhookAdopted] != 1 || s.Totals.Webhooks[jobs.WebhookDuplicate] != 49 {
		t.Errorf("finished %v, %d words, webhooks %v", s.Totals.Finished, s.Totals.Words, s.Totals.Webhooks)
	}
}

// However a webhook is mangled, nothing breaks, and only a sound one changes a
// state.
func FuzzWebhook(f *testing.F) {
	for _, name := range []string{"webhook_asr.json", "webhook_failed.json", "webhook_depressed.json", "asr.json"} {
		body, err := os.ReadFile("../jobstatus/testdata/payloads/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		h := newHooks(t, nil)
		w := h.post(http.MethodPost, "/webhook/"+webhookToken, "", string(body))
		s := h.Snapshot()
		if ended := s.Totals.Finished[0] + s.Totals.Finished[1]; w.Code == 200 != (ended == 1) || len(s.Jobs) != int(ended) {
			t.Errorf("HTTP %d, %d ended, %d jobs", w.Code, ended, len(s.Jobs))
		}
	})
}

package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

const webhookToken = "canary-token"

// hooks is an account that receives webhooks, and its log.
type hooks struct {
	*collector.Account
	http.Handler
	handler *httpapi.Webhooks
	log     bytes.Buffer
}

func newHooks(t *testing.T, change func(*collector.Config)) *hooks {
	t.Helper()
	return newHooksBelow(t, "", change)
}

func newHooksBelow(t *testing.T, prefix string, change func(*collector.Config)) *hooks {
	t.Helper()
	config := collector.DefaultConfig()
	config.APIKey, config.WebhookToken = "canary-key-1", webhookToken
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
	h.handler = httpapi.NewWebhooks(c, httpapi.NewLimits(), log, "", prefix)
	mux := http.NewServeMux()
	mux.Handle("/webhook/", h.handler)
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

// Each webhook is received by an account in which job "a" is registered.
func TestWebhooks(t *testing.T) {
	type effect struct {
		code      int
		outcome   jobs.WebhookOutcome
		state     string // of the job
		errorCode string
	}
	var (
		accepted     = effect{200, jobs.WebhookAccepted, "completed", ""}
		adopted      = effect{200, jobs.WebhookAdopted, "completed", ""}
		unknown      = effect{200, jobs.WebhookUnknownJob, "", ""}
		unauthorized = effect{404, jobs.WebhookUnauthorized, "pending", ""}
		malformed    = effect{400, jobs.WebhookMalformed, "pending", ""}
		tooLarge     = effect{413, jobs.WebhookTooLarge, "pending", ""}
	)
	failed := func(code string, outcome jobs.WebhookOutcome) effect { return effect{200, outcome, "failed", code} }
	doNotAdopt := func(c *collector.Config) { c.AdoptUnknownWebhooks = false }
	keepSmall := func(c *collector.Config) { c.MaxResponseSize = 1000 }
	const completed = `{"request_id":"a","response":{"confidence":0.5,"words":[{"word":"canary","start":0,"end":1}]}}`
	for _, tt := range []struct {
		name, path, encoding, body string
		change                     func(*collector.Config)
		id                         string // of the job; default: a
		want                       effect
	}{
		{name: "completed", body: completed, want: accepted},
		{name: "gzip", encoding: "gzip", body: packed(t, completed), want: accepted},
		{name: "gzip in capitals", encoding: "GZIP", body: packed(t, completed), want: accepted},
		{name: "x-gzip", encoding: "x-gzip", body: packed(t, completed), want: accepted},
		{name: "identity", encoding: "identity", body: completed, want: accepted},
		{name: "a slash behind", path: "/webhook/canary-token/", body: completed, want: accepted},
		{name: "any query", path: "/webhook/canary-token?mine=1", body: completed, want: accepted},
		{
			name: "the vendor's asr", body: payload(t, "webhook_asr.json"),
			id: "8c0f3a52-5d0b-4b5c-9a3e-0f6a4f3b7f10", want: adopted,
		},
		{
			name: "the vendor's failure", body: payload(t, "webhook_failed.json"),
			id:   "0f8fad5b-d9cb-469f-a165-70867728950e",
			want: failed("com.deepaffects.BadRequest", jobs.WebhookAdopted),
		},
		{name: "the vendor's is_depressed", body: payload(t, "webhook_depressed.json"), id: "h1", want: adopted},
		{name: "an array", body: `{"response":[{"emotion":"canary"}],"request_id":"a"}`, want: accepted},
		{name: "no result", body: `{"request_id":"a","response":null}`, want: accepted},
		{
			name: "a status",
			body: `{"response":{"response":{"words":[{"word":"canary","start":0,"end":1}]},"request_id":"a"},
				"status":"Completed"}`,
			want: accepted,
		},
		{
			name: "a failed status", body: payload(t, "failed.json"),
			id:   "0f8fad5b-d9cb-469f-a165-70867728950e",
			want: failed("com.deepaffects.BadRequest", jobs.WebhookAdopted),
		},
		{
			name: "a status without a result", body: `{"status":"Completed","response":{"request_id":"a"}}`,
			want: accepted,
		},
		{
			name: "failed without a fault", body: `{"request_id":"a","status":"Failed","response":null}`,
			want: failed("unknown", jobs.WebhookAccepted),
		},
		// A result says how the job ended, whatever the word beside it. Without one, a word that nobody knows changes
		// nothing.
		{name: "an unknown state with a result", body: `{"request_id":"a","status":"canary","response":{}}`, want: accepted},
		{name: "an unknown state without a result", body: `{"request_id":"a","status":"canary","response":null}`,
			want: malformed},
		{
			name: "an ID in the result, too", body: `{"response":{"request_id":"canary"},"request_id":"a"}`,
			want: accepted,
		},
		{
			name: "a running status",
			body: `{"status":"Running","response":{"request_id":"a","response":null}}`, want: malformed,
		},
		{name: "in progress", body: `{"request_id":"a","status":"In Progress","response":null}`, want: malformed},
		{name: "only an ID in a response", body: `{"response":{"request_id":"a"}}`, want: malformed},
		{
			name: "adoption is off", body: payload(t, "webhook_depressed.json"), change: doNotAdopt, id: "h1",
			want: unknown,
		},
		{name: "wrong token", path: "/webhook/canary-tokem", body: completed, want: unauthorized},
		{
			name: "a key as error code", want: failed("other", jobs.WebhookAccepted),
			body: `{"request_id":"a","response":null,"fault":{"error_code":"Canary-Key-1"}}`,
		},
		{
			name: "a key within an error code", want: failed("other", jobs.WebhookAccepted),
			body: `{"request_id":"a","response":null,"fault":{"error_code":"apikey:canary-key-1"}}`,
		},
		{
			name: "a token as error code", want: failed("other", jobs.WebhookAccepted),
			body: `{"request_id":"a","response":null,"fault":{"error_code":"` + webhookToken + `"}}`,
		},
		{name: "a key as ID", body: `{"request_id":"canary-key-1","response":null}`, want: malformed},
		{name: "only an ID", body: `{"request_id":"a"}`, want: malformed},
		{name: "no ID", body: `{"response":{}}`, want: malformed},
		{name: "invalid ID", body: `{"request_id":"a\ncanary","response":{}}`, want: malformed},
		{name: "truncated", body: completed[:60], want: malformed},
		{name: "trailing data", body: completed + "canary", want: malformed},
		{name: "empty", body: "", want: malformed},
		{name: "not gzip", encoding: "gzip", body: completed, want: malformed},
		{name: "truncated gzip", encoding: "gzip", body: packed(t, completed)[:40], want: malformed},
		{name: "too large", body: completed + strings.Repeat(" ", 2000), change: keepSmall, want: tooLarge},
		{
			name: "too large after decompression", encoding: "gzip",
			body: packed(t, completed+strings.Repeat(" ", 2000)), change: keepSmall, want: tooLarge,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHooks(t, tt.change)
			if _, _, err := h.Register(submission.HTTP, []submission.Job{{RequestID: "a"}}); err != nil {
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
			if w.Code != tt.want.code {
				t.Errorf("HTTP %d, want %d", w.Code, tt.want.code)
			}
			s := h.Snapshot()
			if n := webhooks(s, tt.want.outcome); n != 1 || s.Totals.Counter(jobs.WebhookRequests) != 1 {
				t.Errorf("counted %v as %s of %v in all; want 1 of 1", n, tt.want.outcome, s.Totals.Counter(jobs.WebhookRequests))
			}
			var state, errorCode string
			if j, _, known := h.Job(id); known {
				state, errorCode = j.State.String(), j.ErrorCode
			}
			if state != tt.want.state || errorCode != tt.want.errorCode {
				t.Errorf("the job is %q, %q; want %q, %q", state, errorCode, tt.want.state, tt.want.errorCode)
			}
			if tt.want.code == 200 == s.WebhookReceived.IsZero() {
				t.Errorf("received at %s", s.WebhookReceived)
			}
			if shown := w.Body.String() + h.log.String(); strings.Contains(shown, "canary") {
				t.Errorf("shows content or the token: %s", shown)
			}
			if w.Code == http.StatusNotFound {
				if other := h.post(http.MethodPost, "/nothing", "", ""); w.Body.String() != other.Body.String() {
					t.Errorf("%q, and a path that does not exist gives %q", w.Body, other.Body)
				}
			}
			if tt.want.code != 200 {
				return
			}
			// The vendor may try again even after a 200.
			again := h.post(http.MethodPost, path, tt.encoding, tt.body)
			s = h.Snapshot()
			finished := s.Totals.Counter(jobs.JobsFinished, "completed") + s.Totals.Counter(jobs.JobsFinished, "failed")
			if tt.want.outcome == jobs.WebhookUnknownJob {
				if finished != 0 {
					t.Error("a job that is not tracked was counted")
				}
			} else if again.Code != 200 || webhooks(s, jobs.WebhookDuplicate) != 1 || finished != 1 {
				t.Errorf("the second time: HTTP %d, %v duplicates, %v finished",
					again.Code, webhooks(s, jobs.WebhookDuplicate), finished)
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
		t.Errorf("brotli: HTTP %v", w.Code)
	}
	n := webhooks(h.Snapshot(), jobs.WebhookMalformed)
	if n != 1 || !strings.Contains(h.log.String(), "Unsupported Content-Encoding") {
		t.Errorf("brotli: %v counted as malformed; logged:\n%s", n, h.log.String())
	}
	none := newHooks(t, func(c *collector.Config) { c.WebhookToken = "" })
	for _, path := range []string{"/webhook/", "/webhook/x"} {
		if w := none.post(http.MethodPost, path, "", "{}"); w.Code != http.StatusNotFound {
			t.Errorf("without a token, %s: HTTP %v", path, w.Code)
		}
	}
	if n := webhooks(none.Snapshot(), jobs.WebhookUnauthorized); n != 0 {
		t.Errorf("%v unauthorized webhooks where none are taken", n)
	}
}

// Concurrent webhooks about one job count as one end.
func TestWebhooksAtOnce(t *testing.T) {
	h := newHooks(t, nil)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			const body = `{"request_id":"a","response":{"words":[{"start":0,"end":1}]}}`
			if w := h.post(http.MethodPost, "/webhook/"+webhookToken, "", body); w.Code != 200 {
				t.Errorf("HTTP %d", w.Code)
			}
		})
	}
	wg.Wait()
	s := h.Snapshot()
	if s.Totals.Counter(jobs.JobsFinished, "completed") != 1 || s.Totals.Counter(jobs.Words) != 1 ||
		webhooks(s, jobs.WebhookAdopted) != 1 || webhooks(s, jobs.WebhookDuplicate) != 49 {
		t.Errorf("%v finished, %v words, %v adopted, %v duplicates", s.Totals.Counter(jobs.JobsFinished),
			s.Totals.Counter(jobs.Words), webhooks(s, jobs.WebhookAdopted), webhooks(s, jobs.WebhookDuplicate))
	}
}

func webhooks(s collector.Snapshot, outcome jobs.WebhookOutcome) float64 {
	return s.Totals.Counter(jobs.WebhookRequests, outcome.String())
}

// Damaged webhooks break nothing, and only valid ones change a state.
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
		ended := s.Totals.Counter(jobs.JobsFinished, "completed") + s.Totals.Counter(jobs.JobsFinished, "failed")
		if w.Code == 200 != (ended == 1) || len(s.Jobs) != int(ended) {
			t.Errorf("HTTP %d, %v ended, %d jobs", w.Code, ended, len(s.Jobs))
		}
	})
}

// A large result that other large ones keep out is to be sent again. That is logged.
func TestWebhookBesideLargeResults(t *testing.T) {
	h := newHooks(t, nil)
	body := io.MultiReader(strings.NewReader("{"+strings.Repeat(" ", 16<<10)), iotest.ErrReader(jobstatus.ErrBusy))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/webhook/canary-token", body))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("HTTP %d, headers %v", w.Code, w.Header())
	}
	if !strings.Contains(h.log.String(), `level=WARN msg="Webhook not accepted"`) {
		t.Errorf("logged:\n%s", &h.log)
	}
}

// What comes near to a webhook is counted and logged, with a limit and without the token.
func TestWebhookNearMisses(t *testing.T) {
	const path, slashes = "the path is not /webhook/TOKEN", "the path has two slashes in a row"
	const below = "the path is not /da/webhook/TOKEN"
	for _, tt := range []struct{ method, path, address, why string }{
		{"PUT", "/webhook/" + webhookToken, "", "the method is PUT; webhooks are sent with POST"},
		{"GET", "/webhook/" + webhookToken, "", "the method is GET; webhooks are sent with POST"},
		{"canary", "/webhook/" + webhookToken, "", "the method is unknown; webhooks are sent with POST"},
		{"POST", "//webhook/" + webhookToken, "", slashes},
		{"POST", "/webhook//" + webhookToken, "", slashes},
		{"POST", "/webhook/" + webhookToken + "//", "", slashes},
		{"POST", "/webhook/" + webhookToken + "/x", "", path},
		{"POST", "/webhooks/" + webhookToken, "", path},
		{"POST", "/Webhook/" + webhookToken, "", path},
		{"POST", "/webhook", "", path},
		{"POST", "/webhook/canary", "", "the token is wrong"},
		{"POST", "/webhook/" + webhookToken, "localhost:8095",
			"webhooks are received at the service_address localhost:8095, not at this port"},
		{"POST", "/prefix/webhook/" + webhookToken, "", path},
		{"POST", "/prefix/Webhook/canary", "", path},
		{"POST", "/" + webhookToken, "", path},
		{"POST", "/api/v1/webhook/" + webhookToken, "", path},
		{"POST", "/webhook/" + webhookToken, "below /da", below},
		{"POST", "/DA/webhook/" + webhookToken, "below /da", below},
		{"POST", "/da/" + webhookToken, "below /da", below},
		{"POST", "/da/webhook/canary", "below /da", "the token is wrong"},
	} {
		synctest.Test(t, func(t *testing.T) {
			prefix, isBelow := strings.CutPrefix(tt.address, "below ")
			if !isBelow {
				prefix = ""
			}
			h := newHooksBelow(t, prefix, func(c *collector.Config) {
				if !isBelow {
					c.ServiceAddress = tt.address
				}
			})
			body := "404 page not found\n"
			if strings.HasPrefix(tt.path, "/api/v1/") {
				body = `{"error":"404 page not found"}` + "\n"
			}
			for range 100 {
				r := httptest.NewRequest(tt.method, "/", strings.NewReader(`{"request_id":"a","response":null}`))
				r.URL.Path = tt.path
				if !h.handler.Takes(r) {
					t.Errorf("%s is not recognized", tt.path)
				}
				w := httptest.NewRecorder()
				h.handler.ServeHTTP(w, r)
				if w.Code != http.StatusNotFound || w.Body.String() != body {
					t.Errorf("%s %s: HTTP %d, %q", tt.method, tt.path, w.Code, w.Body)
				}
				pass(time.Second)
			}
			s := h.Snapshot()
			if n := webhooks(s, jobs.WebhookUnauthorized); n != 100 || len(s.Jobs) != 0 {
				t.Errorf("%s %s: %v of 100 counted, %d jobs", tt.method, tt.path, n, len(s.Jobs))
			}
			log := h.log.String()
			if strings.Count(log, "level=WARN") != 2 || strings.Count(log, tt.why) != 2 ||
				!strings.Contains(log, "not_logged=59") || strings.Contains(log, "canary") {
				t.Errorf("%s %s: logged:\n%s", tt.method, tt.path, log)
			}
		})
	}
	h := newHooks(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, path := range []string{"/", "/metrics", "/webhookx", "/api/v1/jobs", "/api/v1/jobs/webhook"} {
			if h.handler.Takes(httptest.NewRequest(method, path, nil)) {
				t.Errorf("%s %s is taken for a webhook", method, path)
			}
		}
	}
	if h.handler.Takes(httptest.NewRequest(http.MethodDelete, "/api/v1/jobs/x/webhook/y", nil)) {
		t.Error("the removal of a job is taken for a webhook")
	}
}

// A problem of webhooks that comes again and again is logged at once, and then once a minute, with a count.
func TestWebhookProblemsAreLoggedWithACount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHooks(t, func(c *collector.Config) { c.MaxResponseSize = 1000 })
		for range 100 {
			r := httptest.NewRequest("POST", "/webhook/"+webhookToken, strings.NewReader(`{"canary"`))
			w := httptest.NewRecorder()
			h.handler.ServeHTTP(w, r)
			if w.Code != http.StatusBadRequest {
				t.Errorf("HTTP %d, %q", w.Code, w.Body)
			}
			pass(time.Second)
		}
		if n := webhooks(h.Snapshot(), jobs.WebhookMalformed); n != 100 {
			t.Errorf("%v of 100 counted", n)
		}
		// Another problem is logged at once.
		h.post("POST", "/webhook/"+webhookToken, "", strings.Repeat(" ", 2000))
		log := h.log.String()
		if strings.Count(log, "level=WARN") != 3 || !strings.Contains(log, "outcome=too_large") ||
			!strings.Contains(log, "not_logged=59") ||
			strings.Contains(log, "canary") {
			t.Errorf("logged:\n%s", log)
		}
	})
}

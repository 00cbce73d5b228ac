package jobstatus_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	key       = "KEY-CANARY-0123456789"
	requestID = "job 1/ü"
	limit     = 4096
)

// client returns a client of the API at a URL. The timeout is that of tests
// that wait for it.
func client(t *testing.T, baseURL string, transport http.RoundTripper) *jobstatus.Client {
	t.Helper()
	c, err := jobstatus.New(jobstatus.Config{
		URL: baseURL, Timeout: time.Minute, MaxResponseSize: limit, Transport: transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func transport(t *testing.T, tlsConfig *tls.Config) *http.Transport {
	t.Helper()
	tr := outbound.NewTransport(time.Minute, 4, tlsConfig, nil)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// serve returns a client of a server on the loopback.
func serve(t *testing.T, h http.HandlerFunc) *jobstatus.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return client(t, s.URL, transport(t, nil))
}

// say returns a handler that answers with an HTTP status, a body and headers.
func say(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// checkSecret holds that nothing printed of an answer has a forbidden text.
func checkSecret(t *testing.T, a jobstatus.Answer, forbidden ...string) {
	t.Helper()
	printed := fmt.Sprintf("%v %+v %#v %v", a, a, a, a.Err)
	for err := a.Err; err != nil; err = errors.Unwrap(err) {
		printed += fmt.Sprintf(" %v %+v %#v", err, err, err)
	}
	for _, secret := range forbidden {
		if strings.Contains(strings.ToLower(printed), strings.ToLower(secret)) {
			t.Errorf("%q shows in %s", secret, printed)
		}
	}
}

// ask asks about requestID and checks what every answer must be.
func ask(t *testing.T, c *jobstatus.Client) jobstatus.Answer {
	t.Helper()
	a := c.Status(t.Context(), key, requestID)
	if (a.Outcome == jobstatus.OK) != (a.Err == nil) {
		t.Errorf("outcome %v with error %v", a.Outcome, a.Err)
	}
	checkSecret(t, a, key, url.QueryEscape(requestID), "apikey=")
	return a
}

func TestRequest(t *testing.T) {
	for _, slash := range []string{"", "/"} {
		for base, path := range map[string]string{"": jobstatus.Path, "/gateway/v2": "/gateway/v2" + jobstatus.Path} {
			var got http.Request
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = *r
				io.WriteString(w, `{"status": "Running"}`)
			}))
			if a := ask(t, client(t, s.URL+base+slash, transport(t, nil))); a.State != jobstatus.Running {
				t.Errorf("answer %+v", a)
			}
			s.Close()
			query := url.Values{"apikey": {key}, "request_id": {requestID}}
			if diff := cmp.Diff(query, got.URL.Query()); diff != "" {
				t.Errorf("query (-want +got):\n%s", diff)
			}
			if got.Method != http.MethodGet || got.URL.Path != path {
				t.Errorf("%s %s, want GET %s", got.Method, got.URL.Path, path)
			}
			if got.ContentLength != 0 || len(got.TransferEncoding) > 0 {
				t.Errorf("it has a body: length %d, encoding %v", got.ContentLength, got.TransferEncoding)
			}
			if got.Header.Get("Accept") != "application/json" || got.Header.Get("User-Agent") != "deepaffects-monitor" {
				t.Errorf("headers %v", got.Header)
			}
		}
	}
}

func TestOutcomes(t *testing.T) {
	queued := jobstatus.Answer{Outcome: jobstatus.OK, State: jobstatus.Running, RetryAfter: jobstatus.QueuedDelay}
	fault := func(code string) string { return fmt.Sprintf(`{"fault": {"detail": {"errorcode": %q}}}`, code) }
	const html = "<html><h1>Error</h1></html>"
	running := jobstatus.Answer{Outcome: jobstatus.OK, State: jobstatus.Running}
	failed := func(code string) jobstatus.Answer {
		return jobstatus.Answer{Outcome: jobstatus.OK, State: jobstatus.Failed, ErrorCode: code}
	}
	refused := func(o jobstatus.Outcome) jobstatus.Answer { return jobstatus.Answer{Outcome: o} }
	unreadable := func(state jobstatus.State) jobstatus.Answer {
		return jobstatus.Answer{Outcome: jobstatus.Malformed, AboutJob: true, State: state}
	}
	tooLarge := jobstatus.Answer{Outcome: jobstatus.TooLarge, AboutJob: true, State: jobstatus.Running}
	tests := []struct {
		status int
		body   string
		want   jobstatus.Answer
	}{
		{200, `{"status": "Running"}`, running},
		{200, `{"status": "In Progress", "response": {"request_id": "job 1/ü"}}`, running},
		{202, `{"status": "Running"}`, running},
		{200, `{"status": "Failed"}`, failed("unknown")},
		{
			200, `{"status": "Failed", "response": {"response": {"fault": {"detail": {"error_code": "x.y"}}}}}`,
			failed("x.y"),
		},
		{200, `{"status": "Completed", "fault": {}}`, failed("unknown")},
		{200, `{"status": "Completed"}`, jobstatus.Answer{Outcome: jobstatus.OK, State: jobstatus.Completed}},
		{200, `{"status": "Strange"}`, jobstatus.Answer{Outcome: jobstatus.OK, StateWord: "Strange"}},
		{200, `{"status": "Running", "fault": {"error_code": "x"}}`, running},

		// Too early.
		{202, ``, running},
		{202, `{"request_id": "job 1/ü", "api": "asr"}`, running},
		{202, html, refused(jobstatus.Malformed)},
		{200, fault("queued"), queued},
		{202, fault("queued"), queued},
		{400, fault("queued"), queued},
		{404, fault("queued"), queued},

		// A fault with an HTTP status that says nothing.
		{200, fault("rate_limit"), refused(jobstatus.RateLimited)},
		{200, fault("api_error"), refused(jobstatus.ServerError)},
		{200, fault("unknown_route"), refused(jobstatus.ClientError)},
		{200, fault("params_invalid"), refused(jobstatus.ClientError)},
		{200, fault("oauth.v2.InvalidApiKey"), refused(jobstatus.Unauthorized)},
		{200, fault("steps.oauth.v2.FailedToResolveAPIKey"), refused(jobstatus.Unauthorized)},
		{200, fault("policies.ratelimit.QuotaViolation"), refused(jobstatus.OverQuota)},
		{200, fault("something.else"), refused(jobstatus.Malformed)},
		{202, fault("rate_limit"), refused(jobstatus.RateLimited)},

		// HTTP status alone, and with bodies that say more, less or nothing.
		{400, ``, refused(jobstatus.ClientError)},
		{400, fault("com.deepaffects.BadRequest"), refused(jobstatus.ClientError)},
		{400, fault("rate_limit"), refused(jobstatus.RateLimited)},
		{401, html, refused(jobstatus.Unauthorized)},
		{401, fault("oauth.v2.InvalidApiKey"), refused(jobstatus.Unauthorized)},
		{402, ``, refused(jobstatus.OverQuota)},
		{403, fault("x"), refused(jobstatus.Unauthorized)},
		{403, ``, refused(jobstatus.Unauthorized)},
		{403, html, refused(jobstatus.Malformed)}, // a proxy or a firewall
		{404, ``, refused(jobstatus.NotFound)},
		{404, html, refused(jobstatus.Malformed)}, // a web server's page: url or a proxy is wrong
		{404, "\ufeff\n <!DOCTYPE html>", refused(jobstatus.Malformed)},
		{404, "404 page not found\n", refused(jobstatus.NotFound)},
		{404, fault("com.deepaffects.NotFound"), refused(jobstatus.NotFound)},
		{404, fault("unknown_route"), refused(jobstatus.ClientError)},
		{404, fault("messaging.adaptors.http.flow.ApplicationNotFound"), refused(jobstatus.ClientError)},
		{404, `{"status": "Completed"}`, refused(jobstatus.NotFound)},
		{409, ``, refused(jobstatus.ClientError)},
		{429, ``, refused(jobstatus.RateLimited)},
		{429, fault("policies.ratelimit.QuotaViolation"), refused(jobstatus.OverQuota)},
		{429, fault("policies.ratelimit.SpikeArrestViolation"), refused(jobstatus.RateLimited)},
		{500, fault("api_error"), refused(jobstatus.ServerError)},
		{500, fault("rate_limit"), refused(jobstatus.RateLimited)},
		{502, html, refused(jobstatus.ServerError)},
		{503, ``, refused(jobstatus.ServerError)},
		{504, strings.Repeat(html, 10000), refused(jobstatus.ServerError)},
		{599, `{`, refused(jobstatus.ServerError)},
		{204, ``, refused(jobstatus.Malformed)},
		{206, `{"status": "Completed"}`, refused(jobstatus.Malformed)},
		{304, ``, refused(jobstatus.Malformed)},

		// Not the API's.
		{200, ``, refused(jobstatus.Malformed)},
		{200, html, refused(jobstatus.Malformed)},
		{200, `{}`, refused(jobstatus.Malformed)},
		{200, `[]`, refused(jobstatus.Malformed)},

		// About the job, and unreadable.
		{200, `{"status": "Completed"`, unreadable(jobstatus.Completed)},
		{200, `{"status": "Completed", "response": {"response": {"words": [{"start": <`, unreadable(jobstatus.Completed)},
		{200, `{"status": "Running", "response"`, unreadable(jobstatus.Running)},
		{200, `{"status": "Odd"`, unreadable(jobstatus.Unknown)},
		{200, `{"response": {"request_id": "job 1/ü", "response": {"words": [`, unreadable(jobstatus.Unknown)},
		{200, `{"status": null}`, unreadable(jobstatus.Unknown)},
		{200, `{"status": 5}`, unreadable(jobstatus.Unknown)},
		{200, `{"status": "Completed", "status": "Failed"}`, unreadable(jobstatus.Unknown)},
		{200, `{"response": {"request_id": "job 1/ü", "response": {"words": []}}}`, unreadable(jobstatus.Unknown)},
		{200, `{"status": "Failed", "response": {"response": {"fault": {"error_code": "x.y"}`, jobstatus.Answer{
			Outcome: jobstatus.Malformed, AboutJob: true, State: jobstatus.Failed, ErrorCode: "x.y",
		}},
		{200, `{"status": "Completed", "response": {"response": {"fault": {}, `, jobstatus.Answer{
			Outcome: jobstatus.Malformed, AboutJob: true, State: jobstatus.Failed, ErrorCode: "unknown",
		}},
		{200, `{"response": {"request_id": "job 2"}, "status": "Completed", "x": `, refused(jobstatus.Malformed)},

		// The request ID in another spelling.
		{200, `{"status": "Running", "response": {"request_id": " JOB 1/Ü\n"}}`, running},
		{200, `{"status": "Completed", "response": {"request_id": "job 2"}}`, refused(jobstatus.Malformed)},
		{200, `{"response": {"request_id": "job 2"}, "status": "Running"}`, refused(jobstatus.Malformed)},

		// Too large, by as little as one byte.
		{200, `{"status": "Running", "x": "` + strings.Repeat("x", limit) + `"}`, tooLarge},
		{200, `{"status": "Running"}` + strings.Repeat(" ", limit), tooLarge},
		{200, `{"status": "Running"}` + strings.Repeat(" ", limit-21), running},
		{200, `{"status": "Running"}` + strings.Repeat(" ", limit-20), tooLarge},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%d %.60s", test.status, test.body), func(t *testing.T) {
			got := ask(t, serve(t, say(test.status, test.body)))
			got = withoutRefusal(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// One API is one service, however its URL is written.
func TestService(t *testing.T) {
	const want = "https://api.invalid/v/transaction/generic/api/v1/async/status"
	for _, written := range []string{
		"https://api.invalid/v", "https://api.invalid/v/", "HTTPS://API.invalid:443/v", "https://api.invalid//v/./",
		"https://api.invalid./v", "https://api.invalid:/v", "https://api.invalid:0443/v", "https://api.invalid/v?",
		"https://api.invalid/v/%2e", "https://api.invalid/%76", "http://api.invalid/v", "http://api.invalid:80/v",
	} {
		if got := client(t, written, nil).Service(); got != want {
			t.Errorf("%s is %s, want %s", written, got, want)
		}
	}
	slash, none := client(t, "https://api.invalid/", nil).Service(), client(t, "https://api.invalid", nil).Service()
	if slash != none {
		t.Errorf("with a slash it is %s, without %s", slash, none)
	}
	unicode, ascii := client(t, "https://M\u00fcller.invalid", nil), client(t, "https://xn--mller-kva.invalid", nil)
	if unicode.Service() != ascii.Service() {
		t.Errorf("%s and %s", unicode.Service(), ascii.Service())
	}
	for _, other := range []string{
		"https://api.invalid:80/v", "https://api.invalid/V", "https://v.api.invalid/v", "https://api.invalid:8443/v",
	} {
		if got := client(t, other, nil).Service(); got == want {
			t.Errorf("%s is %s", other, got)
		}
	}
}

// What earlier versions stored of an API has the name that they made for its URL.
func TestFormerService(t *testing.T) {
	const path = "/transaction/generic/api/v1/async/status"
	for written, want := range map[string]string{
		"https://api.invalid":            "https://api.invalid" + path,
		"HTTP://API.invalid:80/v/":       "http://api.invalid/v" + path,
		"https://api.invalid./v":         "https://api.invalid./v" + path,
		"https://api.invalid:/v":         "https://api.invalid:/v" + path,
		"https://api.invalid:0443/v":     "https://api.invalid:0443/v" + path,
		"https://api.invalid/%76%2Fw":    "https://api.invalid/%76%2Fw" + path,
		"https://api.invalid//v/./?":     "https://api.invalid/v" + path + "?",
		"https://[2001:DB8::1]:443/v/..": "https://[2001:db8::1]" + path,
	} {
		if got := client(t, written, nil).FormerService(); got != want {
			t.Errorf("%s was %s, want %s", written, got, want)
		}
	}
}

// withoutRefusal leaves out what TestWhatARefusalSays checks.
func withoutRefusal(a jobstatus.Answer) jobstatus.Answer {
	a.Err = nil
	if a.HTTPStatus != 0 {
		a.ErrorCode, a.HTTPStatus = "", 0
	}
	return a
}

// A fault in place of a status is told from an HTTP status that refuses: HTTP 200
// alone would explain nothing. The code of a fault is told if it looks like one, and
// has no key in it.
func TestWhatARefusalSays(t *testing.T) {
	const html = "<html><title>SECRET</title></html>"
	fault := func(code string) string {
		return fmt.Sprintf(`{"fault": {"fault_string": "SECRET", "detail": {"error_code": %q}}}`, code)
	}
	for _, test := range []struct {
		status         int
		body           string
		err, errorCode string
	}{
		{200, fault("x"), "the API answered HTTP 200 with a fault in place of a status", "x"},
		{202, fault("x"), "the API answered HTTP 202 with a fault in place of a status", "x"},
		{200, `{}`, "not a status, at byte 2", ""},
		{200, `{"status": "Completed", "response": {"response": {"confidence": <`, "invalid JSON at byte 64", ""},
		{401, fault("oauth.v2.InvalidApiKey"), "the API answered HTTP 401", "oauth.v2.InvalidApiKey"},
		{429, fault("a sentence that tells of a call"), "the API answered HTTP 429", jobstatus.OtherErrorCode},
		{429, fault("x." + key), "the API answered HTTP 429", jobstatus.OtherErrorCode},
		{429, fault("x." + strings.ToUpper(key)), "the API answered HTTP 429", jobstatus.OtherErrorCode},
		{429, fault(strings.Repeat("x", 97)), "the API answered HTTP 429", jobstatus.OtherErrorCode},
		{503, "", "the API answered HTTP 503", ""},
		{
			404, html,
			"the API answered HTTP 404; the answer is HTML or XML, not JSON, as from a proxy or at a wrong url", "",
		},
		{
			502, html,
			"the API answered HTTP 502; the answer is HTML or XML, not JSON, as from a proxy", "",
		},
		{200, html, "the answer is HTML or XML, not JSON, as from a proxy or at a wrong url", ""},
		{202, html, "the answer is HTML or XML, not JSON, as from a proxy or at a wrong url", ""},
	} {
		a := ask(t, serve(t, say(test.status, test.body)))
		if a.Err == nil || a.Err.Error() != test.err || a.ErrorCode != test.errorCode {
			t.Errorf("HTTP %d %s: error code %q, error %v; want %q, %s",
				test.status, test.body, a.ErrorCode, a.Err, test.errorCode, test.err)
		}
		if a.Outcome != jobstatus.Malformed && a.HTTPStatus != test.status {
			t.Errorf("HTTP %d %s: status %d", test.status, test.body, a.HTTPStatus)
		}
	}
}

// A redirect is not followed, and the error says where it leads, without its target: that may have the key in it.
func TestWhatARedirectSays(t *testing.T) {
	const refused = "the API answered HTTP 302, a redirect"
	for location, want := range map[string]string{
		"":                               refused + ", which is not followed; check url",
		"https://login.example/" + key:   refused + " to another host, which is not followed; check url",
		"//login.example/?apikey=" + key: refused + " to another host, which is not followed; check url",
		"https://api.invalid/" + key:     refused + " to https, which is not followed; check url",
		"/v2/" + key:                     refused + " to another path, which is not followed; check url",
		"http://[" + key:                 refused + ", which is not followed; check url",
	} {
		a := ask(t, client(t, "http://API.invalid", roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: 302, Header: http.Header{"Location": {location}},
				Body: io.NopCloser(strings.NewReader("<html>Found")),
			}, nil
		})))
		if a.Outcome != jobstatus.Malformed || a.Err.Error() != want {
			t.Errorf("Location %q: outcome %v, error %v; want malformed, %s", location, a.Outcome, a.Err, want)
		}
	}
}

// The payloads as answers, each to the question about its own job.
func TestPayloadsAsAnswers(t *testing.T) {
	outcomes := map[string]jobstatus.Outcome{
		"fault_api.json": jobstatus.RateLimited, "fault_gateway.json": jobstatus.Unauthorized,
		"submitted.json": jobstatus.Malformed, "webhook_asr.json": jobstatus.Malformed,
		"webhook_depressed.json": jobstatus.Malformed, "webhook_failed.json": jobstatus.Malformed,
	}
	for name, body := range bodies() {
		t.Run(name, func(t *testing.T) {
			got := serve(t, say(200, string(payload(t, name)))).Status(t.Context(), key, body.RequestID)
			want := jobstatus.Answer{Outcome: outcomes[name], AboutJob: name == "webhook_asr.json"}
			if want.Outcome == jobstatus.OK {
				want.State, want.ErrorCode, want.Result = body.State, body.FaultCode, body.Result
			}
			got = withoutRefusal(got)
			if diff := cmp.Diff(want, got, equal); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestOutcomeNames(t *testing.T) {
	seen := map[string]bool{}
	for o := range jobstatus.TooLarge + 1 {
		seen[o.String()] = true
	}
	if len(seen) != len(jobstatus.Outcomes) || seen[""] {
		t.Errorf("outcomes %v", seen)
	}
}

func TestRetryAfter(t *testing.T) {
	inBubble := func(t *testing.T, status int, body, retryAfter string, date ...string) time.Duration {
		return ask(t, client(t, "http://api.invalid", roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}, "Date": date},
				Body: io.NopCloser(strings.NewReader(body)),
			}, nil
		}))).RetryAfter
	}
	synctest.Test(t, func(t *testing.T) {
		date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
		for value, want := range map[string]time.Duration{
			"": 0, "0": 0, "7": 7 * time.Second, "3600": time.Hour, "-1": 0, "1.5": 0, "soon": 0,
			"86401": 24 * time.Hour, "4294967295": 24 * time.Hour, "4294967296": 24 * time.Hour,
			"99999999999999999999": 24 * time.Hour,
			date(90 * time.Second): 90 * time.Second, date(-time.Hour): 0, date(1000 * time.Hour): 24 * time.Hour,
		} {
			for _, status := range []int{202, 400, 402, 429, 503} {
				if got := inBubble(t, status, "", value); got != want {
					t.Errorf("HTTP %d with Retry-After %q: %v, want %v", status, value, got, want)
				}
			}
		}
		// The clock of the API differs from the one here.
		if got := inBubble(t, 503, "", date(3*time.Hour+time.Minute), date(3*time.Hour)); got != time.Minute {
			t.Errorf("a minute after the response's date: %v", got)
		}
		queued := `{"fault": {"error_code": "queued"}}`
		if got := inBubble(t, 200, queued, "600"); got != 10*time.Minute {
			t.Errorf("queued, and the API asks for 10 minutes: %v", got)
		}
		if got := inBubble(t, 200, queued, "1"); got != jobstatus.QueuedDelay {
			t.Errorf("queued, and the API asks for a second: %v, want %v", got, jobstatus.QueuedDelay)
		}
	})
}

// roundTrip is a network in memory.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// body is a response body that goes on as read says once its start is read.
type body struct {
	io.Reader
	read func([]byte) (int, error)
}

func (b body) Read(p []byte) (int, error) {
	if n, err := b.Reader.Read(p); err == nil {
		return n, nil
	}
	return b.read(p)
}

func (body) Close() error { return nil }

func TestTimeout(t *testing.T) {
	hangs := map[string]roundTrip{
		"no headers": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
	}
	for _, start := range []string{"", `{`, `{"status": "Completed"`, `{"status": "Completed"}`} {
		for _, status := range []int{200, 202} {
			hangs[fmt.Sprintf("HTTP %d %s", status, start)] = func(r *http.Request) (*http.Response, error) {
				hang := func([]byte) (int, error) {
					<-r.Context().Done()
					return 0, r.Context().Err()
				}
				return &http.Response{StatusCode: status, Body: body{strings.NewReader(start), hang}}, nil
			}
		}
	}
	for name, hang := range hangs {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				a := ask(t, client(t, "http://api.invalid", hang))
				if a.Outcome != jobstatus.Timeout || time.Since(begin) != time.Minute {
					t.Errorf("%+v after %v, want a timeout after a minute", a, time.Since(begin))
				}
			})
		})
	}
}

// What is known of an answer before it stops counts.
func TestKnownBeforeTimeout(t *testing.T) {
	for _, test := range []struct {
		status int
		start  string
		want   jobstatus.Outcome
	}{
		{404, "", jobstatus.NotFound},
		{503, "<html>", jobstatus.ServerError},
		{200, "<html>", jobstatus.Malformed},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := ask(t, client(t, "http://api.invalid", roundTrip(func(r *http.Request) (*http.Response, error) {
				hang := func([]byte) (int, error) {
					<-r.Context().Done()
					return 0, r.Context().Err()
				}
				return &http.Response{StatusCode: test.status, Body: body{strings.NewReader(test.start), hang}}, nil
			})))
			if a.Outcome != test.want {
				t.Errorf("HTTP %d %s: %+v, want outcome %v", test.status, test.start, a, test.want)
			}
		})
	}
}

// Slow headers and slow bodies over a network.
func TestTimeoutOverNetwork(t *testing.T) {
	for _, start := range []string{"", `{"status": `} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if start != "" {
				io.WriteString(w, start)
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		}))
		c, err := jobstatus.New(jobstatus.Config{
			URL: s.URL, Timeout: 50 * time.Millisecond, MaxResponseSize: limit, Transport: transport(t, nil),
		})
		if err != nil {
			t.Fatal(err)
		}
		if a := ask(t, c); a.Outcome != jobstatus.Timeout {
			t.Errorf("after %q: %+v, want a timeout", start, a)
		}
		s.Close()
	}
}

// One large result is decoded at a time. A request that waits for its slot ends with its timeout.
func TestTimeoutWhileAnotherIsLarge(t *testing.T) {
	large := `{"status":"Completed","response":{"response":{"words":[{}` + strings.Repeat(`,{"start":0,"end":1}`, 20_000)
	slow, w := io.Pipe()
	bodies := make(chan io.ReadCloser, 2)
	bodies <- slow
	bodies <- io.NopCloser(strings.NewReader(large + "]}}}"))
	c, err := jobstatus.New(jobstatus.Config{
		URL: "http://api.invalid", Timeout: 50 * time.Millisecond, MaxResponseSize: 1 << 20,
		Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: <-bodies}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	first, second := make(chan jobstatus.Answer, 1), make(chan jobstatus.Answer, 1)
	go func() { first <- ask(t, c) }()
	if _, err := io.WriteString(w, large); err != nil { // most of it has been read then
		t.Fatal(err)
	}
	go func() { second <- ask(t, c) }()
	select {
	case a := <-second:
		if a.Outcome != jobstatus.Timeout {
			t.Errorf("%+v, want a timeout", a)
		}
	case <-time.After(10 * time.Second):
		t.Error("it still waits")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	<-first
}

// A server may switch protocols, unasked, and then say nothing: what follows is the
// bare connection, which net/http does not close at the end of the timeout.
func TestSwitchedProtocols(t *testing.T) {
	done := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
		<-done
	}))
	defer s.Close()
	defer close(done)
	c := client(t, s.URL, transport(t, nil))
	answers := make(chan jobstatus.Answer, 1)
	go func() { answers <- ask(t, c) }()
	select {
	case a := <-answers:
		if a.Outcome != jobstatus.Malformed || a.Err.Error() != "the API answered HTTP 101" {
			t.Errorf("%+v, want outcome malformed", a)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it is still being read")
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := serve(t, say(200, `{"status": "Running"}`)).Status(ctx, key, requestID)
	if a.Outcome != jobstatus.Network {
		t.Errorf("%+v, want outcome network", a)
	}
	checkSecret(t, a, key)
}

// hijack answers with raw bytes and then breaks the connection: with a reset,
// or by closing it.
func hijack(t *testing.T, raw string, reset bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, raw)
		if reset {
			conn.(*net.TCPConn).SetLinger(0)
		}
		conn.Close()
	}
}

func TestBrokenConnections(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
	for name, h := range map[string]http.HandlerFunc{
		"reset":              hijack(t, "", true),
		"closed":             hijack(t, "", false),
		"within the headers": hijack(t, "HTTP/1.1 200 OK\r\nContent-", false),
		"before the body":    hijack(t, ok, false),
		"within the body":    hijack(t, ok+`{"status": "Comp`, false),
		"behind the status":  hijack(t, ok+`{"status": "Completed"}`, false),
		"accepted, and gone": hijack(t, "HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n", false),
		"within a chunk":     hijack(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{", false),
	} {
		t.Run(name, func(t *testing.T) {
			if a := ask(t, serve(t, h)); a.Outcome != jobstatus.Network {
				t.Errorf("%+v, want outcome network", a)
			}
		})
	}
}

func TestConnectionRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	a := ask(t, client(t, "http://"+l.Addr().String(), transport(t, nil)))
	if a.Outcome != jobstatus.Network || !strings.Contains(a.Err.Error(), "connection refused") {
		t.Errorf("%+v, want outcome network and why", a)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var heard atomic.Int64
	second := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { heard.Add(1) }))
	defer second.Close()
	for _, status := range []int{300, 301, 302, 303, 307, 308} {
		for _, location := range []string{second.URL, "/elsewhere", "", "http://[" + key, "%zz"} {
			a := ask(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != jobstatus.Path {
					heard.Add(1)
				}
				say(status, "", "Location", location)(w, r)
			}))
			if a.Outcome != jobstatus.Malformed {
				t.Errorf("HTTP %d to %q: %+v, want outcome malformed", status, location, a)
			}
		}
	}
	if n := heard.Load(); n > 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

func TestCompressed(t *testing.T) {
	gz := func(doc string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.WriteString(w, doc)
		w.Close()
		return b.String()
	}
	running := gz(`{"status": "Running"}`)
	for name, test := range map[string]struct {
		body string
		want jobstatus.Outcome
	}{
		"valid":     {running, jobstatus.OK},
		"truncated": {running[:30], jobstatus.Network},
		"not gzip":  {`{"status": "Running"}`, jobstatus.Malformed},
		"damaged":   {running[:10] + "\xff\xff\xff\xff\xff\xff\xff\xff", jobstatus.Malformed},
		"checksum":  {running[:len(running)-8] + "checksum", jobstatus.Malformed},
		"bomb":      {gz(`{"status": "Running", "x": "` + strings.Repeat("x", 1<<20) + `"}`), jobstatus.TooLarge},
	} {
		for _, encoding := range []string{"gzip", "x-gzip"} {
			if a := ask(t, serve(t, say(200, test.body, "Content-Encoding", encoding))); a.Outcome != test.want {
				t.Errorf("%s, %s: %+v, want outcome %v", name, encoding, a, test.want)
			}
		}
	}
	want := "the body is compressed, and its Content-Encoding does not say so"
	if a := ask(t, serve(t, say(200, running))); a.Outcome != jobstatus.Malformed || a.Err.Error() != want {
		t.Errorf("without an encoding: %+v, want %q", a, want)
	}
}

// counting counts what is read through it.
type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// endless are bytes without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// However long an answer is, no more than the limit is taken in.
func TestNoMoreThanTheLimitIsRead(t *testing.T) {
	for status, most := range map[int]int{200: limit, 404: limit, 500: limit} {
		c := &counting{Reader: endless{}}
		a := ask(t, client(t, "http://api.invalid", roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: io.NopCloser(c)}, nil
		})))
		if a.Outcome == jobstatus.OK || c.n > most+1 {
			t.Errorf("HTTP %d: %+v, and %d bytes were read; want at most %d", status, a, c.n, most+1)
		}
	}
}

func TestKeepAlive(t *testing.T) {
	const page = "<html>%s</html>"
	for name, h := range map[string]http.HandlerFunc{
		"statuses":  say(200, sample),
		"refusals":  say(404, fmt.Sprintf(page, strings.Repeat("x", 2000))),
		"nothing":   say(202, ""),
		"malformed": say(200, fmt.Sprintf(page, strings.Repeat("x", 2000))),
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			connections := map[string]bool{}
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				connections[r.RemoteAddr] = true
				mu.Unlock()
				h(w, r)
			})
			for range 20 {
				ask(t, c)
			}
			if len(connections) != 1 {
				t.Errorf("%d connections for 20 requests, want 1", len(connections))
			}
		})
	}
}

// tlsServer returns a server with TLS that logs nothing, and a configuration that trusts it.
func tlsServer(t *testing.T, http2 bool, h http.HandlerFunc) (*httptest.Server, *tls.Config) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = http2
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s, &tls.Config{RootCAs: roots}
}

func TestTLS(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		var major atomic.Int64
		s, trusting := tlsServer(t, http2, func(w http.ResponseWriter, r *http.Request) {
			major.Store(int64(r.ProtoMajor))
			io.WriteString(w, `{"status": "Running"}`)
		})
		for name, test := range map[string]struct {
			config *tls.Config
			want   jobstatus.Outcome
		}{
			"the system's roots": {nil, jobstatus.Network},
			"own root":           {trusting, jobstatus.OK},
			"no verification":    {&tls.Config{InsecureSkipVerify: true}, jobstatus.OK},
		} {
			major.Store(0)
			a := ask(t, client(t, s.URL, transport(t, test.config)))
			if a.Outcome != test.want {
				t.Errorf("%s, HTTP/2 %v: %+v, want outcome %v", name, http2, a, test.want)
			}
			if a.Outcome == jobstatus.Network && !strings.Contains(a.Err.Error(), "certificate") {
				t.Errorf("%s: %v does not say that it is the certificate", name, a.Err)
			}
			if a.Outcome == jobstatus.OK && http2 != (major.Load() == 2) {
				t.Errorf("%s: HTTP/%d used; HTTP/2 offered: %v", name, major.Load(), http2)
			}
		}
	}
}

func TestNotTLS(t *testing.T) {
	s := httptest.NewServer(say(200, key))
	defer s.Close()
	a := ask(t, client(t, strings.Replace(s.URL, "http:", "https:", 1), transport(t, nil)))
	if a.Outcome != jobstatus.Network {
		t.Errorf("%+v, want outcome network", a)
	}
}

func TestHTTP2BrokenOff(t *testing.T) {
	s, trusting := tlsServer(t, true, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"status": `)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	if a := ask(t, client(t, s.URL, transport(t, trusting))); a.Outcome != jobstatus.Network {
		t.Errorf("%+v, want outcome network", a)
	}
}

// A connection may die without a word, as when a firewall forgets it or a machine is
// gone. Over HTTP/2 a request that times out leaves its connection to the next one;
// they must not all time out for as long as the kernel sends again what got lost.
func TestHTTP2GoneSilent(t *testing.T) {
	s, trusting := tlsServer(t, true, say(200, `{"status": "Running"}`))
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var dead atomic.Bool // what is said on the first connection gets lost
	var forwarders sync.WaitGroup
	forwarders.Go(func() {
		for first := true; ; first = false {
			client, err := front.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			lossy := first
			forward := func(to, from net.Conn) {
				defer to.Close()
				p := make([]byte, 4096)
				for {
					n, err := from.Read(p)
					if err != nil {
						return
					}
					if !lossy || !dead.Load() {
						to.Write(p[:n])
					}
				}
			}
			forwarders.Go(func() { forward(client, server) })
			forwarders.Go(func() { forward(server, client) })
		}
	})
	const timeout = 500 * time.Millisecond
	trusting.ServerName = "example.com"
	tr := outbound.NewTransport(timeout, 4, trusting, nil)
	c, err := jobstatus.New(jobstatus.Config{
		URL: "https://" + front.Addr().String(), Timeout: timeout, MaxResponseSize: limit, Transport: tr,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer forwarders.Wait()
	defer c.Close()
	defer front.Close()
	if a := ask(t, c); a.Outcome != jobstatus.OK {
		t.Fatalf("before: %+v", a)
	}
	dead.Store(true)
	if a := ask(t, c); a.Outcome != jobstatus.Timeout {
		t.Fatalf("the connection is not dead: %+v", a)
	}
	for range 50 {
		if ask(t, c).Outcome == jobstatus.OK {
			return
		}
	}
	t.Error("it is asked on the dead connection still")
}

// through returns a transport that uses a proxy.
func through(t *testing.T, proxy string) *http.Transport {
	t.Helper()
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	tr := outbound.NewTransport(time.Minute, 4, nil, http.ProxyURL(u))
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func TestProxy(t *testing.T) {
	var target, authorization atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target.Store(r.URL.Host)
		authorization.Store(r.Header.Get("Proxy-Authorization"))
		io.WriteString(w, `{"status": "Running"}`)
	}))
	defer proxy.Close()
	withPassword := strings.Replace(proxy.URL, "http://", "http://user:pass@", 1)
	a := ask(t, client(t, "http://api.invalid", through(t, withPassword)))
	if a.Outcome != jobstatus.OK || target.Load() != "api.invalid" || authorization.Load() != "Basic dXNlcjpwYXNz" {
		t.Errorf("%+v, the proxy was asked for %v with authorization %q", a, target.Load(), authorization.Load())
	}
}

// A proxy that refuses to connect may quote anything in its refusal.
func TestProxyRefuses(t *testing.T) {
	proxy := httptest.NewServer(hijack(t, "HTTP/1.1 407 you asked for "+key+"\r\n\r\n", false))
	defer proxy.Close()
	a := ask(t, client(t, "https://api.invalid", through(t, proxy.URL)))
	if a.Outcome != jobstatus.Network || a.Err.Error() != "polling the API: the proxy answered HTTP 407" {
		t.Errorf("%+v, want outcome network and that it is the proxy", a)
	}
}

func TestWrongURL(t *testing.T) {
	for _, u := range []string{
		"", "ftp://SECRET.example", "http://api.example:SECRET",
		"http://api.example/?apikey=SECRET", "http://user:SECRET@api.example", "http://api.example/#SECRET",
	} {
		_, err := jobstatus.New(jobstatus.Config{URL: u, Transport: roundTrip(nil)})
		if err == nil || !strings.HasPrefix(err.Error(), "url: ") || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: error %v, want one that names url and quotes no secret", u, err)
		}
	}
}

// The path of an endpoint is a mistake: each request would be answered 404. A path of a proxy is not.
func TestURLWithPath(t *testing.T) {
	for u, valid := range map[string]bool{
		"https://api.example": true, "https://api.example/": true, "https://proxy.example/deepaffects/": true,
		"https://proxy.example/transactions": true, "https://proxy.example/v1/status": true,
		"https://api.example" + jobstatus.Path:                                 false,
		"https://api.example" + jobstatus.Path + "/":                           false,
		"https://api.example" + strings.ToUpper(jobstatus.Path):                false,
		"https://proxy.example/deepaffects" + jobstatus.Path:                   false,
		"https://api.example/transaction/generic/api/v1/async":                 false,
		"https://api.example/transaction/generic/api/v1/":                      false,
		"https://api.example/transaction":                                      false,
		"https://api.example/audio/generic/api/v1/async/asr":                   false,
		"https://api.example/audio/generic/api/v2/async/analytics/interaction": false,
		"https://api.example/transaction%2Fgeneric/api/v1/async/status":        false,
	} {
		_, err := jobstatus.New(jobstatus.Config{URL: u, Transport: roundTrip(nil)})
		if (err == nil) != valid || err != nil && !strings.HasPrefix(err.Error(), "url: contains the path of an endpoint") {
			t.Errorf("%s: error %v", u, err)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	c := serve(t, say(200, sample))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				a := c.Status(t.Context(), key, "<REQUEST_ID>")
				if diff := cmp.Diff(sampleResult(), a.Result, equal); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
	wg.Wait()
}

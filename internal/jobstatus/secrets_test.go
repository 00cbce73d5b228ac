package jobstatus_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

const canary = "CANARY-of-what-was-said"

// withCanaries returns a payload with a canary in place of every text but its status words,
// and with the key in place of every error code.
func withCanaries(t *testing.T, doc []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		t.Fatal(err)
	}
	var put func(name string, v any) any
	put = func(name string, v any) any {
		switch v := v.(type) {
		case map[string]any:
			for name := range v {
				v[name] = put(name, v[name])
			}
		case []any:
			for i := range v {
				v[i] = put(name, v[i])
			}
		case string:
			switch name {
			case "status", "request_id":
			case "error_code", "errorcode":
				return "x." + key + ".y"
			default:
				return canary + key
			}
		}
		return v
	}
	out, err := json.Marshal(put("", v))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestNothingSaidShows(t *testing.T) {
	for name, want := range bodies() {
		doc := withCanaries(t, payload(t, name))
		for what, doc := range map[string]string{
			"whole": doc, "truncated": doc[:len(doc)-1], "twice": doc + doc,
			"broken":    strings.Replace(doc, canary, canary+"\xff", 1),
			"duplicate": `{"` + canary + `": 1, "` + canary + `": 2}`,
			"unquoted":  `{"status": ` + canary + `}`,
			"number":    `{"status": 1` + canary + `}`,
		} {
			for _, status := range []int{200, 202, 302, 400, 401, 404, 500} {
				t.Run(fmt.Sprint(name, " ", what, " ", status), func(t *testing.T) {
					c := serve(t, say(status, doc,
						"Location", "/"+key, "Retry-After", key, "WWW-Authenticate", key, "X-Key", key))
					a := c.Status(t.Context(), key, want.RequestID)
					checkSecret(t, a, key, canary, url.QueryEscape(key))
					if a.State == jobstatus.Failed && a.ErrorCode != jobstatus.OtherErrorCode {
						t.Errorf("error code %q, want %q", a.ErrorCode, jobstatus.OtherErrorCode)
					}
				})
			}
		}
	}
}

// An error code that does not contain the key is kept, whatever the key is.
func TestErrorCodeWithoutTheKey(t *testing.T) {
	doc := string(payload(t, "failed.json"))
	for _, k := range []string{"", key} {
		a := serve(t, say(200, doc)).Status(t.Context(), k, bodies()["failed.json"].RequestID)
		if a.ErrorCode != "com.deepaffects.BadRequest" {
			t.Errorf("key %q: error code %q", k, a.ErrorCode)
		}
	}
}

// net/http quotes responses that it rejects in its errors.
func TestNothingShowsOfWhatIsNotHTTP(t *testing.T) {
	for _, raw := range []string{
		canary + key + "\r\n\r\n",
		"HTTP/1.1 " + canary + key + "\r\n\r\n",
		"HTTP/9.9 200 " + canary + key + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + canary + key + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\n " + canary + key + ": 1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: " + canary + key + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2" + canary + key + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + canary + key + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + canary + key + "\r\n",
		"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://[" + canary + key + "\r\n\r\n",
		"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: :" + canary + key + "%zz\r\n\r\n",
	} {
		a := ask(t, serve(t, hijack(t, raw, false)))
		if a.Outcome != jobstatus.Network && a.Outcome != jobstatus.Malformed {
			t.Errorf("%q: %+v, want outcome network or malformed", raw, a)
		}
		checkSecret(t, a, key, canary)
	}
}

// Any error of a transport may quote the URL or the response.
func TestNothingShowsOfTransportErrors(t *testing.T) {
	for _, err := range []error{
		errors.New(canary + key),
		&url.Error{Op: "Get", URL: "http://x/?apikey=" + key, Err: errors.New(canary)},
		fmt.Errorf("wrapped: %w", &url.Error{Op: "Get", URL: "http://x/?apikey=" + key, Err: errors.New(canary)}),
	} {
		fails := roundTrip(func(*http.Request) (*http.Response, error) { return nil, err })
		checkSecret(t, ask(t, client(t, "http://api.invalid", fails)), key, canary)
	}
}

// Invalid URLs contain the key.
func TestKeysOfAnyForm(t *testing.T) {
	s := httptest.NewServer(say(401, ""))
	s.Close() // the error of net/http quotes the URL
	for _, k := range []string{"a b&c=d", "%zz", "ü\x00\n", strings.Repeat("k", 1<<16)} {
		a := client(t, s.URL, transport(t, nil)).Status(t.Context(), k, requestID)
		if a.Outcome != jobstatus.Network {
			t.Errorf("%.20q: %+v, want outcome network", k, a)
		}
		checkSecret(t, a, k, url.QueryEscape(k))
	}
}

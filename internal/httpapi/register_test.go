package httpapi_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
)

func TestRegister(t *testing.T) {
	const several = "several accounts are configured; name one (a, b)"
	const holdsKey = `{"error":"an entry contains a key or token; send the request ID of the job"}`
	const remedy = `; write a request ID as {\"request_id\": \"…\"}, and send a file with --data-binary @FILE`
	x := map[string][]string{"a": {"x"}}
	for name, test := range map[string]struct {
		accounts []string // default: one
		query    string
		body     string
		status   int // default: 202
		want     string
		tracked  map[string][]string // by account, newest first
	}{
		"one object": {
			body: `{"request_id":"x","api":"/audio/generic/api/v1/async/asr"}`,
			want: `{"tracked":1,"known":0}`, tracked: map[string][]string{"a": {"x"}},
		},
		"array": {
			body: `["x",{"request_id":"y"}]`,
			want: `{"tracked":2,"known":0}`, tracked: map[string][]string{"a": {"y", "x"}},
		},
		"lines": {
			body: "{\"request_id\":\"x\"}\n\"y\"\n",
			want: `{"tracked":2,"known":0}`, tracked: map[string][]string{"a": {"y", "x"}},
		},
		"twice": {
			body: `["x","y","x"]`, want: `{"tracked":2,"known":1}`,
			tracked: map[string][]string{"a": {"y", "x"}},
		},
		"a number": {
			body: `{"request_id":12345}`, want: `{"tracked":1,"known":0}`, tracked: map[string][]string{"a": {"12345"}},
		},
		"byte order mark": {
			body: "\ufeff\"x\"", want: `{"tracked":1,"known":0}`, tracked: map[string][]string{"a": {"x"}},
		},
		"none": {body: `[]`, want: `{"tracked":0,"known":0}`},
		"the only account is named": {
			query: "?account=a", body: `"x"`,
			want: `{"tracked":1,"known":0}`, tracked: map[string][]string{"a": {"x"}},
		},
		"account of the query": {
			accounts: []string{"a", "b"}, query: "?account=b", body: `"x"`,
			want: `{"tracked":1,"known":0}`, tracked: map[string][]string{"b": {"x"}},
		},
		"account of an entry wins": {
			accounts: []string{"a", "b"}, query: "?account=b",
			body: `["x",{"request_id":"y","account":"a"},{"request_id":"x","account":"a"}]`,
			want: `{"tracked":3,"known":0}`, tracked: map[string][]string{"a": {"x", "y"}, "b": {"x"}},
		},
		"every entry names its account": {
			accounts: []string{"a", "b"}, body: `[{"request_id":"x","account":"a"},{"request_id":"y","account":"b"}]`,
			want: `{"tracked":2,"known":0}`, tracked: map[string][]string{"a": {"x"}, "b": {"y"}},
		},

		"bad entry": {
			body: `["x","y",{"request_id":"z\n"}]`, status: 400,
			want: `{"error":"entry 3: the request ID contains a non-printable character"}`,
		},
		"key as ID":    {body: `["x","the-key"]`, status: 400, want: holdsKey},
		"key as API":   {body: `{"request_id":"x","api":"The-Key"}`, want: `{"tracked":1,"known":0}`, tracked: x},
		"key as label": {body: `{"request_id":"x","labels":{"team":"the-key"}}`, status: 400, want: holdsKey},
		"key in name":  {body: `{"request_id":"x","labels":{"the-key":""}}`, status: 400, want: holdsKey},
		"unknown field": {
			body: `["x",{"request_id":"y","audio_secs":7}]`, status: 400,
			want: `{"error":"entry 2: unknown field \"audio_secs\"; ` +
				`the fields are request_id, api, audio_seconds, priority, submitted_at, labels, account"}`,
		},
		"placeholder": {
			body: `{"request_id":"…"}`, status: 400,
			want: `{"error":"entry 1: the request ID is a placeholder of the documentation; put the ID of a job in its place"}`,
		},
		"submitted long ago": {
			body: `["x",{"request_id":"y","submitted_at":"1900-01-01T00:00:00Z"}]`, status: 400,
			want: `{"error":"entry 2: submitted_at is more than a year ago, or more than a day in the future"}`,
		},
		"not JSON": {body: "x", status: 400, want: `{"error":"entry 1: invalid JSON at byte 0` + remedy + `"}`},
		"empty": {
			status: 400,
			want:   `{"error":"no job: send an object with request_id, an array of such objects, or one per line"}`,
		},
		"unknown account of an entry": {
			body: `["x",{"request_id":"y","account":"b"}]`, status: 400,
			want: `{"error":"entry 2: account: no such account (a)"}`,
		},
		"unknown account of the query": {
			query: "?account=b", body: `"x"`, status: 400, want: `{"error":"account: no such account (a)"}`,
		},
		"unknown account of the query that no entry needs": {
			query: "?account=b", body: `{"request_id":"x","account":"a"}`, status: 400,
			want: `{"error":"account: no such account (a)"}`,
		},
		"no account": {
			accounts: []string{"a", "b"}, body: `[{"request_id":"x","account":"a"},"y"]`, status: 400,
			want: `{"error":"entry 2: account: ` + several + `"}`,
		},
		"malformed query": {query: "?account=%zz", body: `"x"`, status: 400, want: `{"error":"malformed query"}`},

		"too many entries": {
			body: strings.Repeat(`"x"`, 100_001), status: 413,
			want: `{"error":"too many entries: more than 100000; send them in parts"}`,
		},
		"too large": {
			body: `["x"` + strings.Repeat(" ", 32<<20) + `]`, status: 413,
			want: `{"error":"the body has more than 33554432 bytes; send it in parts"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.accounts == nil {
				test.accounts = []string{"a"}
			}
			if test.status == 0 {
				test.status = http.StatusAccepted
			}
			m := watch(t, nil, test.accounts...)
			check(t, m.do("POST", "/api/v1/jobs"+test.query, test.body), test.status, test.want)
			for _, account := range test.accounts {
				if diff := cmp.Diff(test.tracked[account], m.tracked(t, account)); diff != "" {
					t.Errorf("account %s (-want +got):\n%s", account, diff)
				}
			}
		})
	}
}

func TestRegisterIsIdempotent(t *testing.T) {
	m := watch(t, nil, "a")
	check(t, m.do("POST", "/api/v1/jobs", `["x","y"]`), 202, `{"tracked":2,"known":0}`)
	check(t, m.do("POST", "/api/v1/jobs", `["z","y","x"]`), 202, `{"tracked":1,"known":2}`)
}

func TestRegisterManyAtOnce(t *testing.T) {
	most := longtest.Size(20_000, 100_000)
	ids := make([]string, most)
	for i := range ids {
		ids[i] = fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
	}
	body, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	m := watch(t, nil, "a")
	check(t, m.do("POST", "/api/v1/jobs", string(body)), 202, fmt.Sprintf(`{"tracked":%d,"known":0}`, most))
	check(t, m.do("POST", "/api/v1/jobs", string(body)), 202, fmt.Sprintf(`{"tracked":0,"known":%d}`, most))
	if got := len(m.tracked(t, "a")); got != most {
		t.Errorf("%d jobs are tracked", got)
	}
}

func TestRegisterRefusesContentEncoding(t *testing.T) {
	m := watch(t, nil, "a")
	w := m.do("POST", "/api/v1/jobs", `"x"`, "Content-Encoding", "gzip")
	check(t, w, 415, `{"error":"send the body without Content-Encoding"}`)
	if got := w.Header().Get("Accept-Encoding"); got != "identity" {
		t.Errorf("Accept-Encoding is %q", got)
	}
	check(t, m.do("POST", "/api/v1/jobs", `"x"`, "Content-Encoding", "Identity"), 202, `{"known":0,"tracked":1}`)
}

func TestRegisterIncompleteBody(t *testing.T) {
	m := watch(t, nil, "a")
	body := io.MultiReader(strings.NewReader(`["x",`), iotest.ErrReader(errors.New("secret")))
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest("POST", "/api/v1/jobs", body))
	check(t, w, 400, `{"error":"the body is incomplete"}`)
	if ids := m.tracked(t, "a"); ids != nil {
		t.Errorf("%q are tracked", ids)
	}
}

// An invalid body may hold anything, so nothing of it may be quoted.
func TestRegisterKeepsSecrets(t *testing.T) {
	for _, body := range []string{
		`secret`, `"secret`, `["secret\u0000"]`, `{"request_id":["secret"]}`, `{"secret":1,"secret":2}`,
		`{"request_id":"x","submitted_at":"secret"}`, `{"request_id":"x","labels":{"secret":1}}`,
		`{"request_id":"x","account":"secret"}`, `["x"] secret`,
	} {
		m := watch(t, nil, "a")
		w := m.do("POST", "/api/v1/jobs", body)
		if w.Code != 400 {
			t.Errorf("%s: status %d", body, w.Code)
		}
		if text := w.Body.String() + m.log.String(); strings.Contains(text, "secret") {
			t.Errorf("%s is repeated: %s", body, text)
		}
		if log := m.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "level=DEBUG") {
			t.Errorf("%s: log %q, want one line for debugging", body, log)
		}
	}
}

func TestRegisterCrossSite(t *testing.T) {
	for name, test := range map[string]struct {
		method string
		header [2]string
		status int
	}{
		"another site":           {"POST", [2]string{"Sec-Fetch-Site", "cross-site"}, 403},
		"another origin":         {"POST", [2]string{"Origin", "https://evil.example"}, 403},
		"deleting":               {"DELETE", [2]string{"Sec-Fetch-Site", "cross-site"}, 403},
		"the same origin":        {"POST", [2]string{"Sec-Fetch-Site", "same-origin"}, 202},
		"typed into the address": {"GET", [2]string{"Sec-Fetch-Site", "cross-site"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			m := watch(t, nil, "a")
			target := "/api/v1/jobs"
			if test.method == "DELETE" {
				target += "/x"
			}
			w := m.do(test.method, target, `"y"`, test.header[:]...)
			if w.Code != test.status {
				t.Errorf("status %d, want %d", w.Code, test.status)
			}
			if test.status != 403 {
				return
			}
			check(t, w, 403, `{"error":"cross-site requests of browsers are refused"}`)
			if ids := m.tracked(t, "a"); ids != nil {
				t.Errorf("%q are tracked", ids)
			}
		})
	}
}

func FuzzRegister(f *testing.F) {
	f.Add([]byte(`{"request_id":"x","api":"asr","audio_seconds":1.5,
		"submitted_at":"9999-12-31T23:59:59-23:00","labels":{"team":"t"}}`), "")
	f.Add([]byte(`["x",{"request_id":"x","account":"b"}]`), "a")
	f.Add([]byte("\"x\"\n\"y\"\n"), "b")
	f.Add([]byte(`["x",{"account":"c","request_id":"y"}]`), "a")
	f.Add([]byte(`["..","a//b","%2F",7]`), "%zz")
	f.Fuzz(func(t *testing.T, body []byte, account string) {
		m := watch(t, nil, "a", "b")
		r := httptest.NewRequest("POST", "/api/v1/jobs", strings.NewReader(string(body)))
		r.URL.RawQuery = "account=" + account
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		jobs := len(m.tracked(t, "a")) + len(m.tracked(t, "b"))
		switch w.Code {
		case http.StatusAccepted:
			var answer struct {
				Tracked int `json:"tracked"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Tracked != jobs {
				t.Errorf("%d jobs are tracked, the answer is %s", jobs, w.Body)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			if jobs > 0 {
				t.Errorf("status %d, and %d jobs are tracked", w.Code, jobs)
			}
		default:
			t.Errorf("status %d", w.Code)
		}
		// Everything that was accepted can be shown.
		for _, account := range []string{"a", "b"} {
			if w := m.do("GET", "/api/v1/jobs?account="+account, ""); w.Code != http.StatusOK {
				t.Errorf("status %d for the list: %s", w.Code, w.Body)
			}
		}
	})
}

package httpapi_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// writers is the API over the account a with the jobs_token "jobs-a", and over b without one.
func writers(tb testing.TB, localWrites bool) (http.Handler, *collector.Collector) {
	tb.Helper()
	var configs []collector.Config
	for _, account := range []string{"a", "b"} {
		c := collector.DefaultConfig()
		c.Account, c.APIKey = account, key
		if account == "a" {
			c.JobsToken = "jobs-a"
		}
		c.RequestsPerMinute, c.RequestsPerDay = 0, 0
		configs = append(configs, c)
	}
	c, err := collector.New(configs, collector.Options{Transport: make(vendor)})
	if err != nil {
		tb.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	return httpapi.New(c, httpapi.NewLimits(), httpapi.NewOrigins(nil), log, httpapi.Options{LocalWrites: localWrites}), c
}

// Who writes needs the jobs_token of the account. Without one, everyone may write, or with local writes this machine.
func TestWriters(t *testing.T) {
	const other, local, local6, mapped = "192.0.2.1:1234", "127.0.0.1:1234", "[::1]:1234", "[::ffff:127.0.0.1]:1234"
	for _, tt := range []struct {
		name          string
		localWrites   bool
		client        string
		authorization string
		method, path  string
		body          string
		status        int
	}{
		{"no token", false, local, "", "POST", "/api/v1/jobs?account=a", `"x"`, 401},
		{"a wrong token", false, local, "Bearer jobs-x", "POST", "/api/v1/jobs?account=a", `"x"`, 401},
		{"another scheme", false, local, "Basic jobs-a", "POST", "/api/v1/jobs?account=a", `"x"`, 401},
		{"the token", false, other, "Bearer jobs-a", "POST", "/api/v1/jobs?account=a", `"x"`, 202},
		{"the token, local writes", true, other, "Bearer jobs-a", "POST", "/api/v1/jobs?account=a", `"x"`, 202},
		{"an account without a token", false, other, "", "POST", "/api/v1/jobs?account=b", `"x"`, 202},
		{"local writes, another machine", true, other, "", "POST", "/api/v1/jobs?account=b", `"x"`, 403},
		{"local writes, a client without an address", true, "@", "", "POST", "/api/v1/jobs?account=b", `"x"`, 403},
		{"local writes, the token of another account", true, other, "Bearer jobs-a", "POST", "/api/v1/jobs?account=b", `"x"`,
			403},
		{"the token of another account, no local writes", false, other, "Bearer jobs-a", "POST", "/api/v1/jobs?account=b",
			`"x"`, 403},
		{"an entry for another account than the token's", false, other, "Bearer jobs-a", "POST", "/api/v1/jobs?account=a",
			`["x", {"request_id": "y", "account": "b"}]`, 403},
		{"removal, the token of another account", false, local, "Bearer jobs-a", "DELETE", "/api/v1/jobs/old?account=b", "",
			403},
		{"local writes, this machine", true, local, "", "POST", "/api/v1/jobs?account=b", `"x"`, 202},
		{"local writes, this machine, IPv6", true, local6, "", "POST", "/api/v1/jobs?account=b", `"x"`, 202},
		{"local writes, this machine, IPv4 in IPv6", true, mapped, "", "POST", "/api/v1/jobs?account=b", `"x"`, 202},
		{"an entry for an account with a token", false, local, "", "POST", "/api/v1/jobs?account=b",
			`["x", {"request_id": "y", "account": "a"}]`, 401},
		{"before the body is read", true, other, "", "POST", "/api/v1/jobs?account=b", `{`, 403},
		{"removal, no token", false, local, "", "DELETE", "/api/v1/jobs/old?account=a", "", 401},
		{"removal, the token", true, other, "Bearer jobs-a", "DELETE", "/api/v1/jobs/old?account=a", "", 204},
		{"removal, local writes", true, other, "", "DELETE", "/api/v1/jobs/old?account=b", "", 403},
		{"reading needs none", true, other, "", "GET", "/api/v1/jobs?account=a", "", 200},
		{"nor does the status", true, other, "", "GET", "/api/v1/status", "", 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api, c := writers(t, tt.localWrites)
			for _, account := range c.Accounts() {
				if _, _, err := account.Register(submission.HTTP, []submission.Job{{RequestID: "old"}}); err != nil {
					t.Fatal(err)
				}
			}
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
			r.RemoteAddr = tt.client
			r.Header.Set("Authorization", tt.authorization)
			w := httptest.NewRecorder()
			api.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("%d %s, want %d", w.Code, w.Body, tt.status)
			}
			if asks := w.Header().Get("WWW-Authenticate") != ""; asks != (w.Code == 401) {
				t.Errorf("%d asks for a token: %t", w.Code, asks)
			}
			for _, account := range c.Accounts() {
				_, _, written := account.Job("x")
				_, _, left := account.Job("old")
				if tt.status >= 400 && (written || !left) {
					t.Errorf("%s: written although refused", account.Name())
				}
			}
		})
	}
}

// A refusal tells a wrong token from a missing one, and lists the accounts that the request may write, not others.
func TestRefusedWriters(t *testing.T) {
	const missing = `the jobs_token of account \"a\" is required`
	const wrong = `the bearer token of the request is not the jobs_token of account \"a\"`
	for _, tt := range []struct{ authorization, method, path, body, want, not string }{
		{"", "POST", "/api/v1/jobs?account=a", `"x"`, missing, "not the jobs_token"},
		{"Basic jobs-a", "POST", "/api/v1/jobs?account=a", `"x"`, missing, "not the jobs_token"},
		{"Bearer ", "DELETE", "/api/v1/jobs/x?account=a", "", missing, "not the jobs_token"},
		{"Bearer jobs-x", "POST", "/api/v1/jobs?account=a", `{"request_id":"x","account":"a"}`, wrong, "required"},
		{"Bearer jobs-x", "DELETE", "/api/v1/jobs/x?account=a", "", wrong, "required"},
		{"", "POST", "/api/v1/jobs", `"x"`, "several accounts are configured; name one (b)", "(a"},
		{"Bearer jobs-a", "POST", "/api/v1/jobs", `"x"`, "several accounts are configured; name one (a)", "b)"},
		{"Bearer jobs-a", "POST", "/api/v1/jobs?account=c", `"x"`, "no such account (a)", "b)"},
		{"", "DELETE", "/api/v1/jobs/x", "", "several accounts are configured; name one (b)", "(a"},
		{"", "GET", "/api/v1/jobs", "", "several accounts are configured; name one (a, b)", "token"},
	} {
		api, _ := writers(t, false)
		r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
		r.Header.Set("Authorization", tt.authorization)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		text := w.Body.String()
		if w.Code < 400 || !strings.Contains(text, tt.want) || strings.Contains(text, tt.not) {
			t.Errorf("%s %s with %q: %d %s, want %s, and not %s", tt.method, tt.path, tt.authorization, w.Code, text, tt.want,
				tt.not)
		}
	}
}

// A client of a proxy on this machine is not on this machine.
func TestLocalWritersBehindAProxy(t *testing.T) {
	for _, header := range []string{"", "Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"} {
		api, _ := writers(t, true)
		r := httptest.NewRequest("POST", "/api/v1/jobs?account=b", strings.NewReader(`"x"`))
		r.RemoteAddr = "127.0.0.1:1234"
		want := http.StatusAccepted
		if header != "" {
			r.Header.Set(header, "x")
			want = http.StatusForbidden
		}
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("with the header %q: %d %s, want %d", header, w.Code, w.Body, want)
		}
	}
}

// A request that names its accounts in the body, which is not read without a token, is not told the name of another.
func TestWrongTokenOfSeveral(t *testing.T) {
	a, b := collector.DefaultConfig(), collector.DefaultConfig()
	a.Account, a.APIKey, a.JobsToken = "a", "key-a", "jobs-a"
	b.Account, b.APIKey, b.JobsToken = "b", "key-b", "jobs-b"
	c, err := collector.New([]collector.Config{a, b}, collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	api := httpapi.New(c, httpapi.NewLimits(), httpapi.NewOrigins(nil), slog.New(slog.DiscardHandler), httpapi.Options{})
	for query, want := range map[string]string{
		"":           "the jobs_token of an account is required",
		"?account=b": `the jobs_token of account \"b\" is required`,
	} {
		w := httptest.NewRecorder()
		body := strings.NewReader(`{"request_id":"x","account":"b"}`)
		api.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/api/v1/jobs"+query, body))
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q: HTTP %d, %s, want %s", query, w.Code, w.Body, want)
		}
	}
}

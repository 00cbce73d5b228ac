package httpapi_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

func serviceConfig(account, address, jobsToken, webhookToken string) collector.Config {
	c := collector.DefaultConfig()
	c.Account, c.APIKey = account, "key-of-"+account
	c.ServiceAddress, c.JobsToken, c.WebhookToken = address, jobsToken, webhookToken
	return c
}

// send sends a request on a new connection and returns HTTP status and body; 0 if there is
// no response. A token with a space is a whole Authorization header.
func send(t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" && !strings.Contains(token, " ") {
		token = "Bearer " + token
	}
	r.Header.Set("Authorization", strings.TrimPrefix(token, " "))
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestListeners(t *testing.T) {
	shared, other := freeport.Address(t), freeport.Address(t)
	configs := []collector.Config{
		serviceConfig("a", shared, "jobs-a", "hooks-a"),
		serviceConfig("b", shared, "jobs-b", ""),
		serviceConfig("c", other, "", "hooks-c"),
		serviceConfig("d", "", "", "hooks-d"),
	}
	log := slog.New(slog.DiscardHandler)
	c, err := collector.New(configs, collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := httpapi.NewListeners(c, httpapi.NewLimits(), log)
	change, err := l.Prepare(configs)
	if err != nil {
		t.Fatal(err)
	}
	change.Apply(t.Context())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	defer l.Stop(ctx)

	const hook = `{"request_id":"x","response":null}`
	for _, tt := range []struct {
		name, method, address, path, token, body string
		code                                     int
		has                                      string
	}{
		{"register", "POST", shared, "/api/v1/jobs", "jobs-a", `{"request_id":"1"}`, 202, `{"tracked":1,"known":0}`},
		{
			"register with the other account's token", "POST", shared, "/api/v1/jobs", "jobs-b", `["2","3"]`,
			202, `{"tracked":2,"known":0}`,
		},
		{
			"an account that is not the token's", "POST", shared, "/api/v1/jobs", "jobs-b",
			`{"request_id":"4","account":"a"}`, 400, "account: no such account (b)",
		},
		{"list", "GET", shared, "/api/v1/jobs", "jobs-a", "", 200, `"request_id":"1"`},
		{"another account's job", "GET", shared, "/api/v1/jobs/1", "jobs-b", "", 404, "no such job"},
		{"stop tracking", "DELETE", shared, "/api/v1/jobs/3", "jobs-b", "", 204, ""},
		{"no token", "POST", shared, "/api/v1/jobs", "", `["5"]`, 401,
			`{"error":"the jobs_token of an account at this address is required`},
		{"a scheme in other letters", "POST", shared, "/api/v1/jobs", "bearer jobs-b", `["2"]`, 202, `"known":1`},
		{"another scheme", "POST", shared, "/api/v1/jobs", "Basic jobs-a", `["5"]`, 401, "jobs_token"},
		{"no scheme", "POST", shared, "/api/v1/jobs", " jobs-a", `["5"]`, 401, "jobs_token"},
		{"a wrong token", "POST", shared, "/api/v1/jobs", "jobs-x", `["5"]`, 401,
			"token of the request is not the jobs_token"},
		{"a webhook's token", "POST", shared, "/api/v1/jobs", "hooks-a", `["5"]`, 401, "jobs_token"},
		{"no registration without a token of one's own", "POST", other, "/api/v1/jobs", "", `["5"]`, 401, "jobs_token"},
		{"a token of another address", "POST", other, "/api/v1/jobs", "jobs-a", `["5"]`, 401, "jobs_token"},
		{"a webhook", "POST", shared, "/webhook/hooks-a", "", hook, 200, "adopted"},
		{"a webhook elsewhere", "POST", other, "/webhook/hooks-c", "", hook, 200, "adopted"},
		{"a webhook at the wrong address", "POST", other, "/webhook/hooks-a", "", hook, 404, "404"},
		{"a webhook of the main port", "POST", other, "/webhook/hooks-d", "", hook, 404, "404"},
		{"a webhook below a prefix", "POST", shared, "/da/webhook/hooks-a", "", hook, 404, "404"},
		{"a webhook to the token", "POST", shared, "/hooks-a", "", hook, 404, "404"},
		{"a webhook to nothing", "POST", shared, "/", "", hook, 404, "404"},
		{"nothing else", "GET", shared, "/api/v1/status", "jobs-a", "", 404, `{"error":"404`},
		{"no metrics", "GET", shared, "/metrics", "jobs-a", "", 404, "404"},
	} {
		code, body := send(t, tt.method, "http://"+tt.address+tt.path, tt.token, tt.body)
		if code != tt.code || !strings.Contains(body, tt.has) {
			t.Errorf("%s: %d %q, want %d %q", tt.name, code, body, tt.code, tt.has)
		}
	}
	for account, want := range map[string][2]int{"a": {1, 1}, "b": {1, 0}, "c": {0, 1}, "d": {0, 0}} {
		a, err := c.Account(account)
		if err != nil {
			t.Fatal(err)
		}
		s := a.Snapshot()
		if got := [2]int{s.Counts[jobs.Pending], s.Counts[jobs.Completed]}; got != want {
			t.Errorf("account %s has %v pending and completed jobs, want %v", account, got, want)
		}
		if n := webhooks(s, jobs.WebhookUnauthorized); account == "a" && n != 3 {
			t.Errorf("%v of 3 near misses are counted", n)
		}
	}

	// An address that cannot be bound changes nothing; then one is replaced by another.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	third := freeport.Address(t)
	_, err = l.Prepare([]collector.Config{
		serviceConfig("a", third, "", "hooks-a"), serviceConfig("b", taken.Addr().String(), "", ""),
	})
	if err == nil || !strings.Contains(err.Error(), `account "b": service_address: `) {
		t.Errorf("address in use: %v", err)
	}
	if code, _ := send(t, "POST", "http://"+third+"/webhook/x", "", ""); code != 0 {
		t.Errorf("listens at an address of a refused configuration: %d", code)
	}
	configs = []collector.Config{serviceConfig("a", third, "", "hooks-a"), configs[1]}
	if change, err = l.Prepare(configs); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(ctx, configs); err != nil {
		t.Fatal(err)
	}
	change.Apply(ctx)
	for _, tt := range []struct {
		address, path, token string
		code                 int
	}{
		{third, "/webhook/hooks-a", "", 200},
		{shared, "/webhook/hooks-a", "", 404},
		{shared, "/api/v1/jobs", "jobs-b", 202},
		{other, "/webhook/hooks-c", "", 0},
	} {
		body := hook
		if tt.token != "" {
			body = `["6"]`
		}
		if code, text := send(t, "POST", "http://"+tt.address+tt.path, tt.token, body); code != tt.code {
			t.Errorf("after the change, %s: %d %q, want %d", tt.path, code, text, tt.code)
		}
	}
}

// An address that overlaps with one that is served cannot be bound before that is free, and the error says so.
func TestOverlappingAddress(t *testing.T) {
	_, port, _ := net.SplitHostPort(freeport.Address(t))
	configs := []collector.Config{serviceConfig("a", "127.0.0.1:"+port, "", "hooks")}
	c, err := collector.New(configs, collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := httpapi.NewListeners(c, httpapi.NewLimits(), slog.New(slog.DiscardHandler))
	change, err := l.Prepare(configs)
	if err != nil {
		t.Fatal(err)
	}
	change.Apply(t.Context())
	defer l.Stop(t.Context())
	_, err = l.Prepare([]collector.Config{serviceConfig("a", "localhost:"+port, "", "hooks")})
	want := `account "a": service_address: localhost:` + port + " overlaps with 127.0.0.1:" + port +
		", where this process listens until a change succeeds; choose another port, or restart: "
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s…", err, want)
	}
}

// An address that is no longer served is free at once, even if serving has only just begun.
func TestAddressIsFreeAgain(t *testing.T) {
	configs := []collector.Config{serviceConfig("a", freeport.Address(t), "", "hooks")}
	c, err := collector.New(configs, collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := httpapi.NewListeners(c, httpapi.NewLimits(), slog.New(slog.DiscardHandler))
	for range 500 {
		change, err := l.Prepare(configs)
		if err != nil {
			t.Fatal(err)
		}
		change.Apply(t.Context())
		if change, err = l.Prepare(nil); err != nil {
			t.Fatal(err)
		}
		change.Apply(t.Context())
	}
}

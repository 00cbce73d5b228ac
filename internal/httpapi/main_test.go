package httpapi_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

const key = "the-key"

// vendor is an API that knows the status of some jobs.
type vendor = simulator.Bodies

// monitor is the API over a collector that is not running.
type monitor struct {
	http.Handler
	*collector.Collector
	limits *httpapi.Limits
	log    *strings.Builder
}

// watch returns a monitor of accounts without a quota.
func watch(tb testing.TB, api vendor, accounts ...string) monitor {
	tb.Helper()
	var configs []collector.Config
	for _, name := range accounts {
		config := collector.DefaultConfig()
		config.Account, config.APIKey = name, key
		config.RequestsPerMinute, config.RequestsPerDay = 0, 0
		config.JobLabels = []string{"team"}
		configs = append(configs, config)
	}
	return watchConfigs(tb, api, configs)
}

func watchConfigs(tb testing.TB, api vendor, configs []collector.Config) monitor {
	tb.Helper()
	c, err := collector.New(configs, collector.Options{Transport: api})
	if err != nil {
		tb.Fatal(err)
	}
	log := new(strings.Builder)
	handler := slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})
	limits := httpapi.NewLimits()
	return monitor{httpapi.New(c, limits, httpapi.NewOrigins(nil), slog.New(handler), httpapi.Options{Version: "1.2.3"}),
		c, limits, log}
}

// do sends a request. A header is a name and a value.
func (m monitor) do(method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if len(header) == 2 {
		r.Header.Set(header[0], header[1])
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	return w
}

// tracked returns the IDs that an account tracks, newest first.
func (m monitor) tracked(tb testing.TB, account string) []string {
	tb.Helper()
	a, err := m.Account(account)
	if err != nil {
		tb.Fatal(err)
	}
	var ids []string
	for after := ""; ; {
		page, _ := a.Jobs(jobs.Filter{}, after, 1000)
		for _, j := range page.Jobs {
			ids = append(ids, j.RequestID)
		}
		if after = page.Next; after == "" {
			return ids
		}
	}
}

// check checks the status, the JSON (empty: no body) and the common headers of a response.
func check(tb testing.TB, w *httptest.ResponseRecorder, status int, want string) {
	tb.Helper()
	if w.Code != status {
		tb.Errorf("status %d, want %d; body: %s", w.Code, status, w.Body)
	}
	headers := map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Type": "application/json",
	}
	if want == "" {
		delete(headers, "Content-Type")
		if w.Body.Len() > 0 {
			tb.Errorf("body %s, want none", w.Body)
		}
	} else if diff := cmp.Diff(decode(tb, want), decode(tb, w.Body.String())); diff != "" {
		tb.Errorf("body (-want +got):\n%s", diff)
	}
	for name, value := range headers {
		if got := w.Header().Values(name); len(got) != 1 || got[0] != value {
			tb.Errorf("%s is %q, want %q", name, got, value)
		}
	}
}

func decode(tb testing.TB, text string) any {
	tb.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		tb.Fatalf("%v in %s", err, text)
	}
	return v
}

package collector_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// nowhere is an API that knows no job.
type nowhere struct{ asked []string }

func (n *nowhere) RoundTrip(r *http.Request) (*http.Response, error) {
	n.asked = append(n.asked, r.URL.Query().Get("request_id"))
	w := httptest.NewRecorder()
	w.WriteHeader(http.StatusNotFound)
	return w.Result(), nil
}

// A pattern that matches the file of a key or token of any account does not make it a job.
func TestKeysAreNoRequestIDs(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.key": "canary-key-a\n", "b.key": "canary-key-b\n",
		"ids": "an-id\n", "url.token": "canary-url-token\n", "jobs.token": "canary-jobs-token\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, b := collector.DefaultConfig(), collector.DefaultConfig()
	a.Account, a.APIKeyFile = "a", filepath.Join(dir, "a.key")
	a.RequestIDFiles, a.RequestIDs = []string{filepath.Join(dir, "*")}, []string{"Canary-Key-B"}
	b.Account, b.APIKeyFile = "b", filepath.Join(dir, "b.key")
	b.WebhookToken = "an-id" // too short to be told from other words
	b.RequestIDURLTokenFile, b.JobsToken = filepath.Join(dir, "url.token"), "canary-jobs-token"
	var log strings.Builder
	api := new(nowhere)
	c, err := collector.New([]collector.Config{a, b}, collector.Options{
		Logger: slog.New(slog.NewTextHandler(&log, nil)), Transport: api,
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Once(t.Context()) // fails, since the API knows no job
	if len(api.asked) != 1 || api.asked[0] != "an-id" {
		t.Errorf("polled %q", api.asked)
	}
	account, err := c.Account("a")
	if err != nil {
		t.Fatal(err)
	}
	s := account.Snapshot()
	if n := s.Totals.Counter(jobs.SourceErrors); len(s.Jobs) != 1 || n != 5 {
		t.Errorf("%d jobs and %v errors, want 1 and 5", len(s.Jobs), n)
	}
	if shown := strings.ToLower(log.String()); strings.Contains(shown, "canary") ||
		strings.Count(shown, "a key or token is listed") != 2 {
		t.Errorf("logged:\n%s", log.String())
	}
}

package statuspage_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/statuspage"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

const (
	completed = `{"status":"Completed","response":{"response":{
		"confidence":0.756,"num_speakers":2,"transcript":"spoken","words":[
		{"word":"spoken","start":0,"end":0.5,"confidence":1,"speaker_id":"0"},
		{"word":"spoken","start":1,"end":60.5,"confidence":0.5,"speaker_id":"1"}]}}}`
	empty  = `{"status":"Completed"}`
	failed = `{"status":"Failed","response":{"response":{"fault":{
		"fault_string":"spoken","detail":{"error_code":"com.deepaffects.BadRequest"}}}}}`
	running = `{"status":"Running"}`
)

// vendor is an API with the response for each job that it knows.
type vendor = simulator.Bodies

// config is an account with its defaults, its key and a job label.
func config(account string) collector.Config {
	c := collector.DefaultConfig()
	c.Account, c.APIKey = account, fmt.Sprintf("the-key-of-%x", account)
	c.JobLabels = []string{"team"}
	return c
}

func unlimited(account string) collector.Config {
	c := config(account)
	c.RequestsPerMinute, c.RequestsPerDay = 0, 0
	return c
}

func watch(tb testing.TB, api http.RoundTripper, configs ...collector.Config) *collector.Collector {
	tb.Helper()
	return watchIn(tb, "", api, configs...)
}

// watchIn opens a collector on the state in a directory. One that has polled once is closed: open another to poll
// again.
func watchIn(
	tb testing.TB, directory string, api http.RoundTripper, configs ...collector.Config,
) *collector.Collector {
	tb.Helper()
	c, err := collector.New(configs, collector.Options{Transport: api, StateDirectory: directory})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func track(tb testing.TB, c *collector.Collector, account string, jobs ...submission.Job) {
	tb.Helper()
	a, err := c.Account(account)
	if err != nil {
		tb.Fatal(err)
	}
	if _, _, err := a.Register(submission.HTTP, jobs); err != nil {
		tb.Fatal(err)
	}
}

// jobs returns jobs with these IDs.
func jobs(ids ...string) []submission.Job {
	var jobs []submission.Job
	for _, id := range ids {
		jobs = append(jobs, submission.Job{RequestID: id})
	}
	return jobs
}

// numbered returns n IDs.
func numbered(prefix string, n int) []string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s%02d", prefix, i))
	}
	return ids
}

func get(c *collector.Collector, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	statuspage.New(c, statuspage.Options{TelemetryPath: "/metrics", Version: "1.2.3"}).ServeHTTP(w,
		httptest.NewRequest(method, target, nil))
	return w
}

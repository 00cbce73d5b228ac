package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/configfile"
)

// What --once sends is remembered: by another --once, and by the service. It tells its progress and why it ends.
func TestOnceKeepsTheQuota(t *testing.T) {
	var asked atomic.Int64
	status := http.StatusOK
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(status)
		fmt.Fprint(w, `{"status": "Running"}`)
	}))
	defer api.Close()
	t.Chdir(t.TempDir()) // the default of --storage.path is relative to it
	config := writeFile(t, "config.toml", fmt.Sprintf("[[inputs.deepaffects]]\nurl = %q\napi_key = \"key\"\n"+
		"request_ids = [\"a\", \"b\", \"c\", \"d\"]\nrequests_per_day = 3\nrequests_per_minute = 0\n", api.URL))
	once := func() (logs string, err error) {
		var stdout, stderr bytes.Buffer
		log := slog.New(slog.NewTextHandler(&stderr, nil))
		err = run(parse(t, "--once", "--config.file="+config), &stdout, log)
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("more than a line: %v", err)
		}
		return stderr.String(), err
	}
	logs, err := once()
	if err != nil || asked.Load() != 3 {
		t.Errorf("%d requests, want 3; %v", asked.Load(), err)
	}
	for _, line := range []string{"Polling each unfinished job once", "jobs_left=1", "answered=3"} {
		if !strings.Contains(logs, line) {
			t.Errorf("%q is not in the log:\n%s", line, logs)
		}
	}
	_, err = once()
	if !errors.Is(err, collector.ErrNothingPolled) || !strings.Contains(err.Error(), "the quota is used up until") {
		t.Errorf("without quota: %v", err)
	}
	accounts, err := loadConfig(config, configfile.Load, discard)
	if err != nil {
		t.Fatal(err)
	}
	service, err := collector.New(accounts, collector.Options{StateDirectory: defaultStorage})
	if err != nil {
		t.Fatal(err)
	}
	if day := service.Accounts()[0].Snapshot().Day; day.Used != 3 {
		t.Errorf("the service counts %v requests", day.Used)
	}
	_, err = once()
	const inUse = "--once: --storage.path: another process uses data; stop it, or choose another directory; " +
		"if it is the exporter, it polls these jobs already: scrape it"
	if fmt.Sprint(err) != inUse {
		t.Errorf("while the service runs: %v, want %s", err, inUse)
	}
	service.Stop(t.Context())
	if asked.Load() != 3 {
		t.Errorf("%d requests, of 3", asked.Load())
	}
	// What was sent and refused is said to be so.
	status = http.StatusUnauthorized
	config = writeFile(t, "other.toml",
		fmt.Sprintf("[[inputs.deepaffects]]\naccount = \"other\"\nurl = %q\napi_key = \"other-key\"\nrequest_ids = [\"a\"]\n",
			api.URL))
	_, err = once()
	if want := "no request was answered with a state (1 sent); the last: unauthorized: the API answered HTTP 401"; err == nil ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("refused: %v", err)
	}
}

// That all jobs have ended is an answer, and costs no request.
func TestOnceWhenAllJobsHaveEnded(t *testing.T) {
	var asked atomic.Int64
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, `{"status": "Failed"}`)
	}))
	defer api.Close()
	dir := t.TempDir()
	config := writeFile(t, "config.toml",
		fmt.Sprintf("[[inputs.deepaffects]]\nurl = %q\napi_key = \"key\"\nrequest_ids = [\"a\"]\n", api.URL))
	for range 2 {
		var stdout bytes.Buffer
		err := run(parse(t, "--once", "--config.file="+config, "--storage.path="+dir), &stdout, discard)
		if want := `deepaffects_jobs{account="default",state="failed"} 1`; err != nil ||
			!strings.Contains(stdout.String(), want) {
			t.Errorf("%v, or without %s", err, want)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("%d requests about a job that ended at the first", asked.Load())
	}
}

// Jobs that the API does not know are no success, unless it knows another one.
func TestOnceOfUnknownJobs(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("request_id") != "known" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(w, `{"status": "Running"}`)
	}))
	defer api.Close()
	for ids, want := range map[string]string{
		`"a", "b"`: `account "default": the API knows none of the jobs; check their IDs`, `"a", "known"`: "",
	} {
		config := writeFile(t, "config.toml",
			fmt.Sprintf("[[inputs.deepaffects]]\nurl = %q\napi_key = \"key\"\nrequest_ids = [%s]\n", api.URL, ids))
		err := run(parse(t, "--once", "--config.file="+config, "--storage.path="+t.TempDir()), new(bytes.Buffer), discard)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", ids, err, want)
		}
	}
}

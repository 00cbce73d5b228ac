package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/configfile"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A plan names the jobs of the register, says why they are asked about, and asks
// nothing.
func TestPlan(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the API was called") }))
	defer api.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte(fmt.Sprintf("[[inputs.deepaffects]]\nurl = %q\napi_key = \"key\"\n", api.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := configfile.Load(config)
	if err != nil {
		t.Fatal(err)
	}
	c, err := collector.New(file.Accounts, collector.Options{StateDirectory: dir})
	if err != nil {
		t.Fatal(err)
	}
	account, err := c.Account("")
	if err != nil {
		t.Fatal(err)
	}
	jobs := []submission.Job{{RequestID: "fresh", AudioSeconds: 600}, {RequestID: "old", SubmittedAt: time.Now().Add(-20 * time.Hour)}}
	if _, _, err := account.Track(t.Context(), submission.HTTP, jobs); err != nil {
		t.Fatal(err)
	}
	defer c.Stop(t.Context()) // it goes on meanwhile
	var stdout bytes.Buffer
	if err := run(parse(t, "--plan", "--config.file="+config, "--storage.path="+dir), &stdout, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	out := stdout.String()
	for _, want := range []string{"Account default: the next 24 hours", "  fresh  ", "  old  ", "100 %", "likely to have ended", "left of the day's quota after them: ", " of 100"} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan lacks %q:\n%s", want, out)
		}
	}
	if old, fresh := strings.Index(out, "  old  "), strings.Index(out, "  fresh  "); old > fresh {
		t.Errorf("the old job comes later:\n%s", out)
	}
}

// Where there is no register, as with another working directory, an empty plan does
// not look as if there was nothing to do.
func TestPlanWithoutRegister(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte("[[inputs.deepaffects]]\napi_key = \"key\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, log bytes.Buffer
	storage := filepath.Join(dir, "elsewhere")
	err := run(parse(t, "--plan", "--config.file="+config, "--storage.path="+storage), &stdout, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), storage) {
		t.Errorf("%v, logged %q", err, log.String())
	}
	if _, err := os.Stat(storage); err == nil {
		t.Error("the directory was made")
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
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

// A plan lists the jobs in the store with the reason for each poll, and sends no request.
func TestPlan(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the API was called")
	}))
	defer api.Close()
	dir := t.TempDir()
	const table = "[[inputs.deepaffects]]\nurl = %q\napi_key = %q\n"
	config := writeFile(t, "config.toml", fmt.Sprintf(table, api.URL, "key"))
	without := writeFile(t, "without.toml", fmt.Sprintf(table, api.URL, "${UNSET}"))
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
	jobs := []submission.Job{
		{RequestID: "fresh", AudioSeconds: 600},
		{RequestID: "old", SubmittedAt: time.Now().Add(-20 * time.Hour)},
	}
	if _, _, err := account.Register(submission.HTTP, jobs); err != nil {
		t.Fatal(err)
	}
	defer c.Stop(t.Context())                          // it is running during the plan
	for _, config := range []string{config, without} { // a plan needs no key
		checkPlan(t, config, dir)
	}
}

func checkPlan(t *testing.T, config, dir string) {
	t.Helper()
	var stdout bytes.Buffer
	if err := run(parse(t, "--plan", "--config.file="+config, "--storage.path="+dir), &stdout, discard); err != nil {
		t.Fatal(err)
	}
	out := stdout.String()
	if strings.Contains(out, "e+") {
		t.Errorf("the plan has numbers with exponents:\n%s", out)
	}
	for _, want := range []string{
		"Account default: the next 24 hours", "  fresh  ", "  old  ", "100 %", "likely to have finished",
		"daily quota left after them: ", " of 100", "FINISH EXPECTED", "LATE AFTER",
		"One poll of each of the 2 due jobs takes 1 minute at this quota.",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan lacks %q:\n%s", want, out)
		}
	}
	if old, fresh := strings.Index(out, "  old  "), strings.Index(out, "  fresh  "); old > fresh {
		t.Errorf("the old job is not first:\n%s", out)
	}
}

// A plan that is interrupted leaves no copy of the store behind.
func TestPlanInterrupted(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	t.Setenv("TMP", temporary)
	account := collector.DefaultConfig()
	account.APIKey = "key"
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var out bytes.Buffer
	err := plan(ctx, []collector.Config{account}, t.TempDir(), &out, discard)
	left, readErr := os.ReadDir(temporary)
	if !errors.Is(err, context.Canceled) || readErr != nil || len(left) > 0 || out.Len() > 0 {
		t.Errorf("%v; %v are left, %v; printed %q", err, left, readErr, &out)
	}
}

// Without a directory for temporary files, as in the image, the copy is made beside the store, and removed.
func TestPlanWithoutTemporaryDirectory(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("TMPDIR", none)
	t.Setenv("TMP", none)
	dir := t.TempDir()
	account := collector.DefaultConfig()
	account.APIKey = "key"
	c, err := collector.New([]collector.Config{account}, collector.Options{StateDirectory: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop(t.Context())
	if _, _, err := c.Accounts()[0].Register(submission.HTTP, []submission.Job{{RequestID: "job"}}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = plan(t.Context(), []collector.Config{account}, dir, &out, discard)
	if err != nil || !strings.Contains(out.String(), "  job  ") {
		t.Errorf("%v, printed %q", err, &out)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*plan*")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v are left", err, left)
	}
}

// A store that cannot be read is an error with the remedy.
func TestPlanOfUnreadableStore(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "register.db"), []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	account := collector.DefaultConfig()
	account.APIKey = "key"
	err := plan(t.Context(), []collector.Config{account}, dir, new(bytes.Buffer), discard)
	if err == nil || !strings.HasPrefix(err.Error(), "--storage.path: copying ") ||
		!strings.HasSuffix(err.Error(), "; let the user of this process read it, see whether the disk "+
			"of the copy is full or the store damaged, or set TMPDIR to a directory for the copy") {
		t.Errorf("%v", err)
	}
}

// Without a database, such as in the wrong working directory, a warning explains why the
// plan is empty.
func TestPlanWithoutDatabase(t *testing.T) {
	config := writeFile(t, "config.toml", "[[inputs.deepaffects]]\napi_key = \"key\"\n")
	var stdout, log bytes.Buffer
	storage := filepath.Join(t.TempDir(), "elsewhere")
	f := parse(t, "--plan", "--config.file="+config, "--storage.path="+storage)
	err := run(f, &stdout, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), storage) {
		t.Errorf("%v, logged %q", err, log.String())
	}
	if _, err := os.Stat(storage); err == nil {
		t.Error("the directory was created")
	}
}

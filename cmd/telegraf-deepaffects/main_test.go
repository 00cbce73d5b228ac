package main

import (
	"bytes"
	"errors"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/logger"

	"github.com/deepaffects-monitor/deepaffects-monitor/plugins/inputs/deepaffects"
)

// Lines of the log come as inputs.execd reads them: the level first, nothing else
// that Telegraf writes itself, and one line each.
func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	logger.RedirectLogging(forTelegraf{&out})
	l := logger.New("", "", "")
	l.Error("an error")
	l.Warnf("a %s", "warning")
	l.Info("two\nlines")
	l.Debug("debug account=a (b)")
	logger.New("inputs", "deepaffects", "").Info("named")
	log.Print("W! from the standard library")
	want := "E! an error\nW! a warning\nI! two; lines\nD! debug account=a (b)\nI! named\nW! from the standard library\n"
	if got := out.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// What is wrong with the command line or the file is a line each, with a remedy.
func TestMistakes(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "deepaffects.conf")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const table = "[[inputs.deepaffects]]\napi_key = \"canary\"\n"
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "-config: missing"},
		{[]string{"-nonsense"}, "flag provided but not defined: -nonsense"},
		{[]string{"-config", "x", "y"}, "y: not expected"},
		{[]string{"-config", "x", "-delivered_after", "0s"}, "-delivered_after: must be longer than 0"},
		{[]string{"-config", "x", "-poll_interval", "-1s"}, "-poll_interval: must not be negative"},
		{[]string{"-config", filepath.Join(t.TempDir(), "none")}, "no such file or directory; give the path"},
		{[]string{"-config", write("")}, `add an \[\[inputs.deepaffects\]\] table`},
		{[]string{"-config", write(table + table)}, `an \[\[inputs.execd\]\] of its own`},
		{[]string{"-config", write(table + "interval = \"10s\"")}, `interval: an option of Telegraf's; set it in \[\[inputs.execd\]\]`},
		{[]string{"-config", write(table + "nonsense = 1")}, "nonsense: no such option"},
		{[]string{"-config", write(table + "[inputs.deepaffects.tags]\nx = \"y\"")}, "tags: an option of Telegraf's"},
		{[]string{"-config", write("[[inputs.deepaffects]]\napi_key = \"${CANARY_UNSET}\"")}, "api_key: the environment variable CANARY_UNSET is not set"},
		{[]string{"-config", write("[[inputs.deepaffects]]\napi_key = \"@{store:key}\"")}, "api_key: secret-store references work where the plugin is compiled in"},
		{[]string{"-config", write(table + "timeout = \"often\"")}, "timeout: must be a duration in quotes"},
		{[]string{"-config", write(table + "timeout = \"-3s\"")}, "timeout: must be longer than 0"},
		{[]string{"-config", write(table + "requests_per_minute = \"5\"x")}, "line 3: not TOML"},
		{[]string{"-config", write(table + "requests_per_minute = true")}, "requests_per_minute: must be a number"},
		{[]string{"-config", write(table + "max_response_size = \"lots\"")}, "max_response_size: must be a size"},
		{[]string{"-config", write(table + "request_id_as = \"label\"")}, "request_id_as: must be"},
		{[]string{"-config", write(table + "nonsense = 1\ntimeout = \"-3s\"")}, "nonsense: no such option.*\n.*timeout: must be longer than 0"},
		{[]string{"-config", write(table + "timeout = \"often\"\nconcurrency = \"x\"")}, "concurrency: .*\n.*timeout: "},
	} {
		err := run(tt.args)
		if err == nil || !regexp.MustCompile(tt.want).MatchString(err.Error()) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v, want %q", tt.args, err, tt.want)
		}
		if errors.Unwrap(err) == nil && strings.Count(err.Error(), "\n") != strings.Count(tt.want, "\n") {
			t.Errorf("%q: several lines: %v", tt.args, err)
		}
	}
}

// Whoever does not set signal is told so; where the plugin emits by itself, nobody
// has to ask.
func TestNotAsked(t *testing.T) {
	for pollInterval, want := range map[time.Duration]int{0: 1, 10 * time.Minute: 0} {
		synctest.Test(t, func(t *testing.T) {
			log := new(warnings)
			p := &asked{DeepAffects: &deepaffects.DeepAffects{Log: log}}
			p.expect(pollInterval)
			<-time.After(time.Hour)
			synctest.Wait()
			if log.n != want {
				t.Errorf("every %s: %d warnings, want %d", pollInterval, log.n, want)
			}
		})
	}
}

// warnings counts them.
type warnings struct {
	telegraf.Logger
	n int
}

func (w *warnings) Warnf(string, ...any) { w.n++ }

// The plugin's sample is the one at the root, which both faces share.
func TestOneSample(t *testing.T) {
	root, err := os.ReadFile("../../sample.conf")
	if err != nil {
		t.Fatal(err)
	}
	if new(deepaffects.DeepAffects).SampleConfig() != string(root) {
		t.Error("the plugin's sample.conf is another than the one at the root; make docs copies it")
	}
}

package main

import (
	"bytes"
	"errors"
	"io"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/logger"

	"github.com/deepaffects-monitor/deepaffects-monitor/plugins/inputs/deepaffects"
)

// Log lines have the form that inputs.execd reads: one line with the level first, and
// nothing that Telegraf adds.
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

// Each mistake in the command line or the file is a line with a remedy.
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
		{[]string{"-config", "x", "y"}, "y: unexpected argument"},
		{[]string{"-config", "x", "-delivered_after", "0s"}, "-delivered_after: must be longer than 0"},
		{[]string{"-config", "x", "-poll_interval", "-1s"}, "-poll_interval: must not be negative"},
		{[]string{"-config", filepath.Join(t.TempDir(), "none")}, "no such file or directory; give the path"},
		{[]string{"-config", write("")}, `add an \[\[inputs.deepaffects\]\] table`},
		{[]string{"-config", write(table + table)}, `its own file and \[\[inputs.execd\]\]`},
		{[]string{"-config", write(table + "nonsense = 1")}, "nonsense: no such option"},
		{[]string{"-config", write("[[inputs.deepaffects]]\napi_key = \"${CANARY_UNSET}\"")},
			"api_key: the environment variable CANARY_UNSET is not set"},
		{[]string{"-config", write("[[inputs.deepaffects]]\napi_key = \"@{store:key}\"")},
			"api_key: secret stores work only if the plugin is compiled into Telegraf"},
		{[]string{"-config", write(table + "timeout = \"often\"")}, "timeout: must be a duration, such as"},
		{[]string{"-config", write(table + "timeout = \"-3s\"")}, "timeout: must be longer than 0"},
		{[]string{"-config", write(table + "requests_per_minute = \"5\"x")}, "line 3: not TOML"},
		{[]string{"-config", write(table + "requests_per_minute = true")}, "requests_per_minute: must be a number"},
		{[]string{"-config", write(table + "max_response_size = \"lots\"")}, "max_response_size: must be a size"},
		{[]string{"-config", write(table + "request_id_as = \"label\"")}, "request_id_as: must be"},
		{[]string{"-config", write(table + "nonsense = 1\ntimeout = \"-3s\"")},
			"nonsense: no such option.*\n.*timeout: must be longer than 0"},
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

// Each line of standard input asks, however long it is.
func TestLongLine(t *testing.T) {
	ends, ended, err := watch(strings.NewReader("\n" + strings.Repeat("x", 1<<20) + "\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer ends.Close()
	if text, err := io.ReadAll(ends); err != nil || string(text) != "\n\n\n" {
		t.Errorf("%q, %v", text, err)
	}
	<-ended
}

// The plugin warns if Telegraf does not ask, unless it emits on its own.
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

// The plugin's sample.conf is the one at the root, without the options of the exporter.
func TestOneSample(t *testing.T) {
	root, err := os.ReadFile("../../sample.conf")
	if err != nil {
		t.Fatal(err)
	}
	paragraphs := slices.DeleteFunc(strings.Split(string(root), "\n\n"), func(paragraph string) bool {
		return strings.Contains(paragraph, "Exporter only")
	})
	if new(deepaffects.DeepAffects).SampleConfig() != strings.Join(paragraphs, "\n\n") {
		t.Error("the plugin's sample.conf differs from the one at the root; make docs writes it")
	}
}

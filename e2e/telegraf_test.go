//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

const (
	stock    = "../.cache/telegraf/stock"    // released Telegraf 1.39.3, with few plugins
	compiled = "../.cache/telegraf/compiled" // with the plugin compiled in
	external = "../bin/telegraf-deepaffects" // the plugin for inputs.execd
)

// A face is a Telegraf with the plugin, compiled in or through inputs.execd.
type face struct {
	compiled bool
	dir      string // configuration and files of the outputs
	metrics  string // URL of outputs.prometheus_client
	conf     string
}

func (f *face) name() string {
	if f.compiled {
		return "compiled in"
	}
	return "execd"
}

// newFace writes the configuration. options are the options of the plugin's table, outputs
// more tables of outputs.
func newFace(t *testing.T, isCompiled bool, flush, options string, outputs ...string) *face {
	t.Helper()
	f := &face{compiled: isCompiled, dir: t.TempDir()}
	address := freeport.Address(t)
	f.metrics = "http://" + address + "/metrics"
	write := func(name, text string) string {
		path := filepath.Join(f.dir, name)
		writeFile(t, path, text)
		return path
	}
	plugin := "[[inputs.deepaffects]]\n" + options + "\n"
	if !isCompiled {
		program, err := filepath.Abs(external)
		if err != nil {
			t.Fatal(err)
		}
		plugin = fmt.Sprintf(`
[[inputs.execd]]
  command = [%q, "-config", %q, "-delivered_after", "3s"]
  signal = "STDIN"
  restart_delay = "1s"
  data_format = "influx"
`, program, write("deepaffects.conf", plugin))
	}
	f.conf = write("telegraf.conf", fmt.Sprintf(`
[agent]
  interval = "1s"
  flush_interval = %q
  omit_hostname = true
  debug = true
  skip_processors_after_aggregators = true
[[outputs.file]]
  files = [%q]
  data_format = "influx"
[[outputs.prometheus_client]]
  listen = %q
  namepass = ["deepaffects"]
%s
%s`, flush, filepath.Join(f.dir, "out.influx"), address, strings.Join(outputs, "\n"), plugin))
	return f
}

func (f *face) start(t *testing.T) *process {
	t.Helper()
	if f.compiled {
		return start(t, compiled, "-config", f.conf)
	}
	return start(t, stock, "--config", f.conf)
}

// A point is a parsed line of line protocol.
type point struct {
	name, tags, fields, time string
}

var (
	pointBegin = regexp.MustCompile(`deepaffects(_\w+)?,account=`)
	pointLine  = regexp.MustCompile(`^(\w+),((?:\\ |\S)+) (.*) (\d+)$`)
)

func (p point) tag(name string) string {
	_, after, _ := strings.Cut(","+p.tags, ","+name+"=")
	value, _, _ := strings.Cut(after, ",")
	return value
}

func (p point) requestID() string {
	_, after, _ := strings.Cut(p.fields, `request_id="`)
	id, _, _ := strings.Cut(after, `"`)
	return id
}

// lines returns the lines that outputs.file has written. A process that is killed while it
// writes leaves an incomplete line, and the next process appends to that line.
func (f *face) lines(t *testing.T) iter.Seq[string] {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, "out.influx"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return func(yield func(string) bool) {
		for line := range strings.Lines(string(text)) {
			begins := pointBegin.FindAllStringIndex(line, -1)
			if len(begins) == 0 {
				t.Errorf("%s: not a point: %q", f.name(), line)
				continue
			}
			line, whole := strings.CutSuffix(line[begins[len(begins)-1][0]:], "\n")
			if whole && !yield(line) { // an incomplete line is still being written, or never will be
				return
			}
		}
	}
}

func (f *face) points(t *testing.T) (all []point) {
	t.Helper()
	for line := range f.lines(t) {
		m := pointLine.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("%s: not a point: %q", f.name(), line)
			continue
		}
		all = append(all, point{m[1], m[2], m[3], m[4]})
	}
	return all
}

// ends returns the end states in the output, by request ID.
func (f *face) ends(t *testing.T) map[string]string {
	t.Helper()
	return endsOf(f.points(t))
}

func endsOf(all []point) map[string]string {
	ends := make(map[string]string)
	for _, p := range all {
		if state := p.tag("state"); p.name == "deepaffects_job" && state != "running" {
			ends[p.requestID()] = state
		}
	}
	return ends
}

var changed = regexp.MustCompile(`Job (?:finished|given up) .*request_id=(\S+) state=(\w+)`)

// wantEachChangeOnce fails if a state change is missing from the output, or has two
// different points. It returns the number of repeated lines.
func (f *face) wantEachChangeOnce(t *testing.T, logs string) (repeated int) {
	t.Helper()
	return wantEachChangeOnce(t, f.name(), f.points(t), logs)
}

// wantEachChangeOnce does that for points of several outputs.
func wantEachChangeOnce(t *testing.T, name string, all []point, logs string) (repeated int) {
	t.Helper()
	times := make(map[string]string) // time of each state change
	type series struct{ name, tags, time string }
	seen := make(map[series]string) // fields
	for _, p := range all {
		if p.name == "deepaffects" {
			continue
		}
		key := series{p.name, p.tags, p.time}
		if before, found := seen[key]; found {
			repeated++
			if before != p.fields {
				t.Errorf("%s: %v has fields %s, and then %s", name, key, before, p.fields)
			}
		}
		seen[key] = p.fields
		if p.name != "deepaffects_job" {
			continue
		}
		change := p.requestID() + " " + p.tag("state")
		if before, found := times[change]; found && before != p.time {
			t.Errorf("%s: %s has two points, at %s and %s", name, change, before, p.time)
		}
		times[change] = p.time
	}
	byTime := make(map[string]string)
	for change, at := range times {
		if other, taken := byTime[at]; taken {
			t.Errorf("%s: %s and %s have the same time", name, change, other)
		}
		byTime[at] = change
	}
	observed := changed.FindAllStringSubmatch(logs, -1)
	if len(observed) == 0 {
		t.Errorf("%s: the log has no state change", name)
	}
	for _, m := range observed {
		if change := m[1] + " " + m[2]; times[change] == "" {
			t.Errorf("%s: %s was observed and is not in the output", name, change)
		}
	}
	return repeated
}

func both(t *testing.T, test func(*testing.T, bool)) {
	for _, isCompiled := range []bool{true, false} {
		t.Run((&face{compiled: isCompiled}).name(), func(t *testing.T) { test(t, isCompiled) })
	}
}

// After any number of kills with -9 and restarts, Telegraf's output has each state change.
// Repeated lines are the same bytes: they are points that were written and not
// acknowledged before the kill.
func TestTelegrafKilled(t *testing.T) {
	t.Setenv("DEEPAFFECTS_API_KEY", "key")
	kills := number(t, "KILLS", 5)
	both(t, func(t *testing.T, isCompiled bool) {
		t.Parallel()
		sim := simulator.New(simulator.Options{Seed: 1, Key: "key"})
		t.Cleanup(sim.Close)
		api := serve(t, sim.ServeHTTP)
		ids := filepath.Join(t.TempDir(), "jobs.ids")
		f := newFace(t, isCompiled, "1s", fmt.Sprintf(`
  url = %q
  api_key = "${DEEPAFFECTS_API_KEY}"
  request_id_files = [%q]
  requests_per_minute = 0
  requests_per_day = 0
  state_directory = %q
`, api, ids, filepath.Join(t.TempDir(), "state")))
		var logs strings.Builder
		want := make(map[string]string)
		for round := range kills + 1 {
			var lines strings.Builder
			for i := range 20 {
				outcome, state := simulator.Completed, "completed"
				if i%3 == 0 {
					outcome, state = simulator.Failed, "failed"
				}
				id := sim.Submit(simulator.Job{Outcome: outcome, Duration: time.Duration(1+i) * 200 * time.Millisecond})
				want[id] = state
				fmt.Fprintln(&lines, id)
			}
			file, err := os.OpenFile(ids, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteString(lines.String()); err != nil {
				t.Fatal(err)
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
			p := f.start(t)
			if round < kills {
				<-time.After(time.Second + time.Duration(rand.IntN(4000))*time.Millisecond)
				if err := p.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				<-p.done
				logs.WriteString(p.output())
				continue
			}
			eventually(t, "every end in the output", func() (string, bool) {
				ends := f.ends(t)
				for id, state := range want {
					if ends[id] != state {
						text := fmt.Sprintf("%d of %d; %s is %q, want %q", len(ends), len(want), id, ends[id], state)
						return text, false
					}
				}
				return "", true
			})
			counter, gauge := "counter", "gauge"
			if !isCompiled { // line protocol has no metric types
				counter, gauge = "untyped", "untyped"
			}
			awaitText(t, f.metrics,
				"\n# TYPE deepaffects_finished_completed "+counter+"\n",
				"\n# TYPE deepaffects_completed "+gauge+"\n",
				fmt.Sprintf("\ndeepaffects_registered{account=\"default\",source=\"127.0.0.1\"} %d\n", len(want)))
			stop(t, p)
			logs.WriteString(p.output())
		}
		repeated := f.wantEachChangeOnce(t, logs.String())
		t.Logf("%s: %d kills, %d jobs, %d lines repeated", f.name(), kills, len(want), repeated)
	})
}

// When Telegraf stops, it writes its buffers after it has stopped the plugin. Compiled in,
// no point is repeated after that. Through execd, points whose delivery is not certain yet
// are repeated.
func TestTelegrafStopped(t *testing.T) {
	t.Setenv("DEEPAFFECTS_API_KEY", "key")
	both(t, func(t *testing.T, isCompiled bool) {
		t.Parallel()
		sim := simulator.New(simulator.Options{Seed: 2, Key: "key"})
		t.Cleanup(sim.Close)
		var ids []string
		for range 10 {
			ids = append(ids, fmt.Sprintf("%q", sim.Submit(simulator.Job{Outcome: simulator.Completed, Duration: -1})))
		}
		f := newFace(t, isCompiled, "1h", fmt.Sprintf(`
  url = %q
  api_key = "${DEEPAFFECTS_API_KEY}"
  request_ids = [%s]
  requests_per_minute = 0
  requests_per_day = 0
  state_directory = %q
`, serve(t, sim.ServeHTTP), strings.Join(ids, ","), filepath.Join(t.TempDir(), "state")))
		for round := range 3 {
			p := f.start(t)
			if round == 0 {
				eventually(t, "all ends", func() (string, bool) {
					return p.output(), strings.Count(p.output(), "Job finished") == 10
				})
			}
			<-time.After(2500 * time.Millisecond) // two gathers
			stop(t, p)
		}
		log := "Job finished request_id=" + strings.Trim(ids[0], `"`) + " state=completed"
		ends, repeated := f.ends(t), f.wantEachChangeOnce(t, log)
		if len(ends) != 10 || isCompiled && repeated > 0 {
			t.Errorf("%s: %d ends, %d lines repeated", f.name(), len(ends), repeated)
		}
	})
}

// The plugin accepts webhooks and registrations at its service address, and releases the
// address and the store on a reload with SIGHUP.
func TestTelegrafReloads(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 3, Key: "key"})
	t.Cleanup(sim.Close)
	id := sim.Submit(simulator.Job{Outcome: simulator.Failed, Duration: -1})
	service := freeport.Address(t)
	f := newFace(t, true, "1s", fmt.Sprintf(`
  url = %q
  api_key = "key"
  request_ids = [%q]
  service_address = %q
  webhook_token = "token"
  jobs_token = "jobs"
  state_directory = %q
`, serve(t, sim.ServeHTTP), id, service, filepath.Join(t.TempDir(), "state")))
	p := f.start(t)
	posted := sim.Submit(simulator.Job{Outcome: simulator.Completed, Duration: -1})
	for _, post := range []struct{ path, token, body string }{
		{"/webhook/token", "", `{"request_id":"hook","response":null}`},
		{"/api/v1/jobs", "Bearer jobs", `{"request_id":"` + posted + `","api":"/audio/generic/api/v1/async/asr"}`},
	} {
		eventually(t, post.path, func() (string, bool) {
			r, err := http.NewRequest(http.MethodPost, "http://"+service+post.path, strings.NewReader(post.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", post.token)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				return err.Error(), false
			}
			resp.Body.Close()
			return resp.Status, resp.StatusCode/100 == 2
		})
	}
	for range 3 {
		eventually(t, "the ends", func() (string, bool) {
			ends := f.ends(t)
			return p.output(), ends[id] == "failed" && ends["hook"] == "completed" && ends[posted] == "completed"
		})
		started := strings.Count(p.output(), "Listening for registration and webhooks")
		if err := p.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another start", func() (string, bool) {
			return p.output(), strings.Count(p.output(), "Listening for registration and webhooks") > started
		})
	}
	stop(t, p)
	if repeated := f.wantEachChangeOnce(t, p.output()); repeated > 0 {
		t.Errorf("%d lines repeated", repeated)
	}
}

// For an invalid configuration, Telegraf logs one line at level error with the remedy and
// without the value.
func TestTelegrafMistakes(t *testing.T) {
	secrets := t.TempDir()
	writeFile(t, filepath.Join(secrets, "key"), "canary-key")
	store := fmt.Sprintf("\n[[secretstores.docker]]\nid = \"secrets\"\npath = %q\n", secrets)
	both(t, func(t *testing.T, isCompiled bool) {
		for _, tt := range []struct {
			options, compiled, execd string
		}{
			{"", "api_key: empty; set it to the key", "api_key: empty; set it to the key"},
			{"api_key = \"\"", "api_key: empty; set it to the key", "api_key: empty; set it to the key"},
			{
				`api_key = "${CANARY_UNSET}"`,
				"api_key: the environment variable CANARY_UNSET is not set; set it where this program is started",
				"api_key: the environment variable CANARY_UNSET is not set; set it where this program is started",
			},
			{"api_key = \"canary\"\ntimeout = \"-3s\"", "timeout: must be longer than 0", "timeout: must be longer than 0"},
			{
				"api_key = \"canary\"\ntimeot = \"3s\"",
				`specified the fields ["timeot"], but they were not used`, "timeot: no such option",
			},
			{
				"api_key = \"canary\"\nconcurrency = \"canary\"",
				"must be a whole number", "concurrency: must be a whole number",
			},
			{"api_key = \"@{secrets:missing}\"" + store, `resolving "@{secrets:missing}" failed`, ""},
			{
				"api_key = \"@{nostore:key}\"", `unknown secret store for "@{nostore:key}"`,
				"api_key: secret stores work only if the plugin is compiled into Telegraf",
			},
			{
				"api_key = \"canary\"\nservice_address = \"192.0.2.1:1\"\nwebhook_token = \"canary\"",
				"service_address: listen tcp 192.0.2.1:1", "service_address: listen tcp 192.0.2.1:1",
			},
		} {
			want := tt.execd
			if isCompiled {
				want = tt.compiled
			}
			if want == "" {
				continue
			}
			f := newFace(t, isCompiled, "1s", tt.options)
			p := f.start(t)
			eventually(t, want, func() (string, bool) { return p.output(), strings.Contains(p.output(), want) })
			if isCompiled {
				<-p.done
				if p.ProcessState.ExitCode() != 1 {
					t.Errorf("exit code %d", p.ProcessState.ExitCode())
				}
			}
			found := 0
			for line := range strings.Lines(p.output()) {
				if strings.Contains(line, want) {
					found++
					if !strings.Contains(line, " E! ") {
						t.Errorf("not an error: %s", line)
					}
				}
				if strings.Contains(line, "canary") {
					t.Errorf("the log contains the value: %s", line)
				}
			}
			if isCompiled && found != 1 {
				t.Errorf("%d lines: %s", found, p.output())
			}
			_ = p.Process.Kill()
			<-p.done
		}
	})
	// A secret that can be resolved is used as the key.
	api := serve(t, simulator.New(simulator.Options{Key: "canary-key"}).ServeHTTP)
	options := "api_key = \"@{secrets:key}\"\nurl = \"" + api + "\"\nrequest_ids = [\"a\"]\n" + store
	f := newFace(t, true, "1s", options)
	p := f.start(t)
	awaitText(t, f.metrics, "deepaffects_up{account=\"default\",source=\"127.0.0.1\"} 1\n")
	stop(t, p)
	if strings.Contains(p.output(), "canary") ||
		!strings.Contains(p.output(), " W! [inputs.deepaffects] state_directory is not set") {
		t.Errorf("Telegraf logged:\n%s", p.output())
	}
}

// endPlugin ends the external plugin in one of the ways of Telegraf: the end of its input, or SIGTERM.
func endPlugin(t *testing.T, p *process, input io.Closer, way string) {
	t.Helper()
	if way == "SIGTERM" {
		stop(t, p)
		return
	}
	if err := input.Close(); err != nil {
		t.Fatal(err)
	}
	p.awaitEnd(t)
}

// The external plugin emits points for each line on standard input, ignores SIGHUP, and
// exits with 0 at the end of standard input and after SIGTERM.
func TestTelegrafPluginProcess(t *testing.T) {
	config := filepath.Join(t.TempDir(), "deepaffects.conf")
	api := serve(t, simulator.New(simulator.Options{Key: "key"}).ServeHTTP)
	text := fmt.Sprintf("[[inputs.deepaffects]]\nurl = %q\napi_key = \"key\"\nstate_directory = %q\n",
		api, filepath.Join(t.TempDir(), "state"))
	writeFile(t, config, text)
	for _, end := range []string{"end of input", "SIGTERM"} {
		p := newProcess(t, external, "-config", config)
		input, err := p.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		p.launch(t)
		for n := range 2 {
			if _, err := input.Write([]byte("\n")); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a gather", func() (string, bool) {
				return p.output(), strings.Count(p.output(), "api_ok=") > n
			})
		}
		if err := p.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a warning", func() (string, bool) {
			const warning = "W! Ignored a signal (hangup); set signal = \"STDIN\" in [[inputs.execd]]\n"
			return p.output(), strings.Contains(p.output(), warning)
		})
		endPlugin(t, p, input, end)
		if code := p.ProcessState.ExitCode(); code != 0 {
			t.Errorf("%s: exit code %d: %s", end, code, p.output())
		}
	}
}

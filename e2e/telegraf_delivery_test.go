//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

// A receiver is an InfluxDB as far as outputs.influxdb needs one.
type receiver struct {
	mu   sync.Mutex
	jobs map[string]bool // request IDs
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	text, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(string(text)) {
		if m := pointLine.FindStringSubmatch(strings.TrimSpace(line)); m != nil && m[1] == "deepaffects_job" {
			r.jobs[point{fields: m[3]}.requestID()] = true
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.jobs)
}

// An output that is down does not keep points from one that is up, and gets all of them
// when it is up again. Compiled in, that includes those that its buffer had no room for,
// and the plugin logs once that state changes wait.
func TestTelegrafOutputDown(t *testing.T) {
	const n, room = 2600, 1500
	both(t, func(t *testing.T, isCompiled bool) {
		t.Parallel()
		sim := simulator.New(simulator.Options{Seed: 4, Key: "key"})
		t.Cleanup(sim.Close)
		var lines strings.Builder
		for range n {
			fmt.Fprintln(&lines, sim.Submit(simulator.Job{Outcome: simulator.Failed, Duration: -1}))
		}
		ids := filepath.Join(t.TempDir(), "jobs.ids")
		writeFile(t, ids, lines.String())
		address, limit := freeport.Address(t), 10_000
		if isCompiled {
			limit = room
		}
		f := newFace(t, isCompiled, "1s", fmt.Sprintf(`
  url = %q
  api_key = "key"
  request_id_files = [%q]
  requests_per_minute = 0
  requests_per_day = 0
  state_directory = %q
`, serve(t, sim.ServeHTTP), ids, filepath.Join(t.TempDir(), "state")), fmt.Sprintf(`
[[outputs.influxdb]]
  urls = ["http://%s"]
  skip_database_creation = true
  content_encoding = "identity"
  namepass = ["deepaffects_*"]
  metric_buffer_limit = %d
`, address, limit))
		p := f.start(t)
		eventually(t, "every end in the output that is up", func() (string, bool) {
			ends := len(f.ends(t))
			return fmt.Sprint(ends), ends == n
		})
		warning := regexp.MustCompile(`W! \[inputs\.deepaffects\] \d+ state changes wait for the outputs`)
		if isCompiled {
			<-time.After(time.Minute) // the time after which it is logged
			eventually(t, "a warning", func() (string, bool) { return p.output(), warning.MatchString(p.output()) })
		}
		influx := &receiver{jobs: make(map[string]bool)}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: influx}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
		eventually(t, "every end in the output that was down", func() (string, bool) {
			return fmt.Sprint(influx.len()), influx.len() == n
		})
		if isCompiled {
			const info = "I! [inputs.deepaffects] All outputs have accepted the state changes that waited"
			eventually(t, info, func() (string, bool) { return p.output(), strings.Contains(p.output(), info) })
			if warnings := warning.FindAllString(p.output(), -1); len(warnings) != 1 {
				t.Errorf("%d warnings: %q", len(warnings), warnings)
			}
		}
		stop(t, p)
		repeated, want := f.wantEachChangeOnce(t, p.output()), 0
		if isCompiled {
			want = n - room // emitted again, to all outputs
		}
		if repeated > want {
			t.Errorf("%d lines repeated, want at most %d", repeated, want)
		}
	})
}

// A backlog is written at 2,000 state changes a second and more, compiled in and through
// execd. Beside it, Telegraf reads the same points from a file.
func TestTelegrafBacklog(t *testing.T) {
	n := number(t, "CHANGES", 20_000)
	const table = "  url = \"http://127.0.0.1:1\"\n  api_key = \"key\"\n"
	// rate returns the state changes that were written in a second, since the first.
	rate := func(t *testing.T, f *face) float64 {
		t.Helper()
		path := filepath.Join(f.dir, "out.influx")
		var first time.Time
		var before int
		for deadline := time.Now().Add(usualTimeout); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
			text, err := os.ReadFile(path)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			changes := strings.Count(string(text), "\ndeepaffects_job,")
			if changes > 0 && first.IsZero() {
				first, before = time.Now(), changes
			}
			if changes >= n-1 { // the first line may be one
				return float64(changes-before) / time.Since(first).Seconds()
			}
		}
		t.Fatalf("%s: not written within %s", f.name(), usualTimeout)
		return 0
	}
	var text string // the points
	both(t, func(t *testing.T, isCompiled bool) {
		state := filepath.Join(t.TempDir(), "state")
		backlog(t, state, n)
		f := newFace(t, isCompiled, "1s", table+fmt.Sprintf("  state_directory = %q\n", state))
		p := f.start(t)
		r := rate(t, f)
		stop(t, p)
		if ends := f.ends(t); len(ends) != n {
			t.Errorf("%d ends, want %d", len(ends), n)
		}
		t.Logf("%s: %.0f state changes a second", f.name(), r)
		if r < 2000 {
			t.Errorf("%s: %.0f state changes a second, want 2000", f.name(), r)
		}
		all, err := os.ReadFile(filepath.Join(f.dir, "out.influx"))
		if err != nil {
			t.Fatal(err)
		}
		text = string(all)
	})
	t.Run("from a file", func(t *testing.T) {
		f := newFace(t, false, "1s", table)
		points := filepath.Join(t.TempDir(), "points.influx")
		writeFile(t, points, text)
		conf, err := os.ReadFile(f.conf)
		if err != nil {
			t.Fatal(err)
		}
		conf = regexp.MustCompile(`(?m)^  command = .*$`).ReplaceAll(conf,
			fmt.Appendf(nil, "  command = [\"cat\", %q]", points))
		if err := os.WriteFile(f.conf, conf, 0o600); err != nil {
			t.Fatal(err)
		}
		p := f.start(t)
		t.Logf("from a file: %.0f state changes a second", rate(t, f))
		stop(t, p)
	})
}

// Telegraf is killed with -9 while it writes a backlog. After the next start, all of it is
// in the output.
func TestTelegrafKilledInBacklog(t *testing.T) {
	const n = 10_000
	both(t, func(t *testing.T, isCompiled bool) {
		state := filepath.Join(t.TempDir(), "state")
		backlog(t, state, n)
		f := newFace(t, isCompiled, "1s", fmt.Sprintf(
			"  url = \"http://127.0.0.1:1\"\n  api_key = \"key\"\n  state_directory = %q\n", state))
		for range 2 {
			before := len(f.ends(t))
			p := f.start(t)
			eventually(t, "points", func() (string, bool) { return p.output(), len(f.ends(t)) > before })
			if err := p.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-p.done
			t.Logf("%s: killed after %d ends", f.name(), len(f.ends(t)))
		}
		p := f.start(t)
		eventually(t, "all ends", func() (string, bool) {
			ends := len(f.ends(t))
			return fmt.Sprint(ends), ends == n
		})
		stop(t, p)
	})
}

// backlog writes a store with n state changes that wait.
func backlog(t *testing.T, state string, n int) {
	t.Helper()
	c := collector.DefaultConfig()
	c.URL, c.APIKey, c.WebhookToken = "http://127.0.0.1:1", "key", "token"
	m, err := collector.New([]collector.Config{c}, collector.Options{
		Logger: slog.New(slog.DiscardHandler), StateDirectory: state, MaxStateChanges: n,
	})
	if err != nil {
		t.Fatal(err)
	}
	account := m.Accounts()[0]
	var group sync.WaitGroup
	for part := range 100 {
		group.Go(func() {
			for i := part; i < n; i += 100 {
				body := fmt.Sprintf(`{"request_id":"job-%d","response":{"words":[`+
					`{"speaker_id":"a","start":0,"end":1},{"speaker_id":"b","start":1,"end":2}]}}`, i)
				if _, err := account.Webhook(io.NopCloser(strings.NewReader(body)), false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	m.Stop(context.Background())
}

// The external plugin does not end before the reason is read: inputs.execd loses what it
// has not read when the program ends.
func TestTelegrafPluginLingers(t *testing.T) {
	p := newProcess(t, external, "-config", "none")
	stderr, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	p.Stderr = writer
	p.launch(t)
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a line in the pipe", func() (string, bool) {
		unread, err := unix.IoctlGetInt(int(stderr.Fd()), unix.TIOCINQ)
		return fmt.Sprint(unread, err), unread > 0
	})
	select {
	case <-p.done:
		t.Error("it ended before the line was read")
	case <-time.After(200 * time.Millisecond):
	}
	text, err := io.ReadAll(stderr)
	if want := "E! -config: none: "; err != nil || !strings.HasPrefix(string(text), want) {
		t.Errorf("%q, error %v, want %q", text, err, want)
	}
	<-p.done
	if code := p.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// The external plugin ends when it is asked to, also if nobody reads its output.
func TestTelegrafPluginBlocked(t *testing.T) {
	config := filepath.Join(t.TempDir(), "deepaffects.conf")
	const text = "[[inputs.deepaffects]]\nurl = \"http://127.0.0.1:1\"\napi_key = \"key\"\n"
	writeFile(t, config, text)
	for _, end := range []string{"end of input", "SIGTERM"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			p := newProcess(t, external, "-config", config)
			stdout, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stdout.Close()
			if err := writer.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := writer.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("the pipe is not full: %v", err)
			}
			p.Stdout = writer
			input, err := p.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			p.launch(t)
			if _, err := io.WriteString(input, "\n"); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a thread that waits in a write to standard output", func() (text string, ok bool) {
				threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", p.Process.Pid))
				for _, name := range threads {
					call, _ := os.ReadFile(name) // it may have ended
					ok = ok || strings.HasPrefix(string(call), fmt.Sprintf("%d 0x1 ", syscall.SYS_WRITE))
				}
				return fmt.Sprint(len(threads), err), ok
			})
			endPlugin(t, p, input, end)
			if code := p.ProcessState.ExitCode(); code != 0 || !strings.Contains(p.output(), "has not read all points") {
				t.Errorf("exit code %d: %s", code, p.output())
			}
		})
	}
}

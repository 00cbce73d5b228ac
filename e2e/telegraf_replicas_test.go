//go:build e2e && linux

package e2e

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

// Two Telegrafs with one database are stopped, or killed, and started again in turn, sometimes both, while jobs end. At
// the end their outputs have each state change once: by identity, since a Telegraf that is killed may have written
// points that it has not acknowledged, which the other writes again. None is written twice by compiled-in plugins that
// are stopped, although one of the outputs is slow: it accepts points when the other Telegraf has the account already.
func TestTelegrafReplicas(t *testing.T) {
	faults := number(t, "KILLS", 2)
	server := pgtest.Start(t)
	for _, way := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(way.String(), func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, isCompiled bool) {
				t.Parallel()
				pair := newPair(t, isCompiled, server.URL(t))
				for i := range faults {
					pair.submit(t, 10)
					<-time.After(time.Second + rand.N(2*time.Second))
					ended := []int{rand.IntN(2)}
					if i%2 == 1 {
						ended = []int{0, 1}
					}
					for _, n := range ended {
						pair.end(t, n, way)
					}
					pair.submit(t, 10)
					<-time.After(rand.N(2 * time.Second))
					for _, n := range ended {
						pair.start(t, n)
					}
				}
				pair.check(t, way == syscall.SIGTERM && isCompiled)
			})
		})
	}
}

// A pair is two Telegrafs with one account and one database.
type pair struct {
	sim   *simulator.Simulator
	ids   string
	want  map[string]string // state by request ID
	faces [2]*face
	runs  [2]*process
	logs  strings.Builder

	mu      sync.Mutex
	written []point // by the slow output
}

// accept is an InfluxDB as far as outputs.influxdb needs one, which takes its time.
func (p *pair) accept(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return // the Telegraf was killed
	}
	<-time.After(1500 * time.Millisecond)
	p.mu.Lock()
	defer p.mu.Unlock()
	for line := range strings.Lines(string(text)) {
		if m := pointLine.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			p.written = append(p.written, point{m[1], m[2], m[3], m[4]})
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func newPair(t *testing.T, isCompiled bool, database string) *pair {
	p := &pair{
		sim: simulator.New(simulator.Options{Seed: 5, Key: "key"}), ids: filepath.Join(t.TempDir(), "jobs.ids"),
		want: make(map[string]string),
	}
	t.Cleanup(p.sim.Close)
	options := fmt.Sprintf(`
  url = %q
  api_key = "key"
  request_id_files = [%q]
  requests_per_minute = 0
  requests_per_day = 0
  timeout = "2s"
  database_url = %q
  lease = "1s"
`, serve(t, p.sim.ServeHTTP), p.ids, database)
	output := fmt.Sprintf(`
[[outputs.influxdb]]
  urls = [%q]
  skip_database_creation = true
  content_encoding = "identity"
`, serve(t, p.accept))
	for n := range p.faces {
		p.faces[n] = newFace(t, isCompiled, "2s", options, output)
		p.start(t, n)
	}
	return p
}

func (p *pair) start(t *testing.T, n int) { p.runs[n] = p.faces[n].start(t) }

// end ends a Telegraf.
func (p *pair) end(t *testing.T, n int, way syscall.Signal) {
	t.Helper()
	run := p.runs[n]
	if way == syscall.SIGTERM {
		stop(t, run)
	} else {
		if err := run.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-run.done
	}
	p.logs.WriteString(run.output())
}

// submit starts jobs, and registers them in the file that both read.
func (p *pair) submit(t *testing.T, n int) {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		outcome, state := simulator.Completed, "completed"
		if i%3 == 0 {
			outcome, state = simulator.Failed, "failed"
		}
		id := p.sim.Submit(simulator.Job{Outcome: outcome, Duration: time.Duration(1+i) * 200 * time.Millisecond})
		p.want[id] = state
		fmt.Fprintln(&lines, id)
	}
	file, err := os.OpenFile(p.ids, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(lines.String()); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// outputs returns the points that were written to the files and to the slow output.
func (p *pair) outputs(t *testing.T) map[string][]point {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	return map[string][]point{
		"files": append(p.faces[0].points(t), p.faces[1].points(t)...), "HTTP": slices.Clone(p.written),
	}
}

// check waits for every end, and compares everything that was written. once says that nothing may be written twice.
func (p *pair) check(t *testing.T, once bool) {
	t.Helper()
	eventually(t, "every end in both outputs", func() (string, bool) {
		for output, points := range p.outputs(t) {
			ends := endsOf(points)
			for id, state := range p.want {
				if ends[id] != state {
					return fmt.Sprintf("%s: %d of %d; %s is %q, want %q", output, len(ends), len(p.want), id, ends[id], state), false
				}
			}
		}
		return "", true
	})
	for n := range p.runs {
		p.end(t, n, syscall.SIGTERM)
	}
	for output, points := range p.outputs(t) {
		name := p.faces[0].name() + ", " + output
		repeated := wantEachChangeOnce(t, name, points, p.logs.String())
		if once && repeated > 0 {
			t.Errorf("%s: %d lines are repeated", name, repeated)
		}
		wantOneOwner(t, name, points)
		t.Logf("%s: %d jobs, %d points, %d lines repeated", name, len(p.want), len(points), repeated)
	}
}

var registered = regexp.MustCompile(`\bregistered=(\d+)i`)

// wantOneOwner fails if the numbers of the account go back: a Telegraf that does not own it would emit others.
func wantOneOwner(t *testing.T, name string, all []point) {
	t.Helper()
	slices.SortStableFunc(all, func(a, b point) int { return cmp.Compare(a.time, b.time) })
	highest, before, at := 0, 0, "" // before is the highest of earlier times: a time is rounded to the interval
	for _, p := range all {
		if p.time != at {
			before, at = highest, p.time
		}
		if m := registered.FindStringSubmatch(p.fields); p.name == "deepaffects" && m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil || n < before {
				t.Errorf("%s: %d jobs are registered at %s, and %d were before (%v)", name, n, p.time, before, err)
			}
			highest = max(highest, n)
		}
	}
	if highest == 0 {
		t.Errorf("%s: no overview has registered jobs", name)
	}
}

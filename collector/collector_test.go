package collector_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config is an account without a quota at the simulated API.
func config(change func(*collector.Config)) collector.Config {
	c := collector.DefaultConfig()
	c.URL, c.APIKey = "http://simulated.invalid", "key"
	c.RequestsPerMinute, c.RequestsPerDay = 0, 0
	if change != nil {
		change(&c)
	}
	return c
}

// logs is a log that a test can read while it is written.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// A monitor is a started collector with one account, and the API that it asks.
type monitor struct {
	*collector.Collector
	account *collector.Account
	api     *simulator.Simulator
	logs    *logs
}

// start starts a monitor, in a bubble of virtual time, that is stopped by stop.
func start(t *testing.T, api simulator.Options, c collector.Config, o collector.Options) *monitor {
	t.Helper()
	m := &monitor{api: simulator.New(api), logs: new(logs)}
	o.Logger = slog.New(slog.NewTextHandler(m.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Transport = m.api.Transport()
	var err error
	if m.Collector, err = collector.New([]collector.Config{c}, o); err != nil {
		t.Fatal(err)
	}
	if m.account, err = m.Account(""); err != nil {
		t.Fatal(err)
	}
	m.Start()
	return m
}

func (m *monitor) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	m.Stop(ctx)
	m.api.Close()
}

func (m *monitor) track(t *testing.T, ids ...string) {
	t.Helper()
	var jobs []submission.Job
	for _, id := range ids {
		jobs = append(jobs, submission.Job{RequestID: id})
	}
	if _, _, err := m.account.Track(t.Context(), submission.HTTP, jobs); err != nil {
		t.Fatal(err)
	}
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// state is a job's state by name; empty where it is not tracked.
func (m *monitor) state(id string) string {
	j, _, known := m.account.Job(id)
	if !known {
		return ""
	}
	return j.State.String()
}

// mostWithin is the largest number of requests that the API counted within any
// window of that length.
func mostWithin(seen []simulator.Seen, length time.Duration) int {
	most, first := 0, 0
	for i := range seen {
		for seen[i].At.Sub(seen[first].At) >= length {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// On the default plan, with far more jobs than it can serve and a wall clock
// that jumps, the API never sees more than the quota in any 60 s or 24 h, and
// never refuses; and the quota is used.
func TestQuotaFor10Days(t *testing.T) {
	t.Parallel()
	real := time.Now() // has a monotonic reading; the virtual clock's times have none
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var jump atomic.Int64
		now := func() time.Time { return jumped(real.Add(time.Since(begin)), time.Duration(jump.Load())) }
		m := start(t, simulator.Options{
			Seed: 1, Key: "key", RequestsPerMinute: 5, RequestsPerDay: 100,
			Latency: simulator.Latency{Median: 300 * time.Millisecond, P99: 8 * time.Second},
		}, config(func(c *collector.Config) { c.RequestsPerMinute, c.RequestsPerDay = 5, 100 }), collector.Options{Now: now})
		defer m.stop()
		for day := range 10 {
			for i := range 7 { // 70 in all; each takes hours
				m.track(t, m.api.Submit(simulator.Job{RequestID: fmt.Sprintf("job-%d-%d", day, i), Outcome: simulator.Completed, Duration: time.Duration(i) * 3 * time.Hour, AudioSeconds: 10}))
			}
			pass(11 * time.Hour)
			jump.Add(int64([]time.Duration{3 * time.Hour, -5 * time.Hour, 48 * time.Hour, -47 * time.Hour, 0}[day%5]))
			pass(13 * time.Hour)
		}
		seen := m.api.Log()
		if n := mostWithin(seen, time.Minute); n > 5 {
			t.Errorf("%d requests within a minute", n)
		}
		if n := mostWithin(seen, 24*time.Hour); n > 100 {
			t.Errorf("%d requests within 24 hours", n)
		}
		if c := m.api.Counters(); c.RateLimited+c.OverQuota > 0 {
			t.Errorf("%d refusals", c.RateLimited+c.OverQuota)
		}
		// It keeps some for a day with more jobs, and wastes none on jobs that have just begun.
		if len(seen) < 10*40 {
			t.Errorf("only %d requests in 10 days", len(seen))
		}
		s := m.account.Snapshot()
		if s.Totals.Finished[0] < 64 || s.Totals.Finished[2] > 0 {
			t.Errorf("%v finished of 70", s.Totals.Finished)
		}
	})
}

// Stopped and started again every few hours, in the middle of requests, the
// monitor keeps the quota, goes on with what it knew and counts nothing twice.
func TestRestarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		api := simulator.Options{Seed: 4, Key: "key", RequestsPerMinute: 5, RequestsPerDay: 100, Latency: simulator.Latency{Median: time.Second, P99: 8 * time.Second}}
		vendor := simulator.New(api)
		defer vendor.Close()
		var before jobs.Snapshot
		ids := 0
		for range 40 {
			var logged logs
			c, err := collector.New([]collector.Config{config(func(c *collector.Config) {
				c.RequestsPerMinute, c.RequestsPerDay, c.Retention = 5, 100, 1000*time.Hour
			})}, collector.Options{Transport: vendor.Transport(), StateDirectory: dir, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			if err != nil {
				t.Fatal(err)
			}
			m := &monitor{Collector: c, account: c.Accounts()[0], api: vendor, logs: &logged}
			if s := m.account.Snapshot(); s.Counts != before.Counts || before.Totals != nil && s.Totals.Finished != before.Totals.Finished {
				t.Fatalf("it knows %v, and knew %v", s.Counts, before.Counts)
			}
			m.Start()
			for range 3 {
				ids++
				m.track(t, vendor.Submit(simulator.Job{RequestID: fmt.Sprint(ids), Outcome: simulator.Completed, Duration: time.Duration(ids%7) * time.Hour, AudioSeconds: 10}))
			}
			pass(time.Duration(ids%5)*time.Hour + time.Duration(ids)*time.Second)
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond) // as good as killed
			m.Stop(ctx)
			cancel()
			before = m.account.Snapshot().Snapshot
			if strings.Contains(logged.String(), "level=ERROR") {
				t.Errorf("log:\n%s", &logged)
			}
		}
		seen := vendor.Log()
		if minute, day := mostWithin(seen, time.Minute), mostWithin(seen, 24*time.Hour); minute > 5 || day > 100 {
			t.Errorf("%d requests within a minute, %d within 24 hours", minute, day)
		}
		if before.Totals.Finished[0] < 60 || before.Totals.Registered[submission.HTTP] != uint64(ids) {
			t.Errorf("%v finished, %v registered of %d", before.Totals.Finished, before.Totals.Registered, ids)
		}
		if before.Counts[jobs.Completed] != int(before.Totals.Finished[0]) {
			t.Errorf("%d completed jobs, %d counted", before.Counts[jobs.Completed], before.Totals.Finished[0])
		}
	})
}

// Every job of a busy day is seen to end as it did, once.
func TestThousandJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Seed: 2, Key: "key", Speed: 10, StuckShare: -1, Latency: simulator.Latency{Median: 50 * time.Millisecond, P99: time.Second}},
			config(func(c *collector.Config) { c.MaxJobAge = 100 * time.Hour; c.Retention = 1000 * time.Hour }), collector.Options{})
		defer m.stop()
		for i := range 1000 {
			m.track(t, m.api.Submit(simulator.Job{API: simulator.APIs()[i%12], AudioSeconds: float64(10 + i%50)}))
		}
		pass(90 * time.Hour)
		want := make(map[string]int)
		for _, job := range m.api.Jobs() {
			state := "failed"
			if job.Outcome == simulator.Completed {
				state = "completed"
			}
			want[state]++
			if got := m.state(job.RequestID); got != state {
				t.Errorf("%s (%s, %s) is %s", job.RequestID, job.API, job.Outcome, got)
			}
		}
		s := m.account.Snapshot()
		if s.Totals.Finished != [3]uint64{uint64(want["completed"]), uint64(want["failed"]), 0} {
			t.Errorf("finished %v, want %v", s.Totals.Finished, want)
		}
		if want["failed"] < 20 || want["completed"] < 800 || s.Totals.Words == 0 {
			t.Errorf("%v, %d words: not the mix this test is about", want, s.Totals.Words)
		}
		if s.Due != 0 || s.Counts[jobs.Pending]+s.Counts[jobs.Running] != 0 {
			t.Errorf("something is left: %d due, %v", s.Due, s.Counts)
		}
		before := len(m.api.Log())
		pass(24 * time.Hour)
		if asked := len(m.api.Log()) - before; asked != 0 {
			t.Errorf("ended jobs were asked about %d times", asked)
		}
	})
}

func TestJobsAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "key"}, config(nil), collector.Options{})
		defer m.stop()
		m.api.Submit(simulator.Job{RequestID: "stuck", Outcome: simulator.Stuck})
		m.track(t, "unknown", "stuck", "late")
		pass(10 * time.Minute)
		// It was registered before the API knew of it.
		m.api.Submit(simulator.Job{RequestID: "late", Outcome: simulator.Completed, Duration: time.Minute})
		for _, tt := range []struct {
			after                time.Duration
			unknown, late, stuck string
		}{
			{4 * time.Minute, "pending", "completed", "running"},
			{20 * time.Minute, "lost", "completed", "running"},
			{23 * time.Hour, "lost", "completed", "running"},
			{2 * time.Hour, "", "", "lost"},
		} {
			pass(tt.after)
			if unknown, late, stuck := m.state("unknown"), m.state("late"), m.state("stuck"); unknown != tt.unknown && tt.unknown != "" || late != tt.late && tt.late != "" || stuck != tt.stuck {
				t.Errorf("after another %s: unknown %s, late %s, stuck %s; want %+v", tt.after, unknown, late, stuck, tt)
			}
		}
		if s := m.account.Snapshot(); s.Totals.Finished != [3]uint64{1, 0, 2} {
			t.Errorf("finished %v", s.Totals.Finished)
		}
	})
}

// A refused key stops the asking, not the monitor: it asks a few times an hour,
// and goes on at once when the key is replaced.
func TestRefusedKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte("wrong\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		m := start(t, simulator.Options{Key: "right"}, config(func(c *collector.Config) { c.APIKey, c.APIKeyFile = "", path }), collector.Options{})
		defer m.stop()
		for i := range 100 {
			m.track(t, m.api.Submit(simulator.Job{RequestID: fmt.Sprint(i), Outcome: simulator.Completed, Duration: time.Minute, AudioSeconds: 10}))
		}
		pass(5 * time.Hour)
		if n := m.api.Counters().Unauthorized; n < 2 || n > 40+16 {
			t.Errorf("%d requests with a refused key in 5 hours", n)
		}
		if s := m.account.Snapshot(); s.Up || s.Trouble == nil || s.Trouble.Outcome != jobstatus.Unauthorized || s.Trouble.Until.Sub(s.At) > time.Hour {
			t.Errorf("with a refused key: up %v, trouble %+v", s.Up, s.Trouble)
		}
		if err := os.WriteFile(path, []byte("right-one\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		m.api.SetKey("right-one")
		pass(time.Minute)
		if s := m.account.Snapshot(); !s.Up || s.Trouble != nil || s.Counts[jobs.Completed] != 100 {
			t.Errorf("up %v, trouble %+v, %v a minute after the key was replaced", s.Up, s.Trouble, s.Counts)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		m.track(t, m.api.Submit(simulator.Job{RequestID: "later", Outcome: simulator.Completed, Duration: time.Second}))
		before := len(m.api.Log())
		pass(time.Hour)
		if asked := len(m.api.Log()) - before; asked != 0 || strings.Count(m.logs.String(), "The API key cannot be read") != 1 {
			t.Errorf("%d requests without a key; log:\n%s", asked, m.logs)
		}
		if s := m.account.Snapshot(); s.Up || s.Trouble == nil || s.Trouble.Outcome != jobstatus.OK || !errors.Is(s.Trouble.Err, fs.ErrNotExist) {
			t.Errorf("without a key: up %v, trouble %+v", s.Up, s.Trouble)
		}
	})
}

// While the API is down the monitor backs off, and catches up when it is back.
func TestAPIDown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault simulator.Fault
		label jobstatus.Outcome
		most  int // requests in 6 hours
	}{
		{"server error", simulator.Fault{Kind: simulator.ServerErrorHTML, Status: 502}, jobstatus.ServerError, 60},
		{"reset", simulator.Fault{Kind: simulator.ConnectionReset}, jobstatus.Network, 60},
		{"timeout", simulator.Fault{Delay: time.Minute}, jobstatus.Timeout, 60},
		{"a page in its place", simulator.Fault{Kind: simulator.HTMLPage}, jobstatus.Malformed, 60},
		{"nothing", simulator.Fault{Kind: simulator.EmptyBody}, jobstatus.Malformed, 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var down atomic.Bool
				down.Store(true)
				m := start(t, simulator.Options{Key: "key", Fault: func(*http.Request) simulator.Fault {
					if down.Load() {
						return tt.fault
					}
					return simulator.Fault{}
				}}, config(func(c *collector.Config) { c.Concurrency = 1 }), collector.Options{})
				defer m.stop()
				for i := range 50 {
					m.track(t, m.api.Submit(simulator.Job{RequestID: fmt.Sprint(i), Outcome: simulator.Completed, Duration: time.Minute, AudioSeconds: 10}))
				}
				pass(6 * time.Hour)
				s := m.account.Snapshot()
				n := int(s.Totals.APIRequests[tt.label])
				if n < 5 || n > tt.most || s.Up || s.Counts[jobs.Pending] != 50 {
					t.Errorf("%d requests, up %v, %v while it was down (%v)", n, s.Up, s.Counts, s.Totals.APIRequests)
				}
				if lines := strings.Count(m.logs.String(), "level=WARN"); lines > 4 {
					t.Errorf("%d warnings about one outage:\n%s", lines, m.logs)
				}
				down.Store(false)
				pass(time.Hour)
				if s := m.account.Snapshot(); !s.Up || s.Counts[jobs.Completed] != 50 {
					t.Errorf("up %v, %v an hour after it came back", s.Up, s.Counts)
				}
				if !strings.Contains(m.logs.String(), "The API answers again") {
					t.Error("nobody was told that it is back")
				}
			})
		})
	}
}

// Somebody else spends the same quota: the monitor yields.
func TestSharedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "key", RequestsPerMinute: 5, RequestsPerDay: 100},
			config(func(c *collector.Config) { c.RequestsPerMinute, c.RequestsPerDay = 60, 10_000 }), collector.Options{})
		defer m.stop()
		for i := range 30 {
			m.track(t, m.api.Submit(simulator.Job{RequestID: fmt.Sprint(i), Outcome: simulator.Stuck}))
		}
		pass(24 * time.Hour)
		c := m.api.Counters()
		if refused := c.RateLimited + c.OverQuota; refused == 0 || refused > 100 {
			t.Errorf("%d refusals in a day", refused)
		}
	})
}

func TestUnknownStatesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "key"}, config(nil), collector.Options{})
		defer m.stop()
		m.api.SetBody("a", http.StatusOK, []byte(`{"status":"Archived"}`))
		m.track(t, "a")
		pass(time.Minute)
		if s := m.account.Snapshot(); s.Totals.APIUnknownStates == 0 || m.state("a") != "pending" || !s.Up {
			t.Errorf("%d unknown states, the job is %s, up %v", s.Totals.APIUnknownStates, m.state("a"), s.Up)
		}
	})
}

func TestSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "ids")
		if err := os.WriteFile(path, []byte("from-file\n{\"request_id\":\"with-api\",\"api\":\"/audio/generic/api/v1/async/asr\"}\nbad\x01line\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		m := start(t, simulator.Options{Key: "key"}, config(func(c *collector.Config) {
			c.RequestIDs, c.RequestIDFiles = []string{"from-config"}, []string{path}
		}), collector.Options{})
		defer m.stop()
		pass(time.Minute)
		for id, from := range map[string]submission.Source{"from-config": submission.Config, "from-file": submission.File, "with-api": submission.File} {
			if j, _, known := m.account.Job(id); !known || j.Source != from {
				t.Errorf("%s: %+v, known %v", id, j, known)
			}
		}
		s := m.account.Snapshot()
		if s.Totals.SourceErrors[submission.File] != 1 || !strings.Contains(m.logs.String(), path+":3") {
			t.Errorf("%v source errors; log:\n%s", s.Totals.SourceErrors, m.logs)
		}
		if s.SourceSuccess[submission.Config].IsZero() {
			t.Error("the configuration was never read with success")
		}
		if problem := s.SourceProblems[submission.File]; len(s.SourceProblems) != 1 || problem.At.IsZero() || !strings.Contains(fmt.Sprint(problem.Err), path+":3") {
			t.Errorf("problems with sources: %v", s.SourceProblems)
		}
	})
}

// The IDs of the configuration are named for as long as the process runs; a job
// that has long ended is not asked about again for that, nor after a reload.
func TestEndedJobsStayEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := config(func(c *collector.Config) { c.RequestIDs = []string{"a"} })
		m := start(t, simulator.Options{Key: "key"}, c, collector.Options{})
		defer m.stop()
		m.api.Submit(simulator.Job{RequestID: "a", Outcome: simulator.Completed, Duration: time.Minute})
		for range 20 {
			pass(24 * time.Hour)
			if err := m.Reload(t.Context(), []collector.Config{c}); err != nil {
				t.Fatal(err)
			}
		}
		if s := m.account.Snapshot(); s.Totals.Finished != [3]uint64{1, 0, 0} || s.Totals.Registered[submission.Config] != 1 {
			t.Errorf("finished %v, registered %v", s.Totals.Finished, s.Totals.Registered)
		}
	})
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := config(func(c *collector.Config) { c.RequestsPerDay = 10; c.RequestIDs = []string{"a"} })
		m := start(t, simulator.Options{Key: "key"}, first, collector.Options{})
		defer m.stop()
		m.api.Submit(simulator.Job{RequestID: "a", Outcome: simulator.Stuck})
		pass(time.Hour)

		// A configuration that is wrong anywhere changes nothing.
		bad := first
		bad.Account, bad.TLSCA, bad.APIKey = "second", "/nonexistent", "canary"
		changed := first
		changed.RequestIDs = []string{"b"}
		if err := m.Reload(t.Context(), []collector.Config{changed, bad}); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("a wrong configuration: %v", err)
		}
		pass(time.Minute)
		if len(m.Accounts()) != 1 || m.state("b") != "" {
			t.Error("a wrong configuration was taken in part")
		}

		// What stays keeps its jobs, its quota and its counters.
		second := config(func(c *collector.Config) { c.Account = "second" })
		changed.RequestsPerDay = 12
		used := m.account.Snapshot().Day.Used
		if used == 0 {
			t.Fatal("nothing was asked in an hour")
		}
		if err := m.Reload(t.Context(), []collector.Config{second, changed}); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		accounts := m.Accounts()
		if len(accounts) != 2 || accounts[0].Name() != "second" || accounts[1] != m.account {
			t.Fatalf("accounts %v", accounts)
		}
		if s := m.account.Snapshot(); m.state("a") != "running" || m.state("b") == "" || s.Day.Limit != 12 || s.Day.Used < used || s.Totals.APIRequests[jobstatus.OK] < 2 {
			t.Errorf("a is %s, b is %s, quota %+v, requests %v", m.state("a"), m.state("b"), s.Day, s.Totals.APIRequests)
		}
		if _, err := m.Account(""); err == nil {
			t.Error("with two accounts none needs to be named")
		}

		// What goes is stopped.
		if err := m.Reload(t.Context(), []collector.Config{second}); err != nil {
			t.Fatal(err)
		}
		before := len(m.api.Log())
		pass(48 * time.Hour)
		if asked := len(m.api.Log()) - before; asked != 0 {
			t.Errorf("an account that is gone asked %d times", asked)
		}
	})
}

// A reload may have mended what the account pauses for: it is tried at once.
func TestReloadEndsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "right"}, config(nil), collector.Options{})
		defer m.stop()
		m.track(t, m.api.Submit(simulator.Job{RequestID: "a", Outcome: simulator.Completed, Duration: time.Minute}))
		m.api.SetDown(true)
		pass(2 * time.Hour)
		m.api.SetDown(false)
		if err := m.Reload(t.Context(), []collector.Config{config(func(c *collector.Config) { c.APIKey = "right" })}); err != nil {
			t.Fatal(err)
		}
		pass(20 * time.Second)
		if m.state("a") != "completed" {
			t.Errorf("20 seconds after the reload the job is %s", m.state("a"))
		}
	})
}

// 1,000 reloads, half of them wrong, while jobs come and end: nothing is
// dropped, and no goroutine is left (TestMain looks).
func TestManyReloads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := config(nil)
		m := start(t, simulator.Options{Key: "key", Speed: 20}, c, collector.Options{})
		defer m.stop()
		var ids []string
		for i := range 1000 {
			id := m.api.Submit(simulator.Job{RequestID: fmt.Sprint(i), Outcome: simulator.Completed, Duration: time.Minute, AudioSeconds: 10})
			ids = append(ids, id)
			m.track(t, id)
			next := c
			next.Concurrency = i % 2 * 10
			if err := m.Reload(t.Context(), []collector.Config{next}); (err != nil) != (i%2 == 0) {
				t.Fatalf("reload %d: %v", i, err)
			}
			pass(100 * time.Millisecond)
		}
		pass(time.Hour)
		if i := slices.IndexFunc(ids, func(id string) bool { return m.state(id) != "completed" }); i >= 0 {
			t.Errorf("%s is %s", ids[i], m.state(ids[i]))
		}
	})
}

// A stop lets what is under way end, within the time that it is given.
func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name    string
		latency time.Duration
		took    time.Duration
		state   string
	}{
		{"the answer comes in time", 2 * time.Second, time.Second, "running"},
		{"it does not", 9 * time.Second, 4 * time.Second, "pending"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := start(t, simulator.Options{Key: "key", Fault: func(*http.Request) simulator.Fault { return simulator.Fault{Delay: tt.latency} }},
					config(nil), collector.Options{})
				m.api.Submit(simulator.Job{RequestID: "a", Outcome: simulator.Stuck})
				// It should have ended long ago, so that it is asked about at once.
				if _, _, err := m.account.Track(t.Context(), submission.HTTP, []submission.Job{{RequestID: "a", SubmittedAt: time.Now().Add(-time.Hour)}}); err != nil {
					t.Fatal(err)
				}
				pass(time.Second)
				begin := time.Now()
				m.stop()
				m.stop()
				if took := time.Since(begin); took != tt.took || m.state("a") != tt.state {
					t.Errorf("stopped after %s, the job is %s; want %s, %s", took, m.state("a"), tt.took, tt.state)
				}
				if s := m.account.Snapshot(); tt.state == "pending" && s.Totals.APIRequests[jobstatus.Network] != 0 {
					t.Error("a request that was broken off counts against the API")
				}
			})
		})
	}
}

func TestOnce(t *testing.T) {
	for _, tt := range []struct {
		name     string
		jobs     int
		change   func(*collector.Config)
		down     bool
		err      error
		answered uint64
		took     time.Duration // at most
	}{
		{name: "all", jobs: 40, answered: 40, took: time.Second},
		{name: "the minute's quota is waited for", jobs: 12, change: func(c *collector.Config) { c.RequestsPerMinute = 5 }, answered: 12, took: 3 * time.Minute},
		{name: "the day's is not", jobs: 12, change: func(c *collector.Config) { c.RequestsPerDay = 5 }, answered: 5, took: time.Second},
		{name: "no job", err: collector.ErrNothingAsked, took: time.Second},
		{name: "the API is down", jobs: 12, down: true, err: collector.ErrNothingAsked, took: time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := simulator.New(simulator.Options{Key: "key"})
				defer api.Close()
				api.SetDown(tt.down)
				c := config(tt.change)
				for i := range tt.jobs {
					c.RequestIDs = append(c.RequestIDs, api.Submit(simulator.Job{RequestID: fmt.Sprint(i), Outcome: simulator.Stuck}))
				}
				m, err := collector.New([]collector.Config{c}, collector.Options{Transport: api.Transport()})
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				if err := m.Once(t.Context()); !errors.Is(err, tt.err) {
					t.Errorf("%v, want %v", err, tt.err)
				}
				if took := time.Since(begin); took > tt.took {
					t.Errorf("took %s, more than %s", took, tt.took)
				}
				s := m.Accounts()[0].Snapshot()
				if n := s.Totals.APIRequests[jobstatus.OK]; n != tt.answered {
					t.Errorf("%d answers, want %d", n, tt.answered)
				}
			})
		})
	}
}

// The collector knows no face: neither Telegraf nor Prometheus is in what it is
// built from, and Telegraf in nothing but its plugin. That uses nothing internal, so
// that it can live in a fork of Telegraf.
func TestDependencies(t *testing.T) {
	const telegraf, prometheus, internal = "github.com/influxdata/", "github.com/prometheus/", "deepaffects-monitor/internal/"
	for _, tt := range []struct {
		packages, list string
		has            string
		not            []string
	}{
		{".", "-deps", internal + "jobstatus", []string{telegraf, prometheus}},
		{"./listener", "-deps", internal + "httpapi", []string{telegraf, prometheus}},
		{"../cmd/exporter", "-deps", prometheus + "client_golang/prometheus", []string{telegraf}},
		{"../internal/...", "-deps", internal + "jobs", []string{telegraf}},
		{"../plugins/inputs/deepaffects", `-f={{join .Imports "\n"}}`, telegraf + "telegraf", []string{internal, prometheus}},
	} {
		out, err := exec.Command("go", "list", tt.list, tt.packages).Output()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), tt.has+"\n") {
			t.Fatalf("not a list of what %s is built from: %q", tt.packages, out)
		}
		for path := range strings.Lines(string(out)) {
			for _, not := range tt.not {
				if strings.Contains(path, not) {
					t.Errorf("%s depends on %s", tt.packages, path)
				}
			}
		}
	}
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// waitedFor is a context that tells when somebody waits for its end.
type waitedFor struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func (w *waitedFor) Done() <-chan struct{} {
	w.once.Do(func() { close(w.waits) })
	return w.Context.Done()
}

// Scrapes and webhooks go on while a reload, or the stop, waits for the requests of
// accounts that go.
func TestAccountsCanBeReadMeanwhile(t *testing.T) {
	for name, leave := range map[string]func(context.Context, *collector.Collector) error{
		"reload": func(ctx context.Context, c *collector.Collector) error {
			return c.Reload(ctx, []collector.Config{config(func(c *collector.Config) { c.Account = "stays" })})
		},
		"stop": func(ctx context.Context, c *collector.Collector) error { c.Stop(ctx); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{}, 1)
			api := transport(func(r *http.Request) (*http.Response, error) {
				asked <- struct{}{}
				<-r.Context().Done()
				return nil, r.Context().Err()
			})
			c, err := collector.New([]collector.Config{
				config(func(c *collector.Config) { c.Account = "stays" }), config(func(c *collector.Config) { c.Account = "goes" }),
			}, collector.Options{Transport: api})
			if err != nil {
				t.Fatal(err)
			}
			c.Start()
			defer c.Stop(t.Context())
			goes, err := c.Account("goes")
			if err != nil {
				t.Fatal(err)
			}
			old := []submission.Job{{RequestID: "a", SubmittedAt: time.Now().Add(-time.Hour)}}
			if _, _, err := goes.Track(t.Context(), submission.HTTP, old); err != nil {
				t.Fatal(err)
			}
			<-asked
			inner, cancel := context.WithCancel(t.Context())
			ctx := &waitedFor{Context: inner, waits: make(chan struct{})}
			left, read := make(chan error, 1), make(chan int, 1)
			go func() { left <- leave(ctx, c) }()
			<-ctx.waits
			go func() { read <- len(c.Accounts()) }()
			select {
			case n := <-read:
				if n == 0 {
					t.Error("there are no accounts")
				}
			case <-left:
				t.Error("nobody waited for the request")
			case <-time.After(10 * time.Second):
				t.Error("the accounts cannot be read")
			}
			cancel()
			if err := <-left; err != nil {
				t.Error(err)
			}
		})
	}
}

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
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config returns an account without a quota at the simulated API.
func config(change func(*collector.Config)) collector.Config {
	c := collector.DefaultConfig()
	c.URL, c.APIKey = "http://simulated.invalid", "key"
	c.RequestsPerMinute, c.RequestsPerDay = 0, 0
	if change != nil {
		change(&c)
	}
	return c
}

// logs can be read while they are written.
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

// A monitor is a started collector with one account, and the API that it polls.
type monitor struct {
	*collector.Collector
	account *collector.Account
	api     *simulator.Simulator
	logs    *logs
}

// start starts a monitor in virtual time. Stop it with stop.
func start(t *testing.T, api simulator.Options, c collector.Config, o collector.Options) *monitor {
	t.Helper()
	m := monitorOf(t, simulator.New(api), c, o)
	m.Start()
	return m
}

// monitorOf returns a monitor that is not started.
func monitorOf(t *testing.T, api *simulator.Simulator, c collector.Config, o collector.Options) *monitor {
	t.Helper()
	m := &monitor{api: api, logs: new(logs)}
	o.Logger = slog.New(slog.NewTextHandler(m.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Transport = api.Transport()
	var err error
	if m.Collector, err = collector.New([]collector.Config{c}, o); err != nil {
		t.Fatal(err)
	}
	if m.account, err = m.Account(""); err != nil {
		t.Fatal(err)
	}
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
	if _, _, err := m.account.Register(submission.HTTP, jobs); err != nil {
		t.Fatal(err)
	}
}

// completes is a job that completes after a time.
func completes(id string, after time.Duration) simulator.Job {
	return simulator.Job{RequestID: id, Outcome: simulator.Completed, Duration: after, AudioSeconds: 10}
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// state returns the name of a job's state; empty if the job is not tracked.
func (m *monitor) state(id string) string {
	j, _, known := m.account.Job(id)
	if !known {
		return ""
	}
	return j.State.String()
}

// ends are the numbers of jobs that finished.
type ends struct{ completed, failed, lost float64 }

func finished(s *collector.Snapshot) ends {
	of := func(result string) float64 { return s.Totals.Counter(jobs.JobsFinished, result) }
	return ends{of("completed"), of("failed"), of("lost")}
}

// requests is the number of requests with an outcome.
func requests(s *collector.Snapshot, outcome jobstatus.Outcome) float64 {
	return s.Totals.Counter(jobs.APIRequests, outcome.String())
}

// mostWithin returns the largest number of requests that the API counted within a
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

// For days on the default plan, with far more jobs than it can serve and a wall clock that jumps,
// the API never sees more requests than the quota in any 60 s or 24 h, and never
// refuses one; and the quota is used.
func TestQuotaForDays(t *testing.T) {
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
		days := longtest.Size(4, 20)
		for day := range days {
			for i := range 7 { // each takes hours
				job := completes(fmt.Sprintf("job-%d-%d", day, i), time.Duration(i)*3*time.Hour)
				m.track(t, m.api.Submit(job))
			}
			pass(11 * time.Hour)
			hours := []time.Duration{3, -5, 48, -47, 0}[day%5]
			jump.Add(int64(hours * time.Hour))
			pass(13 * time.Hour)
		}
		seen := m.api.Log()
		if n := mostWithin(seen, time.Minute); n > 5 {
			t.Errorf("%d requests within a minute", n)
		}
		if n := mostWithin(seen, 24*time.Hour); n > 100 {
			t.Errorf("%d requests within 24 hours", n)
		}
		if n := m.api.Answered(429) + m.api.Answered(402); n > 0 {
			t.Errorf("%d refusals", n)
		}
		// Some are kept for a day with more jobs, and none is wasted on jobs that have just begun.
		if len(seen) < days*35 {
			t.Errorf("only %d requests in %d days", len(seen), days)
		}
		s := m.account.Snapshot()
		if f := finished(&s); f.completed < float64(7*days-6) || f.lost > 0 {
			t.Errorf("%+v of %d", f, 7*days)
		}
	})
}

// A monitor that is restarted every few hours, with requests in flight, keeps the quota,
// continues with what it knew and counts nothing twice.
func TestRestarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		vendor := simulator.New(simulator.Options{
			Seed: 4, Key: "key", RequestsPerMinute: 5, RequestsPerDay: 100,
			Latency: simulator.Latency{Median: time.Second, P99: 8 * time.Second},
		})
		defer vendor.Close()
		var before collector.Snapshot
		ids := 0
		for range longtest.Size(10, 60) {
			m := monitorOf(t, vendor, config(func(c *collector.Config) {
				c.RequestsPerMinute, c.RequestsPerDay, c.Retention = 5, 100, 1000*time.Hour
			}), collector.Options{StateDirectory: dir})
			if s := m.account.Snapshot(); s.Counts != before.Counts || finished(&s) != finished(&before) {
				t.Fatalf("after the restart %v, %+v; before %v, %+v",
					s.Counts, finished(&s), before.Counts, finished(&before))
			}
			m.Start()
			for range 3 {
				ids++
				m.track(t, vendor.Submit(completes(fmt.Sprint(ids), time.Duration(ids%7)*time.Hour)))
			}
			pass(time.Duration(ids%5)*time.Hour + time.Duration(ids)*time.Second)
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond) // nearly a kill
			m.Stop(ctx)
			cancel()
			before = m.account.Snapshot()
			if strings.Contains(m.logs.String(), "level=ERROR") {
				t.Errorf("log:\n%s", m.logs)
			}
		}
		seen := vendor.Log()
		if minute, day := mostWithin(seen, time.Minute), mostWithin(seen, 24*time.Hour); minute > 5 || day > 100 {
			t.Errorf("%d requests within a minute, %d within 24 hours", minute, day)
		}
		f, registered := finished(&before), before.Totals.Counter(jobs.JobsRegistered, "http")
		if f.completed < float64(ids/2) || registered != float64(ids) {
			t.Errorf("%+v, %v registered of %d", f, registered, ids)
		}
		if before.Counts[jobs.Completed] != int(f.completed) {
			t.Errorf("%d completed jobs, %v counted", before.Counts[jobs.Completed], f.completed)
		}
	})
}

// A new job that may have ended is polled at once, not when the poller looks next.
func TestNewJobWakesThePoller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "key"}, config(nil), collector.Options{})
		defer m.stop()
		pass(time.Second)
		old := []submission.Job{{RequestID: "a", SubmittedAt: time.Now().Add(-time.Hour)}}
		if _, _, err := m.account.Register(submission.HTTP, old); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(m.api.Log()); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// The end of every job of a busy day is observed once, as it was.
func TestBusyDay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{
			Seed: 2, Key: "key", Speed: 10, StuckShare: -1,
			Latency: simulator.Latency{Median: 50 * time.Millisecond, P99: time.Second},
		}, config(func(c *collector.Config) {
			c.MaxJobAge, c.Retention = 100*time.Hour, 1000*time.Hour
		}), collector.Options{})
		defer m.stop()
		n := longtest.Size(250, 2000)
		for i := range n {
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
		if f := finished(&s); f != (ends{float64(want["completed"]), float64(want["failed"]), 0}) {
			t.Errorf("%+v, want %v", f, want)
		}
		if words := s.Totals.Counter(jobs.Words); want["failed"] < n/50 || want["completed"] < n*8/10 || words == 0 {
			t.Errorf("%v, %v words: not the mix this test is about", want, words)
		}
		if s.Due != 0 || s.Counts[jobs.Pending]+s.Counts[jobs.Running] != 0 {
			t.Errorf("something is left: %d due, %v", s.Due, s.Counts)
		}
		before := len(m.api.Log())
		pass(24 * time.Hour)
		if asked := len(m.api.Log()) - before; asked != 0 {
			t.Errorf("ended jobs were polled %d times", asked)
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
		m.api.Submit(completes("late", time.Minute)) // it was registered before the API knew it
		for _, tt := range []struct {
			after                time.Duration
			unknown, late, stuck string
		}{
			{4 * time.Minute, "pending", "completed", "running"},
			{20 * time.Minute, "lost", "completed", "running"},
			{23 * time.Hour, "lost", "completed", "running"},
			{2 * time.Hour, "", "", "lost"}, // the others are out of retention
		} {
			pass(tt.after)
			for id, want := range map[string]string{"unknown": tt.unknown, "late": tt.late, "stuck": tt.stuck} {
				if got := m.state(id); got != want {
					t.Errorf("after another %s: %s is %q, want %q", tt.after, id, got, want)
				}
			}
		}
		if s := m.account.Snapshot(); finished(&s) != (ends{1, 0, 2}) {
			t.Errorf("%+v", finished(&s))
		}
	})
}

// With a refused key the monitor polls a few times an hour, and continues at once when
// the key is replaced.
func TestRefusedKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte("wrong\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := config(func(c *collector.Config) { c.APIKey, c.APIKeyFile = "", path })
		m := start(t, simulator.Options{Key: "right"}, c, collector.Options{})
		defer m.stop()
		for i := range 100 {
			m.track(t, m.api.Submit(completes(fmt.Sprint(i), time.Minute)))
		}
		pass(5 * time.Hour)
		if n := m.api.Answered(401); n < 2 || n > 40+16 {
			t.Errorf("%d requests with a refused key in 5 hours", n)
		}
		s := m.account.Snapshot()
		trouble := s.API.Trouble
		if s.API.Up || trouble == nil || trouble.Outcome != jobstatus.Unauthorized || trouble.Until.Sub(s.At) > time.Hour {
			t.Errorf("with a refused key: up %v, trouble %+v", s.API.Up, trouble)
		}
		if err := os.WriteFile(path, []byte("right-one\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		m.api.SetKey("right-one")
		pass(time.Minute)
		if s := m.account.Snapshot(); !s.API.Up || s.API.Trouble != nil || s.Counts[jobs.Completed] != 100 {
			t.Errorf("%+v, %v a minute after the key was replaced", s.API, s.Counts)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		m.track(t, m.api.Submit(simulator.Job{RequestID: "later", Outcome: simulator.Completed, Duration: time.Second}))
		before := len(m.api.Log())
		pass(time.Hour)
		logged := strings.Count(m.logs.String(), "API key cannot be read")
		if asked := len(m.api.Log()) - before; asked != 0 || logged != 3 {
			t.Errorf("%d requests without a key; log:\n%s", asked, m.logs)
		}
		api := m.account.Snapshot().API
		if api.Up || api.Trouble == nil || !api.Trouble.NoKey || !errors.Is(api.Trouble.Err, fs.ErrNotExist) {
			t.Errorf("without a key: up %v, trouble %+v", api.Up, api.Trouble)
		}
	})
}

// While the API is down the monitor polls rarely. It catches up afterwards.
func TestAPIDown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		fault   simulator.Fault
		outcome jobstatus.Outcome
		most    float64 // requests in 6 hours
	}{
		{"server error", simulator.Fault{Kind: simulator.ServerErrorHTML, Status: 502}, jobstatus.ServerError, 60},
		{"reset", simulator.Fault{Kind: simulator.ConnectionReset}, jobstatus.Network, 60},
		{"timeout", simulator.Fault{Delay: time.Minute}, jobstatus.Timeout, 60},
		{"a page instead", simulator.Fault{Kind: simulator.HTMLPage}, jobstatus.Malformed, 60},
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
					m.track(t, m.api.Submit(completes(fmt.Sprint(i), time.Minute)))
				}
				pass(6 * time.Hour)
				s := m.account.Snapshot()
				n := requests(&s, tt.outcome)
				if n < 5 || n > tt.most || s.API.Up || s.Counts[jobs.Pending] != 50 {
					t.Errorf("%v requests, up %v, %v while it was down", n, s.API.Up, s.Counts)
				}
				if lines := strings.Count(m.logs.String(), "level=WARN"); lines > 6 {
					t.Errorf("%d warnings about one outage:\n%s", lines, m.logs)
				}
				down.Store(false)
				pass(time.Hour)
				if s := m.account.Snapshot(); !s.API.Up || s.Counts[jobs.Completed] != 50 {
					t.Errorf("up %v, %v an hour after it came back", s.API.Up, s.Counts)
				}
				if !strings.Contains(m.logs.String(), "API recovered") {
					t.Error("the log does not say that it is back")
				}
			})
		})
	}
}

// Another client spends the same quota: the monitor yields.
func TestSharedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "key", RequestsPerMinute: 5, RequestsPerDay: 100},
			config(func(c *collector.Config) { c.RequestsPerMinute, c.RequestsPerDay = 60, 10_000 }), collector.Options{})
		defer m.stop()
		for i := range 30 {
			m.track(t, m.api.Submit(simulator.Job{RequestID: fmt.Sprint(i), Outcome: simulator.Stuck}))
		}
		pass(24 * time.Hour)
		if refused := m.api.Answered(429) + m.api.Answered(402); refused == 0 || refused > 100 {
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
		s := m.account.Snapshot()
		if n := s.Totals.Counter(jobs.APIUnknownStates); n == 0 || n > 20 || m.state("a") != "pending" || !s.API.Up {
			t.Errorf("%v unknown states, the job is %s, up %v", n, m.state("a"), s.API.Up)
		}
	})
}

func TestSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "ids")
		lines := "from-file\n" +
			`{"request_id":"with-api","api":"/audio/generic/api/v1/async/asr"}` + "\n" +
			"bad\x01line\n"
		if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		m := start(t, simulator.Options{Key: "key"}, config(func(c *collector.Config) {
			c.RequestIDs, c.RequestIDFiles = []string{"from-config"}, []string{path}
		}), collector.Options{})
		defer m.stop()
		pass(time.Minute)
		for id, from := range map[string]submission.Source{
			"from-config": submission.Config, "from-file": submission.File, "with-api": submission.File,
		} {
			if j, _, known := m.account.Job(id); !known || j.Source != from {
				t.Errorf("%s: %+v, known %v", id, j, known)
			}
		}
		s := m.account.Snapshot()
		if n := s.Totals.Counter(jobs.SourceErrors, "file"); n != 1 || !strings.Contains(m.logs.String(), path+":3") {
			t.Errorf("%v source errors; log:\n%s", n, m.logs)
		}
		if s.SourceSuccess[submission.Config].IsZero() {
			t.Error("the configuration was never read with success")
		}
		problem := s.SourceProblems[submission.File]
		if len(s.SourceProblems) != 1 || problem.At.IsZero() || !strings.Contains(fmt.Sprint(problem.Err), path+":3") {
			t.Errorf("problems with sources: %v", s.SourceProblems)
		}
	})
}

// The IDs of the configuration are registered again for as long as the process runs. A
// job that ended long ago is not polled again for that, also after a reload.
func TestEndedJobsStayEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := config(func(c *collector.Config) { c.RequestIDs = []string{"a"} })
		m := start(t, simulator.Options{Key: "key"}, c, collector.Options{})
		defer m.stop()
		m.api.Submit(simulator.Job{RequestID: "a", Outcome: simulator.Completed, Duration: time.Minute})
		for range longtest.Size(5, 30) {
			pass(24 * time.Hour)
			if err := m.Reload(t.Context(), []collector.Config{c}); err != nil {
				t.Fatal(err)
			}
		}
		s := m.account.Snapshot()
		registered := s.Totals.Counter(jobs.JobsRegistered, "config")
		if finished(&s) != (ends{1, 0, 0}) || registered != 1 {
			t.Errorf("%+v, %v registered", finished(&s), registered)
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

		// A configuration with any error changes nothing.
		bad := first
		bad.Account, bad.Timeout, bad.APIKey = "second", 0, "canary"
		changed := first
		changed.RequestIDs = []string{"b"}
		err := m.Reload(t.Context(), []collector.Config{changed, bad})
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("a wrong configuration: %v", err)
		}
		pass(time.Minute)
		if len(m.Accounts()) != 1 || m.state("b") != "" {
			t.Error("part of a wrong configuration is used")
		}

		// An account that stays keeps its jobs, its quota and its counters.
		second := config(func(c *collector.Config) { c.Account = "second" })
		changed.RequestsPerDay, changed.MaxJobSeries = 12, 1
		used := m.account.Snapshot().Day.Used
		if used == 0 {
			t.Fatal("no request in an hour")
		}
		if err := m.Reload(t.Context(), []collector.Config{second, changed}); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		accounts := m.Accounts()
		if len(accounts) != 2 || accounts[0].Name() != "second" || accounts[1] != m.account {
			t.Fatalf("accounts %v", accounts)
		}
		s := m.account.Snapshot()
		if m.state("a") != "running" || m.state("b") == "" {
			t.Errorf("a is %q, b is %q", m.state("a"), m.state("b"))
		}
		if n := requests(&s, jobstatus.OK); s.Day.Limit != 12 || s.Day.Used < used || n < 2 {
			t.Errorf("quota %+v, %v requests", s.Day, n)
		}
		if s := m.account.Snapshot(); len(s.Jobs) != 1 {
			t.Errorf("%d jobs have series of their own", len(s.Jobs))
		}
		if _, err := m.Account(""); err == nil {
			t.Error("an account without a name was found among two")
		}

		// An account that leaves is stopped, and the log says what becomes of its jobs.
		if err := m.Reload(t.Context(), []collector.Config{second}); err != nil {
			t.Fatal(err)
		}
		const gone = `level=INFO msg="Account is no longer configured; its jobs are forgotten, since they are not stored" ` +
			`account=default unfinished_jobs=2`
		if log := m.logs.String(); strings.Count(log, gone) != 1 {
			t.Errorf("the log lacks %s: %s", gone, log)
		}
		before := len(m.api.Log())
		pass(48 * time.Hour)
		if asked := len(m.api.Log()) - before; asked != 0 {
			t.Errorf("an account that left polled %d times", asked)
		}
	})
}

// A reload may have removed the cause of a pause: the account polls at once.
func TestReloadEndsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "right"}, config(nil), collector.Options{})
		defer m.stop()
		m.track(t, m.api.Submit(completes("a", time.Minute)))
		m.api.SetDown(true)
		pass(2 * time.Hour)
		m.api.SetDown(false)
		c := config(func(c *collector.Config) { c.APIKey = "right" })
		if err := m.Reload(t.Context(), []collector.Config{c}); err != nil {
			t.Fatal(err)
		}
		pass(20 * time.Second)
		if m.state("a") != "completed" {
			t.Errorf("20 seconds after the reload the job is %s", m.state("a"))
		}
	})
}

// Many reloads, half of them wrong, while jobs are registered and end: nothing is
// dropped, and no goroutine is left (TestMain checks that).
func TestManyReloads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := config(nil)
		m := start(t, simulator.Options{Key: "key", Speed: 20}, c, collector.Options{})
		defer m.stop()
		var ids []string
		for i := range longtest.Size(200, 2000) {
			id := m.api.Submit(completes(fmt.Sprint(i), time.Minute))
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

// A stop lets the requests in flight end, within the time that it is given.
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
				slow := func(*http.Request) simulator.Fault { return simulator.Fault{Delay: tt.latency} }
				m := start(t, simulator.Options{Key: "key", Fault: slow}, config(nil), collector.Options{})
				m.api.Submit(simulator.Job{RequestID: "a", Outcome: simulator.Stuck})
				// It should have ended long ago, so that it is polled at once.
				old := []submission.Job{{RequestID: "a", SubmittedAt: time.Now().Add(-time.Hour)}}
				if _, _, err := m.account.Register(submission.HTTP, old); err != nil {
					t.Fatal(err)
				}
				pass(time.Second)
				begin := time.Now()
				m.stop()
				m.stop()
				if took := time.Since(begin); took != tt.took || m.state("a") != tt.state {
					t.Errorf("stopped after %s, the job is %s; want %s, %s", took, m.state("a"), tt.took, tt.state)
				}
				if s := m.account.Snapshot(); tt.state == "pending" && requests(&s, jobstatus.Network) != 0 {
					t.Error("a request that was aborted counts as an error of the API")
				}
			})
		})
	}
}

// After a stop nothing starts again, and nothing is written: the caller would not know that it has to stop it.
func TestNothingStartsAfterStop(t *testing.T) {
	for name, dir := range map[string]string{"in memory": "", "stored": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := config(func(c *collector.Config) {
					c.RequestIDs, c.RequestIDURLs = []string{"a"}, []string{"http://127.0.0.1:1/ids"}
				})
				m := start(t, simulator.Options{Key: "key"}, c, collector.Options{StateDirectory: dir})
				pass(time.Second)
				m.stop()
				polled := len(m.api.Log())
				m.Start()
				second := config(func(c *collector.Config) { c.Account = "second" })
				if err := m.Reload(t.Context(), []collector.Config{c, second}); !errors.Is(err, collector.ErrStopped) {
					t.Errorf("Reload: %v", err)
				}
				if _, _, err := m.account.Register(submission.HTTP, []submission.Job{{RequestID: "b"}}); err == nil {
					t.Error("a job was registered")
				}
				pass(time.Hour)
				if n := len(m.api.Log()); n != polled || m.state("a") == "" {
					t.Errorf("%d requests were sent, then %d; the job is %q", polled, n, m.state("a"))
				}
			})
		})
	}
}

func TestOnce(t *testing.T) {
	for _, tt := range []struct {
		name      string
		jobs      int
		perMinute float64
		perDay    int
		down      bool
		err       error
		answered  float64
		took      time.Duration // at most
	}{
		{name: "all", jobs: 40, answered: 40, took: time.Second},
		{name: "the minute's quota is waited for", jobs: 12, perMinute: 5, answered: 12, took: 3 * time.Minute},
		{name: "the day's is not", jobs: 12, perDay: 5, answered: 5, took: time.Second},
		{name: "no job", err: collector.ErrNothingPolled, took: time.Second},
		{name: "the API is down", jobs: 12, down: true, err: collector.ErrNothingPolled, took: time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := simulator.New(simulator.Options{Key: "key"})
				defer api.Close()
				api.SetDown(tt.down)
				c := config(func(c *collector.Config) { c.RequestsPerMinute, c.RequestsPerDay = tt.perMinute, tt.perDay })
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
				if n := requests(&s, jobstatus.OK); n != tt.answered {
					t.Errorf("%v answers, want %v", n, tt.answered)
				}
			})
		})
	}
}

// The collector knows no face: neither Telegraf nor Prometheus is in what it is
// built from, and Telegraf in nothing but its plugin. That uses nothing internal, so
// that it can live in a fork of Telegraf.
func TestDependencies(t *testing.T) {
	const (
		telegraf, prometheus = "github.com/influxdata/", "github.com/prometheus/"
		internal             = "deepaffects-monitor/internal/"
	)
	for _, tt := range []struct {
		packages, list string
		has            string
		not            []string
	}{
		{".", "-deps", internal + "jobstatus", []string{telegraf, prometheus}},
		{"./listener", "-deps", internal + "httpapi", []string{telegraf, prometheus}},
		// The exporter decodes its table with Telegraf's types, and runs no part of Telegraf.
		{"../cmd/exporter", "-deps", prometheus + "client_golang/prometheus",
			[]string{telegraf + "telegraf/agent", "deepaffects-monitor/plugins/"}},
		{
			"../internal/...", `-f={{if ne .Name "configfile"}}{{join .Deps "\n"}}{{end}}`,
			internal + "jobs", []string{telegraf},
		},
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

// waitedFor is a context that shows when a goroutine waits for its end.
type waitedFor struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func (w *waitedFor) Done() <-chan struct{} {
	w.once.Do(func() { close(w.waits) })
	return w.Context.Done()
}

// Scrapes and webhooks are served while a reload, or a stop, waits for the requests of
// accounts that leave.
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
			if _, _, err := goes.Register(submission.HTTP, old); err != nil {
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
				t.Error("the request was not waited for")
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

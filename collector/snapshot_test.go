package collector_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

// A monitor that is read all the time makes the same decisions as one that is not.
func TestReadingChangesNothing(t *testing.T) {
	t.Parallel()
	polls := func(read func(*collector.Account)) (seen []simulator.Seen) {
		synctest.Test(t, func(t *testing.T) {
			m := start(t, simulator.Options{Seed: 5, Key: "key", RequestsPerMinute: 5, RequestsPerDay: 100},
				config(func(c *collector.Config) {
					// What happens at one moment happens in any order: here nothing does.
					c.RequestsPerMinute, c.RequestsPerDay, c.Concurrency = 5, 100, 1
				}), collector.Options{})
			defer m.stop()
			pass(1234567 * time.Microsecond)
			for i := range longtest.Size(3, 24) * 60 { // minutes
				if i%10 == 0 {
					job := simulator.Job{Outcome: simulator.Completed, Duration: time.Duration(i%7) * 13 * time.Minute}
					job.RequestID = fmt.Sprint(i)
					m.track(t, m.api.Submit(job))
				}
				pass(59 * time.Second)
				read(m.account)
				pass(time.Second)
			}
			seen = m.api.Log()
		})
		return seen
	}
	unread := polls(func(*collector.Account) {})
	read := polls(func(a *collector.Account) {
		s := a.Snapshot()
		for _, j := range s.Jobs {
			a.Job(j.RequestID)
			a.Explain(j.RequestID)
		}
		a.Jobs(collector.JobFilter{}, "", 100)
		a.NextPolls(10)
		a.Plan(time.Hour, 10)
	})
	if len(unread) < 12 || !slices.Equal(unread, read) {
		t.Errorf("%d polls, %d if it is read all the time", len(unread), len(read))
		for i := range min(len(unread), len(read)) {
			if unread[i] != read[i] {
				t.Fatalf("poll %d: %+v, if it is read %+v", i, unread[i], read[i])
			}
		}
	}
}

// A snapshot and a list say when each of their jobs is polled next, as Job does, and when it is expected to have
// finished, as Explain does. Those that take longer than others are late.
func TestNextPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(func(c *collector.Config) { c.RequestsPerDay = 100 })
		m := start(t, simulator.Options{Key: "key"}, c, collector.Options{})
		defer m.stop()
		for i := range 20 {
			outcome := []simulator.Outcome{simulator.Completed, simulator.Stuck}[i%2]
			m.track(t, m.api.Submit(simulator.Job{RequestID: fmt.Sprint(i), Outcome: outcome, Duration: time.Minute}))
		}
		pass(6 * time.Hour)
		s := m.account.Snapshot()
		page, _ := m.account.Jobs(collector.JobFilter{}, "", 100)
		listed, next := page.Jobs, page.NextPolls
		if len(s.NextPolls) != 20 || len(s.Jobs) != 20 || len(listed) != 20 || len(next) != 20 {
			t.Fatalf("%d jobs and %d next polls, listed %d and %d", len(s.Jobs), len(s.NextPolls), len(listed), len(next))
		}
		for i, j := range s.Jobs {
			_, want, _ := m.account.Job(j.RequestID)
			if !s.NextPolls[i].Equal(want) || want.IsZero() != j.State.Ended() {
				t.Errorf("job %s, %s: next poll %s, %s", j.RequestID, j.State, s.NextPolls[i], want)
			}
			reason, _ := m.account.Explain(j.RequestID)
			if s.Finishes[i] != reason.Finish || s.Finishes[i].IsLate(s.At) == j.State.Ended() {
				t.Errorf("job %s, %s, is late after %s, %s", j.RequestID, j.State, s.Finishes[i].LateAfter, reason.Finish.LateAfter)
			}
		}
		for i, j := range listed {
			if _, want, _ := m.account.Job(j.RequestID); !next[i].Equal(want) {
				t.Errorf("job %s is listed with next poll %s, %s", j.RequestID, next[i], want)
			}
			if want, _ := m.account.Explain(j.RequestID); page.Finishes[i] != want.Finish {
				t.Errorf("job %s is listed as late after %s, %s", j.RequestID, page.Finishes[i].LateAfter, want.Finish.LateAfter)
			}
		}
		if s.Late.Jobs != 10 || s.Late.Longest < 5 {
			t.Errorf("%+v are late, want 10 jobs", s.Late)
		}
	})
}

// The start of an account is one line with what an operator checks first.
func TestStartIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(func(c *collector.Config) {
			c.URL, c.RequestIDs = "https://host.invalid:8443/base", []string{"a", "b"}
			c.RequestsPerMinute, c.RequestsPerDay = 5, 100
		})
		m := start(t, simulator.Options{Key: "key"}, c, collector.Options{})
		m.stop()
		line := `msg="Account started" account=default url=https://host.invalid:8443/base requests_per_minute=5 ` +
			`requests_per_day=100 store=memory jobs=0 unfinished_jobs=0 request_ids=2 request_id_files=0 request_id_urls=0 ` +
			`webhooks=false`
		if n := strings.Count(m.logs.String(), line); n != 1 {
			t.Errorf("logged %d times in\n%s", n, m.logs)
		}
	})
}

// What was learnt in the minutes before a stop is there after it.
func TestLearntIsStoredAtStop(t *testing.T) {
	dir := t.TempDir()
	expected := func(run func(m *monitor)) (median time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			m := start(t, simulator.Options{Key: "key"}, config(nil), collector.Options{StateDirectory: dir})
			run(m)
			probe := simulator.Job{RequestID: fmt.Sprint("probe-", time.Now().UnixNano()), Outcome: simulator.Stuck}
			m.track(t, m.api.Submit(probe))
			ids := m.account.NextPolls(1)
			if len(ids) != 1 {
				t.Fatal("nothing is to be polled")
			}
			why, _ := m.account.Explain(ids[0].RequestID)
			median = why.Expected
			if err := m.account.Remove(ids[0].RequestID); err != nil {
				t.Error(err)
			}
			m.stop()
		})
		return median
	}
	learnt := expected(func(m *monitor) {
		for i := range 50 {
			m.track(t, m.api.Submit(completes(fmt.Sprint(i), 20*time.Second)))
		}
		pass(5 * time.Minute)
	})
	after := expected(func(*monitor) {})
	if learnt > time.Minute || after > time.Minute {
		t.Errorf("jobs are expected to take %s before the stop, %s after it", learnt, after)
	}
}

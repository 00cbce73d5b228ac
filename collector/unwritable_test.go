package collector_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// breakStore makes writing fail until mend is called.
func breakStore(t *testing.T, dir string) (mend func()) {
	t.Helper()
	beside, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "register.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	exec := func(statements string) {
		if _, err := beside.Exec(statements); err != nil {
			t.Fatal(err)
		}
	}
	exec("ALTER TABLE totals RENAME TO away; ALTER TABLE requests RENAME TO away_too")
	return func() {
		exec("ALTER TABLE away RENAME TO totals; ALTER TABLE away_too RENAME TO requests")
		beside.Close()
	}
}

// While the store cannot be written nothing is polled, with a quota and without one. It
// is tried every few seconds, and logged once; so is that it can be written again.
func TestUnwritable(t *testing.T) {
	for perMinute, most := range map[float64]int{
		600: 16,  // what was in flight when it was noticed
		0:   200, // nothing is reserved, so that only the next sweep notices it
	} {
		t.Run(fmt.Sprint(perMinute, " a minute"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				c := config(func(c *collector.Config) { c.RequestsPerMinute = perMinute })
				m := start(t, simulator.Options{Key: "key"}, c, collector.Options{StateDirectory: dir})
				defer m.stop()
				var submitted []submission.Job
				for i := range 100 {
					m.api.Submit(simulator.Job{RequestID: fmt.Sprint(i), Outcome: simulator.Stuck})
					// It may have ended by now: it is polled soon, and again.
					job := submission.Job{RequestID: fmt.Sprint(i), SubmittedAt: time.Now().Add(-3 * time.Minute)}
					submitted = append(submitted, job)
				}
				if _, _, err := m.account.Register(submission.File, submitted); err != nil {
					t.Fatal(err)
				}
				want := func(broken, mended int) {
					t.Helper()
					if n := strings.Count(m.logs.String(), "Store cannot be written"); n != broken {
						t.Errorf("logged %d times that the store cannot be written", n)
					}
					if n := strings.Count(m.logs.String(), "Store can be written again"); n != mended {
						t.Errorf("logged %d times that the store can be written again", n)
					}
				}
				synctest.Wait()
				mend := breakStore(t, dir)
				before := len(m.api.Log())
				pass(10 * time.Minute)
				if n := len(m.api.Log()) - before; n > most {
					t.Errorf("%d requests", n)
				}
				want(1, 0)
				if s := m.account.Snapshot(); s.StoreError == nil || s.Totals.Counter(jobs.StoreErrors) != 0 {
					t.Errorf("the store fails with %v; shown are %v errors, which are not stored",
						s.StoreError, s.Totals.Counter(jobs.StoreErrors))
				}
				mend()
				pass(time.Minute)
				if n := len(m.api.Log()) - before; n < 50 {
					t.Errorf("%d requests when it can be written again", n)
				}
				want(1, 1)
				s := m.account.Snapshot()
				if n := s.Totals.Counter(jobs.StoreErrors); s.StoreError != nil || n < 60 || n > 400 {
					t.Errorf("when it can be written again: %v, and %v errors in 10 minutes", s.StoreError, n)
				}
			})
		})
	}
}

// A stop tries once to store what is left, and logs once that it could not.
func TestStopOfUnwritable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		m := start(t, simulator.Options{Key: "key"}, config(nil), collector.Options{StateDirectory: dir})
		pass(time.Minute)
		mend := breakStore(t, dir)
		m.account.RefuseWebhook(jobs.WebhookMalformed)
		m.stop()
		if n := strings.Count(m.logs.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d errors are logged:\n%s", n, m.logs)
		}
		mend()
	})
}

// What a source finds meanwhile waits for the store. It is not logged at each look: the
// reason was logged.
func TestSourcesOfUnwritable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		ids := filepath.Join(t.TempDir(), "ids.txt")
		if err := os.WriteFile(ids, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c := config(func(c *collector.Config) { c.RequestIDFiles = []string{ids} })
		m := start(t, simulator.Options{Key: "key"}, c, collector.Options{StateDirectory: dir})
		defer m.stop()
		pass(time.Minute)
		mend := breakStore(t, dir)
		if err := os.WriteFile(ids, []byte("a\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		s := m.account.Snapshot()
		if err := s.SourceProblems[submission.File].Err; err == nil || !strings.Contains(err.Error(), "registering jobs") {
			t.Errorf("the source's problem: %v", err)
		}
		for line, want := range map[string]int{"Request ID source has errors": 0, "Store cannot be written": 2} {
			if n := strings.Count(m.logs.String(), line); n != want {
				t.Errorf("%q was logged %d times", line, n)
			}
		}
		mend()
		pass(time.Minute)
		if m.state("a") == "" {
			t.Error("the job is not tracked when the store can be written again")
		}
	})
}

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
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// While the register cannot be written nothing is asked, with a quota and without
// one, it is tried every few seconds, and that is said once; so is that it can be
// written again.
func TestUnwritable(t *testing.T) {
	for _, perMinute := range []float64{0, 600} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			m := start(t, simulator.Options{Key: "key"}, config(func(c *collector.Config) { c.RequestsPerMinute = perMinute }), collector.Options{StateDirectory: dir})
			defer m.stop()
			beside, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "register.db")+"?_pragma=busy_timeout(10000)")
			if err != nil {
				t.Fatal(err)
			}
			defer beside.Close()
			for i := range 100 {
				m.api.Submit(simulator.Job{RequestID: fmt.Sprint(i), Outcome: simulator.Stuck})
				// It may have ended by now: it is asked about soon, and again.
				job := []submission.Job{{RequestID: fmt.Sprint(i), SubmittedAt: time.Now().Add(-3 * time.Minute)}}
				if _, _, err := m.account.Track(t.Context(), submission.File, job); err != nil {
					t.Fatal(err)
				}
			}
			said := func() (broken, mended int) {
				return strings.Count(m.logs.String(), "The register cannot be written"), strings.Count(m.logs.String(), "The register can be written again")
			}
			synctest.Wait()
			if _, err := beside.Exec("ALTER TABLE totals RENAME TO away; ALTER TABLE requests RENAME TO away_too"); err != nil {
				t.Fatal(err)
			}
			before := len(m.api.Log())
			pass(10 * time.Minute)
			if asked := len(m.api.Log()) - before; asked > 16 { // what was under way when it was noticed
				t.Errorf("%v a minute: %d requests", perMinute, asked)
			}
			if broken, mended := said(); broken != 1 || mended != 0 {
				t.Errorf("%v a minute: said %d times that it cannot be written, %d that it can", perMinute, broken, mended)
			}
			if n := m.account.Snapshot().Totals.StoreErrors; n < 60 || n > 400 {
				t.Errorf("%v a minute: it was tried %d times", perMinute, n)
			}
			if _, err := beside.Exec("ALTER TABLE away RENAME TO totals; ALTER TABLE away_too RENAME TO requests"); err != nil {
				t.Fatal(err)
			}
			pass(time.Minute)
			if asked := len(m.api.Log()) - before; asked < 50 {
				t.Errorf("%v a minute: %d requests when it can be written again", perMinute, asked)
			}
			if broken, mended := said(); broken != 1 || mended != 1 {
				t.Errorf("%v a minute: said %d times that it cannot be written, %d that it can", perMinute, broken, mended)
			}
		})
	}
}

// What a source finds meanwhile waits for the register, without a word in the log at
// each look: why it waits has been said.
func TestSourcesOfUnwritable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		ids := filepath.Join(t.TempDir(), "ids.txt")
		m := start(t, simulator.Options{Key: "key"}, config(func(c *collector.Config) { c.RequestIDFiles = []string{ids} }), collector.Options{StateDirectory: dir})
		defer m.stop()
		pass(time.Minute)
		before := strings.Count(m.logs.String(), "A source of request IDs has a problem") // there is no such file yet
		beside, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "register.db")+"?_pragma=busy_timeout(10000)")
		if err != nil {
			t.Fatal(err)
		}
		defer beside.Close()
		if _, err := beside.Exec("ALTER TABLE totals RENAME TO away; ALTER TABLE jobs RENAME TO away_too"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ids, []byte("a\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		s := m.account.Snapshot()
		if problem, had := s.SourceProblems[submission.File]; !had || !strings.Contains(problem.Err.Error(), "registering jobs") {
			t.Errorf("the source's problem: %v", problem.Err)
		}
		if said := strings.Count(m.logs.String(), "A source of request IDs has a problem") - before; said != 0 {
			t.Errorf("the log has %d lines about the source", said)
		}
		if said := strings.Count(m.logs.String(), "The register cannot be written"); said != 1 {
			t.Errorf("it says %d times that the register cannot be written", said)
		}
		if _, err := beside.Exec("ALTER TABLE away RENAME TO totals; ALTER TABLE away_too RENAME TO jobs"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if m.state("a") == "" {
			t.Error("the job is not tracked when it can be written again")
		}
	})
}

package collector_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// An oldAPI says that every job has completed, until it has forgotten them all.
type oldAPI struct {
	forgotten atomic.Bool
	requests  atomic.Int64
}

func (a *oldAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	a.requests.Add(1)
	id := r.URL.Query().Get("request_id")
	code := http.StatusOK
	body := `{"status":"Completed","response":{"request_id":"` + id + `","response":{"num_speakers":1,"words":[]}}}`
	if a.forgotten.Load() {
		code, body = http.StatusNotFound, ""
	}
	return &http.Response{
		StatusCode: code, Header: make(http.Header), Request: r, Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

// No source brings a job back that has ended, whatever happens to the source and to the monitor. Nothing is
// requested from the API, which may not know these jobs any more.
func TestSourcesBringNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := func(name string) string { return filepath.Join(dir, name) }
		write := func(name, text string) {
			if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		rename := func(from, to string) {
			if err := os.Rename(path(from), path(to)); err != nil {
				t.Fatal(err)
			}
		}
		api := new(oldAPI)
		var jump atomic.Int64
		c := config(func(c *collector.Config) {
			c.RequestIDFiles, c.RequestIDs = []string{path("*.ids")}, []string{"in the configuration"}
			c.Retention = time.Minute
		})
		var m *collector.Collector
		run := func() {
			var err error
			m, err = collector.New([]collector.Config{c}, collector.Options{
				Transport: api, StateDirectory: path("state"),
				Now: func() time.Time { return jumped(time.Now(), time.Duration(jump.Load())) },
			})
			if err != nil {
				t.Fatal(err)
			}
			m.Start()
		}
		stop := func() { m.Stop(context.Background()) }
		reload := func(change func(*collector.Config)) {
			with := c
			change(&with)
			if err := m.Reload(context.Background(), []collector.Config{with}); err != nil {
				t.Fatal(err)
			}
		}
		const ids = "one\ntwo\nthree\n"
		write("a.ids", ids)
		run()
		pass(50 * time.Hour)
		requests := api.requests.Load()
		check := func(when string) {
			t.Helper()
			s := m.Accounts()[0].Snapshot()
			registered, finished := s.Totals.Counter(jobs.JobsRegistered), s.Totals.Counter(jobs.JobsFinished)
			if registered != 4 || finished != 4 || api.requests.Load() != requests {
				t.Errorf("%s: %v jobs registered, %v finished, %d requests more",
					when, registered, finished, api.requests.Load()-requests)
			}
		}
		check("at first")
		api.forgotten.Store(true)
		day := 24 * time.Hour
		for _, step := range []struct {
			name string
			do   func()
		}{
			{"a restart", func() { stop(); run() }},
			{"another file", func() { write("b.ids", ids); rename("b.ids", "a.ids") }},
			{"copy and truncate", func() { write("d.ids", ids); write("a.ids", ""); pass(time.Minute); write("a.ids", ids) }},
			{"nothing is named for days, and then all again", func() {
				rename("a.ids", "a")
				rename("d.ids", "d")
				reload(func(c *collector.Config) { c.RequestIDs = nil })
				stop()
				pass(60 * time.Hour)
				run()
				reload(func(c *collector.Config) { c.RequestIDs = nil })
				pass(61 * time.Minute)
				rename("a", "c.ids") // after a rotation, maybe
				reload(func(*collector.Config) {})
			}},
			{"other sources name them", func() {
				reload(func(c *collector.Config) { c.RequestIDs = []string{"two"} })
				submitted := []submission.Job{{RequestID: "three"}, {RequestID: "in the configuration"}}
				if _, _, err := m.Accounts()[0].Register(submission.HTTP, submitted); err != nil {
					t.Error(err)
				}
			}},
			{"a year of downtime", func() { stop(); pass(365 * day); run() }},
			{"a clock that jumps forward", func() { jump.Store(int64(2000 * day)); pass(10 * time.Minute); stop(); run() }},
			{"a clock that jumps back", func() { jump.Store(int64(-2000 * day)); pass(10 * time.Minute); stop(); run() }},
		} {
			step.do()
			pass(10 * time.Minute)
			check(step.name)
		}
		stop()
	})
}

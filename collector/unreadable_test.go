package collector_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/poller"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

// Jobs whose results cannot be read end after three polls, and hold up no other job.
func TestUnreadableResults(t *testing.T) {
	const word = `{"status":"Completed","response":{"request_id":"%s","response":{"words":[%s]}}}`
	ends := map[string]struct{ body, state, code string }{
		"unread-1": {fmt.Sprintf(word, "unread-1", `{"start":0,"end":}`), "completed", ""},
		"unread-2": {fmt.Sprintf(word, "unread-2", `{"start":0 "end":1}`), "completed", ""},
		"unread-3": {`{"status":"Completed","response":{"response":{"transcript":"…`, "completed", ""},
		"unread-4": {`{"status":"Completed","response":{"response":{"fault":{"detail":{"error_code":"x"}}}`, "failed", "x"},
		"unread-5": {`{"status":"Failed","response":`, "failed", "unknown"},
		"unread-6": {`{"response":{"request_id":"unread-6","response":{"words":[[`, "lost", "unreadable"},
		"unread-7": {`{"status":{"word":"Completed"}}`, "lost", "unreadable"},
		"unread-8": {`<html>only for this one</html>`, "lost", "unreadable"},
		"unread-9": {`{"status":"Completed","response":{"request_id":"another"}}`, "lost", "unreadable"},
	}
	synctest.Test(t, func(t *testing.T) {
		m := start(t, simulator.Options{Key: "key"}, config(func(c *collector.Config) {
			c.RequestsPerMinute, c.RequestsPerDay = 60, 0
		}), collector.Options{})
		defer m.stop()
		begin := time.Now()
		for id, end := range ends {
			m.api.SetBody(id, http.StatusOK, []byte(end.body))
			m.track(t, id)
		}
		for i := range 51 {
			m.track(t, m.api.Submit(completes(fmt.Sprint("sound-", i), time.Duration(i)*20*time.Second)))
		}
		pass(9*time.Minute + 50*time.Second)
		for id := range ends {
			if state := m.state(id); state != "pending" {
				t.Errorf("%s is %s before 10 minutes", id, state)
			}
		}
		if n := finished(snapshot(m)).completed; n < 20 {
			t.Errorf("only %v sound jobs completed", n)
		}
		pass(20 * time.Minute)
		asked := make(map[string]int)
		for _, seen := range m.api.Log() {
			asked[seen.RequestID]++
		}
		for id, end := range ends {
			j, _, _ := m.account.Job(id)
			if j.State.String() != end.state || j.ErrorCode != end.code || asked[id] != 3 ||
				j.LastPoll.Outcome != jobstatus.Malformed || j.LastPoll.Detail == "" {
				t.Errorf("%s is %s %q after %d polls, last %+v", id, j.State, j.ErrorCode, asked[id], j.LastPoll)
			}
			lines := strings.Count(m.logs.String(), `ended without a result" account=default request_id=`+id)
			if lines != 1 {
				t.Errorf("%s: %d lines", id, lines)
			}
		}
		const place = `request_id=unread-2 state=completed err="invalid JSON at byte `
		if log := m.logs.String(); !strings.Contains(log, place) {
			t.Errorf("the log does not name the place: %s", log)
		}
		s := m.account.Snapshot()
		if n := s.Totals.Counter(jobs.UnreadableResults); n != float64(len(ends)) {
			t.Errorf("%v unreadable results", n)
		}
		if f := finished(&s); f.completed != 54 || f.failed != 2 || f.lost != 4 || s.OldestUnfinished != 0 {
			t.Errorf("after %s: %+v", time.Since(begin), f)
		}
		if strings.Contains(m.logs.String(), "polling is paused") {
			t.Error("the account was paused")
		}
	})
}

// A page in the place of all answers, as from a proxy or at a wrong URL, is an outage: no job is given up for it.
func TestPageInPlaceOfAnswers(t *testing.T) {
	for _, code := range []int{http.StatusOK, http.StatusFound, http.StatusNotFound, http.StatusBadGateway} {
		synctest.Test(t, func(t *testing.T) {
			m := start(t, simulator.Options{Key: "key"}, config(func(c *collector.Config) {
				c.RequestsPerMinute, c.RequestsPerDay = 60, 0
			}), collector.Options{})
			defer m.stop()
			for i := range 10 {
				id := fmt.Sprint("job-", i)
				m.api.SetBody(id, code, []byte("<html>maintenance</html>"))
				m.track(t, id)
			}
			pass(6 * time.Hour)
			if f := finished(snapshot(m)); f.lost != 0 || !strings.Contains(m.logs.String(), "polling is paused") {
				t.Errorf("HTTP %d: %+v, logged %s", code, f, m.logs)
			}
			state := m.account.API()
			if c := state.Condition(); state.Up || c != poller.Unusable && c != poller.Unavailable {
				t.Errorf("HTTP %d: up %v, condition %v", code, state.Up, c)
			}
		})
	}
}

// A page or a redirect in the place of single answers, while others arrive, says nothing about their jobs.
func TestPageInPlaceOfSomeAnswers(t *testing.T) {
	for _, code := range []int{http.StatusFound, http.StatusNotFound} {
		synctest.Test(t, func(t *testing.T) {
			m := start(t, simulator.Options{Key: "key"}, config(func(c *collector.Config) {
				c.RequestsPerMinute, c.RequestsPerDay = 60, 0
			}), collector.Options{})
			defer m.stop()
			m.api.SetBody("page", code, []byte("<html>not for this one</html>"))
			m.track(t, "page")
			for i := range 50 {
				m.track(t, m.api.Submit(completes(fmt.Sprint("sound-", i), time.Duration(i)*5*time.Minute)))
			}
			pass(5 * time.Hour)
			if f := finished(snapshot(m)); f.completed != 50 || m.state("page") != "pending" {
				t.Errorf("HTTP %d: the job is %s; %+v", code, m.state("page"), f)
			}
		})
	}
}

func snapshot(m *monitor) *collector.Snapshot {
	s := m.account.Snapshot()
	return &s
}

package simulator_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

func TestLifeOfAJob(t *testing.T) {
	for _, tt := range []struct {
		outcome simulator.Outcome
		end     string // state word after a day
		code    bool   // with a fault inside
	}{
		{simulator.Completed, "Completed", false},
		{simulator.CompletedWithFault, "Completed", true},
		{simulator.Failed, "Failed", true},
		{simulator.Stuck, "Running", false},
	} {
		t.Run(string(tt.outcome), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := start(t, simulator.Options{})
				id := s.Submit(simulator.Job{Outcome: tt.outcome, Duration: time.Minute, AudioSeconds: 30})
				unfinished := func(after string) {
					t.Helper()
					status, body := get(t, c, "", id)
					e := decode[envelope](t, body)
					if status != 200 || e.Status != "Running" && e.Status != "In Progress" {
						t.Fatalf("%s: %d %s", after, status, body)
					}
				}
				unfinished("at once")
				<-time.After(time.Minute - 1)
				unfinished("just before its end")
				<-time.After(24 * time.Hour)
				if tt.outcome == simulator.Stuck {
					unfinished("after a day")
					return
				}
				status, body := get(t, c, "", id)
				e := decode[envelope](t, body)
				if status != 200 || e.Status != tt.end || e.Response.RequestID != id {
					t.Fatalf("%d %.200s", status, body)
				}
				inside := decode[struct{ Fault *fault }](t, e.Response.Response).Fault
				if (inside != nil) != tt.code {
					t.Errorf("fault inside: %+v", inside)
				}
				if record := s.Jobs()[0]; inside.code() != record.ErrorCode {
					t.Errorf("fault %q, the record says %q", inside.code(), record.ErrorCode)
				}
				if !strings.HasSuffix(string(body), `, "status": "`+tt.end+`"}`) {
					t.Errorf("status is not last: …%s", body[len(body)-60:])
				}
			})
		})
	}
}

func TestUnfinishedWords(t *testing.T) {
	s, c := start(t, simulator.Options{})
	seen := map[string]int{}
	for range 200 {
		_, body := get(t, c, "", s.Submit(simulator.Job{Outcome: simulator.Stuck}))
		e := decode[envelope](t, body)
		seen[e.Status]++
		if (e.Status == "In Progress") != (e.Response == nil) {
			t.Fatalf("%s", body)
		}
	}
	if seen["Running"] < 100 || seen["In Progress"] == 0 || len(seen) != 2 {
		t.Errorf("words: %v", seen)
	}
}

func TestRefusals(t *testing.T) {
	s, c := start(t, simulator.Options{Key: "right"})
	known := s.Submit(simulator.Job{Outcome: simulator.Stuck})
	unknown := s.Submit(simulator.Job{Outcome: simulator.Unknown})
	for _, tt := range []struct {
		name, key, id string
		status        int
		code          string
	}{
		{"known", "right", known, 200, ""},
		{"never heard of", "right", "no-such-job", 404, "com.deepaffects.NotFound"},
		{"submitted as unknown", "right", unknown, 404, "com.deepaffects.NotFound"},
		{"wrong key", "wrong", known, 401, "oauth.v2.InvalidApiKey"},
		{"no key", "", known, 401, "steps.oauth.v2.FailedToResolveAPIKey"},
		{"no request ID", "right", "", 400, "params_invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body := get(t, c, tt.key, tt.id)
			if code := decode[envelope](t, body).Fault.code(); status != tt.status || code != tt.code {
				t.Errorf("%d %q, want %d %q", status, code, tt.status, tt.code)
			}
		})
	}
	if len(s.Log()) != 6 || s.Answered(404) != 2 || s.Answered(401) != 2 {
		t.Errorf("%+v", s.Log())
	}

	s.SetKey("left")
	if status, _ := get(t, c, "right", known); status != 401 {
		t.Errorf("old key after a rotation: %d", status)
	}
	if status, _ := get(t, c, "left", known); status != 200 {
		t.Errorf("new key after a rotation: %d", status)
	}
	s.SetDown(true)
	if status, body := get(t, c, "left", known); status != 503 || !strings.HasPrefix(string(body), "<html>") {
		t.Errorf("while down: %d %s", status, body)
	}
	s.SetDown(false)
	if status, _ := get(t, c, "left", known); status != 200 {
		t.Errorf("up again: %d", status)
	}
}

func TestRoutes(t *testing.T) {
	_, c := start(t, simulator.Options{})
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/transaction/generic/api/v1/async/status?request_id=x", 404},
		{"GET", "/audio/generic/api/v1/async/asr", 404},
		{"GET", "/", 404},
	} {
		req, err := http.NewRequest(tt.method, base+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, resp.StatusCode, tt.status)
		}
	}
}

func TestSetBody(t *testing.T) {
	s, c := start(t, simulator.Options{})
	id := s.Submit(simulator.Job{Outcome: simulator.Completed, Duration: -1, AudioSeconds: 10})
	s.SetBody(id, 418, []byte(`{"short": "and stout"}`))
	s.SetBody("never submitted", 200, nil)
	if status, body := get(t, c, "", id); status != 418 || string(body) != `{"short": "and stout"}` {
		t.Errorf("%d %s", status, body)
	}
	if status, body := get(t, c, "", "never submitted"); status != 200 || len(body) != 0 {
		t.Errorf("%d %s", status, body)
	}
}

func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t, simulator.Options{Retention: time.Hour})
		begin := time.Now()
		ends := s.Submit(simulator.Job{Outcome: simulator.Completed, Duration: time.Minute, AudioSeconds: 5})
		stuck := s.Submit(simulator.Job{Outcome: simulator.Stuck})
		for _, tt := range []struct {
			at   time.Duration
			want int
			id   string
		}{
			{61 * time.Minute, 200, ends},
			{61*time.Minute + 1, 404, ends},
			{25 * time.Hour, 200, stuck},
			{25*time.Hour + 1, 404, stuck},
		} {
			<-time.After(tt.at - time.Since(begin))
			if status, _ := get(t, c, "", tt.id); status != tt.want {
				t.Errorf("after %s: %d, want %d", tt.at, status, tt.want)
			}
		}
		if jobs := s.Jobs(); len(jobs) != 0 {
			t.Errorf("still known: %v", jobs)
		}
		// Memory is bounded: only jobs within their retention stay.
		for range 1000 {
			s.Submit(simulator.Job{Outcome: simulator.Completed, Duration: -1})
			<-time.After(time.Minute)
		}
		if n := s.Remembered(); n > 61+15 {
			t.Errorf("%d jobs in memory", n)
		}
	})
}

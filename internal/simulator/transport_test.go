package simulator_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

func request(t *testing.T, ctx context.Context, id string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", statusURL("", id), nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestContextEndsARequest(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    simulator.Options
		body bool // the deadline is met while the body is read
	}{
		{"in latency", simulator.Options{Latency: simulator.Latency{Median: time.Hour}}, false},
		{"before the answer", simulator.Options{Faults: []simulator.FaultShare{{Share: 1, Fault: simulator.Fault{Delay: time.Hour}}}}, false},
		{"in a slow body", simulator.Options{Faults: []simulator.FaultShare{{Share: 1, Fault: simulator.Fault{Kind: simulator.SlowBody, Delay: time.Hour}}}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := start(t, tt.o)
				id := s.Submit(simulator.Job{Outcome: simulator.Completed, Duration: -1, AudioSeconds: 30})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				before := time.Now()
				resp, err := c.Do(request(t, ctx, id))
				if tt.body {
					if err != nil {
						t.Fatal(err)
					}
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v", err)
				}
				if d := time.Since(before); d != 10*time.Second {
					t.Errorf("after %s", d)
				}
			})
		})
	}
}

func TestClientTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, simulator.Options{Latency: simulator.Latency{Median: time.Hour}})
		c.Timeout = 3 * time.Second
		_, err := c.Get(statusURL("", "x"))
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v", err)
		}
	})
}

// A request that was given up on its way never arrives.
func TestGivenUpOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t, simulator.Options{Latency: simulator.Latency{Median: 1000 * time.Hour}, RequestsPerMinute: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond)
		defer cancel()
		if _, err := c.Do(request(t, ctx, "x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		synctest.Wait()
		if log := s.Log(); len(log) != 0 {
			t.Errorf("%+v", log)
		}
	})
}

// A body that is closed or forgotten holds up nothing.
func TestUnreadBodies(t *testing.T) {
	s, c := start(t, simulator.Options{})
	id := s.Submit(simulator.Job{API: "featurize", Outcome: simulator.Completed, Duration: -1, AudioSeconds: 600})
	resp, err := c.Get(statusURL("", id))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 1)); err == nil {
		t.Error("a closed body can be read")
	}
	forgotten, err := c.Get(statusURL("", id))
	if err != nil {
		t.Fatal(err)
	}
	s.Close() // returns only when nothing runs any more
	if _, err := io.ReadAll(forgotten.Body); err == nil {
		t.Error("the body went on after Close")
	}
}

func TestCloseEndsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t, simulator.Options{Latency: simulator.Latency{Median: time.Hour}})
		done := make(chan error)
		go func() {
			_, err := c.Get(statusURL("", "x"))
			done <- err
		}()
		synctest.Wait()
		before := time.Now()
		s.Close()
		if err := <-done; err == nil || !strings.Contains(err.Error(), "simulator: closed") {
			t.Errorf("%v", err)
		}
		if _, err := c.Get(statusURL("", "x")); err == nil {
			t.Error("answered after Close")
		}
		if time.Since(before) != 0 {
			t.Error("Close waited")
		}
	})
}

func TestSubmissions(t *testing.T) {
	s, inMemory := start(t, simulator.Options{Key: "k"})
	server := httptest.NewServer(s)
	defer server.Close()
	for _, tt := range []struct {
		name, call string
		status     int
		api        string
		audio      float64 // 0: any
	}{
		{"asr", "/audio/generic/api/v1/async/asr?apikey=k&request_id=mine-1&audio_seconds=90.5", 202, "asr", 90.5},
		{"another version", "/audio/generic/api/v2/async/denoise?apikey=k&request_id=mine-2", 202, "denoise", 0},
		{"two parts", "/audio/custom/diarization/api/v1/async/analytics/interaction?apikey=k&request_id=mine-3&webhook=http%3A%2F%2F127.0.0.1%3A1%2F", 202, "analytics/interaction", 0},
		{"wrong key", "/audio/generic/api/v1/async/asr?apikey=x", 401, "", 0},
		{"bad length", "/audio/generic/api/v1/async/asr?apikey=k&audio_seconds=NaN", 400, "", 0},
		{"bad webhook", "/audio/generic/api/v1/async/asr?apikey=k&webhook=ftp%3A%2F%2Fx", 400, "", 0},
	} {
		for where, post := range map[string]func() (*http.Response, error){
			"in memory": func() (*http.Response, error) {
				return inMemory.Post(base+tt.call, "application/json", strings.NewReader("audio"))
			},
			"over loopback": func() (*http.Response, error) {
				return server.Client().Post(server.URL+tt.call, "audio/wav", strings.NewReader(strings.Repeat("audio", 1<<18)))
			},
		} {
			t.Run(tt.name+" "+where, func(t *testing.T) {
				before := len(s.Jobs())
				resp, err := post()
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != tt.status {
					t.Fatalf("%v %d %s", err, resp.StatusCode, body)
				}
				if tt.status != 202 {
					if decode[envelope](t, body).Fault == nil || len(s.Jobs()) != before {
						t.Errorf("%s", body)
					}
					return
				}
				answer := decode[map[string]string](t, body)
				path, _, _ := strings.Cut(tt.call, "?")
				var found []simulator.JobRecord
				for _, j := range s.Jobs() {
					if j.RequestID == answer["request_id"] {
						found = append(found, j)
					}
				}
				if answer["api"] != path || len(found) != 1 || found[0].API != tt.api || tt.audio != 0 && found[0].AudioSeconds != tt.audio {
					t.Errorf("%s, %+v", body, found)
				}
			})
		}
	}
}

func TestRequestIDsAreUnique(t *testing.T) {
	s, _ := start(t, simulator.Options{Seed: 9})
	seen := map[string]bool{}
	for range 10_000 {
		id := s.Submit(simulator.Job{Outcome: simulator.Stuck})
		if seen[id] || len(id) != 36 || id[14] != '4' || strings.Count(id, "-") != 4 {
			t.Fatal(id)
		}
		seen[id] = true
	}
}

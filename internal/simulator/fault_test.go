package simulator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

func TestFaults(t *testing.T) {
	isJSON := func(b []byte) bool { return json.Valid(b) }
	isPage := func(b []byte) bool { return bytes.HasPrefix(b, []byte("<html>")) }
	isEmpty := func(b []byte) bool { return len(b) == 0 }
	for _, tt := range []struct {
		fault  simulator.Fault
		status int // 0: no response
		body   func([]byte) bool
	}{
		{simulator.Fault{}, 200, isJSON},
		{simulator.Fault{Kind: simulator.ServerErrorJSON}, 500, isJSON},
		{simulator.Fault{Kind: simulator.ServerErrorHTML, Status: 503}, 503, isPage},
		{simulator.Fault{Kind: simulator.HTMLPage}, 200, isPage},
		{simulator.Fault{Kind: simulator.EmptyBody}, 200, isEmpty},
		{simulator.Fault{Kind: simulator.ConnectionReset}, 0, nil},
	} {
		t.Run(string(tt.fault.Kind), func(t *testing.T) {
			s, inMemory := start(t, always(tt.fault))
			server := httptest.NewServer(s)
			defer server.Close()
			id := s.Submit(simulator.Job{Outcome: simulator.Completed, Duration: -1, AudioSeconds: 60})
			path := strings.TrimPrefix(statusURL("", id), base)

			for where, ask := range map[string]func() (*http.Response, error){
				"in memory":     func() (*http.Response, error) { return inMemory.Get(base + path) },
				"over loopback": func() (*http.Response, error) { return server.Client().Get(server.URL + path) },
			} {
				before := len(s.Log())
				resp, err := ask()
				if log := s.Log()[before:]; len(log) != 1 || log[0].Status != tt.status {
					t.Errorf("%s: log has %+v", where, log)
				}
				if tt.status == 0 {
					// Over loopback, the connection is closed instead.
					if err == nil || where == "in memory" && !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("%s: %v", where, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v", where, err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != tt.status || !tt.body(body) || err != nil {
					t.Errorf("%s: %d, %v, %.100s", where, resp.StatusCode, err, body)
				}
			}
			if n := s.Answered(tt.status); n != 2 {
				t.Errorf("%d requests counted", n)
			}
		})
	}
}

func TestFaultPerRequest(t *testing.T) {
	s, c := start(t, simulator.Options{Fault: func(r *http.Request) simulator.Fault {
		if r.URL.Query().Get("request_id") == "bad" {
			return simulator.Fault{Kind: simulator.ServerErrorJSON, Status: 502}
		}
		return simulator.Fault{}
	}})
	for _, id := range []string{"good", "bad"} {
		s.Submit(simulator.Job{RequestID: id, Outcome: simulator.Stuck})
	}
	if status, _ := get(t, c, "", "good"); status != 200 {
		t.Errorf("good: %d", status)
	}
	if status, body := get(t, c, "", "bad"); status != 502 || decode[envelope](t, body).Fault.code() != "api_error" {
		t.Errorf("bad: %d %s", status, body)
	}
}

// Refusals by the gateway have no fault, so that tests of quotas can rely on them.
func TestRefusalsAreNotSpoilt(t *testing.T) {
	o := always(simulator.Fault{Kind: simulator.HTMLPage})
	o.Key, o.RequestsPerMinute = "k", 1
	s, c := start(t, o)
	if status, body := get(t, c, "k", "x"); status != 200 || !strings.HasPrefix(string(body), "<html>") {
		t.Errorf("with a fault: %d %s", status, body)
	}
	if status, _ := get(t, c, "k", "x"); status != 429 {
		t.Errorf("over the rate: %d", status)
	}
	if status, _ := get(t, c, "wrong", "x"); status != 401 {
		t.Errorf("wrong key: %d", status)
	}
	if s.Answered(200) != 1 || s.Answered(429) != 1 || s.Answered(401) != 1 {
		t.Errorf("%+v", s.Log())
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t, simulator.Options{
			Seed: 1, Latency: simulator.Latency{Median: 100 * time.Millisecond, P99: time.Second},
		})
		id := s.Submit(simulator.Job{Outcome: simulator.Stuck})
		var took []time.Duration
		early, late := 0, 0
		for range 1000 {
			before := time.Now()
			get(t, c, "", id)
			d := time.Since(before)
			took = append(took, d)
			log := s.Log()
			if log[len(log)-1].At.Sub(before) < d/2 {
				early++
			} else {
				late++
			}
		}
		slices.Sort(took)
		if m := took[500]; m < 80*time.Millisecond || m > 120*time.Millisecond {
			t.Errorf("median %s", m)
		}
		if p := took[990]; p < 600*time.Millisecond || p > 1700*time.Millisecond {
			t.Errorf("99th percentile %s", p)
		}
		if early < 400 || late < 400 {
			t.Errorf("%d arrived in the first half of their time, %d in the second", early, late)
		}
	})
}

func TestDelays(t *testing.T) {
	for _, kind := range []simulator.FaultKind{simulator.NoFault, simulator.ServerErrorJSON} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := start(t, always(simulator.Fault{Kind: kind, Delay: 16 * time.Second}))
				id := s.Submit(simulator.Job{Outcome: simulator.Completed, Duration: -1, AudioSeconds: 30})
				before := time.Now()
				get(t, c, "", id)
				if d := time.Since(before); d != 16*time.Second {
					t.Errorf("took %s", d)
				}
			})
		})
	}
}

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
	isBroken := func(b []byte) bool { return len(b) > 0 && !json.Valid(b) }
	for _, tt := range []struct {
		fault  simulator.Fault
		status int // 0: no answer
		body   func([]byte) bool
		err    error // reading the body
	}{
		{simulator.Fault{}, 200, isJSON, nil},
		{simulator.Fault{Kind: simulator.ServerErrorJSON}, 500, isJSON, nil},
		{simulator.Fault{Kind: simulator.ServerErrorHTML, Status: 503}, 503, isPage, nil},
		{simulator.Fault{Kind: simulator.ServerErrorEmpty, Status: 502}, 502, isEmpty, nil},
		{simulator.Fault{Kind: simulator.HTMLPage}, 200, isPage, nil},
		{simulator.Fault{Kind: simulator.EmptyBody}, 200, isEmpty, nil},
		{simulator.Fault{Kind: simulator.MalformedJSON}, 200, isBroken, nil},
		{simulator.Fault{Kind: simulator.TruncatedBody}, 200, isBroken, io.ErrUnexpectedEOF},
		{simulator.Fault{Kind: simulator.SlowBody, Delay: 16 * time.Millisecond}, 200, isJSON, nil},
		{simulator.Fault{Kind: simulator.ConnectionReset}, 0, nil, nil},
		{simulator.Fault{Kind: simulator.GzipBody}, 200, isJSON, nil},
	} {
		t.Run(string(tt.fault.Kind), func(t *testing.T) {
			s, inMemory := start(t, simulator.Options{Faults: []simulator.FaultShare{{Share: 1, Fault: tt.fault}}})
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
				for _, e := range s.Log()[before:] {
					if e.Status != tt.status || e.Fault != tt.fault.Kind {
						t.Errorf("%s: log says %+v", where, e)
					}
				}
				if tt.status == 0 {
					if !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("%s: %v", where, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v", where, err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != tt.status || !tt.body(body) || err != tt.err {
					t.Errorf("%s: %d, %v, %.100s", where, resp.StatusCode, err, body)
				}
				if resp.Uncompressed != (tt.fault.Kind == simulator.GzipBody) {
					t.Errorf("%s: uncompressed: %t", where, resp.Uncompressed)
				}
			}
			if n := s.Counters().Faults; (n == 0) != (tt.fault.Kind == simulator.NoFault) {
				t.Errorf("%d faults counted", n)
			}
		})
	}
}

// A client that asks for gzip itself gets it packed.
func TestGzipAskedFor(t *testing.T) {
	s, c := start(t, simulator.Options{Fault: func(*http.Request) simulator.Fault { return simulator.Fault{Kind: simulator.GzipBody} }})
	req, err := http.NewRequest("GET", statusURL("", s.Submit(simulator.Job{})), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.Header.Get("Content-Encoding") != "gzip" || int64(len(body)) != resp.ContentLength || !bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		t.Errorf("%v %v %q", err, resp.Header, body)
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

func TestFaultShares(t *testing.T) {
	s, c := start(t, simulator.Options{Seed: 5, Faults: []simulator.FaultShare{
		{Share: 0.1, Fault: simulator.Fault{Kind: simulator.EmptyBody}},
		{Share: 0.2, Fault: simulator.Fault{Kind: simulator.ServerErrorJSON}},
	}})
	const requests = 2000
	for range requests {
		get(t, c, "", "x")
	}
	seen := map[simulator.FaultKind]float64{}
	for _, e := range s.Log() {
		seen[e.Fault] += 1.0 / requests
	}
	for kind, want := range map[simulator.FaultKind]float64{simulator.EmptyBody: 0.1, simulator.ServerErrorJSON: 0.2, simulator.NoFault: 0.7} {
		if got := seen[kind]; got < want*0.8 || got > want*1.2 {
			t.Errorf("%q: %.3f, want about %v", kind, got, want)
		}
	}
}

// Refusals by the gateway are not spoilt: a test of quotas can rely on them.
func TestRefusalsAreNotSpoilt(t *testing.T) {
	s, c := start(t, simulator.Options{
		Key: "k", RequestsPerMinute: 1,
		Faults: []simulator.FaultShare{{Share: 1, Fault: simulator.Fault{Kind: simulator.HTMLPage}}},
	})
	get(t, c, "k", "x")
	if status, _ := get(t, c, "k", "x"); status != 429 {
		t.Errorf("over the rate: %d", status)
	}
	if status, _ := get(t, c, "wrong", "x"); status != 401 {
		t.Errorf("wrong key: %d", status)
	}
	if n := s.Counters().Faults; n != 1 {
		t.Errorf("%d faults counted", n)
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t, simulator.Options{Seed: 1, Latency: simulator.Latency{Median: 100 * time.Millisecond, P99: time.Second}})
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
	for _, kind := range []simulator.FaultKind{simulator.NoFault, simulator.ServerErrorEmpty, simulator.SlowBody} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := start(t, simulator.Options{Faults: []simulator.FaultShare{{Share: 1, Fault: simulator.Fault{Kind: kind, Delay: 16 * time.Second}}}})
				id := s.Submit(simulator.Job{Outcome: simulator.Completed, Duration: -1, AudioSeconds: 30})
				before := time.Now()
				resp, err := c.Get(statusURL("", id))
				if err != nil {
					t.Fatal(err)
				}
				headAfter := time.Since(before)
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if d := time.Since(before); d != 16*time.Second {
					t.Errorf("took %s", d)
				}
				if want := map[bool]time.Duration{true: 0, false: 16 * time.Second}[kind == simulator.SlowBody]; headAfter != want {
					t.Errorf("the answer began after %s, want %s", headAfter, want)
				}
			})
		})
	}
}

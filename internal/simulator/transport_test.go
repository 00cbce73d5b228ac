package simulator_test

import (
	"context"
	"errors"
	"net/http"
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
	}{
		{"in latency", simulator.Options{Latency: simulator.Latency{Median: time.Hour}}},
		{"before the response", always(simulator.Fault{Delay: time.Hour})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := start(t, tt.o)
				id := s.Submit(simulator.Job{Outcome: simulator.Completed, Duration: -1, AudioSeconds: 30})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				before := time.Now()
				if _, err := c.Do(request(t, ctx, id)); !errors.Is(err, context.DeadlineExceeded) {
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

// A request that is canceled before its arrival has no effect.
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

package simulator_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

// mostIn returns the maximum number of times in any half-open span.
func mostIn(times []time.Time, span time.Duration) (most int) {
	from := 0
	for i, at := range times {
		for at.Sub(times[from]) >= span {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

func TestQuotaWindows(t *testing.T) {
	for _, tt := range []struct {
		perMinute int
		perDay    int
		span      time.Duration // of the rate
		limit     int           // requests in it
	}{
		{5, 0, time.Minute, 5},
		{5, 100, time.Minute, 5},
		{1, 0, time.Minute, 1},
		{0, 30, time.Minute, 30},
		{300, 0, time.Minute, 300},
	} {
		t.Run(fmt.Sprintf("%v a minute, %d a day", tt.perMinute, tt.perDay), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := start(t, simulator.Options{RequestsPerMinute: tt.perMinute, RequestsPerDay: tt.perDay})
				id := s.Submit(simulator.Job{Outcome: simulator.Stuck})
				r := rand.New(rand.NewPCG(1, 2))
				// Bursts and pauses, always above the quota.
				gap := float64(tt.span) / float64(tt.limit)
				begin := time.Now()
				for time.Since(begin) < 50*time.Hour && len(s.Log()) < 1000 {
					for range r.IntN(6) {
						get(t, c, "", id)
					}
					<-time.After(time.Duration(r.ExpFloat64() * gap))
				}
				var let []time.Time
				answers := map[int]int{}
				for _, e := range s.Log() {
					answers[e.Status]++
					if e.Status == 200 {
						let = append(let, e.At)
					}
				}
				if tt.perMinute > 0 {
					if most := mostIn(let, tt.span); most != tt.limit {
						t.Errorf("%d in %s, want %d", most, tt.span, tt.limit)
					}
					if answers[429] == 0 {
						t.Errorf("nothing was refused: %v", answers)
					}
				}
				if tt.perDay > 0 {
					if most := mostIn(let, 24*time.Hour); most != tt.perDay {
						t.Errorf("%d in a day, want %d", most, tt.perDay)
					}
					if answers[402] == 0 {
						t.Errorf("nothing was refused: %v", answers)
					}
				}
				if s.Answered(429) != answers[429] || s.Answered(402) != answers[402] {
					t.Errorf("%d and %d counted, but %v", s.Answered(429), s.Answered(402), answers)
				}
			})
		})
	}
}

func TestRetryAfterIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t, simulator.Options{RequestsPerMinute: 2})
		id := s.Submit(simulator.Job{Outcome: simulator.Stuck})
		get(t, c, "", id)
		<-time.After(20 * time.Second)
		get(t, c, "", id)
		<-time.After(500 * time.Millisecond)
		resp, err := c.Get(statusURL("", id))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		wait, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if resp.StatusCode != 429 || err != nil || wait != 40 { // 39.5 s rounded up
			t.Fatalf("%d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
		}
		<-time.After(time.Duration(wait) * time.Second)
		if status, _ := get(t, c, "", id); status != 200 {
			t.Errorf("after the wait: %d", status)
		}
	})
}

func TestRateLimit(t *testing.T) {
	s, c := start(t, simulator.Options{RequestsPerMinute: 1})
	get(t, c, "", "x")
	if status, body := get(t, c, "", "x"); status != 429 || decode[envelope](t, body).Fault.code() != "rate_limit" {
		t.Errorf("%d %s", status, body)
	}
	if n := s.Answered(429); n != 1 {
		t.Errorf("%d counted", n)
	}
}

// Refused requests are not charged: a client that polls too often still gets its share.
func TestRefusedIsNotCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, simulator.Options{RequestsPerMinute: 3})
		admitted := 0
		for range 100 {
			if status, _ := get(t, c, "", "x"); status != 429 {
				admitted++
			}
			<-time.After(10 * time.Second)
		}
		if admitted != 51 {
			t.Errorf("%d admitted, want 51", admitted)
		}
	})
}

// Requests that the gateway refuses before the quota are not charged.
func TestNotCharged(t *testing.T) {
	s, c := start(t, simulator.Options{Key: "k", RequestsPerMinute: 1})
	s.SetDown(true)
	get(t, c, "k", "x")
	s.SetDown(false)
	get(t, c, "wrong", "x")
	if status, _ := get(t, c, "k", "x"); status != 404 {
		t.Errorf("first proper request: %d", status)
	}
	if status, _ := get(t, c, "k", "x"); status != 429 {
		t.Errorf("second proper request: %d", status)
	}
}

func TestLogKeepsTheNewest(t *testing.T) {
	s, c := start(t, simulator.Options{})
	for i := range 100_001 {
		get(t, c, "", fmt.Sprint(i))
	}
	log := s.Log()
	if len(log) != 50_001 || log[0].RequestID != "50000" || log[50_000].RequestID != "100000" {
		t.Errorf("%d requests from %s to %s", len(log), log[0].RequestID, log[len(log)-1].RequestID)
	}
}

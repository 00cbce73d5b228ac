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

// mostIn is the largest number of times that lie in one half-open span.
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
		perMinute float64
		perDay    int
		span      time.Duration // of the rate
		limit     int           // requests in it
	}{
		{5, 0, time.Minute, 5},
		{5, 100, time.Minute, 5},
		{0.5, 0, 2 * time.Minute, 1},
		{2.5, 0, 48 * time.Second, 2},
		{0, 30, time.Minute, 30},
		{300, 0, time.Minute, 300},
	} {
		t.Run(fmt.Sprintf("%v a minute, %d a day", tt.perMinute, tt.perDay), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := start(t, simulator.Options{RequestsPerMinute: tt.perMinute, RequestsPerDay: tt.perDay})
				id := s.Submit(simulator.Job{Outcome: simulator.Stuck})
				r := rand.New(rand.NewPCG(1, 2))
				// Bursts and lulls, always asking more than is allowed.
				gap := float64(tt.span) / float64(tt.limit)
				begin := time.Now()
				for time.Since(begin) < 50*time.Hour && s.Counters().StatusRequests < 4000 {
					for range r.IntN(6) {
						get(t, c, "", id)
					}
					<-time.After(time.Duration(r.ExpFloat64() * gap))
				}
				var let []time.Time
				answers := map[int]int{}
				for _, e := range s.Log() {
					answers[e.Status]++
					if (e.Status == 200) != e.Charged {
						t.Fatalf("%+v", e)
					}
					if e.Charged {
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
				if n := s.Counters(); int(n.RateLimited) != answers[429] || int(n.OverQuota) != answers[402] {
					t.Errorf("%+v, but %v", n, answers)
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

func TestRateLimitStyles(t *testing.T) {
	for _, tt := range []struct {
		style      simulator.RateLimit
		status     int
		retryAfter bool
	}{
		{simulator.RateLimit429, 429, true},
		{simulator.RateLimit429Bare, 429, false},
		{simulator.RateLimit400, 400, false},
		{simulator.RateLimit200, 200, false},
	} {
		s, c := start(t, simulator.Options{RequestsPerMinute: 1, RateLimit: tt.style})
		get(t, c, "", "x")
		resp, err := c.Get(statusURL("", "x"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if has := resp.Header.Get("Retry-After") != ""; resp.StatusCode != tt.status || has != tt.retryAfter {
			t.Errorf("style %d: %d, Retry-After: %t", tt.style, resp.StatusCode, has)
		}
		if _, body := get(t, c, "", "x"); decode[envelope](t, body).Fault.code() != "rate_limit" {
			t.Errorf("style %d: %s", tt.style, body)
		}
		if n := s.Counters().RateLimited; n != 2 {
			t.Errorf("style %d: %d counted", tt.style, n)
		}
	}
}

// With refused requests charged, whoever keeps asking never gets in again.
func TestChargeRefused(t *testing.T) {
	for _, charged := range []bool{false, true} {
		t.Run(fmt.Sprint(charged), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, c := start(t, simulator.Options{RequestsPerMinute: 3, ChargeRefused: charged})
				let := 0
				for range 100 {
					if status, _ := get(t, c, "", "x"); status != 429 {
						let++
					}
					<-time.After(10 * time.Second)
				}
				if want := map[bool]int{false: 51, true: 3}[charged]; let != want {
					t.Errorf("%d let through, want %d", let, want)
				}
			})
		})
	}
}

// What the gateway refuses before the quota is not charged.
func TestNotCharged(t *testing.T) {
	s, c := start(t, simulator.Options{Key: "k", RequestsPerMinute: 1})
	s.SetDown(true)
	get(t, c, "k", "x")
	s.SetDown(false)
	get(t, c, "wrong", "x")
	if status, _ := get(t, c, "k", "x"); status != 404 {
		t.Errorf("first proper request: %d", status)
	}
	var charged []bool
	for _, e := range s.Log() {
		charged = append(charged, e.Charged)
	}
	if fmt.Sprint(charged) != "[false false true]" {
		t.Errorf("charged: %v", charged)
	}
}

func TestLogKeepsTheNewest(t *testing.T) {
	s, c := start(t, simulator.Options{LogSize: 3})
	for i := range 8 {
		get(t, c, "", fmt.Sprint(i))
	}
	var ids []string
	for _, e := range s.Log() {
		ids = append(ids, e.RequestID)
	}
	if fmt.Sprint(ids) != "[5 6 7]" {
		t.Errorf("%v", ids)
	}
}

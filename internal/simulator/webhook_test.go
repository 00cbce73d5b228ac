package simulator_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

// receiver receives webhooks as a round tripper. It responds to the n-th try with
// statuses[n], then always with the last; 0 is a broken connection.
type receiver struct {
	statuses []int
	takes    time.Duration

	mu     sync.Mutex
	begin  time.Time
	at     []time.Duration
	bodies []string
	urls   []string
}

func newReceiver(statuses ...int) *receiver {
	return &receiver{statuses: statuses, begin: time.Now()}
}

func (rc *receiver) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil {
		return nil, err
	}
	rc.mu.Lock()
	status := rc.statuses[min(len(rc.at), len(rc.statuses)-1)]
	rc.at = append(rc.at, time.Since(rc.begin))
	rc.bodies = append(rc.bodies, string(body))
	rc.urls = append(rc.urls, r.Method+" "+r.URL.String())
	rc.mu.Unlock()
	select {
	case <-time.After(rc.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if status == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{StatusCode: status, Body: http.NoBody, Request: r}, nil
}

func TestWebhookTries(t *testing.T) {
	for _, tt := range []struct {
		name     string
		hooks    simulator.Webhooks
		statuses []int
		at       []int // seconds
	}{
		{"taken at once", simulator.Webhooks{}, []int{200}, []int{60}},
		{"never taken", simulator.Webhooks{}, []int{503}, []int{60, 70, 90, 130, 210}},
		{"202 and 204 are failures", simulator.Webhooks{}, []int{202, 204, 200}, []int{60, 70, 90}},
		{"no connection, then the last try", simulator.Webhooks{},
			[]int{0, 0, 500, 404, 200}, []int{60, 70, 90, 130, 210}},
		{"lost", simulator.Webhooks{LostShare: 1}, []int{200}, nil},
		{"duplicated", simulator.Webhooks{DuplicatedShare: 1, Delay: time.Hour},
			[]int{500, 200}, []int{60, 70, 3670}},
		{"the duplicate fails", simulator.Webhooks{DuplicatedShare: 1}, []int{200, 500}, []int{60, 90}},
		{"delayed", simulator.Webhooks{DelayedShare: 1}, []int{200}, []int{90}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rc := newReceiver(tt.statuses...)
				tt.hooks.Client = &http.Client{Transport: rc}
				s, _ := start(t, simulator.Options{Webhooks: tt.hooks})
				s.Submit(simulator.Job{
					Webhook: "http://user.invalid/hook/token?a=b", Duration: time.Minute,
					Outcome: simulator.Completed, AudioSeconds: 9,
				})
				<-time.After(7 * 24 * time.Hour)
				synctest.Wait()

				var at []int
				for _, d := range rc.at {
					at = append(at, int(d.Seconds()))
				}
				if !slices.Equal(at, tt.at) {
					t.Errorf("tried at %v, want %v", at, tt.at)
				}
				for _, u := range rc.urls {
					if u != "POST http://user.invalid/hook/token?a=b" {
						t.Error(u)
					}
				}
			})
		})
	}
}

func TestWebhookBodies(t *testing.T) {
	for _, tt := range []struct {
		api     string
		outcome simulator.Outcome
		keys    []string
	}{
		{"asr", simulator.Completed, []string{"request_id", "response"}},
		{"recognise_emotion", simulator.Completed, []string{"request_id", "response"}},
		{"is_depressed", simulator.Completed, []string{"depressed", "request_id"}},
		{"is_depressed", simulator.Failed, []string{"request_id", "response"}},
		{"asr", simulator.Failed, []string{"request_id", "response"}},
		{"asr", simulator.CompletedWithFault, []string{"request_id", "response"}},
	} {
		t.Run(tt.api+" "+string(tt.outcome), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rc := newReceiver(200)
				s, c := start(t, simulator.Options{Webhooks: simulator.Webhooks{Client: &http.Client{Transport: rc}}})
				id := s.Submit(simulator.Job{
					API: tt.api, Outcome: tt.outcome, Webhook: "http://user.invalid/", AudioSeconds: 30,
				})
				<-time.After(time.Hour)
				synctest.Wait()
				if len(rc.bodies) != 1 {
					t.Fatalf("%d webhooks", len(rc.bodies))
				}
				hook := decode[map[string]any](t, []byte(rc.bodies[0]))
				var names []string
				for k := range hook {
					names = append(names, k)
				}
				slices.Sort(names)
				if !slices.Equal(names, tt.keys) || hook["request_id"] != id {
					t.Fatalf("%.200s", rc.bodies[0])
				}
				// The webhook and a poll have the same result.
				_, body := get(t, c, "", id)
				polled := decode[struct{ Response map[string]any }](t, body).Response
				if fmt.Sprint(polled) != fmt.Sprint(hook) {
					t.Errorf("webhook %.200v, poll %.200v", hook, polled)
				}
				result, _ := hook["response"].(map[string]any)
				if _, fault := result["fault"]; fault != (tt.outcome != simulator.Completed) {
					t.Errorf("fault: %t in %.200s", fault, rc.bodies[0])
				}
			})
		})
	}
}

func TestWebhooksOfUnendingJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rc := newReceiver(200)
		s, _ := start(t, simulator.Options{Webhooks: simulator.Webhooks{Client: &http.Client{Transport: rc}}})
		s.Submit(simulator.Job{Outcome: simulator.Stuck, Webhook: "http://user.invalid/"})
		s.Submit(simulator.Job{Outcome: simulator.Unknown, Webhook: "http://user.invalid/"})
		s.Submit(simulator.Job{Outcome: simulator.Completed, Duration: -1})
		<-time.After(1000 * time.Hour)
		synctest.Wait()
		if len(rc.at) != 0 {
			t.Errorf("webhooks: %v", rc.bodies)
		}
	})
}

// Close drops webhooks in flight and scheduled.
func TestCloseEndsWebhooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rc := newReceiver(200)
		rc.takes = time.Hour
		s, _ := start(t, simulator.Options{Webhooks: simulator.Webhooks{Client: &http.Client{Transport: rc}}})
		for i := range 3 {
			s.Submit(simulator.Job{
				Outcome: simulator.Failed, Duration: time.Duration(1+10*i*i) * time.Second,
				Webhook: "http://user.invalid/",
			})
		}
		<-time.After(15 * time.Second)
		s.Close()
		s.Close()
		if time.Since(rc.begin) != 15*time.Second {
			t.Error("Close waited for a webhook")
		}
		<-time.After(24 * time.Hour)
		if len(rc.at) != 2 {
			t.Errorf("%d sent", len(rc.at))
		}
	})
}

// The default client works over a socket.
func TestWebhookOverLoopback(t *testing.T) {
	got := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Header.Get("Content-Type") + " " + string(body)
	}))
	defer server.Close()
	s, _ := start(t, simulator.Options{})
	id := s.Submit(simulator.Job{API: "is_depressed", Outcome: simulator.Completed, Duration: -1, Webhook: server.URL})
	if hook := <-got; !strings.HasPrefix(hook, `application/json {"request_id": "`+id+`", "depressed": `) {
		t.Error(hook)
	}
	s.Close() // before the server: the connection is still open
}

package simulator_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

func TestDemo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rc := newReceiver(200)
		o := simulator.DemoOptions()
		o.Webhooks.Client = &http.Client{Transport: rc}
		o.Fault, o.Latency = nil, simulator.Latency{}
		s, c := start(t, o)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
		defer cancel()

		begin := time.Now()
		var all []simulator.Submission
		atOnce := 0
		simulator.Demo(ctx, s, "http://user.invalid/webhook/t", func(sub simulator.Submission) {
			if sub.SubmittedAt.Equal(begin) {
				atOnce++
			}
			if sub.AudioSeconds <= 0 || sub.Labels["team"] == "" ||
				sub.Labels["language"] == "" || time.Since(sub.SubmittedAt) != 0 {
				t.Errorf("%+v", sub)
			}
			all = append(all, sub)
		})
		if time.Since(begin) != 30*time.Minute {
			t.Errorf("Demo returned after %s", time.Since(begin))
		}
		jobs := s.Jobs()
		if len(all) != len(jobs) {
			t.Fatalf("%d registered, %d submitted", len(all), len(jobs))
		}
		if more := len(all) - atOnce; atOnce < 25 || more < 300 || more > 900 {
			t.Errorf("%d at once, then %d", atOnce, more)
		}

		apis, hooks, long := map[string]int{}, 0, 0
		outcomes, soon := map[simulator.Outcome]int{}, map[simulator.Outcome]int{}
		for i, j := range jobs {
			if all[i].RequestID != j.RequestID || all[i].AudioSeconds != j.AudioSeconds ||
				all[i].API != "/audio/generic/api/v1/async/"+j.API {
				t.Fatalf("registered %+v, submitted %+v", all[i], j)
			}
			if j.Webhook != "" {
				hooks++
			}
			if i >= atOnce {
				continue
			}
			apis[j.API]++
			outcomes[j.Outcome]++
			if j.EndsAt.Sub(begin) < 10*time.Second {
				soon[j.Outcome]++
			}
			if j.EndsAt.Sub(begin) > 15*time.Minute {
				long++
			}
		}
		for _, api := range simulator.APIs() {
			if apis[api] == 0 {
				t.Errorf("no job of %s at once", api)
			}
		}
		for _, o := range []simulator.Outcome{simulator.Stuck, simulator.Unknown} {
			if outcomes[o] == 0 {
				t.Errorf("none at once is %s", o)
			}
		}
		for _, o := range []simulator.Outcome{simulator.Completed, simulator.Failed, simulator.CompletedWithFault} {
			if soon[o] == 0 {
				t.Errorf("none is %s soon", o)
			}
		}
		if long == 0 {
			t.Error("none at once is long")
		}
		if share := float64(hooks) / float64(len(jobs)); share < 0.25 || share > 0.42 {
			t.Errorf("share with webhooks: %.2f", share)
		}
		for i, j := range jobs {
			if i%8 > 0 && j.Outcome != simulator.Unknown { // a result takes time
				continue
			}
			if status, _ := get(t, c, "any", j.RequestID); (status == 404) != (j.Outcome == simulator.Unknown) {
				t.Errorf("%d about %+v", status, j)
			}
		}
		if len(rc.urls) == 0 || !strings.HasSuffix(rc.urls[0], "/webhook/t") {
			t.Errorf("webhooks: %v", rc.urls)
		}
	})
}

// The API of a demo is down now and then, but not in the first minutes.
func TestDemoOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := simulator.DemoOptions()
		o.Latency = simulator.Latency{}
		begin := time.Now()
		s, c := start(t, o)
		id := s.Submit(simulator.Job{API: "asr"})
		down, worst := 0, 0 // requests refused in a row
		for range 20 * 6 {
			if status, _ := get(t, c, "any", id); status == http.StatusServiceUnavailable {
				down++
			} else {
				down = 0
			}
			worst = max(worst, down)
			if early := time.Since(begin) < 5*time.Minute; early && down > 1 {
				t.Errorf("down %s after the start", time.Since(begin))
			}
			<-time.After(10 * time.Second)
		}
		if worst < 4 || worst > 6 {
			t.Errorf("the longest outage refused %d requests in a row", worst)
		}
	})
}

func TestDemoWithoutWebhooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := start(t, simulator.DemoOptions())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		simulator.Demo(ctx, s, "", func(simulator.Submission) {})
		for _, j := range s.Jobs() {
			if j.Webhook != "" {
				t.Errorf("%+v", j)
			}
		}
		if len(s.Jobs()) == 0 {
			t.Error("no jobs")
		}
	})
}

package simulator

import (
	"bytes"
	"io"
	"net/http"
	"time"
)

const (
	webhookTries   = 5
	webhookBackoff = 10 * time.Second // before the second try, doubled for each later one
)

// Webhooks configures webhooks. The simulator tries again on anything but 200, up to five
// times in all, and waits 10 s before the second try and twice as long before each later.
type Webhooks struct {
	// Client sends them; nil: a client with a timeout of 10 s.
	Client *http.Client

	LostShare       float64       // share of webhooks that are never sent
	DuplicatedShare float64       // share that is sent again, Delay after success
	DelayedShare    float64       // share that is sent Delay after the end of the job
	Delay           time.Duration // 0 means 30 s
}

func (w Webhooks) withDefaults() Webhooks {
	if w.Client == nil {
		w.Client = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone(), Timeout: 10 * time.Second}
	}
	if w.Delay == 0 {
		w.Delay = 30 * time.Second
	}
	return w
}

// sendWebhook sends the webhook of a job after its end.
func (s *Simulator) sendWebhook(j *job) {
	defer s.running.Done()
	w := s.opt.Webhooks
	r := chance(j.seed, "webhook", j.RequestID)
	lost := r.Float64() < w.LostShare
	duplicated := r.Float64() < w.DuplicatedShare
	wait := j.EndsAt.Sub(j.SubmittedAt)
	if r.Float64() < w.DelayedShare {
		wait += w.Delay
	}
	if lost {
		return
	}
	for try := range webhookTries {
		if s.wait(s.ctx, wait) != nil {
			return
		}
		if s.post(j) {
			if duplicated && s.wait(s.ctx, w.Delay) == nil {
				s.post(j)
			}
			return
		}
		wait = webhookBackoff << try
	}
}

// post sends the webhook of a job and reports whether it got 200.
func (s *Simulator) post(j *job) bool {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, j.Webhook, bytes.NewReader(j.webhookBody()))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.opt.Webhooks.Client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be reused
	return resp.StatusCode == http.StatusOK
}

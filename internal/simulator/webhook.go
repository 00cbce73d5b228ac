package simulator

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"time"
)

// webhookTries is how often a webhook is sent before it is given up.
const webhookTries = 5

// Webhooks says how the ends of jobs are told to the jobs' webhook URLs.
// Anything but 200 is tried again, five tries in all.
type Webhooks struct {
	// Client sends them; nil is one with a timeout of 10 s that does not
	// follow redirects.
	Client *http.Client
	// Backoff before the second try, doubled for each one after; 0 is 10 s.
	Backoff time.Duration
	// Concurrency is how many are under way at most; 0 is 8.
	Concurrency int

	LostShare       float64       // of the webhooks are never sent
	DuplicatedShare float64       // are sent again Delay after they were taken
	DelayedShare    float64       // are first sent Delay after the end
	Delay           time.Duration // 0 is 30 s
}

// dispatcher decides which webhook is sent when. Simulator.mu guards it.
type dispatcher struct {
	Webhooks
	own     *http.Transport // of the default client
	timers  map[*job]*time.Timer
	sending int
	waiting []*job // due, and Concurrency others are under way
}

func newDispatcher(w Webhooks) dispatcher {
	d := dispatcher{Webhooks: w, timers: make(map[*job]*time.Timer)}
	if d.Client == nil {
		d.own = http.DefaultTransport.(*http.Transport).Clone()
		d.Client = &http.Client{
			Transport:     d.own,
			Timeout:       10 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if d.Backoff == 0 {
		d.Backoff = 10 * time.Second
	}
	if d.Concurrency == 0 {
		d.Concurrency = 8
	}
	if d.Delay == 0 {
		d.Delay = 30 * time.Second
	}
	return d
}

func (d *dispatcher) stop() {
	for _, t := range d.timers {
		t.Stop()
	}
	clear(d.timers)
	d.waiting = nil
}

func (d *dispatcher) closeIdle() {
	if d.own != nil {
		d.own.CloseIdleConnections()
	}
}

// planWebhook has the job's webhook sent when the job ends. The caller holds
// s.mu.
func (s *Simulator) planWebhook(j *job) {
	if j.Webhook == "" || !j.Outcome.ends() {
		return
	}
	r := chance(j.seed, j.RequestID, forWebhook)
	lost := r.Float64() < s.hooks.LostShare
	j.again = r.Float64() < s.hooks.DuplicatedShare
	delayed := r.Float64() < s.hooks.DelayedShare
	if lost {
		j.WebhookAbandoned = true
		s.counters.WebhooksLost++
		return
	}
	in := j.EndsAt.Sub(j.SubmittedAt)
	if delayed {
		in += s.hooks.Delay
	}
	s.sendIn(j, in)
}

// sendIn has the job's webhook sent after a while. The caller holds s.mu.
func (s *Simulator) sendIn(j *job, d time.Duration) {
	if s.closed {
		return
	}
	s.hooks.timers[j] = time.AfterFunc(d, func() { s.webhookDue(j) })
}

// webhookDue sends the job's webhook, or has it wait for one that is under way.
func (s *Simulator) webhookDue(j *job) {
	s.mu.Lock()
	delete(s.hooks.timers, j)
	if s.closed {
		s.mu.Unlock()
		return
	}
	if s.hooks.sending == s.hooks.Concurrency {
		s.hooks.waiting = append(s.hooks.waiting, j)
		s.mu.Unlock()
		return
	}
	s.hooks.sending++
	s.running.Add(1)
	s.mu.Unlock()

	defer s.running.Done()
	for j != nil {
		j = s.webhookTried(j, s.post(j))
	}
}

// post sends the job's webhook and reports whether it was taken.
func (s *Simulator) post(j *job) bool {
	d := desks.Get().(*desk)
	// A copy, since a transport may read the body for longer than it says.
	body := slices.Clone(d.webhookBody(j))
	desks.Put(d)
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, j.Webhook, bytes.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.hooks.Client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
	return resp.StatusCode == http.StatusOK
}

// webhookTried notes a try, plans the next one if there is to be one, and
// returns the job to go on with; nil for none.
func (s *Simulator) webhookTried(j *job, taken bool) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.WebhookTries++
	s.counters.WebhookTries++
	switch {
	case taken:
		s.counters.WebhooksTaken++
		if j.WebhookTakenAt.IsZero() {
			j.WebhookTakenAt = time.Now()
		}
		if j.again {
			j.again = false
			s.sendIn(j, s.hooks.Delay)
		}
	case !j.WebhookTakenAt.IsZero(): // only the duplicate failed
	case j.WebhookTries < webhookTries:
		s.sendIn(j, s.hooks.Backoff<<(j.WebhookTries-1))
	default:
		j.WebhookAbandoned = true
		s.counters.WebhooksGivenUp++
	}
	if s.closed || len(s.hooks.waiting) == 0 {
		s.hooks.sending--
		return nil
	}
	next := s.hooks.waiting[0]
	s.hooks.waiting = s.hooks.waiting[1:]
	return next
}

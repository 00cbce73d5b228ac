package simulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// reply is a response.
type reply struct {
	status     int // 0: the connection is reset instead
	retryAfter time.Duration
	body       []byte
	delay      time.Duration // before it is sent
}

func (a reply) header() http.Header {
	kind := "application/json"
	if bytes.HasPrefix(a.body, []byte("<")) {
		kind = "text/html; charset=utf-8"
	}
	h := http.Header{"Content-Type": {kind}, "Content-Length": {strconv.Itoa(len(a.body))}}
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(a.retryAfter.Seconds()))))
	}
	return h
}

// ServeHTTP implements [http.Handler].
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := s.serve(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	for name, values := range a.header() {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	w.Write(a.body)
}

// Transport returns a round tripper that calls the simulator in memory, whatever the host
// of the URL. In a testing/synctest bubble, waiting for a socket would stop the clock.
func (s *Simulator) Transport() http.RoundTripper { return transport{s} }

type transport struct{ s *Simulator }

var (
	errClosed = errors.New("simulator: closed")
	errReset  = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
)

// RoundTrip implements [http.RoundTripper].
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	t.s.mu.Lock()
	open := t.s.begin()
	t.s.mu.Unlock()
	if !open {
		return nil, errClosed
	}
	defer t.s.running.Done()
	a, err := t.s.serve(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status:        strconv.Itoa(a.status) + " " + http.StatusText(a.status),
		StatusCode:    a.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        a.header(),
		Body:          io.NopCloser(bytes.NewReader(a.body)),
		ContentLength: int64(len(a.body)),
		Request:       r,
	}, nil
}

// serve serves GET …/async/status. An error means that there is no response.
func (s *Simulator) serve(r *http.Request) (reply, error) {
	if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/async/status") {
		return reply{status: http.StatusNotFound, body: apiFault("No such route", "unknown_route")}, nil
	}
	var fault Fault
	if s.opt.Fault != nil {
		fault = s.opt.Fault(r)
	}
	there, back := s.opt.Latency.draw(chance(s.opt.Seed, "request", s.requests.Add(1)))
	if err := s.wait(r.Context(), there); err != nil {
		return reply{}, err
	}
	query := r.URL.Query()
	a := s.answer(query.Get("apikey"), query.Get("request_id"), fault)
	if err := s.wait(r.Context(), back+a.delay); err != nil {
		return reply{}, err
	}
	if a.status == 0 {
		return reply{}, errReset
	}
	return a, nil
}

// wait sleeps. It returns an error if the context ends or the simulator is closed.
func (s *Simulator) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return errClosed
	}
}

// answer charges and logs a request that arrives, and returns its reply. Refusals by the
// gateway (key, quota, API down) have no fault.
func (s *Simulator) answer(key, id string, fault Fault) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	a, refused := s.gate(key, now)
	if !refused {
		a = fault.apply(s.look(id, now))
	}
	s.answered[a.status]++
	if len(s.log) == maxLog {
		s.log = append(s.log[:0], s.log[maxLog/2:]...)
	}
	s.log = append(s.log, Seen{At: now, RequestID: id, Status: a.status})
	return a
}

// gate returns the reply of the gateway if it refuses the request; else it charges the
// request. The caller holds s.mu.
func (s *Simulator) gate(key string, now time.Time) (a reply, refused bool) {
	day, minute := s.day.wait(now), s.minute.wait(now)
	switch {
	case s.down:
		a = reply{status: http.StatusServiceUnavailable, body: []byte(htmlPage)}
	case s.key != "" && key == "":
		a = reply{status: http.StatusUnauthorized, body: gatewayFault(
			"Failed to resolve API Key variable request.queryparam.apikey", "steps.oauth.v2.FailedToResolveAPIKey")}
	case s.key != "" && key != s.key:
		a = reply{status: http.StatusUnauthorized, body: gatewayFault("Invalid ApiKey", "oauth.v2.InvalidApiKey")}
	case day > 0:
		a = reply{status: http.StatusPaymentRequired, body: gatewayFault(
			"Rate limit quota violation. Quota limit exceeded.", "policies.ratelimit.QuotaViolation")}
	case minute > 0:
		a = reply{status: http.StatusTooManyRequests, body: apiFault("Rate limit exceeded", "rate_limit")}
		a.retryAfter = minute
	default:
		s.day.charge(now)
		s.minute.charge(now)
		return reply{}, false
	}
	return a, true
}

// look returns the reply for an admitted request. The caller holds s.mu.
func (s *Simulator) look(id string, now time.Time) reply {
	if a, ok := s.fixed[id]; ok {
		return a
	}
	s.sweep()
	switch j := s.jobs[id]; {
	case id == "":
		return reply{status: http.StatusBadRequest, body: apiFault("request_id is missing", "params_invalid")}
	case j == nil || j.Outcome == Unknown:
		return reply{status: http.StatusNotFound, body: apiFault("Request not found", "com.deepaffects.NotFound")}
	case j.ended(now):
		return reply{status: http.StatusOK, body: j.statusBody()}
	case j.progress:
		return reply{status: http.StatusOK, body: []byte(`{"status": "In Progress", "response": null}`)}
	}
	body := fmt.Appendf(nil, `{"response": {"request_id": "%s"}, "status": "Running"}`, escape(id))
	return reply{status: http.StatusOK, body: body}
}

// gatewayFault returns a fault in the spelling of the gateway.
func gatewayFault(text, code string) []byte {
	return []byte(`{"fault": {"faultstring": "` + text + `", "detail": {"errorcode": "` + code + `"}}}`)
}

// apiFault returns a fault in the spelling of the API.
func apiFault(text, code string) []byte {
	return []byte(`{"fault": {"fault_string": "` + text + `", "detail": {"error_code": "` + code + `"}}}`)
}

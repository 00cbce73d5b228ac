package simulator

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

// Seen is one status request that arrived.
type Seen struct {
	At        time.Time // of arrival, which is what quotas go by
	RequestID string
	Status    int       // HTTP status of the answer; 0: the connection was reset
	Fault     FaultKind // that was injected
	Charged   bool      // against the quotas
}

// Log returns the newest status requests that arrived, oldest first.
func (s *Simulator) Log() []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.copy()
}

// requestLog is a ring of the newest requests.
type requestLog struct {
	limit  int
	seen   []Seen
	oldest int // index, once the ring is full
}

func (l *requestLog) add(e Seen) {
	switch {
	case l.limit <= 0:
	case len(l.seen) < l.limit:
		l.seen = append(l.seen, e)
	default:
		l.seen[l.oldest] = e
		l.oldest = (l.oldest + 1) % l.limit
	}
}

func (l *requestLog) copy() []Seen {
	all := make([]Seen, 0, len(l.seen))
	all = append(all, l.seen[l.oldest:]...)
	return append(all, l.seen[:l.oldest]...)
}

// reply is an answer before faults are applied to it.
type reply struct {
	status     int
	retryAfter time.Duration // 0: not said
	body       []byte
	ended      *job // its end is the body, made when it is sent
}

// serveStatus answers GET …/async/status.
func (s *Simulator) serveStatus(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, http.StatusMethodNotAllowed, apiFault("Method not allowed", "com.deepaffects.BadRequest"))
		return
	}
	query := r.URL.Query()
	id := query.Get("request_id")
	luck := chance(s.opt.Seed, id, forRequest+s.requests.Add(1))
	fault := s.drawFault(r, luck)
	there, back := s.opt.Latency.draw(luck)

	s.pause(r, there)
	a, fault := s.arrive(query.Get("apikey"), id, fault)
	s.pause(r, back)
	s.answer(w, r, a, fault)
}

// arrive decides what a request gets, charges it and notes it. What the
// gateway refuses (key, quota, API down) is not touched by the fault.
func (s *Simulator) arrive(key, id string, fault Fault) (reply, Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.counters.StatusRequests++
	seen := Seen{At: now, RequestID: id}

	a := s.gate(key, now, &seen)
	if a.status != 0 {
		fault = Fault{}
	} else {
		a = s.look(id, now)
	}
	if fault.Kind != NoFault {
		s.counters.Faults++
	}
	seen.Status, seen.Fault = fault.status(a.status), fault.Kind
	s.log.add(seen)
	return a, fault
}

// gate refuses a request, or charges it and returns a reply without status.
// The caller holds s.mu.
func (s *Simulator) gate(key string, now time.Time, seen *Seen) reply {
	if status, body := s.admit(key); status != 0 {
		return reply{status: status, body: body}
	}
	at := now.Sub(s.start)
	day, minute := s.day.wait(at), s.minute.wait(at)
	seen.Charged = day == 0 && minute == 0 || s.opt.ChargeRefused
	if seen.Charged {
		s.day.charge(at)
		s.minute.charge(at)
	}
	switch {
	case day > 0:
		s.counters.OverQuota++
		return reply{
			status: http.StatusPaymentRequired,
			body:   gatewayFault("Rate limit quota violation. Quota limit exceeded.", "policies.ratelimit.QuotaViolation"),
		}
	case minute > 0:
		s.counters.RateLimited++
		refusal := reply{status: s.opt.RateLimit.status(), body: apiFault("Rate limit exceeded", "rate_limit")}
		if s.opt.RateLimit == RateLimit429 {
			refusal.retryAfter = minute
		}
		return refusal
	}
	return reply{}
}

// look answers for a request that was let through. The caller holds s.mu.
func (s *Simulator) look(id string, now time.Time) reply {
	if f, ok := s.fixed[id]; ok {
		return reply{status: f.status, body: f.body}
	}
	if id == "" {
		return reply{status: http.StatusBadRequest, body: apiFault("request_id is missing", "params_invalid")}
	}
	j := s.jobs[id]
	switch {
	case j == nil || j.Outcome == Unknown || j.forgotten(now, s.opt.Retention):
		s.counters.NotFound++
		return reply{status: http.StatusNotFound, body: apiFault("Request not found", "com.deepaffects.NotFound")}
	case j.ended(now):
		return reply{status: http.StatusOK, ended: j}
	case j.progress:
		return reply{status: http.StatusOK, body: []byte(`{"status": "In Progress", "response": null}`)}
	default:
		body := append([]byte(nil), `{"response": {"request_id": `...)
		body = appendString(body, id)
		return reply{status: http.StatusOK, body: append(body, `}, "status": "Running"}`...)}
	}
}

// gatewayFault is a fault as the gateway spells it.
func gatewayFault(text, code string) []byte {
	return []byte(`{"fault": {"faultstring": "` + text + `", "detail": {"errorcode": "` + code + `"}}}`)
}

// apiFault is a fault as the API spells it.
func apiFault(text, code string) []byte {
	return []byte(`{"fault": {"fault_string": "` + text + `", "detail": {"error_code": "` + code + `"}}}`)
}

// refuse answers with a fault's body, or a page if it is one.
func refuse(w http.ResponseWriter, status int, body []byte) {
	writeHead(w, status, body)
	w.Write(body)
}

func writeHead(w http.ResponseWriter, status int, body []byte) {
	kind := "application/json"
	if len(body) > 0 && body[0] == '<' {
		kind = "text/html; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
}

// setRetryAfter says when to come back, in whole seconds.
func setRetryAfter(h http.Header, wait time.Duration) {
	if wait > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
}

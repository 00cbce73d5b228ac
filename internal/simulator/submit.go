package simulator

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Submit submits a job in process and returns its request ID. A request ID
// that is known already starts over as this job. It panics on an API that
// does not exist: that is a mistake in the test.
func (s *Simulator) Submit(sub Job) string {
	if sub.API == "" {
		sub.API = "asr"
	}
	if !known(sub.API) {
		panic("simulator: no such API: " + sub.API)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub.RequestID == "" {
		sub.RequestID = requestID(s.opt.Seed, s.counters.Submitted)
	}
	s.counters.Submitted++
	now := time.Now()
	j := s.life(sub, now)
	s.sweep(now)
	s.jobs[j.RequestID] = j
	s.order = append(s.order, j)
	s.planWebhook(j)
	return j.RequestID
}

// sweep forgets what is past its retention. It looks at all jobs, so it does
// that a few times per retention only. The caller holds s.mu.
func (s *Simulator) sweep(now time.Time) {
	if s.opt.Retention <= 0 || now.Sub(s.swept) < s.opt.Retention/4 {
		return
	}
	s.swept = now
	s.order = slices.DeleteFunc(s.order, func(j *job) bool {
		if s.jobs[j.RequestID] != j {
			return true
		}
		if !j.forgotten(now, s.opt.Retention) {
			return false
		}
		delete(s.jobs, j.RequestID)
		return true
	})
}

// Jobs returns the truth about every job that is not forgotten, in the order
// of submission.
func (s *Simulator) Jobs() []JobRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	records := make([]JobRecord, 0, len(s.jobs))
	for _, j := range s.order {
		if s.jobs[j.RequestID] == j && !j.forgotten(now, s.opt.Retention) {
			records = append(records, j.JobRecord)
		}
	}
	return records
}

// serveSubmission answers POST …/async/<api>. The audio is read and dropped;
// audio_seconds in the query may say how long it is.
func (s *Simulator) serveSubmission(w http.ResponseWriter, r *http.Request, call string) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, apiFault("Method not allowed", "com.deepaffects.BadRequest"))
		return
	}
	io.Copy(io.Discard, r.Body) // an unread body would cut off the connection

	query := r.URL.Query()
	var fault Fault
	if s.opt.Fault != nil {
		fault = s.opt.Fault(r)
	}
	there, back := s.opt.Latency.draw(chance(s.opt.Seed, call, forRequest+s.requests.Add(1)))
	s.pause(r, there)

	s.mu.Lock()
	status, body := s.admit(query.Get("apikey"))
	s.mu.Unlock()
	if status != 0 {
		s.pause(r, back)
		refuse(w, status, body)
		return
	}
	audio, problem := checkSubmission(query)
	if problem != "" {
		s.pause(r, back)
		refuse(w, http.StatusBadRequest, apiFault(problem, "params_invalid"))
		return
	}
	id := s.Submit(Job{
		RequestID:    query.Get("request_id"),
		API:          call,
		AudioSeconds: audio,
		Webhook:      query.Get("webhook"),
	})
	body = append([]byte(nil), `{"request_id": `...)
	body = appendString(body, id)
	body = append(body, `, "api": `...)
	body = appendString(body, r.URL.Path)
	body = append(body, '}')
	s.pause(r, back)
	s.answer(w, r, reply{status: http.StatusAccepted, body: body}, fault)
}

// checkSubmission returns the audio's length in seconds, 0 if it is not
// given, and what is wrong with the query.
func checkSubmission(query url.Values) (audio float64, problem string) {
	if v := query.Get("audio_seconds"); v != "" {
		n, err := strconv.ParseFloat(v, 64)
		if err != nil || !(n > 0) {
			return 0, "audio_seconds is not a positive number"
		}
		audio = n
	}
	if v := query.Get("webhook"); v != "" {
		u, err := url.Parse(v)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return 0, "webhook is not an http URL"
		}
	}
	return audio, ""
}

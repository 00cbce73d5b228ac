package simulator

import (
	"bytes"
	"compress/gzip"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// FaultKind is a way to spoil an answer.
type FaultKind string

// The kinds of faults.
const (
	NoFault          FaultKind = ""
	ServerErrorJSON  FaultKind = "server error, JSON"  // Status with a fault in JSON
	ServerErrorHTML  FaultKind = "server error, HTML"  // Status with a page
	ServerErrorEmpty FaultKind = "server error, empty" // Status with nothing
	HTMLPage         FaultKind = "HTML with 200"
	EmptyBody        FaultKind = "empty with 200"
	MalformedJSON    FaultKind = "malformed JSON" // the first half of the body, as if it were all
	TruncatedBody    FaultKind = "truncated body" // the first half of the body, then the connection ends
	SlowBody         FaultKind = "slow body"      // the body in 16 pieces, spread over Delay
	ConnectionReset  FaultKind = "connection reset"
	GzipBody         FaultKind = "gzip" // the body compressed, whether asked for or not
)

// Fault says how to spoil one answer. The zero value does not.
type Fault struct {
	Kind   FaultKind
	Status int           // of a server error; 0 is 500
	Delay  time.Duration // before the answer; for SlowBody, while its body is sent
}

// FaultShare injects a fault into a share of the status answers.
type FaultShare struct {
	Share float64
	Fault Fault
}

// Latency is a lognormal distribution of how long a request takes. An even
// share of it passes before the request arrives, the rest before the answer.
type Latency struct {
	Median time.Duration
	P99    time.Duration // below Median: as Median
}

// draw returns the time before the arrival and the time after it.
func (l Latency) draw(r *rand.Rand) (there, back time.Duration) {
	if l.Median <= 0 {
		return 0, 0
	}
	sigma := 0.0
	if l.P99 > l.Median {
		sigma = math.Log(float64(l.P99)/float64(l.Median)) / 2.326
	}
	d := lognormal(r, float64(l.Median), sigma)
	before := d * r.Float64()
	return time.Duration(before), time.Duration(d - before)
}

// drawFault decides which fault a status request meets.
func (s *Simulator) drawFault(r *http.Request, luck *rand.Rand) Fault {
	if s.opt.Fault != nil {
		return s.opt.Fault(r)
	}
	x := luck.Float64()
	for _, f := range s.opt.Faults {
		if x -= f.Share; x < 0 {
			return f.Fault
		}
	}
	return Fault{}
}

// status is the HTTP status of an answer that had this one before the fault.
func (f Fault) status(before int) int {
	switch f.Kind {
	case ServerErrorJSON, ServerErrorHTML, ServerErrorEmpty:
		if f.Status == 0 {
			return http.StatusInternalServerError
		}
		return f.Status
	case HTMLPage, EmptyBody:
		return http.StatusOK
	case ConnectionReset:
		return 0
	default:
		return before
	}
}

const htmlPage = "<html><head><title>Service Temporarily Unavailable</title></head><body><center><h1>Service Temporarily Unavailable</h1></center></body></html>\n"

// answer sends a reply, spoilt by the fault.
func (s *Simulator) answer(w http.ResponseWriter, r *http.Request, a reply, f Fault) {
	if f.Kind != SlowBody {
		s.pause(r, f.Delay)
	}
	body := a.body
	switch f.Kind {
	case ConnectionReset:
		reset(w)
		return
	case ServerErrorJSON:
		body = apiFault("Something went wrong", "api_error")
	case ServerErrorHTML, HTMLPage:
		body = []byte(htmlPage)
	case ServerErrorEmpty, EmptyBody:
		body = nil
	default:
		if a.ended != nil {
			d := desks.Get().(*desk)
			defer desks.Put(d)
			body = d.statusBody(a.ended)
		}
	}
	status := f.status(a.status)
	setRetryAfter(w.Header(), a.retryAfter)

	switch f.Kind {
	case MalformedJSON:
		body = body[:len(body)/2]
	case TruncatedBody:
		writeHead(w, status, body)
		w.Write(body[:len(body)/2])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case SlowBody:
		writeHead(w, status, body)
		s.trickle(w, r, body, f.Delay)
		return
	case GzipBody:
		w.Header().Set("Content-Encoding", "gzip")
		body = compress(body)
	}
	writeHead(w, status, body)
	w.Write(body)
}

// pause sleeps, and aborts the answer when nobody waits for it any more.
func (s *Simulator) pause(r *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	case <-s.ctx.Done():
		panic(http.ErrAbortHandler)
	}
}

// trickle sends a body in pieces, over the time it is given.
func (s *Simulator) trickle(w http.ResponseWriter, r *http.Request, body []byte, over time.Duration) {
	const pieces = 16
	for i := range pieces {
		s.pause(r, over/pieces)
		if _, err := w.Write(body[len(body)*i/pieces : len(body)*(i+1)/pieces]); err != nil {
			return
		}
		http.NewResponseController(w).Flush()
	}
}

// reset cuts the connection off without an answer.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2, or in memory
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) // RST instead of FIN
	}
	conn.Close()
}

func compress(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(body)
	z.Close()
	return b.Bytes()
}

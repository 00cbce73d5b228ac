package simulator

import (
	"cmp"
	"math"
	"math/rand/v2"
	"net/http"
	"time"
)

// FaultKind is a kind of broken response.
type FaultKind string

// The kinds of faults.
const (
	NoFault         FaultKind = ""
	ServerErrorJSON FaultKind = "server error, JSON" // Status with a fault in JSON
	ServerErrorHTML FaultKind = "server error, HTML" // Status with a page
	HTMLPage        FaultKind = "HTML with 200"
	EmptyBody       FaultKind = "empty with 200"
	ConnectionReset FaultKind = "connection reset"
)

// Fault is the fault of one response. The zero value is none.
type Fault struct {
	Kind   FaultKind
	Status int           // of a server error; 0 is 500
	Delay  time.Duration // before the response
}

// apply returns the reply with the fault.
func (f Fault) apply(a reply) reply {
	switch f.Kind {
	case ServerErrorJSON:
		a = reply{status: cmp.Or(f.Status, 500), body: apiFault("Something went wrong", "api_error")}
	case ServerErrorHTML:
		a = reply{status: cmp.Or(f.Status, 500), body: []byte(htmlPage)}
	case HTMLPage:
		a = reply{status: http.StatusOK, body: []byte(htmlPage)}
	case EmptyBody:
		a = reply{status: http.StatusOK}
	case ConnectionReset:
		a = reply{}
	}
	a.delay = f.Delay
	return a
}

const htmlPage = "<html><head><title>Service Temporarily Unavailable</title></head>" +
	"<body><center><h1>Service Temporarily Unavailable</h1></center></body></html>\n"

// Latency is a lognormal distribution of the duration of a request. A uniformly drawn part
// of it passes before the request arrives, the rest before the response.
type Latency struct {
	Median time.Duration
	P99    time.Duration // values below Median mean Median
}

// draw draws the time before the arrival and the time after it.
func (l Latency) draw(r *rand.Rand) (there, back time.Duration) {
	sigma := 0.0
	if l.P99 > l.Median && l.Median > 0 {
		sigma = math.Log(float64(l.P99)/float64(l.Median)) / 2.326
	}
	d := lognormal(r, float64(l.Median), sigma)
	before := d * r.Float64()
	return time.Duration(before), time.Duration(d - before)
}

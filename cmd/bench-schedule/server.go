package main

import "math"

// server enforces a budget: a token bucket that is full at the start or, with window_s, a log of what was accepted; and
// the day's cap. A refused request costs nothing of either.
type server struct {
	budget
	tokens   float64
	at       float64   // when tokens was computed
	accepted []float64 // within the window
	day      float64
	today    float64
	next     int // of Shadow
}

// verdict is the server's answer to a request.
type verdict int

const (
	accepted verdict = iota
	tooFast          // for the rate
	overCap          // for the day
)

const dayS = 86_400

func newServer(b budget) *server { return &server{budget: b, tokens: b.Burst} }

// request takes a request at a time not before the last.
func (s *server) request(t float64) verdict {
	for s.next < len(s.Shadow) && s.Shadow[s.next] <= t {
		s.take(s.Shadow[s.next])
		s.next++
	}
	return s.take(t)
}

const slack = 1e-6

func (s *server) take(t float64) verdict {
	if day := math.Floor((t + slack) / dayS); day != s.day {
		s.day, s.today = day, 0
	}
	if s.DailyCap > 0 && s.today+1 > s.DailyCap {
		return overCap
	}
	switch {
	case s.WindowS > 0:
		for len(s.accepted) > 0 && t-s.accepted[0] >= s.WindowS-slack {
			s.accepted = s.accepted[1:]
		}
		if float64(len(s.accepted))+1 > s.Burst {
			return tooFast
		}
		s.accepted = append(s.accepted, t)
	case s.RatePerS > 0:
		s.tokens = min(s.Burst, s.tokens+(t-s.at)*s.RatePerS)
		s.at = t
		if s.tokens < 1-slack {
			return tooFast
		}
		s.tokens--
	}
	s.today++
	return accepted
}

package schedule

import (
	"math"
	"time"
)

// sharing follows refusals: somebody else spends the same quota. Each refusal cuts the used share of the minute's quota
// to 0.85, and each answer adds half a per cent, as TCP shares a line (AIMD; Chiu and Jain 1989). In the balance of cut
// and growth about 1 request in 30 is refused. Requests are sent at even intervals then, since a burst meets those of
// others. Refusals pause all requests, longer each time. When the day's quota is refused, what is missing from it is
// what others take in a day, and is left to them on the days after.
type sharing struct {
	until time.Time // nothing is sent before
	steps int       // refusals, less answers since

	others  float64   // requests that others take in a day
	noticed time.Time // when that was last observed
}

const (
	shareCut    = 0.85
	shareGrowth = 0.0045
	minShare    = 0.02

	minutePause  = time.Minute + secondMargin // until a minute's quota has certainly recovered
	ratePause    = 15 * time.Second           // without a known quota; else the time in which one request is allowed
	maxRatePause = 15 * time.Minute
	dayPause     = time.Hour
	maxDayPause  = 6 * time.Hour

	othersKept = 0.8 // of what others take is still expected, for each day without a refusal
)

// taken returns how many requests others are expected to take in a day.
func (s *sharing) taken(now time.Time) float64 {
	return s.others * math.Pow(othersKept, max(now.Sub(s.noticed).Hours()/24-1, 0))
}

// Refused tells that the API refused the request because of the day's quota, or the minute's. Nothing is sent until the
// returned time. The job keeps its place.
func (p *Permit) Refused(at time.Time, day bool) (until time.Time) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	p.end("Refused", at, 0, RequestFailed)
	s.quota.answered(at)
	return s.refused(p.begun, at, day)
}

// RefusedByEither tells that the API refused the request because of a quota that it does not name. If there were other
// requests within a minute, it may be the minute's: nothing is sent until they have left the window. If a single
// request is refused, it is the day's.
func (p *Permit) RefusedByEither(at time.Time) (until time.Time) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	p.end("RefusedByEither", at, 0, RequestFailed)
	alone := !s.quota.busy(at.Add(-minutePause))
	s.quota.answered(at)
	switch {
	case s.sharing.known(p.begun):
	case alone:
		return s.refused(p.begun, at, true)
	default:
		s.quota.share = max(s.quota.share*shareCut, minShare)
		s.sharing.until = at.Add(minutePause)
	}
	return s.sharing.until
}

// OthersNoticed returns when a refusal last showed that others spend the day's quota; zero: never.
func (s *Scheduler) OthersNoticed() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sharing.noticed
}

// ForgetRefusals forgets what refusals told about others who spend the quota, and ends the pause: another key is used
// from now on. What is refused of permits from before says nothing about it.
func (s *Scheduler) ForgetRefusals(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sharing, s.quota.share = sharing{until: now}, 1
}

// known reports whether a request that was sent then was in flight when another was refused: both are one refusal.
func (s *sharing) known(begun time.Time) bool { return begun.Before(s.until) }

func (s *Scheduler) refused(begun, at time.Time, day bool) (until time.Time) {
	h := &s.sharing
	if h.known(begun) {
		return h.until
	}
	pause, longest := ratePause, maxRatePause
	if n := s.quota.limits.Requests; n > 0 {
		pause = max(s.quota.limits.Per/time.Duration(n), time.Second)
	}
	reset := s.quota.dayResets(at)
	if day {
		pause, longest = dayPause, maxDayPause
		o := s.quota.outlook(at)
		gone := 1 - (o.horizon-o.hour)/24 // part of the day
		if reset.IsZero() {
			gone = 1
		}
		if gone > 0.1 {
			h.others, h.noticed = min(o.left/gone, 0.95*o.limit), at
		}
	} else {
		s.quota.share = max(s.quota.share*shareCut, minShare)
	}
	h.until = at.Add(min(min(pause, longest)<<min(h.steps, 16), longest)) // which does not overflow
	if day && !reset.IsZero() && reset.Before(h.until) {
		h.until = reset
	}
	h.steps++
	return h.until
}

package schedule

import (
	"math"
	"time"
)

// sharing is what is made of refusals: somebody else spends the same quota. The
// rate is cut to 0.7 at each and grows by half a per cent of the quota with each
// request that goes well, as TCP shares a line (AIMD, Chiu and Jain 1989): where
// cut and growth balance, 1 request in 60 or so is refused. And nothing is asked for
// a while, longer each time. Where it is the day's quota that is gone, what is missing
// from it is what others take in a day, and is left to them on the days after.
type sharing struct {
	share float64   // of the minute's quota
	until time.Time // nothing is asked before
	steps int       // refusals, less requests that went well since

	others  float64   // requests that others take in a day
	noticed time.Time // when that was seen last
}

// taken is how many requests others are expected to take in a day.
func (s *sharing) taken(now time.Time) float64 {
	if s.others == 0 {
		return 0
	}
	return s.others * math.Pow(othersKept, max(now.Sub(s.noticed).Hours()/24-1, 0))
}

const (
	shareCut    = 0.7
	shareGrowth = 0.005
	leastShared = 0.02

	ratePause        = 15 * time.Second
	longestRatePause = 15 * time.Minute
	dayPause         = time.Hour
	longestDayPause  = 6 * time.Hour

	othersKept = 0.8 // of what others take is still expected, for each day on which nothing was refused
)

func (s *sharing) succeeded() {
	s.share = min(s.share+shareGrowth, 1)
	s.steps = max(s.steps-1, 0)
}

// Refused says that the API refused a request for the sake of the quota, the day's
// or the minute's, and returns until when nothing is asked. The job that was asked
// about keeps its turn.
func (s *Scheduler) Refused(id string, at time.Time, day bool) (until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		j.underWay = false
		s.wake = min(s.wake, s.seconds(at))
	}
	h := &s.sharing
	if at.Before(h.until) {
		return h.until // requests that were under way together are one refusal
	}
	pause, longest := ratePause, longestRatePause
	if day {
		pause, longest = dayPause, longestDayPause
		o := s.ledger.outlook(at)
		if gone := 1 - (o.horizon-o.hour)/24; s.ledger.dayResets(at).IsZero() || gone > 0.1 {
			if s.ledger.dayResets(at).IsZero() {
				gone = 1
			}
			h.others, h.noticed = min(o.left/gone, 0.95*o.limit), at
		}
	} else {
		h.share = max(h.share*shareCut, leastShared)
		s.ledger.SetShare(h.share, at)
	}
	h.until = at.Add(min(pause<<min(h.steps, 16), longest))
	if day {
		if reset := s.ledger.dayResets(at); !reset.IsZero() && reset.Before(h.until) {
			h.until = reset
		}
	}
	h.steps++
	return h.until
}

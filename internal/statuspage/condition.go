package statuspage

import (
	"strings"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/problems"
)

// A level is how an account, or the monitor as a whole, does. It is the name of an icon and of a class.
type level string

// The levels, the best first.
const (
	elsewhere level = "elsewhere" // another replica owns the account
	idle      level = "idle"      // nothing was polled yet
	good      level = "good"
	paused    level = "paused"
	warn      level = "warn"
	bad       level = "bad"
)

// worse reports whether a level needs more attention than another one.
func (l level) worse(than level) bool {
	rank := map[level]int{good: 1, paused: 2, warn: 3, bad: 4}
	return rank[l] > rank[than]
}

// A condition is how an account does at present.
type condition struct {
	Level level
	Icon  level            // the name of its icon
	Word  string           // for it
	Text  string           // why, or what it means
	Until time.Time        // end of a pause; zero: unknown
	Owner *collector.Owner // of which the text speaks; nil: of none
}

// conditionOf returns how an account does, by the first of its problems.
func conditionOf(s *collector.Snapshot) condition {
	switch t := s.API.Trouble; {
	case s.Absent:
		return absence(&s.Owner)
	case s.StoreError != nil:
		return condition{Level: bad, Icon: paused, Word: "Paused", Text: "the store is not writable"}
	case t != nil:
		text := problems.OfTrouble(t).Text
		c := condition{Level: bad, Icon: bad, Word: "Down", Text: strings.ToLower(text[:1]) + text[1:]}
		if c.Until = s.API.RetryAt(s.At); !c.Until.IsZero() {
			c.Icon, c.Word = paused, "Paused"
		}
		return c
	case s.Day.Used >= s.Day.Limit && s.Due > 0:
		return condition{
			Level: paused, Icon: paused, Word: "Paused", Text: "the daily quota is used up", Until: s.Day.Resets,
		}
	case s.API.Up:
		return condition{Level: good, Icon: good, Word: "Up", Text: "the API responds"}
	}
	if polledBefore(s) {
		return condition{Level: idle, Icon: idle, Word: "Not polled since the start"}
	}
	return condition{Level: idle, Icon: idle, Word: "Not polled yet"}
}

// polledBefore reports whether requests were sent, maybe before the start.
func polledBefore(s *collector.Snapshot) bool {
	return !s.LastRequest.IsZero() || s.Totals.Counter(collector.APIRequests) > 0
}

// absence is the condition of an account that this process does not own.
func absence(o *collector.Owner) condition {
	switch {
	case o.ID == "":
		const text = "no replica owns it, and it is not polled until one takes it over"
		return condition{Level: paused, Icon: paused, Word: "Not owned", Text: text}
	case o.Self:
		return condition{Level: idle, Icon: idle, Word: "Loading", Text: "this replica is taking it over"}
	}
	return condition{Level: elsewhere, Icon: elsewhere, Word: "Elsewhere", Text: "owned by", Owner: o}
}

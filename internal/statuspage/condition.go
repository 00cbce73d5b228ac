package statuspage

import (
	"strings"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// A level is how an account, or the monitor as a whole, does. It is the name of an icon and of a class.
type level string

// The levels, the best first.
const (
	idle   level = "idle" // nothing was polled yet
	good   level = "good"
	paused level = "paused"
	warn   level = "warn"
	bad    level = "bad"
)

// worse reports whether a level needs more attention than another one.
func (l level) worse(than level) bool {
	rank := map[level]int{good: 1, paused: 2, warn: 3, bad: 4}
	return rank[l] > rank[than]
}

// A condition is how an account does at present.
type condition struct {
	Level level
	Word  string    // for it
	Text  string    // why, or what it means
	Until time.Time // end of a pause; zero: unknown
}

// conditionOf returns how an account does. An account that another replica owns has none.
func conditionOf(s *collector.Snapshot) condition {
	switch t := s.API.Trouble; {
	case t != nil:
		text := troubleOf(t).Text
		c := condition{Level: bad, Word: "Down", Text: strings.ToLower(text[:1]) + text[1:]}
		if c.Until = s.API.RetryAt(s.At); !c.Until.IsZero() {
			c.Word = "Paused"
		}
		return c
	case s.StoreError != nil:
		return condition{Level: bad, Word: "Paused", Text: "the store is not writable"}
	case s.Day.Used >= s.Day.Limit && s.Due > 0:
		return condition{Level: paused, Word: "Paused", Text: "the daily quota is used up", Until: s.Day.Resets}
	case s.API.Up:
		return condition{Level: good, Word: "Up", Text: "the API responds"}
	}
	return condition{Level: idle, Word: "Not polled yet"}
}

// Icon is the name of the icon of the condition.
func (c condition) Icon() level {
	if c.Word == "Paused" {
		return paused
	}
	return c.Level
}

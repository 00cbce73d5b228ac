// Package outage decides when something that keeps failing is logged: when it begins, when its cause changes, and now
// and then while it lasts.
package outage

import (
	"errors"
	"slices"
	"time"
)

// Reports of an outage that does not change come after 10 minutes, an hour and 6 hours, and then every 6 hours: the
// next when it lasts this many times as long as at the last, within these bounds.
const (
	reminderFactor = 6
	minReminder    = 10 * time.Minute
	maxReminder    = 6 * time.Hour
)

// An Outage is a time in which something fails. The zero value is none.
type Outage struct {
	Failures int // in a row

	began    time.Time
	reported time.Time
	causes   []string // as reported
}

// maxCauses bounds the causes of an outage that are news. Those that come in turn are news once.
const maxCauses = 10

// Report begins an outage, or goes on with it, and reports whether to log the failure: it is the first, it has a cause
// that was not reported yet, or it is time for a reminder.
func (o *Outage) Report(now time.Time, cause string) bool {
	if o.began.IsZero() {
		o.began = now
	}
	wait := min(max((reminderFactor-1)*o.reported.Sub(o.began), minReminder), maxReminder)
	known := slices.Contains(o.causes, cause) || len(o.causes) == maxCauses
	if known && now.Sub(o.reported) < wait {
		return false
	}
	if !known {
		o.causes = append(o.causes, cause)
	}
	o.reported = now
	return true
}

// Retried makes the next failure news: something was done about the cause.
func (o *Outage) Retried() { o.reported, o.causes = time.Time{}, nil }

// Lasts reports whether there is an outage, and for how long.
func (o *Outage) Lasts(now time.Time) (d time.Duration, lasts bool) {
	if o.began.IsZero() {
		return 0, false
	}
	return now.Sub(o.began).Round(time.Millisecond), true
}

// Cause returns the text of the innermost error, which tells the cause. Those around it may name what differs each
// time, such as a port.
func Cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

package collector

import (
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// NextPolls returns the next n unfinished jobs to be asked about, in that order.
func (a *Account) NextPolls(n int) []schedule.Poll {
	return a.schedule.NextPolls(a.now(), n)
}

// Explain says why and when an unfinished job is asked about; ok is false where it
// is not known.
func (a *Account) Explain(requestID string) (r schedule.Reason, ok bool) {
	return a.schedule.Explain(requestID, a.now())
}

// Plan returns the requests of the coming time, at most so many, and the usage of
// the day's quota after them, as things stand: if no job ended and none came.
func (a *Account) Plan(length time.Duration, most int) ([]schedule.Planned, schedule.Usage) {
	return a.schedule.Plan(a.now(), length, most)
}

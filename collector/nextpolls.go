package collector

import "github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"

// NextPolls returns the next n unfinished jobs to be asked about, in that order.
func (a *Account) NextPolls(n int) []schedule.Poll {
	return a.queue.NextPolls(a.now(), n)
}

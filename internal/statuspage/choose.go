package statuspage

import (
	"slices"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/register"
)

// shown is how many jobs a table of the page has.
const shown = 20

func isFailed(s register.State) bool     { return s == register.Failed || s == register.Lost }
func isUnfinished(s register.State) bool { return !s.Ended() }
func isCompleted(s register.State) bool  { return s == register.Completed }

// choose returns the IDs of the jobs to show: those that failed or were lost
// last, those that have been unfinished for longest, and those that completed last.
func choose(a *collector.Account) (failed, unfinished, completed []string) {
	latest := func(x, y time.Time) bool { return x.After(y) }
	// They are offered the newest first: of two that began at once, the older one
	// comes later.
	oldest := func(x, y time.Time) bool { return !x.After(y) }
	f, u, c := shortlist{before: latest}, shortlist{before: oldest}, shortlist{before: latest}
	// Nothing matches: this only looks at each job.
	a.Jobs(func(j *register.Job) bool {
		switch {
		case isFailed(j.State):
			f.offer(j.FinishedAt, j.RequestID)
		case isUnfinished(j.State):
			u.offer(j.Start(), j.RequestID)
		default:
			c.offer(j.FinishedAt, j.RequestID)
		}
		return false
	}, "", 1)
	return f.ids(), u.ids(), c.ids()
}

// A shortlist keeps the first jobs, by a time, of all that it is offered.
type shortlist struct {
	before  func(x, y time.Time) bool
	entries []entry
}

type entry struct {
	at time.Time
	id string
}

func (s *shortlist) offer(at time.Time, id string) {
	n := len(s.entries)
	if n == shown {
		if !s.before(at, s.entries[n-1].at) {
			return
		}
		n--
		s.entries = s.entries[:n]
	}
	i := n
	for i > 0 && s.before(at, s.entries[i-1].at) {
		i--
	}
	s.entries = slices.Insert(s.entries, i, entry{at, id})
}

func (s *shortlist) ids() []string {
	ids := make([]string, len(s.entries))
	for i, e := range s.entries {
		ids[i] = e.id
	}
	return ids
}

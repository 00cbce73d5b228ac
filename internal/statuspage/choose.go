package statuspage

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// How many jobs a table of the overview has.
const (
	shown     = 10
	nextPolls = 5 // of those, the requests to come
)

func isFailed(s jobs.State) bool     { return s == jobs.Failed || s == jobs.Lost }
func isUnfinished(s jobs.State) bool { return !s.Ended() }
func isCompleted(s jobs.State) bool  { return s == jobs.Completed }

// chosen are the IDs of the jobs to show: those that failed or were lost last, those
// that have been unfinished for longest, and those that completed last.
type chosen struct{ failed, unfinished, completed []string }

// choose looks at each job: it chooses those to show, and adds up how they failed.
func choose(a *collector.Account, now time.Time) (chosen, failures) {
	sum := failures{codes: make(map[string]int)}
	latest := func(x, y time.Time) bool { return x.After(y) }
	// They are offered the newest first: of two that began at once, the older one
	// comes later.
	oldest := func(x, y time.Time) bool { return !x.After(y) }
	f, u, c := shortlist{before: latest}, shortlist{before: oldest}, shortlist{before: latest}
	// Nothing matches: this only looks at each job.
	a.Jobs(func(j *jobs.Job) bool {
		switch {
		case isFailed(j.State):
			sum.add(j, now)
			f.offer(j.FinishedAt, j.RequestID)
		case isUnfinished(j.State):
			u.offer(j.Start(), j.RequestID)
		default:
			c.offer(j.FinishedAt, j.RequestID)
		}
		return false
	}, "", 1)
	return chosen{f.ids(), u.ids(), c.ids()}, sum
}

// failures are how jobs failed, of those in the register.
type failures struct {
	Failed, Lost recent
	codes        map[string]int // failed jobs by error code
}

// recent is what has happened within the last hour, and when last.
type recent struct {
	Jobs int
	Last time.Time
}

func (f *failures) add(j *jobs.Job, now time.Time) {
	what := &f.Failed
	if j.State == jobs.Lost {
		what = &f.Lost
	} else {
		f.codes[j.ErrorCode]++
	}
	if now.Sub(j.FinishedAt) < time.Hour {
		what.Jobs++
	}
	if j.FinishedAt.After(what.Last) {
		what.Last = j.FinishedAt
	}
}

// A cause is an error code, and how many jobs failed with it.
type cause struct {
	Code string
	Jobs int
	Link string // to those jobs
}

// mostCauses is how many error codes the page tells apart.
const mostCauses = 5

// causes are the most frequent error codes, and how many jobs failed with others.
func (f *failures) causes(to links) (most []cause, others int) {
	codes := slices.SortedFunc(maps.Keys(f.codes), func(a, b string) int {
		return cmp.Or(cmp.Compare(f.codes[b], f.codes[a]), strings.Compare(a, b))
	})
	for i, code := range codes {
		if i >= mostCauses {
			others += f.codes[code]
			continue
		}
		most = append(most, cause{code, f.codes[code], to.failed(code)})
	}
	return most, others
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

package jobs

import (
	"slices"
	"sort"
	"time"

	"github.com/tidwall/btree"
)

// HistoryHours is how many hours a history has: the present one, and those of a day before it.
const HistoryHours = 24

// A History is what happened in the last hours. It is immutable.
type History struct {
	Hours  [HistoryHours]Hour // the present one is the last
	Latest []*Job             // those that ended last, the first of them first
	// Complete is since when all ends are in Hours. Before it are those of jobs that were tracked at the start.
	Complete time.Time
}

// An Hour is what happened in one hour.
type Hour struct {
	Start    time.Time
	Ended    EndCounts
	Requests int // that were reserved. Without a quota they are not known, and 0
}

// EndCounts are numbers of jobs that ended, in the order of EndStates.
type EndCounts [len(EndStates)]int

// All is the number of all of them.
func (e EndCounts) All() (n int) {
	for _, jobs := range e {
		n += jobs
	}
	return n
}

// endsByHour are numbers of ends by their Unix hour.
type endsByHour = btree.Map[int64, EndCounts]

const secondsPerHour = int64(time.Hour / time.Second)

func hourOf(t time.Time) int64 { return t.Unix() / secondsPerHour }

// countDepartedEnd counts the end of a job that is no longer tracked, for the history of a day. It is not stored: after
// a restart, a history has the ends of jobs that are tracked, and says since when these are all.
func (t *transaction) countDepartedEnd(j *Job) {
	if !j.State.Ended() {
		return
	}
	hour := hourOf(j.FinishedAt)
	n, _ := t.departedEnds.Get(hour)
	n[j.State-EndStates[0]]++
	t.departedEnds.Set(hour, n)
}

// forgetEnds forgets the ends that no history has, those after now included: the clock was ahead.
func (t *transaction) forgetEnds(now time.Time) {
	for hour := range t.departedEnds.Copy().Scan {
		if last := hourOf(now); hour < last-HistoryHours || hour > last {
			t.departedEnds.Delete(hour)
		}
	}
}

// History returns what happened in the last hours, and at most so many of the jobs that ended last.
func (j *Jobs) History(now time.Time, latest int) History {
	c := j.committed.Load()
	h := History{Complete: j.endsKnown}
	first := hourOf(now) - HistoryHours + 1
	for i := range h.Hours {
		hour := first + int64(i)
		h.Hours[i].Start = time.Unix(hour*secondsPerHour, 0).UTC()
		h.Hours[i].Ended, _ = c.departedEnds.Get(hour)
	}
	for state, ended := range c.ended {
		begin := countBefore(ended, h.Hours[0].Start)
		for i := range h.Hours {
			end := countBefore(ended, h.Hours[i].Start.Add(time.Hour))
			h.Hours[i].Ended[state] += end - begin
			begin = end
		}
	}
	h.Latest = appendJobs(nil, merged(byEnd, backwards, nil, c.ended[:]...), latest)
	slices.Reverse(h.Latest)

	ahead := int64(c.clock.now(now).Sub(now).Round(time.Second) / time.Second) // of the clock of the log
	c.requests.Ascend(first*secondsPerHour+ahead, func(second int64, n int) bool {
		if i := (second-ahead)/secondsPerHour - first; i < HistoryHours {
			h.Hours[i].Requests += n
		}
		return true
	})
	return h
}

// countBefore needs jobs by end.
func countBefore(jobs tree, t time.Time) int {
	return sort.Search(jobs.Len(), func(i int) bool {
		j, _ := jobs.GetAt(i)
		return !j.FinishedAt.Before(t)
	})
}

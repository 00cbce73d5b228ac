package jobs

import (
	"cmp"
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
}

// An Hour is what happened in one hour.
type Hour struct {
	Start                   time.Time
	Completed, Failed, Lost int // jobs, by their end
	Requests                int // that were reserved. Without a quota they are not known, and 0
}

// Ended is the number of jobs that ended.
func (h Hour) Ended() int { return h.Completed + h.Failed + h.Lost }

// ends are numbers of jobs, by their end state.
type ends [len(endStates)]int

// left counts, by the Unix hour of their end, the jobs that ended in the last day and are no longer tracked. It is not
// stored: after a restart, a history has the jobs that are tracked.
type left = btree.Map[int64, ends]

const secondsPerHour = int64(time.Hour / time.Second)

func hourOf(t time.Time) int64 { return t.Unix() / secondsPerHour }

// remember counts a job that leaves.
func (t *transaction) remember(j *Job) {
	if !j.State.Ended() {
		return
	}
	hour := hourOf(j.FinishedAt)
	n, _ := t.left.Get(hour)
	n[j.State-endStates[0]]++
	t.left.Set(hour, n)
	for t.left.Len() > HistoryHours+1 {
		t.left.PopMin()
	}
}

// History returns what happened in the last hours, and at most so many of the jobs that ended last.
func (j *Jobs) History(now time.Time, latest int) History {
	c := j.committed.Load()
	var h History
	present := hourOf(now)
	first := present - HistoryHours + 1
	for i := range h.Hours {
		hour := first + int64(i)
		h.Hours[i].Start = time.Unix(hour*secondsPerHour, 0).UTC()
		n, _ := c.left.Get(hour)
		h.Hours[i].Completed, h.Hours[i].Failed, h.Hours[i].Lost = n[0], n[1], n[2]
	}
	for k, of := range c.ended {
		h.Latest = appendJobs(h.Latest, of.Reverse, latest)
		begin := countBefore(of, h.Hours[0].Start)
		for i := range h.Hours {
			end := countBefore(of, h.Hours[i].Start.Add(time.Hour))
			*[...]*int{&h.Hours[i].Completed, &h.Hours[i].Failed, &h.Hours[i].Lost}[k] += end - begin
			begin = end
		}
	}
	slices.SortFunc(h.Latest, func(a, b *Job) int {
		return cmp.Or(a.FinishedAt.Compare(b.FinishedAt), cmp.Compare(a.sequence, b.sequence))
	})
	h.Latest = h.Latest[max(len(h.Latest)-latest, 0):]

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

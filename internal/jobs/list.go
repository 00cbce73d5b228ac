package jobs

import (
	"cmp"
	"iter"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/tidwall/btree"
)

// This file answers what people ask about the jobs. However many are tracked, an answer looks at a bounded number of
// them.

const (
	// maxLooked is how many jobs List looks at, at most.
	maxLooked = 50_000
	// maxSorted is how many jobs List sorts, at most.
	maxSorted = 10_000
)

// A Filter selects jobs. The zero value selects all.
type Filter struct {
	State     *State // nil: any
	ErrorCode string // empty: any
	Part      string // of the request ID
}

func (f *Filter) matches(j *Job) bool {
	return (f.State == nil || j.State == *f.State) && (f.ErrorCode == "" || j.ErrorCode == f.ErrorCode) &&
		strings.Contains(j.RequestID, f.Part)
}

// List returns at most limit selected jobs, the newest first, from the one after the job with the ID after (empty: from
// the newest). next is the ID after which the list goes on; empty: that is all. It looks at a bounded number of jobs, so
// there may be a next page although this one is short, or empty. ok is false if the job after is not tracked.
func (j *Jobs) List(f Filter, after string, limit int) (jobs []*Job, next string, ok bool) {
	c := j.committed.Load()
	var pivot *Job
	if after != "" {
		if pivot, ok = c.jobs.Get(after); !ok {
			return nil, "", false
		}
	}
	looked := 0
	for job := range c.candidates(f.State, pivot) {
		switch {
		case looked == maxLooked:
			return jobs, next, true
		case f.matches(job) && len(jobs) == limit:
			return jobs, jobs[limit-1].RequestID, true
		case f.matches(job):
			jobs = append(jobs, job)
		}
		looked, next = looked+1, job.RequestID
	}
	return jobs, "", true
}

// candidates yields the jobs among which those of a state are, the newest first, from the one after a pivot. There are
// few others among them, or many of the state.
func (s *state) candidates(of *State, pivot *Job) iter.Seq[*Job] {
	if of == nil {
		return merged(pivot, s.failed, s.others)
	}
	byRegistration, byTime := s.orders(*of)
	if *of == Failed || byTime.Len() > maxSorted {
		return merged(pivot, byRegistration)
	}
	var few []*Job
	for j := range byTime.Scan {
		if pivot == nil || j.sequence < pivot.sequence {
			few = append(few, j)
		}
	}
	slices.SortFunc(few, func(a, b *Job) int { return cmp.Compare(b.sequence, a.sequence) })
	return slices.Values(few)
}

// merged yields the jobs of trees that have the newest first, from the one after a pivot.
func merged(pivot *Job, of ...tree) iter.Seq[*Job] {
	return func(yield func(*Job) bool) {
		var at []btree.IterG[*Job]
		for _, t := range of {
			i := t.Iter()
			found := i.First()
			if pivot != nil {
				found = i.Seek(pivot) && (i.Item().sequence < pivot.sequence || i.Next())
			}
			if found {
				at = append(at, i)
			}
		}
		for len(at) > 0 {
			n := 0
			for i := range at {
				if at[i].Item().sequence > at[n].Item().sequence {
					n = i
				}
			}
			if !yield(at[n].Item()) {
				return
			}
			if !at[n].Next() {
				at = slices.Delete(at, n, n+1)
			}
		}
	}
}

// An Overview is what needs attention. It is immutable.
type Overview struct {
	Failed     []*Job // or lost, those that ended last first
	Unfinished []*Job // the oldest first
	Completed  []*Job // those that ended last first

	RecentlyFailed, RecentlyLost Ends
	Codes                        map[string]int // failed jobs by error code

	UnknownState int    // unfinished jobs in a state that is not known
	StateWord    string // one of the words for it, if one looks like one
}

// Ends are some ends of jobs.
type Ends struct {
	Jobs int       // that ended since a time
	Last time.Time // when the last one of all ended; zero: none did
}

// Overview returns at most limit jobs of each kind, and counts the failures since a time.
func (j *Jobs) Overview(since time.Time, limit int) Overview {
	c := j.committed.Load()
	completed, failed, lost := c.ended[0], c.ended[1], c.ended[2]
	o := Overview{
		Failed:     appendJobs(appendJobs(nil, failed.Reverse, limit), lost.Reverse, limit),
		Unfinished: appendJobs(nil, c.unfinished.Scan, limit),
		Completed:  appendJobs(nil, completed.Reverse, limit),

		RecentlyFailed: endsOf(failed, since), RecentlyLost: endsOf(lost, since), Codes: make(map[string]int),
	}
	slices.SortFunc(o.Failed, func(a, b *Job) int {
		return cmp.Or(b.FinishedAt.Compare(a.FinishedAt), cmp.Compare(b.sequence, a.sequence))
	})
	o.Failed = o.Failed[:min(len(o.Failed), limit)]
	for code, n := range c.codes.Scan {
		o.Codes[code] = n
	}
	for word, n := range c.words.Scan {
		o.UnknownState += n
		o.StateWord = cmp.Or(o.StateWord, word)
	}
	return o
}

// endsOf needs jobs by end.
func endsOf(jobs tree, since time.Time) (e Ends) {
	if last, found := jobs.Max(); found {
		e.Last = last.FinishedAt
	}
	e.Jobs = jobs.Len() - sort.Search(jobs.Len(), func(i int) bool {
		j, _ := jobs.GetAt(i)
		return j.FinishedAt.After(since)
	})
	return e
}

// appendJobs appends at most limit jobs.
func appendJobs(to []*Job, from iter.Seq[*Job], limit int) []*Job {
	if limit <= 0 {
		return to
	}
	for j := range from {
		to = append(to, j)
		if limit--; limit == 0 {
			break
		}
	}
	return to
}

package jobs

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/tidwall/btree"
)

// This file answers what people ask about the jobs. However many are tracked, an answer looks at a bounded number of
// them.

const (
	// MaxLooked is how many jobs Late and Sorted look at, at most.
	MaxLooked = 50_000
	// maxSorted is how many jobs Sorted sorts, at most.
	maxSorted = 10_000
)

// A Filter selects jobs. The zero value selects all.
type Filter struct {
	State     *State            // nil: any
	API       string            // empty: any; UnknownAPI: those without
	ErrorCode string            // empty: any
	Labels    map[string]string // values by name
	Text      string            // in the request ID, the API, the error code, or the value of a label
	Late      bool              // unfinished jobs that are late only; Jobs does not know which are, see Late
}

// qualities yields what the jobs that it selects have in common.
func (f *Filter) qualities(yield func(quality) bool) {
	if f.API != "" && !yield(quality{kind: isAPI, value: f.API}) ||
		f.ErrorCode != "" && !yield(quality{kind: hasCode, value: f.ErrorCode}) {
		return
	}
	for name, value := range f.Labels {
		if !yield(quality{hasLabel, name, value}) {
			return
		}
	}
}

// A search is a filter, and what is known of its hits.
type search struct {
	Filter
	most     int                        // hits there can be
	named    map[quality]bool           // the APIs and error codes that contain the text
	labelled map[string]map[string]bool // the values of labels that contain the text
	// There are too many names, or labels: look at those of each job.
	anyName, anyLabel bool
	isLate            func(*Job) bool // nil: any
}

func (s *accountState) search(f Filter) *search {
	hits := &search{Filter: f, most: s.jobs.Len()}
	if f.State != nil {
		hits.most = s.counts[*f.State]
	}
	for q := range f.qualities {
		hits.most = min(hits.most, s.size(q, f.State))
	}
	if f.Text != "" {
		var ok bool
		hits.named, ok = s.named(f.Text)
		hits.anyName = !ok
		hits.labelled, ok = s.labelled(f.Text)
		hits.anyLabel = !ok
	}
	return hits
}

func (s *search) matches(j *Job) bool {
	if s.State != nil && j.State != *s.State || s.ErrorCode != "" && j.ErrorCode != s.ErrorCode ||
		s.API != "" && j.apiOrUnknown() != s.API ||
		s.Text != "" && !strings.Contains(j.RequestID, s.Text) && !s.isNamed(j) && !s.isLabelled(j) {
		return false
	}
	for name, value := range s.Labels { // last, since a look at a map takes longer
		if has, found := j.Labels[name]; !found || has != value {
			return false
		}
	}
	return s.isLate == nil || s.isLate(j)
}

// isNamed reports whether the API or the error code of a job contains the text.
func (s *search) isNamed(j *Job) bool {
	if s.anyName {
		return strings.Contains(j.apiOrUnknown(), s.Text) || strings.Contains(j.ErrorCode, s.Text)
	}
	return len(s.named) > 0 && (s.named[quality{kind: isAPI, value: j.apiOrUnknown()}] ||
		j.ErrorCode != "" && s.named[quality{kind: hasCode, value: j.ErrorCode}])
}

// isLabelled reports whether a label of a job contains the text.
func (s *search) isLabelled(j *Job) bool {
	if s.anyLabel {
		for _, value := range j.Labels {
			if strings.Contains(value, s.Text) {
				return true
			}
		}
		return false
	}
	for name, values := range s.labelled {
		if values[j.Labels[name]] {
			return true
		}
	}
	return false
}

// Late returns at most limit of the selected jobs that are unfinished and late, as Sorted does, but those that began
// first come first.
func (j *Jobs) Late(f Filter, isLate func(*Job) bool, after string, limit int) (jobs []*Job, next string, ok bool) {
	c := j.committed.Load()
	var pivot *Job
	if after != "" {
		if pivot, ok = c.jobs.Get(after); !ok {
			return nil, "", false
		}
	}
	search := c.search(f)
	search.isLate = isLate
	if search.most == 0 {
		return nil, "", true
	}
	jobs, next = search.walk(merged(byStart, forwards, pivot, c.unfinished), limit)
	return jobs, next, true
}

// An Order is a way to sort jobs.
type Order int

// The orders. Jobs without that value come last.
const (
	ByRegistration Order = iota // the newest first
	ByEnd                       // the latest first
	ByDuration                  // the longest first: of an unfinished job, its age
	ByConfidence                // the lowest first
)

// Sorted returns at most limit selected jobs in an order, which may be reversed, from the one after the job with the ID
// after (empty: from the first). next is the ID after which the list goes on; empty: that is all. It looks at a bounded
// number of jobs, so there may be a next page although this one is short, or empty. ok is false if the job after is not
// tracked. By registration and end, jobs are kept in order. Otherwise it sorts a bounded number of jobs: all is false
// if there are older ones, which it did not look at.
func (j *Jobs) Sorted(
	f Filter, by Order, reverse bool, after string, limit int, now time.Time,
) (jobs []*Job, next string, all, ok bool) {
	c := j.committed.Load()
	var pivot *Job
	if after != "" {
		if pivot, ok = c.jobs.Get(after); !ok {
			return nil, "", false, false
		}
	}
	search := c.search(f)
	switch {
	case search.most == 0:
		return nil, "", true, true
	case by == ByRegistration:
		jobs, next = search.walk(c.byRegistration(f.State, direction(reverse), pivot), limit)
		return jobs, next, true, true
	case by == ByEnd:
		jobs, next = search.walk(c.byEnd(f.State, direction(!reverse), pivot), limit)
		return jobs, next, true, true
	}
	jobs, next, all = search.sort(c.byRegistration(f.State, forwards, nil), by, reverse, pivot, limit, now)
	return jobs, next, all, true
}

// walk returns at most limit hits among jobs, in their order.
func (s *search) walk(among iter.Seq[*Job], limit int) (jobs []*Job, next string) {
	looked := 0
	for job := range among {
		switch {
		case looked == MaxLooked:
			return jobs, next
		case !s.matches(job):
		case len(jobs) == limit:
			return jobs, jobs[limit-1].RequestID
		default:
			if jobs = append(jobs, job); len(jobs) == s.most {
				return jobs, ""
			}
		}
		looked, next = looked+1, job.RequestID
	}
	return jobs, ""
}

// value returns what is sorted by, ascending; NaN: unknown.
func (o Order) value(j *Job, now time.Time) float64 {
	switch {
	case o == ByDuration && j.Started():
		return -j.Age(now).Seconds()
	case o == ByConfidence && j.Statistics != nil:
		return j.Statistics.Confidence
	}
	return math.NaN()
}

// sort returns at most limit hits among jobs, by a value, from the one after a pivot. all is false if there are jobs
// that it did not look at.
func (s *search) sort(
	among iter.Seq[*Job], by Order, reverse bool, pivot *Job, limit int, now time.Time,
) (jobs []*Job, next string, all bool) {
	type sorted struct {
		*Job
		value float64
	}
	key := func(job *Job) sorted {
		v := by.value(job, now)
		if reverse {
			v = -v
		}
		return sorted{job, v}
	}
	compare := func(a, b sorted) int {
		if unknown := math.IsNaN(a.value); unknown != math.IsNaN(b.value) { // cmp.Compare has it first
			if unknown {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(b.Sequence, a.Sequence))
	}
	var after sorted
	if pivot != nil {
		after = key(pivot)
	}
	var first []sorted // at most one more than the limit
	looked, found := 0, 0
	all = true
	for job := range among {
		if found == s.most {
			break
		}
		if looked++; looked > MaxLooked {
			all = false
			break
		}
		if !s.matches(job) {
			continue
		}
		found++
		k := key(job)
		if pivot != nil && compare(k, after) <= 0 || len(first) > limit && compare(k, first[limit]) >= 0 {
			continue
		}
		i, _ := slices.BinarySearchFunc(first, k, compare)
		first = slices.Insert(first[:min(len(first), limit)], i, k)
	}
	for _, k := range first[:min(len(first), limit)] {
		jobs = append(jobs, k.Job)
	}
	if len(first) > limit {
		next = jobs[limit-1].RequestID
	}
	return jobs, next, all
}

// byRegistration yields the jobs among which those of a state are, the newest first or, backwards, the oldest, from the
// one after a pivot. There are few others among them, or many of the state.
func (s *accountState) byRegistration(of *State, d direction, pivot *Job) iter.Seq[*Job] {
	if of == nil {
		return merged(newestFirst, d, pivot, s.failed, s.others)
	}
	byRegistration, byTime := s.orders(*of)
	if *of == Failed || byTime.Len() > maxSorted {
		return merged(newestFirst, d, pivot, *byRegistration)
	}
	few := newTree(newestFirst)
	for j := range byTime.Scan {
		few.Set(j)
	}
	return merged(newestFirst, d, pivot, few)
}

// byEnd yields the jobs among which those of a state are: those that ended, by their end, and then the unfinished ones,
// the newest first; from the one after a pivot.
func (s *accountState) byEnd(of *State, d direction, pivot *Job) iter.Seq[*Job] {
	ended, unfinished := s.ended[:], []tree{s.unfinished}
	if of != nil {
		_, byTime := s.orders(*of)
		if of.Ended() {
			ended, unfinished = []tree{*byTime}, nil
		} else {
			ended = nil
		}
	}
	return func(yield func(*Job) bool) {
		if pivot == nil || pivot.State.Ended() {
			for j := range merged(byEnd, d, pivot, ended...) {
				if !yield(j) {
					return
				}
			}
			pivot = nil
		}
		merged(byStart, backwards, pivot, unfinished...)(yield)
	}
}

// A direction is one in which trees are walked.
type direction bool

const (
	forwards  direction = false
	backwards direction = true
)

// merged yields the jobs of trees that are in one order, from the one after a pivot.
func merged(less func(a, b *Job) bool, d direction, pivot *Job, of ...tree) iter.Seq[*Job] {
	precedes := less
	if d == backwards {
		precedes = func(a, b *Job) bool { return less(b, a) }
	}
	return func(yield func(*Job) bool) {
		var at []*btree.IterG[*Job]
		for _, t := range of {
			if i := t.Iter(); seek(&i, d, pivot) {
				at = append(at, &i)
			}
		}
		for len(at) > 0 {
			n := 0
			for i := range at {
				if precedes(at[i].Item(), at[n].Item()) {
					n = i
				}
			}
			if !yield(at[n].Item()) {
				return
			}
			if !step(at[n], d) {
				at = slices.Delete(at, n, n+1)
			}
		}
	}
}

// seek moves an iterator to the first job, or to the one after a pivot.
func seek(i *btree.IterG[*Job], d direction, pivot *Job) (found bool) {
	switch {
	case pivot == nil && d == forwards:
		return i.First()
	case pivot == nil:
		return i.Last()
	case !i.Seek(pivot): // all come before it
		return d == backwards && i.Last()
	case d == backwards || i.Item() == pivot:
		return step(i, d)
	}
	return true
}

func step(i *btree.IterG[*Job], d direction) (found bool) {
	if d == backwards {
		return i.Prev()
	}
	return i.Next()
}

// An Overview is what needs attention. It is immutable.
type Overview struct {
	Failed     []*Job // or lost, those that ended last first
	Unfinished []*Job // the oldest first
	Completed  []*Job // those that ended last first

	RecentlyCompleted, RecentlyFailed, RecentlyLost Ends

	Codes map[string]int // failed jobs by error code

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
		Failed:     appendJobs(nil, merged(byEnd, backwards, nil, failed, lost), limit),
		Unfinished: appendJobs(nil, c.unfinished.Scan, limit),
		Completed:  appendJobs(nil, completed.Reverse, limit),

		RecentlyCompleted: endsOf(completed, since), RecentlyFailed: endsOf(failed, since),
		RecentlyLost: endsOf(lost, since), Codes: make(map[string]int),
	}
	c.groups.Ascend(group{quality: quality{kind: hasCode}}, func(g group) bool {
		if g.kind == hasCode && g.state == Failed {
			o.Codes[g.value] = g.jobs
		}
		return g.kind == hasCode
	})
	for word, n := range c.stateWords.Scan {
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

package statuspage

import (
	"cmp"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// The lengths of lists.
const (
	listed     = 100 // jobs of an account on a page of /jobs
	shown      = 10  // jobs in each list of the overview
	nextPolls  = 5
	mostCauses = 5
)

func isFailed(s jobs.State) bool { return s == jobs.Failed || s == jobs.Lost }

// choose chooses the jobs to show: those that failed or were lost last, the oldest unfinished ones, and those that
// completed last. It counts the failures.
func choose(a *collector.Account, now time.Time) (failed, unfinished, completed []*jobs.Job, sum failures) {
	sum.codes = make(map[string]int)
	later := func(x, y *jobs.Job) bool { return x.FinishedAt.After(y.FinishedAt) }
	// Jobs come newest first: of two with the same time, the second is older.
	older := func(x, y *jobs.Job) bool { return !x.Start().After(y.Start()) }
	// Nothing matches: this only iterates.
	a.Jobs(func(j *jobs.Job) bool {
		switch {
		case isFailed(j.State):
			sum.add(j, now)
			shortlist(&failed, j, later)
		case !j.State.Ended():
			sum.addUnfinished(j)
			shortlist(&unfinished, j, older)
		default:
			shortlist(&completed, j, later)
		}
		return false
	}, "", 1)
	return failed, unfinished, completed, sum
}

// shortlist inserts a job into a list in its order if it is among the first.
func shortlist(list *[]*jobs.Job, j *jobs.Job, before func(x, y *jobs.Job) bool) {
	i := sort.Search(len(*list), func(i int) bool { return before(j, (*list)[i]) })
	if i < shown {
		*list = slices.Insert((*list)[:min(len(*list), shown-1)], i, j)
	}
}

// failures count the failed and lost jobs that are tracked, and the unfinished ones with a state that is not known.
type failures struct {
	Failed, Lost recent
	codes        map[string]int // failed jobs by error code
	UnknownState int
	StateWord    string // one of those states, if it looks like one
}

func (f *failures) addUnfinished(j *jobs.Job) {
	if j.LastPoll != nil && j.LastPoll.UnknownState {
		f.UnknownState++
		f.StateWord = cmp.Or(f.StateWord, j.LastPoll.StateWord)
	}
}

// recent counts jobs of the last hour, and has the time of the last one of all.
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

// A group is the jobs of a state, or the jobs that failed with an error code.
type group struct {
	Name string
	Jobs int
	Link string // to those jobs
}

// causes returns the most frequent error codes, and the number of jobs with others.
func (f *failures) causes(to links) (most []group, others int) {
	codes := slices.SortedFunc(maps.Keys(f.codes), func(a, b string) int {
		return cmp.Or(cmp.Compare(f.codes[b], f.codes[a]), strings.Compare(a, b))
	})
	for i, code := range codes {
		if i < mostCauses {
			most = append(most, group{code, f.codes[code], to.failed(code)})
		} else {
			others += f.codes[code]
		}
	}
	return most, others
}

package statuspage

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// The lengths of lists.
const (
	listed     = 100 // jobs of an account on a page of /jobs
	shown      = 10  // jobs in each list of the overview
	nextPolls  = 5
	mostCauses = 5
	maxOptions = 100 // values of a filter
)

// A group is the jobs of a state, or the jobs that failed with an error code.
type group struct {
	Name string
	Jobs int
	Link string // to those jobs
}

// causesOf returns the most frequent error codes, and the number of jobs with others.
func causesOf(codes map[string]int, to links) (most []group, others int) {
	for i, code := range tally(codes).mostFrequent() {
		if i < mostCauses {
			most = append(most, group{code, codes[code], to.failed(code)})
		} else {
			others += codes[code]
		}
	}
	return most, others
}

// A tally is the number of jobs by value.
type tally map[string]int

func (t tally) add(counts []jobs.Count) {
	for _, c := range counts {
		t[c.Value] += c.Jobs
	}
}

// mostFrequent returns the values, the most frequent first.
func (t tally) mostFrequent() []string {
	return slices.SortedFunc(maps.Keys(t), func(a, b string) int {
		return cmp.Or(cmp.Compare(t[b], t[a]), strings.Compare(a, b))
	})
}

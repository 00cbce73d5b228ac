package statuspage

import (
	"cmp"
	"maps"
	"slices"
	"strings"
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
	sorted := slices.SortedFunc(maps.Keys(codes), func(a, b string) int {
		return cmp.Or(cmp.Compare(codes[b], codes[a]), strings.Compare(a, b))
	})
	for i, code := range sorted {
		if i < mostCauses {
			most = append(most, group{code, codes[code], to.failed(code)})
		} else {
			others += codes[code]
		}
	}
	return most, others
}

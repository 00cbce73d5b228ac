package jobs

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tidwall/btree"
)

// This file counts the jobs that have something in common, so that people can choose among them. The counts are kept
// with the jobs: counting on demand would take a look at each job.

// maxValues is how many values of an API, error code or label are looked at, at most.
const maxValues = 1000

// A quality is what jobs can have in common.
type quality struct {
	kind  int    // isAPI, hasCode or hasLabel
	label string // its name
	value string
}

const (
	isAPI = iota
	hasCode
	hasLabel
)

func (a quality) compare(b quality) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.label, b.label), strings.Compare(a.value, b.value))
}

// A group is the number of jobs of a state that share a quality.
type group struct {
	quality
	state State
	jobs  int
}

type groups = *btree.BTreeG[group]

func newGroups() groups {
	return btree.NewBTreeGOptions(func(a, b group) bool {
		return cmp.Or(a.compare(b.quality), cmp.Compare(a.state, b.state)) < 0
	}, btree.Options{NoLocks: true})
}

// qualities yields what a job has in common with others.
func (j *Job) qualities(yield func(quality) bool) {
	if !yield(quality{kind: isAPI, value: j.apiOrUnknown()}) || j.State.Ended() && j.State != Completed &&
		!yield(quality{kind: hasCode, value: j.ErrorCode}) {
		return
	}
	for name, value := range j.Labels {
		if !yield(quality{hasLabel, name, value}) {
			return
		}
	}
}

func (j *Job) apiOrUnknown() string { return cmp.Or(j.API, UnknownAPI) }

// group adds n to the numbers of the groups that a job is in.
func (s *state) group(j *Job, n int) {
	for q := range j.qualities {
		g := group{quality: q, state: j.State}
		if was, found := s.groups.Get(g); found {
			g.jobs = was.jobs
		}
		if g.jobs += n; g.jobs == 0 {
			s.groups.Delete(g)
		} else {
			s.groups.Set(g)
		}
	}
}

// size returns how many jobs of a state (nil: any) have a quality.
func (s *state) size(q quality, of *State) (jobs int) {
	for state := range States {
		if of == nil || *of == State(state) {
			if g, found := s.groups.Get(group{quality: q, state: State(state)}); found {
				jobs += g.jobs
			}
		}
	}
	return jobs
}

// A Count is the number of jobs that have a value.
type Count struct {
	Value string
	Jobs  int
}

// Groups are numbers of jobs. Of each list, the most frequent value is the first.
type Groups struct {
	APIs, ErrorCodes []Count
	Labels           map[string][]Count // by name
	// Incomplete: an API, error code or label has so many values that some are not counted.
	Incomplete bool
}

// Groups counts the jobs of a state (nil: any). It looks at a bounded number of values.
func (j *Jobs) Groups(of *State) Groups {
	g := Groups{Labels: make(map[string][]Count)}
	var all []Count
	var last quality // the one of the last of all
	add := func() {
		slices.SortStableFunc(all, func(a, b Count) int { return cmp.Compare(b.Jobs, a.Jobs) })
		switch {
		case len(all) == 0:
		case last.kind == isAPI:
			g.APIs = all
		case last.kind == hasCode:
			g.ErrorCodes = all
		default:
			g.Labels[last.label] = all
		}
		all = nil
	}
	c := j.committed.Load()
	seen := 0
	for i, more := iterate(c.groups); more; {
		at := i.Item()
		if at.kind != last.kind || at.label != last.label {
			add()
			last, seen = at.quality, 0
		}
		if seen++; seen > maxValues*len(States) {
			g.Incomplete = true
			more = i.Seek(group{quality: quality{kind: at.kind, label: at.label + "\x00"}})
			continue
		}
		if of == nil || at.state == *of {
			if n := len(all); n > 0 && all[n-1].Value == at.value {
				all[n-1].Jobs += at.jobs
			} else {
				all = append(all, Count{at.value, at.jobs})
			}
		}
		more = i.Next()
	}
	add()
	return g
}

func iterate(g groups) (i btree.IterG[group], more bool) {
	i = g.Iter()
	return i, i.First()
}

// labelled returns the values of each label that contain a text, by name. ok is false if there are too many to tell.
func (s *state) labelled(text string) (values map[string]map[string]bool, ok bool) {
	values = make(map[string]map[string]bool)
	looked := 0
	s.groups.Ascend(group{quality: quality{kind: hasLabel}}, func(g group) bool {
		if strings.Contains(g.value, text) {
			if values[g.label] == nil {
				values[g.label] = make(map[string]bool)
			}
			values[g.label][g.value] = true
		}
		looked++
		return looked <= maxValues*len(States)
	})
	return values, looked <= maxValues*len(States)
}

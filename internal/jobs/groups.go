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
func (s *accountState) group(j *Job, n int) {
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
func (s *accountState) size(q quality, of *State) (jobs int) {
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

// Groups are numbers of jobs, by value.
type Groups struct {
	APIs, ErrorCodes []Count
	Labels           map[string][]Count // by name
	// Incomplete: an API, error code or label has so many values that some are not counted.
	Incomplete bool
}

// list returns the list of a quality.
func (g *Groups) list(q quality) []Count {
	switch q.kind {
	case isAPI:
		return g.APIs
	case hasCode:
		return g.ErrorCodes
	}
	return g.Labels[q.label]
}

// add counts jobs that have a quality.
func (g *Groups) add(q quality, jobs int) {
	list := g.list(q)
	if n := len(list); n > 0 && list[n-1].Value == q.value {
		list[n-1].Jobs += jobs
		return
	}
	list = append(list, Count{q.value, jobs})
	switch q.kind {
	case isAPI:
		g.APIs = list
	case hasCode:
		g.ErrorCodes = list
	default:
		g.Labels[q.label] = list
	}
}

// Groups counts the jobs of the state that a filter selects. It looks at a bounded number of values, and at those that
// the filter selects.
func (j *Jobs) Groups(f Filter) Groups {
	c := j.committed.Load()
	g := Groups{Labels: make(map[string][]Count)}
	var last quality
	values := 0 // of the API, error code or label
	for i, more := iterate(c.groups); more; {
		at := i.Item()
		if at.kind != last.kind || at.label != last.label {
			values = 0
		}
		if values == 0 || at.quality != last {
			values++
		}
		if last = at.quality; values > maxValues {
			g.Incomplete = true
			more = i.Seek(group{quality: quality{kind: at.kind, label: at.label + "\x00"}})
			continue
		}
		if f.State == nil || at.state == *f.State {
			g.add(at.quality, at.jobs)
		}
		more = i.Next()
	}
	for q := range f.qualities {
		listed := slices.ContainsFunc(g.list(q), func(c Count) bool { return c.Value == q.value })
		if n := c.size(q, f.State); n > 0 && !listed {
			g.add(q, n)
		}
	}
	return g
}

func iterate(g groups) (i btree.IterG[group], more bool) {
	i = g.Iter()
	return i, i.First()
}

// named returns the APIs and error codes that contain a text. ok is false if there are too many to tell.
func (s *accountState) named(text string) (named map[quality]bool, ok bool) {
	named = make(map[quality]bool)
	looked := 0
	s.groups.Ascend(group{}, func(g group) bool {
		if g.kind != isAPI && g.kind != hasCode {
			return false
		}
		if strings.Contains(g.value, text) {
			named[g.quality] = true
		}
		looked++
		return looked <= maxValues*len(States)
	})
	return named, looked <= maxValues*len(States)
}

// labelled returns the values of each label that contain a text, by name. ok is false if there are too many to tell.
func (s *accountState) labelled(text string) (values map[string]map[string]bool, ok bool) {
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

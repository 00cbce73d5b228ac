package jobs

import (
	"cmp"
	"time"
	"unique"

	"github.com/tidwall/btree"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A set is the keys of what is to be stored. Most transactions store nothing: they make none.
type set[K comparable] map[K]bool

func (s *set[K]) add(key K) {
	if *s == nil {
		*s = make(set[K])
	}
	(*s)[key] = true
}

// A table is a map that knows which keys are to be stored. Like a tree, it is copied before a transaction changes it.
type table[K cmp.Ordered, V any] struct {
	*btree.Map[K, V]
	shared  bool
	changed set[K]
}

func newTable[K cmp.Ordered, V any]() table[K, V] { return table[K, V]{Map: new(btree.Map[K, V])} }

func (t table[K, V]) begin() table[K, V] { return table[K, V]{Map: t.Map, shared: true} }

func (t *table[K, V]) own() {
	if t.shared {
		t.Map, t.shared = t.Map.Copy(), false
	}
}

// Set puts what need not be stored.
func (t *table[K, V]) Set(key K, v V) {
	t.own()
	t.Map.Set(key, v)
}

func (t *table[K, V]) put(key K, v V) {
	t.Set(key, v)
	t.changed.add(key)
}

func (t *table[K, V]) remove(key K) {
	t.own()
	if _, was := t.Map.Delete(key); was {
		t.changed.add(key)
	}
}

// A tree has jobs in an order. A transaction changes few of the trees, and copies one before it does.
type tree struct {
	*btree.BTreeG[*Job]
	shared bool // with the committed state
}

func newTree(less func(a, b *Job) bool) tree {
	return tree{BTreeG: btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})}
}

func (t *tree) own() {
	if t.shared {
		t.BTreeG, t.shared = t.BTreeG.Copy(), false
	}
}

// Set puts a job in its place.
func (t *tree) Set(j *Job) {
	t.own()
	t.BTreeG.Set(j)
}

// Delete removes a job.
func (t *tree) Delete(j *Job) {
	t.own()
	t.BTreeG.Delete(j)
}

// An index is the jobs by ID. The IDs are in the jobs only, of which there may be millions.
type index struct {
	tree
	changed set[string] // the IDs of those that are to be stored
}

// Get returns the job with an ID.
func (i *index) Get(requestID string) (*Job, bool) { return i.tree.Get(&Job{RequestID: requestID}) }

// A transaction is what a group of operations makes of the state of an account. It is written to the store
// first, and then its state becomes the committed one.
type transaction struct {
	*accountState // a copy
	options       *Options
	counts        increments
	events        []Event

	// Reasons to commit although no row changes. What was only counted outside of operations waits for another commit,
	// and a transaction without any of these reasons writes nothing.
	flush   bool      // store what was counted
	answers bool      // somebody is told what was found: the store makes sure that it still has it
	compact bool      // the store may shrink
	noting  time.Time // store what the clock of the log of requests shows then; zero: do not

	received []store.Message // messages that are to be deleted
}

func (s *accountState) begin(options *Options) *transaction {
	c := *s
	c.jobs.changed, c.departed = nil, s.departed.copy()
	c.requests, c.timings, c.changes.waiting = s.requests.begin(), s.timings.begin(), s.changes.waiting.begin()
	c.groups, c.stateWords, c.departedEnds = s.groups.Copy(), s.stateWords.Copy(), s.departedEnds.Copy()
	for _, t := range []*tree{
		&c.jobs.tree, &c.failed, &c.others, &c.unfinished, &c.ended[0], &c.ended[1], &c.ended[2], &c.timed,
	} {
		t.shared = true
	}
	return &transaction{accountState: &c, options: options, counts: make(increments)}
}

// put makes a version of a job the current one. It counts the series that this takes from a
// job: a new job has them or takes them from another, and a job that fails may take them back.
func (t *transaction) put(j *Job, stored bool) {
	maxSeries := t.options.MaxJobSeries
	old, tracked := t.jobs.tree.Get(j)
	had := tracked && t.hasSeries(old, maxSeries)
	if tracked {
		t.replace(old, j)
	} else {
		t.insert(j)
	}
	if stored {
		t.jobs.changed.add(j.RequestID)
	}
	if tracked && !had && t.hasSeries(j, maxSeries) || !tracked && t.jobs.Len() > maxSeries {
		t.counts.add(JobsEvicted, 1, ByLimit)
	}
}

// depart stops tracking a job, and remembers it. If a user removed it, it may be registered again over HTTP.
func (t *transaction) depart(j *Job, removed bool) {
	t.remove(j)
	t.countDepartedEnd(j)
	t.jobs.changed.add(j.RequestID)
	t.dropTimings(j)
	t.departed.remember(j.RequestID, removed)
	if !j.State.Ended() {
		t.events = append(t.events, Event{Kind: Removed, Job: j})
	}
}

func (t *transaction) dropTimings(j *Job) {
	t.timed.Delete(j)
	t.timings.remove(j.RequestID)
}

// bound drops the oldest timings and state changes beyond their limits.
func (t *transaction) bound() {
	for t.timed.Len() > t.options.MaxJobSeries {
		oldest, _ := t.timed.Min()
		t.dropTimings(oldest)
	}
	if t.options.MaxStateChanges == 0 {
		return
	}
	for t.changes.waiting.Len() > t.options.MaxStateChanges {
		oldest, _, _ := t.changes.waiting.Min()
		t.changes.remove(oldest)
		t.counts.add(StateChangesDropped, 1)
	}
}

func (t *transaction) emit(kind EventKind, j *Job, at time.Time, by Observer) {
	t.events = append(t.events, Event{Kind: kind, Job: j, At: at, By: by})
}

// register starts tracking a job that is not known.
func (t *transaction) register(from submission.Source, s submission.Job, now time.Time) *Job {
	t.sequence++
	j := &Job{
		RequestID:    s.RequestID,
		Origin:       t.origins.of(s.API, from, s.Priority, t.options.labels(s.Labels)),
		AudioSeconds: s.AudioSeconds,
		FirstSeen:    now,
		SubmittedAt:  InstantOf(s.SubmittedAt),
		Observed:     nothing,
		Sequence:     t.sequence,
	}
	t.put(j, true)
	t.totals.know(apiOf(j))
	t.counts.add(JobsRegistered, 1, string(from))
	return j
}

// shared returns a text that many jobs have, without a copy for each.
func shared[T ~string](text T) T { return unique.Make(text).Value() }

// labels returns the labels that are kept; nil without any.
func (o *Options) labels(given map[string]string) map[string]string {
	var kept map[string]string
	for _, name := range o.JobLabels {
		if value, found := given[name]; found {
			if kept == nil {
				kept = make(map[string]string)
			}
			kept[name] = shared(value)
		}
	}
	return kept
}

// fill encodes what is to be stored, but for the totals.
func (t *transaction) fill(b *store.Batch) error {
	b.Received, b.Compact = t.received, t.compact
	for id := range t.jobs.changed {
		j, tracked := t.jobs.Get(id)
		if !tracked {
			b.RemovedJobs = append(b.RemovedJobs, id)
			continue
		}
		row, err := j.row()
		if err != nil {
			return err
		}
		b.Jobs = append(b.Jobs, row)
	}
	t.departed.addTo(b)
	for second := range t.requests.changed {
		n, _ := t.requests.Get(second) // 0: deleted
		b.Requests = append(b.Requests, store.Requests{Second: second, Count: n})
	}
	if !t.noting.IsZero() {
		row, err := t.requestsRow()
		if err != nil {
			return err
		}
		b.Totals = append(b.Totals, row)
	}
	for id := range t.timings.changed {
		packed, _ := t.timings.Get(id) // nil: deleted
		b.Timings = append(b.Timings, store.Timings{RequestID: id, Packed: packed})
	}
	for number := range t.changes.waiting.changed {
		c, waits := t.changes.waiting.Get(number)
		if !waits {
			b.Delivered = append(b.Delivered, number)
			continue
		}
		row, err := c.row()
		if err != nil {
			return err
		}
		b.StateChanges = append(b.StateChanges, row)
	}
	return nil
}

// Package register knows every tracked job of one account, and what all of them
// together add up to. Whatever learns something about a job tells it here as an
// Observation; whatever shows jobs reads here.
package register

import (
	"cmp"
	"context"
	"iter"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/registration"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// Options bound what a register keeps.
type Options struct {
	Retention    time.Duration // how long an ended job stays
	MaxJobAge    time.Duration // how long a job may be unfinished before it is given up
	MaxJobSeries int           // how many jobs have series of their own
	JobLabels    []string      // the labels that are kept
}

// remembered is how long the ID of a job is still known after it left, counted
// from the last time that anyone named it. The vendor tries a
// webhook five times with exponential backoff, and sources name their IDs again
// at least every hour: neither may bring a job back to life.
const remembered = 48 * time.Hour

// A Register holds the jobs of one account. It may be used by several
// goroutines at once.
type Register struct {
	mu       sync.RWMutex // guards everything below
	options  Options
	sequence uint64
	jobs     map[string]*Job
	counts   [len(States)]int
	totals   *Totals

	newest     *btree.BTreeG[*Job] // all jobs, the newest first
	ranked     *btree.BTreeG[*Job] // all jobs, in the order in which they get series
	unfinished *btree.BTreeG[*Job] // by start, the oldest first
	ended      *btree.BTreeG[*Job] // by end, the oldest first

	departed   map[string]departure // jobs that are no longer tracked, and must not come back by themselves
	lastForget time.Time
}

// A departure is how a job left.
type departure struct {
	until   time.Time // when nobody will have named it for long enough to forget it
	removed bool      // somebody stopped its tracking, and may begin it anew
}

// New returns an empty register whose totals begin now.
func New(options Options, now time.Time) *Register {
	tree := func(less func(a, b *Job) bool) *btree.BTreeG[*Job] {
		return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
	}
	return &Register{
		options: options,
		jobs:    make(map[string]*Job),
		totals:  newTotals(now),
		newest:  tree(func(a, b *Job) bool { return a.sequence > b.sequence }),
		ranked:  tree(outranks),
		unfinished: tree(func(a, b *Job) bool {
			return cmp.Or(a.Start().Compare(b.Start()), cmp.Compare(a.sequence, b.sequence)) < 0
		}),
		ended: tree(func(a, b *Job) bool {
			return cmp.Or(a.FinishedAt.Compare(b.FinishedAt), cmp.Compare(a.sequence, b.sequence)) < 0
		}),
		departed:   make(map[string]departure),
		lastForget: now,
	}
}

// outranks says which of two jobs rather gets series of its own: failed first,
// then the newest.
func outranks(a, b *Job) bool {
	if (a.State == Failed) != (b.State == Failed) {
		return a.State == Failed
	}
	return a.sequence > b.sequence
}

// SetOptions replaces the options, as a reload does.
func (r *Register) SetOptions(options Options) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.options = options
}

// Track starts tracking the jobs that are not known yet, and returns copies of
// those. It is idempotent. An ended job that is out of retention stays known for
// as long as somebody names it; so does a removed one, but for HTTP, where a user
// may have changed their mind.
func (r *Register) Track(_ context.Context, from registration.Source, jobs []registration.Job, now time.Time) ([]Job, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var tracked []Job
	for _, reg := range jobs {
		if _, known := r.jobs[reg.RequestID]; known {
			continue
		}
		if gone, known := r.departed[reg.RequestID]; known && !(gone.removed && from == registration.HTTP) {
			gone.until = now.Add(remembered)
			r.departed[reg.RequestID] = gone
			continue
		}
		delete(r.departed, reg.RequestID)
		r.sequence++
		j := &Job{
			RequestID:    reg.RequestID,
			API:          reg.API,
			Source:       from,
			AudioSeconds: reg.AudioSeconds,
			FirstSeen:    now,
			SubmittedAt:  reg.SubmittedAt,
			sequence:     r.sequence,
		}
		for _, name := range r.options.JobLabels {
			if value, given := reg.Labels[name]; given {
				if j.Labels == nil {
					j.Labels = make(map[string]string, len(r.options.JobLabels))
				}
				j.Labels[name] = value
			}
		}
		r.jobs[j.RequestID] = j
		r.newest.Set(j)
		r.insert(j)
		r.rank(j)
		r.totals.Registered[from]++
		tracked = append(tracked, *j)
	}
	return tracked, nil
}

// insert puts a job where its state belongs.
func (r *Register) insert(j *Job) {
	r.counts[j.State]++
	if j.State.Ended() {
		r.ended.Set(j)
	} else {
		r.unfinished.Set(j)
	}
}

// remove takes a job from where its state belongs, before the state changes.
func (r *Register) remove(j *Job) {
	r.counts[j.State]--
	r.unfinished.Delete(j)
	r.ended.Delete(j)
}

// forget lets a job go.
func (r *Register) forget(j *Job) {
	r.remove(j)
	r.newest.Delete(j)
	r.ranked.Delete(j)
	delete(r.jobs, j.RequestID)
}

// rank puts a job among those that get series, and counts the one that loses
// them to it.
func (r *Register) rank(j *Job) {
	r.ranked.Set(j)
	if first, ok := r.ranked.GetAt(r.options.MaxJobSeries); ok && (first == j || outranks(j, first)) {
		r.totals.Evicted[ByLimit]++
	}
}

// hasSeries says whether a ranked job is within the limit.
func (r *Register) hasSeries(j *Job) bool {
	first, ok := r.ranked.GetAt(r.options.MaxJobSeries)
	return !ok || outranks(j, first)
}

// An Observation is what somebody learnt about a job.
type Observation struct {
	RequestID string
	At        time.Time
	// State is Running or an end.
	State     State
	ErrorCode string             // with Failed
	Result    *transcript.Result // with Completed; nil where there is nothing to measure
}

// An Effect is what an observation changed.
type Effect struct {
	Known   bool // the job is, or was, tracked
	Changed bool // its state is another than before
	Job     Job  // as it is now; empty where it is not tracked
}

// Observe applies an observation. It is idempotent: the first end of an
// unfinished job counts, a repeat changes nothing. A lost job that turns out to
// have ended takes that state and its result, but its end was counted already.
func (r *Register) Observe(_ context.Context, o Observation) (Effect, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j, known := r.jobs[o.RequestID]
	if !known {
		_, known = r.departed[o.RequestID]
		return Effect{Known: known}, nil
	}
	before := j.State
	if before == Completed || before == Failed || before == Lost && !o.State.Ended() {
		return Effect{Known: true, Job: *j}, nil
	}
	lastLook := cmp.Or(j.LastObserved, j.Start())
	if o.State != Lost { // giving up is our own doing: nothing was heard
		j.LastObserved = o.At
		j.missingSince = time.Time{}
	}
	if o.State == before {
		return Effect{Known: true, Job: *j}, nil
	}
	r.remove(j)
	if o.State == Failed { // the one change that moves a job, and always up
		hadSeries := r.hasSeries(j)
		r.ranked.Delete(j)
		j.State = o.State
		if hadSeries {
			r.ranked.Set(j)
		} else {
			r.rank(j)
		}
	}
	j.State = o.State
	if o.State.Ended() {
		j.FinishedAt, j.ErrorCode = o.At, o.ErrorCode
		if !before.Ended() {
			j.DetectionWindow = max(o.At.Sub(lastLook), 0)
			r.totals.end(j)
		}
		if o.Result != nil {
			j.Statistics = &o.Result.Statistics
			r.totals.result(j, o.Result)
		}
	}
	r.insert(j)
	return Effect{Known: true, Changed: true, Job: *j}, nil
}

// Missing notes that the API does not know a job, and returns since when it has
// said so without a break.
func (r *Register) Missing(requestID string, at time.Time) (since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j, known := r.jobs[requestID]
	if !known {
		return at
	}
	if j.missingSince.IsZero() {
		j.missingSince = at
	}
	return j.missingSince
}

// Untrack stops tracking a job, and says whether it was tracked.
func (r *Register) Untrack(_ context.Context, requestID string, now time.Time) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j, known := r.jobs[requestID]
	if known {
		r.forget(j)
		r.departed[requestID] = departure{now.Add(remembered), true}
	}
	return known, nil
}

// Expired returns the IDs of jobs that are to be given up: that the API called
// unfinished at an age above what the options allow. A job that could not be
// asked about at that age (the quota is used up, the API is down, it was submitted
// long ago) may well have ended: it gets as much time again, counted from when it
// was first seen at the earliest.
func (r *Register) Expired(now time.Time) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var ids []string
	r.unfinished.Scan(func(j *Job) bool {
		if now.Sub(j.Start()) <= r.options.MaxJobAge {
			return false
		}
		seenTooOld := j.LastObserved.Sub(j.Start()) > r.options.MaxJobAge
		if seenTooOld || min(now.Sub(j.Start()), now.Sub(j.FirstSeen)+r.options.MaxJobAge) > 2*r.options.MaxJobAge {
			ids = append(ids, j.RequestID)
		}
		return true
	})
	return ids
}

// Sweep lets go of ended jobs that are out of retention.
func (r *Register) Sweep(_ context.Context, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		j, ok := r.ended.Min()
		if !ok || now.Sub(j.FinishedAt) <= r.options.Retention {
			break
		}
		r.forget(j)
		r.departed[j.RequestID] = departure{until: now.Add(remembered)}
		r.totals.Evicted[ByRetention]++
	}
	// Going through all IDs is cheap, but not so cheap that it needs doing each time.
	if now.Sub(r.lastForget) > remembered/48 {
		r.lastForget = now
		for id, gone := range r.departed {
			if now.After(gone.until) {
				delete(r.departed, id)
			}
		}
	}
	return nil
}

// Count changes the totals that do not come from observations.
func (r *Register) Count(change func(*Totals)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.totals)
}

// Job returns what is known of one job.
func (r *Register) Job(requestID string) (Job, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if j, known := r.jobs[requestID]; known {
		return *j, true
	}
	return Job{}, false
}

// Unfinished yields copies of the unfinished jobs, the oldest first, holding no
// lock while the caller looks at them.
func (r *Register) Unfinished() iter.Seq[Job] {
	r.mu.RLock()
	jobs := make([]Job, 0, r.unfinished.Len())
	r.unfinished.Scan(func(j *Job) bool { jobs = append(jobs, *j); return true })
	r.mu.RUnlock()
	return func(yield func(Job) bool) {
		for _, j := range jobs {
			if !yield(j) {
				return
			}
		}
	}
}

// List returns at most limit jobs, the newest first, that match and come after
// the job with the ID after (which must be tracked; empty: from the newest on).
// ok is false where that job is not known.
func (r *Register) List(match func(*Job) bool, after string, limit int) (jobs []Job, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	collect := func(j *Job) bool {
		if j.RequestID != after && match(j) {
			jobs = append(jobs, *j)
		}
		return len(jobs) < limit
	}
	if after == "" {
		r.newest.Scan(collect)
		return jobs, true
	}
	pivot, known := r.jobs[after]
	if known {
		r.newest.Ascend(pivot, collect)
	}
	return jobs, known
}

// A Snapshot is a register at one moment.
type Snapshot struct {
	Counts [len(States)]int // jobs by state
	// OldestUnfinished is the age of the oldest unfinished job; 0 without one.
	OldestUnfinished time.Duration
	// Jobs are those with series of their own, at most as many as the options allow.
	Jobs   []Job
	Totals *Totals
}

// Snapshot copies what a scrape or a gather shows.
func (r *Register) Snapshot(now time.Time) Snapshot {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := Snapshot{Counts: r.counts, Totals: r.totals.clone()}
	if oldest, ok := r.unfinished.Min(); ok {
		s.OldestUnfinished = oldest.Age(now)
	}
	limit := min(r.options.MaxJobSeries, r.ranked.Len())
	s.Jobs = make([]Job, 0, limit)
	r.ranked.Scan(func(j *Job) bool {
		if len(s.Jobs) == limit {
			return false
		}
		s.Jobs = append(s.Jobs, *j)
		return true
	})
	return s
}

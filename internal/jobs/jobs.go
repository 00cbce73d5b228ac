// Package register knows every tracked job of one account, and what all of them
// together add up to. Whatever learns something about a job tells it here as an
// Observation; whatever shows jobs reads here.
package jobs

import (
	"cmp"
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// Options bound what a register keeps.
type Options struct {
	Retention    time.Duration // how long an ended job stays
	MaxJobAge    time.Duration // how long a job may be unfinished before it is given up
	MaxJobSeries int           // how many jobs have series of their own
	JobLabels    []string      // the labels that are kept
	KeepTimings  bool          // whether the picture of a conversation is kept
	MaxChanges   int           // how many changes of state wait to be delivered; 0: none are kept
	WordPoints   bool          // whether those come with the timings of words
}

// remembered is how long the ID of a job is still known after it left, counted
// from the last time that anyone named it. The vendor tries a webhook five times
// with exponential backoff, and sources name their IDs again at least every hour:
// neither may bring a job back to life.
const remembered = 48 * time.Hour

// A Register holds the jobs of one account. It may be used by several
// goroutines at once.
type Register struct {
	options atomic.Pointer[Options]
	store   Store // nil: in memory

	unwritable atomic.Bool // the last commit failed

	committing sync.Mutex // guards what waits to be committed
	waiting    []*operation
	led        bool // somebody commits them
	closed     bool
	pending    pending

	// Only the leader changes what follows, and locks mu for it; everybody else
	// locks mu to read it.
	mu          sync.RWMutex
	sequence    uint64
	jobs        map[string]*Job // what they point to never changes
	counts      [len(States)]int
	totals      *Totals
	uncommitted uncommitted
	written     map[string][]byte // the totals as they are stored
	requests    map[int64]int     // to the API, by Unix second
	reserved    reserved
	learnt      []byte // when the register was opened

	newest     *btree.BTreeG[*Job] // all jobs, the newest first
	ranked     *btree.BTreeG[*Job] // all jobs, in the order in which they get series
	unfinished *btree.BTreeG[*Job] // by start, the oldest first
	ended      *btree.BTreeG[*Job] // by end, the oldest first

	departed   map[string]departure // jobs that are no longer tracked, and must not come back by themselves
	lastForget time.Time

	pictures pictures
	outbox   outbox
}

// A departure is how a job left.
type departure struct {
	until   time.Time // when nobody will have named it for long enough to forget it
	removed bool      // somebody stopped its tracking, and may begin it anew
}

// New returns an empty register whose totals begin now, in memory.
func New(options Options, now time.Time) *Register {
	tree := func(less func(a, b *Job) bool) *btree.BTreeG[*Job] {
		return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
	}
	r := &Register{
		jobs:     make(map[string]*Job),
		totals:   newTotals(now),
		written:  make(map[string][]byte),
		requests: make(map[int64]int),
		newest:   tree(func(a, b *Job) bool { return a.sequence > b.sequence }),
		ranked:   tree(outranks),
		unfinished: tree(func(a, b *Job) bool {
			return cmp.Or(a.Start().Compare(b.Start()), cmp.Compare(a.sequence, b.sequence)) < 0
		}),
		ended: tree(func(a, b *Job) bool {
			return cmp.Or(a.FinishedAt.Compare(b.FinishedAt), cmp.Compare(a.sequence, b.sequence)) < 0
		}),
		departed:   make(map[string]departure),
		pictures:   newPictures(),
		lastForget: now,
	}
	r.options.Store(&options)
	return r
}

// Open returns the register that a store keeps, which may be an empty one.
func Open(ctx context.Context, options Options, s Store, now time.Time) (*Register, error) {
	r := New(options, now)
	r.store = s
	return r, r.load(ctx, now)
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
func (r *Register) SetOptions(options Options) { r.options.Store(&options) }

// Track starts tracking the jobs that are not known yet, and returns copies of
// those. It is idempotent. An ended job that is out of retention stays known for
// as long as somebody names it; so does a removed one, but for HTTP, where a user
// may have changed their mind.
func (r *Register) Track(_ context.Context, from submission.Source, jobs []submission.Job, now time.Time) (tracked []Job, err error) {
	err = r.apply(func(c *change) {
		for _, reg := range jobs {
			if c.tracks(reg.RequestID) { // not c.job: sources name known jobs again and again
				continue
			}
			gone, known := c.departure(reg.RequestID)
			if known && !(gone.removed && from == submission.HTTP) {
				gone.until = now.Add(remembered)
				c.departed[reg.RequestID] = &gone
				continue
			}
			if known {
				c.departed[reg.RequestID] = nil
			}
			tracked = append(tracked, *c.track(from, reg, now))
		}
	})
	if err != nil {
		return nil, err
	}
	return tracked, nil
}

// track begins to track a job that is not known.
func (c *change) track(from submission.Source, reg submission.Job, now time.Time) *Job {
	c.sequence++
	j := &Job{
		RequestID:    reg.RequestID,
		API:          reg.API,
		Source:       from,
		Labels:       c.r.labels(reg.Labels),
		AudioSeconds: reg.AudioSeconds,
		Priority:     cmp.Or(reg.Priority, 1),
		FirstSeen:    now,
		SubmittedAt:  reg.SubmittedAt,
		sequence:     c.sequence,
	}
	c.jobs[j.RequestID], c.rows[j.RequestID] = j, true
	c.totals.Registered[from]++
	return j
}

// labels returns those labels that are kept; nil without any.
func (r *Register) labels(given map[string]string) map[string]string {
	var kept map[string]string
	for _, name := range r.options.Load().JobLabels {
		if value, found := given[name]; found {
			if kept == nil {
				kept = make(map[string]string)
			}
			kept[name] = value
		}
	}
	return kept
}

// put makes a job, new or changed, take its place.
func (r *Register) put(j *Job) {
	old, known := r.jobs[j.RequestID]
	r.jobs[j.RequestID] = j
	if !known {
		r.newest.Set(j)
		r.insert(j)
		r.rank(j)
		return
	}
	hadSeries := r.hasSeries(old)
	r.remove(old)
	r.ranked.Delete(old)
	r.newest.Set(j)
	r.insert(j)
	// To fail is the one change that moves a job, and always up.
	if hadSeries || j.State != Failed || old.State == Failed {
		r.ranked.Set(j)
	} else {
		r.rank(j)
	}
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
	if first, ok := r.ranked.GetAt(r.options.Load().MaxJobSeries); ok && (first == j || outranks(j, first)) {
		r.uncommitted.evicted++
	}
}

// hasSeries says whether a ranked job is within the limit.
func (r *Register) hasSeries(j *Job) bool {
	first, ok := r.ranked.GetAt(r.options.Load().MaxJobSeries)
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
	// Webhook says that a webhook has brought it, which is counted with it.
	Webhook bool
	// Adopt starts tracking the job of a webhook if nobody has registered it.
	Adopt bool
}

// An Effect is what an observation changed.
type Effect struct {
	Known   bool // the job is, or was, tracked
	Changed bool // its state is another than before
	Adopted bool // it was not tracked before
	Job     Job  // as it is now; empty where it is not tracked
}

// Webhook is the outcome of a webhook with that effect.
func (e Effect) Webhook() WebhookOutcome {
	switch {
	case !e.Known:
		return WebhookUnknownJob
	case !e.Changed:
		return WebhookDuplicate
	case e.Adopted:
		return WebhookAdopted
	}
	return WebhookAccepted
}

// Observe applies an observation. It is idempotent: the first end of an
// unfinished job counts, a repeat changes nothing. A lost job that turns out to
// have ended takes that state and its result, but its end was counted already.
func (r *Register) Observe(_ context.Context, o Observation) (effect Effect, err error) {
	err = r.apply(func(c *change) {
		effect = c.observe(o)
		if o.Webhook {
			c.webhooks++
			c.totals.Webhooks[effect.Webhook()]++
		}
	})
	if err != nil {
		return Effect{}, err
	}
	return effect, nil
}

func (c *change) observe(o Observation) Effect {
	j, known := c.job(o.RequestID)
	adopted := false
	if !known {
		if _, known = c.departure(o.RequestID); known || !o.Adopt {
			return Effect{Known: known}
		}
		j, adopted = c.track(submission.Webhook, submission.Job{RequestID: o.RequestID}, o.At), true
	}
	before := j.State
	if before != Completed && before != Failed && (before != Lost || o.State.Ended()) {
		c.advance(j, o)
	}
	if j.State != before {
		c.outbox.add(j, o)
	}
	return Effect{Known: true, Changed: j.State != before, Adopted: adopted, Job: *j}
}

// advance applies an observation to a job that it can change.
func (c *change) advance(j *Job, o Observation) {
	before, lastLook := j.State, cmp.Or(j.LastObserved, j.Start())
	if o.State != Lost { // giving up is our own doing: nothing was heard
		j.LastObserved = o.At
		j.missingSince = time.Time{}
	}
	if o.State == before {
		return // that it still runs is not worth a write
	}
	c.rows[j.RequestID] = true
	j.State = o.State
	if !o.State.Ended() {
		return
	}
	j.FinishedAt, j.ErrorCode = o.At, o.ErrorCode
	if !before.Ended() {
		j.DetectionWindow = max(o.At.Sub(lastLook), 0)
		c.totals.end(j)
	}
	if o.Result != nil {
		statistics := o.Result.Statistics // a pointer into the result would keep all of it
		j.Statistics = &statistics
		c.totals.result(j, o.Result)
		c.draw(j, o.Result)
	}
}

// Missing notes that the API does not know a job, and returns since when it has
// said so without a break.
func (r *Register) Missing(requestID string, at time.Time) (since time.Time) {
	since = at
	// Nothing of this is stored, so that it cannot fail.
	_ = r.apply(func(c *change) {
		j, known := c.job(requestID)
		if !known {
			return
		}
		if j.missingSince.IsZero() {
			j.missingSince = at
		}
		since = j.missingSince
	})
	return since
}

// Untrack stops tracking a job, and says whether it was tracked.
func (r *Register) Untrack(_ context.Context, requestID string, now time.Time) (was bool, err error) {
	err = r.apply(func(c *change) {
		if was = c.tracks(requestID); was {
			c.depart(requestID, departure{now.Add(remembered), true})
		}
	})
	return was && err == nil, err
}

// Expired returns the IDs of jobs that are to be given up: that the API called
// unfinished at an age above what the options allow. A job that could not be
// asked about at that age (the quota is used up, the API is down, it was submitted
// long ago) may well have ended: it gets as much time again, counted from when it
// was first seen at the earliest.
func (r *Register) Expired(now time.Time) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	limit := r.options.Load().MaxJobAge
	var ids []string
	r.unfinished.Scan(func(j *Job) bool {
		if now.Sub(j.Start()) <= limit {
			return false
		}
		seenTooOld := j.LastObserved.Sub(j.Start()) > limit
		if seenTooOld || min(now.Sub(j.Start()), now.Sub(j.FirstSeen)+limit) > 2*limit {
			ids = append(ids, j.RequestID)
		}
		return true
	})
	return ids
}

// GiveUp gives up jobs, all in one commit, and returns what that changed of each.
func (r *Register) GiveUp(_ context.Context, requestIDs []string, now time.Time) (effects []Effect, err error) {
	err = r.apply(func(c *change) {
		for _, id := range requestIDs {
			effects = append(effects, c.observe(Observation{RequestID: id, At: now, State: Lost}))
		}
	})
	return effects, err
}

// Sweep lets go of ended jobs that are out of retention.
func (r *Register) Sweep(_ context.Context, now time.Time) error {
	r.mu.RLock()
	options := r.options.Load()
	var out []string
	r.ended.Scan(func(j *Job) bool {
		if now.Sub(j.FinishedAt) <= options.Retention {
			return false
		}
		out = append(out, j.RequestID)
		return true
	})
	// Going through all IDs is cheap, but not so cheap that it needs doing each time.
	var forgotten []string
	forget := now.Sub(r.lastForget) > remembered/48
	if forget {
		for id, gone := range r.departed {
			if now.After(gone.until) {
				forgotten = append(forgotten, id)
			}
		}
	}
	r.mu.RUnlock()
	if len(out) == 0 && !forget {
		return nil
	}
	err := r.apply(func(c *change) {
		for _, id := range out {
			if j, known := c.job(id); known && j.State.Ended() && now.Sub(j.FinishedAt) > options.Retention {
				c.depart(id, departure{until: now.Add(remembered)})
				c.totals.Evicted[ByRetention]++
			}
		}
		for _, id := range forgotten {
			if gone, known := c.departure(id); known && now.After(gone.until) {
				c.departed[id] = nil
			}
		}
		if forget {
			for second := range c.r.requests {
				if second < now.Add(-requestsKept).Unix() {
					c.requests[second] = 0
				}
			}
			c.compact = true
		}
	})
	if err == nil && forget {
		r.mu.Lock()
		r.lastForget = now
		r.mu.Unlock()
	}
	return err
}

// requestsKept is how long requests stay stored: longer than any window of a quota.
const requestsKept = 26 * time.Hour

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
	jobs := r.unfinished.Items() // which never change
	r.mu.RUnlock()
	return func(yield func(Job) bool) {
		for _, j := range jobs {
			if !yield(*j) {
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
	Jobs      []Job
	Totals    *Totals
	StoreSize int64 // bytes; 0 in memory
}

// Snapshot copies what a scrape or a gather shows.
func (r *Register) Snapshot(now time.Time) Snapshot {
	var size int64
	if r.store != nil {
		size = r.store.Size()
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := Snapshot{Counts: r.counts, Totals: r.totals.clone(), StoreSize: size}
	r.uncommitted.addTo(s.Totals)
	if oldest, ok := r.unfinished.Min(); ok {
		s.OldestUnfinished = oldest.Age(now)
	}
	limit := min(r.options.Load().MaxJobSeries, r.ranked.Len())
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

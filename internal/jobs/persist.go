package jobs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A Store keeps a register's contents durably. What Commit was given is there
// for the next Load when it returns nil, and nothing of it otherwise.
type Store interface {
	Load(context.Context) (*sqlite.Contents, error)
	Commit(context.Context, *sqlite.Batch) error
	Size() int64 // bytes on disk
}

// asStored are the JSON options of what is stored: NaN, which stands for what is
// not known, is null.
var asStored = json.JoinOptions(
	json.Deterministic(true),
	json.WithMarshalers(json.MarshalToFunc(func(e *jsontext.Encoder, v float64) error {
		if math.IsNaN(v) {
			return e.WriteToken(jsontext.Null)
		}
		return errors.ErrUnsupported
	})),
	json.WithUnmarshalers(json.UnmarshalFromFunc(func(d *jsontext.Decoder, v *float64) error {
		if d.PeekKind() != 'n' {
			return errors.ErrUnsupported
		}
		*v = math.NaN()
		return d.SkipValue()
	})),
)

// row is a job as it is stored.
func (j *Job) row() (sqlite.Job, error) {
	r := sqlite.Job{
		RequestID: j.RequestID, Sequence: j.sequence, API: j.API, Source: string(j.Source),
		State: j.State.String(), ErrorCode: j.ErrorCode, AudioSeconds: j.AudioSeconds, Priority: j.Priority,
		FirstSeen: j.FirstSeen, SubmittedAt: j.SubmittedAt, LastObserved: j.LastObserved, FinishedAt: j.FinishedAt,
		DetectionWindow: j.DetectionWindow,
	}
	var err error
	if j.Labels != nil {
		if r.Labels, err = json.Marshal(j.Labels, asStored); err != nil {
			return r, err
		}
	}
	if j.Statistics != nil {
		r.Statistics, err = json.Marshal(j.Statistics, asStored)
	}
	return r, err
}

// jobOf is the job that a row is about.
func jobOf(r *sqlite.Job, now time.Time) (*Job, error) {
	j := &Job{
		RequestID: r.RequestID, sequence: r.Sequence, API: r.API, Source: submission.Source(r.Source),
		State: State(slices.Index(States[:], r.State)), ErrorCode: r.ErrorCode, AudioSeconds: r.AudioSeconds, Priority: r.Priority,
		FirstSeen: reckon(r.FirstSeen, now), SubmittedAt: r.SubmittedAt,
		LastObserved: reckon(r.LastObserved, now), FinishedAt: reckon(r.FinishedAt, now),
		DetectionWindow: r.DetectionWindow,
	}
	if j.State < 0 {
		return nil, fmt.Errorf("unknown state %q", r.State)
	}
	if r.Labels != nil {
		if err := json.Unmarshal(r.Labels, &j.Labels, asStored); err != nil {
			return nil, err
		}
	}
	if r.Statistics != nil {
		if err := json.Unmarshal(r.Statistics, &j.Statistics, asStored); err != nil {
			return nil, err
		}
	}
	return j, nil
}

// reckon gives a stored time the monotonic reading that it would have had, so
// that it is in one order with the times to come, whatever the wall clock does.
func reckon(t, now time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(-now.Round(0).Sub(t))
}

// load takes in what is stored. A row that makes no sense is left out and counted.
func (r *Register) load(ctx context.Context, now time.Time) error {
	contents, err := r.store.Load(ctx)
	if err != nil {
		return err
	}
	for name, part := range r.totals.stored() {
		if text, found := contents.Totals[name]; found {
			if err := json.Unmarshal(text, part, asStored); err != nil {
				r.uncommitted.corruptRecords++
				continue
			}
			r.written[name] = text
		}
	}
	for i := range contents.Jobs {
		j, err := jobOf(&contents.Jobs[i], now)
		if err != nil {
			r.uncommitted.corruptRecords++
			continue
		}
		r.sequence = max(r.sequence, j.sequence)
		r.jobs[j.RequestID] = j
		r.insert(j)
		r.newest.Set(j)
		r.ranked.Set(j)
	}
	for _, d := range contents.Departed {
		r.departed[d.RequestID] = departure{reckon(d.Until, now), d.Removed}
	}
	r.requests, r.learnt = contents.Requests, contents.Learnt
	r.loadPictures(contents.Timings)
	r.uncommitted.corruptRecords += uint64(contents.Lost) + r.outbox.load(contents.Changes)
	return nil
}

// A change is what a group of operations does to a register, before it is
// committed and after.
type change struct {
	r        *Register
	jobs     map[string]*Job       // as they will be; nil: no longer tracked
	rows     map[string]bool       // of those, what is to be stored
	departed map[string]*departure // as they will be; nil: forgotten
	totals   *Totals               // as they will be
	webhooks uint64                // that brought some of it
	sequence uint64
	requests map[int64]int // as they will be, those that change
	reserved reserved
	pending  pending // what of it is to be committed
	compact  bool
	pictures map[string][]byte // as they will be, those that change; nil: gone
	outbox   posting
}

func (r *Register) begin() *change {
	c := &change{
		r: r, jobs: make(map[string]*Job), rows: make(map[string]bool), departed: make(map[string]*departure),
		totals: r.totals.clone(), sequence: r.sequence, requests: make(map[int64]int), reserved: r.reserved,
		pictures: make(map[string][]byte),
		outbox:   r.outbox.begin(r.options.Load()),
	}
	r.uncommitted.addTo(c.totals)
	c.pending = r.takePending()
	if c.pending.counts != nil {
		c.totals.Counts.add(c.pending.counts)
	}
	return c
}

// uncommitted is what is shown before it is committed, with the next change: what
// follows from a commit, or is about one that failed.
type uncommitted struct {
	evicted, storeErrors, corruptRecords, refusedWebhooks uint64
}

func (u uncommitted) addTo(t *Totals) {
	t.Evicted[ByLimit] += u.evicted
	t.StoreErrors += u.storeErrors
	t.CorruptRecords += u.corruptRecords
	t.Webhooks[WebhookStoreError] += u.refusedWebhooks
}

// pending is what waits for the next commit, and is not shown before it.
type pending struct {
	counts *Counts // nil: none
	learnt []byte  // nil: unchanged
}

func (r *Register) takePending() pending {
	r.committing.Lock()
	defer r.committing.Unlock()
	p := r.pending
	r.pending = pending{}
	return p
}

// putBack keeps what could not be committed for the next commit.
func (r *Register) putBack(p pending) {
	r.committing.Lock()
	defer r.committing.Unlock()
	if p.counts != nil {
		r.pendingCounts().add(p.counts)
	}
	if r.pending.learnt == nil {
		r.pending.learnt = p.learnt
	}
}

func (r *Register) pendingCounts() *Counts {
	if r.pending.counts == nil {
		counts := newCounts()
		r.pending.counts = &counts
	}
	return r.pending.counts
}

// Count counts what does not come from observations. With a store, it can be seen
// when it has been committed: with the next change, or by Flush.
func (r *Register) Count(count func(*Counts)) {
	r.committing.Lock()
	count(r.pendingCounts())
	r.committing.Unlock()
	if r.store == nil {
		_ = r.Flush() // which cannot fail
	}
}

// SetLearnt keeps what the scheduler has learnt, as JSON, with the next commit.
func (r *Register) SetLearnt(state []byte) {
	r.committing.Lock()
	defer r.committing.Unlock()
	r.pending.learnt = state
}

// Learnt is what the scheduler had learnt when the register was opened; nil: nothing.
func (r *Register) Learnt() []byte { return r.learnt }

// Writable says whether the last commit succeeded.
func (r *Register) Writable() bool { return !r.unwritable.Load() }

// Flush commits what waits for that, if anything does: so it also tries whether the
// register can be written again, as its errors wait to be stored.
func (r *Register) Flush() error {
	r.committing.Lock()
	waits := r.pending.counts != nil || r.pending.learnt != nil
	r.committing.Unlock()
	r.mu.RLock()
	waits = waits || r.uncommitted != uncommitted{}
	r.mu.RUnlock()
	if !waits {
		return nil
	}
	return r.apply(func(*change) {})
}

// reserved is what is left of the requests that were stored for a second.
type reserved struct {
	second int64
	left   int
}

// Request makes sure that a restart knows of a request that is about to be sent to
// the API. Where the quota allows many in a second, block of them are stored at
// once: a restart takes those that were not sent for sent.
func (r *Register) Request(_ context.Context, at time.Time, block int) error {
	return r.apply(func(c *change) {
		second := at.Unix()
		if c.reserved.second != second || c.reserved.left == 0 {
			n, changed := c.requests[second]
			if !changed {
				n = c.r.requests[second]
			}
			c.requests[second] = n + block
			c.reserved = reserved{second, block}
		}
		c.reserved.left--
	})
}

// Requests returns the requests to the API that are stored, by Unix second.
func (r *Register) Requests() map[int64]int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return maps.Clone(r.requests)
}

// tracks says whether a job is tracked.
func (c *change) tracks(id string) bool {
	if j, changed := c.jobs[id]; changed {
		return j != nil
	}
	_, known := c.r.jobs[id]
	return known
}

// job returns a job to be changed, if it is tracked.
func (c *change) job(id string) (*Job, bool) {
	if j, changed := c.jobs[id]; changed {
		return j, j != nil
	}
	j, known := c.r.jobs[id]
	if !known {
		return nil, false
	}
	copied := *j
	c.jobs[id] = &copied
	return &copied, true
}

// departure returns how a job left, if it did.
func (c *change) departure(id string) (departure, bool) {
	if d, changed := c.departed[id]; changed {
		if d == nil {
			return departure{}, false
		}
		return *d, true
	}
	d, known := c.r.departed[id]
	return d, known
}

// depart lets a job go, and remembers it.
func (c *change) depart(id string, d departure) {
	c.jobs[id], c.rows[id] = nil, true
	c.erase(id)
	c.departed[id] = &d
}

// batch is what is to be stored of the change.
func (c *change) batch() (*sqlite.Batch, error) {
	b := &sqlite.Batch{Requests: c.requests, Timings: c.pictures, Learnt: c.pending.learnt, Compact: c.compact, Totals: make(map[string][]byte)}
	for id := range c.rows {
		if j := c.jobs[id]; j == nil {
			b.Gone = append(b.Gone, id)
		} else if row, err := j.row(); err != nil {
			return nil, fmt.Errorf("storing: %w", err)
		} else {
			b.Jobs = append(b.Jobs, row)
		}
	}
	for id, d := range c.departed {
		if d == nil {
			b.Forgotten = append(b.Forgotten, id)
		} else {
			b.Departed = append(b.Departed, sqlite.Departure{RequestID: id, Until: d.until, Removed: d.removed})
		}
	}
	for _, added := range c.outbox.added {
		row, err := added.row()
		if err != nil {
			return nil, fmt.Errorf("storing: %w", err)
		}
		b.Changes = append(b.Changes, row)
	}
	b.Delivered = slices.Collect(maps.Keys(c.outbox.leaving))
	for name, part := range c.totals.stored() {
		text, err := json.Marshal(part, asStored)
		if err != nil {
			return nil, fmt.Errorf("storing: %w", err)
		}
		if !bytes.Equal(text, c.r.written[name]) {
			b.Totals[name] = text
		}
	}
	return b, nil
}

// install makes the change visible.
func (c *change) install(b *sqlite.Batch) {
	r := c.r
	r.totals, r.sequence, r.reserved = c.totals, c.sequence, c.reserved
	r.uncommitted = uncommitted{}
	for name, text := range b.Totals {
		r.written[name] = text
	}
	var here []*Job
	for id, j := range c.jobs {
		if j != nil {
			here = append(here, j)
		} else if old, known := r.jobs[id]; known {
			r.forget(old)
		}
	}
	// New jobs come in their order: which of them loses its series depends on it.
	slices.SortFunc(here, func(a, b *Job) int { return cmp.Compare(a.sequence, b.sequence) })
	for _, j := range here {
		r.put(j)
	}
	for id, d := range c.departed {
		if d == nil {
			delete(r.departed, id)
		} else {
			r.departed[id] = *d
		}
	}
	for second, n := range c.requests {
		if n == 0 {
			delete(r.requests, second)
		} else {
			r.requests[second] = n
		}
	}
	r.pictures.install(c.pictures)
	r.outbox.install(&c.outbox)
}

// An operation is one that waits to be committed.
type operation struct {
	do   func(*change)
	done chan error
}

// apply carries out an operation. With a store, it returns when what it did has
// been committed, together with all others that came meanwhile, and only then can
// it be seen; an error says that none of it was done.
func (r *Register) apply(do func(*change)) error {
	r.committing.Lock()
	if r.closed {
		r.committing.Unlock()
		return ErrClosed
	}
	o := r.enqueue(do)
	r.committing.Unlock()
	return <-o.done
}

// enqueue lets an operation wait to be committed, which somebody is about to do.
func (r *Register) enqueue(do func(*change)) *operation {
	o := &operation{do, make(chan error, 1)}
	r.waiting = append(r.waiting, o)
	if !r.led {
		r.led = true
		go r.lead()
	}
	return o
}

// ErrClosed is the error of a change to a register that was closed.
var ErrClosed = errors.New("the register is closed")

// Close commits what waits for that, and returns when nothing is written any more.
// Nothing changes after it; what there is can still be read.
func (r *Register) Close() error {
	r.committing.Lock()
	if r.closed {
		r.committing.Unlock()
		return nil
	}
	r.closed = true
	last := r.enqueue(func(*change) {})
	r.committing.Unlock()
	return <-last.done
}

// lead commits group after group until nobody waits.
func (r *Register) lead() {
	for {
		r.committing.Lock()
		group := r.waiting
		r.waiting = nil
		if len(group) == 0 {
			r.led = false
			r.committing.Unlock()
			return
		}
		r.committing.Unlock()

		// Only the leader changes the register, so it need not be locked to be read.
		c := r.begin()
		for _, o := range group {
			o.do(c)
		}
		c.boundPictures()
		c.totals.ChangesDropped += c.outbox.bound()
		c.totals.TimingsDropped += c.outbox.bare
		b, err := new(sqlite.Batch), error(nil)
		if r.store != nil {
			if b, err = c.batch(); err == nil && !b.Empty() {
				err = r.store.Commit(context.Background(), b)
			}
			if err != nil || !b.Empty() {
				r.unwritable.Store(err != nil)
			}
		}
		r.mu.Lock()
		if err == nil {
			c.install(b)
		} else {
			r.uncommitted.storeErrors++
			r.uncommitted.refusedWebhooks += c.webhooks
			r.putBack(c.pending)
		}
		r.mu.Unlock()
		for _, o := range group {
			o.done <- err
		}
	}
}

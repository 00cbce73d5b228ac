package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A queue holds what waits for the next commit.
type queue struct {
	mu         sync.Mutex // guards all fields
	waiting    []*operation
	committing bool // a goroutine is committing what waits
	closed     bool
	counts     increments // shown and stored with the next commit that writes
	learnt     []byte     // nil: unchanged
}

// An operation is one caller's part of a transaction.
type operation struct {
	do      func(*transaction)
	webhook bool // it is counted with WebhookStoreError if it fails
	err     error
	done    chan struct{} // is closed when it is committed, or has failed; nil: nobody waits
}

// ErrClosed is the error of a write after Close.
var ErrClosed = errors.New("the store is closed")

// apply carries out an operation and waits until it is committed, together with all operations that arrived
// meanwhile. On an error nothing of it was done, as far as is known: with an unknown outcome
// (store.ErrUnknown), what the store has is loaded before the next commit.
func (j *Jobs) apply(do func(*transaction)) error { return j.run(&operation{do: do}) }

func (j *Jobs) run(o *operation) error {
	j.queue.mu.Lock()
	if j.queue.closed {
		j.queue.mu.Unlock()
		return ErrClosed
	}
	return j.wait(o)
}

// wait needs the queue's lock, and unlocks it. It returns when an operation is committed. Who finds that nobody commits
// does so, at once; what arrives meanwhile is left to another goroutine.
func (j *Jobs) wait(o *operation) error {
	j.queue.waiting = append(j.queue.waiting, o)
	if j.queue.committing {
		o.done = make(chan struct{})
		j.queue.mu.Unlock()
		<-o.done
		return o.err
	}
	j.queue.committing = true
	j.queue.mu.Unlock()
	// A panic ends the process, as in any goroutine: net/http would only end its request, and nobody commit any more.
	defer func() {
		if p := recover(); p != nil {
			go panic(fmt.Sprintf("%v\n\n%s", p, debug.Stack()))
			select {}
		}
	}()
	runtime.Gosched() // who is about to write joins
	if j.commitWaiting() {
		go func() {
			for j.commitWaiting() {
			}
		}()
	}
	return o.err
}

// commitWaiting commits what waits as one group, and reports whether more waits then.
func (j *Jobs) commitWaiting() bool {
	j.queue.mu.Lock()
	group := j.queue.waiting
	j.queue.waiting = nil
	j.queue.mu.Unlock()
	err := j.commit(group)
	for _, o := range group {
		if o.err = err; o.done != nil {
			close(o.done)
		}
	}
	j.queue.mu.Lock()
	defer j.queue.mu.Unlock()
	j.queue.committing = len(j.queue.waiting) > 0
	return j.queue.committing
}

// commit commits a group of operations, after what other replicas sent before: that may take several commits. If one
// fails, what it would have counted is kept for the next commit.
func (j *Jobs) commit(group []*operation) error {
	var a attempt
	more, err := true, error(nil)
	for more && err == nil {
		a = attempt{}
		more, err = j.try(group, &a)
	}
	for _, o := range group {
		if o.webhook {
			a.webhooks++
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrUnknown) && j.uncertain == nil:
		j.uncertain = &a
		j.committed.Load().reserved.drop() // they may be lost
	default:
		j.putBack(&a)
	}
	j.countFailure(err)
	return err
}

// An attempt is what a commit counts.
type attempt struct {
	all      increments
	counts   increments // those of all that did not come with an operation
	learnt   []byte
	webhooks int // the operations that are webhooks
}

// try commits what other replicas sent, and with the last of it the group. It reports whether there is more, without
// the group so far.
func (j *Jobs) try(group []*operation, a *attempt) (more bool, err error) {
	if j.uncertain != nil {
		if err := j.reload(); err != nil {
			return false, err
		}
	}
	messages, more, err := j.inbox()
	if err != nil {
		return false, err
	}
	t := j.committed.Load().begin(j.options.Load())
	t.receive(messages, time.Now())
	if !more {
		for _, o := range group {
			o.do(t)
		}
	}
	t.bound()
	b := new(store.Batch)
	if j.store != nil {
		if err := t.fill(b); err != nil {
			return false, err
		}
	}
	if t.flush || !b.Empty() || len(t.counts) > 0 || j.store == nil {
		a.counts, a.learnt = j.takeCounts()
		b.Learnt = a.learnt
	}
	a.all = maps.Clone(t.counts)
	a.all.addAll(a.counts)
	t.totals = t.totals.with(a.all)
	if err := j.write(b, t.answers, &t.totals, a.all); err != nil {
		return false, err
	}
	j.committed.Store(t.accountState)
	if len(t.events) > 0 {
		j.publish(t.events)
	}
	return more, nil
}

// inbox returns the oldest messages of other replicas, and whether there are more.
func (j *Jobs) inbox() (messages []store.Message, more bool, err error) {
	if j.store == nil {
		return nil, false, nil
	}
	err = j.access(func() (err error) { messages, more, err = j.store.Inbox(); return err })
	return messages, more, err
}

// write adds the totals that were incremented to a batch, and commits it to the store, if
// there is one and anything to write.
func (j *Jobs) write(b *store.Batch, answers bool, totals *Totals, incremented increments) error {
	if j.store == nil {
		return nil
	}
	if err := totals.addTo(b, incremented); err != nil || b.Empty() && !answers {
		return err
	}
	begin := time.Now()
	if err := j.access(func() error { return j.store.Commit(b) }); err != nil || b.Empty() { // which may write nothing
		return err
	}
	totals.stored = totals.stored || len(b.Totals) > 0
	// A reservation may have to wait for another commit before its own. A disk is not too slow and fast enough in turn.
	failure, took := j.failure.Load(), time.Since(begin)
	if took > hangsAfter || took > ReserveWithin/2 && failure != nil && *failure == errSlow {
		j.countFailure(errSlow) // so that Flush tries again
	} else {
		j.succeeded()
	}
	return nil
}

// putBack keeps what was not stored for the next commit.
func (j *Jobs) putBack(a *attempt) {
	j.queue.mu.Lock()
	defer j.queue.mu.Unlock()
	j.queue.counts.addAll(a.counts)
	if a.webhooks > 0 {
		j.queue.counts.add(WebhookRequests, float64(a.webhooks), WebhookStoreError.String())
	}
	if j.queue.learnt == nil {
		j.queue.learnt = a.learnt
	}
}

// reload replaces the state by what the store has, after a commit of unknown outcome, and publishes how the
// unfinished jobs differ. What the commit counted is counted again only if it is not stored.
func (j *Jobs) reload() error {
	before, begin := j.committed.Load(), time.Now()
	var contents *store.Contents
	err := j.access(func() (err error) { contents, err = j.store.Load(context.Background()); return err })
	if err != nil {
		return err
	}
	loaded := j.decode(contents, before.jobs, begin, time.Since(begin))
	if !loaded.totals.stored {
		loaded.totals.Created = before.totals.Created
	}
	if !loaded.totals.have(j.uncertain.all, &before.totals) {
		j.putBack(j.uncertain)
	}
	if loaded.changes.number < before.changes.number {
		// A face may still report the delivery of a number that it was shown.
		loaded.changes.number, loaded.changes.at = before.changes.number, before.changes.at
	}
	j.uncertain = nil
	loaded.departedEnds, loaded.webhook = before.departedEnds, before.webhook // which are not stored
	j.committed.Store(loaded)
	var events []Event
	for old := range before.unfinished.Scan {
		switch now, tracked := loaded.jobs.Get(old.RequestID); {
		case !tracked || now.Sequence != old.Sequence:
			events = append(events, Event{Kind: Removed, Job: old})
		case now.State == Lost:
			events = append(events, Event{Kind: Removed, Job: now, At: now.FinishedAt})
		case now.State.Ended():
			events = append(events, Event{Kind: Ended, Job: now, At: now.FinishedAt}) // by whom, is not stored
		}
	}
	for now := range loaded.unfinished.Scan {
		old, tracked := before.jobs.Get(now.RequestID)
		if !tracked || old.Sequence != now.Sequence || old.State.Ended() {
			events = append(events, Event{Kind: Registered, Job: now, At: now.FirstSeen})
		} else if old.State != now.State {
			events = append(events, Event{Kind: StillRunning, Job: now, At: now.LastObserved})
		}
	}
	if len(events) > 0 {
		j.publish(events)
	}
	return nil
}

// count counts what does not come with an operation. It is shown and stored with the next commit that writes.
func (j *Jobs) count(add func(increments)) {
	j.queue.mu.Lock()
	defer j.queue.mu.Unlock()
	add(j.queue.counts)
}

// takeCounts takes what was counted and learnt.
func (j *Jobs) takeCounts() (counts increments, learnt []byte) {
	j.queue.mu.Lock()
	defer j.queue.mu.Unlock()
	counts, learnt = j.queue.counts, j.queue.learnt
	j.queue.counts, j.queue.learnt = make(increments), nil
	return counts, learnt
}

// CountWebhook counts a webhook that brought no observation.
func (j *Jobs) CountWebhook(o WebhookOutcome) {
	j.countNow(func(c increments) { c.add(WebhookRequests, 1, o.String()) })
}

// CountSourceErrors counts errors of a source.
func (j *Jobs) CountSourceErrors(from submission.Source, n int) {
	j.countNow(func(c increments) { c.add(SourceErrors, float64(n), string(from)) })
}

func (j *Jobs) countNow(add func(increments)) {
	j.count(add)
	if j.store == nil {
		_ = j.apply(func(*transaction) {}) // shows it; in memory it cannot fail
	}
}

// SetLearnt stores what the scheduler has learnt, as JSON, with the next commit that writes.
func (j *Jobs) SetLearnt(learnt []byte) {
	j.queue.mu.Lock()
	defer j.queue.mu.Unlock()
	j.queue.learnt = learnt
}

// verify makes sure that what was committed is still stored.
func (j *Jobs) verify() error {
	if j.store == nil {
		return nil
	}
	err := j.store.Verify()
	if err != nil {
		j.countFailure(err)
	}
	return err
}

// countFailure notes and counts that the store failed.
func (j *Jobs) countFailure(err error) {
	j.failed(err)
	j.count(func(c increments) { c.add(StoreErrors, 1) })
}

// Receive commits what other replicas sent.
func (j *Jobs) Receive() error { return j.apply(func(*transaction) {}) }

// Flush commits what was counted and learnt, if anything. After a failed commit it
// tries whether the store can be written again, since the failure was counted.
func (j *Jobs) Flush() error {
	j.queue.mu.Lock()
	pending := len(j.queue.counts) > 0 || j.queue.learnt != nil
	j.queue.mu.Unlock()
	if !pending {
		return nil
	}
	return j.apply(func(t *transaction) { t.flush = true })
}

// Close commits what waits, and returns when nothing is written any more. Reading goes on.
func (j *Jobs) Close() error {
	j.queue.mu.Lock()
	if j.queue.closed {
		j.queue.mu.Unlock()
		return nil
	}
	j.queue.closed = true
	j.queue.mu.Unlock()
	flush := func() error {
		j.queue.mu.Lock()
		err := j.wait(&operation{do: func(t *transaction) { t.flush = true }})
		j.committed.Load().reserved.drop()
		return err
	}
	if flush() == nil {
		return nil
	}
	// A store whose files were removed refuses one commit. With the next one it writes everything to new files.
	return flush()
}

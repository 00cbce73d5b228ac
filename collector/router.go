package collector

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A writer writes to the jobs of an account: *jobs.Jobs where this process owns it, *jobs.Remote where another may.
type writer interface {
	Register(submission.Source, []submission.Job, bool, time.Time) (registered, known int, err error)
	Remove(requestID string) (was bool, err error)
	Observe(jobs.Observation) (jobs.Effect, error)
	Delivered(numbers []uint64) error
	CountWebhook(jobs.WebhookOutcome)
	CountSourceErrors(from submission.Source, n int)
	Writable() error
}

// A remoteWriter writes to the inbox of an account.
type remoteWriter interface {
	writer
	SetOptions(jobs.Options)
	close() // stores what was counted
}

// A router is the writer of an account, whoever owns it.
type router struct {
	owned  *atomic.Pointer[ownedAccount]
	remote remoteWriter // nil: this process owns the account for as long as it runs
}

// write writes as the owner. What certainly was not stored, since another replica may own the account by now, is sent
// to it.
func (r router) write(do func(writer) error) error {
	if o := r.owned.Load(); o != nil {
		err := do(o.jobs)
		if r.remote == nil || !errors.Is(err, store.ErrNotOwner) && !errors.Is(err, jobs.ErrClosed) {
			return err
		}
	}
	return do(r.remote)
}

// now returns the writer of this moment, for what is not stored at once.
func (r router) now() writer {
	if o := r.owned.Load(); o != nil {
		return o.jobs
	}
	return r.remote
}

// Register implements writer.
func (r router) Register(
	from submission.Source, s []submission.Job, ageUnknown bool, now time.Time,
) (registered, known int, err error) {
	err = r.write(func(w writer) (err error) {
		registered, known, err = w.Register(from, s, ageUnknown, now)
		return err
	})
	return registered, known, err
}

// Remove implements writer.
func (r router) Remove(requestID string) (was bool, err error) {
	err = r.write(func(w writer) (err error) { was, err = w.Remove(requestID); return err })
	return was, err
}

// Observe implements writer.
func (r router) Observe(o jobs.Observation) (effect jobs.Effect, err error) {
	err = r.write(func(w writer) (err error) { effect, err = w.Observe(o); return err })
	return effect, err
}

// Delivered implements writer.
func (r router) Delivered(numbers []uint64) error {
	return r.write(func(w writer) error { return w.Delivered(numbers) })
}

// CountWebhook implements writer.
func (r router) CountWebhook(o jobs.WebhookOutcome) { r.now().CountWebhook(o) }

// CountSourceErrors implements writer.
func (r router) CountSourceErrors(from submission.Source, n int) { r.now().CountSourceErrors(from, n) }

// Writable implements writer.
func (r router) Writable() error { return r.now().Writable() }

// invalidating is a writer for an account that another replica owns. What is read of the account afterwards includes
// what was written.
type invalidating struct {
	*jobs.Remote
	viewer *viewer
}

// Register implements writer.
func (n invalidating) Register(
	from submission.Source, s []submission.Job, ageUnknown bool, now time.Time,
) (registered, known int, err error) {
	defer n.viewer.invalidate()
	return n.Remote.Register(from, s, ageUnknown, now)
}

// Remove implements writer.
func (n invalidating) Remove(requestID string) (was bool, err error) {
	defer n.viewer.invalidate()
	return n.Remote.Remove(requestID)
}

// Observe implements writer.
func (n invalidating) Observe(o jobs.Observation) (jobs.Effect, error) {
	defer n.viewer.invalidate()
	return n.Remote.Observe(o)
}

func (n invalidating) close() { _ = n.Remote.Close() }

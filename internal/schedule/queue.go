package schedule

import (
	"cmp"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/btree"
)

// Gaps between two requests about the same job grow with its age: a job that
// has run for long is unlikely to end in the next moment.
const (
	firstGap   = 10 * time.Second
	longestGap = 30 * time.Minute
	gapPerAge  = 4 // the gap is a quarter of the age
)

// A Queue says which unfinished job is asked about next. Of the jobs that are
// due it takes the one that was not asked about for longest. It may be used by
// several goroutines at once.
type Queue struct {
	mu      sync.Mutex
	jobs    map[string]*queued
	waiting *btree.BTreeG[*queued] // by when they are due
	due     *btree.BTreeG[*queued] // by when they were last asked about
}

type queued struct {
	id    string
	start time.Time // when the job's life began
	asked time.Time // zero: never
	next  time.Time // when it is due
}

// NewQueue returns an empty queue.
func NewQueue() *Queue {
	tree := func(by func(*queued) time.Time) *btree.BTreeG[*queued] {
		return btree.NewBTreeGOptions(func(a, b *queued) bool {
			return cmp.Or(by(a).Compare(by(b)), a.start.Compare(b.start), strings.Compare(a.id, b.id)) < 0
		}, btree.Options{NoLocks: true})
	}
	return &Queue{
		jobs:    make(map[string]*queued),
		waiting: tree(func(q *queued) time.Time { return q.next }),
		due:     tree(func(q *queued) time.Time { return q.asked }),
	}
}

// Add starts asking about a job whose life began at start. A job that is
// already in the queue stays as it is.
func (q *Queue) Add(id string, start, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, known := q.jobs[id]; known {
		return
	}
	job := &queued{id: id, start: start, next: now}
	q.jobs[id] = job
	q.waiting.Set(job)
}

// Remove stops asking about a job.
func (q *Queue) Remove(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if job, known := q.jobs[id]; known {
		delete(q.jobs, id)
		q.waiting.Delete(job)
		q.due.Delete(job)
	}
}

// settle moves the jobs whose time has come to those that are due.
func (q *Queue) settle(now time.Time) {
	for {
		job, ok := q.waiting.Min()
		if !ok || job.next.After(now) {
			return
		}
		q.waiting.Delete(job)
		q.due.Set(job)
	}
}

// Next takes the job that is to be asked about now; it is not offered again
// before it is put back. ok is false where none is due.
func (q *Queue) Next(now time.Time) (id string, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settle(now)
	job, ok := q.due.PopMin()
	if !ok {
		return "", false
	}
	return job.id, true
}

// Asked puts a job that was taken back: it was found unfinished at a time, and is
// not asked about again for a while, at least for the given time.
func (q *Queue) Asked(id string, at time.Time, atLeast time.Duration) {
	q.putBack(id, at, func(job *queued) time.Duration {
		gap := min(max(at.Sub(job.start)/gapPerAge, firstGap), longestGap)
		return max(gap, atLeast)
	})
}

// Unanswered puts a job that was taken back: nothing was learnt about it, so that
// it is worth a request again soon, after the given time at the earliest.
func (q *Queue) Unanswered(id string, at time.Time, atLeast time.Duration) {
	q.putBack(id, at, func(*queued) time.Duration { return max(firstGap, atLeast) })
}

func (q *Queue) putBack(id string, at time.Time, gap func(*queued) time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	job, known := q.jobs[id]
	if !known {
		return
	}
	q.waiting.Delete(job)
	q.due.Delete(job)
	job.asked = at
	job.next = at.Add(gap(job))
	q.waiting.Set(job)
}

// NextPoll is when a job is due: zero when it is not in the queue.
func (q *Queue) NextPoll(id string) time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	if job, known := q.jobs[id]; known {
		return job.next
	}
	return time.Time{}
}

// Due is how many jobs would be asked about now if the quota allowed, and when
// one more will be: zero with none waiting.
func (q *Queue) Due(now time.Time) (jobs int, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settle(now)
	if job, ok := q.waiting.Min(); ok {
		at = job.next
	}
	return q.due.Len(), at
}

package jobs

import "time"

const (
	// sweepChunk bounds the jobs that one operation of a sweep gives up, and those that it evicts:
	// after an outage there may be very many, and other operations must not wait for all of them.
	sweepChunk = 1000
	// sweepLooks bounds the jobs that one operation looks at to give them up: after an outage very many may be too old
	// and yet to be polled. The next sweep goes on from there.
	sweepLooks = 10_000
	// A job that no poll found unfinished at an age above MaxJobAge is given up at so many times that age: an API may
	// never tell about it. If its age was uncertain at the start, it may be one of very many that are to be polled
	// since then.
	unpolledAges, uncertainAges = 2, 8
	// compactEvery is how often old requests and ends are deleted, and the store may shrink.
	compactEvery = time.Hour
)

// Sweep is the housekeeping: it looks whether the store still has what was committed, commits what was counted,
// gives up the jobs that are too old, and evicts those out of retention. It stops at the first error; the next
// sweep goes on. One goroutine may sweep at a time.
func (j *Jobs) Sweep(now time.Time) error {
	if err := j.verify(); err != nil {
		return err
	}
	if err := j.Flush(); err != nil {
		return err
	}
	if j.samples.due(now) {
		j.samples.add(j.committed.Load().sample(now))
	}
	certain := time.Time{} // when the age of jobs began to be certain
	if j.clockSet {
		certain = j.opened
	}
	for n := sweepChunk; n == sweepChunk && j.due(now); {
		var next *Job
		err := j.apply(func(t *transaction) {
			n, next = t.giveUpExpired(now, j.opened, certain, j.expired)
			n = max(n, t.evict(now))
		})
		if err != nil {
			return err
		}
		j.expired = next
	}
	if err := j.KeepRequests(now); err != nil {
		return err
	}
	if now.Sub(j.compacted) < compactEvery {
		return nil
	}
	err := j.apply(func(t *transaction) {
		t.forgetEnds(now)
		t.compactRequests(now)
	})
	if err == nil {
		j.compacted = now
	}
	return err
}

// due reports whether the oldest unfinished job or the first ended one may have to go: most sweeps need no operation.
func (j *Jobs) due(now time.Time) bool {
	s, o := j.committed.Load(), j.options.Load()
	oldest, unfinished := s.unfinished.Min()
	first, ended := s.firstEnded()
	return unfinished && now.Sub(oldest.Start()) > o.MaxJobAge || ended && now.Sub(first.FinishedAt) > o.Retention
}

// giveUpExpired gives up at most sweepChunk jobs that the API called unfinished at an age above MaxJobAge. It looks at
// those from a job on, or from the oldest on, and returns the one to go on from; nil: it has looked at all. A job that
// could not be polled at that age (the quota is used up, the API is down, it was submitted long ago, no process ran)
// may well have ended: it gets more time, and at least as much, counted from its registration and from when the jobs
// were opened. Until their age is certain, polls say nothing about it.
func (t *transaction) giveUpExpired(now, opened, certain time.Time, from *Job) (n int, next *Job) {
	limit, looks := t.options.MaxJobAge, 0
	look := func(j *Job) bool {
		switch {
		case now.Sub(j.Start()) <= limit:
			return false
		case n == sweepChunk, looks == sweepLooks:
			next = j
			return false
		}
		looks++
		ages := time.Duration(unpolledAges)
		if j.FirstSeen.Before(certain) {
			ages = uncertainAges
		}
		age := func(t time.Time) time.Duration { return min(t.Sub(j.Start()), t.Sub(certain)) } // certainly reached
		if age(j.LastObserved) > limit ||
			age(now) > ages*limit && now.Sub(j.FirstSeen) > limit && now.Sub(opened) > limit {
			t.giveUp(j, CodeMaxJobAge, now)
			n++
		}
		return true
	}
	if all := t.unfinished.Copy(); from == nil {
		all.Scan(look)
	} else {
		all.Ascend(from, look)
	}
	return n, next
}

// evict stops tracking at most sweepChunk ended jobs that are out of retention.
func (t *transaction) evict(now time.Time) (n int) {
	for ; n < sweepChunk; n++ {
		j, ended := t.firstEnded()
		if !ended || now.Sub(j.FinishedAt) <= t.options.Retention {
			break
		}
		t.depart(j, false)
		t.counts.add(JobsEvicted, 1, ByRetention)
	}
	return n
}

// firstEnded returns the job that ended first.
func (s *accountState) firstEnded() (first *Job, ended bool) {
	for _, t := range s.ended {
		if j, found := t.Min(); found && (first == nil || j.FinishedAt.Before(first.FinishedAt)) {
			first = j
		}
	}
	return first, first != nil
}

// compactRequests deletes the requests that have left every window of the quota, and lets the store shrink.
func (t *transaction) compactRequests(now time.Time) {
	t.forgetRequests(now)
	t.compact = true
}

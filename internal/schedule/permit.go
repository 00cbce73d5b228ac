package schedule

import (
	"fmt"
	"time"
)

// A Permit is the right to send one request about a job. It holds a reservation of the quota, and no other permit is
// given out for its job, until one of its methods ends it. Every permit must end exactly once; a second end panics.
type Permit struct {
	RequestID string

	s     *Scheduler
	begun time.Time
	ended string // name of the method that ended it
}

const (
	// minRetry is how soon a job is polled again about which nothing was learnt.
	minRetry = 10 * time.Second
	// maxEarlyWait is the longest wait that the API can ask for while a job is young. It is what the API means by the
	// "few minutes" of a queued job.
	maxEarlyWait = 3 * time.Minute
)

// Next returns a permit for the job to poll now. If there is none, at is when to look again: zero when something else
// has to happen first.
func (s *Scheduler) Next(now time.Time) (p *Permit, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.jobs.length == 0:
		return nil, time.Time{}
	case now.Before(s.sharing.until):
		return nil, s.sharing.until
	}
	if at := s.quota.morning(now); !at.IsZero() {
		return nil, at
	}
	if free, at := s.quota.free(now); !free {
		return nil, at
	}
	j, score, at := s.choose(now)
	if j == nil {
		return nil, at
	}
	s.price.spent(score)
	return s.permit(j, j.id, now), time.Time{}
}

// PermitFor returns a permit for one job, which need not be known, as soon as its last poll and the windows of the
// quota allow a request. If they do not, or a request for the job is in flight, at is as with Next. The morning's share
// does not bind: it keeps requests for later decisions of the scheduler, and here the caller has decided.
func (s *Scheduler) PermitFor(sequence uint64, id string, now time.Time) (p *Permit, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, inFlight := s.quota.inFlight[id]; inFlight {
		return nil, time.Time{}
	}
	j := s.job(sequence)
	if j != nil && j.id != id { // the store was rebuilt, and its jobs have other numbers now
		j = nil
	}
	if j != nil && j.held && j.key > s.seconds(now) {
		return nil, s.time(j.key)
	}
	if free, at := s.quota.free(now); !free {
		return nil, at
	}
	return s.permit(j, id, now), time.Time{}
}

// permit returns a permit for a job; nil: it is not known.
func (s *Scheduler) permit(j *job, id string, now time.Time) *Permit {
	s.quota.inFlight[id] = j
	if j != nil {
		j.inFlight = true
		s.leave(j)
	}
	return &Permit{RequestID: id, s: s, begun: now}
}

// InFlight is the number of permits that have not ended.
func (s *Scheduler) InFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.quota.inFlight)
}

// A PollResult is what came of the last poll of a job: why it may not be polled again at once.
type PollResult uint8

// What came of a poll.
const (
	NotPolled           PollResult = iota // there was none
	NotSent                               // no request was sent
	StateReported                         // the API reported the state of the job
	NoState                               // it answered without the state
	AskedToWait                           // it asked not to be polled for a time
	NotKnown                              // it did not know the job
	Unreadable                            // its answer about the job could not be read
	RequestFailed                         // any other answer, or none
	NotStored                             // what it answered could not be stored
	NotPolledSinceStart                   // there was none since the start
)

// pollResults are the reasons in words.
var pollResults = [...]string{
	NotPolled: "not polled yet", NotSent: "a request about it could not be sent", StateReported: "polled just now",
	NoState: "the last response did not contain its state", AskedToWait: "the API asked to wait",
	NotKnown: "the API did not know it at the last poll", Unreadable: "the last response about it could not be read",
	RequestFailed: "the last request about it failed", NotStored: "the last response about it could not be stored",
	NotPolledSinceStart: "not polled since the start",
}

// end frees what the permit holds. The job is not polled again before at plus wait.
func (p *Permit) end(how string, at time.Time, wait time.Duration, result PollResult) {
	if p.ended != "" {
		panic(fmt.Sprintf("schedule: the permit for job %q was ended by %s, and again by %s",
			p.RequestID, p.ended, how))
	}
	p.ended = how
	s := p.s
	j := s.quota.inFlight[p.RequestID]
	delete(s.quota.inFlight, p.RequestID)
	if j != nil {
		j.inFlight, j.held = false, true
		j.lastPoll = result
		s.wait(j, s.seconds(at)+wait.Seconds())
	}
}

// NotSent gives the reservation back. The job is not polled again for 10 seconds, so that a caller that cannot send
// does not spin.
func (p *Permit) NotSent() {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.end("NotSent", p.begun, minRetry, NotSent)
}

// Answered tells that the API answered. What it said about the job comes before it, by StillRunning, Ended or Remove.
// The job is not polled again for the given time, which the API asks for, but at most for as long as it has been
// running, or three minutes.
func (p *Permit) Answered(at time.Time, wait time.Duration) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	result := StateReported
	if j := s.quota.inFlight[p.RequestID]; j != nil {
		age := time.Duration(min(s.seconds(at)-j.start, 1e9) * float64(time.Second))
		wait = min(wait, max(age, maxEarlyWait))
		if wait > 0 {
			result = AskedToWait
		}
		if j.seen < s.seconds(p.begun) {
			wait = max(wait, minRetry)
			result = NoState
		}
	}
	p.end("Answered", at, wait, result)
	s.forgive()
	s.quota.answered(at)
	s.sharing.steps = max(s.sharing.steps-1, 0)
	s.quota.share = min(s.quota.share+shareGrowth, 1)
}

// Unanswered tells that there was no usable answer to the request, which may have been sent and counted, and what came
// of it. The job is not polled again for the given time. After a failed request other jobs are preferred until one is
// answered: that shows whether only this job's requests fail.
func (p *Permit) Unanswered(at time.Time, wait time.Duration, result PollResult) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.quota.inFlight[p.RequestID]
	p.end("Unanswered", at, max(wait, minRetry), result)
	switch {
	case result != RequestFailed:
		s.forgive()
	case j != nil:
		if s.failed == nil {
			s.failed = make(map[*job]int)
		}
		s.failures++
		s.failed[j] = s.failures
	}
	s.quota.answered(at)
}

// forgive ends the preference of jobs over those whose requests failed.
func (s *Scheduler) forgive() {
	for j := range s.failed {
		due, overdue := s.due.has(j), s.overdue.has(j)
		s.due.drop(j) // before what it is ordered by changes
		s.overdue.drop(j)
		delete(s.failed, j)
		if due {
			s.due.put(j)
		}
		if overdue {
			s.overdue.put(j)
		}
	}
}

package schedule

import "time"

// A Poll is a request that is to be sent.
type Poll struct {
	RequestID string
	At        time.Time // when the job is due; in the past where the quota or the API holds it up
}

// NextPolls returns the first n polls in the order in which they are to be
// sent. Jobs that are being asked about are not among them.
func (q *Queue) NextPolls(now time.Time, n int) []Poll {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settle(now)
	var polls []Poll
	add := func(job *queued) bool {
		if len(polls) < n {
			polls = append(polls, Poll{job.id, job.next})
		}
		return len(polls) < n
	}
	q.due.Scan(add)
	q.waiting.Scan(add)
	return polls
}

package jobs

import (
	"sort"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// Recent is what was counted in the last hours. Totals have no past, so it is known only since the jobs were opened.
type Recent struct {
	CorruptRecords    float64 // in the last hour
	UnreadableResults float64 // in the last hour
	RateLimited       float64 // requests, in the last hour
	Polls             float64 // requests, in the last 3 hours
	Webhooks          float64 // about tracked or adopted jobs, in the last 6 hours
	WebhooksBefore    float64 // such ones, in the day before these
	Ended             int     // jobs that completed or failed, in the last 6 hours, of those that are tracked
	Unfinished        float64 // jobs, the most in the last 6 hours
	Confidences       float64 // of results, in the last 6 hours
	// Mean confidences of the results of the last 6 hours, and of the last 7 days; NaN: there are none.
	Confidence, LongConfidence float64

	// Stalled: no job ended in the last 3 hours, although at least 3 were unfinished all the time, as many were
	// registered meanwhile, and at least 24 ended in the hours before. It is known after a restart, too.
	Stalled bool
}

// The bounds of Recent.Stalled.
const (
	stalledFor        = 3 * time.Hour
	stalledUnfinished = 3
	stalledRegistered = 3
	stalledEnds       = 24
)

// sampleEvery is how exact the windows of Recent are.
const sampleEvery = 10 * time.Minute

// longestWindow is that of Recent.
const longestWindow = 7 * 24 * time.Hour

// A sample is what Recent compares, at one time.
type sample struct {
	at time.Time

	corrupt, unreadable, rateLimited, polls, webhooks, unfinished float64

	confidences, confidence float64 // number and sum
}

func (s *accountState) sample(at time.Time) sample {
	confidence := s.totals.Histogram(TranscriptConfidence)
	of := sample{
		at: at, corrupt: s.totals.Counter(CorruptRecords), unreadable: s.totals.Counter(UnreadableResults),
		rateLimited: s.totals.Counter(APIRequests, jobstatus.RateLimited.String()),
		polls:       s.totals.Counter(APIRequests), unfinished: float64(s.unfinished.Len()),
		confidences: float64(confidence.Count()), confidence: confidence.Sum(),
	}
	for _, o := range []WebhookOutcome{WebhookAccepted, WebhookDuplicate, WebhookAdopted} {
		of.webhooks += s.totals.Counter(WebhookRequests, o.String())
	}
	return of
}

// samples are the samples of the longest window.
type samples struct {
	mu  sync.Mutex // guards all, which is in order of time and never empty
	all []sample
}

// due reports whether the next sample is to be taken.
func (s *samples) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	passed := now.Sub(s.all[len(s.all)-1].at)
	return passed >= sampleEvery || passed < 0 // the clock was set back
}

func (s *samples) add(next sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := sort.Search(len(s.all), func(i int) bool { return s.all[i].at.After(next.at) }) // the clock may be set back
	begin := min(s.before(next.at.Add(-longestWindow)), end)
	s.all = append(s.all[begin:end], next)
}

// before returns the index of the last sample that is not after a time; 0 if all are. It needs the lock.
func (s *samples) before(t time.Time) int {
	return max(sort.Search(len(s.all), func(i int) bool { return s.all[i].at.After(t) })-1, 0)
}

// Recent returns what was counted in the last hours.
func (j *Jobs) Recent(now time.Time) Recent {
	c := j.committed.Load()
	last := c.sample(now)
	s := &j.samples
	s.mu.Lock()
	defer s.mu.Unlock()
	ago := func(d time.Duration) *sample { return &s.all[s.before(now.Add(-d))] }
	hour, hours, day, week := ago(time.Hour), ago(6*time.Hour), ago(30*time.Hour), ago(longestWindow)
	mean := func(since *sample) float64 {
		return (last.confidence - since.confidence) / (last.confidences - since.confidences)
	}
	r := Recent{
		CorruptRecords: last.corrupt - hour.corrupt, UnreadableResults: last.unreadable - hour.unreadable,
		RateLimited: last.rateLimited - hour.rateLimited, Polls: last.polls - ago(stalledFor).polls,
		Webhooks: last.webhooks - hours.webhooks, WebhooksBefore: hours.webhooks - day.webhooks,
		Ended:       endsOf(c.ended[0], now.Add(-6*time.Hour)).Jobs + endsOf(c.ended[1], now.Add(-6*time.Hour)).Jobs,
		Unfinished:  last.unfinished,
		Confidences: last.confidences - hours.confidences, Confidence: mean(hours), LongConfidence: mean(week),
		Stalled: j.stalled(now),
	}
	for _, earlier := range s.all[s.before(now.Add(-6*time.Hour)):] {
		r.Unfinished = max(r.Unfinished, earlier.unfinished)
	}
	return r
}

// registeredSince returns how many jobs that have not failed were registered after a time. There may be many: it looks
// at few.
func (s *accountState) registeredSince(t time.Time) int {
	return sort.Search(s.others.Len(), func(i int) bool {
		job, _ := s.others.GetAt(i) // those that were registered last come first
		return !job.FirstSeen.After(t)
	})
}

func (j *Jobs) stalled(now time.Time) bool {
	c, since := j.committed.Load(), now.Add(-stalledFor)
	for _, ended := range c.ended {
		if endsOf(ended, since).Jobs > 0 {
			return false
		}
	}
	// None has ended since, so those that were unfinished then are so now, and all that were registered since are.
	registered := c.registeredSince(since)
	before, after := c.unfinished.Len()-registered, registered-c.registeredSince(now.Add(-30*time.Minute))
	if before < stalledUnfinished || after < stalledRegistered {
		return false
	}
	ends := 0
	for _, hour := range j.History(now, 0).Hours {
		ends += hour.Ended.All()
	}
	return ends >= stalledEnds
}

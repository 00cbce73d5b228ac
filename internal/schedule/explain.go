package schedule

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/duration"
)

// The methods in this file read: they change no state, and so no decision.

// Reason is why a job is polled when it is.
type Reason struct {
	At       time.Time     // when it is due, and the quota allows a request; not after now where both hold
	Expected time.Duration // median duration of such jobs, or of their service by a worker
	Assumed  bool          // no such job has ended yet: Expected is a guess
	Chance   float64       // probability that it has ended by now, unseen
	Score    float64       // what a request about it is worth now, seconds of expected delay
	Price    float64       // what a request must be worth
	Overdue  bool          // it is polled at any price
	Planned  bool          // all of this is for At, and not for now
	AtOnce   bool          // because no poll has told its state yet
	Unknown  bool          // its age is, so that Chance is that of a job that began when it was registered
	InFlight bool
	Held     bool // it is not polled before At, because of what came of the last poll
	LastPoll PollResult
	Finish   Finish

	// Of a back end that works in order:
	Serving bool          // a worker has taken it
	Ahead   int           // jobs that are served before it
	Every   time.Duration // one is expected to finish in this time; 0: jobs do not wait for each other
}

// Poll is a request that is to be sent.
type Poll struct {
	RequestID string
	Reason
}

func (p Poll) compare(q Poll) int {
	return cmp.Or(p.At.Compare(q.At), cmp.Compare(q.Score, p.Score), cmp.Compare(p.RequestID, q.RequestID))
}

// Short gives the reason in a few words.
func (r Reason) Short() string {
	chance := fmt.Sprintf("%.0f %% likely to have finished", 100*r.Chance)
	switch {
	case r.InFlight:
		return "request in flight"
	case r.Held, r.AtOnce, r.LastPoll == NotKnown: // what is not known has no duration
		return pollResults[r.LastPoll]
	case r.Chance < .005:
		chance = "unlikely to have finished"
	case r.Chance > .995:
		chance = "almost certain to have finished"
	}
	if r.Unknown {
		chance = "age unknown"
	}
	every := "one is expected to finish every " + duration.Text(r.Every)
	if r.Every < time.Second {
		every = "more than one is expected to finish every second"
	}
	switch {
	case r.Serving:
		return fmt.Sprintf("head of the queue, %s; %s", every, chance)
	case r.Every > 0 && !r.Overdue && r.Score < r.Price:
		return fmt.Sprintf("%s before it in the queue, %s", english.Plural(r.Ahead, "job", ""), every)
	case r.Overdue || r.Score >= r.Price:
		return chance
	}
	if r.Assumed {
		return fmt.Sprintf("%s; assumed to take %s, since no similar job has ended yet", chance, duration.Text(r.Expected))
	}
	return fmt.Sprintf("%s; similar jobs take %s", chance, duration.Text(r.Expected))
}

// String gives the reason in full.
func (r Reason) String() string {
	switch {
	case r.InFlight, r.Held:
		return r.Short()
	case r.AtOnce, r.Overdue:
		return r.Short() + "; polled as soon as the quota and the API allow"
	}
	text := "%s; a poll now would save %s of expected delay, the current minimum is %s"
	if r.Planned {
		text = "%s; a poll then would save %s of expected delay, the minimum then is %s"
	}
	return fmt.Sprintf(text, r.Short(), span(r.Score), span(r.Price))
}

// span formats a time in seconds for people.
func span(seconds float64) string {
	const longest = 1e9 // three decades
	if seconds < 10 {
		return fmt.Sprintf("%.2g s", seconds)
	}
	return duration.Text(time.Duration(min(seconds, longest) * float64(time.Second)))
}

func (s *Scheduler) reason(j *job, now time.Time, price float64) Reason {
	t := s.seconds(now)
	score := j.score(t)
	unseen := j.api.uncovered() * -math.Expm1(-score.hazard)
	r := Reason{
		At:       now,
		Expected: time.Duration(math.Exp(min(j.model().median(float64(j.lnAudio)), 20)) * float64(time.Second)),
		Chance:   unseen / (unseen + math.Exp(-score.hazard)),
		Score:    score.value, Price: price, Overdue: score.overdue, InFlight: j.inFlight,
		AtOnce: j.atOnce && j.neverSeen(), Unknown: j.unknown, LastPoll: j.lastPoll, Assumed: j.model().Ends == 0,
		Finish: s.finish(j, t),
	}
	q := j.api.queue
	since := q.since(j)
	r.Serving = since != alone && since < t
	if r.Serving || since > t {
		r.Every = q.every()
		r.Expected = r.Every * time.Duration(q.workers)
		r.Ahead = j.ahead()
	}
	switch {
	case j.inFlight:
	case j.held && j.key > t:
		r.At, r.Held = s.time(j.key), true
	case !score.isDue(price):
		r.At = s.time(min(j.due(t, price), j.serviceStart(t)))
	}
	return r
}

// notBefore is for a quota that allows no request before a time.
func (r *Reason) notBefore(earliest time.Time) {
	if !r.InFlight && r.At.Before(earliest) {
		r.At = earliest
	}
}

// every is the time in which one job is expected to finish while jobs wait.
func (q *queue) every() time.Duration {
	m := q.models[0]
	if q.models[1].Ends > m.Ends {
		m = q.models[1]
	}
	return time.Duration(math.Exp(min(m.median(0), 20)) / float64(q.workers) * float64(time.Second))
}

// ahead is how many unfinished jobs of the API are older.
func (j *job) ahead() int {
	return j.api.jobs.before(func(k *job) bool { return k.place().compare(j.place()) >= 0 })
}

// serviceStart is when a worker is expected to take a job that waits for one; +Inf: it does not wait.
func (j *job) serviceStart(t float64) float64 {
	if q := j.api.queue; q.since(j) > t {
		return t + float64(j.ahead())*q.every().Seconds()
	}
	return math.Inf(1)
}

// priceNow returns the price of a request when the minute's quota is unused.
func (s *Scheduler) priceNow(now time.Time) float64 { return s.price.now(&s.quota, 0, now) }

// Explain returns why and when a job is polled; ok is false where it is unknown.
func (s *Scheduler) Explain(sequence uint64, now time.Time) (r Reason, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.job(sequence)
	if j == nil {
		return Reason{}, false
	}
	r = s.reason(j, now, s.priceNow(now))
	r.notBefore(s.quota.earliest(now))
	return r, true
}

// Pricing is the present price of requests, as of the last decision or Refresh.
type Pricing struct {
	Price  float64 // what a request must be worth, seconds of expected delay; the time until one may be sent, if longer
	Coming float64 // jobs expected until the day's quota resets, or in 24 hours; 0 without one
	PerJob float64 // requests that each of them is expected to get
	// Requests that are expected in each of the next hours, the first being what is left of the present one, until the
	// day's quota resets. All are 0 without one.
	Requests [24]float64
	Sharing  float64 // part of the minute's quota that is used; others use the rest
}

// View is the scheduler at one moment.
type View struct {
	Due         int // jobs that would be polled now if the quota allowed, as of the last decision or Refresh
	Pricing     Pricing
	Minute, Day Usage
	// Of a day's quota with a fixed reset, when it was reset and when it will be; zero: any 24 hours count.
	DayBegins, DayEnds time.Time

	NextPolls []time.Time // when each of the given jobs is due, and the quota allows a request; zero: unknown
	Finishes  []Finish    // when each of them is expected to have finished
	Late      Late        // as of the last whole look at all jobs
	Backlog   Backlog     // as of the last decision or Refresh
}

// View returns the present view, with the next polls and the ends of some jobs, given by their sequence.
func (s *Scheduler) View(now time.Time, jobs []uint64) View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view(now, jobs)
}

// ViewAndLog returns a view, and of the same moment the requests that count in the day's quota, but for those in
// flight, the oldest first.
func (s *Scheduler) ViewAndLog(now time.Time, jobs []uint64) (View, []Counted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view(now, jobs), s.quota.day.counted(now)
}

// view needs the lock.
func (s *Scheduler) view(now time.Time, jobs []uint64) View {
	v := View{
		Due:       s.due.Len(),
		Pricing:   Pricing{s.priceNow(now), s.price.coming, s.price.perJob, s.price.expected, s.quota.share},
		NextPolls: make([]time.Time, len(jobs)), Finishes: make([]Finish, len(jobs)),
		Late: s.late, Backlog: s.backlog(now),
	}
	v.Minute, v.Day = s.quota.usage(now)
	if reset := s.quota.day.reset; reset.zone != nil {
		v.DayBegins, v.DayEnds = reset.around(now)
	}
	earliest := s.quota.earliest(now)
	for i, sequence := range jobs {
		if j := s.job(sequence); j != nil {
			r := s.reason(j, now, v.Pricing.Price)
			r.notBefore(earliest)
			v.NextPolls[i], v.Finishes[i] = r.At, r.Finish
		}
	}
	if until := s.quota.morning(now); !until.IsZero() { // no request is sent before, whatever it is worth
		v.Pricing.Price = max(v.Pricing.Price, until.Sub(now).Seconds())
	}
	return v
}

// NextPolls returns the first n polls in the order in which they are to be sent: due jobs by score, then those that
// wait. Jobs in flight are not among them. Of very many jobs it looks at the first ones of the scheduler's orders,
// which may be up to a minute old: then some that are due before the last of them may be missing.
func (s *Scheduler) NextPolls(now time.Time, n int) (first []Poll) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n <= 0 {
		return nil
	}
	t, price := s.seconds(now), s.priceNow(now)
	consider := func(j *job) {
		if len(first) == n { // is it due later than the last of them, or worth less?
			last := &first[n-1]
			end := s.seconds(last.At)
			held, score := j.held && j.key > t, j.score(end)
			worse := !score.isDue(price) && j.serviceStart(t) > end || end <= t && score.value < last.Score
			if held && j.key > end || !held && worse {
				return
			}
		}
		poll := Poll{j.id, s.reason(j, now, price)}
		at, found := slices.BinarySearchFunc(first, poll, Poll.compare)
		if at < n && !found {
			first = slices.Insert(first[:min(len(first), n-1)], at, poll)
		}
	}
	for _, a := range s.apis { // workers take jobs in their order, at whatever time these are due
		if a.queue == nil {
			continue
		}
		left := n
		for j := range a.queue.waiting() {
			if j.inFlight {
				continue
			}
			if left--; left < 0 {
				break
			}
			consider(j)
		}
	}
	// isAfter reports whether a job is to be polled after another, by what was found when it was last looked at.
	isAfter := func(j *job, p *Poll) bool {
		if s.due.has(j) {
			return p.At.Equal(now) && j.key < p.Score
		}
		return s.time(j.key).After(p.At)
	}
	for _, o := range []*order{&s.due, &s.waiting} {
		looks := 0
		for j := range o.inOrder() {
			if looks++; looks > looksAhead || !s.few() && len(first) == n && isAfter(j, &first[n-1]) {
				break
			}
			consider(j)
		}
	}
	earliest := s.quota.earliest(now)
	for i := range first { // which keeps their order
		first[i].notBefore(earliest)
	}
	return first
}

// looksAhead is how many jobs of each order NextPolls looks at, at most.
const looksAhead = 2 * looksAtOnce

// Planned is a future poll, if the job still runs until then.
type Planned struct {
	Poll
	Needed float64 // probability of that, as far as known now
}

// Plan returns at most so many of the polls of the coming time, and the usage of the day's quota after them: what would
// be sent if no job ended and none arrived. Only a queue moves on, when a job has probably ended. It also returns the
// backlog now.
func (s *Scheduler) Plan(now time.Time, length time.Duration, most int) (polls []Planned, day Usage, backlog Backlog) {
	s.mu.Lock()
	plan := s.clone()
	s.mu.Unlock()
	plan.RefreshAll(now)
	backlog = plan.backlog(now)
	ended := make(map[string]float64) // probability
	for t := now; len(polls) < most; {
		permit, at := plan.Next(t)
		if permit == nil {
			if at.IsZero() || at.Sub(now) > length {
				break
			}
			if t = t.Add(time.Millisecond); at.After(t) {
				t = at
			}
			continue
		}
		j := plan.quota.inFlight[permit.RequestID]
		r := plan.reason(j, t, plan.priceNow(t))
		r.InFlight, r.Planned = false, t.After(now)
		polls = append(polls, Planned{Poll{j.id, r}, 1 - ended[j.id]})
		ended[j.id] = 1 - (1-ended[j.id])*(1-r.Chance)
		j.seen = plan.seconds(t) // nothing is learnt from it
		permit.Answered(t, 0)
		j.lastPoll = r.LastPoll
		if r.Serving && ended[j.id] > 0.5 { // then the queue moves on
			plan.remove(j, plan.seconds(t))
		}
	}
	_, day = plan.quota.usage(now.Add(length))
	return polls, day, backlog
}

// clone returns a scheduler with the same jobs, models and quota, and nothing in flight.
func (s *Scheduler) clone() *Scheduler {
	c := &Scheduler{
		quota: s.quota, epoch: s.epoch, zone: s.zone, price: s.price, forecast: s.forecast, watched: s.watched,
		sharing: s.sharing,
		jobs:    line{compare: bySequence}, pool: s.pool.clone(),
	}
	c.orders()
	c.quota.inFlight = make(map[string]*job)
	c.quota.minute.entries = slices.Clone(s.quota.minute.entries)
	c.quota.day.entries = slices.Clone(s.quota.day.entries)
	for _, a := range s.apis {
		b := *a
		b.models, b.jobs = a.models.clone(), line{compare: byPlace}
		for j := range a.jobs.all() {
			k := *j
			k.api, k.inFlight, k.at = &b, false, [len(k.at)]int32{}
			if !k.held {
				k.key = math.Inf(-1)
			}
			b.jobs.add(&k)
			c.jobs.add(&k)
			c.waiting.put(&k)
		}
		for i, q := range a.queues {
			copied := *q
			copied.api, copied.models, copied.serving = &b, q.models.clone(), slices.Clone(q.serving)
			for k := range copied.serving {
				copied.serving[k].job = c.job(copied.serving[k].sequence)
			}
			b.queues[i] = &copied
			if q == a.queue {
				b.queue = &copied
			}
		}
		c.apis = append(c.apis, &b)
	}
	return c
}

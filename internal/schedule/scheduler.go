// Package schedule decides which job is polled when. Scheduler learns how long jobs take, gives each job a score, and
// hands out permits: the right to send one request, within a quota. docs/scheduling.md describes the model.
//
// Times are compared by the monotonic clock where they have one, so that a wall clock that jumps neither overspends the
// quota nor stops the polling.
package schedule

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"
)

// Job is an unfinished job, as Add takes it.
type Job struct {
	Sequence     uint64 // order of registration: the scheduler finds the job by it
	RequestID    string
	API          string
	AudioSeconds float64   // length of the recording; 0: unknown
	Priority     float64   // how much a second of its delay counts beside other jobs'; 0: 1
	Start        time.Time // when it was submitted, or first seen
	Seen         time.Time // when it was last observed running; zero: never
	// AgeUnknown: it may have been submitted, and may have ended, long before Start. It is polled at once, and the
	// models learn nothing from it.
	AgeUnknown bool
	// AgeUncertain: its age was perhaps unknown before a restart. The models learn nothing from it.
	AgeUncertain bool
	// AtOnce: it is polled at once for another reason.
	AtOnce bool
	// Restored: it was tracked before the start, and may have been polled then.
	Restored bool
}

// Scheduler decides which job is polled next, and when. It polls the job with the highest score while that is at least
// the price and the quota allows it.
//
// No job starves. Whatever the price, a job is overdue when it has almost certainly ended, and at the latest at four
// times the age at which it was last seen running, or eight times the predicted duration if that is later (divided by
// the share of ends that no webhook reports, which is at least one in a hundred). One request in sixteen goes to the
// job that is overdue for longest, so a job is polled before the quota has allowed sixteen more requests for every
// overdue job.
//
// It is safe for concurrent use.
type Scheduler struct {
	mu       sync.Mutex // guards everything below, the quota included
	quota    quota
	epoch    time.Time      // times of jobs are seconds since then, by the monotonic clock
	zone     *time.Location // whose hours the forecast counts
	jobs     line           // by sequence
	apis     []*api         // by name
	pool     models
	price    price
	forecast forecast
	watched  time.Time // when the forecast was last told the time
	sharing  sharing

	// Each job without a permit is in due or in waiting, as it was when it was last looked at.
	due     order // jobs that are due, the highest score first
	waiting order // the others, by when to look again: they are not due before
	overdue order // those in due that are overdue, the one that was last seen running the longest ago first

	looked  time.Time // when the pass last went on
	pass    pass
	changed bool // a job was added, polled, observed or removed since the pass began
	moved   bool // a job was observed running since looked: others of its API may be due now
	choices int
	late    Late // as of the last whole pass

	// The jobs whose requests failed since the last one that was answered, with a number that rises.
	failed   map[*job]int
	failures int
}

type job struct {
	id       string
	api      *api
	start    float64
	seen     float64 // when it was last seen running; before start: never
	key      float64 // its score in due, the time in waiting
	sequence uint64
	at       [2]int32 // its position in due (above 0) or waiting (below 0), and in overdue; 0: it is not there
	lnAudio  float32  // logarithm of the audio's length by typicalAudio
	priority float32
	hinted   bool // the length of the audio is known
	inFlight bool
	held     bool // it is not polled before key, whatever its score
	lastPoll PollResult
	atOnce   bool  // polled at once until it has been seen
	unknown  bool  // its age is
	unsure   bool  // its age is perhaps unknown
	served   uint8 // bit i: a worker of hypothesis i of the API's queue has taken it
}

func (j *job) neverSeen() bool { return j.seen < j.start }

// lnAge is the logarithm of the age at a time; -Inf: before the start.
func (j *job) lnAge(t float64) float64 {
	if t < j.start {
		return math.Inf(-1)
	}
	return math.Log(max(t-j.start, 1e-3))
}

func (j *job) model() *model { return j.api.models.of(j) }

type api struct {
	name        string
	models      models
	jobs        line
	ends        float64 // seen
	webhookEnds float64 // of these, by webhook; both decay

	queues [len(workers)]*queue
	queue  *queue // of queues, that scores are computed by; nil: jobs do not wait for each other
}

// Bounds of what a job is taken at its word for: a store may have anything. An infinite logarithm or score would spoil
// those of all jobs, and the slope of the durations must not depend on a few jobs with a length that cannot be.
const (
	minAudio    = 1.0 // seconds
	maxAudio    = 1e6
	maxPriority = 1e9
)

// maxAPIs have models of their own: names come from users.
const (
	maxAPIs   = 64
	otherAPIs = "(other)"
)

// New returns a scheduler without jobs.
func New(limits Limits, now time.Time) *Scheduler {
	s := &Scheduler{
		quota: quota{share: 1, inFlight: make(map[string]*job)}, epoch: now, watched: now,
		jobs: line{compare: bySequence}, pool: newModels(models{}),
	}
	s.orders()
	s.setLimits(limits)
	s.forecast.begin(time.Time{}, s.local(now))
	return s
}

// orders makes the orders. Of due jobs with the same score, and of overdue ones that were seen running at the same
// time, the oldest is the first. Those whose requests failed come last, in the order in which they did.
func (s *Scheduler) orders() {
	s.due = order{slot: 0, sign: 1, less: func(x, y *job) bool {
		if len(s.failed) > 0 && s.failed[x] != s.failed[y] {
			return s.failed[x] < s.failed[y]
		}
		return x.key > y.key || x.key == y.key && x.place().compare(y.place()) < 0
	}}
	s.waiting = order{slot: 0, sign: -1, less: func(x, y *job) bool { return x.key < y.key }}
	s.overdue = order{slot: 1, sign: 1, less: func(x, y *job) bool {
		if len(s.failed) > 0 && s.failed[x] != s.failed[y] {
			return s.failed[x] < s.failed[y]
		}
		return x.seen < y.seen || x.seen == y.seen && x.place().compare(y.place()) < 0
	}}
}

// SetLimits changes the quota. Requests stay counted, and what others spend of the same quota stays known. A pause
// ends.
func (s *Scheduler) SetLimits(limits Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setLimits(limits)
}

func (s *Scheduler) setLimits(limits Limits) {
	if !limits.sameQuota(s.quota.limits) {
		s.sharing, s.quota.share = sharing{}, 1
	}
	s.sharing.until, s.sharing.steps = time.Time{}, 0
	s.zone = cmp.Or(limits.DayResets.zone, time.UTC)
	s.quota.limits = limits
	s.quota.resize()
	s.price.at, s.looked, s.pass = time.Time{}, time.Time{}, pass{}
}

// Sent is requests that were sent before, by this process or an earlier one.
type Sent struct {
	Reserved time.Time // when; not later
	Requests int
	ClockSet bool // the wall clock was set after that
}

// Restore replaces the log of the quota, after a restart, a takeover, or for another key. Each of the requests is
// answered or given up within a time after its reservation, maybe later than now: the process that reserved it may go
// on, and what it sent may be on its way.
func (s *Scheduler) Restore(sent []Sent, within time.Duration, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(sent, func(a, b Sent) int { return a.Reserved.Compare(b.Reserved) })
	for _, w := range []*window{&s.quota.minute, &s.quota.day} {
		w.entries, w.requests = nil, 0
		for _, r := range sent {
			w.add(r.Reserved.Add(within), r.Requests, r.ClockSet)
		}
		w.expire(now)
	}
	s.price.at, s.looked, s.pass = time.Time{}, time.Time{}, pass{}
}

func (s *Scheduler) seconds(t time.Time) float64 { return t.Sub(s.epoch).Seconds() }

// time rounds up to milliseconds.
func (s *Scheduler) time(seconds float64) time.Time {
	return s.epoch.Add(time.Duration(math.Ceil(min(seconds, 1e9)*1000)) * time.Millisecond)
}

func (s *Scheduler) local(t time.Time) time.Time { return t.In(s.zone) }

// watch returns the time for the forecast. By how much the wall clock was set ahead, or the machine slept, since the
// last time, was not watched.
func (s *Scheduler) watch(now time.Time) time.Time {
	if skipped := now.Round(0).Sub(s.watched.Round(0)) - now.Sub(s.watched); skipped > maxSkew {
		s.forecast.begin(s.local(now.Round(0).Add(-skipped)), s.local(now))
	}
	s.watched = now
	return s.local(now)
}

// api returns the API of that name; where too many have jobs, all others.
func (s *Scheduler) api(name string) *api {
	i, found := s.findAPI(name)
	switch {
	case found:
		return s.apis[i]
	case len(s.apis) >= maxAPIs && name != otherAPIs && !s.forgetAPI():
		return s.api(otherAPIs)
	}
	return s.addAPI(name)
}

func (s *Scheduler) findAPI(name string) (i int, found bool) {
	return slices.BinarySearchFunc(s.apis, name, func(a *api, n string) int { return cmp.Compare(a.name, n) })
}

func (s *Scheduler) addAPI(name string) *api {
	a := &api{name: name, models: newModels(s.pool), jobs: line{compare: byPlace}}
	a.newQueues()
	i, _ := s.findAPI(name)
	s.apis = slices.Insert(s.apis, i, a)
	s.pass = pass{} // it counts APIs
	return a
}

// forgetAPI forgets the API that has seen the fewest ends, of those without jobs, if there is one: else the mistakes of
// clients would let all later APIs be one.
func (s *Scheduler) forgetAPI() (forgot bool) {
	least := -1
	for i, a := range s.apis {
		if a.jobs.length == 0 && a.name != otherAPIs && (least < 0 || a.ends < s.apis[least].ends) {
			least = i
		}
	}
	if least >= 0 {
		s.apis = slices.Delete(s.apis, least, least+1)
	}
	return least >= 0
}

// Add starts polling jobs. A known job stays as it is. View counts the due ones among them.
func (s *Scheduler) Add(now time.Time, jobs ...Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var apis []*api
	for i := range jobs {
		if a := s.add(&jobs[i], now); a != nil && !slices.Contains(apis, a) {
			apis = append(apis, a)
		}
	}
	for _, a := range apis {
		for _, q := range a.queues {
			q.serve(math.Inf(-1))
		}
	}
	s.lookAgain(now, s.priceFor(now), looksAtOnce+len(jobs))
}

// add returns the API of a job; nil: the job is known.
func (s *Scheduler) add(given *Job, now time.Time) *api {
	if s.job(given.Sequence) != nil {
		return nil
	}
	_, inFlight := s.quota.inFlight[given.RequestID] // it was removed, and is back
	a := s.api(given.API)
	j := &job{
		id: given.RequestID, sequence: given.Sequence, api: a, key: s.seconds(now),
		priority: 1, hinted: given.AudioSeconds > 0, inFlight: inFlight,
		atOnce: given.AtOnce || given.AgeUnknown, unknown: given.AgeUnknown, unsure: given.AgeUncertain,
	}
	j.start = s.seconds(given.Start)
	if given.Restored {
		j.lastPoll = NotPolledSinceStart
	}
	j.seen = j.start - 1
	if !given.Seen.IsZero() {
		j.seen = s.seconds(given.Seen)
	}
	if p := given.Priority; p > 0 && p <= maxPriority {
		j.priority = float32(p)
	}
	if j.hinted {
		j.lnAudio = float32(math.Log(min(max(given.AudioSeconds, minAudio), maxAudio) / typicalAudio))
	}
	s.changed = true
	s.jobs.add(j)
	a.jobs.add(j)
	for _, q := range a.queues {
		if j.place().compare(q.taken) < 0 {
			q.taken = j.place()
		}
	}
	if inFlight {
		s.quota.inFlight[j.id] = j
	} else {
		s.waiting.put(j)
	}
	// Jobs that are there at the start say nothing about when jobs arrive.
	if now.Sub(s.epoch) >= time.Minute {
		for _, b := range s.apis {
			b.models[0].arrivals *= keep
			b.models[1].arrivals *= keep
		}
		j.model().arrivals++
		s.forecast.arrived(s.watch(now))
	}
	return a
}

// job returns the job with that sequence; nil: it is unknown.
func (s *Scheduler) job(sequence uint64) *job {
	if last := s.jobs.last(); last == nil || last.sequence < sequence {
		return nil
	}
	b, i := s.jobs.search(func(j *job) bool { return j.sequence >= sequence })
	if s.jobs.blocks[b][i].sequence != sequence {
		return nil
	}
	return s.jobs.blocks[b][i]
}

// Remove stops polling a job about which nothing more is known.
func (s *Scheduler) Remove(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.job(sequence); j != nil {
		s.remove(j, math.Inf(-1)) // when its worker is free, is unknown
	}
}

// remove removes a job whose service has ended at a time, or before as far as the hypotheses of its queue know.
func (s *Scheduler) remove(j *job, t float64) {
	s.jobs.remove(j)
	s.leave(j)
	delete(s.failed, j)
	if j.inFlight {
		s.quota.inFlight[j.id] = nil
	}
	j.api.jobs.remove(j)
	j.api.release(j, t)
}

// leave takes a job that was polled or removed out of the orders.
func (s *Scheduler) leave(j *job) {
	s.due.drop(j)
	s.waiting.drop(j)
	s.overdue.drop(j)
	s.changed = true
}

// wait puts a job into waiting, to be looked at then.
func (s *Scheduler) wait(j *job, at float64) {
	s.leave(j)
	if j.key = at; !j.inFlight {
		s.waiting.put(j)
	}
}

// StillRunning tells that a job was observed running.
func (s *Scheduler) StillRunning(sequence uint64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.job(sequence); j != nil {
		t := s.seconds(at)
		s.learn(j, t, outcome{})
		s.leave(j) // before what it is ordered by changes
		j.seen, s.moved = t, true
		if j.held {
			t = max(t, j.key)
		}
		s.wait(j, t)
	}
}

// Ended tells that a job has ended: at that time where a webhook reports it, else at some time since it was last seen
// running.
func (s *Scheduler) Ended(sequence uint64, at time.Time, webhook bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.job(sequence)
	if j == nil {
		return
	}
	t := s.seconds(at)
	s.learn(j, t, outcome{ended: true, exact: webhook})
	a := j.api
	a.ends, a.webhookEnds = a.ends*keep+1, a.webhookEnds*keep
	if webhook {
		a.webhookEnds++
	}
	s.remove(j, t)
}

// learn applies an outcome.
func (s *Scheduler) learn(j *job, t float64, o outcome) {
	if j.unknown || j.unsure {
		return
	}
	m := j.model()
	o.from, o.to = j.lnAge(j.seen), j.lnAge(max(t, j.start))
	likelihood, _, _ := o.under(m.k, m.median(float64(j.lnAudio)))
	j.api.learnQueues(j, t, o, likelihood, j.scoreBy(m, j.start, t, 1).hazard)
	m.learn(float64(j.lnAudio), o)
}

// uncovered is the share of an API's ends that no webhook reports, with a prior of two such ends.
func (a *api) uncovered() float64 { return max(1-a.webhookEnds/(a.ends+2), 1e-3) }

const (
	looksAtOnce  = 1024                  // jobs that a part of a pass looks at, at most
	looksForBest = 16                    // jobs that a decision looks at again, at most, to find the best one
	lookInterval = 50 * time.Microsecond // between two looks of passes; a look takes less than 1 µs
	fairEvery    = 16                    // one of so many requests goes to the job that is overdue for longest
)

// pass looks at each job, at most looksAtOnce at a time. Price and models move, and with them the place of each job: as
// many looks as there are jobs, after each poll, would cost too much.
type pass struct {
	begun   bool
	apis    int   // that are done
	next    place // of the next job, in the API after these
	waiting int   // jobs of this API that wait in a queue, of those before
	late    Late  // of all before
}

// few reports whether one part of a pass is all of it.
func (s *Scheduler) few() bool { return s.jobs.length <= looksAtOnce }

// fresh is when the pass is to go on.
func (s *Scheduler) fresh() time.Time {
	return s.looked.Add(time.Duration(min(s.jobs.length, looksAtOnce)) * lookInterval)
}

// goOn goes on with the pass. It looks at so many jobs at most.
func (s *Scheduler) goOn(now time.Time, price float64, most int) {
	p, t, soon := &s.pass, s.seconds(now), math.Inf(1)
	if !p.begun {
		*p, s.changed = pass{begun: true, next: front}, false
	}
	s.looked, s.moved = now, false
	for ; p.apis < len(s.apis); p.apis, p.next, p.waiting = p.apis+1, front, 0 {
		for j := range s.apis[p.apis].jobs.from(p.next) {
			if p.next = j.place(); most == 0 {
				return
			}
			most--
			s.look(j, t, price, &soon)
			s.countLate(j, t)
		}
	}
	s.late, s.pass = p.late, pass{}
}

// lookAgain looks at the waiting jobs whose time has come, at most at so many.
func (s *Scheduler) lookAgain(now time.Time, price float64, most int) {
	t, soon := s.seconds(now), math.Inf(1)
	for range most {
		j := s.waiting.first()
		if j == nil || j.key > t {
			return
		}
		s.look(j, t, price, &soon)
	}
}

// look puts a job where it belongs now. soon is when the first of the waiting jobs that were looked at before is due.
// When a later job will be due is not computed, which takes up to 30 scores: it waits until a time at which it is
// certainly not due yet, which takes one. So no waiting job is due before its key, and the first of them need not be
// looked at before its own.
func (s *Scheduler) look(j *job, t, price float64, soon *float64) {
	switch {
	case j.inFlight:
		return
	case j.held && j.key > t:
		*soon = min(*soon, j.key)
		return
	}
	j.held = false
	if score := j.score(t); score.isDue(price) {
		s.waiting.drop(j)
		j.key = score.value
		s.due.put(j)
		if score.overdue {
			s.overdue.put(j)
		} else {
			s.overdue.drop(j)
		}
		return
	}
	s.due.drop(j)
	s.overdue.drop(j)
	switch later := t + j.step(t); {
	case math.IsInf(*soon, 1) || j.score(*soon).isDue(price):
		*soon = min(*soon, j.due(t, price))
		j.key = *soon
	case later > *soon && !j.score(later).isDue(price):
		j.key = later
	default:
		j.key = *soon
	}
	s.waiting.put(j)
}

// Refresh brings the price and the numbers of due and late jobs up to date, also while the quota is used up and Next
// decides nothing. It returns when to call it again because there is more to look at; zero if there is not.
func (s *Scheduler) Refresh(now time.Time) (again time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(now)
	if next := s.waiting.first(); s.changed || s.pass.begun || next != nil && next.key <= s.seconds(now) {
		return s.fresh()
	}
	return time.Time{}
}

// RefreshAll does at once what repeated calls of Refresh do, for those who read once. It looks at all jobs, however
// many they are.
func (s *Scheduler) RefreshAll(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updatePrice(now)
	s.pass = pass{}
	s.goOn(now, s.priceFor(now), s.jobs.length)
}

// refresh returns the present price, and when the price falls because a request leaves the minute's window; zero with
// none.
func (s *Scheduler) refresh(now time.Time) (price float64, falls time.Time) {
	s.updatePrice(now)
	price = s.priceFor(now)
	// Few jobs are all looked at, also at once where one that was seen running may have made others due.
	if !now.Before(s.fresh()) || s.moved && s.due.Len() == 0 && s.few() {
		s.goOn(now, price, looksAtOnce)
	}
	s.lookAgain(now, price, looksAtOnce)
	if s.quota.minute.limit > 0 {
		_, falls = s.quota.busyMinute(now)
	}
	return price, falls
}

// priceFor returns the price of the next request.
func (s *Scheduler) priceFor(now time.Time) float64 {
	busy, _ := s.quota.busyMinute(now)
	return s.price.now(&s.quota, busy, now)
}

// best returns the due job to poll at a price; nil: it found none. When a job was looked at, it was due at the price of
// then: where its score was below the present one, it is looked at again. Few jobs are only looked at together.
func (s *Scheduler) best(t, price float64) *job {
	soon := math.Inf(1)
	for looks := 0; ; looks++ {
		switch j := s.due.first(); {
		case j == nil || j.key >= price || s.overdue.has(j):
			return j
		case s.few() || looks == looksForBest:
			return s.overdue.first()
		default:
			s.look(j, t, price, &soon)
		}
	}
}

// choose returns the job to poll now and its score, or when to look again.
func (s *Scheduler) choose(now time.Time) (j *job, score float64, at time.Time) {
	price, falls := s.refresh(now)
	s.choices++
	if j := s.overdue.first(); j != nil && s.choices%fairEvery == 0 {
		return j, price, time.Time{}
	}
	switch j := s.best(s.seconds(now), price); {
	case j == nil:
	case s.overdue.has(j): // at any price: its score grows without bound and is no measure for others
		return j, price, time.Time{}
	default:
		return j, j.key, time.Time{}
	}
	wake := math.Inf(1)
	if j := s.waiting.first(); j != nil {
		wake = j.key
	}
	// Jobs were due, by models and a price that have moved: they are not in waiting, and have no time to look again. If
	// the price falls, few wait for that, when all are looked at together (see refresh). Else the pass goes on now.
	if s.pass.begun || s.due.Len() > 0 && (s.moved || falls.IsZero() || !s.few()) {
		wake = s.seconds(now)
	}
	at = s.time(max(wake, s.seconds(now)+0.001))
	if falls.After(now) && falls.Before(at) {
		at = falls
	}
	if update := s.price.at.Add(maxPriceAge); s.price.perDay > 0 && update.Before(at) {
		at = update
	}
	if fresh := s.fresh(); at.Before(fresh) {
		at = fresh
	}
	return nil, 0, at
}

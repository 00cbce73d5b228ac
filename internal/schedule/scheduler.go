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
	RequestID    string
	API          string
	AudioSeconds float64   // length of the recording; 0: unknown
	Priority     float64   // how much a second of its delay counts beside other jobs'; 0: 1
	Start        time.Time // when it was submitted, or first seen
	Seen         time.Time // when it was last observed running; zero: never
	// AgeUnknown: it may have been submitted, and may have ended, long before Start. It is polled at once, and the
	// models learn nothing from it.
	AgeUnknown bool
	// AtOnce: it is polled at once for another reason.
	AtOnce bool
}

// Scheduler decides which job is polled next, and when. It polls the job with the highest score while that is at least
// the price and the quota allows it.
//
// No job starves. Whatever the price, a job is overdue when it has almost certainly ended, and at the latest at four
// times the age at which it was last seen running (eight times the predicted duration before that; up to four times as
// long where webhooks report most ends). One request in sixteen goes to the job that is overdue for longest, so a job
// is polled before the quota has allowed sixteen more requests for every overdue job.
//
// It is safe for concurrent use.
type Scheduler struct {
	mu       sync.Mutex // guards everything below, the quota included
	quota    quota
	epoch    time.Time      // times of jobs are seconds since then, by the monotonic clock
	zone     *time.Location // whose hours the forecast counts
	jobs     map[string]*job
	apis     []*api // by name
	pool     [2]*model
	price    price
	forecast forecast
	sharing  sharing

	// The last look through all jobs, and what has changed since.
	scanned    time.Time
	scanPrice  float64
	changed    bool        // a job that it looked at was polled, observed or removed
	candidates []candidate // due jobs, the highest score first
	more       bool        // there were more due jobs than candidates
	longest    *job        // the one that is overdue for longest
	due        int         // number of due jobs
	wake       float64     // when another job will be due
	turns      int

	late   Late
	lateAt time.Time // when it was counted

	arrived uint32 // jobs
}

type job struct {
	id        string
	api       *api
	start     float64
	seen      float64 // when it was last seen running; before start: never
	notBefore float64 // it is not polled before
	lnAudio   float32 // logarithm of the audio's length by typicalAudio
	priority  float32
	hinted    bool // the length of the audio is known
	inFlight  bool
	atOnce    bool // polled at once until it has been seen
	unknown   bool // its age is
	removed   bool
	served    uint8  // bit i: a worker of hypothesis i of the API's queue has taken it
	sequence  uint32 // order of arrival, of jobs with the same start
}

func (j *job) neverSeen() bool { return j.seen < j.start }

// lnAge is the logarithm of the age at a time; -Inf: before the start.
func (j *job) lnAge(t float64) float64 {
	if t < j.start {
		return math.Inf(-1)
	}
	return math.Log(max(t-j.start, 1e-3))
}

func (j *job) model() *model {
	if j.hinted {
		return j.api.models[1]
	}
	return j.api.models[0]
}

type api struct {
	name    string
	models  [2]*model // without and with the length of the audio
	jobs    []*job    // by start; some may be removed
	sorted  int       // jobs before this one are in order
	removed int       // jobs that are removed
	ends    float64   // seen
	hooked  float64   // of these, by webhook; both forget

	queues   [len(workers)]*queue
	believed int // index of the hypothesis that scores are computed by; -1: none
}

// candidate is a job that was due at the last scan.
type candidate struct {
	*job
	score
}

// maxAPIs have models of their own: names come from users.
const (
	maxAPIs   = 64
	otherAPIs = "(other)"
)

// New returns a scheduler without jobs.
func New(limits Limits, now time.Time) *Scheduler {
	s := &Scheduler{
		quota: quota{share: 1, inFlight: make(map[string]struct{})}, epoch: now,
		jobs: make(map[string]*job), pool: [2]*model{newModel(false, nil), newModel(true, nil)},
	}
	s.setLimits(limits)
	s.forecast.begin(time.Time{}, s.local(now))
	return s
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
	s.price.at, s.scanned = time.Time{}, time.Time{}
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
	s.price.at, s.scanned = time.Time{}, time.Time{}
}

func (s *Scheduler) seconds(t time.Time) float64 { return t.Sub(s.epoch).Seconds() }

// time rounds up to milliseconds.
func (s *Scheduler) time(seconds float64) time.Time {
	return s.epoch.Add(time.Duration(math.Ceil(min(seconds, 1e9)*1000)) * time.Millisecond)
}

func (s *Scheduler) local(t time.Time) time.Time { return t.In(s.zone) }

// api returns the API of that name; where there are too many, all others.
func (s *Scheduler) api(name string) *api {
	i, found := slices.BinarySearchFunc(s.apis, name, func(a *api, n string) int { return cmp.Compare(a.name, n) })
	if found {
		return s.apis[i]
	}
	if len(s.apis) >= maxAPIs && name != otherAPIs {
		return s.api(otherAPIs)
	}
	a := &api{
		name: name, models: [2]*model{newModel(false, s.pool[0]), newModel(true, s.pool[1])},
		queues: newQueues(), believed: -1,
	}
	s.apis = slices.Insert(s.apis, i, a)
	return a
}

// Add starts polling jobs. A known job stays as it is.
func (s *Scheduler) Add(now time.Time, jobs ...Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range jobs {
		s.add(&jobs[i], now)
	}
	for _, a := range s.apis {
		late := a.jobs[a.sorted:]
		if len(late) == 0 {
			continue
		}
		added := slices.Clone(late)
		a.order()
		for i := range a.queues {
			a.serve(i, math.Inf(-1))
		}
		s.judge(added, now)
	}
}

func (s *Scheduler) add(given *Job, now time.Time) {
	if s.jobs[given.RequestID] != nil {
		return
	}
	_, inFlight := s.quota.inFlight[given.RequestID] // it was removed, and is back
	a := s.api(given.API)
	j := &job{
		id: given.RequestID, api: a, start: s.seconds(given.Start), notBefore: math.Inf(-1),
		priority: float32(cmp.Or(given.Priority, 1)), hinted: given.AudioSeconds > 0, inFlight: inFlight,
		atOnce: given.AtOnce || given.AgeUnknown, unknown: given.AgeUnknown,
	}
	j.seen = j.start - 1
	if !given.Seen.IsZero() {
		j.seen = s.seconds(given.Seen)
	}
	if j.hinted {
		j.lnAudio = float32(math.Log(given.AudioSeconds / typicalAudio))
	}
	s.arrived++
	j.sequence = s.arrived
	s.jobs[j.id] = j
	a.jobs = append(a.jobs, j)
	// Jobs that are there at the start say nothing about when jobs arrive.
	if now.Sub(s.epoch) >= time.Minute {
		for _, b := range s.apis {
			b.models[0].arrivals *= keep
			b.models[1].arrivals *= keep
		}
		j.model().arrivals++
		s.forecast.arrived(s.local(now))
	}
}

// judge takes new jobs into what the last scan found: another scan costs as much as there are jobs.
func (s *Scheduler) judge(added []*job, now time.Time) {
	t, price, sorted := s.seconds(now), s.priceFor(now), true
	for _, j := range added {
		if j.inFlight {
			continue
		}
		score := j.score(t)
		if !score.isDue(price) {
			if math.IsInf(s.wake, 1) || s.wake > t && j.score(s.wake).isDue(price) {
				s.wake = min(s.wake, j.due(t, price))
			}
			continue
		}
		s.due++
		s.candidates, sorted = append(s.candidates, candidate{j, score}), false
		if score.overdue && (s.longest == nil || j.seen < s.longest.seen) {
			s.longest = j
		}
	}
	if !sorted {
		sortCandidates(s.candidates)
	}
	if room := s.room(); len(s.candidates) > 2*room {
		s.candidates, s.more = s.candidates[:room], true
	}
}

// room is how many candidates a scan keeps: a backlog costs few scans.
func (s *Scheduler) room() int { return max(minCandidates, len(s.jobs)/minCandidates) }

// order sorts appended jobs into the order: a batch may have the youngest first.
func (a *api) order() {
	if late := a.jobs[a.sorted:]; len(late) > 0 {
		i, _ := slices.BinarySearchFunc(a.jobs[:a.sorted], slices.MinFunc(late, byStart), byStart)
		slices.SortFunc(a.jobs[i:], byStart)
		a.sorted = len(a.jobs)
	}
}

func byStart(x, y *job) int {
	return cmp.Or(cmp.Compare(x.start, y.start), cmp.Compare(x.sequence, y.sequence))
}

// Remove stops polling a job about which nothing more is known.
func (s *Scheduler) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		var ends [len(workers)]float64
		for i := range ends { // when its worker is free, is unknown
			ends[i] = math.Inf(-1)
		}
		s.remove(j, &ends)
	}
}

// remove removes a job whose service ended at these times.
func (s *Scheduler) remove(j *job, ends *[len(workers)]float64) {
	delete(s.jobs, j.id)
	j.removed = true
	s.outdated(j)
	a := j.api
	a.release(j, ends)
	if a.removed++; len(a.jobs) < 1000 || a.removed > len(a.jobs)/16 {
		a.jobs = slices.DeleteFunc(a.jobs, func(j *job) bool { return j.removed })
		a.sorted, a.removed = len(a.jobs), 0
	}
}

// StillRunning tells that a job was observed running.
func (s *Scheduler) StillRunning(id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		t := s.seconds(at)
		s.learn(j, t, outcome{})
		j.seen, s.wake = t, min(s.wake, t)
		s.outdated(j)
	}
}

// Ended tells that a job has ended: at that time where a webhook reports it, else at some time since it was last seen
// running.
func (s *Scheduler) Ended(id string, at time.Time, webhook bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j == nil {
		return
	}
	ends := s.learn(j, s.seconds(at), outcome{ended: true, exact: webhook})
	a := j.api
	a.ends, a.hooked = a.ends*keep+1, a.hooked*keep
	if webhook {
		a.hooked++
	}
	s.remove(j, &ends)
}

// learn applies an outcome, and returns when the job's service ended, if it did, under each hypothesis of its queue.
func (s *Scheduler) learn(j *job, t float64, o outcome) (ends [len(workers)]float64) {
	if j.unknown {
		for i := range ends {
			ends[i] = t
		}
		return ends
	}
	m := j.model()
	o.from, o.to = j.lnAge(j.seen), j.lnAge(max(t, j.start))
	likelihood, _, _ := o.under(m.k, m.median(float64(j.lnAudio)))
	ends = j.api.learnQueues(j, t, o, likelihood, j.scoreBy(m, j.start, t, 1).hazard)
	m.learn(float64(j.lnAudio), o)
	return ends
}

// uncovered is the share of an API's ends that no webhook reports, with a prior of two such ends.
func (a *api) uncovered() float64 { return max(1-a.hooked/(a.ends+2), 1e-3) }

const (
	manyJobs      = 1000                  // from so many on, a scan is for what has changed only
	minCandidates = 256                   // kept of a scan, or one in 256 jobs
	scanInterval  = 50 * time.Microsecond // for which a scan serves, for each job; scanning a job takes 0.1 to 0.2 µs
	fairTurns     = 16                    // one of so many requests goes to the job that is overdue for longest
)

// fresh is until when the last scan serves.
func (s *Scheduler) fresh() time.Time {
	return s.scanned.Add(time.Duration(len(s.jobs)) * scanInterval)
}

// scan looks through all jobs for those that are due, and for when another will be.
func (s *Scheduler) scan(now time.Time, price float64) {
	t := s.seconds(now)
	s.scanned, s.scanPrice, s.changed, s.wake, s.due = now, price, false, math.Inf(1), 0
	s.candidates, s.longest, s.more = s.candidates[:0], nil, false
	least, room := 0.0, s.room()
	for _, a := range s.apis {
		for _, j := range a.jobs {
			switch {
			case j.removed || j.inFlight:
				continue
			case j.notBefore > t:
				s.wake = min(s.wake, j.notBefore)
				continue
			}
			score := j.score(t)
			if !score.isDue(price) {
				if s.wake > t && (math.IsInf(s.wake, 1) || j.score(s.wake).isDue(price)) {
					s.wake = min(s.wake, j.due(t, price))
				}
				continue
			}
			s.due++
			if score.overdue && (s.longest == nil || j.seen < s.longest.seen) {
				s.longest = j
			}
			if score.value < least {
				s.more = true
				continue
			}
			s.candidates = append(s.candidates, candidate{j, score})
			if len(s.candidates) == 2*room {
				sortCandidates(s.candidates)
				s.candidates, s.more = s.candidates[:room], true
				least = s.candidates[room-1].value
			}
		}
	}
	sortCandidates(s.candidates)
}

func sortCandidates(candidates []candidate) {
	slices.SortFunc(candidates, func(x, y candidate) int { return cmp.Compare(y.value, x.value) })
}

// Refresh brings the price and the numbers of due and late jobs up to date, also while the quota is used up and Next
// decides nothing. It returns when to call it again because of a change that it could not take in yet; zero if there is none.
func (s *Scheduler) Refresh(now time.Time) (again time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(now)
	s.countLate(now)
	if s.changed {
		return s.fresh()
	}
	return time.Time{}
}

// refresh returns the present price, and when the price falls because a request leaves the minute's window; zero with
// none.
func (s *Scheduler) refresh(now time.Time) (price float64, falls time.Time) {
	s.updatePrice(now)
	price = s.priceFor(now)
	woken := s.seconds(now) >= s.wake
	// Among few jobs a scan is cheap, and finds the time at which the next is due more exactly.
	outdated := s.changed || woken || price < s.scanPrice || len(s.candidates) > 0 || len(s.jobs) < manyJobs
	if s.scanned.IsZero() || len(s.candidates) == 0 && (s.more || woken) || outdated && !now.Before(s.fresh()) {
		s.scan(now, price)
	}
	if s.quota.minute.limit > 0 {
		falls = s.quota.used(&s.quota.minute, now).Resets
	}
	return price, falls
}

// priceFor returns the price of the next request.
func (s *Scheduler) priceFor(now time.Time) float64 {
	minute := s.quota.used(&s.quota.minute, now)
	return s.price.now(&s.quota, minute.Used/minute.Limit, now)
}

// outdated notes that a job was polled, observed or removed. What the last scan found of it no longer holds.
func (s *Scheduler) outdated(j *job) {
	s.changed = true
	s.candidates = slices.DeleteFunc(s.candidates, func(c candidate) bool { return c.job == j })
	if s.longest == j {
		s.longest = nil
	}
}

// choose returns the job to poll now and its score, or when to look again.
func (s *Scheduler) choose(now time.Time) (j *job, score float64, at time.Time) {
	price, falls := s.refresh(now)
	if s.turns++; s.turns%fairTurns == 0 && s.longest != nil {
		return s.longest, price, time.Time{}
	}
	if len(s.candidates) > 0 && s.candidates[0].isDue(price) {
		c := s.candidates[0]
		if c.overdue { // at any price: its score grows without bound and is no measure for others
			return c.job, price, time.Time{}
		}
		return c.job, c.value, time.Time{}
	}
	at = s.time(max(s.wake, s.seconds(now)+0.001))
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

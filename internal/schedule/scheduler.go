package schedule

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"sync"
	"time"
)

// A Job is what the scheduler is told of a job.
type Job struct {
	RequestID    string
	API          string
	AudioSeconds float64   // length of the recording; 0: not known
	Weight       float64   // what a second of its delay counts, beside other jobs; 0: 1
	Start        time.Time // when its life began
	Seen         time.Time // when it was last seen running; zero: never
	// AgeUnknown says that its life may have begun, and ended, long before Start: it
	// is asked about at once, and nothing is learnt from it.
	AgeUnknown bool
	// AtOnce says that it is asked about at once for another reason.
	AtOnce bool
}

// Parts are parts of the policy that can be left out, to measure what they are
// worth.
type Parts struct{ Learning, Drift, Rank, Pacing bool }

// A Scheduler decides which job is asked about next, and when: it learns how long
// jobs take, gives every job an index (see worth), and asks about the job with the
// highest while that is above the price and the quota allows it.
//
// No job starves. Whatever the price, a job is overdue when it has almost surely
// ended, and at the latest at four times the age at which it was last seen running
// (eight times the predicted duration before that; up to four times as long where
// webhooks report most ends), and one request in sixteen goes to the job that is
// overdue for longest: so it is asked about before the quota has allowed sixteen
// more requests for every overdue job.
//
// It may be used by several goroutines at once.
type Scheduler struct {
	mu      sync.Mutex
	ledger  *Ledger
	without Parts
	epoch   time.Time // times of jobs are seconds since then, by the monotonic clock
	clockIn *time.Location

	jobs     map[string]*job
	apis     []*api // by name
	pool     [2]*law
	price    price
	forecast forecast
	sharing  sharing

	scanned    time.Time
	candidates []candidate // due jobs at the last scan, the best first
	longest    *job        // the one that is overdue for longest
	due        int         // how many they were
	wake       float64     // when another job will be due
	turns      int

	ahead ahead
}

// job is a job that is not known to have ended.
type job struct {
	id        string
	api       *api
	law       *law
	start     float64
	seen      float64 // when it was last seen running; before start: never
	notBefore float64 // it is not asked about before
	lnAudio   float32 // logarithm of the audio's length by typicalAudio
	weight    float32
	underWay  bool // a request is
	atOnce    bool // it is asked about at once, as long as it was never seen
	unknown   bool // nobody knows how old it is
	gone      bool
}

// api is what is known of one API.
type api struct {
	name   string
	laws   [2]*law // without and with the length of the audio
	jobs   []*job  // by start, but for those that came since order
	sorted int     // of jobs, are in order
	gone   int     // of jobs, are gone
	ends   float64 // seen, and
	hooked float64 // how many of them by webhook; those long ago count less
	ranks  ranks
}

// A candidate is a job that was due when the jobs were looked through.
type candidate struct {
	*job
	standing
}

// mostAPIs have laws of their own; names are what users give.
const (
	mostAPIs  = 64
	otherAPIs = "(other)"
)

// New returns a scheduler without jobs.
func New(limits Limits, now time.Time, without Parts) *Scheduler {
	s := &Scheduler{
		ledger: NewLedger(limits), without: without, epoch: now, clockIn: time.UTC, sharing: sharing{share: 1},
		jobs: make(map[string]*job),
		pool: [2]*law{newLaw(false, nil), newLaw(true, nil)},
	}
	s.SetLimits(limits)
	s.forecast.begin(time.Time{}, s.clock(now))
	return s
}

// Ledger is where the quota is kept.
func (s *Scheduler) Ledger() *Ledger { return s.ledger }

// SetLimits changes the quota. What was sent stays counted, and what others spend of
// the same quota known; a pause ends.
func (s *Scheduler) SetLimits(limits Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clockIn = cmp.Or(limits.DayResets.zone, time.UTC)
	if !limits.sameQuota(s.ledger.quota()) {
		s.sharing = sharing{share: 1}
	}
	s.sharing.until, s.sharing.steps = time.Time{}, 0
	s.ledger.SetLimits(limits)
	s.price.at, s.scanned = time.Time{}, time.Time{}
}

func (s *Scheduler) seconds(t time.Time) float64 { return t.Sub(s.epoch).Seconds() }

// time rounds up to milliseconds: what is shown of a time is no finer.
func (s *Scheduler) time(seconds float64) time.Time {
	return s.epoch.Add(time.Duration(math.Ceil(min(seconds, 1e9)*1000)) * time.Millisecond)
}

// clock is a time as the day of the quota and of the users has it.
func (s *Scheduler) clock(t time.Time) time.Time { return t.In(s.clockIn) }

// api finds what is known of an API.
func (s *Scheduler) api(name string) *api {
	i, found := slices.BinarySearchFunc(s.apis, name, func(a *api, name string) int { return cmp.Compare(a.name, name) })
	if found {
		return s.apis[i]
	}
	if len(s.apis) >= mostAPIs && name != otherAPIs {
		return s.api(otherAPIs)
	}
	a := &api{name: name, laws: [2]*law{newLaw(false, s.pool[0]), newLaw(true, s.pool[1])}}
	s.apis = slices.Insert(s.apis, i, a)
	return a
}

// Add starts asking about a job. A job that is already known stays as it is.
func (s *Scheduler) Add(given Job, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[given.RequestID] != nil {
		return
	}
	a := s.api(given.API)
	j := &job{
		id: given.RequestID, api: a, law: a.laws[0],
		start: s.seconds(given.Start), weight: float32(cmp.Or(given.Weight, 1)), notBefore: math.Inf(-1),
		atOnce: given.AtOnce || given.AgeUnknown, unknown: given.AgeUnknown,
	}
	j.seen = j.start - 1
	if !given.Seen.IsZero() {
		j.seen = s.seconds(given.Seen)
	}
	if given.AudioSeconds > 0 {
		j.law, j.lnAudio = a.laws[1], float32(math.Log(given.AudioSeconds/typicalAudio))
	}
	s.jobs[j.id] = j
	a.jobs = append(a.jobs, j)
	// Those that are there at the start tell nothing of when jobs arrive.
	if now.Sub(s.epoch) >= time.Minute {
		for _, b := range s.apis {
			b.laws[0].arrivals *= keep
			b.laws[1].arrivals *= keep
		}
		j.law.arrivals++
		s.forecast.arrived(s.clock(now))
	}
	s.wake = min(s.wake, s.seconds(now))
}

// Remove stops asking about a job, of which nothing more is known.
func (s *Scheduler) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(s.jobs[id])
}

func (s *Scheduler) remove(j *job) {
	if j == nil {
		return
	}
	delete(s.jobs, j.id)
	j.gone = true
	a := j.api
	if a.gone++; len(a.jobs) < 1000 || a.gone > len(a.jobs)/16 {
		a.order()
		a.jobs = slices.DeleteFunc(a.jobs, func(j *job) bool { return j.gone })
		a.sorted, a.gone = len(a.jobs), 0
	}
}

// order puts the jobs that came since into their places, all at once: a list of
// many jobs may name the youngest first.
func (a *api) order() {
	late := slices.Clone(a.jobs[a.sorted:])
	slices.SortStableFunc(late, func(x, y *job) int { return cmp.Compare(x.start, y.start) })
	end := a.sorted
	for n, j := range slices.Backward(late) {
		i := sort.Search(end, func(i int) bool { return a.jobs[i].start > j.start })
		copy(a.jobs[i+n+1:], a.jobs[i:end])
		a.jobs[i+n] = j
		end = i
	}
	a.sorted = len(a.jobs)
}

// Running says that a job was asked about and runs. It is not asked about again
// for the given time.
func (s *Scheduler) Running(id string, at time.Time, atLeast time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j == nil {
		return
	}
	t := s.seconds(at)
	s.learn(j, t, false)
	j.seen, j.underWay, j.notBefore = t, false, t+atLeast.Seconds()
	s.wake = min(s.wake, t)
	s.sharing.succeeded()
	s.ledger.SetShare(s.sharing.share, at)
}

// shortestRetry is how soon at least a job is asked about again that nothing was
// learnt about.
const shortestRetry = 10 * time.Second

// Unanswered says that a job was asked about and nothing was learnt of it. It is
// not asked about again for the given time.
func (s *Scheduler) Unanswered(id string, at time.Time, atLeast time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		j.underWay, j.notBefore = false, s.seconds(at)+max(atLeast, shortestRetry).Seconds()
		s.wake = min(s.wake, j.notBefore)
	}
}

// Ended says that a job has ended: some time since it was last seen running where
// a request about it is under way, which told that; else just now, as a webhook
// tells it.
func (s *Scheduler) Ended(id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j == nil {
		return
	}
	s.learn(j, s.seconds(at), true)
	a := j.api
	a.ends, a.hooked = a.ends*keep+1, a.hooked*keep
	if !j.underWay {
		a.hooked++
	} else {
		s.sharing.succeeded()
		s.ledger.SetShare(s.sharing.share, at)
	}
	s.remove(j)
}

// learn takes in what was seen of a job.
func (s *Scheduler) learn(j *job, t float64, ended bool) {
	if s.without.Learning || j.unknown {
		return
	}
	o := outcome{from: math.Inf(-1), to: math.Log(max(t-j.start, 1e-3)), ended: ended, exact: ended && !j.underWay}
	if j.seen >= j.start {
		o.from = math.Log(max(j.seen-j.start, 1e-3))
	}
	j.law.refresh()
	j.api.ranks.learn(j.api.rank(j), j.standing(t, 1).hazard, o)
	j.law.learn(float64(j.lnAudio), o)
	if s.without.Drift {
		j.law.drift, j.law.pool.drift = drift{}, drift{}
	}
}

// silent is the share of an API's ends that no webhook reports.
func (a *api) silent() float64 { return max(1-a.hooked/(a.ends+2), 1e-3) }

// rank is how many unfinished jobs of the API are older, about.
func (a *api) rank(j *job) int {
	a.order()
	i, _ := slices.BinarySearchFunc(a.jobs, j, func(x, y *job) int { return cmp.Compare(x.start, y.start) })
	return max(i-a.gone, 0)
}

// factor is what a job's hazard is multiplied with for its rank.
func (s *Scheduler) factor(a *api, rank int) float64 {
	if s.without.Rank {
		return 1
	}
	return a.ranks.factor(rank)
}

// Ranks are the rank effect: how much likelier a job ends for being the oldest of
// its API, or the second, and so on by octaves. A back end that works in order
// ends the oldest; one whose oldest jobs are stuck ends any but those. It is the
// ratio of the ends that were seen to those that the laws expected, with a prior.
type ranks struct{ Ends, Expected [16]float64 }

const ranksPrior = 10 // ends

func rankBucket(rank int) int {
	bucket := 0
	for ; rank > 0 && bucket < 15; rank /= 2 {
		bucket++
	}
	return bucket
}

func (r *ranks) factor(rank int) float64 {
	b := rankBucket(rank)
	return (r.Ends[b] + ranksPrior) / (r.Expected[b] + ranksPrior)
}

// learn takes in an outcome whose hazard the law reckoned as x. Where the end lies
// somewhere in an interval, the hazard until then is 1 − x/(eˣ−1) in the mean.
func (r *ranks) learn(rank int, x float64, o outcome) {
	b := rankBucket(rank)
	if o.ended && !o.exact && x > 1e-9 {
		x = 1 - x/math.Expm1(x)
	}
	r.Expected[b] += x
	if o.ended {
		for i := range r.Ends {
			r.Ends[i] *= keep
			r.Expected[i] *= keep
		}
		r.Ends[b]++
	}
}

// mostCandidates are kept of a scan.
const mostCandidates = 256

// scanInterval is how long a scan serves at least, for each job: looking at a job
// costs a tenth of a microsecond or two, and so scanning half a per cent of a core.
const scanInterval = 50 * time.Microsecond

// fresh is until when a look through all jobs at a time serves.
func (s *Scheduler) fresh(looked time.Time) time.Time {
	return looked.Add(time.Duration(len(s.jobs)) * scanInterval)
}

// scan looks through all jobs for those that are due, and for when another will be.
func (s *Scheduler) scan(now time.Time, price float64) {
	t := s.seconds(now)
	s.scanned, s.wake, s.due = now, math.Inf(1), 0
	s.candidates, s.longest = s.candidates[:0], nil
	least := 0.0
	for _, a := range s.apis {
		a.order()
		a.laws[0].refresh()
		a.laws[1].refresh()
		rank := -1
		for _, j := range a.jobs {
			if j.gone {
				continue
			}
			rank++
			switch {
			case j.underWay:
				continue
			case j.notBefore > t:
				s.wake = min(s.wake, j.notBefore)
				continue
			}
			factor := s.factor(a, rank)
			standing := j.standing(t, factor)
			if standing.worth < price && !standing.overdue {
				if s.wake > t {
					if math.IsInf(s.wake, 1) || j.standing(s.wake, factor).isDue(price) {
						s.wake = min(s.wake, j.due(t, factor, price))
					}
				}
				continue
			}
			s.due++
			if standing.overdue && (s.longest == nil || j.seen < s.longest.seen) {
				s.longest = j
			}
			if standing.worth < least {
				continue
			}
			s.candidates = append(s.candidates, candidate{j, standing})
			if len(s.candidates) == 2*mostCandidates {
				best(s.candidates)
				s.candidates = s.candidates[:mostCandidates]
				least = s.candidates[mostCandidates-1].worth
			}
		}
	}
	best(s.candidates)
}

func (s standing) isDue(price float64) bool { return s.worth >= price || s.overdue }

func best(candidates []candidate) {
	slices.SortFunc(candidates, func(x, y candidate) int { return cmp.Compare(y.worth, x.worth) })
}

// One request in fairTurns goes to the job that is overdue for longest.
const fairTurns = 16

// Next takes the job that is to be asked about now, and a request of the quota; it
// is not offered again before Running, Unanswered or Refused puts it back. Where none is
// to be asked about, at says when to look again: zero when something else has to
// happen first.
func (s *Scheduler) Next(now time.Time) (id string, ok bool, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.jobs) == 0 {
		return "", false, time.Time{}
	}
	if now.Before(s.sharing.until) {
		return "", false, s.sharing.until
	}
	if at := s.ledger.morning(now); !at.IsZero() {
		return "", false, at
	}
	if ok, at := s.ledger.Reserve(now); !ok {
		return "", false, at
	}
	j, worth, at := s.choose(now)
	if j == nil {
		s.ledger.Release()
		return "", false, at
	}
	j.underWay = true
	s.price.spent(worth)
	return j.id, true, now
}

// choose finds the job that is to be asked about now.
func (s *Scheduler) choose(now time.Time) (j *job, worth float64, at time.Time) {
	s.updatePrice(now)
	used, free := s.ledger.filled(now)
	price := s.price.now(used, s.ledger.pace(now, 0))
	fresh := s.fresh(s.scanned)
	if s.scanned.IsZero() || !now.Before(fresh) || len(s.candidates) == 0 && s.seconds(now) >= s.wake {
		s.scan(now, price)
		fresh = s.fresh(s.scanned)
	}
	if s.turns++; s.turns%fairTurns == 0 && s.longest != nil && !s.longest.gone && !s.longest.underWay {
		j, s.longest = s.longest, nil
		return j, price, now
	}
	for len(s.candidates) > 0 {
		c := s.candidates[0]
		if !c.gone && !c.underWay {
			if !c.isDue(price) {
				break
			}
			s.candidates = s.candidates[1:]
			if c.overdue {
				// At any price; what it would be worth grows without bound, and
				// is none for others to be measured by.
				return c.job, price, now
			}
			return c.job, c.worth, now
		}
		s.candidates = s.candidates[1:]
	}
	wake := s.time(max(s.wake, s.seconds(now)+0.001))
	if !free.IsZero() && free.After(now) && free.Before(wake) {
		wake = free // the price falls then
	}
	if price := s.price.at.Add(longestPrice); s.price.perDay > 0 && price.Before(wake) {
		wake = price
	}
	if wake.Before(fresh) {
		wake = fresh
	}
	return nil, 0, wake
}

// Take takes a job that is asked about out of turn: what comes of it is told as of
// one that Next returned.
func (s *Scheduler) Take(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		j.underWay = true
	}
}

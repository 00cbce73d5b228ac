// Package jobs owns the jobs of an account: their state, the totals over them, and
// their undelivered state changes. Everything that learns something about a job
// reports it here as an Observation; everything that shows jobs reads here.
//
// A write is an operation of a transaction (transaction.go). Operations that arrive
// at the same time are committed together (commit.go), and what a commit changed is
// visible, and published as events, only when the store has it.
package jobs

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// Options bound what is kept.
type Options struct {
	Retention       time.Duration // how long an ended job stays
	MaxJobAge       time.Duration // after which an unfinished job is given up
	NotFoundGrace   time.Duration // after which a job that the API does not know is given up
	MaxJobSeries    int           // jobs with series of their own
	JobLabels       []string      // names of the labels to keep
	KeepTimings     bool          // keep the timings of the jobs that ended last
	MaxStateChanges int           // undelivered state changes; beyond it the oldest are dropped. 0: none are kept
	WordPoints      bool          // keep the timings of words with undelivered state changes
	RequestsKept    time.Duration // for how long requests count; below 26 hours: that
}

// Jobs are the jobs of one account. All methods may be called concurrently.
type Jobs struct {
	health  // of the store
	options atomic.Pointer[Options]
	store   store.Account // nil: in memory
	publish func([]Event)
	opened  time.Time
	// endsKnown: jobs that ended before may have left before they were opened.
	endsKnown time.Time
	// clockSet: the wall clock seems to have been set before they were opened.
	clockSet bool
	queue    queue
	samples  samples // has a lock of its own

	committed atomic.Pointer[accountState] // only the committing goroutine replaces it
	// uncertain is the last commit if its outcome is unknown, else nil. The next one loads
	// first. Only the committing goroutine uses it.
	uncertain *attempt

	// Only Sweep uses these.
	compacted time.Time // when it last let the store shrink
	expired   *Job      // where it last ended its look at the jobs that are too old; nil: at the end
}

// An accountState is what is known of an account. A committed one does not change: a transaction
// changes a copy. Copies share the nodes of their trees, so that a copy is cheap.
type accountState struct {
	jobs     index
	origins  origins
	counts   [len(States)]int // jobs by state
	sequence uint64           // of the job that was registered last
	departed departures
	requests table[int64, int] // reserved, by Unix second of clock
	clock    clock
	keys     []keyUse       // that requests were for, the oldest first
	reserved *reservedBlock // nil: none is left
	totals   Totals
	learnt   []byte
	timings  table[string, []byte] // packed, of jobs that ended
	changes  stateChanges

	failed     tree                 // those in the state Failed, the newest first
	others     tree                 // those in other states, the newest first
	unfinished tree                 // by start, the oldest first
	ended      [len(EndStates)]tree // by end, the oldest first
	timed      tree                 // those that have timings, by end, the oldest first

	groups       groups
	departedEnds *endsByHour
	stateWords   *btree.Map[string, int] // unfinished jobs in a state that is not known, by the word for it
	webhook      time.Time               // when the last readable webhook came, which is not stored
}

func newAccountState(now time.Time) *accountState {
	return &accountState{
		jobs: index{tree: newTree(byID)}, origins: make(origins), departed: newDepartures(),
		requests: newTable[int64, int](),
		timings:  newTable[string, []byte](), changes: stateChanges{waiting: newTable[uint64, *StateChange]()},
		totals: Totals{Created: now, series: make(map[seriesID]series)}, clock: clock{wall: now.Round(0), at: now},
		failed: newTree(newestFirst), others: newTree(newestFirst), unfinished: newTree(byStart),
		ended: [...]tree{newTree(byEnd), newTree(byEnd), newTree(byEnd)}, timed: newTree(byEnd),
		groups: newGroups(), departedEnds: new(endsByHour), stateWords: new(btree.Map[string, int]),
	}
}

func byID(a, b *Job) bool { return a.RequestID < b.RequestID }

func newestFirst(a, b *Job) bool { return a.Sequence > b.Sequence }

func byStart(a, b *Job) bool {
	return cmp.Or(a.Start().Compare(b.Start()), cmp.Compare(a.Sequence, b.Sequence)) < 0
}

func byEnd(a, b *Job) bool {
	return cmp.Or(a.FinishedAt.Compare(b.FinishedAt), cmp.Compare(a.Sequence, b.Sequence)) < 0
}

// hasSeries reports whether a job has series of its own: failed jobs come first, then the newest.
func (s *accountState) hasSeries(j *Job, maxSeries int) bool {
	among := s.others
	if j.State == Failed {
		among = s.failed
	} else if maxSeries -= s.failed.Len(); maxSeries < 0 {
		return false
	}
	first, full := among.GetAt(maxSeries)
	return !full || j.Sequence > first.Sequence
}

// orders returns the trees that have the jobs of a state: by registration, and by time.
func (s *accountState) orders(of State) (byRegistration, byTime *tree) {
	byRegistration, byTime = &s.others, &s.unfinished
	if of == Failed {
		byRegistration = &s.failed
	}
	if of.Ended() {
		byTime = &s.ended[of-EndStates[0]]
	}
	return byRegistration, byTime
}

func (s *accountState) insert(j *Job) {
	s.set(j)
	s.tally(j, 1)
}

// set makes a version of a job the current one, in the trees of its state.
func (s *accountState) set(j *Job) {
	s.jobs.Set(j)
	byRegistration, byTime := s.orders(j.State)
	byRegistration.Set(j)
	byTime.Set(j)
}

// replace makes a version of a job the current one, in place of an old one.
func (s *accountState) replace(old, j *Job) {
	if old.State != j.State || j.State.Ended() {
		s.remove(old)
		s.insert(j)
		return
	}
	// Most answers say that a job still runs. Its places in the trees and its groups stay the same.
	s.set(j)
	s.tallyStateWord(old, -1)
	s.tallyStateWord(j, 1)
}

func (s *accountState) remove(j *Job) {
	s.jobs.Delete(j)
	byRegistration, byTime := s.orders(j.State)
	byRegistration.Delete(j)
	byTime.Delete(j)
	s.tally(j, -1)
}

// tally adds n to the numbers of jobs that are as this one.
func (s *accountState) tally(j *Job, n int) {
	s.counts[j.State] += n
	s.group(j, n)
	s.tallyStateWord(j, n)
}

// tallyStateWord adds n to the number of unfinished jobs that have the same word for a state that is not known.
func (s *accountState) tallyStateWord(j *Job, n int) {
	if j.State.Ended() || j.LastPoll == nil || !j.LastPoll.UnknownState {
		return
	}
	word := j.LastPoll.StateWord
	if was, _ := s.stateWords.Get(word); was+n == 0 {
		s.stateWords.Delete(word)
	} else {
		s.stateWords.Set(word, was+n)
	}
}

// Open returns the jobs that a store has, which may be none. Without a store they are
// kept in memory, and their totals begin now.
func Open(ctx context.Context, s store.Account, options Options, now time.Time) (*Jobs, error) {
	j, _, err := open(ctx, s, options, now)
	if err != nil {
		return nil, err
	}
	// Numbers do not begin again when no state change waits: the delivery of an earlier one may be reported late.
	changes := &j.committed.Load().changes
	changes.number = max(changes.number, uint64(max(now.UnixNano(), 0)))
	return j, nil
}

// OpenView returns the jobs of an account that another replica may own, as its owner will have them when it has applied
// what is in the inbox. They can only be read: writes return ErrClosed.
func OpenView(ctx context.Context, s store.Account, options Options, now time.Time) (*Jobs, error) {
	j, inbox, err := open(ctx, s, options, now)
	if err != nil {
		return nil, err
	}
	t := j.committed.Load().begin(&options)
	t.receive(inbox, now)
	t.bound()
	t.counts.addAll(j.queue.counts) // those of damage
	t.totals = t.totals.with(t.counts)
	j.committed.Store(t.accountState)
	j.queue.closed = true
	return j, nil
}

func open(
	ctx context.Context, s store.Account, options Options, now time.Time,
) (j *Jobs, inbox []store.Message, err error) {
	contents, begin := new(store.Contents), time.Now()
	if s != nil {
		if contents, err = s.Load(ctx); err != nil {
			return nil, nil, fmt.Errorf("loading jobs: %w", err)
		}
	}
	j = &Jobs{
		store: s, publish: func([]Event) {}, opened: now, compacted: now, endsKnown: now.Add(-options.Retention),
	}
	j.queue.counts = make(increments)
	j.SetOptions(options)
	loaded := j.decode(contents, newAccountState(now).jobs, now, time.Since(begin))
	j.clockSet = loaded.clock.set != 0 || loaded.clock.skew(now) != 0
	j.committed.Store(loaded)
	j.samples.all = []sample{loaded.sample(now)} // before damage is counted, which is news
	return j, contents.Inbox, nil
}

// Subscribe sets who is told of events. It must be called before the first write.
// After each commit, and before its callers return, publish gets the events of that
// commit in order, from one goroutine at a time. It must not write to Jobs.
func (j *Jobs) Subscribe(publish func([]Event)) { j.publish = publish }

// SetOptions replaces the options.
func (j *Jobs) SetOptions(options Options) { j.options.Store(&options) }

// Job returns what is known of a job.
func (j *Jobs) Job(requestID string) (*Job, bool) { return j.committed.Load().jobs.Get(requestID) }

// Counts returns the number of jobs by state.
func (j *Jobs) Counts() [len(States)]int { return j.committed.Load().counts }

// Unfinished yields the jobs that are unfinished now, the oldest first.
func (j *Jobs) Unfinished() iter.Seq[*Job] { return j.committed.Load().unfinished.Scan }

// Timings returns the timings of a job's result, in order of start; nil if they are not kept.
func (j *Jobs) Timings(requestID string) []transcript.Timing {
	packed, _ := j.committed.Load().timings.Get(requestID)
	unpacked, err := transcript.UnpackTimings(packed)
	if err != nil {
		return nil // damaged in the store: the page shows none
	}
	return unpacked
}

// Learnt returns what the scheduler had learnt when the jobs were loaded; nil: nothing.
// SetLearnt does not change it.
func (j *Jobs) Learnt() []byte { return j.committed.Load().learnt }

// A Snapshot is what a scrape or a gather shows of the jobs. It is immutable.
type Snapshot struct {
	Counts           [len(States)]int // jobs by state
	OldestUnfinished time.Duration    // age of the oldest unfinished job; 0 without one
	Jobs             []*Job           // those with series of their own
	Totals           Totals
	WebhookReceived  time.Time // when any replica received the last readable webhook since the start; zero: there was none
	LastRequest      time.Time // that was reserved last, if it is kept; zero: unknown, as without a quota
	StoreSize        int64     // bytes; 0 in memory
}

// Snapshot returns the jobs of this moment.
func (j *Jobs) Snapshot(now time.Time) Snapshot {
	c := j.committed.Load()
	s := Snapshot{Counts: c.counts, Totals: c.totals, WebhookReceived: c.webhook}
	if j.store != nil {
		s.StoreSize = j.store.Size()
	}
	if second, _, ok := c.requests.Max(); ok {
		s.LastRequest = time.Unix(second, 0).Add(now.Sub(c.clock.now(now)).Round(time.Second)) // by the wall clock
	}
	if oldest, ok := c.unfinished.Min(); ok {
		s.OldestUnfinished = oldest.Age(now)
	}
	limit := min(j.options.Load().MaxJobSeries, c.jobs.Len())
	s.Jobs = appendJobs(make([]*Job, 0, limit), c.failed.Scan, limit)
	s.Jobs = appendJobs(s.Jobs, c.others.Scan, limit-len(s.Jobs))
	return s
}

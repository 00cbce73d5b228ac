package jobs_test

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
)

// memory is a store.Account that keeps copies of rows, without monotonic clock readings, and a
// jobs.Sender with its inbox. It checks what a batch must be.
type memory struct {
	t *testing.T
	// onCommit is called before a batch is stored, without a lock. It returns whether the
	// batch is stored and what Commit returns. nil: it is stored.
	onCommit func(*store.Batch) (stored bool, err error)
	verify   error        // of Verify
	confirm  error        // of Commit with an empty batch
	onLoad   func() error // nil: loading succeeds
	// onSend is as onCommit, for messages.
	onSend func([]store.Message) (stored bool, err error)
	now    func() time.Time // the clock of the engine; nil: it has none
	part   int              // messages that Inbox returns at most; 0: all

	mu       sync.Mutex // guards everything below
	inbox    []store.Message
	about    map[string]int // messages in the inbox, by job
	number   uint64         // of the newest message
	sends    [][]store.Message
	owner    int // number of the last takeover
	batches  []*store.Batch
	loads    int
	lost     int
	jobs     map[string]store.Job
	departed map[uint64]store.DepartedBlock
	totals   map[[2]string]store.Total
	requests map[int64]int
	learnt   jsontext.Value
	timings  map[string]store.Timings
	changes  map[uint64]store.StateChange
}

func newMemory(t *testing.T) *memory {
	return &memory{
		t: t, jobs: make(map[string]store.Job), departed: make(map[uint64]store.DepartedBlock),
		totals: make(map[[2]string]store.Total), requests: make(map[int64]int), timings: make(map[string]store.Timings),
		changes: make(map[uint64]store.StateChange), about: make(map[string]int),
	}
}

// commits returns how many batches were stored.
func (m *memory) commits() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.batches)
}

func (m *memory) Verify() error { return m.verify }

func (m *memory) Inbox() ([]store.Message, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.inbox)
	if m.part > 0 {
		n = min(n, m.part)
	}
	return slices.Clone(m.inbox[:n]), n < len(m.inbox), nil
}

// Send puts messages of any account into the inbox.
func (m *memory) Send(_ string, messages []store.Message) ([]store.Whereabouts, error) {
	if len(messages) == 0 {
		m.t.Error("nothing was sent")
	}
	if m.onSend != nil {
		if stored, err := m.onSend(messages); err != nil {
			if stored {
				m.send(messages)
			}
			return nil, err
		}
	}
	return m.send(messages), nil
}

func (m *memory) send(messages []store.Message) (was []store.Whereabouts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sends = append(m.sends, messages)
	for _, message := range messages {
		was = append(was, m.find(message.RequestID))
		m.number++
		message.Number, message.Body = m.number, bytes.Clone(message.Body)
		m.inbox = append(m.inbox, message)
		m.about[message.RequestID]++
	}
	return was
}

// find returns where a job will be when the inbox is applied.
func (m *memory) find(requestID string) (is store.Whereabouts) {
	if _, tracked := m.jobs[requestID]; tracked {
		is = store.Tracked
	} else {
		departed := store.DepartureOf(requestID, false)
		for _, number := range slices.Sorted(maps.Keys(m.departed)) {
			for _, d := range m.departed[number].Departures {
				switch d {
				case departed:
					is = store.Departed
				case departed.Opposite():
					is = store.Removed
				}
			}
		}
	}
	if m.about[requestID] == 0 {
		return is
	}
	for _, message := range m.inbox {
		if message.RequestID == requestID {
			is = is.After(message.Kind)
		}
	}
	return is
}

// A tenure is the account of an owner, until the next one takes over.
type tenure struct {
	*memory
	number int
}

func (m *memory) takeOver() tenure {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owner++
	return tenure{m, m.owner}
}

// Inbox fails if the account is not owned: nothing is acknowledged then.
func (t tenure) Inbox() ([]store.Message, bool, error) {
	t.mu.Lock()
	owned := t.owner == t.number
	t.mu.Unlock()
	if !owned {
		return nil, false, store.ErrNotOwner
	}
	return t.memory.Inbox()
}

func (t tenure) Commit(b *store.Batch) error {
	t.check(b)
	if t.onCommit != nil {
		if stored, err := t.onCommit(b); err != nil {
			if stored {
				_ = t.commit(b)
			}
			return err
		}
	}
	return t.commit(b)
}

func (t tenure) commit(b *store.Batch) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.owner != t.number {
		return store.ErrNotOwner
	}
	t.storeLocked(b)
	return nil
}

func (m *memory) Size() int64 { return 4096 }

func (m *memory) Commit(b *store.Batch) error {
	if b.Empty() { // makes sure of what was committed before
		return m.confirm
	}
	m.check(b)
	if m.onCommit != nil {
		if stored, err := m.onCommit(b); !stored {
			return err
		} else {
			m.store(b)
			return err
		}
	}
	m.store(b)
	return nil
}

// check reports violations of the contract of store.Account.Commit.
func (m *memory) check(b *store.Batch) {
	keys := make(map[any]bool)
	once := func(key any) {
		if keys[key] {
			m.t.Errorf("the key %v is twice in a batch", key)
		}
		keys[key] = true
	}
	utc := func(times ...time.Time) {
		for _, at := range times {
			if !at.IsZero() && at.Location() != time.UTC {
				m.t.Errorf("%s is not in UTC", at)
			}
		}
	}
	type job string
	type departure uint64
	for _, r := range b.Jobs {
		once(job(r.RequestID))
		utc(r.FirstSeen, r.SubmittedAt, r.LastObserved, r.FinishedAt)
	}
	for _, id := range b.RemovedJobs {
		once(job(id))
	}
	for _, r := range b.Departed {
		once(departure(r.Number))
	}
	for _, number := range b.Forgotten {
		once(departure(number))
	}
	for _, r := range b.Totals {
		once([2]string{r.Name, r.Labels})
	}
	for _, r := range b.Requests {
		once(r.Second)
	}
	for _, r := range b.Timings {
		once(r.RequestID)
	}
	for _, r := range b.StateChanges {
		once(r.Number)
		utc(r.At)
	}
	for _, number := range b.Delivered {
		once(number)
	}
	type received uint64
	for _, m := range b.Received {
		once(received(m.Number))
	}
}

func (m *memory) store(b *store.Batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.storeLocked(b)
}

func (m *memory) storeLocked(b *store.Batch) {
	m.batches = append(m.batches, b)
	for _, r := range b.Jobs {
		m.jobs[r.RequestID] = copyOf(r)
	}
	for _, id := range b.RemovedJobs {
		delete(m.jobs, id)
	}
	for _, r := range b.Departed {
		r.Departures = slices.Clone(r.Departures)
		m.departed[r.Number] = r
	}
	for _, number := range b.Forgotten {
		delete(m.departed, number)
	}
	for _, r := range b.Totals {
		r.Value = bytes.Clone(r.Value)
		m.totals[[2]string{r.Name, r.Labels}] = r
	}
	for _, r := range b.Requests {
		if r.Count == 0 {
			delete(m.requests, r.Second)
		} else {
			m.requests[r.Second] = r.Count
		}
	}
	if b.Learnt != nil {
		m.learnt = bytes.Clone(b.Learnt)
	}
	for _, r := range b.Timings {
		if r.Packed == nil {
			delete(m.timings, r.RequestID)
		} else {
			r.Packed = bytes.Clone(r.Packed)
			m.timings[r.RequestID] = r
		}
	}
	for _, r := range b.StateChanges {
		r.At, r.Job = r.At.Round(0), bytes.Clone(r.Job)
		m.changes[r.Number] = r
	}
	for _, number := range b.Delivered {
		delete(m.changes, number)
	}
	for _, r := range b.Received {
		i := slices.IndexFunc(m.inbox, func(message store.Message) bool { return message.Number == r.Number })
		if i < 0 {
			m.t.Errorf("message %d was received twice", r.Number)
			continue
		}
		m.about[m.inbox[i].RequestID]--
		m.inbox = slices.Delete(m.inbox, i, i+1)
	}
}

func (m *memory) Load(context.Context) (*store.Contents, error) {
	if m.onLoad != nil {
		if err := m.onLoad(); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loads++
	c := &store.Contents{
		Totals: slices.Collect(maps.Values(m.totals)),
		Learnt: bytes.Clone(m.learnt), Timings: slices.Collect(maps.Values(m.timings)),
		StateChanges: slices.Collect(maps.Values(m.changes)), Inbox: slices.Clone(m.inbox), Lost: m.lost,
	}
	if m.now != nil {
		c.Now = m.now().UTC().Round(0)
	}
	m.lost = 0
	for _, number := range slices.Sorted(maps.Keys(m.departed)) {
		c.Departed = append(c.Departed, m.departed[number])
	}
	for _, r := range m.jobs {
		c.Jobs = append(c.Jobs, copyOf(r))
	}
	for second, count := range m.requests {
		c.Requests = append(c.Requests, store.Requests{Second: second, Count: count})
	}
	slices.SortFunc(c.Jobs, func(a, b store.Job) int { return cmp.Compare(a.RequestID, b.RequestID) })
	slices.SortFunc(c.StateChanges, func(a, b store.StateChange) int { return cmp.Compare(a.Number, b.Number) })
	return c, nil
}

func copyOf(r store.Job) store.Job {
	r.Labels, r.Statistics = maps.Clone(r.Labels), bytes.Clone(r.Statistics)
	for _, at := range []*time.Time{&r.FirstSeen, &r.SubmittedAt, &r.LastObserved, &r.FinishedAt} {
		*at = at.Round(0)
	}
	return r
}

// failing returns an onCommit that stores nothing.
func failing(err error) func(*store.Batch) (bool, error) {
	return func(*store.Batch) (bool, error) { return false, err }
}

// A gate holds commits back until it is opened.
type gate struct{ opened chan struct{} }

// block makes the commits of a store wait, until the gate is opened.
func (m *memory) block() gate {
	g := gate{make(chan struct{})}
	m.onCommit = func(*store.Batch) (bool, error) {
		<-g.opened
		return true, nil
	}
	return g
}

func (g gate) open() { close(g.opened) }

package jobs

import (
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

const (
	// sendMessages and sendBytes bound what is sent at once: others wait meanwhile.
	sendMessages = registerBatch
	sendBytes    = 1 << 20
	// countEvery is how often counts are sent, at most.
	countEvery = time.Second
	// numbersBatch is how many state changes a message is about.
	numbersBatch = 10_000
)

// A Sender stores messages for the owners of accounts.
type Sender interface {
	// Send stores messages in their order, in one transaction, and returns where the job of each was before it. With an
	// error nothing was stored, unless it wraps store.ErrUnknown.
	Send(account string, messages []store.Message) ([]store.Whereabouts, error)
}

// A Remote has the writes of a replica that does not own an account: it sends them to the owner. They are durable when
// it returns. What it returns about a job does not count what others send about it at that moment, nor what webhooks
// say that the owner has not received yet. All methods may be called concurrently.
type Remote struct {
	health
	account string
	sender  Sender
	options atomic.Pointer[Options]

	mu      sync.Mutex // guards what follows
	waiting []*sending // in their order
	busy    bool       // a goroutine sends what waits
	closed  bool
	counts  counts      // to be sent
	timer   *time.Timer // that sends them; nil: it was not started since they were sent
}

// A sending is what one caller sends at once.
type sending struct {
	messages []store.Message
	bytes    int
	webhook  bool   // it is counted with WebhookStoreError if it fails
	counts   counts // are kept if it fails
	found    []store.Whereabouts
	done     chan error
}

// NewRemote returns the writes for an account that another replica owns.
func NewRemote(account string, sender Sender, options Options) *Remote {
	r := &Remote{account: account, sender: sender}
	r.SetOptions(options)
	return r
}

// SetOptions replaces the options.
func (r *Remote) SetOptions(options Options) { r.options.Store(&options) }

// Register starts tracking the jobs that are not known, as Jobs.Register does.
func (r *Remote) Register(
	from submission.Source, submissions []submission.Job, ageUnknown bool, now time.Time,
) (registered, known int, err error) {
	sent := make(map[string]bool) // a repeat is known, and would wait in the inbox
	err = r.sendAll(func(yield func(store.Message, error) bool) {
		for _, s := range submissions {
			if sent[s.RequestID] {
				continue
			}
			sent[s.RequestID] = true
			m, err := message(registerMessage, s.RequestID, registration{
				At: now.UTC(), Source: from, API: s.API, Labels: s.Labels, AudioSeconds: s.AudioSeconds, Priority: s.Priority,
				SubmittedAt: s.SubmittedAt.UTC(), AgeUnknown: ageUnknown,
			})
			if !yield(m, err) {
				return
			}
		}
	}, func(was store.Whereabouts) {
		if was == store.Nowhere || was == store.Removed && from == submission.HTTP {
			registered++
		}
	})
	if err != nil {
		return 0, 0, err
	}
	return registered, len(submissions) - registered, nil
}

// Remove stops tracking a job, and reports whether it was tracked.
func (r *Remote) Remove(requestID string) (was bool, err error) {
	s := newSending(store.Message{Kind: removeMessage, RequestID: requestID})
	if err := r.send(s); err != nil {
		return false, err
	}
	return s.found[0] == store.Tracked, nil
}

// Observe applies an observation by a webhook. Of a tracked job the effect says that it changed, although its end may
// be known.
func (r *Remote) Observe(o Observation) (Effect, error) {
	m, err := message(webhookMessage, o.RequestID, hookOf(&o, r.options.Load().WordPoints))
	if err != nil {
		return Effect{}, err
	}
	s := newSending(m)
	s.webhook = true
	if err := r.send(s); err != nil {
		return Effect{}, err
	}
	was := s.found[0]
	adopted := was == store.Nowhere && o.Adopt
	return Effect{Known: was != store.Nowhere || adopted, Changed: was == store.Tracked || adopted, Adopted: adopted}, nil
}

// Delivered removes state changes, by number.
func (r *Remote) Delivered(numbers []uint64) error { return r.sendNumbers(deliveredMessage, numbers) }

// Emitted tells the next owner which state changes were emitted and may yet be accepted: it holds them for HoldFor.
func (r *Remote) Emitted(numbers []uint64) error { return r.sendNumbers(emittedMessage, numbers) }

func (r *Remote) sendNumbers(kind string, numbers []uint64) error {
	return r.sendAll(func(yield func(store.Message, error) bool) {
		for some := range slices.Chunk(numbers, numbersBatch) {
			if !yield(message(kind, "", numbered{some})) {
				return
			}
		}
	}, func(store.Whereabouts) {})
}

// CountWebhook counts a webhook that brought no observation.
func (r *Remote) CountWebhook(o WebhookOutcome) {
	r.count(counts{Webhooks: map[string]uint64{o.String(): 1}})
}

// CountSourceErrors counts errors of a source.
func (r *Remote) CountSourceErrors(from submission.Source, n int) {
	r.count(counts{SourceErrors: map[string]uint64{string(from): uint64(n)}})
}

// count counts what is sent within a second, with all that is counted until then. If that fails, it is sent a second
// later. If it is unknown whether that failed, too: then it may count twice.
func (r *Remote) count(c counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.add(c)
	if r.timer == nil && !r.closed {
		r.timer = time.AfterFunc(countEvery, r.sendCounts)
	}
}

func (r *Remote) sendCounts() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.enqueue(r.takeCounts())
	}
}

// takeCounts needs the lock.
func (r *Remote) takeCounts() *sending {
	s := newSending()
	if !r.counts.empty() {
		m, _ := message(countsMessage, "", r.counts) // names and numbers can be encoded
		s = newSending(m)
	}
	s.counts, r.counts, r.timer = r.counts, counts{}, nil
	return s
}

func newSending(messages ...store.Message) *sending {
	s := &sending{messages: messages, done: make(chan error, 1)}
	for _, m := range messages {
		s.bytes += len(m.Kind) + len(m.RequestID) + len(m.Body)
	}
	return s
}

// sendAll sends many messages, in several transactions if it takes that. each gets where the job of each was before it.
func (r *Remote) sendAll(messages iter.Seq2[store.Message, error], each func(store.Whereabouts)) error {
	var some []store.Message
	bytes := 0
	send := func() error {
		if len(some) == 0 {
			return nil
		}
		s := newSending(some...)
		if err := r.send(s); err != nil {
			return err
		}
		for _, was := range s.found {
			each(was)
		}
		some, bytes = nil, 0
		return nil
	}
	for m, err := range messages {
		if err != nil {
			return err
		}
		some, bytes = append(some, m), bytes+len(m.Body)
		if len(some) == sendMessages || bytes >= sendBytes {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}

// send waits until messages are stored, together with others that arrived meanwhile.
func (r *Remote) send(s *sending) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return ErrClosed
	}
	r.enqueue(s)
	r.mu.Unlock()
	return <-s.done
}

// enqueue needs the lock.
func (r *Remote) enqueue(s *sending) {
	r.waiting = append(r.waiting, s)
	if !r.busy {
		r.busy = true
		go r.run()
	}
}

// run sends group after group until nothing waits.
func (r *Remote) run() {
	for group := r.next(); len(group) > 0; group = r.next() {
		err := r.sendGroup(group)
		for _, s := range group {
			s.done <- err
		}
	}
}

// next takes the next group of what waits; empty if nothing does.
func (r *Remote) next() []*sending {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, messages, bytes := 0, 0, 0
	for ; n < len(r.waiting); n++ {
		s := r.waiting[n]
		messages, bytes = messages+len(s.messages), bytes+s.bytes
		if n > 0 && (messages > sendMessages || bytes > sendBytes) {
			break
		}
	}
	group := slices.Clone(r.waiting[:n])
	r.waiting = slices.Delete(r.waiting, 0, n) // a part of it would keep the messages in memory
	r.busy = n > 0
	return group
}

// sendGroup sends the messages of a group in one transaction. If that fails, it is counted, and what the group counted
// is kept.
func (r *Remote) sendGroup(group []*sending) error {
	var all []store.Message
	for _, s := range group {
		all = append(all, s.messages...)
	}
	if len(all) == 0 {
		return nil
	}
	var found []store.Whereabouts
	err := r.access(func() (err error) { found, err = r.sender.Send(r.account, all); return err })
	if err != nil {
		r.failed(err)
		failures := counts{StoreErrors: 1}
		for _, s := range group {
			failures.add(s.counts)
			if s.webhook {
				failures.add(counts{Webhooks: map[string]uint64{WebhookStoreError.String(): 1}})
			}
		}
		r.count(failures)
		return err
	}
	r.succeeded()
	for _, s := range group {
		s.found, found = found[:len(s.messages)], found[len(s.messages):]
	}
	return nil
}

// Close sends what waits and what was counted, and returns when nothing is sent any more.
func (r *Remote) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	last := r.takeCounts()
	r.enqueue(last)
	r.mu.Unlock()
	return <-last.done
}

// add adds other counts.
func (c *counts) add(o counts) {
	c.Webhooks, c.SourceErrors = sum(c.Webhooks, o.Webhooks), sum(c.SourceErrors, o.SourceErrors)
	c.StoreErrors += o.StoreErrors
}

// sum adds b to a, which may be nil, and returns it.
func sum(a, b map[string]uint64) map[string]uint64 {
	if a == nil {
		return maps.Clone(b)
	}
	for name, n := range b {
		a[name] += n
	}
	return a
}

func (c *counts) empty() bool {
	return len(c.Webhooks) == 0 && len(c.SourceErrors) == 0 && c.StoreErrors == 0
}

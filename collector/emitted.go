package collector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// emissions are the state changes of an account that this process has emitted and no output has accepted yet. They are
// kept if there are several replicas.
type emissions struct {
	mu      sync.Mutex      // guards what follows
	missing map[uint64]bool // their numbers
	remote  *jobs.Remote    // takes what is accepted after Stop; nil before, and if nothing was missing
	all     chan struct{}   // with remote: closed when nothing is missing
}

// manyMissing is how many emissions are kept before those are forgotten that are not in the store any more.
const manyMissing = 100_000

// Emitted says that state changes are emitted, before any output may accept them. If the account is handed over to
// another replica before they are delivered, that one holds them for jobs.HoldFor; and Delivered may be called for that
// long after Stop: Telegraf writes its buffers last.
func (a *Account) Emitted(numbers ...uint64) {
	if a.replicas == nil {
		return
	}
	e := &a.emissions
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.remote != nil { // after Stop, nothing waits for more
		return
	}
	if e.missing == nil {
		e.missing = make(map[uint64]bool)
	}
	for _, number := range numbers {
		e.missing[number] = true
	}
	if len(e.missing) <= manyMissing {
		return
	}
	if waiting := a.StateChanges(1); len(waiting) > 0 {
		maps.DeleteFunc(e.missing, func(number uint64, _ bool) bool { return number < waiting[0].Number })
	}
}

// Delivered marks the state changes with these numbers as delivered. They are not
// returned again, even after a restart. Other numbers are ignored.
func (a *Account) Delivered(numbers ...uint64) error {
	deliver := a.writes.Delivered
	e := &a.emissions
	e.mu.Lock()
	if e.remote != nil {
		deliver = e.remote.Delivered
	}
	e.mu.Unlock()
	if err := deliver(numbers); err != nil {
		return fmt.Errorf("marking state changes as delivered: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	before := len(e.missing)
	for _, number := range numbers {
		delete(e.missing, number)
	}
	if e.remote != nil && before > 0 && len(e.missing) == 0 {
		close(e.all)
	}
	return nil
}

// tellSuccessor tells the next owner of the account what of the state changes that wait was emitted: here, or by the
// owner before. It waits for the database for so long at most, and no longer than this process owns the account.
func (a *Account) tellSuccessor(waiting []*StateChange, lost <-chan struct{}, timeout time.Duration) {
	var numbers []uint64
	now := a.now()
	a.emissions.mu.Lock()
	for _, c := range waiting {
		if a.emissions.missing[c.Number] || now.Before(c.HeldUntil) {
			numbers = append(numbers, c.Number)
		}
	}
	a.emissions.mu.Unlock()
	if numbers == nil {
		return
	}
	remote := jobs.NewRemote(a.name, a.replicas.db, a.settings.Load().forJobs())
	told := make(chan error, 1)
	go func() {
		err := remote.Emitted(numbers)
		_ = remote.Close() // it has nothing else to send
		told <- err
	}()
	err := errors.New("the database does not answer")
	select {
	case err = <-told:
	case <-lost:
	case <-time.After(timeout):
	}
	if err != nil {
		a.log.Warn("The next owner of the account may emit again what outputs accept now", "err", err)
	}
}

// keepDelivering lets Delivered be called after Stop if something is missing.
func (a *Account) keepDelivering() {
	a.emissions.mu.Lock()
	defer a.emissions.mu.Unlock()
	if len(a.emissions.missing) > 0 {
		a.emissions.remote = jobs.NewRemote(a.name, a.replicas.db, a.settings.Load().forJobs())
		a.emissions.all = make(chan struct{})
	}
}

// endDelivering returns when nothing is missing after Stop, or ctx is done. Nothing is delivered afterwards.
func (e *emissions) endDelivering(ctx context.Context) {
	select {
	case <-e.all:
	case <-ctx.Done():
	}
	_ = e.remote.Close() // it has nothing to send
}

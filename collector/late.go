package collector

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// lateDeliveries are the state changes of an account that may be accepted after Stop, by when another replica may own
// the account.
type lateDeliveries struct {
	remote *jobs.Remote

	mu      sync.Mutex
	missing map[uint64]bool // their numbers
	all     chan struct{}   // closed when none is missing
}

// Emitted says, before Stop and when nothing is emitted any more, which state changes were emitted and not accepted
// yet. If there are several replicas, the next owner of the account holds them for jobs.HoldFor, and Delivered may be
// called for that long after Stop: Telegraf writes its buffers last.
func (a *Account) Emitted(numbers ...uint64) {
	if a.others == nil || len(numbers) == 0 {
		return
	}
	late := &lateDeliveries{
		remote:  jobs.NewRemote(a.name, a.others.db, a.settings.Load().forJobs()),
		missing: make(map[uint64]bool), all: make(chan struct{}),
	}
	for _, number := range numbers {
		late.missing[number] = true
	}
	a.late.Store(late)
}

// tellSuccessor tells the next owner of the account what was emitted. It waits for the database for so long at most, and
// no longer than this process owns the account.
func (a *Account) tellSuccessor(lost <-chan struct{}, timeout time.Duration) {
	late := a.late.Load()
	if late == nil {
		return
	}
	late.mu.Lock()
	numbers := slices.Sorted(maps.Keys(late.missing))
	late.mu.Unlock()
	told := make(chan error, 1)
	go func() { told <- late.remote.Emitted(numbers) }()
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

func (l *lateDeliveries) delivered(numbers []uint64) error {
	if err := l.remote.Delivered(numbers); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before := len(l.missing)
	for _, number := range numbers {
		delete(l.missing, number)
	}
	if before > 0 && len(l.missing) == 0 {
		close(l.all)
	}
	return nil
}

// end returns when all are delivered, or ctx is done. None is accepted afterwards.
func (l *lateDeliveries) end(ctx context.Context) {
	select {
	case <-l.all:
	case <-ctx.Done():
	}
	_ = l.remote.Close() // it has nothing to send
}

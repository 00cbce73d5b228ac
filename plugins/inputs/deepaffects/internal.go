package deepaffects

import (
	"sync"

	"github.com/influxdata/telegraf/selfstat"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// internal are the statistics that Telegraf's internal input emits, for as long as this
// process owns the account.
type internal struct {
	tags     map[string]string
	watchers sync.WaitGroup

	mu    sync.Mutex               // guards the fields below
	stats map[string]selfstat.Stat // by field; nil: they are not registered
	end   chan struct{}            // closed when they are unregistered
}

func newInternal(tags map[string]string) *internal { return &internal{tags: tags} }

func (i *internal) set(s *collector.Snapshot, undelivered int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s.Absent {
		i.unregister()
		return
	}
	if i.stats == nil {
		i.register(s.Lost())
	}
	ok, failed := s.Requests()
	i.stats["jobs_pending"].Set(int64(s.Counts[collector.Pending]))
	i.stats["jobs_running"].Set(int64(s.Counts[collector.Running]))
	i.stats["requests"].Set(int64(ok + failed))
	i.stats["request_errors"].Set(int64(failed))
	i.stats["state_changes_undelivered"].Set(int64(undelivered))
	i.stats["state_changes_dropped"].Set(int64(s.Totals.Counter(collector.StateChangesDropped)))
}

// register registers the statistics until the account is lost. mu must be held.
func (i *internal) register(lost <-chan struct{}) {
	i.stats, i.end = make(map[string]selfstat.Stat), make(chan struct{})
	for _, field := range []string{
		"jobs_pending", "jobs_running", "requests", "request_errors",
		"state_changes_undelivered", "state_changes_dropped",
	} {
		i.stats[field] = selfstat.Register("deepaffects", field, i.tags)
	}
	end := i.end
	i.watchers.Go(func() {
		select {
		case <-end:
		case <-lost:
			i.mu.Lock()
			defer i.mu.Unlock()
			if i.end == end {
				i.unregister()
			}
		}
	})
}

// unregister needs mu.
func (i *internal) unregister() {
	if i.stats == nil {
		return
	}
	for _, stat := range i.stats {
		stat.Unregister()
	}
	i.stats = nil
	close(i.end)
}

// stop unregisters the statistics for good.
func (i *internal) stop() {
	i.mu.Lock()
	i.unregister()
	i.mu.Unlock()
	i.watchers.Wait()
}

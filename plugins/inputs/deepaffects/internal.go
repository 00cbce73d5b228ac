package deepaffects

import (
	"github.com/influxdata/telegraf/selfstat"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// internal are the statistics that Telegraf's internal input emits.
type internal map[string]selfstat.Stat

func newInternal(tags map[string]string) internal {
	stats := make(internal)
	for _, field := range []string{
		"jobs_pending", "jobs_running", "requests", "request_errors",
		"state_changes_undelivered", "state_changes_dropped",
	} {
		stats[field] = selfstat.Register("deepaffects", field, tags)
	}
	return stats
}

func (i internal) set(s *collector.Snapshot, undelivered int) {
	ok, failed := s.Requests()
	i["jobs_pending"].Set(int64(s.Counts[collector.Pending]))
	i["jobs_running"].Set(int64(s.Counts[collector.Running]))
	i["requests"].Set(int64(ok + failed))
	i["request_errors"].Set(int64(failed))
	i["state_changes_undelivered"].Set(int64(undelivered))
	i["state_changes_dropped"].Set(int64(s.Totals.Counter(collector.StateChangesDropped)))
}

func (i internal) unregister() {
	for _, stat := range i {
		stat.Unregister()
	}
}

package exposition

import (
	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

var webhookOutcomeLabel = closed("outcome", jobs.WebhookOutcomes[:]...)

// intake are the metrics about what comes in without being asked for, and
// about where it is kept.
var intake = []*family{
	{
		name: "webhook_requests_total", kind: kindCounter, labels: []label{webhookOutcomeLabel},
		help: "Number of webhooks that came in, by what became of them.",
		account: func(e *emitter, s *collector.Snapshot) {
			for i, n := range s.Totals.Webhooks {
				e.value(float64(n), jobs.WebhookOutcomes[i])
			}
		},
	},
	{
		name: "webhook_last_received_timestamp_seconds", kind: kindGauge,
		help:    "When the last webhook was received that could be read, in seconds since 1970; 0 before the first.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(seconds(s.WebhookReceived)) },
	},
	{
		name: "source_errors_total", kind: kindCounter, labels: []label{sourceLabel},
		help: "Number of problems with reading request IDs from the source.",
		account: func(e *emitter, s *collector.Snapshot) {
			for _, source := range submission.Sources {
				e.value(float64(s.Totals.SourceErrors[source]), string(source))
			}
		},
	},
	{
		name: "source_last_success_timestamp_seconds", kind: kindGauge, labels: []label{sourceLabel},
		help: "When the source was last looked at without a problem, in seconds since 1970; 0 before it ever was.",
		account: func(e *emitter, s *collector.Snapshot) {
			for _, source := range submission.Sources {
				e.value(seconds(s.SourceSuccess[source]), string(source))
			}
		},
	},
	{
		name: "store_errors_total", kind: kindCounter,
		help:    "Number of times that the register could not be stored.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(float64(s.Totals.StoreErrors)) },
	},
	{
		name: "store_corrupt_records_total", kind: kindCounter,
		help:    "Number of stored records that were damaged and left out.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(float64(s.Totals.CorruptRecords)) },
	},
	{
		name: "store_size_bytes", kind: kindGauge,
		help:    "Size of the stored register, in bytes; 0 where it is kept in memory.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(float64(s.StoreSize)) },
	},
}

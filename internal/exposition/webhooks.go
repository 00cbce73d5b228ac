package exposition

import (
	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// intake are the metrics about webhooks, sources and the store.
var intake = []*family{
	total(jobs.WebhookRequests),
	gauge("webhook_last_received_timestamp_seconds",
		"Time of the last valid webhook, in seconds since 1970; 0 before the first.",
		func(s *collector.Snapshot) float64 { return seconds(s.WebhookReceived) }),
	total(jobs.SourceErrors),
	{
		name: "source_up", kind: kindGauge, labels: []label{sourceLabel},
		help: "1 if the last attempt to read request IDs from the source succeeded, or there was none; else 0.",
		account: func(e *emitter, s *collector.Snapshot) {
			for _, source := range submission.Sources {
				e.value(truth(s.SourceUp(source)), string(source))
			}
		},
	},
	{
		name: "source_last_success_timestamp_seconds", kind: kindGauge, labels: []label{sourceLabel},
		help: "Time when the source was last read without an error, in seconds since 1970; 0 before the first.",
		account: func(e *emitter, s *collector.Snapshot) {
			for _, source := range submission.Sources {
				e.value(seconds(s.SourceSuccess[source]), string(source))
			}
		},
	},
	total(jobs.StoreErrors),
	total(jobs.CorruptRecords),
	gauge("store_writable",
		"1 if the last commit to the store succeeded, else 0.",
		func(s *collector.Snapshot) float64 { return truth(s.StoreError == nil) }),
	gauge("store_size_bytes",
		"Size of the store, in bytes; 0 if it is in memory.",
		func(s *collector.Snapshot) float64 { return float64(s.StoreSize) }),
}

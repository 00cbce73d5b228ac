package exposition

import (
	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// inputsAndStore are the metrics about webhooks, sources and the store.
var inputsAndStore = []*family{
	total(jobs.WebhookRequests),
	gauge("webhook_last_received_timestamp_seconds",
		"Time of the last valid webhook since the account was loaded, in seconds since 1970; 0 before the first.",
		func(s *collector.Snapshot) float64 { return seconds(s.WebhookReceived) }),
	total(jobs.SourceErrors),
	{
		name: "source_up", kind: kindGauge, labels: []label{sourceLabel}, everywhere: true,
		help: "1 if the last attempt to read request IDs from the source succeeded, or there was none; else 0.",
		account: func(e *emitter, s *collector.Snapshot) {
			for _, source := range sourcesOf(s) {
				e.value(truth(s.SourceUp(source)), string(source))
			}
		},
	},
	{
		name: "source_last_success_timestamp_seconds", kind: kindGauge, labels: []label{sourceLabel}, everywhere: true,
		help: "Time when the source was last read without an error, in seconds since 1970; 0 before the first.",
		account: func(e *emitter, s *collector.Snapshot) {
			for _, source := range sourcesOf(s) {
				e.value(seconds(s.SourceSuccess[source]), string(source))
			}
		},
	},
	total(jobs.StoreErrors),
	total(jobs.CorruptRecords),
	everywhere(gauge("store_writable",
		"1 if the last commit to the store succeeded, else 0.",
		func(s *collector.Snapshot) float64 { return truth(s.StoreError == nil) })),
	gauge("store_size_bytes",
		"Size of the store, in bytes; 0 if it is in memory.",
		func(s *collector.Snapshot) float64 { return float64(s.StoreSize) }),
}

// sourcesOf returns the sources of an account that this process reads: of one that another replica owns, its files.
func sourcesOf(s *collector.Snapshot) []submission.Source {
	if s.Absent {
		return []submission.Source{submission.File}
	}
	return submission.Sources
}

package exposition

import (
	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

const (
	minute = "minute"
	day    = "day"
)

var (
	apiOutcomeLabel = closed("outcome", jobstatus.Outcomes[:]...)
	windowLabel     = closed("window", minute, day)
)

// api are the metrics about the requests to the vendor's API.
var api = []*family{
	{
		name: "up", kind: kindGauge,
		help:    "1 if the last request to the API was answered as it should be, else 0.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(truth(s.Up)) },
	},
	{
		name: "api_requests_total", kind: kindCounter, labels: []label{apiOutcomeLabel},
		help: "Number of requests to the API, by how they ended.",
		account: func(e *emitter, s *collector.Snapshot) {
			for i, n := range s.Totals.APIRequests {
				e.value(float64(n), jobstatus.Outcomes[i])
			}
		},
	},
	{
		name: "api_request_duration_seconds", kind: kindHistogram,
		help:    "Time that a request to the API took until its answer was read, in seconds.",
		account: overall(func(t *jobs.Totals) *histogram.Histogram { return t.APIDuration }),
	},
	{
		name: "api_unknown_states_total", kind: kindCounter,
		help:    "Number of answers of the API with a state that this program does not know.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(float64(s.Totals.APIUnknownStates)) },
	},
	{
		name: "api_last_success_timestamp_seconds", kind: kindGauge,
		help:    "When the API last answered as it should, in seconds since 1970; 0 before it ever did.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(seconds(s.LastSuccess)) },
	},
	{
		name: "quota_limit_requests", kind: kindGauge, labels: []label{windowLabel},
		help:    "Number of requests to the API that the configured quota allows in the window; +Inf where it is unlimited.",
		account: usage(func(u schedule.Usage) float64 { return u.Limit }),
	},
	{
		name: "quota_used_requests", kind: kindGauge, labels: []label{windowLabel},
		help:    "Number of requests to the API that were sent within the window or are under way.",
		account: usage(func(u schedule.Usage) float64 { return u.Used }),
	},
	{
		name: "quota_reset_timestamp_seconds", kind: kindGauge, labels: []label{windowLabel},
		help:    "When the oldest request leaves the window, or all do at once with day_resets_at, in seconds since 1970; 0 where none is in it.",
		account: usage(func(u schedule.Usage) float64 { return seconds(u.Resets) }),
	},
	{
		name: "quota_left_requests", kind: kindGauge, labels: []label{windowLabel},
		help:    "Number of requests to the API that may still be sent within the window; +Inf where it is unlimited.",
		account: usage(func(u schedule.Usage) float64 { return max(u.Limit-u.Used, 0) }),
	},
	{
		name: "quota_share_ratio", kind: kindGauge,
		help:    "Part of the minute's quota that is used, from 0 to 1: below 1 after the API refused requests within the quota, as somebody else seems to spend it too.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(s.Pricing.Sharing) },
	},
	{
		name: "poll_price_seconds", kind: kindGauge,
		help:    "What a request must be worth to be sent, in seconds of expected delay until the end of a job is seen: high where the quota is scarce.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(s.Pricing.Price) },
	},
	{
		name: "forecast_jobs", kind: kindGauge,
		help:    "Number of jobs that are expected to arrive and to be asked about until the day's quota begins anew, or within 24 hours where it has no fixed reset; 0 without a day's quota.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(s.Pricing.Coming) },
	},
	{
		name: "forecast_requests_per_job", kind: kindGauge,
		help:    "Number of requests that each of the jobs to come is expected to get at the present price; 0 without a day's quota.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(s.Pricing.PerJob) },
	},
	{
		name: "poll_queue_jobs", kind: kindGauge,
		help:    "Number of unfinished jobs that would be asked about now if the quota allowed.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(float64(s.Due)) },
	},
}

// usage sends a figure of both windows of the quota.
func usage(of func(schedule.Usage) float64) func(*emitter, *collector.Snapshot) {
	return func(e *emitter, s *collector.Snapshot) {
		e.value(of(s.Minute), minute)
		e.value(of(s.Day), day)
	}
}

package exposition

import (
	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/poller"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// api are the metrics about requests to the vendor's API.
var api = []*family{
	gauge("up",
		"1 if the last request to the API succeeded, else 0.",
		func(s *collector.Snapshot) float64 { return truth(s.API.Up) }),
	{
		name: "api_state", kind: kindGauge, labels: []label{closed("state", poller.Conditions[:]...)},
		help: "1 for how the API does at present, by the last request since the start; 0 for the other states.",
		account: func(e *emitter, s *collector.Snapshot) {
			for i, name := range poller.Conditions {
				e.value(truth(s.API.Condition() == poller.Condition(i)), name)
			}
		},
	},
	{
		name: "api_retry_timestamp_seconds", kind: kindGauge,
		help: "Time when the account is polled again, in seconds since 1970, while it is paused after errors of the " +
			"API; else absent.",
		account: func(e *emitter, s *collector.Snapshot) {
			if at := s.API.RetryAt(s.At); !at.IsZero() {
				e.value(seconds(at))
			}
		},
	},
	total(jobs.APIRequests),
	total(jobs.APIRequestDuration),
	total(jobs.APIUnknownStates),
	gauge("api_last_success_timestamp_seconds",
		"Time of the last successful request to the API since the account was loaded, in seconds since 1970; 0 before "+
			"the first.",
		func(s *collector.Snapshot) float64 { return seconds(s.API.LastSuccess) }),
	quota("quota_limit_requests",
		"Number of requests to the API that the configured quota allows in the window; +Inf if unlimited.",
		func(u schedule.Usage) float64 { return u.Limit }),
	quota("quota_used_requests",
		"Number of requests to the API that were sent within the window or are in flight.",
		func(u schedule.Usage) float64 { return u.Used }),
	quota("quota_reset_timestamp_seconds",
		"Time when the oldest request leaves the window, or all do with day_resets_at, in seconds since 1970; 0 "+
			"without one.",
		func(u schedule.Usage) float64 { return seconds(u.Resets) }),
	quota("quota_left_requests",
		"Number of requests to the API that the quota still allows in the window; +Inf if unlimited.",
		func(u schedule.Usage) float64 { return max(u.Limit-u.Used, 0) }),
	gauge("quota_share_ratio",
		"Share of the minute's quota that the exporter uses, from 0 to 1; below 1 after the API rejected requests "+
			"within the quota, as another client seems to use it, too.",
		func(s *collector.Snapshot) float64 { return s.Pricing.Sharing }),
	gauge("poll_price_seconds",
		"Expected delay in observing the end of a job that a poll must save to be sent, in seconds; high if the quota "+
			"is scarce. While the requests of the morning are used up, the time until the next may be sent.",
		func(s *collector.Snapshot) float64 { return s.Pricing.Price }),
	gauge("forecast_jobs",
		"Number of jobs that are expected to be registered and polled until the day's quota resets, or within 24 "+
			"hours without a fixed reset; 0 without a day's quota.",
		func(s *collector.Snapshot) float64 { return s.Pricing.Coming }),
	gauge("forecast_requests_per_job",
		"Number of polls that each of the expected jobs gets at the current price; 0 without a day's quota.",
		func(s *collector.Snapshot) float64 { return s.Pricing.PerJob }),
	gauge("poll_queue_jobs",
		"Number of unfinished jobs that would be polled now if the quota allowed.",
		func(s *collector.Snapshot) float64 { return float64(s.Due) }),
}

var windowLabel = closed("window", "minute", "day")

// quota returns the row of a gauge about both windows of the quota.
func quota(name, help string, value func(schedule.Usage) float64) *family {
	return &family{
		name: name, kind: kindGauge, help: help, labels: []label{windowLabel},
		account: func(e *emitter, s *collector.Snapshot) {
			e.value(value(s.Minute), "minute")
			e.value(value(s.Day), "day")
		},
	}
}

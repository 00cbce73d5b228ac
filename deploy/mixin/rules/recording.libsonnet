// The recording rules, which the alerts use. Two idioms:
//
// - "without (instance, pod)": it does not matter which replica shows an account. A counter survives a
//   restart and a failover, so its highest value is the correct one. Its rates add up, because no two
//   replicas show it at the same time.
// - "or histogram_…": the classic histogram if it is scraped, otherwise the native one.
{
  prometheusRules+:: {
    groups+: [
      {
        name: 'deepaffects-recording',
        rules: [
          {
            record: 'account:deepaffects_jobs_unfinished:sum',
            expr: |||
              sum without (state) (max without (instance, pod) (deepaffects_jobs{state=~"pending|running"}))
            |||,
          },

          // Jobs that ended within an hour. An account that was not scraped an hour ago has had its first failures before
          // the first scrape, where increase() does not see them: it takes those of the store, which keeps ended jobs for
          // the retention.
          {
            record: 'account:deepaffects_jobs_finished:increase1h',
            expr: |||
              sum without (instance, pod, api, result) (increase(deepaffects_jobs_finished_total[1h]))
                and on (account)
              present_over_time(deepaffects_jobs{state="failed"}[1h] offset 1h)
                or
              sum without (instance, pod, state) (max without (instance, pod) (deepaffects_jobs{state=~"completed|failed|lost"}))
            |||,
          },

          {
            record: 'account:deepaffects_jobs_failed:increase1h',
            expr: |||
              sum without (instance, pod, api, result) (increase(deepaffects_jobs_finished_total{result="failed"}[1h]))
                and on (account)
              present_over_time(deepaffects_jobs{state="failed"}[1h] offset 1h)
                or
              sum without (instance, pod, state) (max without (instance, pod) (deepaffects_jobs{state="failed"}))
            |||,
          },
        ],
      },

      // Long windows over histograms change slowly: a long interval is enough.
      {
        name: 'deepaffects-recording-slow',
        interval: '5m',
        rules: [
          {
            record: 'account:deepaffects_job_duration_seconds:mean6h',
            expr: |||
              sum without (instance, pod, api, result) (rate(deepaffects_job_duration_seconds_sum{result="completed"}[6h]))
                / (sum without (instance, pod, api, result) (rate(deepaffects_job_duration_seconds_count{result="completed"}[6h])) > 0)
              or
              histogram_sum(sum without (instance, pod, api, result) (rate(deepaffects_job_duration_seconds{result="completed"}[6h])))
                / (histogram_count(sum without (instance, pod, api, result) (rate(deepaffects_job_duration_seconds{result="completed"}[6h]))) > 0)
            |||,
          },

          {
            record: 'account:deepaffects_job_duration_seconds:mean7d',
            expr: |||
              sum without (instance, pod, api, result) (rate(deepaffects_job_duration_seconds_sum{result="completed"}[7d]))
                / (sum without (instance, pod, api, result) (rate(deepaffects_job_duration_seconds_count{result="completed"}[7d])) > 0)
              or
              histogram_sum(sum without (instance, pod, api, result) (rate(deepaffects_job_duration_seconds{result="completed"}[7d])))
                / (histogram_count(sum without (instance, pod, api, result) (rate(deepaffects_job_duration_seconds{result="completed"}[7d]))) > 0)
            |||,
          },

          {
            record: 'account:deepaffects_job_detection_window_seconds:mean6h',
            expr: |||
              sum without (instance, pod) (rate(deepaffects_job_detection_window_seconds_sum[6h]))
                / (sum without (instance, pod) (rate(deepaffects_job_detection_window_seconds_count[6h])) > 0)
              or
              histogram_sum(sum without (instance, pod) (rate(deepaffects_job_detection_window_seconds[6h])))
                / (histogram_count(sum without (instance, pod) (rate(deepaffects_job_detection_window_seconds[6h]))) > 0)
            |||,
          },

          {
            record: 'account:deepaffects_job_detection_window_seconds:mean7d',
            expr: |||
              sum without (instance, pod) (rate(deepaffects_job_detection_window_seconds_sum[7d]))
                / (sum without (instance, pod) (rate(deepaffects_job_detection_window_seconds_count[7d])) > 0)
              or
              histogram_sum(sum without (instance, pod) (rate(deepaffects_job_detection_window_seconds[7d])))
                / (histogram_count(sum without (instance, pod) (rate(deepaffects_job_detection_window_seconds[7d]))) > 0)
            |||,
          },

          {
            record: 'account:deepaffects_transcript_confidence_ratio:mean6h',
            expr: |||
              sum without (instance, pod, api) (rate(deepaffects_transcript_confidence_ratio_sum[6h]))
                / (sum without (instance, pod, api) (rate(deepaffects_transcript_confidence_ratio_count[6h])) > 0)
              or
              histogram_sum(sum without (instance, pod, api) (rate(deepaffects_transcript_confidence_ratio[6h])))
                / (histogram_count(sum without (instance, pod, api) (rate(deepaffects_transcript_confidence_ratio[6h]))) > 0)
            |||,
          },

          {
            record: 'account:deepaffects_transcript_confidence_ratio:mean7d',
            expr: |||
              sum without (instance, pod, api) (rate(deepaffects_transcript_confidence_ratio_sum[7d]))
                / (sum without (instance, pod, api) (rate(deepaffects_transcript_confidence_ratio_count[7d])) > 0)
              or
              histogram_sum(sum without (instance, pod, api) (rate(deepaffects_transcript_confidence_ratio[7d])))
                / (histogram_count(sum without (instance, pod, api) (rate(deepaffects_transcript_confidence_ratio[7d]))) > 0)
            |||,
          },

          {
            record: 'account:deepaffects_transcript_confidence_ratio:count6h',
            expr: |||
              sum without (instance, pod, api) (increase(deepaffects_transcript_confidence_ratio_count[6h]))
              or
              histogram_count(sum without (instance, pod, api) (increase(deepaffects_transcript_confidence_ratio[6h])))
            |||,
          },
        ],
      },
    ],
  },
}

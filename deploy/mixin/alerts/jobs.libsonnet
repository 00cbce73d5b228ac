// Alerts on single jobs, and on how many fail or end.
function(config)
  {
    name: 'deepaffects-jobs',
    rules: [
      // The jobs that failed in the last 20 minutes, by name; without series, how many failed in the last 15.
      // The names stay longer than the counter's window, and the part after "unless" covers a
      // restart, so that the second part never replaces the first. The counter of an API may begin with its first failure:
      // before it, an account that is scraped had none.
      {
        alert: 'DeepAffectsJobFailed',
        expr: |||
          (
              max without (instance, pod) (deepaffects_job_info)
            and on (account, request_id)
              max without (instance, pod) (deepaffects_job_state{state="failed"}) == 1
            and on (account, request_id)
              max without (instance, pod) (deepaffects_job_finished_timestamp_seconds) > time() - 1200
          )
          or
          (
              increase(
                (
                    sum without (api, result) (max without (instance, pod) (deepaffects_jobs_finished_total{result="failed"}))
                  or
                    0 * max without (instance, pod, state) (deepaffects_jobs{state="failed"})
                )[15m:1m]
              ) > 0
            unless on (account)
              (
                  max without (instance, pod) (last_over_time(deepaffects_job_state{state="failed"}[15m])) == 1
                and on (account, request_id)
                  max without (instance, pod) (last_over_time(deepaffects_job_finished_timestamp_seconds[15m])) > time() - 1200
              )
          )
        |||,
        keep_firing_for: '10m',
        labels: { severity: 'warning' },
        annotations: {
          summary: 'DeepAffects job failed{{ with $labels.request_id }}: {{ . }}{{ end }}',
          description: '{{ if $labels.request_id }}Job {{ $labels.request_id }} of account {{ $labels.account }} (API {{ $labels.api }}) failed in the last 20 minutes with the error code {{ or $labels.error_code "(none)" }}.{{ else }}{{ $value | printf "%.0f" }} job(s) of account {{ $labels.account }} without series failed in the last 15 minutes.{{ end }}',
        },
      },

      {
        alert: 'DeepAffectsJobLost',
        expr: |||
          (
              max without (instance, pod) (deepaffects_job_info)
            and on (account, request_id)
              max without (instance, pod) (deepaffects_job_state{state="lost"}) == 1
            and on (account, request_id)
              max without (instance, pod) (deepaffects_job_finished_timestamp_seconds) > time() - 1200
          )
          or
          (
              increase(
                (
                    sum without (api, result) (max without (instance, pod) (deepaffects_jobs_finished_total{result="lost"}))
                  or
                    0 * max without (instance, pod, state) (deepaffects_jobs{state="lost"})
                )[15m:1m]
              ) > 0
            unless on (account)
              (
                  max without (instance, pod) (last_over_time(deepaffects_job_state{state="lost"}[15m])) == 1
                and on (account, request_id)
                  max without (instance, pod) (last_over_time(deepaffects_job_finished_timestamp_seconds[15m])) > time() - 1200
              )
          )
        |||,
        keep_firing_for: '10m',
        labels: { severity: 'warning' },
        annotations: {
          summary: 'DeepAffects job lost{{ with $labels.request_id }}: {{ . }}{{ end }}',
          description: '{{ if $labels.request_id }}Job {{ $labels.request_id }} of account {{ $labels.account }} (API {{ $labels.api }}) was given up in the last 20 minutes: the API did not know it for longer than not_found_grace, it was unfinished for longer than max_job_age, or its responses stayed unreadable.{{ else }}{{ $value | printf "%.0f" }} job(s) of account {{ $labels.account }} without series were given up in the last 15 minutes.{{ end }}',
        },
      },

      // The series of a job do not have when it was submitted, maybe long before it was registered. So they only name
      // the jobs, and the account's highest lateness, which knows it, decides whether one is stuck.
      {
        alert: 'DeepAffectsJobStuck',
        expr: |||
          max without (instance, pod) (deepaffects_job_info)
            * on (account, request_id) group_left ()
          (
              max by (account, request_id) (deepaffects_job_last_observed_timestamp_seconds)
            - max by (account, request_id) (deepaffects_job_late_after_timestamp_seconds)
              > (%(stuckFactor)g - 1) * clamp_min(
                max by (account, request_id) (deepaffects_job_late_after_timestamp_seconds)
              - max by (account, request_id) (deepaffects_job_first_seen_timestamp_seconds), 60)
          )
            and on (account)
          max without (instance, pod) (deepaffects_jobs_lateness_max) > %(stuckFactor)g
            or on (account)
          max without (instance, pod) (deepaffects_jobs_lateness_max) > %(stuckFactor)g
        ||| % config.thresholds,
        'for': '10m',
        keep_firing_for: '15m',
        labels: { severity: 'warning' },
        annotations: {
          summary: 'DeepAffects job takes far longer than others{{ with $labels.request_id }}: {{ . }}{{ end }}',
          description: '{{ if $labels.request_id }}Job {{ $labels.request_id }} of account {{ $labels.account }} (API {{ $labels.api }}) is unfinished, {{ $value | humanizeDuration }} after the time by which nine in ten of such jobs have finished.{{ else }}A job of account {{ $labels.account }} is unfinished after {{ $value | printf "%.1f" }} times the time within which nine in ten of such jobs finish.{{ end }}',
        },
      },

      // Half a job less than the threshold, because increase() extrapolates.
      {
        alert: 'DeepAffectsFailureRatioHigh',
        expr: |||
          account:deepaffects_jobs_failed:increase1h / account:deepaffects_jobs_finished:increase1h > %(failureRatio)g
            and
          account:deepaffects_jobs_failed:increase1h > %(failureCount)g - 0.5
        ||| % config.thresholds,
        'for': '5m',
        keep_firing_for: '10m',
        labels: { severity: 'critical' },
        annotations: {
          summary: 'DeepAffects jobs fail too often in account {{ $labels.account }}',
          description: '{{ $value | humanizePercentage }} of the jobs of account {{ $labels.account }} that ended in the last hour failed.',
        },
      },

      // With 24 ends a day, three hours without an end are unlikely: one in 20 such windows at random, fewer
      // if jobs are unfinished all the time. New jobs must have been registered meanwhile: the few jobs that are
      // left over at night are covered by DeepAffectsJobStuck. A lack of quota is excluded: it is covered by
      // DeepAffectsDayQuotaRunsOut.
      {
        alert: 'DeepAffectsNothingFinishes',
        expr: |||
          sum without (api, result) (increase(max without (instance, pod) (deepaffects_jobs_finished_total)[3h:1m])) == 0
            and
          min_over_time(account:deepaffects_jobs_unfinished:sum[3h:5m]) >= 3
            and
          sum without (source) (increase(max without (instance, pod) (deepaffects_jobs_registered_total)[150m:5m] offset 30m)) >= 2.5
            and
          sum without (api, result) (increase(max without (instance, pod) (deepaffects_jobs_finished_total)[1d:5m] offset 3h)) >= 24
            unless
          (
              max without (instance, pod) (max_over_time(deepaffects_poll_price_seconds[3h])) > %(scarceSeconds)g
            and
              sum without (outcome) (increase(max without (instance, pod) (deepaffects_api_requests_total)[3h:1m])) < 2.5
          )
        ||| % config.thresholds,
        'for': '5m',
        keep_firing_for: '15m',
        labels: { severity: 'critical' },
        annotations: {
          summary: 'No DeepAffects jobs finish in account {{ $labels.account }}',
          description: 'No job of account {{ $labels.account }} ended in the last 3 hours, although at least 3 were unfinished all the time, new ones were registered, and 24 or more ended in the day before.',
        },
      },

      // One unfinished job in ten is late by definition, and more where some take very long; more than half are late if
      // jobs take more than twice as long as nine in ten took. Excluded: the last jobs of a batch, which are late when
      // all others have ended; ends that nobody has seen, because the API does not answer or the quota is short.
      {
        alert: 'DeepAffectsJobsSlow',
        expr: |||
          max without (instance, pod) (deepaffects_jobs_late) / account:deepaffects_jobs_unfinished:sum > %(lateShare)g
            and
          max without (instance, pod) (deepaffects_jobs_late) >= %(lateJobs)g
            and
          max without (instance, pod) (deepaffects_jobs_late)
            > %(lateOfUnfinished)g * max_over_time(account:deepaffects_jobs_unfinished:sum[6h:5m])
            and
          max without (instance, pod) (deepaffects_up) == 1
            unless
          max without (instance, pod) (max_over_time(deepaffects_poll_price_seconds[1h])) > %(scarceSeconds)g
        ||| % config.thresholds,
        'for': '15m',
        keep_firing_for: '30m',
        labels: { severity: 'warning' },
        annotations: {
          summary: 'DeepAffects jobs take longer than before in account {{ $labels.account }}',
          description: '{{ $value | humanizePercentage }} of the unfinished jobs of account {{ $labels.account }} are late: they take longer than nine in ten of such jobs did. A lack of quota is not the reason.',
        },
      },
    ],
  }

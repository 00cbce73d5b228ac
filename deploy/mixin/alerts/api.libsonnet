// Alerts on the API and the quota.

// The API's last response, however old, was such a one, and others could follow. None follows without an unfinished job
// (now or in the last 5 minutes, because jobs come and go), nor when the day's quota is used up: that is covered by
// DeepAffectsDayQuotaRunsOut, unless the API was in that state for minutes when a request of the last 6 hours was sent.
local responds(states) = |||
  max without (instance, pod, state) (deepaffects_api_state{state=~"%(states)s"}) == 1
    unless
  max_over_time(account:deepaffects_jobs_unfinished:sum[5m:1m]) == 0
    unless
  (
      max without (instance, pod, window) (deepaffects_quota_left_requests{window="day"}) < 1
    unless
      max_over_time(
        (
            max without (instance, pod, state) (deepaffects_api_state{state=~"%(states)s"} offset 10m) == 1
          and
            sum without (outcome) (increase(max without (instance, pod) (deepaffects_api_requests_total)[6m:1m])) > 0
        )[6h:5m]
      )
  )
||| % { states: states };

function(config)
  {
    name: 'deepaffects-api',
    rules: [
      // The exporter tries a refused key again after 5 minutes: at least two requests were refused.
      {
        alert: 'DeepAffectsAPIKeyRefused',
        expr: |||
          max without (instance, pod, state) (deepaffects_api_state{state="no_key"}) == 1
            or
        ||| + responds('unauthorized'),
        'for': '6m',
        keep_firing_for: '5m',
        labels: { severity: 'critical' },
        annotations: {
          summary: 'The API key of DeepAffects account {{ $labels.account }} is refused or cannot be read',
          description: 'The API refuses the key of account {{ $labels.account }}, or the key cannot be read, for more than 6 minutes. Until a request succeeds, only webhooks report job ends.',
        },
      },

      // While the API fails and jobs are due, the exporter polls it at least every 15 minutes.
      {
        alert: 'DeepAffectsAPIDown',
        expr: responds('unavailable|unusable'),
        'for': '10m',
        keep_firing_for: '5m',
        labels: { severity: 'critical' },
        annotations: {
          summary: 'The DeepAffects API fails for account {{ $labels.account }}',
          description: 'The API did not answer requests of account {{ $labels.account }} as it should for more than 10 minutes. Until it does, only webhooks report job ends.',
        },
      },

      // A job with such a state is polled at least every half hour or so.
      {
        alert: 'DeepAffectsUnknownState',
        expr: |||
          increase(max without (instance, pod) (deepaffects_api_unknown_states_total)[2h:1m]) > 0
        |||,
        labels: { severity: 'warning' },
        annotations: {
          summary: 'The DeepAffects API reports a state to account {{ $labels.account }} that the exporter does not know',
          description: '{{ $value | printf "%.0f" }} response(s) to account {{ $labels.account }} in the last 2 hours have a state that the exporter does not know. Their jobs stay unfinished until they are given up.',
        },
      },

      {
        alert: 'DeepAffectsResultsUnreadable',
        expr: |||
          increase(max without (instance, pod) (deepaffects_unreadable_results_total)[1h:1m]) > 0
        |||,
        labels: { severity: 'warning' },
        annotations: {
          summary: 'Results of DeepAffects jobs of account {{ $labels.account }} cannot be read',
          description: '{{ $value | printf "%.0f" }} job(s) of account {{ $labels.account }} ended in the last hour without statistics, because what the API answers about them stayed unreadable.',
        },
      },

      // The API refuses requests at present, or refused 3 of them for the rate within an hour.
      {
        alert: 'DeepAffectsQuotaRefused',
        expr: |||
          increase(max without (instance, pod, outcome) (deepaffects_api_requests_total{outcome="rate_limited"})[1h:1m]) > 2.5
            or
        ||| + responds('over_quota|rate_limited'),
        'for': '5m',
        keep_firing_for: '5m',
        labels: { severity: 'warning' },
        annotations: {
          summary: 'The DeepAffects API refuses requests of account {{ $labels.account }} because of its quota',
          description: 'The API refused requests of account {{ $labels.account }} because of its quota, although the exporter kept the configured quota. The plan allows less than requests_per_minute and requests_per_day, or others use the same key.',
        },
      },

      // A nearly used-up quota is no reason for an alert: the scheduler plans to spend all of it. The alert fires if
      // jobs are due and keep waiting, or if the scheduler expects to have no request left for hours. The price of a request
      // is the time for which the scheduler expects to have none; it holds requests back before none is left. A large
      // plan that is used up has no price.
      {
        alert: 'DeepAffectsDayQuotaRunsOut',
        expr: |||
          max without (instance, pod) (deepaffects_poll_queue_jobs)
            and
          (
              (
                  min_over_time(max without (instance, pod) (deepaffects_poll_queue_jobs)[30m:1m]) > 0
                and
                  (
                      min_over_time(max without (instance, pod) (deepaffects_poll_price_seconds)[30m:1m]) > %(scarceSeconds)g
                    or
                      min_over_time(max without (instance, pod, window) (deepaffects_quota_left_requests{window="day"})[30m:1m]) < 1
                  )
              )
            or
              min_over_time(max without (instance, pod) (deepaffects_poll_price_seconds)[1h:1m]) > %(exhaustedSeconds)g
          )
        ||| % config.thresholds,
        'for': '15m',
        keep_firing_for: '30m',
        labels: { severity: 'warning' },
        annotations: {
          summary: 'The daily DeepAffects quota of account {{ $labels.account }} does not last until its reset',
          description: '{{ if gt $value 0.0 }}{{ $value | printf "%.0f" }} due job(s) of account {{ $labels.account }} wait for the daily quota. Their ends are seen late.{{ else }}Account {{ $labels.account }} is expected to have no request of the daily quota left for hours. Job ends will be seen late.{{ end }}',
        },
      },

      // One poll of each due job takes more than an hour at the minute's quota, and the day's quota is not the reason.
      {
        alert: 'DeepAffectsMinuteQuotaTooSmall',
        expr: |||
          min_over_time(max without (instance, pod) (deepaffects_poll_queue_jobs)[30m:1m])
            / 60
            / max without (instance, pod, window) (deepaffects_quota_limit_requests{window="minute"})
            > %(roundHours)g
            unless
          (
              max without (instance, pod) (max_over_time(deepaffects_poll_price_seconds[30m])) > %(scarceSeconds)g
            or
              min_over_time(max without (instance, pod, window) (deepaffects_quota_left_requests{window="day"})[30m:1m]) < 1
          )
        ||| % config.thresholds,
        'for': '15m',
        keep_firing_for: '30m',
        labels: { severity: 'warning' },
        annotations: {
          summary: 'The per-minute DeepAffects quota of account {{ $labels.account }} is too small for its jobs',
          description: 'One poll of each due job of account {{ $labels.account }} takes {{ $value | printf "%.1f" }} hours at the per-minute quota. Their ends are seen that late.',
        },
      },

      // Jobs are due, there is quota, the API is not known to refuse or fail, and yet no request is sent: the poller hangs.
      {
        alert: 'DeepAffectsNothingAsked',
        expr: |||
          max without (instance, pod) (deepaffects_poll_queue_jobs) > 0
            and
          sum without (outcome) (increase(max without (instance, pod) (deepaffects_api_requests_total)[10m:1m])) == 0
            and
          max without (instance, pod, state) (deepaffects_api_state{state=~"ok|not_asked"}) == 1
            unless
          (
              max without (instance, pod) (max_over_time(deepaffects_poll_price_seconds[1h])) > %(scarceSeconds)g
            or
              max without (instance, pod, window) (deepaffects_quota_left_requests{window="minute"}) == 0
            or
              min_over_time(max without (instance, pod, window) (deepaffects_quota_left_requests{window="day"})[30m:1m]) < 1
          )
        ||| % config.thresholds,
        'for': '30m',
        keep_firing_for: '5m',
        labels: { severity: 'critical' },
        annotations: {
          summary: 'The exporter does not poll the DeepAffects jobs of account {{ $labels.account }}',
          description: '{{ $value | printf "%.0f" }} job(s) of account {{ $labels.account }} are due, there is quota, and no request was sent for 30 minutes. Only webhooks report job ends.',
        },
      },
    ],
  }

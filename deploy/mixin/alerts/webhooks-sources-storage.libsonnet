// Alerts on webhooks, sources of request IDs, and the store.
function(config)
  {
    name: 'deepaffects-webhooks-sources-storage',
    rules: [
      {
        alert: 'DeepAffectsWebhooksStopped',
        expr: |||
          sum without (outcome) (increase(max without (instance, pod) (deepaffects_webhook_requests_total{outcome=~"accepted|duplicate|adopted"})[6h:5m])) == 0
            and
          sum without (outcome) (increase(max without (instance, pod) (deepaffects_webhook_requests_total{outcome=~"accepted|duplicate|adopted"})[1d:5m] offset 6h)) >= 9.5
            and
          sum without (api, result) (increase(max without (instance, pod) (deepaffects_jobs_finished_total{result!="lost"})[6h:5m])) >= 9.5
        |||,
        'for': '10m',
        keep_firing_for: '15m',
        labels: { severity: 'warning' },
        annotations: {
          summary: 'Webhooks from DeepAffects stopped in account {{ $labels.account }}',
          description: 'No webhook arrived for account {{ $labels.account }} in the last 6 hours, although at least 10 arrived in the day before and at least 10 jobs ended since. Polls detected their ends, which costs quota and time.',
        },
      },

      // The source cannot be read, or had errors: a line that is not a request ID does not become valid. The part after
      // the last "or" is for errors before the first scrape, or since the last one, as a start finds them: increase()
      // does not see those. A lower count than before is that of a new store.
      {
        alert: 'DeepAffectsSourceFailing',
        expr: |||
          min without (instance, pod) (deepaffects_source_up) == 0
            or
          increase(max without (instance, pod) (deepaffects_source_errors_total{source="file"})[15m:1m]) > 0
            or
          max without (instance, pod) (deepaffects_source_errors_total{source="file"})
            - (
                  last_over_time(max without (instance, pod) (deepaffects_source_errors_total{source="file"})[7d:5m] offset 15m)
                    <= max without (instance, pod) (deepaffects_source_errors_total{source="file"})
                or
                  0 * max without (instance, pod) (deepaffects_source_errors_total{source="file"})
              )
            > 0
        |||,
        'for': '5m',
        keep_firing_for: '5m',
        labels: { severity: 'warning' },
        annotations: {
          summary: 'DeepAffects request IDs from source {{ $labels.source }} cannot be read in account {{ $labels.account }}',
          description: 'Request IDs cannot be read from the source {{ $labels.source }} of account {{ $labels.account }}, or some entries are invalid. Jobs from this source may not be tracked.',
        },
      },

      {
        alert: 'DeepAffectsStoreFailing',
        expr: |||
          min without (instance, pod) (deepaffects_store_writable) == 0
        |||,
        'for': '1m',
        labels: { severity: 'critical' },
        annotations: {
          summary: 'The DeepAffects store of account {{ $labels.account }} cannot be written',
          description: 'The store of account {{ $labels.account }} cannot be written. Until it can, the exporter refuses registrations and webhooks, and does not poll.',
        },
      },

      // Most damage is found at a start. The part after "or" is for a start after more than an hour without a sample,
      // where increase() does not see it. A lower count than before is that of a new store.
      {
        alert: 'DeepAffectsStoreDamaged',
        expr: |||
          increase(max without (instance, pod) (deepaffects_store_corrupt_records_total)[1h:1m]) > 0
            or
          max without (instance, pod) (deepaffects_store_corrupt_records_total)
            - (
                  last_over_time(max without (instance, pod) (deepaffects_store_corrupt_records_total)[7d:5m] offset 1h)
                    <= max without (instance, pod) (deepaffects_store_corrupt_records_total)
                or
                  0 * last_over_time(max without (instance, pod) (deepaffects_store_corrupt_records_total)[7d:5m] offset 1h)
              )
            > 0
        |||,
        labels: { severity: 'warning' },
        annotations: {
          summary: 'Records in the DeepAffects store of account {{ $labels.account }} were damaged',
          description: '{{ $value | printf "%.0f" }} stored record(s) of account {{ $labels.account }} were damaged and left out. Register jobs again that were registered over HTTP.',
        },
      },
    ],
  }

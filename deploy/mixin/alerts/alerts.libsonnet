// The alerts. severity: a critical alert needs a person now, a warning today.
//
// - Alerts on how things are at present use gauges with "for". They are right at the first scrape, and
//   after a restart.
// - Counters survive restarts and are 0 before their first event, so an alert on a counter neither misses
//   an event nor counts one twice. rules/recording.libsonnet says why their maximum over replicas is right.
// - Alerts about single jobs name them, from the series of the job, with all labels of
//   deepaffects_job_info (also the job_labels). The part after "or" covers jobs without series
//   (max_job_series, job_metrics); it does not name them.
// - keep_firing_for covers a restart, during which gauges are missing.
{
  local config = $._config,
  local query = (import '../promql.libsonnet')(config).query,
  local groups = [
    (import 'jobs.libsonnet')(config),
    (import 'transcripts.libsonnet')(config),
    (import 'api.libsonnet')(config),
    (import 'webhooks-sources-storage.libsonnet')(config),
    (import 'exporter.libsonnet')(config),
  ],

  prometheusAlerts+:: {
    groups+: [
      group {
        rules: [
          r {
            expr: query(r.expr),
            annotations+: { runbook_url: '%s#%s' % [config.runbookURL, r.alert] },
          }
          for r in group.rules
        ],
      }
      for group in groups
    ],
  },
}

// Alerts on the exporter itself.

// The accounts that an exporter had when it was last scraped, if that was within a window. No one needs to own those
// that left its configuration before.
local last(metric, window) = 'max_over_time(timestamp(%s)[%s:5m])' % [metric, window];
local shownWithin(window) = '%s >= on (job, instance) group_left () max by (job, instance) (%s)' % [
  last('deepaffects_account_owned', window),
  last('deepaffects_exporter_build_info', window),
];
local shown = { day: shownWithin('1d'), week: shownWithin('7d') };

function(config)
  {
    name: 'deepaffects-exporter',
    rules: [
      // First part: an exporter that was scraped within a week is down, and one of its accounts has no owner. Second
      // part: all exporters of a job have left the service discovery within a day, and no other job has taken one of
      // their accounts over. Only a day, because such a job may have been removed on purpose; a job that owned an
      // account of that name before is another installation. Third part: no exporter is scraped.
      {
        alert: 'DeepAffectsExporterGone',
        expr: |||
          up == 0
            and on (job, instance)
          (
              %(week)s
            unless on (job, account)
              deepaffects_account_owned == 1
          )
            or on (job)
          max by (job) (
              %(day)s
            unless on (account)
              (
                  deepaffects_account_owned == 1
                unless on (job, account)
                  present_over_time(deepaffects_account_owned[1h] offset 25h)
              )
            unless on (job)
              deepaffects_exporter_build_info
          )
            or on ()
          absent(deepaffects_exporter_build_info)
        ||| % shown,
        'for': '5m',
        labels: { severity: 'critical' },
        annotations: {
          summary: 'deepaffects_exporter is gone{{ with or $labels.instance $labels.job }}: {{ . }}{{ end }}',
          description: '{{ if $labels.instance }}Prometheus cannot scrape deepaffects_exporter at {{ $labels.instance }} (job {{ $labels.job }}), and no other replica has its accounts.{{ else if $labels.job }}Prometheus scrapes no deepaffects_exporter of job {{ $labels.job }}, and no other exporter has its accounts.{{ else }}Prometheus scrapes no deepaffects_exporter at all.{{ end }} Most other alerts on it cannot fire.',
        },
      },

      // Other replicas own all of its accounts.
      {
        alert: 'DeepAffectsReplicaGone',
        expr: |||
          up == 0
            and on (job, instance)
          present_over_time(deepaffects_account_owned[7d])
            unless on (job, instance)
          (
              %(week)s
            unless on (job, account)
              deepaffects_account_owned == 1
          )
        ||| % shown,
        'for': '5m',
        labels: { severity: 'warning' },
        annotations: {
          summary: 'A replica of deepaffects_exporter is gone: {{ $labels.instance }}',
          description: 'Prometheus cannot scrape the replica of deepaffects_exporter at {{ $labels.instance }} (job {{ $labels.job }}). Other replicas have its accounts.',
        },
      },

      // During a handover, two replicas may show that they own an account until both have been scraped again, and none
      // may own it for a lease and a third of it.
      {
        alert: 'DeepAffectsAccountUnowned',
        expr: |||
          max without (instance, pod) (deepaffects_account_owned) == 0
        |||,
        'for': '2m',
        labels: { severity: 'critical' },
        annotations: {
          summary: 'No replica of deepaffects_exporter owns account {{ $labels.account }}',
          description: 'Replicas run, but for more than 2 minutes none of them has owned account {{ $labels.account }}. Its jobs are not polled, and most other alerts on it cannot fire.',
        },
      },

      {
        alert: 'DeepAffectsAccountOwnedTwice',
        expr: |||
          sum without (instance, pod) (deepaffects_account_owned) > 1
        |||,
        'for': '2m',
        keep_firing_for: '5m',
        labels: { severity: 'critical' },
        annotations: {
          summary: 'Several exporters own account {{ $labels.account }}',
          description: '{{ $value | printf "%.0f" }} exporters have owned account {{ $labels.account }} for more than 2 minutes. Each spends the whole quota; or two accounts have the same name.',
        },
      },

      {
        alert: 'DeepAffectsConfigReloadFailed',
        expr: |||
          max without (pod) (deepaffects_config_last_reload_successful) == 0
        |||,
        'for': '5m',
        keep_firing_for: '5m',
        labels: { severity: 'warning' },
        annotations: {
          summary: 'deepaffects_exporter at {{ $labels.instance }} could not reload its configuration',
          description: 'The last reload of deepaffects_exporter at {{ $labels.instance }} failed. The log has the reason. It keeps the previous configuration.',
        },
      },
    ],
  }

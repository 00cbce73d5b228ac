// Alerts on the exporter itself.
function(config)
  {
    name: 'deepaffects-exporter',
    rules: [
      // First part: an exporter that was scraped within a day is down. Second part: no exporter is scraped.
      {
        alert: 'DeepAffectsExporterGone',
        expr: |||
          up == 0 and on (job, instance) present_over_time(deepaffects_exporter_build_info[1d])
            or on ()
          absent(deepaffects_exporter_build_info)
        |||,
        'for': '5m',
        labels: { severity: 'critical' },
        annotations: {
          summary: 'deepaffects_exporter is gone{{ with $labels.instance }}: {{ . }}{{ end }}',
          description: '{{ if $labels.instance }}Prometheus cannot scrape deepaffects_exporter at {{ $labels.instance }} (job {{ $labels.job }}).{{ else }}Prometheus scrapes no deepaffects_exporter at all.{{ end }} No other alert on it can fire.',
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
          description: 'The last reload of deepaffects_exporter at {{ $labels.instance }} failed. It keeps the previous configuration; a restart would fail.',
        },
      },
    ],
  }

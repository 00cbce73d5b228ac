{
  _config+:: {
    // The address at which people reach the runbooks, which the exporter serves (--web.external-url).
    runbookURL: 'http://localhost:9891/runbooks',
    metricsURL: 'https://github.com/deepaffects-monitor/deepaffects-monitor/blob/main/docs/metrics.md',

    // Grafana evaluates the alerts on this data source, by its UID, and shows them in this folder.
    grafanaAlertingDatasource: 'prometheus',
    grafanaAlertingFolder: 'DeepAffects',

    dashboardTitlePrefix: 'DeepAffects / ',
    dashboardTags: ['deepaffects'],
    dashboardRefresh: '1m',
    dashboardTimezone: 'browser',
  },
}

{
  _config+:: {
    // Label matchers for every query, for example 'job="deepaffects", cluster="eu"'. Metrics of the exporter have names
    // of their own, so that no matcher is needed if one Prometheus scrapes the accounts of one installation.
    selector: '',
    // The labels that tell replicas apart. Everything else that an account's series have, they have in common.
    replicaLabels: 'instance, pod',

    // The address at which people reach the runbooks, which the exporter serves (--web.external-url).
    runbookURL: 'http://localhost:9891/runbooks',
    metricsURL: 'https://github.com/deepaffects-monitor/deepaffects-monitor/blob/main/docs/metrics.md',

    thresholds: {
      // DeepAffectsFailureRatioHigh: more than this share of the jobs that ended within an hour failed, and at least so
      // many.
      failureRatio: 0.25,
      failureCount: 5,
      // DeepAffectsJobStuck: a job was observed unfinished after so many times the time within which nine in ten of such
      // jobs finish.
      stuckFactor: 3,
      // DeepAffectsJobsSlow: more than this share of the unfinished jobs are late, at least so many, and more than
      // this share of the most jobs that were unfinished at once in the last 6 hours.
      lateShare: 0.5,
      lateJobs: 5,
      lateOfUnfinished: 0.25,
      // DeepAffectsConfidenceFell: the mean confidence is so much below that of the last 7 days.
      confidenceDrop: 0.1,
      // The scheduler expects to have no request of the day's quota for so long: then the quota is why jobs wait, and
      // DeepAffectsDayQuotaRunsOut fires if they do. After the longer time it fires in any case.
      scarceSeconds: 3600,
      exhaustedSeconds: 21600,
      // DeepAffectsMinuteQuotaTooSmall: one poll of each job that is due takes so long.
      roundHours: 1,
    },

    // Grafana evaluates the alerts on this data source, by its UID, and shows them in this folder.
    grafanaAlertingDatasource: 'prometheus',
    grafanaAlertingFolder: 'DeepAffects',

    // The objects of Kubernetes. The dashboards have the labels and annotations by which a Grafana finds them.
    kubernetesName: 'deepaffects-exporter',
    kubernetesLabels: { 'app.kubernetes.io/name': 'deepaffects-exporter' },
    kubernetesDashboardLabels: { grafana_dashboard: '1' },
    kubernetesDashboardAnnotations: { grafana_folder: 'DeepAffects' },

    dashboardTitlePrefix: 'DeepAffects / ',
    dashboardTags: ['deepaffects'],
    dashboardRefresh: '1m',
    dashboardTimezone: 'browser',
    // The time that each bar covers, of 1m, 5m, 15m, 1h, 6h and 1d. Viewers can choose another.
    dashboardPer: '1h',
    // The dashboards show a confidence from here on in orange, and from there on in green.
    confidenceLow: 0.6,
    confidenceGood: 0.8,
  },
}

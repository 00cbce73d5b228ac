{
  grafanaDashboards+:: {
    'jobs.json': (import 'jobs.libsonnet')($._config).dashboard,
    'transcripts.json': (import 'transcripts.libsonnet')($._config).dashboard,
    'api.json': (import 'api.libsonnet')($._config).dashboard,
    'jobs-influxdb.json': (import 'jobs-influxdb.libsonnet')($._config).dashboard,
  },
}

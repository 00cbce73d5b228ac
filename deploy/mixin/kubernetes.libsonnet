// Rules, alerts and dashboards as objects of Kubernetes: for the Prometheus Operator, and for the sidecar of Grafana's
// Helm chart, which loads the dashboards in ConfigMaps.
{
  local config = $._config,

  local metadata(name, labels={}, annotations={}) = {
    name: name,
    labels: config.kubernetesLabels + labels,
    [if annotations != {} then 'annotations']: annotations,
  },

  kubernetesPrometheusRule+:: {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PrometheusRule',
    metadata: metadata(config.kubernetesName),
    spec: { groups: $.prometheusRules.groups + $.prometheusAlerts.groups },
  },

  kubernetesDashboards+:: [
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: metadata(
        '%s-dashboard-%s' % [config.kubernetesName, std.strReplace(file, '.json', '')],
        config.kubernetesDashboardLabels,
        config.kubernetesDashboardAnnotations,
      ),
      data: { ['deepaffects-' + file]: std.manifestJsonMinified($.grafanaDashboards[file]) },
    }
    for file in std.objectFieldsAll($.grafanaDashboards)
  ],
}

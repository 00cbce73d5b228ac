// The files below deploy/ that are compiled from the mixin: make mixin.
local mixin = import 'mixin.libsonnet';

local head = '# Compiled from deploy/mixin with `make mixin`. Its source has the reasons for each rule.\n';

local document(value) = std.manifestYamlDoc(value, indent_array_in_object=true, quote_keys=false);
local yaml(comment, value) = head + comment + document(value);

{
  'prometheus/deepaffects-recording.yml': yaml(|||
    # Recording rules that deepaffects-alerts.yml uses. Load both files. Your own dashboards can use
    # them too. Accounts that one Prometheus scrapes must have different names.
  |||, mixin.prometheusRules),

  'prometheus/deepaffects-alerts.yml': yaml(|||
    # Alerts for deepaffects_exporter. They need deepaffects-recording.yml.
    #
    # severity: a critical alert needs a person now, a warning today. Alerts about single jobs have all
    # labels of deepaffects_job_info, your job_labels too: use them for routing.
    # runbook_url leads to the runbooks that the exporter serves. Put in the address at which people
    # reach yours (--web.external-url), here and in Grafana's files:
    #   sed -i 's|http://localhost:9891|https://deepaffects.example.com|' deepaffects-alerts.yml
  |||, mixin.prometheusAlerts),

  'grafana/provisioning/alerting/rules.yml': yaml(|||
    # The alerts of deploy/prometheus as rules that Grafana evaluates. They query the data source with the
    # UID "prometheus": give yours this UID, or replace it here.
  |||, mixin.grafanaAlerting),

  'kubernetes/prometheusrule.yaml': yaml(|||
    # Recording rules and alerts for the Prometheus Operator. runbook_url leads to the runbooks that the exporter
    # serves. Put in the address at which people reach yours (--web.external-url), here and in dashboards.yaml:
    #   sed -i 's|http://localhost:9891|https://deepaffects.example.com|' prometheusrule.yaml dashboards.yaml
  |||, mixin.kubernetesPrometheusRule),

  'kubernetes/dashboards.yaml': head + |||
    # Dashboards for the sidecar of Grafana's Helm chart, which loads ConfigMaps with the label grafana_dashboard.
  ||| + std.join('\n---\n', std.map(document, mixin.kubernetesDashboards)),
} + {
  ['grafana/dashboards/' + name]: std.manifestJsonEx(mixin.grafanaDashboards[name], '  ')
  for name in std.objectFieldsAll(mixin.grafanaDashboards)
}

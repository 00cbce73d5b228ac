// The alerts as rules that Grafana evaluates, for its provisioning of alerts.
{
  local config = $._config,
  local datasource = config.grafanaAlertingDatasource,

  // Grafana has no recording rules: put their expressions in place of their names.
  local recorded = std.flattenArrays([group.rules for group in $.prometheusRules.groups]),
  local inline(expr) =
    local all = std.foldl(
      function(text, r) std.strReplace(text, r.record, '(\n%s\n)' % std.rstripChars(r.expr, '\n')),
      recorded,
      std.rstripChars(expr, '\n'),
    );
    assert !std.member(all, ':deepaffects_') : 'a recording rule is missing, or uses another: ' + all;
    all,

  // At most 40 characters, which is Grafana's limit: DeepAffectsJobLost is deep-affects-job-lost.
  local uid(name) =
    local lower(c) = c != std.asciiUpper(c);
    local parts = [
      (if i > 0 && !lower(name[i]) && lower(name[i - 1]) then '-' else '') + std.asciiLower(name[i])
      for i in std.range(0, std.length(name) - 1)
    ];
    std.substr(std.join('', parts), 0, 40),

  // As in Prometheus, every series of the result is an alert, whatever its value. No series means
  // no alert. Grafana's own import of rules makes the same nodes.
  local data(expr) = [
    {
      refId: 'query',
      relativeTimeRange: { from: 600, to: 0 },
      datasourceUid: datasource,
      model: { refId: 'query', expr: expr, instant: true, range: false, intervalMs: 1000, maxDataPoints: 43200 },
    },
    {
      refId: 'prometheus_math',
      relativeTimeRange: { from: 0, to: 0 },
      datasourceUid: '__expr__',
      model: {
        refId: 'prometheus_math',
        type: 'math',
        expression: 'is_number($query) || is_nan($query) || is_inf($query)',
      },
    },
    {
      refId: 'threshold',
      relativeTimeRange: { from: 0, to: 0 },
      datasourceUid: '__expr__',
      model: {
        refId: 'threshold',
        type: 'threshold',
        expression: 'prometheus_math',
        conditions: [{ evaluator: { type: 'gt', params: [0] } }],
      },
    },
  ],

  local rule(r) = {
    uid: uid(r.alert),
    title: r.alert,
    condition: 'threshold',
    data: data(inline(r.expr)),
    noDataState: 'OK',
    // If the data source fails, only one rule reports it, and the others keep their state.
    execErrState: if r.alert == 'DeepAffectsExporterGone' then 'Error' else 'KeepLast',
    'for': std.get(r, 'for', '0s'),
    [if 'keep_firing_for' in r then 'keepFiringFor']: r.keep_firing_for,
    missing_series_evals_to_resolve: 1,
    annotations: std.mapWithKey(function(_, text) std.strReplace(text, '$value', '$values.query.Value'), r.annotations),
    labels: r.labels,
  },

  grafanaAlerting+:: {
    apiVersion: 1,
    groups: [
      {
        orgId: 1,
        name: group.name,
        folder: config.grafanaAlertingFolder,
        interval: '1m',
        rules: [rule(r) for r in group.rules],
      }
      for group in $.prometheusAlerts.groups
    ],
  },
}

// Queries of the dashboards for Prometheus.
function(config) {
  local p = self,
  local g = (import 'grafana.libsonnet')(config),
  local query = (import '../promql.libsonnet')(config).query,

  datasource: { type: 'prometheus', uid: '${datasource}' },

  local target(ref, expr) = { refId: ref, datasource: p.datasource, expr: query(std.rstripChars(expr, '\n')) },

  // A query over time, of the present, and of the present as a table.
  range(ref, expr, legend, exemplar=false):
    target(ref, expr) { legendFormat: legend, range: true, instant: false, [if exemplar then 'exemplar']: true },
  instant(ref, expr, legend='__auto'): target(ref, expr) { legendFormat: legend, range: false, instant: true },
  rows(ref, expr): target(ref, expr) { format: 'table', range: false, instant: true },

  // Variables with the values of a label.

  local values(metric, name) = query('label_values(%s, %s)' % [metric, name]),
  choice(name, label, metric): g.choice(name, label, values(metric, name), p.datasource) { allValue: '.*' },
  variable(name, label, metric): g.variable(name, label, values(metric, name), p.datasource),
  // The values in one metric or another. label_values takes only one.
  either(name, label, metrics):
    g.choice(name, label, query('query_result(count by (%s) (%s))' % [name, std.join(' or ', metrics)]), p.datasource)
    { allValue: '.*', regex: '/%s="([^"]*)"/' % name },
  account: p.choice('account', 'Account', 'deepaffects_up'),

  // What happened besides, in all panels.

  local annotation(name, colour, expr, title, text, atValue=false) = {
    name: name,
    datasource: p.datasource,
    enable: true,
    hide: false,
    iconColor: colour,
    expr: query(expr),
    step: '1m',
    titleFormat: title,
    textFormat: text,
    [if atValue then 'useValueForTime']: true,
  },
  annotations: [
    annotation(
      'Starts',
      'blue',
      'process_start_time_seconds * 1000 and on (job, instance) deepaffects_exporter_build_info',
      'Exporter started',
      '{{instance}}',
      atValue=true,
    ),
    annotation(
      'Reloads',
      'green',
      'deepaffects_config_last_reload_success_timestamp_seconds * 1000',
      'Configuration read',
      '{{instance}}',
      atValue=true,
    ),
    annotation(
      'Failed reloads',
      'orange',
      'deepaffects_config_last_reload_successful == 0',
      'Configuration invalid',
      '{{instance}}',
    ),
    annotation(
      'API outages',
      'red',
      'max by (account, state) (%s) == 1' % p.series('api_state', 'state!~"ok|not_asked"'),
      'API: {{state}}',
      'account {{account}}',
    ),
    annotation(
      'Exporter outages',
      'dark-red',
      'up == 0 and on (job, instance) present_over_time(deepaffects_exporter_build_info[1d])',
      'Exporter down',
      '{{instance}}',
    ),
  ],

  // The series of the selected accounts.
  series(name, matchers=''):
    'deepaffects_%s{%s}' % [name, std.join(', ', ['account=~"$account"'] + (if matchers == '' then [] else [matchers]))],

  // The same from any replica.
  one(name, matchers=''): 'max without (instance, pod) (%s)' % p.series(name, matchers),

  // Counters are right over a failover of replicas: see ../rules/recording.libsonnet.

  local counted(func, name, matchers, range) = '%s(%s[%s:1m])' % [func, p.one(name, matchers), range],

  increase(name, matchers='', range='$__rate_interval'): counted('increase', name, matchers, range),
  rate(name, matchers='', range='$__rate_interval'): counted('rate', name, matchers, range),

  // The increase of a counter from one point to the next, by labels. $__rate_interval is longer than that: by a scrape,
  // and with $per at a minute by as much again. It is needed for two samples at least.
  grown(by, name, matchers=''): 'sum by (%s) (%s) * $__interval_ms / 1000' % [by, p.rate(name, matchers)],
  // Its increase in the time range of the dashboard.
  total(name, matchers=''): 'sum(%s)' % p.increase(name, matchers, '$__range'),

  // Histograms: the classic one if it was scraped, otherwise the native one.

  local native(func, name, matchers, range) = '%s(%s[%s])' % [func, p.series(name, matchers), range],

  quantile(q, name, matchers='', range='$__rate_interval', by=[]):
    'histogram_quantile(%g, sum by (%s) (%s))\n' % [q, std.join(', ', by + ['le']), p.rate(name + '_bucket', matchers, range)]
    + 'or on (%s) histogram_quantile(%g, sum by (%s) (%s))'
      % [std.join(', ', by), q, std.join(', ', by), native('rate', name, matchers, range)],

  // The share of values up to a bound, which must be the bound of a bucket.
  share(bound, name, matchers='', range='$__range'):
    local bucket = std.join(', ', (if matchers == '' then [] else [matchers]) + ['le="%s"' % bound]);
    'sum(%s) / sum(%s)\n' % [p.increase(name + '_bucket', bucket, range), p.increase(name + '_count', matchers, range)]
    + 'or on () histogram_fraction(0, %s, sum(%s))' % [bound, native('increase', name, matchers, range)],

  count(name, matchers='', range='$__range'):
    'sum(%s)\n' % p.increase(name + '_count', matchers, range)
    + 'or on () histogram_count(sum(%s))' % native('increase', name, matchers, range),

  // An exemplar names a job.
  local exemplars = ['job_duration_seconds', 'transcript_confidence_ratio', 'word_duration_seconds', 'word_gap_seconds'],

  // For a heatmap, with exemplars as dots.
  distribution(name, matchers=''):
    p.range(
      'A',
      'sum by (le) (%s)\n' % p.increase(name + '_bucket', matchers)
      + 'or on () sum(%s)' % native('increase', name, matchers, '$__rate_interval'),
      '{{le}}',
      std.member(exemplars, name),
    ) { format: 'heatmap' },

  // Quantiles as lines, with exemplars as dots.
  local quantileLines(quantiles, name, matchers) = [
    p.range(
      ['A', 'B', 'C'][i],
      p.quantile(quantiles[i][0], name, matchers),
      quantiles[i][1],
      i == 0 && std.member(exemplars, name),
    )
    for i in std.range(0, std.length(quantiles) - 1)
  ],
  // Where a large value is the problem, and where a small one is.
  highQuantiles(name, matchers=''):
    quantileLines([[0.5, 'median'], [0.9, '90th percentile'], [0.99, '99th percentile']], name, matchers),
  lowQuantiles(name, matchers=''):
    quantileLines([[0.5, 'median'], [0.1, '10th percentile'], [0.01, '1st percentile']], name, matchers),
}

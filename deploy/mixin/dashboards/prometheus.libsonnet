// Queries of the dashboards for Prometheus.
function(config) {
  local p = self,
  local g = (import 'grafana.libsonnet')(config),
  local query = (import '../promql.libsonnet')(config).query,

  datasource: { type: 'prometheus', uid: '${datasource}' },

  // Variables with the values of a label.
  choice(name, label, metric): g.choice(name, label, query('label_values(%s, %s)' % [metric, name]), p.datasource) { allValue: '.*' },
  variable(name, label, metric): g.variable(name, label, query('label_values(%s, %s)' % [metric, name]), p.datasource),

  account: p.choice('account', 'Account', 'deepaffects_up'),

  local target(ref, expr) = { refId: ref, datasource: p.datasource, expr: query(std.rstripChars(expr, '\n')) },

  // A query over time, of the present, and of the present as a table.
  range(ref, expr, legend, exemplar=false):
    target(ref, expr) { legendFormat: legend, range: true, instant: false, [if exemplar then 'exemplar']: true },
  instant(ref, expr, legend='__auto'): target(ref, expr) { legendFormat: legend, range: false, instant: true },
  rows(ref, expr): target(ref, expr) { format: 'table', range: false, instant: true },

  // The series of the selected accounts.
  series(name, matchers=''):
    'deepaffects_%s{%s}' % [name, std.join(', ', ['account=~"$account"'] + (if matchers == '' then [] else [matchers]))],

  // The same from any replica.
  one(name, matchers=''): 'max without (instance, pod) (%s)' % p.series(name, matchers),

  // The increase of a counter, by labels.
  grown(by, name, matchers='', range='$__rate_interval'):
    'sum by (%s) (increase(%s[%s]))' % [by, p.series(name, matchers), range],

  // Histograms: the classic one if it was scraped, otherwise the native one.

  quantile(q, name, matchers='', range='$__rate_interval'):
    'histogram_quantile(%g, sum by (le) (rate(%s[%s])))\n' % [q, p.series(name + '_bucket', matchers), range]
    + 'or on () histogram_quantile(%g, sum(rate(%s[%s])))' % [q, p.series(name, matchers), range],

  mean(name, matchers='', range='$__rate_interval'):
    local rate(suffix) = 'sum(rate(%s[%s]))' % [p.series(name + suffix, matchers), range];
    '%s / %s\n' % [rate('_sum'), rate('_count')]
    + 'or on () histogram_sum(%s) / histogram_count(%s)' % [rate(''), rate('')],

  // An exemplar names a job.
  local exemplars = ['job_duration_seconds', 'transcript_confidence_ratio', 'word_duration_seconds', 'word_gap_seconds'],

  // For a heatmap, with exemplars as dots.
  distribution(name, matchers=''):
    p.range(
      'A',
      'sum by (le) (increase(%s[$__rate_interval]))\n' % p.series(name + '_bucket', matchers)
      + 'or on () sum(increase(%s[$__rate_interval]))' % p.series(name, matchers),
      '{{le}}',
      std.member(exemplars, name),
    ) { format: 'heatmap' },

  // Quantiles as lines, with exemplars as dots.
  quantiles(name, matchers=''): [
    p.range('A', p.quantile(0.5, name, matchers), 'p50', std.member(exemplars, name)),
    p.range('B', p.quantile(0.9, name, matchers), 'p90'),
    p.range('C', p.quantile(0.99, name, matchers), 'p99'),
  ],
}

// The alerts of deploy/prometheus as rules that Grafana evaluates.
import { readFileSync } from 'node:fs';

import { parse, stringify } from 'yaml';

const datasourceUid = 'prometheus';

/** Grafana has no recording rules: replace their names by their expressions. */
function inline(expr, recorded) {
  const name = /[a-z_]+:[a-z_]+:[a-z0-9_]+/;
  for (let found; (found = name.exec(expr));) {
    if (!(found[0] in recorded)) throw new Error(`no recording rule ${found[0]}`);
    const end = found.index + found[0].length;
    if (expr[end] === '{') throw new Error(`${found[0]}: a recording rule with a selector cannot be inlined`);
    expr = expr.slice(0, found.index) + `(\n${recorded[found[0]].trim()}\n)` + expr.slice(end);
  }
  return expr.trim();
}

/**
 * As in Prometheus, every series in the result is an alert, whatever its value. No series
 * means no alert. Grafana's own import of rules makes the same nodes.
 */
const data = (expr) => [
  {
    refId: 'query',
    relativeTimeRange: { from: 600, to: 0 },
    datasourceUid,
    model: { refId: 'query', expr, instant: true, range: false, intervalMs: 1000, maxDataPoints: 43200 },
  },
  {
    refId: 'prometheus_math',
    relativeTimeRange: { from: 0, to: 0 },
    datasourceUid: '__expr__',
    model: { refId: 'prometheus_math', type: 'math', expression: 'is_number($query) || is_nan($query) || is_inf($query)' },
  },
  {
    refId: 'threshold',
    relativeTimeRange: { from: 0, to: 0 },
    datasourceUid: '__expr__',
    model: { refId: 'threshold', type: 'threshold', expression: 'prometheus_math', conditions: [{ evaluator: { type: 'gt', params: [0] } }] },
  },
];

const annotations = (all) => Object.fromEntries(Object.entries(all).map(([name, text]) => [name, text.replaceAll('$value', '$values.query.Value')]));

/** An identifier of at most 40 characters, which is Grafana's limit. */
const uid = (alert) =>
  alert
    .replace(/([a-z])([A-Z])/g, '$1-$2')
    .toLowerCase()
    .slice(0, 40);

/** If the data source fails, only one rule reports it, and the others keep their state. */
const execErrState = (alert) => (alert === 'DeepAffectsExporterGone' ? 'Error' : 'KeepLast');

const rule = (r, recorded) => ({
  uid: uid(r.alert),
  title: r.alert,
  condition: 'threshold',
  data: data(inline(r.expr, recorded)),
  noDataState: 'OK',
  execErrState: execErrState(r.alert),
  for: r.for ?? '0s',
  ...(r.keep_firing_for && { keepFiringFor: r.keep_firing_for }),
  missing_series_evals_to_resolve: 1,
  annotations: annotations(r.annotations),
  labels: r.labels,
});

export function alerting(folder) {
  const groups = (name) => parse(readFileSync(new URL(name, folder), 'utf8')).groups;
  const recorded = Object.fromEntries(
    groups('deepaffects-recording.yml')
      .flatMap((g) => g.rules)
      .map((r) => [r.record, r.expr]),
  );
  const provisioned = {
    apiVersion: 1,
    groups: groups('deepaffects-alerts.yml').map((g) => ({
      orgId: 1,
      name: g.name,
      folder: 'DeepAffects',
      interval: '1m',
      rules: g.rules.map((r) => rule(r, recorded)),
    })),
  };
  return (
    '# Generated from deploy/prometheus with `make dashboards`. Do not edit: change the rules there.\n' +
    '# The rules query the data source with the UID "prometheus": give yours this UID, or replace it here.\n' +
    stringify(provisioned, { lineWidth: 0 })
  );
}

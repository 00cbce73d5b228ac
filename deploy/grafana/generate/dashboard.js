// Common parts of the dashboards.
import * as common from '@grafana/grafana-foundation-sdk/common';
import * as sdk from '@grafana/grafana-foundation-sdk/dashboard';
import * as bargauge from '@grafana/grafana-foundation-sdk/bargauge';
import * as heatmapPanel from '@grafana/grafana-foundation-sdk/heatmap';
import * as statPanel from '@grafana/grafana-foundation-sdk/stat';
import * as statetimeline from '@grafana/grafana-foundation-sdk/statetimeline';
import * as tablePanel from '@grafana/grafana-foundation-sdk/table';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';

const runbooks = 'http://localhost:9891/runbooks';
const metrics = 'https://github.com/deepaffects-monitor/deepaffects-monitor/blob/main/docs/metrics.md';

/** A dashboard that is built row by row. */
class Dashboard extends sdk.DashboardBuilder {
  /** Adds a row with its panels, from left to right. They wrap to the next line. */
  row(title, panels) {
    this.withRow(new sdk.RowBuilder(title));
    panels.forEach((p) => this.withPanel(p));
    return this;
  }
}

/** A dashboard whose first variable selects the data source of its panels. */
export function dashboard({ uid, title, description, datasource, variables = [], from = 'now-24h' }) {
  const d = new Dashboard(title)
    .uid(uid)
    .description(description)
    .tags(['deepaffects'])
    .time({ from, to: 'now' })
    .refresh('1m')
    .timezone('browser')
    .editable()
    .tooltip(sdk.DashboardCursorSync.Crosshair)
    .link(new sdk.DashboardLinkBuilder('DeepAffects').type(sdk.DashboardLinkType.Dashboards).tags(['deepaffects']).keepTime(true).includeVars(true))
    .link(
      new sdk.DashboardLinkBuilder('Runbooks')
        .type(sdk.DashboardLinkType.Link)
        .url(runbooks)
        .icon('doc')
        .tooltip('What the alerts mean, and what to do')
        .targetBlank(true),
    )
    .link(
      new sdk.DashboardLinkBuilder('Metrics')
        .type(sdk.DashboardLinkType.Link)
        .url(metrics)
        .icon('info')
        .tooltip('What every metric means')
        .targetBlank(true),
    )
    .withVariable(new sdk.DatasourceVariableBuilder('datasource').label('Data source').type(datasource));
  variables.forEach((v) => d.withVariable(v));
  return d;
}

/** A variable with the values that a query returns. */
export function variable(name, label, query, datasource) {
  return new sdk.QueryVariableBuilder(name)
    .label(label)
    .query(query)
    .datasource(datasource)
    .refresh(sdk.VariableRefresh.OnTimeRangeChanged)
    .sort(sdk.VariableSort.AlphabeticalAsc);
}

/** A variable with multiple selection. The default is all values. */
export const choice = (name, label, query, datasource) =>
  variable(name, label, query, datasource)
    .multi(true)
    .includeAll(true)
    .current({ text: ['All'], value: ['$__all'] });

/** A link from a panel to the section of an alert in the runbooks. */
const runbook = (alert) =>
  new sdk.DashboardLinkBuilder(`Runbook: ${alert}`).type(sdk.DashboardLinkType.Link).url(`${runbooks}#${alert}`).targetBlank(true);

/** The common options of panels. Width and height are in units of the grid; a row is 24 wide. */
function panel(builder, { title, description, unit, width = 12, height = 8, datasource = prometheus, targets, alerts = [] }) {
  builder.title(title).description(description).datasource(datasource).span(width).height(height).links(alerts.map(runbook));
  if (unit) builder.unit(unit);
  targets.forEach((t) => builder.withTarget(t));
  return builder;
}

const colours = {
  completed: 'green',
  failed: 'red',
  lost: 'purple',
  running: 'blue',
  pending: 'yellow',
};
const colour = (value) => [{ id: 'color', value: { mode: 'fixed', fixedColor: value } }];

const steps = (values) =>
  new sdk.ThresholdsConfigBuilder().mode(sdk.ThresholdsMode.Absolute).steps(values.map(([value, color]) => ({ value, color })));

/** Lines over time, optionally stacked or as bars. Set interval for sparse data. */
export function lines(options) {
  const p = panel(new timeseries.PanelBuilder(), options)
    .lineWidth(1)
    .fillOpacity(options.stack ? 30 : 5)
    .showPoints(common.VisibilityMode.Auto)
    .spanNulls(options.bars ? false : 3600_000)
    .legend(new common.VizLegendOptionsBuilder().displayMode(common.LegendDisplayMode.List).placement(common.LegendPlacement.Bottom).showLegend(true))
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending));
  if (options.min !== undefined) p.min(options.min);
  if (options.max !== undefined) p.max(options.max);
  if (options.interval) p.interval(options.interval);
  if (options.bars) p.drawStyle(common.GraphDrawStyle.Bars).fillOpacity(70);
  if (options.log) p.scaleDistribution(new common.ScaleDistributionConfigBuilder().type(common.ScaleDistribution.Log).log(10));
  if (options.stack) p.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal));
  for (const [name, value] of Object.entries(colours)) p.overrideByRegexp(`(^|.* )${name}$`, colour(value));
  return p;
}

/** One number, the last value of its query. */
export function stat(options) {
  const p = panel(new statPanel.PanelBuilder(), { width: 4, height: 4, ...options })
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .colorMode(common.BigValueColorMode.Value)
    .graphMode(common.BigValueGraphMode.None)
    .noValue(options.none ?? '–')
    .thresholds(steps(options.thresholds ?? [[null, 'text']]))
    .colorScheme(new sdk.FieldColorBuilder().mode(sdk.FieldColorModeId.Thresholds));
  if (options.decimals !== undefined) p.decimals(options.decimals);
  return p;
}

/** A bar for each series of an instant query. */
export function bars(options) {
  const p = panel(new bargauge.PanelBuilder(), options)
    .orientation(common.VizOrientation.Horizontal)
    .displayMode(common.BarGaugeDisplayMode.Basic)
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(options.values ?? false))
    .thresholds(steps(options.thresholds ?? [[null, 'blue']]))
    .min(0);
  if (options.max !== undefined) p.max(options.max);
  return p;
}

/** One row per series over time, with a bar while its value is 1. */
export function states(options) {
  return panel(new statetimeline.PanelBuilder(), options)
    .mergeValues(true)
    .showValue(common.VisibilityMode.Never)
    .fillOpacity(80)
    .legend(
      new common.VizLegendOptionsBuilder().displayMode(common.LegendDisplayMode.Hidden).placement(common.LegendPlacement.Bottom).showLegend(false),
    )
    .mappings([{ type: 'value', options: { 0: { text: 'no', color: 'transparent' }, 1: { text: 'yes', color: 'blue' } } }])
    .colorScheme(new sdk.FieldColorBuilder().mode(sdk.FieldColorModeId.Thresholds));
}

/** A distribution over time: the height is the value, the colour the number of values. */
export function heatmap(options) {
  return panel(new heatmapPanel.PanelBuilder(), options)
    .interval(options.interval ?? '5m')
    .calculate(options.calculate ?? false)
    .cellGap(1)
    .color(new heatmapPanel.HeatmapColorOptionsBuilder().mode(heatmapPanel.HeatmapColorMode.Scheme).scheme('Oranges').exponent(0.5).steps(64))
    .filterValues(new heatmapPanel.FilterValueRangeBuilder().le(1e-9))
    .yAxis(new heatmapPanel.YAxisConfigBuilder().unit(options.unit).axisPlacement(common.AxisPlacement.Left))
    .rowsFrame(new heatmapPanel.RowsHeatmapOptionsBuilder().layout(common.HeatmapCellLayout.Auto))
    .cellValues(new heatmapPanel.CellValuesBuilder().unit('short'))
    .tooltip(new heatmapPanel.HeatmapTooltipBuilder().mode(common.TooltipDisplayMode.Single).yHistogram(true))
    .showLegend();
}

/** A table of instant queries. columns: {field: {title, unit, link, hide, width}}, in order. */
export function table(options) {
  const p = panel(new tablePanel.PanelBuilder(), options);
  const entries = Object.entries(options.columns);
  if (options.targets.length > 1) p.withTransformation({ id: 'joinByField', options: { byField: options.join, mode: 'outer' } });
  p.withTransformation({
    id: 'organize',
    options: {
      excludeByName: Object.fromEntries(['Time', ...(options.exclude ?? [])].map((name) => [name, true])),
      indexByName: Object.fromEntries(entries.map(([field], i) => [field, i])),
      renameByName: Object.fromEntries(entries.map(([field, c]) => [field, c.title])),
    },
  });
  for (const [, c] of entries) {
    const properties = [];
    if (c.unit) properties.push({ id: 'unit', value: c.unit });
    if (c.width) properties.push({ id: 'custom.width', value: c.width });
    if (c.link) properties.push({ id: 'links', value: [{ title: c.link.title, url: c.link.url, targetBlank: false }] });
    if (properties.length) p.overrideByName(c.title, properties);
  }
  if (options.sort) p.sortBy([new common.TableSortByFieldStateBuilder().displayName(options.sort).desc(true)]);
  return p;
}

// Prometheus

export const prometheus = { type: 'prometheus', uid: '${datasource}' };

/** A range query. */
export const query = (refId, expr, legend = '__auto') =>
  new DataqueryBuilder().datasource(prometheus).refId(refId).expr(expr).legendFormat(legend).range();

/** An instant query. */
export const instant = (refId, expr, legend = '__auto') =>
  new DataqueryBuilder().datasource(prometheus).refId(refId).expr(expr).legendFormat(legend).instant();

export const rows = (refId, expr) => new DataqueryBuilder().datasource(prometheus).refId(refId).expr(expr).format(PromQueryFormat.Table).instant();

const selector = (more) => `{account=~"$account"${more ? `, ${more}` : ''}}`;

/** Series of the selected accounts. */
export const series = (name, more) => `deepaffects_${name}${selector(more)}`;

/** The same, from any replica. */
export const one = (name, more) => `max without (instance, pod) (${series(name, more)})`;

/** Increase of a counter, by labels. */
export const grown = (by, name, more, range = '$__rate_interval') => `sum by (${by}) (increase(${series(name, more)}[${range}]))`;

// Histograms: the classic one if it was scraped, otherwise the native one.

export const quantile = (q, name, more, range = '$__rate_interval') =>
  `histogram_quantile(${q}, sum by (le) (rate(${series(`${name}_bucket`, more)}[${range}])))\n` +
  `or on () histogram_quantile(${q}, sum(rate(${series(name, more)}[${range}])))`;

export const mean = (name, more, range = '$__rate_interval') =>
  `sum(rate(${series(`${name}_sum`, more)}[${range}])) / sum(rate(${series(`${name}_count`, more)}[${range}]))\n` +
  `or on () histogram_sum(sum(rate(${series(name, more)}[${range}]))) / histogram_count(sum(rate(${series(name, more)}[${range}])))`;

/** Histograms with exemplars. An exemplar names a job. */
const exemplars = ['job_duration_seconds', 'transcript_confidence_ratio', 'word_duration_seconds', 'word_gap_seconds'];

/** The query of a heatmap, with exemplars as dots. */
export const distribution = (name, more) =>
  new DataqueryBuilder()
    .datasource(prometheus)
    .refId('A')
    .expr(
      `sum by (le) (increase(${series(`${name}_bucket`, more)}[$__rate_interval]))\nor on () sum(increase(${series(name, more)}[$__rate_interval]))`,
    )
    .legendFormat('{{le}}')
    .format(PromQueryFormat.Heatmap)
    .range()
    .exemplar(exemplars.includes(name));

/** Quantiles as lines, with exemplars as dots. */
export const quantiles = (name, more) => [
  query('A', quantile(0.5, name, more), 'p50').exemplar(exemplars.includes(name)),
  query('B', quantile(0.9, name, more), 'p90'),
  query('C', quantile(0.99, name, more), 'p99'),
];

// The columns about a job in tables.

export const jobColumns = {
  request_id: {
    title: 'Job',
    width: 320,
    link: {
      title: 'This job',
      url: '/d/deepaffects-jobs?${__url_time_range}&${datasource:queryparam}&var-account=${__data.fields.Account:percentencode}&var-request_id=${__value.raw:percentencode}',
    },
  },
  account: { title: 'Account' },
  api: { title: 'API' },
};

export const account = () => choice('account', 'Account', 'label_values(deepaffects_up, account)', prometheus).allValue('.*');

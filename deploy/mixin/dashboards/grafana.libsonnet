// What Grafana's dashboards are made of: variables, panels, and their places in rows.
function(config) {
  local g = self,

  dashboard(uid, title, description, datasource, variables, rows, from='now-24h', annotations=[]): {
    uid: uid,
    title: config.dashboardTitlePrefix + title,
    description: description,
    tags: config.dashboardTags,
    time: { from: from, to: 'now' },
    refresh: config.dashboardRefresh,
    timezone: config.dashboardTimezone,
    editable: true,
    graphTooltip: 1,  // a crosshair in all panels
    schemaVersion: 42,
    links: [
      { title: 'DeepAffects', type: 'dashboards', tags: config.dashboardTags, keepTime: true, includeVars: true },
      link('Runbooks', config.runbookURL, 'doc', 'What the alerts mean, and what to do'),
      link('Metrics', config.metricsURL, 'info', 'What every metric means'),
    ],
    annotations: { list: annotations },
    templating: {
      list: [{ type: 'datasource', name: 'datasource', label: 'Data source', query: datasource }] + variables + [per],
    },
    panels: place(rows),
  },

  local link(title, url, icon='', tooltip='') =
    { title: title, type: 'link', url: url, icon: icon, tooltip: tooltip, targetBlank: true },

  // Variables.

  variable(name, label, query, datasource): {
    type: 'query',
    name: name,
    label: label,
    query: query,
    datasource: datasource,
    refresh: 2,  // when the time range changes
    sort: 1,  // alphabetical
  },

  // With multiple selection. The default is all values.
  choice(name, label, query, datasource): g.variable(name, label, query, datasource) {
    multi: true,
    includeAll: true,
    current: { text: ['All'], value: ['$__all'] },
  },

  // How much time a bar, or a point of what is counted, covers. By default an hour: there may be few jobs.
  local per =
    local values = ['1m', '5m', '15m', '1h', '6h', '1d'];
    local option(value) = { text: value, value: value, selected: value == config.dashboardPer };
    {
      type: 'interval',
      name: 'per',
      label: 'Bars per',
      description: 'The time that each bar covers',
      query: std.join(',', values),
      options: [option(v) for v in values],
      current: option(config.dashboardPer),
      auto: false,
      refresh: 2,
    },

  // Rows and their places. Sizes are in units of the grid, which is 24 wide. Panels fill it from left to right.

  row(title, panels, collapsed=false): { title: title, panels: panels, collapsed: collapsed },

  local place(rows) =
    local flow(y, panels) =
      local next(at, panel) =
        local w = panel.gridPos.w, h = panel.gridPos.h;
        local line = if at.x + w <= 24 then at else { x: 0, y: at.y + at.h, h: 0 };
        {
          x: line.x + w,
          y: line.y,
          h: std.max(line.h, h),
          panels: at.panels + [panel { gridPos: { x: line.x, y: line.y, w: w, h: h } }],
        };
      std.foldl(next, panels, { x: 0, y: y, h: 0, panels: [] });
    local add(all, row) =
      local inner = flow(all.y + 1, row.panels);
      local head = {
        type: 'row',
        title: row.title,
        collapsed: row.collapsed,
        panels: if row.collapsed then inner.panels else [],
        gridPos: { x: 0, y: all.y, w: 24, h: 1 },
      };
      {
        y: if row.collapsed then all.y + 1 else inner.y + inner.h,
        panels: all.panels + [head] + (if row.collapsed then [] else inner.panels),
      };
    numbered(std.foldl(add, rows, { y: 0, panels: [] }).panels),

  // Links to a panel need its ID.
  local numbered(panels) =
    local next(all, p) =
      local inner = [p.panels[i] { id: all.id + 1 + i } for i in std.range(0, std.length(std.get(p, 'panels', [])) - 1)];
      {
        id: all.id + 1 + std.length(inner),
        panels: all.panels + [p { id: all.id, [if 'panels' in p then 'panels']: inner }],
      };
    std.foldl(next, panels, { id: 1, panels: [] }).panels,

  // Panels. The alerts are those whose runbooks the panel links to.

  local panel(type, title, description, unit, targets, alerts, width, height) = {
    type: type,
    title: title,
    description: description,
    datasource: targets[0].datasource,
    gridPos: { w: width, h: height },
    links: [link('Runbook: ' + a, '%s#%s' % [config.runbookURL, a]) for a in alerts],
    fieldConfig: { defaults: { unit: unit }, overrides: [] },
    targets: targets,
  },

  local colours = { completed: 'green', failed: 'red', lost: 'purple', running: 'blue', pending: 'yellow' },

  // [[null, 'green'], [1, 'red']]: green, and red from 1 on.
  local steps(values) = { mode: 'absolute', steps: [{ value: v[0], color: v[1] } for v in values] },

  local defaults(fields) = { fieldConfig+: { defaults+: fields } },

  // Lines over time. Each threshold is a line, too.
  lines(title, description, unit, targets, alerts=[], width=12, height=8, min=null, max=null, interval=null, stack=false, log=false, thresholds=[], calcs=['lastNotNull', 'max']):
    panel('timeseries', title, description, unit, targets, alerts, width, height)
    + defaults({
      [if min != null then 'min']: min,
      [if max != null then 'max']: max,
      [if thresholds != [] then 'thresholds']: steps([[null, 'transparent']] + thresholds),
      custom: {
        lineWidth: 1,
        fillOpacity: if stack then 30 else 5,
        showPoints: 'auto',
        spanNulls: 3600000,
        [if log then 'scaleDistribution']: { type: 'log', log: 10 },
        [if stack then 'stacking']: { mode: 'normal' },
        [if thresholds != [] then 'thresholdsStyle']: { mode: 'line+area' },
      },
    })
    + {
      [if interval != null then 'interval']: interval,
      fieldConfig+: {
        overrides: [
          {
            matcher: { id: 'byRegexp', options: '(^|.* )%s$' % state },
            properties: [{ id: 'color', value: { mode: 'fixed', fixedColor: colours[state] } }],
          }
          for state in ['completed', 'failed', 'lost', 'running', 'pending']
        ],
      },
      options: {
        legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: calcs },
        tooltip: { mode: 'multi', sort: 'desc' },
      },
    },

  // What was counted per time, as bars that end at the time of their value, or with after=true begin there.
  columns(title, description, unit, targets, alerts=[], width=12, height=8, stack=false, decimals=0, after=false):
    g.lines(title, description, unit, targets, alerts, width, height, min=0, interval='$per', stack=stack, calcs=['sum'])
    + defaults({
      [if decimals != null then 'decimals']: decimals,
      custom+: { drawStyle: 'bars', barAlignment: if after then 1 else -1, fillOpacity: 70, spanNulls: false },
    }),

  // One number: the last value of its query, with its course behind it if that is over time.
  stat(title, description, unit, targets, alerts=[], thresholds=[[null, 'text']], none='–', decimals=null, width=4, height=4, interval=null, texts={}):
    local course = std.get(targets[0], 'range', false);
    panel('stat', title, description, unit, targets, alerts, width, height)
    + defaults({
      noValue: none,
      thresholds: steps(thresholds),
      color: { mode: 'thresholds' },
      [if decimals != null then 'decimals']: decimals,
      [if texts != {} then 'mappings']: [{ type: 'value', options: { [value]: { text: texts[value] } for value in std.objectFields(texts) } }],
    })
    + {
      [if interval != null then 'interval']: interval,
      options: {
        graphMode: if course then 'area' else 'none',
        colorMode: 'value',
        justifyMode: 'auto',
        textMode: 'auto',
        wideLayout: true,
        showPercentChange: false,
        percentChangeColorMode: 'standard',
        orientation: 'auto',
        reduceOptions: { calcs: ['lastNotNull'] },
      },
    },

  // A horizontal bar for each series, or with rows=true for each row.
  bars(title, description, unit, targets, alerts=[], width=12, height=8, max=null, rows=false):
    panel('bargauge', title, description, unit, targets, alerts, width, height)
    + defaults({
      thresholds: steps([[null, 'blue']]),
      min: 0,
      [if max != null then 'max']: max,
    })
    + {
      options: {
        displayMode: 'basic',
        valueMode: 'color',
        namePlacement: 'auto',
        showUnfilled: true,
        sizing: 'auto',
        minVizWidth: 8,
        minVizHeight: 16,
        maxVizHeight: 300,
        orientation: 'horizontal',
        legend: { displayMode: 'list', placement: 'bottom', showLegend: false, calcs: [] },
        reduceOptions: { calcs: ['lastNotNull'], values: rows },
      },
    },

  // A row for each series over time, coloured while its value is 1.
  timeline(title, description, targets, alerts=[], width=24, height=5):
    panel('state-timeline', title, description, 'short', targets, alerts, width, height)
    + defaults({
      color: { mode: 'thresholds' },
      custom: { lineWidth: 0, fillOpacity: 80 },
      mappings: [{
        type: 'value',
        options: { '0': { text: 'no', color: 'transparent' }, '1': { text: 'yes', color: 'blue' } },
      }],
    })
    + {
      options: {
        showValue: 'never',
        rowHeight: 0.9,
        mergeValues: true,
        alignValue: 'left',
        perPage: 20,
        legend: { displayMode: 'hidden', placement: 'bottom', showLegend: false, calcs: [] },
        tooltip: { mode: 'single', sort: 'asc' },
      },
    },

  // A distribution over time. The height is the value, the colour is the number of values.
  // calculate=true: Grafana makes the buckets, from single values.
  heatmap(title, description, unit, targets, alerts=[], width=12, height=8, calculate=false):
    panel('heatmap', title, description, unit, targets, alerts, width, height)
    + defaults({ custom: {} })
    + {
      interval: '$per',
      options: {
        calculate: calculate,
        color: { mode: 'scheme', scheme: 'Oranges', fill: '', exponent: 0.5, steps: 64, reverse: false },
        filterValues: { le: 1e-9 },
        showValue: 'auto',
        cellGap: 1,
        cellValues: { unit: 'short' },
        yAxis: { unit: unit, axisPlacement: 'left' },
        rowsFrame: { layout: 'auto' },
        legend: { show: true },
        tooltip: { mode: 'single', yHistogram: true },
        exemplars: { color: 'rgba(255,0,255,0.7)' },
        selectionMode: 'x',
      },
    },

  // A table. A column has the name of its field, a title, and optionally unit, width and link.
  // Several queries are joined by the field join.
  table(title, description, unit, targets, columns, alerts=[], width=24, height=8, exclude=[], join=null, sort=null):
    panel('table', title, description, unit, targets, alerts, width, height)
    + defaults({ custom: { align: 'auto', inspect: false } })
    + {
      fieldConfig+: {
        overrides: [
          o
          for o in [
            {
              matcher: { id: 'byName', options: c.title },
              properties: std.prune([
                if 'unit' in c then { id: 'unit', value: c.unit },
                if 'width' in c then { id: 'custom.width', value: c.width },
                if 'link' in c then { id: 'links', value: [c.link { targetBlank: false }] },
              ]),
            }
            for c in columns
          ]
          if o.properties != []
        ],
      },
      options: {
        frameIndex: 0,
        showHeader: true,
        showTypeIcons: false,
        cellHeight: 'sm',
        [if sort != null then 'sortBy']: [{ displayName: sort, desc: true }],
      },
      transformations:
        (if join == null then [] else [{ id: 'joinByField', options: { byField: join, mode: 'outer' } }])
        + [{
          id: 'organize',
          options: {
            excludeByName: { [name]: true for name in ['Time'] + exclude },
            indexByName: { [columns[i].field]: i for i in std.range(0, std.length(columns) - 1) },
            renameByName: { [c.field]: c.title for c in columns },
          },
        }],
    },

  // The alerts of this mixin that fire or are about to, whoever evaluates them.
  alertList(title, description, width=24, height=6): {
    type: 'alertlist',
    title: title,
    description: description,
    gridPos: { w: width, h: height },
    options: {
      viewMode: 'list',
      groupMode: 'default',
      groupBy: [],
      maxItems: 20,
      sortOrder: 3,  // by importance
      dashboardAlerts: false,
      alertName: '',
      alertInstanceLabelFilter: '{alertname=~"DeepAffects.+"}',
      showInactiveAlerts: false,
      stateFilter: { firing: true, pending: true, recovering: true, noData: true, 'error': true, normal: false },
    },
  },
}

// The dashboard Quota and API: outcomes of requests, the quota and its forecast, webhooks, sources and the store.
import {
  account,
  bars,
  dashboard,
  distribution,
  grown,
  heatmap,
  instant,
  lines,
  one,
  quantiles,
  query,
  series,
  stat,
  table,
  rows,
} from './dashboard.js';

const left = (window) => `sum by (account) (${one('quota_left_requests', `window="${window}"`)})`;
const reset = `max by (account) (${series('quota_reset_timestamp_seconds', 'window="day"')})`;
const price = `max by (account) (${series('poll_price_seconds')})`;
const forecast = (name) => `max by (account) (${series(`forecast_${name}`)})`;
const unfinished = `sum by (account) (${one('jobs', 'state=~"pending|running"')})`;
const waiting = `sum by (account) (${one('poll_queue_jobs')})`;

export function api() {
  const d = dashboard({
    uid: 'deepaffects-api',
    title: 'DeepAffects / Quota and API',
    description: 'Requests to the API, the quota and its forecast, webhooks, sources, and the store.',
    datasource: 'prometheus',
    variables: [account()],
  });

  d.row('Now', [
    stat({
      title: 'API',
      unit: 'short',
      description: '1 if the last request of every account succeeded, otherwise 0.',
      thresholds: [
        [null, 'red'],
        [1, 'green'],
      ],
      alerts: ['DeepAffectsAPIDown', 'DeepAffectsAPIKeyRefused'],
      targets: [instant('A', `min(${one('up')})`)],
    }),
    stat({
      title: 'Last good answer',
      unit: 'dateTimeFromNow',
      description: 'Time of the last successful request.',
      alerts: ['DeepAffectsAPIDown'],
      targets: [instant('A', `max(${one('api_last_success_timestamp_seconds')}) * 1000`)],
    }),
    stat({
      title: 'Left today',
      unit: 'short',
      none: 'unlimited',
      description:
        "Requests left of the day's quota, in the account with the fewest. The scheduler plans to spend all of it, so a small number is normal.",
      targets: [instant('A', `min(${left('day')} < Inf)`)],
    }),
    stat({
      title: 'A request must be worth',
      unit: 's',
      description:
        "Price of a request: the score that a job must reach to be polled, in seconds of expected detection delay. The highest of all accounts. It is the time for which the scheduler expects to have no request of the day's quota left.",
      thresholds: [
        [null, 'green'],
        [3600, 'orange'],
        [21600, 'red'],
      ],
      alerts: ['DeepAffectsDayQuotaRunsOut'],
      targets: [instant('A', `max(${price})`)],
    }),
    stat({
      title: 'Next reset of the day',
      unit: 'dateTimeFromNow',
      none: 'nothing used',
      description: 'When requests become available again: with day_resets_at all of them, otherwise those that were sent 24 hours before.',
      targets: [instant('A', `min(${series('quota_reset_timestamp_seconds', 'window="day"')} > 0) * 1000`)],
    }),
    stat({
      title: 'Last webhook',
      unit: 'dateTimeFromNow',
      none: 'never',
      description: 'Time of the last valid webhook.',
      alerts: ['DeepAffectsWebhooksStopped'],
      targets: [instant('A', `max(${one('webhook_last_received_timestamp_seconds')} > 0) * 1000`)],
    }),
  ]);

  d.row('Quota', [
    table({
      title: 'Forecast',
      unit: 'short',
      width: 24,
      height: 6,
      alerts: ['DeepAffectsDayQuotaRunsOut'],
      description:
        "The scheduler's forecast until the day's quota resets, or for 24 hours if it has no fixed reset. The scheduler plans to spend the whole quota, on the jobs with the highest scores. Ends are seen late if the price is hours, or if jobs wait all the time.",
      targets: [
        rows('A', `${left('day')} < Inf`),
        rows('B', `clamp_min(${reset} - time(), 0)`),
        rows('C', unfinished),
        rows('D', forecast('jobs')),
        rows('E', forecast('requests_per_job')),
        rows('F', price),
        rows('G', waiting),
      ],
      join: 'account',
      exclude: ['Time 1', 'Time 2', 'Time 3', 'Time 4', 'Time 5', 'Time 6', 'Time 7'],
      columns: {
        account: { title: 'Account' },
        'Value #A': { title: 'Left of the day' },
        'Value #B': { title: 'First come back in', unit: 's' },
        'Value #C': { title: 'Jobs unfinished' },
        'Value #D': { title: 'Jobs to come' },
        'Value #E': { title: 'Requests for each' },
        'Value #F': { title: 'A request must be worth', unit: 's' },
        'Value #G': { title: 'Jobs that wait' },
      },
    }),
    bars({
      title: 'Used of the day',
      unit: 'percentunit',
      max: 1,
      description: "Used share of the day's quota, by account. Accounts without a limit are not shown.",
      targets: [
        instant(
          'A',
          `sum by (account) (${one('quota_used_requests', 'window="day"')}) / (sum by (account) (${one('quota_limit_requests', 'window="day"')}) < Inf)`,
          '{{account}}',
        ),
      ],
    }),
    lines({
      title: 'Left of the day, and needed',
      unit: 'short',
      min: 0,
      alerts: ['DeepAffectsDayQuotaRunsOut'],
      description:
        "Requests left of the day's quota, and requests that future jobs are expected to need at the present price. Without a fixed reset, more requests become available meanwhile.",
      targets: [
        query('A', `${left('day')} < Inf`, '{{account}} left'),
        query('B', `${forecast('jobs')} * ${forecast('requests_per_job')} > 0`, '{{account}} needed'),
      ],
    }),
    lines({
      title: 'What a request must be worth',
      unit: 's',
      log: true,
      alerts: ['DeepAffectsDayQuotaRunsOut'],
      description:
        "Price of a request: the score that a job must reach to be polled, in seconds of expected detection delay. It is the time for which the scheduler expects to have no request of the day's quota left. Seconds or minutes are normal; hours are a problem.",
      targets: [query('A', price, '{{account}}')],
    }),
    lines({
      title: 'Jobs that wait for the quota',
      unit: 'short',
      min: 0,
      alerts: ['DeepAffectsDayQuotaRunsOut', 'DeepAffectsMinuteQuotaTooSmall', 'DeepAffectsNothingAsked'],
      description: 'Unfinished jobs that would be polled now if the quota allowed.',
      targets: [query('A', waiting, '{{account}}')],
    }),
    lines({
      title: 'Used of the minute',
      unit: 'short',
      min: 0,
      description:
        'Requests that were sent within a minute, the limit, and the part of the limit that the exporter uses. It uses less after the API refused requests, because others may use the same key.',
      alerts: ['DeepAffectsQuotaRefused'],
      targets: [
        query('A', `sum by (account) (${one('quota_used_requests', 'window="minute"')})`, '{{account}} used'),
        query('B', `sum by (account) (${one('quota_limit_requests', 'window="minute"')}) < Inf`, '{{account}} limit'),
        query(
          'C',
          `max by (account) (${series('quota_share_ratio')}) * sum by (account) (${one('quota_limit_requests', 'window="minute"')}) < Inf`,
          '{{account}} share',
        ),
      ],
    }),
  ]);

  d.row('API', [
    lines({
      title: 'Requests by outcome',
      unit: 'short',
      bars: true,
      stack: true,
      min: 0,
      interval: '1m',
      description: 'Requests to the API by outcome, per interval.',
      alerts: ['DeepAffectsAPIDown', 'DeepAffectsAPIKeyRefused', 'DeepAffectsQuotaRefused', 'DeepAffectsNothingAsked'],
      targets: [query('A', `${grown('outcome', 'api_requests_total')} > 0`, '{{outcome}}')],
    }),
    lines({
      title: 'Share of good answers',
      unit: 'percentunit',
      min: 0,
      max: 1,
      interval: '1m',
      description: 'Share of successful requests, whatever the state of the job.',
      alerts: ['DeepAffectsAPIDown'],
      targets: [
        query(
          'A',
          `sum by (account) (rate(${series('api_requests_total', 'outcome=~"ok|not_found"')}[$__rate_interval])) / sum by (account) (rate(${series('api_requests_total')}[$__rate_interval]))`,
          '{{account}}',
        ),
      ],
    }),
    heatmap({
      title: 'Latency',
      unit: 's',
      interval: '1m',
      description: 'Time from sending a request until its response was read.',
      targets: [distribution('api_request_duration_seconds')],
    }),
    lines({
      title: 'Latency, quantiles',
      unit: 's',
      min: 0,
      interval: '1m',
      description: 'Median, 90th and 99th percentile of the request durations.',
      targets: quantiles('api_request_duration_seconds'),
    }),
    lines({
      title: 'Unknown states',
      unit: 'short',
      bars: true,
      min: 0,
      width: 24,
      height: 5,
      interval: '1m',
      description: 'Responses with an unknown state: the API has changed.',
      alerts: ['DeepAffectsUnknownState', 'DeepAffectsResultsUnreadable'],
      targets: [query('A', grown('account', 'api_unknown_states_total'), '{{account}}')],
    }),
  ]);

  d.row('Webhooks and sources', [
    lines({
      title: 'Webhooks',
      unit: 'short',
      bars: true,
      stack: true,
      min: 0,
      interval: '1m',
      description: 'Webhooks by outcome, per interval.',
      alerts: ['DeepAffectsWebhooksStopped'],
      targets: [query('A', `${grown('outcome', 'webhook_requests_total')} > 0`, '{{outcome}}')],
    }),
    lines({
      title: 'Registered',
      unit: 'short',
      bars: true,
      stack: true,
      min: 0,
      interval: '1m',
      description: 'Registered jobs by source, per interval.',
      alerts: ['DeepAffectsSourceFailing'],
      targets: [query('A', grown('source', 'jobs_registered_total'), '{{source}}')],
    }),
    lines({
      title: 'Problems with sources',
      unit: 'short',
      bars: true,
      min: 0,
      interval: '1m',
      description: 'Errors while reading request IDs, per interval.',
      alerts: ['DeepAffectsSourceFailing'],
      targets: [query('A', grown('account, source', 'source_errors_total'), '{{account}} {{source}}')],
    }),
    lines({
      title: 'Since sources were last read',
      unit: 's',
      min: 0,
      description: 'Time since a source was last read without an error. Sources that were never read are not shown.',
      alerts: ['DeepAffectsSourceFailing'],
      targets: [query('A', `time() - (${one('source_last_success_timestamp_seconds')} > 0)`, '{{account}} {{source}}')],
    }),
  ]);

  d.row('Store and exporter', [
    lines({
      title: 'Store errors',
      unit: 'short',
      bars: true,
      min: 0,
      width: 8,
      interval: '1m',
      description: 'Failed writes of the store, and damaged records, per interval.',
      alerts: ['DeepAffectsStoreFailing', 'DeepAffectsStoreDamaged'],
      targets: [
        query('A', grown('account', 'store_errors_total'), '{{account}} errors'),
        query('B', grown('account', 'store_corrupt_records_total'), '{{account}} damaged'),
      ],
    }),
    lines({
      title: 'Size of the store',
      unit: 'bytes',
      min: 0,
      width: 8,
      description: 'Size of the store on disk. 0 if it is in memory.',
      alerts: ['DeepAffectsStoreFailing'],
      targets: [query('A', `max by (account) (${series('store_size_bytes')})`, '{{account}}')],
    }),
    table({
      title: 'Exporters',
      unit: 'short',
      width: 8,
      description: 'Running exporters, and whether their last reload succeeded.',
      alerts: ['DeepAffectsExporterGone', 'DeepAffectsConfigReloadFailed'],
      targets: [rows('A', 'deepaffects_exporter_build_info * on (job, instance) group_left () deepaffects_config_last_reload_successful')],
      exclude: ['__name__', 'job', 'revision', 'goversion'],
      columns: { instance: { title: 'Instance' }, version: { title: 'Version' }, Value: { title: 'Configuration valid' } },
    }),
  ]);
  return d;
}

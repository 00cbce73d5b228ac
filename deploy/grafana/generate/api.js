// Quota and API: how the API answers, what is left of the quota, and what comes in without asking.
import {
  account,
  bars,
  buckets,
  dashboard,
  distribution,
  grown,
  heatmap,
  instant,
  lines,
  one,
  quantiles,
  query,
  row,
  series,
  stat,
  table,
  rows,
} from './dashboard.js';

const left = (window) => `${one('quota_limit_requests', `window="${window}"`)} - ${one('quota_used_requests', `window="${window}"`)}`;
const reset = `max by (account) (${series('quota_reset_timestamp_seconds', 'window="day"')})`;
const leftByAccount = `sum by (account) (${left('day')})`;
const rateByAccount = `sum by (account) (rate(${series('api_requests_total')}[3h]))`;

export function api() {
  const d = dashboard({
    uid: 'deepaffects-api',
    title: 'DeepAffects / Quota and API',
    description: 'How the API answers, what is left of the quota and whether it will last, webhooks, sources, and the store.',
    datasource: 'prometheus',
    variables: [account()],
  });
  const put = (...panels) => panels.forEach((p) => d.withPanel(p));

  d.withRow(row('Now'));
  put(
    stat({
      title: 'API',
      unit: 'short',
      description: '1 if the last request of every account was answered as it should be, else 0.',
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
      description: 'When the API last answered as it should.',
      alerts: ['DeepAffectsAPIDown'],
      targets: [instant('A', `max(${one('api_last_success_timestamp_seconds')}) * 1000`)],
    }),
    stat({
      title: 'Left today',
      unit: 'short',
      description: "Requests left of the day's quota, in the account with the fewest.",
      thresholds: [
        [null, 'red'],
        [1, 'orange'],
        [20, 'green'],
      ],
      alerts: ['DeepAffectsDayQuotaRunsOut'],
      targets: [instant('A', `min(${left('day')})`)],
    }),
    stat({
      title: 'Left this minute',
      unit: 'short',
      description: "Requests left of the minute's quota, in the account with the fewest.",
      targets: [instant('A', `min(${left('minute')})`)],
    }),
    stat({
      title: 'Next reset of the day',
      unit: 'dateTimeFromNow',
      none: 'nothing used',
      description: 'When the first requests come back: all of them with day_resets_at, else those that were sent 24 hours before.',
      targets: [instant('A', `min(${series('quota_reset_timestamp_seconds', 'window="day"')} > 0) * 1000`)],
    }),
    stat({
      title: 'Last webhook',
      unit: 'dateTimeFromNow',
      none: 'never',
      description: 'When the last webhook came that could be read.',
      alerts: ['DeepAffectsWebhooksStopped'],
      targets: [instant('A', `max(${one('webhook_last_received_timestamp_seconds')} > 0) * 1000`)],
    }),
  );

  d.withRow(row('Quota'));
  put(
    bars({
      title: 'Used of the day',
      unit: 'percentunit',
      max: 1,
      description: "Share of the day's quota that is used, by account. Nothing is shown of one that is unlimited.",
      thresholds: [
        [null, 'green'],
        [0.7, 'orange'],
        [0.95, 'red'],
      ],
      alerts: ['DeepAffectsDayQuotaRunsOut'],
      targets: [
        instant(
          'A',
          `sum by (account) (${one('quota_used_requests', 'window="day"')}) / (sum by (account) (${one('quota_limit_requests', 'window="day"')}) < Inf)`,
          '{{account}}',
        ),
      ],
    }),
    lines({
      title: 'Used of the day, over time',
      unit: 'short',
      min: 0,
      description: 'Requests that were sent within the day, and the limit.',
      targets: [
        query('A', `sum by (account) (${one('quota_used_requests', 'window="day"')})`, '{{account}} used'),
        query('B', `sum by (account) (${one('quota_limit_requests', 'window="day"')}) < Inf`, '{{account}} limit'),
      ],
    }),
    table({
      title: 'Forecast',
      unit: 'short',
      width: 24,
      height: 6,
      alerts: ['DeepAffectsDayQuotaRunsOut'],
      description:
        'How long what is left of the day lasts at the rate of the last 3 hours, and how long it must. Short of that by far, ends are seen late.',
      targets: [
        rows('A', `${leftByAccount} < Inf`),
        rows('B', `${rateByAccount} * 3600`),
        rows('C', `(${leftByAccount} < Inf) / (${rateByAccount} > 0)`),
        rows('D', `clamp_min(${reset} - time(), 0)`),
        rows('E', `sum by (account) (${one('poll_queue_jobs')})`),
      ],
      join: 'account',
      exclude: ['Time 1', 'Time 2', 'Time 3', 'Time 4', 'Time 5'],
      columns: {
        account: { title: 'Account' },
        'Value #A': { title: 'Left' },
        'Value #B': { title: 'Requests per hour' },
        'Value #C': { title: 'Lasts', unit: 's' },
        'Value #D': { title: 'First come back in', unit: 's' },
        'Value #E': { title: 'Jobs that wait for it' },
      },
    }),
    lines({
      title: 'Used of the minute',
      unit: 'short',
      min: 0,
      description: 'Requests that were sent within a minute, and the limit.',
      alerts: ['DeepAffectsQuotaRefused'],
      targets: [
        query('A', `sum by (account) (${one('quota_used_requests', 'window="minute"')})`, '{{account}} used'),
        query('B', `sum by (account) (${one('quota_limit_requests', 'window="minute"')}) < Inf`, '{{account}} limit'),
      ],
    }),
    lines({
      title: 'Jobs that wait for the quota',
      unit: 'short',
      min: 0,
      description: 'Unfinished jobs that would be asked about now if the quota allowed.',
      targets: [query('A', `sum by (account) (${one('poll_queue_jobs')})`, '{{account}}')],
    }),
  );

  d.withRow(row('API'));
  put(
    lines({
      title: 'Requests by outcome',
      unit: 'short',
      bars: true,
      stack: true,
      min: 0,
      interval: '1m',
      description: 'Requests to the API, by how they ended, in each interval.',
      alerts: ['DeepAffectsAPIDown', 'DeepAffectsAPIKeyRefused', 'DeepAffectsQuotaRefused'],
      targets: [query('A', `${grown('outcome', 'api_requests_total')} > 0`, '{{outcome}}')],
    }),
    lines({
      title: 'Share of good answers',
      unit: 'percentunit',
      min: 0,
      max: 1,
      interval: '1m',
      description: 'Share of the requests that the API answers as it should, whatever it says of the job.',
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
      description: 'Time that requests took until their answers were read.',
      targets: [buckets('A', distribution('api_request_duration_seconds'))],
    }),
    lines({
      title: 'Latency, quantiles',
      unit: 's',
      min: 0,
      interval: '1m',
      description: 'Half, nine of ten and 99 of 100 requests took at most so long.',
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
      description: 'Answers with a state that this program does not know: the API has changed.',
      targets: [query('A', grown('account', 'api_unknown_states_total'), '{{account}}')],
    }),
  );

  d.withRow(row('Webhooks and sources'));
  put(
    lines({
      title: 'Webhooks',
      unit: 'short',
      bars: true,
      stack: true,
      min: 0,
      interval: '1m',
      description: 'Webhooks that came in, by what became of them, in each interval.',
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
      description: 'Jobs that tracking began for, by where they were first heard of, in each interval.',
      alerts: ['DeepAffectsSourceFailing'],
      targets: [query('A', grown('source', 'jobs_registered_total'), '{{source}}')],
    }),
    lines({
      title: 'Problems with sources',
      unit: 'short',
      bars: true,
      min: 0,
      interval: '1m',
      description: 'Problems with reading request IDs, in each interval.',
      alerts: ['DeepAffectsSourceFailing'],
      targets: [query('A', grown('account, source', 'source_errors_total'), '{{account}} {{source}}')],
    }),
    lines({
      title: 'Since sources were last read',
      unit: 's',
      min: 0,
      description: 'Time since a source was last looked at without a problem. Sources that were never looked at are not shown.',
      alerts: ['DeepAffectsSourceFailing'],
      targets: [query('A', `time() - (${one('source_last_success_timestamp_seconds')} > 0)`, '{{account}} {{source}}')],
    }),
  );

  d.withRow(row('Store and exporter'));
  put(
    lines({
      title: 'Store errors',
      unit: 'short',
      bars: true,
      min: 0,
      width: 8,
      interval: '1m',
      description: 'Times that the register could not be stored, and stored records that were damaged, in each interval.',
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
      description: 'Size of the stored register; 0 where it is kept in memory.',
      alerts: ['DeepAffectsStoreFailing'],
      targets: [query('A', `max by (account) (${series('store_size_bytes')})`, '{{account}}')],
    }),
    table({
      title: 'Exporters',
      unit: 'short',
      width: 8,
      description: 'What runs, and whether its configuration could be used when it was last read.',
      alerts: ['DeepAffectsExporterGone', 'DeepAffectsConfigReloadFailed'],
      targets: [rows('A', 'deepaffects_exporter_build_info * on (job, instance) group_left () deepaffects_config_last_reload_successful')],
      exclude: ['__name__', 'job', 'revision', 'goversion'],
      columns: { instance: { title: 'Instance' }, version: { title: 'Version' }, Value: { title: 'Configuration sound' } },
    }),
  );
  return d;
}

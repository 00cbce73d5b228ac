// The dashboard Jobs for data that Telegraf writes to InfluxDB 3, in SQL.
import { bars, choice, dashboard, heatmap, lines, stat, table, variable } from './dashboard.js';

const influxdb = { type: 'influxdb', uid: '${datasource}' };

const sql = (refId, format, rawSql) => ({
  build: () => ({
    refId,
    datasource: influxdb,
    format,
    resultFormat: format,
    rawQuery: true,
    rawSql,
    query: rawSql,
    editorMode: 'code',
    dataset: 'iox',
  }),
});
const series = (refId, text) => sql(refId, 'time_series', text);
const rows = (refId, text) => sql(refId, 'table', text);
const range = '$__timeFilter(time) AND account IN (${account:singlequote})';

// Grafana rounds $__dateBin to whole seconds, and an interval of 0 is an error. Panels with
// $__dateBin therefore need a minimum interval, such as the one at which Telegraf writes.
const written = '10s';
const gauge = (...columns) =>
  `SELECT $__dateBin(time) AS time, account, ${columns.map((c) => `AVG(${c}) AS ${c}`).join(', ')}\nFROM deepaffects\nWHERE ${range}\nGROUP BY 1, account\nORDER BY 1`;
const ended = (aggregates, where) =>
  `SELECT $__dateBin(time) AS time, ${aggregates}\nFROM deepaffects_job\nWHERE ${range}\n  AND api IN (\${api:singlequote}) AND ${where}\nGROUP BY 1\nORDER BY 1`;
// Quantiles without approx_percentile_cont, whose syntax differs between versions of InfluxDB 3.
const quantilesOf = (column) =>
  `SELECT time, MIN(CASE WHEN share >= 0.5 THEN value END) AS p50, MIN(CASE WHEN share >= 0.9 THEN value END) AS p90, MIN(CASE WHEN share >= 0.99 THEN value END) AS p99
FROM (
  SELECT time, value, CUME_DIST() OVER (PARTITION BY time ORDER BY value) AS share
  FROM (
    SELECT $__dateBin(time) AS time, ${column} AS value
    FROM deepaffects_job
    WHERE ${range}
      AND api IN (\${api:singlequote}) AND state = 'completed' AND ${column} IS NOT NULL
  )
)
GROUP BY time
ORDER BY time`;
const count = (state) => `SELECT COUNT(*) AS jobs\nFROM deepaffects_job\nWHERE ${range}\n  AND api IN (\${api:singlequote}) AND state = '${state}'`;

const jobLink = {
  title: 'This job',
  url: '/d/deepaffects-jobs-influxdb?${__url_time_range}&${datasource:queryparam}&${account:queryparam}&${api:queryparam}&var-request_id=${__value.raw:percentencode}',
};

export function jobsInfluxDB() {
  const d = dashboard({
    uid: 'deepaffects-jobs-influxdb',
    title: 'DeepAffects / Jobs (InfluxDB)',
    description:
      'Which jobs run, which failed and why, how long they take, and the details of one job, from data that Telegraf writes to InfluxDB 3.',
    datasource: 'influxdb',
    variables: [
      choice('account', 'Account', "SELECT DISTINCT account FROM deepaffects WHERE time > now() - INTERVAL '7 days'", influxdb),
      choice('api', 'API', "SELECT DISTINCT api FROM deepaffects_job WHERE time > now() - INTERVAL '7 days'", influxdb),
      variable(
        'request_id',
        'Job',
        "SELECT DISTINCT request_id FROM deepaffects_job WHERE time > now() - INTERVAL '1 day' ORDER BY request_id LIMIT 1000",
        influxdb,
      ).description('The job in the last row'),
    ],
  });
  const on = (options) => ({ datasource: influxdb, ...options });

  d.row('Now', [
    stat(
      on({
        title: 'Unfinished',
        unit: 'short',
        description: 'Jobs that are pending or running.',
        targets: [
          series(
            'A',
            `SELECT $__dateBin(time) AS time, account, MAX(pending + running) AS unfinished\nFROM deepaffects\nWHERE ${range}\nGROUP BY 1, account\nORDER BY 1`,
          ),
        ],
      }),
    ).interval(written),
    stat(
      on({
        title: 'Completed',
        unit: 'short',
        description: 'Jobs that completed in the time range.',
        thresholds: [[null, 'green']],
        targets: [rows('A', count('completed'))],
      }),
    ),
    stat(
      on({
        title: 'Failed',
        unit: 'short',
        description: 'Jobs that failed in the time range.',
        thresholds: [
          [null, 'green'],
          [1, 'red'],
        ],
        alerts: ['DeepAffectsJobFailed'],
        targets: [rows('A', count('failed'))],
      }),
    ),
    stat(
      on({
        title: 'Lost',
        unit: 'short',
        description: 'Jobs that were given up in the time range.',
        thresholds: [
          [null, 'green'],
          [1, 'purple'],
        ],
        alerts: ['DeepAffectsJobLost'],
        targets: [rows('A', count('lost'))],
      }),
    ),
    stat(
      on({
        title: 'Oldest unfinished',
        unit: 's',
        description: 'Age of the oldest unfinished job.',
        thresholds: [
          [null, 'green'],
          [3600, 'orange'],
          [14400, 'red'],
        ],
        alerts: ['DeepAffectsJobStuck'],
        targets: [series('A', gauge('oldest_unfinished_age_seconds'))],
      }),
    ).interval(written),
    stat(
      on({
        title: 'Left today',
        unit: 'short',
        description: "Requests left of the day's quota. Without a limit, the field does not exist.",
        thresholds: [
          [null, 'red'],
          [1, 'orange'],
          [20, 'green'],
        ],
        alerts: ['DeepAffectsDayQuotaRunsOut'],
        targets: [
          series(
            'A',
            `SELECT $__dateBin(time) AS time, account, MIN(quota_day_limit - quota_day_used) AS "left"\nFROM deepaffects\nWHERE ${range}\nGROUP BY 1, account\nORDER BY 1`,
          ),
        ],
      }),
    ).interval(written),
  ]);

  d.row('What runs', [
    lines(
      on({
        title: 'Jobs by state',
        unit: 'short',
        interval: written,
        stack: true,
        min: 0,
        description: 'Tracked jobs by state. Ended jobs are dropped after their retention.',
        targets: [series('A', gauge('pending', 'running', 'completed', 'failed', 'lost'))],
      }),
    ),
    lines(
      on({
        title: 'Ended',
        unit: 'short',
        bars: true,
        stack: true,
        min: 0,
        interval: '1m',
        description: 'Jobs whose end was seen, per interval.',
        alerts: ['DeepAffectsNothingFinishes'],
        targets: [
          series(
            'A',
            `SELECT $__dateBin(time) AS time, state, COUNT(*) AS jobs\nFROM deepaffects_job\nWHERE ${range}\n  AND api IN (\${api:singlequote}) AND state IN ('completed', 'failed', 'lost')\nGROUP BY 1, state\nORDER BY 1`,
          ),
        ],
      }),
    ),
    lines(
      on({
        title: 'Backlog',
        unit: 'short',
        interval: written,
        min: 0,
        description: 'Unfinished jobs that would be polled now if the quota allowed.',
        alerts: ['DeepAffectsDayQuotaRunsOut'],
        targets: [series('A', gauge('poll_queue'))],
      }),
    ),
    lines(
      on({
        title: 'Age of the oldest unfinished job',
        unit: 's',
        interval: written,
        min: 0,
        description: 'A line that only rises is a stuck job.',
        alerts: ['DeepAffectsJobStuck'],
        targets: [series('A', gauge('oldest_unfinished_age_seconds'))],
      }),
    ),
    lines(
      on({
        title: 'Quota of the day',
        unit: 'short',
        interval: written,
        min: 0,
        description: 'Requests that were sent within the day, and the limit. Without a limit, the fields do not exist.',
        alerts: ['DeepAffectsDayQuotaRunsOut', 'DeepAffectsQuotaRefused'],
        targets: [series('A', gauge('quota_day_used', 'quota_day_limit'))],
      }),
    ),
    lines(
      on({
        title: 'API up',
        unit: 'short',
        interval: written,
        min: 0,
        description: '1 if the last request succeeded.',
        max: 1,
        alerts: ['DeepAffectsAPIDown', 'DeepAffectsAPIKeyRefused'],
        targets: [series('A', gauge('up'))],
      }),
    ),
    table(
      on({
        title: 'Oldest unfinished jobs',
        unit: 's',
        width: 24,
        alerts: ['DeepAffectsJobStuck'],
        description: 'Jobs whose end was not seen in the time range. A click on a job shows it below.',
        targets: [
          rows(
            'A',
            `SELECT request_id, account, api, MAX(time) AS last_change, MAX(age_seconds) AS age_then\nFROM deepaffects_job\nWHERE ${range}\n  AND api IN (\${api:singlequote})\nGROUP BY request_id, account, api\nHAVING MAX(state_code) < 2\nORDER BY last_change\nLIMIT 50`,
          ),
        ],
        columns: {
          request_id: { title: 'Job', width: 320, link: jobLink },
          account: { title: 'Account' },
          api: { title: 'API' },
          last_change: { title: 'Last change' },
          age_then: { title: 'Age then', unit: 's' },
        },
      }),
    ),
  ]);

  d.row('What failed, and why', [
    bars(
      on({
        title: 'Failed, by API and error code',
        unit: 'short',
        description: 'Jobs that failed in the time range.',
        alerts: ['DeepAffectsFailureRatioHigh'],
        values: true,
        targets: [
          rows(
            'A',
            `SELECT api || ': ' || error_code AS "why", COUNT(*) AS jobs\nFROM deepaffects_job\nWHERE ${range}\n  AND api IN (\${api:singlequote}) AND state = 'failed'\nGROUP BY api, error_code\nORDER BY jobs DESC\nLIMIT 20`,
          ),
        ],
      }),
    ),
    lines(
      on({
        title: 'Failed and lost',
        unit: 'short',
        bars: true,
        min: 0,
        interval: '1m',
        description: 'Jobs that failed or were given up, per interval.',
        alerts: ['DeepAffectsJobFailed', 'DeepAffectsJobLost'],
        targets: [
          series(
            'A',
            `SELECT $__dateBin(time) AS time, account, state, COUNT(*) AS jobs\nFROM deepaffects_job\nWHERE ${range}\n  AND api IN (\${api:singlequote}) AND state IN ('failed', 'lost')\nGROUP BY 1, account, state\nORDER BY 1`,
          ),
        ],
      }),
    ),
    table(
      on({
        title: 'Latest failed and lost jobs',
        unit: 'short',
        width: 24,
        alerts: ['DeepAffectsJobFailed', 'DeepAffectsJobLost'],
        description: 'The last 50 failed or lost jobs. A click on a job shows it below.',
        targets: [
          rows(
            'A',
            `SELECT request_id, account, api, state, error_code, time AS ended, age_seconds AS age\nFROM deepaffects_job\nWHERE ${range}\n  AND api IN (\${api:singlequote}) AND state IN ('failed', 'lost')\nORDER BY ended DESC\nLIMIT 50`,
          ),
        ],
        columns: {
          request_id: { title: 'Job', width: 320, link: jobLink },
          account: { title: 'Account' },
          api: { title: 'API' },
          state: { title: 'State' },
          error_code: { title: 'Error code', width: 280 },
          ended: { title: 'Ended' },
          age: { title: 'Took', unit: 's' },
        },
      }),
    ),
  ]);

  d.row('How long they take, and how good they are', [
    heatmap(
      on({
        title: 'Durations of completed jobs',
        unit: 's',
        calculate: true,
        description: 'Time from the submission of a job, or from when it was first seen, until its end was seen.',
        alerts: ['DeepAffectsJobsSlow'],
        targets: [
          series(
            'A',
            `SELECT time, duration_seconds\nFROM deepaffects_job\nWHERE ${range}\n  AND api IN (\${api:singlequote}) AND state = 'completed'\nORDER BY time`,
          ),
        ],
      }),
    ),
    lines(
      on({
        title: 'Durations of completed jobs, quantiles',
        unit: 's',
        min: 0,
        interval: '5m',
        description: 'Median, 90th and 99th percentile of the job durations.',
        alerts: ['DeepAffectsJobsSlow'],
        targets: [series('A', quantilesOf('duration_seconds'))],
      }),
    ),
    lines(
      on({
        title: 'Detection windows, quantiles',
        unit: 's',
        min: 0,
        interval: '5m',
        description: 'Median, 90th and 99th percentile of the detection windows. They grow if the quota is too small.',
        alerts: ['DeepAffectsDayQuotaRunsOut'],
        targets: [series('A', quantilesOf('detection_window_seconds'))],
      }),
    ),
    lines(
      on({
        title: 'Confidence of results',
        unit: 'percentunit',
        min: 0,
        max: 1,
        interval: '5m',
        description: 'Mean and lowest confidence of the results, per interval.',
        alerts: ['DeepAffectsConfidenceFell'],
        targets: [series('A', ended('AVG(confidence) AS mean, MIN(confidence) AS lowest', `state = 'completed'`))],
      }),
    ),
  ]);

  d.row('One job: $request_id', [
    table(
      on({
        title: 'Timeline',
        unit: 'short',
        width: 24,
        height: 6,
        description: 'Each observed state change.',
        alerts: ['DeepAffectsJobFailed', 'DeepAffectsJobStuck'],
        targets: [
          rows(
            'A',
            `SELECT time AS changed, account, api, state, age_seconds AS age, error_code, duration_seconds AS took, detection_window_seconds AS give_or_take\nFROM deepaffects_job\nWHERE $__timeFilter(time) AND request_id = \${request_id:singlequote}\nORDER BY changed`,
          ),
        ],
        columns: {
          changed: { title: 'When' },
          state: { title: 'State' },
          age: { title: 'Age', unit: 's' },
          error_code: { title: 'Error code', width: 280 },
          took: { title: 'Took', unit: 's' },
          give_or_take: { title: 'Of that, at most unseen', unit: 's' },
          account: { title: 'Account' },
          api: { title: 'API' },
        },
      }),
    ),
    table(
      on({
        title: 'Result',
        unit: 'short',
        width: 24,
        height: 5,
        description: 'Statistics of the result, without text.',
        alerts: ['DeepAffectsConfidenceFell'],
        targets: [
          rows(
            'A',
            `SELECT confidence, num_speakers, words, speech_seconds, transcript_seconds, speech_rate, word_confidence_mean, word_confidence_min, word_duration_p90, word_gap_p90, word_gap_max, overlaps, dominant_speaker_ratio\nFROM deepaffects_job\nWHERE $__timeFilter(time) AND request_id = \${request_id:singlequote} AND state = 'completed'`,
          ),
        ],
        columns: {
          confidence: { title: 'Confidence', unit: 'percentunit' },
          num_speakers: { title: 'Speakers' },
          words: { title: 'Words' },
          speech_seconds: { title: 'Speech', unit: 's' },
          transcript_seconds: { title: 'Recording', unit: 's' },
          speech_rate: { title: 'Words per second' },
          word_confidence_mean: { title: 'Mean word confidence', unit: 'percentunit' },
          word_confidence_min: { title: 'Min. word confidence', unit: 'percentunit' },
          word_duration_p90: { title: 'Word duration p90', unit: 's' },
          word_gap_p90: { title: 'Pause p90', unit: 's' },
          word_gap_max: { title: 'Longest pause', unit: 's' },
          overlaps: { title: 'Overlaps' },
          dominant_speaker_ratio: { title: 'Dominant speaker', unit: 'percentunit' },
        },
      }),
    ),
    bars(
      on({
        title: 'Talk time',
        unit: 's',
        width: 24,
        height: 6,
        description: 'Talk time of each speaker.',
        values: true,
        alerts: ['DeepAffectsConfidenceFell'],
        targets: [
          rows(
            'A',
            `SELECT 'Speaker ' || speaker AS who, MAX(talk_seconds) AS talk\nFROM deepaffects_speaker\nWHERE $__timeFilter(time) AND request_id = \${request_id:singlequote}\nGROUP BY speaker\nORDER BY talk DESC`,
          ),
        ],
      }),
    ),
  ]);
  return d;
}

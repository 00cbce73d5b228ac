// The dashboard Jobs for data that Telegraf writes to InfluxDB 3, in SQL.
function(config) {
  local g = (import 'grafana.libsonnet')(config),

  local influxdb = { type: 'influxdb', uid: '${datasource}' },

  local sql(ref, format, text) =
    local raw = std.rstripChars(text, '\n');
    {
      refId: ref,
      datasource: influxdb,
      format: format,
      resultFormat: format,
      rawQuery: true,
      rawSql: raw,
      query: raw,
      editorMode: 'code',
      dataset: 'iox',
    },
  local series(ref, text) = sql(ref, 'time_series', text),
  local rows(ref, text) = sql(ref, 'table', text),

  local selected = '$__timeFilter(time) AND account IN (${account:singlequote})',
  local selectedJobs = selected + '\n  AND api IN (${api:singlequote})',
  local thisJob = '$__timeFilter(time) AND request_id = ${request_id:singlequote}',

  // Grafana rounds $__dateBin to whole seconds, and an interval of 0 is an error. Panels with
  // $__dateBin therefore need a minimum interval, such as the one at which Telegraf writes.
  local written = '10s',

  local gauge(columns) = |||
    SELECT $__dateBin(time) AS time, account, %s
    FROM deepaffects
    WHERE %s
    GROUP BY 1, account
    ORDER BY 1
  ||| % [std.join(', ', columns), selected],
  local average(columns) = gauge(['AVG(%s) AS %s' % [c, c] for c in columns]),

  local high = { median: 0.5, '90th percentile': 0.9, '99th percentile': 0.99 },
  local low = { median: 0.5, '10th percentile': 0.1, '1st percentile': 0.01 },
  // Without approx_percentile_cont, whose syntax differs between versions of InfluxDB 3.
  local quantiles(column, names) = |||
    SELECT time, %s
    FROM (
      SELECT time, value, CUME_DIST() OVER (PARTITION BY time ORDER BY value) AS share
      FROM (
        SELECT $__dateBin(time) AS time, %s AS value
        FROM deepaffects_job
        WHERE $__timeFilter(time) AND account IN (${account:singlequote})
          AND api IN (${api:singlequote}) AND state = 'completed' AND %s IS NOT NULL
      )
    )
    GROUP BY time
    ORDER BY time
  ||| % [
    std.join(', ', ['MIN(CASE WHEN share >= %g THEN value END) AS "%s"' % [names[name], name] for name in std.objectFields(names)]),
    column,
    column,
  ],

  local count(state) = |||
    SELECT COUNT(*) AS jobs
    FROM deepaffects_job
    WHERE %s AND state = '%s'
  ||| % [selectedJobs, state],

  local jobColumns = [
    {
      field: 'request_id',
      title: 'Job',
      width: 320,
      link: {
        title: 'This job',
        url: '/d/deepaffects-jobs-influxdb?${__url_time_range}&${datasource:queryparam}&${account:queryparam}&${api:queryparam}&var-request_id=${__value.raw:percentencode}',
      },
    },
    { field: 'account', title: 'Account' },
    { field: 'api', title: 'API' },
  ],

  local now = g.row('Now, all APIs', [
    g.stat(
      'Unfinished jobs',
      'Jobs that are pending or running.',
      'short',
      [series('A', gauge(['MAX(pending + running) AS unfinished']))],
      width=6,
      interval=written,
    ),
    g.stat(
      'Late jobs',
      'Unfinished jobs that take longer than nine in ten of such jobs do.',
      'short',
      [series('A', gauge(['MAX(late) AS late']))],
      ['DeepAffectsJobsSlow', 'DeepAffectsJobStuck'],
      width=6,
      interval=written,
    ),
    g.stat(
      'Age of the oldest unfinished job',
      'Time since that job was registered.',
      's',
      [series('A', average(['oldest_unfinished_age_seconds']))],
      ['DeepAffectsJobStuck'],
      width=6,
      interval=written,
    ),
    g.stat(
      'Requests left of the day',
      "Requests left of the day's quota. Without a limit, the field does not exist.",
      'short',
      [series('A', gauge(['MIN(quota_day_limit - quota_day_used) AS "left"']))],
      ['DeepAffectsDayQuotaRunsOut'],
      width=6,
      interval=written,
    ),
  ]),

  local inRange = g.row('In the time range', [
    g.stat(
      'Completed jobs',
      'Jobs that completed in the time range.',
      'short',
      [rows('A', count('completed'))],
      thresholds=[[null, 'green']],
      width=8,
    ),
    g.stat(
      'Failed jobs',
      'Jobs that failed in the time range.',
      'short',
      [rows('A', count('failed'))],
      ['DeepAffectsJobFailed'],
      thresholds=[[null, 'green'], [1, 'red']],
      width=8,
    ),
    g.stat(
      'Lost jobs',
      'Jobs that were given up in the time range.',
      'short',
      [rows('A', count('lost'))],
      ['DeepAffectsJobLost'],
      thresholds=[[null, 'green'], [1, 'purple']],
      width=8,
    ),
  ]),

  local unfinished = g.row('Unfinished jobs', [
    g.lines(
      'Jobs by state, all APIs',
      'Tracked jobs by state. Ended jobs are dropped after their retention.',
      'short',
      [series('A', average(['pending', 'running', 'completed', 'failed', 'lost']))],
      min=0,
      interval=written,
      stack=true,
    ),
    g.lines(
      'Age of the oldest unfinished job, all APIs',
      'A line that only rises is a stuck job.',
      's',
      [series('A', average(['oldest_unfinished_age_seconds']))],
      ['DeepAffectsJobStuck'],
      min=0,
      interval=written,
    ),
    g.table(
      'Running jobs',
      'Jobs that were seen to begin to run in the time range, and not to end, the oldest change first. There is no point of a pending job. A click on a job shows it below.',
      's',
      [rows('A', |||
        SELECT request_id, account, api, MAX(time) AS last_change, MAX(age_seconds) AS age_then
        FROM deepaffects_job
        WHERE %s
        GROUP BY request_id, account, api
        HAVING MAX(state_code) < 2
        ORDER BY last_change
        LIMIT 50
      ||| % selectedJobs)],
      jobColumns + [
        { field: 'last_change', title: 'Last change' },
        { field: 'age_then', title: 'Age then', unit: 's' },
      ],
      ['DeepAffectsJobStuck'],
    ),
  ]),

  local quota = g.row('Quota, all APIs', [
    g.lines(
      'Requests of the day',
      'Requests that were sent within the day, and the limit. Without a limit, the fields do not exist.',
      'short',
      [series('A', average(['quota_day_used', 'quota_day_limit']))],
      ['DeepAffectsDayQuotaRunsOut', 'DeepAffectsQuotaRefused'],
      width=8,
      min=0,
      interval=written,
    ),
    g.lines(
      'Jobs that wait for the quota',
      'Unfinished jobs that would be polled now if the quota allowed.',
      'short',
      [series('A', average(['poll_queue']))],
      ['DeepAffectsDayQuotaRunsOut'],
      width=8,
      min=0,
      interval=written,
    ),
    g.lines(
      'Whether the API works',
      '1 if the last request succeeded.',
      'short',
      [series('A', average(['up']))],
      ['DeepAffectsAPIDown', 'DeepAffectsAPIKeyRefused'],
      width=8,
      min=0,
      max=1,
      interval=written,
    ),
  ], collapsed=true),

  local ended = g.row('Ended jobs', [
    g.columns(
      'Ended jobs per $per, by result',
      'Jobs whose end was seen. Each bar is the time after it.',
      'short',
      [series('A', |||
        SELECT $__dateBin(time) AS time, state, COUNT(*) AS jobs
        FROM deepaffects_job
        WHERE %s AND state IN ('completed', 'failed', 'lost')
        GROUP BY 1, state
        ORDER BY 1
      ||| % selectedJobs)],
      ['DeepAffectsNothingFinishes'],
      stack=true,
      after=true,
    ),
    g.columns(
      'Failed and lost jobs per $per, by account',
      'Jobs that failed or were given up.',
      'short',
      [series('A', |||
        SELECT $__dateBin(time) AS time, account, state, COUNT(*) AS jobs
        FROM deepaffects_job
        WHERE %s AND state IN ('failed', 'lost')
        GROUP BY 1, account, state
        ORDER BY 1
      ||| % selectedJobs)],
      ['DeepAffectsJobFailed', 'DeepAffectsJobLost'],
      after=true,
    ),
    g.bars(
      'Failed jobs by API and error code',
      'Jobs that failed in the time range.',
      'short',
      [rows('A', |||
        SELECT api || ': ' || error_code AS "why", COUNT(*) AS jobs
        FROM deepaffects_job
        WHERE %s AND state = 'failed'
        GROUP BY api, error_code
        ORDER BY jobs DESC
        LIMIT 20
      ||| % selectedJobs)],
      ['DeepAffectsFailureRatioHigh'],
      width=24,
      height=6,
      rows=true,
    ),
    g.table(
      'Latest failed and lost jobs',
      'The last 50 failed or lost jobs. A click on a job shows it below.',
      'short',
      [rows('A', |||
        SELECT request_id, account, api, state, error_code, time AS ended, age_seconds AS age
        FROM deepaffects_job
        WHERE %s AND state IN ('failed', 'lost')
        ORDER BY ended DESC
        LIMIT 50
      ||| % selectedJobs)],
      jobColumns + [
        { field: 'state', title: 'State' },
        { field: 'error_code', title: 'Error code', width: 280 },
        { field: 'ended', title: 'Ended' },
        { field: 'age', title: 'Took', unit: 's' },
      ],
      ['DeepAffectsJobFailed', 'DeepAffectsJobLost'],
    ),
  ]),

  local durations = g.row('Durations and confidence', [
    g.heatmap(
      'Durations of completed jobs',
      'Time from the submission of a job, or from when it was first seen, until its end was seen.',
      's',
      [series('A', |||
        SELECT time, duration_seconds
        FROM deepaffects_job
        WHERE %s AND state = 'completed'
        ORDER BY time
      ||| % selectedJobs)],
      ['DeepAffectsJobsSlow'],
      calculate=true,
    ),
    g.lines(
      'Durations of completed jobs, percentiles',
      'Half of the jobs that completed in each $per took less than the median.',
      's',
      [series('A', quantiles('duration_seconds', high))],
      ['DeepAffectsJobsSlow'],
      min=0,
      interval='$per',
    ),
    g.lines(
      'How late ends are seen, at most: percentiles',
      'Time between the last poll that found a job unfinished and the observation of its end. It grows if the quota is too small.',
      's',
      [series('A', quantiles('detection_window_seconds', high))],
      ['DeepAffectsDayQuotaRunsOut'],
      min=0,
      interval='$per',
    ),
    g.lines(
      'Confidence of results, percentiles',
      'One in 10 results that ended in each $per is below the 10th percentile.',
      'percentunit',
      [series('A', quantiles('confidence', low))],
      ['DeepAffectsConfidenceFell'],
      min=0,
      max=1,
      interval='$per',
    ),
  ]),

  local one = g.row('One job: $request_id', [
    g.table(
      'Changes of state',
      'Each change that was observed.',
      'short',
      [rows('A', |||
        SELECT time AS changed, account, api, state, age_seconds AS age, error_code, duration_seconds AS took, detection_window_seconds AS give_or_take
        FROM deepaffects_job
        WHERE %s
        ORDER BY changed
      ||| % thisJob)],
      [
        { field: 'changed', title: 'When' },
        { field: 'state', title: 'State' },
        { field: 'age', title: 'Age', unit: 's' },
        { field: 'error_code', title: 'Error code', width: 280 },
        { field: 'took', title: 'Took', unit: 's' },
        { field: 'give_or_take', title: 'Seen at most so late', unit: 's' },
        { field: 'account', title: 'Account' },
        { field: 'api', title: 'API' },
      ],
      ['DeepAffectsJobFailed', 'DeepAffectsJobStuck'],
      height=6,
    ),
    g.table(
      'Result',
      'Statistics of the result, without text.',
      'short',
      [rows('A', |||
        SELECT confidence, num_speakers, words, speech_seconds, transcript_seconds, speech_rate, word_confidence_p10, word_confidence_min, word_duration_p90, word_gap_p90, word_gap_max, overlaps, dominant_speaker_ratio
        FROM deepaffects_job
        WHERE %s AND state = 'completed'
      ||| % thisJob)],
      [
        { field: 'confidence', title: 'Confidence', unit: 'percentunit' },
        { field: 'num_speakers', title: 'Speakers' },
        { field: 'words', title: 'Words' },
        { field: 'speech_seconds', title: 'Speech', unit: 's' },
        { field: 'transcript_seconds', title: 'Recording', unit: 's' },
        { field: 'speech_rate', title: 'Words per second' },
        { field: 'word_confidence_p10', title: 'Word confidence, 10th percentile', unit: 'percentunit' },
        { field: 'word_confidence_min', title: 'Lowest word confidence', unit: 'percentunit' },
        { field: 'word_duration_p90', title: 'Length of a word, 90th percentile', unit: 's' },
        { field: 'word_gap_p90', title: 'Pause, 90th percentile', unit: 's' },
        { field: 'word_gap_max', title: 'Longest pause', unit: 's' },
        { field: 'overlaps', title: 'Overlaps' },
        { field: 'dominant_speaker_ratio', title: 'Talk time of the most talkative speaker', unit: 'percentunit' },
      ],
      ['DeepAffectsConfidenceFell'],
      height=5,
    ),
    g.bars(
      'Talk time of each speaker',
      'Speaker 0 talks most.',
      's',
      [rows('A', |||
        SELECT 'Speaker ' || speaker AS who, MAX(talk_seconds) AS talk
        FROM deepaffects_speaker
        WHERE %s
        GROUP BY speaker
        ORDER BY talk DESC
      ||| % thisJob)],
      ['DeepAffectsConfidenceFell'],
      width=24,
      height=6,
      rows=true,
    ),
  ]),

  dashboard: g.dashboard(
    'deepaffects-jobs-influxdb',
    'Jobs (InfluxDB)',
    'Which jobs are unfinished, which failed and why, how long they take, and the details of one job, from data that Telegraf writes to InfluxDB 3.',
    'influxdb',
    [
      g.choice('account', 'Account', "SELECT DISTINCT account FROM deepaffects WHERE time > now() - INTERVAL '7 days'", influxdb),
      g.choice('api', 'API', "SELECT DISTINCT api FROM deepaffects_job WHERE time > now() - INTERVAL '7 days'", influxdb),
      g.variable(
        'request_id',
        'Job',
        "SELECT DISTINCT request_id FROM deepaffects_job WHERE time > now() - INTERVAL '1 day' ORDER BY request_id LIMIT 1000",
        influxdb,
      ) { description: 'The job in the last row' },
    ],
    [now, inRange, unfinished, ended, durations, quota, one],
  ),
}

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

  local ended(aggregates, where) = |||
    SELECT $__dateBin(time) AS time, %s
    FROM deepaffects_job
    WHERE %s AND %s
    GROUP BY 1
    ORDER BY 1
  ||| % [aggregates, selectedJobs, where],

  // Without approx_percentile_cont, whose syntax differs between versions of InfluxDB 3.
  local quantiles(column) = |||
    SELECT time, MIN(CASE WHEN share >= 0.5 THEN value END) AS p50, MIN(CASE WHEN share >= 0.9 THEN value END) AS p90, MIN(CASE WHEN share >= 0.99 THEN value END) AS p99
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
  ||| % [column, column],

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

  local now = g.row('Now', [
    g.stat(
      'Unfinished',
      'Jobs that are pending or running.',
      'short',
      [series('A', gauge(['MAX(pending + running) AS unfinished']))],
      interval=written,
    ),
    g.stat(
      'Completed',
      'Jobs that completed in the time range.',
      'short',
      [rows('A', count('completed'))],
      thresholds=[[null, 'green']],
    ),
    g.stat(
      'Failed',
      'Jobs that failed in the time range.',
      'short',
      [rows('A', count('failed'))],
      ['DeepAffectsJobFailed'],
      thresholds=[[null, 'green'], [1, 'red']],
    ),
    g.stat(
      'Lost',
      'Jobs that were given up in the time range.',
      'short',
      [rows('A', count('lost'))],
      ['DeepAffectsJobLost'],
      thresholds=[[null, 'green'], [1, 'purple']],
    ),
    g.stat(
      'Oldest unfinished',
      'Age of the oldest unfinished job.',
      's',
      [series('A', average(['oldest_unfinished_age_seconds']))],
      ['DeepAffectsJobStuck'],
      thresholds=[[null, 'green'], [3600, 'orange'], [14400, 'red']],
      interval=written,
    ),
    g.stat(
      'Left today',
      "Requests left of the day's quota. Without a limit, the field does not exist.",
      'short',
      [series('A', gauge(['MIN(quota_day_limit - quota_day_used) AS "left"']))],
      ['DeepAffectsDayQuotaRunsOut'],
      thresholds=[[null, 'red'], [1, 'orange'], [20, 'green']],
      interval=written,
    ),
  ]),

  local running = g.row('What runs', [
    g.lines(
      'Jobs by state',
      'Tracked jobs by state. Ended jobs are dropped after their retention.',
      'short',
      [series('A', average(['pending', 'running', 'completed', 'failed', 'lost']))],
      min=0,
      interval=written,
      stack=true,
    ),
    g.columns(
      'Ended',
      'Jobs whose end was seen, per interval.',
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
    ),
    g.lines(
      'Backlog',
      'Unfinished jobs that would be polled now if the quota allowed.',
      'short',
      [series('A', average(['poll_queue']))],
      ['DeepAffectsDayQuotaRunsOut'],
      min=0,
      interval=written,
    ),
    g.lines(
      'Age of the oldest unfinished job',
      'A line that only rises is a stuck job.',
      's',
      [series('A', average(['oldest_unfinished_age_seconds']))],
      ['DeepAffectsJobStuck'],
      min=0,
      interval=written,
    ),
    g.lines(
      'Quota of the day',
      'Requests that were sent within the day, and the limit. Without a limit, the fields do not exist.',
      'short',
      [series('A', average(['quota_day_used', 'quota_day_limit']))],
      ['DeepAffectsDayQuotaRunsOut', 'DeepAffectsQuotaRefused'],
      min=0,
      interval=written,
    ),
    g.lines(
      'API up',
      '1 if the last request succeeded.',
      'short',
      [series('A', average(['up']))],
      ['DeepAffectsAPIDown', 'DeepAffectsAPIKeyRefused'],
      min=0,
      max=1,
      interval=written,
    ),
    g.table(
      'Oldest unfinished jobs',
      'Jobs whose end was not seen in the time range. A click on a job shows it below.',
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

  local failed = g.row('What failed, and why', [
    g.bars(
      'Failed, by API and error code',
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
      rows=true,
    ),
    g.columns(
      'Failed and lost',
      'Jobs that failed or were given up, per interval.',
      'short',
      [series('A', |||
        SELECT $__dateBin(time) AS time, account, state, COUNT(*) AS jobs
        FROM deepaffects_job
        WHERE %s AND state IN ('failed', 'lost')
        GROUP BY 1, account, state
        ORDER BY 1
      ||| % selectedJobs)],
      ['DeepAffectsJobFailed', 'DeepAffectsJobLost'],
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

  local durations = g.row('How long they take, and how good they are', [
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
      'Durations of completed jobs, quantiles',
      'Median, 90th and 99th percentile of the job durations.',
      's',
      [series('A', quantiles('duration_seconds'))],
      ['DeepAffectsJobsSlow'],
      min=0,
      interval='5m',
    ),
    g.lines(
      'Detection windows, quantiles',
      'Median, 90th and 99th percentile of the detection windows. They grow if the quota is too small.',
      's',
      [series('A', quantiles('detection_window_seconds'))],
      ['DeepAffectsDayQuotaRunsOut'],
      min=0,
      interval='5m',
    ),
    g.lines(
      'Confidence of results',
      'Mean and lowest confidence of the results, per interval.',
      'percentunit',
      [series('A', ended('AVG(confidence) AS mean, MIN(confidence) AS lowest', "state = 'completed'"))],
      ['DeepAffectsConfidenceFell'],
      min=0,
      max=1,
      interval='5m',
    ),
  ]),

  local one = g.row('One job: $request_id', [
    g.table(
      'Timeline',
      'Each observed state change.',
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
        { field: 'give_or_take', title: 'Of that, at most unseen', unit: 's' },
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
        SELECT confidence, num_speakers, words, speech_seconds, transcript_seconds, speech_rate, word_confidence_mean, word_confidence_min, word_duration_p90, word_gap_p90, word_gap_max, overlaps, dominant_speaker_ratio
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
        { field: 'word_confidence_mean', title: 'Mean word confidence', unit: 'percentunit' },
        { field: 'word_confidence_min', title: 'Min. word confidence', unit: 'percentunit' },
        { field: 'word_duration_p90', title: 'Word duration p90', unit: 's' },
        { field: 'word_gap_p90', title: 'Pause p90', unit: 's' },
        { field: 'word_gap_max', title: 'Longest pause', unit: 's' },
        { field: 'overlaps', title: 'Overlaps' },
        { field: 'dominant_speaker_ratio', title: 'Dominant speaker', unit: 'percentunit' },
      ],
      ['DeepAffectsConfidenceFell'],
      height=5,
    ),
    g.bars(
      'Talk time',
      'Talk time of each speaker.',
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
    'Which jobs run, which failed and why, how long they take, and the details of one job, from data that Telegraf writes to InfluxDB 3.',
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
    [now, running, failed, durations, one],
  ),
}

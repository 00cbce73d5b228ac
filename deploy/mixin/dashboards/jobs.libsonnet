// The dashboard Jobs: which jobs are unfinished, which failed and why, how long they take, and the details of one job.
function(config) {
  local g = (import 'grafana.libsonnet')(config),
  local p = (import 'prometheus.libsonnet')(config),

  local api = 'api=~"$api"',

  // Information about jobs, to be multiplied by a value of each.
  local info(by=[]) = 'max by (%s) (%s)' % [std.join(', ', ['account', 'request_id'] + by), p.series('job_info', api)],
  local ofJob(name, matchers='') = 'max by (account, request_id) (%s)' % p.series(name, matchers),
  local withState(states) =
    '* on (account, request_id) group_left (state) (max by (account, request_id, state) (%s) == 1)'
    % p.series('job_state', 'state=~"%s"' % states),

  // Not all metrics have the label api. With all APIs selected, their value. Otherwise api does not match
  // (a label that a series does not have is empty), and the value is made from the jobs with series.
  local orFromJobs(expr, fromJobs) = '%s\nor %s' % [expr, fromJobs],
  local unfinished = 'state=~"pending|running"',
  local jobsBy(by, matchers) =
    orFromJobs(
      'sum by (%s) (%s)' % [std.join(', ', by), p.one('jobs', std.join(', ', matchers + [api]))],
      'sum by (%s) (max by (%s) (%s) and on (account, request_id) %s)' % [
        std.join(', ', by),
        std.join(', ', ['account', 'request_id'] + by),
        p.series('job_state', std.join(', ', matchers)),
        info(),
      ],
    ),
  local oldest(by) =
    orFromJobs(
      'max by (%s) (%s)' % [by, p.one('oldest_unfinished_job_age_seconds', api)],
      'max by (%s) (time() - (%s unless on (account, request_id) %s and on (account, request_id) %s))' % [
        by,
        ofJob('job_first_seen_timestamp_seconds'),
        ofJob('job_finished_timestamp_seconds'),
        info(),
      ],
    ),
  local late(by) =
    orFromJobs(
      'sum by (%s) (%s)' % [by, p.one('jobs_late', api)],
      'sum by (%s) (time() > bool %s and on (account, request_id) %s)' % [
        by,
        ofJob('job_late_after_timestamp_seconds'),
        info(),
      ],
    ),
  local thisJob = 'request_id="$request_id"',
  local figure(title, description, name, unit, scale='') =
    g.stat(title, description, unit, [p.instant('A', 'max(%s)%s' % [p.series(name, thisJob), scale])], height=3),
  local date(title, description, name) = figure(title, description, name, 'dateTimeAsIso', ' * 1000'),

  local ended(result) = p.total('jobs_finished_total', 'result=~"%s", %s' % [result, api]),
  local completed = 'result="completed", ' + api,

  local jobColumns = (import 'columns.libsonnet').jobs,
  local fromSeries = ' With an API selected, of the jobs with series.',

  local now = g.row('Now', [
    g.stat(
      'Unfinished jobs',
      'Jobs that are pending or running.' + fromSeries,
      'short',
      [p.range('A', jobsBy([], [unfinished]), 'unfinished')],
    ),
    g.stat(
      'Late jobs',
      'Unfinished jobs that take longer than nine in ten of such jobs do.' + fromSeries,
      'short',
      [p.range('A', late(''), 'late')],
      ['DeepAffectsJobsSlow', 'DeepAffectsJobStuck'],
    ),
    g.stat(
      'Completed jobs',
      'Jobs that completed in the time range.',
      'short',
      [p.instant('A', ended('completed'))],
      thresholds=[[null, 'green']],
      decimals=0,
    ),
    g.stat(
      'Failed jobs',
      'Jobs that failed in the time range.',
      'short',
      [p.instant('A', ended('failed'))],
      ['DeepAffectsJobFailed'],
      thresholds=[[null, 'green'], [0.5, 'red']],
      decimals=0,
    ),
    g.stat(
      'Lost jobs',
      'Jobs that were given up in the time range: the API did not know them, their result was unreadable, or they were unfinished for too long.',
      'short',
      [p.instant('A', ended('lost'))],
      ['DeepAffectsJobLost'],
      thresholds=[[null, 'green'], [0.5, 'purple']],
      decimals=0,
    ),
    g.stat(
      'Failed share',
      'Share of failed jobs among the jobs that ended in the time range.',
      'percentunit',
      [p.instant('A', '%s / %s' % [ended('failed'), ended('.+')])],
      ['DeepAffectsFailureRatioHigh'],
      thresholds=[[null, 'green'], [config.thresholds.failureRatio / 5, 'orange'], [config.thresholds.failureRatio, 'red']],
      decimals=1,
    ),
    g.alertList(
      'Alerts',
      'The alerts of all accounts that fire, or will if their condition holds.',
    ),
  ]),

  local unfinishedJobs = g.row('Unfinished jobs', [
    g.lines(
      'Jobs by state',
      'Tracked jobs by state. Ended jobs are dropped after their retention.' + fromSeries,
      'short',
      [p.range('A', jobsBy(['state'], []), '{{state}}')],
      min=0,
      stack=true,
    ),
    g.lines(
      'Late jobs',
      'Unfinished jobs that take longer than nine in ten of such jobs do. Some are late at any time. If most of the unfinished jobs are, the API is slow, or their ends were not seen yet.' + fromSeries,
      'short',
      [p.range('A', late('account'), '{{account}}')],
      ['DeepAffectsJobsSlow'],
      min=0,
    ),
    g.lines(
      'Slowest unfinished job, compared with others, all APIs',
      'For how long a job was observed unfinished, divided by the time within which nine in ten of such jobs finish, or by a minute if that is less. Above 1 it is late, above the line it is stuck.',
      'short',
      [p.range('A', 'max by (account) (%s)' % p.one('jobs_lateness_max'), '{{account}}')],
      ['DeepAffectsJobStuck'],
      min=0,
      thresholds=[[config.thresholds.stuckFactor, 'red']],
    ),
    g.lines(
      'Age of the oldest unfinished job',
      'A line that only rises is a stuck job.' + fromSeries,
      's',
      [p.range('A', oldest('account'), '{{account}}')],
      ['DeepAffectsJobStuck'],
      min=0,
    ),
    g.table(
      'Oldest unfinished jobs',
      'The 50 oldest unfinished jobs with series. A click on a job shows it below.',
      's',
      [p.rows('A', |||
        topk(50,
          %s
          %s
          * on (account, request_id) group_left () (time() - %s)
        )
      ||| % [info(['api', 'source']), withState('pending|running'), ofJob('job_first_seen_timestamp_seconds')])],
      jobColumns + [
        { field: 'source', title: 'Source' },
        { field: 'state', title: 'State' },
        { field: 'Value', title: 'Age', unit: 's' },
      ],
      ['DeepAffectsJobStuck'],
      sort='Age',
    ),
  ]),

  local endedJobs = g.row('Ended jobs', [
    g.columns(
      'Ended jobs per $per, by result',
      'Jobs whose end was seen. Each bar is the time before it.',
      'short',
      [p.range('A', p.grown('result', 'jobs_finished_total', api), '{{result}}')],
      ['DeepAffectsNothingFinishes'],
      stack=true,
    ),
    g.columns(
      'Failed and lost jobs per $per, by account',
      'Jobs that failed or were given up.',
      'short',
      [p.range(
        'A',
        p.grown('account, result', 'jobs_finished_total', 'result=~"failed|lost", ' + api),
        '{{account}} {{result}}',
      )],
      ['DeepAffectsJobFailed', 'DeepAffectsJobLost'],
    ),
    g.bars(
      'Failed jobs by API and error code',
      'Failed jobs that are still tracked and have series.',
      'short',
      [p.instant('A', |||
        sort_desc(count by (api, error_code) (
          %s
          and on (account, request_id) %s == 1
        ))
      ||| % [info(['api', 'error_code']), ofJob('job_state', 'state="failed"')], '{{api}}: {{error_code}}')],
      ['DeepAffectsFailureRatioHigh'],
      width=24,
      height=6,
    ),
    g.table(
      'Latest failed and lost jobs',
      'The last 50 failed or lost jobs with series. A click on a job shows it below.',
      'short',
      [p.rows('A', |||
        topk(50,
          %s
          %s
          * on (account, request_id) group_left () %s
        ) * 1000
      ||| % [info(['api', 'error_code', 'source']), withState('failed|lost'), ofJob('job_finished_timestamp_seconds')])],
      jobColumns + [
        { field: 'state', title: 'State' },
        { field: 'error_code', title: 'Error code', width: 280 },
        { field: 'source', title: 'Source' },
        { field: 'Value', title: 'Ended', unit: 'dateTimeAsIso' },
      ],
      ['DeepAffectsJobFailed', 'DeepAffectsJobLost'],
      sort='Ended',
    ),
  ]),

  local durations = g.row('Durations', [
    g.heatmap(
      'Durations of completed jobs',
      'Time from the submission of a job, or from when it was first seen, until its end was seen. The darker, the more jobs.',
      's',
      [p.distribution('job_duration_seconds', completed)],
      ['DeepAffectsJobsSlow'],
    ),
    g.lines(
      'Durations of completed jobs, percentiles',
      'Half of the jobs that completed in each $per took less than the median.',
      's',
      p.highQuantiles('job_duration_seconds', completed),
      ['DeepAffectsJobsSlow'],
      min=0,
      interval='$per',
    ),
  ]),

  local one = g.row('One job: $request_id', [
    g.timeline(
      'States of the job over time',
      'A change between two polls appears at the second poll.',
      [p.range('A', 'max by (state) (%s)' % p.series('job_state', thisJob), '{{state}}')],
      ['DeepAffectsJobFailed', 'DeepAffectsJobStuck'],
    ),
    g.table(
      'Details',
      'The API of the job, its source, its error code, and the job_labels.',
      'short',
      [p.rows('A', 'max without (instance, pod, job, __name__) (%s)' % p.series('job_info', thisJob))],
      [
        { field: 'account', title: 'Account' },
        { field: 'api', title: 'API' },
        { field: 'source', title: 'Source' },
        { field: 'error_code', title: 'Error code' },
      ],
      height=4,
      exclude=['Value'],
    ),
    date('First seen', 'When the job was first seen.', 'job_first_seen_timestamp_seconds'),
    date('Last observed', 'When the API or a webhook last reported its state.', 'job_last_observed_timestamp_seconds'),
    date('Next poll', 'When its next poll is due, if the quota allows. Empty after its end.', 'job_next_poll_timestamp_seconds'),
    date('Ended', 'When its end was seen. Empty before.', 'job_finished_timestamp_seconds'),
    figure('Confidence', 'Confidence of the result, or else the mean over its words or segments.', 'job_confidence_ratio', 'percentunit'),
    figure('Speakers', 'Number of speakers in the result.', 'job_speakers', 'short'),
    figure('Words', 'Number of words in the transcript.', 'job_words', 'short'),
    figure('Length of the recording', 'Time from the start of the recording to the end of the last word or segment.', 'job_transcript_duration_seconds', 's'),
    figure('Speech', 'Sum of the durations of the words, or else of the segments.', 'job_speech_seconds', 's'),
    g.stat(
      'Speech rate',
      'Words per second of the recording, pauses included.',
      'suffix:words/s',
      [p.instant('A', 'max(%s) / max(%s)' % [p.series('job_words', thisJob), p.series('job_transcript_duration_seconds', thisJob)])],
      decimals=1,
      height=3,
    ),
    g.stat(
      'Long pauses, 99th percentile',
      'One in 100 pauses between words is longer.',
      's',
      [p.instant('A', 'max(%s)' % p.series('job_word_gap_seconds', thisJob + ', quantile="0.99"'))],
      decimals=1,
      height=3,
    ),
    g.stat(
      'Length of a word, median',
      'Half of the words are longer.',
      's',
      [p.instant('A', 'max(%s)' % p.series('job_word_duration_seconds', thisJob + ', quantile="0.5"'))],
      decimals=2,
      height=3,
    ),
    g.bars(
      'Talk time of each speaker',
      'Speaker 0 talks most.',
      's',
      [p.instant('A', 'max by (speaker) (%s)' % p.series('job_speaker_talk_seconds', thisJob), 'Speaker {{speaker}}')],
    ),
    g.bars(
      'Confidence of the words: low tail',
      'The share 0.01 of the words has at most the first confidence, 0.1 the second, and half of them the third.',
      'percentunit',
      [p.instant('A', 'sort(max by (quantile) (%s))' % p.series('job_word_confidence_ratio', thisJob), 'lowest {{quantile}}')],
      ['DeepAffectsConfidenceFell'],
      max=1,
    ),
  ]),

  dashboard: g.dashboard(
    'deepaffects-jobs',
    'Jobs',
    'Which jobs are unfinished, which failed and why, how long they take, and the details of one job.',
    'prometheus',
    [
      p.account,
      p.either('api', 'API', [m + '{account=~"$account"}' for m in ['deepaffects_jobs_finished_total', 'deepaffects_job_info']]) {
        description: 'Counts have the APIs that the exporter does not know as "other", jobs have their names: select both',
      },
      p.variable('request_id', 'Job', 'deepaffects_job_info{account=~"$account", api=~"$api"}') {
        description: 'The job in the last row',
      },
    ],
    [now, unfinishedJobs, endedJobs, durations, one],
    annotations=p.annotations,
  ),
}

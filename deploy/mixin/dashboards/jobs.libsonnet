// The dashboard Jobs: which jobs run, which failed and why, how long they take, and the details of one job.
function(config) {
  local g = (import 'grafana.libsonnet')(config),
  local p = (import 'prometheus.libsonnet')(config),

  // Information about jobs, to be multiplied by a value of each.
  local info(by) = 'max by (account, request_id, %s) (%s)' % [by, p.series('job_info', 'api=~"$api"')],
  local ofJob(name, matchers='') = 'max by (account, request_id) (%s)' % p.series(name, matchers),
  local withState(states) =
    '* on (account, request_id) group_left (state) (max by (account, request_id, state) (%s) == 1)'
    % p.series('job_state', 'state=~"%s"' % states),

  local thisJob = 'request_id="$request_id"',
  local figure(title, description, name, unit, scale='') =
    g.stat(title, description, unit, [p.instant('A', 'max(%s)%s' % [p.series(name, thisJob), scale])], height=3),
  local date(title, description, name) = figure(title, description, name, 'dateTimeAsIso', ' * 1000'),

  local finished(result) = 'sum(increase(%s[$__range]))' % p.series('jobs_finished_total', 'result="%s"' % result),

  local jobColumns = (import 'columns.libsonnet').jobs,

  local now = g.row('Now', [
    g.stat(
      'Unfinished',
      'Jobs that are pending or running now.',
      'short',
      [p.instant('A', 'sum(%s)' % p.one('jobs', 'state=~"pending|running"'))],
    ),
    g.stat(
      'Completed',
      'Jobs that completed in the time range.',
      'short',
      [p.instant('A', finished('completed'))],
      thresholds=[[null, 'green']],
      decimals=0,
    ),
    g.stat(
      'Failed',
      'Jobs that failed in the time range.',
      'short',
      [p.instant('A', finished('failed'))],
      ['DeepAffectsJobFailed'],
      thresholds=[[null, 'green'], [0.5, 'red']],
      decimals=0,
    ),
    g.stat(
      'Lost',
      'Jobs that were given up in the time range: the API did not know them, or they were unfinished for too long.',
      'short',
      [p.instant('A', finished('lost'))],
      ['DeepAffectsJobLost'],
      thresholds=[[null, 'green'], [0.5, 'purple']],
      decimals=0,
    ),
    g.stat(
      'Failure ratio',
      'Share of failed jobs among the jobs that ended in the time range.',
      'percentunit',
      [p.instant('A', '%s / sum(increase(%s[$__range]))' % [finished('failed'), p.series('jobs_finished_total')])],
      ['DeepAffectsFailureRatioHigh'],
      thresholds=[[null, 'green'], [0.05, 'orange'], [0.25, 'red']],
      decimals=1,
    ),
    g.stat(
      'Oldest unfinished',
      'Age of the oldest unfinished job.',
      's',
      [p.instant('A', 'max(%s)' % p.one('oldest_unfinished_job_age_seconds'))],
      ['DeepAffectsJobStuck'],
      thresholds=[[null, 'green'], [3600, 'orange'], [14400, 'red']],
    ),
  ]),

  local running = g.row('What runs', [
    g.lines(
      'Jobs by state',
      'Tracked jobs by state. Ended jobs are dropped after their retention.',
      'short',
      [p.range('A', 'sum by (state) (%s)' % p.one('jobs'), '{{state}}')],
      min=0,
      stack=true,
    ),
    g.columns(
      'Registered and ended',
      'Jobs that were registered, and jobs whose end was seen, per interval.',
      'short',
      [
        p.range('A', p.grown('', 'jobs_registered_total'), 'began'),
        p.range('B', p.grown('result', 'jobs_finished_total'), '{{result}}'),
      ],
      ['DeepAffectsNothingFinishes'],
    ),
    g.lines(
      'Backlog',
      'Unfinished jobs that would be polled now if the quota allowed. If it is never 0, the quota is too small for the jobs, and ends are seen late.',
      'short',
      [p.range('A', 'sum by (account) (%s)' % p.one('poll_queue_jobs'), '{{account}}')],
      ['DeepAffectsDayQuotaRunsOut'],
      min=0,
    ),
    g.lines(
      'Age of the oldest unfinished job',
      'A line that only rises is a stuck job.',
      's',
      [p.range('A', 'max by (account) (%s)' % p.one('oldest_unfinished_job_age_seconds'), '{{account}}')],
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
      ||| % [info('api, source'), withState('pending|running'), ofJob('job_first_seen_timestamp_seconds')])],
      jobColumns + [
        { field: 'source', title: 'Source' },
        { field: 'state', title: 'State' },
        { field: 'Value', title: 'Age', unit: 's' },
      ],
      ['DeepAffectsJobStuck'],
      sort='Age',
    ),
  ]),

  local failed = g.row('What failed, and why', [
    g.columns(
      'Failed and lost',
      'Jobs that failed or were given up, per interval.',
      'short',
      [p.range(
        'A',
        p.grown('account, result', 'jobs_finished_total', 'result=~"failed|lost"'),
        '{{account}} {{result}}',
      )],
      ['DeepAffectsJobFailed', 'DeepAffectsJobLost'],
    ),
    g.bars(
      'Failed, by API and error code',
      'Failed jobs that are still tracked and have series.',
      'short',
      [p.instant('A', |||
        sort_desc(count by (api, error_code) (
          %s
          and on (account, request_id) %s == 1
        ))
      ||| % [info('api, error_code'), ofJob('job_state', 'state="failed"')], '{{api}}: {{error_code}}')],
      ['DeepAffectsFailureRatioHigh'],
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
      ||| % [info('api, error_code, source'), withState('failed|lost'), ofJob('job_finished_timestamp_seconds')])],
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

  local durations = g.row('How long they take', [
    g.heatmap(
      'Durations of completed jobs',
      'Time from the submission of a job, or from when it was first seen, until its end was seen.',
      's',
      [p.distribution('job_duration_seconds', 'result="completed"')],
      ['DeepAffectsJobsSlow'],
    ),
    g.lines(
      'Durations of completed jobs, quantiles',
      'Median, 90th and 99th percentile of the job durations.',
      's',
      p.quantiles('job_duration_seconds', 'result="completed"'),
      ['DeepAffectsJobsSlow'],
      min=0,
      interval='5m',
    ),
    g.heatmap(
      'Detection windows',
      'Time between the last poll that found a job unfinished and the observation of its end: the upper bound of the error of its duration.',
      's',
      [p.distribution('job_detection_window_seconds')],
    ),
    g.lines(
      'Detection windows, quantiles',
      'Median, 90th and 99th percentile of the detection windows. They grow if the quota is too small.',
      's',
      p.quantiles('job_detection_window_seconds'),
      ['DeepAffectsDayQuotaRunsOut'],
      min=0,
      interval='5m',
    ),
  ]),

  local one = g.row('One job: $request_id', [
    g.timeline(
      'Timeline',
      'The states of the job. A change between two polls appears at the second poll.',
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
    figure('Recording', 'Time from the start of the recording to the end of the last word or segment.', 'job_transcript_duration_seconds', 's'),
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
      'Longest pauses',
      '99th percentile of the pauses between words.',
      's',
      [p.instant('A', 'max(%s)' % p.series('job_word_gap_seconds', thisJob + ', quantile="0.99"'))],
      decimals=1,
      height=3,
    ),
    g.stat(
      'Median word',
      'Median duration of the words.',
      's',
      [p.instant('A', 'max(%s)' % p.series('job_word_duration_seconds', thisJob + ', quantile="0.5"'))],
      decimals=2,
      height=3,
    ),
    g.bars(
      'Talk time',
      'Talk time of each speaker. Speaker 0 talks most.',
      's',
      [p.instant('A', 'max by (speaker) (%s)' % p.series('job_speaker_talk_seconds', thisJob), 'Speaker {{speaker}}')],
    ),
    g.bars(
      'Confidence of words',
      'Quantiles of the confidence of the words.',
      'percentunit',
      [p.instant('A', 'max by (quantile) (%s)' % p.series('job_word_confidence_ratio', thisJob), 'quantile {{quantile}}')],
      max=1,
    ),
  ]),

  dashboard: g.dashboard(
    'deepaffects-jobs',
    'Jobs',
    'Which jobs run, which failed and why, how long they take, and the details of one job.',
    'prometheus',
    [
      p.account,
      p.choice('api', 'API', 'deepaffects_job_info{account=~"$account"}') {
        description: 'Applies to panels about single jobs',
      },
      p.variable('request_id', 'Job', 'deepaffects_job_info{account=~"$account", api=~"$api"}') {
        description: 'The job in the last row',
      },
    ],
    [now, running, failed, durations, one],
  ),
}

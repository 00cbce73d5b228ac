// The dashboard Jobs: which jobs run, which failed and why, how long they took, and details of one job.
import {
  account,
  bars,
  choice,
  dashboard,
  distribution,
  grown,
  heatmap,
  instant,
  jobColumns,
  lines,
  one,
  prometheus,
  quantiles,
  query,
  rows,
  series,
  stat,
  states,
  table,
  variable,
} from './dashboard.js';

/** Information about jobs, multiplied by a value of each. */
const jobInfo = (by) => `max by (account, request_id, ${by}) (${series('job_info', 'api=~"$api"')})`;
const ofJob = (name, more) => `max by (account, request_id) (${series(name, more)})`;
const withState = (states) =>
  `* on (account, request_id) group_left (state) (max by (account, request_id, state) (${series('job_state', `state=~"${states}"`)}) == 1)`;

const thisJob = 'request_id="$request_id"';
const figure = (title, description, name, unit, scale = '') =>
  stat({ title, description, unit, width: 4, height: 3, targets: [instant('A', `max(${series(name, thisJob)})${scale}`)] });
const date = (title, description, name) => figure(title, description, name, 'dateTimeAsIso', ' * 1000');

export function jobs() {
  const d = dashboard({
    uid: 'deepaffects-jobs',
    title: 'DeepAffects / Jobs',
    description: 'Which jobs run, which failed and why, how long they take, and the details of one job.',
    datasource: 'prometheus',
    variables: [
      account(),
      choice('api', 'API', 'label_values(deepaffects_job_info{account=~"$account"}, api)', prometheus)
        .allValue('.*')
        .description('Applies to panels about single jobs'),
      variable('request_id', 'Job', 'label_values(deepaffects_job_info{account=~"$account", api=~"$api"}, request_id)', prometheus).description(
        'The job in the last row',
      ),
    ],
  });

  d.row('Now', [
    stat({
      title: 'Unfinished',
      unit: 'short',
      description: 'Jobs that are pending or running now.',
      targets: [instant('A', `sum(${one('jobs', 'state=~"pending|running"')})`)],
    }),
    stat({
      title: 'Completed',
      unit: 'short',
      decimals: 0,
      description: 'Jobs that completed in the time range.',
      thresholds: [[null, 'green']],
      targets: [instant('A', `sum(increase(${series('jobs_finished_total', 'result="completed"')}[$__range]))`)],
    }),
    stat({
      title: 'Failed',
      unit: 'short',
      decimals: 0,
      description: 'Jobs that failed in the time range.',
      thresholds: [
        [null, 'green'],
        [0.5, 'red'],
      ],
      alerts: ['DeepAffectsJobFailed'],
      targets: [instant('A', `sum(increase(${series('jobs_finished_total', 'result="failed"')}[$__range]))`)],
    }),
    stat({
      title: 'Lost',
      unit: 'short',
      decimals: 0,
      description: 'Jobs that were given up in the time range: the API did not know them, or they were unfinished for too long.',
      thresholds: [
        [null, 'green'],
        [0.5, 'purple'],
      ],
      alerts: ['DeepAffectsJobLost'],
      targets: [instant('A', `sum(increase(${series('jobs_finished_total', 'result="lost"')}[$__range]))`)],
    }),
    stat({
      title: 'Failure ratio',
      unit: 'percentunit',
      decimals: 1,
      description: 'Share of failed jobs among the jobs that ended in the time range.',
      thresholds: [
        [null, 'green'],
        [0.05, 'orange'],
        [0.25, 'red'],
      ],
      alerts: ['DeepAffectsFailureRatioHigh'],
      targets: [
        instant(
          'A',
          `sum(increase(${series('jobs_finished_total', 'result="failed"')}[$__range])) / sum(increase(${series('jobs_finished_total')}[$__range]))`,
        ),
      ],
    }),
    stat({
      title: 'Oldest unfinished',
      unit: 's',
      description: 'Age of the oldest unfinished job.',
      thresholds: [
        [null, 'green'],
        [3600, 'orange'],
        [14400, 'red'],
      ],
      alerts: ['DeepAffectsJobStuck'],
      targets: [instant('A', `max(${one('oldest_unfinished_job_age_seconds')})`)],
    }),
  ]);

  d.row('What runs', [
    lines({
      title: 'Jobs by state',
      unit: 'short',
      description: 'Tracked jobs by state. Ended jobs are dropped after their retention.',
      stack: true,
      min: 0,
      targets: [query('A', `sum by (state) (${one('jobs')})`, '{{state}}')],
    }),
    lines({
      title: 'Registered and ended',
      unit: 'short',
      bars: true,
      min: 0,
      interval: '1m',
      alerts: ['DeepAffectsNothingFinishes'],
      description: 'Jobs that were registered, and jobs whose end was seen, per interval.',
      targets: [query('A', grown('', 'jobs_registered_total'), 'began'), query('B', grown('result', 'jobs_finished_total'), '{{result}}')],
    }),
    lines({
      title: 'Backlog',
      unit: 'short',
      min: 0,
      alerts: ['DeepAffectsDayQuotaRunsOut'],
      description:
        'Unfinished jobs that would be polled now if the quota allowed. If it is never 0, the quota is too small for the jobs, and ends are seen late.',
      targets: [query('A', `sum by (account) (${one('poll_queue_jobs')})`, '{{account}}')],
    }),
    lines({
      title: 'Age of the oldest unfinished job',
      unit: 's',
      min: 0,
      description: 'A line that only rises is a stuck job.',
      alerts: ['DeepAffectsJobStuck'],
      targets: [query('A', `max by (account) (${one('oldest_unfinished_job_age_seconds')})`, '{{account}}')],
    }),
    table({
      title: 'Oldest unfinished jobs',
      unit: 's',
      width: 24,
      alerts: ['DeepAffectsJobStuck'],
      description: 'The 50 oldest unfinished jobs with series. A click on a job shows it below.',
      targets: [
        rows(
          'A',
          `topk(50,\n  ${jobInfo('api, source')}\n  ${withState('pending|running')}\n  * on (account, request_id) group_left () (time() - ${ofJob('job_first_seen_timestamp_seconds')})\n)`,
        ),
      ],
      columns: { ...jobColumns, source: { title: 'Source' }, state: { title: 'State' }, Value: { title: 'Age', unit: 's' } },
      sort: 'Age',
    }),
  ]);

  d.row('What failed, and why', [
    lines({
      title: 'Failed and lost',
      unit: 'short',
      bars: true,
      min: 0,
      interval: '1m',
      description: 'Jobs that failed or were given up, per interval.',
      alerts: ['DeepAffectsJobFailed', 'DeepAffectsJobLost'],
      targets: [query('A', grown('account, result', 'jobs_finished_total', 'result=~"failed|lost"'), '{{account}} {{result}}')],
    }),
    bars({
      title: 'Failed, by API and error code',
      unit: 'short',
      description: 'Failed jobs that are still tracked and have series.',
      alerts: ['DeepAffectsFailureRatioHigh'],
      targets: [
        instant(
          'A',
          `sort_desc(count by (api, error_code) (\n  ${jobInfo('api, error_code')}\n  and on (account, request_id) ${ofJob('job_state', 'state="failed"')} == 1\n))`,
          '{{api}}: {{error_code}}',
        ),
      ],
    }),
    table({
      title: 'Latest failed and lost jobs',
      unit: 'short',
      width: 24,
      alerts: ['DeepAffectsJobFailed', 'DeepAffectsJobLost'],
      description: 'The last 50 failed or lost jobs with series. A click on a job shows it below.',
      targets: [
        rows(
          'A',
          `topk(50,\n  ${jobInfo('api, error_code, source')}\n  ${withState('failed|lost')}\n  * on (account, request_id) group_left () ${ofJob('job_finished_timestamp_seconds')}\n) * 1000`,
        ),
      ],
      columns: {
        ...jobColumns,
        state: { title: 'State' },
        error_code: { title: 'Error code', width: 280 },
        source: { title: 'Source' },
        Value: { title: 'Ended', unit: 'dateTimeAsIso' },
      },
      sort: 'Ended',
    }),
  ]);

  d.row('How long they take', [
    heatmap({
      title: 'Durations of completed jobs',
      unit: 's',
      alerts: ['DeepAffectsJobsSlow'],
      description: 'Time from the submission of a job, or from when it was first seen, until its end was seen.',
      targets: [distribution('job_duration_seconds', 'result="completed"')],
    }),
    lines({
      title: 'Durations of completed jobs, quantiles',
      unit: 's',
      min: 0,
      interval: '5m',
      alerts: ['DeepAffectsJobsSlow'],
      description: 'Median, 90th and 99th percentile of the job durations.',
      targets: quantiles('job_duration_seconds', 'result="completed"'),
    }),
    heatmap({
      title: 'Detection windows',
      unit: 's',
      description: 'Time between the last poll that found a job unfinished and the observation of its end: the upper bound of the error of its duration.',
      targets: [distribution('job_detection_window_seconds')],
    }),
    lines({
      title: 'Detection windows, quantiles',
      unit: 's',
      min: 0,
      interval: '5m',
      alerts: ['DeepAffectsDayQuotaRunsOut'],
      description: 'Median, 90th and 99th percentile of the detection windows. They grow if the quota is too small.',
      targets: quantiles('job_detection_window_seconds'),
    }),
  ]);

  d.row('One job: $request_id', [
    states({
      title: 'Timeline',
      unit: 'short',
      width: 24,
      height: 5,
      alerts: ['DeepAffectsJobFailed', 'DeepAffectsJobStuck'],
      description: 'The states of the job. A change between two polls appears at the second poll.',
      targets: [query('A', `max by (state) (${series('job_state', thisJob)})`, '{{state}}')],
    }),
    table({
      title: 'Details',
      unit: 'short',
      width: 24,
      height: 4,
      description: 'The API of the job, its source, its error code, and the job_labels.',
      targets: [rows('A', `max without (instance, pod, job, __name__) (${series('job_info', thisJob)})`)],
      exclude: ['Value'],
      columns: { account: { title: 'Account' }, api: { title: 'API' }, source: { title: 'Source' }, error_code: { title: 'Error code' } },
    }),
    date('First seen', 'When the job was first seen.', 'job_first_seen_timestamp_seconds'),
    date('Last observed', 'When the API or a webhook last reported its state.', 'job_last_observed_timestamp_seconds'),
    date('Next poll', 'When its next poll is due, if the quota allows. Empty after its end.', 'job_next_poll_timestamp_seconds'),
    date('Ended', 'When its end was seen. Empty before.', 'job_finished_timestamp_seconds'),
    figure('Confidence', 'Confidence of the result, or else the mean over its words or segments.', 'job_confidence_ratio', 'percentunit'),
    figure('Speakers', 'Number of speakers in the result.', 'job_speakers', 'short'),
    figure('Words', 'Number of words in the transcript.', 'job_words', 'short'),
    figure('Recording', 'Time from the start of the recording to the end of the last word or segment.', 'job_transcript_duration_seconds', 's'),
    figure('Speech', 'Sum of the durations of the words, or else of the segments.', 'job_speech_seconds', 's'),
    stat({
      title: 'Speech rate',
      unit: 'suffix:words/s',
      width: 4,
      height: 3,
      decimals: 1,
      description: 'Words per second of the recording, pauses included.',
      targets: [instant('A', `max(${series('job_words', thisJob)}) / max(${series('job_transcript_duration_seconds', thisJob)})`)],
    }),
    stat({
      title: 'Longest pauses',
      unit: 's',
      width: 4,
      height: 3,
      decimals: 1,
      description: '99th percentile of the pauses between words.',
      targets: [instant('A', `max(${series('job_word_gap_seconds', `${thisJob}, quantile="0.99"`)})`)],
    }),
    stat({
      title: 'Median word',
      unit: 's',
      width: 4,
      height: 3,
      decimals: 2,
      description: 'Median duration of the words.',
      targets: [instant('A', `max(${series('job_word_duration_seconds', `${thisJob}, quantile="0.5"`)})`)],
    }),
    bars({
      title: 'Talk time',
      unit: 's',
      description: 'Talk time of each speaker. Speaker 0 talks most.',
      targets: [instant('A', `max by (speaker) (${series('job_speaker_talk_seconds', thisJob)})`, 'Speaker {{speaker}}')],
    }),
    bars({
      title: 'Confidence of words',
      unit: 'percentunit',
      max: 1,
      description: 'Quantiles of the confidence of the words.',
      targets: [instant('A', `max by (quantile) (${series('job_word_confidence_ratio', thisJob)})`, 'quantile {{quantile}}')],
    }),
  ]);
  return d;
}

// Jobs: what runs, what failed and why, how long it took, and one job in full.
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

/** What is known of jobs, times a figure of each. */
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
    description: 'Which jobs run, which failed and why, how long they take, and what is known of one of them.',
    datasource: 'prometheus',
    variables: [
      account(),
      choice('api', 'API', 'label_values(deepaffects_job_info{account=~"$account"}, api)', prometheus)
        .allValue('.*')
        .description('Concerns what is about single jobs'),
      variable('request_id', 'Job', 'label_values(deepaffects_job_info{account=~"$account", api=~"$api"}, request_id)', prometheus).description(
        'The job of the last row',
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
      description: 'Jobs that were given up in the time range: unknown to the API, or unfinished for too long.',
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
      description: 'Share of the jobs that ended in the time range that failed.',
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
      description: 'Age of the oldest job that has not ended.',
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
      title: 'Jobs in the register',
      unit: 'short',
      description: 'Jobs by state. Those that have ended leave when their retention is over.',
      stack: true,
      min: 0,
      targets: [query('A', `sum by (state) (${one('jobs')})`, '{{state}}')],
    }),
    lines({
      title: 'Began and ended',
      unit: 'short',
      bars: true,
      min: 0,
      interval: '1m',
      alerts: ['DeepAffectsNothingFinishes'],
      description: 'Jobs that tracking began for, and jobs that were seen to end, in each interval.',
      targets: [query('A', grown('', 'jobs_registered_total'), 'began'), query('B', grown('result', 'jobs_finished_total'), '{{result}}')],
    }),
    lines({
      title: 'Backlog',
      unit: 'short',
      min: 0,
      alerts: ['DeepAffectsDayQuotaRunsOut'],
      description:
        'Unfinished jobs that would be asked about now if the quota allowed. Always some: the quota is small for so many jobs, and ends are seen late.',
      targets: [query('A', `sum by (account) (${one('poll_queue_jobs')})`, '{{account}}')],
    }),
    lines({
      title: 'Age of the oldest unfinished job',
      unit: 's',
      min: 0,
      description: 'One line that only climbs: a job that is stuck.',
      alerts: ['DeepAffectsJobStuck'],
      targets: [query('A', `max by (account) (${one('oldest_unfinished_job_age_seconds')})`, '{{account}}')],
    }),
    table({
      title: 'Unfinished for longest',
      unit: 's',
      width: 24,
      alerts: ['DeepAffectsJobStuck'],
      description: 'The 50 oldest jobs that have not ended, of those with series of their own. The job opens below.',
      targets: [
        rows(
          'A',
          `topk(50,\n  ${jobInfo('api, source')}\n  ${withState('pending|running')}\n  * on (account, request_id) group_left () (time() - ${ofJob('job_first_seen_timestamp_seconds')})\n)`,
        ),
      ],
      columns: { ...jobColumns, source: { title: 'Registered by' }, state: { title: 'State' }, Value: { title: 'Age', unit: 's' } },
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
      description: 'Jobs that failed or were given up, in each interval.',
      alerts: ['DeepAffectsJobFailed', 'DeepAffectsJobLost'],
      targets: [query('A', grown('account, result', 'jobs_finished_total', 'result=~"failed|lost"'), '{{account}} {{result}}')],
    }),
    bars({
      title: 'Failed, by API and error code',
      unit: 'short',
      description: 'Of the failed jobs that are still in the register and have series of their own.',
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
      title: 'Failed and lost, the newest first',
      unit: 'short',
      width: 24,
      alerts: ['DeepAffectsJobFailed', 'DeepAffectsJobLost'],
      description: 'The last 50 jobs that failed or were given up, of those with series of their own. The job opens below.',
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
        source: { title: 'Registered by' },
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
      description: 'From when a job was submitted, or else first seen, until its end was seen.',
      targets: [distribution('job_duration_seconds', 'result="completed"')],
    }),
    lines({
      title: 'Durations of completed jobs, quantiles',
      unit: 's',
      min: 0,
      interval: '5m',
      alerts: ['DeepAffectsJobsSlow'],
      description: 'Half, nine of ten and 99 of 100 jobs took at most so long.',
      targets: quantiles('job_duration_seconds', 'result="completed"'),
    }),
    heatmap({
      title: 'Detection windows',
      unit: 's',
      description: 'Time from the last look at a job before its end was seen until then: its duration may be that much too long.',
      targets: [distribution('job_detection_window_seconds')],
    }),
    lines({
      title: 'Detection windows, quantiles',
      unit: 's',
      min: 0,
      interval: '5m',
      alerts: ['DeepAffectsDayQuotaRunsOut'],
      description: 'Half, nine of ten and 99 of 100 ends were seen at most so long after the last look before. They grow when the quota is short.',
      targets: quantiles('job_detection_window_seconds'),
    }),
  ]);

  d.row('One job: $request_id', [
    states({
      title: 'Its life',
      unit: 'short',
      width: 24,
      height: 5,
      alerts: ['DeepAffectsJobFailed', 'DeepAffectsJobStuck'],
      description: 'The states that the job was in. What happened between two looks is seen at the second.',
      targets: [query('A', `max by (state) (${series('job_state', thisJob)})`, '{{state}}')],
    }),
    table({
      title: 'What is known of it',
      unit: 'short',
      width: 24,
      height: 4,
      description: 'Where the job was submitted to, who registered it, why it failed, and the job_labels.',
      targets: [rows('A', `max without (instance, pod, job, __name__) (${series('job_info', thisJob)})`)],
      exclude: ['Value'],
      columns: { account: { title: 'Account' }, api: { title: 'API' }, source: { title: 'Registered by' }, error_code: { title: 'Error code' } },
    }),
    date('First seen', 'When the job was first heard of.', 'job_first_seen_timestamp_seconds'),
    date('Last answer', 'When the API last answered about it, or a webhook about it came.', 'job_last_observed_timestamp_seconds'),
    date('Next look', 'When it is due to be asked about if the quota allows; nothing once it has ended.', 'job_next_poll_timestamp_seconds'),
    date('Ended', 'When its end was seen; nothing before.', 'job_finished_timestamp_seconds'),
    figure('Confidence', 'Of its result: its own, else the mean over its words or segments.', 'job_confidence_ratio', 'percentunit'),
    figure('Speakers', 'Number of speakers in its result.', 'job_speakers', 'short'),
    figure('Words', 'Number of words in its transcript.', 'job_words', 'short'),
    figure('Recording', 'Last end of a word or segment, from the beginning of the recording.', 'job_transcript_duration_seconds', 's'),
    figure('Speech', 'Sum of the durations of its words, else of its segments.', 'job_speech_seconds', 's'),
    stat({
      title: 'Speech rate',
      unit: 'suffix:words/s',
      width: 4,
      height: 3,
      decimals: 1,
      description: 'Words for each second of the recording, pauses included.',
      targets: [instant('A', `max(${series('job_words', thisJob)}) / max(${series('job_transcript_duration_seconds', thisJob)})`)],
    }),
    stat({
      title: 'Longest pauses',
      unit: 's',
      width: 4,
      height: 3,
      decimals: 1,
      description: 'One in a hundred silences between its words is at least so long.',
      targets: [instant('A', `max(${series('job_word_gap_seconds', `${thisJob}, quantile="0.99"`)})`)],
    }),
    stat({
      title: 'Median word',
      unit: 's',
      width: 4,
      height: 3,
      decimals: 2,
      description: 'Half of its words take at most so long.',
      targets: [instant('A', `max(${series('job_word_duration_seconds', `${thisJob}, quantile="0.5"`)})`)],
    }),
    bars({
      title: 'Talk time',
      unit: 's',
      description: 'Time that each speaker talks: speaker 0 talks most.',
      targets: [instant('A', `max by (speaker) (${series('job_speaker_talk_seconds', thisJob)})`, 'Speaker {{speaker}}')],
    }),
    bars({
      title: 'Confidence of its words',
      unit: 'percentunit',
      max: 1,
      description: 'Half, nine of ten and 99 of 100 words are at most so certain.',
      targets: [instant('A', `max by (quantile) (${series('job_word_confidence_ratio', thisJob)})`, 'quantile {{quantile}}')],
    }),
  ]);
  return d;
}

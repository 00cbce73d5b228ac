// The dashboard Transcripts: how good the transcripts are, and how people talk.
import {
  account,
  dashboard,
  distribution,
  grown,
  heatmap,
  instant,
  jobColumns,
  lines,
  mean,
  quantiles,
  query,
  series,
  stat,
  table,
  rows,
} from './dashboard.js';

const pair = (heading, unit, name, description, { max, alerts } = {}) => [
  heatmap({ title: heading, unit, description, alerts, targets: [distribution(name)] }),
  lines({
    title: `${heading}, quantiles`,
    unit,
    min: 0,
    max,
    interval: '5m',
    alerts,
    description: `${description} Median, 90th and 99th percentile.`,
    targets: quantiles(name),
  }),
];

export function transcripts() {
  const d = dashboard({
    uid: 'deepaffects-transcripts',
    title: 'DeepAffects / Transcripts',
    description: 'Confidence, speakers, speech rate, pauses and talk time in the results of completed jobs. No transcript text.',
    datasource: 'prometheus',
    variables: [account()],
    from: 'now-7d',
  });

  d.row('In the time range', [
    stat({
      title: 'Results',
      unit: 'short',
      decimals: 0,
      description: 'Results with a confidence, from jobs that ended in the time range.',
      targets: [
        instant(
          'A',
          `sum(increase(${series('transcript_confidence_ratio_count')}[$__range]))\nor on () histogram_count(sum(increase(${series('transcript_confidence_ratio')}[$__range])))`,
        ),
      ],
    }),
    stat({
      title: 'Mean confidence',
      unit: 'percentunit',
      decimals: 1,
      description: 'Mean confidence of the results.',
      alerts: ['DeepAffectsConfidenceFell'],
      thresholds: [
        [null, 'red'],
        [0.6, 'orange'],
        [0.8, 'green'],
      ],
      targets: [instant('A', mean('transcript_confidence_ratio', '', '$__range'))],
    }),
    stat({
      title: 'Confidence of at most 0.7',
      unit: 'percentunit',
      decimals: 1,
      description: 'Share of the results with a confidence of at most 0.7.',
      alerts: ['DeepAffectsConfidenceFell'],
      thresholds: [
        [null, 'green'],
        [0.1, 'orange'],
        [0.3, 'red'],
      ],
      targets: [
        instant(
          'A',
          `sum(increase(${series('transcript_confidence_ratio_bucket', 'le="0.7"')}[$__range])) / sum(increase(${series('transcript_confidence_ratio_count')}[$__range]))\nor on () histogram_fraction(0, 0.7, sum(increase(${series('transcript_confidence_ratio')}[$__range])))`,
        ),
      ],
    }),
    stat({
      title: 'Words',
      unit: 'short',
      decimals: 0,
      description: 'Words in the results of jobs that ended in the time range.',
      targets: [instant('A', `sum(increase(${series('words_total')}[$__range]))`)],
    }),
    stat({
      title: 'Speech',
      unit: 's',
      decimals: 1,
      description: 'Sum of the durations of all words, or else segments, in the results of jobs that ended in the time range.',
      targets: [instant('A', `sum(increase(${series('speech_seconds_total')}[$__range]))`)],
    }),
    stat({
      title: 'Anomalies',
      unit: 'short',
      decimals: 0,
      description: 'Values in results that were left out of the statistics because they are invalid, and words out of order.',
      thresholds: [
        [null, 'green'],
        [0.5, 'orange'],
      ],
      targets: [instant('A', `sum(increase(${series('word_anomalies_total')}[$__range]))`)],
    }),
  ]);

  d.row('Confidence', [
    ...pair('Confidence of results', 'percentunit', 'transcript_confidence_ratio', 'Confidence of each result.', {
      max: 1,
      alerts: ['DeepAffectsConfidenceFell'],
    }),
    ...pair('Confidence of words', 'percentunit', 'word_confidence_ratio', 'Confidence of each word.', { max: 1 }),
    table({
      title: 'Results with the lowest confidence',
      unit: 'percentunit',
      width: 24,
      alerts: ['DeepAffectsConfidenceFell'],
      description: 'The 20 results with the lowest confidence, from jobs with series. A click on a job opens the dashboard Jobs.',
      targets: [
        rows(
          'A',
          `bottomk(20,\n  max by (account, request_id) (${series('job_confidence_ratio')})\n  * on (account, request_id) group_left (api) max by (account, request_id, api) (${series('job_info')})\n)`,
        ),
      ],
      columns: {
        ...jobColumns,
        Value: { title: 'Confidence', unit: 'percentunit' },
      },
    }),
  ]);

  d.row('Speakers', [
    ...pair('Speakers', 'short', 'transcript_speakers', 'Number of speakers in each result.'),
    ...pair(
      'Share of the dominant speaker',
      'percentunit',
      'dominant_speaker_talk_ratio',
      'Share of talk time of the speaker who talks most, in each result.',
      { max: 1 },
    ),
  ]);

  d.row('Speech', [
    ...pair('Speech rate', 'suffix:words/s', 'transcript_speech_rate_words_per_second', 'Words per second of a transcript, pauses included.'),
    ...pair('Durations of words', 's', 'word_duration_seconds', 'Duration of each word.'),
    ...pair('Pauses', 's', 'word_gap_seconds', 'Silence between the end of a word and the start of the next. 0 if they overlap.'),
    lines({
      title: 'Words',
      unit: 'short',
      bars: true,
      min: 0,
      interval: '5m',
      description: 'Words in the results of jobs that ended, per interval.',
      targets: [query('A', grown('account', 'words_total'), '{{account}}')],
    }),
    lines({
      title: 'Talk time',
      unit: 's',
      bars: true,
      min: 0,
      interval: '5m',
      description: 'Sum of the durations of words, or else segments, in the results of jobs that ended, per interval.',
      targets: [query('A', grown('account', 'speech_seconds_total'), '{{account}}')],
    }),
    lines({
      title: 'Overlaps',
      unit: 'percentunit',
      min: 0,
      interval: '5m',
      description: 'Share of words that start before the previous word has ended: several people talk at once.',
      targets: [
        query(
          'A',
          `sum by (account) (rate(${series('word_overlaps_total')}[$__rate_interval])) / sum by (account) (rate(${series('words_total')}[$__rate_interval]))`,
          '{{account}}',
        ),
      ],
    }),
    lines({
      title: 'Anomalies',
      unit: 'short',
      bars: true,
      min: 0,
      interval: '5m',
      description: 'Values in results that were left out of the statistics because they are invalid, and words out of order.',
      targets: [query('A', grown('reason', 'word_anomalies_total'), '{{reason}}')],
    }),
  ]);
  return d;
}

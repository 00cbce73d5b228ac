// The dashboard Transcripts: how good the transcripts are, and how people talk.
function(config) {
  local g = (import 'grafana.libsonnet')(config),
  local p = (import 'prometheus.libsonnet')(config),

  local pair(title, unit, name, description, max=null, alerts=[]) = [
    g.heatmap(title, description, unit, [p.distribution(name)], alerts),
    g.lines(
      title + ', quantiles',
      description + ' Median, 90th and 99th percentile.',
      unit,
      p.quantiles(name),
      alerts,
      min=0,
      max=max,
      interval='5m',
    ),
  ],

  local inRange = g.row('In the time range', [
    g.stat(
      'Results',
      'Results with a confidence, from jobs that ended in the time range.',
      'short',
      [p.instant('A', |||
        sum(increase(%s[$__range]))
        or on () histogram_count(sum(increase(%s[$__range])))
      ||| % [p.series('transcript_confidence_ratio_count'), p.series('transcript_confidence_ratio')])],
      decimals=0,
    ),
    g.stat(
      'Mean confidence',
      'Mean confidence of the results.',
      'percentunit',
      [p.instant('A', p.mean('transcript_confidence_ratio', range='$__range'))],
      ['DeepAffectsConfidenceFell'],
      thresholds=[[null, 'red'], [0.6, 'orange'], [0.8, 'green']],
      decimals=1,
    ),
    g.stat(
      'Confidence of at most 0.7',
      'Share of the results with a confidence of at most 0.7.',
      'percentunit',
      [p.instant('A', |||
        sum(increase(%s[$__range])) / sum(increase(%s[$__range]))
        or on () histogram_fraction(0, 0.7, sum(increase(%s[$__range])))
      ||| % [
        p.series('transcript_confidence_ratio_bucket', 'le="0.7"'),
        p.series('transcript_confidence_ratio_count'),
        p.series('transcript_confidence_ratio'),
      ])],
      ['DeepAffectsConfidenceFell'],
      thresholds=[[null, 'green'], [0.1, 'orange'], [0.3, 'red']],
      decimals=1,
    ),
    g.stat(
      'Words',
      'Words in the results of jobs that ended in the time range.',
      'short',
      [p.instant('A', 'sum(increase(%s[$__range]))' % p.series('words_total'))],
      decimals=0,
    ),
    g.stat(
      'Speech',
      'Sum of the durations of all words, or else segments, in the results of jobs that ended in the time range.',
      's',
      [p.instant('A', 'sum(increase(%s[$__range]))' % p.series('speech_seconds_total'))],
      decimals=1,
    ),
    g.stat(
      'Anomalies',
      'Values in results that were left out of the statistics because they are invalid, and words out of order.',
      'short',
      [p.instant('A', 'sum(increase(%s[$__range]))' % p.series('word_anomalies_total'))],
      thresholds=[[null, 'green'], [0.5, 'orange']],
      decimals=0,
    ),
  ]),

  local confidence = g.row(
    'Confidence',
    pair(
      'Confidence of results',
      'percentunit',
      'transcript_confidence_ratio',
      'Confidence of each result.',
      1,
      ['DeepAffectsConfidenceFell'],
    )
    + pair('Confidence of words', 'percentunit', 'word_confidence_ratio', 'Confidence of each word.', 1)
    + [g.table(
      'Results with the lowest confidence',
      'The 20 results with the lowest confidence, from jobs with series. A click on a job opens the dashboard Jobs.',
      'percentunit',
      [p.rows('A', |||
        bottomk(20,
          max by (account, request_id) (%s)
          * on (account, request_id) group_left (api) max by (account, request_id, api) (%s)
        )
      ||| % [p.series('job_confidence_ratio'), p.series('job_info')])],
      (import 'columns.libsonnet').jobs + [{ field: 'Value', title: 'Confidence', unit: 'percentunit' }],
      ['DeepAffectsConfidenceFell'],
    )],
  ),

  local speakers = g.row(
    'Speakers',
    pair('Speakers', 'short', 'transcript_speakers', 'Number of speakers in each result.')
    + pair(
      'Share of the dominant speaker',
      'percentunit',
      'dominant_speaker_talk_ratio',
      'Share of talk time of the speaker who talks most, in each result.',
      1,
    ),
  ),

  local speech = g.row(
    'Speech',
    pair(
      'Speech rate',
      'suffix:words/s',
      'transcript_speech_rate_words_per_second',
      'Words per second of a transcript, pauses included.',
    )
    + pair('Durations of words', 's', 'word_duration_seconds', 'Duration of each word.')
    + pair(
      'Pauses',
      's',
      'word_gap_seconds',
      'Silence between the end of a word and the start of the next. 0 if they overlap.',
    )
    + [
      g.columns(
        'Words',
        'Words in the results of jobs that ended, per interval.',
        'short',
        [p.range('A', p.grown('account', 'words_total'), '{{account}}')],
        interval='5m',
      ),
      g.columns(
        'Talk time',
        'Sum of the durations of words, or else segments, in the results of jobs that ended, per interval.',
        's',
        [p.range('A', p.grown('account', 'speech_seconds_total'), '{{account}}')],
        interval='5m',
      ),
      g.lines(
        'Overlaps',
        'Share of words that start before the previous word has ended: several people talk at once.',
        'percentunit',
        [p.range('A', 'sum by (account) (rate(%s[$__rate_interval])) / sum by (account) (rate(%s[$__rate_interval]))' % [
          p.series('word_overlaps_total'),
          p.series('words_total'),
        ], '{{account}}')],
        min=0,
        interval='5m',
      ),
      g.columns(
        'Anomalies',
        'Values in results that were left out of the statistics because they are invalid, and words out of order.',
        'short',
        [p.range('A', p.grown('reason', 'word_anomalies_total'), '{{reason}}')],
        interval='5m',
      ),
    ],
  ),

  dashboard: g.dashboard(
    'deepaffects-transcripts',
    'Transcripts',
    'Confidence, speakers, speech rate, pauses and talk time in the results of completed jobs. No transcript text.',
    'prometheus',
    [p.account],
    [inRange, confidence, speakers, speech],
    from='now-7d',
  ),
}

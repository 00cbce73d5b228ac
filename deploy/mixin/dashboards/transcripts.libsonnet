// The dashboard Transcripts: how good the transcripts are, and how people talk.
function(config) {
  local g = (import 'grafana.libsonnet')(config),
  local p = (import 'prometheus.libsonnet')(config),

  local heatmap(title, unit, name, description, alerts=[]) =
    g.heatmap(title, description + ' The darker, the more.', unit, [p.distribution(name)], alerts),
  local percentiles(title, unit, targets, description, max=null, alerts=[]) =
    g.lines(title + ', percentiles', description, unit, targets, alerts, min=0, max=max, interval='$per'),

  // Of a figure whose large values are the unusual ones.
  local figure(title, unit, name, description, max=null) = [
    heatmap(title, unit, name, description),
    percentiles(title, unit, p.highQuantiles(name), description, max),
  ],
  // Of a confidence: the low tail is what matters.
  local confidence(title, name, description) = [
    heatmap(title, 'percentunit', name, description, ['DeepAffectsConfidenceFell']),
    percentiles(
      title,
      'percentunit',
      p.lowQuantiles(name),
      description + ' One in 10 is below the 10th percentile.',
      1,
      ['DeepAffectsConfidenceFell'],
    ),
  ],

  local levels = [[null, 'red'], [config.confidenceLow, 'orange'], [config.confidenceGood, 'green']],

  local inRange = g.row('In the time range', [
    g.stat(
      'Results',
      'Results with a confidence, from jobs that ended in the time range.',
      'short',
      [p.instant('A', p.count('transcript_confidence_ratio'))],
      decimals=0,
    ),
    g.stat(
      'Confidence, 10th percentile',
      'One in 10 results has a lower confidence.',
      'percentunit',
      [p.instant('A', p.quantile(0.1, 'transcript_confidence_ratio', range='$__range'))],
      ['DeepAffectsConfidenceFell'],
      thresholds=levels,
      decimals=1,
    ),
    g.stat(
      'Results with a confidence up to 0.7',
      'Their share in all results.',
      'percentunit',
      [p.instant('A', p.share('0.7', 'transcript_confidence_ratio'))],
      ['DeepAffectsConfidenceFell'],
      thresholds=[[null, 'green'], [0.1, 'orange'], [0.3, 'red']],
      decimals=1,
    ),
    g.stat(
      'Words',
      'Words in the results of jobs that ended in the time range.',
      'short',
      [p.instant('A', p.total('words_total'))],
      decimals=0,
    ),
    g.stat(
      'Speech',
      'Sum of the durations of all words, or else segments, in the results of jobs that ended in the time range.',
      's',
      [p.instant('A', p.total('speech_seconds_total'))],
      decimals=1,
    ),
    g.stat(
      'Invalid values in results',
      'Values that were left out of the statistics because they are invalid, and words out of order.',
      'short',
      [p.instant('A', p.total('word_anomalies_total'))],
      thresholds=[[null, 'green'], [0.5, 'orange']],
      decimals=0,
    ),
  ]),

  local confidences = g.row(
    'Confidence',
    confidence('Confidence of results', 'transcript_confidence_ratio', 'Confidence of each result.')
    + confidence('Confidence of words', 'word_confidence_ratio', 'Confidence of each word.')
    + [
      g.bars(
        'Confidence by API, 10th percentile',
        'One in 10 results of the API has a lower confidence, in the time range.',
        'percentunit',
        [p.instant('A', p.quantile(0.1, 'transcript_confidence_ratio', range='$__range', by=['api']), '{{api}}')],
        ['DeepAffectsConfidenceFell'],
        max=1,
      ),
      g.table(
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
        width=12,
      ),
    ],
  ),

  local amount = g.row('Words and speech', [
    g.columns(
      'Words per $per',
      'Words in the results of jobs that ended.',
      'short',
      [p.range('A', p.grown('account', 'words_total'), '{{account}}')],
    ),
    g.columns(
      'Speech per $per',
      'Sum of the durations of words, or else segments, in the results of jobs that ended.',
      's',
      [p.range('A', p.grown('account', 'speech_seconds_total'), '{{account}}')],
      decimals=null,
    ),
  ]),

  local speakers = g.row(
    'Speakers',
    figure('Speakers in a result', 'short', 'transcript_speakers', 'Number of speakers in each result.')
    + figure(
      'Talk time of the most talkative speaker',
      'percentunit',
      'dominant_speaker_talk_ratio',
      'Share of the talk time of the speaker who talks most, in each result.',
      1,
    ),
    collapsed=true,
  ),

  local speech = g.row(
    'How people speak',
    figure(
      'Speech rate',
      'suffix:words/s',
      'transcript_speech_rate_words_per_second',
      'Words per second of a transcript, pauses included.',
    )
    + figure('Length of words', 's', 'word_duration_seconds', 'Duration of each word.')
    + figure(
      'Pauses between words',
      's',
      'word_gap_seconds',
      'Silence between the end of a word and the start of the next. 0 if they overlap.',
    )
    + [
      g.lines(
        'Words that overlap with the word before',
        'Share of words that start before the previous word has ended: several people talk at once.',
        'percentunit',
        [p.range('A', 'sum by (account) (%s) / sum by (account) (%s)' % [
          p.rate('word_overlaps_total'),
          p.rate('words_total'),
        ], '{{account}}')],
        min=0,
        interval='$per',
      ),
      g.columns(
        'Invalid values in results per $per, by reason',
        'Values that were left out of the statistics because they are invalid, and words out of order.',
        'short',
        [p.range('A', p.grown('reason', 'word_anomalies_total'), '{{reason}}')],
      ),
    ],
    collapsed=true,
  ),

  dashboard: g.dashboard(
    'deepaffects-transcripts',
    'Transcripts',
    'Confidence, speakers, speech rate, pauses and talk time in the results of completed jobs. No transcript text.',
    'prometheus',
    [p.account],
    [inRange, confidences, amount, speakers, speech],
    from='now-7d',
    annotations=p.annotations,
  ),
}

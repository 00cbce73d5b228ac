// Alerts on the quality of results.
function(config)
  {
    name: 'deepaffects-transcripts',
    rules: [
      {
        alert: 'DeepAffectsConfidenceFell',
        expr: |||
          account:deepaffects_transcript_confidence_ratio:mean7d - account:deepaffects_transcript_confidence_ratio:mean6h > %(confidenceDrop)g
            and
          account:deepaffects_transcript_confidence_ratio:count6h >= 10
        ||| % config.thresholds,
        'for': '15m',
        keep_firing_for: '30m',
        labels: { severity: 'warning' },
        annotations: {
          summary: 'Confidence of DeepAffects transcripts fell in account {{ $labels.account }}',
          description: 'The mean confidence of the transcripts of account {{ $labels.account }} in the last 6 hours is {{ $value | printf "%.2f" }} below that of the last 7 days.',
        },
      },
    ],
  }

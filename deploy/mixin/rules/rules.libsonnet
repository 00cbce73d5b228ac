{
  local query = (import '../promql.libsonnet')($._config).query,

  prometheusRules+:: {
    groups+: [
      group { rules: [r { expr: query(r.expr) } for r in group.rules] }
      for group in (import 'recording.libsonnet')
    ],
  },
}

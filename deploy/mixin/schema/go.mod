// Checks the dashboards against Grafana's own schema. A separate module, so that the project's own module does not
// depend on Grafana's types.
module github.com/deepaffects-monitor/deepaffects-monitor/deploy/mixin/schema

go 1.26.0

require github.com/grafana/grafana-foundation-sdk/go v0.0.22

// Linters. A separate module, so that the project's own module does not depend on their dependencies.
module github.com/deepaffects-monitor/deepaffects-monitor/tools

go 1.26.0

tool (
	github.com/influxdata/telegraf/tools/readme_config_includer
	github.com/influxdata/telegraf/tools/readme_linter
	honnef.co/go/tools/cmd/staticcheck
)

require (
	github.com/BurntSushi/toml v1.6.0 // indirect
	github.com/influxdata/telegraf v1.39.3 // indirect
	github.com/yuin/goldmark v1.8.5 // indirect
	golang.org/x/exp/typeparams v0.0.0-20231108232855-2478ac86f678 // indirect
	golang.org/x/mod v0.41.0 // indirect
	golang.org/x/sync v0.23.0 // indirect
	golang.org/x/tools v0.51.0 // indirect
	honnef.co/go/tools v0.8.2 // indirect
)

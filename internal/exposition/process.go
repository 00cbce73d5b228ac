package exposition

import "github.com/prometheus/common/version"

// process are the metrics of the process, without an account.
var process = []*family{
	{
		name: "config_last_reload_successful", kind: kindGauge,
		help:   "1 if the last reload of the configuration succeeded, else 0.",
		reload: func(r *Reload) float64 { return truth(r.ok) },
	},
	{
		name: "config_last_reload_success_timestamp_seconds", kind: kindGauge,
		help:   "Time of the last successful reload of the configuration, in seconds since 1970.",
		reload: func(r *Reload) float64 { return seconds(r.success) },
	},
	{
		name: "exporter_build_info", kind: kindGauge,
		labels: []label{
			open("version", "of the exporter"), open("revision", "of its source"),
			open("goversion", "that it was built with"),
		},
		help:  "Always 1; the labels describe the build of the exporter.",
		build: func() []string { return []string{version.Version, version.GetRevision(), version.GoVersion} },
	},
}

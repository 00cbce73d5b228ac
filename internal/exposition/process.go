package exposition

import "github.com/prometheus/common/version"

// process are the metrics that are there once, not for every account.
var process = []*family{
	{
		name: "config_last_reload_successful", kind: kindGauge,
		help: "1 if the configuration could be used when it was last read, else 0.",
		reload: func(e *emitter, r *Reload) {
			sound, _ := r.last()
			e.value(truth(sound))
		},
	},
	{
		name: "config_last_reload_success_timestamp_seconds", kind: kindGauge,
		help: "When the configuration that is in use was read, in seconds since 1970.",
		reload: func(e *emitter, r *Reload) {
			_, success := r.last()
			e.value(seconds(success))
		},
	},
	{
		name: "exporter_build_info", kind: kindGauge,
		labels: []label{
			open("version", "of the exporter"), open("revision", "of its source"), open("goversion", "that it was built with"),
		},
		help:  "Always 1; its labels say what the exporter was built from.",
		build: func(e *emitter) { e.value(1, version.Version, version.GetRevision(), version.GoVersion) },
	},
}

// Package exposition exposes a collector to Prometheus. The catalogue declares each metric in one row; the series,
// their descriptions and docs/metrics.md come from it.
package exposition

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// New returns the metrics of a collector's accounts. A scrape takes one snapshot of each, and sends no request to the
// API.
func New(c *collector.Collector) prometheus.Collector {
	return Of(func() []collector.Snapshot {
		accounts := c.Accounts()
		snapshots := make([]collector.Snapshot, len(accounts))
		for i, a := range accounts {
			snapshots[i] = a.Snapshot()
		}
		return snapshots
	})
}

// Of returns the metrics of the accounts that snapshots returns, one each. It is called once per scrape, also
// concurrently.
func Of(snapshots func() []collector.Snapshot) prometheus.Collector { return watched(snapshots) }

// watched are the accounts of a collector.
type watched func() []collector.Snapshot

// Describe implements prometheus.Collector. The description of job_info lacks the job labels, which depend on the
// accounts' configurations; a registry accepts that.
func (w watched) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range families {
		if f.account != nil || f.job != nil {
			ch <- f.desc
		}
	}
}

// Collect implements prometheus.Collector.
func (w watched) Collect(ch chan<- prometheus.Metric) {
	accounts := accountsOf(w())
	jobLabels := unionOfJobLabels(accounts)
	for _, f := range families {
		e := emitter{to: ch, family: f, desc: f.desc}
		if f.jobLabels {
			e.desc = f.describe(jobLabels)
		}
		for i := range accounts {
			a := &accounts[i]
			e.scope, e.created = a.scope, a.created
			switch {
			case f.account != nil:
				f.account(&e, a.Snapshot)
			case f.job != nil && (f.basic || a.JobMetrics != collector.JobMetricsBasic):
				e.sendJobs(a, jobLabels)
			}
		}
	}
}

// A Reload has the metrics about reloads of the configuration. It is safe for concurrent use.
type Reload struct {
	mu      sync.Mutex // guards the fields below
	ok      bool       // the last reload succeeded
	success time.Time  // of the last successful reload
}

// NewReload returns a Reload for a configuration that was read when the process started.
func NewReload(at time.Time) *Reload { return &Reload{ok: true, success: at} }

// Done records a reload. If it failed, the previous configuration stays in use.
func (r *Reload) Done(at time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ok = ok
	if ok {
		r.success = at
	}
}

// Describe implements prometheus.Collector.
func (r *Reload) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(r, ch) }

// Collect implements prometheus.Collector.
func (r *Reload) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range families {
		if f.reload != nil {
			(&emitter{to: ch, family: f, desc: f.desc}).value(f.reload(r))
		}
	}
}

// BuildInfo returns the metric about the build of the program.
func BuildInfo() prometheus.Collector { return build{} }

type build struct{}

// Describe implements prometheus.Collector.
func (b build) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(b, ch) }

// Collect implements prometheus.Collector.
func (build) Collect(ch chan<- prometheus.Metric) {
	for _, f := range families {
		if f.build != nil {
			f.build(&emitter{to: ch, family: f, desc: f.desc})
		}
	}
}

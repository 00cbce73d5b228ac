// Package exposition shows a collector to Prometheus. What there is to see is a
// table, the catalogue: one row for each metric, from which the series, their
// descriptions and docs/metrics.md come.
package exposition

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// New returns the metrics of a collector's accounts. A scrape takes one snapshot
// of each, and asks nothing of the API.
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

// Of returns the metrics of the accounts that snapshots returns, one each. It is
// called once for a scrape, by several scrapes at once.
func Of(snapshots func() []collector.Snapshot) prometheus.Collector { return watched(snapshots) }

// watched are the accounts of a collector.
type watched func() []collector.Snapshot

// Describe implements prometheus.Collector. The description of job_info lacks
// the job labels, which only the accounts' configurations know; to a registry,
// it equals the one with them.
func (w watched) Describe(ch chan<- *prometheus.Desc) {
	describe(ch, func(f *family) bool { return f.account != nil || f.job != nil })
}

// Collect implements prometheus.Collector.
func (w watched) Collect(ch chan<- prometheus.Metric) {
	accounts := accountsOf(w())
	jobLabels := unionOfJobLabels(accounts)
	for f := range families() {
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

// A Reload remembers how reading the configuration went, and is the metrics that
// say so. It may be used by several goroutines at once.
type Reload struct {
	mu      sync.Mutex // guards what follows
	sound   bool       // the last attempt succeeded
	success time.Time  // when an attempt last succeeded
}

// NewReload returns a Reload for a configuration that was read when the process
// started.
func NewReload(at time.Time) *Reload { return &Reload{sound: true, success: at} }

// Done notes that the configuration was read anew: it is in use, or it could not
// be used and the one before goes on.
func (r *Reload) Done(at time.Time, sound bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sound = sound
	if sound {
		r.success = at
	}
}

func (r *Reload) last() (sound bool, success time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sound, r.success
}

// Describe implements prometheus.Collector.
func (r *Reload) Describe(ch chan<- *prometheus.Desc) {
	describe(ch, func(f *family) bool { return f.reload != nil })
}

// Collect implements prometheus.Collector.
func (r *Reload) Collect(ch chan<- prometheus.Metric) {
	for f := range families() {
		if f.reload != nil {
			f.reload(&emitter{to: ch, family: f, desc: f.desc}, r)
		}
	}
}

// BuildInfo returns the metric that says what the program was built from.
func BuildInfo() prometheus.Collector { return build{} }

type build struct{}

// Describe implements prometheus.Collector.
func (build) Describe(ch chan<- *prometheus.Desc) {
	describe(ch, func(f *family) bool { return f.build != nil })
}

// Collect implements prometheus.Collector.
func (build) Collect(ch chan<- prometheus.Metric) {
	for f := range families() {
		if f.build != nil {
			f.build(&emitter{to: ch, family: f, desc: f.desc})
		}
	}
}

// describe sends the descriptions of some families.
func describe(ch chan<- *prometheus.Desc, which func(*family) bool) {
	for f := range families() {
		if which(f) {
			ch <- f.desc
		}
	}
}

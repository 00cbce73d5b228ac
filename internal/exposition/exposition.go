// Package exposition exposes a collector to Prometheus. The catalogue declares each metric in one row; the series,
// their descriptions and docs/metrics.md come from it.
package exposition

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// Metrics are the metrics of a collector's accounts and of the process. They are safe for concurrent use.
type Metrics struct {
	snapshots func() []collector.Snapshot
	process   prometheus.Gatherer
}

// New returns the metrics of a collector's accounts, and those of process besides. A scrape takes one snapshot of each
// account, and sends no request to the API.
func New(c *collector.Collector, process prometheus.Gatherer) *Metrics {
	return Of(func() []collector.Snapshot {
		accounts := c.Accounts()
		snapshots := make([]collector.Snapshot, len(accounts))
		for i, a := range accounts {
			snapshots[i] = a.Snapshot()
		}
		return snapshots
	}, process)
}

// Of returns the metrics of the accounts that snapshots returns, one each, and those of process besides. snapshots is
// called once per scrape, also concurrently.
func Of(snapshots func() []collector.Snapshot, process prometheus.Gatherer) *Metrics {
	return &Metrics{snapshots, process}
}

// formats are those that a client may choose from, the best first.
var formats = []expfmt.Format{
	expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtOpenMetrics_0_0_1, expfmt.FmtProtoDelim, expfmt.FmtText,
}

// Write writes all metrics in one of the formats: text, OpenMetrics or delimited protobuf. They are sorted by name. It
// holds some kilobytes of them at a time, whatever the number of jobs. If some metrics cannot be gathered, it writes
// the others, and returns the error.
func (m *Metrics) Write(w io.Writer, format expfmt.Format) error {
	for {
		accounts := uniqueAccounts(m.snapshots())
		gathered, err := prometheus.Gatherers{watched(accounts), m.process}.Gather()
		if err != nil {
			err = fmt.Errorf("gathering the metrics: %w", err)
		}
		// Another replica may own an account by now. Then this process shows nothing of it.
		if !slices.ContainsFunc(accounts, func(a account) bool { return !a.Valid() }) {
			return errors.Join(err, encode(w, format, gathered, accounts))
		}
	}
}

// encode merges the families that were gathered with those of single jobs.
func encode(w io.Writer, format expfmt.Format, gathered []*dto.MetricFamily, accounts []account) error {
	out := bufio.NewWriter(w)
	encoder := expfmt.NewEncoder(out, format, expfmt.WithCreatedLines())
	syntax := textFormat
	switch format.FormatType() {
	case expfmt.TypeOpenMetrics:
		syntax = openMetrics
	case expfmt.TypeProtoDelim:
		syntax = delimited
	}
	s := newSeries(out, syntax, accounts)
	writeUntil := func(name string) {
		for len(s.tables) > 0 && (name == "" || s.tables[0].name < name) {
			s.next()
		}
	}
	for _, family := range gathered {
		writeUntil(family.GetName())
		if err := encoder.Encode(family); err != nil {
			return fmt.Errorf("writing %s: %w", family.GetName(), err)
		}
	}
	writeUntil("")
	if closer, ok := encoder.(expfmt.Closer); ok {
		if err := closer.Close(); err != nil {
			return fmt.Errorf("writing the end of the metrics: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing the metrics: %w", err)
	}
	return nil
}

// watched are the accounts of one scrape.
type watched []account

// Gather implements prometheus.Gatherer. There is no registry, which would describe and check the same families again
// for each scrape: prometheus.Gatherers checks and sorts their series.
func (w watched) Gather() (gathered []*dto.MetricFamily, err error) {
	for _, f := range families {
		if f.account == nil {
			continue
		}
		e := emitter{family: f}
		for i := range w {
			if w[i].Absent && !f.everywhere {
				continue
			}
			e.scope, e.created = w[i].scope, w[i].created
			f.account(&e, w[i].Snapshot)
		}
		if len(e.metrics) > 0 {
			gathered = append(gathered, &dto.MetricFamily{
				Name: new(prefix + f.name), Help: &f.help, Type: f.kind.proto().Enum(), Metric: e.metrics,
			})
		}
	}
	return gathered, nil
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
			ch <- prometheus.MustNewConstMetric(f.describe(), prometheus.GaugeValue, f.reload(r))
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
			ch <- prometheus.MustNewConstMetric(f.describe(), prometheus.GaugeValue, 1, f.build()...)
		}
	}
}

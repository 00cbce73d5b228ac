package exposition

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// An emitter sends the series of one family for one account or job at a time.
type emitter struct {
	to      chan<- prometheus.Metric
	family  *family
	desc    *prometheus.Desc
	scope   []*dto.LabelPair       // account and request_id
	more    []*dto.LabelPair       // the job labels
	created *timestamppb.Timestamp // of counters and histograms
}

// sendJobs sends the series of every job of an account.
func (e *emitter) sendJobs(a *account, jobLabels []string) {
	for i := range a.jobs {
		j := &a.jobs[i]
		e.scope = j.scope
		if e.family.jobLabels {
			e.more = a.jobLabelPairs(j, jobLabels)
		}
		e.family.job(e, j)
	}
}

// value sends a gauge or a counter with values of the family's labels.
func (e *emitter) value(v float64, labels ...string) {
	s := e.sample(labels)
	if e.family.kind == kindCounter {
		s.counter = &dto.Counter{Value: &v, CreatedTimestamp: e.created}
	} else {
		s.gauge = &dto.Gauge{Value: &v}
	}
	e.to <- s
}

// histogram sends a histogram with values of the family's labels.
func (e *emitter) histogram(h *histogram.Histogram, labels ...string) {
	s := e.sample(labels)
	s.histogram = proto(h, e.family.exemplars)
	s.histogram.CreatedTimestamp = e.created
	e.to <- s
}

// The quantiles of a summary, shared by all.
var median, ninety, ninetyNine = .5, .9, .99

// summary sends a distribution, unless it has no values.
func (e *emitter) summary(d *transcript.Distribution) {
	if d.Count == 0 {
		return
	}
	s := e.sample(nil)
	s.summary = &dto.Summary{SampleCount: new(uint64(d.Count)), SampleSum: &d.Sum, Quantile: []*dto.Quantile{
		{Quantile: &median, Value: &d.P50},
		{Quantile: &ninety, Value: &d.P90},
		{Quantile: &ninetyNine, Value: &d.P99},
	}}
	e.to <- s
}

func (e *emitter) sample(labels []string) *sample {
	if len(labels)+len(e.more) == 0 {
		return &sample{desc: e.desc, labels: e.scope}
	}
	pairs := make([]*dto.LabelPair, 0, len(e.scope)+len(labels)+len(e.more))
	pairs = append(pairs, e.scope...)
	for i, value := range labels {
		pairs = append(pairs, e.family.labels[i].pair(value))
	}
	pairs = append(pairs, e.more...)
	slices.SortFunc(pairs, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return &sample{desc: e.desc, labels: pairs}
}

// A sample implements prometheus.Metric for all types. Unlike the client library's constant metrics, samples share
// their labels, and are not sorted or checked again.
type sample struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair // sorted by name

	// One of these is set.
	gauge     *dto.Gauge
	counter   *dto.Counter
	summary   *dto.Summary
	histogram *dto.Histogram
}

func (s *sample) Desc() *prometheus.Desc { return s.desc }

func (s *sample) Write(m *dto.Metric) error {
	m.Label, m.Gauge, m.Counter, m.Summary, m.Histogram = s.labels, s.gauge, s.counter, s.summary, s.histogram
	return nil
}

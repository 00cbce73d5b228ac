package exposition

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
)

// An emitter sends the series of one family for one account, or of the process, to the client library.
type emitter struct {
	to      chan<- prometheus.Metric
	family  *family
	desc    *prometheus.Desc
	scope   []*dto.LabelPair       // the account
	created *timestamppb.Timestamp // of counters and histograms
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

func (e *emitter) sample(labels []string) *sample {
	if len(labels) == 0 {
		return &sample{desc: e.desc, labels: e.scope}
	}
	pairs := make([]*dto.LabelPair, 0, len(e.scope)+len(labels))
	pairs = append(pairs, e.scope...)
	for i, value := range labels {
		pairs = append(pairs, e.family.labels[i].pair(value))
	}
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
	histogram *dto.Histogram
}

func (s *sample) Desc() *prometheus.Desc { return s.desc }

func (s *sample) Write(m *dto.Metric) error {
	m.Label, m.Gauge, m.Counter, m.Histogram = s.labels, s.gauge, s.counter, s.histogram
	return nil
}

package exposition

import (
	"cmp"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
)

// An emitter gathers the series of one family.
type emitter struct {
	family  *family
	metrics []*dto.Metric

	// Of the account at hand:
	scope   []*dto.LabelPair       // the labels of all its series
	created *timestamppb.Timestamp // of counters and histograms
}

// value adds a gauge or a counter with values of the family's labels.
func (e *emitter) value(v float64, labels ...string) {
	m := &dto.Metric{Label: e.labels(labels)}
	if e.family.kind == kindCounter {
		m.Counter = &dto.Counter{Value: &v, CreatedTimestamp: e.created}
	} else {
		m.Gauge = &dto.Gauge{Value: &v}
	}
	e.metrics = append(e.metrics, m)
}

// histogram adds a histogram with values of the family's labels.
func (e *emitter) histogram(h *histogram.Histogram, labels ...string) {
	p := proto(h, e.family.exemplars)
	p.CreatedTimestamp = e.created
	e.metrics = append(e.metrics, &dto.Metric{Label: e.labels(labels), Histogram: p})
}

// labels returns the labels of a series, sorted by name. Series share them.
func (e *emitter) labels(values []string) []*dto.LabelPair {
	if len(values) == 0 {
		return e.scope
	}
	pairs := make([]*dto.LabelPair, 0, len(e.scope)+len(values))
	pairs = append(pairs, e.scope...)
	for i, value := range values {
		pairs = append(pairs, e.family.labels[i].pair(value))
	}
	slices.SortFunc(pairs, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return pairs
}

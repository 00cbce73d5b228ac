package exposition

import (
	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// gauge returns the row of a gauge with one series for each account.
func gauge(name, help string, value func(*collector.Snapshot) float64) *family {
	return &family{
		name: name, kind: kindGauge, help: help,
		account: func(e *emitter, s *collector.Snapshot) { e.value(value(s)) },
	}
}

// total returns the row of a counter or histogram, as package jobs declares it.
func total(t *jobs.Total) *family {
	f := &family{name: t.Name, kind: kindCounter, help: t.Help, exemplars: t.Exemplars}
	if t.Label.Name != "" {
		f.labels = []label{closed(t.Label.Name, t.Label.Values...)}
	}
	if t.Bounds != nil {
		f.kind = kindHistogram
	}
	f.account = func(e *emitter, s *collector.Snapshot) {
		for values := range t.Series() {
			if t.Bounds != nil {
				e.histogram(s.Totals.Histogram(t, values...), values...)
			} else {
				e.value(s.Totals.Counter(t, values...), values...)
			}
		}
	}
	return f
}

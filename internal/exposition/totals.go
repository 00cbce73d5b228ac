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

// everywhere lets a row be shown also of an account that another replica owns.
func everywhere(f *family) *family {
	f.everywhere = true
	return f
}

var totalsAPILabel = open("api", "of the jobs that were registered so far: the vendor's names, `other`, or `unknown`")

// total returns the row of a counter or histogram, as package jobs declares it.
func total(t *jobs.Total) *family {
	f := &family{name: t.Name, kind: kindCounter, help: t.Help, exemplars: t.Exemplars}
	for _, l := range t.Labels {
		if l.Values == nil {
			f.labels = append(f.labels, totalsAPILabel)
		} else {
			f.labels = append(f.labels, closed(l.Name, l.Values...))
		}
	}
	if t.Bounds != nil {
		f.kind = kindHistogram
	}
	f.account = func(e *emitter, s *collector.Snapshot) {
		for values := range s.Totals.Series(t) {
			if t.Bounds != nil {
				e.histogram(s.Totals.Histogram(t, values...), values...)
			} else {
				e.value(s.Totals.Counter(t, values...), values...)
			}
		}
	}
	return f
}

package exposition

import (
	"iter"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

//go:generate go test . -run TestDocs -update

// prefix begins the name of every metric.
const prefix = "deepaffects_"

// The catalogue, in the order of docs/metrics.md.
var catalogue = []group{
	{"Jobs of their own", ownJobs},
	{"Jobs together", allJobs},
	{"Transcripts", transcripts},
	{"API and quota", api},
	{"Webhooks, sources and storage", intake},
	{"The exporter itself", process},
}

// A group is a part of the catalogue about one subject.
type group struct {
	title    string
	families []*family
}

// families yields every row of the catalogue.
func families() iter.Seq[*family] {
	return func(yield func(*family) bool) {
		for _, g := range catalogue {
			for _, f := range g.families {
				if !yield(f) {
					return
				}
			}
		}
	}
}

// A kind is the type of a metric.
type kind string

const (
	kindGauge     kind = "gauge"
	kindCounter   kind = "counter"
	kindHistogram kind = "histogram"
	kindSummary   kind = "summary"
)

// A family is one row of the catalogue: a metric, and how its series are made.
// Exactly one of account, job, reload and build is set. It sends the series of
// one account, of one job of an account, or of the process.
type family struct {
	name      string // without the prefix
	kind      kind
	help      string
	labels    []label // beside account and request_id
	basic     bool    // jobs have it with job_metrics = "basic", too
	jobLabels bool    // it has the job_labels of the configuration, too
	exemplars bool    // its buckets show the job that they last counted

	account func(*emitter, *collector.Snapshot)
	job     func(*emitter, *job)
	reload  func(*emitter, *Reload)
	build   func(*emitter)

	desc *prometheus.Desc
}

func init() {
	for f := range families() {
		f.desc = f.describe(nil)
	}
}

// describe returns the family's description with more labels than it always has.
func (f *family) describe(more []string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+f.name, f.help, append(f.labelNames(), more...), nil)
}

// labelNames are the names of all labels that the family always has.
func (f *family) labelNames() []string {
	var names []string
	switch {
	case f.account != nil:
		names = append(names, accountLabel)
	case f.job != nil:
		names = append(names, accountLabel, requestIDLabel)
	}
	for _, l := range f.labels {
		names = append(names, l.name)
	}
	return names
}

const (
	accountLabel   = "account"
	requestIDLabel = "request_id"
)

// A label is a label that a family has.
type label struct {
	name    string
	values  []string // all that it can have; nil: any
	meaning string   // of its values, where it can have any
	pairs   map[string]*dto.LabelPair
}

// closed returns a label whose values are known beforehand.
func closed[S ~string](name string, values ...S) label {
	l := label{name: name, pairs: make(map[string]*dto.LabelPair, len(values))}
	for _, v := range values {
		l.values = append(l.values, string(v))
		l.pairs[string(v)] = pair(name, string(v))
	}
	return l
}

// open returns a label that can have any value.
func open(name, meaning string) label { return label{name: name, meaning: meaning} }

func (l *label) pair(value string) *dto.LabelPair {
	if p, known := l.pairs[value]; known {
		return p
	}
	return pair(l.name, value)
}

func pair(name, value string) *dto.LabelPair {
	value = strings.ToValidUTF8(value, "\ufffd")
	return &dto.LabelPair{Name: &name, Value: &value}
}

// seconds is a time as Prometheus has it, to the millisecond; 0 for the zero time.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// truth is 1 for what is true.
func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

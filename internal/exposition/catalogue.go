package exposition

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

//go:generate go test . -run TestDocs -update

// prefix is the prefix of all metric names.
const prefix = "deepaffects_"

// The catalogue by subject, in the order of docs/metrics.md.
var catalogue = []struct {
	title    string
	families []*family
}{
	{"Each job", ownJobs},
	{"All jobs", allJobs},
	{"Transcripts", transcripts},
	{"API and quota", api},
	{"Webhooks, sources and storage", inputsAndStore},
	{"The exporter itself", process},
}

var (
	families []*family // all rows of the catalogue
	perJob   []*family // those of single jobs, sorted by name
)

func init() {
	for _, g := range catalogue {
		families = append(families, g.families...)
	}
	for _, f := range families {
		if f.job != nil {
			perJob = append(perJob, f)
		}
	}
	slices.SortFunc(perJob, func(a, b *family) int { return cmp.Compare(a.name, b.name) })
}

// A kind is the type of a metric.
type kind string

const (
	kindGauge     kind = "gauge"
	kindCounter   kind = "counter"
	kindHistogram kind = "histogram"
	kindSummary   kind = "summary"
)

// proto returns the type as protobuf has it.
func (k kind) proto() dto.MetricType {
	return dto.MetricType(dto.MetricType_value[strings.ToUpper(string(k))])
}

// A family is one row of the catalogue: a metric and the function that gathers or writes its series. Exactly one of
// account, job, reload and build is set, for the series of one account, of one job, or of the process.
type family struct {
	name      string // without the prefix
	kind      kind
	help      string
	labels    []label              // besides account and request_id
	basic     bool                 // also with job_metrics = "basic"
	quantiles []transcript.Measure // of a summary
	jobLabels bool                 // also has the job_labels of the configuration
	exemplars bool                 // its buckets have exemplars
	// everywhere: also of an account that another replica owns.
	everywhere bool

	account func(*emitter, *collector.Snapshot)
	job     func(*series, *job)
	touch   func(*jobs.Job) float64 // reads what job needs besides the request ID; see series.warm
	reload  func(*Reload) float64
	build   func() []string // the values of its labels
}

// describe returns the description of a family of the process.
func (f *family) describe() *prometheus.Desc {
	var names []string
	for _, l := range f.labels {
		names = append(names, l.name)
	}
	return prometheus.NewDesc(prefix+f.name, f.help, names, nil)
}

const accountLabel, requestIDLabel = "account", "request_id"

// A label is a label of a family.
type label struct {
	name    string
	values  []string // all possible ones; nil: any
	meaning string   // of its values, if it can have any
	pairs   map[string]*dto.LabelPair
}

// closed returns a label with a fixed set of values.
func closed[S ~string](name string, values ...S) label {
	l := label{name: name, pairs: make(map[string]*dto.LabelPair, len(values))}
	for _, v := range values {
		l.values = append(l.values, string(v))
		l.pairs[string(v)] = pair(name, string(v))
	}
	return l
}

// open returns a label with any value.
func open(name, meaning string) label { return label{name: name, meaning: meaning} }

func (l *label) pair(value string) *dto.LabelPair {
	if p, known := l.pairs[value]; known {
		return p
	}
	return pair(l.name, value)
}

func pair(name, value string) *dto.LabelPair {
	return &dto.LabelPair{Name: &name, Value: new(valid(value))}
}

// seconds converts a time to seconds since 1970, to the millisecond; 0 for the zero time.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// truth returns 1 for true.
func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

package exposition

import (
	"bufio"
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// series writes the families of single jobs. There can be millions of their series: they are appended to a buffer, with
// no allocation for a series. The client library encodes all others.
type series struct {
	to     *bufio.Writer // keeps its first error
	syntax syntax
	line   []byte // a series, or a line of it, before it is written

	// Of the family:
	*family
	name    string // with the prefix
	columns []column
	headed  bool // its description was written, which a family without series does not have
	measure bool // add to size instead of writing
	size    int  // in bytes, of the family's metrics in protobuf

	// Of the series: the account, the request ID, the family's labels, the job labels; and in the text formats, what all
	// its lines have behind the name.
	values []string
	text   []byte
	// quantiles are the labels of quantiles.
	quantiles map[float64]string
}

// A syntax is how series are written.
type syntax int

const (
	textFormat  syntax = iota // Prometheus' text format, version 0.0.4
	openMetrics               // OpenMetrics, version 1.0.0 and before
	delimited                 // delimited protobuf, io.prometheus.client.MetricFamily
)

// The indexes of the first values of a series.
const (
	accountValue = iota
	requestIDValue
	ownValues
)

// A column is a label of a family.
type column struct {
	head  []byte // what stands before the value
	value int    // index of the value
}

// write writes the series of one family for all jobs.
func (s *series) write(f *family, accounts []account, jobLabels []string) {
	s.family, s.name = f, prefix+f.name
	if !f.jobLabels {
		jobLabels = nil
	}
	s.values = make([]string, ownValues+len(f.labels)+len(jobLabels))
	s.columns = s.layout(jobLabels)
	s.headed, s.measure, s.size = false, s.syntax == delimited, 0
	s.each(accounts, jobLabels)
	if s.measure && s.size > 0 { // a family's length stands before it
		s.measure = false
		s.describeDelimited()
		s.each(accounts, jobLabels)
	}
}

func (s *series) each(accounts []account, jobLabels []string) {
	job := new(job)
	for i := range accounts {
		a := &accounts[i]
		if !s.basic && a.JobMetrics == collector.JobMetricsBasic || a.JobMetrics == collector.JobMetricsOff {
			continue
		}
		s.values[accountValue] = valid(a.Account)
		for k := range a.Jobs {
			*job = a.job(k)
			s.values[requestIDValue] = valid(job.RequestID)
			for n, label := range jobLabels {
				s.values[ownValues+len(s.labels)+n] = ""
				if slices.Contains(a.JobLabels, label) {
					s.values[ownValues+len(s.labels)+n] = valid(job.Labels[label])
				}
			}
			s.job(s, job)
		}
	}
}

// layout returns the labels of the family, sorted by name as the client library sorts them.
func (s *series) layout(jobLabels []string) []column {
	names := []string{accountLabel, requestIDLabel}
	for _, l := range s.labels {
		names = append(names, l.name)
	}
	names = append(names, jobLabels...)
	sorted := slices.Sorted(slices.Values(names))
	columns := make([]column, len(names))
	for i, name := range sorted {
		columns[i].value = slices.Index(names, name)
		switch {
		case s.syntax == delimited:
			columns[i].head = appendString(nil, 1, name)
		case i == 0:
			columns[i].head = []byte("{" + name + `="`)
		default:
			columns[i].head = []byte(`",` + name + `="`)
		}
	}
	return columns
}

// valid returns a label value in UTF-8, which the formats require.
func valid(value string) string { return strings.ToValidUTF8(value, "\ufffd") }

// value writes a gauge with values of the family's labels.
func (s *series) value(v float64, labels ...string) {
	for i, l := range labels {
		s.values[ownValues+i] = valid(l)
	}
	if s.syntax != delimited {
		s.label()
		s.begin("", 0)
		s.number(v)
		return
	}
	gauge := protowire.SizeTag(1) + protowire.SizeFixed64()
	s.beginDelimited(protowire.SizeTag(2) + protowire.SizeBytes(gauge))
	s.line = protowire.AppendTag(s.line, 2, protowire.BytesType)
	s.line = protowire.AppendVarint(s.line, uint64(gauge))
	s.double(1, v)
	s.flush()
}

// summary writes a distribution with those of the quantiles that are known, unless it has no values.
func (s *series) summary(d *transcript.Distribution, quantiles []transcript.Measure) {
	if d.Count == 0 {
		return
	}
	count := uint64(d.Count)
	if s.syntax != delimited {
		s.label()
		for i := range quantiles {
			if v := quantiles[i].Of(d); !math.IsNaN(v) {
				s.begin("", quantiles[i].Quantile)
				s.number(v)
			}
		}
		s.begin("_sum", 0)
		s.number(d.Sum)
		s.begin("_count", 0)
		s.integer(count)
		return
	}
	known := 0
	for i := range quantiles {
		if !math.IsNaN(quantiles[i].Of(d)) {
			known++
		}
	}
	double := protowire.SizeTag(1) + protowire.SizeFixed64()
	summary := protowire.SizeTag(1) + protowire.SizeVarint(count) + double +
		known*(protowire.SizeTag(3)+protowire.SizeBytes(2*double))
	s.beginDelimited(protowire.SizeTag(4) + protowire.SizeBytes(summary))
	s.line = protowire.AppendTag(s.line, 4, protowire.BytesType)
	s.line = protowire.AppendVarint(s.line, uint64(summary))
	s.line = protowire.AppendTag(s.line, 1, protowire.VarintType)
	s.line = protowire.AppendVarint(s.line, count)
	s.double(2, d.Sum)
	for i := range quantiles {
		if v := quantiles[i].Of(d); !math.IsNaN(v) {
			s.line = protowire.AppendTag(s.line, 3, protowire.BytesType)
			s.line = protowire.AppendVarint(s.line, uint64(2*double))
			s.double(1, quantiles[i].Quantile)
			s.double(2, v)
		}
	}
	s.flush()
}

func (s *series) flush() {
	if s.measure {
		s.size += len(s.line)
	} else {
		s.to.Write(s.line) //nolint:errcheck // Flush returns it
	}
	s.line = s.line[:0]
}

// begin begins a line of text, with a quantile unless that is 0. The value ends it.
func (s *series) begin(suffix string, quantile float64) {
	if !s.headed {
		s.headed = true
		s.describeText()
	}
	s.line = append(s.line, s.name...)
	s.line = append(s.line, suffix...)
	s.line = append(s.line, s.text...)
	if quantile != 0 {
		s.line = append(s.line, s.quantile(quantile)...)
	}
	s.line = append(s.line, `"} `...)
}

// label sets the text of the labels.
func (s *series) label() {
	s.text = s.text[:0]
	for i := range s.columns {
		s.text = append(s.text, s.columns[i].head...)
		s.text = appendEscaped(s.text, s.values[s.columns[i].value])
	}
}

// quantile returns the label of a quantile.
func (s *series) quantile(q float64) string {
	label, found := s.quantiles[q]
	if !found {
		if s.quantiles == nil {
			s.quantiles = make(map[float64]string)
		}
		label = `",quantile="` + strconv.FormatFloat(q, 'g', -1, 64)
		s.quantiles[q] = label
	}
	return label
}

// number ends a line with a value, as the client library formats it.
func (s *series) number(v float64) {
	from := len(s.line)
	switch v {
	case 0: // also -0
		s.line = append(s.line, '0')
	case 1:
		s.line = append(s.line, '1')
	default: // NaN, +Inf and -Inf are as in the formats
		s.line = strconv.AppendFloat(s.line, v, 'g', -1, 64)
	}
	if s.syntax == openMetrics && !bytes.ContainsAny(s.line[from:], ".eNI") {
		s.line = append(s.line, ".0"...)
	}
	s.end()
}

// integer ends a line with a count, which is written without a fraction.
func (s *series) integer(n uint64) {
	if s.syntax == openMetrics {
		s.line = strconv.AppendUint(s.line, n, 10)
		s.end()
	} else {
		s.number(float64(n))
	}
}

func (s *series) end() {
	s.line = append(s.line, '\n')
	s.flush()
}

// describeText writes the lines before a family's series.
func (s *series) describeText() {
	help := strings.ReplaceAll(strings.ReplaceAll(s.help, `\`, `\\`), "\n", `\n`)
	if s.syntax == openMetrics {
		help = strings.ReplaceAll(help, `"`, `\"`)
	}
	s.line = append(s.line, "# HELP "+s.name+" "+help+"\n# TYPE "+s.name+" "+string(s.kind)...)
	s.end()
}

// appendEscaped appends a label value in quotes of the text formats.
func appendEscaped(b []byte, value string) []byte {
	if strings.IndexByte(value, '\\') < 0 && strings.IndexByte(value, '"') < 0 && strings.IndexByte(value, '\n') < 0 {
		return append(b, value...)
	}
	done := 0
	for i := range len(value) {
		var escaped string
		switch value[i] {
		case '\\':
			escaped = `\\`
		case '"':
			escaped = `\"`
		case '\n':
			escaped = `\n`
		default:
			continue
		}
		b = append(append(b, value[done:i]...), escaped...)
		done = i + 1
	}
	return append(b, value[done:]...)
}

// The fields of io.prometheus.client.MetricFamily, in the order of their numbers as protobuf's encoder writes them:
// name, help, type, metric.

// describeDelimited writes the length of the family, and what stands before its metrics.
func (s *series) describeDelimited() {
	head := appendString(nil, 1, s.name)
	head = appendString(head, 2, s.help)
	head = protowire.AppendTag(head, 3, protowire.VarintType)
	head = protowire.AppendVarint(head, uint64(dto.MetricType_value[strings.ToUpper(string(s.kind))]))
	s.line = protowire.AppendVarint(s.line, uint64(len(head)+s.size))
	s.line = append(s.line, head...)
	s.flush()
}

// beginDelimited begins a metric whose value takes this number of bytes: it appends its length and its labels.
func (s *series) beginDelimited(value int) {
	size := value
	for i := range s.columns {
		size += protowire.SizeTag(1) + protowire.SizeBytes(s.pairSize(i))
	}
	s.line = protowire.AppendTag(s.line, 4, protowire.BytesType)
	s.line = protowire.AppendVarint(s.line, uint64(size))
	for i := range s.columns {
		s.line = protowire.AppendTag(s.line, 1, protowire.BytesType)
		s.line = protowire.AppendVarint(s.line, uint64(s.pairSize(i)))
		s.line = append(s.line, s.columns[i].head...)
		s.line = appendString(s.line, 2, s.values[s.columns[i].value])
	}
}

// pairSize returns the number of bytes of a label's name and value.
func (s *series) pairSize(column int) int {
	c := &s.columns[column]
	return len(c.head) + protowire.SizeTag(2) + protowire.SizeBytes(len(s.values[c.value]))
}

func (s *series) double(field protowire.Number, v float64) {
	s.line = protowire.AppendTag(s.line, field, protowire.Fixed64Type)
	s.line = protowire.AppendFixed64(s.line, math.Float64bits(v))
}

func appendString(b []byte, field protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), value)
}

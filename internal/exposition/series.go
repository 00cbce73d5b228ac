package exposition

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// series writes the families of single jobs. There can be millions of their series: they are appended to a buffer, with
// no allocation for a series. The client library encodes all others.
type series struct {
	to       *bufio.Writer // keeps its first error
	syntax   syntax
	accounts []account
	tables   []table // those that are not yet written, sorted by name
	lines    []byte  // what is not yet handed to the writer
	measure  bool    // add to the size of a table instead of writing
	warmed   float64 // see warm

	// Of the series at hand:
	*table
	job         job
	account, id column
	identified  *jobs.Job // whose request ID it is
}

// A syntax is how series are written.
type syntax int

const (
	textFormat  syntax = iota // Prometheus' text format, version 0.0.4
	openMetrics               // OpenMetrics, version 1.0.0 and before
	delimited                 // delimited protobuf, io.prometheus.client.MetricFamily
)

// A table has the series of one family.
type table struct {
	*family
	name         string // with the prefix
	jobLabels    []string
	own          []column  // the family's labels and the job labels
	columns      []*column // the labels behind the lead, sorted by name as the client library sorts them
	leads        [3][]byte // what each of the lines begins with for the account at hand; in protobuf, the labels
	choices      [][]byte  // the only label with each of its possible values
	quantiles    []string  // the labels of the family's quantiles, in the text formats
	accountLeads bool      // the account is in the leads, since no label is before it
	shown        bool      // for the account at hand
	described    bool      // which a family without series is not
	size         int       // of its metrics in protobuf, in bytes
}

// A column is a label of a table, as the format writes it.
type column struct {
	name string
	head []byte // what stands before a value
	text []byte // the label of the series at hand

	at, length int // of the value in text; length -1: it is not written as it is
}

// The lines of a series.
const (
	valueLine = iota // the only one, or a quantile
	sumLine
	countLine
)

var suffixes = [...]string{valueLine: "", sumLine: "_sum", countLine: "_count"}

const (
	bufferSize = 64 << 10 // of lines, before they are handed to the writer
	ahead      = 32       // jobs that are warmed at once
)

// newSeries returns a writer for the series of the jobs of accounts.
func newSeries(to *bufio.Writer, syntax syntax, accounts []account) *series {
	s := &series{
		to: to, syntax: syntax, accounts: accounts, tables: make([]table, len(perJob)),
		lines: make([]byte, 0, bufferSize+4<<10),
	}
	s.account, s.id = s.column(accountLabel), s.column(requestIDLabel)
	jobLabels := unionOfJobLabels(accounts)
	for i, f := range perJob {
		s.tables[i] = table{family: f, name: prefix + f.name}
		if f.jobLabels {
			s.tables[i].jobLabels = jobLabels
		}
		s.layout(&s.tables[i])
	}
	if syntax == delimited { // the size of a family stands before it
		s.measure = true
		s.each(s.tables, touchAll)
		s.measure = false
	}
	return s
}

// layout prepares the labels of a table.
func (s *series) layout(t *table) {
	for _, l := range t.labels {
		t.own = append(t.own, s.column(l.name))
	}
	for _, name := range t.jobLabels {
		t.own = append(t.own, s.column(name))
	}
	t.columns = []*column{&s.account, &s.id}
	for i := range t.own {
		t.columns = append(t.columns, &t.own[i])
	}
	slices.SortFunc(t.columns, func(a, b *column) int { return cmp.Compare(a.name, b.name) })
	if t.columns[0] == &s.account {
		t.columns, t.accountLeads = t.columns[1:], true
	}
	if len(t.labels) == 1 && len(t.jobLabels) == 0 {
		for _, value := range t.labels[0].values {
			c := s.column(t.labels[0].name)
			s.set(&c, value)
			t.choices = append(t.choices, c.text)
		}
	}
	for _, q := range t.family.quantiles {
		t.quantiles = append(t.quantiles, `quantile="`+strconv.FormatFloat(q.Quantile, 'g', -1, 64)+`",`)
	}
}

func (s *series) column(name string) column {
	head := []byte(name + `="`)
	if s.syntax == delimited {
		head = appendString(nil, 1, name)
	}
	return column{name: name, head: head, length: -1}
}

// next writes the next table.
func (s *series) next() {
	t := &s.tables[0]
	if t.size > 0 {
		s.describeDelimited(t)
	}
	s.each(s.tables[:1], t.touch)
	s.flush()
	s.tables = s.tables[1:]
}

// each passes all jobs to the families of tables. See warm for touch.
func (s *series) each(tables []table, touch func(*jobs.Job) float64) {
	for i := range s.accounts {
		a := &s.accounts[i]
		s.job.account = a
		s.set(&s.account, a.Account)
		for t := range tables {
			tables[t].shown = a.shows(tables[t].family)
			s.lead(&tables[t])
		}
		for k, j := range a.Jobs {
			if k%ahead == 0 {
				s.warm(a.Jobs[k:min(k+ahead, len(a.Jobs))], touch)
			}
			s.job.Job, s.job.index = j, k
			for t := range tables {
				if s.table = &tables[t]; s.shown {
					s.labelJob()
					s.family.job(s, &s.job)
				}
			}
			if len(s.lines) >= bufferSize {
				s.flush()
			}
		}
	}
}

// lead sets the leads of a table for the account at hand.
func (s *series) lead(t *table) {
	for i, suffix := range suffixes {
		lead := t.leads[i][:0]
		if s.syntax != delimited {
			lead = append(append(append(lead, t.name...), suffix...), '{')
		}
		if t.accountLeads {
			lead = append(lead, s.account.text...)
		}
		t.leads[i] = lead
	}
}

// warm brings the request IDs of the next jobs, and what touch reads of them, into the processor's caches. They are
// spread over the heap. Here, the processor waits for several of them at a time, since nothing else depends on them;
// while series are written, it would wait for one after the other. This saves a third of the time of 100,000 jobs.
func (s *series) warm(jobs []*jobs.Job, touch func(*jobs.Job) float64) {
	for _, j := range jobs {
		if n := len(j.RequestID); n > 0 {
			s.warmed += float64(j.RequestID[0] + j.RequestID[n-1])
		}
		if touch != nil {
			s.warmed += touch(j)
		}
	}
}

// flush hands the lines to the writer.
func (s *series) flush() {
	s.to.Write(s.lines) //nolint:errcheck // Flush returns it
	s.lines = s.lines[:0]
}

// identify sets the label of the request ID. Where a job has no series, there is no need to.
func (s *series) identify() {
	if s.identified != s.job.Job {
		s.identified = s.job.Job
		s.set(&s.id, s.job.RequestID)
	}
}

// labelJob sets the job labels.
func (s *series) labelJob() {
	for i, name := range s.jobLabels {
		value := ""
		if slices.Contains(s.job.account.JobLabels, name) {
			value = s.job.Labels[name]
		}
		s.set(&s.own[len(s.labels)+i], value)
	}
}

// label sets the values of the family's labels.
func (s *series) label(values ...string) {
	for i, v := range values {
		s.set(&s.own[i], v)
	}
}

// choose sets the family's only label to the possible value with this index.
func (s *series) choose(i int) { s.own[0].text = s.choices[i] }

// set sets a label.
func (s *series) set(c *column, value string) {
	plain := isPlain(value)
	if plain && len(value) == c.length {
		// What is around the value stays. Request IDs mostly have one length: this saves a sixth of the time.
		copy(c.text[c.at:], value)
		return
	}
	c.length = len(value)
	if !plain {
		c.length = -1
		value = valid(value)
	}
	if s.syntax == delimited {
		c.text = protowire.AppendTag(c.text[:0], 1, protowire.BytesType)
		c.text = protowire.AppendVarint(c.text, uint64(len(c.head)+protowire.SizeTag(2)+protowire.SizeBytes(len(value))))
		c.text = append(c.text, c.head...)
		c.text = appendString(c.text, 2, value)
		c.at = len(c.text) - len(value)
	} else {
		c.text = append(c.text[:0], c.head...)
		c.at = len(c.text)
		c.text = appendEscaped(c.text, value)
		c.text = append(c.text, `",`...)
	}
}

// special are the bytes of label values that are checked or escaped.
var special = func() (special [256]bool) {
	special['"'], special['\\'], special['\n'] = true, true, true
	for i := utf8.RuneSelf; i < len(special); i++ {
		special[i] = true
	}
	return special
}()

// isPlain reports whether all formats have a label value as it is.
func isPlain(value string) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; len(value) >= 8; value = value[8:] { // request IDs, at 8 bytes at once
		eight := binary.LittleEndian.Uint64([]byte(value[:8]))
		quotes, backslashes, feeds := eight^'"'*ones, eight^'\\'*ones, eight^'\n'*ones // bytes that are zero
		if (eight|(quotes-ones)|(backslashes-ones)|(feeds-ones))&highs != 0 {
			return false
		}
	}
	for i := range len(value) {
		if special[value[i]] {
			return false
		}
	}
	return true
}

// valid returns a label value in UTF-8, which the formats require.
func valid(value string) string { return strings.ToValidUTF8(value, "\ufffd") }

// value writes a gauge.
func (s *series) value(v float64) {
	if s.syntax != delimited {
		s.begin(valueLine, "")
		s.number(v)
		return
	}
	if s.beginDelimited(len(gaugeHead) + protowire.SizeFixed64()) {
		s.lines = append(s.lines, gaugeHead...)
		s.lines = protowire.AppendFixed64(s.lines, math.Float64bits(v))
	}
}

// gaugeHead is what stands before the value of a gauge: tag 2, its 9 bytes, tag 1 of a fixed64.
const gaugeHead = "\x12\x09\x09"

// summary writes a distribution with those of the family's quantiles that are known, unless it has no values.
func (s *series) summary(d *transcript.Distribution) {
	if d.Count == 0 {
		return
	}
	quantiles := s.family.quantiles
	count := uint64(d.Count)
	if s.syntax != delimited {
		for i := range quantiles {
			if v := quantiles[i].Of(d); !math.IsNaN(v) {
				s.begin(valueLine, s.quantiles[i])
				s.number(v)
			}
		}
		s.begin(sumLine, "")
		s.number(d.Sum)
		s.begin(countLine, "")
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
	if !s.beginDelimited(protowire.SizeTag(4) + protowire.SizeBytes(summary)) {
		return
	}
	s.lines = protowire.AppendTag(s.lines, 4, protowire.BytesType)
	s.lines = protowire.AppendVarint(s.lines, uint64(summary))
	s.lines = protowire.AppendTag(s.lines, 1, protowire.VarintType)
	s.lines = protowire.AppendVarint(s.lines, count)
	s.double(2, d.Sum)
	for i := range quantiles {
		if v := quantiles[i].Of(d); !math.IsNaN(v) {
			s.lines = protowire.AppendTag(s.lines, 3, protowire.BytesType)
			s.lines = protowire.AppendVarint(s.lines, uint64(2*double))
			s.double(1, quantiles[i].Quantile)
			s.double(2, v)
		}
	}
}

// begin begins a line of text. The value ends it.
func (s *series) begin(line int, quantile string) {
	if !s.described {
		s.described = true
		s.describeText()
	}
	s.identify()
	lines := append(s.lines, s.leads[line]...)
	for _, c := range s.columns {
		lines = append(lines, c.text...)
	}
	lines = append(lines, quantile...)
	lines[len(lines)-1] = '}' // instead of the comma behind the last label
	s.lines = append(lines, ' ')
}

// number ends a line with a value, as the client library formats it.
func (s *series) number(v float64) {
	switch v {
	case 0: // also -0
		s.lines = append(s.lines, '0')
	case 1:
		s.lines = append(s.lines, '1')
	default: // NaN, +Inf and -Inf are as in the formats
		s.lines = appendFloat(s.lines, v)
	}
	if s.syntax == openMetrics && v == math.Trunc(v) && math.Abs(v) < 1e6 { // it has neither a point nor an exponent
		s.lines = append(s.lines, ".0"...)
	}
	s.lines = append(s.lines, '\n')
}

// integer ends a line with a count, which is written without a fraction.
func (s *series) integer(n uint64) {
	if s.syntax == openMetrics {
		s.lines = strconv.AppendUint(s.lines, n, 10)
		s.lines = append(s.lines, '\n')
	} else {
		s.number(float64(n))
	}
}

// appendFloat appends a number as strconv.AppendFloat(b, v, 'g', -1, 64) does. Most have at most three digits behind
// the point. Then they are those of an integer, and need not be searched for, which saves a fifth of the time.
func appendFloat(b []byte, v float64) []byte {
	n := int64(v*1000 + .5)
	if n <= 0 || n >= 1e15 || float64(n)/1000 != v { // with 15 digits, there is no other number as short
		return strconv.AppendFloat(b, v, 'g', -1, 64)
	}
	from := len(b)
	if n < 1e9 {
		b = strconv.AppendInt(b, n/1000, 10)
		n %= 1000
		b = append(b, '.', '0'+byte(n/100), '0'+byte(n/10%10), '0'+byte(n%10))
		return trimZeros(b)
	}
	b = strconv.AppendInt(append(b, 0), n, 10)
	exponent := len(b) - from - 5
	b[from], b[from+1] = b[from+1], '.'
	b = trimZeros(b)
	return append(b, 'e', '+', '0'+byte(exponent/10), '0'+byte(exponent%10))
}

// trimZeros removes zeros at the end of a fraction, and the point if nothing is left of it.
func trimZeros(b []byte) []byte {
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	if b[len(b)-1] == '.' {
		b = b[:len(b)-1]
	}
	return b
}

// describeText writes the lines before a family's series.
func (s *series) describeText() {
	help := strings.ReplaceAll(strings.ReplaceAll(s.help, `\`, `\\`), "\n", `\n`)
	if s.syntax == openMetrics {
		help = strings.ReplaceAll(help, `"`, `\"`)
	}
	s.lines = append(s.lines, "# HELP "+s.name+" "+help+"\n# TYPE "+s.name+" "+string(s.kind)+"\n"...)
}

// appendEscaped appends a label value in quotes of the text formats.
func appendEscaped(b []byte, value string) []byte {
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

// describeDelimited writes the length of a family, and what stands before its metrics.
func (s *series) describeDelimited(t *table) {
	head := appendString(nil, 1, t.name)
	head = appendString(head, 2, t.help)
	head = protowire.AppendTag(head, 3, protowire.VarintType)
	head = protowire.AppendVarint(head, uint64(t.kind.proto()))
	s.lines = protowire.AppendVarint(s.lines, uint64(len(head)+t.size))
	s.lines = append(s.lines, head...)
}

// beginDelimited begins a metric whose value takes this number of bytes: it appends its length and its labels. It
// returns false if it only measured it.
func (s *series) beginDelimited(value int) bool {
	s.identify()
	size := value + len(s.leads[valueLine])
	for _, c := range s.columns {
		size += len(c.text)
	}
	if s.measure {
		s.size += protowire.SizeTag(4) + protowire.SizeBytes(size)
		return false
	}
	lines := protowire.AppendTag(s.lines, 4, protowire.BytesType)
	lines = protowire.AppendVarint(lines, uint64(size))
	lines = append(lines, s.leads[valueLine]...)
	for _, c := range s.columns {
		lines = append(lines, c.text...)
	}
	s.lines = lines
	return true
}

func (s *series) double(field protowire.Number, v float64) {
	s.lines = protowire.AppendTag(s.lines, field, protowire.Fixed64Type)
	s.lines = protowire.AppendFixed64(s.lines, math.Float64bits(v))
}

func appendString(b []byte, field protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), value)
}

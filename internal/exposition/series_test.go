package exposition_test

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/cputime"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/exposition"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// TestBytes compares each format, to the byte, with what the client library writes for the same metrics.
func TestBytes(t *testing.T) {
	tricky := newJobs("team")
	for i, id := range []string{
		"plain", `back\slash`, `"quoted"`, "אב…", "line\nbreak", "job 1", `"job"`, "job 2", "jöb", "job 3",
	} {
		track(t, tricky, submission.HTTP, submission.Job{RequestID: id, API: "asr", Labels: map[string]string{
			"team": "\"\\\n\xff" + id,
		}})
		switch i {
		case 0:
			complete(t, tricky, id, 1234567.125, conversation())
		case 1:
			observe(t, tricky, jobs.Observation{RequestID: id, At: after(5), State: jobs.Failed, ErrorCode: "E\n1"})
		case 2:
			complete(t, tricky, id, 1e7, accumulate(func(a *transcript.Accumulator) {
				a.WordList()
				for k := range 30 {
					start := float64(k) * 1e5
					a.Word(transcript.Piece{Start: start, End: start + 1e-7, Confidence: 1. / 3, Speaker: fmt.Append(nil, k%13)})
				}
			}))
		}
	}
	labelled := func(account, metrics string, labels ...string) collector.Snapshot {
		s := snapshot(account, tricky)
		s.JobMetrics, s.JobLabels = metrics, labels
		return s
	}
	special := snapshot("special values", newJobs())
	values := []float64{
		math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), -1, 1e6, 999999, 1e21, 5e-324, 0.001, 0.0001, 0.0015,
		.1 + .2, 100, 120.5, 120.05, 999999.999, 1e6 - 1e-4, 1000000.001, 1.5e6, 1e11, 999999999999.999, 1e12, 1e12 + .001,
		math.MaxInt64, math.MaxFloat64,
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		digits := float64(random.Int64N(int64(math.Pow10(1 + random.IntN(17)))))
		values = append(values, digits/math.Pow10(random.IntN(6)), math.Float64frombits(random.Uint64()))
	}
	for i, v := range values {
		d := transcript.Distribution{Count: 1 + i*300, Sum: v, P50: v, P90: v, P99: -v}
		special.Jobs = append(special.Jobs, &jobs.Job{
			RequestID: fmt.Sprint("job ", i), Origin: new(jobs.Origin),
			Observed: &jobs.Observed{State: jobs.Completed, Statistics: &transcript.Statistics{
				Confidence: v, WordGap: d, WordDuration: d, WordConfidence: d,
				BySpeaker: []transcript.Speaker{{TalkSeconds: v}},
			}},
		})
	}
	const plain = "0123456789abcdef012"
	for i := range plain {
		for _, c := range []string{`"`, `\`, "\n", "\xff", "é", "\x00", "!", "#", "[", "]", "\v"} {
			special.Jobs = append(special.Jobs, &jobs.Job{
				RequestID: plain[:i] + c + plain[i:], Origin: new(jobs.Origin), Observed: new(jobs.Observed),
			})
		}
	}
	for _, test := range []struct {
		name     string
		accounts []collector.Snapshot
	}{
		{"no account", nil},
		{"no job", []collector.Snapshot{snapshot("default", newJobs())}},
		{"tricky values", []collector.Snapshot{labelled("\"a\\\n\xff", collector.JobMetricsFull, "team")}},
		{"job labels before and behind", []collector.Snapshot{labelled("a", collector.JobMetricsFull, "Aa", "team", "zone")}},
		{"several accounts", []collector.Snapshot{
			labelled("off", collector.JobMetricsOff, "team"),
			labelled("b", collector.JobMetricsBasic),
			labelled("a", collector.JobMetricsFull, "team"),
		}},
		{"special values", []collector.Snapshot{special}},
	} {
		t.Run(test.name, func(t *testing.T) {
			metrics := everything(t, test.accounts...)
			var body bytes.Buffer
			if err := metrics.metrics.Write(&body, expfmt.FmtProtoDelim); err != nil {
				t.Fatal(err)
			}
			families, err := decode(bytes.NewReader(body.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if !slices.IsSortedFunc(f.Metric[0].Label, func(a, b *dto.LabelPair) int {
					return cmp.Compare(a.GetName(), b.GetName())
				}) {
					t.Errorf("%s: labels are not sorted", f.GetName())
				}
			}
			for _, format := range []expfmt.Format{
				expfmt.FmtText, expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtOpenMetrics_0_0_1, expfmt.FmtProtoDelim,
			} {
				var got, want bytes.Buffer
				if err := metrics.metrics.Write(&got, format); err != nil {
					t.Fatal(err)
				}
				encoder := expfmt.NewEncoder(&want, format, expfmt.WithCreatedLines())
				for _, f := range families {
					if err := encoder.Encode(f); err != nil {
						t.Fatal(err)
					}
				}
				if err := encoder.(expfmt.Closer).Close(); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got.Bytes(), want.Bytes()) {
					t.Errorf("%s differs:\n%s", format, firstDifference(got.String(), want.String()))
				}
			}
		})
	}
}

func firstDifference(got, want string) string {
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(gotLines), len(wantLines)) {
		if gotLines[i] != wantLines[i] {
			return fmt.Sprintf("line %d\n got %q\nwant %q", i+1, gotLines[i], wantLines[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(gotLines), len(wantLines))
}

// TestBrokenOff checks that a client that went away ends the scrape with its error.
func TestBrokenOff(t *testing.T) {
	r := newJobs()
	for i := range 2000 {
		id := fmt.Sprint("job ", i)
		track(t, r, submission.HTTP, submission.Job{RequestID: id})
	}
	metrics := of(t, snapshot("default", r)).metrics
	for _, format := range []expfmt.Format{expfmt.FmtText, expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtProtoDelim} {
		gone := &limited{left: 1000}
		if err := metrics.Write(gone, format); err == nil || gone.calls > 2 {
			t.Errorf("%s: error %v after %d writes", format, err, gone.calls)
		}
	}
}

// limited accepts some bytes.
type limited struct{ left, calls int }

func (l *limited) Write(p []byte) (int, error) {
	l.calls++
	if n := min(l.left, len(p)); n < len(p) {
		l.left = 0
		return n, io.ErrClosedPipe
	}
	l.left -= len(p)
	return len(p), nil
}

// TestScrapeAllocations checks that the number of allocations does not depend on the number of jobs.
func TestScrapeAllocations(t *testing.T) {
	few, many := finished(t, 10), finished(t, 1000)
	for _, format := range []expfmt.Format{expfmt.FmtText, expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtProtoDelim} {
		allocations := func(of collector.Snapshot) float64 {
			metrics := exposition.Of(func() []collector.Snapshot { return []collector.Snapshot{of} }, prometheus.NewRegistry())
			return testing.AllocsPerRun(5, func() {
				if err := metrics.Write(io.Discard, format); err != nil {
					t.Error(err)
				}
			})
		}
		if a, b := allocations(few), allocations(many); b > a+a/10 {
			t.Errorf("%s: %v allocations for 10 jobs, %v for 1000", format, a, b)
		}
	}
}

// finished returns an account with finished jobs that have all series.
func finished(t testing.TB, n int) collector.Snapshot {
	r := openJobs(nil, "team")
	o := jobOptions("team")
	o.MaxJobSeries = n
	r.SetOptions(o)
	result := accumulate(func(a *transcript.Accumulator) {
		a.WordList()
		for i := range 200 {
			start := float64(i) * .5
			a.Word(transcript.Piece{Start: start, End: start + .3, Confidence: .9, Speaker: fmt.Append(nil, i%4)})
		}
	})
	for i := range n {
		id := fmt.Sprintf("8bdd983a-c6bd-4159-982d-%012x", i*7919)
		track(t, r, submission.HTTP, submission.Job{RequestID: id, API: "asr", Labels: map[string]string{"team": "sales"}})
		complete(t, r, id, 30, result)
	}
	s := snapshot("default", r)
	s.JobLabels = []string{"team"}
	return s
}

// BenchmarkScrape scrapes finished jobs with all of their series: with this package, and with the client library's
// constant metrics as the peer. at-rest-B is the heap without a scrape.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		s := finished(b, n)
		atRest := heap()
		metrics := exposition.Of(func() []collector.Snapshot { return []collector.Snapshot{s} }, prometheus.NewRegistry())
		formats := []expfmt.Format{expfmt.FmtText, expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtProtoDelim}
		if n > 10_000 {
			formats = formats[:1] // the peer takes very long
		}
		for _, format := range formats {
			b.Run(fmt.Sprintf("%s/ours/%d", mediaType(format), n), func(b *testing.B) {
				b.ReportAllocs()
				cputime.Report(b)
				for b.Loop() {
					if err := metrics.Write(io.Discard, format); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(atRest), "at-rest-B")
			})
		}
		for _, format := range formats {
			b.Run(fmt.Sprintf("%s/client_golang/%d", mediaType(format), n), func(b *testing.B) {
				peer := prometheus.NewRegistry()
				peer.MustRegister(jobFamilies(b, metrics))
				b.ReportAllocs()
				b.ResetTimer()
				cputime.Report(b)
				for b.Loop() {
					families, err := peer.Gather()
					if err != nil {
						b.Fatal(err)
					}
					encoder := expfmt.NewEncoder(io.Discard, format)
					for _, f := range families {
						if err := encoder.Encode(f); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// jobFamilies returns the families of single jobs.
func jobFamilies(b *testing.B, metrics *exposition.Metrics) constant {
	families, err := gatherer{metrics}.Gather()
	if err != nil {
		b.Fatal(err)
	}
	return slices.DeleteFunc(families, func(f *dto.MetricFamily) bool {
		return !strings.HasPrefix(f.GetName(), "deepaffects_job_") || f.GetType() == dto.MetricType_HISTOGRAM
	})
}

func mediaType(format expfmt.Format) string {
	name, _, _ := strings.Cut(string(format), ";")
	return path.Base(name)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// constant collects families as the client library's constant metrics.
type constant []*dto.MetricFamily

func (constant) Describe(chan<- *prometheus.Desc) {}

func (c constant) Collect(ch chan<- prometheus.Metric) {
	for _, f := range c {
		var names []string
		for _, l := range f.Metric[0].Label {
			names = append(names, l.GetName())
		}
		desc := prometheus.NewDesc(f.GetName(), f.GetHelp(), names, nil)
		for _, m := range f.Metric {
			values := make([]string, len(m.Label))
			for i, l := range m.Label {
				values[i] = l.GetValue()
			}
			if s := m.GetSummary(); s != nil {
				quantiles := make(map[float64]float64)
				for _, q := range s.GetQuantile() {
					quantiles[q.GetQuantile()] = q.GetValue()
				}
				ch <- prometheus.MustNewConstSummary(desc, s.GetSampleCount(), s.GetSampleSum(), quantiles, values...)
			} else {
				ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, m.GetGauge().GetValue(), values...)
			}
		}
	}
}

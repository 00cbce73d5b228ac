package exposition_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// TestClassicHistogram checks the text of a histogram.
func TestClassicHistogram(t *testing.T) {
	r := newJobs()
	track(t, r, submission.HTTP, submission.Job{RequestID: "a"})
	complete(t, r, "a", 30, conversation())
	check(t, of(t, snapshot("default", r)), `
		# TYPE deepaffects_word_gap_seconds histogram
		deepaffects_word_gap_seconds_bucket{account="default",le="0"} 1
		deepaffects_word_gap_seconds_bucket{account="default",le="0.05"} 1
		deepaffects_word_gap_seconds_bucket{account="default",le="0.1"} 1
		deepaffects_word_gap_seconds_bucket{account="default",le="0.2"} 1
		deepaffects_word_gap_seconds_bucket{account="default",le="0.3"} 2
		deepaffects_word_gap_seconds_bucket{account="default",le="0.5"} 2
		deepaffects_word_gap_seconds_bucket{account="default",le="0.75"} 2
		deepaffects_word_gap_seconds_bucket{account="default",le="1"} 2
		deepaffects_word_gap_seconds_bucket{account="default",le="2"} 3
		deepaffects_word_gap_seconds_bucket{account="default",le="5"} 3
		deepaffects_word_gap_seconds_bucket{account="default",le="10"} 3
		deepaffects_word_gap_seconds_bucket{account="default",le="30"} 3
		deepaffects_word_gap_seconds_bucket{account="default",le="+Inf"} 3
		deepaffects_word_gap_seconds_sum{account="default"} 2.25
		deepaffects_word_gap_seconds_count{account="default"} 3
	`, "deepaffects_word_gap_seconds")
}

// TestBounds checks the classic bounds of every histogram against the contract.
func TestBounds(t *testing.T) {
	const (
		ratios = "0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.85 0.9 0.95 0.99 1 +Inf"
		times  = "1 5 15 30 60 120 300 600 1200 3600 7200 14400 43200 86400 +Inf"
	)
	want := map[string]string{
		"job_duration_seconds":                    times,
		"job_detection_window_seconds":            times,
		"transcript_confidence_ratio":             ratios,
		"word_confidence_ratio":                   ratios,
		"dominant_speaker_talk_ratio":             ratios,
		"word_duration_seconds":                   "0.02 0.05 0.1 0.15 0.2 0.25 0.3 0.4 0.5 0.75 1 2 +Inf",
		"word_gap_seconds":                        "0 0.05 0.1 0.2 0.3 0.5 0.75 1 2 5 10 30 +Inf",
		"transcript_speech_rate_words_per_second": "0.5 1 1.5 2 2.5 3 3.5 4 5 7 +Inf",
		"transcript_speakers":                     "1 2 3 4 5 6 8 10 +Inf",
		"api_request_duration_seconds":            "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 +Inf",
	}
	got := make(map[string]string)
	for name, f := range gather(t, of(t, snapshot("default", withAJob(t)))) {
		if f.GetType() == dto.MetricType_HISTOGRAM {
			var bounds []string
			for _, b := range f.GetMetric()[0].GetHistogram().GetBucket() {
				bounds = append(bounds, fmt.Sprint(b.GetUpperBound()))
			}
			got[name] = strings.Join(bounds, " ")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bounds differ (-want +got):\n%s", diff)
	}
}

// TestNativeHistogram checks that protobuf is the same as of Prometheus' own histogram.
func TestNativeHistogram(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	several := make([]float64, 1000)
	for i := range several {
		several[i] = random.ExpFloat64()
	}
	for name, values := range map[string][]float64{
		"empty":              nil,
		"only zeros":         {0, 0, 1e-39},
		"one":                {.3},
		"a bound":            {1, 1, 2},
		"gap of one":         {1, 1.18},
		"gap of two":         {1, 1.28},
		"gap of three":       {1, 1.4},
		"far below one":      {1e-9, 1e-3, 0, 30},
		"beyond the classic": {31, 5000},
		"several":            several,
	} {
		t.Run(name, func(t *testing.T) {
			reference := prometheus.NewHistogram(prometheus.HistogramOpts{
				Name: "reference", Buckets: transcript.WordGapBounds,
				NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
			})
			gaps := histogram.New(transcript.WordGapBounds)
			for _, v := range values {
				gaps.Observe(v)
				reference.Observe(v)
			}
			s := withGaps(t, gaps)
			var m dto.Metric
			if err := reference.Write(&m); err != nil {
				t.Fatal(err)
			}
			want := m.GetHistogram()
			// The bucket +Inf is implied there and written out here; the marker of
			// a native histogram is written without positive buckets.
			want.Bucket = append(want.Bucket, &dto.Bucket{UpperBound: new(math.Inf(1)), CumulativeCount: want.SampleCount})
			if len(want.PositiveSpan) == 0 {
				want.PositiveSpan = []*dto.BucketSpan{{Offset: new(int32), Length: new(uint32)}}
			}
			want.CreatedTimestamp = nil

			family := scrapeProtobuf(t, of(t, s))["deepaffects_word_gap_seconds"]
			got := family.GetMetric()[0].GetHistogram()
			if created := got.GetCreatedTimestamp().AsTime(); !created.Equal(epoch) {
				t.Errorf("created at %v, want %v", created, epoch)
			}
			got.CreatedTimestamp = nil
			if math.Abs(got.GetSampleSum()-want.GetSampleSum()) > 1e-9 {
				t.Errorf("sum %v, want %v", got.GetSampleSum(), want.GetSampleSum())
			}
			got.SampleSum = want.SampleSum
			if !proto.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			if n := nativeCount(got); n != int64(got.GetSampleCount()) {
				t.Errorf("the native buckets hold %d values, the classic ones %d", n, got.GetSampleCount())
			}
		})
	}
}

// withGaps returns an account with these word gaps.
func withGaps(t *testing.T, gaps *histogram.Histogram) collector.Snapshot {
	t.Helper()
	value, err := json.Marshal(gaps)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot("default", openJobs(stored{jobs.WordGap.Name: string(value)}))
}

// nativeCount returns the number of values in the native buckets.
func nativeCount(h *dto.Histogram) int64 {
	total, count := int64(h.GetZeroCount()), int64(0)
	for _, delta := range h.GetPositiveDelta() {
		count += delta
		total += count
	}
	return total
}

// TestCoarseNativeHistogram checks a histogram whose resolution has fallen.
func TestCoarseNativeHistogram(t *testing.T) {
	gaps := histogram.New(transcript.WordGapBounds)
	for v := 1e-9; v < 1e9; v *= 1.05 {
		gaps.Observe(v)
	}
	h := scrapeProtobuf(t, of(t, withGaps(t, gaps)))["deepaffects_word_gap_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSchema() >= 3 || len(h.GetPositiveDelta()) > 160 {
		t.Errorf("schema %d with %d buckets", h.GetSchema(), len(h.GetPositiveDelta()))
	}
	if n := nativeCount(h); n != int64(h.GetSampleCount()) {
		t.Errorf("the native buckets hold %d values, the classic ones %d", n, h.GetSampleCount())
	}
}

// TestExemplars checks the exemplars of buckets, in OpenMetrics and in protobuf.
func TestExemplars(t *testing.T) {
	r := newJobs()
	fits := strings.Repeat("א", 118) // with the name of the label, 128 characters
	for i, id := range []string{"a", fits, fits + "א", `"\` + "\xff"} {
		track(t, r, submission.HTTP, submission.Job{RequestID: id})
		complete(t, r, id, []float64{20, 40, 100, 200.5}[i], conversation())
	}
	metrics := of(t, snapshot("default", r))
	body, _ := scrape(t, metrics, openMetrics)
	with := make(map[string]bool)
	var durations []string
	for line := range strings.Lines(string(body)) {
		name, _, _ := strings.Cut(line, "{")
		if strings.Contains(line, " # ") && !strings.HasPrefix(line, "#") {
			with[name] = true
		}
		if name == "deepaffects_job_duration_seconds_bucket" && strings.Contains(line, `"completed"`) {
			line = strings.TrimPrefix(line, name+`{account="default",api="unknown",result="completed",le=`)
			durations = append(durations, strings.TrimSuffix(line, "\n"))
		}
	}
	if diff := cmp.Diff(map[string]bool{
		"deepaffects_job_duration_seconds_bucket": true, "deepaffects_transcript_confidence_ratio_bucket": true,
		"deepaffects_word_gap_seconds_bucket": true, "deepaffects_word_duration_seconds_bucket": true,
	}, with); diff != "" {
		t.Errorf("metrics with exemplars differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		`"1.0"} 0`, `"5.0"} 0`, `"15.0"} 0`,
		`"30.0"} 1 # {request_id="a"} 20.0 1.00000002e+09`,
		`"60.0"} 2 # {request_id="` + fits + `"} 40.0 1.00000004e+09`,
		`"120.0"} 3`,
		`"300.0"} 4 # {request_id="\"\\�"} 200.5 1.0000002005e+09`,
		`"600.0"} 4`, `"1200.0"} 4`, `"3600.0"} 4`, `"7200.0"} 4`,
		`"14400.0"} 4`, `"43200.0"} 4`, `"86400.0"} 4`, `"+Inf"} 4`,
	}, durations); diff != "" {
		t.Errorf("buckets differ (-want +got):\n%s", diff)
	}

	h := scrapeProtobuf(t, metrics)["deepaffects_job_duration_seconds"].GetMetric()[0].GetHistogram()
	var native []float64
	for _, x := range h.GetExemplars() {
		native = append(native, x.GetValue())
	}
	if want := []float64{20, 40, 200.5}; !slices.Equal(native, want) {
		t.Errorf("native exemplars %v, want %v", native, want)
	}
}

// withAJob returns jobs with one job, for which totals have all of their series.
func withAJob(t *testing.T) *jobs.Jobs {
	r := newJobs()
	track(t, r, submission.HTTP, submission.Job{RequestID: "a", API: "asr"})
	return r
}

// TestCreated checks the created timestamps of counters and histograms.
func TestCreated(t *testing.T) {
	metrics := of(t, snapshot("default", withAJob(t)))
	body, _ := scrape(t, metrics, openMetrics)
	for _, want := range []string{
		`deepaffects_words_created{account="default"} 1e+09`,
		`deepaffects_jobs_finished_created{account="default",api="asr",result="failed"} 1e+09`,
		`deepaffects_job_duration_seconds_created{account="default",api="asr",result="failed"} 1e+09`,
	} {
		if !strings.Contains(string(body), "\n"+want+"\n") {
			t.Errorf("the page lacks %s", want)
		}
	}
	for name, f := range scrapeProtobuf(t, metrics) {
		for _, m := range f.GetMetric() {
			if m.GetCounter() != nil && !m.GetCounter().GetCreatedTimestamp().AsTime().Equal(epoch) ||
				m.GetHistogram() != nil && !m.GetHistogram().GetCreatedTimestamp().AsTime().Equal(epoch) {
				t.Errorf("%s does not say since when it counts: %v", name, m)
			}
		}
	}
}

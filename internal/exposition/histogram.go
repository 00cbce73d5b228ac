package exposition

import (
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
)

// maxGap is the largest number of empty native buckets that do not start another span, as in Prometheus' client
// library.
const maxGap = 2

// proto returns a histogram with both classic and native buckets, for which the client library has no constructor.
func proto(h *histogram.Histogram, exemplars bool) *dto.Histogram {
	p := &dto.Histogram{
		SampleCount: new(h.Count()), SampleSum: new(h.Sum()),
		Schema: new(int32(h.Schema())), ZeroThreshold: new(histogram.ZeroThreshold), ZeroCount: new(h.Zeros()),
	}
	for b := range h.Buckets() {
		bucket := &dto.Bucket{UpperBound: &b.UpperBound, CumulativeCount: &b.Cumulative}
		if exemplars {
			bucket.Exemplar = exemplar(b.Exemplar)
		}
		if bucket.Exemplar.GetTimestamp() != nil {
			p.Exemplars = append(p.Exemplars, bucket.Exemplar)
		}
		p.Bucket = append(p.Bucket, bucket)
	}
	addSpans(p, h)
	return p
}

// addSpans adds the native buckets: spans of indexes, each with its offset from the end of the previous span, and
// counts as differences from the previous bucket.
func addSpans(p *dto.Histogram, h *histogram.Histogram) {
	next, last := 0, int64(0) // index after the previous bucket, and its count
	var span *dto.BucketSpan
	add := func(n uint64) {
		*span.Length++
		p.PositiveDelta = append(p.PositiveDelta, int64(n)-last)
		next, last = next+1, int64(n)
	}
	begin := func(index int) {
		span = &dto.BucketSpan{Offset: new(int32(index - next)), Length: new(uint32)}
		p.PositiveSpan = append(p.PositiveSpan, span)
		next = index
	}
	for index, n := range h.Native() {
		if span == nil || index-next > maxGap {
			begin(index)
		}
		for next < index {
			add(0)
		}
		add(n)
	}
	if span == nil {
		begin(0) // an empty span marks a native histogram
	}
}

// exemplar returns nil without a request ID, or with one that is too long.
func exemplar(x histogram.Exemplar) *dto.Exemplar {
	if x.RequestID == "" || len(requestIDLabel)+utf8.RuneCountInString(x.RequestID) > prometheus.ExemplarMaxRunes {
		return nil
	}
	p := &dto.Exemplar{Label: []*dto.LabelPair{pair(requestIDLabel, x.RequestID)}, Value: &x.Value}
	if !x.At.IsZero() {
		p.Timestamp = timestamppb.New(x.At)
	}
	return p
}

package exposition

import (
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
)

// maxGap is how many empty native buckets are rather listed than made a gap
// between two spans, as in Prometheus' client library.
const maxGap = 2

// proto is a histogram with both its classic and its native buckets, which no
// constructor of the client library makes.
func proto(h *histogram.Histogram, exemplars bool) *dto.Histogram {
	count, sum := h.Count(), h.Sum()
	schema, zeroThreshold, zeros := int32(h.Schema()), histogram.ZeroThreshold, h.Zeros()
	p := &dto.Histogram{
		SampleCount: &count, SampleSum: &sum,
		Schema: &schema, ZeroThreshold: &zeroThreshold, ZeroCount: &zeros,
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

// addSpans adds the native buckets: their indexes as spans, each from an offset
// to the span before it, and their counts as differences to the bucket before.
func addSpans(p *dto.Histogram, h *histogram.Histogram) {
	next, last := 0, int64(0) // index after the last bucket, and its count
	var span *dto.BucketSpan
	add := func(n uint64) {
		*span.Length++
		p.PositiveDelta = append(p.PositiveDelta, int64(n)-last)
		next, last = next+1, int64(n)
	}
	begin := func(index int) {
		offset, length := int32(index-next), uint32(0)
		span = &dto.BucketSpan{Offset: &offset, Length: &length}
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
		begin(0) // a span of no buckets says that the histogram is a native one
	}
}

// exemplar is nil where there is nothing to show, or more than may be shown.
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

// Package histogram counts values in classic and in native (sparse, exponential) Prometheus buckets at once. Unlike
// those of Prometheus' client library, its histograms can be merged, copied, stored and restored, as totals that
// survive a restart must be.
package histogram

import (
	"iter"
	"math"
	"slices"
	"sort"
	"time"
)

// The native buckets are those of the native histogram's specification: bucket i of schema s holds values in
// (2^((i-1)·2^-s), 2^(i·2^-s)]. At the initial schema their bounds grow by a factor of 2^(2^-3) ≈ 1.09, the
// coarsest standard resolution within a growth of 1.1.
const (
	initialSchema = 3
	lowestSchema  = -4
	maxBuckets    = 160
	// ZeroThreshold is the largest value that counts as zero: 2^-128, as in Prometheus' client library.
	ZeroThreshold = 0x1p-128
)

// fractions are the bucket bounds of schema 3 within [0.5, 1), the range of math.Frexp's fraction: 2^(i/8 - 1). The
// digits are those of Prometheus' client library; math.Exp2 is off by one bit for some of them.
var fractions = [1 << initialSchema]float64{
	0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048,
	0.7071067811865475, 0.7711054127039704, 0.8408964152537144, 0.9170040432046711,
}

// An Exemplar is a counted value and the job that it comes from.
type Exemplar struct {
	Value     float64
	RequestID string // empty: the value is not shown as an exemplar
	At        time.Time
}

// A Histogram counts non-negative values. It is not safe for concurrent use.
type Histogram struct {
	bounds    []float64  // classic upper bounds without +Inf, shared by clones
	counts    []uint64   // values in each classic bucket; the last is +Inf's
	exemplars []Exemplar // the latest value of each classic bucket
	sum       float64

	schema int
	zeros  uint64
	first  int      // index of the native bucket native[0]
	native []uint64 // counts of the native buckets from first on
}

// New returns an empty histogram with classic upper bounds, ascending and without +Inf.
func New(bounds []float64) *Histogram {
	n := len(bounds) + 1
	return &Histogram{bounds: bounds, counts: make([]uint64, n), exemplars: make([]Exemplar, n), schema: initialSchema}
}

// Observe counts v. It ignores NaN, infinities and negative values.
func (h *Histogram) Observe(v float64) { h.ObserveExemplar(v, "", time.Time{}) }

// ObserveExemplar counts v and keeps it as its classic bucket's exemplar.
func (h *Histogram) ObserveExemplar(v float64, requestID string, at time.Time) {
	h.observe(v, 1, requestID, at)
}

// observe counts v n times.
func (h *Histogram) observe(v float64, n int, requestID string, at time.Time) {
	if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return
	}
	sum := h.sum
	for range n { // n*v may differ in the last digit
		sum += v
	}
	h.sum = sum
	i := sort.SearchFloat64s(h.bounds, v)
	h.counts[i] += uint64(n)
	h.exemplars[i] = Exemplar{v, requestID, at}
	if v <= ZeroThreshold {
		h.zeros += uint64(n)
		return
	}
	h.addNative(index(v, h.schema), uint64(n))
}

// ObserveSorted counts ascending values, as Observe does one by one.
func (h *Histogram) ObserveSorted(values []float64) {
	for n := 0; len(values) > 0; values = values[n:] {
		v := values[0]
		for n = 1; n < len(values) && values[n] == v; n++ {
		}
		if len(h.native) == 0 && v > ZeroThreshold { // make room for all
			last := index(values[len(values)-1], h.schema)
			h.native = slices.Grow(h.native, max(last-index(v, h.schema)+1, 0))
		}
		h.observe(v, n, "", time.Time{})
	}
}

// index returns the native bucket of v at a schema.
func index(v float64, schema int) int {
	fraction, exponent := math.Frexp(v)
	i := sort.SearchFloat64s(fractions[:], fraction) // upper bounds are inclusive
	return coarser(i+(exponent-1)*len(fractions), initialSchema-schema)
}

// coarser returns the bucket that contains bucket i after halving the resolution n times.
func coarser(i, n int) int {
	for range n {
		i = (i + 1) >> 1
	}
	return i
}

// addNative counts n values in a native bucket.
func (h *Histogram) addNative(i int, n uint64) {
	switch {
	case len(h.native) == 0:
		h.first, h.native = i, append(h.native, 0)
	case i < h.first:
		h.native = slices.Insert(h.native, 0, make([]uint64, h.first-i)...)
		h.first = i
	case i >= h.first+len(h.native):
		h.native = append(h.native, make([]uint64, i-h.first-len(h.native)+1)...)
	}
	bucket := &h.native[i-h.first]
	populated := *bucket == 0 // by this call
	*bucket += n
	for populated && h.populated() > maxBuckets && h.schema > lowestSchema {
		h.reduce()
	}
}

// populated returns the number of native buckets with values.
func (h *Histogram) populated() (n int) {
	for range h.Native() {
		n++
	}
	return n
}

// reduce halves the resolution.
func (h *Histogram) reduce() {
	first := coarser(h.first, 1)
	merged := make([]uint64, coarser(h.first+len(h.native)-1, 1)-first+1)
	for k, n := range h.native {
		merged[coarser(h.first+k, 1)-first] += n
	}
	h.schema--
	h.first, h.native = first, merged
}

// Add adds the counts of o, which must have the same classic bounds. Exemplars of o replace those of the same bucket.
func (h *Histogram) Add(o *Histogram) {
	h.sum += o.sum
	h.zeros += o.zeros
	for i, n := range o.counts {
		h.counts[i] += n
		if o.hasExemplar(i) {
			h.exemplars[i] = o.exemplars[i]
		}
	}
	for h.schema > o.schema {
		h.reduce()
	}
	for k, n := range o.native {
		if n > 0 {
			// addNative may reduce h, so the difference changes.
			h.addNative(coarser(o.first+k, o.schema-h.schema), n)
		}
	}
}

// Merge adds as Add does, and gives the exemplars that it takes over a request ID and a time. With an empty request ID
// they are not shown.
func (h *Histogram) Merge(o *Histogram, requestID string, at time.Time) {
	h.Add(o)
	for i := range o.counts {
		if o.hasExemplar(i) {
			h.exemplars[i].RequestID, h.exemplars[i].At = requestID, at
		}
	}
}

// hasExemplar reports whether a classic bucket has an exemplar. One that was read from JSON may have values without it.
func (h *Histogram) hasExemplar(i int) bool {
	return h.counts[i] > 0 && sort.SearchFloat64s(h.bounds, h.exemplars[i].Value) == i
}

// Clone returns an independent copy.
func (h *Histogram) Clone() *Histogram {
	c := *h
	c.counts, c.exemplars, c.native = slices.Clone(h.counts), slices.Clone(h.exemplars), slices.Clone(h.native)
	return &c
}

// Count returns the number of values.
func (h *Histogram) Count() uint64 { return sum(h.counts) }

// Sum returns the sum of the values.
func (h *Histogram) Sum() float64 { return h.sum }

// A Bucket is one classic bucket.
type Bucket struct {
	UpperBound float64 // +Inf in the last
	Cumulative uint64  // values up to the bound
	Exemplar   Exemplar
}

// Buckets yields the classic buckets, ascending, including +Inf.
func (h *Histogram) Buckets() iter.Seq[Bucket] {
	return func(yield func(Bucket) bool) {
		var cumulative uint64
		for i, n := range h.counts {
			bound := math.Inf(1)
			if i < len(h.bounds) {
				bound = h.bounds[i]
			}
			cumulative += n
			if !yield(Bucket{bound, cumulative, h.exemplars[i]}) {
				return
			}
		}
	}
}

// Schema returns the resolution of the native buckets. It falls when they become too many.
func (h *Histogram) Schema() int { return h.schema }

// Zeros returns the number of values up to ZeroThreshold.
func (h *Histogram) Zeros() uint64 { return h.zeros }

// Native yields index and count of the native buckets that are not empty, ascending.
func (h *Histogram) Native() iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		for k, n := range h.native {
			if n > 0 && !yield(h.first+k, n) {
				return
			}
		}
	}
}

func sum(counts []uint64) (sum uint64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// Package histogram counts values in classic and in native (sparse,
// exponential) Prometheus buckets at once. Unlike a Prometheus client's
// histogram it is data: it can be merged, copied, stored and restored, which is
// what counters that outlive a restart need.
package histogram

import (
	"iter"
	"math"
	"slices"
	"sort"
	"time"
)

// The native buckets: each is a factor of 2^(2^-3) ≈ 1.09 wider than the one
// before, the widest standard resolution within a growth of 1.1. Their bounds
// are those of the native histogram's specification: bucket i of schema s
// holds values in (2^((i-1)·2^-s), 2^(i·2^-s)].
const (
	initialSchema = 3
	lowestSchema  = -4
	maxBuckets    = 160
	// ZeroThreshold is the largest value that counts as zero: 2^-128, as in
	// Prometheus' client library.
	ZeroThreshold = 0x1p-128
)

// fractions are the bucket bounds of schema 3 within [0.5, 1), where
// math.Frexp puts a value's fraction: 2^(i/8 - 1), to the digit as in Prometheus'
// client library (math.Exp2 is off by one bit for some of them).
var fractions = [1 << initialSchema]float64{
	0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048,
	0.7071067811865475, 0.7711054127039704, 0.8408964152537144, 0.9170040432046711,
}

// An Exemplar is one value that was counted, and the job that it came from.
type Exemplar struct {
	Value     float64
	RequestID string // empty: the value may not be shown as an exemplar
	At        time.Time
}

// A Histogram counts values that are not negative. It is not safe for use by
// several goroutines at once.
type Histogram struct {
	bounds    []float64  // classic upper bounds without +Inf, shared by clones
	counts    []uint64   // values in each classic bucket; the last is +Inf's
	exemplars []Exemplar // the latest value of each classic bucket
	count     uint64
	sum       float64

	schema    int
	zeros     uint64
	first     int      // index of the native bucket that native[0] is
	native    []uint64 // counts of the native buckets from first on
	populated int      // how many of native are not 0
}

// New returns an empty histogram with these classic upper bounds, ascending
// and without +Inf.
func New(bounds []float64) *Histogram {
	return &Histogram{
		bounds:    bounds,
		counts:    make([]uint64, len(bounds)+1),
		exemplars: make([]Exemplar, len(bounds)+1),
		schema:    initialSchema,
	}
}

// Observe counts v. NaN, infinities and negative values are not counted.
func (h *Histogram) Observe(v float64) { h.ObserveExemplar(v, "", time.Time{}) }

// ObserveExemplar counts v and keeps it as its classic bucket's exemplar.
func (h *Histogram) ObserveExemplar(v float64, requestID string, at time.Time) {
	if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return
	}
	h.count++
	h.sum += v
	i := sort.SearchFloat64s(h.bounds, v)
	h.counts[i]++
	h.exemplars[i] = Exemplar{v, requestID, at}
	if v <= ZeroThreshold {
		h.zeros++
		return
	}
	h.add(index(v, h.schema), 1)
}

// index is the native bucket that holds v at a schema.
func index(v float64, schema int) int {
	fraction, exponent := math.Frexp(v)
	// The bounds are inclusive above: a fraction equal to a bound belongs to
	// the bucket that ends there.
	i := 0
	for i < len(fractions) && fractions[i] < fraction {
		i++
	}
	return coarser(i+(exponent-1)*len(fractions), initialSchema-schema)
}

// coarser is the bucket that holds bucket i after halving the resolution n times.
func coarser(i, n int) int {
	for range n {
		i = (i + 1) >> 1
	}
	return i
}

func (h *Histogram) add(i int, n uint64) {
	switch {
	case len(h.native) == 0:
		h.first, h.native = i, append(h.native, 0)
	case i < h.first:
		h.native = slices.Insert(h.native, 0, make([]uint64, h.first-i)...)
		h.first = i
	case i >= h.first+len(h.native):
		h.native = append(h.native, make([]uint64, i-h.first-len(h.native)+1)...)
	}
	if h.native[i-h.first] == 0 {
		h.populated++
	}
	h.native[i-h.first] += n
	for h.populated > maxBuckets && h.schema > lowestSchema {
		h.reduce()
	}
}

// reduce halves the resolution.
func (h *Histogram) reduce() {
	first := coarser(h.first, 1)
	merged := make([]uint64, coarser(h.first+len(h.native)-1, 1)-first+1)
	for k, n := range h.native {
		merged[coarser(h.first+k, 1)-first] += n
	}
	h.schema--
	h.first, h.native, h.populated = first, merged, 0
	for _, n := range merged {
		if n > 0 {
			h.populated++
		}
	}
}

// Merge adds what o counted. Both must have the same classic bounds. Where o
// counted a value, it becomes the exemplar of its bucket under this request ID
// and time; with an empty request ID no exemplar is shown for it.
func (h *Histogram) Merge(o *Histogram, requestID string, at time.Time) {
	h.count += o.count
	h.sum += o.sum
	h.zeros += o.zeros
	for i, n := range o.counts {
		if n > 0 {
			h.counts[i] += n
			h.exemplars[i] = Exemplar{o.exemplars[i].Value, requestID, at}
		}
	}
	for h.schema > o.schema {
		h.reduce()
	}
	for k, n := range o.native {
		if n > 0 {
			// add may reduce h on the way, so the distance is taken anew.
			h.add(coarser(o.first+k, o.schema-h.schema), n)
		}
	}
}

// Clone returns a copy that shares nothing that changes.
func (h *Histogram) Clone() *Histogram {
	c := *h
	c.counts = slices.Clone(h.counts)
	c.exemplars = slices.Clone(h.exemplars)
	c.native = slices.Clone(h.native)
	return &c
}

// Reset forgets all values and keeps the memory for the next ones.
func (h *Histogram) Reset() {
	clear(h.counts)
	clear(h.exemplars)
	*h = Histogram{bounds: h.bounds, counts: h.counts, exemplars: h.exemplars, schema: initialSchema, native: h.native[:0]}
}

// Count is how many values were counted.
func (h *Histogram) Count() uint64 { return h.count }

// Sum is the sum of the values, in their unit.
func (h *Histogram) Sum() float64 { return h.sum }

// A Bucket is one classic bucket.
type Bucket struct {
	UpperBound float64 // +Inf in the last
	Cumulative uint64  // values up to the bound
	Exemplar   Exemplar
}

// Buckets yields the classic buckets in ascending order, +Inf included.
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

// Schema is the resolution of the native buckets; it falls when they become too many.
func (h *Histogram) Schema() int { return h.schema }

// Zeros is how many values were not above ZeroThreshold.
func (h *Histogram) Zeros() uint64 { return h.zeros }

// Native yields index and count of the native buckets that are not empty, in
// ascending order.
func (h *Histogram) Native() iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		for k, n := range h.native {
			if n > 0 && !yield(h.first+k, n) {
				return
			}
		}
	}
}

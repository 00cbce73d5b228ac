package histogram

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// stored is the JSON of a histogram.
type stored struct {
	Sum       float64          `json:"sum"`
	Bounds    []float64        `json:"bounds"` // without +Inf
	Counts    []uint64         `json:"counts"` // one more than bounds
	Native    storedNative     `json:"native"`
	Exemplars []storedExemplar `json:"exemplars,omitempty"`
}

type storedNative struct {
	Schema    int      `json:"schema"`
	ZeroCount uint64   `json:"zero_count"`
	Offset    int      `json:"offset"` // index of the first bucket
	Counts    []uint64 `json:"counts"`
}

type storedExemplar struct {
	Bound     *float64  `json:"bound,omitzero"` // of its bucket; absent: +Inf
	Value     float64   `json:"value"`
	RequestID string    `json:"request_id"`
	At        time.Time `json:"at"`
}

// MarshalJSONTo writes the histogram as the store keeps it.
func (h *Histogram) MarshalJSONTo(to *jsontext.Encoder) error {
	s := stored{
		Sum: min(h.sum, math.MaxFloat64), Bounds: h.bounds, Counts: h.counts,
		Native: storedNative{Schema: h.schema, ZeroCount: h.zeros, Offset: h.first, Counts: h.native},
	}
	for i, e := range h.exemplars {
		if e.RequestID == "" {
			continue
		}
		x := storedExemplar{Value: e.Value, RequestID: e.RequestID, At: e.At.UTC()}
		if i < len(h.bounds) {
			x.Bound = &h.bounds[i]
		}
		s.Exemplars = append(s.Exemplars, x)
	}
	return json.MarshalEncode(to, &s)
}

// UnmarshalJSONFrom reads what MarshalJSONTo writes into a histogram made by New. If the stored bounds differ, each
// stored bucket is counted in the bucket with the smallest bound that is not below its own, and each exemplar in the
// bucket of its value. The histogram is unchanged if it fails.
func (h *Histogram) UnmarshalJSONFrom(from *jsontext.Decoder) error {
	var s stored
	if err := json.UnmarshalDecode(from, &s); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	r := New(h.bounds)
	r.sum, r.schema, r.zeros = s.Sum, s.Native.Schema, s.Native.ZeroCount
	r.first, r.native = s.Native.Offset, s.Native.Counts
	for i, n := range s.Counts {
		to := len(h.bounds)
		if i < len(s.Bounds) {
			to = sort.SearchFloat64s(h.bounds, s.Bounds[i])
		}
		r.counts[to] += n
	}
	for _, x := range s.Exemplars {
		e := &r.exemplars[sort.SearchFloat64s(h.bounds, x.Value)]
		if !x.At.Before(e.At) {
			*e = Exemplar{x.Value, x.RequestID, x.At}
		}
	}
	*h = *r
	return nil
}

// maxIndex bounds the indexes of native buckets: at schema 3, that of the largest float64 is 8192.
const maxIndex = 1 << 14

func (s *stored) check() error {
	native := &s.Native
	switch {
	case len(s.Counts) != len(s.Bounds)+1:
		return errors.New("histogram: counts do not match bounds")
	case !slices.IsSortedFunc(s.Bounds, func(a, b float64) int { return cmp.Or(cmp.Compare(a, b), -1) }): // strictly
		return errors.New("histogram: bounds are not ascending")
	case native.Schema < lowestSchema || native.Schema > initialSchema:
		return errors.New("histogram: unknown schema")
	case native.Offset < -maxIndex || native.Offset > maxIndex || len(native.Counts) > 2*maxIndex:
		return errors.New("histogram: native buckets out of range")
	case s.Sum < 0:
		return errors.New("histogram: a negative sum")
	case sum(s.Counts) != native.ZeroCount+sum(native.Counts):
		return errors.New("histogram: classic and native buckets differ in their count")
	}
	return nil
}

package histogram

import (
	"errors"
	"time"

	"github.com/go-json-experiment/json"
)

// stored is a histogram's JSON. The classic bounds are not in it: they belong to
// the program.
type stored struct {
	Counts    []uint64         `json:"counts"`
	Sum       float64          `json:"sum"`
	Schema    int              `json:"schema"`
	Zeros     uint64           `json:"zeros"`
	First     int              `json:"first"`
	Native    []uint64         `json:"native"`
	Exemplars []storedExemplar `json:"exemplars"`
}

type storedExemplar struct {
	Bucket    int       `json:"bucket"`
	Value     float64   `json:"value"`
	RequestID string    `json:"request_id"`
	At        time.Time `json:"at"`
}

// MarshalJSON returns what a histogram of the same bounds can be restored from.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	s := stored{Counts: h.counts, Sum: h.sum, Schema: h.schema, Zeros: h.zeros, First: h.first, Native: h.native}
	for i, e := range h.exemplars {
		if e.RequestID != "" {
			s.Exemplars = append(s.Exemplars, storedExemplar{i, e.Value, e.RequestID, e.At})
		}
	}
	return json.Marshal(s)
}

// UnmarshalJSON restores a histogram that New made. The error says that what was
// stored is of other bounds, or not sound; the histogram is unchanged then.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var s stored
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	if len(s.Counts) != len(h.counts) || s.Schema < lowestSchema || s.Schema > initialSchema {
		return errors.New("a stored histogram has other buckets")
	}
	r := New(h.bounds)
	r.sum, r.schema, r.zeros, r.first, r.native = s.Sum, s.Schema, s.Zeros, s.First, s.Native
	copy(r.counts, s.Counts)
	for _, n := range r.counts {
		r.count += n
	}
	for _, n := range r.native {
		if n > 0 {
			r.populated++
		}
	}
	for _, e := range s.Exemplars {
		if e.Bucket < 0 || e.Bucket >= len(r.exemplars) {
			return errors.New("a stored exemplar is of no bucket")
		}
		r.exemplars[e.Bucket] = Exemplar{e.Value, e.RequestID, e.At}
	}
	*h = *r
	return nil
}

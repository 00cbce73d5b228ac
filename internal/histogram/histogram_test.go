package histogram_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
)

var bounds = []float64{0, .05, .1, .25, .5, .75, 1, 2, 5, 10, 30}

const (
	peerSchema = 3   // of the peer's histogram, with a growth of 1.1
	maxBuckets = 160 // native ones
)

// counted is the content of a histogram, in a comparable form.
type counted struct {
	Count      uint64
	Sum        float64
	Cumulative map[float64]uint64 // by upper bound, +Inf left out
	Schema     int
	Zeros      uint64
	Native     map[int]uint64
}

func ours(h *histogram.Histogram) counted {
	c := counted{
		Count: h.Count(), Sum: h.Sum(), Cumulative: map[float64]uint64{},
		Schema: h.Schema(), Zeros: h.Zeros(), Native: map[int]uint64{},
	}
	for b := range h.Buckets() {
		if !math.IsInf(b.UpperBound, 1) {
			c.Cumulative[b.UpperBound] = b.Cumulative
		}
	}
	for i, n := range h.Native() {
		c.Native[i] = n
	}
	return c
}

// peers returns what Prometheus' client library counts of the same values.
func peers(t *testing.T, values []float64) counted {
	t.Helper()
	peer := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "peer", Buckets: bounds, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: maxBuckets,
	})
	for _, v := range values {
		peer.Observe(v)
	}
	var metric dto.Metric
	if err := peer.Write(&metric); err != nil {
		t.Fatal(err)
	}
	p := metric.Histogram
	c := counted{
		Count: p.GetSampleCount(), Sum: p.GetSampleSum(), Cumulative: map[float64]uint64{},
		Schema: int(p.GetSchema()), Zeros: p.GetZeroCount(), Native: map[int]uint64{},
	}
	if p.GetZeroThreshold() != histogram.ZeroThreshold {
		t.Errorf("the peer's zero threshold is %g, ours %g", p.GetZeroThreshold(), histogram.ZeroThreshold)
	}
	for _, b := range p.Bucket {
		c.Cumulative[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	index, delta, n := 0, 0, int64(0)
	for _, span := range p.PositiveSpan {
		index += int(span.GetOffset())
		for range span.GetLength() {
			n += p.PositiveDelta[delta]
			delta++
			if n > 0 {
				c.Native[index] = uint64(n)
			}
			index++
		}
	}
	return c
}

func observed(values []float64) *histogram.Histogram {
	h := histogram.New(bounds)
	for _, v := range values {
		h.Observe(v)
	}
	return h
}

// values returns n values drawn from a seeded source.
func values(seed uint64, n int, draw func(*rand.Rand) float64) []float64 {
	r := rand.New(rand.NewPCG(seed, 0))
	vs := make([]float64, n)
	for i := range vs {
		vs[i] = draw(r)
	}
	return vs
}

// around returns each value with the two next to it.
func around(vs ...float64) (all []float64) {
	for _, v := range vs {
		all = append(all, math.Nextafter(v, 0), v, math.Nextafter(v, math.Inf(1)))
	}
	return all
}

// powers returns 2^(i/perOctave) for i from first to last.
func powers(first, last, perOctave int) (vs []float64) {
	for i := first; i <= last; i++ {
		vs = append(vs, math.Exp2(float64(i)/float64(perOctave)))
	}
	return vs
}

// buckets returns a value in the middle of each of n native buckets in a row.
func buckets(n int) (vs []float64) {
	for i := range n {
		vs = append(vs, math.Exp2((float64(i)-.5)/8))
	}
	return vs
}

// fine are sets of values that need no coarser resolution.
var fine = map[string][]float64{
	"none":          nil,
	"zeros":         {0, math.Copysign(0, -1), histogram.ZeroThreshold, math.SmallestNonzeroFloat64},
	"above zero":    around(histogram.ZeroThreshold),
	"classic":       around(bounds...),
	"powers of two": around(powers(-40, 40, 1)[:50]...),
	"native bounds": around(powers(-60, 60, 8)...),
	"huge":          {math.MaxFloat64 / 4, 1e300, 1e200},
	"ratios":        values(1, 5000, (*rand.Rand).Float64),
	"durations":     values(2, 5000, func(r *rand.Rand) float64 { return r.ExpFloat64() * .3 }),
	"hours":         values(3, 5000, func(r *rand.Rand) float64 { return math.Exp(r.NormFloat64() + 6) }),
	"whole numbers": values(4, 500, func(r *rand.Rand) float64 { return float64(r.IntN(12)) }),
	"one value":     values(5, 500, func(*rand.Rand) float64 { return .3 }),
	"descending":    {1e6, 1e3, 1, 1e-3, 1e-6},
	"just enough":   buckets(maxBuckets),
}

// coarse are sets of values that spread over so many octaves that the resolution falls.
var coarse = map[string][]float64{
	"all octaves":  powers(-127, 1023, 1),
	"descending":   {},
	"one too many": buckets(maxBuckets + 1),
	"spread":       values(6, 4000, func(r *rand.Rand) float64 { return math.Exp2(r.Float64()*1150 - 127) }),
	"far apart":    powers(-127, 1023, 1)[:0:0],
	"with zeros":   append(powers(-20, 20, 1), append(buckets(maxBuckets), 0, 0, 0)...),
}

func init() {
	up := coarse["all octaves"]
	for i := range up {
		coarse["descending"] = append(coarse["descending"], up[len(up)-1-i])
	}
	// Every seventh octave: halving the resolution merges nothing at first.
	for i := -127; i <= 1019; i += 7 {
		coarse["far apart"] = append(coarse["far apart"], math.Exp2(float64(i)), math.Exp2(float64(i)+3.5))
	}
}

func TestSameAsPrometheusClient(t *testing.T) {
	for name, vs := range fine {
		t.Run(name, func(t *testing.T) {
			want := peers(t, vs)
			if want.Schema != peerSchema || len(want.Native) > maxBuckets {
				t.Fatalf("these values need schema %d and %d buckets: move them to coarse", want.Schema, len(want.Native))
			}
			if diff := cmp.Diff(want, ours(observed(vs))); diff != "" {
				t.Errorf("not what the client library counts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCoarserResolution(t *testing.T) {
	for name, vs := range coarse {
		t.Run(name, func(t *testing.T) {
			got, peer := ours(observed(vs)), peers(t, vs)
			if got.Schema >= peerSchema {
				t.Fatalf("these values keep schema %d: move them to fine", got.Schema)
			}
			if diff := cmp.Diff(peer, got); diff != "" {
				t.Errorf("not what the client library counts (-want +got):\n%s", diff)
			}
			checkNative(t, got, vs)
		})
	}
}

// checkNative checks that the native buckets are few enough, that they hold all
// values, and that each value is within the bounds of its bucket.
func checkNative(t *testing.T, got counted, vs []float64) {
	t.Helper()
	if len(got.Native) > maxBuckets {
		t.Errorf("%d native buckets, want at most %d", len(got.Native), maxBuckets)
	}
	total := got.Zeros
	for i, n := range got.Native {
		total += n
		// A value on a bound computed here may be taken for either side of it.
		lower := math.Exp2(float64(i-1)*math.Exp2(-float64(got.Schema))) * (1 - 1e-12)
		upper := math.Exp2(float64(i)*math.Exp2(-float64(got.Schema))) * (1 + 1e-12)
		var within, atBounds uint64
		for _, v := range vs {
			switch {
			case v <= histogram.ZeroThreshold:
			case v > lower*(1+2e-12) && v < upper*(1-2e-12):
				within++
			case v > lower && v < upper:
				atBounds++
			}
		}
		if n < within || n > within+atBounds {
			t.Errorf("bucket %d of schema %d counts %d values, want %d to %d", i, got.Schema, n, within, within+atBounds)
		}
	}
	if total != uint64(len(vs)) {
		t.Errorf("the native buckets hold %d values, want %d", total, len(vs))
	}
}

func TestObserveIgnores(t *testing.T) {
	h := observed([]float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, -math.SmallestNonzeroFloat64})
	if diff := cmp.Diff(ours(histogram.New(bounds)), ours(h)); diff != "" {
		t.Errorf("counted what is no value (-want +got):\n%s", diff)
	}
}

// approximately: the sum depends on the order of the values in its last digits.
var approximately = cmpopts.EquateApprox(1e-12, 0)

func TestAddIsObservingAll(t *testing.T) {
	all := map[string][]float64{}
	for name, vs := range fine {
		all[name] = vs
	}
	for name, vs := range coarse {
		all["coarse "+name] = vs
	}
	for left, a := range all {
		for right, b := range all {
			t.Run(left+" and "+right, func(t *testing.T) {
				h, o := observed(a), observed(b)
				before := ours(o)
				h.Add(o)
				together := append(append([]float64{}, a...), b...)
				if diff := cmp.Diff(ours(observed(together)), ours(h), approximately); diff != "" {
					t.Errorf("not what observing all would count (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(before, ours(o)); diff != "" {
					t.Errorf("the merged histogram changed (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestAddItself(t *testing.T) {
	vs := fine["durations"]
	h := observed(vs)
	h.Add(h)
	if diff := cmp.Diff(ours(observed(append(append([]float64{}, vs...), vs...))), ours(h), approximately); diff != "" {
		t.Errorf("not everything twice (-want +got):\n%s", diff)
	}
}

func TestExemplars(t *testing.T) {
	early, late := time.Unix(100, 0), time.Unix(200, 0)
	exemplars := func(h *histogram.Histogram) (all []histogram.Exemplar) {
		for b := range h.Buckets() {
			all = append(all, b.Exemplar)
		}
		return all
	}
	h := histogram.New([]float64{1, 2})
	h.ObserveExemplar(.3, "a", early)
	h.ObserveExemplar(.5, "b", late)
	h.ObserveExemplar(9, "c", early)
	want := []histogram.Exemplar{{Value: .5, RequestID: "b", At: late}, {}, {Value: 9, RequestID: "c", At: early}}
	if diff := cmp.Diff(want, exemplars(h)); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}

	o := histogram.New([]float64{1, 2})
	o.ObserveExemplar(1.5, "x", early)
	o.Observe(8)
	added := h.Clone()
	added.Add(o)
	want[1], want[2] = histogram.Exemplar{Value: 1.5, RequestID: "x", At: early}, histogram.Exemplar{Value: 8}
	if diff := cmp.Diff(want, exemplars(added)); diff != "" {
		t.Errorf("added (-want +got):\n%s", diff)
	}
	h.Merge(o, "d", late)
	want[1] = histogram.Exemplar{Value: 1.5, RequestID: "d", At: late}
	want[2] = histogram.Exemplar{Value: 8, RequestID: "d", At: late}
	if diff := cmp.Diff(want, exemplars(h)); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
	// Values without an exemplar do not replace one.
	without := histogram.New([]float64{1, 2})
	text := `{"sum":13,"bounds":[1,2],"counts":[0,1,1],"native":{"schema":3,"offset":8,"counts":[2]}}`
	if err := json.Unmarshal([]byte(text), without); err != nil {
		t.Fatal(err)
	}
	h.Merge(without, "e", late)
	if diff := cmp.Diff(want, exemplars(h)); diff != "" || h.Count() != 7 {
		t.Errorf("merged with values without exemplars, %d values (-want +got):\n%s", h.Count(), diff)
	}
}

func TestCloneIsIndependent(t *testing.T) {
	for _, vs := range [][]float64{nil, fine["durations"], coarse["spread"]} {
		h := observed(vs)
		h.ObserveExemplar(.3, "a", time.Unix(1, 0))
		want := ours(h)
		c := h.Clone()
		if diff := cmp.Diff(want, ours(c)); diff != "" {
			t.Errorf("the clone differs (-want +got):\n%s", diff)
		}
		// Both count on independently, in existing buckets and in new ones.
		for _, v := range append([]float64{.3, 0, 1e9, 1e-9}, vs...) {
			c.ObserveExemplar(v, "b", time.Unix(2, 0))
		}
		if diff := cmp.Diff(want, ours(h)); diff != "" {
			t.Errorf("what the clone counts shows in the original (-want +got):\n%s", diff)
		}
		for b := range h.Buckets() {
			if b.Exemplar.RequestID == "b" {
				t.Errorf("the clone's exemplar shows in the original's bucket up to %g", b.UpperBound)
			}
		}
		want = ours(c)
		for _, v := range append([]float64{.3, 0, 1e8, 1e-8}, vs...) {
			h.Observe(v)
		}
		if diff := cmp.Diff(want, ours(c)); diff != "" {
			t.Errorf("what the original counts shows in the clone (-want +got):\n%s", diff)
		}
	}
}

func TestIterationStops(t *testing.T) {
	h := observed(fine["durations"])
	n := 0
	for range h.Buckets() {
		n++
		break
	}
	for range h.Native() {
		n++
		break
	}
	if n != 2 {
		t.Errorf("%d steps, want one of each", n)
	}
}

// FuzzMerge splits the input in two histograms: merged, they must count what one of all
// values counts.
func FuzzMerge(f *testing.F) {
	odd := []float64{math.NaN(), -1, math.Inf(1), math.MaxFloat64, math.MaxFloat64}
	for _, vs := range [][]float64{fine["classic"], coarse["all octaves"], coarse["far apart"], odd} {
		var data []byte
		for _, v := range vs {
			data = binary.LittleEndian.AppendUint64(data, math.Float64bits(v))
		}
		f.Add(data, uint(len(vs)/3))
	}
	f.Fuzz(func(t *testing.T, data []byte, split uint) {
		var vs, valid []float64
		for ; len(data) >= 8; data = data[8:] {
			v := math.Float64frombits(binary.LittleEndian.Uint64(data))
			vs = append(vs, v)
			if v >= 0 && !math.IsInf(v, 1) {
				valid = append(valid, v)
			}
		}
		at := int(split % uint(len(vs)+1))
		h := observed(vs[:at])
		h.Merge(observed(vs[at:]), "", time.Time{})
		got := ours(h)
		if got.Count != uint64(len(valid)) {
			t.Fatalf("%d values counted, want %d", got.Count, len(valid))
		}
		if diff := cmp.Diff(ours(observed(vs)), got, approximately); diff != "" {
			t.Fatalf("not what one histogram counts (-want +got):\n%s", diff)
		}
		checkNative(t, got, valid)
	})
}

func BenchmarkObserve(b *testing.B) {
	vs := fine["durations"]
	h := histogram.New(bounds)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.Observe(vs[i%len(vs)])
	}
}

func BenchmarkMerge(b *testing.B) {
	h, o := observed(fine["durations"]), observed(fine["ratios"])
	b.ReportAllocs()
	for b.Loop() {
		h.Merge(o, "", time.Time{})
	}
}

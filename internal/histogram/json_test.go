package histogram_test

import (
	"flag"
	"math"
	"os"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
)

const goldenFile = "testdata/histogram.json"

var update = flag.Bool("update", false, "write the golden file")

// everything compares histograms with all that they contain.
var everything = cmp.AllowUnexported(histogram.Histogram{})

func encode(t *testing.T, h *histogram.Histogram) []byte {
	t.Helper()
	text, err := json.Marshal(h, jsontext.WithIndent("\t"))
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

// The golden file is what stores keep: a later version must read it.
func TestJSON(t *testing.T) {
	h := histogram.New([]float64{0, .5, 1})
	for _, v := range []float64{0, .3, .45, 1} {
		h.Observe(v)
	}
	h.ObserveExemplar(.4, "job-1", time.Date(2026, 11, 29, 4, 0, 0, 500e6, time.UTC))
	h.ObserveExemplar(7, "job-2", time.Date(2026, 11, 29, 5, 0, 0, 0, time.UTC))
	text := encode(t, h)
	if *update {
		if err := os.WriteFile(goldenFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), string(text)); diff != "" {
		t.Errorf("encoded (-golden +got):\n%s", diff)
	}
	got := histogram.New([]float64{0, .5, 1})
	if err := json.Unmarshal(golden, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, encode(t, got)); diff != "" {
		t.Errorf("decoded and encoded again (-want +got):\n%s", diff)
	}
}

func TestJSONRoundTrip(t *testing.T) {
	// JSON has no infinity: a sum that overflowed is the largest number.
	same := cmp.Options{everything, cmpopts.EquateEmpty(), cmp.Comparer(func(x, y float64) bool {
		return min(x, math.MaxFloat64) == min(y, math.MaxFloat64)
	})}
	for _, sets := range []map[string][]float64{fine, coarse} {
		for name, vs := range sets {
			h := histogram.New(bounds)
			for i, v := range vs {
				h.ObserveExemplar(v, "job", time.Unix(int64(i), 0).UTC())
			}
			got := histogram.New(bounds)
			if err := json.Unmarshal(encode(t, h), got); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if diff := cmp.Diff(h, got, same); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			// It counts on as the original does.
			h.Observe(1e-9)
			got.Observe(1e-9)
			if diff := cmp.Diff(ours(h), ours(got), same[2]); diff != "" {
				t.Errorf("%s, continued (-want +got):\n%s", name, diff)
			}
		}
	}
}

// With other bounds than those of the program, nothing is lost: a bucket counts up to
// the next bound of the program.
func TestJSONOtherBounds(t *testing.T) {
	at := time.Unix(100, 0).UTC()
	h := histogram.New([]float64{1, 2, 4})
	for _, v := range []float64{.5, 1.5, 1.7, 3} {
		h.ObserveExemplar(v, "early", at)
	}
	h.ObserveExemplar(9, "late", at.Add(time.Second))
	type bucket struct {
		Bound    float64
		Count    uint64
		Exemplar string
	}
	inf := math.Inf(1)
	for name, test := range map[string]struct {
		bounds []float64
		want   []bucket
	}{
		"the same": {
			[]float64{1, 2, 4}, []bucket{{1, 1, "early"}, {2, 3, "early"}, {4, 4, "early"}, {inf, 5, "late"}},
		},
		"coarser": {[]float64{2}, []bucket{{2, 3, "early"}, {inf, 5, "late"}}},
		"finer": {[]float64{1, 1.6, 2, 4, 8}, []bucket{
			{1, 1, "early"}, {1.6, 1, ""}, {2, 3, "early"}, {4, 4, "early"}, {8, 4, ""}, {inf, 5, "late"},
		}},
		"different": {[]float64{1.5, 3}, []bucket{{1.5, 1, "early"}, {3, 3, "early"}, {inf, 5, "late"}}},
		"none":      {nil, []bucket{{inf, 5, "late"}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := histogram.New(test.bounds)
			r.Observe(100) // is replaced
			if err := json.Unmarshal(encode(t, h), r); err != nil {
				t.Fatal(err)
			}
			var got []bucket
			for b := range r.Buckets() {
				got = append(got, bucket{b.UpperBound, b.Cumulative, b.Exemplar.RequestID})
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			want := ours(h)
			want.Cumulative = ours(r).Cumulative
			if diff := cmp.Diff(want, ours(r)); diff != "" {
				t.Errorf("native buckets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestJSONInvalid(t *testing.T) {
	for name, text := range map[string]string{
		"no object":           `[]`,
		"cut off":             `{"sum": 1, "bounds": [1], "counts": [1`,
		"too few counts":      `{"bounds": [1, 2], "counts": [1, 1], "native": {"schema": 3, "zero_count": 2}}`,
		"no bounds":           `{"counts": [1, 1], "native": {"schema": 3, "zero_count": 2}}`,
		"a negative count":    `{"bounds": [1], "counts": [-1, 0], "native": {"schema": 3}}`,
		"a negative sum":      `{"sum": -1, "bounds": [1], "counts": [1, 0], "native": {"schema": 3, "zero_count": 1}}`,
		"descending bounds":   `{"bounds": [2, 1], "counts": [0, 0, 0], "native": {"schema": 3}}`,
		"equal bounds":        `{"bounds": [1, 1], "counts": [0, 0, 0], "native": {"schema": 3}}`,
		"an unknown schema":   `{"bounds": [], "counts": [0], "native": {"schema": 4}}`,
		"a far offset":        `{"bounds": [], "counts": [1], "native": {"schema": 3, "offset": 99999999, "counts": [1]}}`,
		"no native buckets":   `{"bounds": [1], "counts": [1, 1]}`,
		"lost native counts":  `{"bounds": [1], "counts": [1, 1], "native": {"schema": 3, "zero_count": 1}}`,
		"an exemplar of text": `{"bounds": [], "counts": [0], "native": {"schema": 3}, "exemplars": [{"value": "much"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := observed(fine["durations"])
			if err := json.Unmarshal([]byte(text), h); err == nil {
				t.Errorf("%s was read", text)
			}
			if diff := cmp.Diff(observed(fine["durations"]), h, everything); diff != "" {
				t.Errorf("%s changed the histogram:\n%s", text, diff)
			}
		})
	}
}

package transcript_test

import (
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

const goldenFile = "testdata/statistics.json"

var update = flag.Bool("update", false, "write the golden files")

// The golden file is what stores keep: a later version must read it.
func TestStatisticsJSON(t *testing.T) {
	want := document{confidence: number(.91), words: []transcript.Piece{
		piece("a", 0, .5, .9), piece("b", .4, 1, .8), piece("", 2, 2.5, 2), piece("b", 1.5, 1, nan),
	}}.result(new(transcript.Accumulator)).Statistics
	text, err := json.Marshal(&want, jsontext.WithIndent("\t"))
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
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
	var got transcript.Statistics
	if err := json.Unmarshal(golden, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

// What earlier versions did not count is there only if it was counted: what they can store stays as it is.
func TestStatisticsJSONLaterAnomaly(t *testing.T) {
	want := document{speakers: number(1001)}.result(new(transcript.Accumulator)).Statistics
	text, err := json.Marshal(&want)
	if err != nil {
		t.Fatal(err)
	}
	got := transcript.Unknown()
	if err := json.Unmarshal(text, &got); err != nil || got.Anomalies[transcript.SpeakersOutOfRange] != 1 {
		t.Errorf("%s is read as %v, %v", text, got.Anomalies, err)
	}
}

// What is absent, null or of a newer version is unknown.
func TestStatisticsJSONUnknown(t *testing.T) {
	for text, want := range map[string]transcript.Statistics{
		`{}`: transcript.Unknown(),
		`{"confidence": null, "by_speaker": null, "word_gap": null, "anomalies": null}`: transcript.Unknown(),
		`{"loudness": {"mean": [1]}, "anomalies": {"whistling": 3}}`:                    transcript.Unknown(),
		`{"words": 3, "anomalies": {"out_of_order": 1}, "by_speaker": [{"turns": 1}, null]}`: *with(
			func(s *transcript.Statistics) {
				s.Words, s.Anomalies[transcript.OutOfOrder] = 3, 1
				s.BySpeaker = []transcript.Speaker{{Turns: 1, ConfidenceMean: nan}, {ConfidenceMean: nan}}
			}),
	} {
		got := transcript.Statistics{Words: 99, WordGap: transcript.Distribution{Count: 1}}
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestStatisticsJSONInvalid(t *testing.T) {
	for _, text := range []string{
		`[]`, `1`, `{"words": "many"}`, `{"words": 1`, `{"words": 1e999}`, `{"words": 1, "words": 2}`,
		`{"word_gap": {"count": -1}}`, `{"word_gap": []}`, `{"anomalies": []}`, `{"by_speaker": {}}`,
		`{"by_speaker": [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}]}`,
	} {
		got := transcript.Statistics{Words: 7}
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s was read as %+v", text, got)
		}
		if diff := cmp.Diff(transcript.Statistics{Words: 7}, got); diff != "" {
			t.Errorf("%s changed the statistics:\n%s", text, diff)
		}
	}
}

// Any statistics come back as they were, known figures and unknown ones.
func TestStatisticsJSONRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		want := random(r)
		text, err := json.Marshal(&want)
		if err != nil {
			t.Fatal(err)
		}
		var got transcript.Statistics
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// random returns the statistics of random words, or of random segments, with or without
// each of their properties.
func random(r *rand.Rand) transcript.Statistics {
	maybe := func(v float64) float64 {
		if r.IntN(4) == 0 {
			return nan
		}
		return v
	}
	var d document
	if r.IntN(2) == 0 {
		d.confidence = number(r.Float64())
	}
	var pieces []transcript.Piece
	names := []string{"a", "b", "c", ""}[r.IntN(4):]
	for range r.IntN(6) {
		start := math.Exp(20*r.Float64() - 10)
		pieces = append(pieces, piece(names[r.IntN(len(names))], maybe(start), maybe(start*2), maybe(r.Float64()*1.1)))
	}
	if r.IntN(2) == 0 {
		d.words, d.wordList = pieces, true
	} else {
		d.segments, d.segmentList = pieces, true
	}
	return d.result(new(transcript.Accumulator)).Statistics
}

// Every figure and distribution of Statistics is declared, once, for all faces.
func TestEveryFigureIsDeclared(t *testing.T) {
	var figures, distributions int
	for _, field := range reflect.VisibleFields(reflect.TypeFor[transcript.Statistics]()) {
		switch field.Type {
		case reflect.TypeFor[float64]():
			figures++
		case reflect.TypeFor[transcript.Distribution]():
			distributions++
		}
	}
	if len(transcript.Figures) != figures || len(transcript.WordDistributions) != distributions {
		t.Errorf("%d of %d figures and %d of %d distributions are declared",
			len(transcript.Figures), figures, len(transcript.WordDistributions), distributions)
	}
	names := make(map[string]bool)
	once := func(kind, name string) {
		if name == "" || names[kind+name] {
			t.Errorf("%s %q is missing or declared twice", kind, name)
		}
		names[kind+name] = true
	}
	for i := range transcript.Figures {
		f := &transcript.Figures[i]
		once("name", f.Name)
		once("field", f.Field)
		once("label", f.Label)
		if f.Metric != "" {
			once("metric", f.Metric)
			once("help", f.Help)
		}
	}
	for i := range transcript.WordDistributions {
		d := &transcript.WordDistributions[i]
		once("name", d.Name)
		once("metric", d.Metric)
		once("help", d.Help)
		once("label of words ", d.Label)
	}
}

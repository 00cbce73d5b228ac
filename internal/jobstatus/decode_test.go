package jobstatus_test

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

var nan = math.NaN()

type (
	distribution = transcript.Distribution
	speaker      = transcript.Speaker
)

// equal ignores the last digits, in which sums by hand and by computer differ.
var equal = cmp.Options{
	cmpopts.EquateApprox(1e-12, 1e-12), cmpopts.EquateNaNs(), cmpopts.EquateEmpty(),
	cmpopts.IgnoreTypes((*histogram.Histogram)(nil)),
	cmp.FilterPath(isOtherFigure, cmp.Ignore()),
}

// handWorked are the figures that these tests, of the decoder, expect. The tests of package
// transcript are about all.
var handWorked = []string{
	"Confidence", "Speakers", "Words", "SpeechSeconds", "DurationSeconds", "SpeechRate", "DominantSpeakerRatio",
	"Overlaps",
}

func isOtherFigure(p cmp.Path) bool {
	field, isField := p.Last().(cmp.StructField)
	return isField && p.Index(-2).Type() == reflect.TypeFor[transcript.Statistics]() &&
		field.Type().Kind() == reflect.Float64 && !slices.Contains(handWorked, field.Name())
}

// statistics returns a result with unknown statistics, changed by set.
func statistics(set func(*transcript.Statistics)) *transcript.Result {
	r := &transcript.Result{Statistics: transcript.Unknown()}
	set(&r.Statistics)
	return r
}

// payload returns an example payload of the vendor.
func payload(tb testing.TB, name string) []byte {
	tb.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "payloads", name))
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

// payloadNames returns the names of all payloads.
func payloadNames(tb testing.TB) (names []string) {
	tb.Helper()
	paths, err := filepath.Glob("testdata/payloads/*.json")
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no payloads: %v", err)
	}
	for _, path := range paths {
		names = append(names, filepath.Base(path))
	}
	return names
}

// decode decodes a body, and checks that the result is the same byte by byte.
func decode(tb testing.TB, doc []byte) (jobstatus.Body, error) {
	tb.Helper()
	got, err := jobstatus.DecodeStatus(bytes.NewReader(doc))
	again, errAgain := jobstatus.DecodeStatus(iotest.OneByteReader(bytes.NewReader(doc)))
	same := cmp.Options{cmpopts.EquateNaNs(), cmpopts.IgnoreTypes((*histogram.Histogram)(nil))}
	if diff := cmp.Diff(got, again, same); diff != "" {
		tb.Errorf("byte by byte the result differs (-whole +by byte):\n%s", diff)
	}
	if (err == nil) != (errAgain == nil) {
		tb.Errorf("byte by byte the error is %v, whole it is %v", errAgain, err)
	}
	return got, err
}

// sample is the example on the vendor's page about the Job Status API.
//
//go:embed testdata/payloads/sample.json
var sample string

func sampleResult() *transcript.Result {
	return statistics(func(s *transcript.Statistics) {
		s.Confidence, s.Speakers, s.Words, s.Overlaps = .97, 2, 5, 0
		s.SpeechSeconds, s.DurationSeconds, s.SpeechRate, s.DominantSpeakerRatio = 3.8, 4, 1.25, 2.8/3.8
		s.WordConfidence = distribution{
			Count: 5, Sum: 4.85, Min: .97, Max: .97, P1: .97, P10: .97, P50: .97, P90: .97, P99: .97,
		}
		// Durations 1, .8, .6, .4, 1; gaps .2, 0, 0, 0.
		s.WordDuration = distribution{Count: 5, Sum: 3.8, Min: .4, Max: 1, P1: .4, P10: .4, P50: .8, P90: 1, P99: 1}
		s.WordGap = distribution{Count: 4, Sum: .2, Max: .2, P90: .2, P99: .2}
		s.BySpeaker = []speaker{
			{TalkSeconds: 2.8, Words: 4, Turns: 1, ConfidenceMean: .97},
			{TalkSeconds: 1, Words: 1, Turns: 1, ConfidenceMean: .97},
		}
	})
}

// bodies returns the content of the payloads, computed by hand.
func bodies() map[string]jobstatus.Body {
	const (
		jobA = "8c0f3a52-5d0b-4b5c-9a3e-0f6a4f3b7f10"
		jobF = "0f8fad5b-d9cb-469f-a165-70867728950e"
	)
	completed := func(id string, r *transcript.Result) jobstatus.Body {
		return jobstatus.Body{HasStatus: true, State: jobstatus.Completed, RequestID: id, Result: r}
	}
	failed := jobstatus.Body{
		HasStatus: true, State: jobstatus.Failed, RequestID: jobF,
		FaultCode: "com.deepaffects.BadRequest",
	}
	return map[string]jobstatus.Body{
		"sample.json": completed("<REQUEST_ID>", sampleResult()),
		"asr.json": completed(jobA, statistics(func(s *transcript.Statistics) {
			s.Confidence, s.Speakers, s.Words, s.Overlaps = .91, 2, 10, 0
			s.SpeechSeconds, s.DurationSeconds, s.SpeechRate, s.DominantSpeakerRatio = 3.95, 4.8, 10/4.8, 2.2/3.95
			s.WordConfidence = distribution{
				Count: 10, Sum: 9.01, Min: .72, Max: .99, P1: .72, P10: .72, P50: .93, P90: .98, P99: .99,
			}
			s.WordDuration = distribution{
				Count: 10, Sum: 3.95, Min: .1, Max: .9, P1: .1, P10: .1, P50: .32, P90: .6, P99: .9,
			}
			s.WordGap = distribution{Count: 9, Sum: .75, Min: 0, Max: .6, P50: 0, P90: .6, P99: .6}
			s.BySpeaker = []speaker{
				{TalkSeconds: 2.2, Words: 4, Turns: 1, ConfidenceMean: 3.23 / 4},
				{TalkSeconds: 1.75, Words: 6, Turns: 1, ConfidenceMean: 5.78 / 6},
			}
		})),
		"asr_without_diarization.json": completed("call-2026-11-03-0007", statistics(func(s *transcript.Statistics) {
			s.Confidence, s.Words, s.Overlaps = .87, 2, 0
			s.SpeechSeconds, s.DurationSeconds, s.SpeechRate = .5, .8, 2.5
			s.WordConfidence = distribution{
				Count: 2, Sum: 1.74, Min: .84, Max: .9, P1: .84, P10: .84, P50: .84, P90: .9, P99: .9,
			}
			s.WordDuration = distribution{
				Count: 2, Sum: .5, Min: .2, Max: .3, P1: .2, P10: .2, P50: .2, P90: .3, P99: .3,
			}
			s.WordGap = distribution{Count: 1}
		})),
		"diarize.json": completed("d1", statistics(func(s *transcript.Statistics) {
			s.Speakers, s.SpeechSeconds, s.DurationSeconds, s.DominantSpeakerRatio = 3, 12.4, 13, 6.3/12.4
			s.BySpeaker = []speaker{
				{TalkSeconds: 6.3, Turns: 2, ConfidenceMean: nan},
				{TalkSeconds: 5.5, Turns: 1, ConfidenceMean: nan},
				{TalkSeconds: .6, Turns: 1, ConfidenceMean: nan},
			}
		})),
		"identify.json": completed("d2", statistics(func(s *transcript.Statistics) {
			s.Speakers, s.SpeechSeconds, s.DurationSeconds, s.DominantSpeakerRatio = 2, 8, 8, 4.5/8
			s.BySpeaker = []speaker{
				{TalkSeconds: 4.5, Turns: 1, ConfidenceMean: nan}, {TalkSeconds: 3.5, Turns: 1, ConfidenceMean: nan},
			}
		})),
		"vad.json": completed("v1", statistics(func(s *transcript.Statistics) {
			s.SpeechSeconds, s.DurationSeconds = 10, 20
		})),
		"interaction.json": completed("i1", statistics(func(s *transcript.Statistics) {
			s.Confidence, s.Speakers = .9, 2
			s.SpeechSeconds, s.DurationSeconds, s.DominantSpeakerRatio = 42.5, 42, 29.1/42.5
			s.BySpeaker = []speaker{
				{TalkSeconds: 29.1, Turns: 1, ConfidenceMean: .86}, {TalkSeconds: 13.4, Turns: 1, ConfidenceMean: .94},
			}
		})),
		"denoise.json":              completed("n1", nil),
		"emotion.json":              completed("e1", nil),
		"punctuate.json":            completed("p1", nil),
		"summary.json":              completed("s1", nil),
		"videochapters.json":        completed("c1", nil),
		"completed_with_fault.json": failed,
		"failed.json":               failed,
		"running.json":              {HasStatus: true, State: jobstatus.Running, RequestID: jobA},
		"in_progress.json":          {HasStatus: true, State: jobstatus.Running},
		"fault_api.json":            {FaultCode: "rate_limit"},
		"fault_gateway.json":        {FaultCode: "oauth.v2.InvalidApiKey"},
		// Not statuses.
		"submitted.json":         {},
		"webhook_asr.json":       {},
		"webhook_depressed.json": {},
		"webhook_failed.json":    {FaultCode: "com.deepaffects.BadRequest"},
	}
}

func TestPayloads(t *testing.T) {
	want := bodies()
	names := payloadNames(t)
	if len(want) != len(names) {
		t.Errorf("%d payloads, and expectations for %d", len(names), len(want))
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			got, err := decode(t, payload(t, name))
			if diff := cmp.Diff(want[name], got, equal); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// permutations calls f with every order of members.
func permutations(members []string, f func([]string)) {
	var permute func(n int)
	permute = func(n int) {
		if n == len(members) {
			f(members)
			return
		}
		for i := n; i < len(members); i++ {
			members[n], members[i] = members[i], members[n]
			permute(n + 1)
			members[n], members[i] = members[i], members[n]
		}
	}
	permute(0)
}

func object(members []string) string { return "{" + strings.Join(members, ", ") + "}" }

func TestAnyOrderOfNames(t *testing.T) {
	want := jobstatus.Body{HasStatus: true, State: jobstatus.Completed, RequestID: "r"}
	want.Result = statistics(func(s *transcript.Statistics) {
		s.Confidence, s.Speakers, s.Words, s.Overlaps = .5, 2, 1, 0
		s.SpeechSeconds, s.DurationSeconds, s.SpeechRate, s.DominantSpeakerRatio = 1, 2, .5, 1
		s.WordConfidence = distribution{
			Count: 1, Sum: .75, Min: .75, Max: .75, P1: .75, P10: .75, P50: .75, P90: .75, P99: .75,
		}
		s.WordDuration = distribution{Count: 1, Sum: 1, Min: 1, Max: 1, P1: 1, P10: 1, P50: 1, P90: 1, P99: 1}
		s.BySpeaker = []speaker{{TalkSeconds: 1, Words: 1, Turns: 1, ConfidenceMean: .75}}
	})
	check := func(doc string) {
		got, err := decode(t, []byte(doc))
		if diff := cmp.Diff(want, got, equal); diff != "" || err != nil {
			t.Fatalf("%s: error %v (-want +got):\n%s", doc, err, diff)
		}
	}
	word := []string{`"word": "Hi"`, `"start": 1`, `"end": 2`, `"speaker_id": "a"`, `"confidence": 0.75`}
	result := []string{
		`"confidence": 0.5`, `"num_speakers": 2`, `"transcript": "Hi"`, `"words": [` + object(word) + `]`,
		`"segments": [{"start": 7, "end": 9}]`,
	}
	response := []string{`"request_id": "r"`, `"response": ` + object(result), `"extra": [{"status": 1}]`}
	top := []string{`"status": "Completed"`, `"response": ` + object(response), `"extra": {"response": {}}`}
	permutations(top, func(top []string) { check(object(top)) })
	permutations(response, func(response []string) {
		check(`{"response": ` + object(response) + `, "status": "Completed"}`)
	})
	permutations(result, func(result []string) {
		check(`{"response": {"response": ` + object(result) + `, "request_id": "r"}, "status": "Completed"}`)
	})
	permutations(word, func(word []string) {
		check(`{"status": "Completed", "response": {"request_id": "r", "response": {` +
			`"num_speakers": 2, "confidence": 0.5, "words": [` + object(word) + `]}}}`)
	})
}

func TestStatusWords(t *testing.T) {
	for word, want := range map[string]jobstatus.State{
		"Completed": jobstatus.Completed, "completed": jobstatus.Completed, " COMPLETED\t": jobstatus.Completed,
		"Completed with warnings": jobstatus.Completed,
		"Failed":                  jobstatus.Failed, "\nfailed ": jobstatus.Failed, "FAILED": jobstatus.Failed,
		"Running": jobstatus.Running, "RUNNING ": jobstatus.Running,
		"In Progress": jobstatus.Running, "in_progress": jobstatus.Running, "InProgress": jobstatus.Running,
		"progress": jobstatus.Running,
		"":         jobstatus.Unknown, " ": jobstatus.Unknown, "Queued": jobstatus.Unknown,
		"Complete": jobstatus.Unknown, "Not failed": jobstatus.Unknown,
		"Not Completed": jobstatus.Unknown, "not_yet_completed": jobstatus.Unknown, "NotCompleted": jobstatus.Unknown,
		"Incompleted": jobstatus.Unknown, "in-completed": jobstatus.Unknown, "uncompleted": jobstatus.Unknown,
		"Not in progress": jobstatus.Unknown, "Completed, not billed": jobstatus.Unknown,
		"Run completed": jobstatus.Completed, "Completed in completed": jobstatus.Completed,
		"Notification completed": jobstatus.Completed, "Job_completed": jobstatus.Completed,
		"Läuft": jobstatus.Unknown, "\x00": jobstatus.Unknown, strings.Repeat("x", 1e5): jobstatus.Unknown,
	} {
		quoted, err := json.Marshal(word)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(t, fmt.Appendf(nil, `{"status": %s}`, quoted))
		wantBody := jobstatus.Body{HasStatus: true, State: want, Word: got.Word} // TestStateWordsToShow is about these
		if want == jobstatus.Failed {
			wantBody.FaultCode = jobstatus.UnknownErrorCode
		}
		if diff := cmp.Diff(wantBody, got); diff != "" || err != nil {
			t.Errorf("%.40q: error %v (-want +got):\n%s", word, err, diff)
		}
	}
}

func TestShapes(t *testing.T) {
	segment := func(s *transcript.Statistics) {
		s.SpeechSeconds, s.DurationSeconds = 1, 2
	}
	ofSpeaker := func(s *transcript.Statistics) {
		segment(s)
		s.Speakers, s.DominantSpeakerRatio = 1, 1
		s.BySpeaker = []speaker{{TalkSeconds: 1, Turns: 1, ConfidenceMean: nan}}
	}
	for response, want := range map[string]*transcript.Result{
		`null`: nil, `{}`: nil, `[]`: nil, `true`: nil, `"text"`: nil, `12`: nil,
		`{"response": null}`: nil, `{"response": []}`: nil, `{"response": "x"}`: nil, `{"response": {}}`: nil,
		`{"response": {"words": null, "segments": {}}}`:                                    nil,
		`{"response": {"segments": [{"start": 1, "end": 2}]}}`:                             statistics(segment),
		`{"response": {"segments": [{"start": 1, "end": 2, "tag": "speech"}]}}`:            statistics(segment),
		`{"response": {"segments": [{"start": 1, "end": 2, "tag": 5}]}}`:                   statistics(segment),
		`{"response": {"segments": [{"start": 1, "end": 2, "tag": " Speech"}]}}`:           statistics(segment),
		`{"response": {"segments": [{"start": 1, "end": 2, "speaker_id": ""}]}}`:           statistics(segment),
		`{"response": {"segments": [{"start": 1, "end": 2, "speaker_id": null}]}}`:         statistics(segment),
		`{"response": {"segments": [{"start": 1, "end": 2, "speaker_id": 7}]}}`:            statistics(ofSpeaker),
		`{"response": {"segments": [{"\u0073tart": 1.0e0, "end": 2, "speaker_id": "ä"}]}}`: statistics(ofSpeaker),
		`{"response": {"segments": [{"start": 1, "end": 2, "confidence": "high"}]}}`: statistics(
			func(s *transcript.Statistics) { segment(s); s.Anomalies[transcript.ConfidenceOutOfRange] = 1 }),
		`{"response": {"segments": [{"start": 0, "end": 2, "tag": "music"}]}}`: statistics(
			func(s *transcript.Statistics) { s.SpeechSeconds, s.DurationSeconds = 0, 2 }),
		`{"response": {"words": [null, 1, "x", [], [[{}]], {}, {"start": "1", "end": null}]}}`: statistics(
			func(s *transcript.Statistics) {
				s.Words, s.Overlaps = 7, 0
				s.Anomalies[transcript.MissingTime] = 7
			}),
	} {
		got, err := decode(t, []byte(`{"status": "Completed", "response": `+response+`}`))
		body := jobstatus.Body{HasStatus: true, State: jobstatus.Completed, Result: want}
		if diff := cmp.Diff(body, got, equal); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got):\n%s", response, err, diff)
		}
	}
}

// Some encoders round to a negative zero. A figure must not be shown as "-0".
func TestNegativeZero(t *testing.T) {
	got, err := decode(t, []byte(`{"status": "Completed", "response": {"response": {
		"confidence": -0.0, "words": [{"start": 0, "end": -0.0, "confidence": -0e0}, {"start": -0, "end": 1}]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	s := got.Result.Statistics
	for name, v := range map[string]float64{
		"confidence": s.Confidence, "a word's confidence": s.WordConfidence.Min,
		"a word's duration": s.WordDuration.Min, "a gap": s.WordGap.Min,
	} {
		if v != 0 || math.Signbit(v) {
			t.Errorf("%s is %v, want 0", name, v)
		}
	}
}

// Only a completed job has a result.
func TestResultOnlyWhenCompleted(t *testing.T) {
	for _, status := range []string{"Running", "Failed", "Unheard of"} {
		got, err := decode(t, []byte(strings.Replace(sample, "Completed", status, 1)))
		if err != nil || got.Result != nil {
			t.Errorf("%s: result %v, error %v", status, got.Result, err)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	for id, want := range map[string]string{`"a b/ü"`: "a b/ü", `12`: "12", `null`: "", `{}`: "", `""`: ""} {
		got, err := decode(t, []byte(`{"response": {"request_id": `+id+`}}`))
		if err != nil || got.RequestID != want {
			t.Errorf("%s: got %q, error %v, want %q", id, got.RequestID, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	long := strings.Repeat("x", jobstatus.MaxErrorCode)
	for fault, want := range map[string]string{
		`null`: "", `false`: "",
		`{}`: jobstatus.UnknownErrorCode, `"text"`: jobstatus.UnknownErrorCode, `"false"`: jobstatus.UnknownErrorCode,
		`[]`: jobstatus.UnknownErrorCode, `true`: jobstatus.UnknownErrorCode,
		`{"error_code": "queued"}`:                                  "queued",
		`{"errorcode": "a.b_c:d-9"}`:                                "a.b_c:d-9",
		`{"error_code": 42}`:                                        "42",
		`{"error_code": ""}`:                                        jobstatus.UnknownErrorCode,
		`{"error_code": null}`:                                      jobstatus.UnknownErrorCode,
		`{"error_code": {"a": 1}}`:                                  jobstatus.UnknownErrorCode,
		`{"detail": {"error_code": "x"}, "faultstring": "y"}`:       "x",
		`{"detail": {"errorcode": "x", "more": {"error_code": 1}}}`: "x",
		`{"detail": ["error_code"]}`:                                jobstatus.UnknownErrorCode,
		`{"detail": null}`:                                          jobstatus.UnknownErrorCode,
		`{"error_code": "` + long + `"}`:                            long,
		`{"error_code": "` + long + `x"}`:                           jobstatus.OtherErrorCode,
		`{"error_code": "two words"}`:                               jobstatus.OtherErrorCode,
		`{"error_code": "a\nb"}`:                                    jobstatus.OtherErrorCode,
		`{"error_code": "ü"}`:                                       jobstatus.OtherErrorCode,
		`{"error_code": "<script>"}`:                                jobstatus.OtherErrorCode,
		`{"error_code": "https://x/?apikey=y"}`:                     jobstatus.OtherErrorCode,
	} {
		for where, doc := range map[string]string{
			"at the top":          `{"fault": %s}`,
			"in the response":     `{"response": {"fault": %s}}`,
			"in place of results": `{"response": {"response": {"fault": %s}}}`,
		} {
			got, err := decode(t, fmt.Appendf(nil, doc, fault))
			body := jobstatus.Body{FaultCode: want}
			if diff := cmp.Diff(body, got); diff != "" || err != nil {
				t.Errorf("%s %s: error %v (-want +got):\n%s", fault, where, err, diff)
			}
		}
	}
}

// invalid returns documents that must be rejected as a whole.
func invalid() map[string]string {
	deep := strings.Repeat("[", 20000) + strings.Repeat("]", 20000)
	word := `{"status": "Completed", "response": {"response": {"words": [%s]}}}`
	return map[string]string{
		"empty":                               "",
		"white space":                         " \n",
		"HTML":                                "<html><body>502 Bad Gateway</body></html>",
		"array":                               "[" + sample + "]",
		"string":                              `"Completed"`,
		"number":                              `7`,
		"null":                                `null`,
		"two documents":                       sample + sample,
		"trailing brace":                      sample + "}",
		"trailing word":                       sample + " null",
		"trailing zero byte":                  sample + "\x00",
		"trailing comma":                      `{"status": "Completed",}`,
		"single quotes":                       `{'status': 'Completed'}`,
		"comment":                             `{"status": "Completed" /* fine */}`,
		"status is a number":                  `{"status": 1}`,
		"status is an object":                 `{"status": {}}`,
		"deep in an unknown name":             `{"extra": ` + deep + `}`,
		"deep in the response":                `{"response": {"response": ` + deep + `}}`,
		"deep in a word":                      fmt.Sprintf(word, deep),
		"deep objects":                        strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000),
		"invalid UTF-8 in a value":            "{\"status\": \"Completed\xff\"}",
		"name twice at the top":               `{"status": "Running", "status": "Completed"}`,
		"request ID twice":                    `{"response": {"request_id": "a", "request_id": "b"}, "status": "Completed"}`,
		"request ID with a control character": "{\"response\": {\"request_id\": \"a\\u0001b\"}, \"status\": \"Completed\"}",
		"request ID with a lone surrogate":    `{"response": {"request_id": "\ud800"}, "status": "Completed"}`,
		"request ID that is not UTF-8":        "{\"response\": {\"request_id\": \"\xff\"}, \"status\": \"Completed\"}",
		"no value in a word":                  fmt.Sprintf(word, `{"start": }`),
		"no number in a word":                 fmt.Sprintf(word, `{"start": 1, "end": p.5}`),
		"no number as the confidence":         `{"response": {"response": {"confidence": 0.5x}}, "status": "Completed"}`,
		"no number as the request ID":         `{"response": {"request_id": 12ab}, "status": "Completed"}`,
		"no quotes around a speaker":          fmt.Sprintf(word, `{"speaker_id": Speaker1}`),
		"no quotes around what is skipped":    fmt.Sprintf(word, `{"word": hello}`),
		"no comma in what is skipped":         `{"extra": {"a": 1 "b": 2}, "status": "Completed"}`,
		"no value in what is skipped":         `{"extra": [1,,2], "status": "Completed"}`,
		"no comma in a word":                  fmt.Sprintf(word, `{"start": 1 "end": 2}`),
		"brackets that do not match":          fmt.Sprintf(word, `{"word": [}`),
		"markup":                              fmt.Sprintf(word, `{"word": <b>}`),
		"escaped name twice":                  `{"status": "Running", "st\u0061tus": "Completed"}`,
	}
}

// What is skipped need not be perfect, and what is read is understood as it is plainly meant.
func TestTolerance(t *testing.T) {
	word := func(set func(*transcript.Statistics)) *transcript.Result {
		return statistics(func(s *transcript.Statistics) {
			s.Words, s.Overlaps, s.SpeechSeconds, s.DurationSeconds, s.SpeechRate = 1, 0, 1, 2, .5
			s.WordDuration = distribution{Count: 1, Sum: 1, Min: 1, Max: 1, P1: 1, P10: 1, P50: 1, P90: 1, P99: 1}
			set(s)
		})
	}
	plain := word(func(*transcript.Statistics) {})
	rated := word(func(s *transcript.Statistics) {
		s.Confidence = .5
		s.WordConfidence = distribution{Count: 1, Sum: .5, Min: .5, Max: .5, P1: .5, P10: .5, P50: .5, P90: .5, P99: .5}
	})
	untimed := func(why transcript.Anomaly) *transcript.Result {
		return statistics(func(s *transcript.Statistics) {
			s.Words, s.Overlaps, s.Anomalies[why] = 1, 0, 1
		})
	}
	unrated := word(func(s *transcript.Statistics) { s.Anomalies[transcript.ConfidenceOutOfRange] = 1 })
	whole := statistics(func(s *transcript.Statistics) { s.Confidence = .5 })
	for result, want := range map[string]*transcript.Result{
		// Skipped text.
		"{\"transcript\": \"caf\xe9\", \"confidence\": 0.5}":                                          whole,
		"{\"transcript\": \"\xff\xfe\x00\x01\t\r\n\", \"confidence\": 0.5}":                           whole,
		`{"transcript": "\ud800 \udc00\ud800 \x \u12", "confidence": 0.5}`:                            whole,
		`{"transcript": "a", "transcript": "b", "extra": {"a": 1, "a": 2}, "confidence": 0.5}`:        whole,
		"{\"\xe9\": 1, \"\\ud800\": 2, \"\": 3, \"confidence\": 0.5}":                                 whole,
		`{"energy": [NaN, Infinity, -Infinity, 01, 1e999, undefined, 0x1F], "confidence": 0.5}`:       whole,
		`{"` + strings.Repeat("x", 1e5) + `": "` + strings.Repeat("y", 1e5) + `", "confidence": 0.5}`: whole,
		`{"zcr": ` + strings.Repeat("1", 1e5) + `, "confidence": 0.5}`:                                whole,
		"{\"words\": [{\"word\": \"caf\xe9\\ud800\x07\", \"word\": 1, \"start\": 1, \"end\": 2}]}":    plain,
		"{\"segments\": [{\"text\": \"\xff\", \"start\": 1, \"end\": 2, \"x\": NaN}], \"words\": null}": statistics(
			func(s *transcript.Statistics) { s.SpeechSeconds, s.DurationSeconds = 1, 2 }),

		// Numbers in quotes.
		`{"confidence": "0.5"}`:    whole,
		`{"confidence": " 5e-1 "}`: whole,
		`{"confidence": ".5", "num_speakers": "2"}`: statistics(
			func(s *transcript.Statistics) { s.Confidence, s.Speakers = .5, 2 }),
		`{"words": [{"start": "1.0", "end": "2", "confidence": "0.50"}]}`: rated,
		`{"segments": [{"start": "1", "end": "2.0"}]}`: statistics(
			func(s *transcript.Statistics) { s.SpeechSeconds, s.DurationSeconds = 1, 2 }),

		// Numbers that are not given.
		`{"confidence": NaN}`: nil, `{"confidence": "NaN"}`: nil, `{"confidence": Infinity}`: nil,
		`{"confidence": -Infinity}`:                nil,
		`{"confidence": nan, "num_speakers": NaN}`: nil, `{"confidence": null}`: nil, `{"confidence": ""}`: nil,
		`{"words": [{"start": 1, "end": 2, "confidence": NaN}]}`:       plain,
		`{"words": [{"start": 1, "end": 2, "confidence": -Infinity}]}`: plain,
		`{"words": [{"start": 1, "end": 2, "confidence": "NaN"}]}`:     plain,
		`{"words": [{"start": NaN, "end": 2}]}`:                        untimed(transcript.MissingTime),
		`{"words": [{"start": 1, "end": Infinity}]}`:                   untimed(transcript.MissingTime),

		// Values that are dropped are counted.
		`{"words": [{"start": 1, "end": 2, "confidence": "high"}]}`: unrated,
		`{"words": [{"start": 1, "end": 2, "confidence": true}]}`:   unrated,
		`{"words": [{"start": 1, "end": 2, "confidence": {}}]}`:     unrated,
		`{"words": [{"start": 1, "end": 2, "confidence": "0,5"}]}`:  unrated,
		`{"words": [{"start": 1, "end": 2, "confidence": 1e999}]}`:  unrated,
		`{"confidence": "high", "words": [{"start": 1, "end": 2}]}`: unrated,
		`{"confidence": [], "words": [{"start": 1, "end": 2}]}`:     unrated,
		`{"confidence": 97, "words": [{"start": 1, "end": 2}]}`:     unrated,
		`{"words": [{"start": "now", "end": 2}]}`:                   untimed(transcript.MissingTime),
		`{"words": [{"start": 1, "end": 1e999}]}`:                   untimed(transcript.ImplausibleTime),
		`{"words": [{"start": 1000, "end": 2000}]}`:                 untimed(transcript.ImplausibleTime),
		`{"words": [{"start": "90000", "end": 90000.5}]}`:           untimed(transcript.ImplausibleTime),

		// Repeated names: the last one counts.
		`{"words": [{"start": 5, "end": 2, "start": 1, "end": 2}]}`:                             plain,
		`{"words": [{"start": 1, "end": 2}], "words": [{"start": 1, "end": 2}]}`:                plain,
		`{"words": [{}, {}], "confidence": 9}, "response": {"words": [{"start": 1, "end": 2}]}`: plain,
		`{"confidence": 0.1, "confidence": 0.5}`:                                                whole,
		`{"words": [{"start": 1, "end": 2, "confidence": 7, "confidence": "0.5"}]}`:             rated,
		`{"words": [{"start": 1, "end": 2, "speaker_id": {}, "speaker_id": null, "tag": NaN}]}`: plain,
	} {
		for name, doc := range map[string]string{
			"status": `{"status": "Completed", "status": "Completed",
				"response": {"request_id": "r", "request_id": "r", "response": ` + result + `}}`,
			"a mark": "\uFEFF" + `{"response": {"response": ` + result + `, "request_id": " r\n"},
				"note": "` + "\x80" + `", "status": "completed "}`,
			"webhook": "\uFEFF" + `{"request_id": "r", "response": ` + result + `, "x": NaN}`,
		} {
			var got *transcript.Result
			var id string
			var state jobstatus.State
			var err error
			if name == "webhook" {
				var w jobstatus.Webhook
				w, err = jobstatus.ReadWebhook(iotest.OneByteReader(strings.NewReader(doc)), func() {}, jobstatus.NoTimings)
				got, id, state = w.Result, w.RequestID, w.State
			} else {
				var b jobstatus.Body
				b, err = decode(t, []byte(doc))
				got, id, state = b.Result, b.RequestID, b.State
			}
			if diff := cmp.Diff(want, got, equal); diff != "" || err != nil || id != "r" || state != jobstatus.Completed {
				t.Errorf("%s %.200q: ID %q, state %d, error %v (-want +got):\n%s", name, doc, id, state, err, diff)
			}
		}
	}
}

// Faults are read in the same way.
func TestTolerantFaults(t *testing.T) {
	for fault, want := range map[string]string{
		"{\"fault_string\": \"caf\xe9\", \"detail\": {\"error_code\": \"x\"}}": "x",
		`{"error_code": "a", "error_code": "b"}`:                               "b",
		`{"detail": {"error_code": "a", "error_code": "b"}}`:                   "b",
		`{"error_code": NaN}`:                                jobstatus.UnknownErrorCode,
		"{\"error_code\": \"x\xff\"}":                        jobstatus.OtherErrorCode,
		`{"error_code": "` + strings.Repeat("x", 1e5) + `"}`: jobstatus.UnknownErrorCode,
	} {
		got, err := decode(t, []byte(`{"status": "Failed", "response": {"response": {"fault": `+fault+`}}}`))
		if got.State != jobstatus.Failed || got.FaultCode != want || err != nil {
			t.Errorf("%.80q: %+v, error %v", fault, got, err)
		}
	}
}

func TestStateWordsToShow(t *testing.T) {
	for word, want := range map[string]string{
		"Failure": "Failure", " Cancelled ": "Cancelled", "timed_out": "timed_out", "Not found": "Not found",
		"ERROR": "ERROR",
		"":      "", "x": "", "Läuft": "", "<script>": "", "a\nb": "", "call 4711": "", "secret.key-1": "", "Completed": "",
		"waiting for speech": "waiting for speech", "IN-REVIEW": "IN-REVIEW", "he said that he is ill": "",
		strings.Repeat("x", 32): strings.Repeat("x", 32), strings.Repeat("x", 33): "",
	} {
		quoted, err := json.Marshal(word)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decode(t, fmt.Appendf(nil, `{"status": %s}`, quoted)); got.Word != want || err != nil {
			t.Errorf("%q is shown as %q, error %v", word, got.Word, err)
		}
	}
}

func TestInvalidDocuments(t *testing.T) {
	for name, doc := range invalid() {
		got, err := decode(t, []byte(doc))
		if got.Result != nil || err == nil {
			t.Errorf("%s: error %v, %+v", name, err, got)
		}
	}
}

func TestTruncatedDocuments(t *testing.T) {
	for _, name := range payloadNames(t) {
		doc := bytes.TrimSpace(payload(t, name))
		for n := range doc {
			if got, err := decode(t, doc[:n]); err == nil {
				t.Fatalf("%s: the first %d of %d bytes decode as %+v", name, n, len(doc), got)
			}
		}
		if _, err := decode(t, append(doc, " \r\n\t"...)); err != nil {
			t.Errorf("%s: with white space after it: %v", name, err)
		}
	}
}

// Skipping a text takes many reads; what follows it must be found.
func TestLongText(t *testing.T) {
	text := strings.Repeat("wörd ", 1<<18)
	doc := strings.Replace(sample, "Hi! Hello", text, 1)
	got, err := jobstatus.DecodeStatus(strings.NewReader(doc))
	if diff := cmp.Diff(sampleResult(), got.Result, equal); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

var codeForm = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,96}$`)

func checkBody(t *testing.T, b jobstatus.Body) {
	t.Helper()
	if b.FaultCode != "" && !codeForm.MatchString(b.FaultCode) {
		t.Errorf("error code %q", b.FaultCode)
	}
	if b.Result == nil {
		return
	}
	if b.State != jobstatus.Completed || !b.HasStatus || b.FaultCode != "" {
		t.Errorf("a result with %+v", b)
	}
	s := b.Result.Statistics
	within := func(name string, v, most float64) {
		if v < 0 || v > most || math.IsInf(v, 0) {
			t.Errorf("%s is %g, want NaN or 0 to %g", name, v, most)
		}
	}
	for i := range transcript.Figures {
		f := &transcript.Figures[i]
		most := math.MaxFloat64
		if f.Unit == transcript.Ratio {
			most = 1
		}
		within(f.Name, f.Value(&s), most)
	}
	for _, d := range []transcript.Distribution{s.WordConfidence, s.WordDuration, s.WordGap} {
		if !(d.Sum >= 0) || math.IsInf(d.Sum, 0) || d.Count < 0 {
			t.Errorf("distribution %+v", d)
		}
	}
	for _, x := range s.BySpeaker {
		within("speaker's confidence", x.ConfidenceMean, 1)
		if !(x.TalkSeconds >= 0) || math.IsInf(x.TalkSeconds, 0) {
			t.Errorf("speaker %+v", x)
		}
	}
}

func FuzzDecodeStatus(f *testing.F) {
	for _, name := range payloadNames(f) {
		f.Add(payload(f, name))
	}
	for _, doc := range invalid() {
		if len(doc) < 4096 {
			f.Add([]byte(doc))
		}
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := decode(t, doc)
		if err != nil {
			if got.Result != nil {
				t.Errorf("%q: error %v and a result", doc, err)
			}
			return
		}
		if bytes.TrimLeft(bytes.TrimPrefix(doc, []byte("\uFEFF")), " \t\r\n")[0] != '{' {
			t.Errorf("accepted as a JSON object: %q", doc)
		}
		checkBody(t, got)
	})
}

// FuzzDecodeFault inserts the input in place of a fault.
func FuzzDecodeFault(f *testing.F) {
	for _, fault := range []string{
		`null`, `false`, `{}`, `"x"`, `{"faultstring": "Invalid ApiKey", "detail": {"errorcode": "oauth.v2.InvalidApiKey"}}`,
		`{"fault_string": "Invalid payload.", "detail": {"error_code": "com.deepaffects.BadRequest"}}`,
		`{"error_code": "two words"}`, `{"error_code": 1e3, "errorcode": ""}`, `{"detail": {"error_code": "é"}}`,
	} {
		f.Add([]byte(fault))
	}
	f.Fuzz(func(t *testing.T, fault []byte) {
		doc := append(append([]byte(`{"response": {"response": {"fault": `), fault...), `}}, "status": "Completed"}`...)
		got, err := decode(t, doc)
		if err != nil {
			return
		}
		checkBody(t, got)
		none := slices.Contains([]string{"null", "false"}, string(bytes.TrimSpace(fault)))
		if json.Valid(fault) && none == (got.FaultCode != "") {
			t.Errorf("%q: fault code is %q", fault, got.FaultCode)
		}
		if got.FaultCode != "" && got.State != jobstatus.Failed {
			t.Errorf("%q: %+v", fault, got)
		}
	})
}

// A result has the same figures whatever was decoded before: the memory of large results is used again.
func TestOneLargeResultAtATime(t *testing.T) {
	first := make(map[int]*transcript.Result)
	for _, n := range []int{words, 100, words + 500, words, 100, words + 500, 30_000, words} {
		got, err := jobstatus.DecodeStatus(bytes.NewReader(spellings(t, n)["compact"]))
		if err != nil || got.Result.Words != float64(n) {
			t.Fatalf("%d words: %+v, %v", n, got.Result, err)
		}
		if first[n] == nil {
			first[n] = got.Result
		}
		if diff := cmp.Diff(first[n], got.Result, cmp.AllowUnexported(histogram.Histogram{}),
			cmpopts.EquateNaNs()); diff != "" {
			t.Errorf("%d words again (-first +now):\n%s", n, diff)
		}
	}
}

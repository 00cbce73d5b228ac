package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// payloads is the directory of the example payloads of the vendor.
const payloads = "../../internal/jobstatus/testdata/payloads"

// A job is what the metrics should show for a payload.
type job struct {
	state, errorCode string
	figures          map[string]float64 // all series about its result
	status           int                // HTTP status of the response; 0: 200
}

// summaries returns the series about words: quantiles, sum and count of each.
func summaries(confidence, duration, gap [5]float64) map[string]float64 {
	figures := make(map[string]float64)
	for name, v := range map[string][5]float64{
		"word_confidence_ratio": confidence, "word_duration_seconds": duration, "word_gap_seconds": gap,
	} {
		quantiles := []string{`{quantile="0.5"}`, `{quantile="0.9"}`, `{quantile="0.99"}`}
		if name == "word_confidence_ratio" { // the low tail
			quantiles = []string{`{quantile="0.01"}`, `{quantile="0.1"}`, `{quantile="0.5"}`}
		}
		for i, part := range append(quantiles, "_sum", "_count") {
			figures[name+part] = v[i]
		}
	}
	return figures
}

func with(maps ...map[string]float64) map[string]float64 {
	all := make(map[string]float64)
	for _, m := range maps {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// Worked out by hand from the payloads.
var payloadJobs = map[string]job{
	// The vendor's own example: durations 1, .8, .6, .4, 1; gaps .2, 0, 0, 0.
	"sample": {state: "completed", figures: with(map[string]float64{
		"confidence_ratio": .97, "speakers": 2, "words": 5, "speech_seconds": 3.8, "transcript_duration_seconds": 4,
		`speaker_talk_seconds{speaker="0"}`: 2.8, `speaker_talk_seconds{speaker="1"}`: 1,
	}, summaries([5]float64{.97, .97, .97, 4.85, 5}, [5]float64{.8, 1, 1, 3.8, 5}, [5]float64{0, .2, .2, .2, 4}))},
	// Durations .32, .53, .2, .2, .1, .4, .3, .6, .4, .9; gaps 0, .15, 0, 0, 0, .6, 0, 0, 0.
	"asr": {state: "completed", figures: with(map[string]float64{
		"confidence_ratio": .91, "speakers": 2, "words": 10, "speech_seconds": 3.95, "transcript_duration_seconds": 4.8,
		`speaker_talk_seconds{speaker="0"}`: 2.2, `speaker_talk_seconds{speaker="1"}`: 1.75,
	}, summaries(
		[5]float64{.72, .72, .93, 9.01, 10}, [5]float64{.32, .6, .9, 3.95, 10}, [5]float64{0, .6, .6, .75, 9},
	))},
	"asr_without_diarization": {state: "completed", figures: with(map[string]float64{
		"confidence_ratio": .87, "words": 2, "speech_seconds": .5, "transcript_duration_seconds": .8,
	}, summaries([5]float64{.84, .84, .84, 1.74, 2}, [5]float64{.2, .3, .3, .5, 2}, [5]float64{0, 0, 0, 0, 1}))},
	"diarize": {state: "completed", figures: map[string]float64{
		"speakers": 3, "speech_seconds": 12.4, "transcript_duration_seconds": 13,
		`speaker_talk_seconds{speaker="0"}`: 6.3, `speaker_talk_seconds{speaker="1"}`: 5.5,
		`speaker_talk_seconds{speaker="2"}`: .6,
	}},
	"identify": {state: "completed", figures: map[string]float64{
		"speakers": 2, "speech_seconds": 8, "transcript_duration_seconds": 8,
		`speaker_talk_seconds{speaker="0"}`: 4.5, `speaker_talk_seconds{speaker="1"}`: 3.5,
	}},
	"interaction": {state: "completed", figures: map[string]float64{
		"confidence_ratio": .9, "speakers": 2, "speech_seconds": 42.5, "transcript_duration_seconds": 42,
		`speaker_talk_seconds{speaker="0"}`: 29.1, `speaker_talk_seconds{speaker="1"}`: 13.4,
	}},
	"vad": {state: "completed", figures: map[string]float64{
		"speech_seconds": 10, "transcript_duration_seconds": 20,
	}},
	"emotion":              {state: "completed"},
	"denoise":              {state: "completed"},
	"punctuate":            {state: "completed"},
	"summary":              {state: "completed"},
	"videochapters":        {state: "completed"},
	"failed":               {state: "failed", errorCode: "com.deepaffects.BadRequest"},
	"completed_with_fault": {state: "failed", errorCode: "com.deepaffects.BadRequest"},
	"running":              {state: "running"},
	"in_progress":          {state: "running"},
	// These are not statuses.
	"fault_api":         {state: "pending", status: 429},
	"fault_gateway":     {state: "pending", status: 401},
	"submitted":         {state: "pending"},
	"webhook_asr":       {state: "pending"},
	"webhook_failed":    {state: "pending"},
	"webhook_depressed": {state: "pending"},
}

// handWorked reports whether a series is expected of any payload. The others are of figures
// that these tests do not cover.
func handWorked(name string) bool {
	for _, job := range payloadJobs {
		if _, expected := job.figures[name]; expected {
			return true
		}
	}
	return false
}

// idOf returns the request ID in a payload, or the name of a payload without one.
func idOf(t *testing.T, name string, body []byte) string {
	t.Helper()
	var document struct {
		Response struct {
			RequestID string `json:"request_id"`
		} `json:"response"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		t.Fatal(err)
	}
	if document.Response.RequestID != "" {
		return document.Response.RequestID
	}
	return name
}

// runOnce runs `deepaffects_exporter --once` with one job at an API that answers
// with the body, and returns what it prints.
func runOnce(t *testing.T, id string, status int, body []byte) (text string, err error) {
	t.Helper()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("request_id") != id || r.URL.Query().Get("apikey") != "key" {
			t.Errorf("unexpected query %q", r.URL.Query())
		}
		w.WriteHeader(max(status, http.StatusOK))
		w.Write(body)
	}))
	defer api.Close()
	config := writeFile(t, "config.toml",
		fmt.Sprintf("[[inputs.deepaffects]]\nurl = %q\napi_key = \"key\"\nrequest_ids = [%q]\n", api.URL, id))
	var stdout bytes.Buffer
	err = run(parse(t, "--once", "--config.file="+config, "--storage.path="+t.TempDir()), &stdout, discard)
	return stdout.String(), err
}

// Every payload gives the expected state and exactly the expected series, from the HTTP
// response to the text of a scrape.
func TestPayloads(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(payloads, "*.json"))
	if err != nil || len(files) != len(payloadJobs) {
		t.Fatalf("%d payloads, %v; want %d", len(files), err, len(payloadJobs))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			want, known := payloadJobs[name]
			if !known {
				t.Fatal("no expected metrics for this payload")
			}
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			body = bytes.ReplaceAll(body, []byte("<REQUEST_ID>"), []byte(name)) // the vendor's placeholder is refused
			id := idOf(t, name, body)
			text, err := runOnce(t, id, want.status, body)
			if unanswered := want.state == "pending"; unanswered != (err != nil) {
				t.Errorf("--once: %v", err)
			}

			parser := expfmt.NewTextParser(model.UTF8Validation)
			families, err := parser.TextToMetricFamilies(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string]float64)
			var state, errorCode string
			for family, f := range families {
				short, ofJob := strings.CutPrefix(family, "deepaffects_job_")
				for _, m := range f.Metric {
					labels := make(map[string]string)
					for _, l := range m.Label {
						labels[l.GetName()] = l.GetValue()
					}
					if labels["request_id"] == "" || !ofJob {
						continue
					}
					if labels["request_id"] != id {
						t.Errorf("%s is about %q", family, labels["request_id"])
					}
					switch {
					case short == "state":
						if m.Gauge.GetValue() == 1 {
							state += labels["state"]
						}
					case short == "info":
						errorCode = labels["error_code"]
					case strings.HasSuffix(short, "timestamp_seconds"):
					case m.Summary != nil:
						for _, q := range m.Summary.Quantile {
							got[fmt.Sprintf("%s{quantile=\"%v\"}", short, q.GetQuantile())] = q.GetValue()
						}
						got[short+"_sum"] = m.Summary.GetSampleSum()
						got[short+"_count"] = float64(m.Summary.GetSampleCount())
					case labels["speaker"] != "":
						got[fmt.Sprintf("%s{speaker=%q}", short, labels["speaker"])] = m.Gauge.GetValue()
					default:
						got[short] = m.Gauge.GetValue()
					}
				}
			}
			if state != want.state || errorCode != want.errorCode {
				t.Errorf("state %q, error code %q; want %q, %q", state, errorCode, want.state, want.errorCode)
			}
			for name, v := range want.figures {
				if g, present := got[name]; !present || math.Abs(g-v) > 1e-9 {
					t.Errorf("%s is %v (present: %v), want %v", name, g, present, v)
				}
			}
			for name, v := range got {
				if _, wanted := want.figures[name]; !wanted && handWorked(name) {
					t.Errorf("%s is %v, want none", name, v)
				}
			}
		})
	}
}

// One --once polls a job for each payload and prints all of them.
func TestOnceWithEveryPayload(t *testing.T) {
	bodies := make(map[string]string)
	for name, want := range payloadJobs {
		if want.state == "pending" { // some of these pause polling
			continue
		}
		body, err := os.ReadFile(filepath.Join(payloads, name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		const id = `"request_id": %q`
		bodies[name] = strings.ReplaceAll(string(body), fmt.Sprintf(id, idOf(t, name, body)), fmt.Sprintf(id, name))
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, bodies[r.URL.Query().Get("request_id")])
	}))
	defer api.Close()
	ids := writeFile(t, "ids", strings.Join(slices.Collect(maps.Keys(bodies)), "\n")+"\n")
	config := writeFile(t, "config.toml", fmt.Sprintf(
		"[[inputs.deepaffects]]\nurl = %q\napi_key = \"key\"\nrequest_id_files = [%q]\nrequests_per_minute = 0\n",
		api.URL, ids))
	var stdout bytes.Buffer
	if err := run(parse(t, "--once", "--config.file="+config, "--storage.path="+t.TempDir()), &stdout,
		discard); err != nil {
		t.Fatal(err)
	}
	for name := range bodies {
		line := fmt.Sprintf("deepaffects_job_state{account=\"default\",request_id=%q,state=%q} 1\n",
			name, payloadJobs[name].state)
		if !strings.Contains(stdout.String(), line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

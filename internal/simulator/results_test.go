package simulator_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/simulator"
)

// ended submits a job that has ended with a result, and returns its status.
func ended(t *testing.T, o simulator.Options, sub simulator.Job) (envelope, []byte) {
	t.Helper()
	s, c := start(t, o)
	sub.Outcome, sub.Duration = simulator.Completed, -1
	id := s.Submit(sub)
	status, body := get(t, c, "", id)
	e := decode[envelope](t, body)
	if status != 200 || e.Status != "Completed" || e.Response.RequestID != id {
		t.Fatalf("%d %.200s", status, body)
	}
	return e, body
}

// keys are the documented keys of results: required and optional ones. An array has its key
// and [].
var keys = map[string]struct{ always, sometimes string }{
	"asr": {
		`confidence transcript words words[].word words[].start words[].end words[].confidence`,
		`num_speakers words[].speaker_id`,
	},
	"diarize":              {"segments segments[].speaker_id segments[].start segments[].end", "num_speakers"},
	"diarization/identify": {"segments segments[].speaker_id segments[].start segments[].end", ""},
	"recognise_emotion":    {"[].emotion [].start [].end", ""},
	"analytics/interaction": {
		`num_speakers total_speech_duration energy energy[].speaker_id energy[].value interruptions pace
			pace[].speaker_id pace[].value questions_asked questions_asked[].speaker_id questions_asked[].value
			questions_asked[].questions segments segments[].speaker_id segments[].start segments[].end
			segments[].text segments[].confidence segments[].emotion segments[].emotion_score segments[].intent
			talk_to_listen talk_to_listen[].speaker_id talk_to_listen[].value tone tone[].speaker_id
			tone[].value`,
		`interruptions[].start interruptions[].end questions_asked[].questions[].start
			questions_asked[].questions[].end questions_asked[].questions[].text`,
	},
	"vad":       {"segments segments[].tag segments[].start segments[].end", ""},
	"denoise":   {"url sampleRate encoding languageCode", ""},
	"featurize": {"mfccs zcr energy", ""},
	"summary": {
		"",
		`extractive extractive[].start extractive[].end extractive[].text extractive[].score abstractive
			abstractive.long abstractive.long[].start abstractive.long[].end abstractive.long[].text
			abstractive.long[].score abstractive.short abstractive.short[].start abstractive.short[].end
			abstractive.short[].text abstractive.short[].score`,
	},
	"punctuate": {"punctuated_texts", ""},
	"videochapters": {
		`chapters chapters[].start chapters[].end chapters[].confidence chapters[].category`,
		`chapters[].title chapters[].title_confidence`,
	},
	"is_depressed": {"", ""},
}

// paths collects every key of v.
func paths(v any, at string, found map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		if at != "" {
			at += "."
		}
		for k, inner := range v {
			found[at+k] = true
			paths(inner, at+k, found)
		}
	case []any:
		for _, inner := range v {
			paths(inner, at+"[]", found)
		}
	}
}

func TestResultsHaveTheDocumentedKeys(t *testing.T) {
	for _, api := range simulator.APIs() {
		t.Run(api, func(t *testing.T) {
			want, ok := keys[api]
			if !ok {
				t.Fatal("no keys to compare with")
			}
			allowed := map[string]bool{}
			for _, k := range strings.Fields(want.always + " " + want.sometimes) {
				allowed[k] = true
			}
			seen := map[string]int{}
			const jobs = 40
			for i := range jobs {
				e, _ := ended(t, simulator.Options{Seed: uint64(i)}, simulator.Job{API: api, AudioSeconds: 120})
				found := map[string]bool{}
				if api == "is_depressed" {
					if e.Response.Depressed == nil || e.Response.Response != nil {
						t.Fatalf("%+v", e.Response)
					}
				} else {
					paths(decode[any](t, e.Response.Response), "", found)
				}
				for k := range found {
					seen[k]++
					if !allowed[k] {
						t.Errorf("%q is not documented", k)
					}
				}
			}
			for _, k := range strings.Fields(want.always) {
				if seen[k] != jobs {
					t.Errorf("%q is in %d of %d results", k, seen[k], jobs)
				}
			}
			for _, k := range strings.Fields(want.sometimes) {
				if seen[k] == 0 {
					t.Errorf("%q is in no result", k)
				}
			}
		})
	}
}

// timed is a word or segment.
type timed struct{ Start, End float64 }

type asr struct {
	Confidence float64
	Speakers   *int `json:"num_speakers"`
	Transcript string
	Words      []struct {
		timed
		Word       string
		Confidence float64
		Speaker    *string `json:"speaker_id"`
	}
}

func TestConversations(t *testing.T) {
	const length = 300.0
	var words, sure, overlaps, pauses, plain, badLines int
	speakers := map[int]int{}
	const jobs = 60
	for i := range jobs {
		e, _ := ended(t, simulator.Options{Seed: uint64(i)}, simulator.Job{AudioSeconds: length})
		result := decode[asr](t, e.Response.Response)
		if result.Speakers == nil {
			plain++
		} else {
			speakers[*result.Speakers]++
		}
		heard := map[string]float64{} // end of each speaker's last word
		sum, last := 0.0, 0.0
		for n, w := range result.Words {
			if w.Start < 0 || w.End <= w.Start || w.End > length ||
				w.Confidence < 0 || w.Confidence > 1 || w.Word == "" {
				t.Fatalf("job %d, word %d: %+v", i, n, w)
			}
			if (w.Speaker == nil) != (result.Speakers == nil) {
				t.Fatalf("job %d: speaker_id and num_speakers do not agree", i)
			}
			if w.Speaker != nil {
				if w.Start < heard[*w.Speaker] {
					t.Fatalf("job %d, word %d: speaks over themselves", i, n)
				}
				heard[*w.Speaker] = w.End
			}
			if w.Start < last {
				overlaps++
			} else if w.Start-last > 0.15 {
				pauses++
			}
			last = w.End
			sum += w.Confidence
			words++
			if w.Confidence >= 0.85 {
				sure++
			}
		}
		mean := sum / float64(len(result.Words))
		if d := mean - result.Confidence; d < 0 || d > 0.0101 {
			t.Errorf("job %d: confidence %v, the words' mean is %v", i, result.Confidence, mean)
		}
		if mean < 0.8 {
			badLines++
		}
		if n := len(strings.Fields(result.Transcript)); n != len(result.Words) {
			t.Errorf("job %d: %d words in the transcript, %d in words", i, n, len(result.Words))
		}
	}
	perMinute := float64(words) / (jobs * length / 60)
	for _, check := range []struct {
		what           string
		got, low, high float64
	}{
		{"words a minute", perMinute, 90, 200},
		{"share of sure words", float64(sure) / float64(words), 0.65, 0.95},
		{"overlaps a job", float64(overlaps) / jobs, 1, 20},
		{"share of pauses", float64(pauses) / float64(words), 0.05, 0.4},
		{"share without diarization", float64(plain) / jobs, 0.05, 0.4},
		{"share of bad lines", float64(badLines) / jobs, 0.03, 0.35},
		{"share of two speakers", float64(speakers[2]) / float64(jobs-plain), 0.5, 0.9},
	} {
		if check.got < check.low || check.got > check.high {
			t.Errorf("%s: %.3f, want %v to %v", check.what, check.got, check.low, check.high)
		}
	}
}

// num_speakers is the number of the speakers who talk, also in a recording that ends before some do.
func TestSpeakersTalk(t *testing.T) {
	for _, api := range []string{"asr", "diarize", "analytics/interaction"} {
		for _, length := range []float64{0.5, 5, 20, 300} {
			for seed := range uint64(30) {
				e, _ := ended(t, simulator.Options{Seed: seed}, simulator.Job{API: api, AudioSeconds: length})
				type part struct {
					Speaker string `json:"speaker_id"`
				}
				result := decode[struct {
					Speakers        *int `json:"num_speakers"`
					Words, Segments []part
					Energy          []part // of each speaker
				}](t, e.Response.Response)
				if result.Speakers == nil {
					continue
				}
				talk := make(map[string]bool)
				for _, p := range slices.Concat(result.Words, result.Segments) {
					talk[p.Speaker] = true
				}
				if len(talk) != *result.Speakers {
					t.Errorf("%s of %v s, seed %d: %d speakers talk, num_speakers is %d",
						api, length, seed, len(talk), *result.Speakers)
				}
				for _, p := range result.Energy {
					if !talk[p.Speaker] {
						t.Errorf("%s of %v s, seed %d: speaker %s does not talk", api, length, seed, p.Speaker)
					}
				}
			}
		}
	}
}

func TestShortestAudio(t *testing.T) {
	for _, api := range simulator.APIs() {
		for _, length := range []float64{0.001, 0.5, 2} {
			e, _ := ended(t, simulator.Options{}, simulator.Job{API: api, AudioSeconds: length})
			if api == "asr" && len(decode[asr](t, e.Response.Response).Words) == 0 {
				t.Errorf("%v s: no word", length)
			}
		}
	}
}

func TestFeaturesAreLarge(t *testing.T) {
	_, body := ended(t, simulator.Options{}, simulator.Job{API: "featurize", AudioSeconds: 3600})
	if len(body) < 500_000 || len(body) > 5_000_000 {
		t.Errorf("%d bytes for an hour", len(body))
	}
}

func TestSameSeedSameLife(t *testing.T) {
	for _, api := range simulator.APIs() {
		life := func(seed uint64, id string) (simulator.JobRecord, []byte) {
			s, c := start(t, simulator.Options{Seed: seed})
			s.Submit(simulator.Job{RequestID: "another one before"})
			s.Submit(simulator.Job{RequestID: id, API: api, Outcome: simulator.Completed})
			drawn := s.Jobs()[1]
			s.Submit(simulator.Job{RequestID: id, API: api, Outcome: simulator.Completed, Duration: -1})
			_, body := get(t, c, "", id)
			return drawn, body
		}
		first, firstBody := life(1, "job")
		again, againBody := life(1, "job")
		if first.AudioSeconds != again.AudioSeconds ||
			first.EndsAt.Sub(first.SubmittedAt) != again.EndsAt.Sub(again.SubmittedAt) {
			t.Errorf("%s: two lives: %+v and %+v", api, first, again)
		}
		if !bytes.Equal(firstBody, againBody) {
			t.Errorf("%s: two results: %.200s and %.200s", api, firstBody, againBody)
		}
		for _, other := range []struct {
			seed uint64
			id   string
		}{{2, "job"}, {1, "jab"}} {
			record, body := life(other.seed, other.id)
			if record.AudioSeconds == first.AudioSeconds {
				t.Errorf("%s: %v has the same length", api, other)
			}
			renamed := bytes.ReplaceAll(body, []byte(other.id), []byte("job"))
			if api != "is_depressed" && bytes.Equal(renamed, firstBody) {
				t.Errorf("%s: %v has the same result", api, other)
			}
		}
	}
}

func TestDrawnLives(t *testing.T) {
	const jobs = 4000
	for _, speed := range []float64{0, 10} {
		s, _ := start(t, simulator.Options{Seed: 7, Speed: speed})
		for i := range jobs {
			s.Submit(simulator.Job{RequestID: fmt.Sprint(i)})
		}
		outcomes := map[simulator.Outcome]int{}
		codes := map[string]int{}
		minutes := 0.0
		for _, j := range s.Jobs() {
			outcomes[j.Outcome]++
			if j.ErrorCode != "" {
				codes[j.ErrorCode]++
			}
			if j.AudioSeconds < 20 || j.AudioSeconds > 5400 {
				t.Fatalf("%+v", j)
			}
			if j.Outcome == simulator.Completed {
				minutes += j.EndsAt.Sub(j.SubmittedAt).Minutes() * max(1, speed)
			}
		}
		for outcome, want := range map[simulator.Outcome]float64{
			simulator.Failed: 0.06, simulator.CompletedWithFault: 0.01,
			simulator.Stuck: 0.01, simulator.Completed: 0.92,
		} {
			if got := float64(outcomes[outcome]) / jobs; got < want*0.6 || got > want*1.4 {
				t.Errorf("speed %v: share of %s is %.4f, want about %v", speed, outcome, got, want)
			}
		}
		if len(codes) < 4 {
			t.Errorf("speed %v: error codes %v", speed, codes)
		}
		if mean := minutes / float64(outcomes[simulator.Completed]); mean < 1.5 || mean > 5 {
			t.Errorf("speed %v: mean duration of %.2f lifelike minutes", speed, mean)
		}
	}
}

func TestNoStuckJobs(t *testing.T) {
	s, _ := start(t, simulator.Options{StuckShare: -1})
	for range 1000 {
		s.Submit(simulator.Job{})
	}
	for _, j := range s.Jobs() {
		if j.Outcome == simulator.Stuck {
			t.Fatalf("%+v", j)
		}
	}
}

func TestRequestIDsAreEscaped(t *testing.T) {
	for _, id := range []string{`a"b\c`, "tab\there", "ключ", "😀", "per%cent&amp=", "\x7f"} {
		for _, job := range []simulator.Job{
			{Outcome: simulator.Stuck},
			{Outcome: simulator.Failed, Duration: -1},
			{Outcome: simulator.Completed, Duration: -1, API: "is_depressed"},
		} {
			s, c := start(t, simulator.Options{Seed: 3})
			job.RequestID = id
			s.Submit(job)
			_, body := get(t, c, "", id)
			if e := decode[envelope](t, body); e.Response != nil && e.Response.RequestID != id {
				t.Errorf("%q came back as %q", id, e.Response.RequestID)
			}
			if i := bytes.IndexFunc(body, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
				t.Errorf("%q: not printable ASCII at %d: %s", id, i, body)
			}
		}
	}
}

func BenchmarkStatusBody(b *testing.B) {
	s := simulator.New(simulator.Options{})
	defer s.Close()
	id := s.Submit(simulator.Job{Outcome: simulator.Completed, Duration: -1, AudioSeconds: 420})
	c := &http.Client{Transport: s.Transport()}
	for b.Loop() {
		resp, err := c.Get(statusURL("", id))
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
		resp.Body.Close()
	}
}

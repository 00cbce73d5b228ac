package jobstatus_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	jsonexperiment "github.com/go-json-experiment/json"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/cputime"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// words is the number of words in the long call of the benchmarks: one hour of speech.
const words = 9000

type asrWord struct {
	Confidence float64 `json:"confidence"`
	End        float64 `json:"end"`
	SpeakerID  string  `json:"speaker_id"`
	Start      float64 `json:"start"`
	Word       string  `json:"word"`
}

type asrStatus struct {
	Response struct {
		RequestID string `json:"request_id"`
		Response  struct {
			Confidence  float64   `json:"confidence"`
			NumSpeakers int       `json:"num_speakers"`
			Transcript  string    `json:"transcript"`
			Words       []asrWord `json:"words"`
		} `json:"response"`
	} `json:"response"`
	Status string `json:"status"`
}

// conversation returns the status of a recognized call with n words, with names in the
// order of the vendor.
func conversation(n int) asrStatus {
	r := rand.New(rand.NewPCG(7, 11))
	round := func(v float64, digits int) float64 {
		v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'f', digits, 64), 64)
		return v
	}
	vocabulary := []string{"the", "router", "restarting", "is", "it", "blinks", "please", "hold", "naïve", "thanks"}
	var s asrStatus
	s.Status = "Completed"
	s.Response.RequestID = "8c0f3a52-5d0b-4b5c-9a3e-0f6a4f3b7f10"
	result := &s.Response.Response
	result.Confidence, result.NumSpeakers = .91, 4
	var text bytes.Buffer
	var at float64
	for i := range n {
		start := at + r.ExpFloat64()*.1
		at = start + .1 + r.ExpFloat64()*.2
		w := asrWord{
			Confidence: round(1-r.Float64()*r.Float64()/2, 2), Start: round(start, 2), End: round(at, 2),
			SpeakerID: strconv.Itoa(i / 17 % 4), Word: vocabulary[r.IntN(len(vocabulary))],
		}
		result.Words = append(result.Words, w)
		fmt.Fprintf(&text, "%s ", w.Word)
	}
	result.Transcript = text.String()
	return s
}

// spellings returns the same status with and without white space.
func spellings(tb testing.TB, n int) map[string][]byte {
	tb.Helper()
	s := conversation(n)
	compact, err := json.Marshal(s)
	if err != nil {
		tb.Fatal(err)
	}
	pretty, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		tb.Fatal(err)
	}
	return map[string][]byte{"compact": compact, "pretty": pretty}
}

func BenchmarkDecodeStatus(b *testing.B) {
	for name, doc := range spellings(b, words) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			r := bytes.NewReader(nil)
			cputime.Report(b)
			for b.Loop() {
				r.Reset(doc)
				if got, err := jobstatus.DecodeStatus(r); err != nil || got.Result.Words != words {
					b.Fatal(got, err)
				}
			}
		})
	}
}

// BenchmarkPeers is the comparison: the same document decoded into structs, from memory and without statistics.
func BenchmarkPeers(b *testing.B) {
	peers := map[string]func(doc []byte, v any) error{
		"encoding/json":           json.Unmarshal,
		"go-json-experiment/json": func(doc []byte, v any) error { return jsonexperiment.Unmarshal(doc, v) },
	}
	for peer, unmarshal := range peers {
		for name, doc := range spellings(b, words) {
			b.Run(peer+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(doc)))
				b.ReportAllocs()
				cputime.Report(b)
				for b.Loop() {
					var s asrStatus
					if err := unmarshal(doc, &s); err != nil || len(s.Response.Response.Words) != words {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

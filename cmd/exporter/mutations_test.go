package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// mutations is how many bodies of each kind are tried.
const mutations = 50_000

// A mutator makes bodies that nobody expects out of those that the vendor sends.
type mutator struct {
	*rand.Rand
	payloads [][]byte
}

func newMutator(t *testing.T, payloads string) *mutator {
	t.Helper()
	files, err := filepath.Glob("testdata/payloads/" + payloads)
	if err != nil || len(files) < 3 {
		t.Fatalf("%d payloads, %v", len(files), err)
	}
	m := &mutator{Rand: rand.New(rand.NewPCG(5, 6))}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m.payloads = append(m.payloads, body)
	}
	return m
}

var fragments = []string{
	`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, `null`, `true`, `0`, `-1`, `1e999`, `-0`, `NaN`, `1e-400`, `"\ud800"`, `"\u0000"`, "\x00", "\xff\xfe", "\u2028",
	`"status":"Completed"`, `"status":"Failed"`, `"request_id":"b"`, `"request_id":""`, `"response":null`, `"fault":{}`, `"words":[{}]`, `"words":{}`, `"start":"1"`,
	`"words":[{"start":1e308,"end":-1e308,"confidence":1e308}]`, `"depressed":true`, strings.Repeat("[", 20_000), strings.Repeat("x", 100_000), strings.Repeat(`{"a":`, 5_000),
}

// body returns a body with one to four mutations.
func (m *mutator) body() []byte {
	b := bytes.Clone(m.payloads[m.IntN(len(m.payloads))])
	for range 1 + m.IntN(4) {
		from := m.IntN(len(b) + 1)
		to := from + m.IntN(min(len(b)-from, 40)+1)
		switch m.IntN(8) {
		case 0: // a bit
			if from < len(b) {
				b[from] ^= 1 << m.IntN(8)
			}
		case 1: // a piece is gone
			b = slices.Delete(b, from, to)
		case 2: // a piece is there twice
			b = slices.Insert(b, from, bytes.Clone(b[from:to])...)
		case 3: // it is cut off
			b = b[:from]
		case 4: // another one begins in it
			other := m.payloads[m.IntN(len(m.payloads))]
			b = append(b[:from:from], other[m.IntN(len(other)):]...)
		case 5, 6: // something that is not expected there
			b = slices.Insert(b, from, []byte(fragments[m.IntN(len(fragments))])...)
		case 7: // a value is another
			b = slices.Replace(b, from, to, []byte(fragments[m.IntN(len(fragments))])...)
		}
	}
	return b
}

// However the body of a webhook is mangled: nothing panics, every scrape is sound,
// and only what is sound JSON changes a state.
func TestMutatedWebhooks(t *testing.T) {
	m := newMutator(t, "webhook_*.json")
	e := idleExporter(t, "--config.file=x")
	config := collector.DefaultConfig()
	config.APIKey, config.WebhookToken, config.MaxJobSeries = "key", "token", 20
	if err := e.collector.Reload(t.Context(), []collector.Config{config}); err != nil {
		t.Fatal(err)
	}
	account, err := e.collector.Account("")
	if err != nil {
		t.Fatal(err)
	}
	handler := e.handler()
	finished, sound := uint64(0), 0
	for i := range mutations {
		body := m.body()
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/webhook/token", bytes.NewReader(body)))
		totals := account.Snapshot().Totals
		now := totals.Finished[0] + totals.Finished[1]
		switch {
		case w.Code != http.StatusOK && w.Code != http.StatusBadRequest:
			t.Fatalf("HTTP %d: %.300q", w.Code, body)
		case now != finished && !json.Valid(body):
			t.Fatalf("a state changed: %.300q", body)
		case w.Code == http.StatusOK:
			sound++
		case now != finished:
			t.Fatalf("refused, and a state changed: %.300q", body)
		}
		if finished = now; i%1000 != 0 {
			continue
		}
		w = httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		parser := expfmt.NewTextParser(model.UTF8Validation)
		if families, err := parser.TextToMetricFamilies(w.Body); w.Code != http.StatusOK || err != nil || families["deepaffects_webhook_requests_total"] == nil {
			t.Fatalf("the scrape after %d: HTTP %d, %v", i, w.Code, err)
		}
	}
	if s := account.Snapshot(); sound < mutations/100 || sound > mutations/2 || s.Counts[jobs.Completed] < 10 || s.Counts[jobs.Failed] < 1 {
		t.Errorf("%d were sound, %v jobs: not the mix that this test is about", sound, s.Counts)
	}
}

// However a status is mangled: nothing panics, and only what is sound JSON says
// anything about a job.
func TestMutatedStatuses(t *testing.T) {
	m := newMutator(t, "*.json")
	var body []byte
	client, err := jobstatus.New(jobstatus.Config{
		URL: "http://simulated.invalid", Timeout: collector.DefaultConfig().Timeout, MaxResponseSize: 1 << 20,
		Transport: answering(func(*http.Request) *http.Response { return answer(http.StatusOK, string(body)) }),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	said := make(map[jobstatus.Outcome]int)
	for range mutations {
		body = m.body()
		a := client.Status(t.Context(), "key", "a")
		said[a.Outcome]++
		if a.Outcome == jobstatus.OK && !json.Valid(body) {
			t.Fatalf("taken for an answer: %.300q", body)
		}
	}
	if said[jobstatus.OK] < mutations/100 || said[jobstatus.Malformed] < mutations/10 {
		t.Errorf("%v: not the mix that this test is about", said)
	}
}

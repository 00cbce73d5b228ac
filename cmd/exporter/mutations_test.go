package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
)

// mutations is the number of bodies of each kind.
var mutations = longtest.Size(5_000, 500_000)

// A mutator damages bodies that the vendor sends.
type mutator struct {
	*rand.Rand
	payloads [][]byte
}

func newMutator(t *testing.T, pattern string) *mutator {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(payloads, pattern))
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
	`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, `null`, `true`, `0`, `-1`, `1e999`, `-0`, `NaN`, `1e-400`,
	`"\ud800"`, `"\u0000"`, "\x00", "\xff\xfe", "\u2028", `"status":"Completed"`, `"status":"Failed"`,
	`"request_id":"b"`, `"request_id":""`, `"response":null`, `"fault":{}`, `"words":[{}]`, `"words":{}`, `"start":"1"`,
	`"words":[{"start":1e308,"end":-1e308,"confidence":1e308}]`, `"depressed":true`,
	strings.Repeat("[", 20_000), strings.Repeat("x", 100_000), strings.Repeat(`{"a":`, 5_000),
}

// body returns a body with one to four mutations.
func (m *mutator) body() []byte {
	b := bytes.Clone(m.payloads[m.IntN(len(m.payloads))])
	for range 1 + m.IntN(4) {
		from := m.IntN(len(b) + 1)
		to := from + m.IntN(min(len(b)-from, 40)+1)
		switch m.IntN(8) {
		case 0: // flip a bit
			if from < len(b) {
				b[from] ^= 1 << m.IntN(8)
			}
		case 1: // remove a piece
			b = slices.Delete(b, from, to)
		case 2: // repeat a piece
			b = slices.Insert(b, from, bytes.Clone(b[from:to])...)
		case 3: // truncate it
			b = b[:from]
		case 4: // continue with another payload
			other := m.payloads[m.IntN(len(m.payloads))]
			b = append(b[:from:from], other[m.IntN(len(other)):]...)
		case 5, 6: // insert something unexpected
			b = slices.Insert(b, from, []byte(fragments[m.IntN(len(fragments))])...)
		case 7: // replace a piece
			b = slices.Replace(b, from, to, []byte(fragments[m.IntN(len(fragments))])...)
		}
	}
	return b
}

var (
	quoted   = regexp.MustCompile(`(?s)"(?:\\.|[^"\\])*"`)
	unquoted = regexp.MustCompile(`[-+.#_0-9A-Za-z]+`)
	notGiven = regexp.MustCompile(`(?i)^(true|false|null|none|undefined|nan|inf|infinity)$`)
)

// structured reports whether a body is JSON, but for what strings contain and how numbers are written.
func structured(body []byte) bool {
	body = bytes.TrimPrefix(body, []byte("\uFEFF"))
	body = quoted.ReplaceAllLiteral(body, []byte(`""`))
	body = unquoted.ReplaceAllFunc(body, func(word []byte) []byte {
		if letter := word[0] >= 'A' && word[0] != '_'; letter && !notGiven.Match(word) {
			return word
		}
		return []byte("0")
	})
	return json.Valid(body)
}

// Damaged bodies of webhooks never panic and never break a scrape, and only those that have the structure of JSON are
// accepted and change a state.
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
	finished, valid := 0., 0
	for i := range mutations {
		body := m.body()
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/webhook/token", bytes.NewReader(body)))
		now := account.Snapshot().Totals.Counter(jobs.JobsFinished)
		switch {
		case w.Code != http.StatusOK && w.Code != http.StatusBadRequest:
			t.Fatalf("HTTP %d: %.300q", w.Code, body)
		case w.Code == http.StatusOK && !structured(body):
			t.Fatalf("accepted: %.300q", body)
		case w.Code == http.StatusOK:
			valid++
		case now != finished:
			t.Fatalf("rejected, but a state changed: %.300q", body)
		}
		if finished = now; i%1000 != 0 {
			continue
		}
		w = httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(w.Body)
		if w.Code != http.StatusOK || err != nil || families["deepaffects_webhook_requests_total"] == nil {
			t.Fatalf("scrape after body %d: HTTP %d, %v", i, w.Code, err)
		}
	}
	s := account.Snapshot()
	if valid < mutations/100 || valid > mutations/2 || s.Counts[jobs.Completed] < 10 || s.Counts[jobs.Failed] < 1 {
		t.Errorf("%d valid bodies, jobs %v: not the intended mix", valid, s.Counts)
	}
}

// Damaged status bodies never panic, and only those that have the structure of JSON are a status.
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
	outcomes := make(map[jobstatus.Outcome]int)
	for range mutations {
		body = m.body()
		a := client.Status(t.Context(), "key", "a")
		outcomes[a.Outcome]++
		if a.Outcome == jobstatus.OK && !structured(body) {
			t.Fatalf("accepted as a status: %.300q", body)
		}
	}
	if outcomes[jobstatus.OK] < mutations/100 || outcomes[jobstatus.Malformed] < mutations/10 {
		t.Errorf("%v: not the intended mix", outcomes)
	}
}

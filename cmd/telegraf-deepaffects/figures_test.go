package main

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/logger"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/statuspage"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// conversation is a result with a value for every figure.
const conversation = `{"status":"Completed","response":{"response":{"confidence":0.875,"words":[
	{"start":0.1,"end":0.5,"confidence":0.75,"speaker_id":"0"},
	{"start":0.4,"end":1.1,"confidence":0.5,"speaker_id":"1"},
	{"start":1.5,"end":3.4,"confidence":0.625,"speaker_id":"0"}]}}}`

// faces are one job as each face shows it.
type faces struct {
	scrape     scrape
	statistics map[string]any // in the JSON API
	page       string
	fields     map[string]any // of deepaffects_job
}

// Every declared figure is in every face, with its value.
func TestEveryFigureIsInEveryFace(t *testing.T) {
	f := showEverywhere(t, conversation, "job-1")
	var a transcript.Accumulator
	a.Confidence(.875)
	a.WordList()
	a.Word(transcript.Piece{Start: .1, End: .5, Confidence: .75, Speaker: []byte("0")})
	a.Word(transcript.Piece{Start: .4, End: 1.1, Confidence: .5, Speaker: []byte("1")})
	a.Word(transcript.Piece{Start: 1.5, End: 3.4, Confidence: .625, Speaker: []byte("0")})
	s := &a.Result().Statistics

	for i := range transcript.Figures {
		figure := &transcript.Figures[i]
		v := figure.Value(s)
		if math.IsNaN(v) {
			t.Errorf("%s is unknown: this test needs a result that has it", figure.Name)
		}
		if figure.Metric != "" {
			same(t, figure.Metric, f.scrape[figure.Metric], v)
		}
		same(t, "JSON "+figure.Name, f.statistics[figure.Name], v)
		var field any = v
		if figure.Unit == transcript.Count {
			field = int64(v)
		}
		same(t, "field "+figure.Field, f.fields[figure.Field], field)
		row := fmt.Sprintf("<dt>%s</dt><dd>%s</dd>", figure.Label, html.EscapeString(written(figure.Unit, v, 1)))
		if !strings.Contains(f.page, row) {
			t.Errorf("the page lacks %s", row)
		}
	}
	for i := range transcript.WordDistributions {
		checkDistribution(t, &f, &transcript.WordDistributions[i], s)
	}
}

func checkDistribution(t *testing.T, f *faces, row *transcript.WordDistribution, s *transcript.Statistics) {
	t.Helper()
	d := row.Value(s)
	same(t, row.Metric+" count", f.scrape[row.Metric+" count"], float64(d.Count))
	for _, m := range row.Quantiles {
		series := fmt.Sprint(row.Metric, " ", m.Quantile)
		same(t, series, f.scrape[series], m.Of(d))
	}
	stored, _ := f.statistics[row.Name].(map[string]any)
	same(t, "JSON "+row.Name+".count", stored["count"], float64(d.Count))
	same(t, "JSON "+row.Name+".sum", stored["sum"], d.Sum)
	_, cells, _ := strings.Cut(f.page, `<tr><th scope="row">`+row.Label+"</th>")
	cells, _, _ = strings.Cut(cells, "</tr>")
	for _, m := range transcript.Measures {
		v := m.Of(d)
		same(t, "JSON "+row.Name+"."+m.Name, stored[m.Name], v)
		cell := fmt.Sprintf(`data-label="%s">%s<`, m.Label, written(row.Unit, v, 2))
		if !strings.Contains(cells, cell) {
			t.Errorf("the page lacks %s of %s: %s", cell, row.Label, cells)
		}
	}
	for _, m := range row.Fields {
		same(t, "field "+row.Name+"_"+m.Name, f.fields[row.Name+"_"+m.Name], m.Of(d))
	}
}

// same compares values, and their types; floats up to rounding.
func same(t *testing.T, name string, got, want any) {
	t.Helper()
	g, isFloat := got.(float64)
	w, wantsFloat := want.(float64)
	if isFloat && wantsFloat && math.Abs(g-w) < 1e-9 || got == want {
		return
	}
	t.Errorf("%s is %v (%[2]T), want %v (%[3]T)", name, got, want)
}

// written is a value as a page shows it, seconds with so many decimals at most.
func written(unit transcript.Unit, v float64, decimals int) string {
	round := func(v float64, decimals int) string {
		scale := math.Pow10(decimals)
		return strconv.FormatFloat(math.Round(v*scale)/scale, 'f', -1, 64)
	}
	switch unit {
	case transcript.Ratio:
		return strconv.FormatFloat(100*v, 'f', 1, 64) + " %"
	case transcript.Seconds:
		return round(v, decimals) + " s"
	}
	return round(v, 2)
}

// showEverywhere returns a job with this result in all faces.
func showEverywhere(t *testing.T, body, id string) (f faces) {
	t.Helper()
	logger.RedirectLogging(io.Discard)
	config.DisableSecretProtection()
	polled := payload(body).inCollector(t, id, func(c *collector.Collector) {
		f.scrape = scraped(t, c)
		f.page = get(statuspage.New(c, statuspage.Options{TelemetryPath: "/metrics"}), "/job?request_id="+id)
		var job struct{ Statistics map[string]any }
		text := get(httpapi.New(c, httpapi.NewLimits(), httpapi.NewOrigins(nil), slog.New(slog.DiscardHandler),
			httpapi.Options{}), "/api/v1/jobs/"+id)
		if err := json.Unmarshal([]byte(text), &job); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		f.statistics = job.Statistics
	})
	for _, m := range payload(body).inTelegraf(t, id, polled) {
		if m.Name() == "deepaffects_job" && m.Tags()["state"] == "completed" {
			f.fields = m.Fields()
		}
	}
	return f
}

func get(h http.Handler, target string) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w.Body.String()
}

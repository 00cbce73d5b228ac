//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
)

// A server is a version of Prometheus, and the kind of histograms that it scrapes.
type server struct {
	name   string
	bin    string // directory of prometheus and promtool
	native bool   // native histograms and created timestamps instead of classic histograms
}

// servers are the two that differ most: the oldest version that the rules support, with
// classic histograms, and Prometheus 3 with native ones only.
var servers = []server{
	{"Prometheus 2", debian, false},
	{"Prometheus 3", newest, true},
}

// prometheus starts a Prometheus that scrapes the exporter every second, with more
// configuration prepended, and returns its URL.
func prometheus(t *testing.T, s server, exporter, more string) string {
	t.Helper()
	dir, address := t.TempDir(), freeport.Address(t)
	config := filepath.Join(dir, "prometheus.yml")
	features, scrape := "exemplar-storage", ""
	if s.native {
		features += ",created-timestamp-zero-ingestion"
		scrape = "scrape_native_histograms: true"
	}
	text := fmt.Sprintf(`%s
global: {scrape_interval: 1s, evaluation_interval: 1s}
scrape_configs:
- job_name: deepaffects
  static_configs: [{targets: [%q]}]
  %s
`, more, exporter, scrape)
	writeFile(t, config, text)
	start(t, s.bin+"prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--enable-feature="+features)
	return "http://" + address
}

// callAPI sends a request to Prometheus' API, and decodes the response into data.
func callAPI(base, path string, values url.Values, data any) error {
	body, err := get(base+"/api/v1/"+path+"?"+values.Encode(), "application/json")
	if err == nil {
		err = json.Unmarshal([]byte(body), &struct{ Data any }{data})
	}
	return err
}

// A series is a series in the result of a query: its value or histogram, or those of a
// range. Each is a pair of a time and a value.
type series struct {
	Value, Histogram   [2]any
	Values, Histograms [][2]any
}

// query runs an instant query and returns its result.
func query(base, expression string) ([]series, error) {
	var data struct{ Result []series }
	err := callAPI(base, "query", url.Values{"query": {expression}}, &data)
	return data.Result, err
}

// A real Prometheus scrapes the demo. The queries of docs/metrics.md and others return
// data.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	both := []string{
		`up{job="deepaffects"} == 1`,
		`deepaffects_up == 1`,
		`deepaffects_jobs{state="completed"} > 0`,
		`deepaffects_jobs_finished_total{result="failed"} > 0`,
		`increase(deepaffects_jobs_finished_total{result="failed"}[1m]) > 0`,
		`deepaffects_job_state{state="failed"} == 1`,
		`(deepaffects_job_state{state="failed"} == 1)
			* on (account, request_id) group_left (api, error_code) deepaffects_job_info{error_code!=""}`,
		`deepaffects_job_confidence_ratio > 0`,
		`deepaffects_job_speakers > 0`,
		`deepaffects_job_word_gap_seconds{quantile="0.9"} >= 0`,
		`deepaffects_job_speaker_talk_seconds > 0`,
		`deepaffects_quota_limit_requests{window="day"} - deepaffects_quota_used_requests > 0`,
		`rate(deepaffects_api_requests_total{outcome="ok"}[1m]) > 0`,
		`deepaffects_jobs_finished_total{result="lost"} > 0`,
		`deepaffects_exporter_build_info`,
	}
	classic := []string{
		`histogram_quantile(0.9, sum by (le) (rate(deepaffects_job_duration_seconds_bucket[1m]))) > 0`,
		`histogram_quantile(0.5, sum by (le) (rate(deepaffects_word_duration_seconds_bucket[1m]))) > 0`,
	}
	native := []string{
		`histogram_quantile(0.9, sum(rate(deepaffects_job_duration_seconds[1m]))) > 0`,
		`histogram_quantile(0.5, sum(rate(deepaffects_word_duration_seconds[1m]))) > 0`,
	}
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			exporter := freeport.Address(t)
			start(t, binary, "--demo", "--web.listen-address="+exporter)
			if s.native { // testCreatedTimestamps needs ends before the first scrape
				eventually(t, "the first ends", func() (string, bool) {
					metrics, err := get("http://"+exporter+"/metrics", "text/plain")
					return fmt.Sprint(err), err == nil && firstEnds.MatchString(metrics)
				})
			}
			base := prometheus(t, s, exporter, "")
			here, elsewhere := classic, native
			if s.native {
				here, elsewhere = native, classic
			}
			for _, expression := range append(here, both...) {
				eventually(t, expression, func() (string, bool) {
					found, err := query(base, expression)
					return fmt.Sprintf("%d series, %v", len(found), err), len(found) > 0
				})
			}
			for _, expression := range elsewhere {
				if found, err := query(base, expression); err != nil || len(found) > 0 {
					t.Errorf("%s: %d series, %v", expression, len(found), err)
				}
			}
			t.Run("exemplars", func(t *testing.T) { testExemplars(t, base) })
			if s.native {
				t.Run("native histograms", func(t *testing.T) { testNativeHistograms(t, base) })
				t.Run("created timestamps", func(t *testing.T) { testCreatedTimestamps(t, base, exporter) })
			}
		})
	}
}

var firstEnds = regexp.MustCompile(`(?m)^deepaffects_jobs_finished_total\{[^}]*result="completed"[^}]*\} [1-9]`)

// testExemplars checks that durations have exemplars, with their jobs.
func testExemplars(t *testing.T, base string) {
	eventually(t, "exemplars", func() (string, bool) {
		var found []struct {
			Exemplars []struct{ Labels map[string]string }
		}
		err := callAPI(base, "query_exemplars", url.Values{
			"query": {`{__name__=~"deepaffects_job_duration_seconds(_bucket)?"}`},
			"start": {"0"}, "end": {"9999999999"},
		}, &found)
		for _, series := range found {
			for _, exemplar := range series.Exemplars {
				if exemplar.Labels["request_id"] == "" {
					t.Fatalf("an exemplar without a request ID: %v", exemplar)
				}
			}
		}
		return fmt.Sprint(err), len(found) > 0
	})
}

// testNativeHistograms checks that each bucket is at most 10 % wide, and that the buckets
// contain all values.
func testNativeHistograms(t *testing.T, base string) {
	found, err := query(base, `sum(deepaffects_word_duration_seconds)`)
	if err != nil || len(found) != 1 {
		t.Fatalf("%d series, %v", len(found), err)
	}
	histogram, _ := found[0].Histogram[1].(map[string]any)
	number := func(v any) float64 {
		text, _ := v.(string)
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("%v in %v", v, histogram)
		}
		return n
	}
	buckets, _ := histogram["buckets"].([]any)
	if len(buckets) < 20 {
		t.Errorf("%d buckets", len(buckets))
	}
	sum := 0.
	for _, b := range buckets {
		bucket, _ := b.([]any)
		sum += number(bucket[3])
		if low, high := number(bucket[1]), number(bucket[2]); low > 0 && high/low > 1.1 {
			t.Errorf("a bucket from %v to %v", low, high)
		}
	}
	if count := number(histogram["count"]); count == 0 || sum != count {
		t.Errorf("%v values, %v in buckets", count, sum)
	}
}

// testCreatedTimestamps checks that each counter has a sample 0 at its created timestamp.
// Without it, rates would miss the ends before the first scrape.
func testCreatedTimestamps(t *testing.T, base, exporter string) {
	text, err := get("http://"+exporter+"/metrics", "application/openmetrics-text; version=1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	for counter, samples := range map[string]func(series) [][2]any{
		"jobs_finished_total":  func(s series) [][2]any { return s.Values },
		"job_duration_seconds": func(s series) [][2]any { return s.Histograms },
	} {
		name := "deepaffects_" + strings.TrimSuffix(counter, "_total") + "_created"
		match := regexp.MustCompile(`(?m)^` + name + `\{[^}]*result="completed"[^}]*\} (\S+)$`).FindStringSubmatch(text)
		if match == nil {
			t.Fatalf("no %s in OpenMetrics", name)
		}
		created, err := strconv.ParseFloat(match[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		found, err := query(base, `deepaffects_`+counter+`{result="completed"}[1h]`)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", counter, found, err)
		}
		ended := false // before the first scrape, by some API
		for _, series := range found {
			if len(samples(series)) < 2 {
				t.Fatalf("%s: %v", counter, series)
			}
			first, second := samples(series)[0], samples(series)[1]
			if at, _ := first[0].(float64); count(first[1]) != "0" || math.Abs(at-created) > 0.001 {
				t.Errorf("the first sample of %s is %v at %v, not 0 at %v", counter, first[1], first[0], created)
			}
			ended = ended || count(second[1]) != "0"
		}
		if !ended {
			t.Errorf("%s was 0 at the first scrape", counter)
		}
	}
}

// count returns the value of a counter's sample, or the count of a histogram's.
func count(sample any) any {
	if histogram, ok := sample.(map[string]any); ok {
		return histogram["count"]
	}
	return sample
}

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// query asks a Prometheus and returns how many series answer.
func query(base, expression string) (int, error) {
	body, err := get(base+"/api/v1/query?query="+url.QueryEscape(expression), "application/json")
	if err != nil {
		return 0, err
	}
	var answer struct {
		Data struct {
			Result []json.RawMessage `json:"result"`
		} `json:"data"`
	}
	err = json.Unmarshal([]byte(body), &answer)
	return len(answer.Data.Result), err
}

// A real Prometheus scrapes the demo, and the questions of docs/metrics.md and
// more find an answer in it.
func TestPrometheus(t *testing.T) {
	exporter, address := freeAddress(t), freeAddress(t)
	start(t, binary, "--demo", "--web.listen-address="+exporter)
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: deepaffects\n  static_configs: [{targets: [%q]}]\n", exporter)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, debian+"prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--enable-feature=exemplar-storage")
	base := "http://" + address
	for _, expression := range []string{
		`up{job="deepaffects"} == 1`,
		`deepaffects_up == 1`,
		`deepaffects_jobs{state="completed"} > 0`,
		`deepaffects_jobs_finished_total{result="failed"} > 0`,
		`increase(deepaffects_jobs_finished_total{result="failed"}[1m]) > 0`,
		`deepaffects_job_state{state="failed"} == 1`,
		`(deepaffects_job_state{state="failed"} == 1) * on (account, request_id) group_left (api, error_code) deepaffects_job_info{error_code!=""}`,
		`deepaffects_job_confidence_ratio > 0`,
		`deepaffects_job_speakers > 0`,
		`deepaffects_job_word_gap_seconds{quantile="0.9"} >= 0`,
		`deepaffects_job_speaker_talk_seconds > 0`,
		`histogram_quantile(0.9, sum by (le) (rate(deepaffects_job_duration_seconds_bucket[1m]))) > 0`,
		`histogram_quantile(0.5, sum by (le) (rate(deepaffects_word_duration_seconds_bucket[1m]))) > 0`,
		`deepaffects_quota_limit_requests{window="day"} - deepaffects_quota_used_requests > 0`,
		`rate(deepaffects_api_requests_total{outcome="ok"}[1m]) > 0`,
		`deepaffects_jobs_finished_total{result="lost"} > 0`,
		`deepaffects_exporter_build_info`,
	} {
		eventually(t, expression, func() (string, bool) {
			n, err := query(base, expression)
			return fmt.Sprintf("%d series, %v", n, err), err == nil && n > 0
		})
	}
	eventually(t, "exemplars", func() (string, bool) {
		body, err := get(base+"/api/v1/query_exemplars?query=deepaffects_job_duration_seconds_bucket&start=0&end=9999999999", "application/json")
		var answer struct {
			Data []struct {
				Exemplars []struct {
					Labels map[string]string `json:"labels"`
				} `json:"exemplars"`
			} `json:"data"`
		}
		if err == nil {
			err = json.Unmarshal([]byte(body), &answer)
		}
		return fmt.Sprintf("%v %s", err, body), err == nil && len(answer.Data) > 0 && answer.Data[0].Exemplars[0].Labels["request_id"] != ""
	})
}

package exposition_test

import (
	"bytes"
	_ "embed"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/exposition"
)

var update = flag.Bool("update", false, "write docs/metrics.md")

//go:embed testdata/metrics.md.tmpl
var page string

type query struct{ Question, Query string }

var queries = []query{
	{
		"Which jobs failed in the last hour, by error code? (Jobs with series of their own.)",
		`count by (account, error_code) (
  deepaffects_job_info
    and on (account, request_id) deepaffects_job_state{state="failed"} == 1
    and on (account, request_id) deepaffects_job_finished_timestamp_seconds > time() - 3600
)`,
	},
	{
		"How many jobs failed in the last hour? (All jobs.)",
		`sum by (account) (increase(deepaffects_jobs_finished_total{result="failed"}[1h]))`,
	},
	{
		"What share of the jobs that finished in the last day did not complete?",
		`sum by (account) (increase(deepaffects_jobs_finished_total{result!="completed"}[1d]))
  / sum by (account) (increase(deepaffects_jobs_finished_total[1d]))`,
	},
	{
		"What is the 90th percentile of the duration of completed jobs, in seconds?",
		`histogram_quantile(0.9,
  sum by (account, le) (rate(deepaffects_job_duration_seconds_bucket{result="completed"}[1d])))`,
	},
	{
		"How accurate is that? The 90th percentile of the upper bound of the error, in seconds:",
		`histogram_quantile(0.9, sum by (account, le) (rate(deepaffects_job_detection_window_seconds_bucket[1d])))`,
	},
	{
		"How many requests does the quota still allow?",
		`deepaffects_quota_limit_requests - deepaffects_quota_used_requests`,
	},
	{
		"Is the quota too small? The number of jobs that waited for it, on average over the last hour:",
		`avg_over_time(deepaffects_poll_queue_jobs[1h])`,
	},
	{
		"Which jobs have been unfinished for more than an hour?",
		`time() - deepaffects_job_first_seen_timestamp_seconds > 3600
  unless on (account, request_id) deepaffects_job_finished_timestamp_seconds`,
	},
	{
		"What share of the transcripts has a confidence up to 0.7?",
		`sum by (account) (increase(deepaffects_transcript_confidence_ratio_bucket{le="0.7"}[1d]))
  / sum by (account) (increase(deepaffects_transcript_confidence_ratio_count[1d]))`,
	},
	{
		"What share of the requests to the API succeeds? (That it does not know a job is an answer, too.)",
		`sum by (account) (rate(deepaffects_api_requests_total{outcome=~"ok|not_found"}[1h]))
  / sum by (account) (rate(deepaffects_api_requests_total[1h]))`,
	},
}

// docs/metrics.md must be as the catalogue generates it.
func TestDocs(t *testing.T) {
	funcs := template.FuncMap{"kind": kindInDocs, "labels": labelsInDocs}
	var want bytes.Buffer
	err := template.Must(template.New("").Funcs(funcs).Parse(page)).Execute(&want, map[string]any{
		"Queries": queries, "Groups": exposition.Catalogue(),
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "..", "docs", "metrics.md")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want.String()); diff != "" {
		t.Errorf("docs/metrics.md differs from the catalogue; update it with\n"+
			"\tgo generate ./internal/exposition\n(-docs/metrics.md +catalogue):\n%s", diff)
	}
}

func kindInDocs(f exposition.Family) string {
	kind := f.Type
	if f.Exemplars {
		kind += ", *exemplars*"
	}
	switch {
	case f.PerJob && f.Basic:
		kind += ", *job, basic too*"
	case f.PerJob:
		kind += ", *job*"
	}
	return kind
}

func labelsInDocs(f exposition.Family) string {
	var labels []string
	if f.PerJob || f.PerAccount {
		labels = append(labels, "`account`")
	}
	if f.PerJob {
		labels = append(labels, "`request_id`")
	}
	for _, l := range f.Labels {
		meaning := l.Meaning
		if len(l.Values) > 0 {
			meaning = strings.Join(l.Values, ", ")
		}
		labels = append(labels, "`"+l.Name+"` ("+meaning+")")
	}
	if f.JobLabels {
		labels = append(labels, "the `job_labels` of all accounts")
	}
	return strings.Join(labels, ", ")
}

var metricName = regexp.MustCompile(`deepaffects_\w+`)

// The queries may only use metrics of the catalogue.
func TestQueries(t *testing.T) {
	names := make(map[string]bool)
	for _, g := range exposition.Catalogue() {
		for _, f := range g.Families {
			names[f.Name] = true
			if f.Type == "histogram" {
				names[f.Name+"_bucket"], names[f.Name+"_count"], names[f.Name+"_sum"] = true, true, true
			}
		}
	}
	for _, q := range queries {
		for _, name := range metricName.FindAllString(q.Query, -1) {
			if !names[name] {
				t.Errorf("%s: there is no metric %s", q.Question, name)
			}
		}
	}
}

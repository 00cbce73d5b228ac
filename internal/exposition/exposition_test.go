package exposition_test

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/version"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/exposition"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/histogram"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// perJob stands for the series of single jobs.
const perJob = -1

// contract are the metrics that dashboards and alert rules rely on.
var contract = []struct {
	name, kind string
	labels     string // besides account and, for a job's, request_id
	series     int    // of an empty account; perJob: none, since they are those of jobs
}{
	{"job_state", "GAUGE", "state", perJob},
	{"job_info", "GAUGE", "api error_code source", perJob},
	{"job_first_seen_timestamp_seconds", "GAUGE", "", perJob},
	{"job_last_observed_timestamp_seconds", "GAUGE", "", perJob},
	{"job_next_poll_timestamp_seconds", "GAUGE", "", perJob},
	{"job_finished_timestamp_seconds", "GAUGE", "", perJob},
	{"job_expected_finish_timestamp_seconds", "GAUGE", "", perJob},
	{"job_late_after_timestamp_seconds", "GAUGE", "", perJob},
	{"job_confidence_ratio", "GAUGE", "", perJob},
	{"job_speakers", "GAUGE", "", perJob},
	{"job_words", "GAUGE", "", perJob},
	{"job_speech_seconds", "GAUGE", "", perJob},
	{"job_transcript_duration_seconds", "GAUGE", "", perJob},
	{"job_word_confidence_ratio", "SUMMARY", "", perJob},
	{"job_word_duration_seconds", "SUMMARY", "", perJob},
	{"job_word_gap_seconds", "SUMMARY", "", perJob},
	{"job_speaker_talk_seconds", "GAUGE", "speaker", perJob},
	{"jobs", "GAUGE", "state", 5},
	{"oldest_unfinished_job_age_seconds", "GAUGE", "", 1},
	{"jobs_late", "GAUGE", "", 1},
	{"jobs_lateness_max", "GAUGE", "", 1},
	{"jobs_registered_total", "COUNTER", "source", 5},
	{"account_owned", "GAUGE", "", 1},
	{"jobs_finished_total", "COUNTER", "api result", 0},
	{"jobs_evicted_total", "COUNTER", "reason", 2},
	{"job_duration_seconds", "HISTOGRAM", "api result", 0},
	{"job_detection_window_seconds", "HISTOGRAM", "", 1},
	{"unreadable_results_total", "COUNTER", "", 1},
	{"transcript_confidence_ratio", "HISTOGRAM", "api", 0},
	{"word_confidence_ratio", "HISTOGRAM", "", 1},
	{"word_duration_seconds", "HISTOGRAM", "", 1},
	{"word_gap_seconds", "HISTOGRAM", "", 1},
	{"transcript_speech_rate_words_per_second", "HISTOGRAM", "", 1},
	{"transcript_speakers", "HISTOGRAM", "", 1},
	{"dominant_speaker_talk_ratio", "HISTOGRAM", "", 1},
	{"words_total", "COUNTER", "", 1},
	{"speech_seconds_total", "COUNTER", "", 1},
	{"word_overlaps_total", "COUNTER", "", 1},
	{"word_anomalies_total", "COUNTER", "reason", 6},
	{"up", "GAUGE", "", 1},
	{"api_state", "GAUGE", "state", 8},
	{"api_retry_timestamp_seconds", "GAUGE", "", 0},
	{"api_requests_total", "COUNTER", "outcome", 11},
	{"api_request_duration_seconds", "HISTOGRAM", "", 1},
	{"api_unknown_states_total", "COUNTER", "", 1},
	{"api_last_success_timestamp_seconds", "GAUGE", "", 1},
	{"quota_limit_requests", "GAUGE", "window", 2},
	{"quota_used_requests", "GAUGE", "window", 2},
	{"quota_reset_timestamp_seconds", "GAUGE", "window", 2},
	{"quota_left_requests", "GAUGE", "window", 2},
	{"quota_share_ratio", "GAUGE", "", 1},
	{"poll_price_seconds", "GAUGE", "", 1},
	{"forecast_jobs", "GAUGE", "", 1},
	{"forecast_requests_per_job", "GAUGE", "", 1},
	{"poll_queue_jobs", "GAUGE", "", 1},
	{"webhook_requests_total", "COUNTER", "outcome", 8},
	{"webhook_last_received_timestamp_seconds", "GAUGE", "", 1},
	{"source_up", "GAUGE", "source", 5},
	{"source_errors_total", "COUNTER", "source", 5},
	{"source_last_success_timestamp_seconds", "GAUGE", "source", 5},
	{"store_errors_total", "COUNTER", "", 1},
	{"store_writable", "GAUGE", "", 1},
	{"store_corrupt_records_total", "COUNTER", "", 1},
	{"store_size_bytes", "GAUGE", "", 1},
	{"config_last_reload_successful", "GAUGE", "", 1},
	{"config_last_reload_success_timestamp_seconds", "GAUGE", "", 1},
	{"exporter_build_info", "GAUGE", "goversion revision version", 1},
}

// ofProcess are the names without the label account.
var ofProcess = []string{
	"config_last_reload_successful", "config_last_reload_success_timestamp_seconds", "exporter_build_info",
}

// everything returns all metrics of an exporter.
func everything(t testing.TB, snapshots ...collector.Snapshot) gatherer {
	t.Helper()
	process := prometheus.NewPedanticRegistry()
	process.MustRegister(exposition.NewReload(epoch), exposition.BuildInfo())
	return gatherer{exposition.Of(func() []collector.Snapshot { return snapshots }, process)}
}

// gather returns the families by name, without the prefix.
func gather(t testing.TB, g prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	gathered, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families := make(map[string]*dto.MetricFamily)
	for _, f := range gathered {
		name, ok := strings.CutPrefix(f.GetName(), "deepaffects_")
		if !ok {
			t.Errorf("name %q lacks the prefix", f.GetName())
		}
		families[name] = f
	}
	return families
}

func labelsOf(m *dto.Metric) string {
	var names []string
	for _, l := range m.GetLabel() {
		names = append(names, l.GetName())
	}
	return strings.Join(names, " ")
}

func TestContract(t *testing.T) {
	r := newJobs()
	track(t, r, submission.HTTP, submission.Job{RequestID: "a"})
	complete(t, r, "a", 30, conversation())
	track(t, r, submission.HTTP, submission.Job{RequestID: "b"})
	s := snapshot("default", r)
	s.NextPolls = []time.Time{after(90), after(90)}
	s.Finishes = []collector.Finish{{Expected: after(80), LateAfter: after(100)},
		{Expected: after(80), LateAfter: after(100)}}
	s.API.Trouble = &collector.APITrouble{Outcome: jobstatus.Timeout, Until: after(90)}
	families := gather(t, everything(t, s))
	for _, want := range contract {
		f := families[want.name]
		delete(families, want.name)
		if f == nil {
			t.Errorf("%s is missing", want.name)
			continue
		}
		if got := f.GetType().String(); got != want.kind {
			t.Errorf("%s is a %s, want %s", want.name, got, want.kind)
		}
		labels := strings.Fields(want.labels)
		if !slices.Contains(ofProcess, want.name) {
			labels = append(labels, "account")
		}
		if want.series == perJob {
			labels = append(labels, "request_id")
		}
		slices.Sort(labels)
		for _, m := range f.GetMetric() {
			if got := labelsOf(m); got != strings.Join(labels, " ") {
				t.Errorf("%s has the labels %s, want %s", want.name, got, labels)
			}
		}
	}
	if len(families) > 0 {
		t.Errorf("not in the contract: %q", slices.Collect(maps.Keys(families)))
	}
}

// TestFirstScrape checks that all series but those of jobs exist from the first scrape, with
// every value of every closed label, at 0.
func TestFirstScrape(t *testing.T) {
	metrics := everything(t, snapshot("default", newJobs()), snapshot("other", newJobs()))
	families := gather(t, metrics)
	for _, want := range contract {
		series := max(want.series, 0)
		if !slices.Contains(ofProcess, want.name) {
			series *= 2 // accounts
		}
		if got := len(families[want.name].GetMetric()); got != series {
			t.Errorf("%s has %d series, want %d", want.name, got, series)
		}
		if slices.Contains(ofProcess, want.name) ||
			slices.Contains([]string{
				"quota_limit_requests", "quota_left_requests", "store_writable", "api_state", "source_up", "account_owned",
			}, want.name) {
			continue
		}
		for _, m := range families[want.name].GetMetric() {
			if v := m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetHistogram().GetSampleSum(); v != 0 {
				t.Errorf("%s is %v, want 0", want.name, v)
			}
			if n := m.GetHistogram().GetSampleCount(); n != 0 {
				t.Errorf("%s has counted %d, want 0", want.name, n)
			}
		}
	}
	check(t, of(t, snapshot("default", newJobs())), `
		# TYPE deepaffects_account_owned gauge
		deepaffects_account_owned{account="default"} 1
		# TYPE deepaffects_api_requests_total counter
		deepaffects_api_requests_total{account="default",outcome="client_error"} 0
		deepaffects_api_requests_total{account="default",outcome="malformed"} 0
		deepaffects_api_requests_total{account="default",outcome="network"} 0
		deepaffects_api_requests_total{account="default",outcome="not_found"} 0
		deepaffects_api_requests_total{account="default",outcome="ok"} 0
		deepaffects_api_requests_total{account="default",outcome="over_quota"} 0
		deepaffects_api_requests_total{account="default",outcome="rate_limited"} 0
		deepaffects_api_requests_total{account="default",outcome="server_error"} 0
		deepaffects_api_requests_total{account="default",outcome="timeout"} 0
		deepaffects_api_requests_total{account="default",outcome="too_large"} 0
		deepaffects_api_requests_total{account="default",outcome="unauthorized"} 0
		# TYPE deepaffects_api_state gauge
		deepaffects_api_state{account="default",state="no_key"} 0
		deepaffects_api_state{account="default",state="not_asked"} 1
		deepaffects_api_state{account="default",state="ok"} 0
		deepaffects_api_state{account="default",state="over_quota"} 0
		deepaffects_api_state{account="default",state="rate_limited"} 0
		deepaffects_api_state{account="default",state="unauthorized"} 0
		deepaffects_api_state{account="default",state="unavailable"} 0
		deepaffects_api_state{account="default",state="unusable"} 0
		# TYPE deepaffects_jobs gauge
		deepaffects_jobs{account="default",state="completed"} 0
		deepaffects_jobs{account="default",state="failed"} 0
		deepaffects_jobs{account="default",state="lost"} 0
		deepaffects_jobs{account="default",state="pending"} 0
		deepaffects_jobs{account="default",state="running"} 0
		# TYPE deepaffects_jobs_evicted_total counter
		deepaffects_jobs_evicted_total{account="default",reason="limit"} 0
		deepaffects_jobs_evicted_total{account="default",reason="retention"} 0
		# TYPE deepaffects_jobs_registered_total counter
		deepaffects_jobs_registered_total{account="default",source="config"} 0
		deepaffects_jobs_registered_total{account="default",source="file"} 0
		deepaffects_jobs_registered_total{account="default",source="http"} 0
		deepaffects_jobs_registered_total{account="default",source="url"} 0
		deepaffects_jobs_registered_total{account="default",source="webhook"} 0
		# TYPE deepaffects_quota_limit_requests gauge
		deepaffects_quota_limit_requests{account="default",window="day"} 100
		deepaffects_quota_limit_requests{account="default",window="minute"} 5
		# TYPE deepaffects_source_up gauge
		deepaffects_source_up{account="default",source="config"} 1
		deepaffects_source_up{account="default",source="file"} 1
		deepaffects_source_up{account="default",source="http"} 1
		deepaffects_source_up{account="default",source="url"} 1
		deepaffects_source_up{account="default",source="webhook"} 1
		# TYPE deepaffects_webhook_requests_total counter
		deepaffects_webhook_requests_total{account="default",outcome="accepted"} 0
		deepaffects_webhook_requests_total{account="default",outcome="adopted"} 0
		deepaffects_webhook_requests_total{account="default",outcome="duplicate"} 0
		deepaffects_webhook_requests_total{account="default",outcome="malformed"} 0
		deepaffects_webhook_requests_total{account="default",outcome="store_error"} 0
		deepaffects_webhook_requests_total{account="default",outcome="too_large"} 0
		deepaffects_webhook_requests_total{account="default",outcome="unauthorized"} 0
		deepaffects_webhook_requests_total{account="default",outcome="unknown_job"} 0
		# TYPE deepaffects_word_anomalies_total counter
		deepaffects_word_anomalies_total{account="default",reason="confidence_out_of_range"} 0
		deepaffects_word_anomalies_total{account="default",reason="implausible_time"} 0
		deepaffects_word_anomalies_total{account="default",reason="missing_time"} 0
		deepaffects_word_anomalies_total{account="default",reason="negative_duration"} 0
		deepaffects_word_anomalies_total{account="default",reason="out_of_order"} 0
		deepaffects_word_anomalies_total{account="default",reason="speakers_out_of_range"} 0
	`,
		"deepaffects_account_owned", "deepaffects_api_requests_total", "deepaffects_api_state", "deepaffects_jobs",
		"deepaffects_jobs_evicted_total", "deepaffects_jobs_finished_total", "deepaffects_source_up",
		"deepaffects_jobs_registered_total", "deepaffects_quota_limit_requests", "deepaffects_webhook_requests_total",
		"deepaffects_word_anomalies_total")
}

// TestAccount checks that every number of an account is in its own metric.
func TestAccount(t *testing.T) {
	s := snapshot("calls", openJobs(stored{
		`jobs_registered_total{"source":"file"}`: "1", `jobs_registered_total{"source":"url"}`: "2",
		`jobs_finished_total{"result":"completed"}`: "3", `jobs_finished_total{"api":"asr","result":"failed"}`: "4",
		`jobs_finished_total{"result":"lost"}`:     "5",
		`jobs_evicted_total{"reason":"retention"}`: "6", `jobs_evicted_total{"reason":"limit"}`: "7",
		"words_total": "8", "word_overlaps_total": "9", "speech_seconds_total": "10.5",
		`word_anomalies_total{"reason":"negative_duration"}`: "11", `word_anomalies_total{"reason":"out_of_order"}`: "12",
		`word_anomalies_total{"reason":"missing_time"}`:            "13",
		`word_anomalies_total{"reason":"confidence_out_of_range"}`: "14",
		`api_requests_total{"outcome":"ok"}`:                       "15", `api_requests_total{"outcome":"too_large"}`: "16",
		"api_unknown_states_total":                     "17",
		`webhook_requests_total{"outcome":"accepted"}`: "18", `webhook_requests_total{"outcome":"store_error"}`: "19",
		`source_errors_total{"source":"file"}`: "20",
		"store_errors_total":                   "21", "store_corrupt_records_total": "22",
	}))
	s.Counts[jobs.Pending], s.OldestUnfinished = 1, time.Minute
	s.JobMetrics = collector.JobMetricsOff
	s.Due, s.API = 23, collector.APIState{Up: true, LastSuccess: after(24.25)}
	s.Minute = schedule.Usage{Limit: 5, Used: 2.5, Resets: after(26)}
	s.Day = schedule.Usage{Limit: math.Inf(1), Used: 27, Resets: after(28)}
	s.SourceSuccess = map[submission.Source]time.Time{submission.URL: after(29)}
	s.Pricing = schedule.Pricing{Price: 30, Coming: 31, PerJob: 32, Sharing: 33}
	metrics := of(t, s)

	var nonzero []string
	for name, f := range gather(t, metrics) {
		for _, m := range f.GetMetric() {
			if v := m.GetGauge().GetValue() + m.GetCounter().GetValue(); v != 0 {
				for _, l := range m.GetLabel()[1:] {
					name += " " + l.GetValue()
				}
				nonzero = append(nonzero, fmt.Sprint(name, " ", v))
				name = strings.Fields(name)[0]
			}
			if got := m.GetLabel()[0].GetValue(); got != "calls" {
				t.Errorf("%s is of the account %q", name, got)
			}
		}
	}
	slices.Sort(nonzero)
	want := []string{
		"account_owned 1",
		"api_last_success_timestamp_seconds 1.00000002425e+09",
		"api_requests_total ok 15",
		"api_requests_total too_large 16",
		"api_state ok 1",
		"api_unknown_states_total 17",
		"forecast_jobs 31",
		"forecast_requests_per_job 32",
		"jobs pending 1",
		"jobs_evicted_total limit 7",
		"jobs_evicted_total retention 6",
		"jobs_finished_total asr failed 4",
		"jobs_finished_total unknown completed 3",
		"jobs_finished_total unknown lost 5",
		"jobs_registered_total file 1",
		"jobs_registered_total url 2",
		"oldest_unfinished_job_age_seconds 60",
		"poll_price_seconds 30",
		"poll_queue_jobs 23",
		"quota_left_requests day +Inf",
		"quota_left_requests minute 2.5",
		"quota_limit_requests day +Inf",
		"quota_limit_requests minute 5",
		"quota_reset_timestamp_seconds day 1.000000028e+09",
		"quota_reset_timestamp_seconds minute 1.000000026e+09",
		"quota_share_ratio 33",
		"quota_used_requests day 27",
		"quota_used_requests minute 2.5",
		"source_errors_total file 20",
		"source_last_success_timestamp_seconds url 1.000000029e+09",
		"source_up config 1",
		"source_up file 1",
		"source_up http 1",
		"source_up url 1",
		"source_up webhook 1",
		"speech_seconds_total 10.5",
		"store_corrupt_records_total 22",
		"store_errors_total 21",
		"store_writable 1",
		"up 1",
		"webhook_requests_total accepted 18",
		"webhook_requests_total store_error 19",
		"word_anomalies_total confidence_out_of_range 14",
		"word_anomalies_total missing_time 13",
		"word_anomalies_total negative_duration 11",
		"word_anomalies_total out_of_order 12",
		"word_overlaps_total 9",
		"words_total 8",
	}
	if diff := cmp.Diff(want, nonzero); diff != "" {
		t.Errorf("series that are not 0 differ (-want +got):\n%s", diff)
	}
}

// The label api has the APIs of the jobs that were registered, at 0 from then on.
func TestAPIs(t *testing.T) {
	r := newJobs()
	for id, api := range map[string]string{"a": "asr", "b": "", "c": "my_own", "d": "other", "e": "asr"} {
		track(t, r, submission.HTTP, submission.Job{RequestID: id, API: api})
	}
	complete(t, r, "a", 30, conversation())
	observe(t, r, jobs.Observation{RequestID: "c", At: after(40), State: jobs.Failed})
	check(t, of(t, snapshot("default", r)), `
		# TYPE deepaffects_jobs_finished_total counter
		deepaffects_jobs_finished_total{account="default",api="asr",result="completed"} 1
		deepaffects_jobs_finished_total{account="default",api="asr",result="failed"} 0
		deepaffects_jobs_finished_total{account="default",api="asr",result="lost"} 0
		deepaffects_jobs_finished_total{account="default",api="other",result="completed"} 0
		deepaffects_jobs_finished_total{account="default",api="other",result="failed"} 1
		deepaffects_jobs_finished_total{account="default",api="other",result="lost"} 0
		deepaffects_jobs_finished_total{account="default",api="unknown",result="completed"} 0
		deepaffects_jobs_finished_total{account="default",api="unknown",result="failed"} 0
		deepaffects_jobs_finished_total{account="default",api="unknown",result="lost"} 0
	`, "deepaffects_jobs_finished_total")
	families := gather(t, of(t, snapshot("default", r)))
	for name, want := range map[string]int{"job_duration_seconds": 9, "transcript_confidence_ratio": 3} {
		if n := len(families[name].GetMetric()); n != want {
			t.Errorf("%s has %d series, want %d", name, n, want)
		}
	}
}

// The state of the API is the trouble that the page shows.
func TestAPIState(t *testing.T) {
	trouble := func(outcome jobstatus.Outcome) collector.APIState {
		return collector.APIState{Trouble: &collector.APITrouble{Outcome: outcome, Until: after(90)}}
	}
	for _, tt := range []struct {
		api   collector.APIState
		state string
		retry float64
	}{
		{collector.APIState{}, "not_asked", 0},
		{collector.APIState{Up: true}, "ok", 0},
		{collector.APIState{Trouble: &collector.APITrouble{NoKey: true}}, "no_key", 0},
		{trouble(jobstatus.Unauthorized), "unauthorized", 1000000090},
		{trouble(jobstatus.OverQuota), "over_quota", 1000000090},
		{trouble(jobstatus.RateLimited), "rate_limited", 1000000090},
		{trouble(jobstatus.ServerError), "unavailable", 1000000090},
		{trouble(jobstatus.Timeout), "unavailable", 1000000090},
		{trouble(jobstatus.Network), "unavailable", 1000000090},
		{trouble(jobstatus.ClientError), "unusable", 1000000090},
		{trouble(jobstatus.Malformed), "unusable", 1000000090},
		{trouble(jobstatus.TooLarge), "unusable", 1000000090},
		{collector.APIState{Trouble: &collector.APITrouble{Outcome: jobstatus.Timeout, Until: after(60)}}, "unavailable", 0},
	} {
		s := snapshot("default", newJobs())
		s.API = tt.api
		families := gather(t, of(t, s))
		var states []string
		for _, m := range families["api_state"].GetMetric() {
			if m.GetGauge().GetValue() == 1 {
				states = append(states, m.GetLabel()[1].GetValue())
			}
		}
		if !slices.Equal(states, []string{tt.state}) {
			t.Errorf("%+v is %q, want %s", tt.api.Trouble, states, tt.state)
		}
		retry := 0.
		for _, m := range families["api_retry_timestamp_seconds"].GetMetric() {
			retry = m.GetGauge().GetValue()
		}
		if retry != tt.retry {
			t.Errorf("%s: asked again at %f, want %f", tt.state, retry, tt.retry)
		}
	}
}

// A source is down from a failure to the next success.
func TestSourceUp(t *testing.T) {
	s := snapshot("default", newJobs())
	s.SourceSuccess = map[submission.Source]time.Time{submission.File: after(10), submission.URL: after(10)}
	s.SourceProblems = map[submission.Source]collector.SourceProblem{
		submission.File: {At: after(9)}, submission.URL: {At: after(11)}, submission.Config: {At: after(0)},
	}
	check(t, of(t, s), `
		# TYPE deepaffects_source_up gauge
		deepaffects_source_up{account="default",source="config"} 0
		deepaffects_source_up{account="default",source="file"} 1
		deepaffects_source_up{account="default",source="http"} 1
		deepaffects_source_up{account="default",source="url"} 0
		deepaffects_source_up{account="default",source="webhook"} 1
	`, "deepaffects_source_up")
}

// TestHistograms checks that every histogram of the totals is in its own metric.
func TestHistograms(t *testing.T) {
	totals := make(stored)
	add := func(total *jobs.Total, labels string, v float64) {
		h := histogram.New(total.Bounds)
		h.Observe(v)
		value, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		totals[total.Name+labels] = string(value)
	}
	add(jobs.JobDuration, `{"result":"completed"}`, 1)
	add(jobs.JobDuration, `{"api":"asr","result":"failed"}`, 2)
	add(jobs.JobDuration, `{"result":"lost"}`, 3)
	add(jobs.JobDetectionWindow, "", 4)
	add(jobs.TranscriptConfidence, "", 5)
	add(jobs.SpeechRate, "", 6)
	add(jobs.TranscriptSpeakers, "", 7)
	add(jobs.DominantSpeaker, "", 8)
	add(jobs.WordConfidence, "", 9)
	add(jobs.WordDuration, "", 10)
	add(jobs.WordGap, "", 11)
	add(jobs.APIRequestDuration, "", 12)
	s := snapshot("default", openJobs(totals))
	got := make(map[string]float64)
	for name, f := range gather(t, of(t, s)) {
		for _, m := range f.GetMetric() {
			if m.GetHistogram() != nil {
				series := name
				for _, l := range m.GetLabel()[1:] {
					series += " " + l.GetValue()
				}
				if v := m.GetHistogram().GetSampleSum(); v != 0 {
					got[series] = v
				}
			}
		}
	}
	want := map[string]float64{
		"job_duration_seconds unknown completed": 1, "job_duration_seconds asr failed": 2,
		"job_duration_seconds unknown lost": 3, "job_detection_window_seconds": 4,
		"transcript_confidence_ratio unknown": 5, "transcript_speech_rate_words_per_second": 6,
		"transcript_speakers": 7, "dominant_speaker_talk_ratio": 8, "word_confidence_ratio": 9, "word_duration_seconds": 10,
		"word_gap_seconds": 11, "api_request_duration_seconds": 12,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sums differ (-want +got):\n%s", diff)
	}
}

func TestReload(t *testing.T) {
	reload := exposition.NewReload(after(1.5))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(reload)
	for _, test := range []struct {
		name string
		do   func()
		want string
	}{
		{"at the start", func() {}, "1 1.0000000015e+09"},
		{"failed", func() { reload.Done(after(10), false) }, "0 1.0000000015e+09"},
		{"succeeded", func() { reload.Done(after(20), true) }, "1 1.00000002e+09"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.do()
			successful, at, _ := strings.Cut(test.want, " ")
			check(t, registry, `
				# TYPE deepaffects_config_last_reload_success_timestamp_seconds gauge
				deepaffects_config_last_reload_success_timestamp_seconds `+at+`
				# TYPE deepaffects_config_last_reload_successful gauge
				deepaffects_config_last_reload_successful `+successful+`
			`, "deepaffects_config_last_reload_success_timestamp_seconds", "deepaffects_config_last_reload_successful")
		})
	}
}

func TestBuildInfo(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(exposition.BuildInfo())
	check(t, registry, fmt.Sprintf(`
		# TYPE deepaffects_exporter_build_info gauge
		deepaffects_exporter_build_info{goversion=%q,revision=%q,version=%q} 1
	`, version.GoVersion, version.GetRevision(), version.Version), "deepaffects_exporter_build_info")
}

// TestOneSnapshot checks that a scrape takes one snapshot.
func TestOneSnapshot(t *testing.T) {
	taken := 0
	metrics := exposition.Of(func() []collector.Snapshot { taken++; return nil }, prometheus.NewRegistry())
	if taken != 0 {
		t.Errorf("%d snapshots without a scrape", taken)
	}
	if err := metrics.Write(io.Discard, expfmt.FmtText); err != nil || taken != 1 {
		t.Errorf("a scrape took %d snapshots, error %v", taken, err)
	}
}

// TestCollector checks the metrics of a collector.
func TestCollector(t *testing.T) {
	config := collector.DefaultConfig()
	config.APIKey = "key"
	c, err := collector.New([]collector.Config{config}, collector.Options{Now: func() time.Time { return epoch }})
	if err != nil {
		t.Fatal(err)
	}
	account, err := c.Account("")
	if err != nil {
		t.Fatal(err)
	}
	submitted := []submission.Job{{RequestID: "a", API: "asr"}}
	if _, _, err := account.Register(submission.HTTP, submitted); err != nil {
		t.Fatal(err)
	}
	check(t, gatherer{exposition.New(c, prometheus.NewRegistry())}, `
		# TYPE deepaffects_job_info gauge
		deepaffects_job_info{account="default",api="asr",error_code="",request_id="a",source="http"} 1
		# TYPE deepaffects_quota_limit_requests gauge
		deepaffects_quota_limit_requests{account="default",window="day"} 100
		deepaffects_quota_limit_requests{account="default",window="minute"} 5
	`, "deepaffects_job_info", "deepaffects_quota_limit_requests")
}

// TestConcurrentScrapes is for the race detector.
func TestConcurrentScrapes(t *testing.T) {
	r := newJobs("team")
	metrics := gatherer{exposition.Of(func() []collector.Snapshot {
		s := snapshot("default", r)
		s.JobLabels = []string{"team"}
		return []collector.Snapshot{s}
	}, prometheus.NewRegistry())}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				if _, err := metrics.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 50 {
		id := fmt.Sprint("job ", i)
		track(t, r, submission.HTTP, submission.Job{RequestID: id, Labels: map[string]string{"team": "sales"}})
		complete(t, r, id, 30, conversation())
	}
	wg.Wait()
}

// TestLint checks names and help texts with Prometheus' linter, without exceptions.
func TestLint(t *testing.T) {
	r := newJobs()
	track(t, r, submission.HTTP, submission.Job{RequestID: "a"})
	complete(t, r, "a", 30, conversation())
	problems, err := testutil.GatherAndLint(everything(t, snapshot("default", r)))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, g := range exposition.Catalogue() {
		for _, f := range g.Families {
			if !strings.HasSuffix(f.Help, ".") || strings.ContainsAny(f.Help, "\n|") {
				t.Errorf("%s: the help is no sentence: %q", f.Name, f.Help)
			}
			if strings.Contains(f.Name, "_seconds") && !strings.Contains(f.Help, "in seconds") {
				t.Errorf("%s: the help lacks the unit: %q", f.Name, f.Help)
			}
			if strings.HasSuffix(f.Name, "_ratio") && !strings.Contains(f.Help, "from 0 to 1") {
				t.Errorf("%s: the help lacks the range: %q", f.Name, f.Help)
			}
		}
	}
}

package exposition_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// TestJob checks the series of a job in each state.
func TestJob(t *testing.T) {
	for name, test := range map[string]struct {
		live func(*testing.T, *jobs.Jobs)
		want string
	}{
		"pending": {
			func(*testing.T, *jobs.Jobs) {},
			`
			# TYPE deepaffects_job_first_seen_timestamp_seconds gauge
			deepaffects_job_first_seen_timestamp_seconds{account="default",request_id="a"} 1e+09
			# TYPE deepaffects_job_info gauge
			deepaffects_job_info{account="default",api="asr",error_code="",request_id="a",source="file"} 1
			# TYPE deepaffects_job_next_poll_timestamp_seconds gauge
			deepaffects_job_next_poll_timestamp_seconds{account="default",request_id="a"} 1.0000000905e+09
			# TYPE deepaffects_job_state gauge
			deepaffects_job_state{account="default",request_id="a",state="completed"} 0
			deepaffects_job_state{account="default",request_id="a",state="failed"} 0
			deepaffects_job_state{account="default",request_id="a",state="lost"} 0
			deepaffects_job_state{account="default",request_id="a",state="pending"} 1
			deepaffects_job_state{account="default",request_id="a",state="running"} 0
			`,
		},
		"running": {
			func(t *testing.T, r *jobs.Jobs) {
				observe(t, r, jobs.Observation{RequestID: "a", At: after(10.25), State: jobs.Running})
			},
			`
			# TYPE deepaffects_job_expected_finish_timestamp_seconds gauge
			deepaffects_job_expected_finish_timestamp_seconds{account="default",request_id="a"} 1.00000008e+09
			# TYPE deepaffects_job_first_seen_timestamp_seconds gauge
			deepaffects_job_first_seen_timestamp_seconds{account="default",request_id="a"} 1e+09
			# TYPE deepaffects_job_info gauge
			deepaffects_job_info{account="default",api="asr",error_code="",request_id="a",source="file"} 1
			# TYPE deepaffects_job_last_observed_timestamp_seconds gauge
			deepaffects_job_last_observed_timestamp_seconds{account="default",request_id="a"} 1.00000001025e+09
			# TYPE deepaffects_job_late_after_timestamp_seconds gauge
			deepaffects_job_late_after_timestamp_seconds{account="default",request_id="a"} 1.0000001e+09
			# TYPE deepaffects_job_next_poll_timestamp_seconds gauge
			deepaffects_job_next_poll_timestamp_seconds{account="default",request_id="a"} 1.0000000905e+09
			# TYPE deepaffects_job_state gauge
			deepaffects_job_state{account="default",request_id="a",state="completed"} 0
			deepaffects_job_state{account="default",request_id="a",state="failed"} 0
			deepaffects_job_state{account="default",request_id="a",state="lost"} 0
			deepaffects_job_state{account="default",request_id="a",state="pending"} 0
			deepaffects_job_state{account="default",request_id="a",state="running"} 1
			`,
		},
		"failed": {
			func(t *testing.T, r *jobs.Jobs) {
				observe(t, r, jobs.Observation{RequestID: "a", At: after(10), State: jobs.Failed, ErrorCode: "params_invalid"})
			},
			`
			# TYPE deepaffects_job_finished_timestamp_seconds gauge
			deepaffects_job_finished_timestamp_seconds{account="default",request_id="a"} 1.00000001e+09
			# TYPE deepaffects_job_first_seen_timestamp_seconds gauge
			deepaffects_job_first_seen_timestamp_seconds{account="default",request_id="a"} 1e+09
			# TYPE deepaffects_job_info gauge
			deepaffects_job_info{account="default",api="asr",error_code="params_invalid",request_id="a",source="file"} 1
			# TYPE deepaffects_job_last_observed_timestamp_seconds gauge
			deepaffects_job_last_observed_timestamp_seconds{account="default",request_id="a"} 1.00000001e+09
			# TYPE deepaffects_job_state gauge
			deepaffects_job_state{account="default",request_id="a",state="completed"} 0
			deepaffects_job_state{account="default",request_id="a",state="failed"} 1
			deepaffects_job_state{account="default",request_id="a",state="lost"} 0
			deepaffects_job_state{account="default",request_id="a",state="pending"} 0
			deepaffects_job_state{account="default",request_id="a",state="running"} 0
			`,
		},
		"lost": {
			func(t *testing.T, r *jobs.Jobs) {
				observe(t, r, jobs.Observation{RequestID: "a", At: after(9), State: jobs.Missing})
				observe(t, r, jobs.Observation{RequestID: "a", At: after(10), State: jobs.Missing})
			},
			`
			# TYPE deepaffects_job_finished_timestamp_seconds gauge
			deepaffects_job_finished_timestamp_seconds{account="default",request_id="a"} 1.00000001e+09
			# TYPE deepaffects_job_first_seen_timestamp_seconds gauge
			deepaffects_job_first_seen_timestamp_seconds{account="default",request_id="a"} 1e+09
			# TYPE deepaffects_job_info gauge
			deepaffects_job_info{account="default",api="asr",error_code="not_found",request_id="a",source="file"} 1
			# TYPE deepaffects_job_state gauge
			deepaffects_job_state{account="default",request_id="a",state="completed"} 0
			deepaffects_job_state{account="default",request_id="a",state="failed"} 0
			deepaffects_job_state{account="default",request_id="a",state="lost"} 1
			deepaffects_job_state{account="default",request_id="a",state="pending"} 0
			deepaffects_job_state{account="default",request_id="a",state="running"} 0
			`,
		},
		"completed": {
			func(t *testing.T, r *jobs.Jobs) { complete(t, r, "a", 10, conversation()) },
			`
			# TYPE deepaffects_job_confidence_ratio gauge
			deepaffects_job_confidence_ratio{account="default",request_id="a"} 0.875
			# TYPE deepaffects_job_finished_timestamp_seconds gauge
			deepaffects_job_finished_timestamp_seconds{account="default",request_id="a"} 1.00000001e+09
			# TYPE deepaffects_job_first_seen_timestamp_seconds gauge
			deepaffects_job_first_seen_timestamp_seconds{account="default",request_id="a"} 1e+09
			# TYPE deepaffects_job_info gauge
			deepaffects_job_info{account="default",api="asr",error_code="",request_id="a",source="file"} 1
			# TYPE deepaffects_job_last_observed_timestamp_seconds gauge
			deepaffects_job_last_observed_timestamp_seconds{account="default",request_id="a"} 1.00000001e+09
			# TYPE deepaffects_job_speaker_talk_seconds gauge
			deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="0"} 1.25
			deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="1"} 0.75
			# TYPE deepaffects_job_speakers gauge
			deepaffects_job_speakers{account="default",request_id="a"} 2
			# TYPE deepaffects_job_speech_seconds gauge
			deepaffects_job_speech_seconds{account="default",request_id="a"} 2
			# TYPE deepaffects_job_state gauge
			deepaffects_job_state{account="default",request_id="a",state="completed"} 1
			deepaffects_job_state{account="default",request_id="a",state="failed"} 0
			deepaffects_job_state{account="default",request_id="a",state="lost"} 0
			deepaffects_job_state{account="default",request_id="a",state="pending"} 0
			deepaffects_job_state{account="default",request_id="a",state="running"} 0
			# TYPE deepaffects_job_transcript_duration_seconds gauge
			deepaffects_job_transcript_duration_seconds{account="default",request_id="a"} 4
			# TYPE deepaffects_job_word_confidence_ratio summary
			deepaffects_job_word_confidence_ratio{account="default",request_id="a",quantile="0.01"} 0.25
			deepaffects_job_word_confidence_ratio{account="default",request_id="a",quantile="0.1"} 0.25
			deepaffects_job_word_confidence_ratio{account="default",request_id="a",quantile="0.5"} 0.5
			deepaffects_job_word_confidence_ratio_sum{account="default",request_id="a"} 2.5
			deepaffects_job_word_confidence_ratio_count{account="default",request_id="a"} 4
			# TYPE deepaffects_job_word_duration_seconds summary
			deepaffects_job_word_duration_seconds{account="default",request_id="a",quantile="0.5"} 0.5
			deepaffects_job_word_duration_seconds{account="default",request_id="a",quantile="0.9"} 0.75
			deepaffects_job_word_duration_seconds{account="default",request_id="a",quantile="0.99"} 0.75
			deepaffects_job_word_duration_seconds_sum{account="default",request_id="a"} 2
			deepaffects_job_word_duration_seconds_count{account="default",request_id="a"} 4
			# TYPE deepaffects_job_word_gap_seconds summary
			deepaffects_job_word_gap_seconds{account="default",request_id="a",quantile="0.5"} 0.25
			deepaffects_job_word_gap_seconds{account="default",request_id="a",quantile="0.9"} 2
			deepaffects_job_word_gap_seconds{account="default",request_id="a",quantile="0.99"} 2
			deepaffects_job_word_gap_seconds_sum{account="default",request_id="a"} 2.25
			deepaffects_job_word_gap_seconds_count{account="default",request_id="a"} 3
			# TYPE deepaffects_job_words gauge
			deepaffects_job_words{account="default",request_id="a"} 4
			`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newJobs()
			track(t, r, submission.File, submission.Job{RequestID: "a", API: "asr"})
			test.live(t, r)
			s := snapshot("default", r)
			s.NextPolls = []time.Time{after(90.5)} // must not appear once the job has finished
			if name != "pending" {                 // nothing was learnt
				s.Finishes = []collector.Finish{{Expected: after(80), LateAfter: after(100)}}
			}
			check(t, of(t, s), test.want, slices.Concat(ofLives, ofResults)...)
		})
	}
}

// ofLives are the metrics of a job's state and times.
var ofLives = []string{
	"deepaffects_job_state", "deepaffects_job_info", "deepaffects_job_first_seen_timestamp_seconds",
	"deepaffects_job_last_observed_timestamp_seconds", "deepaffects_job_next_poll_timestamp_seconds",
	"deepaffects_job_finished_timestamp_seconds", "deepaffects_job_expected_finish_timestamp_seconds",
	"deepaffects_job_late_after_timestamp_seconds",
}

// ofResults are the metrics of a job's result. That every declared figure is exposed is
// tested in cmd/telegraf-deepaffects.
var ofResults = []string{
	"deepaffects_job_confidence_ratio", "deepaffects_job_speakers", "deepaffects_job_words",
	"deepaffects_job_speech_seconds", "deepaffects_job_transcript_duration_seconds",
	"deepaffects_job_word_confidence_ratio", "deepaffects_job_word_duration_seconds",
	"deepaffects_job_word_gap_seconds", "deepaffects_job_speaker_talk_seconds",
}

// TestAbsent checks that unknown figures are absent, not 0.
func TestAbsent(t *testing.T) {
	for name, test := range map[string]struct {
		result *transcript.Result
		want   string
	}{
		"no result": {nil, ""},
		"only a confidence": {
			accumulate(func(a *transcript.Accumulator) { a.Confidence(.5) }),
			`
			# TYPE deepaffects_job_confidence_ratio gauge
			deepaffects_job_confidence_ratio{account="default",request_id="a"} 0.5
			`,
		},
		"only speakers, none": {
			accumulate(func(a *transcript.Accumulator) { a.Speakers(0) }),
			`
			# TYPE deepaffects_job_speakers gauge
			deepaffects_job_speakers{account="default",request_id="a"} 0
			`,
		},
		"an empty list of words": {
			accumulate(func(a *transcript.Accumulator) { a.WordList() }),
			`
			# TYPE deepaffects_job_speech_seconds gauge
			deepaffects_job_speech_seconds{account="default",request_id="a"} 0
			# TYPE deepaffects_job_words gauge
			deepaffects_job_words{account="default",request_id="a"} 0
			`,
		},
		"one word: no gap": {
			accumulate(func(a *transcript.Accumulator) {
				a.WordList()
				a.Word(transcript.Piece{Start: 1, End: 1.5, Confidence: .5})
			}),
			`
			# TYPE deepaffects_job_confidence_ratio gauge
			deepaffects_job_confidence_ratio{account="default",request_id="a"} 0.5
			# TYPE deepaffects_job_speech_seconds gauge
			deepaffects_job_speech_seconds{account="default",request_id="a"} 0.5
			# TYPE deepaffects_job_transcript_duration_seconds gauge
			deepaffects_job_transcript_duration_seconds{account="default",request_id="a"} 1.5
			# TYPE deepaffects_job_word_confidence_ratio summary
			deepaffects_job_word_confidence_ratio{account="default",request_id="a",quantile="0.01"} 0.5
			deepaffects_job_word_confidence_ratio{account="default",request_id="a",quantile="0.1"} 0.5
			deepaffects_job_word_confidence_ratio{account="default",request_id="a",quantile="0.5"} 0.5
			deepaffects_job_word_confidence_ratio_sum{account="default",request_id="a"} 0.5
			deepaffects_job_word_confidence_ratio_count{account="default",request_id="a"} 1
			# TYPE deepaffects_job_word_duration_seconds summary
			deepaffects_job_word_duration_seconds{account="default",request_id="a",quantile="0.5"} 0.5
			deepaffects_job_word_duration_seconds{account="default",request_id="a",quantile="0.9"} 0.5
			deepaffects_job_word_duration_seconds{account="default",request_id="a",quantile="0.99"} 0.5
			deepaffects_job_word_duration_seconds_sum{account="default",request_id="a"} 0.5
			deepaffects_job_word_duration_seconds_count{account="default",request_id="a"} 1
			# TYPE deepaffects_job_words gauge
			deepaffects_job_words{account="default",request_id="a"} 1
			`,
		},
		"segments": {
			accumulate(func(a *transcript.Accumulator) {
				a.SegmentList()
				a.Segment(transcript.Piece{Start: 0, End: 3, Confidence: 1, Speaker: []byte("x")})
			}),
			`
			# TYPE deepaffects_job_confidence_ratio gauge
			deepaffects_job_confidence_ratio{account="default",request_id="a"} 1
			# TYPE deepaffects_job_speaker_talk_seconds gauge
			deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="0"} 3
			# TYPE deepaffects_job_speakers gauge
			deepaffects_job_speakers{account="default",request_id="a"} 1
			# TYPE deepaffects_job_speech_seconds gauge
			deepaffects_job_speech_seconds{account="default",request_id="a"} 3
			# TYPE deepaffects_job_transcript_duration_seconds gauge
			deepaffects_job_transcript_duration_seconds{account="default",request_id="a"} 3
			`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newJobs()
			track(t, r, submission.File, submission.Job{RequestID: "a"})
			complete(t, r, "a", 10, test.result)
			check(t, of(t, snapshot("default", r)), test.want, ofResults...)
		})
	}
}

func TestManySpeakers(t *testing.T) {
	r := newJobs()
	track(t, r, submission.File, submission.Job{RequestID: "a"})
	complete(t, r, "a", 10, accumulate(func(a *transcript.Accumulator) {
		a.SegmentList()
		for i := range 13 { // of 13, 12 … 1 seconds
			a.Segment(transcript.Piece{Start: 0, End: float64(13 - i), Speaker: fmt.Append(nil, "speaker ", i)})
		}
	}))
	s := snapshot("default", r)
	want := `
		# TYPE deepaffects_job_speaker_talk_seconds gauge
		deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="0"} 13
		deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="1"} 12
		deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="2"} 11
		deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="3"} 10
		deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="4"} 9
		deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="5"} 8
		deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="6"} 7
		deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="7"} 6
		deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="8"} 5
		deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="9"} 4
		deepaffects_job_speaker_talk_seconds{account="default",request_id="a",speaker="other"} 6
	`
	check(t, of(t, s), want, "deepaffects_job_speaker_talk_seconds")
}

// TestJobMetrics checks the series of a finished job for each job_metrics.
func TestJobMetrics(t *testing.T) {
	for option, want := range map[string]string{
		collector.JobMetricsOff: "",
		collector.JobMetricsBasic: `
			# TYPE deepaffects_job_finished_timestamp_seconds gauge
			deepaffects_job_finished_timestamp_seconds{account="default",request_id="a"} 1.00000001e+09
			# TYPE deepaffects_job_first_seen_timestamp_seconds gauge
			deepaffects_job_first_seen_timestamp_seconds{account="default",request_id="a"} 1e+09
			# TYPE deepaffects_job_info gauge
			deepaffects_job_info{account="default",api="unknown",error_code="",request_id="a",source="webhook"} 1
			# TYPE deepaffects_job_last_observed_timestamp_seconds gauge
			deepaffects_job_last_observed_timestamp_seconds{account="default",request_id="a"} 1.00000001e+09
			# TYPE deepaffects_job_state gauge
			deepaffects_job_state{account="default",request_id="a",state="completed"} 1
			deepaffects_job_state{account="default",request_id="a",state="failed"} 0
			deepaffects_job_state{account="default",request_id="a",state="lost"} 0
			deepaffects_job_state{account="default",request_id="a",state="pending"} 0
			deepaffects_job_state{account="default",request_id="a",state="running"} 0
		`,
	} {
		t.Run(option, func(t *testing.T) {
			r := newJobs()
			track(t, r, submission.Webhook, submission.Job{RequestID: "a"})
			complete(t, r, "a", 10, conversation())
			s := snapshot("default", r)
			s.JobMetrics = option
			check(t, of(t, s), want)
			// The metrics over all jobs do not depend on it.
			check(t, of(t, s), `
				# TYPE deepaffects_words_total counter
				deepaffects_words_total{account="default"} 4
			`, "deepaffects_words_total")
		})
	}
}

// TestJobLabels checks that the series of accounts with different job labels have the same
// labels.
func TestJobLabels(t *testing.T) {
	account := func(name string, jobLabels []string, values map[string]string) collector.Snapshot {
		r := newJobs("team", "zone", "agent", "source")
		track(t, r, submission.HTTP, submission.Job{RequestID: "a", Labels: values})
		s := snapshot(name, r)
		s.JobLabels = jobLabels
		return s
	}
	off := account("off", []string{"hidden"}, map[string]string{"hidden": "h"})
	off.JobMetrics = collector.JobMetricsOff
	for name, test := range map[string]struct {
		accounts []collector.Snapshot
		want     string
	}{
		"none": {
			[]collector.Snapshot{account("one", nil, map[string]string{"team": "sales"})},
			`
			# TYPE deepaffects_job_info gauge
			deepaffects_job_info{account="one",api="unknown",error_code="",request_id="a",source="http"} 1
			`,
		},
		"different": {
			[]collector.Snapshot{
				account("one", []string{"zone", "team"}, map[string]string{"team": "sales", "zone": "north"}),
				account("two", []string{"team", "agent"}, map[string]string{"agent": "smith", "zone": "not of this account"}),
				account("three", nil, nil),
				off,
			},
			`
			# TYPE deepaffects_job_info gauge
			deepaffects_job_info{account="one",agent="",api="unknown",error_code="",request_id="a",source="http",team="sales",zone="north"} 1
			deepaffects_job_info{account="three",agent="",api="unknown",error_code="",request_id="a",source="http",team="",zone=""} 1
			deepaffects_job_info{account="two",agent="smith",api="unknown",error_code="",request_id="a",source="http",team="",zone=""} 1
			`,
		},
		"a label that there is already": {
			[]collector.Snapshot{
				account("one", []string{"source", "team", "team"}, map[string]string{"source": "x", "team": "sales"}),
			},
			`
			# TYPE deepaffects_job_info gauge
			deepaffects_job_info{account="one",api="unknown",error_code="",request_id="a",source="http",team="sales"} 1
			`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, of(t, test.accounts...), test.want, "deepaffects_job_info")
		})
	}
	t.Run("a reload changes them", func(t *testing.T) {
		s := account("one", nil, map[string]string{"team": "sales"})
		snapshots := []collector.Snapshot{s}
		metrics := of(t, snapshots...)
		check(t, metrics, `
			# TYPE deepaffects_job_info gauge
			deepaffects_job_info{account="one",api="unknown",error_code="",request_id="a",source="http"} 1
		`, "deepaffects_job_info")
		snapshots[0].JobLabels = []string{"team"}
		check(t, metrics, `
			# TYPE deepaffects_job_info gauge
			deepaffects_job_info{account="one",api="unknown",error_code="",request_id="a",source="http",team="sales"} 1
		`, "deepaffects_job_info")
	})
}

// TestHostile checks that no input breaks the exposition.
func TestHostile(t *testing.T) {
	longest := strings.Repeat("א", submission.MaxRequestIDLength)
	ids := []string{
		`<script>alert("1")</script>`, `back\slash`, `back\nslash`, `"} 1`, `# EOF`, `{a="b"}`, `,`, "…", "é", "e\u0301",
		longest, longest[2:] + "ב",
	}
	r := newJobs("team")
	for _, id := range ids {
		track(t, r, submission.HTTP, submission.Job{RequestID: id, API: "asr", Labels: map[string]string{
			"team": "\"\\\n<b>\xff\xfe\x00\r" + id,
		}})
		complete(t, r, id, 10, conversation())
	}
	s := snapshot("\"account\\\n\xff<", r)
	s.JobLabels = []string{"team"}
	metrics := of(t, s)
	problems, err := testutil.GatherAndLint(metrics)
	if err != nil || len(problems) > 0 {
		t.Errorf("problems %v, error %v", problems, err)
	}
	family := gather(t, metrics)["job_info"]
	got := make(map[string]bool)
	for _, m := range family.GetMetric() {
		for _, l := range m.GetLabel() {
			switch l.GetName() {
			case "account":
				if l.GetValue() != "\"account\\\n\ufffd<" {
					t.Errorf("account %q", l.GetValue())
				}
			case "request_id":
				got[l.GetValue()] = true
			case "team":
				if !strings.HasPrefix(l.GetValue(), "\"\\\n<b>\ufffd\x00\r") {
					t.Errorf("team %q", l.GetValue())
				}
			}
		}
	}
	for _, id := range ids {
		if !got[id] {
			t.Errorf("no series for %q", id)
		}
	}
	// The text is parsed to the original values.
	if info := scrapeText(t, metrics)["deepaffects_job_info"]; len(info.GetMetric()) != len(ids) {
		t.Errorf("%d series are read back, want %d", len(info.GetMetric()), len(ids))
	}
	for _, accept := range []string{openMetrics, protobuf} {
		scrape(t, metrics, accept)
	}
}

// TestDuplicates checks that accounts with the same label are dropped, and do not fail the scrape.
func TestDuplicates(t *testing.T) {
	r := newJobs()
	track(t, r, submission.HTTP, submission.Job{RequestID: "a"})
	s := snapshot("b\xff", r)
	other := snapshot("b\xfe", newJobs())
	check(t, of(t, s, other), `
		# TYPE deepaffects_job_first_seen_timestamp_seconds gauge
		deepaffects_job_first_seen_timestamp_seconds{account="b�",request_id="a"} 1e+09
		# TYPE deepaffects_words_total counter
		deepaffects_words_total{account="b�"} 0
	`, "deepaffects_job_first_seen_timestamp_seconds", "deepaffects_words_total")
}

package exposition

import (
	"cmp"
	"strconv"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

const (
	unknownAPI    = "unknown" // in the label api
	otherSpeakers = "other"   // in the label speaker
)

// The names of results and speakers, by their index in Totals and BySpeaker.
var (
	results  = resultNames()
	speakers = speakerNames()
)

var (
	stateLabel     = closed("state", jobs.States[:]...)
	resultLabel    = closed("result", results[:]...)
	sourceLabel    = closed("source", submission.Sources...)
	evictionLabel  = closed("reason", jobs.Evictions[:]...)
	speakerLabel   = closed("speaker", speakers[:]...)
	apiLabel       = open("api", "that the job was submitted to, `unknown` where nobody said")
	errorCodeLabel = open("error_code", "of a failed job, else empty")
)

func resultNames() (names [len(jobs.Results)]string) {
	for i, s := range jobs.Results {
		names[i] = s.String()
	}
	return names
}

func speakerNames() (names [transcript.MaxSpeakers + 1]string) {
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	names[transcript.MaxSpeakers] = otherSpeakers
	return names
}

// ownJobs are the metrics that each job has.
var ownJobs = []*family{
	{
		name: "job_state", kind: kindGauge, labels: []label{stateLabel}, basic: true,
		help: "1 for the state that the job is in, 0 for the other states.",
		job: func(e *emitter, j *job) {
			for i, name := range jobs.States {
				e.value(truth(j.State == jobs.State(i)), name)
			}
		},
	},
	{
		name: "job_info", kind: kindGauge, labels: []label{apiLabel, errorCodeLabel, sourceLabel}, basic: true, jobLabels: true,
		help: "Always 1; its labels say what is known of the job.",
		job: func(e *emitter, j *job) {
			e.value(1, cmp.Or(j.API, unknownAPI), j.ErrorCode, string(j.Source))
		},
	},
	{
		name: "job_first_seen_timestamp_seconds", kind: kindGauge, basic: true,
		help: "When the job was first heard of, in seconds since 1970.",
		job:  at(func(j *job) time.Time { return j.FirstSeen }),
	},
	{
		name: "job_last_observed_timestamp_seconds", kind: kindGauge, basic: true,
		help: "When the API last answered about the job or a webhook about it came, in seconds since 1970; absent before that.",
		job:  at(func(j *job) time.Time { return j.LastObserved }),
	},
	{
		name: "job_next_poll_timestamp_seconds", kind: kindGauge, basic: true,
		help: "When the unfinished job is due to be asked about if the quota allows, in seconds since 1970; absent once it has finished.",
		job: at(func(j *job) time.Time {
			if j.State.Ended() {
				return time.Time{}
			}
			return j.nextPoll
		}),
	},
	{
		name: "job_finished_timestamp_seconds", kind: kindGauge, basic: true,
		help: "When the end of the job was observed, in seconds since 1970; absent before that.",
		job:  at(func(j *job) time.Time { return j.FinishedAt }),
	},
	{
		name: "job_confidence_ratio", kind: kindGauge,
		help: "Confidence of the job's result, from 0 to 1: its own, else the mean over its words or segments.",
		job:  figure(func(s *transcript.Statistics) float64 { return s.Confidence }),
	},
	{
		name: "job_speakers", kind: kindGauge,
		help: "Number of speakers in the job's result.",
		job:  figure(func(s *transcript.Statistics) float64 { return float64(s.Speakers) }),
	},
	{
		name: "job_words", kind: kindGauge,
		help: "Number of words in the job's transcript.",
		job:  figure(func(s *transcript.Statistics) float64 { return float64(s.Words) }),
	},
	{
		name: "job_speech_seconds", kind: kindGauge,
		help: "Sum of the durations of the words, else of the speech segments, of the job's result, in seconds.",
		job:  figure(func(s *transcript.Statistics) float64 { return s.SpeechSeconds }),
	},
	{
		name: "job_transcript_duration_seconds", kind: kindGauge,
		help: "Last end of a word, else of a segment, of the job's result, in seconds from the beginning of the recording.",
		job:  figure(func(s *transcript.Statistics) float64 { return s.DurationSeconds }),
	},
	{
		name: "job_word_confidence_ratio", kind: kindSummary,
		help: "Confidence of the words of the job, from 0 to 1; the quantiles are exact.",
		job:  distribution(func(s *transcript.Statistics) transcript.Distribution { return s.WordConfidence }),
	},
	{
		name: "job_word_duration_seconds", kind: kindSummary,
		help: "Duration of the words of the job, in seconds; the quantiles are exact.",
		job:  distribution(func(s *transcript.Statistics) transcript.Distribution { return s.WordDuration }),
	},
	{
		name: "job_word_gap_seconds", kind: kindSummary,
		help: "Silence from the end of a word of the job to the start of the next, in seconds, 0 where they overlap; the quantiles are exact.",
		job:  distribution(func(s *transcript.Statistics) transcript.Distribution { return s.WordGap }),
	},
	{
		name: "job_speaker_talk_seconds", kind: kindGauge, labels: []label{speakerLabel},
		help: "Time that each speaker of the job talks, in seconds: speaker 0 talks most; the eleventh and all after it are other.",
		job: func(e *emitter, j *job) {
			if j.Statistics == nil {
				return
			}
			var others float64
			for i, s := range j.Statistics.BySpeaker {
				if i >= transcript.MaxSpeakers {
					others += s.TalkSeconds
				} else {
					e.value(s.TalkSeconds, speakers[i])
				}
			}
			if len(j.Statistics.BySpeaker) > transcript.MaxSpeakers {
				e.value(others, otherSpeakers)
			}
		},
	},
}

// at sends a job's time where it is known.
func at(of func(*job) time.Time) func(*emitter, *job) {
	return func(e *emitter, j *job) {
		if t := of(j); !t.IsZero() {
			e.value(seconds(t))
		}
	}
}

// figure sends a figure of a job's result where the result says it.
func figure(of func(*transcript.Statistics) float64) func(*emitter, *job) {
	return func(e *emitter, j *job) {
		if j.Statistics == nil {
			return
		}
		if v := of(j.Statistics); v >= 0 { // neither NaN nor -1
			e.value(v)
		}
	}
}

// distribution sends a distribution of a job's result.
func distribution(of func(*transcript.Statistics) transcript.Distribution) func(*emitter, *job) {
	return func(e *emitter, j *job) {
		if j.Statistics != nil {
			e.summary(of(j.Statistics))
		}
	}
}

// allJobs are the metrics over all jobs of an account.
var allJobs = []*family{
	{
		name: "jobs", kind: kindGauge, labels: []label{stateLabel},
		help: "Number of jobs in the register now.",
		account: func(e *emitter, s *collector.Snapshot) {
			for i, n := range s.Counts {
				e.value(float64(n), jobs.States[i])
			}
		},
	},
	{
		name: "oldest_unfinished_job_age_seconds", kind: kindGauge,
		help:    "Age of the oldest unfinished job, in seconds; 0 without one.",
		account: func(e *emitter, s *collector.Snapshot) { e.value(s.OldestUnfinished.Seconds()) },
	},
	{
		name: "jobs_registered_total", kind: kindCounter, labels: []label{sourceLabel},
		help: "Number of jobs that tracking began for, by where they were first heard of.",
		account: func(e *emitter, s *collector.Snapshot) {
			for _, source := range submission.Sources {
				e.value(float64(s.Totals.Registered[source]), string(source))
			}
		},
	},
	{
		name: "jobs_finished_total", kind: kindCounter, labels: []label{resultLabel},
		help: "Number of jobs that finished, each counted once, at its first end.",
		account: func(e *emitter, s *collector.Snapshot) {
			for i, n := range s.Totals.Finished {
				e.value(float64(n), results[i])
			}
		},
	},
	{
		name: "jobs_evicted_total", kind: kindCounter, labels: []label{evictionLabel},
		help: "Number of jobs that left the register because their retention was over, or lost their own series to the limit on those.",
		account: func(e *emitter, s *collector.Snapshot) {
			for i, n := range s.Totals.Evicted {
				e.value(float64(n), jobs.Evictions[i])
			}
		},
	},
	{
		name: "job_duration_seconds", kind: kindHistogram, labels: []label{resultLabel}, exemplars: true,
		help: "Time from when the job was submitted, or else first seen, until its end was seen, in seconds; what was observed, not the vendor's figure.",
		account: func(e *emitter, s *collector.Snapshot) {
			for i, h := range s.Totals.JobDuration {
				e.histogram(h, results[i])
			}
		},
	},
	{
		name: "job_detection_window_seconds", kind: kindHistogram,
		help:    "Time from the last look at the job before its end was seen until then, in seconds: the duration may be that much too long.",
		account: func(e *emitter, s *collector.Snapshot) { e.histogram(s.Totals.DetectionWindow) },
	},
}

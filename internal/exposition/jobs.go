package exposition

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

var (
	stateLabel     = closed("state", jobs.States[:]...)
	sourceLabel    = closed("source", submission.Sources...)
	speakerLabel   = closed("speaker", speakerNames()...)
	apiLabel       = open("api", "that the job was submitted to, or `unknown`")
	errorCodeLabel = open("error_code", "of a failed or lost job, else empty")
)

func speakerNames() (names []string) {
	for i := range transcript.MaxSpeakers + 1 {
		names = append(names, transcript.SpeakerName(i))
	}
	return names
}

// ownJobs are the metrics of each job.
var ownJobs = slices.Concat(lifecycle, figures())

// lifecycle are the metrics of each job's state and times.
var lifecycle = []*family{
	{
		name: "job_state", kind: kindGauge, labels: []label{stateLabel}, basic: true,
		help: "1 for the state of the job, 0 for the other states.", touch: touchState,
		job: func(w *series, j *job) {
			for i := range jobs.States {
				w.choose(i)
				w.value(truth(j.State == jobs.State(i)))
			}
		},
	},
	{
		name: "job_info", kind: kindGauge, labels: []label{apiLabel, errorCodeLabel, sourceLabel},
		basic: true, jobLabels: true, touch: func(j *jobs.Job) float64 { return float64(len(j.Labels)) },
		help: "Always 1; the labels describe the job.",
		job: func(w *series, j *job) {
			w.label(cmp.Or(j.API, "unknown"), j.ErrorCode, string(j.Source))
			w.value(1)
		},
	},
	jobTime("job_first_seen_timestamp_seconds",
		"Time when the job was registered, in seconds since 1970.",
		func(j *job) time.Time { return j.FirstSeen }),
	jobTime("job_last_observed_timestamp_seconds",
		"Time of the last response of the API or webhook about the job, in seconds since 1970; absent before "+
			"the first.",
		func(j *job) time.Time { return j.LastObserved }),
	jobTime("job_next_poll_timestamp_seconds",
		"Time of the next poll of the unfinished job, not before the quota allows a request, in seconds since 1970; "+
			"absent once it has finished.",
		func(j *job) time.Time { return j.nextPoll() }),
	jobTime("job_expected_finish_timestamp_seconds",
		"Time by which half of such jobs have finished, in seconds since 1970, by how long the API's jobs took and the "+
			"jobs before it; absent until a job of the API has ended, and once it has finished.",
		func(j *job) time.Time { return j.finish().Expected }),
	jobTime("job_late_after_timestamp_seconds",
		"Time by which nine in ten of such jobs have finished, in seconds since 1970; absent as the expected finish.",
		func(j *job) time.Time { return j.finish().LateAfter }),
	jobTime("job_finished_timestamp_seconds",
		"Time when the end of the job was observed, in seconds since 1970; absent before that.",
		func(j *job) time.Time { return j.FinishedAt }),
}

// jobTime returns the row of a time of a job, which is absent if it is unknown.
func jobTime(name, help string, of func(*job) time.Time) *family {
	return &family{
		name: name, kind: kindGauge, help: help, basic: true, touch: touchState,
		job: func(w *series, j *job) {
			if t := of(j); !t.IsZero() {
				w.value(seconds(t))
			}
		},
	}
}

// figures returns the metrics of each job's result.
func figures() (families []*family) {
	for i := range transcript.Figures {
		if f := &transcript.Figures[i]; f.Metric != "" {
			families = append(families, &family{
				name: f.Metric, kind: kindGauge, help: f.Help, touch: touchResult(f.Value),
				job: ofResult(func(w *series, s *transcript.Statistics) {
					if v := f.Value(s); !math.IsNaN(v) {
						w.value(v)
					}
				}),
			})
		}
	}
	for i := range transcript.WordDistributions {
		d := &transcript.WordDistributions[i]
		families = append(families, &family{
			name: d.Metric, kind: kindSummary, help: d.Help, quantiles: d.Quantiles,
			touch: touchResult(func(s *transcript.Statistics) float64 { return d.Value(s).Sum }),
			job:   ofResult(func(w *series, s *transcript.Statistics) { w.summary(d.Value(s)) }),
		})
	}
	return append(families, &family{
		name: "job_speaker_talk_seconds", kind: kindGauge, labels: []label{speakerLabel},
		help: "Talk time of each speaker of the job, in seconds: speaker 0 talks most; those beyond the tenth " +
			"are other.",
		touch: touchResult(func(s *transcript.Statistics) float64 {
			if len(s.BySpeaker) == 0 {
				return 0
			}
			return s.BySpeaker[0].TalkSeconds
		}),
		job: ofResult(func(w *series, s *transcript.Statistics) {
			for i, speaker := range s.BySpeaker {
				w.choose(min(i, transcript.MaxSpeakers))
				w.value(speaker.TalkSeconds)
			}
		}),
	})
}

// touchState and touchResult are for the rows' touch, and touchAll is for all rows at once.
func touchState(j *jobs.Job) float64 { return float64(j.State) }

func touchAll(j *jobs.Job) float64 {
	v := touchState(j)
	if s := j.Statistics; s != nil {
		v += s.Words + s.WordConfidence.Sum + s.WordDuration.Sum + s.WordGap.Sum
	}
	return v
}

func touchResult(touch func(*transcript.Statistics) float64) func(*jobs.Job) float64 {
	return func(j *jobs.Job) float64 {
		if j.Statistics == nil {
			return 0
		}
		return touch(j.Statistics)
	}
}

// ofResult writes a metric of a job's result, if it has one.
func ofResult(write func(*series, *transcript.Statistics)) func(*series, *job) {
	return func(w *series, j *job) {
		if j.Statistics != nil {
			write(w, j.Statistics)
		}
	}
}

// allJobs are the metrics over all jobs of an account.
var allJobs = []*family{
	{
		name: "jobs", kind: kindGauge, labels: []label{stateLabel},
		help: "Number of jobs in the store now.",
		account: func(e *emitter, s *collector.Snapshot) {
			for i, n := range s.Counts {
				e.value(float64(n), jobs.States[i])
			}
		},
	},
	gauge("oldest_unfinished_job_age_seconds",
		"Age of the oldest unfinished job, in seconds; 0 without one.",
		func(s *collector.Snapshot) float64 { return s.OldestUnfinished.Seconds() }),
	gauge("jobs_late",
		"Number of unfinished jobs that are late: nine in ten of such jobs finish sooner.",
		func(s *collector.Snapshot) float64 { return float64(s.Late.Jobs) }),
	gauge("jobs_lateness_max",
		"Longest time for which an unfinished job was observed unfinished, divided by the time within which nine in ten "+
			"of such jobs finish, or by a minute if that is less; a job above 1 is late. 0 without a job that was observed.",
		func(s *collector.Snapshot) float64 { return s.Late.Longest }),
	everywhere(gauge("account_owned",
		"1 if this process polls the account and keeps its jobs, else 0. Always 1 without database_url.",
		func(s *collector.Snapshot) float64 { return truth(!s.Absent) })),
	total(jobs.JobsRegistered),
	total(jobs.JobsFinished),
	total(jobs.JobsEvicted),
	total(jobs.JobDuration),
	total(jobs.JobDetectionWindow),
}

// transcripts are the metrics over the results of finished jobs.
var transcripts = []*family{
	total(jobs.UnreadableResults),
	total(jobs.TranscriptConfidence),
	total(jobs.WordConfidence),
	total(jobs.WordDuration),
	total(jobs.WordGap),
	total(jobs.SpeechRate),
	total(jobs.TranscriptSpeakers),
	total(jobs.DominantSpeaker),
	total(jobs.Words),
	total(jobs.SpeechSeconds),
	total(jobs.WordOverlaps),
	total(jobs.WordAnomalies),
}

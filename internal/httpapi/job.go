package httpapi

import (
	"math"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// job is the JSON of a job. What is not known is absent.
type job struct {
	RequestID    string            `json:"request_id"`
	Account      string            `json:"account"`
	API          string            `json:"api,omitzero"`
	Source       string            `json:"source"`
	Labels       map[string]string `json:"labels,omitempty"`
	State        string            `json:"state"`
	ErrorCode    string            `json:"error_code,omitzero"`
	FirstSeen    moment            `json:"first_seen,omitzero"`
	SubmittedAt  moment            `json:"submitted_at,omitzero"`
	LastObserved moment            `json:"last_observed,omitzero"`
	FinishedAt   moment            `json:"finished_at,omitzero"`
	NextPoll     moment            `json:"next_poll,omitzero"`
	NextPollWhy  string            `json:"next_poll_why,omitzero"`

	AgeSeconds             float64  `json:"age_seconds"`
	DurationSeconds        *float64 `json:"duration_seconds,omitzero"`
	DetectionWindowSeconds *float64 `json:"detection_window_seconds,omitzero"`
	AudioSeconds           float64  `json:"audio_seconds,omitzero"`

	Statistics *statistics `json:"statistics,omitzero"`
}

// statistics is the JSON of a result's statistics.
type statistics struct {
	Confidence           *float64       `json:"confidence,omitzero"`
	Speakers             *int           `json:"speakers,omitzero"`
	Words                *int           `json:"words,omitzero"`
	SpeechSeconds        *float64       `json:"speech_seconds,omitzero"`
	DurationSeconds      *float64       `json:"duration_seconds,omitzero"`
	SpeechRate           *float64       `json:"speech_rate,omitzero"`
	DominantSpeakerRatio *float64       `json:"dominant_speaker_ratio,omitzero"`
	Overlaps             *int           `json:"overlaps,omitzero"`
	WordConfidence       *distribution  `json:"word_confidence,omitzero"`
	WordDuration         *distribution  `json:"word_duration,omitzero"`
	WordGap              *distribution  `json:"word_gap,omitzero"`
	BySpeaker            []speaker      `json:"by_speaker,omitempty"`
	Anomalies            map[string]int `json:"anomalies"`
}

type distribution struct {
	Count int     `json:"count"`
	Sum   float64 `json:"sum"`
	Min   float64 `json:"min"`
	Max   float64 `json:"max"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
}

type speaker struct {
	TalkSeconds    float64  `json:"talk_seconds"`
	Words          int      `json:"words"`
	Turns          int      `json:"turns"`
	ConfidenceMean *float64 `json:"confidence_mean,omitzero"`
}

// jobOf returns a job's JSON, with its age at a time.
func jobOf(account string, j *jobs.Job, next, now time.Time) job {
	age := j.Age(now).Seconds()
	shown := job{
		RequestID:    j.RequestID,
		Account:      account,
		API:          j.API,
		Source:       string(j.Source),
		Labels:       j.Labels,
		State:        j.State.String(),
		ErrorCode:    j.ErrorCode,
		FirstSeen:    momentOf(j.FirstSeen),
		SubmittedAt:  momentOf(j.SubmittedAt),
		LastObserved: momentOf(j.LastObserved),
		FinishedAt:   momentOf(j.FinishedAt),
		NextPoll:     momentOf(next),
		AgeSeconds:   age,
		AudioSeconds: j.AudioSeconds,
	}
	if j.State.Ended() {
		window := j.DetectionWindow.Seconds()
		shown.DurationSeconds, shown.DetectionWindowSeconds = &age, &window
	}
	if j.Statistics != nil {
		shown.Statistics = statisticsOf(j.Statistics)
	}
	return shown
}

func statisticsOf(s *transcript.Statistics) *statistics {
	shown := &statistics{
		Confidence:           measure(s.Confidence),
		Speakers:             count(s.Speakers),
		Words:                count(s.Words),
		SpeechSeconds:        measure(s.SpeechSeconds),
		DurationSeconds:      measure(s.DurationSeconds),
		SpeechRate:           measure(s.SpeechRate),
		DominantSpeakerRatio: measure(s.DominantSpeakerRatio),
		Overlaps:             count(s.Overlaps),
		WordConfidence:       distributionOf(s.WordConfidence),
		WordDuration:         distributionOf(s.WordDuration),
		WordGap:              distributionOf(s.WordGap),
		Anomalies:            make(map[string]int),
	}
	for _, by := range s.BySpeaker {
		shown.BySpeaker = append(shown.BySpeaker, speaker{by.TalkSeconds, by.Words, by.Turns, measure(by.ConfidenceMean)})
	}
	for i, name := range transcript.Anomalies {
		shown.Anomalies[name] = s.Anomalies[i]
	}
	return shown
}

// distributionOf returns nil for no values: they have no smallest one.
func distributionOf(d transcript.Distribution) *distribution {
	if d.Count == 0 {
		return nil
	}
	return &distribution{d.Count, d.Sum, d.Min, d.Max, d.Mean(), d.P50, d.P90, d.P99}
}

// measure returns nil for what is not known: JSON has no NaN.
func measure(v float64) *float64 {
	if math.IsNaN(v) {
		return nil
	}
	return &v
}

// count returns nil for what is not known.
func count(n int) *int {
	if n < 0 {
		return nil
	}
	return &n
}

// A moment is a time in RFC 3339, to the millisecond; empty where it is not known.
type moment string

// momentOf leaves out a time whose year in UTC RFC 3339 cannot write, such as a
// caller may have sent with an offset.
func momentOf(t time.Time) moment {
	t = t.UTC()
	if t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return ""
	}
	return moment(t.Format("2006-01-02T15:04:05.000Z07:00"))
}

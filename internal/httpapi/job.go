package httpapi

import (
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// job is the JSON of a job. Unknown values are absent.
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
	LastPoll     *lastPoll         `json:"last_poll,omitzero"`
	NextPoll     moment            `json:"next_poll,omitzero"`
	NextPollWhy  string            `json:"next_poll_why,omitzero"`

	// Of an unfinished job: half, and nine in ten, of such jobs have finished by then.
	ExpectedFinish moment `json:"expected_finish,omitzero"`
	LateAfter      moment `json:"late_after,omitzero"`
	Late           bool   `json:"late,omitzero"`

	AgeSeconds             float64  `json:"age_seconds"`
	DurationSeconds        *float64 `json:"duration_seconds,omitzero"`
	DetectionWindowSeconds *float64 `json:"detection_window_seconds,omitzero"`
	AudioSeconds           float64  `json:"audio_seconds,omitzero"`

	Statistics *transcript.Statistics `json:"statistics,omitzero"`
}

// lastPoll is the JSON of the last request about a job.
type lastPoll struct {
	At        moment `json:"at"`
	Outcome   string `json:"outcome"`
	StateWord string `json:"state_word,omitzero"` // one that is not known
	Error     string `json:"error,omitzero"`
}

// jobOf returns a job's JSON, with its age at the time now.
func jobOf(account string, j *jobs.Job, next time.Time, finish schedule.Finish, now time.Time) job {
	age := seconds(j.Age(now))
	shown := job{
		RequestID:    j.RequestID,
		Account:      account,
		API:          j.API,
		Source:       string(j.Source),
		Labels:       j.Labels,
		State:        j.State.String(),
		ErrorCode:    j.ErrorCode,
		FirstSeen:    momentOf(j.FirstSeen),
		SubmittedAt:  momentOf(j.SubmittedAt.Time()),
		LastObserved: momentOf(j.LastObserved),
		FinishedAt:   momentOf(j.FinishedAt),
		NextPoll:     momentOf(next),
		AgeSeconds:   age,
		AudioSeconds: j.AudioSeconds,
		Statistics:   j.Statistics,
	}
	if !j.State.Ended() {
		shown.ExpectedFinish, shown.LateAfter = momentOf(finish.Expected), momentOf(finish.LateAfter)
		shown.Late = finish.IsLate(now)
	}
	if p := j.LastPoll; p != nil {
		shown.LastPoll = &lastPoll{momentOf(p.At), p.Outcome.String(), p.StateWord, p.Detail}
	}
	if j.State.Ended() && j.Started() {
		window := seconds(j.DetectionWindow)
		shown.DurationSeconds, shown.DetectionWindowSeconds = &age, &window
	}
	return shown
}

// seconds returns a time in seconds, to the millisecond: more digits are noise. Duration.Seconds adds the fraction to
// the whole seconds, and the sum is not always the nearest to the decimal number: 2.5709999999999997.
func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}

// A moment is a time in RFC 3339, to the millisecond; empty if unknown.
type moment string

func momentOf(t time.Time) moment {
	t = t.UTC()
	if t.IsZero() {
		return ""
	}
	return moment(t.Format("2006-01-02T15:04:05.000Z07:00"))
}

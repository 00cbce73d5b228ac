package statuspage

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// jobPage is the page at /job.
type jobPage struct {
	Frame   frame
	Account string
	Job     *jobView // nil: not tracked
	JSON    string   // link to all that is known
	Life    []step   // in order of time
	Why     string   // it is asked about when it is; empty: it is not
	Trouble string   // that keeps it from being asked about; empty: none
	Alike   string   // link to the jobs that failed in the same way
	Alert   string   // whose runbook helps; empty: nothing is wrong
	Picture *picture // nil: none is kept

	Distributions []distribution
	Anomalies     []anomaly
}

// step is something that happened to a job, or will.
type step struct {
	What  string
	At    time.Time
	Later time.Duration // than the step before; 0: not known to be
	Class string        // of how it looks
}

// distribution is how a figure is spread over the words.
type distribution struct {
	Name    string
	Figures []figure
}

type figure struct {
	Name    string // as the column
	Value   float64
	Percent bool // else seconds
}

func distributionOf(name string, percent bool, d transcript.Distribution) distribution {
	of := distribution{Name: name}
	for _, f := range []figure{
		{"Least", d.Min, percent}, {"Median", d.P50, percent}, {"90th percentile", d.P90, percent},
		{"99th percentile", d.P99, percent}, {"Most", d.Max, percent}, {"Mean", d.Mean(), percent},
	} {
		if d.Count == 0 {
			f.Value = math.NaN()
		}
		of.Figures = append(of.Figures, f)
	}
	return of
}

type anomaly struct {
	Name  string
	Count int
}

// anomalies name transcript.Anomalies for people.
var anomalies = [len(transcript.Anomalies)]string{
	transcript.NegativeDuration: "Words that end before they begin", transcript.OutOfOrder: "Words out of order",
	transcript.MissingTime: "Words without a time", transcript.ConfidenceOutOfRange: "Confidences out of range",
}

// job shows one job: request_id, of an account that may be left out where there
// is only one.
func (s *site) job(r *http.Request) (any, error) {
	values := r.URL.Query()
	id := values.Get("request_id")
	page := jobPage{Frame: s.frame("Job – DeepAffects jobs", query{})}
	accounts := s.collector.Accounts()
	a, err := collector.Find(accounts, values.Get("account"))
	if err != nil {
		return page, errNotFound
	}
	j, next, known := a.Job(id)
	if !known {
		return page, errNotFound
	}
	to := linksOf(accounts, a)
	view := to.row(j, next, page.Frame.At)
	page.Frame.Title = id + " – DeepAffects jobs"
	page.Account, page.Job, page.JSON = a.Name(), &view, to.json(id)
	page.Life = life(&j, next)
	if reason, waits := a.Explain(id); waits {
		page.Why = inFull(reason)
		if t := a.Snapshot().Trouble; t != nil {
			page.Trouble = troubles[t.Outcome].Text
		}
	}
	switch j.State {
	case jobs.Failed:
		page.Alike, page.Alert = to.failed(j.ErrorCode), "DeepAffectsJobFailed"
	case jobs.Lost:
		page.Alert = "DeepAffectsJobLost"
	}
	page.Picture = draw(a.Marks(id))
	if st := j.Statistics; st != nil {
		page.Distributions = []distribution{
			distributionOf("Confidence", true, st.WordConfidence), distributionOf("Length", false, st.WordDuration), distributionOf("Gap before", false, st.WordGap),
		}
		for i, n := range st.Anomalies {
			if n > 0 {
				page.Anomalies = append(page.Anomalies, anomaly{anomalies[i], n})
			}
		}
	}
	return page, nil
}

// life is what happened to a job and when, and what will.
func life(j *jobs.Job, next time.Time) (steps []step) {
	add := func(what string, at time.Time, class string) {
		if at.IsZero() {
			return
		}
		s := step{What: what, At: at, Class: class}
		if n := len(steps); n > 0 {
			s.Later = max(at.Sub(steps[n-1].At), 0)
		}
		steps = append(steps, s)
	}
	add("Submitted", j.SubmittedAt, "")
	add("Registered", j.FirstSeen, "")
	if !j.State.Ended() {
		add("Last answer", j.LastObserved, "")
		add("Next request", next, "coming")
		return steps
	}
	if j.DetectionWindow > 0 {
		add("Last known to be unfinished", j.FinishedAt.Add(-j.DetectionWindow), "before-end")
	}
	switch j.State {
	case jobs.Completed:
		add("Found completed", j.FinishedAt, "good")
	case jobs.Failed:
		add("Found failed", j.FinishedAt, "bad")
	case jobs.Lost:
		add("Given up", j.FinishedAt, "bad")
	}
	return steps
}

// inFull says why a job is asked about when it is, with what that is worth.
func inFull(r schedule.Reason) string {
	text := why(r)
	text = strings.ToUpper(text[:1]) + text[1:]
	switch {
	case r.UnderWay, r.Held:
		return text + "."
	case r.AtOnce, r.Overdue:
		return text + ". It is asked about as soon as the quota and the API allow."
	}
	worth := fmt.Sprintf("A request about it would save %s of expected delay", delay(r.Worth))
	if r.Worth >= r.Price {
		return fmt.Sprintf("%s. %s; at present one must save %s or more.", text, worth, delay(r.Price))
	}
	return fmt.Sprintf("%s. %s; it is asked about when that is %s.", text, worth, delay(r.Price))
}

package statuspage

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/problems"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// jobPage is the page at /job.
type jobPage struct {
	Frame   frame
	Account string
	Job     *jobView // nil: not tracked
	Invalid string   // what is wrong with the parameters; empty: nothing
	JSON    string   // link to the job as JSON
	Steps   []step   // in order of time
	Why     string   // the reason for the time of its next poll; empty: it is not polled
	Trouble string   // what delays its poll; empty: nothing
	Alike   string   // link to the jobs that failed in the same way
	Alert   string   // whose runbook helps; empty: nothing is wrong

	Figures       []figure
	Distributions []distribution
	Anomalies     []figure
	Conversation  *conversation // nil: its timings are not kept
}

// step is a past or coming event of a job.
type step struct {
	What  string
	At    time.Time
	Later time.Duration // than the step before; 0: unknown
	Class string        // of the style
}

// figure is a labelled number; its text is empty if it is unknown.
type figure struct{ Label, Text string }

// distribution is how a value is distributed over the words of a result.
type distribution struct {
	Label   string
	Figures []figure
}

// setResult sets what is known of a job's result.
func (p *jobPage) setResult(s *transcript.Statistics) {
	for _, f := range transcript.Figures {
		p.Figures = append(p.Figures, figure{f.Label, inUnit(f.Unit, f.Value(s), seconds)})
	}
	hundredths := func(seconds float64) string { return number(seconds) + " s" }
	for _, d := range transcript.WordDistributions {
		row := distribution{Label: d.Label}
		for _, m := range transcript.Measures {
			row.Figures = append(row.Figures, figure{m.Label, inUnit(d.Unit, m.Of(d.Value(s)), hundredths)})
		}
		p.Distributions = append(p.Distributions, row)
	}
	for i, n := range s.Anomalies {
		if n > 0 {
			p.Anomalies = append(p.Anomalies, figure{anomalies[i], humanize.Comma(int64(n))})
		}
	}
}

// inUnit writes a value in its unit, seconds in the way that is given; nothing if it is unknown.
func inUnit(unit transcript.Unit, v float64, seconds func(float64) string) string {
	switch {
	case math.IsNaN(v):
		return ""
	case unit == transcript.Ratio:
		return percent(v)
	case unit == transcript.Seconds:
		return seconds(v)
	}
	return number(v)
}

// anomalies are the labels of transcript.Anomalies.
var anomalies = [len(transcript.Anomalies)]string{
	transcript.NegativeDuration: "Words that end before they start", transcript.OutOfOrder: "Words out of order",
	transcript.MissingTime: "Words without a time", transcript.ConfidenceOutOfRange: "Confidences out of range",
	transcript.ImplausibleTime:    "Times that are not plausible",
	transcript.SpeakersOutOfRange: "Numbers of speakers out of range",
}

// job shows the job request_id of an account, which may be omitted if there is only one.
func (s *site) job(r *http.Request) (any, int) {
	values := r.URL.Query()
	id := values.Get("request_id")
	page := jobPage{Frame: s.frame("Job – DeepAffects jobs")}
	if err := jobs.CheckParameters(values, "request_id", "account"); err != nil {
		page.Invalid = sentence(err)
		return page, http.StatusBadRequest
	}
	accounts := s.collector.Accounts()
	a, err := collector.Find(accounts, values.Get("account"))
	if err != nil {
		page.Invalid = sentence(fmt.Errorf("account: %w", err))
		if values.Get("account") == "" {
			page.Invalid = "Parameter account is missing: " + err.Error() + "."
		}
		return page, http.StatusNotFound
	}
	_ = a.Refresh(r.Context()) // the overview tells the error
	j, next, known := a.Job(id)
	if !known {
		return page, http.StatusNotFound
	}
	to := s.linksOf(accounts, a)
	page.Frame.Title = id + " – DeepAffects jobs"
	page.Frame.Icon = j.State.String()
	page.Account, page.Job = a.Name(), &to.rows(a, page.Frame.At, j)[0]
	page.JSON = to.link("/api/v1/jobs/" + url.PathEscape(id))
	page.Steps = stepsOf(j, next)
	if reason, waits := a.Explain(id); waits {
		why := reason.String()
		page.Why = strings.ToUpper(why[:1]) + why[1:] + "."
		if t := a.API().Trouble; t != nil {
			page.Trouble = problems.OfTrouble(t).Text
		}
	}
	switch j.State {
	case jobs.Failed:
		page.Alike, page.Alert = to.failed(j.ErrorCode), "DeepAffectsJobFailed"
	case jobs.Lost:
		page.Alert = "DeepAffectsJobLost"
	case jobs.Pending, jobs.Running:
		if j.LastPoll != nil && j.LastPoll.UnknownState {
			page.Alert = "DeepAffectsUnknownState"
		}
	}
	page.Conversation = draw(a.Timings(id))
	if j.Statistics != nil {
		page.setResult(j.Statistics)
	}
	return page, http.StatusOK
}

// lost are the reasons why jobs are given up, by error code.
var lost = map[string]string{
	jobs.CodeNotFound:   "the API does not know the request ID",
	jobs.CodeMaxJobAge:  "it was unfinished for longer than max_job_age",
	jobs.CodeUnreadable: "the API's response about it cannot be read",
}

// stepsOf returns what has happened to a job and what is to come.
func stepsOf(j *jobs.Job, next time.Time) (steps []step) {
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
	add("Submitted", j.SubmittedAt.Time(), "")
	add("Registered", j.FirstSeen, "")
	if !j.State.Ended() {
		add("Last response", j.LastObserved, "")
		add("Next poll", next, "coming")
		return steps
	}
	// Without an answer before the end, the window begins with the job: the API never said that it was unfinished.
	if seen := j.FinishedAt.Add(-j.DetectionWindow); j.DetectionWindow > 0 && seen.After(j.Start()) {
		add("Last seen unfinished", seen, "before-end")
	}
	switch j.State {
	case jobs.Completed:
		add("Completion observed", j.FinishedAt, "good")
	case jobs.Failed:
		add("Failure observed", j.FinishedAt, "bad")
	case jobs.Lost:
		what := "Given up"
		if why := lost[j.ErrorCode]; why != "" {
			what += ": " + why
		}
		add(what, j.FinishedAt, "bad")
	}
	return steps
}

package statuspage

import (
	"net/http"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/register"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// jobPage is the page at /job.
type jobPage struct {
	Frame   frame
	Account string
	Job     *jobView // nil: not tracked
	JSON    string   // link to all that is known
	Life    []step   // in order of time
	Picture *picture // nil: none is kept
	Shades  []shade

	Distributions []distribution
	Anomalies     []anomaly
}

// step is something that happened to a job.
type step struct {
	What string
	At   time.Time
}

type distribution struct {
	Name string
	transcript.Distribution
}

type anomaly struct {
	Name  string
	Count int
}

// job shows one job: request_id, of an account that may be left out where there
// is only one.
func (s *site) job(r *http.Request) (any, error) {
	values := r.URL.Query()
	id := values.Get("request_id")
	page := jobPage{Frame: s.frame("Job – DeepAffects jobs", query{}), Shades: shades}
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
	view := waiting(a, to.row(j, next, page.Frame.At))
	page.Frame.Title = id + " – DeepAffects jobs"
	page.Account, page.Job, page.JSON = a.Name(), &view, to.json(id)
	page.Life = life(&j, next)
	page.Picture = draw(a.Marks(id))
	if st := j.Statistics; st != nil {
		page.Distributions = []distribution{{"Confidence", st.WordConfidence}, {"Duration, s", st.WordDuration}, {"Gap before, s", st.WordGap}}
		for i, n := range st.Anomalies {
			if n > 0 {
				page.Anomalies = append(page.Anomalies, anomaly{transcript.Anomalies[i], n})
			}
		}
	}
	return page, nil
}

// life is what happened to a job and when, and what will.
func life(j *register.Job, next time.Time) (steps []step) {
	add := func(what string, at time.Time) {
		if !at.IsZero() {
			steps = append(steps, step{what, at})
		}
	}
	add("Submitted", j.SubmittedAt)
	add("Registered", j.FirstSeen)
	switch {
	case !j.State.Ended():
		add("Last answer", j.LastObserved)
		add("Next request", next)
	case j.DetectionWindow > 0:
		add("Last known to be unfinished", j.FinishedAt.Add(-j.DetectionWindow))
		fallthrough
	default:
		add("Found "+j.State.String(), j.FinishedAt)
	}
	return steps
}

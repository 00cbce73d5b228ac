package statuspage

import (
	"html/template"
	"math"
	"net/http"
	"net/url"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/register"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/registration"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// frame is what is around the content of each page.
type frame struct {
	Title         string
	Style         template.CSS
	Script        template.JS
	At            time.Time
	TelemetryPath string
	Version       string
	Query         query
}

// query is what the search was given.
type query struct {
	Text, Account, State string
	Accounts, States     []string // to choose from
}

// overview is the page at /.
type overview struct {
	Frame    frame
	At       time.Time
	Accounts []account
}

type account struct {
	collector.Snapshot
	States  []stateCount
	Quota   []quota
	Sources []sourceView

	Failed, Unfinished, Completed []jobView
}

// InTrouble says whether the API was asked and did not answer as it should.
// Before the first request there is nothing to say.
func (a account) InTrouble() bool {
	if a.Up {
		return false
	}
	for _, n := range a.Totals.APIRequests {
		if n > 0 {
			return true
		}
	}
	return false
}

// UnfinishedJobs is how many there are, of which the page shows some.
func (a account) UnfinishedJobs() int {
	return a.Counts[register.Pending] + a.Counts[register.Running]
}

type stateCount struct {
	State string
	Jobs  int
	Link  string // to those jobs
}

// quota is one window of the quota.
type quota struct {
	Window string
	schedule.Usage
}

// Unlimited says that there is no limit to measure by.
func (q quota) Unlimited() bool { return math.IsInf(q.Limit, 1) }

// Left is what may still be sent now.
func (q quota) Left() float64 { return max(q.Limit-q.Used, 0) }

// Low is from where on little is left.
func (q quota) Low() float64 { return q.Limit / 2 }

// High is from where on hardly anything is left.
func (q quota) High() float64 { return q.Limit * 0.9 }

type sourceView struct {
	Source      registration.Source
	LastSuccess time.Time
	Errors      uint64
}

// jobView is a job as a row of a table.
type jobView struct {
	register.Job
	Link     string // to all that is known of it
	Took     time.Duration
	NextPoll time.Time
	Why      string // it is asked about then
}

// Bad and Good say how the job has ended.
func (j jobView) Bad() bool  { return isFailed(j.State) }
func (j jobView) Good() bool { return isCompleted(j.State) }

// links are where an account's jobs are found.
type links struct{ account string } // empty: there is only one

func linksOf(accounts []*collector.Account, a *collector.Account) links {
	if len(accounts) > 1 {
		return links{a.Name()}
	}
	return links{}
}

func (l links) values(name, value string) url.Values {
	v := url.Values{name: {value}}
	if l.account != "" {
		v.Set("account", l.account)
	}
	return v
}

func (l links) job(id string) string { return "/job?" + l.values("request_id", id).Encode() }

func (l links) json(id string) string {
	link := "/api/v1/jobs/" + url.PathEscape(id)
	if l.account != "" {
		link += "?account=" + url.QueryEscape(l.account)
	}
	return link
}

// row is a job as a row of a table.
func (l links) row(j register.Job, next, now time.Time) jobView {
	return jobView{Job: j, Link: l.job(j.RequestID), Took: j.Age(now), NextPoll: next}
}

// waiting is the row with why the job is asked about when it is.
func waiting(a *collector.Account, row jobView) jobView {
	if why, waits := a.Explain(row.RequestID); waits {
		row.Why = why.String()
	}
	return row
}

func (s *site) overview(*http.Request) (any, error) {
	accounts := s.collector.Accounts()
	o := overview{Frame: s.frame("DeepAffects jobs", query{})}
	o.At = o.Frame.At
	for _, a := range accounts {
		o.Accounts = append(o.Accounts, viewOf(a, linksOf(accounts, a)))
	}
	return o, nil
}

func viewOf(a *collector.Account, to links) account {
	v := account{Snapshot: a.Snapshot()}
	for i, state := range register.States {
		link := "/jobs?" + to.values("state", state).Encode()
		v.States = append(v.States, stateCount{state, v.Counts[i], link})
	}
	v.Quota = []quota{{"minute", v.Minute}, {"day", v.Day}}
	// The other sources are not looked at: they come by themselves.
	for _, from := range []registration.Source{registration.Config, registration.File, registration.URL} {
		v.Sources = append(v.Sources, sourceView{from, v.SourceSuccess[from], v.Totals.SourceErrors[from]})
	}
	failed, unfinished, completed := choose(a)
	rows := func(ids []string, belongs func(register.State) bool) (rows []jobView) {
		for _, id := range ids {
			// Since it was chosen, a job may have gone on or gone away.
			if job, next, known := a.Job(id); known && belongs(job.State) {
				rows = append(rows, waiting(a, to.row(job, next, v.At)))
			}
		}
		return rows
	}
	v.Failed = rows(failed, isFailed)
	v.Unfinished = rows(unfinished, isUnfinished)
	v.Completed = rows(completed, isCompleted)
	return v
}

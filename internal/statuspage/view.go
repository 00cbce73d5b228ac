package statuspage

import (
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
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
	ErrorCode            string   // of failed jobs; only links ask for it
	Accounts, States     []string // to choose from
}

// overview is the page at /.
type overview struct {
	Frame    frame
	Accounts []account
	Problems int
}

type account struct {
	collector.Snapshot
	Problems []problem
	States   []stateCount
	Quota    []quota
	Sources  []sourceView

	Failures    failures
	Causes      []cause
	OtherCauses int // jobs that failed with other error codes

	Next                          []jobView
	Failed, Unfinished, Completed []jobView
}

// TroubleText says why the API is down, where it is.
func (a account) TroubleText() string {
	return inside(troubles[a.Trouble.Outcome].Text)
}

// inside is a sentence's text as it is within another.
func inside(text string) string { return strings.ToLower(text[:1]) + text[1:] }

// UnfinishedJobs is how many there are, of which the page shows some.
func (a account) UnfinishedJobs() int {
	return a.Counts[jobs.Pending] + a.Counts[jobs.Running]
}

// FailedJobs is how many failed or were lost, of which the page shows some.
func (a account) FailedJobs() int { return a.Counts[jobs.Failed] + a.Counts[jobs.Lost] }

// Empty says that there has been no job yet.
func (a account) Empty() bool { return a.Counts == [len(jobs.States)]int{} }

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

// perMinute is the minute's quota. A fraction of a request is one in a longer time.
func perMinute(u schedule.Usage) quota {
	if u.Limit >= 1 {
		return quota{"minute", u}
	}
	window := duration(time.Duration(float64(time.Minute) / u.Limit))
	return quota{window, schedule.Usage{Limit: 1, Used: math.Round(u.Used / u.Limit), Resets: u.Resets}}
}

// Unlimited says that there is no limit to measure by.
func (q quota) Unlimited() bool { return math.IsInf(q.Limit, 1) }

// Left is what may still be sent now.
func (q quota) Left() float64 { return max(q.Limit-q.Used, 0) }

// Low is from where on little is left.
func (q quota) Low() float64 { return q.Limit / 2 }

// High is from where on hardly anything is left.
func (q quota) High() float64 { return q.Limit * 0.9 }

// sourceView is where request IDs come from.
type sourceView struct {
	Source      submission.Source
	Jobs        int // registered by it, ever
	LastSuccess time.Time
	Errors      int
	Problem     *collector.SourceProblem // the last one; nil: none since the start
	Failing     bool                     // nothing has gone well since that
}

// sourcesOf are the sources that have been of any use, or should have been.
func sourcesOf(s *collector.Snapshot) (views []sourceView) {
	for _, from := range submission.Sources {
		v := sourceView{Source: from, Jobs: int(s.Totals.Registered[from]), LastSuccess: s.SourceSuccess[from], Errors: int(s.Totals.SourceErrors[from])}
		if from == submission.Webhook {
			v.LastSuccess = s.WebhookReceived
		}
		if p, found := s.SourceProblems[from]; found {
			v.Problem, v.Failing = &p, p.At.After(v.LastSuccess)
		}
		// The configuration is always read, whether it names a job or not.
		if v.Jobs > 0 || v.Errors > 0 || from != submission.Config && !v.LastSuccess.IsZero() {
			views = append(views, v)
		}
	}
	return views
}

// jobView is a job as a row of a table.
type jobView struct {
	jobs.Job
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

// failed are the jobs that failed with an error code.
func (l links) failed(code string) string {
	v := l.values("state", jobs.Failed.String())
	v.Set("error_code", code)
	return "/jobs?" + v.Encode()
}

func (l links) json(id string) string {
	link := "/api/v1/jobs/" + url.PathEscape(id)
	if l.account != "" {
		link += "?account=" + url.QueryEscape(l.account)
	}
	return link
}

// row is a job as a row of a table.
func (l links) row(j jobs.Job, next, now time.Time) jobView {
	return jobView{Job: j, Link: l.job(j.RequestID), Took: j.Age(now), NextPoll: next}
}

// why says in a few words why a job is asked about when it is.
func why(r schedule.Reason) string {
	switch {
	case r.UnderWay:
		return "being asked about"
	case r.Held:
		return "the last answer asks to wait, or was of no use"
	case r.AtOnce:
		return "not looked at yet"
	}
	chance := fmt.Sprintf("%.0f %% likely to have ended", 100*r.Chance)
	switch {
	case r.Chance < .005:
		chance = "hardly likely to have ended"
	case r.Chance > .995:
		chance = "almost certain to have ended"
	}
	if r.Overdue || r.Worth >= r.Price {
		return chance
	}
	return chance + ", jobs like it take " + duration(r.Expected)
}

func (s *site) overview(*http.Request) (any, error) {
	accounts := s.collector.Accounts()
	o := overview{Frame: s.frame("DeepAffects jobs", query{})}
	for _, a := range accounts {
		v := viewOf(a, linksOf(accounts, a))
		o.Accounts = append(o.Accounts, v)
		o.Problems += len(v.Problems)
	}
	if o.Problems > 0 {
		o.Frame.Title = fmt.Sprintf("(%d) %s", o.Problems, o.Frame.Title)
	}
	return o, nil
}

func viewOf(a *collector.Account, to links) account {
	v := account{Snapshot: a.Snapshot()}
	for i, state := range jobs.States {
		link := "/jobs?" + to.values("state", state).Encode()
		v.States = append(v.States, stateCount{state, v.Counts[i], link})
	}
	v.Quota = []quota{perMinute(v.Minute), {"day", v.Day}}
	v.Sources = sourcesOf(&v.Snapshot)
	chosen, failures := choose(a, v.At)
	v.Failures = failures
	v.Causes, v.OtherCauses = failures.causes(to)
	v.Problems = problemsOf(&v.Snapshot, v.Sources, failures)
	rows := func(ids []string, belongs func(jobs.State) bool) (rows []jobView) {
		for _, id := range ids {
			// Since it was chosen, a job may have gone on or gone away.
			if job, next, known := a.Job(id); known && belongs(job.State) {
				row := to.row(job, next, v.At)
				if reason, waits := a.Explain(id); waits {
					row.Why = why(reason)
				}
				rows = append(rows, row)
			}
		}
		return rows
	}
	v.Failed = rows(chosen.failed, isFailed)
	v.Unfinished = rows(chosen.unfinished, isUnfinished)
	v.Completed = rows(chosen.completed, isCompleted)
	for _, poll := range a.NextPolls(nextPolls) {
		if job, _, known := a.Job(poll.RequestID); known && isUnfinished(job.State) {
			row := to.row(job, poll.At, v.At)
			row.Why = why(poll.Reason)
			v.Next = append(v.Next, row)
		}
	}
	return v
}

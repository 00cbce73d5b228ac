package statuspage

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/duration"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/problems"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// frame is the data around the content of each page.
type frame struct {
	*site
	Title string
	At    time.Time
	Query *query // of a list; nil: another page
	Icon  string // of the browser's tab: that of a level, or of the state of a job
	Still bool   // it has nothing to update
}

// overview is the page at /.
type overview struct {
	Frame    frame
	Accounts []account
	Reload   *problem // with the reload of the configuration; nil: none
	Problems int
	Invalid  string // why the request is; empty: it is valid
}

type account struct {
	collector.Snapshot
	Condition condition
	Problems  []problem
	States    []group
	LateLink  string // to the late jobs
	Quota     []quota
	Sources   []sourceView
	History   *history

	Overview    jobs.Overview
	Causes      []group
	OtherCauses int // jobs that failed with other error codes

	Next, Failed, Unfinished, Completed []jobView
}

// Paused reports that no request is sent until a known time.
func (a account) Paused() bool { return !a.Condition.Until.IsZero() }

// NoSuccess is what the page says if no request has succeeded since the start.
func (a account) NoSuccess() string {
	if ok, _ := a.Requests(); ok > 0 {
		return "none since the start"
	}
	return "never"
}

// RequestBefore is when the last request was sent, if that was before the start; zero: it was not, or is unknown.
func (a account) RequestBefore() time.Time {
	if a.LastRequest.Before(a.API.Started) && a.API.LastPoll.IsZero() {
		return a.LastRequest
	}
	return time.Time{}
}

// UnfinishedJobs and FailedJobs, which includes lost ones, are all such jobs; the page shows some of them.
func (a account) UnfinishedJobs() int { return a.Counts[jobs.Pending] + a.Counts[jobs.Running] }
func (a account) FailedJobs() int     { return a.Counts[jobs.Failed] + a.Counts[jobs.Lost] }

// Empty reports that there are no jobs.
func (a account) Empty() bool { return a.Counts == [len(jobs.States)]int{} }

// quota is one window of the quota.
type quota struct {
	Window string
	schedule.Usage
}

// perMinute returns the quota per minute. A limit below 1 becomes one request in a longer time.
func perMinute(u schedule.Usage) quota {
	if u.Limit >= 1 {
		return quota{"minute", u}
	}
	window := duration.Text(time.Duration(float64(time.Minute) / u.Limit))
	return quota{window, schedule.Usage{Limit: 1, Used: math.Round(u.Used / u.Limit), Resets: u.Resets}}
}

// Unlimited reports that there is no limit.
func (q quota) Unlimited() bool { return math.IsInf(q.Limit, 1) }

// Left is the number of requests that may be sent now.
func (q quota) Left() float64 { return max(q.Limit-q.Used, 0) }

// Low and High are the usages above which little and almost nothing is left.
func (q quota) Low() float64  { return q.Limit / 2 }
func (q quota) High() float64 { return q.Limit * 0.9 }

// sourceView is a source of request IDs.
type sourceView struct {
	Source      submission.Source
	Jobs        int // registered by it, ever
	LastSuccess time.Time
	Errors      int
	Problem     *collector.SourceProblem // the last one; nil: none since the start
	Failing     bool                     // there was no success since
}

// sourcesOf returns the sources that have been used.
func sourcesOf(s *collector.Snapshot) (views []sourceView) {
	for _, from := range submission.Sources {
		v := sourceView{
			Source: from, LastSuccess: s.SourceSuccess[from],
			Jobs:   int(s.Totals.Counter(jobs.JobsRegistered, string(from))),
			Errors: int(s.Totals.Counter(jobs.SourceErrors, string(from))),
		}
		if from == submission.Webhook {
			v.LastSuccess = s.WebhookReceived
		}
		if p, found := s.SourceProblems[from]; found {
			v.Problem, v.Failing = &p, !s.SourceUp(from)
		}
		// The configuration is always read, even if it lists no job.
		if v.Jobs > 0 || v.Errors > 0 || from != submission.Config && !v.LastSuccess.IsZero() {
			views = append(views, v)
		}
	}
	return views
}

// jobView is a job as a row of a table.
type jobView struct {
	*jobs.Job
	Link     string // to its page
	Took     time.Duration
	NextPoll time.Time
	Why      string // the reason for the time of the next poll
	Finish   collector.Finish
	Late     bool
}

// links makes links to an account's jobs.
type links struct {
	base    string // of the site
	account string // empty if it is the only one
}

func (s *site) linksOf(accounts []*collector.Account, a *collector.Account) links {
	if len(accounts) > 1 {
		return links{s.Base, a.Name()}
	}
	return links{base: s.Base}
}

// link returns a link with parameters: names, each followed by its value. A name may be there several times. It leaves
// out those that are empty.
func (l links) link(path string, parameters ...string) string {
	v := make(url.Values)
	for pair := range slices.Chunk(append(parameters, "account", l.account), 2) {
		if pair[1] != "" {
			v.Add(pair[0], pair[1])
		}
	}
	return strings.TrimSuffix(l.base+path+"?"+v.Encode(), "?")
}

// failed links to the jobs that failed with an error code.
func (l links) failed(code string) string {
	return l.link("/jobs", "state", jobs.Failed.String(), "error_code", code)
}

// rows returns jobs as rows of a table.
func (l links) rows(a *collector.Account, now time.Time, of ...*jobs.Job) (rows []jobView) {
	for _, j := range of {
		row := jobView{Job: j, Link: l.link("/job", "request_id", j.RequestID), Took: j.Age(now)}
		if reason, waits := a.Explain(j.RequestID); waits {
			row.NextPoll, row.Why = reason.At, reason.Short()
			row.Finish, row.Late = reason.Finish, reason.Finish.IsLate(now)
		}
		rows = append(rows, row)
	}
	return rows
}

func (s *site) overview(r *http.Request) (any, int) {
	o := overview{Frame: s.frame("DeepAffects jobs")}
	if err := jobs.CheckParameters(r.URL.Query()); err != nil {
		o.Invalid = sentence(err)
		return o, http.StatusBadRequest
	}
	accounts := s.collector.Accounts()
	for _, a := range accounts {
		_ = a.Refresh(r.Context()) // Read tells the error
		v := viewOf(a, s.linksOf(accounts, a))
		o.Accounts = append(o.Accounts, v)
		o.Problems += len(v.Problems)
		o.Frame.Icon = string(v.level(level(o.Frame.Icon)))
	}
	if s.ReloadError != nil {
		if err := s.ReloadError(); err != nil {
			o.Reload = &problem{problems.Reload(err)}
			o.Problems++
			if l := o.Reload.Level(); l.worse(level(o.Frame.Icon)) {
				o.Frame.Icon = string(l)
			}
		}
	}
	if o.Problems > 0 {
		o.Frame.Title = fmt.Sprintf("(%d) %s", o.Problems, o.Frame.Title)
	}
	return o, http.StatusOK
}

// level returns the worst of a level and what the account's condition and problems have.
func (a account) level(l level) level {
	if a.Condition.Level.worse(l) {
		l = a.Condition.Level
	}
	for _, p := range a.Problems {
		if p.Level().worse(l) {
			l = p.Level()
		}
	}
	return l
}

func viewOf(a *collector.Account, to links) account {
	v := account{Snapshot: a.ReadWithLog()}
	for i, state := range jobs.States {
		v.States = append(v.States, group{state, v.Counts[i], to.link("/jobs", "state", state)})
	}
	v.LateLink = to.link("/jobs", "state", "late")
	v.Quota = []quota{perMinute(v.Minute), {"day", v.Day}}
	v.Sources = sourcesOf(&v.Snapshot)
	v.History = historyOf(a.History(latest), &v.Snapshot)
	v.Overview = a.Overview(v.At.Add(-problems.Window), shown)
	recent := a.Recent()
	v.Causes, v.OtherCauses = causesOf(v.Overview.Codes, to)
	v.Condition = conditionOf(&v.Snapshot)
	v.Problems = problemsOf(&v.Snapshot, &v.Overview, &recent)
	v.Failed = to.rows(a, v.At, v.Overview.Failed...)
	v.Unfinished = to.rows(a, v.At, v.Overview.Unfinished...)
	v.Completed = to.rows(a, v.At, v.Overview.Completed...)
	for _, poll := range a.NextPolls(nextPolls) {
		if j, _, known := a.Job(poll.RequestID); known && !j.State.Ended() {
			v.Next = append(v.Next, to.rows(a, v.At, j)...)
		}
	}
	return v
}

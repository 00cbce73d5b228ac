package statuspage

import (
	"html/template"
	"math"
	"net/url"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/register"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/registration"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// document is what the page shows.
type document struct {
	Style         template.CSS
	At            time.Time
	TelemetryPath string
	Version       string
	Accounts      []account
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
}

func view(c *collector.Collector, telemetryPath, version string) document {
	d := document{Style: template.CSS(style), TelemetryPath: telemetryPath, Version: version}
	accounts := c.Accounts()
	for _, a := range accounts {
		link := func(id string) string { return "/api/v1/jobs/" + url.PathEscape(id) }
		if len(accounts) > 1 {
			link = func(id string) string {
				return "/api/v1/jobs/" + url.PathEscape(id) + "?account=" + url.QueryEscape(a.Name())
			}
		}
		d.Accounts = append(d.Accounts, viewOf(a, link))
		d.At = d.Accounts[0].At
	}
	return d
}

func viewOf(a *collector.Account, link func(id string) string) account {
	v := account{Snapshot: a.Snapshot()}
	for i, state := range register.States {
		v.States = append(v.States, stateCount{state, v.Counts[i]})
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
				rows = append(rows, jobView{Job: job, Link: link(id), Took: job.Age(v.At), NextPoll: next})
			}
		}
		return rows
	}
	v.Failed = rows(failed, isFailed)
	v.Unfinished = rows(unfinished, isUnfinished)
	v.Completed = rows(completed, isCompleted)
	return v
}

package statuspage

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// A problem needs an operator's attention.
type problem struct {
	Text  string
	Code  string    // with which the API refused the last request; empty: none
	Err   error     // as in the log; nil: the text is sufficient
	Last  time.Time // when it last happened; zero: it continues
	Until time.Time // when the next attempt is made; zero: unknown
	Alert string    // the alert that reports it, and whose runbook helps
}

// critical are the alerts of that severity; the others are warnings.
var critical = []string{"DeepAffectsAPIKeyRefused", "DeepAffectsAPIDown", "DeepAffectsStoreFailing"}

// Level is how much attention the problem needs.
func (p problem) Level() level {
	if slices.Contains(critical, p.Alert) {
		return bad
	}
	return warn
}

// troubles are the problems with the API, by the outcome of the last request.
var troubles = [len(jobstatus.Outcomes)]problem{
	jobstatus.Unauthorized: {Text: "The API rejects the API key", Alert: "DeepAffectsAPIKeyRefused"},
	jobstatus.RateLimited:  {Text: "The API rejects requests: too many at once", Alert: "DeepAffectsQuotaRefused"},
	jobstatus.OverQuota:    {Text: "The API reports that the quota is used up", Alert: "DeepAffectsQuotaRefused"},
	jobstatus.ClientError:  {Text: "The API rejects the request", Alert: "DeepAffectsAPIDown"},
	jobstatus.ServerError:  {Text: "The API reports an internal error", Alert: "DeepAffectsAPIDown"},
	jobstatus.Timeout:      {Text: "The API does not respond in time", Alert: "DeepAffectsAPIDown"},
	jobstatus.Network:      {Text: "The API is unreachable", Alert: "DeepAffectsAPIDown"},
	jobstatus.Malformed:    {Text: "The response is not a valid response of the API", Alert: "DeepAffectsAPIDown"},
	jobstatus.TooLarge:     {Text: "The API's response is too large", Alert: "DeepAffectsAPIDown"},
}

// troubleOf returns why the API is not polled, or does not respond as it should.
func troubleOf(t *collector.APITrouble) problem {
	switch {
	case t.NoKey && errors.Is(t.Err, collector.ErrKeyInUse):
		return problem{Text: "The API key is used by another account", Alert: "DeepAffectsAPIKeyRefused"}
	case t.NoKey:
		return problem{Text: "The API key cannot be read", Alert: "DeepAffectsAPIKeyRefused"}
	}
	return troubles[t.Outcome]
}

// problemsOf returns an account's problems, causes before consequences.
func problemsOf(s *collector.Snapshot, sources []sourceView, o *jobs.Overview) (problems []problem) {
	add := func(p problem) { problems = append(problems, p) }
	if s.StoreError != nil {
		add(problem{
			Text: "The store is not writable: registrations and webhooks are rejected, and polling stops, until it is",
			Err:  s.StoreError, Alert: "DeepAffectsStoreFailing",
		})
	}
	if s.ReadError != nil {
		add(problem{
			Text: "The account cannot be read from the database; what is shown may be old",
			Err:  s.ReadError, Alert: "DeepAffectsStoreFailing",
		})
	}
	if t := s.API.Trouble; t != nil {
		p := troubleOf(t)
		p.Code, p.Err, p.Until = t.ErrorCode, t.Err, t.Until
		add(p)
	}
	if s.Day.Used >= s.Day.Limit && s.Due > 0 {
		add(problem{
			Text:  "The daily quota is used up, and " + count(s.Due, "job is due", "jobs are due"),
			Until: s.Day.Resets, Alert: "DeepAffectsDayQuotaRunsOut",
		})
	}
	if s.Backlog.Slow() { // of which a used quota is a part
		alert := "DeepAffectsDayQuotaRunsOut"
		if s.Backlog.PerDay == 0 {
			alert = "DeepAffectsMinuteQuotaTooSmall"
		}
		add(problem{Text: s.Backlog.String(), Alert: alert})
	}
	if n := o.UnknownState; n > 0 {
		text := "The API reports a state that this version does not know"
		if o.StateWord != "" {
			text += ", " + strconv.Quote(o.StateWord) + ","
		}
		add(problem{Text: text + " about " + count(n, "job", "jobs"), Alert: "DeepAffectsUnknownState"})
	}
	for _, v := range sources {
		if v.Failing {
			text := "Request IDs cannot be read from source " + string(v.Source)
			add(problem{Text: text, Err: v.Problem.Err, Alert: "DeepAffectsSourceFailing"})
		}
	}
	recently := func(r jobs.Ends, what, alert string) {
		if r.Jobs > 0 {
			add(problem{Text: count(r.Jobs, "job ", "jobs ") + what + " in the last hour", Last: r.Last, Alert: alert})
		}
	}
	recently(o.RecentlyFailed, "failed", "DeepAffectsJobFailed")
	recently(o.RecentlyLost, "lost", "DeepAffectsJobLost")
	return problems
}

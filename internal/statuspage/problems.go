package statuspage

import (
	"fmt"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// runbooks is where the runbook of an alert begins. It is a link for a person: no
// page needs it.
const runbooks = "https://github.com/deepaffects-monitor/deepaffects-monitor/blob/main/docs/runbooks.md#"

// A problem is what somebody should look at.
type problem struct {
	Text  string
	Err   error     // as the log has it; nil: the text says it all
	Last  time.Time // when it happened last; zero: it goes on
	Until time.Time // when it is tried again; zero: not known
	Alert string    // that tells of it, and whose runbook helps
}

// troubles say whose trouble it is that the API does not answer as it should.
var troubles = [len(jobstatus.Outcomes)]problem{
	jobstatus.OK:           {Text: "The API key cannot be read", Alert: "DeepAffectsAPIKeyRefused"},
	jobstatus.Unauthorized: {Text: "The API refuses our key", Alert: "DeepAffectsAPIKeyRefused"},
	jobstatus.RateLimited:  {Text: "The API refuses our requests as too many at once", Alert: "DeepAffectsQuotaRefused"},
	jobstatus.OverQuota:    {Text: "The API says that our quota is used up", Alert: "DeepAffectsQuotaRefused"},
	jobstatus.ClientError:  {Text: "The API refuses our request", Alert: "DeepAffectsAPIDown"},
	jobstatus.ServerError:  {Text: "The API itself fails", Alert: "DeepAffectsAPIDown"},
	jobstatus.Timeout:      {Text: "The API does not answer in time", Alert: "DeepAffectsAPIDown"},
	jobstatus.Network:      {Text: "The API cannot be reached from here", Alert: "DeepAffectsAPIDown"},
	jobstatus.Malformed:    {Text: "What answers does not answer as the API does", Alert: "DeepAffectsAPIDown"},
	jobstatus.TooLarge:     {Text: "The API's answer is too large", Alert: "DeepAffectsAPIDown"},
}

// problemsOf are an account's, those that explain others first.
func problemsOf(s *collector.Snapshot, sources []sourceView, f failures) (problems []problem) {
	add := func(p problem) { problems = append(problems, p) }
	if s.StoreError != nil {
		add(problem{Text: "The register cannot be written: what comes in is refused, and nothing is asked, until it can", Err: s.StoreError, Alert: "DeepAffectsStoreFailing"})
	}
	if t := s.Trouble; t != nil {
		p := troubles[t.Outcome]
		p.Err, p.Until = t.Err, t.Until
		add(p)
	}
	if s.Day.Used >= s.Day.Limit && s.Due > 0 {
		add(problem{Text: fmt.Sprintf("The day's quota is used up, and %s for it", count(s.Due, "job waits", "jobs wait")), Until: s.Day.Resets, Alert: "DeepAffectsDayQuotaRunsOut"})
	}
	for _, v := range sources {
		if v.Failing {
			add(problem{Text: fmt.Sprintf("Request IDs by %s do not come as they should", v.Source), Err: v.Problem.Err, Alert: "DeepAffectsSourceFailing"})
		}
	}
	if f.Failed.Jobs > 0 {
		add(problem{Text: count(f.Failed.Jobs, "job has", "jobs have") + " failed within the last hour", Last: f.Failed.Last, Alert: "DeepAffectsJobFailed"})
	}
	if f.Lost.Jobs > 0 {
		add(problem{Text: count(f.Lost.Jobs, "job was", "jobs were") + " lost within the last hour", Last: f.Lost.Last, Alert: "DeepAffectsJobLost"})
	}
	return problems
}

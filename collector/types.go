package collector

import (
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/poller"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// The types that a collector shows and takes: a face may be in another module, where
// it cannot import what they are aliases of.
type (
	Job            = jobs.Job
	JobState       = jobs.State
	JobFilter      = jobs.Filter
	JobOrder       = jobs.Order
	JobGroups      = jobs.Groups
	JobHistory     = jobs.History
	StateChange    = jobs.StateChange
	WebhookOutcome = jobs.WebhookOutcome

	JobSource = submission.Source

	APIState   = poller.State
	APITrouble = poller.Trouble

	Usage   = schedule.Usage
	Pricing = schedule.Pricing
	Counted = schedule.Counted
	Poll    = schedule.Poll
	Planned = schedule.Planned
	Reason  = schedule.Reason
	Finish  = schedule.Finish
	Late    = schedule.Late
	Backlog = schedule.Backlog

	Statistics = transcript.Statistics
	Timing     = transcript.Timing
)

// ErrKeyInUse is wrapped by APITrouble.Err if another account polls with the key.
var ErrKeyInUse = poller.ErrKeyInUse

// The states of a job.
const (
	Pending   = jobs.Pending
	Running   = jobs.Running
	Completed = jobs.Completed
	Failed    = jobs.Failed
	Lost      = jobs.Lost
)

// The totals that Telegraf shows, and those that it warns of.
var (
	JobsRegistered  = jobs.JobsRegistered
	JobsFinished    = jobs.JobsFinished
	Words           = jobs.Words
	APIRequests     = jobs.APIRequests
	WebhookRequests = jobs.WebhookRequests

	StateChangesDropped = jobs.StateChangesDropped
	TimingsDropped      = jobs.TimingsDropped
)

// The figures of results, as they are declared for every face.
var (
	Figures           = transcript.Figures
	WordDistributions = transcript.WordDistributions
)

// SpeakerName returns the name of Statistics.BySpeaker[i].
func SpeakerName(i int) string { return transcript.SpeakerName(i) }

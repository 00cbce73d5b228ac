// Package problems finds what needs an operator's attention: the conditions of the alerts, as far as the process itself
// can know them. Alerts wait for a condition to last; here it counts at once.
package problems

import (
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/poller"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A Problem needs an operator's attention.
type Problem struct {
	Text  string
	Code  string    // with which the API refused the last request; empty: none
	Err   error     // as in the log; nil: the text is sufficient
	Last  time.Time // when it last happened; zero: it continues, or that is unknown
	Until time.Time // when the next attempt is made; zero: unknown
	Alert string    // the alert that reports it, and whose runbook helps
}

// critical are the alerts of that severity; the others are warnings.
var critical = map[string]bool{
	"DeepAffectsAPIKeyRefused": true, "DeepAffectsAPIDown": true, "DeepAffectsNothingAsked": true,
	"DeepAffectsFailureRatioHigh": true, "DeepAffectsNothingFinishes": true,
	"DeepAffectsStoreFailing": true, "DeepAffectsAccountUnowned": true,
}

// Critical reports whether the problem needs a person now, as its alert does.
func (p *Problem) Critical() bool { return critical[p.Alert] }

// Severity is that of the alert.
func (p *Problem) Severity() string {
	if p.Critical() {
		return "critical"
	}
	return "warning"
}

// The thresholds of the alerts, as deploy/mixin/config.libsonnet has them.
const (
	failureRatio     = 0.25
	failureCount     = 5
	stuckFactor      = 3
	lateShare        = 0.5
	lateJobs         = 5
	lateOfUnfinished = 0.25
	confidenceDrop   = 0.1
	scarceSeconds    = 3600
	exhaustedSeconds = 21600
	roundHours       = 1
)

// Reload returns the problem that the last reload of the configuration failed.
func Reload(err error) Problem {
	return Problem{
		Text: "The configuration could not be reloaded; the previous one is used",
		Err:  err, Alert: "DeepAffectsConfigReloadFailed",
	}
}

// troubles are the problems with the API, by the outcome of the last request.
var troubles = [len(jobstatus.Outcomes)]Problem{
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

// OfTrouble returns why the API is not polled, or does not respond as it should.
func OfTrouble(t *collector.APITrouble) Problem {
	p := troubles[t.Outcome]
	switch {
	case t.NoKey && errors.Is(t.Err, collector.ErrKeyInUse):
		p = Problem{Text: "The API key is used by another account", Alert: "DeepAffectsAPIKeyRefused"}
	case t.NoKey:
		p = Problem{Text: "The API key cannot be read", Alert: "DeepAffectsAPIKeyRefused"}
	}
	p.Code, p.Err, p.Until = t.ErrorCode, t.Err, t.Until
	return p
}

// Window is the time of which Of needs the overview.
const Window = time.Hour

// Of returns an account's problems, causes before consequences. Two facts about one cause are one problem.
func Of(s *collector.Snapshot, o *jobs.Overview, r *jobs.Recent) []Problem {
	f := finder{s: s}
	f.store(r)
	f.api(r)
	f.quota()
	f.sources()
	f.webhooks(r)
	f.ends(o, r)
	return f.found
}

// A finder finds the problems of an account.
type finder struct {
	s     *collector.Snapshot
	found []Problem
}

func (f *finder) add(p Problem) { f.found = append(f.found, p) }

func (f *finder) addIf(is bool, alert, text string) {
	if is {
		f.add(Problem{Text: text, Alert: alert})
	}
}

func (f *finder) store(r *jobs.Recent) {
	if err := f.s.StoreError; err != nil {
		f.add(Problem{
			Text: "The store is not writable: registrations and webhooks are rejected, and polling stops, until it is",
			Err:  err, Alert: "DeepAffectsStoreFailing",
		})
	}
	if err := f.s.ReadError; err != nil {
		f.add(Problem{
			Text: "The account cannot be read from the database; what is shown may be old",
			Err:  err, Alert: "DeepAffectsStoreFailing",
		})
	}
	f.addIf(r.CorruptRecords > 0, "DeepAffectsStoreDamaged",
		count(r.CorruptRecords, "stored record was", "stored records were")+" damaged and left out in the last hour")
	known := f.s.StoreError == nil && f.s.ReadError == nil
	f.addIf(known && f.s.Absent && f.s.Owner.ID == "", "DeepAffectsAccountUnowned",
		"No replica owns the account: it is not polled until one takes it over")
}

func (f *finder) api(r *jobs.Recent) {
	s, c := f.s, f.s.API.Condition()
	unfinished := s.Counts[jobs.Pending] + s.Counts[jobs.Running]
	t := s.API.Trouble
	// No request follows the last response, however old it is, without an unfinished job, nor when the day's quota is
	// used up: then it counts if the trouble was no news to it. The key is read nevertheless.
	current := c == poller.NoKey || t != nil && unfinished > 0 &&
		(s.Day.Used < s.Day.Limit || t.Lasted >= 5*time.Minute && s.At.Sub(s.API.LastPoll) < 6*time.Hour)
	if current {
		f.add(OfTrouble(t))
	}
	// Without an unfinished job they are lost already, which is another problem.
	f.addIf(s.API.Unknown > 0 && unfinished > 0, "DeepAffectsJobLost", "The API knew none of the jobs of the last "+
		count(float64(s.API.Unknown), "request", "requests")+": check url and the request IDs; "+
		"if it stays so, the jobs are lost after not_found_grace")
	known := current && (c == poller.RateLimited || c == poller.OverQuota)
	f.addIf(r.RateLimited >= 3 && !known, "DeepAffectsQuotaRefused",
		"The API rejected "+count(r.RateLimited, "request", "requests")+" in the last hour: too many at once")
	asked := s.API.LastPoll
	if asked.Before(s.API.Started) {
		asked = s.API.Started
	}
	hangs := !s.Absent && s.StoreError == nil && (c == poller.OK || c == poller.NotAsked) && s.Due > 0 &&
		s.Minute.Used < s.Minute.Limit && s.Day.Used < s.Day.Limit && s.Pricing.Price <= scarceSeconds &&
		s.At.Sub(asked) > 30*time.Minute
	f.addIf(hangs, "DeepAffectsNothingAsked", "No request was sent for more than 30 minutes, although "+
		count(float64(s.Due), "job is", "jobs are")+" due and there is quota")
}

func (f *finder) quota() {
	s := f.s
	used := s.Day.Used >= s.Day.Limit
	if used && s.Due > 0 {
		f.add(Problem{
			Text:  "The daily quota is used up, and " + count(float64(s.Due), "job is", "jobs are") + " due",
			Until: s.Day.Resets, Alert: "DeepAffectsDayQuotaRunsOut",
		})
	}
	price, takes := s.Pricing.Price, float64(s.Due)/s.Minute.Limit/60 // hours, by the minute's quota
	switch {
	case s.Backlog.Slow() && s.Backlog.PerDay > 0: // of which a used quota is a part
		f.addIf(true, "DeepAffectsDayQuotaRunsOut", s.Backlog.String())
	case used && s.Due > 0:
	case price > exhaustedSeconds:
		f.addIf(true, "DeepAffectsDayQuotaRunsOut", "The daily quota is expected to be used up for hours before it resets")
	case price > scarceSeconds:
		f.addIf(s.Due > 0, "DeepAffectsDayQuotaRunsOut",
			count(float64(s.Due), "due job waits", "due jobs wait")+" for the daily quota")
	case s.Backlog.Slow(), takes > roundHours && !used:
		f.addIf(true, "DeepAffectsMinuteQuotaTooSmall", s.Backlog.String())
	}
}

func (f *finder) sources() {
	for _, from := range submission.Sources {
		p, found := f.s.SourceProblems[from]
		switch {
		case !found:
		case !f.s.SourceUp(from):
			text := "Request IDs cannot be read from source " + string(from)
			f.add(Problem{Text: text, Err: p.Err, Alert: "DeepAffectsSourceFailing"})
		case from == submission.File && f.s.At.Sub(p.At) < 15*time.Minute:
			f.add(Problem{
				Text: "Source file had errors in the last 15 minutes", Err: p.Err, Last: p.At, Alert: "DeepAffectsSourceFailing",
			})
		}
	}
}

func (f *finder) webhooks(r *jobs.Recent) {
	f.addIf(r.Webhooks == 0 && r.WebhooksBefore >= 10 && r.Ended >= 10, "DeepAffectsWebhooksStopped",
		"No webhook arrived in the last 6 hours, and "+count(r.WebhooksBefore, "webhook", "webhooks")+" in the day before")
}

// ends finds problems with jobs.
func (f *finder) ends(o *jobs.Overview, r *jobs.Recent) {
	if n := o.UnknownState; n > 0 {
		text := "The API reports a state that this version does not know"
		if o.StateWord != "" {
			text += ", " + strconv.Quote(o.StateWord) + ","
		}
		f.add(Problem{Text: text + " about " + count(float64(n), "job", "jobs"), Alert: "DeepAffectsUnknownState"})
	}
	f.addIf(r.UnreadableResults > 0, "DeepAffectsResultsUnreadable", count(r.UnreadableResults, "job", "jobs")+
		" ended without statistics in the last hour, because the API's response stayed unreadable")
	s, late := f.s, f.s.Late
	scarce := s.Pricing.Price > scarceSeconds
	f.addIf(r.Stalled && !(scarce && r.Polls < 3), "DeepAffectsNothingFinishes",
		"No job ended in the last 3 hours, although jobs are unfinished")
	f.addIf(late.Longest > stuckFactor, "DeepAffectsJobStuck", "A job is unfinished after "+
		humanize.FtoaWithDigits(late.Longest, 1)+" times the time within which nine in ten similar jobs finish")
	unfinished := float64(s.Counts[jobs.Pending] + s.Counts[jobs.Running])
	n := float64(late.Jobs)
	f.addIf(n > lateShare*unfinished && n >= lateJobs && n > lateOfUnfinished*r.Unfinished && s.API.Up &&
		!scarce, "DeepAffectsJobsSlow",
		count(n, "job is", "jobs are")+" late, of "+humanize.Comma(int64(unfinished))+" that are unfinished")
	if drop := r.LongConfidence - r.Confidence; drop > confidenceDrop && r.Confidences >= 10 {
		f.add(Problem{
			Text: "The mean confidence of results of the last 6 hours, " + ratio(r.Confidence) +
				", is below that of the days before, " + ratio(r.LongConfidence),
			Alert: "DeepAffectsConfidenceFell",
		})
	}

	failed := o.RecentlyFailed.Jobs
	all := o.RecentlyCompleted.Jobs + failed + o.RecentlyLost.Jobs
	if failed >= failureCount && float64(failed) > failureRatio*float64(all) {
		text := humanize.Comma(int64(failed)) + " of " + count(float64(all), "job", "jobs") +
			" that ended in the last hour failed"
		f.add(Problem{Text: text, Last: o.RecentlyFailed.Last, Alert: "DeepAffectsFailureRatioHigh"})
	} else {
		f.recently(o.RecentlyFailed, "failed", "DeepAffectsJobFailed")
	}
	f.recently(o.RecentlyLost, "lost", "DeepAffectsJobLost")
}

func (f *finder) recently(r jobs.Ends, what, alert string) {
	if r.Jobs > 0 {
		f.add(Problem{
			Text: count(float64(r.Jobs), "job ", "jobs ") + what + " in the last hour", Last: r.Last, Alert: alert,
		})
	}
}

// count formats a number of things.
func count(n float64, one, more string) string {
	return humanize.Comma(int64(math.Round(n))) + " " + english.PluralWord(int(math.Round(n)), one, more)
}

func ratio(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

package collector

import (
	"context"
	"log/slog"
	"math"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/poller"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// trialShare is the share of a day's quota that is spent on polling new jobs at once, less what was used
// before: a user who tries the monitor sees that it works, and that the key is right.
const trialShare = 1. / 20

// A subscriber applies what happens to jobs to the scheduler, and logs it.
type subscriber struct {
	schedule *schedule.Scheduler
	poller   *poller.Poller
	log      *slog.Logger
	// trials is the number of new jobs that are still polled at once; 0 without a quota for the day, which
	// needs none. Only restore and apply use it: jobs.Jobs calls apply from one goroutine at a time.
	trials int
}

// restore lets the scheduler know of the jobs that are unfinished at start. If the clock was set, a job may have begun
// at any time: it is polled soon, and the scheduler learns nothing from it. Nor does it from the jobs of sources that
// may have been read for the first time when they were registered, which is not stored.
func (sub *subscriber) restore(j *jobs.Jobs, now time.Time) {
	if day := sub.schedule.View(now, nil).Day; !math.IsInf(day.Limit, 1) {
		sub.trials = int(trialShare*day.Limit - day.Used)
	}
	added := make([]schedule.Job, 0, restoredAtOnce)
	for job := range j.Unfinished() {
		s := sub.scheduled(job, false)
		s.Restored = true
		s.AgeUncertain = job.SubmittedAt.IsZero() && job.Source != submission.HTTP
		if j.ClockSet() {
			s.Start, s.Seen, s.AgeUnknown = now, time.Time{}, true
		}
		if added = append(added, s); len(added) == cap(added) {
			sub.schedule.Add(now, added...)
			added = added[:0]
		}
	}
	sub.schedule.Add(now, added...)
}

// restoredAtOnce is how many jobs are added at once at start. So they stay in the processor's caches; a million at once
// would take 110 MB.
const restoredAtOnce = 4096

// apply applies the events of one commit.
func (sub *subscriber) apply(events []jobs.Event) {
	var added []schedule.Job
	var at time.Time
	add := func() {
		if len(added) > 0 {
			sub.schedule.Add(at, added...)
			sub.poller.Wake()
		}
		added = nil
	}
	givenUp := make(map[string][]*jobs.Job) // by error code
	for _, e := range events {
		if e.Kind == jobs.Registered {
			added, at = append(added, sub.scheduled(e.Job, e.AgeUnknown)), e.At
			continue
		}
		add() // the events of a job are applied in their order
		switch e.Kind {
		case jobs.StillRunning:
			sub.schedule.StillRunning(e.Job.Sequence, e.At)
		case jobs.Ended:
			sub.schedule.Ended(e.Job.Sequence, e.At, e.By == jobs.ByWebhook)
		case jobs.Removed:
			sub.schedule.Remove(e.Job.Sequence)
		}
		if e.Job.State == jobs.Lost {
			givenUp[e.Job.ErrorCode] = append(givenUp[e.Job.ErrorCode], e.Job)
		} else {
			sub.report(e.Job)
		}
	}
	add()
	for code, of := range givenUp {
		sub.reportGivenUp(code, of)
	}
}

// scheduled is a job as the scheduler sees it.
func (sub *subscriber) scheduled(j *jobs.Job, ageUnknown bool) schedule.Job {
	s := schedule.Job{
		Sequence: j.Sequence, RequestID: j.RequestID, API: j.API, AudioSeconds: j.AudioSeconds, Priority: j.Priority,
		Start: j.Start(), Seen: j.LastObserved, AgeUnknown: ageUnknown && j.SubmittedAt.IsZero(),
	}
	if !s.AgeUnknown && s.Seen.IsZero() && sub.trials > 0 {
		s.AtOnce = true
		sub.trials--
	}
	return s
}

// report logs the end of a job.
func (sub *subscriber) report(j *jobs.Job) {
	if !j.State.Ended() {
		return
	}
	level, what, attrs := slog.LevelInfo, "Job finished", []any{"request_id", j.RequestID, "state", j.State.String()}
	if j.ErrorCode != "" {
		attrs = append(attrs, "error_code", j.ErrorCode)
	}
	if j.State == jobs.Lost {
		level, what = slog.LevelWarn, "Job given up"
	}
	sub.log.Log(context.Background(), level, what, attrs...)
}

// maxReported is how many jobs that were given up together are logged one by one, and named in the line about more.
const maxReported = 5

// reportGivenUp logs the jobs that one commit gave up for one reason. After an outage these may be thousands, and the
// next commit waits until they are logged.
func (sub *subscriber) reportGivenUp(code string, givenUp []*jobs.Job) {
	if len(givenUp) <= maxReported {
		for _, j := range givenUp {
			sub.report(j)
		}
		return
	}
	ids := make([]string, maxReported)
	for i, j := range givenUp[:maxReported] {
		ids[i] = j.RequestID
	}
	sub.log.Warn("Many jobs were given up", "jobs", len(givenUp), "error_code", code, "first_request_ids", ids)
}

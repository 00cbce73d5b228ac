package collector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/poller"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

func newSubscriber(limits schedule.Limits) (*subscriber, *bytes.Buffer) {
	log := new(bytes.Buffer)
	sub := &subscriber{schedule: schedule.New(limits, time.Now()), log: slog.New(slog.NewTextHandler(log, nil))}
	sub.poller = poller.New(sub.schedule, nil, poller.Settings{}, sub.log, time.Now)
	return sub, log
}

// sequence makes a number of the ID of a job.
func sequence(id string) (n uint64) {
	for _, b := range []byte(id) {
		n = n<<8 + uint64(b)
	}
	return n
}

func event(kind jobs.EventKind, id string, state jobs.State) jobs.Event {
	now := time.Now()
	return jobs.Event{Kind: kind, At: now, Job: &jobs.Job{
		RequestID: id, Sequence: sequence(id), Origin: &jobs.Origin{API: "asr"}, FirstSeen: now,
		Observed: &jobs.Observed{State: state},
	}}
}

// The events of one commit are applied in their order.
func TestEventsInOrder(t *testing.T) {
	registered, removed := event(jobs.Registered, "x", jobs.Pending), event(jobs.Removed, "x", jobs.Pending)
	ended, other := event(jobs.Ended, "x", jobs.Completed), event(jobs.Registered, "y", jobs.Pending)
	for _, tt := range []struct {
		events []jobs.Event
		known  bool
	}{
		{[]jobs.Event{registered}, true},
		{[]jobs.Event{registered, event(jobs.StillRunning, "x", jobs.Running)}, true},
		{[]jobs.Event{registered, ended}, false},
		{[]jobs.Event{registered, removed}, false},
		{[]jobs.Event{registered, removed, registered}, true},
		{[]jobs.Event{registered, other, ended, event(jobs.Removed, "y", jobs.Lost)}, false},
	} {
		sub, _ := newSubscriber(schedule.Limits{})
		sub.apply(tt.events)
		if _, known := sub.schedule.Explain(sequence("x"), time.Now()); known != tt.known {
			t.Errorf("%v: known %v", tt.events, known)
		}
		if _, known := sub.schedule.Explain(sequence("y"), time.Now()); known {
			t.Errorf("%v: y is known", tt.events)
		}
	}
}

// The scheduler learns what share of the ends webhooks report.
func TestEndsByWebhook(t *testing.T) {
	for by, want := range map[jobs.Observer]float64{jobs.ByPoll: 0, jobs.ByWebhook: 1} {
		sub, _ := newSubscriber(schedule.Limits{})
		end := event(jobs.Ended, "x", jobs.Completed)
		end.By = by
		sub.apply([]jobs.Event{event(jobs.Registered, "x", jobs.Pending), end})
		learnt, err := sub.schedule.Learnt(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var read struct {
			APIs map[string]struct {
				Ends        float64 `json:"ends"`
				WebhookEnds float64 `json:"webhook_ends"`
			} `json:"apis"`
		}
		if err := json.Unmarshal(learnt, &read); err != nil {
			t.Fatal(err)
		}
		if got := read.APIs["asr"]; got.Ends != 1 || got.WebhookEnds != want {
			t.Errorf("ends %v, by webhook %v; want 1, %v", got.Ends, got.WebhookEnds, want)
		}
	}
}

// A job that was seen running is not polled for the same reason again.
func TestStillRunning(t *testing.T) {
	sub, _ := newSubscriber(schedule.Limits{})
	begin := time.Now().Add(-time.Hour)
	old := jobs.Event{Kind: jobs.Registered, At: begin, Job: &jobs.Job{
		RequestID: "x", Sequence: sequence("x"), Origin: new(jobs.Origin), FirstSeen: begin,
		Observed: new(jobs.Observed),
	}}
	sub.apply([]jobs.Event{old})
	before, _ := sub.schedule.Explain(sequence("x"), time.Now())
	sub.apply([]jobs.Event{event(jobs.StillRunning, "x", jobs.Running)})
	after, _ := sub.schedule.Explain(sequence("x"), time.Now())
	if before.At.After(time.Now()) || !after.At.After(time.Now()) {
		t.Errorf("due %s before it was seen running, %s after", before.At, after.At)
	}
}

// A twentieth of the day's quota polls new jobs at once. Jobs of unknown age are polled
// at once anyway.
func TestTrials(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		limits       schedule.Limits
		used         int
		ageUnknown   bool
		submitted    time.Time
		atOnce, left int
	}{
		"a day of 100":       {limits: schedule.Limits{PerDay: 100}, atOnce: 5},
		"some was used":      {limits: schedule.Limits{PerDay: 100}, used: 3, atOnce: 2},
		"more was used":      {limits: schedule.Limits{PerDay: 100}, used: 30, left: -25},
		"without a quota":    {},
		"the age is unknown": {limits: schedule.Limits{PerDay: 100}, ageUnknown: true, atOnce: 10, left: 5},
		"it is known":        {limits: schedule.Limits{PerDay: 100}, ageUnknown: true, submitted: now, atOnce: 5},
	} {
		t.Run(name, func(t *testing.T) {
			sub, _ := newSubscriber(tt.limits)
			sub.schedule.Restore([]schedule.Sent{{Reserved: now, Requests: tt.used}}, time.Second, now)
			sub.restore(inMemory(t), now)
			var events []jobs.Event
			for i := range 10 {
				e := event(jobs.Registered, fmt.Sprint(i), jobs.Pending)
				e.AgeUnknown, e.Job.SubmittedAt = tt.ageUnknown, jobs.InstantOf(tt.submitted)
				events = append(events, e)
			}
			sub.apply(events)
			atOnce := 0
			for _, p := range sub.schedule.NextPolls(now, 10) {
				if p.AtOnce {
					atOnce++
				}
			}
			if atOnce != tt.atOnce || sub.trials != tt.left {
				t.Errorf("%d jobs are polled at once, %d trials left; want %d, %d",
					atOnce, sub.trials, tt.atOnce, tt.left)
			}
		})
	}
}

func inMemory(t *testing.T) *jobs.Jobs {
	t.Helper()
	j, err := jobs.Open(t.Context(), nil, jobs.Options{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// After a restart, jobs that were polled before take no trial.
func TestTrialsAfterRestart(t *testing.T) {
	now, j := time.Now(), inMemory(t)
	for i := range 6 {
		id := fmt.Sprint(i)
		if _, _, err := j.Register(submission.HTTP, []submission.Job{{RequestID: id}}, false, now); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			continue
		}
		if _, err := j.Observe(jobs.Observation{RequestID: id, At: now, State: jobs.Running}); err != nil {
			t.Fatal(err)
		}
	}
	sub, _ := newSubscriber(schedule.Limits{PerDay: 100})
	sub.restore(j, now)
	for i := range 6 {
		why, known := sub.schedule.Explain(uint64(i+1), now)
		if !known || why.AtOnce != (i%2 == 0) {
			t.Errorf("job %d: known %v, polled at once %v", i, known, why.AtOnce)
		}
	}
	if sub.trials != 2 {
		t.Errorf("%d trials left", sub.trials)
	}
}

// After a restart, nobody knows which jobs of a source were there when it was first read: nothing is learnt from them.
// They are not polled at once again. Others are not from such a source, or say when they were submitted.
func TestUnknownAgeAfterRestart(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		source    submission.Source
		submitted time.Time
		learns    bool
	}{
		{submission.Config, time.Time{}, false},
		{submission.File, time.Time{}, false},
		{submission.URL, time.Time{}, false},
		{submission.File, now.Add(-time.Minute), true},
		{submission.HTTP, time.Time{}, true},
	} {
		j := inMemory(t)
		for _, id := range []string{"ends", "runs"} {
			job := submission.Job{RequestID: id, SubmittedAt: tt.submitted}
			if _, _, err := j.Register(tt.source, []submission.Job{job}, true, now); err != nil {
				t.Fatal(err)
			}
		}
		sub, _ := newSubscriber(schedule.Limits{})
		sub.restore(j, now)
		before, _ := sub.schedule.Explain(2, now)
		sub.schedule.Ended(1, now.Add(time.Hour), false)
		after, _ := sub.schedule.Explain(2, now)
		if after.Assumed == tt.learns || before.AtOnce {
			t.Errorf("%s, submitted %s: nothing learnt %v, polled at once %v",
				tt.source, tt.submitted, after.Assumed, before.AtOnce)
		}
	}
}

func TestEndsAreLogged(t *testing.T) {
	failed := event(jobs.Ended, "b", jobs.Failed)
	failed.Job.ErrorCode = "api_error"
	sub, log := newSubscriber(schedule.Limits{})
	sub.apply([]jobs.Event{
		event(jobs.Registered, "a", jobs.Pending), event(jobs.StillRunning, "a", jobs.Running),
		event(jobs.Ended, "a", jobs.Completed), failed,
		event(jobs.Removed, "c", jobs.Lost), event(jobs.Removed, "d", jobs.Running),
	})
	want := []string{
		`level=INFO msg="Job finished" request_id=a state=completed`,
		`level=INFO msg="Job finished" request_id=b state=failed error_code=api_error`,
		`level=WARN msg="Job given up" request_id=c state=lost`,
	}
	if n := strings.Count(log.String(), "\n"); n != len(want) {
		t.Errorf("%d lines:\n%s", n, log)
	}
	for _, line := range want {
		if !strings.Contains(log.String(), line+"\n") {
			t.Errorf("%q is missing in\n%s", line, log)
		}
	}
}

// Jobs that are given up together are one line if they are many: the commits wait for it.
func TestMassLossIsOneLine(t *testing.T) {
	sub, log := newSubscriber(schedule.Limits{})
	var events []jobs.Event
	for i := range 1000 {
		e := event(jobs.Removed, fmt.Sprint("old-", i), jobs.Lost)
		e.Job.ErrorCode = jobs.CodeMaxJobAge
		events = append(events, e)
	}
	unknown := event(jobs.Removed, "unknown", jobs.Lost)
	unknown.Job.ErrorCode = jobs.CodeNotFound
	sub.apply(append(events, unknown))
	for _, line := range []string{
		`level=WARN msg="Many jobs were given up" jobs=1000 error_code=max_job_age ` +
			`first_request_ids="[old-0 old-1 old-2 old-3 old-4]"`,
		`level=WARN msg="Job given up" request_id=unknown state=lost error_code=not_found`,
	} {
		if !strings.Contains(log.String(), line+"\n") {
			t.Errorf("%q is missing in\n%.2000s", line, log)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines", n)
	}
}

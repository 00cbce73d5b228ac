package jobs_test

import (
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// A step is a poll of the job, after a time since the start.
type step struct {
	after    time.Duration
	state    jobs.State
	readable jobs.State // of Unreadable
	healthy  time.Duration
}

// An answer that stays unreadable ends its job at the third poll, after at least 10 minutes, by what could be read.
func TestUnreadable(t *testing.T) {
	const m = time.Minute
	about := func(after time.Duration, readable jobs.State) step {
		return step{after, jobs.Unreadable, readable, after}
	}
	type end struct {
		state jobs.State
		code  string
	}
	for name, test := range map[string]struct {
		polls []step
		want  end // Pending or Running: it has not ended
	}{
		"completed could be read": {
			[]step{about(0, jobs.Completed), about(5*m, jobs.Completed), about(10*m, jobs.Completed)},
			end{jobs.Completed, ""},
		},
		"failed could be read": {
			[]step{about(0, jobs.Failed), about(5*m, jobs.Failed), about(10*m, jobs.Failed)}, end{jobs.Failed, "code"},
		},
		"no state could be read": {
			[]step{about(0, jobs.Lost), about(5*m, jobs.Lost), about(10*m, jobs.Lost)}, end{jobs.Lost, "unreadable"},
		},
		"what the last poll could read counts": {
			[]step{about(0, jobs.Lost), about(5*m, jobs.Failed), about(10*m, jobs.Completed)}, end{jobs.Completed, ""},
		},
		"two polls": {[]step{about(0, jobs.Completed), about(time.Hour, jobs.Completed)}, end{jobs.Pending, ""}},
		"three polls in less than 10 minutes": {
			[]step{about(0, jobs.Lost), about(4*m, jobs.Lost), about(9*m, jobs.Lost)}, end{jobs.Pending, ""},
		},
		"many polls": {
			[]step{about(0, jobs.Lost), about(3*m, jobs.Lost), about(6*m, jobs.Lost), about(11*m, jobs.Lost)},
			end{jobs.Lost, "unreadable"},
		},
		"a readable answer in between": {
			[]step{about(0, jobs.Lost), about(5*m, jobs.Lost), {9 * m, jobs.Running, 0, 0}, about(10*m, jobs.Lost)},
			end{jobs.Running, ""},
		},
		"an unknown state in between": {
			[]step{about(0, jobs.Lost), about(5*m, jobs.Lost), {9 * m, jobs.Unchanged, 0, 0}, about(10*m, jobs.Lost)},
			end{jobs.Pending, ""},
		},
		"a request without an answer in between": {
			[]step{about(0, jobs.Lost), about(5*m, jobs.Lost), {9 * m, jobs.Unanswered, 0, 0}, about(10*m, jobs.Lost)},
			end{jobs.Lost, "unreadable"},
		},
		"the API answers others well": {
			[]step{
				{0, jobs.Unreadable, jobs.Lost, -time.Hour}, {5 * m, jobs.Unreadable, jobs.Lost, 4 * m},
				{10 * m, jobs.Unreadable, jobs.Lost, 9 * m},
			},
			end{jobs.Lost, "unreadable"},
		},
		"the API answers nothing well": {
			[]step{
				{0, jobs.Unreadable, jobs.Lost, -time.Hour}, {5 * m, jobs.Unreadable, jobs.Lost, -time.Hour},
				{10 * m, jobs.Unreadable, jobs.Lost, -time.Hour}, {time.Hour, jobs.Unreadable, jobs.Lost, -time.Hour},
			},
			end{jobs.Pending, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := open(t, newMemory(t), options())
			register(t, j, start, "a", "b")
			var effect jobs.Effect
			for _, l := range test.polls {
				o := polled("a", l.state, start.Add(l.after))
				o.Readable, o.HealthyAt = l.readable, start.Add(l.healthy)
				if l.readable == jobs.Failed {
					o.ErrorCode = "code"
				}
				effect = observe(t, j, o)
			}
			job, _ := j.Job("a")
			if got := (end{job.State, job.ErrorCode}); got != test.want || job.Statistics != nil {
				t.Errorf("the job is %+v, want %+v", got, test.want)
			}
			flush(t, j)
			ended := test.want.state.Ended()
			counted := j.Snapshot(start).Totals.Counter(jobs.UnreadableResults)
			if effect.Unreadable != ended || counted != map[bool]float64{true: 1}[ended] {
				t.Errorf("effect %+v, %v counted", effect, counted)
			}
		})
	}
}

// The last request about a job is known, whatever its outcome.
func TestLastPoll(t *testing.T) {
	j := open(t, newMemory(t), options())
	register(t, j, start, "a")
	for i, o := range []jobs.Observation{
		{State: jobs.Unanswered, Request: &jobs.Request{Outcome: jobstatus.Timeout, Detail: "why"}},
		{State: jobs.Unchanged, Request: &jobs.Request{StateWord: "Odd", UnknownState: true}},
		{State: jobs.Unreadable, Request: &jobs.Request{Outcome: jobstatus.Malformed, Detail: "at byte 7"}},
		{State: jobs.Missing, Request: &jobs.Request{Outcome: jobstatus.NotFound, Detail: "HTTP 404"}},
		{State: jobs.Running, Request: &jobs.Request{}},
	} {
		o.RequestID, o.At = "a", start.Add(time.Duration(i)*time.Minute)
		observe(t, j, o)
		job, _ := j.Job("a")
		want := jobs.Poll{At: o.At, Request: *o.Request}
		if job.LastPoll == nil || *job.LastPoll != want {
			t.Errorf("the last poll is %+v, want %+v", job.LastPoll, want)
		}
	}
	observe(t, j, hooked("a", jobs.Completed, start.Add(time.Hour)))
	if job, _ := j.Job("a"); job.LastPoll.At != start.Add(4*time.Minute) {
		t.Errorf("after a webhook the last poll is %+v", job.LastPoll)
	}
}

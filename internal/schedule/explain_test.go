package schedule_test

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

// Times are in units for people, however long they are.
func TestReasonFormatsTimes(t *testing.T) {
	got := schedule.Reason{Score: 0.5, Price: 1060, Expected: 499 * time.Millisecond}.String()
	const want = "unlikely to have finished; similar jobs take <1 s; " +
		"a poll now would save 0.5 s of expected delay, the current minimum is 17 min 40 s"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	got = schedule.Reason{Score: 0.5, Price: 1060, Chance: .5, Planned: true}.String()
	if want := "a poll then would save 0.5 s of expected delay, the minimum then is 17 min 40 s"; !strings.HasSuffix(got,
		want) {
		t.Errorf("%q, want %q", got, want)
	}
	got = schedule.Reason{Price: 1, Chance: .5, Unknown: true, Expected: 3 * time.Minute}.Short()
	if want := "age unknown; similar jobs take 3 min"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	got = schedule.Reason{Chance: .5, Serving: true, Every: time.Millisecond}.Short()
	if want := "head of the queue, more than one is expected to finish every second; 50 % likely to have finished"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Whether a job was polled before a restart is not known.
func TestReasonAfterARestart(t *testing.T) {
	s := newScheduler(schedule.Limits{}, start)
	s.Add(start, schedule.Job{RequestID: "a", Start: start, AtOnce: true, Restored: true})
	if r, _ := s.Explain("a", start); r.Short() != "not polled since the start" {
		t.Errorf("%s", r.Short())
	}
}

// A reason says what came of the last poll, while the job waits for it and after that.
func TestReasonsAfterAPoll(t *testing.T) {
	for name, tt := range map[string]struct {
		end   func(s *scheduler, permit *schedule.Permit)
		held  string
		after string // when it may be polled again; empty: the same
	}{
		"not sent": {
			func(_ *scheduler, permit *schedule.Permit) { permit.NotSent() },
			"a request about it could not be sent", "",
		},
		"asked to wait": {
			func(s *scheduler, permit *schedule.Permit) {
				s.StillRunning("a", start)
				permit.Answered(start, 2*time.Minute)
			},
			"the API asked to wait", "54 % likely to have finished",
		},
		"no state": {
			func(_ *scheduler, permit *schedule.Permit) { permit.Answered(start, 0) },
			"the last response did not contain its state", "",
		},
		"not known": {
			func(_ *scheduler, permit *schedule.Permit) {
				permit.Unanswered(start, time.Minute, schedule.NotKnown)
			},
			"the API did not know it at the last poll", "",
		},
		"unreadable": {
			func(_ *scheduler, permit *schedule.Permit) {
				permit.Unanswered(start, time.Minute, schedule.Unreadable)
			},
			"the last response about it could not be read", "",
		},
		"failed": {
			func(_ *scheduler, permit *schedule.Permit) {
				permit.Unanswered(start, time.Minute, schedule.RequestFailed)
			},
			"the last request about it failed", "",
		},
		"not stored": {
			func(_ *scheduler, permit *schedule.Permit) {
				permit.Unanswered(start, time.Minute, schedule.NotStored)
			},
			"the last response about it could not be stored", "",
		},
	} {
		s := newScheduler(schedule.Limits{}, start)
		s.Add(start, schedule.Job{RequestID: "a", Start: start, AtOnce: true})
		if r, _ := s.Explain("a", start); r.Short() != "not polled yet" {
			t.Errorf("before the first poll: %s", r.Short())
		}
		permit, _ := s.PermitFor("a", start)
		tt.end(s, permit)
		if r, _ := s.Explain("a", start); !r.Held || r.Short() != tt.held {
			t.Errorf("%s: held %v, %s", name, r.Held, r.Short())
		}
		if r, _ := s.Explain("a", at(150*time.Second)); r.Held || r.Short() != cmp.Or(tt.after, tt.held) {
			t.Errorf("%s: later held %v, %s", name, r.Held, r.Short())
		}
	}
}

// Of a job that the API does not know, no duration tells whether it has finished.
func TestReasonOfAJobThatIsNotKnown(t *testing.T) {
	s := newScheduler(schedule.Limits{}, start)
	s.Add(start, schedule.Job{RequestID: "a", Start: start})
	permit, _ := s.PermitFor("a", start)
	permit.Unanswered(start, time.Minute, schedule.NotKnown)
	const want = "the API did not know it at the last poll"
	now := at(150 * time.Second)
	if r, _ := s.Explain("a", now); r.Held || r.Short() != want {
		t.Errorf("held %v, %s", r.Held, r.Short())
	}
	polls, _, _ := s.Plan(now, 24*time.Hour, 3)
	if len(polls) != 3 {
		t.Errorf("%d polls are planned", len(polls))
	}
	for _, p := range polls {
		if !strings.HasPrefix(p.String(), want) {
			t.Errorf("planned at %s: %s", p.At, p)
		}
	}
}

// The age of a job that was registered before a restart is shown as it is known. Only nothing is learnt from it.
func TestReasonAfterRestart(t *testing.T) {
	for _, unknown := range []bool{false, true} {
		s := newScheduler(schedule.Limits{}, start)
		s.Add(start, schedule.Job{RequestID: "a", Start: start, Seen: start, AgeUncertain: true, AgeUnknown: unknown})
		if r, ok := s.Explain("a", at(time.Minute)); !ok || r.Unknown != unknown {
			t.Errorf("age unknown: %v, want %v", r.Unknown, unknown)
		}
	}
}

package poller

import (
	"errors"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// A step is a response, and what the breaker makes of it.
type step struct {
	at         time.Duration // since the step before
	outcome    jobstatus.Outcome
	retryAfter time.Duration
	aboutJob   bool          // only its result
	quota      time.Duration // pause that the scheduler asks for

	pause    time.Duration // polling is paused for that long after the response
	wait     time.Duration // minimum time before the job is polled again
	together bool          // other requests may be in flight
	logs     string        // "": nothing; "paused", "unusable" or "recovered"
}

const (
	ok, notFound, clientError = jobstatus.OK, jobstatus.NotFound, jobstatus.ClientError
	serverError, malformed    = jobstatus.ServerError, jobstatus.Malformed
	unauthorized              = jobstatus.Unauthorized
)

func TestBreaker(t *testing.T) {
	down := func(at, pause time.Duration, logs string) step {
		return step{at: at, outcome: serverError, pause: pause, logs: logs}
	}
	for name, steps := range map[string][]step{
		"success": {
			{outcome: ok, together: true},
			{outcome: ok, retryAfter: time.Minute, wait: time.Minute, together: true},
		},
		"pauses double up to a maximum": {
			down(0, 10*time.Second, "paused"), down(10*time.Second, 20*time.Second, ""),
			down(20*time.Second, 40*time.Second, ""), down(40*time.Second, 80*time.Second, ""),
			down(80*time.Second, 160*time.Second, ""),
			down(160*time.Second, 320*time.Second, ""), down(320*time.Second, 640*time.Second, "paused"),
			down(640*time.Second, 15*time.Minute, ""), down(15*time.Minute, 15*time.Minute, ""),
			down(15*time.Minute, 15*time.Minute, ""), down(15*time.Minute, 15*time.Minute, "paused"),
		},
		"requests in flight together are one failure": {
			down(0, 10*time.Second, "paused"), down(time.Second, 9*time.Second, ""),
			down(time.Second, 8*time.Second, ""),
			down(8*time.Second, 20*time.Second, ""),
		},
		"an outage that changes is logged again": {
			down(0, 10*time.Second, "paused"),
			{at: 10 * time.Second, outcome: jobstatus.Timeout, pause: 20 * time.Second, logs: "paused"},
			{at: 20 * time.Second, outcome: jobstatus.Timeout, pause: 40 * time.Second},
		},
		"a job that the API does not know is a success": {
			down(0, 10*time.Second, "paused"),
			{at: 10 * time.Second, outcome: notFound, logs: "recovered"},
			{outcome: notFound, together: false},
		},
		"a success ends the pause": {
			down(0, 10*time.Second, "paused"),
			{at: time.Second, outcome: ok, logs: "recovered"},
			down(0, 10*time.Second, "paused"),
		},
		"the API asks to wait longer": {
			{outcome: serverError, retryAfter: time.Minute, pause: time.Minute, wait: time.Minute, logs: "paused"},
		},
		"the API asks to wait for a day": {
			{outcome: ok, retryAfter: 24 * time.Hour, wait: 15 * time.Minute, together: true},
			{outcome: notFound, retryAfter: 24 * time.Hour, wait: 15 * time.Minute, together: true},
			{outcome: serverError, retryAfter: 24 * time.Hour, pause: 15 * time.Minute, wait: 15 * time.Minute, logs: "paused"},
			{at: time.Hour, outcome: jobstatus.RateLimited, retryAfter: 24 * time.Hour, quota: time.Minute,
				pause: 15 * time.Minute, wait: 15 * time.Minute, logs: "paused"},
			{at: time.Hour, outcome: unauthorized, retryAfter: 24 * time.Hour,
				pause: time.Hour, wait: time.Hour, logs: "paused"},
			{at: time.Hour, outcome: jobstatus.OverQuota, retryAfter: 24 * time.Hour, quota: time.Minute,
				pause: time.Hour, wait: time.Hour, logs: "paused"},
			{at: time.Hour, outcome: malformed, retryAfter: 24 * time.Hour, wait: 15 * time.Minute, logs: "unusable"},
		},
		"unusable responses affect their jobs, until there are several in a row": {
			{outcome: malformed, wait: 5 * time.Minute, together: true, logs: "unusable"},
			{outcome: malformed, wait: 5 * time.Minute, together: true, logs: "unusable"},
			{outcome: malformed, wait: 5 * time.Minute, together: true, logs: "unusable"},
			{outcome: malformed, wait: 5 * time.Minute, pause: time.Minute, logs: "paused"},
			{at: time.Minute, outcome: malformed, wait: 5 * time.Minute, pause: 2 * time.Minute},
		},
		"a success in between": {
			{outcome: clientError, wait: 5 * time.Minute, together: true, logs: "unusable"},
			{outcome: clientError, wait: 5 * time.Minute, together: true, logs: "unusable"},
			{outcome: clientError, wait: 5 * time.Minute, together: true, logs: "unusable"},
			{outcome: ok, together: true},
			{outcome: clientError, wait: 5 * time.Minute, together: true, logs: "unusable"},
		},
		"a response that is too large": {
			{outcome: jobstatus.TooLarge, wait: 5 * time.Minute, together: true, logs: "unusable"},
		},
		"what one job's result is says nothing about the API": {
			down(0, 10*time.Second, "paused"),
			{at: 10 * time.Second, outcome: malformed, aboutJob: true, wait: 5 * time.Minute},
			down(0, 20*time.Second, ""),
		},
		"the scheduler sets the pause after a refusal for quota": {
			{outcome: jobstatus.RateLimited, quota: 15 * time.Second, pause: 15 * time.Second, logs: "paused"},
			{outcome: jobstatus.RateLimited, quota: 15 * time.Second, pause: 15 * time.Second},
			{at: 15 * time.Second, outcome: jobstatus.OverQuota, quota: time.Hour, pause: time.Hour, logs: "paused"},
			{at: time.Hour, outcome: jobstatus.OverQuota, quota: 2 * time.Hour, retryAfter: 30 * time.Minute,
				pause: 2 * time.Hour, wait: 30 * time.Minute, logs: "paused"},
		},
		"a refused key": {
			{outcome: unauthorized, pause: 5 * time.Minute, logs: "paused"},
			{at: 5 * time.Minute, outcome: unauthorized, pause: 10 * time.Minute},
			{at: 10 * time.Minute, outcome: unauthorized, pause: 20 * time.Minute, logs: "paused"},
			{at: 20 * time.Minute, outcome: unauthorized, pause: 40 * time.Minute},
			{at: 40 * time.Minute, outcome: unauthorized, pause: time.Hour},
			{at: time.Hour, outcome: unauthorized, pause: time.Hour, logs: "paused"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, now := new(breaker), time.Now()
			for i, s := range steps {
				now = now.Add(s.at)
				answer := jobstatus.Answer{Outcome: s.outcome, RetryAfter: s.retryAfter, AboutJob: s.aboutJob}
				v := b.judge(answer, "key", now, now.Add(s.quota))
				until, alone := b.allow(now, "key")
				var pause time.Duration
				if !until.IsZero() {
					pause = until.Sub(now)
				}
				if pause != s.pause || v.wait != s.wait || alone == s.together {
					t.Errorf("step %d: pause %s, wait %s, alone %v; want %+v", i, pause, v.wait, alone, s)
				}
				if logs := logsOf(v); logs != s.logs {
					t.Errorf("step %d: logs %q, want %q", i, logs, s.logs)
				}
			}
		})
	}
}

func logsOf(v verdict) string {
	switch {
	case v.recovered:
		return "recovered"
	case v.unusable:
		return "unusable"
	case v.pause > 0:
		return "paused"
	}
	return ""
}

// fail lets a breaker see so many failures, each after the pause of the one before.
func fail(b *breaker, outcome jobstatus.Outcome, times int, now time.Time) time.Time {
	for range times {
		if until, _ := b.allow(now, "key"); !until.IsZero() {
			now = until
		}
		b.judge(jobstatus.Answer{Outcome: outcome}, "key", now, now.Add(time.Hour)) // the scheduler's pause
	}
	return now
}

func pause(b *breaker, key string, now time.Time) time.Duration {
	until, _ := b.allow(now, key)
	if until.IsZero() {
		return 0
	}
	return until.Sub(now)
}

// After a pause requests are sent one at a time until ten have succeeded.
func TestBreakerRecovery(t *testing.T) {
	b := new(breaker)
	now := fail(b, serverError, 4, time.Now())
	for i := range recoveryRequests {
		if _, alone := b.allow(now, "key"); !alone {
			t.Errorf("after %d successes several requests may be in flight", i)
		}
		b.judge(jobstatus.Answer{Outcome: ok}, "key", now, time.Time{})
	}
	if _, alone := b.allow(now, "key"); alone {
		t.Errorf("after %d successes requests are still sent one at a time", recoveryRequests)
	}
}

// Each success undoes one doubling: an API that fails every second time is paused for
// longer than one that fails once.
func TestBreakerDoublings(t *testing.T) {
	b := new(breaker)
	now := fail(b, serverError, 4, time.Now())
	for range 2 {
		b.judge(jobstatus.Answer{Outcome: ok}, "key", now, time.Time{})
	}
	fail(b, serverError, 1, now)
	if got := pause(b, "key", now); got != 40*time.Second {
		t.Errorf("after four failures and two successes the pause is %s", got)
	}
}

// A reload, or another key after the API has refused one, ends the pause. One request finds out whether it helped.
func TestBreakerResets(t *testing.T) {
	for name, tt := range map[string]struct {
		outcome  jobstatus.Outcome
		endPause bool
		key      string
		want     time.Duration // pause afterwards
	}{
		"reload":                       {serverError, true, "key", 0},
		"reload after a refused key":   {unauthorized, true, "key", 0},
		"same key":                     {unauthorized, false, "key", 20 * time.Minute},
		"another key":                  {unauthorized, false, "new", 0},
		"quota of the same key":        {jobstatus.OverQuota, false, "key", time.Hour},
		"quota of another key":         {jobstatus.OverQuota, false, "new", 0},
		"rate of another key":          {jobstatus.RateLimited, false, "new", 0},
		"another key during an outage": {serverError, false, "new", 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			b := new(breaker)
			now := fail(b, tt.outcome, 3, time.Now())
			if tt.endPause {
				b.endPause()
			}
			if got := pause(b, tt.key, now); got != tt.want {
				t.Errorf("the pause is %s, want %s", got, tt.want)
			}
			if _, alone := b.allow(now, tt.key); !alone {
				t.Error("several requests are sent at once")
			}
			if tt.want > 0 {
				return
			}
			fail(b, serverError, 1, now)
			if got := pause(b, tt.key, now); got != 10*time.Second {
				t.Errorf("the next pause is %s", got)
			}
			b.endPause()
			b.judge(jobstatus.Answer{Outcome: ok}, tt.key, now, time.Time{})
			if _, alone := b.allow(now, tt.key); alone {
				t.Error("requests are still sent one at a time after the API answered well")
			}
		})
	}
}

func TestBreakerState(t *testing.T) {
	b, now := new(breaker), time.Now()
	want := func(when string, up bool, trouble func(*Trouble) bool) {
		t.Helper()
		if s := b.state(); s.Up != up || !trouble(s.Trouble) {
			t.Errorf("%s: up %v, trouble %+v", when, s.Up, s.Trouble)
		}
	}
	none := func(trouble *Trouble) bool { return trouble == nil }
	want("before the first request", false, none)
	b.judge(jobstatus.Answer{Outcome: notFound}, "key", now, time.Time{})
	want("after a success", true, none)
	broken := errors.New("broken")
	b.judge(jobstatus.Answer{Outcome: serverError, Err: broken}, "key", now.Add(time.Second), time.Time{})
	want("after an error", false, func(trouble *Trouble) bool {
		return trouble != nil && !trouble.NoKey && trouble.Outcome == serverError && trouble.Err == broken &&
			trouble.Until.Equal(now.Add(11*time.Second))
	})
	if s := b.state(); !s.LastSuccess.Equal(now) {
		t.Errorf("last success %s, want %s", s.LastSuccess, now)
	}
	for i, tt := range []struct {
		err  string
		at   time.Duration
		news bool
	}{
		{"unreadable", 0, true}, {"unreadable", time.Second, false}, {"gone", time.Minute, true},
		{"gone", 10 * time.Minute, false}, {"gone", 11 * time.Minute, true},
	} {
		if news, lasts := b.keyFailed(errors.New(tt.err), now.Add(tt.at)); news != tt.news || lasts != tt.at {
			t.Errorf("step %d: news %v after %s, want %+v", i, news, lasts, tt)
		}
	}
	want("without a key", false, func(trouble *Trouble) bool { return trouble != nil && trouble.NoKey })
	for _, want := range []bool{true, false} {
		if lasted, news := b.keyRead(now.Add(time.Hour)); news != want || (lasted == time.Hour) != want {
			t.Errorf("the key can be read again: news %v after %s", news, lasted)
		}
	}
	want("with a key again", false, func(trouble *Trouble) bool { return trouble != nil && !trouble.NoKey })
}

package poller_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/poller"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A store is what the poller writes to. It tells the scheduler about jobs as events
// would.
type store struct {
	schedule *schedule.Scheduler

	mu           sync.Mutex
	log          []string // what was done, in order
	observations []jobs.Observation
	counted      []jobs.Request
	reserved     int
	unwritable   error // returned by Writable
	fails        error // returned by Reserve and Observe
	missing      time.Duration
}

func (s *store) Reserve(_ time.Time, requests int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, "reserve")
	if s.fails == nil {
		s.reserved += requests
	}
	return s.fails
}

func (s *store) Observe(o jobs.Observation) (jobs.Effect, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return jobs.Effect{}, s.fails
	}
	s.counted = append(s.counted, *o.Request)
	if o.State == jobs.Unanswered {
		s.log = append(s.log, "count")
		return jobs.Effect{Known: true}, nil
	}
	s.log = append(s.log, "observe")
	s.observations = append(s.observations, o)
	switch o.State {
	case jobs.Completed, jobs.Failed:
		s.schedule.Ended(sequence(o.RequestID), o.At, false)
	case jobs.Running:
		s.schedule.StillRunning(sequence(o.RequestID), o.At)
	}
	return jobs.Effect{Known: true, MissingFor: s.missing}, nil
}

func (s *store) Writable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unwritable
}

// An api answers every request after some time.
type api struct {
	answer func(id string) jobstatus.Answer
	takes  time.Duration

	mu       sync.Mutex
	requests []string // "key id"
	at       []time.Time
	now, max int // requests in flight
}

func (a *api) Status(ctx context.Context, key, id string) jobstatus.Answer {
	a.mu.Lock()
	a.requests, a.at = append(a.requests, key+" "+id), append(a.at, time.Now())
	a.now++
	a.max = max(a.max, a.now)
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.now--
		a.mu.Unlock()
	}()
	select {
	case <-time.After(a.takes):
		return a.answer(id)
	case <-ctx.Done():
		return jobstatus.Answer{Outcome: jobstatus.Network, Err: ctx.Err()}
	}
}

func (a *api) sent() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.requests)
}

func answers(outcome jobstatus.Outcome) func(string) jobstatus.Answer {
	return func(string) jobstatus.Answer {
		a := jobstatus.Answer{Outcome: outcome}
		if outcome == jobstatus.OverQuota {
			a.HTTPStatus = http.StatusPaymentRequired
		}
		if outcome == jobstatus.OK {
			a.State = jobstatus.Running
		} else {
			a.Err = errors.New("refused")
		}
		return a
	}
}

// logs are read when all goroutines wait.
type logs struct{ bytes.Buffer }

func (l *logs) count(line string) int { return strings.Count(l.String(), line) }

// A fixture is a poller with what it works with.
type fixture struct {
	*poller.Poller
	schedule *schedule.Scheduler
	store    *store
	api      *api
	logs     *logs
	key      func() (string, error)
	cancel   func()
	abort    func()
	done     chan struct{}
}

func newFixture(a *api, limits schedule.Limits, block int) *fixture {
	limits.Concurrent = 16
	f := &fixture{api: a, logs: new(logs), done: make(chan struct{}), schedule: schedule.New(limits, time.Now())}
	f.store = &store{schedule: f.schedule}
	f.key = func() (string, error) { return "key", nil }
	settings := poller.Settings{Client: a, Key: func() (string, error) { return f.key() }, Block: block}
	f.Poller = poller.New(f.schedule, f.store, settings, slog.New(slog.NewTextHandler(f.logs, nil)), time.Now)
	return f
}

// add lets the scheduler know of jobs that are to be polled at once.
func (f *fixture) add(n int) (added []*jobs.Job) {
	for i := range n {
		j := &jobs.Job{RequestID: fmt.Sprint("job-", i)}
		j.Sequence = sequence(j.RequestID)
		f.schedule.Add(time.Now(), schedule.Job{
			Sequence: j.Sequence, RequestID: j.RequestID, Start: time.Now(), AtOnce: true,
		})
		added = append(added, j)
	}
	return added
}

// sequence returns that of a job with a number in its ID.
func sequence(id string) uint64 {
	n, err := strconv.ParseUint(id[strings.LastIndexByte(id, '-')+1:], 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// run starts Run. Stop it with stop.
func (f *fixture) run() {
	ctx, cancel := context.WithCancel(context.Background())
	sending, abort := context.WithCancel(context.Background())
	f.cancel, f.abort = cancel, abort
	go func() {
		defer close(f.done)
		f.Run(ctx, sending)
	}()
}

func (f *fixture) stop() {
	f.cancel()
	<-f.done
	f.abort()
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// A poll is reserved before it is sent, and counted in the commit of its observation.
func TestOnePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		result := &transcript.Result{}
		f := newFixture(&api{takes: time.Second, answer: func(string) jobstatus.Answer {
			return jobstatus.Answer{Outcome: jobstatus.OK, State: jobstatus.Completed, Result: result}
		}}, schedule.PerMinute(5), 3)
		f.add(1)
		begin := time.Now()
		f.run()
		pass(time.Minute)
		f.stop()
		if log := strings.Join(f.store.log, " "); log != "reserve observe" || f.store.reserved != 3 {
			t.Errorf("the store saw %q, %d requests reserved", log, f.store.reserved)
		}
		o := f.store.observations[0]
		if o.RequestID != "job-0" || o.By != jobs.ByPoll || o.State != jobs.Completed || o.Result != result ||
			!o.At.Equal(begin.Add(time.Second)) {
			t.Errorf("observed %+v", o)
		}
		if *o.Request != (jobs.Request{Outcome: jobstatus.OK, Duration: time.Second}) {
			t.Errorf("counted %+v", *o.Request)
		}
		if sent := strings.Join(f.api.requests, ", "); sent != "key job-0" {
			t.Errorf("sent %q", sent)
		}
	})
}

// Whatever the outcome, the request is counted once and its permit ends.
func TestOutcomes(t *testing.T) {
	for outcome := range jobstatus.Outcome(len(jobstatus.Outcomes)) {
		t.Run(outcome.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(&api{answer: answers(outcome), takes: time.Second}, schedule.PerMinute(60), 0)
				f.add(1)
				f.run()
				pass(1500 * time.Millisecond)
				if n := f.schedule.InFlight(); n != 0 {
					t.Errorf("%d requests in flight", n)
				}
				f.stop()
				if len(f.store.counted) != 1 || f.store.counted[0].Outcome != outcome {
					t.Errorf("counted %+v", f.store.counted)
				}
				up := outcome == jobstatus.OK || outcome == jobstatus.NotFound
				observed := up || outcome == jobstatus.Malformed || outcome == jobstatus.TooLarge
				if len(f.store.observations) != map[bool]int{true: 1}[observed] || f.State().Up != up {
					t.Errorf("%d observations, up %v", len(f.store.observations), f.State().Up)
				}
			})
		})
	}
}

func TestStates(t *testing.T) {
	for _, tt := range []struct {
		answer jobstatus.Answer
		want   jobs.State
	}{
		{jobstatus.Answer{State: jobstatus.Running}, jobs.Running},
		{jobstatus.Answer{State: jobstatus.Completed}, jobs.Completed},
		{jobstatus.Answer{State: jobstatus.Failed, ErrorCode: "code"}, jobs.Failed},
		{jobstatus.Answer{State: jobstatus.Unknown}, jobs.Unchanged},
		{jobstatus.Answer{Outcome: jobstatus.NotFound}, jobs.Missing},
	} {
		synctest.Test(t, func(t *testing.T) {
			answer := func(string) jobstatus.Answer { return tt.answer }
			f := newFixture(&api{answer: answer}, schedule.PerMinute(60), 0)
			if n, err := f.Round(t.Context(), f.add(1)); n != 1 || err != nil {
				t.Errorf("%d answers, %v", n, err)
			}
			o := f.store.observations[0]
			unknown := tt.want == jobs.Unchanged
			if o.State != tt.want || o.ErrorCode != tt.answer.ErrorCode || o.Request.UnknownState != unknown {
				t.Errorf("%+v is observed as %+v", tt.answer, o)
			}
			if logged := f.logs.count("unknown state"); logged != map[bool]int{true: 1}[unknown] {
				t.Errorf("%+v: %d lines about an unknown state", tt.answer, logged)
			}
		})
	}
}

// However many results are unreadable in a row, the account is not paused and the API counts as it did before.
func TestUnreadableResultsPauseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := func(id string) jobstatus.Answer {
			if id == "job-0" {
				return jobstatus.Answer{State: jobstatus.Running}
			}
			return jobstatus.Answer{
				Outcome: jobstatus.Malformed, AboutJob: true, State: jobstatus.Completed, Err: errors.New("at byte 7"),
			}
		}
		f := newFixture(&api{answer: answer}, schedule.Limits{}, 0)
		begin := time.Now()
		if n, _ := f.Round(t.Context(), f.add(20)); n != 1 || time.Since(begin) > 0 {
			t.Errorf("%d answers after %s", n, time.Since(begin))
		}
		if s := f.State(); !s.Up || s.Trouble != nil || f.logs.count("WARN") != 0 {
			t.Errorf("%+v, logged %s", s, &f.logs.Buffer)
		}
		for _, o := range f.store.observations {
			want := jobs.Request{Outcome: jobstatus.Malformed, Detail: "at byte 7"}
			if o.RequestID == "job-0" {
				continue
			}
			if o.State != jobs.Unreadable || o.Readable != jobs.Completed || o.HealthyAt != o.At || *o.Request != want {
				t.Errorf("observed %+v", o)
			}
		}
	})
}

// Unusable answers about some jobs do not pause the account again and again, while others are answered well.
func TestUnusableForSomeJobs(t *testing.T) {
	for _, outcome := range []jobstatus.Outcome{jobstatus.Malformed, jobstatus.ClientError, jobstatus.TooLarge} {
		t.Run(outcome.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(&api{answer: func(id string) jobstatus.Answer {
					if id < "job-6" {
						return jobstatus.Answer{Outcome: outcome, Err: errors.New("unusable")}
					}
					return jobstatus.Answer{State: jobstatus.Running}
				}}, schedule.Limits{}, 0)
				f.add(9)
				f.run()
				defer f.stop()
				pass(6 * time.Hour)
				if n := f.logs.count("polling is paused"); n > 1 {
					t.Errorf("%d pauses, want at most that of the first answers:\n%s", n, &f.logs.Buffer)
				}
				bad := 0
				for _, request := range f.api.requests {
					if strings.HasSuffix(request, "job-0") {
						bad++
					}
				}
				if bad < 3 {
					t.Errorf("%d requests about a job with unusable answers", bad)
				}
			})
		})
	}
}

// Jobs whose answers were unusable while others were answered well do not hide that the API breaks later.
func TestUnusableForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		f := newFixture(&api{answer: func(id string) jobstatus.Answer {
			switch {
			case id != "job-4":
				return jobstatus.Answer{Outcome: jobstatus.Malformed, Err: errors.New("unusable")}
			case time.Since(begin) < 10*time.Minute:
				return jobstatus.Answer{State: jobstatus.Running}
			}
			return jobstatus.Answer{State: jobstatus.Completed} // the last good answer
		}}, schedule.Limits{}, 0)
		f.add(5)
		f.run()
		defer f.stop()
		pass(time.Hour)
		if s := f.State(); !s.Up {
			t.Errorf("%+v in the hour after a good answer", s.Trouble)
		}
		pass(time.Hour)
		if s := f.State(); s.Up || s.Trouble.Lasted < 30*time.Minute || f.logs.count("polling is paused") == 0 {
			t.Errorf("%+v, after no good answer for two hours:\n%s", s.Trouble, &f.logs.Buffer)
		}
	})
}

// count returns how many requests were about a job.
func (a *api) count(id string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, request := range a.requests {
		if strings.HasSuffix(request, " "+id) {
			n++
		}
	}
	return n
}

// Jobs whose requests fail, while those about others are answered, delay only themselves, within any quota.
func TestFailuresOfSomeJobs(t *testing.T) {
	for _, outcome := range []jobstatus.Outcome{jobstatus.ServerError, jobstatus.Network} {
		for _, limits := range []schedule.Limits{{}, schedule.PerMinute(5)} {
			for bad := 1; bad <= 2; bad++ {
				t.Run(fmt.Sprint(outcome, " of ", bad, " with ", limits), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f := newFixture(&api{answer: func(id string) jobstatus.Answer {
							if sequence(id) < uint64(bad) {
								return jobstatus.Answer{Outcome: outcome, Err: errors.New("failed")}
							}
							return jobstatus.Answer{State: jobstatus.Running}
						}}, limits, 0)
						f.add(11)
						f.run()
						defer f.stop()
						pass(5 * time.Minute)
						for id := bad; id < 11; id++ {
							if f.api.count(fmt.Sprint("job-", id)) == 0 {
								t.Errorf("job-%d was not polled", id)
							}
						}
						pass(12 * time.Hour)
						if n := f.logs.count("polling is paused"); !f.State().Up || n > 4 {
							t.Errorf("%d pauses, at the end %+v:\n%s", n, f.State().Trouble, &f.logs.Buffer)
						}
						if n := f.api.count("job-0"); n < 10 || n > 25 {
							t.Errorf("%d requests about a job that fails", n)
						}
					})
				})
			}
		}
	}
}

// Jobs that failed before an outage, while others did not, cost it few requests more; without others, it is as ever.
func TestFailuresOfAll(t *testing.T) {
	for _, n := range []int{1, 20} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			f := newFixture(&api{answer: func(id string) jobstatus.Answer {
				if id != "job-19" || time.Since(begin) > time.Hour {
					return jobstatus.Answer{Outcome: jobstatus.ServerError, Err: errors.New("failed")}
				}
				return jobstatus.Answer{State: jobstatus.Running}
			}}, schedule.Limits{}, 0)
			f.add(n)
			f.run()
			defer f.stop()
			pass(time.Hour)
			before := f.api.sent()
			pass(3 * time.Hour)
			// A pause is a quarter of an hour at most.
			if sent := f.api.sent() - before; sent < 11 || sent > 24 || f.State().Up {
				t.Errorf("%d jobs: %d requests in an outage of three hours, %+v", n, sent, f.State())
			}
		})
	}
}

// What an unreadable answer says about its job.
func TestUnreadableAnswers(t *testing.T) {
	malformed := func(unreadable bool, state jobstatus.State, code string) jobstatus.Answer {
		return jobstatus.Answer{Outcome: jobstatus.Malformed, AboutJob: unreadable, State: state, ErrorCode: code}
	}
	for _, tt := range []struct {
		answer          jobstatus.Answer
		state, readable jobs.State
		code            string
		about           bool
	}{
		{malformed(true, jobstatus.Running, ""), jobs.Running, jobs.Lost, "", true},
		{malformed(true, jobstatus.Completed, ""), jobs.Unreadable, jobs.Completed, "", true},
		{malformed(true, jobstatus.Failed, "x"), jobs.Unreadable, jobs.Failed, "x", true},
		{malformed(true, jobstatus.Unknown, ""), jobs.Unreadable, jobs.Lost, "", true},
		{malformed(false, jobstatus.Unknown, ""), jobs.Unreadable, jobs.Lost, "", false},
		{jobstatus.Answer{Outcome: jobstatus.TooLarge, AboutJob: true}, jobs.Unreadable, jobs.Lost, "", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(&api{answer: func(string) jobstatus.Answer { return tt.answer }}, schedule.Limits{}, 0)
			f.Round(t.Context(), f.add(1))
			o := f.store.observations[0]
			if o.State != tt.state || o.Readable != tt.readable || o.ErrorCode != tt.code ||
				o.HealthyAt.Equal(o.At) != tt.about {
				t.Errorf("%+v is observed as %+v", tt.answer, o)
			}
		})
	}
}

// A word that nobody knows is logged when it comes first, tenth, hundredth …, with its count.
func TestUnknownWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		word := "Archived"
		answer := func(string) jobstatus.Answer { return jobstatus.Answer{StateWord: word} }
		f := newFixture(&api{answer: answer}, schedule.Limits{}, 0)
		ids := f.add(5)
		for range 25 {
			f.Round(t.Context(), ids)
		}
		for _, count := range []string{"1\n", "10\n", "100\n"} {
			if n := f.logs.count(" count=" + count); n != 1 {
				t.Errorf("%d lines with count %s", n, count)
			}
		}
		if n := f.logs.count("state=Archived"); n != 3 {
			t.Errorf("%d lines", n)
		}
		for i := range 1000 {
			word = fmt.Sprint("word", i)
			f.Round(t.Context(), ids[:1])
		}
		if n := f.logs.count("WARN"); n > 120 {
			t.Errorf("%d lines about 1000 words", n)
		}
	})
}

// A problem of one job is logged once, and again if it comes back.
func TestProblemsAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := jobstatus.Answer{Outcome: jobstatus.Malformed}
		f := newFixture(&api{answer: func(string) jobstatus.Answer { return answer }}, schedule.Limits{}, 0)
		ids := f.add(1)
		for i, want := range []int{1, 1, 2} {
			if i == 2 {
				answer = jobstatus.Answer{State: jobstatus.Running}
				f.Round(t.Context(), ids)
				pass(10 * time.Minute)
				answer = jobstatus.Answer{Outcome: jobstatus.Malformed}
			}
			f.Round(t.Context(), ids)
			pass(10 * time.Minute) // the job is held
			if n := f.logs.count("Unusable API response"); n != want {
				t.Errorf("after round %d the log has %d lines, want %d", i, n, want)
			}
		}
	})
}

// A job that the API does not know is polled again after half the time that it has
// been missing, and no later than in half an hour.
func TestMissingJobs(t *testing.T) {
	for missing, want := range map[time.Duration]time.Duration{
		10 * time.Minute: 5 * time.Minute, 24 * time.Hour: 30 * time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(&api{answer: answers(jobstatus.NotFound)}, schedule.Limits{}, 0)
			f.store.missing = missing
			f.add(1)
			f.run()
			pass(want - time.Second)
			before := f.api.sent()
			pass(10 * time.Second)
			f.stop()
			if after := f.api.sent(); before != 1 || after != 2 {
				t.Errorf("%d requests within %s, then %d", before, want, after)
			}
		})
	}
}

// That the API knows no job at all is logged once, until it knows one.
func TestAllJobsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := jobstatus.Answer{Outcome: jobstatus.NotFound}
		f := newFixture(&api{answer: func(string) jobstatus.Answer { return answer }}, schedule.Limits{}, 0)
		ids := f.add(9)
		for i, step := range []struct {
			known          bool
			lines, unknown int
		}{{false, 0, 0}, {false, 1, 18}, {false, 1, 27}, {true, 1, 0}, {false, 1, 0}, {false, 2, 18}} {
			answer = jobstatus.Answer{Outcome: jobstatus.NotFound}
			if step.known {
				answer = jobstatus.Answer{State: jobstatus.Running}
			}
			f.Round(t.Context(), ids)
			lines, s := f.logs.count("API does not know any of the last jobs"), f.State()
			if lines != step.lines || s.Unknown != step.unknown || !s.Up {
				t.Errorf("round %d: %d lines, %d unknown, up %v; want %+v", i, lines, s.Unknown, s.Up, step)
			}
		}
	})
}

// A request that cannot be stored is not sent, and nothing is polled until the store
// can be written.
func TestUnwritable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(&api{answer: answers(jobstatus.OK)}, schedule.PerMinute(60), 1)
		f.add(3)
		f.store.fails = errors.New("disk full")
		f.run()
		pass(30 * time.Second)
		if sent := f.api.sent(); sent != 0 || f.schedule.InFlight() != 0 {
			t.Errorf("%d requests sent without a reservation, %d in flight", sent, f.schedule.InFlight())
		}
		f.store.mu.Lock()
		f.store.unwritable, f.store.log = f.store.fails, nil
		f.store.mu.Unlock()
		pass(time.Minute)
		if len(f.store.log) > 0 {
			t.Errorf("an unwritable store saw %v", f.store.log)
		}
		f.store.mu.Lock()
		f.store.unwritable, f.store.fails = nil, nil
		f.store.mu.Unlock()
		pass(time.Minute)
		f.stop()
		if sent := f.api.sent(); sent < 3 {
			t.Errorf("%d requests when the store can be written again", sent)
		}
	})
}

// The price and the number of due jobs are kept up to date while the quota is used up.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(&api{answer: answers(jobstatus.OK)}, schedule.Limits{PerDay: 2}, 0)
		f.run()
		f.add(2)
		pass(10 * time.Second)
		for i := range 3 {
			f.schedule.Add(time.Now(), schedule.Job{
				Sequence: uint64(2 + i), RequestID: fmt.Sprint("late-", i), Start: time.Now(), AtOnce: true,
			})
		}
		pass(10 * time.Second)
		f.stop()
		if due := f.schedule.View(time.Now(), nil).Due; due != 3 || f.api.sent() != 2 {
			t.Errorf("%d jobs are due, %d requests", due, f.api.sent())
		}
	})
}

// An observation that cannot be stored is lost: the job is polled again.
func TestObservationIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(&api{answer: answers(jobstatus.OK)}, schedule.Limits{}, 0)
		f.add(1)
		f.store.fails = errors.New("disk full")
		f.run()
		pass(time.Minute)
		if sent := f.api.sent(); sent < 2 || sent > 10 || f.schedule.InFlight() != 0 {
			t.Errorf("%d requests, %d in flight", sent, f.schedule.InFlight())
		}
		f.stop()
	})
}

// Stopping waits for the requests in flight. Those that it aborts say nothing about
// the API.
func TestStop(t *testing.T) {
	for _, abort := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(&api{answer: answers(jobstatus.OK), takes: 5 * time.Second}, schedule.Limits{}, 0)
			f.add(1)
			f.run()
			pass(time.Second)
			f.cancel()
			begin := time.Now()
			if abort {
				f.abort()
			}
			<-f.done
			f.abort()
			took, want := time.Since(begin), 4*time.Second
			if abort {
				want = 0
			}
			if took != want || f.schedule.InFlight() != 0 || f.State().Trouble != nil {
				t.Errorf("abort %v: stopped after %s, %d in flight, trouble %+v",
					abort, took, f.schedule.InFlight(), f.State().Trouble)
			}
			if counted := len(f.store.counted); counted != map[bool]int{false: 1}[abort] {
				t.Errorf("abort %v: counted %v", abort, f.store.counted)
			}
		})
	}
}

// An answer that is complete when requests are aborted counts, whatever it says.
func TestAnswerWhileStopping(t *testing.T) {
	for _, outcome := range []jobstatus.Outcome{
		jobstatus.OK, jobstatus.NotFound, jobstatus.ServerError, jobstatus.OverQuota,
		jobstatus.Network, jobstatus.Timeout,
	} {
		synctest.Test(t, func(t *testing.T) {
			var f *fixture
			f = newFixture(&api{answer: func(id string) jobstatus.Answer {
				f.abort()
				return answers(outcome)(id)
			}}, schedule.Limits{}, 0)
			f.add(1)
			f.run()
			pass(time.Second)
			f.stop()
			complete := outcome != jobstatus.Network && outcome != jobstatus.Timeout
			if counted := len(f.store.counted) > 0; counted != complete || f.schedule.InFlight() != 0 {
				t.Errorf("%s: counted %v, want %v; %d in flight", outcome, counted, complete, f.schedule.InFlight())
			}
		})
	}
}

// A restart does not know of a pause before it: one request finds out.
func TestStart(t *testing.T) {
	for outcome, want := range map[jobstatus.Outcome]int{
		jobstatus.OK: 16, jobstatus.NotFound: 16,
		jobstatus.ServerError: 1, jobstatus.RateLimited: 1, jobstatus.OverQuota: 1, jobstatus.Unauthorized: 1,
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(&api{answer: answers(outcome), takes: time.Second}, schedule.Limits{}, 0)
			f.add(16)
			f.run()
			pass(1500 * time.Millisecond)
			f.stop()
			if got := f.api.sent(); got != want {
				t.Errorf("%s: %d requests were sent", outcome, got)
			}
		})
	}
}

// After a pause one request is in flight at a time.
func TestRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outcome := jobstatus.OK
		var f *fixture
		f = newFixture(&api{answer: func(id string) jobstatus.Answer {
			f.api.mu.Lock()
			defer f.api.mu.Unlock()
			return answers(outcome)(id)
		}, takes: time.Second}, schedule.Limits{}, 0)
		f.add(17)
		f.run()
		pass(1500 * time.Millisecond) // the first request is answered
		f.api.mu.Lock()
		outcome = jobstatus.ServerError
		f.api.mu.Unlock()
		pass(5 * time.Second)
		if f.api.max != 16 || f.State().Trouble == nil || f.logs.count("level=WARN") != 1 {
			t.Errorf("%d requests in flight, trouble %+v", f.api.max, f.State().Trouble)
		}
		f.api.mu.Lock()
		outcome, f.api.max = jobstatus.OK, 0
		f.api.mu.Unlock()
		pass(15 * time.Second) // the pause ends 12 s after the start, and ten requests take 10 s
		if f.api.max != 1 || !f.State().Up || f.logs.count("API recovered") != 1 ||
			f.logs.count("failed_requests=16 after=11s") != 1 {
			t.Errorf("%d requests in flight, %+v", f.api.max, f.State())
		}
		f.stop()
	})
}

// An API that allows 6 requests a minute, of a configured 60, refuses with HTTP 429 and the code of a quota. The
// monitor pauses for a minute, and not for an hour as when the day's quota is used up; the code is in the log once,
// and in the state.
func TestRefusedForTheMinute(t *testing.T) {
	const code = "policies.ratelimit.QuotaViolation"
	synctest.Test(t, func(t *testing.T) {
		var f *fixture
		f = newFixture(&api{answer: func(string) jobstatus.Answer {
			f.api.mu.Lock()
			defer f.api.mu.Unlock()
			inMinute := 0
			for _, at := range f.api.at {
				if time.Since(at) < time.Minute {
					inMinute++
				}
			}
			if inMinute <= 6 {
				return jobstatus.Answer{State: jobstatus.Running}
			}
			return jobstatus.Answer{
				Outcome: jobstatus.OverQuota, HTTPStatus: http.StatusTooManyRequests, ErrorCode: code, Err: errors.New("refused"),
			}
		}}, schedule.PerMinute(60), 1)
		f.add(100)
		f.run()
		paused := false
		for range 60 {
			pass(time.Minute)
			s := f.State()
			paused = paused || s.Trouble != nil && s.Trouble.ErrorCode == code
			if s.Trouble != nil && time.Until(s.Trouble.Until) > 2*time.Minute {
				t.Fatalf("paused for %s", time.Until(s.Trouble.Until))
			}
		}
		f.stop()
		answered := len(f.store.observations)
		if answered < 60 || !paused || f.logs.count("error_code="+code) == 0 {
			t.Errorf("%d of %d requests were answered in an hour; the state had the code: %v; log:\n%s",
				answered, f.api.sent(), paused, f.logs.String())
		}
	})
}

func TestKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(&api{answer: answers(jobstatus.OK)}, schedule.Limits{}, 0)
		var readable atomic.Bool
		f.key = func() (string, error) {
			if readable.Load() {
				return "key", nil
			}
			return "", errors.New("permission denied")
		}
		f.add(1)
		f.run()
		pass(time.Hour)
		if f.api.sent() > 0 || !f.State().Trouble.NoKey || f.logs.count("API key cannot be read") != 3 {
			t.Errorf("%d requests, %+v, %d lines", f.api.sent(), f.State().Trouble, f.logs.count("API key"))
		}
		readable.Store(true)
		pass(time.Hour)
		if n := f.logs.count("API key can be used again; polling continues\" after=1h0m"); n != 1 || f.api.sent() == 0 {
			t.Errorf("%d requests when it can be read again, %d lines", f.api.sent(), n)
		}
		f.stop()
	})
}

// A store that does not let a key be used says nothing about the key.
func TestKeyThatCannotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(&api{answer: answers(jobstatus.OK)}, schedule.Limits{}, 0)
		var stored atomic.Bool
		f.key = func() (string, error) {
			if stored.Load() {
				return "key", nil
			}
			return "", fmt.Errorf("%w: disk full", poller.ErrStore)
		}
		f.add(1)
		f.run()
		pass(time.Hour)
		s := f.State()
		if f.api.sent() > 0 || s.Condition() != poller.NotAsked || f.logs.count("cannot be read") > 0 ||
			f.logs.count("since the store fails; polling stops") != 3 {
			t.Errorf("%d requests, %+v, log:\n%s", f.api.sent(), s, f.logs)
		}
		stored.Store(true)
		pass(time.Minute)
		if s := f.State(); f.api.sent() == 0 || !s.Up || f.logs.count("can be used again") != 1 {
			t.Errorf("%d requests, %+v, log:\n%s", f.api.sent(), s, f.logs)
		}
		f.stop()
	})
}

// An outage is logged when it begins, when its cause changes, after another key or a reload did not end it, and now and
// then as a reminder, with how long it lasts; then that it has ended.
func TestOutageIsLogged(t *testing.T) {
	network := func(cause error) jobstatus.Answer {
		return jobstatus.Answer{Outcome: jobstatus.Network, Err: fmt.Errorf("polling the API: %w", cause)}
	}
	refused := func(status int) jobstatus.Answer {
		o := map[int]jobstatus.Outcome{401: jobstatus.Unauthorized, 502: jobstatus.ServerError,
			503: jobstatus.ServerError}[status]
		return jobstatus.Answer{Outcome: o, HTTPStatus: status, Err: fmt.Errorf("HTTP %d", status)}
	}
	const failed, recovered = "API request failed", "API recovered"
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards answer and key
		answer, key := jobstatus.Answer{State: jobstatus.Running}, "key-1"
		f := newFixture(nil, schedule.Limits{}, 0)
		f.api = &api{answer: func(string) jobstatus.Answer {
			mu.Lock()
			defer mu.Unlock()
			return answer
		}}
		f.key = func() (string, error) {
			mu.Lock()
			defer mu.Unlock()
			return key, nil
		}
		settings := poller.Settings{Client: f.api, Key: func() (string, error) { return f.key() }}
		f.SetSettings(settings)
		f.add(1)
		f.run()
		for _, step := range []struct {
			name   string
			do     func()
			passes time.Duration
			want   []string // one for each line
		}{
			{"sound", nil, time.Minute, nil},
			{"502", func() { answer = refused(502) }, time.Hour, []string{
				`err="HTTP 502" pause=10s`, "pause=10m40s failed_requests=7 after=10m",
			}},
			{"503", func() { answer = refused(503) }, 25 * time.Minute,
				[]string{`err="HTTP 503" pause=15m0s failed_requests=11 after=1h6m10s`}},
			{"a reload", func() { f.SetSettings(settings) }, time.Minute, []string{"pause=10s"}},
			{"refused", func() { answer = network(syscall.ECONNREFUSED) }, 5 * time.Minute, []string{"connection refused"}},
			{"another port", func() {
				answer = network(&net.OpError{Op: "dial", Addr: &net.TCPAddr{Port: 1}, Err: syscall.ECONNREFUSED})
			}, 10 * time.Minute, nil},
			{"no such host", func() { answer = network(errors.New("no such host")) }, 20 * time.Minute,
				[]string{"no such host"}},
			{"401", func() { answer = refused(401) }, 20 * time.Minute, []string{"HTTP 401"}},
			{"another key", func() { key = "key-2" }, 4 * time.Minute, []string{"key_changed=true"}},
			{"recovered", func() { key, answer = "key-3", jobstatus.Answer{State: jobstatus.Running} }, time.Minute,
				[]string{recovered}},
			{"502 again", func() { answer = refused(502) }, 2 * time.Hour, []string{failed, failed, failed}},
		} {
			f.logs.Reset()
			if step.do != nil {
				mu.Lock()
				step.do()
				mu.Unlock()
			}
			pass(step.passes)
			lines := strings.Split(strings.TrimSuffix(f.logs.String(), "\n"), "\n")
			if f.logs.Len() == 0 {
				lines = nil
			}
			if len(lines) != len(step.want) {
				t.Errorf("%s: %d lines, want %d:\n%s", step.name, len(lines), len(step.want), f.logs)
				continue
			}
			for i, want := range step.want {
				if !strings.Contains(lines[i], want) || strings.Contains(lines[i], "key-") {
					t.Errorf("%s: %s lacks %s", step.name, lines[i], want)
				}
			}
		}
		f.stop()
	})
}

// New settings are used at once, and end a pause.
func TestSetSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := &api{answer: answers(jobstatus.ServerError)}
		f := newFixture(down, schedule.Limits{}, 0)
		f.add(1)
		f.run()
		pass(time.Hour)
		up := &api{answer: answers(jobstatus.OK)}
		f.SetSettings(poller.Settings{Client: up, Key: func() (string, error) { return "new", nil }})
		pass(11 * time.Second)
		f.stop()
		if up.sent() == 0 || up.requests[0] != "new job-0" || !f.State().Up {
			t.Errorf("sent %v, %+v", up.requests, f.State())
		}
	})
}

func TestHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(&api{answer: answers(jobstatus.OK)}, schedule.Limits{}, 0)
		pass(2*time.Minute + time.Second)
		if err := f.Healthy(); err == nil {
			t.Error("healthy, and it was never started")
		}
		f.run()
		pass(time.Hour)
		if err := f.Healthy(); err != nil {
			t.Error(err)
		}
		stuck := make(chan struct{})
		f.SetSettings(poller.Settings{Key: func() (string, error) { <-stuck; return "", errors.New("late") }})
		pass(2*time.Minute + 10*time.Second)
		if err := f.Healthy(); err == nil || !strings.Contains(err.Error(), "2 min") {
			t.Errorf("after two minutes in which Run was stuck: %v", err)
		}
		close(stuck)
		f.stop()
	})
}

// A result that had to wait for others says nothing about the API: its request is counted, and nothing pauses. It is
// logged once.
func TestDeferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(&api{takes: time.Second, answer: func(id string) jobstatus.Answer {
			if id == "job-0" {
				return jobstatus.Answer{Outcome: jobstatus.Timeout, Deferred: true, Err: jobstatus.ErrBusy}
			}
			return jobstatus.Answer{Outcome: jobstatus.OK, State: jobstatus.Completed}
		}}, schedule.PerMinute(60), 1)
		f.add(3)
		f.run()
		pass(150 * time.Second)
		why, _ := f.schedule.Explain(0, time.Now())
		f.stop()
		outcomes := make(map[jobstatus.Outcome]int)
		for _, r := range f.store.counted {
			outcomes[r.Outcome]++
		}
		want := map[jobstatus.Outcome]int{jobstatus.OK: 2, jobstatus.Timeout: 3} // at once, and after each minute
		if !maps.Equal(outcomes, want) || f.api.sent() != 5 || f.store.reserved != 5 || f.schedule.InFlight() != 0 {
			t.Errorf("%d requests sent, %d reserved, counted %v, want %v", f.api.sent(), f.store.reserved, outcomes, want)
		}
		if s := f.State(); !s.Up || f.logs.count("paused") > 0 || f.logs.count("not read in time") != 1 {
			t.Errorf("state %+v, logged:\n%s", s, f.logs.String())
		}
		if held := why.Short(); held != "the last response about it could not be read" {
			t.Errorf("the job is held: %s", held)
		}
	})
}

// A round asks for a result that had to wait for others again when it may have been read, and not before.
func TestRoundWithADeferredResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		f := newFixture(&api{answer: func(id string) jobstatus.Answer {
			if id == "job-0" && time.Since(begin) < 90*time.Second {
				return jobstatus.Answer{Outcome: jobstatus.Timeout, Deferred: true, Err: jobstatus.ErrBusy}
			}
			return jobstatus.Answer{Outcome: jobstatus.OK, State: jobstatus.Completed}
		}}, schedule.Limits{PerDay: 10}, 1)
		good, err := f.Round(t.Context(), f.add(3))
		if took := time.Since(begin); good != 3 || err != nil || f.api.sent() != 5 || took != 2*time.Minute {
			t.Errorf("%d answered of %d in %s, %v", good, f.api.sent(), took, err)
		}
	})
}

func TestRound(t *testing.T) {
	for name, tt := range map[string]struct {
		limits   schedule.Limits
		outcome  jobstatus.Outcome
		fail     int    // only so many requests, from the first on; 0: all have the outcome
		only     string // only requests about this job have the outcome; "": all
		jobs     int    // 0: 20
		noKey    bool
		store    error
		closed   error // of a store that does not say so before
		canceled bool

		answered, sent int
		left           int           // jobs; 0: those that are not sent
		took           time.Duration // at most; 0: a second
		warn           string
		err            string // "": none
		waits          int    // lines about waiting
	}{
		"all": {answered: 20, sent: 20},
		"the quota of the minute": {
			limits: schedule.PerMinute(10), answered: 20, sent: 20, took: 90 * time.Second, waits: 1,
		},
		"the quota of the day": {
			limits: schedule.Limits{PerDay: 7}, answered: 7, sent: 7, warn: "quota",
			err: "the quota is used up until 2000-01-02T00:01:27Z",
		},
		"unknown jobs": {outcome: jobstatus.NotFound, answered: 20, sent: 20},
		"the API is down": {outcome: jobstatus.ServerError, sent: 3, left: 20, took: 31 * time.Second, warn: "paused",
			err: "no request was answered with a state (3 sent); the last: server_error: refused"},
		"the first request fails": {
			outcome: jobstatus.Network, fail: 1, answered: 20, sent: 21, took: 13 * time.Second,
		},
		"the only job fails": {
			outcome: jobstatus.ServerError, fail: 2, jobs: 1, answered: 1, sent: 3, took: 31 * time.Second,
		},
		"one job fails always": {
			only: "job-3", outcome: jobstatus.Timeout, answered: 19, sent: 21, took: 11 * time.Second, waits: 1,
		},
		"the first job fails always": {
			only: "job-0", outcome: jobstatus.ServerError, answered: 19, sent: 21, took: 13 * time.Second,
		},
		"the API rejects the key": {outcome: jobstatus.Unauthorized, sent: 1, left: 20, warn: "paused",
			err: "no request was answered with a state (1 sent); the last: unauthorized: refused"},
		"the API rejects the requests": {
			limits: schedule.Limits{PerDay: 4}, outcome: jobstatus.ClientError, sent: 4, left: 16, warn: "paused",
			err: "no request was answered with a state (4 sent); the last: client_error: refused",
		},
		"the API refuses for quota": {outcome: jobstatus.OverQuota, sent: 1, left: 20, warn: "quota",
			err: "no request was answered with a state (1 sent); the last: over_quota: refused"},
		"the API rejects the key for the only job": {
			outcome: jobstatus.Unauthorized, jobs: 1, sent: 1, left: 1, warn: "paused",
			err: "no request was answered with a state (1 sent); the last: unauthorized: refused",
		},
		"the API refuses the only job for quota": {
			outcome: jobstatus.OverQuota, jobs: 1, sent: 1, left: 1, warn: "quota",
			err: "no request was answered with a state (1 sent); the last: over_quota: refused",
		},
		"the API limits the rate": {
			limits: schedule.PerMinute(60), outcome: jobstatus.RateLimited, jobs: 1, sent: 1, left: 1, warn: "paused",
			err: "no request was answered with a state (1 sent); the last: rate_limited: refused",
		},
		"no key":                      {noKey: true, warn: "no key", err: "no key"},
		"the store cannot be written": {store: errors.New("disk full"), warn: "disk full", err: "disk full"},
		"the account has gone":        {closed: jobs.ErrClosed, warn: "closed", err: "the store is closed"},
		"it is canceled":              {canceled: true, warn: "context canceled", err: "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(&api{answer: answers(tt.outcome), takes: 100 * time.Millisecond}, tt.limits, 1)
				if tt.noKey {
					f.key = func() (string, error) { return "", errors.New("no key") }
				}
				if tt.fail > 0 {
					var n atomic.Int64
					failing, well := f.api.answer, answers(jobstatus.OK)
					f.api.answer = func(id string) jobstatus.Answer {
						if n.Add(1) <= int64(tt.fail) {
							return failing(id)
						}
						return well(id)
					}
				}
				if bad := f.api.answer; tt.only != "" {
					f.api.answer = func(id string) jobstatus.Answer {
						if id == tt.only {
							return bad(id)
						}
						return answers(jobstatus.OK)(id)
					}
				}
				f.store.unwritable, f.store.fails = tt.store, tt.closed
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.canceled {
					cancel()
				}
				begin := time.Now()
				unfinished := f.add(cmp.Or(tt.jobs, 20))
				answered, err := f.Round(ctx, unfinished)
				took, most := time.Since(begin), cmp.Or(tt.took, time.Second)
				if answered != tt.answered || f.api.sent() != tt.sent || took > most {
					t.Errorf("%d answered of %d in %s, want %+v", answered, f.api.sent(), took, tt)
				}
				if fmt.Sprint(cmp.Or(err, errors.New(""))) != tt.err {
					t.Errorf("error %v, want %s", err, tt.err)
				}
				if waits := f.logs.count("Waiting until the next request"); waits != tt.waits {
					t.Errorf("%d lines about waiting, want %d:\n%s", waits, tt.waits, f.logs.String())
				}
				if f.schedule.InFlight() != 0 {
					t.Errorf("%d requests in flight", f.schedule.InFlight())
				}
				left := fmt.Sprintf("jobs_left=%d", cmp.Or(tt.left, len(unfinished)-tt.sent))
				if warned := f.logs.count("Not all jobs were polled"); warned != map[bool]int{true: 1}[tt.warn != ""] ||
					warned > 0 && (f.logs.count(left) != 1 || f.logs.count(tt.warn) == 0) {
					t.Errorf("log, which should say %q and %q:\n%s", tt.warn, left, f.logs.String())
				}
			})
		})
	}
}

package collector

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// A memory is a store that can fail.
type memory struct {
	mu      sync.Mutex
	fails   error
	tries   int
	batches []*store.Batch
	hangs   chan struct{} // commits wait until it is closed; nil: they do not
	takes   time.Duration // each commit
}

func (m *memory) Load(context.Context) (*store.Contents, error) { return new(store.Contents), nil }
func (m *memory) Verify() error                                 { return nil }
func (m *memory) Inbox() ([]store.Message, bool, error)         { return nil, false, nil }
func (m *memory) Size() int64                                   { return 0 }

func (m *memory) Commit(b *store.Batch) error {
	if m.hangs != nil {
		<-m.hangs
	}
	m.mu.Lock()
	takes := m.takes
	m.mu.Unlock()
	<-time.After(takes) // in virtual time
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tries++
	if m.fails == nil {
		m.batches = append(m.batches, b)
	}
	return m.fails
}

var one = []submission.Job{{RequestID: "a"}}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = err
}

func newKeeper(t *testing.T, m *memory) (h *housekeeper, log *bytes.Buffer) {
	t.Helper()
	log = new(bytes.Buffer)
	j, err := jobs.Open(t.Context(), m, jobs.Options{Retention: time.Hour, MaxJobAge: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h = &housekeeper{
		jobs: j, schedule: schedule.New(schedule.Limits{}, time.Now()), quotas: newQuotas(),
		log: slog.New(slog.NewTextHandler(log, nil)), now: time.Now,
	}
	return h, log
}

// keep runs the housekeeping for a time.
func keep(t *testing.T, h *housekeeper, length time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	h.run(ctx)
	synctest.Wait()
}

// It is logged once that the store cannot be written, and once that it can again. It is
// tried every five seconds.
func TestStoreProblemsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		h, log := newKeeper(t, m)
		for range 2 {
			m.fail(errors.New("disk full"))
			if _, _, err := h.jobs.Register(submission.HTTP, one, false, time.Now()); err == nil {
				t.Fatal("registered without a store")
			}
			m.tries = 0
			keep(t, h, time.Minute+time.Second)
			if m.tries != 12 {
				t.Errorf("the store was tried %d times in a minute", m.tries)
			}
			m.fail(nil)
			keep(t, h, 11*time.Second)
		}
		if n := strings.Count(log.String(), `level=ERROR msg="Store cannot be written`); n != 2 {
			t.Errorf("%d lines about errors:\n%s", n, log)
		}
		if n := strings.Count(log.String(), "Store can be written again"); n != 2 || strings.Count(log.String(), "\n") != 4 {
			t.Errorf("the log:\n%s", log)
		}
	})
}

// messages receives the messages of a log.
type messages chan string

func (m messages) Enabled(context.Context, slog.Level) bool      { return true }
func (m messages) Handle(_ context.Context, r slog.Record) error { m <- r.Message; return nil }
func (m messages) WithAttrs([]slog.Attr) slog.Handler            { return m }
func (m messages) WithGroup(string) slog.Handler                 { return m }

// A disk that does not answer is a store that cannot be written, although no commit has failed. That is logged while
// the sweep waits for it, too.
func TestStoreThatHangsIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{hangs: make(chan struct{})}
		h, _ := newKeeper(t, m)
		logged := make(messages, 10)
		h.log = slog.New(logged)
		want := func(when, want string, writable bool) {
			t.Helper()
			got := ""
			for len(logged) > 0 {
				got += <-logged
			}
			if err := h.jobs.Writable(); !strings.HasPrefix(got, want) || (want == "") != (got == "") ||
				(err == nil) != writable {
				t.Errorf("%s: %v, logged %q", when, err, got)
			}
		}
		go h.jobs.CountSourceErrors(submission.File, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go h.run(ctx)
		pass(20 * time.Second)
		want("a slow commit", "", true)
		pass(time.Hour)
		want("a commit that hangs", "Store cannot be written", false)
		close(m.hangs)
		pass(time.Minute)
		want("after it", "Store can be written again", true)
		cancel()
	})
}

// A disk that is always too slow for requests is logged, with a reminder, and once that it is fast enough again.
func TestSlowStoreIsLogged(t *testing.T) {
	for _, takes := range []time.Duration{6 * time.Second, 12 * time.Second, 40 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			m := &memory{takes: takes}
			h, log := newKeeper(t, m)
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { h.run(ctx) })
			for range 2 { // a reservation may wait for the commit before it
				running.Go(func() {
					every(ctx, time.Second, func() {
						if h.jobs.Writable() == nil {
							_ = h.jobs.Reserve(time.Now(), 1)
						}
					})
				})
			}
			pass(time.Hour)
			text := log.String()
			if n := strings.Count(text, "\n"); n < 2 || n > 3 || n != strings.Count(text, "Store cannot be written") {
				t.Errorf("each commit takes %s:\n%s", takes, text)
			}
			log.Reset()
			m.mu.Lock()
			m.takes = time.Second
			m.mu.Unlock()
			pass(time.Hour)
			if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "Store can be written again") {
				t.Errorf("each commit takes a second:\n%s", text)
			}
			cancel()
			running.Wait()
		})
	}
}

// That others spend the day's quota is stored at once: --plan of a copy, and a restart after a crash, have to know it.
func TestRefusalIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		h, _ := newKeeper(t, m)
		limits := schedule.PerMinute(5)
		limits.PerDay = 100
		h.schedule.SetLimits(limits)
		h.schedule.Add(time.Now(), schedule.Job{RequestID: "a", Start: time.Now(), AtOnce: true})
		before := -1
		time.AfterFunc(90*time.Second, func() {
			m.mu.Lock()
			before = len(m.batches)
			m.mu.Unlock()
			permit, _ := h.schedule.PermitFor(0, "a", time.Now())
			permit.Refused(time.Now(), true)
		})
		keep(t, h, 101*time.Second)
		if n := len(m.batches) - before; n != 1 || !strings.Contains(string(m.batches[before].Learnt), `"others":`) {
			t.Errorf("%d commits after the refusal", n)
		}
	})
}

// A refusal that was stored by a clock that was ahead is not stored again and again.
func TestRefusalOfTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		h, _ := newKeeper(t, m)
		limits, future := schedule.PerMinute(5), time.Now().Add(24*time.Hour)
		limits.PerDay = 100
		ahead := schedule.New(limits, future)
		ahead.Add(future, schedule.Job{RequestID: "a", Start: future, AtOnce: true})
		permit, _ := ahead.PermitFor(0, "a", future)
		permit.Refused(future, true)
		learnt, err := ahead.Learnt(future)
		if err != nil {
			t.Fatal(err)
		}
		h.schedule.SetLimits(limits)
		if err := h.schedule.Recall(learnt); err != nil {
			t.Fatal(err)
		}
		keep(t, h, 4*time.Minute)
		if n := len(m.batches); n != 2 { // after 1 and 3 minutes
			t.Errorf("what was learnt was stored %d times in four minutes", n)
		}
	})
}

// Jobs are swept, and what the scheduler has learnt is stored every ten minutes.
func TestHousekeeping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		h, log := newKeeper(t, m)
		if _, _, err := h.jobs.Register(submission.HTTP, one, false, time.Now()); err != nil {
			t.Fatal(err)
		}
		keep(t, h, 3*time.Hour)
		learnt := 0
		for _, b := range m.batches {
			if b.Learnt != nil {
				learnt++
			}
		}
		if learnt != 20 { // after 1, 3, 7 and 15 minutes, and then every ten
			t.Errorf("what was learnt was stored %d times in three hours", learnt)
		}
		// It was given up after twice the maximum age.
		if j, known := h.jobs.Job("a"); !known || j.State != jobs.Lost {
			t.Errorf("the job is %+v", j)
		}
		if log.Len() > 0 {
			t.Errorf("logged:\n%s", log)
		}
	})
}

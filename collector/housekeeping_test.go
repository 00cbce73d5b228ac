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
}

func (m *memory) Load(context.Context) (*store.Contents, error) { return new(store.Contents), nil }
func (m *memory) Verify() error                                 { return nil }
func (m *memory) Size() int64                                   { return 0 }

func (m *memory) Commit(b *store.Batch) error {
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
		jobs: j, schedule: schedule.New(schedule.Limits{}, time.Now()),
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
			keep(t, h, 6*time.Second)
		}
		if n := strings.Count(log.String(), `level=ERROR msg="Store cannot be written`); n != 2 {
			t.Errorf("%d lines about errors:\n%s", n, log)
		}
		if n := strings.Count(log.String(), "Store can be written again"); n != 2 || strings.Count(log.String(), "\n") != 4 {
			t.Errorf("the log:\n%s", log)
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
		if learnt < 17 || learnt > 18 {
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

package source_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/source"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// every is the time between two looks, in the virtual time of a bubble.
const every = 5 * time.Second

// journal is a handler that writes down what it is told since it was last read.
type journal struct {
	t    *testing.T
	from submission.Source

	mu        sync.Mutex
	accept    int // how many of the next batches Track takes,
	refuse    int // and how many it refuses after that
	refused   []string
	ids       []string
	batches   []int
	problems  []string
	count     int // of the problems
	successes int
}

func (j *journal) handler() source.Handler {
	check := func(from submission.Source) {
		if from != j.from {
			j.t.Errorf("source %q, want %q", from, j.from)
		}
	}
	return source.Handler{
		Track: func(_ context.Context, from submission.Source, jobs []submission.Job) error {
			check(from)
			j.mu.Lock()
			defer j.mu.Unlock()
			var names []string
			for _, job := range jobs {
				names = append(names, job.RequestID)
			}
			if j.accept == 0 && j.refuse > 0 {
				j.refuse--
				j.refused = append(j.refused, names...)
				return errors.New("the disk is full")
			}
			j.accept = max(j.accept-1, 0)
			j.ids = append(j.ids, names...)
			j.batches = append(j.batches, len(jobs))
			return nil
		},
		Problem: func(from submission.Source, n int, err error) {
			check(from)
			j.mu.Lock()
			defer j.mu.Unlock()
			j.problems = append(j.problems, err.Error())
			j.count += n
		},
		Looked: func(from submission.Source, sound bool) {
			check(from)
			if !sound {
				return
			}
			j.mu.Lock()
			defer j.mu.Unlock()
			j.successes++
		},
	}
}

func (j *journal) refuseNext(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refuse = n
}

// told checks what was told since the last call, and forgets it.
func (j *journal) told(ids, problems []string, success bool) {
	j.t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.ids, ids) {
		j.t.Errorf("tracked %q, want %q", j.ids, ids)
	}
	if !slices.Equal(j.problems, problems) {
		j.t.Errorf("problems %q, want %q", j.problems, problems)
	}
	if got := j.successes > 0; got != success {
		j.t.Errorf("success %v, want %v", got, success)
	}
	j.reset()
}

func (j *journal) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reset()
}

func (j *journal) reset() {
	j.ids, j.batches, j.problems, j.count, j.successes, j.refused = nil, nil, nil, 0, 0, nil
}

// pass lets virtual time pass, until everything has come to rest.
func (j *journal) pass(d time.Duration) {
	j.sync()
	<-time.NewTimer(d).C
	synctest.Wait()
}

// sync tells the race detector that what the test has done before it calls pass
// comes before what a server does when it is asked after that. Virtual time
// sees to it, but the detector does not know of time.
func (j *journal) sync() {
	j.mu.Lock()
	defer j.mu.Unlock()
}

func ids(ids ...string) []string { return ids }

// acceptThenRefuse has Track take n batches and refuse the one after them.
func (j *journal) acceptThenRefuse(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.accept, j.refuse = n, 1
}

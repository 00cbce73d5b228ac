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

// every is the interval of looks, in virtual time.
const every = 5 * time.Second

// recorder is a handler that records calls until expect checks them.
type recorder struct {
	t    *testing.T
	from submission.Source

	mu        sync.Mutex
	accept    int // number of next batches that Track accepts,
	refuse    int // and number that it refuses after those
	refused   []string
	ids       []string
	batches   []int
	first     []string // of ids, those of a first look
	problems  []string // that are new,
	count     int      // and their number
	present   []string // all problems of the last look
	left      int64    // bytes, after the last look
	successes int
}

func (j *recorder) handler() source.Handler {
	check := func(from submission.Source) {
		if from != j.from {
			j.t.Errorf("source %q, want %q", from, j.from)
		}
	}
	return source.Handler{
		Account: "own",
		Track: func(_ context.Context, from submission.Source, jobs []submission.Job, firstLook bool) error {
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
			if firstLook {
				j.first = append(j.first, names...)
			}
			return nil
		},
		Looked: func(from submission.Source, problems []source.Problem, ok bool, left int64) {
			check(from)
			j.mu.Lock()
			defer j.mu.Unlock()
			j.present, j.left = nil, left
			for _, p := range problems {
				j.present = append(j.present, p.Err.Error())
				if p.New > 0 {
					j.problems = append(j.problems, p.Err.Error())
					j.count += p.New
				}
			}
			if ok {
				j.successes++
			}
		},
	}
}

func (j *recorder) refuseNext(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refuse = n
}

// expect checks the calls since the last expect or forget.
func (j *recorder) expect(ids, problems []string, success bool) {
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

// lasting checks the problems of the last look, new or not.
func (j *recorder) lasting(problems ...string) {
	j.t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.present, problems) {
		j.t.Errorf("lasting problems %q, want %q", j.present, problems)
	}
}

// unread checks whether something was left to read in the last look.
func (j *recorder) unread(want bool) {
	j.t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.left > 0 != want {
		j.t.Errorf("%d bytes are left to read, want some: %v", j.left, want)
	}
}

func (j *recorder) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reset()
}

func (j *recorder) reset() {
	j.first, j.ids, j.batches, j.problems, j.count, j.successes, j.refused = nil, nil, nil, nil, 0, 0, nil
}

// pass advances virtual time and waits until all goroutines are blocked.
func (j *recorder) pass(d time.Duration) {
	j.sync()
	<-time.NewTimer(d).C
	synctest.Wait()
}

// sync orders what the test did before pass before later requests, for the race detector,
// which does not know that virtual time orders them.
func (j *recorder) sync() {
	j.mu.Lock()
	defer j.mu.Unlock()
}

func ids(ids ...string) []string { return ids }

// acceptThenRefuse makes Track accept n batches and refuse the next.
func (j *recorder) acceptThenRefuse(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.accept, j.refuse = n, 1
}

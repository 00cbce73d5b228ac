package collector_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// idle returns an account that polls nothing: its scheduler only follows its jobs.
func idle(t *testing.T) *collector.Account {
	t.Helper()
	account := config(func(c *collector.Config) { c.AdoptUnknownWebhooks = false })
	c, err := collector.New([]collector.Config{account}, collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop(t.Context()) })
	return c.Accounts()[0]
}

// What can happen to a job.
type act func(a *collector.Account, id string) error

var (
	register act = func(a *collector.Account, id string) error {
		_, _, err := a.Register(submission.HTTP, []submission.Job{{RequestID: id}})
		return err
	}
	remove act = func(a *collector.Account, id string) error {
		if err := a.Remove(id); err != collector.ErrUnknownJob {
			return err
		}
		return nil
	}
	end act = func(a *collector.Account, id string) error {
		_, err := a.Webhook(io.NopCloser(strings.NewReader(`{"request_id":"`+id+`","response":null}`)), false)
		return err
	}
)

// together does things at the same time.
func together(t *testing.T, a *collector.Account, id string, acts ...act) {
	t.Helper()
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for _, i := range rand.Perm(len(acts)) { // the one that is started last often runs first
		do := acts[i]
		wg.Go(func() {
			<-begin
			if err := do(a, id); err != nil {
				t.Error(err)
			}
		})
	}
	close(begin)
	wg.Wait()
}

// agree fails if the scheduler does not know exactly the jobs that are tracked and
// unfinished. It reports whether this one is.
func agree(t *testing.T, a *collector.Account, id string) (unfinished bool) {
	t.Helper()
	j, _, known := a.Job(id)
	unfinished = known && !j.State.Ended()
	if _, scheduled := a.Explain(id); scheduled != unfinished {
		t.Fatalf("%s: tracked %v, unfinished %v, and in the scheduler: %v", id, known, unfinished, scheduled)
	}
	return unfinished
}

// Whatever happens to a job at the same time, the scheduler knows it afterwards if and
// only if it is tracked and unfinished.
func TestSchedulerFollowsJobs(t *testing.T) {
	for name, tt := range map[string]struct {
		before, atOnce []act
		unfinished     bool // is one of the results
	}{
		"registered":             {nil, []act{register}, true},
		"ended":                  {[]act{register}, []act{end}, false},
		"removed":                {[]act{register}, []act{remove}, false},
		"removed and registered": {[]act{register}, []act{remove, register}, true},
		"registered and ended":   {nil, []act{register, end}, true},
		"registered again among late webhooks": {
			[]act{register, remove}, []act{end, end, end, end, register}, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, unfinished := idle(t), 0
			for i := range 300 {
				id := fmt.Sprint(i)
				for _, do := range tt.before {
					if err := do(a, id); err != nil {
						t.Fatal(err)
					}
				}
				together(t, a, id, tt.atOnce...)
				if agree(t, a, id) {
					unfinished++
				}
			}
			if scheduled := len(a.NextPolls(1000)); (unfinished > 0) != tt.unfinished || scheduled != unfinished {
				t.Errorf("%d jobs are unfinished, and %d in the scheduler", unfinished, scheduled)
			}
		})
	}
}

// The same under load: before events, a job that was registered again was forgotten by
// the scheduler in one of some thousand rounds.
func TestStressSchedulerFollowsJobs(t *testing.T) {
	a := idle(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	rounds, unfinished := 0, 0
	for worker := range 4 {
		wg.Go(func() {
			for i := range longtest.Size(500, 100_000) {
				id := fmt.Sprint(worker, "-", i)
				for _, do := range []act{register, remove} {
					if err := do(a, id); err != nil {
						t.Error(err)
					}
				}
				together(t, a, id, end, end, end, end, register)
				j, _, known := a.Job(id)
				_, scheduled := a.Explain(id)
				if want := known && !j.State.Ended(); scheduled != want {
					t.Errorf("%s: unfinished %v, and in the scheduler: %v", id, want, scheduled)
				}
				mu.Lock()
				rounds++
				if scheduled {
					unfinished++
				}
				mu.Unlock()
				if err := remove(a, id); err != nil { // fewer jobs make more rounds
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if unfinished == 0 || unfinished == rounds {
		t.Errorf("the job was unfinished after %d of %d rounds", unfinished, rounds)
	}
	if left := a.NextPolls(1000); len(left) > 0 {
		t.Errorf("%d jobs were removed, and are in the scheduler", len(left))
	}
}

package collector_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// Whatever happens to a job at the same time, it is asked about afterwards if and
// only if it is tracked and has not ended.
func TestAtTheSameTime(t *testing.T) {
	c, err := collector.New([]collector.Config{config(nil)}, collector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop(t.Context())
	a := c.Accounts()[0]
	track := func(id string) error {
		_, _, err := a.Track(t.Context(), submission.HTTP, []submission.Job{{RequestID: id}})
		return err
	}
	untrack := func(id string) error {
		if err := a.Untrack(t.Context(), id); err != collector.ErrUnknownJob {
			return err
		}
		return nil
	}
	webhook := func(id string) error {
		_, err := a.Webhook(t.Context(), io.NopCloser(strings.NewReader(`{"request_id":"`+id+`","response":null}`)), false)
		return err
	}
	for name, tt := range map[string]struct {
		before bool // it is tracked
		do     []func(id string) error
	}{
		"removed and registered": {true, []func(string) error{untrack, track}},
		"registered and ended":   {false, []func(string) error{track, webhook}},
	} {
		t.Run(name, func(t *testing.T) {
			tracked := 0
			for i := range 500 {
				id := fmt.Sprint(name, i)
				if tt.before {
					if err := track(id); err != nil {
						t.Fatal(err)
					}
				}
				var wg sync.WaitGroup
				slices.Reverse(tt.do) // the one that is begun last often runs first
				for _, do := range tt.do {
					wg.Go(func() {
						if err := do(id); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				j, _, known := a.Job(id)
				if known {
					tracked++
				}
				if _, asked := a.Explain(id); asked != (known && !j.State.Ended()) {
					t.Fatalf("job %d is asked about: %v; tracked: %v, %s", i, asked, known, j.State)
				}
			}
			if tracked == 0 {
				t.Error("no job was tracked afterwards")
			}
		})
	}
}

package schedule_test

import (
	"slices"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

func TestNextPolls(t *testing.T) {
	q := schedule.NewQueue()
	if polls := q.NextPolls(at(0), 3); len(polls) > 0 {
		t.Errorf("an empty queue has %v", polls)
	}
	for _, id := range []string{"asked", "waiting", "under way", "new"} {
		q.Add(id, at(0), at(0))
	}
	q.Asked("asked", at(time.Second), 0)
	q.Asked("waiting", at(time.Second), time.Hour)
	q.Asked("under way", at(-time.Hour), 0)
	if id, _ := q.Next(at(0)); id != "new" {
		t.Fatalf("next is %q", id)
	}
	q.Asked("new", at(-time.Minute), 0)
	if id, _ := q.Next(at(0)); id != "under way" {
		t.Fatalf("next is %q", id)
	}

	// Those that are due come in the order in which they are asked about, before
	// those that wait.
	want := []schedule.Poll{
		{RequestID: "new", At: at(-50 * time.Second)},
		{RequestID: "asked", At: at(11 * time.Second)},
		{RequestID: "waiting", At: at(time.Hour + time.Second)},
	}
	for n := range 5 {
		if polls := q.NextPolls(at(time.Minute), n); !slices.Equal(polls, want[:min(n, 3)]) {
			t.Errorf("the next %d are %v", n, polls)
		}
	}
}

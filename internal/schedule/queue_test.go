package schedule_test

import (
	"slices"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/schedule"
)

func TestQueueOrder(t *testing.T) {
	q := schedule.NewQueue()
	q.Add("old", at(-time.Hour), at(0))
	q.Add("new", at(0), at(0))
	q.Add("new", at(-2*time.Hour), at(0)) // already there
	q.Add("gone", at(0), at(0))
	q.Remove("gone")
	if due, _ := q.Due(at(0)); due != 2 {
		t.Errorf("%d due, want 2", due)
	}
	var order []string
	for {
		id, ok := q.Next(at(0))
		if !ok {
			break
		}
		order = append(order, id)
	}
	if want := []string{"old", "new"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	q.Asked("old", at(0), 0)
	q.Asked("new", at(0), 0)
	q.Asked("gone", at(0), 0) // of no effect

	// The gap grows with the age: a quarter of an hour, and the shortest gap.
	if got, want := q.NextPoll("old"), at(15*time.Minute); !got.Equal(want) {
		t.Errorf("the old job is due at %s, want %s", got, want)
	}
	if got, want := q.NextPoll("new"), at(10*time.Second); !got.Equal(want) {
		t.Errorf("the new job is due at %s, want %s", got, want)
	}
	if due, next := q.Due(at(time.Second)); due != 0 || !next.Equal(at(10*time.Second)) {
		t.Errorf("%d due, the next at %s", due, next)
	}
	// Both due: the one that was asked longest ago comes first, and a job that was
	// never asked before both.
	q.Next(at(10 * time.Second))
	q.Asked("new", at(10*time.Second), time.Minute)
	q.Add("newest", at(time.Hour), at(time.Hour))
	for _, want := range []string{"newest", "old", "new"} {
		if id, _ := q.Next(at(time.Hour)); id != want {
			t.Errorf("next is %q, want %q", id, want)
		}
	}
	q.Unanswered("old", at(time.Hour), 0)
	if got, want := q.NextPoll("old"), at(time.Hour+10*time.Second); !got.Equal(want) {
		t.Errorf("without an answer the old job is due at %s, want %s", got, want)
	}
	q.Next(at(2 * time.Hour))
	q.Unanswered("old", at(2*time.Hour), time.Hour)
	if got, want := q.NextPoll("old"), at(3*time.Hour); !got.Equal(want) {
		t.Errorf("without an answer the old job is due at %s, want %s", got, want)
	}
	if got := q.NextPoll("unknown"); !got.IsZero() {
		t.Errorf("an unknown job is due at %s", got)
	}
}

// Nobody starves: with far more jobs than the quota can serve, each is asked
// about before any is asked about again.
func TestQueueIsFair(t *testing.T) {
	q := schedule.NewQueue()
	const jobs = 200
	for i := range jobs {
		q.Add(string(rune('a'+i)), at(0), at(0))
	}
	now := at(0)
	asked := make(map[string]int)
	for turn := range 10 * jobs {
		now = now.Add(12 * time.Minute)
		id, ok := q.Next(now)
		if !ok {
			t.Fatal("no job is due")
		}
		asked[id]++
		q.Asked(id, now, 0)
		if (turn+1)%jobs == 0 {
			for id, n := range asked {
				if n != (turn+1)/jobs {
					t.Fatalf("after %d turns %q was asked about %d times", turn+1, id, n)
				}
			}
		}
	}
}

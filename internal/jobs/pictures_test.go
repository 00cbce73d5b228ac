package jobs_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/sqlite"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// The pictures of the jobs that ended last are kept, of as many as may have series,
// for as long as the job is, and over restarts.
func TestPictures(t *testing.T) {
	dir := t.TempDir()
	options := jobs.Options{Retention: time.Hour, MaxJobAge: 24 * time.Hour, MaxJobSeries: 3, KeepTimings: true}
	open := func() (*jobs.Register, func()) {
		db, err := sqlite.Open(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		r, err := jobs.Open(context.Background(), options, db.Account("a"), start)
		if err != nil {
			t.Fatal(err)
		}
		return r, func() { db.Close() }
	}
	kept := func(r *jobs.Register) (ids string) {
		for i := range 8 {
			if marks := r.Marks(fmt.Sprint(i)); len(marks) == 1 && marks[0].Speaker == i {
				ids += fmt.Sprint(i)
			}
		}
		return ids
	}
	r, done := open()
	end := func(i int) {
		id := fmt.Sprint(i)
		track(t, r, at(0), id)
		result := words(1)
		result.Timings = []transcript.Timing{{Start: 1, End: 2, Confidence: .5, Speaker: i}}
		observe(t, r, jobs.Observation{RequestID: id, At: at(time.Duration(i) * time.Minute), State: jobs.Completed, Result: result})
	}
	for i := range 5 {
		end(i)
	}
	if got := kept(r); got != "234" {
		t.Errorf("kept %q", got)
	}
	if _, err := r.Untrack(context.Background(), "3", at(6*time.Minute)); err != nil {
		t.Fatal(err)
	}
	done()
	r, done = open()
	if got := kept(r); got != "24" {
		t.Errorf("after a restart, kept %q", got)
	}
	end(6)
	end(7)
	if got := kept(r); got != "467" {
		t.Errorf("after two more, kept %q", got)
	}
	if err := r.Sweep(context.Background(), at(4*time.Minute+time.Hour+time.Second)); err != nil {
		t.Fatal(err)
	}
	options.KeepTimings = false
	r.SetOptions(options)
	end(5)
	if got := kept(r); got != "67" {
		t.Errorf("without the one out of retention, kept %q", got)
	}
	done()
	r, done = open()
	defer done()
	if got := kept(r); got != "67" {
		t.Errorf("after another restart, kept %q", got)
	}
}

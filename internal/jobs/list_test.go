package jobs_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

func TestList(t *testing.T) {
	j := open(t, nil, options())
	for i := range 10 {
		register(t, j, start, fmt.Sprint(i))
	}
	observe(t, j, jobs.Observation{RequestID: "7", At: start, State: jobs.Failed, ErrorCode: "code"})
	observe(t, j, jobs.Observation{RequestID: "2", At: start, State: jobs.Failed})
	all, failed, pending := jobs.Filter{}, jobs.Filter{State: new(jobs.Failed)}, jobs.Filter{State: new(jobs.Pending)}
	for _, tt := range []struct {
		filter jobs.Filter
		after  string
		limit  int
		want   string
		next   string
		ok     bool
	}{
		{all, "", 3, "[9 8 7]", "7", true},
		{all, "7", 3, "[6 5 4]", "4", true},
		{all, "8", 9, "[7 6 5 4 3 2 1 0]", "", true},
		{all, "1", 1, "[0]", "", true},
		{all, "0", 3, "[]", "", true},
		{failed, "", 3, "[7 2]", "", true},
		{failed, "", 1, "[7]", "7", true},
		{failed, "8", 3, "[7 2]", "", true},
		{failed, "7", 3, "[2]", "", true},
		{failed, "2", 3, "[]", "", true},
		{jobs.Filter{ErrorCode: "code"}, "", 3, "[7]", "", true},
		{pending, "", 3, "[9 8 6]", "6", true},
		{pending, "7", 9, "[6 5 4 3 1 0]", "", true},
		{jobs.Filter{Part: "4"}, "", 3, "[4]", "", true},
		{all, "unknown", 3, "[]", "", false},
	} {
		listed, next, ok := j.List(tt.filter, tt.after, tt.limit)
		if got := fmt.Sprint(ids(listed)); got != tt.want || next != tt.next || ok != tt.ok {
			t.Errorf("%+v after %q: %s, next %q, %v; want %+v", tt.filter, tt.after, got, next, ok, tt)
		}
	}
}

// A page of very many jobs may be short, and the pages together are complete.
func TestListIsBounded(t *testing.T) {
	const n = 120_000
	j := open(t, nil, options())
	var all []submission.Job
	for i := range n {
		all = append(all, submission.Job{RequestID: fmt.Sprintf("job-%06d", i)})
	}
	if _, _, err := j.Register(submission.HTTP, all, false, start); err != nil {
		t.Fatal(err)
	}
	observe(t, j, jobs.Observation{RequestID: "job-000000", At: start, State: jobs.Lost})
	observe(t, j, jobs.Observation{RequestID: "job-000001", At: start, State: jobs.Failed})
	for name, tt := range map[string]struct {
		filter      jobs.Filter
		pages, jobs int
	}{
		"part of an ID":   {jobs.Filter{Part: "00000"}, 3, 10 + 1}, // also job-100000
		"no hit":          {jobs.Filter{Part: "none"}, 3, 0},
		"of a state":      {jobs.Filter{Part: "none", State: new(jobs.Pending)}, 3, 0},
		"few of a state":  {jobs.Filter{State: new(jobs.Lost)}, 1, 1},
		"few that failed": {jobs.Filter{State: new(jobs.Failed)}, 1, 1},
	} {
		pages, found := 0, 0
		for after := ""; ; pages++ {
			listed, next, ok := j.List(tt.filter, after, 100)
			if found += len(listed); !ok || next == "" || pages == 10 {
				pages++
				break
			}
			after = next
		}
		if pages != tt.pages || found != tt.jobs {
			t.Errorf("%s: %d jobs on %d pages, want %d on %d", name, found, pages, tt.jobs, tt.pages)
		}
	}
}

// After any history, also after a restart, an overview and lists are what a look at each job finds.
func TestOverview(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	m := newMemory(t)
	j := open(t, m, options())
	codes, words := []string{"a", "b", ""}, []string{"Queued", ""}
	now := start
	check := func() {
		t.Helper()
		all, _, _ := j.List(jobs.Filter{}, "", 1000)
		if !slices.IsSortedFunc(all, func(a, b *jobs.Job) int { return strings.Compare(b.RequestID, a.RequestID) }) {
			t.Fatalf("not the newest first: %s", ids(all))
		}
		since := now.Add(-time.Minute)
		want := jobs.Overview{Codes: make(map[string]int)}
		count := func(e *jobs.Ends, job *jobs.Job) {
			if job.FinishedAt.After(since) {
				e.Jobs++
			}
			if job.FinishedAt.After(e.Last) {
				e.Last = job.FinishedAt
			}
		}
		unknown := make(map[string]bool)
		for _, job := range all {
			switch job.State {
			case jobs.Failed:
				want.Codes[job.ErrorCode]++
				count(&want.RecentlyFailed, job)
				want.Failed = append(want.Failed, job)
			case jobs.Lost:
				count(&want.RecentlyLost, job)
				want.Failed = append(want.Failed, job)
			case jobs.Completed:
				want.Completed = append(want.Completed, job)
			default:
				want.Unfinished = append(want.Unfinished, job)
				if job.LastPoll != nil && job.LastPoll.UnknownState {
					want.UnknownState++
					unknown[job.LastPoll.StateWord] = true
				}
			}
		}
		for _, of := range []*[]*jobs.Job{&want.Failed, &want.Completed} {
			slices.SortStableFunc(*of, func(a, b *jobs.Job) int { return b.FinishedAt.Compare(a.FinishedAt) })
			*of = (*of)[:min(len(*of), 5)]
		}
		slices.Reverse(want.Unfinished)
		slices.SortStableFunc(want.Unfinished, func(a, b *jobs.Job) int { return a.Start().Compare(b.Start()) })
		want.Unfinished = want.Unfinished[:min(len(want.Unfinished), 5)]
		if unknown["Queued"] {
			want.StateWord = "Queued"
		}
		got := j.Overview(since, 5)
		type figures struct {
			failed, unfinished, completed []string
			rest                          jobs.Overview
		}
		of := func(o jobs.Overview) string {
			f := figures{ids(o.Failed), ids(o.Unfinished), ids(o.Completed), o}
			f.rest.Failed, f.rest.Unfinished, f.rest.Completed = nil, nil, nil
			return fmt.Sprintf("%+v", f)
		}
		if diff := cmp.Diff(of(want), of(got)); diff != "" {
			t.Fatalf("an overview (-want +got):\n%s", diff)
		}
		for _, state := range []jobs.State{jobs.Pending, jobs.Running, jobs.Completed, jobs.Failed, jobs.Lost} {
			var want []*jobs.Job
			for _, job := range all {
				if job.State == state {
					want = append(want, job)
				}
			}
			if got, _, _ := j.List(jobs.Filter{State: &state}, "", 1000); !slices.Equal(got, want) {
				t.Fatalf("%s: %s, want %s", state, ids(got), ids(want))
			}
		}
	}
	for i := range 400 {
		now = now.Add(time.Second)
		register(t, j, now, fmt.Sprintf("%03d", i))
		id := fmt.Sprintf("%03d", random.IntN(i+1))
		o := jobs.Observation{RequestID: id, At: now, Request: answered()}
		switch random.IntN(8) {
		case 0:
			o.State = jobs.Completed
		case 1:
			o.State, o.ErrorCode = jobs.Failed, codes[random.IntN(len(codes))]
		case 2:
			o.State = jobs.Lost
		case 3:
			o.State = jobs.Running
		case 4:
			o.State = jobs.Unchanged
			o.Request = &jobs.Request{
				Outcome: jobstatus.OK, UnknownState: true, StateWord: words[random.IntN(len(words))],
			}
		case 5:
			if _, err := j.Remove(id); err != nil {
				t.Fatal(err)
			}
			continue
		case 6:
			continue
		case 7:
			sweep(t, j, now)
		}
		observe(t, j, o)
		if i%10 == 0 {
			check()
		}
	}
	j = openAt(t, m, options(), now)
	check()
}

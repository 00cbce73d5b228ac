package jobs_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/longtest"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
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
		{jobs.Filter{Text: "4"}, "", 3, "[4]", "", true},
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
		"part of an ID":   {jobs.Filter{Text: "00000"}, 3, 10 + 1}, // also job-100000
		"no hit":          {jobs.Filter{Text: "none"}, 3, 0},
		"of a state":      {jobs.Filter{Text: "none", State: new(jobs.Pending)}, 3, 0},
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

// Late jobs are unfinished, begin with the one that began first, and have pages. A page looks at a bounded number of
// jobs.
func TestLate(t *testing.T) {
	const n = 60_000
	j := open(t, nil, options())
	var all []submission.Job
	for i := range n {
		all = append(all, submission.Job{
			RequestID: fmt.Sprintf("%05d", i), SubmittedAt: start.Add(-time.Duration(i) * time.Millisecond),
			API: []string{"asr", "vad"}[i%2],
		})
	}
	if _, _, err := j.Register(submission.HTTP, all, false, start); err != nil {
		t.Fatal(err)
	}
	observe(t, j, jobs.Observation{RequestID: "59996", At: start, State: jobs.Failed})
	late := func(job *jobs.Job) bool { return job.RequestID >= "59990" || job.RequestID == "00001" }
	for _, tt := range []struct {
		filter jobs.Filter
		after  string
		limit  int
		want   string
		next   string
		ok     bool
	}{
		{jobs.Filter{}, "", 3, "[59999 59998 59997]", "59997", true},
		{jobs.Filter{}, "59997", 3, "[59995 59994 59993]", "59993", true},
		{jobs.Filter{}, "59996", 1, "[59995]", "59995", true}, // it has ended since
		{jobs.Filter{}, "59991", 3, "[59990]", "09991", true}, // after 50,000 looks
		{jobs.Filter{}, "09991", 3, "[00001]", "", true},
		{jobs.Filter{API: "vad"}, "", 3, "[59999 59997 59995]", "59995", true},
		{jobs.Filter{Text: "9999"}, "", 3, "[59999]", "09999", true},
		{jobs.Filter{API: "none"}, "", 3, "[]", "", true},
		{jobs.Filter{}, "unknown", 3, "[]", "", false},
	} {
		listed, next, ok := j.Late(tt.filter, late, tt.after, tt.limit)
		if got := fmt.Sprint(ids(listed)); got != tt.want || next != tt.next || ok != tt.ok {
			t.Errorf("%+v after %q: %s, next %q, %v; want %+v", tt.filter, tt.after, got, next, ok, tt)
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
				count(&want.RecentlyCompleted, job)
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
		if diff := gocmp.Diff(of(want), of(got)); diff != "" {
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

// Filters, orders and groups are what a look at each job finds, after any history.
func TestFilters(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	o := options()
	o.JobLabels = []string{"team", "language"}
	j := open(t, nil, o)
	any := func(of ...string) string { return of[random.IntN(len(of))] }
	now := start
	for i := range 300 {
		now = now.Add(time.Second)
		labels := map[string]string{"team": any("sales", "support"), "language": any("en", "de", "")}
		if random.IntN(4) == 0 {
			delete(labels, "team")
		}
		job := submission.Job{RequestID: fmt.Sprintf("%03d", i), API: any("asr", "vad", ""), Labels: labels}
		if _, _, err := j.Register(submission.HTTP, []submission.Job{job}, false, now); err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("%03d", random.IntN(i+1))
		switch random.IntN(5) {
		case 0:
			statistics := transcript.Unknown()
			statistics.Confidence = random.Float64()
			observe(t, j, jobs.Observation{
				RequestID: id, At: now, State: jobs.Completed, Result: &transcript.Result{Statistics: statistics},
			})
		case 1:
			observe(t, j, jobs.Observation{RequestID: id, At: now, State: jobs.Failed, ErrorCode: any("a", "b", "")})
		case 2:
			observe(t, j, jobs.Observation{RequestID: id, At: now, State: jobs.Running})
		case 3:
			if _, err := j.Remove(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	all, _, _ := j.List(jobs.Filter{}, "", 1000)
	hits := 0
	for range longtest.Size(150, 500) {
		var f jobs.Filter
		if random.IntN(3) == 0 {
			f.State = new(jobs.State(random.IntN(len(jobs.States))))
		}
		if random.IntN(3) == 0 {
			f.API = any("asr", "vad", "unknown", "none")
		}
		if random.IntN(6) == 0 {
			f.ErrorCode = any("a", "b", "c")
		}
		if random.IntN(3) == 0 {
			f.Labels = map[string]string{any("team", "language", "none"): any("sales", "support", "de", "")}
		}
		if random.IntN(3) == 0 {
			f.Text = any("1", "12", "al", "support", "e", "none", "asr", "known", "a")
		}
		var want []*jobs.Job
		groups := jobs.Groups{Labels: make(map[string][]jobs.Count)}
		count := func(to []jobs.Count, value string) []jobs.Count {
			for i := range to {
				if to[i].Value == value {
					to[i].Jobs++
					return to
				}
			}
			return append(to, jobs.Count{Value: value, Jobs: 1})
		}
		for _, job := range all {
			if f.State != nil && job.State != *f.State {
				continue
			}
			api := cmp.Or(job.API, "unknown")
			groups.APIs = count(groups.APIs, api)
			if job.State == jobs.Failed {
				groups.ErrorCodes = count(groups.ErrorCodes, job.ErrorCode)
			}
			ok := (f.API == "" || f.API == api) && (f.ErrorCode == "" || f.ErrorCode == job.ErrorCode)
			text := job.RequestID + "\n" + api + "\n" + job.ErrorCode
			for name, value := range job.Labels {
				groups.Labels[name] = count(groups.Labels[name], value)
				text += "\n" + value
			}
			for name, value := range f.Labels {
				has, found := job.Labels[name]
				ok = ok && found && has == value
			}
			if ok && strings.Contains(text, f.Text) {
				want = append(want, job)
			}
		}
		hits += len(want)
		if got := pages(t, 7, func(after string) ([]*jobs.Job, string, bool) { return j.List(f, after, 7) }); !slices.Equal(
			got, want) {
			t.Fatalf("%+v: %s, want %s", f, ids(got), ids(want))
		}
		for i, value := range []func(*jobs.Job) (float64, bool){
			jobs.ByRegistration: func(j *jobs.Job) (float64, bool) { return -float64(j.FirstSeen.Unix()), true },
			jobs.ByEnd: func(j *jobs.Job) (float64, bool) {
				return -float64(j.FinishedAt.Unix()), j.State.Ended()
			},
			jobs.ByDuration: func(j *jobs.Job) (float64, bool) { return -j.Age(now).Seconds(), true },
			jobs.ByConfidence: func(j *jobs.Job) (float64, bool) {
				if j.Statistics == nil {
					return 0, false
				}
				return j.Statistics.Confidence, true
			},
		} {
			for _, sign := range []float64{1, -1} {
				sorted := slices.Clone(want)
				slices.SortStableFunc(sorted, func(a, b *jobs.Job) int {
					x, known := value(a)
					y, too := value(b)
					switch {
					case known && too:
						return cmp.Compare(sign*x, sign*y)
					case known:
						return -1
					case too:
						return 1
					}
					return 0
				})
				got := pages(t, 7, func(after string) ([]*jobs.Job, string, bool) {
					found, next, all, ok := j.Sorted(f, jobs.Order(i), sign < 0, after, 7, now)
					return found, next, all && ok
				})
				if !slices.Equal(got, sorted) {
					t.Fatalf("%+v by %d, sign %g: %s, want %s", f, i, sign, ids(got), ids(sorted))
				}
			}
		}
		byValue := cmpopts.SortSlices(func(a, b jobs.Count) bool { return a.Value < b.Value })
		got := j.Groups(f)
		if diff := gocmp.Diff(groups, got, byValue); diff != "" {
			t.Fatalf("groups of %v (-want +got):\n%s", f.State, diff)
		}
	}
	if hits < 1000 {
		t.Errorf("only %d hits", hits)
	}
}

// pages returns the jobs of all pages, each of which but the last has so many.
func pages(t *testing.T, limit int, page func(after string) ([]*jobs.Job, string, bool)) (all []*jobs.Job) {
	t.Helper()
	for after := ""; ; {
		found, next, ok := page(after)
		if !ok || next != "" && len(found) != limit {
			t.Fatalf("after %q: %d jobs, next %q, %v", after, len(found), next, ok)
		}
		if all = append(all, found...); next == "" {
			return all
		}
		after = next
	}
}

// However many values a label has, groups and searches look at a bounded number of them.
func TestGroupsAreBounded(t *testing.T) {
	o := options()
	o.JobLabels = []string{"ticket", "zone"}
	j := open(t, nil, o)
	var all, second []submission.Job
	for i := range 20_000 {
		labels := map[string]string{"ticket": fmt.Sprintf("T%05d", i), "zone": "east"}
		all = append(all, submission.Job{RequestID: fmt.Sprint(i), API: "asr", Labels: labels})
		if i > 0 && i < 2600 {
			second = append(second, submission.Job{RequestID: fmt.Sprint("2nd-", i), API: "asr", Labels: labels})
		}
	}
	all = append(all, second...)
	if _, _, err := j.Register(submission.HTTP, all, false, start); err != nil {
		t.Fatal(err)
	}
	// Some tickets have jobs in two states: if a value is counted, then in all states.
	for i := 1; i < 2600; i++ {
		observe(t, j, jobs.Observation{RequestID: "2nd-" + all[i].RequestID, At: start, State: jobs.Running})
	}
	g := j.Groups(jobs.Filter{Labels: map[string]string{"ticket": "T19999", "zone": "west"}})
	var tickets []jobs.Count
	for i := range 1000 {
		tickets = append(tickets, jobs.Count{Value: fmt.Sprintf("T%05d", i), Jobs: 2})
	}
	tickets[0].Jobs = 1
	tickets = append(tickets, jobs.Count{Value: "T19999", Jobs: 1}) // which the filter selects
	if diff := gocmp.Diff(tickets, g.Labels["ticket"]); diff != "" || !g.Incomplete {
		t.Errorf("incomplete: %v; values (-want +got):\n%s", g.Incomplete, diff)
	}
	if diff := gocmp.Diff([]jobs.Count{{Value: "east", Jobs: 22_599}}, g.Labels["zone"]); diff != "" {
		t.Errorf("the label after it (-want +got):\n%s", diff)
	}
	for _, f := range []jobs.Filter{{Text: "T19999"}, {Labels: map[string]string{"ticket": "T19999"}}} {
		if found, _, _ := j.List(f, "", 10); fmt.Sprint(ids(found)) != "[19999]" {
			t.Errorf("%+v: %s", f, ids(found))
		}
	}
	var more []submission.Job
	for i := range jobs.MaxLooked {
		more = append(more, submission.Job{RequestID: fmt.Sprint("more-", i)})
	}
	if _, _, err := j.Register(submission.HTTP, more, false, start.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	observe(t, j, jobs.Observation{RequestID: "7", At: start.Add(time.Hour), State: jobs.Failed})
	for _, tt := range []struct {
		by       jobs.Order
		reverse  bool
		ids      string
		complete bool
	}{
		{jobs.ByRegistration, false, "[more-49999 more-49998]", true},
		{jobs.ByRegistration, true, "[0 1]", true},
		{jobs.ByEnd, false, "[7 more-49999]", true},
		{jobs.ByEnd, true, "[7 more-49999]", true},
		{jobs.ByDuration, false, "[more-49999 more-49998]", false}, // it looks at the newest
	} {
		found, next, complete, ok := j.Sorted(jobs.Filter{}, tt.by, tt.reverse, "", 2, start.Add(time.Hour))
		if got := fmt.Sprint(ids(found)); got != tt.ids || next != found[1].RequestID || complete != tt.complete || !ok {
			t.Errorf("%v: %s, next %q, %v, %v", tt, got, next, complete, ok)
		}
	}
}

package statuspage

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// listed is how many jobs of an account the list has.
const listed = 100

// jobList is the page at /jobs.
type jobList struct {
	Frame frame
	Query query
	Lists []accountJobs
}

// accountJobs are the jobs of one account that match.
type accountJobs struct {
	Account string
	Jobs    []jobView // the newest first
	More    string    // link to older ones; empty: there are none
}

// jobs lists the jobs whose ID has the text q in it, of one account or all, in one
// state or any, with one error_code or any; of one account also those older than the
// job with the ID after.
func (s *site) jobs(r *http.Request) (any, error) {
	values := r.URL.Query()
	q := query{Text: strings.TrimSpace(values.Get("q")), Account: values.Get("account"), State: values.Get("state"), ErrorCode: values.Get("error_code")}
	state := jobs.State(slices.Index(jobs.States[:], q.State))
	if state < 0 {
		q.State = ""
	}
	page := jobList{Frame: s.frame("Jobs – DeepAffects jobs", q), Query: q}
	match := func(j *jobs.Job) bool {
		return (q.State == "" || j.State == state) && (q.ErrorCode == "" || j.ErrorCode == q.ErrorCode) && strings.Contains(j.RequestID, q.Text)
	}
	accounts := s.collector.Accounts()
	var called []string // links to the jobs that are called so
	for _, a := range accounts {
		if q.Account != "" && a.Name() != q.Account {
			continue
		}
		after := ""
		if q.Account != "" || len(accounts) == 1 {
			after = values.Get("after")
		}
		to := linksOf(accounts, a)
		if l := list(a, to, match, after, q, page.Frame.At); len(l.Jobs) > 0 {
			page.Lists = append(page.Lists, l)
		}
		if _, _, known := a.Job(q.Text); known {
			called = append(called, to.job(q.Text))
		}
	}
	if len(called) == 1 && q.State == "" && q.ErrorCode == "" {
		return redirect(called[0]), nil
	}
	return page, nil
}

func list(a *collector.Account, to links, match func(*jobs.Job) bool, after string, q query, now time.Time) accountJobs {
	found, ok := a.Jobs(match, after, listed+1)
	if !ok { // it has left meanwhile: from the newest on
		found, _ = a.Jobs(match, "", listed+1)
	}
	list := accountJobs{Account: a.Name()}
	for _, j := range found[:min(len(found), listed)] {
		list.Jobs = append(list.Jobs, to.row(j, time.Time{}, now))
	}
	if len(found) > listed {
		v := to.values("after", found[listed-1].RequestID)
		for name, value := range map[string]string{"q": q.Text, "state": q.State, "error_code": q.ErrorCode} {
			if value != "" {
				v.Set(name, value)
			}
		}
		list.More = "/jobs?" + v.Encode()
	}
	return list
}

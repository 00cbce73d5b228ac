package statuspage

import (
	"net/http"
	"slices"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// jobList is the page at /jobs.
type jobList struct {
	Frame frame
	Lists []accountJobs

	Invalid string // what is wrong with the search; empty: nothing
}

// accountJobs are the matching jobs of one account.
type accountJobs struct {
	Account string
	Jobs    []jobView // newest first
	More    string    // link to older ones; empty: none
}

// jobs lists the jobs whose ID contains q, optionally of one account, state or error_code; of the account of the job
// with the ID after, those that are older.
func (s *site) jobs(r *http.Request) (any, int) {
	values := r.URL.Query()
	q := query{
		Text: strings.TrimSpace(values.Get("q")), Account: values.Get("account"),
		State: values.Get("state"), ErrorCode: values.Get("error_code"),
	}
	state := jobs.State(slices.Index(jobs.States[:], q.State))
	if q.State != "" && state < 0 {
		q.State = ""
		return jobList{
			Frame:   s.frame("Jobs – DeepAffects jobs", q),
			Invalid: "state is not one of " + strings.Join(jobs.States[:], ", "),
		}, http.StatusBadRequest
	}
	page := jobList{Frame: s.frame("Jobs – DeepAffects jobs", q)}
	filter := jobs.Filter{ErrorCode: q.ErrorCode, Part: q.Text}
	if q.State != "" {
		filter.State = &state
	}
	accounts := s.collector.Accounts()
	var exact []string // links to the jobs with this ID
	for _, a := range accounts {
		if q.Account != "" && a.Name() != q.Account {
			continue
		}
		_ = a.Refresh(r.Context()) // the overview tells the error
		to := s.linksOf(accounts, a)
		found, ok := a.Jobs(filter, values.Get("after"), listed)
		if !ok { // it was removed meanwhile, or is of another account: start at the newest
			found, _ = a.Jobs(filter, "", listed)
		}
		older := ""
		if found.Next != "" {
			older = to.link("/jobs", "after", found.Next, "q", q.Text, "state", q.State, "error_code", q.ErrorCode)
		}
		if len(found.Jobs) > 0 || older != "" {
			page.Lists = append(page.Lists, accountJobs{a.Name(), to.rows(a, page.Frame.At, found.Jobs...), older})
		}
		if _, _, known := a.Job(q.Text); known {
			exact = append(exact, to.link("/job", "request_id", q.Text))
		}
	}
	if len(exact) == 1 && q.State == "" && q.ErrorCode == "" {
		return exact[0], http.StatusSeeOther
	}
	return page, http.StatusOK
}

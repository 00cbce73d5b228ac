package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// Number of jobs on a page of the list.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// page is one page of the list of jobs.
type page struct {
	Jobs []job  `json:"jobs"`
	Next string `json:"next,omitzero"` // value of after for the next page; empty on the last
}

// list serves the jobs of an account, newest first; if late ones are asked for, those that began first come first.
func (a *api) list(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	account, query, err := a.read(r)
	if err != nil {
		return 0, nil, err
	}
	limit := defaultLimit
	if text := query.Get("limit"); text != "" {
		limit, err = strconv.Atoi(text)
		if err != nil || limit < 1 || limit > maxLimit {
			return 0, nil, refuse(http.StatusBadRequest, "limit: not a number from 1 to "+strconv.Itoa(maxLimit))
		}
	}
	filter, err := jobs.ParseFilter(query)
	if err != nil {
		return 0, nil, refuse(http.StatusBadRequest, err.Error())
	}
	found, ok := account.Jobs(filter, query.Get("after"), limit)
	if !ok {
		return 0, nil, refuse(http.StatusBadRequest,
			"after: no such job; if its retention has ended, start again without after")
	}
	p := page{Jobs: []job{}, Next: found.Next}
	now := time.Now()
	for i, j := range found.Jobs {
		p.Jobs = append(p.Jobs, jobOf(account.Name(), j, found.NextPolls[i], found.Finishes[i], now))
	}
	return http.StatusOK, p, nil
}

// show serves one job.
func (a *api) show(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	account, _, err := a.read(r)
	if err != nil {
		return 0, nil, err
	}
	job, next, known := account.Job(r.PathValue("id"))
	if !known {
		return 0, nil, errUnknownJob
	}
	why, waits := account.Explain(job.RequestID)
	shown := jobOf(account.Name(), job, next, why.Finish, time.Now())
	if waits && !job.State.Ended() {
		shown.NextPollWhy = why.String()
	}
	return http.StatusOK, shown, nil
}

// remove stops tracking a job.
func (a *api) remove(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	account, _, err := a.account(r)
	if err != nil {
		return 0, nil, err
	}
	if err := a.checkWrite(r, account); err != nil {
		return 0, nil, err
	}
	err = account.Remove(r.PathValue("id"))
	if errors.Is(err, collector.ErrUnknownJob) {
		return 0, nil, errUnknownJob
	}
	return http.StatusNoContent, nil, err
}

package httpapi

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// How many jobs a page of the list has.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// page is one page of the list of jobs.
type page struct {
	Jobs []job  `json:"jobs"`
	Next string `json:"next,omitzero"` // what to pass as after; empty on the last page
}

// list serves the jobs of an account, the newest first.
func (in *intake) list(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	account, query, err := in.account(r)
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
	match := func(*jobs.Job) bool { return true }
	if text := query.Get("state"); text != "" {
		state := jobs.State(slices.Index(jobs.States[:], text))
		if state < 0 {
			return 0, nil, refuse(http.StatusBadRequest, "state: not pending, running, completed, failed or lost")
		}
		match = func(j *jobs.Job) bool { return j.State == state }
	}
	// One more than asked for tells whether there is a next page.
	found, ok := account.Jobs(match, query.Get("after"), limit+1)
	if !ok {
		return 0, nil, refuse(http.StatusBadRequest, "after: no such job; it may be out of retention by now: begin again without it")
	}
	p := page{Jobs: make([]job, 0, min(len(found), limit))}
	now := time.Now()
	for _, j := range found[:min(len(found), limit)] {
		_, next, _ := account.Job(j.RequestID)
		p.Jobs = append(p.Jobs, jobOf(account.Name(), &j, next, now))
	}
	if len(found) > limit {
		p.Next = found[limit-1].RequestID
	}
	return http.StatusOK, p, nil
}

// show serves one job.
func (in *intake) show(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	account, _, err := in.account(r)
	if err != nil {
		return 0, nil, err
	}
	j, next, known := account.Job(r.PathValue("id"))
	if !known {
		return 0, nil, errUnknownJob
	}
	shown := jobOf(account.Name(), &j, next, time.Now())
	if why, waits := account.Explain(j.RequestID); waits && !j.State.Ended() {
		shown.NextPollWhy = why.String()
	}
	return http.StatusOK, shown, nil
}

// untrack stops tracking a job.
func (in *intake) untrack(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	account, _, err := in.account(r)
	if err != nil {
		return 0, nil, err
	}
	err = account.Untrack(r.Context(), r.PathValue("id"))
	if errors.Is(err, collector.ErrUnknownJob) {
		return 0, nil, errUnknownJob
	}
	return http.StatusNoContent, nil, err
}

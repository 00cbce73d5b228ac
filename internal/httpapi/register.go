package httpapi

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// Limits of registrations.
const (
	maxRegistrations = 8        // read at a time
	maxBody          = 32 << 20 // bytes
	maxEntries       = 100_000
)

// registered is the answer to a registration.
type registered struct {
	Tracked int `json:"tracked"` // new jobs
	Known   int `json:"known"`   // jobs that were tracked already
}

// register registers jobs. It validates all entries before it registers the first. If the
// store fails after some of several accounts, the client tries again: registering is
// idempotent.
func (a *api) register(w http.ResponseWriter, r *http.Request) (int, any, error) {
	if !a.registrations.acquire(r.Context()) {
		w.Header().Set("Retry-After", "60")
		return 0, nil, refuse(http.StatusServiceUnavailable, "too many registrations at once; try again")
	}
	defer a.registrations.release()
	jobs, err := read(w, r)
	if err != nil {
		return 0, nil, err
	}
	groups, err := a.byAccount(r, jobs)
	if err != nil {
		return 0, nil, err
	}
	var sum registered
	for account, jobs := range groups {
		tracked, known, err := account.Register(submission.HTTP, jobs)
		if err != nil {
			return 0, nil, err
		}
		sum.Tracked += tracked
		sum.Known += known
	}
	return http.StatusAccepted, sum, nil
}

// read reads the jobs of a body.
func read(w http.ResponseWriter, r *http.Request) ([]submission.Job, error) {
	if encodingOf(r) != "" {
		w.Header().Set("Accept-Encoding", "identity")
		return nil, refuse(http.StatusUnsupportedMediaType, "send the body without Content-Encoding")
	}
	jobs, err := submission.ParseJSON(http.MaxBytesReader(w, r.Body, maxBody), maxEntries)
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	_, broken := errors.AsType[*submission.ReadError](err)
	switch {
	case err == nil:
		return jobs, nil
	case tooLarge:
		return nil, refuse(http.StatusRequestEntityTooLarge,
			fmt.Sprintf("the body has more than %d bytes; send it in parts", maxBody))
	case broken:
		return nil, refuse(http.StatusBadRequest, "the body is incomplete")
	case errors.Is(err, submission.ErrTooMany):
		return nil, refuse(http.StatusRequestEntityTooLarge, err.Error()+"; send them in parts")
	}
	return nil, refuse(http.StatusBadRequest, err.Error())
}

// byAccount groups jobs by the account that they name, else the query.
func (a *api) byAccount(r *http.Request, jobs []submission.Job) (map[*collector.Account][]submission.Job, error) {
	_, query, err := a.account(r)
	if err != nil && (query == nil || query.Get("account") != "") { // invalid even if no entry needs it
		return nil, err
	}
	accounts := a.accounts(r)
	groups := make(map[*collector.Account][]submission.Job)
	for i, job := range jobs {
		account, err := collector.Find(accounts, cmp.Or(job.Account, query.Get("account")))
		if err != nil {
			return nil, refuse(http.StatusBadRequest, fmt.Sprintf("entry %d: account: %v", i+1, err))
		}
		groups[account] = append(groups[account], job)
	}
	return groups, nil
}

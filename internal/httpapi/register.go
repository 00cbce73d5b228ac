package httpapi

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// Limits of registrations.
const (
	maxBody    = 32 << 20 // bytes
	maxEntries = 100_000
)

// registered is the answer to a registration.
type registered struct {
	Tracked int `json:"tracked"` // new jobs
	Known   int `json:"known"`   // jobs that were tracked already
}

// register registers jobs. It validates all entries before it registers the first. If the
// store fails after some of them, the client tries again: registering is idempotent.
func (a *api) register(w http.ResponseWriter, r *http.Request) (int, any, error) {
	if err := a.checkAnyWrite(r); err != nil { // before the body is read
		return 0, nil, err
	}
	if encodingOf(r) != "" {
		w.Header().Set("Accept-Encoding", "identity")
		return 0, nil, refuse(http.StatusUnsupportedMediaType, "send the body without Content-Encoding")
	}
	body, release, err := a.limits.receive(r, a.limits.registrations)
	if err != nil {
		return 0, nil, unreadable(w, err)
	}
	defer release()
	jobs, err := submission.ParseJSON(http.MaxBytesReader(w, body, maxBody), maxEntries)
	if err != nil {
		return 0, nil, unreadable(w, err)
	}
	groups, err := a.byAccount(r, jobs)
	if err != nil {
		return 0, nil, err
	}
	for _, g := range groups {
		if err := a.checkWrite(r, g.account); err != nil {
			return 0, nil, err
		}
		if g.account.HoldsKey(g.jobs) {
			return 0, nil, refuse(http.StatusBadRequest,
				"an entry contains a key or token; send the request ID of the job")
		}
	}
	var sum registered
	for _, g := range groups {
		tracked, known, err := g.account.Register(submission.HTTP, g.jobs)
		if err != nil {
			return 0, nil, err
		}
		sum.Tracked += tracked
		sum.Known += known
	}
	return http.StatusAccepted, sum, nil
}

// unreadable returns the response to a body that could not be read.
func unreadable(w http.ResponseWriter, err error) *refusal {
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	_, broken := errors.AsType[*submission.ReadError](err)
	switch {
	case errors.Is(err, errTooMany):
		w.Header().Set("Retry-After", "60")
		return refuse(http.StatusServiceUnavailable, err.Error())
	case tooLarge:
		return refuse(http.StatusRequestEntityTooLarge,
			fmt.Sprintf("the body has more than %d bytes; send it in parts", maxBody))
	case errors.Is(err, submission.ErrTooMany):
		return refuse(http.StatusRequestEntityTooLarge, err.Error()+"; send them in parts")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "the body came too slowly; try again")
	case broken:
		return refuse(http.StatusBadRequest, "the body is incomplete")
	case errors.Is(err, submission.ErrSyntax): // an ID as it is, a form, or a file whose line ends curl -d has removed
		return refuse(http.StatusBadRequest,
			err.Error()+`; write a request ID as {"request_id": "…"}, and send a file with --data-binary @FILE`)
	}
	return refuse(http.StatusBadRequest, err.Error())
}

// A group is the jobs of one account.
type group struct {
	account *collector.Account
	jobs    []submission.Job
}

// byAccount groups jobs by the account that they name, else the query. It changes their order, and copies none.
func (a *api) byAccount(r *http.Request, jobs []submission.Job) (groups []group, err error) {
	_, query, err := a.account(r)
	if err != nil && query.Get("account") != "" { // invalid even if no entry needs it
		return nil, err
	}
	named := make(map[string]*collector.Account)
	for i := range jobs {
		name := cmp.Or(jobs[i].Account, query.Get("account"))
		account := named[name]
		if account == nil {
			if account, err = a.find(r, name); err != nil {
				return nil, refuse(http.StatusBadRequest, fmt.Sprintf("entry %d: %v", i+1, err))
			}
			named[name], named[account.Name()] = account, account
		}
		jobs[i].Account = account.Name()
	}
	slices.SortStableFunc(jobs, func(a, b submission.Job) int { return cmp.Compare(a.Account, b.Account) })
	for len(jobs) > 0 {
		n := 1
		for n < len(jobs) && jobs[n].Account == jobs[0].Account {
			n++
		}
		groups = append(groups, group{named[jobs[0].Account], jobs[:n]})
		jobs = jobs[n:]
	}
	return groups, nil
}

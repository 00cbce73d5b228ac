package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// Limits of one call.
const (
	maxBody    = 32 << 20 // bytes
	maxEntries = 100_000

	postsAtOnce = 8 // how many calls are read at a time
)

// tracked is the answer to a registration.
type tracked struct {
	Tracked int `json:"tracked"` // jobs that are new
	Known   int `json:"known"`   // jobs that were tracked already
}

// track registers jobs. Everything that can be wrong with the entries is found
// before the first is registered. Where the register fails halfway through
// several accounts, the caller tries again: registering is idempotent.
func (in *intake) track(w http.ResponseWriter, r *http.Request) (int, any, error) {
	if !in.posts.wait(r.Context()) {
		w.Header().Set("Retry-After", "60")
		return 0, nil, refuse(http.StatusServiceUnavailable, "too many registrations at once; try again")
	}
	defer in.posts.done()
	jobs, err := read(w, r)
	if err != nil {
		return 0, nil, err
	}
	groups, err := in.byAccount(r, jobs)
	if err != nil {
		return 0, nil, err
	}
	var sum tracked
	for account, jobs := range groups {
		fresh, known, err := account.Track(r.Context(), submission.HTTP, jobs)
		if err != nil {
			return 0, nil, err
		}
		sum.Tracked += fresh
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
	body := &reader{Reader: http.MaxBytesReader(w, r.Body, maxBody)}
	jobs, err := submission.ParseJSON(body, maxEntries)
	switch _, tooLarge := errors.AsType[*http.MaxBytesError](body.err); {
	case err == nil:
		return jobs, nil
	case tooLarge:
		return nil, refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes; send it in parts", maxBody))
	case body.err != nil:
		return nil, refuse(http.StatusBadRequest, "the body could not be read to its end")
	case errors.Is(err, submission.ErrTooMany):
		return nil, refuse(http.StatusRequestEntityTooLarge, err.Error()+"; send them in parts")
	}
	return nil, refuse(http.StatusBadRequest, err.Error())
}

// A reader is one that remembers what went wrong with it: that is told
// apart from what is wrong with the text.
type reader struct {
	io.Reader
	err error
}

func (b *reader) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// byAccount groups jobs by the account that they say, else the query.
func (in *intake) byAccount(r *http.Request, jobs []submission.Job) (map[*collector.Account][]submission.Job, error) {
	query, err := parseQuery(r)
	if err != nil {
		return nil, err
	}
	said := query.Get("account")
	if said != "" { // it must be right, even where no entry needs it
		if _, _, err := in.account(r); err != nil {
			return nil, err
		}
	}
	accounts := make(map[string]*collector.Account)
	groups := make(map[*collector.Account][]submission.Job)
	for i, job := range jobs {
		name := job.Account
		if name == "" {
			name = said
		}
		account, found := accounts[name]
		if !found {
			if account, err = collector.Find(in.accounts(), name); err != nil {
				return nil, refuse(http.StatusBadRequest, fmt.Sprintf("entry %d: account: %v", i+1, err))
			}
			accounts[name] = account
		}
		groups[account] = append(groups[account], job)
	}
	return groups, nil
}

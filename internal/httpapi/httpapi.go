// Package intake is what the monitor serves over HTTP to the applications that
// submit jobs: they register them, and ask what became of them.
package httpapi

import (
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// intake is the API over some accounts.
type intake struct {
	accounts func() []*collector.Account
	log      *slog.Logger
	version  string
	mux      *http.ServeMux
	posts    turns
	origins  *http.CrossOriginProtection
}

// New returns a handler of everything below /api/v1/, for a program of this
// version. It checks no credentials.
//
// Where it is one of several handlers, it should be given its requests before an
// [http.ServeMux] sees them: that redirects an ID with two slashes in a row that
// the caller forgot to escape to another job.
func New(c *collector.Collector, log *slog.Logger, version string) http.Handler {
	in := newIntake(c.Accounts, log, make(turns, postsAtOnce))
	in.version = version
	return in
}

func newIntake(accounts func() []*collector.Account, log *slog.Logger, posts turns) *intake {
	in := &intake{accounts: accounts, log: log, mux: http.NewServeMux(), posts: posts, origins: http.NewCrossOriginProtection()}
	in.mux.Handle("POST /api/v1/jobs", in.answer(in.track))
	in.mux.Handle("GET /api/v1/jobs", in.answer(in.list))
	// The mux would redirect other methods to the job with an empty ID.
	in.mux.Handle("/api/v1/jobs", in.answer(func(w http.ResponseWriter, _ *http.Request) (int, any, error) {
		w.Header().Set("Allow", "GET, HEAD, POST")
		return 0, nil, refuse(http.StatusMethodNotAllowed, "method not allowed")
	}))
	in.mux.Handle("GET /api/v1/jobs/{id...}", in.answer(in.show))
	in.mux.Handle("DELETE /api/v1/jobs/{id...}", in.answer(in.untrack))
	in.mux.Handle("GET /api/v1/status", in.answer(in.status))
	return in
}

// ServeHTTP refuses what no route has to look at, and finds the route.
func (in *intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := in.origins.Check(r); err != nil {
		in.refuse(w, r, refuse(http.StatusForbidden, "a browser sent this from another site"))
		return
	}
	if p := r.URL.EscapedPath(); clean(p) != p {
		in.refuse(w, r, refuse(http.StatusBadRequest, `the path has two slashes in a row, or "." or ".."; escape the slashes of a request ID as %2F`))
		return
	}
	if _, route := in.mux.Handler(r); route == "" {
		// The mux knows what is wrong and which methods are allowed; it says so in
		// plain text.
		in.mux.ServeHTTP(&errorsAsJSON{ResponseWriter: w, refuse: func(status int) {
			in.refuse(w, r, refuse(status, strings.ToLower(http.StatusText(status))))
		}}, r)
		return
	}
	in.mux.ServeHTTP(w, r)
}

// clean is the path that a mux would redirect to.
func clean(p string) string {
	c := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && c != "/" {
		c += "/"
	}
	return c
}

// account finds the account that a request's query says, and returns the query
// with it. Nothing of that may be lost: without its account, a request means
// another one.
func (in *intake) account(r *http.Request) (*collector.Account, url.Values, error) {
	query, err := parseQuery(r)
	if err != nil {
		return nil, nil, err
	}
	account, err := collector.Find(in.accounts(), query.Get("account"))
	if err != nil {
		return nil, nil, refuse(http.StatusBadRequest, "account: "+err.Error())
	}
	return account, query, nil
}

func parseQuery(r *http.Request) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the query is not well-formed")
	}
	return query, nil
}

// A refusal is an error that is the caller's to mend. Its text holds nothing of
// what was sent.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, text string) *refusal { return &refusal{status, text} }

var errUnknownJob = refuse(http.StatusNotFound, collector.ErrUnknownJob.Error())

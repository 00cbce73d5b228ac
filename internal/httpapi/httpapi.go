// Package httpapi is what the monitor serves over HTTP to the applications that submit
// jobs, and to the vendor: registration, the state of jobs, and webhooks.
package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// api is the JSON API over some accounts.
type api struct {
	Options
	accounts func(*http.Request) []*collector.Account // those that a request may use
	limits   *Limits
	log      *slog.Logger
	mux      *http.ServeMux
	origins  *Origins
}

// Options are what the API of the main port needs beside a collector.
type Options struct {
	LocalWrites bool         // without a token, only this machine may write
	Version     string       // of the program
	ReloadError func() error // of the last reload of the configuration; nil: there is none
}

// New returns the handler of everything below /api/v1/. Who writes
// needs the jobs_token of the account; without one, all who reach the handler may write, or with
// LocalWrites those on this machine. Reading needs no credentials. The handler is within the limits
// if it is served by a server of them.
//
// Where it is one of several handlers, it must see requests before an [http.ServeMux] does:
// a mux redirects an unescaped request ID with two slashes in a row to another job.
func New(c *collector.Collector, limits *Limits, origins *Origins, log *slog.Logger, options Options) http.Handler {
	return newAPI(func(*http.Request) []*collector.Account { return c.Accounts() }, limits, origins, log, options)
}

func newAPI(
	accounts func(*http.Request) []*collector.Account, limits *Limits, origins *Origins, log *slog.Logger,
	options Options,
) *api {
	a := &api{
		Options: options, accounts: accounts, limits: limits, log: log, mux: http.NewServeMux(), origins: origins,
	}
	get := func(answer route) http.Handler { return limits.Responses(a.handle(answer)) }
	listing := slices.Concat([]string{"account"}, jobs.FilterParameters, []string{"limit", "after"})
	a.mux.Handle("POST /api/v1/jobs", a.handle(with(a.register, "account")))
	a.mux.Handle("GET /api/v1/jobs", get(with(a.list, listing...)))
	// The mux would redirect other methods to the job with an empty ID.
	a.mux.Handle("/api/v1/jobs", a.handle(func(w http.ResponseWriter, _ *http.Request) (int, any, error) {
		w.Header().Set("Allow", "GET, HEAD, POST")
		return 0, nil, refuse(http.StatusMethodNotAllowed, "method not allowed")
	}))
	a.mux.Handle("GET /api/v1/jobs/{id...}", get(with(a.show, "account")))
	a.mux.Handle("DELETE /api/v1/jobs/{id...}", a.handle(with(a.remove, "account")))
	a.mux.Handle("GET /api/v1/status", get(with(a.status)))
	return a
}

// ServeHTTP implements [http.Handler].
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := a.origins.Check(r); err != nil {
		a.refuse(w, r, refuse(http.StatusForbidden, err.Error()))
		return
	}
	if p := r.URL.EscapedPath(); clean(p) != p {
		a.refuse(w, r, refuse(http.StatusBadRequest,
			`the path has two slashes in a row, or "." or ".."; escape the slashes of a request ID as %2F`))
		return
	}
	if _, pattern := a.mux.Handler(r); pattern == "" {
		// The mux knows the status and the allowed methods, and answers in plain text.
		plain := w
		w = &plainError{plain, func(status int) {
			a.refuse(plain, r, refuse(status, strings.ToLower(http.StatusText(status))))
		}}
	}
	a.mux.ServeHTTP(w, r)
}

// clean returns the path to which a mux would redirect.
func clean(p string) string {
	c := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && c != "/" {
		c += "/"
	}
	return c
}

// account returns the account that the query of a request names, and the query, also if the
// account does not exist.
func (a *api) account(r *http.Request) (*collector.Account, url.Values, error) {
	query := r.URL.Query() // which with has checked
	account, err := a.find(r, query.Get("account"))
	if err != nil {
		return nil, query, refuse(http.StatusBadRequest, err.Error())
	}
	return account, query, nil
}

// find finds an account by name; an empty name means the only one. The error lists the accounts that the request may
// use: those that it reads, or may write.
func (a *api) find(r *http.Request, name string) (*collector.Account, error) {
	accounts := a.accounts(r)
	account, err := collector.Find(accounts, name)
	if err == nil {
		return account, nil
	}
	var names []string
	for _, account := range accounts {
		if r.Method == http.MethodGet || r.Method == http.MethodHead || a.checkWrite(r, account) == nil {
			names = append(names, account.Name())
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("account: %w", err)
	}
	return nil, fmt.Errorf("account: %w (%s)", err, strings.Join(names, ", "))
}

// read is account for what reads the account.
func (a *api) read(r *http.Request) (*collector.Account, url.Values, error) {
	account, query, err := a.account(r)
	if err != nil {
		return nil, query, err
	}
	if err := account.Refresh(r.Context()); err != nil {
		a.log.Debug("Account cannot be read", "account", account.Name(), "err", err)
		return nil, query, refuse(http.StatusServiceUnavailable, "the store cannot be read; try again")
	}
	return account, query, nil
}

// A refusal is an error that the client can fix, and the JSON of its response. Its text quotes
// nothing of the request.
type refusal struct {
	status int
	Text   string `json:"error"`
}

func (r *refusal) Error() string { return r.Text }

func refuse(status int, text string) *refusal { return &refusal{status, text} }

var errUnknownJob = refuse(http.StatusNotFound, collector.ErrUnknownJob.Error())

// A route answers a request with a status and what becomes the JSON body (nil: none), or
// with an error. An error that is not a refusal means that the store could not be written.
type route func(w http.ResponseWriter, r *http.Request) (status int, body any, err error)

// with returns a route that refuses a request with other parameters than the given ones, and an invalid query as a
// whole: without its account, or a filter that is misspelt, a request would mean another one.
func with(answer route, parameters ...string) route {
	return func(w http.ResponseWriter, r *http.Request) (int, any, error) {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return 0, nil, refuse(http.StatusBadRequest, "malformed query")
		}
		if err := jobs.CheckParameters(query, parameters...); err != nil {
			return 0, nil, refuse(http.StatusBadRequest, err.Error())
		}
		return answer(w, r)
	}
}

// handle returns the handler of a route.
func (a *api) handle(answer route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body, err := answer(w, r)
		if err == nil {
			a.write(w, status, body)
			return
		}
		refused, ok := errors.AsType[*refusal](err)
		if !ok {
			// At debug level, because the collector has logged it once for all requests.
			a.log.Debug("Request failed", "method", r.Method, "err", err)
			refused = refuse(http.StatusServiceUnavailable, "the store cannot be written; try again")
		}
		a.refuse(w, r, refused)
	})
}

func (a *api) refuse(w http.ResponseWriter, r *http.Request, why *refusal) {
	a.log.Debug("Request refused", "method", r.Method, "status", why.status, "err", why.Text)
	why.write(w)
}

// write writes the response of a refusal.
func (r *refusal) write(w http.ResponseWriter) {
	if r.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	text, _ := json.Marshal(r) // it has one field, a text
	writeJSON(w, r.status, text)
}

// fail writes the response to a request that comes to no handler: JSON below /api/v1/, wherever that is, else text.
func fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	if strings.Contains(r.URL.Path, "/api/v1/") {
		refuse(status, text).write(w)
		return
	}
	http.Error(w, text, status)
}

// notFound is [http.NotFound] with fail.
func notFound(w http.ResponseWriter, r *http.Request) {
	fail(w, r, http.StatusNotFound, "404 page not found")
}

func (a *api) write(w http.ResponseWriter, status int, body any) {
	if body == nil {
		writeJSON(w, status, nil)
		return
	}
	text, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		a.log.Error("Cannot encode a response as JSON", "err", err)
		status, text = http.StatusInternalServerError, []byte(`{"error":"internal server error"}`)
	}
	writeJSON(w, status, text)
}

// writeJSON writes a response; one without a body if there is no text.
func writeJSON(w http.ResponseWriter, status int, text []byte) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if text == nil {
		w.WriteHeader(status)
		return
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // fails only if the client is gone
}

// A plainError replaces a plain-text error response.
type plainError struct {
	http.ResponseWriter
	replace func(status int)
}

func (e *plainError) WriteHeader(status int) { e.replace(status) }

func (e *plainError) Write(text []byte) (int, error) { return len(text), nil }

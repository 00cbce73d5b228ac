package httpapi

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// HasJobsToken reports whether a request writes jobs, by its method and this path, with the jobs_token of an account.
// Such a request needs no password: it has no place for one beside the token.
func HasJobsToken(c *collector.Collector, r *http.Request, path string) bool {
	if r.Method != http.MethodPost && r.Method != http.MethodDelete || !isJobs(path) {
		return false
	}
	return isJobsToken(c.Accounts(), bearer(r))
}

// isJobsToken reports whether a token is the jobs_token of one of the accounts.
func isJobsToken(accounts []*collector.Account, token string) bool {
	return slices.ContainsFunc(accounts, func(a *collector.Account) bool {
		_, right := a.CheckJobsToken(token)
		return right
	})
}

// isJobs reports whether a path is that of jobs, or of one.
func isJobs(path string) bool {
	return path == "/api/v1/jobs" || strings.HasPrefix(path, "/api/v1/jobs/")
}

// challenge is the WWW-Authenticate header of a response that asks for a token.
const challenge = `Bearer realm="jobs"`

// bearer returns the bearer token of a request; empty without one.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// LocalOnly refuses requests from other machines before a handler sees them.
func LocalOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocal(r) {
			http.Error(w, "Only requests from this machine are allowed here (--web.local-writes).", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// proxyHeaders are set by proxies. A request with one of them may come from another machine.
var proxyHeaders = []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"}

// isLocal reports whether a request comes from a loopback address, and not by way of a proxy there.
func isLocal(r *http.Request) bool {
	if slices.ContainsFunc(proxyHeaders, func(name string) bool { return r.Header.Values(name) != nil }) {
		return false
	}
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && client.Addr().Unmap().IsLoopback()
}

// checkWrite returns why a request may not write the jobs of an account; nil if it may.
func (a *api) checkWrite(r *http.Request, account *collector.Account) error {
	token := bearer(r)
	needed, right := account.CheckJobsToken(token)
	switch {
	case needed && !right:
		return wrongToken(token, fmt.Sprintf("account %q", account.Name()))
	case !needed && a.LocalWrites && !isLocal(r):
		return refuse(http.StatusForbidden, fmt.Sprintf(
			"other machines may write only with a jobs_token, and account %q has none", account.Name()))
	case !needed && isJobsToken(a.accounts(r), token):
		// HasJobsToken let it pass without a password. It must not open other accounts.
		return refuse(http.StatusForbidden, fmt.Sprintf(
			"the jobs_token is that of another account than %q, which has none", account.Name()))
	}
	return nil
}

// wrongToken is the response to a request without a token, or with a wrong one.
func wrongToken(token, of string) *refusal {
	if token == "" {
		return refuse(http.StatusUnauthorized, fmt.Sprintf(
			`the jobs_token of %s is required; send it as "Authorization: Bearer TOKEN"`, of))
	}
	return refuse(http.StatusUnauthorized, "the bearer token of the request is not the jobs_token of "+of)
}

// checkAnyWrite returns an error if a request may write the jobs of no account: that of the account in the query.
// Without one there, the body names accounts, and was not read yet.
func (a *api) checkAnyWrite(r *http.Request) (refused error) {
	accounts := a.accounts(r)
	named := r.URL.Query().Get("account")
	for _, account := range accounts {
		err := a.checkWrite(r, account)
		if err == nil {
			return nil
		}
		if refused == nil || account.Name() == named {
			refused = err
		}
	}
	_, found := collector.Find(accounts, named)
	if why, ok := refused.(*refusal); ok && why.status == http.StatusUnauthorized && found != nil {
		return wrongToken(bearer(r), "an account")
	}
	return refused
}

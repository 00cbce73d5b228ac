package httpapi

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// webhookStatus is the HTTP status for each outcome. The vendor tries again up to five
// times on anything but 200, so other outcomes get 200 where another try cannot help.
var webhookStatus = [len(jobs.WebhookOutcomes)]int{
	jobs.WebhookAccepted:     http.StatusOK,
	jobs.WebhookDuplicate:    http.StatusOK,
	jobs.WebhookAdopted:      http.StatusOK,
	jobs.WebhookUnknownJob:   http.StatusOK,
	jobs.WebhookUnauthorized: http.StatusNotFound,
	jobs.WebhookMalformed:    http.StatusBadRequest,
	jobs.WebhookTooLarge:     http.StatusRequestEntityTooLarge,
	jobs.WebhookStoreError:   http.StatusServiceUnavailable,
}

// Webhooks receive webhooks at one address.
type Webhooks struct {
	collector      *collector.Collector
	limits         *Limits
	log            *slog.Logger
	serviceAddress string
	prefix         string
	refused        logLimiter // without the token
	unaccepted     sync.Map   // with it: webhookProblem to *logLimiter
}

// webhookProblem is what is logged at most once a minute. Its values are few: accounts are configured.
type webhookProblem struct {
	account string
	outcome jobs.WebhookOutcome
}

// NewWebhooks returns the handler of the requests that its Takes reports, for the accounts with
// a service address (empty: those without one). A webhook is a POST to /webhook/TOKEN below a prefix. What
// comes near to it is counted and logged, and gets the same response as an unknown path.
func NewWebhooks(
	c *collector.Collector, limits *Limits, log *slog.Logger, serviceAddress, prefix string,
) *Webhooks {
	return &Webhooks{collector: c, limits: limits, log: log, serviceAddress: serviceAddress, prefix: prefix}
}

// IsWebhook reports whether a path is that of a webhook, or so near to one that any request there is most likely meant
// as a webhook.
func IsWebhook(path string) bool {
	first, _, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
	return strings.EqualFold(first, "webhook") || strings.EqualFold(first, "webhooks")
}

// Takes reports whether a request is a webhook, or most likely meant as one: by its path, by a token that is part of
// the path, and at a service address also if it is a POST to nothing.
func (h *Webhooks) Takes(r *http.Request) bool {
	path, below := strings.CutPrefix(r.URL.Path, h.prefix)
	switch {
	case below && IsWebhook(path):
		return true
	case r.Method != http.MethodPost:
		return false
	case h.serviceAddress != "" && !isJobs(path), strings.Contains(strings.ToLower(path), "/webhook/"):
		return true
	}
	const most = 8 // segments: each costs time
	return slices.ContainsFunc(strings.SplitN(path, "/", most), h.collector.IsWebhookToken)
}

// ServeHTTP implements [http.Handler].
func (h *Webhooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.URL.Path, h.prefix+"/webhook/")
	token = strings.TrimSuffix(token, "/")
	account := h.collector.WebhookAccount(h.serviceAddress, token)
	if !ok || account == nil || r.Method != http.MethodPost {
		h.refuse(r, ok && account != nil)
		notFound(w, r)
		return
	}
	h.receive(w, r, account)
}

// refuse counts a request that is no webhook, and logs it with a limit, because anyone can
// send many.
func (h *Webhooks) refuse(r *http.Request, tokenIsValid bool) {
	addresses := h.collector.RefuseWebhook(h.serviceAddress)
	if len(addresses) == 0 {
		return
	}
	method := slices.Contains([]string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"}, r.Method)
	token, ok := strings.CutPrefix(r.URL.Path, h.prefix+"/webhook/")
	why := "the token is wrong"
	switch {
	case !slices.Contains(addresses, h.serviceAddress):
		why = fmt.Sprintf("webhooks are received at the service_address %s, not at this port", addresses[0])
	case tokenIsValid && method:
		why = fmt.Sprintf("the method is %s; webhooks are sent with POST", r.Method)
	case tokenIsValid:
		why = "the method is unknown; webhooks are sent with POST"
	case r.URL.Path != clean(r.URL.Path):
		why = "the path has two slashes in a row"
	case !ok || strings.Contains(strings.TrimSuffix(token, "/"), "/"):
		why = "the path is not " + h.prefix + "/webhook/TOKEN"
	}
	h.refused.do(func(more int) {
		h.log.Warn("Webhook not accepted", "outcome", jobs.WebhookOutcomes[jobs.WebhookUnauthorized],
			"err", why, "client", r.RemoteAddr, "not_logged", more)
	})
}

// receive receives a webhook.
func (h *Webhooks) receive(w http.ResponseWriter, r *http.Request, account *collector.Account) {
	refuse := func(status int, outcome jobs.WebhookOutcome, why string) {
		account.RefuseWebhook(outcome)
		h.warn(account, outcome, why)
		http.Error(w, why, status)
	}
	encoding := encodingOf(r)
	if encoding != "" && encoding != "gzip" {
		refuse(http.StatusUnsupportedMediaType, jobs.WebhookMalformed,
			"Unsupported Content-Encoding: use gzip or none.")
		return
	}
	body, release, err := h.limits.receive(r, h.limits.webhooks)
	switch {
	case errors.Is(err, errTooMany):
		w.Header().Set("Retry-After", "60")
		refuse(http.StatusServiceUnavailable, jobs.WebhookStoreError, "Too many webhooks at once; try again.")
		return
	case errors.Is(err, os.ErrDeadlineExceeded):
		refuse(http.StatusRequestTimeout, jobs.WebhookMalformed, "The body came too slowly; try again.")
		return
	case err != nil:
		refuse(http.StatusBadRequest, jobs.WebhookMalformed, "The body is incomplete.")
		return
	}
	defer release()
	outcome, err := account.Webhook(body, encoding == "gzip")
	if err != nil {
		busy := errors.Is(err, jobstatus.ErrBusy)
		if busy {
			w.Header().Set("Retry-After", "60")
		}
		if outcome == jobs.WebhookStoreError && !busy {
			// At debug level, because the collector has logged it once for all requests.
			h.log.Debug("Webhook not accepted", "account", account.Name(), "err", err)
		} else {
			h.warn(account, outcome, err.Error())
		}
	}
	w.WriteHeader(webhookStatus[outcome])
	_, _ = io.WriteString(w, jobs.WebhookOutcomes[outcome]+"\n")
}

// warn logs that a webhook with the token was not accepted. It limits this for each account and outcome: the vendor
// tries a webhook again, and many fail alike.
func (h *Webhooks) warn(account *collector.Account, outcome jobs.WebhookOutcome, why string) {
	limit, _ := h.unaccepted.LoadOrStore(webhookProblem{account.Name(), outcome}, new(logLimiter))
	limit.(*logLimiter).do(func(more int) {
		h.log.Warn("Webhook not accepted", "account", account.Name(), "outcome", jobs.WebhookOutcomes[outcome],
			"err", why, "not_logged", more)
	})
}

// encodingOf returns the Content-Encoding of a body in lower case; empty for none.
func encodingOf(r *http.Request) string {
	switch encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); encoding {
	case "identity":
		return ""
	case "x-gzip": // equivalent (RFC 9110, 8.4.1.3)
		return "gzip"
	default:
		return encoding
	}
}

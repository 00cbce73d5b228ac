package httpapi

import (
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// WebhookPattern is where a ServeMux is to serve webhooks.
const WebhookPattern = "/webhook/{token}"

// webhookStatus is the answer to each outcome. The vendor takes anything but 200
// for a failure and tries again, up to five times: that is asked for where it may
// help, and not where it cannot.
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

// webhooksAtOnce is how many webhooks are read at a time.
const webhooksAtOnce = 32

// NewWebhooks returns the handler of WebhookPattern, which takes the vendor's
// webhooks of the accounts with a service address (empty: with none). Without the
// token, there is nothing to find there.
func NewWebhooks(c *collector.Collector, log *slog.Logger, serviceAddress string) http.Handler {
	turns := make(turns, webhooksAtOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account := c.WebhookAccount(serviceAddress, r.PathValue("token"))
		if account == nil || r.Method != http.MethodPost {
			http.NotFound(w, r)
			return
		}
		refuse := func(status int, outcome jobs.WebhookOutcome, why string) {
			account.RefuseWebhook(outcome)
			log.Warn("A webhook could not be taken", "account", account.Name(), "outcome", jobs.WebhookOutcomes[outcome], "err", why)
			http.Error(w, why, status)
		}
		encoding := encodingOf(r)
		if encoding != "" && encoding != "gzip" {
			refuse(http.StatusUnsupportedMediaType, jobs.WebhookMalformed, "Only gzip is known as Content-Encoding.")
			return
		}
		if !turns.wait(r.Context()) {
			w.Header().Set("Retry-After", "60")
			refuse(http.StatusServiceUnavailable, jobs.WebhookStoreError, "Too many webhooks at once; try again.")
			return
		}
		defer turns.done()
		outcome, err := account.Webhook(r.Context(), r.Body, encoding == "gzip")
		if err != nil {
			level := slog.LevelWarn
			if outcome == jobs.WebhookStoreError {
				level = slog.LevelDebug // the collector has said so, once
			}
			log.Log(r.Context(), level, "A webhook could not be taken", "account", account.Name(), "outcome", jobs.WebhookOutcomes[outcome], "err", err)
		}
		w.WriteHeader(webhookStatus[outcome])
		_, _ = io.WriteString(w, jobs.WebhookOutcomes[outcome]+"\n")
	})
}

// encodingOf is how a body is encoded, in lower case; empty: it is as it is.
func encodingOf(r *http.Request) string {
	encoding := strings.ToLower(r.Header.Get("Content-Encoding"))
	if encoding == "identity" {
		return ""
	}
	return encoding
}

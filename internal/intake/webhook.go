package intake

import (
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/register"
)

// WebhookPattern is where a ServeMux is to serve webhooks.
const WebhookPattern = "/webhook/{token}"

// webhookStatus is the answer to each outcome. The vendor takes anything but 200
// for a failure and tries again, up to five times: that is asked for where it may
// help, and not where it cannot.
var webhookStatus = [len(register.WebhookOutcomes)]int{
	register.WebhookAccepted:     http.StatusOK,
	register.WebhookDuplicate:    http.StatusOK,
	register.WebhookAdopted:      http.StatusOK,
	register.WebhookUnknownJob:   http.StatusOK,
	register.WebhookUnauthorized: http.StatusNotFound,
	register.WebhookMalformed:    http.StatusBadRequest,
	register.WebhookTooLarge:     http.StatusRequestEntityTooLarge,
	register.WebhookStoreError:   http.StatusServiceUnavailable,
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
		refuse := func(status int, outcome register.WebhookOutcome, why string) {
			account.RefuseWebhook(outcome)
			log.Warn("A webhook could not be taken", "account", account.Name(), "outcome", register.WebhookOutcomes[outcome], "err", why)
			http.Error(w, why, status)
		}
		encoding := encodingOf(r)
		if encoding != "" && encoding != "gzip" {
			refuse(http.StatusUnsupportedMediaType, register.WebhookMalformed, "Only gzip is known as Content-Encoding.")
			return
		}
		if !turns.wait(r.Context()) {
			w.Header().Set("Retry-After", "60")
			refuse(http.StatusServiceUnavailable, register.WebhookStoreError, "Too many webhooks at once; try again.")
			return
		}
		defer turns.done()
		outcome, err := account.Webhook(r.Context(), r.Body, encoding == "gzip")
		if err != nil {
			level := slog.LevelWarn
			if outcome == register.WebhookStoreError {
				level = slog.LevelDebug // the collector has said so, once
			}
			log.Log(r.Context(), level, "A webhook could not be taken", "account", account.Name(), "outcome", register.WebhookOutcomes[outcome], "err", err)
		}
		w.WriteHeader(webhookStatus[outcome])
		_, _ = io.WriteString(w, register.WebhookOutcomes[outcome]+"\n")
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

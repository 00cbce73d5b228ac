package httpapi

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
)

// WebhookPattern is the pattern of webhooks for an [http.ServeMux].
const WebhookPattern = "/webhook/{token}"

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

// NewWebhooks returns the handler of WebhookPattern for the accounts with a service address
// (empty: those without one). A wrong token gets the same response as an unknown path.
func NewWebhooks(
	c *collector.Collector, limits *Limits, log *slog.Logger, serviceAddress string,
) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account := c.WebhookAccount(serviceAddress, r.PathValue("token"))
		if account == nil || r.Method != http.MethodPost {
			http.NotFound(w, r)
			return
		}
		log := log.With("account", account.Name())
		refuse := func(status int, outcome jobs.WebhookOutcome, why string) {
			account.RefuseWebhook(outcome)
			log.Warn("Webhook not accepted", "outcome", jobs.WebhookOutcomes[outcome], "err", why)
			http.Error(w, why, status)
		}
		encoding := encodingOf(r)
		if encoding != "" && encoding != "gzip" {
			refuse(http.StatusUnsupportedMediaType, jobs.WebhookMalformed,
				"Unsupported Content-Encoding: use gzip or none.")
			return
		}
		body, release, err := limits.receive(r, limits.webhooks)
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
			level := slog.LevelWarn
			if outcome == jobs.WebhookStoreError {
				level = slog.LevelDebug // the collector has logged it once for all requests
			}
			log.Log(r.Context(), level, "Webhook not accepted", "outcome", jobs.WebhookOutcomes[outcome], "err", err)
		}
		w.WriteHeader(webhookStatus[outcome])
		_, _ = io.WriteString(w, jobs.WebhookOutcomes[outcome]+"\n")
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

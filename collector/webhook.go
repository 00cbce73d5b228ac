package collector

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// WebhookAccount finds the account whose webhooks come to a service address
// (empty: the face's own) with this token; nil where there is none. A wrong one
// is counted for every account that takes webhooks there, since it might be meant
// for any.
func (c *Collector) WebhookAccount(serviceAddress, token string) *Account {
	found := c.byToken(serviceAddress, token, func(c *Config) string { return c.WebhookToken })
	if found != nil {
		return found
	}
	for _, a := range c.Accounts() {
		if config := &a.settings.Load().config; config.WebhookToken != "" && config.ServiceAddress == serviceAddress {
			a.register.Count(func(c *jobs.Counts) { c.Webhooks[jobs.WebhookUnauthorized]++ })
		}
	}
	return nil
}

// JobsAccount finds the account whose jobs are registered at a service address
// with this token; nil where there is none.
func (c *Collector) JobsAccount(serviceAddress, token string) *Account {
	return c.byToken(serviceAddress, token, func(c *Config) string { return c.JobsToken })
}

// byToken finds an account at a service address by a token. How long that takes
// tells nothing of any token.
func (c *Collector) byToken(serviceAddress, token string, of func(*Config) string) *Account {
	given := sha256.Sum256([]byte(token))
	var found *Account
	for _, a := range c.Accounts() {
		config := &a.settings.Load().config
		own := sha256.Sum256([]byte(of(config)))
		same := subtle.ConstantTimeCompare(given[:], own[:]) == 1
		if same && of(config) != "" && config.ServiceAddress == serviceAddress {
			found = a
		}
	}
	return found
}

// Webhook takes in the body of one webhook, compressed with gzip or not, and
// says what became of it. What it says of its job is kept before this returns,
// as what a poll says is: both meet in one place, and are one end. The error,
// which is for the log, has nothing of the body in it.
func (a *Account) Webhook(ctx context.Context, body io.ReadCloser, gzipped bool) (jobs.WebhookOutcome, error) {
	config := a.settings.Load().config
	hook, outcome, err := readWebhook(body, gzipped, &config)
	if err != nil {
		a.RefuseWebhook(outcome)
		return outcome, err
	}
	effect, err := a.observe(ctx, jobs.Observation{
		RequestID: hook.RequestID, At: a.now(), State: stateOf[hook.State], ErrorCode: hook.ErrorCode, Result: hook.Result,
		Webhook: true, Adopt: config.AdoptUnknownWebhooks,
	})
	if err != nil {
		return jobs.WebhookStoreError, err
	}
	a.webhookSeen.Store(a.now().UnixNano())
	return effect.Webhook(), nil
}

// RefuseWebhook counts a webhook of which nothing was taken.
func (a *Account) RefuseWebhook(outcome jobs.WebhookOutcome) {
	a.register.Count(func(c *jobs.Counts) { c.Webhooks[outcome]++ })
}

// readWebhook reads a webhook whose body is within the limit, before and after it
// is unpacked. With an error, the outcome says what kind it is.
func readWebhook(body io.ReadCloser, gzipped bool, config *Config) (hook jobstatus.Webhook, outcome jobs.WebhookOutcome, err error) {
	body = http.MaxBytesReader(nil, body, config.MaxResponseSize)
	if gzipped {
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			return hook, jobs.WebhookMalformed, errors.New("malformed: not gzip")
		}
		body = http.MaxBytesReader(nil, unpacked, config.MaxResponseSize)
	}
	hook, err = jobstatus.ReadWebhook(body, config.timings())
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return hook, jobs.WebhookTooLarge, fmt.Errorf("larger than max_response_size (%d bytes)", tooLarge.Limit)
	case err == nil:
		err = submission.CheckRequestID(hook.RequestID)
	}
	return hook, jobs.WebhookMalformed, err
}

package collector

import (
	"compress/gzip"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobs"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// WebhookAccount finds the account whose webhooks are received at a service address (empty: the face's own)
// with this token; nil if there is none.
func (c *Collector) WebhookAccount(serviceAddress, token string) *Account {
	return c.byToken(serviceAddress, token, func(c *Config) string { return c.WebhookToken })
}

// IsWebhookToken reports whether a text is the webhook_token of an account, at any service address.
func (c *Collector) IsWebhookToken(text string) bool {
	return slices.ContainsFunc(c.Accounts(), func(a *Account) bool {
		own := a.settings.Load().config.WebhookToken
		return sameToken(text, own) && own != ""
	})
}

// RefuseWebhook counts a request that was most likely meant as a webhook for every account that receives webhooks at
// the service address, since it may be meant for any of them; if there is none, for every account that receives
// webhooks elsewhere. It returns the service addresses of those accounts.
func (c *Collector) RefuseWebhook(serviceAddress string) (addresses []string) {
	here := func(a *Account) bool { return a.settings.Load().config.ServiceAddress == serviceAddress }
	accounts := slices.DeleteFunc(c.Accounts(), func(a *Account) bool {
		return a.settings.Load().config.WebhookToken == ""
	})
	if slices.ContainsFunc(accounts, here) {
		accounts = slices.DeleteFunc(accounts, func(a *Account) bool { return !here(a) })
	}
	for _, a := range accounts {
		a.RefuseWebhook(jobs.WebhookUnauthorized)
		addresses = append(addresses, a.settings.Load().config.ServiceAddress)
	}
	return addresses
}

// JobsAccount finds the account whose jobs are registered at a service address with
// this token; nil if there is none.
func (c *Collector) JobsAccount(serviceAddress, token string) *Account {
	return c.byToken(serviceAddress, token, func(c *Config) string { return c.JobsToken })
}

// CheckJobsToken reports whether writing the jobs of the account needs a token, and whether it is this one. Its
// duration depends on no token.
func (a *Account) CheckJobsToken(token string) (needed, right bool) {
	own := a.settings.Load().config.JobsToken
	return own != "", own != "" && sameToken(token, own)
}

// sameToken compares tokens in a time that depends on neither.
func sameToken(a, b string) bool {
	hashA, hashB := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(hashA[:], hashB[:]) == 1
}

// byToken finds an account at a service address by a token. Its duration depends on no token.
func (c *Collector) byToken(serviceAddress, token string, of func(*Config) string) *Account {
	var found *Account
	for _, a := range c.Accounts() {
		config := &a.settings.Load().config
		if sameToken(token, of(config)) && of(config) != "" && config.ServiceAddress == serviceAddress {
			found = a
		}
	}
	return found
}

// Webhook receives the body of one webhook, and returns its outcome. What it reports about its job is stored
// when this returns. It closes a body that is too slow beside others, which must end a read that waits. The error,
// which is for the log, contains nothing of the body.
func (a *Account) Webhook(body io.ReadCloser, gzipped bool) (WebhookOutcome, error) {
	config := &a.settings.Load().config
	hook, outcome, err := readWebhook(body, gzipped, config)
	if err != nil {
		a.RefuseWebhook(outcome)
		return outcome, err
	}
	isKey := a.keys.finder()
	if isKey(hook.RequestID) {
		a.RefuseWebhook(jobs.WebhookMalformed)
		return jobs.WebhookMalformed, errors.New("the request ID contains a key or token")
	}
	if isKey(hook.ErrorCode) {
		hook.ErrorCode = jobstatus.OtherErrorCode
	}
	state := Completed
	if hook.State == jobstatus.Failed {
		state = Failed
	}
	effect, err := a.writes.Observe(jobs.Observation{
		RequestID: hook.RequestID, At: a.now(), By: jobs.ByWebhook, Adopt: config.AdoptUnknownWebhooks,
		State: state, ErrorCode: hook.ErrorCode, Result: hook.Result,
	})
	if err != nil {
		return jobs.WebhookStoreError, fmt.Errorf("storing an observation: %w", err)
	}
	return effect.Webhook(), nil
}

// RefuseWebhook counts a webhook that reported nothing.
func (a *Account) RefuseWebhook(outcome WebhookOutcome) { a.writes.CountWebhook(outcome) }

// readWebhook reads a webhook whose body is within the size limit, compressed and
// decompressed. With an error, the outcome is its kind.
func readWebhook(body io.ReadCloser, gzipped bool, config *Config) (jobstatus.Webhook, WebhookOutcome, error) {
	abort := func() { _ = body.Close() }
	content := http.MaxBytesReader(nil, body, config.MaxResponseSize)
	if gzipped {
		unpacked, err := gzip.NewReader(content)
		if err != nil {
			return jobstatus.Webhook{}, jobs.WebhookMalformed, errors.New("Content-Encoding is gzip, and the body is not")
		}
		content = http.MaxBytesReader(nil, unpacked, config.MaxResponseSize)
	}
	hook, err := jobstatus.ReadWebhook(content, abort, config.timings())
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, jobstatus.ErrBusy):
		return hook, jobs.WebhookStoreError, err
	case errors.As(err, &tooLarge):
		return hook, jobs.WebhookTooLarge, fmt.Errorf("larger than max_response_size (%d bytes)", tooLarge.Limit)
	case err == nil:
		err = submission.CheckRequestID(hook.RequestID)
	}
	return hook, jobs.WebhookMalformed, err
}

package collector

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/credential"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// keys are the API keys and the tokens of all accounts. By mistake, a file, a client or a gateway may have one in the
// place of a request ID, a label or an error code. It must not get into metrics, logs and the database.
type keys struct {
	all atomic.Pointer[[]keyReader]
}

// A keyReader returns a key or token that may change. Texts that contain a shorter one than minLength are too many:
// they must be the key.
type keyReader struct {
	read      func() (string, error)
	minLength int
}

// wordLength is the length from which on a key or token is no word that others use.
const wordLength = 8

func (k *keys) set(all []*settings) {
	var readers []keyReader
	for _, s := range all {
		readers = append(readers, keyReader{s.key, wordLength})
		// A user chooses the tokens of the monitor. A short one may be part of a request ID, and a very short one a word:
		// the name of an API, or the value of a label.
		for _, token := range []string{s.config.JobsToken, s.config.WebhookToken} {
			if len(token) >= wordLength {
				readers = append(readers, keyReader{func() (string, error) { return token, nil }, longToken})
			}
		}
		if path := s.config.RequestIDURLTokenFile; path != "" {
			readers = append(readers, keyReader{func() (string, error) { return credential.ReadFile(path) }, wordLength})
		}
	}
	k.all.Store(&readers)
}

// finder returns a function that reports whether a text contains one of the present keys.
func (k *keys) finder() func(text string) bool {
	type key struct {
		text     string
		anywhere bool
	}
	var present []key
	all := k.all.Load()
	if all == nil {
		all = new([]keyReader) // before New
	}
	for _, r := range *all {
		if text, err := r.read(); err == nil && text != "" {
			present = append(present, key{strings.ToLower(text), len(text) >= r.minLength})
		}
	}
	return func(text string) bool {
		text = strings.ToLower(text)
		return slices.ContainsFunc(present, func(k key) bool {
			return text == k.text || k.anywhere && strings.Contains(text, k.text)
		})
	}
}

// without returns the jobs that contain no key.
func (k *keys) without(jobs []submission.Job) []submission.Job {
	found := k.finder()
	holds := func(j submission.Job) bool {
		if found(j.RequestID) || found(j.API) {
			return true
		}
		for name, value := range j.Labels {
			if found(name) || found(value) {
				return true
			}
		}
		return false
	}
	if !slices.ContainsFunc(jobs, holds) {
		return jobs
	}
	return slices.DeleteFunc(slices.Clone(jobs), holds)
}

// CheckNames returns an error if the name of the account, or of a job label, contains the present key or a token: names
// are in labels and logs. The error quotes none, and comes in the place of others, which quote the name of the account.
func (c *Config) CheckNames() error {
	var k keys
	key, err := c.key()
	if err != nil { // another error says so
		key = func() (string, error) { return "", err }
	}
	k.set([]*settings{{config: *c, key: key}})
	found := k.finder()
	switch {
	case found(c.Account):
		return errors.New("account: contains api_key or a token, which is a secret; write a name")
	case slices.ContainsFunc(c.JobLabels, found):
		return errors.New("job_labels: contains api_key or a token, which is a secret; write names")
	}
	return nil
}

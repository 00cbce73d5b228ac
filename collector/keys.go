package collector

import (
	"slices"
	"strings"
	"sync/atomic"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/submission"
)

// keys are the API keys of all accounts. By mistake, a file, a client or a gateway may have one in the place of a
// request ID, a label or an error code. It must not get into metrics, logs and the database.
type keys struct {
	all atomic.Pointer[[]func() (string, error)]
}

func (k *keys) set(all []*settings) {
	functions := make([]func() (string, error), len(all))
	for i, s := range all {
		functions[i] = s.key
	}
	k.all.Store(&functions)
}

// finder returns a function that reports whether a text contains one of the present keys. Texts that contain a very
// short key are too many: they must be the key.
func (k *keys) finder() func(text string) bool {
	const short = 8
	var present []string
	all := k.all.Load()
	if all == nil {
		all = new([]func() (string, error)) // before New
	}
	for _, key := range *all {
		if key, err := key(); err == nil && key != "" {
			present = append(present, strings.ToLower(key))
		}
	}
	return func(text string) bool {
		text = strings.ToLower(text)
		return slices.ContainsFunc(present, func(key string) bool {
			return text == key || len(key) >= short && strings.Contains(text, key)
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

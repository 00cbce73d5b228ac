// Package submission parses and validates what a user says about a job to track: a request
// ID, or the vendor's answer to a submission with a few additions. Configuration, files,
// URLs and HTTP all use it, so that an entry valid in one place is valid in all.
package submission

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Source is where a job was first seen. Its values are those of the label and tag `source`.
type Source string

// The sources of a job.
const (
	Config  Source = "config"
	File    Source = "file"
	URL     Source = "url"
	HTTP    Source = "http"
	Webhook Source = "webhook"
)

// Sources are all values of Source, in display order.
var Sources = []Source{Config, File, URL, HTTP, Webhook}

// A Job is one job to track. A zero value is unspecified.
type Job struct {
	// RequestID is 1 to MaxRequestIDLength printable characters.
	RequestID string `json:"request_id"`
	// API is the name of the API that the job was submitted to, such as `asr`, as APIName
	// returns it.
	API string `json:"api"`
	// AudioSeconds is the length of the recording.
	AudioSeconds float64 `json:"audio_seconds"`
	// Priority is the weight of a second of delay in detecting the end; 0 means 1.
	Priority float64 `json:"priority"`
	// SubmittedAt is when the job was submitted.
	SubmittedAt time.Time `json:"-"`
	// Labels are set by the user to find the job.
	Labels map[string]string `json:"labels"`
	// Account names the account of the job. A source that belongs to an account needs none.
	Account string `json:"account"`
}

// Limits of an entry. They bound the memory of a job, and keep a request ID within what an
// exemplar and a label can hold.
const (
	MaxRequestIDLength = 128 // characters
	MaxLabels          = 32
	MaxLabelLength     = 256      // bytes of a name or of a value
	MaxEntryBytes      = 64 << 10 // of a line
	maxAudioSeconds    = 1e7      // 115 days
	minPriority        = 0.01
	maxPriority        = 100
	maxAccountLength   = 128     // bytes
	maxAPINameLength   = 64      // bytes
	otherAPI           = "other" // for a name that cannot be a label
	maxAPIInputBytes   = 1024
)

var apiNamePattern = regexp.MustCompile(`^[a-z0-9_]+$`)

// CheckRequestID returns why a request ID is invalid. The error does not quote it, because
// it may hold anything.
func CheckRequestID(id string) error {
	switch {
	case id == "":
		return errors.New("the request ID is empty")
	case !utf8.ValidString(id):
		return errors.New("the request ID is not valid UTF-8")
	case utf8.RuneCountInString(id) > MaxRequestIDLength:
		return fmt.Errorf("the request ID is longer than %d characters", MaxRequestIDLength)
	case strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("the request ID contains a non-printable character")
	case strings.TrimSpace(id) != id:
		return errors.New("the request ID begins or ends with a space")
	}
	return nil
}

// APIName returns the short name of an API for labels: the last element of the path that the
// vendor calls it by, such as `/audio/generic/api/v1/async/analytics/interaction`. A name
// that cannot be a label becomes `other`; an empty one stays empty.
func APIName(api string) string {
	if len(api) > maxAPIInputBytes {
		return otherAPI
	}
	api = strings.ToLower(strings.Trim(strings.TrimSpace(api), "/"))
	if api == "" {
		return ""
	}
	api = api[strings.LastIndexByte(api, '/')+1:]
	if len(api) > maxAPINameLength || !apiNamePattern.MatchString(api) {
		return otherAPI
	}
	return api
}

// check returns why a job is invalid.
func (j *Job) check() error {
	if err := CheckRequestID(j.RequestID); err != nil {
		return err
	}
	switch {
	case j.Priority != 0 && !(j.Priority >= minPriority && j.Priority <= maxPriority):
		return fmt.Errorf("priority is not between %v and %d", minPriority, maxPriority)
	case !(j.AudioSeconds >= 0 && j.AudioSeconds <= maxAudioSeconds):
		return fmt.Errorf("audio_seconds is not between 0 and %.0f", float64(maxAudioSeconds))
	case len(j.Account) > maxAccountLength:
		return fmt.Errorf("account is longer than %d bytes", maxAccountLength)
	case len(j.Labels) > MaxLabels:
		return fmt.Errorf("more than %d labels", MaxLabels)
	}
	for name, value := range j.Labels {
		if len(name) > MaxLabelLength || len(value) > MaxLabelLength {
			return fmt.Errorf("a label is longer than %d bytes", MaxLabelLength)
		}
	}
	return nil
}

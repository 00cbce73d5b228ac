// Package registration is what a user says about a job that is to be tracked:
// a request ID, or the vendor's answer to a submission with a few additions.
// Every way in (configuration, files, URLs, HTTP) reads jobs with this package,
// so that an entry which is right in one place is right in all.
package submission

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Source is where a job was first heard of. Its values are the values of the
// label and tag `source`.
type Source string

// The sources of a job.
const (
	Config  Source = "config"
	File    Source = "file"
	URL     Source = "url"
	HTTP    Source = "http"
	Webhook Source = "webhook"
)

// Sources are all values of Source, in the order in which they are shown.
var Sources = []Source{Config, File, URL, HTTP, Webhook}

// A Job is one job to track.
type Job struct {
	// RequestID is 1 to MaxRequestIDLength printable characters.
	RequestID string
	// API is the name of the API that the job was submitted to, such as `asr`,
	// as APIName returns it; empty where it is not known.
	API string
	// AudioSeconds is the length of the recording; 0 where it is not known.
	AudioSeconds float64
	// Priority is how much sooner its end is wanted to be known than that of others:
	// what a second of delay weighs. 0 where it is not said, which means 1.
	Priority float64
	// SubmittedAt is when the job was submitted; zero where it is not known.
	SubmittedAt time.Time
	// Labels are what the user wants to find the job by; nil where there are none.
	Labels map[string]string
	// Account names the account that the job belongs to; empty where the entry
	// does not say, as in a source that belongs to an account.
	Account string
}

// Limits of what an entry may carry. They keep one entry from costing more
// than a job is worth, and every ID within what an exemplar or a label can hold.
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
	otherAPI           = "other" // an API name that cannot be a label
	asyncPathSegment   = "/async/"
	maxAPIInputBytes   = 1024
)

var apiNamePattern = regexp.MustCompile(`^[a-z0-9_]+$`)

// CheckRequestID says what is wrong with a request ID, in words that do not
// repeat it, since it may hold anything.
func CheckRequestID(id string) error {
	switch {
	case id == "":
		return errors.New("the request ID is empty")
	case !utf8.ValidString(id):
		return errors.New("the request ID is not valid UTF-8")
	case utf8.RuneCountInString(id) > MaxRequestIDLength:
		return fmt.Errorf("the request ID is longer than %d characters", MaxRequestIDLength)
	case strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("the request ID has a character that cannot be printed")
	case strings.TrimSpace(id) != id:
		return errors.New("the request ID begins or ends with a space")
	}
	return nil
}

// APIName turns what the vendor calls an API (a path such as
// `/audio/generic/api/v1/async/analytics/interaction`, or a name) into the short
// name used in labels: the last element of the path. What cannot be a name
// becomes `other`; an empty string stays empty.
func APIName(api string) string {
	if len(api) > maxAPIInputBytes {
		return otherAPI
	}
	api = strings.ToLower(strings.Trim(strings.TrimSpace(api), "/"))
	if api == "" {
		return ""
	}
	if _, after, found := strings.Cut(api, asyncPathSegment); found {
		api = after
	}
	api = api[strings.LastIndexByte(api, '/')+1:]
	if len(api) > maxAPINameLength || !apiNamePattern.MatchString(api) {
		return otherAPI
	}
	return api
}

// check says what is wrong with a job's fields.
func (j *Job) check() error {
	if err := CheckRequestID(j.RequestID); err != nil {
		return err
	}
	if j.Priority != 0 && !(j.Priority >= minPriority && j.Priority <= maxPriority) {
		return fmt.Errorf("priority is not between %v and %d", minPriority, maxPriority)
	}
	if math.IsNaN(j.AudioSeconds) || j.AudioSeconds < 0 || j.AudioSeconds > maxAudioSeconds {
		return fmt.Errorf("audio_seconds is not between 0 and %.0f", float64(maxAudioSeconds))
	}
	if len(j.Account) > maxAccountLength {
		return fmt.Errorf("account is longer than %d bytes", maxAccountLength)
	}
	if len(j.Labels) > MaxLabels {
		return fmt.Errorf("more than %d labels", MaxLabels)
	}
	for name, value := range j.Labels {
		if len(name) > MaxLabelLength || len(value) > MaxLabelLength {
			return fmt.Errorf("a label is longer than %d bytes", MaxLabelLength)
		}
	}
	return nil
}

// Package submission parses and validates what a user says about a job to track: a request
// ID, or the vendor's answer to a submission with a few additions. Configuration, files,
// URLs and HTTP all use it, so that an entry valid in one place is valid in all.
package submission

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
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
	// AudioSeconds is the length of the recording: at least 0.01.
	AudioSeconds float64 `json:"audio_seconds"`
	// Priority is the weight of a second of delay in detecting the end; 0 means 1.
	Priority float64 `json:"priority"`
	// SubmittedAt is when the job was submitted: at most a year ago, and a day in the future.
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
	MinAudioSeconds    = 0.01     // no speech is shorter; 0: unknown
	maxAudioSeconds    = 1e7      // 115 days
	// The duration of a job begins at submitted_at, and a mistake in it would stay in the totals. Clocks may differ.
	maxSubmittedAge   = 366 * 24 * time.Hour
	maxSubmittedAhead = 24 * time.Hour
	minPriority       = 0.01
	maxPriority       = 100
	maxAccountLength  = 128     // bytes
	maxAPINameLength  = 64      // bytes
	otherAPI          = "other" // for a name that cannot be a label
	maxAPIInputBytes  = 1024
)

var apiNamePattern = regexp.MustCompile(`^[a-z0-9_]+$`)

// placeholder matches what the vendor's documentation has in the place of a request ID, such as <REQUEST_ID>.
var placeholder = regexp.MustCompile(`…|^<(?i:[\w -]*request[\w -]*)>$`)

// CheckRequestID returns why a text that is named a request ID is invalid. The error does
// not quote it, because it may hold anything. The vendor accepts nearly any text as an ID
// of the caller, so only what cannot be meant is refused.
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
	case placeholder.MatchString(id):
		return errors.New("the request ID is a placeholder of the documentation; put the ID of a job in its place")
	}
	return nil
}

// checkLine returns why a line that is not JSON is not taken for a request ID. It accepts
// the letters, digits and marks that need no escaping in a URL: UUIDs, hexadecimal numbers,
// and IDs that programs make. Log lines, CSV, markup, paths and assignments have other
// characters. Each such line would otherwise become a job, whose polls use the quota.
func checkLine(line string) error {
	err := checkUnnamed(line)
	if err == nil && (!unreserved.MatchString(line) || !strings.ContainsFunc(line, isLetterOrDigit)) {
		err = errNotAnID
	}
	return err
}

// checkUnnamed returns why a text that nothing names a request ID is not taken for one.
func checkUnnamed(text string) error {
	if err := CheckRequestID(text); err != nil {
		return err
	}
	if notAnID.MatchString(text) {
		return errNotAnID
	}
	return nil
}

func isLetterOrDigit(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

var errNotAnID = errors.New(`not a request ID; if it is one, write {"request_id": "…"}`)

var (
	unreserved = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)
	notAnID    = regexp.MustCompile(`(?i)^(?:` + strings.Join([]string{
		// Headers of tables.
		`(?:deepaffects|request|req|job|call|transaction)?[._-]?(?:id|uuid|guid)s?`, `requests?`, `apis?`,
		// Values that programs print for nothing, and other words.
		`null`, `nil`, `none`, `undefined`, `true`, `false`, `eof`, `errors?`, `killed`, `terminated`, `aborted`,
		`[+-]?nan`, `[+-]?inf(?:inity)?`, `timestamps?`, `date`, `time`, `status`, `state`,
		// Flags of a command.
		`-[a-z]`, `--[a-z]+(?:-[a-z]+)*`,
		// Dates, with or without a time; versions, addresses and other numbers with a dot.
		`\d{4}[.-]\d{1,2}[.-]\d{1,2}(?:[T_.-]?\d{2}[.-]?\d{2}(?:[.-]?\d{2}(?:\.\d+)?)?Z?)?`,
		`\d{1,2}[.-](?:\d{1,2}|[a-z]{3})[.-]\d{2,4}`, `\d{8}T\d{4,6}Z?`, `-?v?\d*(?:\.\d+)+`,
	}, "|") + `)$`)
)

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

// APIs are the short names of the vendor's asynchronous APIs, as APIName returns them.
var APIs = []string{
	"asr", "denoise", "diarize", "featurize", "identify", "interaction", "is_depressed", "punctuate",
	"recognise_emotion", "summary", "vad", "videochapters",
}

// KnownAPI returns a name that APIName returned if it is one of APIs, else `other`.
func KnownAPI(api string) string {
	if slices.Contains(APIs, api) {
		return api
	}
	return otherAPI
}

// Check returns why a job is invalid.
func (j *Job) Check() error {
	if err := CheckRequestID(j.RequestID); err != nil {
		return err
	}
	switch {
	case j.Priority != 0 && !(j.Priority >= minPriority && j.Priority <= maxPriority):
		return fmt.Errorf("priority is not between %v and %d", minPriority, maxPriority)
	case j.AudioSeconds != 0 && !(j.AudioSeconds >= MinAudioSeconds && j.AudioSeconds <= maxAudioSeconds):
		return fmt.Errorf("audio_seconds is not between %v and %.0f; leave it out if it is unknown",
			MinAudioSeconds, float64(maxAudioSeconds))
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

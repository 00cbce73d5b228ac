package submission

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// entry is an entry's JSON: the vendor's answer to a submission, and what a
// user may add. Keys that are not here are ignored, as the vendor may add some.
type entry struct {
	RequestID    string            `json:"request_id"`
	API          string            `json:"api"`
	AudioSeconds float64           `json:"audio_seconds"`
	Priority     float64           `json:"priority"`
	SubmittedAt  string            `json:"submitted_at"`
	Labels       map[string]string `json:"labels"`
	Account      string            `json:"account"`
}

func (e *entry) job() (Job, error) {
	j := Job{
		RequestID:    e.RequestID,
		API:          APIName(e.API),
		AudioSeconds: e.AudioSeconds,
		Priority:     e.Priority,
		Labels:       e.Labels,
		Account:      e.Account,
	}
	if e.SubmittedAt != "" {
		at, err := time.Parse(time.RFC3339, e.SubmittedAt)
		if err != nil {
			return Job{}, errors.New(`submitted_at is not a time like "2026-11-23T18:00:00Z"`)
		}
		j.SubmittedAt = at
	}
	if len(j.Labels) == 0 {
		j.Labels = nil
	}
	return j, j.check()
}

// ParseLine reads one line of a file: an ID, as it is or as a JSON string, or a
// JSON object. It returns ok false for a line that says nothing: empty, or a comment that begins with #.
// The error says what is wrong without repeating the line.
func ParseLine(line []byte) (job Job, ok bool, err error) {
	line = bytes.TrimSpace(line)
	switch {
	case len(line) == 0 || line[0] == '#':
		return Job{}, false, nil
	case len(line) > MaxEntryBytes:
		return Job{}, false, fmt.Errorf("longer than %d bytes", MaxEntryBytes)
	case line[0] == '{':
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return Job{}, false, jsonError(err)
		}
		job, err = e.job()
	case line[0] == '"':
		// What jq writes without -r. With its quotes, it would be the ID of no job.
		if err := json.Unmarshal(line, &job.RequestID); err != nil {
			return Job{}, false, jsonError(err)
		}
		err = CheckRequestID(job.RequestID)
	default:
		job.RequestID = string(line)
		err = CheckRequestID(job.RequestID)
	}
	if err != nil {
		return Job{}, false, err
	}
	return job, true, nil
}

// ErrEmpty is the answer to a document that names no job at all.
var ErrEmpty = errors.New("no job: send an object with request_id, an array of such objects, or one a line")

// ErrTooMany is the answer to a document with more entries than may be read.
var ErrTooMany = errors.New("too many entries")

// ParseJSON reads a whole document: one object, an array of objects and IDs (as
// JSON strings), or objects and IDs one after the other (JSON lines). It is all
// or nothing: the first bad entry ends it with an error that counts entries
// from 1 and does not repeat their content. More than most entries are refused.
func ParseJSON(r io.Reader, most int) ([]Job, error) {
	dec := jsontext.NewDecoder(r)
	var jobs []Job
	inArray, entries := false, 0
	for {
		switch kind := dec.PeekKind(); {
		case kind == '[' && entries == 0 && !inArray:
			if _, err := dec.ReadToken(); err != nil {
				return nil, jsonError(err)
			}
			inArray = true
			continue
		case kind == ']' && inArray:
			if _, err := dec.ReadToken(); err != nil {
				return nil, jsonError(err)
			}
			_, err := dec.ReadToken()
			var syntax *jsontext.SyntacticError
			switch {
			case err == io.EOF:
				return jobs, nil
			case err == nil || errors.As(err, &syntax):
				return nil, errors.New("something follows the array")
			}
			return nil, jsonError(err)
		case kind == '{' || kind == '"':
			if entries++; entries > most {
				return nil, fmt.Errorf("%w: more than %d", ErrTooMany, most)
			}
			job, err := decodeEntry(dec, kind)
			if err != nil {
				return nil, fmt.Errorf("entry %d: %w", entries, err)
			}
			jobs = append(jobs, job)
		default:
			_, err := dec.ReadToken()
			switch {
			case err == io.EOF && !inArray && entries > 0:
				return jobs, nil
			case err == io.EOF && !inArray:
				return nil, ErrEmpty
			case err != nil:
				return nil, fmt.Errorf("entry %d: %w", entries+1, jsonError(err))
			}
			return nil, fmt.Errorf("entry %d: neither an object nor a string", entries+1)
		}
	}
}

func decodeEntry(dec *jsontext.Decoder, kind jsontext.Kind) (Job, error) {
	var e entry
	var err error
	if kind == '"' {
		err = json.UnmarshalDecode(dec, &e.RequestID)
	} else {
		err = json.UnmarshalDecode(dec, &e)
	}
	if err != nil {
		return Job{}, jsonError(err)
	}
	return e.job()
}

// jsonError tells a syntax error from a value of the wrong type, and names the
// place, but nothing of the content: the library's own message may quote it.
// Errors of the reader (such as http.MaxBytesError) are kept.
func jsonError(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		return fmt.Errorf("not JSON as RFC 8259 and UTF-8 have it, at byte %d", syntax.ByteOffset)
	}
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		// The pointer begins with the index of the entry, in an array, and may end
		// within labels, whose names are content.
		for name := range semantic.JSONPointer.Tokens() {
			switch name {
			case "request_id", "api", "audio_seconds", "priority", "submitted_at", "labels", "account":
				return fmt.Errorf("%s has a value of the wrong type", name)
			}
		}
		return errors.New("a value is of the wrong type")
	}
	return fmt.Errorf("reading: %w", err)
}

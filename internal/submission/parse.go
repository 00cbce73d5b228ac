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

// entry is the JSON of an entry: the vendor's answer to a submission, and what a user may
// add. Other keys are ignored, because the vendor may add some.
type entry struct {
	Job
	SubmittedAt string `json:"submitted_at"`
}

// parseEntry parses an object, or an ID as a JSON string, which decode unmarshals.
func parseEntry(kind jsontext.Kind, decode func(any) error) (Job, error) {
	if kind == '"' {
		var id string
		if err := decode(&id); err != nil {
			return Job{}, jsonError(err)
		}
		if err := checkUnnamed(id); err != nil {
			return Job{}, err
		}
		return Job{RequestID: id}, nil
	}
	var e entry
	if err := decode(&e); err != nil {
		return Job{}, jsonError(err)
	}
	return e.job()
}

func (e *entry) job() (Job, error) {
	j := e.Job
	j.API = APIName(j.API)
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
	if err := j.check(); err != nil {
		return Job{}, err
	}
	return j, nil
}

// ParseLine parses a line of a file: an ID as it is or as a JSON string, or a JSON object.
// It returns false for an empty line and for a comment, which starts with #. The error does
// not quote the line.
func ParseLine(line []byte) (job Job, ok bool, err error) {
	line = bytes.TrimSpace(line)
	switch {
	case len(line) == 0 || line[0] == '#':
		return Job{}, false, nil
	case len(line) > MaxEntryBytes:
		return Job{}, false, errTooLong
	case line[0] == '{' || line[0] == '"': // jq writes a string without -r
		job, err = parseEntry(jsontext.Kind(line[0]), func(to any) error { return json.Unmarshal(line, to) })
		return job, err == nil, err
	}
	id := string(line)
	if err := checkLine(id); err != nil {
		return Job{}, false, err
	}
	return Job{RequestID: id}, true, nil
}

var errTooLong = fmt.Errorf("longer than %d bytes", MaxEntryBytes)

// ErrEmpty is the error for a document without an entry.
var ErrEmpty = errors.New("no job: send an object with request_id, an array of such objects, or one per line")

// ErrTooMany is the error for a document with more entries than allowed.
var ErrTooMany = errors.New("too many entries")

// ParseJSON parses a whole document: one object, an array of objects and IDs (as JSON
// strings), or a sequence of objects and IDs (JSON lines). The first invalid entry ends it
// with an error that counts entries from 1 and does not quote them. An error of the reader
// is a *ReadError.
func ParseJSON(r io.Reader, maxEntries int) ([]Job, error) {
	dec := jsontext.NewDecoder(r)
	inArray := dec.PeekKind() == '['
	if inArray {
		_, _ = dec.ReadToken() // cannot fail after PeekKind
	}
	var jobs []Job
	for n := 1; ; n++ {
		kind := dec.PeekKind()
		if kind != '{' && kind != '"' {
			if err := end(dec, inArray && kind == ']', n); err != nil {
				return nil, err
			}
			return jobs, nil
		}
		if n > maxEntries {
			return nil, fmt.Errorf("%w: more than %d", ErrTooMany, maxEntries)
		}
		job, err := parseEntry(kind, func(to any) error { return json.UnmarshalDecode(dec, to) })
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", n, err)
		}
		jobs = append(jobs, job)
	}
}

// ParseList parses a JSON array of objects and IDs as ParseJSON does, but an invalid entry
// does not end it: skip is called with its error. Names that are there twice, and bytes that
// are not UTF-8, make only their entry invalid. The jobs before an error are valid.
func ParseList(r io.Reader, maxEntries int, skip func(error)) (jobs []Job, err error) {
	dec := jsontext.NewDecoder(r, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := dec.ReadToken(); err != nil {
		return nil, jsonError(err)
	}
	for n := 1; ; n++ {
		kind := dec.PeekKind()
		if kind == jsontext.KindInvalid || kind == jsontext.KindEndArray {
			return jobs, end(dec, kind == jsontext.KindEndArray, n)
		}
		if n > maxEntries {
			return jobs, fmt.Errorf("%w: more than %d", ErrTooMany, maxEntries)
		}
		value, err := dec.ReadValue()
		if err != nil {
			return jobs, fmt.Errorf("entry %d: %w", n, jsonError(err))
		}
		var job Job
		switch {
		case len(value) > MaxEntryBytes:
			err = errTooLong
		case kind != '{' && kind != '"':
			err = errKind
		default:
			job, err = parseEntry(kind, func(to any) error { return json.Unmarshal(value, to) })
		}
		if err != nil {
			skip(fmt.Errorf("entry %d: %w", n, err))
			continue
		}
		jobs = append(jobs, job)
	}
}

var errKind = errors.New("neither an object nor a string")

// end returns nil if the document ends where the n-th entry would start: after the end of
// its array, if it is one.
func end(dec *jsontext.Decoder, ofArray bool, n int) error {
	if ofArray {
		if _, err := dec.ReadToken(); err != nil {
			return jsonError(err)
		}
	}
	_, err := dec.ReadToken()
	_, invalid := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case err == io.EOF && n == 1 && !ofArray:
		return ErrEmpty
	case err == io.EOF:
		return nil
	case ofArray && (err == nil || invalid):
		return errors.New("trailing data after the array")
	case ofArray:
		return jsonError(err)
	case err != nil:
		return fmt.Errorf("entry %d: %w", n, jsonError(err))
	}
	return fmt.Errorf("entry %d: %w", n, errKind)
}

// A ReadError is an error of the reader, such as an *http.MaxBytesError: the document may
// be valid.
type ReadError struct{ Err error }

func (e *ReadError) Error() string { return "reading: " + e.Err.Error() }

func (e *ReadError) Unwrap() error { return e.Err }

// jsonError returns an error that names the place of a mistake without quoting content, as
// errors of the JSON library may do.
func jsonError(err error) error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("invalid JSON at byte %d", syntax.ByteOffset)
	}
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return &ReadError{err}
	}
	// The pointer may start with the index of the entry, and end with the name of a label,
	// which is content.
	for name := range semantic.JSONPointer.Tokens() {
		switch name {
		case "request_id", "api", "audio_seconds", "priority", "submitted_at", "labels", "account":
			return fmt.Errorf("%s has a value of the wrong type", name)
		}
	}
	return errors.New("a value has the wrong type")
}

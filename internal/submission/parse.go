package submission

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// entry is the JSON of an entry: the vendor's answer to a submission, and what a user may
// add. Another name is most likely a mistake, and refused.
type entry struct {
	Job
	RequestID   requestID `json:"request_id"`
	SubmittedAt string    `json:"submitted_at"`
	// These are in other answers of the vendor, and have no meaning here.
	Status  jsontext.Value `json:"status"`
	Message jsontext.Value `json:"message"`
}

// A requestID is a string, or a number without sign, fraction and exponent.
type requestID string

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (id *requestID) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '0' {
		return json.UnmarshalDecode(dec, (*string)(id))
	}
	number, err := dec.ReadValue()
	if err != nil {
		return err
	}
	if bytes.ContainsAny(number, "-+.eE") {
		return errors.New("not a request ID")
	}
	*id = requestID(number)
	return nil
}

// notGiven matches what encoders write for a number that is not given, and strings, in which it means nothing.
var notGiven = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b`)

// parseEntry parses an object, or an ID as a JSON string or number. The offset is where it
// begins in its document.
func parseEntry(value jsontext.Value, offset int64) (Job, error) {
	// What is not JSON has no names that could be quoted.
	check := func(value jsontext.Value) error {
		_, err := jsontext.NewDecoder(bytes.NewReader(value)).ReadValue()
		return err
	}
	if err := check(value); err == io.EOF {
		return Job{}, fmt.Errorf("%w at byte %d", ErrSyntax, offset)
	} else if err != nil {
		given := notGiven.ReplaceAllFunc(value, func(token []byte) []byte {
			if token[0] == '"' {
				return token
			}
			return []byte("null")
		})
		if check(given) != nil {
			return Job{}, jsonError(err, offset)
		}
		value = given
	}
	unmarshal := func(to any) error {
		if err := json.Unmarshal(value, to, json.RejectUnknownMembers(true)); err != nil {
			return jsonError(err, offset)
		}
		return nil
	}
	switch value.Kind() {
	case '"', '0':
		var id requestID
		if err := unmarshal(&id); err != nil {
			return Job{}, err
		}
		if err := checkUnnamed(string(id)); err != nil {
			return Job{}, err
		}
		return Job{RequestID: string(id)}, nil
	case '{':
		var e entry
		if err := unmarshal(&e); err != nil {
			return Job{}, err
		}
		return e.job()
	}
	return Job{}, errKind
}

func (e *entry) job() (Job, error) {
	j := e.Job
	j.RequestID = string(e.RequestID)
	j.API = APIName(j.API)
	if e.SubmittedAt != "" {
		at, err := time.Parse(time.RFC3339, e.SubmittedAt)
		if err != nil {
			return Job{}, errors.New(`submitted_at is not a time like "2026-11-23T18:00:00Z"`)
		}
		if age := time.Since(at); age > maxSubmittedAge || age < -maxSubmittedAhead {
			return Job{}, errors.New("submitted_at is more than a year ago, or more than a day in the future")
		}
		j.SubmittedAt = at
	}
	if len(j.Labels) == 0 {
		j.Labels = nil
	}
	if err := j.Check(); err != nil {
		return Job{}, err
	}
	return j, nil
}

// ParseLine parses a line of a file: an ID as it is or as a JSON string, or a JSON object.
// It returns false for an empty line and for a comment, which starts with #. The error does
// not quote the line.
func ParseLine(line []byte) (job Job, ok bool, err error) {
	line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte(bom)))
	switch {
	case len(line) == 0 || line[0] == '#':
		return Job{}, false, nil
	case len(line) > MaxEntryBytes:
		return Job{}, false, errTooLong
	case line[0] == '{' || line[0] == '"': // jq writes a string without -r
		job, err = parseEntry(line, 0)
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

// ErrSyntax is wrapped by the error for what is not JSON.
var ErrSyntax = errors.New("invalid JSON")

// ErrTooMany is the error for a document with more entries than allowed.
var ErrTooMany = errors.New("too many entries")

// What a parser holds at most, in bytes. Readers of foreign data add up to a limit of the process.
const (
	ParserMemory = 3 << 20
	// EntryMemory is what ParseJSON allows an entry on average: more than an ID takes, and half of what a job with some
	// labels does.
	EntryMemory = 256
)

// ParseJSON parses a whole document: one object, an array of objects and IDs (as JSON
// strings or numbers), or a sequence of objects and IDs (JSON lines). The first invalid
// entry ends it with an error that counts entries from 1 and does not quote them. An error
// of the reader is a *ReadError. It holds at most EntryMemory for each of maxEntries, and ParserMemory.
func ParseJSON(r io.Reader, maxEntries int) ([]Job, error) {
	dec := newDecoder(r)
	inArray := dec.PeekKind() == '['
	if inArray {
		_, _ = dec.ReadToken() // cannot fail after PeekKind
	}
	var jobs []Job
	size := 0
	for n := 1; ; n++ {
		kind := dec.PeekKind()
		if !isEntry(kind) {
			if err := end(dec, inArray && kind == ']', n); err != nil {
				return nil, err
			}
			return jobs, nil
		}
		if n > maxEntries {
			return nil, fmt.Errorf("%w: more than %d", ErrTooMany, maxEntries)
		}
		job, err := dec.entry()
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", n, err)
		}
		if size += job.Memory(); size > maxEntries*EntryMemory {
			return nil, fmt.Errorf("%w: more than %d with so many labels", ErrTooMany, n-1)
		}
		jobs = append(jobs, job)
	}
}

// Memory estimates what a job takes, in bytes.
func (j *Job) Memory() int {
	size := 160 + len(j.RequestID) + len(j.API) + len(j.Account)
	if len(j.Labels) > 0 {
		size += 320 + 160*max(len(j.Labels)-8, 0) // a map of 8 is one allocation
	}
	for name, value := range j.Labels {
		size += len(name) + len(value)
	}
	return size
}

var errNoArray = errors.New("it is not a JSON array")

// ParseList parses a JSON array of objects and IDs as ParseJSON does, and yields one job after another. An invalid
// entry does not end it, also where it is not JSON: skip is called with its error. So is one that check returns an error
// for. What ends the list too early is yielded last, as an error without a job. It holds at most ParserMemory.
func ParseList(r io.Reader, maxEntries int, check func(Job) error, skip func(error)) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		l := newList(r)
		for n := 1; ; n++ {
			switch more, err := l.next(); {
			case err != nil && n == 1 && !l.begun:
				yield(Job{}, err)
				return
			case err != nil:
				yield(Job{}, fmt.Errorf("entry %d: %w", n, err))
				return
			case !more:
				if err := l.end(); err != nil {
					yield(Job{}, err)
				}
				return
			case n > maxEntries:
				yield(Job{}, fmt.Errorf("%w: more than %d", ErrTooMany, maxEntries))
				return
			}
			job, err := l.entry()
			if err == nil {
				err = check(job)
			}
			if err != nil {
				skip(fmt.Errorf("entry %d: %w", n, err))
				continue
			}
			if !yield(job, nil) {
				return
			}
		}
	}
}

func isEntry(kind jsontext.Kind) bool { return kind == '{' || kind == '"' || kind == '0' }

const bom = "\ufeff" // some editors write it at the start of UTF-8 text

const (
	// maxBuffer is the maximum number of bytes that a decoder reads ahead: an entry, and the
	// space before it.
	maxBuffer = 1 << 20
	// maxSpace is the maximum number of bytes of space between two tokens that it keeps.
	maxSpace = 1 << 10
)

// A decoder reads a document an entry at a time. It holds at most ParserMemory, whatever the
// document is like.
type decoder struct {
	*jsontext.Decoder
	from   io.Reader
	read   int64 // bytes that the JSON decoder got
	failed error // of reading

	// Where the last byte is.
	inString, escaped bool
	space             int   // number of bytes of space before it
	dropped           int64 // number of bytes of space before it that were dropped
}

// withoutBOM returns a reader of what follows a byte order mark.
func withoutBOM(r io.Reader) *bufio.Reader {
	start := bufio.NewReader(r)
	if first, _ := start.Peek(len(bom)); string(first) == bom {
		_, _ = start.Discard(len(bom)) // cannot fail after Peek
	}
	return start
}

func newDecoder(r io.Reader) *decoder {
	d := &decoder{from: withoutBOM(r)}
	// The names of an object are compared by parseEntry, which knows that it is small.
	d.Decoder = jsontext.NewDecoder(d, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return d
}

// Read reads for the JSON decoder, which buffers a whole entry.
func (d *decoder) Read(p []byte) (int, error) {
	if d.read-d.InputOffset() > maxBuffer {
		d.failed = errTooLong
		return 0, errTooLong
	}
	n, err := 0, error(nil)
	for n == 0 && err == nil {
		n, err = d.from.Read(p)
		n = d.squeeze(p[:n])
	}
	d.read += int64(n)
	if err != nil && err != io.EOF {
		d.failed = &ReadError{err}
	}
	return n, err
}

// squeeze drops space beyond maxSpace, which the JSON decoder would buffer, and returns how
// many bytes are left.
func (d *decoder) squeeze(p []byte) (n int) {
	for _, c := range p {
		switch {
		case d.escaped:
			d.escaped = false
		case d.inString:
			d.escaped, d.inString = c == '\\', c != '"'
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			if d.space++; d.space > maxSpace {
				d.dropped++
				continue
			}
		default:
			d.space, d.inString = 0, c == '"'
		}
		p[n] = c
		n++
	}
	return n
}

// explain returns the error of reading behind an error of the JSON decoder, or the place of
// a mistake.
func (d *decoder) explain(err error) error {
	if d.failed != nil {
		return d.failed
	}
	return jsonError(err, d.dropped)
}

// entry reads an entry.
func (d *decoder) entry() (Job, error) {
	value, err := d.ReadValue()
	if err != nil {
		return Job{}, d.explain(err)
	}
	if len(value) > MaxEntryBytes {
		return Job{}, errTooLong
	}
	return parseEntry(value, d.dropped+d.InputOffset()-int64(len(value)))
}

var errKind = errors.New("neither an object nor a string")

// fields are the names of an entry that have a meaning.
var fields = []string{"request_id", "api", "audio_seconds", "priority", "submitted_at", "labels", "account"}

// fieldName matches names that cannot be a key or an ID, and may be quoted.
var fieldName = regexp.MustCompile(`^[A-Za-z_]{1,24}$`)

// end returns nil if the document ends where the n-th entry would start: after the end of
// its array, if it is one.
func end(dec *decoder, ofArray bool, n int) error {
	if ofArray {
		if _, err := dec.ReadToken(); err != nil {
			return dec.explain(err)
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
		return dec.explain(err)
	case err != nil:
		return fmt.Errorf("entry %d: %w", n, dec.explain(err))
	}
	return fmt.Errorf("entry %d: %w", n, errKind)
}

// A ReadError is an error of the reader, such as an *http.MaxBytesError: the document may
// be valid.
type ReadError struct{ Err error }

func (e *ReadError) Error() string { return "reading: " + e.Err.Error() }

func (e *ReadError) Unwrap() error { return e.Err }

// jsonError returns an error that names the place of a mistake without quoting content, as
// errors of the JSON library may do. The offset is where the JSON begins in its document.
func jsonError(err error, offset int64) error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return fmt.Errorf("a name is given twice, at byte %d", offset+syntax.ByteOffset)
		}
		return fmt.Errorf("%w at byte %d", ErrSyntax, offset+syntax.ByteOffset)
	}
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return &ReadError{err}
	}
	// The pointer may start with the index of the entry, and end with the name of a label,
	// which is content.
	if errors.Is(semantic, json.ErrUnknownName) {
		if name := semantic.JSONPointer.LastToken(); fieldName.MatchString(name) {
			return fmt.Errorf("unknown field %q; the fields are %s", name, strings.Join(fields, ", "))
		}
		return fmt.Errorf("unknown field; the fields are %s", strings.Join(fields, ", "))
	}
	for name := range semantic.JSONPointer.Tokens() {
		if slices.Contains(fields, name) {
			return fmt.Errorf("%s has a value of the wrong type", name)
		}
	}
	return errors.New("a value has the wrong type")
}

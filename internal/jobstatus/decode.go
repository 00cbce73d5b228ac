package jobstatus

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// A State is the state of a job that the API reports.
type State int

// The states. Unknown is a word that is neither in the vendor's documentation nor in its
// sample client.
const (
	Unknown State = iota
	Running
	Completed
	Failed
)

// stateOf reads a status word as the vendor's sample client does: it ignores case and
// surrounding space, `progress` anywhere means running and `completed` anywhere completed.
func stateOf(word string) State {
	word = strings.ToLower(strings.TrimSpace(word))
	switch {
	case word == "running", strings.Contains(word, "progress"):
		return Running
	case strings.Contains(word, "completed"):
		return Completed
	case word == "failed":
		return Failed
	}
	return Unknown
}

// A body is the content of a status response, or of a fault in its place.
type body struct {
	hasStatus bool
	state     State
	requestID string
	errorCode string             // of a fault; empty: there is none
	result    *transcript.Result // only with state Completed
}

// Error codes for a fault without a code, and for a code that cannot be a label.
const (
	UnknownErrorCode = "unknown"
	OtherErrorCode   = "other"
	maxErrorCode     = 96 // bytes
)

// errorCode returns the code of a fault if it looks like one, so that no other text becomes
// a label.
func errorCode(code string) string {
	if code == "" {
		return UnknownErrorCode
	}
	notInCode := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
			strings.ContainsRune("._:-", r))
	}
	if len(code) > maxErrorCode || strings.ContainsFunc(code, notInCode) {
		return OtherErrorCode
	}
	return code
}

// A decoder reads bodies as a stream of tokens. It never holds a document, and skips the
// text of transcripts.
type decoder struct {
	json    *jsontext.Decoder
	acc     transcript.Accumulator
	speaker []byte // of the current word or segment
	tag     []byte // of the current segment
}

var decoders = sync.Pool{New: func() any { return &decoder{json: new(jsontext.Decoder)} }}

// maxToken is the maximum size of a string or number in bytes. The JSON decoder buffers
// even those that it skips. The transcript of 24 hours of speech is shorter.
const maxToken = 8 << 20

// A tokenLimit is a reader that fails when the decoder buffers more than maxToken bytes.
type tokenLimit struct {
	r       io.Reader
	decoder *jsontext.Decoder
	n       int64 // bytes read
	large   bool  // a token has made the buffer of the decoder grow
}

func (l *tokenLimit) Read(p []byte) (int, error) {
	held := l.n - l.decoder.InputOffset()
	l.large = l.large || held > 1<<20
	if held > maxToken {
		return 0, fmt.Errorf("a string or number is longer than %d bytes", maxToken)
	}
	n, err := l.r.Read(p[:min(int64(len(p)), maxToken-held+1)])
	l.n += int64(n)
	if err != nil && err != io.EOF {
		err = &readError{err}
	}
	return n, err
}

// A readError is an error of the reader. Without it, the decoder's error does not tell a
// broken connection from a malformed document.
type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

// errShape means that a document is valid JSON but not a status.
var errShape = errors.New("not a status")

// decodeStatus decodes a status body. All of it must be valid JSON (RFC 8259, UTF-8, no
// repeated name in an object). Names may come in any order; unknown ones are skipped.
func decodeStatus(r io.Reader, timings bool) (body, error) {
	return decode(r, timings, func(d *decoder, b *body) error {
		return d.object(func(name string) error {
			switch name {
			case "status":
				return d.status(b)
			case "response":
				return d.response(b)
			case "fault":
				return d.fault(b)
			}
			return d.json.SkipValue()
		})
	})
}

// decodeWebhook decodes the body of a webhook as strictly: a request ID and beside it a
// result as in a status body. The webhook of is_depressed has the field `depressed` in
// place of `response`. The status body of an ended job, which has its ID in `response`, is
// accepted too.
func decodeWebhook(r io.Reader, timings bool) (body, error) {
	return decode(r, timings, func(d *decoder, b *body) error {
		var within string // the ID in the response
		ended, endedWithin, word := false, false, Unknown
		response := func(name string) (err error) {
			switch name {
			case "request_id":
				within, err = d.text()
				return err
			case "response":
				endedWithin = true
				return d.result(b)
			case "fault":
				endedWithin = true
			}
			return d.resultMember(name, b)
		}
		err := d.object(func(name string) (err error) {
			switch name {
			case "request_id":
				b.requestID, err = d.text()
				return err
			case "status":
				text, err := d.text()
				word = stateOf(text)
				return err
			case "response":
				ended = true
				if d.json.PeekKind() == '{' {
					return d.object(response)
				}
			case "depressed":
				ended = true
			case "fault":
				ended = true
				return d.fault(b)
			}
			return d.json.SkipValue()
		})
		if b.requestID == "" {
			b.requestID, ended = within, endedWithin || word != Unknown
		}
		b.state = Completed
		switch {
		case err == errShape, err == nil && (!ended || b.requestID == ""):
			err = errors.New("not a webhook")
		case err != nil:
		case word == Running:
			err = errors.New("the job has not ended")
		case word == Failed:
			b.state = Failed
		}
		return err
	})
}

// decode decodes one document, with the timings of words if they are wanted, and applies
// what a fault in it means for the state.
func decode(r io.Reader, timings bool, read func(*decoder, *body) error) (body, error) {
	d := decoders.Get().(*decoder)
	limited := &tokenLimit{r: r, decoder: d.json}
	defer func() {
		if !limited.large {
			decoders.Put(d)
		}
	}()
	d.json.Reset(limited)
	d.acc.Reset()
	d.acc.KeepTimings = timings
	var b body
	err := read(d, &b)
	if err == nil {
		err = d.end()
	}
	d.json.Reset(http.NoBody) // the pool must not keep the document alive
	if err != nil {
		return body{}, err
	}
	switch {
	case b.state == Completed && b.errorCode != "":
		b.state = Failed
	case b.state == Completed:
		b.result = d.acc.Result()
	case b.state == Failed && b.errorCode == "":
		b.errorCode = UnknownErrorCode
	}
	return b, nil
}

// end checks that nothing follows the document.
func (d *decoder) end() error {
	switch _, err := d.json.ReadToken(); err {
	case io.EOF:
		return nil
	case nil:
		return errors.New("trailing data after the document")
	default:
		return err
	}
}

// object reads an object and calls member for each name. member must read the value; the
// name is valid until it does.
func (d *decoder) object(member func(name string) error) error {
	switch tok, err := d.json.ReadToken(); {
	case err != nil:
		return err
	case tok.Kind() != '{':
		return errShape
	}
	for {
		tok, err := d.json.ReadToken()
		if err != nil {
			return err
		}
		if tok.Kind() == '}' {
			return nil
		}
		if err := member(tok.String()); err != nil {
			return err
		}
	}
}

// array reads an array and calls element for each of its elements.
func (d *decoder) array(element func() error) error {
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	for d.json.PeekKind() != ']' {
		if err := element(); err != nil {
			return err
		}
	}
	_, err := d.json.ReadToken()
	return err
}

func (d *decoder) status(b *body) error {
	tok, err := d.json.ReadToken()
	switch {
	case err != nil || tok.Kind() == 'n':
		return err
	case tok.Kind() != '"':
		return errShape
	}
	b.hasStatus, b.state = true, stateOf(tok.String())
	return nil
}

// response reads the outer response: the request ID and the result of the API called.
func (d *decoder) response(b *body) error {
	if d.json.PeekKind() != '{' {
		return d.json.SkipValue()
	}
	return d.object(func(name string) (err error) {
		switch name {
		case "request_id":
			b.requestID, err = d.text()
			return err
		case "response":
			return d.result(b)
		case "fault":
			return d.fault(b)
		}
		return d.json.SkipValue()
	})
}

// result reads the result of the API called: words or segments with their times, or a
// fault. It skips anything else (texts, emotions, URLs, health data, arrays of numbers).
func (d *decoder) result(b *body) error {
	if d.json.PeekKind() != '{' {
		return d.json.SkipValue()
	}
	return d.object(func(name string) error { return d.resultMember(name, b) })
}

func (d *decoder) resultMember(name string, b *body) error {
	switch name {
	case "confidence":
		return d.number(d.acc.Confidence)
	case "num_speakers":
		return d.number(d.acc.Speakers)
	case "words":
		if d.json.PeekKind() == '[' {
			d.acc.WordList()
			return d.array(d.word)
		}
	case "segments":
		if d.json.PeekKind() == '[' {
			d.acc.SegmentList()
			return d.array(d.segment)
		}
	case "fault":
		return d.fault(b)
	}
	return d.json.SkipValue()
}

func (d *decoder) word() error {
	piece, _, err := d.piece()
	if err == nil {
		d.acc.Word(piece)
	}
	return err
}

func (d *decoder) segment() error {
	piece, notSpeech, err := d.piece()
	switch {
	case err != nil:
	case notSpeech:
		d.acc.Pause(piece)
	default:
		d.acc.Segment(piece)
	}
	return err
}

// piece reads one word or segment, and whether its tag says that it is not speech. This is
// the innermost loop: it reads tokens without closures.
func (d *decoder) piece() (p transcript.Piece, notSpeech bool, err error) {
	p = transcript.Piece{Start: math.NaN(), End: math.NaN(), Confidence: math.NaN()}
	if d.json.PeekKind() != '{' {
		return p, false, d.json.SkipValue()
	}
	if _, err := d.json.ReadToken(); err != nil {
		return p, false, err
	}
	d.speaker = d.speaker[:0]
	for {
		tok, err := d.json.ReadToken()
		if err != nil {
			return p, false, err
		}
		if tok.Kind() == '}' {
			p.Speaker = d.speaker
			return p, notSpeech, nil
		}
		var into *float64
		switch tok.String() {
		case "start":
			into = &p.Start
		case "end":
			into = &p.End
		case "confidence":
			into = &p.Confidence
		case "speaker_id":
			d.speaker, err = d.appendText(d.speaker)
		case "tag": // `speech` or another sound
			isText := d.json.PeekKind() == '"'
			d.tag, err = d.appendText(d.tag[:0])
			notSpeech = isText && string(d.tag) != "speech"
		default:
			err = d.json.SkipValue()
		}
		if into != nil {
			*into, err = d.float()
		}
		if err != nil {
			return p, false, err
		}
	}
}

// float reads a number; any other value is NaN. A number out of range of float64 is an
// error, because it would be wrong rather than unknown.
func (d *decoder) float() (float64, error) {
	if d.json.PeekKind() != '0' {
		return math.NaN(), d.json.SkipValue()
	}
	tok, err := d.json.ReadToken()
	if err != nil {
		return 0, err
	}
	v, err := tok.Float()
	if err != nil {
		return 0, errors.New("a number is out of range")
	}
	return v + 0, nil // turns -0 into 0
}

// number reads a number and passes it to set; it skips any other value.
func (d *decoder) number(set func(float64)) error {
	v, err := d.float()
	if err == nil && !math.IsNaN(v) {
		set(v)
	}
	return err
}

// appendText appends a string or a number as text; any other value is empty.
func (d *decoder) appendText(dst []byte) ([]byte, error) {
	switch d.json.PeekKind() {
	case '"', '0':
		tok, err := d.json.ReadToken()
		if err != nil {
			return dst, err
		}
		return append(dst, tok.String()...), nil
	}
	return dst, d.json.SkipValue()
}

func (d *decoder) text() (string, error) {
	text, err := d.appendText(nil)
	return string(text), err
}

// fault reads a fault in either spelling: the gateway's (`faultstring`,
// `errorcode`) or the API's (`fault_string`, `error_code`). null is no fault.
// Its text is dropped, because it may quote the request.
func (d *decoder) fault(b *body) error {
	switch d.json.PeekKind() {
	case 'n':
		return d.json.SkipValue()
	case '{':
	default:
		b.errorCode = UnknownErrorCode
		return d.json.SkipValue()
	}
	var code string
	err := d.object(func(name string) (err error) {
		switch {
		case isCodeName(name):
			code, err = d.text()
			return err
		case name == "detail" && d.json.PeekKind() == '{':
			return d.object(func(name string) (err error) {
				if isCodeName(name) {
					code, err = d.text()
					return err
				}
				return d.json.SkipValue()
			})
		}
		return d.json.SkipValue()
	})
	b.errorCode = errorCode(code)
	return err
}

func isCodeName(name string) bool { return name == "error_code" || name == "errorcode" }

// malformed returns an error that names the place of a mistake without quoting the
// document, as errors of the JSON library do.
func malformed(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		return fmt.Errorf("malformed: invalid JSON at byte %d", syntax.ByteOffset)
	}
	if err == io.EOF {
		return errors.New("malformed: empty")
	}
	return fmt.Errorf("malformed: %w", err)
}

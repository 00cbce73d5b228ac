package jobstatus

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// A State is what the API says of a job.
type State int

// The states. Unknown is a word that neither the vendor's documentation nor its
// sample client has: it says nothing about the job.
const (
	Unknown State = iota
	Running
	Completed
	Failed
)

// stateOf reads a status word as the vendor's sample client does: case and
// surrounding space do not matter, `progress` anywhere means running and
// `completed` anywhere means done.
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

// A body is what a status answer, or a fault in its place, says.
type body struct {
	hasStatus bool
	state     State
	requestID string
	fault     fault
	result    *transcript.Result // only with state Completed
}

// A fault is the API's account of what went wrong. Its text is not kept: it
// may quote the request.
type fault struct {
	present bool
	code    string // UnknownErrorCode where the fault gives none
}

// Error codes that stand for what the API did not say, or not in a form that
// can be a label.
const (
	UnknownErrorCode = "unknown"
	OtherErrorCode   = "other"
	maxErrorCode     = 96 // bytes
)

// errorCode returns a fault's code if it looks like one, so that nothing but a
// code ever becomes a label.
func errorCode(code string) string {
	if code == "" {
		return UnknownErrorCode
	}
	notInCode := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._:-", r))
	}
	if len(code) > maxErrorCode || strings.ContainsFunc(code, notInCode) {
		return OtherErrorCode
	}
	return code
}

// A decoder reads bodies as a stream of tokens: a document is never held, and a
// transcript's text is passed over.
type decoder struct {
	json    *jsontext.Decoder
	acc     transcript.Accumulator
	speaker []byte // of the piece being read
}

var decoders = sync.Pool{New: func() any { return &decoder{json: new(jsontext.Decoder)} }}

// maxToken is how long one string or number may be, in bytes. The JSON decoder holds
// one whole, also to pass it over; the text of a day's talk is shorter than this.
const maxToken = 8 << 20

// A tokenLimit is a reader that ends when a decoder needs more than maxToken bytes
// of it for one token.
type tokenLimit struct {
	r       io.Reader
	decoder *jsontext.Decoder
	n       int64 // bytes read
	large   bool  // a token has made the decoder's buffer grow
}

func (l *tokenLimit) Read(p []byte) (int, error) {
	held := l.n - l.decoder.InputOffset()
	l.large = l.large || held > 1<<20
	if held > maxToken {
		return 0, fmt.Errorf("a string or number is longer than %d bytes", maxToken)
	}
	n, err := l.r.Read(p[:min(int64(len(p)), maxToken-held+1)])
	l.n += int64(n)
	return n, err
}

// errShape is a document of another shape than the API's.
var errShape = errors.New("not of the shape of a status")

// decodeStatus reads a status body, whole: the JSON must be sound to the last
// byte (RFC 8259 and UTF-8, no name twice in an object). Names may come in any
// order, and unknown ones are passed over.
func decodeStatus(r io.Reader, timings bool) (body, error) {
	return decode(r, timings, func(d *decoder, b *body) error {
		return d.object(func(name string) error {
			switch name {
			case "status":
				return d.status(b)
			case "response":
				return d.response(b)
			case "fault":
				return d.fault(&b.fault)
			}
			return d.json.SkipValue()
		})
	})
}

// decodeWebhook reads the body of a webhook as strictly: a job's request ID, and
// beside it its result, which is shaped as in a status body. The one webhook
// without a `response`, of is_depressed, has its one field in its place. The status
// body of a job that has ended is taken, too: its ID is within the `response`.
func decodeWebhook(r io.Reader, timings bool) (body, error) {
	return decode(r, timings, func(d *decoder, b *body) error {
		var within string // the ID there
		ended, endedWithin, word := false, false, Unknown
		response := func(name string) (err error) {
			switch name {
			case "request_id":
				within, err = d.text()
				return err
			case "response":
				endedWithin = true
				return d.result(&b.fault)
			case "fault":
				endedWithin = true
			}
			return d.resultMember(name, &b.fault)
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
				return d.fault(&b.fault)
			}
			return d.json.SkipValue()
		})
		if b.requestID == "" {
			b.requestID, ended = within, endedWithin || word != Unknown
		}
		b.state = Completed
		switch {
		case err == errShape, err == nil && (!ended || b.requestID == ""):
			err = errors.New("not of the shape of a webhook")
		case err != nil:
		case word == Running:
			err = errors.New("a webhook about a job that has not ended")
		case word == Failed:
			b.state = Failed
		}
		return err
	})
}

// decode reads one document, whole, and works out what it says of its job, with
// the timings of its words where they are wanted.
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
	// The document is let go of before the decoder waits in the pool.
	d.json.Reset(emptyBody{})
	if err != nil {
		return body{}, err
	}
	switch {
	case b.state == Completed && b.fault.present:
		b.state = Failed
	case b.state == Completed:
		b.result = d.acc.Result()
	case b.state == Failed && !b.fault.present:
		b.fault.code = UnknownErrorCode
	}
	return b, nil
}

// end makes sure that nothing follows the document.
func (d *decoder) end() error {
	switch _, err := d.json.ReadToken(); err {
	case io.EOF:
		return nil
	case nil:
		return errors.New("something follows the document")
	default:
		return err
	}
}

// object reads an object and calls member for each name; member reads the value.
// The name is valid until then.
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
	if d.json.PeekKind() == 'n' {
		return d.json.SkipValue()
	}
	tok, err := d.json.ReadToken()
	if err != nil {
		return err
	}
	if tok.Kind() != '"' {
		return errShape
	}
	b.hasStatus, b.state = true, stateOf(tok.String())
	return nil
}

// response reads the outer response: the request ID and what the API called made of the job.
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
			return d.result(&b.fault)
		case "fault":
			return d.fault(&b.fault)
		}
		return d.json.SkipValue()
	})
}

// result reads what the API called made of the job: words or segments with
// their times, or a fault. Anything else (texts, emotions, URLs, health results,
// arrays of numbers) is passed over.
func (d *decoder) result(f *fault) error {
	if d.json.PeekKind() != '{' {
		return d.json.SkipValue()
	}
	return d.object(func(name string) error { return d.resultMember(name, f) })
}

func (d *decoder) resultMember(name string, f *fault) error {
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
		return d.fault(f)
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
	piece, silent, err := d.piece()
	switch {
	case err != nil:
	case silent:
		d.acc.Pause(piece)
	default:
		d.acc.Segment(piece)
	}
	return err
}

// piece reads one word or segment. It is silent when its tag says that it is
// not speech. This is the innermost loop: it reads tokens without closures.
func (d *decoder) piece() (p transcript.Piece, silent bool, err error) {
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
			return p, silent, nil
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
			d.speaker, err = d.appendID(d.speaker)
		case "tag":
			silent, err = d.isNotSpeech()
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

// float reads a number; any other value is NaN. A number that no float64 can
// hold is an error: it would be wrong rather than unknown.
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
	return v + 0, nil // of a negative zero, 0
}

// number reads a number and hands it on; any other value is passed over.
func (d *decoder) number(set func(float64)) error {
	v, err := d.float()
	if err == nil && !math.IsNaN(v) {
		set(v)
	}
	return err
}

// appendID appends a speaker's ID, which is a string, or a number in some results.
func (d *decoder) appendID(dst []byte) ([]byte, error) {
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

// isNotSpeech reads a segment's tag: `speech`, or what else there is to hear.
func (d *decoder) isNotSpeech() (bool, error) {
	if d.json.PeekKind() != '"' {
		return false, d.json.SkipValue()
	}
	tok, err := d.json.ReadToken()
	if err != nil {
		return false, err
	}
	return tok.String() != "speech", nil
}

// text reads a string or a number as text; any other value is empty.
func (d *decoder) text() (string, error) {
	switch d.json.PeekKind() {
	case '"', '0':
		tok, err := d.json.ReadToken()
		if err != nil {
			return "", err
		}
		return tok.String(), nil
	}
	return "", d.json.SkipValue()
}

// fault reads a fault in either spelling: the gateway's (`faultstring`,
// `errorcode`) or the API's (`fault_string`, `error_code`). null is no fault.
func (d *decoder) fault(f *fault) error {
	switch d.json.PeekKind() {
	case 'n':
		return d.json.SkipValue()
	case '{':
	default:
		*f = fault{present: true, code: UnknownErrorCode}
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
	*f = fault{present: true, code: errorCode(code)}
	return err
}

func isCodeName(name string) bool { return name == "error_code" || name == "errorcode" }

// malformed says where a document is not sound without quoting it, which the
// JSON library's own messages do.
func malformed(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		return fmt.Errorf("malformed: not sound JSON at byte %d", syntax.ByteOffset)
	}
	if err == io.EOF {
		return errors.New("malformed: empty")
	}
	return fmt.Errorf("malformed: %w", err)
}

package jobstatus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/laxjson"
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

// negated matches state words such as `Not completed` and `Incompleted`.
var negated = regexp.MustCompile(`(?:^|[^a-z])(?:not|never)(?:[^a-z]|$)|(?:^|[^a-z])(?:not|non|un|in)[-_]?completed`)

// stateOf reads a state word as the vendor's sample client does: it ignores case and
// surrounding space, `progress` anywhere means running and `completed` anywhere completed. Unlike there, a word that
// negates leaves the state unknown: a job that is taken for completed is never polled again.
func stateOf(word string) State {
	word = strings.ToLower(strings.TrimSpace(word))
	switch word {
	case "running":
		return Running
	case "completed":
		return Completed
	case "failed":
		return Failed
	}
	switch progress, completed := strings.Contains(word, "progress"), strings.Contains(word, "completed"); {
	case !progress && !completed, negated.MatchString(word):
		return Unknown
	case progress:
		return Running
	}
	return Completed
}

// A body is the content of a status response, or of a fault in its place. With an error it has what was read before it.
type body struct {
	hasStatus bool
	state     State
	stateWord string // of the API, if nobody knows it, and it looks like one
	requestID string
	errorCode string             // of a fault; empty: there is none
	result    *transcript.Result // only with state Completed
	waited    bool               // for the slot of large results
	isStatus  bool               // the document is meant as a status, whether it could be read or not
	size      int64              // bytes that were read
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

// A decoder reads bodies as a stream, and skips the text of transcripts. It holds 32 KiB of the document, and the
// times, confidences and speakers that an accumulator holds at most.
type decoder struct {
	laxjson.Scanner
	acc     transcript.Accumulator
	speaker [laxjson.MaxText]byte // of the current word or segment
	body    io.Reader
	ctx     context.Context // ends the wait for the slot of large results
	waited  bool            // for that slot
	abort   func()          // ends a read of the body: it loses the slot if the body is slow; nil: it does not

	// lists are its own while it has the slot and uses others; nil: it does not have the slot.
	lists     *transcript.Lists
	since     time.Time    // it has the slot
	read      atomic.Int64 // bytes since then
	preempted atomic.Bool  // it lost the slot
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// What the decoding of a body holds at most, in bytes, with the result until it is stored. Readers of foreign data add
// up to a limit of the process.
const (
	ResultMemory = 1 << 20
	// LargeResultMemory is that of the one large result that is decoded at a time. Others wait for its slot.
	LargeResultMemory = 32 << 20

	// largeResult is what an accumulator holds of a large result, in bytes: some 6,500 words, which is most of an hour of
	// speech.
	largeResult = 256 << 10

	// maxKept is how many bytes of lists are kept for the next large result: enough for more than an hour of speech.
	maxKept = 1 << 20

	maxSlotWait     = 10 * time.Second
	preemptInterval = 100 * time.Millisecond
	// A body that yields may take so long while others wait, and a second for each so many bytes.
	yieldStart = time.Second
	yieldBytes = 1 << 20
)

// ErrBusy means that other large results were decoded, or are waiting while this one comes slowly. It may be sent
// again.
var ErrBusy = errors.New("other large results are being received; try again")

var (
	largeSlot = make(chan struct{}, 1)
	yielding  struct {
		mu sync.Mutex // guards d, and is held while d is preempted
		d  *decoder   // it has the slot, and may lose it; nil: there is none
	}
	// grown are the lists of the large result before; nil: there are none. Only who has the slot uses it.
	grown *transcript.Lists
)

// Timings are the timings of words that a result has.
type Timings int

// The timings of a result.
const (
	NoTimings      Timings = iota
	CompactTimings         // those of transcript.Compact
	WordTimings            // those of each word
)

// These mean that a document is JSON and not what it should be.
var (
	errNoStatus  = errors.New("not a status")
	errNoWebhook = errors.New("not a webhook")
	errNoObject  = errors.New("not a JSON object")
	errMarkup    = errors.New("HTML or XML, not JSON")
	errUTF16     = errors.New("UTF-16, not UTF-8")
	errPacked    = errors.New("the body is compressed, and its Content-Encoding does not say so")
)

// decodeStatus decodes a status body. Names may come in any order; unknown ones are skipped. What is read must be JSON,
// but for what laxjson tolerates. Of a name that is repeated, the last value counts; what decides something, the state
// and the request ID, must not be repeated with another value.
func decodeStatus(ctx context.Context, r io.Reader, timings Timings) (body, error) {
	return decode(ctx, r, timings, func(d *decoder, b *body) error {
		return d.object(func(name []byte) error {
			switch string(name) {
			case "status":
				b.isStatus = true
				return d.status(b)
			case "response":
				b.isStatus = true
				return d.response(b)
			case "fault":
				return d.fault(b)
			}
			return d.Skip()
		})
	})
}

// decode decodes one document, with the timings that are wanted, and applies
// what a fault in it means for the state.
func decode(
	ctx context.Context, r io.Reader, timings Timings, read func(*decoder, *body) error,
) (body, error) {
	d := decoders.Get().(*decoder)
	defer d.release()
	d.Reset(d)
	d.body, d.ctx = r, ctx
	d.acc.KeepTimings = timings != NoTimings
	var b body
	switch c, err := d.Peek(); {
	case err != nil:
		return b, err
	case c == '<':
		return b, errMarkup
	case c == 0x1f: // the first byte of gzip
		return b, errPacked
	case c == 0, c >= 0xfe: // of `{`, or of a byte order mark
		return b, errUTF16
	case c != '{':
		return b, errNoObject
	}
	err := read(d, &b)
	if err == nil {
		err = d.End()
	}
	b.size, b.waited = d.Offset(), d.waited
	if err != nil {
		return b, d.at(err)
	}
	switch {
	case b.state == Completed && b.errorCode != "":
		b.state = Failed
	case b.state == Completed:
		b.result = d.acc.Result()
		if b.result != nil && timings == CompactTimings {
			b.result.Timings = transcript.Compact(b.result.Timings)
		}
	case b.state == Failed && b.errorCode == "":
		b.errorCode = UnknownErrorCode
	}
	return b, nil
}

// at adds the place in the document to an error that does not name it.
func (d *decoder) at(err error) error {
	_, syntax := errors.AsType[*laxjson.SyntaxError](err)
	_, read := errors.AsType[*laxjson.ReadError](err)
	if syntax || read {
		return err
	}
	return atByte(err, d.Offset())
}

func atByte(err error, offset int64) error { return fmt.Errorf("%w, at byte %d", err, offset) }

// Read reads on in the body for the scanner.
func (d *decoder) Read(p []byte) (int, error) {
	if d.preempted.Load() {
		return 0, ErrBusy
	}
	n, err := d.body.Read(p)
	d.read.Add(int64(n))
	if d.preempted.Load() {
		return 0, ErrBusy
	}
	return n, err
}

// preempt takes the slot from the decoder that has it, if that one yields and its body is slow. It is repeated while
// a decoder waits, since an abort between two reads has no effect.
func preempt() {
	yielding.mu.Lock()
	defer yielding.mu.Unlock()
	d := yielding.d
	if d != nil && time.Since(d.since) > yieldStart+time.Duration(d.read.Load())*time.Second/yieldBytes {
		d.preempted.Store(true)
		d.abort()
	}
}

// takeSlot waits for the slot of large results. Then the decoder may use the lists of the one before, if there are any.
func (d *decoder) takeSlot() error {
	select {
	case largeSlot <- struct{}{}:
	default:
		d.waited = true
		if !d.awaitSlot() {
			return &laxjson.ReadError{Err: ErrBusy}
		}
	}
	d.since, d.lists = time.Now(), new(transcript.Lists)
	d.read.Store(0)
	if d.abort != nil {
		yielding.mu.Lock()
		yielding.d = d
		yielding.mu.Unlock()
	}
	if grown != nil {
		d.lists, grown = grown, nil
		d.acc.Exchange(d.lists)
	}
	return nil
}

// awaitSlot reports whether it got the slot in time.
func (d *decoder) awaitSlot() bool {
	ctx, cancel := context.WithTimeout(d.ctx, maxSlotWait)
	defer cancel()
	ticker := time.NewTicker(preemptInterval)
	defer ticker.Stop()
	for {
		preempt()
		select {
		case largeSlot <- struct{}{}:
			return true
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}

// release gives the decoder back, without the document and without lists that have grown.
func (d *decoder) release() {
	d.acc.Reset()
	if d.lists != nil {
		if d.acc.Exchange(d.lists); d.lists.Size() <= maxKept {
			grown = d.lists
		}
		d.lists = nil
		yielding.mu.Lock()
		yielding.d = nil
		yielding.mu.Unlock()
		<-largeSlot
	}
	d.Reset(nil)
	d.body, d.ctx, d.waited, d.abort = nil, nil, false, nil
	d.preempted.Store(false)
	decoders.Put(d)
}

// object reads an object and calls member for each name. member must read the value; the
// name is valid until it does.
func (d *decoder) object(member func(name []byte) error) error {
	if err := d.BeginObject(); err != nil {
		return err
	}
	for {
		name, ok, err := d.NextName()
		if !ok {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
	}
}

// array reads an array and calls element for each of its elements.
func (d *decoder) array(element func() error) error {
	if err := d.BeginArray(); err != nil {
		return err
	}
	for {
		if ok, err := d.NextElement(); !ok {
			return err
		}
		if err := element(); err != nil {
			return err
		}
		if d.lists == nil && d.acc.Memory() > largeResult {
			if err := d.takeSlot(); err != nil {
				return err
			}
		}
	}
}

// is reports whether the next value begins with a byte.
func (d *decoder) is(begin byte) bool {
	c, err := d.Peek()
	return err == nil && c == begin
}

func (d *decoder) status(b *body) error {
	v, err := d.Value()
	switch {
	case err != nil || v.IsNull():
		return err
	case v.Kind != laxjson.String:
		return errNoStatus
	}
	v.Text = bytes.TrimSpace(v.Text)
	text := string(v.Text)
	state := stateOf(text)
	word := ""
	switch {
	case state != Unknown && !v.HasValidText():
		return errNoStatus
	case state == Unknown && len(text) <= maxStateWord && stateWordPattern.MatchString(text):
		word = text
	}
	if b.hasStatus && (state != b.state || word != b.stateWord) {
		b.hasStatus, b.state = false, Unknown
		return errors.New("the status is given twice, with different words")
	}
	b.hasStatus, b.state, b.stateWord = true, state, word
	return nil
}

// stateWordPattern is what a state word looks like: at most three words of letters, as in `Not_found`. Other text may
// be a sentence of a transcript or a key, and is not shown.
var stateWordPattern = regexp.MustCompile(`^[A-Za-z]{2,}([ _-][A-Za-z]+){0,2}$`)

const maxStateWord = 32 // bytes

// requestID reads a request ID, which may be a number.
func (d *decoder) requestID(b *body) error {
	v, err := d.Value()
	switch {
	case err != nil:
		return err
	case v.Kind != laxjson.String && !v.IsNumber():
		return nil
	}
	v.Text = bytes.TrimSpace(v.Text) // no request ID begins or ends with a space
	switch {
	case !v.HasValidText():
		return errors.New("the request ID is not text")
	case b.requestID != "" && b.requestID != string(v.Text):
		return errors.New("the request ID is given twice, with different values")
	}
	b.requestID = string(v.Text)
	return nil
}

// response reads the outer response: the request ID and the result of the API called.
func (d *decoder) response(b *body) error {
	if !d.is('{') {
		return d.Skip()
	}
	return d.object(func(name []byte) error {
		switch string(name) {
		case "request_id":
			return d.requestID(b)
		case "response":
			return d.result(b)
		case "fault":
			return d.fault(b)
		}
		return d.Skip()
	})
}

// result reads the result of the API called: words or segments with their times, or a
// fault. It skips anything else (texts, emotions, URLs, health data, arrays of numbers).
func (d *decoder) result(b *body) error {
	if !d.is('{') {
		return d.Skip()
	}
	d.acc.Reset() // what was read before is repeated
	return d.object(func(name []byte) error { return d.resultMember(name, b) })
}

func (d *decoder) resultMember(name []byte, b *body) error {
	switch string(name) {
	case "confidence":
		return d.number(d.acc.Confidence)
	case "num_speakers":
		return d.number(d.acc.Speakers)
	case "words":
		if d.is('[') {
			d.acc.WordList()
			return d.array(d.word)
		}
	case "segments":
		if d.is('[') {
			d.acc.SegmentList()
			return d.array(d.segment)
		}
	case "fault":
		return d.fault(b)
	}
	return d.Skip()
}

func (d *decoder) word() error {
	var piece transcript.Piece
	_, err := d.piece(&piece)
	if err == nil {
		d.acc.Word(piece)
	}
	return err
}

func (d *decoder) segment() error {
	var piece transcript.Piece
	notSpeech, err := d.piece(&piece)
	switch {
	case err != nil:
	case notSpeech:
		d.acc.Pause(piece)
	default:
		d.acc.Segment(piece)
	}
	return err
}

var speech = []byte("speech")

// piece reads one word or segment, and whether its tag says that it is not speech. This is
// the innermost loop: it reads tokens without closures.
func (d *decoder) piece(p *transcript.Piece) (notSpeech bool, err error) {
	*p = transcript.Piece{Start: math.NaN(), End: math.NaN(), Confidence: math.NaN()}
	if !d.is('{') {
		return false, d.Skip()
	}
	if err := d.BeginObject(); err != nil {
		return false, err
	}
	for {
		name, ok, err := d.NextName()
		if !ok {
			return notSpeech, err
		}
		switch string(name) {
		case "start":
			p.Start, err = d.float()
		case "end":
			p.End, err = d.float()
		case "confidence":
			p.Confidence, err = d.float()
		case "speaker_id":
			var id []byte
			if id, ok, err = d.Text(); ok {
				p.Speaker = d.speaker[:copy(d.speaker[:], id)]
			}
		case "tag": // `speech` or another sound
			var v laxjson.Value
			v, err = d.Value()
			notSpeech = v.Kind == laxjson.String && !bytes.EqualFold(bytes.TrimSpace(v.Text), speech)
		default:
			err = d.Skip()
		}
		if err != nil {
			return false, err
		}
	}
}

// float reads a number. It is NaN if none is given.
func (d *decoder) float() (float64, error) {
	f, ok, err := d.Float()
	if !ok {
		f = transcript.NotANumber
	}
	return f, err
}

// number reads a number and passes it to set, unless none is given.
func (d *decoder) number(set func(float64)) error {
	v, err := d.float()
	if err == nil && !math.IsNaN(v) {
		set(v)
	}
	return err
}

// fault reads a fault in either spelling: the gateway's (`faultstring`,
// `errorcode`) or the API's (`fault_string`, `error_code`). null and false are no fault.
// Its text is dropped, because it may quote the request.
func (d *decoder) fault(b *body) error {
	if !d.is('{') {
		v, err := d.Value()
		if !v.IsNull() && (v.Kind != laxjson.Word || string(v.Text) != "false") {
			b.errorCode = UnknownErrorCode
		}
		return err
	}
	code := ""
	readCode := func() error {
		text, ok, err := d.Text()
		if ok {
			code = string(text)
		}
		return err
	}
	err := d.object(func(name []byte) error {
		switch {
		case isCodeName(name):
			return readCode()
		case string(name) == "detail" && d.is('{'):
			return d.object(func(name []byte) error {
				if isCodeName(name) {
					return readCode()
				}
				return d.Skip()
			})
		}
		return d.Skip()
	})
	b.errorCode = errorCode(code)
	return err
}

func isCodeName(name []byte) bool { return string(name) == "error_code" || string(name) == "errorcode" }

// unreadable returns the error for a document that cannot be read, which names the place and does not quote it.
func unreadable(err error) error {
	if err == io.EOF {
		return errors.New("the body is empty")
	}
	return err
}

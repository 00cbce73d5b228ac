// Package jobstatus is a client of the vendor's Job Status API.
package jobstatus

import (
	"cmp"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/laxjson"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outbound"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// Path is the path of the API below its base URL.
const Path = "/transaction/generic/api/v1/async/status"

// Config configures a Client.
type Config struct {
	URL             string        // base URL of the API, http or https
	Timeout         time.Duration // of one request, including the body
	MaxResponseSize int64         // bytes, after decompression
	Timings         Timings       // those that results have
	Transport       http.RoundTripper
}

// A Client polls the API. Its methods may be called concurrently.
type Client struct {
	url     url.URL
	request *http.Request // without query and body
	config  Config
}

var errURL = errors.New(`url: not an http or https URL, or one with space around it; ` +
	`give the API's base URL, such as "https://api.example"`)

// New returns a client without calling the API. The error names the invalid option.
func New(c Config) (*Client, error) {
	base, err := outbound.ParseURL(c.URL)
	switch {
	case err != nil:
		return nil, errURL
	case base.RawQuery != "" || base.User != nil || base.Fragment != "":
		return nil, errors.New(
			"url: contains a query, a fragment or a user; give the base URL alone and the key as api_key")
	case hasEndpoint(base.Path):
		return nil, errors.New(`url: contains the path of an endpoint, which is added to it; ` +
			`give the base URL alone, such as "https://api.example"`)
	}
	u := base.JoinPath(Path)
	request, err := http.NewRequest(http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errURL
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "deepaffects-monitor")
	// Without this, net/http looks into the body, in a goroutine, before it sends the header.
	request.TransferEncoding = []string{"identity"}
	return &Client{url: *u, request: request, config: c}, nil
}

// hasEndpoint reports whether a path contains the path of an endpoint of the vendor, or ends with its beginning.
func hasEndpoint(path string) bool {
	path = strings.ToLower(strings.TrimRight(path, "/")) + "/"
	if strings.Contains(path, "/generic/api/") {
		return true
	}
	for beginning := Path; beginning != ""; beginning = beginning[:strings.LastIndexByte(beginning, '/')] {
		if strings.HasSuffix(path, beginning+"/") {
			return true
		}
	}
	return false
}

// Service returns the URL that is polled, in the form that is the same for all ways to write it. It is one service,
// with one quota, over http and https.
func (c *Client) Service() string {
	host := c.url.Hostname()
	if ascii, err := idna.Lookup.ToASCII(host); err == nil { // as net/http does
		host = ascii
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	port, _ := strconv.Atoi(c.url.Port()) // New has checked it; 0: there is none
	if port != 0 && port != map[string]int{"http": 80, "https": 443}[c.url.Scheme] {
		host = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return "https://" + host + path.Clean("/"+c.url.Path)
}

// FormerService returns what earlier versions had in the place of Service: the same service had another name for each
// of most ways to write its URL.
func (c *Client) FormerService() string {
	u := c.url
	u.Host = strings.ToLower(u.Host)
	if port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]; port != "" {
		u.Host = strings.TrimSuffix(u.Host, port)
	}
	return u.String()
}

// Close closes idle connections.
func (c *Client) Close() { (&http.Client{Transport: c.config.Transport}).CloseIdleConnections() }

// An Answer is the result of one request.
type Answer struct {
	Outcome    Outcome
	State      State              // with outcome OK; and if AboutJob, as far as it could be read
	StateWord  string             // of state Unknown, if it looks like a state word
	ErrorCode  string             // of a failed job, with state Failed; or of a refusal
	Result     *transcript.Result // with state Completed; nil if there is nothing to measure
	HTTPStatus int                // of an answer in place of a status; else 0
	RetryAfter time.Duration      // the wait that the API asks for, at most a day; 0: none
	AboutJob   bool               // with outcome Malformed or TooLarge: it is a status of this job
	// Deferred, with outcome Timeout: the result is large and had to wait for others, which says nothing about the API.
	Deferred bool
	Err      error // the reason for another outcome than OK, without key, query and content
}

// queuedDelay is the "few minutes" after which to poll again when the API says `queued`.
const queuedDelay = 3 * time.Minute

// Status polls one job with an API key. It uses one request of the quota.
func (c *Client) Status(ctx context.Context, key, requestID string) Answer {
	answer := c.poll(ctx, key, requestID)
	// A gateway may echo the key.
	echoed := func(text string) bool {
		return key != "" && strings.Contains(strings.ToLower(text), strings.ToLower(key))
	}
	if echoed(answer.ErrorCode) {
		answer.ErrorCode = OtherErrorCode
	}
	if echoed(answer.StateWord) {
		answer.StateWord = ""
	}
	return answer
}

func (c *Client) poll(ctx context.Context, key, requestID string) Answer {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	u := *c.request.URL
	u.RawQuery = "apikey=" + url.QueryEscape(key) + "&request_id=" + url.QueryEscape(requestID)
	req := c.request.WithContext(ctx)
	req.URL = &u
	// net/http repeats a GET when a reused connection breaks, which would use the quota
	// twice. It does not repeat a request with a body that it cannot rewind.
	req.Body = io.NopCloser(strings.NewReader(""))
	// An http.Client would follow redirects, which sends the URL with its key to other
	// hosts, and would quote their targets in errors.
	resp, err := c.config.Transport.RoundTrip(req)
	if err != nil {
		return failure(err)
	}
	defer resp.Body.Close()
	return c.read(ctx, resp, requestID)
}

var (
	errPage = fmt.Errorf("the answer is %w, as from a proxy or at a wrong url", errMarkup)
	// errDownPage is the page with an HTTP status of 500 or more: a wrong url does not cause that.
	errDownPage = fmt.Errorf("the answer is %w, as from a proxy", errMarkup)
)

// maxRefusalSize limits the size of responses other than a status: faults are short.
const maxRefusalSize = 64 << 10

// isStatus reports whether a response has a status, or a fault in its place.
func isStatus(resp *http.Response) bool {
	return resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusAccepted
}

func (c *Client) read(ctx context.Context, resp *http.Response, requestID string) Answer {
	limit := c.config.MaxResponseSize
	if !isStatus(resp) {
		limit = min(limit, maxRefusalSize)
	}
	content := http.MaxBytesReader(nil, resp.Body, limit)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// The body would be the bare connection, which has no timeout.
		content = http.NoBody
	}
	if strings.EqualFold(resp.Header.Get("Content-Encoding"), "x-gzip") {
		// It means gzip (RFC 9110, 8.4.1.3), and net/http unpacks only what is called so.
		content = &unpacked{packed: content, limit: limit}
	}
	b, err := decodeStatus(ctx, content, c.config.Timings)
	switch {
	case err == errMarkup && resp.StatusCode >= http.StatusInternalServerError:
		err = errDownPage
	case err == errMarkup:
		err = errPage
	}
	// The rest is read, up to a limit, so that the connection can be reused.
	_, _ = io.CopyN(io.Discard, content, maxRefusalSize)
	a := c.answer(resp, &b, err, requestID)
	if a.Outcome == OK || a.HTTPStatus != 0 {
		a.RetryAfter = max(a.RetryAfter, retryAfter(resp.Header))
	}
	return a
}

// answer says what a response means whose body was decoded as far as the error allows.
func (c *Client) answer(resp *http.Response, b *body, err error, requestID string) Answer {
	var readErr *laxjson.ReadError
	switch accepted := resp.StatusCode == http.StatusAccepted; {
	case err == nil && !b.hasStatus && b.errorCode == "queued": // with any HTTP status; the API knows the job
		return Answer{Outcome: OK, State: Running, RetryAfter: queuedDelay}
	case !isStatus(resp):
		return c.refused(resp, b.errorCode, err)
	case errors.As(err, &readErr):
		a := b.unreadable(failure(readErr), requestID)
		if errors.Is(readErr, ErrBusy) || b.waited && errors.Is(readErr, context.DeadlineExceeded) {
			a = Answer{Outcome: Timeout, Deferred: true, Err: ErrBusy}
		}
		return a
	case err == io.EOF && accepted: // empty
		return Answer{Outcome: OK, State: Running}
	case err != nil:
		return b.unreadable(Answer{Outcome: Malformed, Err: unreadable(err)}, requestID)
	case !b.hasStatus && b.errorCode != "":
		return c.refused(resp, b.errorCode, nil)
	case !b.hasStatus && accepted:
		return Answer{Outcome: OK, State: Running}
	case !b.hasStatus:
		return b.unreadable(Answer{Outcome: Malformed, Err: unreadable(atByte(errNoStatus, b.size))}, requestID)
	case !b.isOf(requestID):
		return Answer{Outcome: Malformed, Err: errors.New("the API answered about another request ID")}
	}
	a := Answer{Outcome: OK, State: b.state, StateWord: b.stateWord, Result: b.result}
	if b.state == Failed {
		a.ErrorCode = b.errorCode
	}
	return a
}

// refused is the answer of a response in place of a status, with the code of its fault and the error of its body.
func (c *Client) refused(resp *http.Response, code string, err error) Answer {
	a := Answer{
		Outcome: refusal(resp.StatusCode, code), ErrorCode: code, HTTPStatus: resp.StatusCode,
		Err: fmt.Errorf("the API answered HTTP %d", resp.StatusCode),
	}
	switch {
	case isStatus(resp):
		a.Err = fmt.Errorf("%w with a fault in place of a status", a.Err)
	case resp.StatusCode/100 == 3 && resp.StatusCode != http.StatusNotModified:
		a.Err = fmt.Errorf("%w, a redirect%s, which is not followed; check url", a.Err, c.destination(resp.Header))
	case err == errPage, err == errDownPage:
		a.Err = fmt.Errorf("%w; %w", a.Err, err)
		if a.Outcome == NotFound || resp.StatusCode == http.StatusForbidden {
			// It is the page of a web server or a proxy, which knows no jobs and no keys: none may be lost because of
			// it, and the key is not wrong. An empty body or plain text can be the vendor's.
			a.Outcome = Malformed
		}
	}
	return a
}

// unpacked is the content of a body in gzip.
type unpacked struct {
	packed  io.ReadCloser
	limit   int64 // bytes of the content
	content io.Reader
}

func (u *unpacked) Read(p []byte) (int, error) {
	if u.content == nil {
		r, err := gzip.NewReader(u.packed)
		if err != nil {
			return 0, err
		}
		u.content = http.MaxBytesReader(nil, r, u.limit)
	}
	return u.content.Read(p)
}

func (u *unpacked) Close() error { return u.packed.Close() }

// destination says where a redirect leads, without quoting it, since a target may have the key in it.
func (c *Client) destination(h http.Header) string {
	target, err := c.url.Parse(h.Get("Location"))
	switch {
	case err != nil || h.Get("Location") == "":
		return ""
	case !strings.EqualFold(target.Host, c.url.Host):
		return " to another host"
	case target.Scheme != c.url.Scheme && target.Scheme == "https":
		return " to https"
	}
	return " to another path"
}

// isOf reports whether a body can be about a job: it names its request ID, perhaps in another case, or none. An ID that
// was asked for is safe to recognize; one that arrives in a webhook could be another job's.
func (b *body) isOf(requestID string) bool {
	return b.requestID == "" || strings.EqualFold(b.requestID, requestID)
}

// unreadable returns the answer for a body that cannot be read to its end, with the state if that was read.
func (b *body) unreadable(a Answer, requestID string) Answer {
	if a.Outcome != Malformed && a.Outcome != TooLarge || !b.isStatus || !b.isOf(requestID) {
		return a
	}
	a.AboutJob, a.State = true, b.state
	if b.errorCode != "" && b.state == Completed {
		a.State = Failed
	}
	if a.State == Failed {
		a.ErrorCode = cmp.Or(b.errorCode, UnknownErrorCode)
	}
	return a
}

// failure returns the Answer for a request that got no complete response.
func failure(err error) Answer {
	var tooLarge *http.MaxBytesError
	var netError net.Error
	var damaged flate.CorruptInputError
	switch {
	case errors.As(err, &tooLarge):
		err := fmt.Errorf("the answer is larger than max_response_size (%d bytes)", tooLarge.Limit)
		return Answer{Outcome: TooLarge, Err: err}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netError) && netError.Timeout():
		return Answer{Outcome: Timeout, Err: errors.New("no complete answer within the timeout")}
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &damaged):
		return Answer{Outcome: Malformed, Err: errors.New("invalid gzip")}
	}
	return Answer{Outcome: Network, Err: fmt.Errorf("polling the API: %w", outbound.Cause(err))}
}

// retryAfter parses the header Retry-After: seconds, or a date (RFC 9110, 10.2.3), which is compared with the date
// of the response, since the clock here may differ.
func retryAfter(h http.Header) time.Duration {
	const longest = 24 * time.Hour
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	// ParseUint returns the maximum with ErrRange.
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil || errors.Is(err, strconv.ErrRange) {
		return min(time.Duration(seconds)*time.Second, longest)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return min(max(at.Sub(now), 0), longest)
}

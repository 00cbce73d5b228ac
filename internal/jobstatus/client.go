// Package jobstatus is the client of the vendor's Job Status API: it asks about
// one job and says what the API answered.
package jobstatus

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// Path is where the API answers about a job, below its base URL.
const Path = "/transaction/generic/api/v1/async/status"

// Config is what a Client is made from.
type Config struct {
	// URL is the base URL of the API, http or https.
	URL string
	// Timeout is how long one request may take, its body included.
	Timeout time.Duration
	// MaxResponseSize is how many bytes an answer may have, decompressed.
	MaxResponseSize int64
	// Timings says that results are to have the timings of their words.
	Timings bool
	// Transport is how to reach the API, such as NewTransport returns it.
	Transport http.RoundTripper
}

// TransportConfig is what a transport is made from.
type TransportConfig struct {
	// Timeout is how long each phase of a request may take.
	Timeout time.Duration
	// Connections is how many connections to a host are kept open.
	Connections int
	// TLSCA, TLSCert and TLSKey are PEM files: the roots to trust instead of the
	// system's, and the certificate to show. Empty: none.
	TLSCA, TLSCert, TLSKey string
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool
	// HTTPProxyURL is the proxy to use; empty: the one that the environment names.
	HTTPProxyURL string
}

// A Client asks the API. It may be used by several goroutines at once.
type Client struct {
	url    url.URL
	config Config
}

// New returns a client. The error names the option that is wrong; nothing is
// asked of the API.
func New(c Config) (*Client, error) {
	base, err := url.Parse(c.URL)
	switch {
	case err != nil, base.Host == "", base.Scheme != "http" && base.Scheme != "https", !hasSoundPort(base):
		return nil, errors.New(`url: not an http or https URL; give the API's base URL, such as "https://proxy.api.deepaffects.com"`)
	case base.RawQuery != "" || base.User != nil || base.Fragment != "":
		return nil, errors.New("url: has a query, a fragment or a user in it; give the base URL alone, and the key as api_key")
	}
	return &Client{url: *base.JoinPath(Path), config: c}, nil
}

// hasSoundPort says whether a URL's port, if it has one, can be dialled: net/url takes
// any number.
func hasSoundPort(u *url.URL) bool {
	_, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Port() == "" || err == nil
}

// proxySchemes are those that net/http can use.
var proxySchemes = []string{"http", "https", "socks5", "socks5h"}

// An ownError is in our own words: it quotes nothing of what was asked or answered.
type ownError struct{ error }

// NewTransport returns a transport with connections that are kept alive, and
// HTTP/2 where it is offered. The error names the option that is wrong.
func NewTransport(c TransportConfig) (*http.Transport, error) {
	tlsConfig := &tls.Config{InsecureSkipVerify: c.InsecureSkipVerify, MinVersion: tls.VersionTLS12}
	if c.TLSCA != "" {
		pem, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("tls_ca: %w", err)
		}
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls_ca: %s has no PEM certificate", c.TLSCA)
		}
	}
	if c.TLSCert != "" || c.TLSKey != "" {
		// Loaded now so that a mistake shows at start, and again at each
		// handshake so that a renewed certificate is taken up.
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
			if err != nil {
				return nil, ownError{fmt.Errorf("tls_cert and tls_key: %w; give both, as PEM files", err)}
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		tlsConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	proxy := http.ProxyFromEnvironment
	if c.HTTPProxyURL != "" {
		proxyURL, err := url.Parse(c.HTTPProxyURL)
		if err != nil || proxyURL.Host == "" || !slices.Contains(proxySchemes, proxyURL.Scheme) || !hasSoundPort(proxyURL) {
			// The URL may hold a password: it is not repeated.
			return nil, errors.New(`http_proxy_url: not an http, https or socks5 URL; give one such as "http://proxy.example:3128"`)
		}
		proxy = http.ProxyURL(proxyURL)
	}
	return &http.Transport{
		Proxy: proxy,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return ownError{fmt.Errorf("the proxy answered HTTP %d", resp.StatusCode)}
			}
			return nil
		},
		DialContext:           (&net.Dialer{Timeout: c.Timeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   c.Timeout,
		ResponseHeaderTimeout: c.Timeout,
		ForceAttemptHTTP2:     true,
		// A connection of HTTP/2 outlives the requests that time out on it. One that is
		// dead is found out by asking it for a sign of life.
		HTTP2:               &http.HTTP2Config{SendPingTimeout: c.Timeout, PingTimeout: c.Timeout},
		MaxIdleConnsPerHost: c.Connections,
		IdleConnTimeout:     90 * time.Second,
	}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() {
	if t, ok := c.config.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// An Answer is how one request ended.
type Answer struct {
	Outcome    Outcome
	State      State              // with outcome OK
	ErrorCode  string             // of a failed job, with state Failed
	Result     *transcript.Result // with state Completed; nil where there is nothing to measure
	RetryAfter time.Duration      // how long the API asks to wait; 0 where it does not say
	Err        error              // why the outcome is not OK; free of the key, the URL's query and the answer's content
}

// Delay that the API's `queued` means by "try again in a few minutes".
const queuedDelay = 3 * time.Minute

// Status asks about one job with this API key. It spends one request of the
// quota, and never fails: the answer says what came of it.
func (c *Client) Status(ctx context.Context, key, requestID string) Answer {
	answer := c.ask(ctx, key, requestID)
	if key != "" && strings.Contains(answer.ErrorCode, key) {
		answer.ErrorCode = OtherErrorCode
	}
	return answer
}

func (c *Client) ask(ctx context.Context, key, requestID string) Answer {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	u := c.url
	u.RawQuery = url.Values{"apikey": {key}, "request_id": {requestID}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Answer{Outcome: ClientError, Err: errors.New("the URL cannot be asked")}
	}
	// A GET without a body is sent again in silence when a connection that was used
	// before breaks under it. With a body that net/http cannot rewind, though there
	// is nothing in it, it is not: a request of the quota is one request.
	req.Body = emptyBody{}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "deepaffects-monitor")
	// Not through an http.Client: that follows redirects, which takes the URL, and
	// with it the key, to other hosts, and quotes in its errors where they lead.
	resp, err := c.config.Transport.RoundTrip(req)
	if err != nil {
		return failure(err)
	}
	defer resp.Body.Close()
	return c.read(resp, requestID)
}

type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyBody) Close() error             { return nil }

// maxRefusalSize is how much of an answer that is no status is read: faults are short.
const maxRefusalSize = 64 << 10

func (c *Client) read(resp *http.Response, requestID string) Answer {
	isStatus := resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusAccepted
	limit := c.config.MaxResponseSize
	if !isStatus {
		limit = min(limit, maxRefusalSize)
	}
	content := resp.Body
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// What follows is no body but the bare connection, which no timeout ends.
		content = http.NoBody
	}
	r := &reader{r: http.MaxBytesReader(nil, content, limit)}
	b, err := decodeStatus(r, c.config.Timings)
	readErr := r.err // of the document; what is wrong behind a malformed one does not matter
	// What is left is read, within reason, so that the connection can be used again.
	_, _ = io.CopyN(io.Discard, r, maxRefusalSize)

	retryAfter := retryAfter(resp.Header.Get("Retry-After"))
	refused := func(code string) Answer {
		// The code itself stays out of the error: a gateway may echo the key in it.
		err := fmt.Errorf("the API answered HTTP %d", resp.StatusCode)
		if isStatus {
			err = fmt.Errorf("%w with a fault in place of a status", err)
		}
		return Answer{Outcome: refusal(resp.StatusCode, code), RetryAfter: retryAfter, Err: err}
	}
	switch {
	case !b.hasStatus && b.fault.code == "queued": // whatever the HTTP status: it does not mean that the job is unknown
		return Answer{Outcome: OK, State: Running, RetryAfter: max(retryAfter, queuedDelay)}
	case !isStatus:
		return refused(b.fault.code)
	case err != nil && readErr != nil:
		return failure(readErr)
	case err != nil && resp.StatusCode == http.StatusAccepted && r.n == 0:
		return Answer{Outcome: OK, State: Running, RetryAfter: retryAfter}
	case err != nil:
		return Answer{Outcome: Malformed, Err: malformed(err)}
	case !b.hasStatus && b.fault.present:
		return refused(b.fault.code)
	case !b.hasStatus && resp.StatusCode == http.StatusAccepted:
		return Answer{Outcome: OK, State: Running, RetryAfter: retryAfter}
	case !b.hasStatus:
		return Answer{Outcome: Malformed, Err: malformed(errShape)}
	case b.requestID != "" && b.requestID != requestID:
		return Answer{Outcome: Malformed, Err: errors.New("the API answered about another request ID")}
	}
	answer := Answer{Outcome: OK, State: b.state, Result: b.result, RetryAfter: retryAfter}
	if b.state == Failed {
		answer.ErrorCode = b.fault.code
	}
	return answer
}

// A reader remembers how much was read and which error ended it, since a
// decoder's error does not tell a broken connection from a broken document.
type reader struct {
	r   io.Reader
	n   int64
	err error
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// failure is the answer to a request that got none, or only a part of one.
func failure(err error) Answer {
	var tooLarge *http.MaxBytesError
	var netError net.Error
	var damaged flate.CorruptInputError
	switch {
	case errors.As(err, &tooLarge):
		return Answer{Outcome: TooLarge, Err: fmt.Errorf("the answer is larger than max_response_size (%d bytes)", tooLarge.Limit)}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netError) && netError.Timeout():
		return Answer{Outcome: Timeout, Err: errors.New("no complete answer within the timeout")}
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &damaged):
		return Answer{Outcome: Malformed, Err: errors.New("malformed: not sound gzip")}
	}
	return Answer{Outcome: Network, Err: fmt.Errorf("asking the API: %w", reason(err))}
}

// reason is what may be shown of an error. Those of net/http quote the URL or
// what was answered, either of which may have the key in it, so that only
// errors of the connection itself are passed on.
func reason(err error) error {
	if e, ok := errors.AsType[ownError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e
	}
	for _, e := range []error{context.Canceled, io.EOF, io.ErrUnexpectedEOF, http.ErrSchemeMismatch} {
		if errors.Is(err, e) {
			return e
		}
	}
	return errors.New("the connection broke, or what answered does not speak HTTP")
}

// retryAfter reads the header of that name: seconds, or a date (RFC 9110, 10.2.3).
func retryAfter(value string) time.Duration {
	const longest = 24 * time.Hour
	// A number out of range is the largest one.
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil || errors.Is(err, strconv.ErrRange) {
		return min(time.Duration(seconds)*time.Second, longest)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(time.Until(at), 0), longest)
	}
	return 0
}

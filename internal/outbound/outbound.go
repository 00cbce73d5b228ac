// Package outbound is how the monitor reaches other servers: the API of the vendor and
// the URLs that list request IDs. Their URLs hold keys and tokens, and net/http quotes
// URLs and responses in its errors, so no error of this package does.
package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrURL is the error of ParseURL. It does not say what is wrong, as a URL may hold a
// password anywhere.
var ErrURL = errors.New("invalid URL")

// ParseURL parses an absolute URL with a host and one of the schemes, which are http and
// https by default.
func ParseURL(text string, schemes ...string) (*url.URL, error) {
	if len(schemes) == 0 {
		schemes = []string{"http", "https"}
	}
	u, err := url.Parse(text)
	// net/url takes a space at the end for a part of the path.
	if err != nil || strings.TrimSpace(text) != text || u.Hostname() == "" || !slices.Contains(schemes, u.Scheme) {
		return nil, ErrURL
	}
	// net/url accepts any number as a port.
	if _, err := strconv.ParseUint(u.Port(), 10, 16); err != nil && u.Port() != "" {
		return nil, ErrURL
	}
	return u, nil
}

// WithoutSecrets returns a URL without what may be a password or a token, to be shown.
func WithoutSecrets(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "not shown"
	}
	if u.User != nil {
		u.User = url.User("…")
	}
	if u.RawQuery != "" {
		u.RawQuery = "…"
	}
	return strings.ReplaceAll(u.String(), "%E2%80%A6", "…")
}

// NewTransport returns a transport that keeps up to so many idle connections to a host
// and uses HTTP/2 where the server offers it. The timeout applies to each phase of a
// request. A nil tlsConfig means the defaults with TLS 1.2 or later, a nil proxy none.
func NewTransport(
	timeout time.Duration, connections int, tlsConfig *tls.Config, proxy func(*http.Request) (*url.URL, error),
) *http.Transport {
	logNoContent()
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return &http.Transport{
		Proxy: proxy,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return Showable(fmt.Errorf("the proxy answered HTTP %d", resp.StatusCode))
			}
			return nil
		},
		DialContext:           (&net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   timeout,
		ResponseHeaderTimeout: timeout,
		ForceAttemptHTTP2:     true,
		// A request that times out leaves its HTTP/2 connection open. Pings find dead ones.
		// What is received and not read yet is in memory: by default 4 MiB of each answer.
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: timeout, PingTimeout: timeout,
			MaxReceiveBufferPerStream: 256 << 10, MaxReceiveBufferPerConnection: 1 << 20,
		},
		MaxResponseHeaderBytes: 64 << 10, // by default 10 MB
		MaxIdleConnsPerHost:    connections,
		IdleConnTimeout:        90 * time.Second,
	}
}

// unsolicited is how net/http begins to log what a server sends unasked, such as the end of an answer that is longer
// than its Content-Length. The content follows, and no option turns that off.
var unsolicited = []byte("Unsolicited response received on idle HTTP channel")

// contentless is the output of the standard library's log, without content of answers.
type contentless struct{ io.Writer }

func (w contentless) Write(line []byte) (int, error) {
	if i := bytes.Index(line, unsolicited); i >= 0 {
		_, err := w.Writer.Write(append(line[:i+len(unsolicited):i+len(unsolicited)], '\n'))
		return len(line), err
	}
	return w.Writer.Write(line)
}

// logNoContent lets the log of the standard library drop content of answers. A program may have set its output since
// the last call.
func logNoContent() {
	w := log.Writer()
	if _, done := w.(contentless); !done {
		log.SetOutput(contentless{w})
	}
}

type showable struct{ error }

// Showable marks an error that quotes neither a URL nor a response: Cause returns it.
func Showable(err error) error { return showable{err} }

// Cause returns the part of a request's error that quotes no URL, key, header or content.
func Cause(err error) error {
	if e, ok := errors.AsType[showable](err); ok {
		return e.error
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e
	}
	for _, e := range []error{context.Canceled, http.ErrSchemeMismatch} {
		if errors.Is(err, e) {
			return e
		}
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return errors.New("no complete answer within the timeout")
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the connection was closed before the answer was complete")
	}
	return errors.New("the request failed, or its answer is not HTTP")
}

package outbound_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/outbound"
)

func TestParseURL(t *testing.T) {
	for _, tt := range []struct {
		text    string
		schemes []string
		valid   bool
	}{
		{"https://api.example", nil, true},
		{"http://user:secret@api.example:65535/path?token=secret#x", nil, true},
		{"http://[::1]:80", nil, true},
		{"socks5://proxy.example:1080", []string{"http", "socks5"}, true},
		{"socks5://proxy.example:1080", nil, false},
		{"https://proxy.example", []string{"socks5"}, false},
		{"", nil, false},
		{"api.example", nil, false},
		{"secret:3128", nil, false},
		{"/path", nil, false},
		{"http://", nil, false},
		{"http://:80", nil, false},
		{"http://api.example:65536", nil, false},
		{"http://api.example:secret", nil, false},
		{"http://%zz/secret", nil, false},
		{" https://api.example/", nil, false},
		{"https://api.example/ ", nil, false},
		{"https://api.example/\u00a0", nil, false},
		{"ftp://api.example", nil, false},
	} {
		u, err := outbound.ParseURL(tt.text, tt.schemes...)
		switch {
		case tt.valid && (err != nil || u.String() != tt.text):
			t.Errorf("%q: %v, %v", tt.text, u, err)
		case !tt.valid && (err == nil || strings.Contains(err.Error(), "secret")):
			t.Errorf("%q: error %v, want one that does not quote it", tt.text, err)
		}
	}
}

// An error of a request shows its kind, and never what the URL or the answer says.
func TestCause(t *testing.T) {
	const secret = "secret"
	lookup := &net.DNSError{Err: "no such host", Name: "api.example", IsNotFound: true}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errors.New(secret), "the request failed, or its answer is not HTTP"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: lookup}, "dial tcp: lookup api.example: no such host"},
		{lookup, "lookup api.example: no such host"},
		{&tls.CertificateVerificationError{Err: errors.New("unknown authority")},
			"tls: failed to verify certificate: unknown authority"},
		{http.ErrSchemeMismatch, "http: server gave HTTP response to HTTPS client"},
		{context.Canceled, "context canceled"},
		{context.DeadlineExceeded, "no complete answer within the timeout"},
		{os.ErrDeadlineExceeded, "no complete answer within the timeout"},
		{io.EOF, "the connection was closed before the answer was complete"},
		{io.ErrUnexpectedEOF, "the connection was closed before the answer was complete"},
		{outbound.Showable(errors.New("tls_key: no such file")), "tls_key: no such file"},
	} {
		for _, err := range []error{
			tt.err,
			fmt.Errorf("%s: %w", secret, tt.err),
			&url.Error{Op: "Get", URL: "https://api.example/?apikey=" + secret, Err: tt.err},
		} {
			if got := outbound.Cause(err); got.Error() != tt.want {
				t.Errorf("%v: %q, want %q", err, got, tt.want)
			}
		}
	}
}

func TestNewTransport(t *testing.T) {
	config := &tls.Config{ServerName: "api.example", MinVersion: tls.VersionTLS13}
	if tr := outbound.NewTransport(time.Second, 3, config, nil); tr.TLSClientConfig.ServerName != "api.example" ||
		tr.MaxIdleConnsPerHost != 3 || tr.ResponseHeaderTimeout != time.Second || tr.Proxy != nil {
		t.Errorf("%+v", tr)
	}
	if tr := outbound.NewTransport(time.Second, 3, nil, nil); tr.TLSClientConfig.MinVersion != tls.VersionTLS12 {
		t.Errorf("TLS %x by default", tr.TLSClientConfig.MinVersion)
	}
}

type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// What a server sends behind the end of its answer does not get into the log of the standard library.
func TestSurplusIsNotLogged(t *testing.T) {
	logged := make(lines, 1)
	output := log.Writer()
	defer log.SetOutput(output)
	log.SetOutput(logged)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}canary")
		_, _ = io.Copy(io.Discard, conn) // until the transport closes it
	}))
	defer server.Close()
	client := &http.Client{Transport: outbound.NewTransport(time.Minute, 1, nil, nil)}
	resp, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Error(err)
	}
	resp.Body.Close()
	if got := <-logged; strings.Contains(got, "canary") || !strings.Contains(got, "Unsolicited response") {
		t.Errorf("logged %q", got)
	}
}

package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// validators are what a server gives out to be asked for changes only.
type validators struct {
	etag         string
	lastModified string
}

// question is what is asked of an endpoint.
type question struct {
	version validators // of the body that is known; empty where all of it is wanted
	mention bool       // the body is to be offered even if it did not change
}

// answer is what came back.
type answer struct {
	endpoint  *endpoint
	question  question
	unchanged bool // there is no body, as it is the known one
	body      []byte
	version   validators // of the body
	err       error      // holds nothing of the URL, and nothing that the server sent
}

// ask asks an endpoint, of which it uses only what never changes.
func (u *URLs) ask(ctx context.Context, e *endpoint, q question) answer {
	a := answer{endpoint: e, question: q}
	a.err = u.exchange(ctx, &a)
	return a
}

func (u *URLs) exchange(ctx context.Context, a *answer) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.endpoint.url, nil)
	if err != nil {
		return cause(err)
	}
	request.Header.Set("Accept", "application/json")
	known := a.question.version
	if known.etag != "" {
		request.Header.Set("If-None-Match", known.etag)
	}
	if known.lastModified != "" {
		request.Header.Set("If-Modified-Since", known.lastModified)
	}
	response, err := u.client.Do(request)
	if err != nil {
		return cause(err)
	}
	defer response.Body.Close()
	switch code := response.StatusCode; {
	case code == http.StatusNotModified && known != validators{}:
		a.unchanged = true
		return nil
	case code >= 300 && code < 400:
		return fmt.Errorf("answered %d %s; redirects are not followed, since the URL may hold a token: configure the URL that it leads to",
			code, http.StatusText(code))
	case code != http.StatusOK:
		return fmt.Errorf("answered %d %s instead of 200 OK", code, http.StatusText(code))
	}
	a.version = validators{response.Header.Get("ETag"), response.Header.Get("Last-Modified")}
	a.body, err = io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	switch {
	case err != nil:
		return cause(err)
	case len(a.body) > maxDocument:
		return fmt.Errorf("the answer is longer than %d bytes", maxDocument)
	}
	return nil
}

// cause returns why a request failed. Errors of package net/http quote whole
// URLs, headers and what the server sent, so that only the kinds of error that
// are known not to are repeated.
func cause(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return fmt.Errorf("no complete answer within %v", askTimeout)
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return http.ErrSchemeMismatch
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the connection was closed before the answer was complete")
	}
	return errors.New("the request failed, or its answer is not HTTP")
}

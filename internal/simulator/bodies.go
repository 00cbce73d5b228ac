package simulator

import (
	"io"
	"net/http"
	"strings"
)

// Bodies is an API that answers each status request with 200 and the body for its request ID, or with 404.
type Bodies map[string]string

// RoundTrip implements [http.RoundTripper].
func (b Bodies) RoundTrip(r *http.Request) (*http.Response, error) {
	status := http.StatusOK
	body, known := b[r.URL.Query().Get("request_id")]
	if !known {
		status = http.StatusNotFound
	}
	return &http.Response{
		StatusCode: status, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

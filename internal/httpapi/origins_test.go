package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
)

// A page whose name was made to resolve to this server cannot write.
func TestOrigins(t *testing.T) {
	public := &url.URL{Scheme: "https", Host: "monitor.example", Path: "/deepaffects"}
	for _, tt := range []struct {
		host, origin string
		external     *url.URL
		want         int
	}{
		{"evil.example:9891", "http://evil.example:9891", nil, 403},
		{"evil.example:9891", "http://evil.example:9891", public, 403},
		{"evil.example:9891", "http://localhost.evil.example:9891", nil, 403},
		{"localhost:9891", "http://evil.example:9891", nil, 403},
		{"localhost:9891", "null", nil, 403},
		{"localhost:9891", "http://localhost:9891", nil, 200},
		{"monitor.localhost", "http://monitor.localhost", nil, 200},
		{"127.0.0.1:9891", "http://127.0.0.1:9891", nil, 200},
		{"[::1]:9891", "http://[::1]:9891", nil, 200},
		{"192.0.2.1", "http://192.0.2.1", nil, 200},
		{"monitor.example", "https://monitor.example", nil, 403},
		{"monitor.example", "https://monitor.example", public, 200},
		{"internal:9891", "https://monitor.example", public, 200},
		{"anything.example", "", nil, 200},
	} {
		for method, want := range map[string]int{"POST": tt.want, "DELETE": tt.want, "GET": 200} {
			r := httptest.NewRequest(method, "/", nil)
			r.Host = tt.host
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			w := httptest.NewRecorder()
			h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
			httpapi.NewOrigins(tt.external).Handler(h).ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s at %s by %q: HTTP %d, want %d", method, tt.host, tt.origin, w.Code, want)
			}
		}
	}
}

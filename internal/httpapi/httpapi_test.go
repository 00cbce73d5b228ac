package httpapi_test

import (
	"strings"
	"testing"
)

func TestNoSuchRoute(t *testing.T) {
	m := watch(t, nil, "a")
	for _, test := range []struct {
		method, target string
		status         int
		want, allow    string
	}{
		{"GET", "/", 404, `{"error":"not found"}`, ""},
		{"GET", "/api/v1/", 404, `{"error":"not found"}`, ""},
		{"POST", "/api/v2/jobs", 404, `{"error":"not found"}`, ""},
		{"PUT", "/api/v1/jobs", 405, `{"error":"method not allowed"}`, "GET, HEAD, POST"},
		{"DELETE", "/api/v1/jobs", 405, `{"error":"method not allowed"}`, "GET, HEAD, POST"},
		{"POST", "/api/v1/jobs/x", 405, `{"error":"method not allowed"}`, "DELETE, GET, HEAD"},
		{"POST", "/api/v1/status", 405, `{"error":"method not allowed"}`, "GET, HEAD"},
		{"OPTIONS", "/api/v1/jobs", 405, `{"error":"method not allowed"}`, "GET, HEAD, POST"},
	} {
		t.Run(test.method+" "+test.target, func(t *testing.T) {
			w := m.do(test.method, test.target, "secret")
			check(t, w, test.status, test.want)
			if allow := strings.Join(w.Header().Values("Allow"), "|"); allow != test.allow {
				t.Errorf("Allow is %q, want %q", allow, test.allow)
			}
		})
	}
}

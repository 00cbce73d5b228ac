package exposition_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/collector"
)

// A closedWriter is the response to a client that has gone.
type closedWriter struct{ http.ResponseWriter }

func (closedWriter) Write([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

// Clients that go away or do not read cannot fill the log.
func TestScrapeBrokenOff(t *testing.T) {
	var log strings.Builder
	h := of(t, collector.Snapshot{Account: "a"}).metrics.Handler(slog.New(slog.NewTextHandler(&log, nil)))
	for _, accept := range []string{"text/plain", openMetrics, protobuf} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", accept)
		h.ServeHTTP(closedWriter{httptest.NewRecorder()}, r)
	}
	if log.Len() > 0 {
		t.Errorf("logged:\n%s", log.String())
	}
}

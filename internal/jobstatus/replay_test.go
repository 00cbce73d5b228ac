package jobstatus_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
)

// A request whose connection breaks is sent once. net/http would repeat a GET on a reused
// connection, which would spend quota that is not counted.
func TestBrokenConnectionIsNotAskedAgain(t *testing.T) {
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			w.Write([]byte(`{"status":"Running"}`))
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.(*net.TCPConn).SetLinger(0) // a reset
		conn.Close()
	}))
	defer server.Close()
	client, err := jobstatus.New(jobstatus.Config{
		URL: server.URL, Timeout: 10 * time.Second, MaxResponseSize: 1 << 20, Transport: transport(t, nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i, want := range []jobstatus.Outcome{jobstatus.OK, jobstatus.Network} {
		if answer := client.Status(t.Context(), "key", "id"); answer.Outcome != want {
			t.Errorf("request %d: %s (%v), want %s", i+1, answer.Outcome, answer.Err, want)
		}
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("2 requests reached the API as %d", n)
	}
}

package httpapi_test

import (
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/httpapi"
)

// Connections take at most half of the file descriptors that the process may have.
func TestConnectionsLeaveFileDescriptors(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	for soft, want := range map[uint64]int{256: 128, 1024: 512, 10_000: 2000} {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: soft, Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			n := serve(t, httpapi.NewLimits(), http.NotFoundHandler())
			open := make(chan bool, 3000)
			for range cap(open) {
				conn := n.dial(t)
				go func() {
					_, err := conn.Read(make([]byte, 1)) // until the server closes it
					open <- err == nil
				}()
			}
			pass(time.Second)
			if got := cap(open) - len(open); got != want {
				t.Errorf("with %d file descriptors, %d connections are open, want %d", soft, got, want)
			}
		})
	}
}

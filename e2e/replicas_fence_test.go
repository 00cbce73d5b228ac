//go:build e2e && linux

package e2e

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/freeport"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/store/postgres/pgtest"
)

// A stalling listener holds what is written to its first connection.
type stalling struct {
	net.Listener
	accepted atomic.Bool
	reached  chan struct{} // closed when something is to be written
	release  chan struct{} // closed to let it pass
	passed   chan struct{} // closed when it has
}

type stalledConn struct {
	net.Conn
	l    *stalling
	once atomic.Bool
}

func (l *stalling) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil && !l.accepted.Swap(true) {
		conn = &stalledConn{Conn: conn, l: l}
	}
	return conn, err
}

func (c *stalledConn) Write(b []byte) (int, error) {
	if c.once.Swap(true) {
		return c.Conn.Write(b)
	}
	close(c.l.reached)
	<-c.l.release
	defer close(c.l.passed)
	return c.Conn.Write(b)
}

// A replica that stands still between the reservation of a request and its sending, until another one owns the account,
// does not send it when it goes on. It stands still in the middle of the TLS handshake with the API.
func TestReplicaStopsBeforeItsRequest(t *testing.T) {
	server := pgtest.Start(t)
	database := server.URL(t)
	l := &stalling{reached: make(chan struct{}), release: make(chan struct{}), passed: make(chan struct{})}
	type connection struct{}
	var late, others atomic.Int32 // requests by the connection that stood still, and by others
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, stalled := r.Context().Value(connection{}).(*tls.Conn).NetConn().(*stalledConn); stalled {
			late.Add(1)
		} else {
			others.Add(1)
		}
		fmt.Fprint(w, `{"status":"Running"}`)
	}))
	api.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connection{}, c)
	}
	l.Listener, api.Listener = api.Listener, l
	api.StartTLS()
	t.Cleanup(api.Close)
	dir := t.TempDir()
	ca, config := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "exporter.toml")
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	text := fmt.Sprintf(`
[[inputs.deepaffects]]
  url = %q
  tls_ca = %q
  api_key = "key"
  requests_per_minute = 60
  timeout = "1m"
  database_url = %q
  lease = "1s"
`, api.URL, ca, database)
	for path, content := range map[string]string{ca: string(authority), config: text} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replica := func() (p *process, address string) {
		address = freeport.Address(t)
		return start(t, binary, "--config.file="+config, "--web.listen-address="+address, "--log.level=info"), address
	}
	owns := func(address string) func() (string, bool) {
		return func() (string, bool) {
			metrics, err := get("http://"+address+"/metrics", "text/plain")
			if err != nil {
				return err.Error(), false
			}
			return "", strings.Contains(metrics, `deepaffects_account_owned{account="default"} 1`)
		}
	}
	first, address := replica()
	eventually(t, "the first owns the account", owns(address))
	_, other := replica()
	eventually(t, "the second runs", func() (string, bool) {
		_, err := get("http://"+other+"/-/ready", "text/plain")
		return fmt.Sprint(err), err == nil
	})
	job := strings.NewReader(`{"request_id":"job"}`)
	response, err := http.Post("http://"+address+"/api/v1/jobs", "application/json", job)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	<-l.reached
	if err := first.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second owns the account", owns(other))
	eventually(t, "it has polled the job", func() (string, bool) { return "", others.Load() > 0 })
	close(l.release)
	<-l.passed
	if err := first.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first has noticed", func() (string, bool) {
		log := first.output()
		return log, strings.Contains(log, "This replica does not own the account any more")
	})
	if n := late.Load(); n != 0 {
		t.Errorf("%d requests by the replica that stood still", n)
	}
}
